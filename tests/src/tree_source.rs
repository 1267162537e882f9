//! The source tree of the squashfs comparisons: everything a file system can hold and a format
//! reader can get wrong.

use std::ffi::{CString, OsStr};
use std::fs::{File, FileTimes};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt, lchown, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use rustix::fs::{CWD, FileType, Mode, XattrFlags, makedev, mknodat};

use crate::reading::Random;
use crate::userland::write;

/// Fills the empty directory `root`; needs root's rights for owners and devices.
///
/// # Panics
/// When the host refuses something.
pub fn fill(root: &Path) {
    names(&root.join("names"));
    sizes(&root.join("sizes"));
    sparse(&root.join("sparse"));
    links(&root.join("links"));
    special(&root.join("special"));
    modes(&root.join("modes"));
    times(&root.join("times"));
    attributes(&root.join("attributes"));
    deep(&root.join("deep"), 10);
    wide(&root.join("wide"), 3_000);
    twins(&root.join("twins"));
    for program in ["/bin/bash", "/bin/ls", "/usr/bin/python3"] {
        let name = Path::new(program)
            .file_name()
            .expect("a program has a name");
        let content = std::fs::read(program).unwrap_or_default();
        write(&root.join("programs").join(name), content);
    }
    std::fs::create_dir(root.join("empty")).expect("fresh");
}

/// A directory of `count` small files.
///
/// # Panics
/// When the host refuses.
pub fn wide(folder: &Path, count: usize) {
    make(folder);
    for index in 0..count {
        let path = folder.join(format!("entry-{index:06}-of-many"));
        let file = File::create(path).expect("fresh");
        if index % 100 == 0 {
            (&file)
                .write_all(format!("number {index}\n").as_bytes())
                .expect("room");
        }
    }
}

/// Where the few bytes of the file of [`huge`] lie.
pub const HUGE: u64 = (5 << 30) + 1;

/// A directory with one file of more than 4 GiB, nearly all of it a hole.
///
/// # Panics
/// When the host refuses.
pub fn huge(folder: &Path) {
    make(folder);
    let file = File::create_new(folder.join("huge")).expect("fresh");
    file.write_all_at(b"far", HUGE).expect("room");
}

fn make(folder: &Path) {
    std::fs::create_dir_all(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
}

/// Every byte that a name may hold, and the longest names.
fn names(folder: &Path) {
    make(folder);
    for byte in (1..=255u8).filter(|byte| *byte != b'/') {
        if byte != b'.' {
            write(&folder.join(OsStr::from_bytes(&[byte])), [byte]);
        }
        let mut name = b"in ".to_vec();
        name.extend([byte, byte]);
        write(&folder.join(OsStr::from_bytes(&name)), [byte, byte]);
    }
    for length in [200, 254, 255] {
        write(&folder.join("x".repeat(length)), length.to_string());
    }
    let all: Vec<u8> = (1..=255u8).filter(|byte| *byte != b'/').take(250).collect();
    write(&folder.join(OsStr::from_bytes(&all)), "all");
    make(&folder.join("...").join(" ").join("\n"));
}

/// Sizes on both sides of every block size, compressible, not compressible, and alternating.
fn sizes(folder: &Path) {
    let mut random = Random::new(1);
    let mut sizes = vec![0, 1, 2, 100, 511, 513];
    for block in [4096, 65_536, 131_072, 1_048_576] {
        sizes.extend([block - 1, block, block + 1, 2 * block, 2 * block + 77]);
    }
    sizes.extend([3_000_001]);
    for size in sizes {
        let text: Vec<u8> = (0_usize..)
            .flat_map(|line| format!("line {line} of a file of {size} bytes\n").into_bytes())
            .take(size)
            .collect();
        write(&folder.join(format!("text-{size}")), &text);
        if size <= 300_000 || size == 1_048_577 {
            write(&folder.join(format!("random-{size}")), random.bytes(size));
        }
    }
    let mut mixed = Vec::new();
    while mixed.len() < 1_500_000 {
        mixed.extend(random.bytes(70_000));
        mixed.extend(vec![b'm'; 90_000]);
    }
    write(&folder.join("mixed"), mixed);
    // Many tails for one fragment block, so that fragments have to be cut apart.
    for index in 0..300 {
        write(
            &folder.join(format!("tail-{index}")),
            format!("tail {index} ").repeat(index),
        );
    }
}

fn sparse(folder: &Path) {
    make(folder);
    let open = |name: &str| File::create_new(folder.join(name)).expect("fresh");
    open("hole-only")
        .set_len(16 << 20)
        .expect("holes cost nothing");
    open("hole-odd")
        .set_len((3 << 20) + 12_345)
        .expect("holes cost nothing");
    let file = open("hole-between");
    file.write_all_at(b"start", 0).expect("room");
    file.write_all_at(b"end", 5 << 20).expect("room");
    let file = open("hole-first");
    file.write_all_at(&vec![7; 200_000], 2 << 20).expect("room");
    let file = open("hole-last");
    file.write_all_at(&vec![9; 200_000], 0).expect("room");
    file.set_len(4 << 20).expect("holes cost nothing");
    write(&folder.join("zeros"), vec![0; 700_000]);
}

fn links(folder: &Path) {
    make(&folder.join("below"));
    write(&folder.join("one"), "shared");
    for name in ["two", "three", "below/four"] {
        std::fs::hard_link(folder.join("one"), folder.join(name)).expect("same file system");
    }
    write(&folder.join("large"), Random::new(4).bytes(400_000));
    std::fs::hard_link(folder.join("large"), folder.join("below/large")).expect("same");
    let link = |target: &[u8], name: &str| {
        symlink(OsStr::from_bytes(target), folder.join(name)).expect("fresh");
    };
    link(b"one", "to-one");
    link(b"/absolute/nowhere", "dangling");
    link(b"below/../below/./four", "roundabout");
    link(b"self", "self");
    link(&b"./".repeat(1_500), "dotted");
    link(&vec![b'l'; 4000], "long");
    link(b"\xff\xfe\n \x01", "odd");
    std::fs::hard_link(folder.join("to-one"), folder.join("below/to-one")).expect("same");
}

fn special(folder: &Path) {
    make(folder);
    let node = |name: &str, kind, mode, device| {
        let path = CString::new(folder.join(name).into_os_string().into_encoded_bytes());
        mknodat(
            CWD,
            path.expect("no NUL"),
            kind,
            Mode::from_raw_mode(mode),
            device,
        )
        .unwrap_or_else(|error| panic!("mknod {name}: {error}"));
    };
    node("fifo", FileType::Fifo, 0o640, 0);
    node("null", FileType::CharacterDevice, 0o666, makedev(1, 3));
    node("loop", FileType::BlockDevice, 0o660, makedev(7, 0));
    node(
        "large-major",
        FileType::CharacterDevice,
        0o600,
        makedev(4095, 1),
    );
    node(
        "large-minor",
        FileType::BlockDevice,
        0o600,
        makedev(259, 1_048_575),
    );
    drop(UnixListener::bind(folder.join("socket")).expect("a short path"));
    std::fs::hard_link(folder.join("fifo"), folder.join("fifo-too")).expect("same");
}

fn modes(folder: &Path) {
    make(folder);
    for mode in [
        0o000, 0o400, 0o444, 0o600, 0o777, 0o4755, 0o2755, 0o6711, 0o1644,
    ] {
        let path = folder.join(format!("mode-{mode:04o}"));
        write(&path, format!("{mode:o}"));
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).expect("just made");
    }
    for mode in [0o700, 0o1777, 0o2775, 0o555] {
        let path = folder.join(format!("folder-{mode:04o}"));
        make(&path);
        write(&path.join("file"), "x");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).expect("just made");
    }
    for (index, id) in [1, 65_534, 65_535, 65_536, 100_000, 4_000_000_000_u32]
        .iter()
        .enumerate()
    {
        let path = folder.join(format!("owner-{index}"));
        write(&path, id.to_string());
        lchown(&path, Some(*id), Some(id.wrapping_mul(3))).expect("root may");
    }
}

