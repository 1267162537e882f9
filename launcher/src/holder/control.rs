//! The server's end of the line to its holder.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

pub use super::protocol::Stream;
use super::protocol::{self, Message};
use crate::rootfs::BindPoint;

/// What a server does for its holder.
pub trait ServerControl {
    /// Adds the view with `points` and returns its root directory, opened with `O_PATH`.
    ///
    /// # Errors
    /// Worded for the user.
    fn add_view(&mut self, points: &[BindPoint]) -> io::Result<OwnedFd>;

    /// Errors may be told on `stream`: it is the standard error that a launch came with.
    fn hear(&mut self, stream: Stream);

    /// Figures as JSON text.
    fn statistics(&mut self) -> String;
}

/// Answers the holder's next request with `reason`: the server cannot start. What is no request goes
/// to `hear`. `false` when the holder is gone.
pub fn refuse(control: &OwnedFd, reason: &str, hear: &mut dyn FnMut(Stream)) -> bool {
    let failed = || Message::Failed {
        reason: reason.to_owned(),
    };
    match protocol::receive(control) {
        Ok(Some((Message::Stderr { stream }, _))) => {
            hear(stream);
            true
        }
        Ok(Some(_)) => protocol::send(control.as_fd(), &failed(), &[]).is_ok(),
        Ok(None) | Err(_) => false,
    }
}

/// Obeys the holder until it is gone; the server then goes on without one.
pub fn obey(control: &OwnedFd, server: &mut dyn ServerControl) {
    while let Ok(Some((message, _))) = protocol::receive(control) {
        let (answer, descriptor) = match message {
            Message::Stderr { stream } => {
                server.hear(stream);
                continue;
            }
            Message::AddView { points } => match server.add_view(&points) {
                Ok(root) => (Message::ViewAdded, Some(root)),
                Err(error) => (
                    Message::Failed {
                        reason: error.to_string(),
                    },
                    None,
                ),
            },
            Message::Statistics { .. } => (
                Message::Figures {
                    json: server.statistics(),
                },
                None,
            ),
            _ => (
                Message::Failed {
                    reason: "not a request to a server".into(),
                },
                None,
            ),
        };
        let descriptors: Vec<_> = descriptor.iter().map(AsFd::as_fd).collect();
        if protocol::send(control.as_fd(), &answer, &descriptors).is_err() {
            return;
        }
    }
}
