//! Requests as the kernel writes them, replies as it reads them, over a socket for a device.

use std::os::fd::{AsFd, OwnedFd};

use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType};

use super::*;
use crate::fuse::reply;
use crate::tree::sample::Sample;

/// Sends one request through the handler: error number and body of the reply.
struct Device {
    file_system: FileSystem,
    near: OwnedFd,
    far: OwnedFd,
}

impl Device {
    fn new(entries: &[&'static str], layout: RootLayout, owners: Owners) -> Self {
        let tree = Arc::new(Sample::new(entries));
        let (near, far) = rustix::net::socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .unwrap();
        Self {
            file_system: FileSystem::new(tree, owners, layout, 0),
            near,
            far,
        }
    }

    fn ask(&self, opcode: u32, nodeid: u64, body: &[u8]) -> (i32, Vec<u8>) {
        let mut message = Vec::new();
        message.extend_from_slice(&(40 + body.len() as u32).to_ne_bytes());
        message.extend_from_slice(&opcode.to_ne_bytes());
        message.extend_from_slice(&77_u64.to_ne_bytes());
        message.extend_from_slice(&nodeid.to_ne_bytes());
        message.extend_from_slice(&[0; 16]);
        message.extend_from_slice(body);
        let request = Request::parse(&message).unwrap();
        let replier = Replier::new(self.near.as_fd());
        self.file_system
            .handle(&request, &mut Scratch::default(), replier)
            .unwrap();
        let mut reply = vec![0; 1 << 16];
        let (len, _) = rustix::net::recv(&self.far, &mut reply[..], RecvFlags::DONTWAIT).unwrap();
        reply.truncate(len);
        assert_eq!(abi::u32_at(&reply, 0), Some(len as u32), "length field");
        assert_eq!(abi::u64_at(&reply, 8), Some(77), "unique");
        let errno = abi::u32_at(&reply, 4).unwrap().cast_signed();
        (-errno, reply.split_off(16))
    }

    fn lookup(&self, dir: u64, name: &str) -> u64 {
        let (errno, body) = self.ask(opcode::LOOKUP, dir, format!("{name}\0").as_bytes());
        assert_eq!(errno, 0);
        assert_eq!(body.len(), abi::ENTRY_OUT_BYTES);
        abi::u64_at(&body, 0).unwrap()
    }

    /// All names of a directory, read in replies of at most `size` bytes.
    fn list(&self, dir: u64, size: u32, opcode: u32) -> Vec<String> {
        let entry_out = if opcode == opcode::READDIRPLUS {
            abi::ENTRY_OUT_BYTES
        } else {
            0
        };
        let (mut names, mut offset) = (Vec::new(), 0_u64);
        loop {
            let (errno, body) = self.ask(opcode, dir, &read_in(offset, size));
            assert_eq!(errno, 0);
            assert!(body.len() <= size as usize);
            if body.is_empty() {
                return names;
            }
            let mut rest = &body[..];
            while !rest.is_empty() {
                let dirent = &rest[entry_out..];
                offset = abi::u64_at(dirent, 8).unwrap();
                let len = abi::u32_at(dirent, 16).unwrap() as usize;
                names.push(String::from_utf8(dirent[24..24 + len].to_vec()).unwrap());
                rest = &rest[entry_out + reply::dirent_len(len)..];
            }
        }
    }
}

fn read_in(offset: u64, size: u32) -> Vec<u8> {
    let mut body = vec![0; 8];
    body.extend_from_slice(&offset.to_ne_bytes());
    body.extend_from_slice(&size.to_ne_bytes());
    body.extend_from_slice(&[0; 20]);
    body
}

fn point(path: &str, directory: bool) -> Point {
    Point {
        path: path.into(),
        directory,
        only_through_directories: false,
    }
}

#[test]
fn names_are_found_or_are_gone_for_good() {
    let device = Device::new(&["etc/", "etc/hosts"], RootLayout::Image, Owners::Recorded);
    let etc = device.lookup(1, "etc");
    assert_ne!(device.lookup(etc, "hosts"), 0);
    assert_eq!(device.lookup(etc, "none"), 0, "a negative entry");
}

#[test]
fn directories_are_listed_whole_in_pages_of_any_size() {
    let names: Vec<String> = (0..50)
        .map(|n| format!("{n:02}-{}", "x".repeat(n)))
        .collect();
    let leaked: Vec<&'static str> = names
        .iter()
        .map(|name| &*Box::leak(name.clone().into_boxed_str()))
        .collect();
    let device = Device::new(&leaked, RootLayout::Views, Owners::Recorded);
    let points = [point("/a", true), point("/b", false), point("/c/d", true)];
    let view = device.file_system.add_view(&points).unwrap();
    let root = device.lookup(1, &view.get().to_string());
    let mut expected = vec![".".to_owned(), "..".to_owned()];
    expected.extend(names);
    expected.extend(["a", "b", "c"].map(str::to_owned));
    for opcode in [opcode::READDIR, opcode::READDIRPLUS] {
        for size in [280, 300, 1000, 4096, 32768] {
            assert_eq!(device.list(root, size, opcode), expected, "{size}");
        }
    }
    let extra = device.lookup(root, "c");
    assert_eq!(
        device.list(extra, 4096, opcode::READDIRPLUS),
        [".", "..", "d"]
    );
}

#[test]
fn views_share_files_but_not_directories() {
    let device = Device::new(&["dir/", "dir/file"], RootLayout::Views, Owners::Recorded);
    device.file_system.add_view(&[]).unwrap();
    device.file_system.add_view(&[point("/x", true)]).unwrap();
    let [one, two] = ["1", "2"].map(|view| device.lookup(device.lookup(1, view), "dir"));
    assert_ne!(one, two);
    assert_eq!(device.lookup(one, "file"), device.lookup(two, "file"));
    let (errno, _) = device.ask(opcode::LOOKUP, 1, b"3\0");
    assert_eq!(errno, Errno::NOENT.raw_os_error(), "it may still come");
}

#[test]
fn content_and_holes_arrive() {
    let device = Device::new(&["file"], RootLayout::Image, Owners::Recorded);
    let file = device.lookup(1, "file");
    assert_eq!(
        device.ask(opcode::READ, file, &read_in(0, 100)),
        (0, b"content\0".to_vec())
    );
    assert_eq!(
        device.ask(opcode::READ, file, &read_in(3, 2)),
        (0, b"te".to_vec())
    );
}

#[test]
fn owners_are_mapped_to_one() {
    let owners = Owners::All { uid: 1234, gid: 99 };
    let device = Device::new(&["file"], RootLayout::Image, owners);
    let (_, body) = device.ask(opcode::GETATTR, device.lookup(1, "file"), &[0; 16]);
    assert_eq!(abi::u32_at(&body, 16 + 68), Some(1234));
    assert_eq!(abi::u32_at(&body, 16 + 72), Some(99));
}

#[test]
fn what_cannot_be_is_refused() {
    let device = Device::new(&["file", "dir/"], RootLayout::Image, Owners::Recorded);
    let file = device.lookup(1, "file");
    for (opcode, node, body, expected) in [
        (opcode::GETATTR, 12345, vec![], Errno::STALE),
        (16, file, vec![0; 40], Errno::ROFS),
        (9, 1, vec![0; 16], Errno::ROFS),
        (14, file, vec![0; 8], Errno::NOSYS),
        (27, 1, vec![0; 8], Errno::NOSYS),
        (22, file, b"\0\0\0\0\0\0\0\0user.x\0".to_vec(), Errno::NOSYS),
        (9999, 1, vec![], Errno::NOSYS),
        (opcode::READ, file, vec![0; 3], Errno::INVAL),
        (opcode::READDIR, file, read_in(0, 4096), Errno::NOTDIR),
        (opcode::READLINK, file, vec![], Errno::INVAL),
        (opcode::LOOKUP, file, b"x\0".to_vec(), Errno::NOTDIR),
    ] {
        let (errno, _) = device.ask(opcode, node, &body);
        assert_eq!(errno, expected.raw_os_error(), "opcode {opcode}");
    }
}
