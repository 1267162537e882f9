//! In place of a server that cannot start: every request gets an error, so that nobody waits for
//! ever, until there is hope again.
//!
//! One thread and next to no memory: what keeps the server from starting may be the lack of either.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::abi::{Request, opcode};
use super::connection::{self, REQUEST_BUFFER_BYTES};
use super::handler::Witness;
use super::reply::Replier;
use crate::tree::TreeError;

/// Between two looks for hope.
const PERIOD: Duration = Duration::from_millis(200);

/// Who asks, apart from the kernel.
pub trait Desk {
    /// Where questions come from; `None` when nobody asks any more.
    fn line(&self) -> Option<BorrowedFd<'_>>;

    /// Answers the next one.
    fn answer(&mut self);

    /// Whether a server may be tried again. Asked a few times a second.
    fn has_hope(&mut self) -> bool;
}

/// Answers requests on `devices` with an input/output error, of which `witness` is told `reason`,
/// until `desk` has hope: `true` then, `false` when the mount is gone.
///
/// # Errors
/// When a device fails in another way.
pub fn stand_in(
    devices: &[OwnedFd],
    reason: &TreeError,
    witness: &dyn Witness,
    desk: &mut dyn Desk,
) -> io::Result<bool> {
    let mut buffer = vec![0; REQUEST_BUFFER_BYTES];
    // The others, shared with the holder, wait: also when a request is withdrawn between the look and
    // the read, and then nobody would be at the desk.
    let own = devices.first().and_then(|device| unblocking(device).ok());
    let devices = own.as_ref().map_or(devices, std::slice::from_ref);
    loop {
        if desk.has_hope() {
            return Ok(true);
        }
        let (device, asked) = wait(devices, desk.line())?;
        if asked {
            desk.answer();
        }
        let Some(device) = device.and_then(|number| devices.get(number)) else {
            continue;
        };
        let count = match rustix::io::read(device, &mut buffer[..]) {
            Ok(count) => count,
            Err(Errno::INTR | Errno::AGAIN | Errno::NOENT) => continue,
            Err(Errno::NODEV) => return Ok(false),
            Err(errno) => return Err(errno.into()),
        };
        let request = buffer.get(..count).and_then(Request::parse);
        let request = request.ok_or(Errno::PROTO)?;
        if let opcode::FORGET | opcode::BATCH_FORGET | opcode::NOTIFY_REPLY | opcode::INTERRUPT =
            request.opcode
        {
            continue;
        }
        witness.failed(request.pid, reason);
        match Replier::new(device.as_fd()).error(request.unique, Errno::IO) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(Errno::NODEV) => return Ok(false),
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// One more device on the connection of `device`, of which a read never waits.
fn unblocking(device: &OwnedFd) -> io::Result<OwnedFd> {
    let new = connection::clone_device(device.as_fd())?;
    rustix::io::ioctl_fionbio(&new, true)?;
    Ok(new)
}

/// Waits for a while: which device has a request, and whether something else is asked. Of several
/// devices one is named: they share their requests, and reading another might wait.
fn wait(devices: &[OwnedFd], line: Option<BorrowedFd<'_>>) -> io::Result<(Option<usize>, bool)> {
    let mut watched: Vec<PollFd<'_>> = devices
        .iter()
        .map(|device| PollFd::new(device, PollFlags::IN))
        .collect();
    watched.extend(line.map(|line| PollFd::from_borrowed_fd(line, PollFlags::IN)));
    let period = Timespec {
        tv_sec: 0,
        tv_nsec: i64::from(PERIOD.subsec_nanos()),
    };
    match poll(&mut watched, Some(&period)) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(errno) => return Err(errno.into()),
    }
    let mut ready = watched.iter().map(|fd| !fd.revents().is_empty());
    let device = ready.by_ref().take(devices.len()).position(|it| it);
    let asked = watched
        .get(devices.len())
        .is_some_and(|fd| !fd.revents().is_empty());
    Ok((device, asked))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
    use rustix::net::{recv, send, socketpair};

    use super::super::abi;
    use super::*;

    struct Hope {
        line: Option<OwnedFd>,
        answered: usize,
        looks: Cell<usize>,
    }

    impl Desk for Hope {
        fn line(&self) -> Option<BorrowedFd<'_>> {
            self.line.as_ref().map(AsFd::as_fd)
        }

        fn answer(&mut self) {
            self.answered += 1;
            self.line = None;
        }

        fn has_hope(&mut self) -> bool {
            self.looks.set(self.looks.get() + 1);
            self.looks.get() > 8
        }
    }

    #[derive(Debug, Default)]
    struct Told(std::sync::Mutex<Vec<u32>>);

    impl Witness for Told {
        fn failed(&self, pid: u32, _: &TreeError) {
            self.0.lock().unwrap().push(pid);
        }
    }

    fn pair() -> (OwnedFd, OwnedFd) {
        let kind = SocketType::SEQPACKET;
        socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None).unwrap()
    }

    fn request(opcode: u32, unique: u64) -> Vec<u8> {
        let mut message = Vec::new();
        message.extend_from_slice(&40_u32.to_ne_bytes());
        message.extend_from_slice(&opcode.to_ne_bytes());
        message.extend_from_slice(&unique.to_ne_bytes());
        message.extend_from_slice(&[0; 16]);
        message.extend_from_slice(&7_u32.to_ne_bytes());
        message.extend_from_slice(&[0; 4]);
        message
    }

    #[test]
    fn all_get_an_error_until_there_is_hope() {
        let (near, far) = pair();
        let (line, other) = pair();
        for (opcode, unique) in [
            (opcode::FORGET, 2),
            (opcode::READ, 4),
            (opcode::INTERRUPT, 5),
            (opcode::LOOKUP, 6),
        ] {
            send(&far, &request(opcode, unique), SendFlags::empty()).unwrap();
        }
        send(&other, b"well?", SendFlags::empty()).unwrap();
        let mut desk = Hope {
            line: Some(line),
            answered: 0,
            looks: Cell::new(0),
        };
        let told = Told::default();
        let reason = TreeError::Source(io::Error::other("gone"));
        assert!(stand_in(&[near], &reason, &told, &mut desk).unwrap());
        assert_eq!(desk.answered, 1);
        assert_eq!(*told.0.lock().unwrap(), [7, 7]);
        for unique in [4, 6] {
            let mut reply = [0; 64];
            let (count, _) = recv(&far, &mut reply[..], RecvFlags::DONTWAIT).unwrap();
            assert_eq!(count, 16);
            assert_eq!(abi::u64_at(&reply, 8), Some(unique));
            assert_eq!(abi::u32_at(&reply, 4), Some((-5_i32).cast_unsigned()));
        }
        // Nothing more, and then the end.
        let more = recv(&far, &mut [0; 64][..], RecvFlags::DONTWAIT);
        assert!(matches!(more, Ok((0, _))), "{more:?}");
    }
}
