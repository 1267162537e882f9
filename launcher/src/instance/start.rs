//! Starting an instance: the part of the command that the user waits for.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;
use std::time::Duration;

use rustix::pipe::PipeFlags;
use rustix::process::{Pid, WaitOptions, waitpid};

use super::InstanceError;
use super::folder::{Folder, Place};
use super::keeper::{self, Order, STARTED};
use crate::kernel::{self, Fork};
use crate::plan::LaunchPlan;
use crate::report::Report;
use crate::rootfs::RootfsProvider;

/// What is to be started.
#[derive(Clone, Copy, Debug)]
pub struct Start<'a> {
    /// Where it is noted.
    pub folder: &'a Folder,
    /// Its name.
    pub name: &'a str,
    /// Whose it is.
    pub user: &'a str,
    /// The container and the program in it.
    pub plan: &'a LaunchPlan,
    /// Base name of the image.
    pub image_name: &'a str,
}

/// How a start went.
#[derive(Debug)]
pub struct Outcome {
    /// Process 1 of the instance.
    pub result: Result<i32, InstanceError>,
    /// What went to its standard error so far.
    pub said: String,
}

/// How long a program that was started may take to say what is wrong with it: as in Apptainer.
const LISTENING: Duration = Duration::from_millis(100);

/// Bytes of it that are passed on.
const MAX_SAID: usize = 1 << 16;

/// Starts an instance. This process, which must have one thread, goes on when the program in it
/// has been started.
///
/// # Errors
/// Nothing was started, because the name is taken or records and logs cannot be kept.
pub fn start(
    order: &Start<'_>,
    provider: Option<&mut dyn RootfsProvider>,
    report: &mut Report<'_>,
) -> Result<Outcome, InstanceError> {
    let place = order.folder.reserve(order.name)?;
    let (out, err) = order.folder.open_logs(order.name)?;
    let listener = order.folder.read_errors(order.name)?;
    let from = listener.metadata().map_err(InstanceError::Process)?.len();
    let started = split_off(
        &order.to_keeper(None),
        place,
        Some((out, err)),
        provider,
        report,
    );
    std::thread::sleep(LISTENING);
    let said = read_from(&listener, from);
    Ok(Outcome {
        result: started,
        said,
    })
}

/// What was added to `log` behind byte `from`, as far as anybody reads that far. Nothing where it
/// cannot be read: it is in the log for whoever wants it.
fn read_from(log: &File, from: u64) -> String {
    let mut said = Vec::new();
    let mut buffer = vec![0; MAX_SAID];
    while said.len() < MAX_SAID {
        let at = from.saturating_add(said.len() as u64);
        match log.read_at(&mut buffer, at) {
            Ok(0) | Err(_) => break,
            Ok(count) => said.extend_from_slice(buffer.get(..count).unwrap_or_default()),
        }
    }
    said.truncate(MAX_SAID);
    String::from_utf8_lossy(&said).into_owned()
}

impl<'a> Start<'a> {
    pub(super) fn to_keeper(self, parent: Option<Pid>) -> Order<'a> {
        Order {
            plan: self.plan,
            name: self.name,
            user: self.user,
            image_name: self.image_name.to_owned(),
            log_paths: match parent {
                None => self.folder.log_paths(self.name),
                Some(_) => Default::default(),
            },
            parent,
        }
    }
}

/// Starts the keeper as nobody's child, so that nobody has to wait for it, and hears from it how it
/// went.
pub(super) fn split_off(
    order: &Order<'_>,
    place: Place,
    logs: Option<(File, File)>,
    provider: Option<&mut dyn RootfsProvider>,
    report: &mut Report<'_>,
) -> Result<i32, InstanceError> {
    let (heard, told) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)
        .map_err(|errno| InstanceError::Process(errno.into()))?;
    let between = match kernel::fork().map_err(InstanceError::Process)? {
        Fork::Parent(between) => between,
        Fork::Child => {
            drop(heard);
            match kernel::fork() {
                Ok(Fork::Child) => {}
                Ok(Fork::Parent(_)) => kernel::exit_now(0),
                Err(_) => kernel::exit_now(1),
            }
            let code = match keeper::settle(order, logs) {
                Ok(()) => keeper::keep(order, place, told, provider, report),
                // Its end says it.
                Err(_) => u8::MAX,
            };
            kernel::exit_now(i32::from(code))
        }
    };
    drop((told, place, logs));
    // Whoever ignores SIGCHLD has no children to wait for.
    let _ended = waitpid(Pid::from_raw(between), WaitOptions::empty());
    let mut answer = Vec::new();
    File::from(heard)
        .read_to_end(&mut answer)
        .map_err(InstanceError::Process)?;
    match answer.split_first() {
        Some((&STARTED, pid)) => std::str::from_utf8(pid)
            .ok()
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| InstanceError::Process(io::ErrorKind::InvalidData.into())),
        Some((_, reason)) => Err(InstanceError::NotStarted {
            reason: String::from_utf8_lossy(reason).into_owned(),
        }),
        None => Err(InstanceError::NotStarted {
            reason: "failed to start instance: its process ended without a word".to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_is_bounded_and_text() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.err");
        std::fs::write(&path, b"before\xffnow").unwrap();
        let log = File::open(&path).unwrap();
        assert_eq!(read_from(&log, 6), "\u{fffd}now");
        assert_eq!(read_from(&log, 100), "");
        std::fs::write(&path, vec![b'x'; 3 * MAX_SAID]).unwrap();
        assert_eq!(read_from(&log, 1).len(), MAX_SAID);
    }
}
