//! What `skiff mount` shows equals what the kernel's own squashfs shows, for images of every kind:
//! as root and as an ordinary user, by a walk, by eight threads at random places, and by mmap.

mod mounted;

use std::path::{Path, PathBuf};

use skiff_tests::image::{digest, keep, mksquashfs};
use skiff_tests::require;
use skiff_tests::snapshot::differences;
use skiff_tests::tree_source;

use mounted::{By, KernelMount, SkiffMount, probe};

/// How an image is packed.
struct Variant {
    name: &'static str,
    options: &'static [&'static str],
}

const fn variant(name: &'static str, options: &'static [&'static str]) -> Variant {
    Variant { name, options }
}

/// Every compressor, the block sizes from the least to the largest, and each part of the format
/// stored in another way.
const VARIANTS: &[Variant] = &[
    variant("gzip", &["-comp", "gzip"]),
    variant("zstd", &["-comp", "zstd", "-Xcompression-level", "3"]),
    variant("xz", &["-comp", "xz"]),
    variant("lz4", &["-comp", "lz4"]),
    variant("lzo", &["-comp", "lzo", "-Xcompression-level", "3"]),
    variant("gzip-4k", &["-comp", "gzip", "-b", "4K"]),
    variant(
        "zstd-4k",
        &["-comp", "zstd", "-b", "4K", "-Xcompression-level", "1"],
    ),
    variant("lz4-8k", &["-comp", "lz4", "-b", "8K"]),
    variant("gzip-64k", &["-comp", "gzip", "-b", "64K"]),
    variant("gzip-1m", &["-comp", "gzip", "-b", "1M"]),
    variant(
        "zstd-1m",
        &["-comp", "zstd", "-b", "1M", "-Xcompression-level", "3"],
    ),
    variant("xz-1m", &["-comp", "xz", "-b", "1M", "-Xdict-size", "100%"]),
    variant("lz4-1m-hc", &["-comp", "lz4", "-Xhc", "-b", "1M"]),
    variant(
        "lzo-1m",
        &["-comp", "lzo", "-b", "1M", "-Xalgorithm", "lzo1x_1"],
    ),
    variant("xz-filters", &["-comp", "xz", "-Xbcj", "x86,arm"]),
    variant(
        "gzip-strategies",
        &[
            "-comp",
            "gzip",
            "-Xstrategy",
            "default,huffman_only,fixed",
            "-b",
            "32K",
        ],
    ),
    variant("no-fragments", &["-no-fragments"]),
    variant("always-fragments", &["-always-use-fragments", "-b", "64K"]),
    variant("raw-inodes", &["-noI"]),
    variant("raw-data", &["-noD"]),
    variant("raw-fragments", &["-noF"]),
    variant("raw-xattrs", &["-noX"]),
    variant("raw-ids", &["-noId"]),
    variant(
        "raw-everything",
        &["-noI", "-noD", "-noF", "-noX", "-noId", "-b", "16K"],
    ),
    variant("no-xattrs", &["-no-xattrs"]),
    variant("no-exports", &["-no-exports"]),
    variant("no-sparse", &["-no-sparse", "-no-duplicates"]),
    variant("all-root", &["-all-root"]),
];

/// Where the images lie, made once.
fn images() -> PathBuf {
    let recipe: Vec<_> = VARIANTS
        .iter()
        .flat_map(|v| v.options.iter().copied())
        .collect();
    let name = format!(
        "trees-{}",
        digest(&[include_str!("../src/tree_source.rs"), &recipe.join(" ")])
    );
    keep(&name, |folder| {
        let source = folder.join("source");
        std::fs::create_dir(&source).expect("fresh");
        tree_source::fill(&source);
        for variant in VARIANTS {
            mksquashfs(&source, &image(folder, variant.name), variant.options);
        }
        std::fs::remove_dir_all(&source).expect("just made");
        let wide = folder.join("wide");
        tree_source::wide(&wide, 100_000);
        mksquashfs(
            &wide,
            &image(folder, "wide"),
            &["-comp", "zstd", "-Xcompression-level", "1"],
        );
        std::fs::remove_dir_all(&wide).expect("just made");
        let huge = folder.join("huge");
        tree_source::huge(&huge);
        mksquashfs(&huge, &image(folder, "huge"), &[]);
        std::fs::remove_dir_all(&huge).expect("just made");
    })
}

fn image(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.sqfs"))
}

/// Compares one image, seen by `by`, in all the ways there are.
fn compare(name: &str, by: By) {
    let image = image(&images(), name);
    let kernel = KernelMount::of(&image);
    let skiff = SkiffMount::of(&image, by);
    // The kernel's side is always seen as root, who may see all.
    let flags: &[&str] = if by == By::User { &["-t", "-u"] } else { &[] };
    let wanted = probe(
        By::Root,
        &["snapshot"],
        if by == By::User { &["-t"] } else { &[] },
        &[&kernel.0],
    );
    let seen = probe(by, &["snapshot"], flags, &[&skiff.folder]);
    let (mut wanted, mut seen) = (lines(&wanted), lines(&seen));
    if by == By::User {
        (wanted, seen) = readable_alike(wanted, seen);
    }
    assert!(
        wanted == seen,
        "{name} as {by:?}: the tree differs from the kernel's (-) in:\n{}",
        differences(&wanted, &seen)
    );
    probe(
        by,
        &["random"],
        &[],
        &[&kernel.0, &skiff.folder, Path::new("150")],
    );
    probe(by, &["mapped"], &[], &[&kernel.0, &skiff.folder]);
    skiff.unmount();
}

fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}

