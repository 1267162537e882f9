use std::io::Cursor;

use super::*;
use crate::layers::EntryKind;
use crate::pack::Metadata;

/// Puts an archive together, header by header.
#[derive(Default)]
struct Archive(Vec<u8>);

impl Archive {
    /// A header of the GNU kind with octal numbers.
    fn header(&mut self, kind: u8, name: &[u8], size: usize, change: impl FnOnce(&mut [u8; 512])) {
        let mut block = [0; 512];
        block[..name.len()].copy_from_slice(name);
        block[100..107].copy_from_slice(b"0000644");
        block[108..115].copy_from_slice(b"0001750");
        block[116..123].copy_from_slice(b"0000007");
        block[124..135].copy_from_slice(format!("{size:011o}").as_bytes());
        block[136..147].copy_from_slice(b"00000000012");
        block[156] = kind;
        block[257..263].copy_from_slice(b"ustar\0");
        block[263..265].copy_from_slice(b"00");
        change(&mut block);
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
        block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        self.0.extend(block);
    }

    fn content(&mut self, bytes: &[u8]) {
        self.0.extend(bytes);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
    }

    fn add(&mut self, kind: u8, name: &str, content: &[u8]) -> &mut Self {
        self.header(kind, name.as_bytes(), content.len(), |_| {});
        self.content(content);
        self
    }

    fn link(&mut self, kind: u8, name: &str, target: &str) -> &mut Self {
        self.header(kind, name.as_bytes(), 0, |block| {
            block[157..157 + target.len()].copy_from_slice(target.as_bytes());
        });
        self
    }

    fn pax(&mut self, records: &[(&str, &[u8])]) -> &mut Self {
        let mut bytes = Vec::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            let mut length = rest + 1;
            while length != rest + length.to_string().len() {
                length = rest + length.to_string().len();
            }
            bytes.extend(format!("{length} {key}=").as_bytes());
            bytes.extend(*value);
            bytes.push(b'\n');
        }
        self.add(b'x', "PaxHeaders/x", &bytes)
    }

    fn end(&self) -> Vec<u8> {
        [&*self.0, &[0; 1024]].concat()
    }
}

type Read2 = Vec<(Entry, Vec<u8>)>;

fn read(bytes: Vec<u8>) -> Result<Read2, LayerError> {
    read_within(bytes, Limits::default())
}

fn read_within(bytes: Vec<u8>, limits: Limits) -> Result<Read2, LayerError> {
    let mut layer = TarLayer::new("layer", Box::new(Cursor::new(bytes)), limits);
    let mut entries = Vec::new();
    layer.visit(&mut |entry, content| {
        let mut bytes = Vec::new();
        content
            .take(1 << 20)
            .read_to_end(&mut bytes)
            .map_err(|source| LayerError::Read {
                layer: "content".into(),
                source,
            })?;
        entries.push((entry, bytes));
        Ok(())
    })?;
    Ok(entries)
}

#[track_caller]
fn refused(bytes: Vec<u8>, reason: &str) {
    let error = read(bytes).unwrap_err();
    let text = match &error {
        LayerError::Read { source, .. } => format!("{error}: {source}"),
        _ => error.to_string(),
    };
    assert!(text.contains(reason), "{text}");
}

fn path(entry: &Entry) -> &str {
    std::str::from_utf8(&entry.path).unwrap()
}

#[test]
fn kinds_of_members() {
    let mut archive = Archive::default();
    archive
        .add(b'5', "./d/", b"")
        .add(b'0', "./d/f", b"content")
        .add(0, "old", b"x")
        .add(0, "old-directory/", b"")
        .add(b'7', "contiguous", b"y")
        .link(b'2', "link", "../../etc")
        .link(b'1', "hard", "./d/f")
        .add(b'6', "pipe", b"");
    archive.header(b'3', b"null", 0, |block| {
        block[329..336].copy_from_slice(b"0000001");
        block[337..344].copy_from_slice(b"0000003");
    });
    let entries = read(archive.end()).unwrap();
    let found: Vec<_> = entries
        .iter()
        .map(|(entry, content)| (path(entry), entry.kind.clone(), content.as_slice()))
        .collect();
    let file = |size| EntryKind::File { size };
    assert_eq!(
        found,
        [
            ("d", EntryKind::Directory, &b""[..]),
            ("d/f", file(7), b"content"),
            ("old", file(1), b"x"),
            ("old-directory", EntryKind::Directory, b""),
            ("contiguous", file(1), b"y"),
            (
                "link",
                EntryKind::Symlink {
                    target: b"../../etc".into()
                },
                b""
            ),
            (
                "hard",
                EntryKind::HardLink {
                    target: b"d/f".into()
                },
                b""
            ),
            ("pipe", EntryKind::Fifo, b""),
            ("null", EntryKind::CharDevice(0x103), b""),
        ]
    );
    assert_eq!(
        entries[1].0.metadata,
        Metadata {
            permissions: 0o644,
            uid: 1000,
            gid: 7,
            mtime: 10,
            xattrs: [].into(),
        }
    );
}