fn times(folder: &Path) {
    make(folder);
    for seconds in [
        0,
        1,
        1_000_000_000,
        2_147_483_647,
        2_147_483_648,
        4_294_967_295_u64,
    ] {
        let path = folder.join(format!("time-{seconds}"));
        write(&path, "t");
        let time = UNIX_EPOCH + Duration::new(seconds, 999_999_999);
        File::options()
            .write(true)
            .open(&path)
            .and_then(|file| file.set_times(FileTimes::new().set_modified(time)))
            .expect("just made");
    }
}

fn attributes(folder: &Path) {
    make(folder);
    let mut random = Random::new(9);
    let large = random.bytes(3_000);
    let set = |path: &Path, name: &str, value: &[u8]| {
        rustix::fs::lsetxattr(path, name, value, XattrFlags::empty())
            .unwrap_or_else(|error| panic!("{name} of {}: {error}", path.display()));
    };
    let file = |name: &str| {
        let path = folder.join(name);
        write(&path, name);
        path
    };
    set(&file("one"), "user.one", b"1");
    set(&file("empty-value"), "user.empty", b"");
    set(&file("binary"), "user.binary", &[0, 255, 10, 0]);
    for name in ["large-a", "large-b", "large-c"] {
        // Equal large values are stored once, away from the inodes' own lists.
        set(&file(name), "user.large", &large);
    }
    let path = file("many");
    for index in 0..40 {
        set(
            &path,
            &format!("user.number.{index:02}"),
            format!("value {index}").as_bytes(),
        );
    }
    let path = file("all-kinds");
    set(&path, "user.k", b"user");
    set(&path, "trusted.k", b"trusted");
    set(&path, "security.k", b"security");
    // cap_net_raw=ep, as setcap(8) writes it.
    let capability = [
        1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    ];
    set(&file("capable"), "security.capability", &capability);
    let path = folder.join("on-folder");
    make(&path);
    set(&path, "user.folder", b"yes");
    let path = folder.join("on-link");
    symlink("one", &path).expect("fresh");
    set(&path, "trusted.link", b"yes");
    for index in 0..400 {
        // Enough different lists for the table to need several metadata blocks.
        set(
            &file(&format!("list-{index}")),
            "user.own",
            format!("{index}").repeat(9).as_bytes(),
        );
    }
}

fn deep(folder: &Path, levels: u32) {
    make(folder);
    write(
        &folder.join(format!("level-{levels}")),
        "x".repeat(levels as usize * 100),
    );
    if levels > 0 {
        deep(&folder.join("left"), levels - 1);
        deep(&folder.join("right"), levels - 1);
    }
}

/// Files with equal content, which mksquashfs stores once.
fn twins(folder: &Path) {
    let content = Random::new(12).bytes(300_000);
    for name in ["castor", "pollux"] {
        write(&folder.join(name), &content);
    }
}
