//! Damaged and hostile images: an error that says what is wrong, or a failed read of what is
//! damaged; never a panic, never a hang, never much memory.

mod damage;

use std::path::{Path, PathBuf};
use std::time::Duration;

use skiff_tests::command::{Cmd, Outcome};
use skiff_tests::image::{digest, images, keep, mksquashfs};
use skiff_tests::processes::{holding, peak_memory};
use skiff_tests::program;
use skiff_tests::reading::Random;
use skiff_tests::require;
use skiff_tests::tree_source;
use skiff_tests::user::ordinary;
use skiff_tests::userland::write;

use damage::{Damage, damages, sif_fields, squashfs_fields};

/// More than this no process may use for a damaged image.
const MEMORY: u64 = 256 << 20;

/// Longer than this nothing may take.
const TIME: Duration = Duration::from_secs(30);

/// Undamaged images, small ones, by the name of their kind.
fn bases() -> Vec<(String, Vec<u8>)> {
    let kinds = ["gzip", "zstd", "xz", "lz4", "lzo"];
    let folder = keep(
        &format!("hostile-{}", digest(&[include_str!("hostile.rs")])),
        |folder| {
            let source = folder.join("source");
            tree_source::wide(&source.join("wide"), 600);
            for (index, size) in [10, 4_000, 70_000, 300_000].into_iter().enumerate() {
                write(
                    &source.join(format!("random-{index}")),
                    Random::new(size).bytes(size as usize),
                );
                write(
                    &source.join(format!("text-{index}")),
                    "some text\n".repeat(size as usize / 10),
                );
            }
            write(&source.join("hello.txt"), "hello\n");
            for index in 0..30 {
                let path = source.join(format!("attributes/{index}"));
                write(&path, "x");
                let value = format!("value {index}").repeat(20);
                let flags = rustix::fs::XattrFlags::empty();
                rustix::fs::setxattr(&path, "user.name", value.as_bytes(), flags)
                    .expect("user xattrs");
            }
            std::os::unix::fs::symlink("hello.txt", source.join("link")).expect("fresh");
            for kind in kinds {
                let options = ["-comp", kind, "-b", "16K", "-all-root"];
                mksquashfs(&source, &folder.join(kind), &options);
            }
            std::fs::remove_dir_all(&source).expect("just made");
        },
    );
    let mut bases: Vec<_> = kinds
        .iter()
        .map(|kind| {
            (
                (*kind).to_owned(),
                std::fs::read(folder.join(kind)).expect("just made"),
            )
        })
        .collect();
    if let Ok(apptainer) = program::real_apptainer() {
        let sif = std::fs::read(images(apptainer).tiny_sif).expect("just made");
        bases.push(("sif".to_owned(), sif));
    }
    bases
}

/// A folder of the ordinary user with the image under test in it.
struct Bench {
    folder: PathBuf,
    image: PathBuf,
}

impl Bench {
    fn new(name: &str) -> Self {
        let folder = PathBuf::from(format!("/tmp/skiff-hostile-{name}-{}", std::process::id()));
        std::fs::create_dir(&folder).expect("fresh");
        ordinary().own(&folder);
        Self {
            image: folder.join("image"),
            folder,
        }
    }

    /// Puts `damage` done to `base` in place.
    fn put(&self, bytes: &[u8]) {
        // A fresh inode each time: servers of the one before may still be there.
        std::fs::remove_file(&self.image).ok();
        std::fs::write(&self.image, bytes).expect("room");
        ordinary().own(&self.image);
    }

    /// Runs skiff under the probe that tells its memory; judges how it ended.
    fn skiff(&self, args: &[&str], what: &str) -> Outcome {
        let mut cmd = ordinary().command(program::probe(env!("CARGO_BIN_EXE_skiff-probe")));
        cmd.cwd(&self.folder)
            .env("SKIFF_LINGER", "0")
            .env("SKIFF_RUNTIME_DIR", self.folder.join("run"))
            .arg("peak")
            .arg(program::skiff().expect("required").called("skiff"))
            .args(args)
            .limit(TIME);
        let outcome = cmd.run();
        let text = outcome.stderr_text();
        let code = outcome.code();
        assert!(code.is_some(), "{what}: {args:?} hangs: {outcome}");
        let code = code.unwrap_or(-1);
        // 101 is a panic's; from 128 on it is a signal, by which a program of the image may well
        // end whose own code or libraries are damaged.
        let signalled = code > 128 && code != 255 && args.first() != Some(&"exec");
        assert!(code != 101 && !signalled, "{what}: {args:?}: {outcome}");
        assert!(!text.contains("panicked"), "{what}: {args:?}: {outcome}");
        let peak = text
            .lines()
            .last()
            .and_then(|line| line.strip_prefix("peak "));
        let peak: u64 = peak
            .and_then(|peak| peak.parse().ok())
            .unwrap_or_else(|| panic!("{outcome}"));
        assert!(peak * 1024 < MEMORY, "{what}: {args:?} used {peak} KiB");
        if code != 0 {
            assert!(
                text.lines().count() > 1,
                "{what}: {args:?} failed without a word"
            );
        }
        outcome
    }

