//! Messages between launcher, holder and server: one per packet of a `SOCK_SEQPACKET` socket.
//!
//! ```text
//! message = kind: u8, then fields; text and paths = u32 length + bytes; lists = u32 count + items
//! ```
//! Both ends are the same user's processes of the same version, checked; a message that does not
//! parse is still only an error.

use std::ffi::OsString;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};

use crate::rootfs::{BindPoint, BindPointKind};

/// Largest message: below the default socket buffer, enough for hundreds of bind points.
const MAX_MESSAGE_BYTES: usize = 128 << 10;

/// Descriptors in one message at most.
const MAX_DESCRIPTORS: usize = 4;

/// The file behind a descriptor: device and inode. The default is no file.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Stream {
    /// `st_dev`
    pub device: u64,
    /// `st_ino`
    pub inode: u64,
}

impl Stream {
    /// What `descriptor` leads to.
    pub fn of(descriptor: impl AsFd) -> Self {
        rustix::fs::fstat(descriptor).map_or_else(
            |_| Self::default(),
            |stat| Self {
                device: stat.st_dev,
                inode: stat.st_ino,
            },
        )
    }
}

/// One message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Message {
    /// Starter to new holder: serve the image in descriptor 0 to those who connect to the socket in
    /// descriptor 1, whose name in the runtime directory is that of the key, in a user namespace with
    /// these ids (none: the usual ones).
    Start {
        key: String,
        runtime_dir: PathBuf,
        image: PathBuf,
        ids: String,
    },
    /// Launcher to holder: a tree in which these points exist. Errors may be told on that stream.
    Join {
        key: String,
        points: Vec<BindPoint>,
        stderr: Stream,
    },
    /// Holder to server: errors may be told on this stream. Not answered.
    Stderr { stream: Stream },
    /// Holder to launcher: descriptor 0 is the tree, descriptor 1, if there, the user namespace.
    Joined,
    /// Launcher to holder, and on to the server: figures, please.
    Statistics { key: String },
    /// The figures, as JSON text.
    Figures { json: String },
    /// Holder to server: add this view. Answered by [`Message::ViewAdded`].
    AddView { points: Vec<BindPoint> },
    /// Descriptor 0 is the root directory of the view.
    ViewAdded,
    /// It did not work.
    Failed { reason: String },
}

const START: u8 = 1;
const JOIN: u8 = 2;
const JOINED: u8 = 3;
const STATISTICS: u8 = 4;
const FIGURES: u8 = 5;
const ADD_VIEW: u8 = 6;
const VIEW_ADDED: u8 = 7;
const FAILED: u8 = 8;
const STDERR: u8 = 9;

/// A new pair of connected sockets.
pub(crate) fn socket_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
    Ok(socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?)
}

/// Sends `message` with `descriptors`.
pub(crate) fn send(
    socket: BorrowedFd<'_>,
    message: &Message,
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    send_with(socket, message, descriptors, SendFlags::empty())
}

/// Sends `message` unless its receiver is so far behind that there is no room for it.
pub(crate) fn send_at_once(socket: BorrowedFd<'_>, message: &Message) -> io::Result<()> {
    send_with(socket, message, &[], SendFlags::DONTWAIT)
}

fn send_with(
    socket: BorrowedFd<'_>,
    message: &Message,
    descriptors: &[BorrowedFd<'_>],
    flags: SendFlags,
) -> io::Result<()> {
    let bytes = message.encode();
    if bytes.len() > MAX_MESSAGE_BYTES {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "too many or too long bind points",
        ));
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    loop {
        // NOSIGNAL: a peer that went away is an error to handle, not a signal.
        let sent = rustix::net::sendmsg(
            socket,
            &[IoSlice::new(&bytes)],
            &mut control,
            flags | SendFlags::NOSIGNAL,
        );
        match sent {
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Receives a message and its descriptors; `None` when the peer closed.
pub(crate) fn receive(socket: impl AsFd) -> io::Result<Option<(Message, Vec<OwnedFd>)>> {
    let mut bytes = vec![0; MAX_MESSAGE_BYTES];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        let received = rustix::net::recvmsg(
            &socket,
            &mut [IoSliceMut::new(&mut bytes)],
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        );
        match received {
            Ok(received) => break received,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    };
    let mut descriptors = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    if received.bytes == 0 {
        return Ok(None);
    }
    let message = Message::decode(bytes.get(..received.bytes).unwrap_or_default())
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "malformed message"))?;
    Ok(Some((message, descriptors)))
}

impl Message {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(256);
        match self {
            Self::Start {
                key,
                runtime_dir,
                image,
                ids,
            } => {
                out.push(START);
                put_bytes(&mut out, key.as_bytes());
                put_bytes(&mut out, runtime_dir.as_os_str().as_bytes());
                put_bytes(&mut out, image.as_os_str().as_bytes());
                put_bytes(&mut out, ids.as_bytes());
            }
            Self::Join {
                key,
                points,
                stderr,
            } => {
                out.push(JOIN);
                put_bytes(&mut out, key.as_bytes());
                put_points(&mut out, points);
                put_stream(&mut out, *stderr);
            }
            Self::Stderr { stream } => {
                out.push(STDERR);
                put_stream(&mut out, *stream);
            }
            Self::Joined => out.push(JOINED),
            Self::Statistics { key } => {
                out.push(STATISTICS);
                put_bytes(&mut out, key.as_bytes());
            }
            Self::Figures { json } => {
                out.push(FIGURES);
                put_bytes(&mut out, json.as_bytes());
            }
            Self::AddView { points } => {
                out.push(ADD_VIEW);
                put_points(&mut out, points);
            }
            Self::ViewAdded => out.push(VIEW_ADDED),
            Self::Failed { reason } => {
                out.push(FAILED);
                put_bytes(&mut out, reason.as_bytes());
            }
        }
        out
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (kind, rest) = bytes.split_first()?;
        let mut reader = Reader { rest };
        let message = match *kind {
            START => Self::Start {
                key: reader.text()?,
                runtime_dir: reader.path()?,
                image: reader.path()?,
                ids: reader.text()?,
            },
            JOIN => Self::Join {
                key: reader.text()?,
                points: reader.points()?,
                stderr: reader.stream()?,
            },
            STDERR => Self::Stderr {
                stream: reader.stream()?,
            },
            JOINED => Self::Joined,
            STATISTICS => Self::Statistics {
                key: reader.text()?,
            },
            FIGURES => Self::Figures {
                json: reader.text()?,
            },
            ADD_VIEW => Self::AddView {
                points: reader.points()?,
            },
            VIEW_ADDED => Self::ViewAdded,
            FAILED => Self::Failed {
                reason: reader.text()?,
            },
            _ => return None,
        };
        reader.rest.is_empty().then_some(message)
    }
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    // A longer one is refused by `send` for its length.
    let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&len.to_ne_bytes());
    out.extend_from_slice(bytes);
}