/// What the user was not let see must be what he has no right to, and is left out on both sides.
fn readable_alike(wanted: Vec<String>, seen: Vec<String>) -> (Vec<String>, Vec<String>) {
    let hidden: Vec<String> = seen
        .iter()
        .filter(|line| line.contains(" unreadable"))
        .map(|line| line.split(' ').next().unwrap_or_default().to_owned())
        .collect();
    let no_right = |line: &str| {
        let mut words = line.split(' ').skip(1);
        let kind = words.next().unwrap_or_default();
        let mode = words
            .next()
            .and_then(|mode| u32::from_str_radix(mode, 8).ok())
            .unwrap_or(0);
        if kind == "directory" {
            mode & 0o5 != 0o5
        } else {
            mode & 0o4 == 0
        }
    };
    for name in &hidden {
        let line = wanted
            .iter()
            .find(|line| line.split(' ').next() == Some(name))
            .expect("listed");
        assert!(no_right(line), "could not be read, but may be: {line}");
    }
    let shown = |line: &String| {
        let path = line.split(' ').next().unwrap_or_default();
        !hidden
            .iter()
            .any(|name| path == name || path.starts_with(&format!("{name}/")))
    };
    (
        wanted.into_iter().filter(shown).collect(),
        seen.into_iter().filter(shown).collect(),
    )
}

/// A test of each variant, and of all that an ordinary user sees.
macro_rules! variants {
    ($($test:ident $name:literal,)+) => {
        $(
            #[test]
            fn $test() {
                require!(concat!("tree of ", $name); Skiff, Mksquashfs, Loop, Fuse);
                compare($name, By::Root);
            }
        )+
        const TESTED: &[&str] = &[$($name),+];
    };
}

variants! {
    gzip "gzip", zstd "zstd", xz "xz", lz4 "lz4", lzo "lzo",
    gzip_4k "gzip-4k", zstd_4k "zstd-4k", lz4_8k "lz4-8k", gzip_64k "gzip-64k",
    gzip_1m "gzip-1m", zstd_1m "zstd-1m", xz_1m "xz-1m", lz4_1m_hc "lz4-1m-hc", lzo_1m "lzo-1m",
    xz_filters "xz-filters", gzip_strategies "gzip-strategies",
    no_fragments "no-fragments", always_fragments "always-fragments",
    raw_inodes "raw-inodes", raw_data "raw-data", raw_fragments "raw-fragments",
    raw_xattrs "raw-xattrs", raw_ids "raw-ids", raw_everything "raw-everything",
    no_xattrs "no-xattrs", no_exports "no-exports", no_sparse "no-sparse",
    all_root "all-root",
    wide "wide",
}

#[test]
fn every_variant_is_tested() {
    for variant in VARIANTS {
        assert!(
            TESTED.contains(&variant.name),
            "{} is packed and not compared",
            variant.name
        );
    }
}

#[test]
fn as_an_ordinary_user() {
    require!("trees as an ordinary user"; Skiff, Mksquashfs, Loop, Fuse, Fusermount);
    for name in ["gzip", "zstd-1m", "raw-everything"] {
        compare(name, By::User);
    }
}

/// A file of more bytes than 32 bits can count, nearly all of it a hole.
#[test]
fn beyond_four_gigabytes() {
    use std::os::unix::fs::{FileExt, MetadataExt};
    require!("file beyond 4 GiB"; Skiff, Mksquashfs, Loop, Fuse);
    let image = image(&images(), "huge");
    let kernel = KernelMount::of(&image);
    let skiff = SkiffMount::of(&image, By::Root);
    let [one, other] = [&kernel.0, &skiff.folder]
        .map(|folder| std::fs::File::open(folder.join("huge")).expect("the file"));
    let meta = one.metadata().expect("open");
    let seen = other.metadata().expect("open");
    assert_eq!((meta.len(), meta.blocks()), (seen.len(), seen.blocks()));
    for place in [
        0,
        1 << 20,
        (1 << 32) - 5,
        1 << 32,
        tree_source::HUGE - 3,
        tree_source::HUGE,
    ] {
        let read = |file: &std::fs::File| {
            let mut buffer = vec![1; 10_000];
            let read = file.read_at(&mut buffer, place).expect("readable");
            buffer.truncate(read);
            buffer
        };
        assert!(read(&one) == read(&other), "at {place}");
    }
    drop((one, other));
    skiff.unmount();
}

/// Looking up one name in 100,000 takes a moment, not a scan, also when nothing is cached.
#[test]
fn lookup_in_a_large_directory() {
    require!("look-up in a large directory"; Skiff, Mksquashfs, Loop, Fuse);
    let image = image(&images(), "wide");
    let skiff = SkiffMount::of(&image, By::Root);
    let begin = std::time::Instant::now();
    for index in (0..100_000).step_by(997) {
        let path = skiff.folder.join(format!("entry-{index:06}-of-many"));
        let meta = path.symlink_metadata().expect("listed");
        assert_eq!(meta.len() > 0, index % 100 == 0);
        let absent = skiff.folder.join(format!("entry-{index:06}-of-few"));
        assert!(absent.symlink_metadata().is_err());
    }
    let each = begin.elapsed() / 202;
    assert!(
        each < std::time::Duration::from_millis(20),
        "a look-up takes {each:?}"
    );
    skiff.unmount();
}