    /// Mounts as root, walks and reads everything, and looks at the server's memory.
    fn walk(&self, what: &str) {
        let point = self.folder.join("mount");
        std::fs::create_dir_all(&point).expect("ours");
        let skiff = program::skiff().expect("required").called("skiff");
        let mount = Cmd::new(&skiff)
            .arg("mount")
            .args([&self.image, &point])
            .limit(TIME)
            .run();
        assert!(
            mount.code().is_some_and(|code| code != 101),
            "{what}: mount: {mount}"
        );
        if !mount.success() {
            return;
        }
        let probe = program::probe(env!("CARGO_BIN_EXE_skiff-probe"));
        let walked = Cmd::new(probe).arg("walk").arg(&point).limit(TIME).run();
        let peaks: Vec<_> = holding(&self.image)
            .iter()
            .map(|process| (process.name.clone(), peak_memory(process.pid).unwrap_or(0)))
            .collect();
        let gone = Cmd::new(&skiff)
            .args(["umount", "-l"])
            .arg(&point)
            .limit(TIME)
            .run();
        assert!(walked.success(), "{what}: walk: {walked}");
        assert!(gone.success(), "{what}: umount: {gone}");
        for (name, peak) in peaks {
            assert!(peak < MEMORY, "{what}: {name} used {} MiB", peak >> 20);
        }
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        Cmd::new("/bin/umount")
            .arg("-l")
            .arg(self.folder.join("mount"))
            .run();
        // Left over, it only takes room.
        std::fs::remove_dir_all(&self.folder).ok();
    }
}

fn judge(bench: &Bench, name: &str, bytes: &[u8], damage: &Damage, index: usize) {
    let what = format!("{name}, {damage}");
    bench.put(bytes);
    let image = bench.image.display().to_string();
    bench.skiff(&["sif", "list", &image], &what);
    if index.is_multiple_of(2) {
        bench.skiff(&["inspect", "--all", &image], &what);
        bench.skiff(&["sif", "header", &image], &what);
    }
    // A program of the image, or for the images that have none the attempt to start one.
    let outcome = bench.skiff(
        &["exec", "--no-home", &image, "/usr/bin/cat", "/hello.txt"],
        &what,
    );
    if name == "sif" && outcome.success() {
        assert_eq!(
            outcome.stdout_text(),
            "hello\n",
            "{what}: wrong bytes, and no error"
        );
    }
    if index.is_multiple_of(5) {
        bench.walk(&what);
    }
}

/// Random bytes flipped, ranges overwritten, ends cut off.
#[test]
fn a_thousand_damaged_images() {
    require!("damaged images"; Skiff, Mksquashfs, Fuse, UserNamespaces, Root);
    let count: usize = std::env::var("SKIFF_TEST_HOSTILE")
        .ok()
        .and_then(|count| count.parse().ok())
        .unwrap_or(1000);
    let bases = bases();
    let bench = Bench::new("random");
    let mut random = Random::new(1_000);
    for index in 0..count {
        let (name, base) = &bases[index % bases.len()];
        let (bytes, damage) = damages(base, &mut random);
        judge(&bench, name, &bytes, &damage, index);
    }
}

/// Every field of the headers set to each hostile value.
#[test]
fn hostile_fields() {
    require!("hostile fields"; Skiff, Mksquashfs, Fuse, UserNamespaces, Root);
    let bench = Bench::new("fields");
    let mut index = 0;
    for (name, base) in bases() {
        let fields = match name.as_str() {
            "sif" => sif_fields(&base),
            // One of the others is enough: their headers are the same.
            "zstd" => squashfs_fields(&base),
            _ => continue,
        };
        for (bytes, damage) in fields {
            judge(&bench, &name, &bytes, &damage, index);
            index += 1;
        }
    }
    assert!(index > 150, "only {index} fields and values");
}

/// The undamaged images pass the same judge, or the tests above would prove nothing.
#[test]
fn whole_images_are_fine() {
    require!("whole images"; Skiff, Mksquashfs, Fuse, UserNamespaces, Root);
    let bench = Bench::new("whole");
    for (name, base) in bases() {
        judge(&bench, &name, &base, &Damage::none(), 0);
        if name == "sif" {
            let image = bench.image.display().to_string();
            let outcome = bench.skiff(&["exec", &image, "/usr/bin/cat", "/hello.txt"], "whole");
            assert!(outcome.success(), "{outcome}");
        }
    }
    assert!(Path::new(&bench.folder).exists());
}