#[test]
fn names_that_do_not_fit_a_header() {
    let long = "directory/".repeat(30) + "file";
    let mut archive = Archive::default();
    archive
        .add(b'L', "././@LongLink", format!("{long}\0").as_bytes())
        .add(b'K', "././@LongLink", format!("{long}\0").as_bytes())
        .link(b'2', "short", "short");
    archive
        .pax(&[("path", long.as_bytes()), ("linkpath", long.as_bytes())])
        .link(b'1', "short", "short");
    archive.header(b'0', b"name", 0, |block| {
        block[345..351].copy_from_slice(b"prefix");
    });
    let entries = read(archive.end()).unwrap();
    assert_eq!(path(&entries[0].0), long);
    assert_eq!(path(&entries[1].0), long);
    let target = long.clone().into_bytes();
    assert_eq!(
        entries[0].0.kind,
        EntryKind::Symlink {
            target: target.clone()
        }
    );
    assert_eq!(entries[1].0.kind, EntryKind::HardLink { target });
    assert_eq!(path(&entries[2].0), "prefix/name");
}

#[test]
fn extended_headers() {
    let mut archive = Archive::default();
    archive.add(b'g', "pax_global_header", b"20 comment=whatever\n");
    archive.pax(&[
        ("size", b"3"),
        ("uid", b"70000"),
        ("gid", b"70001"),
        ("mtime", b"1700000000.987"),
        ("SCHILY.xattr.user.a", b"\0=\n"),
        ("LIBARCHIVE.xattr.user.a", b"bm8="),
        ("LIBARCHIVE.xattr.user.%62", b"eWVz"),
        ("unknown", b"x"),
        ("path", b""),
    ]);
    archive.header(b'0', b"file", 0, |_| {});
    archive.content(b"abc");
    let entries = read(archive.end()).unwrap();
    let (entry, content) = &entries[0];
    assert_eq!(content, b"abc");
    assert_eq!(path(entry), "file");
    let metadata = &entry.metadata;
    assert_eq!((metadata.uid, metadata.gid), (70_000, 70_001));
    assert_eq!(metadata.mtime, 1_700_000_000);
    let xattrs: Vec<(&[u8], &[u8])> = metadata.xattrs.iter().map(|(n, v)| (&**n, &**v)).collect();
    assert_eq!(
        xattrs,
        [(&b"user.a"[..], &b"\0=\n"[..]), (b"user.b", b"yes")]
    );
}

#[test]
fn files_with_holes_in_all_dialects() {
    let expected = [
        vec![0; 1000],
        b"abc".to_vec(),
        vec![0; 97],
        b"de".to_vec(),
        vec![0; 98],
    ]
    .concat();
    let mut archive = Archive::default();
    archive.header(b'S', b"gnu", 5, |block| {
        block[257..265].copy_from_slice(b"ustar  \0");
        for (place, number) in [1000, 3, 1100, 2, 1200, 0].into_iter().enumerate() {
            let at = 386 + 12 * place;
            block[at..at + 11].copy_from_slice(format!("{number:011o}").as_bytes());
        }
        block[483..494].copy_from_slice(format!("{:011o}", 1200).as_bytes());
    });
    archive.content(b"abcde");
    archive
        .pax(&[
            ("GNU.sparse.size", b"1200"),
            ("GNU.sparse.numblocks", b"2"),
            ("GNU.sparse.offset", b"1000"),
            ("GNU.sparse.numbytes", b"3"),
            ("GNU.sparse.offset", b"1100"),
            ("GNU.sparse.numbytes", b"2"),
        ])
        .add(b'0', "pax-0.0", b"abcde");
    archive
        .pax(&[
            ("GNU.sparse.size", b"1200"),
            ("GNU.sparse.name", b"pax-0.1"),
            ("GNU.sparse.map", b"1000,3,1100,2"),
        ])
        .add(b'0', "GNUSparseFile.1/x", b"abcde");
    let mut stored = b"3\n1000\n3\n1100\n2\n1200\n0\n".to_vec();
    stored.resize(512, 0);
    stored.extend(b"abcde");
    archive
        .pax(&[
            ("GNU.sparse.major", b"1"),
            ("GNU.sparse.minor", b"0"),
            ("GNU.sparse.name", b"pax-1.0"),
            ("GNU.sparse.realsize", b"1200"),
        ])
        .add(b'0', "GNUSparseFile.1/x", &stored)
        .add(b'0', "behind", b"x");
    let entries = read(archive.end()).unwrap();
    let names: Vec<_> = entries.iter().map(|(entry, _)| path(entry)).collect();
    assert_eq!(names, ["gnu", "pax-0.0", "pax-0.1", "pax-1.0", "behind"]);
    for (entry, content) in &entries[..4] {
        assert!(*content == expected, "{}", path(entry));
        assert_eq!(entry.kind, EntryKind::File { size: 1200 });
    }
}