fn put_points(out: &mut Vec<u8>, points: &[BindPoint]) {
    let count = u32::try_from(points.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&count.to_ne_bytes());
    for point in points {
        let directory = point.kind == BindPointKind::Directory;
        out.push(u8::from(directory) | u8::from(point.only_through_directories) << 1);
        put_bytes(out, point.path.as_os_str().as_bytes());
    }
}

fn put_stream(out: &mut Vec<u8>, stream: Stream) {
    out.extend_from_slice(&stream.device.to_ne_bytes());
    out.extend_from_slice(&stream.inode.to_ne_bytes());
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn u32(&mut self) -> Option<u32> {
        let (value, rest) = self.rest.split_first_chunk::<4>()?;
        self.rest = rest;
        Some(u32::from_ne_bytes(*value))
    }

    fn u64(&mut self) -> Option<u64> {
        let (value, rest) = self.rest.split_first_chunk::<8>()?;
        self.rest = rest;
        Some(u64::from_ne_bytes(*value))
    }

    fn stream(&mut self) -> Option<Stream> {
        Some(Stream {
            device: self.u64()?,
            inode: self.u64()?,
        })
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let len = self.u32()? as usize;
        let (bytes, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(bytes)
    }

    fn text(&mut self) -> Option<String> {
        Some(String::from_utf8_lossy(self.bytes()?).into_owned())
    }

    fn path(&mut self) -> Option<PathBuf> {
        Some(OsString::from_vec(self.bytes()?.to_vec()).into())
    }

    fn points(&mut self) -> Option<Vec<BindPoint>> {
        let count = self.u32()?;
        // Grows as items are found, not as many as are claimed.
        let mut points = Vec::new();
        for _ in 0..count {
            let (flags, rest) = self.rest.split_first()?;
            self.rest = rest;
            let kind = if flags & 1 != 0 {
                BindPointKind::Directory
            } else {
                BindPointKind::File
            };
            let only_through_directories = flags & 2 != 0;
            points.push(BindPoint {
                path: self.path()?,
                kind,
                only_through_directories,
            });
        }
        Some(points)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples() -> Vec<Message> {
        let point = |path: &str, kind, only_through_directories| BindPoint {
            path: path.into(),
            kind,
            only_through_directories,
        };
        let points = vec![
            point("/home/u", BindPointKind::Directory, false),
            point("/etc/hosts", BindPointKind::File, false),
            point("/work", BindPointKind::Directory, true),
        ];
        vec![
            Message::Start {
                key: "k".into(),
                runtime_dir: "/r".into(),
                image: "/i".into(),
                ids: "0:1:1/0:1:1".into(),
            },
            Message::Join {
                key: "k".into(),
                points: points.clone(),
                stderr: Stream {
                    device: 1,
                    inode: u64::MAX,
                },
            },
            Message::Stderr {
                stream: Stream::default(),
            },
            Message::Joined,
            Message::Statistics { key: String::new() },
            Message::Figures { json: "{}".into() },
            Message::AddView { points },
            Message::ViewAdded,
            Message::Failed {
                reason: "no".into(),
            },
        ]
    }

    #[test]
    fn messages_come_back() {
        for message in samples() {
            assert_eq!(Message::decode(&message.encode()), Some(message));
        }
    }

    #[test]
    fn every_cut_is_refused() {
        for message in samples() {
            let bytes = message.encode();
            for len in 0..bytes.len() {
                assert_eq!(
                    Message::decode(&bytes[..len]),
                    None,
                    "{message:?} cut to {len}"
                );
            }
            let mut longer = bytes.clone();
            longer.push(0);
            assert_eq!(Message::decode(&longer), None);
        }
    }

    #[test]
    fn descriptors_travel() {
        let (one, two) = socket_pair().unwrap();
        let file = std::fs::File::open("/proc/self/exe").unwrap();
        send(one.as_fd(), &Message::Joined, &[file.as_fd()]).unwrap();
        let (message, descriptors) = receive(&two).unwrap().unwrap();
        assert_eq!(message, Message::Joined);
        let ino = |fd: &OwnedFd| rustix::fs::fstat(fd).unwrap().st_ino;
        assert_eq!(
            ino(&descriptors[0]),
            rustix::fs::fstat(&file).unwrap().st_ino
        );
        drop(one);
        assert!(receive(&two).unwrap().is_none());
    }
}
