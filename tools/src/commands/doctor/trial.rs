//! Tries the real thing in a child process: a user namespace, in it a FUSE mount and an overlay.
//!
//! The child mounts onto directories that every host has, inside its own mount namespace, so nothing
//! is visible outside and everything is gone when it ends.

use super::sys;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use std::ffi::CString;
use std::fs;
use std::os::fd::AsRawFd;

/// How far one attempt came.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub enum Attempt {
    /// It worked.
    Works,
    /// This step failed for this reason.
    Failed {
        /// The system call or file, for the reader.
        step: String,
        /// `errno`.
        errno: i32,
    },
    /// Something before it failed.
    NotReached,
}

impl Attempt {
    fn of(step: &str, result: Result<(), Errno>) -> Self {
        match result {
            Ok(()) => Self::Works,
            Err(errno) => Self::Failed {
                step: step.to_owned(),
                errno: errno.raw_os_error(),
            },
        }
    }

    /// Whether it worked.
    pub fn works(&self) -> bool {
        *self == Self::Works
    }

    /// `step: reason`, empty when it worked.
    pub fn describe(&self) -> String {
        match self {
            Self::Works => String::new(),
            Self::Failed { step, errno } => format!("{step}: {}", Errno::from_raw_os_error(*errno)),
            Self::NotReached => "not tried".to_owned(),
        }
    }
}

/// What the child found.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Trial {
    /// A user namespace with a mount namespace and the caller's id mapped.
    pub user_namespace: Attempt,
    /// `/dev/fuse` opened and mounted in it.
    pub fuse_mount: Attempt,
    /// Overlay of two tmpfs directories in it, as a writable image needs.
    pub overlay: Attempt,
    /// What the kernel offered in its first message (`FUSE_INIT` flags).
    pub fuse_flags: u64,
    /// Minor number of the kernel's FUSE protocol.
    pub fuse_minor: u32,
}

impl Trial {
    const FAILED: Self = Self {
        user_namespace: Attempt::NotReached,
        fuse_mount: Attempt::NotReached,
        overlay: Attempt::NotReached,
        fuse_flags: 0,
        fuse_minor: 0,
    };

    /// Runs the trial.
    pub fn run() -> Self {
        let (uid, gid) = (
            rustix::process::geteuid().as_raw(),
            rustix::process::getegid().as_raw(),
        );
        let answer = sys::in_child(|pipe| {
            let trial = attempt_all(uid, gid);
            // A parent that went away needs no answer.
            let _gone = serde_json::to_writer(pipe, &trial);
        });
        match answer {
            Ok(text) => serde_json::from_slice(&text).unwrap_or(Self::FAILED),
            Err(error) => Self {
                user_namespace: Attempt::Failed {
                    step: "fork".to_owned(),
                    errno: error.raw_os_error().unwrap_or(0),
                },
                ..Self::FAILED
            },
        }
    }
}

fn attempt_all(uid: u32, gid: u32) -> Trial {
    let mut trial = Trial {
        user_namespace: enter(uid, gid),
        ..Trial::FAILED
    };
    if trial.user_namespace.works() {
        trial.overlay = attempt_overlay();
        let mut init = Init::default();
        trial.fuse_mount = attempt_fuse(&mut init);
        (trial.fuse_flags, trial.fuse_minor) = (init.flags, init.minor);
    }
    trial
}

/// New user and mount namespace; root in it is the caller.
fn enter(uid: u32, gid: u32) -> Attempt {
    if let Err(errno) = sys::unshare_user_and_mounts() {
        return Attempt::of("unshare", Err(errno));
    }
    let maps = [
        ("/proc/self/setgroups", "deny".to_owned()),
        ("/proc/self/uid_map", format!("0 {uid} 1")),
        ("/proc/self/gid_map", format!("0 {gid} 1")),
    ];
    for (path, text) in maps {
        if let Err(error) = fs::write(path, text) {
            return Attempt::Failed {
                step: path.to_owned(),
                errno: error.raw_os_error().unwrap_or(0),
            };
        }
    }
    let private = MountPropagationFlags::REC | MountPropagationFlags::PRIVATE;
    // AppArmor lets the namespace be made and then takes its powers away: this is where it shows.
    Attempt::of("mount", mount_change("/", private))
}