#[test]
fn whiteouts() {
    let mut archive = Archive::default();
    archive
        .add(b'0', "d/.wh.x", b"")
        .add(b'0', ".wh.y", b"content")
        .add(b'0', "d/.wh..wh..opq", b"")
        .add(b'0', ".wh..wh..opq", b"")
        .add(b'0', ".wh..wh.plnk", b"")
        .add(b'0', "x.wh.y", b"");
    let entries = read(archive.end()).unwrap();
    let found: Vec<_> = entries
        .iter()
        .map(|(entry, _)| (path(entry), entry.kind.clone()))
        .collect();
    assert_eq!(
        found,
        [
            ("d/x", EntryKind::Whiteout),
            ("y", EntryKind::Whiteout),
            ("d", EntryKind::Opaque),
            ("", EntryKind::Opaque),
            ("x.wh.y", EntryKind::File { size: 0 }),
        ]
    );
    for name in [".wh.", "d/.wh..", ".wh..."] {
        refused(
            Archive::default().add(b'0', name, b"").end(),
            "names no file",
        );
    }
}

#[test]
fn where_archives_end() {
    let mut archive = Archive::default();
    archive.add(b'0', "a", b"1");
    let one = |bytes: Vec<u8>| assert_eq!(read(bytes).unwrap().len(), 1);
    one(archive.end());
    one(archive.0.clone());
    one([&*archive.0, &[0; 512]].concat());
    one([archive.end(), vec![0; 8192]].concat());
    one([archive.end(), b"whatever follows".to_vec()].concat());
    assert!(read(Vec::new()).unwrap().is_empty());
    refused(
        [&*archive.0, &[0; 512], &*archive.end()].concat(),
        "empty header",
    );
    // Without what would fill the last block.
    one(archive.0[..513].to_vec());
    one(archive.0[..600].to_vec());
    for cut in [1, 100, 511, 512] {
        refused(archive.0[..cut].to_vec(), "cut off");
    }
    refused(vec![b'x'; 2048], "no tar archive");
    let mut damaged = archive.end();
    damaged[3] = b'x';
    refused(damaged, "checksum");
    refused(Archive::default().pax(&[("path", b"x")]).end(), "announces");
}

#[test]
fn what_no_layer_may_say() {
    let mut archive = Archive::default();
    refused(
        archive
            .add(b'0', &"a".repeat(100), b"")
            .pax(&[("path", &[b'a'; 256])])
            .add(b'0', "x", b"")
            .end(),
        "255",
    );
    let one = |change: &dyn Fn(&mut Archive)| {
        let mut archive = Archive::default();
        change(&mut archive);
        archive.end()
    };
    let pax = |key: &'static str, value: &'static [u8]| {
        one(&|archive| {
            archive.pax(&[(key, value)]).add(b'0', "x", b"");
        })
    };
    refused(pax("path", b"a\0b"), "NUL");
    refused(pax("path", &[b'/'; 5000]), "4095");
    refused(pax("size", b"-1"), "size");
    refused(pax("size", b"1152921504606846976"), "larger than");
    refused(pax("size", b"18446744073709551615"), "larger than");
    refused(pax("uid", b"-1"), "user id");
    refused(pax("gid", b"5000000000"), "group id");
    refused(pax("SCHILY.xattr.", b"x"), "extended attribute");
    refused(pax("GNU.sparse.map", b"1,2,3"), "map");
    refused(pax("GNU.sparse.offset", b"1"), "map");
    refused(
        one(&|archive| {
            archive
                .pax(&[
                    ("GNU.sparse.size", b"1152921504606846976"),
                    ("GNU.sparse.map", b"0,1"),
                ])
                .add(b'0', "x", b"1");
        }),
        "larger than",
    );
    refused(
        one(&|archive| {
            archive
                .pax(&[("GNU.sparse.size", b"10"), ("GNU.sparse.map", b"5,2,4,2")])
                .add(b'0', "x", b"1234");
        }),
        "overlap",
    );
    refused(
        one(&|archive| {
            archive.add(b'x', "x", b"12 path=a");
        }),
        "damaged",
    );
    refused(
        one(&|archive| {
            archive.add(b'x', "x", b"99999 path=a\n");
        }),
        "damaged",
    );
    refused(
        one(&|archive| {
            archive.add(b'Q', "x", b"");
        }),
        "unknown kind",
    );
    refused(
        one(&|archive| {
            archive.link(b'2', "x", "");
        }),
        "without a target",
    );
    refused(
        one(&|archive| archive.header(b'L', b"x", 2 << 20, |_| {})),
        "too long",
    );
    refused(
        one(&|archive| {
            archive.header(b'0', b"x", 0, |block| block[124..136].fill(0xff));
        }),
        "damaged size",
    );
    refused(
        one(&|archive| {
            archive.header(b'4', b"x", 0, |block| {
                block[329..336].copy_from_slice(b"7777777");
            });
        }),
        "device",
    );
}

#[test]
fn limits_hold() {
    let mut archive = Archive::default();
    archive.add(b'0', "a", b"1").add(b'0', "b", b"2");
    let limits = Limits {
        entries: 1,
        ..Limits::default()
    };
    assert!(read_within(archive.end(), limits).is_err());
    let limits = Limits {
        unpacked: 1,
        ..Limits::default()
    };
    assert!(read_within(archive.end(), limits).is_err());
    assert!(read(archive.end()).is_ok());
}
