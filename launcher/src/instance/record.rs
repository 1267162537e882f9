//! What is written down about a running instance, and whether it is believed.

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags};
use serde::{Deserialize, Serialize};

use super::proc::{self, Proc};
use crate::fakeroot::FakerootCommand;
use crate::plan::{LaunchPlan, SecurityPlan};
use crate::security::seccomp::Instruction;

/// The record, with the names that Apptainer gives its fields.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// Process 1 of the instance, as the host numbers it.
    pub pid: i32,
    /// Its keeper.
    pub ppid: i32,
    /// The instance's name.
    pub name: String,
    /// Whose it is.
    pub user: String,
    /// The image, as `APPTAINER_CONTAINER` has it.
    pub image: String,
    /// Apptainer keeps its whole configuration here.
    #[serde(default)]
    pub config: String,
    /// It has a user namespace.
    #[serde(default)]
    pub userns: bool,
    /// It has a control group of its own.
    #[serde(default)]
    pub cgroup: bool,
    /// Address of its network, where it has one.
    #[serde(default)]
    pub ip: String,
    /// Where its standard error goes.
    #[serde(default)]
    pub log_err_path: String,
    /// Where its standard output goes.
    #[serde(default)]
    pub log_out_path: String,
    /// Name of a checkpoint.
    #[serde(default)]
    pub checkpoint: String,
    /// Made by `--sharens`.
    #[serde(default)]
    pub sharens_mode: bool,
    /// What is needed to believe it; records of Apptainer itself have none.
    #[serde(default)]
    pub skiff: Option<Proof>,
}

/// What a number alone does not tell about a process.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Proof {
    /// The boot in which the numbers mean something.
    pub boot: String,
    /// The PID namespace in which they do.
    pub pid_namespace: u64,
    /// When the keeper was started, in ticks since the boot.
    pub keeper_start: u64,
    /// When process 1 was started.
    pub start: u64,
    /// Home directory in the container.
    pub home: PathBuf,
    /// The image's base name: `APPTAINER_NAME`.
    pub image_name: String,
    /// Privileges of every program in it.
    security: SecurityPlan,
    /// The programs of its filters, in the same order.
    filters: Vec<Vec<Instruction>>,
    /// Programs run under this.
    pub fakeroot: Option<FakerootCommand>,
}

impl Proof {
    /// A proof for the instance whose keeper was started at `keeper_start`, and its process 1 at
    /// `start`.
    pub(super) fn new(
        (pid_namespace, boot): (u64, String),
        (keeper_start, start): (u64, u64),
        plan: &LaunchPlan,
        image_name: &str,
    ) -> Self {
        let filters = &plan.security.filters;
        Self {
            boot,
            pid_namespace,
            keeper_start,
            start,
            home: plan.home.clone(),
            image_name: image_name.to_owned(),
            security: plan.security.clone(),
            filters: filters
                .iter()
                .map(|filter| filter.program.clone())
                .collect(),
            fakeroot: plan.fakeroot.clone(),
        }
    }

    /// The privileges of a program that joins: those of all others. `None` when the record does
    /// not tell them all.
    pub fn security(&self) -> Option<SecurityPlan> {
        let mut security = self.security.clone();
        if security.filters.len() != self.filters.len() {
            return None;
        }
        for (filter, program) in security.filters.iter_mut().zip(&self.filters) {
            if program.is_empty() {
                return None;
            }
            filter.program.clone_from(program);
        }
        Some(security)
    }
}

/// A record whose keeper runs.
#[derive(Debug)]
pub struct Live {
    /// What was written down.
    pub record: Record,
    /// The keeper itself.
    pub(super) keeper: OwnedFd,
}

/// What a record turned out to be.
#[derive(Debug)]
pub(super) enum Verdict {
    /// It tells the truth.
    Live(Box<Live>),
    /// What it tells of is over.
    Stale,
    /// Another program wrote it, and its process runs: to be left alone.
    Foreign,
    /// It tells of processes that cannot be seen from here: to be left alone.
    Elsewhere,
    /// It cannot be told at the moment: to be left alone.
    Unknown(io::Error),
}

/// Largest record that is read: Apptainer's own have some ten thousand bytes.
pub(super) const MAX_BYTES: u64 = 1 << 20;