fn attempt_overlay() -> Attempt {
    if let Err(errno) = mount(
        "tmpfs",
        "/tmp",
        "tmpfs",
        MountFlags::NOSUID | MountFlags::NODEV,
        None,
    ) {
        return Attempt::of("tmpfs", Err(errno));
    }
    for dir in ["/tmp/lower", "/tmp/upper", "/tmp/work", "/tmp/merged"] {
        if let Err(error) = fs::create_dir(dir) {
            return Attempt::Failed {
                step: dir.to_owned(),
                errno: error.raw_os_error().unwrap_or(0),
            };
        }
    }
    let options = c"lowerdir=/tmp/lower,upperdir=/tmp/upper,workdir=/tmp/work,userxattr";
    Attempt::of(
        "overlay",
        mount(
            "overlay",
            "/tmp/merged",
            "overlay",
            MountFlags::empty(),
            options,
        ),
    )
}

/// The part of the kernel's first message that is of interest.
#[derive(Default)]
struct Init {
    minor: u32,
    flags: u64,
}

fn attempt_fuse(init: &mut Init) -> Attempt {
    let device = match rustix::fs::open("/dev/fuse", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
    {
        Ok(device) => device,
        Err(errno) => return Attempt::of("/dev/fuse", Err(errno)),
    };
    let options = format!(
        "fd={},rootmode=40000,user_id=0,group_id=0",
        device.as_raw_fd()
    );
    let Ok(options) = CString::new(options) else {
        return Attempt::NotReached;
    };
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::RDONLY;
    if let Err(errno) = mount("skiff", "/var", "fuse", flags, options.as_c_str()) {
        return Attempt::of("mount", Err(errno));
    }
    let mut ready = [PollFd::new(&device, PollFlags::IN)];
    let patience = Timespec {
        tv_sec: 2,
        tv_nsec: 0,
    };
    if !matches!(poll(&mut ready, Some(&patience)), Ok(1)) {
        return Attempt::Failed {
            step: "FUSE_INIT".to_owned(),
            errno: Errno::TIMEDOUT.raw_os_error(),
        };
    }
    // The kernel refuses to hand out messages into less than 8 KiB.
    let mut message = [0; 16 << 10];
    match rustix::io::read(&device, &mut message) {
        Ok(len) => *init = parse_init(&message[..len]),
        Err(errno) => return Attempt::of("FUSE_INIT", Err(errno)),
    }
    Attempt::Works
}

/// `fuse_in_header` is 40 bytes; `fuse_init_in` is major, minor, `max_readahead`, flags and, from 7.36
/// on, flags2.
fn parse_init(message: &[u8]) -> Init {
    let word = |index: usize| {
        let bytes = message.get(40 + 4 * index..)?.first_chunk()?;
        Some(u32::from_ne_bytes(*bytes))
    };
    let high = u64::from(word(4).unwrap_or(0)) << 32;
    Init {
        minor: word(1).unwrap_or(0),
        flags: high | u64::from(word(3).unwrap_or(0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn init_flags_join_both_words() {
        let mut message = vec![0; 40];
        for word in [7u32, 45, 131_072, 0x0000_0001, 0x0000_0080] {
            message.extend_from_slice(&word.to_ne_bytes());
        }
        let init = parse_init(&message);
        assert_eq!((init.minor, init.flags), (45, (1 << 39) | 1));
        assert_eq!(parse_init(&message[..45]).flags, 0);
    }

    #[test]
    fn answers_come_back_from_the_child() {
        let answer = sys::in_child(|pipe| pipe.write_all(b"yes").expect("pipe")).expect("fork");
        assert_eq!(answer, b"yes");
    }
}
