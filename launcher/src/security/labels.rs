//! What a security module is to make of the program: an SELinux label or an AppArmor profile.
//!
//! A label that is silently not applied is worse than none: every step is checked, and the file that
//! takes the label must be one of the kernel's and no imitation of it that was bound over /proc.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};

use crate::error::{LaunchError, reason};

/// Magic number of procfs.
const PROC_SUPER_MAGIC: u64 = 0x9fa0;

/// A wish to a security module.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Label {
    /// Label of SELinux.
    Selinux(String),
    /// Profile of AppArmor.
    Apparmor(String),
}

/// Whether SELinux is on.
pub fn selinux_enabled() -> bool {
    Path::new("/sys/fs/selinux/enforce").exists()
}

/// Whether AppArmor is on.
pub fn apparmor_enabled() -> bool {
    std::fs::read("/sys/module/apparmor/parameters/enabled")
        .is_ok_and(|text| text.starts_with(b"Y"))
}

impl Label {
    /// Has the kernel apply it to the next program that this process becomes.
    ///
    /// # Errors
    /// The kernel's refusal, or that there is no such file.
    pub(super) fn apply(&self) -> Result<(), LaunchError> {
        let (name, text, files): (_, _, &[&str]) = match self {
            Self::Selinux(label) => ("selinux label", label.clone(), &["attr/exec"]),
            Self::Apparmor(profile) => (
                "apparmor profile",
                format!("exec {profile}"),
                &["attr/apparmor/exec", "attr/exec"],
            ),
        };
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for file in files {
            match write_attribute(file, &text) {
                Ok(()) => return Ok(()),
                Err(error) => last = error,
            }
        }
        Err(LaunchError::Security {
            reason: format!("failed to set {name} ({text}): {}", reason(&last)),
        })
    }
}

fn write_attribute(file: &str, text: &str) -> io::Result<()> {
    let path = format!("/proc/thread-self/{file}");
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOCTTY;
    let descriptor = rustix::fs::open(path, flags, Mode::empty())?;
    let magic = rustix::fs::fstatfs(&descriptor)?.f_type;
    if u64::try_from(magic).ok() != Some(PROC_SUPER_MAGIC) {
        return Err(io::Error::other("/proc is not the kernel's"));
    }
    let mut attribute = File::from(descriptor);
    // In one piece: a second write would be another label.
    if attribute.write(text.as_bytes())? != text.len() {
        return Err(io::ErrorKind::WriteZero.into());
    }
    let mut seen = String::new();
    attribute.read_to_string(&mut seen)?;
    if seen.trim_end_matches(['\0', '\n']).is_empty() {
        return Err(io::Error::other("the kernel did not keep it"));
    }
    Ok(())
}