impl Record {
    /// Whether the instance runs; `uid` is whose processes may be meant.
    pub(super) fn judge(self, proc: &Proc, uid: u32) -> Verdict {
        let Some(proof) = &self.skiff else {
            return self.judge_foreign(proc, uid);
        };
        match proc.era() {
            Ok((_, boot)) if boot != proof.boot => return Verdict::Stale,
            Ok((namespace, _)) if namespace != proof.pid_namespace => return Verdict::Elsewhere,
            Ok(_) => {}
            Err(error) => return Verdict::Unknown(error),
        }
        let Some(pid) = (self.ppid > 0).then(|| Pid::from_raw(self.ppid)).flatten() else {
            return Verdict::Stale;
        };
        // The descriptor first: what is then seen under the number is that process, or the
        // process has ended, which its descriptor tells whoever uses it.
        let keeper = match rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
            Ok(keeper) => keeper,
            // A number of a thread is no process's.
            Err(Errno::SRCH | Errno::INVAL | Errno::NOENT) => return Verdict::Stale,
            Err(errno) => return Verdict::Unknown(errno.into()),
        };
        match proc.look(self.ppid) {
            Ok(Some(seen)) if seen.uid == uid && seen.start == proof.keeper_start => {
                Verdict::Live(Box::new(Live {
                    record: self,
                    keeper,
                }))
            }
            Ok(_) => Verdict::Stale,
            Err(error) => Verdict::Unknown(error),
        }
    }

    fn judge_foreign(self, proc: &Proc, uid: u32) -> Verdict {
        match proc.look(self.ppid) {
            Ok(Some(seen)) if seen.uid == uid => {}
            Ok(_) => return Verdict::Stale,
            Err(error) => return Verdict::Unknown(error),
        }
        match proc.read(&format!("{}/cmdline", self.ppid)) {
            Ok(line) if line.starts_with("Apptainer instance") => Verdict::Foreign,
            Ok(_) => Verdict::Stale,
            Err(error) if proc::is_gone(&error) => Verdict::Stale,
            Err(error) => Verdict::Unknown(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> (Proc, Record) {
        let proc = Proc::open().unwrap();
        let (pid_namespace, boot) = proc.era().unwrap();
        let pid = rustix::process::getpid().as_raw_pid();
        let start = proc.look(pid).unwrap().unwrap().start;
        let record = Record {
            pid,
            ppid: pid,
            name: "x".into(),
            user: "me".into(),
            image: "/x.sif".into(),
            config: String::new(),
            userns: true,
            cgroup: false,
            ip: String::new(),
            log_err_path: String::new(),
            log_out_path: String::new(),
            checkpoint: String::new(),
            sharens_mode: false,
            skiff: Some(Proof {
                boot,
                pid_namespace,
                keeper_start: start,
                start,
                home: "/".into(),
                image_name: "x.sif".into(),
                security: SecurityPlan::default(),
                filters: Vec::new(),
                fakeroot: None,
            }),
        };
        (proc, record)
    }

    fn verdict(change: impl FnOnce(&mut Record)) -> &'static str {
        let (proc, mut record) = own();
        change(&mut record);
        let uid = rustix::process::geteuid().as_raw();
        match record.judge(&proc, uid) {
            Verdict::Live(_) => "live",
            Verdict::Stale => "stale",
            Verdict::Foreign => "foreign",
            Verdict::Elsewhere => "elsewhere",
            Verdict::Unknown(_) => "unknown",
        }
    }

    fn proof(change: impl FnOnce(&mut Proof)) -> &'static str {
        verdict(|record| change(record.skiff.as_mut().unwrap()))
    }

    #[test]
    fn only_the_truth_is_believed() {
        assert_eq!(verdict(|_| {}), "live");
        assert_eq!(proof(|proof| proof.keeper_start += 1), "stale");
        assert_eq!(proof(|proof| proof.boot = "another".into()), "stale");
        assert_eq!(proof(|proof| proof.pid_namespace += 1), "elsewhere");
        for pid in [i32::MAX, 0, -1] {
            assert_eq!(verdict(|record| record.ppid = pid), "stale");
        }
        // Somebody else's process.
        let (proc, record) = own();
        let other = rustix::process::geteuid().as_raw() + 1;
        assert!(matches!(record.judge(&proc, other), Verdict::Stale));
        // This test is no keeper of Apptainer's.
        assert_eq!(verdict(|record| record.skiff = None), "stale");
    }

    #[test]
    fn fields_have_apptainers_names() {
        let (_, record) = own();
        let text = serde_json::to_string(&record).unwrap();
        for name in [
            "\"pid\":",
            "\"ppid\":",
            "\"logErrPath\":",
            "\"logOutPath\":",
            "\"sharensMode\":",
        ] {
            assert!(text.contains(name), "{text}");
        }
        let foreign = r#"{"pid":1,"ppid":1,"name":"a","user":"b","image":"/c","config":"e30="}"#;
        let read: Record = serde_json::from_str(foreign).unwrap();
        assert_eq!(read.skiff, None);
    }
}
