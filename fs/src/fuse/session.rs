//! The loop that reads requests: one thread for each device of the connection.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use rustix::io::Errno;

use super::abi::Request;
use super::connection::REQUEST_BUFFER_BYTES;
use super::handler::{FileSystem, Scratch};
use super::reply::Replier;

/// Serves until the mount is gone from the last namespace (the device then says `ENODEV`).
///
/// # Errors
/// When a thread cannot be started or a device fails in another way.
pub fn serve(file_system: &Arc<FileSystem>, devices: Vec<OwnedFd>) -> io::Result<()> {
    if let Some(device) = devices.first() {
        let (file_system, device) = (Arc::clone(file_system), device.try_clone()?);
        std::thread::Builder::new()
            .name("push".into())
            .spawn(move || {
                file_system
                    .push
                    .run(file_system.tree(), Replier::new(device.as_fd()));
            })?;
    }
    let threads = devices
        .into_iter()
        .enumerate()
        .map(|(number, device)| {
            let file_system = Arc::clone(file_system);
            std::thread::Builder::new()
                .name(format!("fuse-{number}"))
                .spawn(move || serve_device(&file_system, &device))
        })
        .collect::<io::Result<Vec<_>>>()?;
    let outcome = threads
        .into_iter()
        .try_for_each(|thread| thread.join().unwrap_or(Err(io::ErrorKind::Other.into())));
    file_system.push.close();
    outcome
}

fn serve_device(file_system: &FileSystem, device: &OwnedFd) -> io::Result<()> {
    let mut buffer = vec![0; REQUEST_BUFFER_BYTES];
    let mut scratch = Scratch::default();
    let replier = Replier::new(device.as_fd());
    loop {
        let count = match rustix::io::read(device, &mut buffer[..]) {
            Ok(count) => count,
            // ENOENT: the request was interrupted before it could be read.
            Err(Errno::INTR | Errno::AGAIN | Errno::NOENT) => continue,
            Err(Errno::NODEV) => return Ok(()),
            Err(errno) => return Err(errno.into()),
        };
        let Some(request) = Request::parse(&buffer[..count]) else {
            return Err(Errno::PROTO.into());
        };
        // One request that meets a bug of ours must not end the mount for all.
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            file_system.handle(&request, &mut scratch, replier)
        }))
        .unwrap_or_else(|_| {
            scratch = Scratch::default();
            replier.error(request.unique, Errno::IO)
        });
        match outcome {
            // ENOENT: the asking process was killed meanwhile.
            Ok(()) | Err(Errno::NOENT) => {}
            Err(Errno::NODEV) => return Ok(()),
            Err(errno) => {
                // Refused as a whole (a reply that the kernel finds malformed): the asking process
                // must not wait forever.
                match replier.error(request.unique, Errno::IO) {
                    Ok(()) | Err(Errno::NOENT) => {}
                    Err(Errno::NODEV) => return Ok(()),
                    Err(_) => return Err(errno.into()),
                }
            }
        }
    }
}
