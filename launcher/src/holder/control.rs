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

/// What became of a message from the holder.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    /// It was no request: a stream, of which was told.
    Heard,
    /// It was a request and is answered.
    Answered,
    /// There was none: the holder is gone.
    Gone,
}

/// Answers the holder's next message, if it is a request, with `reason`: the server cannot start. A
/// stream goes to `hear`.
pub fn refuse(control: &OwnedFd, reason: &str, hear: &mut dyn FnMut(Stream)) -> Refused {
    let failed = || Message::Failed {
        reason: reason.to_owned(),
    };
    match protocol::receive(control) {
        Ok(Some((Message::Stderr { stream }, _))) => {
            hear(stream);
            Refused::Heard
        }
        Ok(Some(_)) => match protocol::send(control.as_fd(), &failed(), &[]) {
            Ok(()) => Refused::Answered,
            Err(_) => Refused::Gone,
        },
        Ok(None) | Err(_) => Refused::Gone,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_no_request_to_refuse() {
        let (holder, server) = protocol::socket_pair().unwrap();
        let stream = Stream {
            device: 1,
            inode: 2,
        };
        let request = Message::AddView { points: Vec::new() };
        for message in [Message::Stderr { stream }, request] {
            protocol::send(holder.as_fd(), &message, &[]).unwrap();
        }
        let mut heard = Vec::new();
        let mut refuse = || refuse(&server, "no", &mut |stream| heard.push(stream));
        assert_eq!(refuse(), Refused::Heard);
        assert_eq!(refuse(), Refused::Answered);
        let answer = protocol::receive(&holder)
            .unwrap()
            .map(|(answer, _)| answer);
        let reason = "no".to_owned();
        assert_eq!(answer, Some(Message::Failed { reason }));
        drop(holder);
        assert_eq!(refuse(), Refused::Gone);
        assert_eq!(heard, [stream]);
    }

    #[test]
    fn who_reads_nothing_is_not_waited_for() {
        let (holder, _server) = protocol::socket_pair().unwrap();
        let message = Message::Stderr {
            stream: Stream::default(),
        };
        let sent = (0..1_000_000)
            .take_while(|_| protocol::send_at_once(holder.as_fd(), &message).is_ok())
            .count();
        assert!((1..1_000_000).contains(&sent));
    }
}
