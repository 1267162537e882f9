//! Overlays and what is written to them, from outside: kept whole whoever ends how, read by real
//! Apptainer, used by many, on file systems of all kinds.

mod ext3;
mod harm;

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use skiff_tests::command::{Cmd, Outcome};
use skiff_tests::image::{Images, images, mksquashfs};
use skiff_tests::processes;
use skiff_tests::program::{self, Program};
use skiff_tests::require;
use skiff_tests::user::{User, ordinary};

/// Who runs it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Who {
    User,
    Root,
}

/// A folder in /var/tmp, gone afterwards.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = PathBuf::from(format!(
            "/var/tmp/skiff-overlay-{}-{number}-{name}",
            std::process::id()
        ));
        std::fs::create_dir(&path).expect("fresh");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).expect("ours");
        ordinary().own(&path);
        Self(path)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// A directory of the ordinary user.
    fn directory(&self, name: &str) -> PathBuf {
        let path = self.at(name);
        std::fs::create_dir(&path).expect("fresh");
        ordinary().own(&path);
        path
    }

    fn run(&self, who: Who, program: &Program, args: &[&str]) -> Outcome {
        self.command(who, program, args).run()
    }

    fn command(&self, who: Who, program: &Program, args: &[&str]) -> Cmd {
        let name = program.called("apptainer");
        let mut cmd = match who {
            Who::User => ordinary().command(name),
            Who::Root => {
                let mut cmd = Cmd::new(name);
                cmd.env("HOME", "/root");
                cmd
            }
        };
        cmd.cwd(&self.0)
            .env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
            .env("SKIFF_LINGER", "1")
            .args(args)
            .limit(Duration::from_secs(120));
        cmd
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Directories of the kernel's overlay have no permissions for anybody but root.
        std::fs::remove_dir_all(&self.0).ok();
    }
}

fn skiff() -> &'static Program {
    program::skiff().expect("required")
}

fn apptainer() -> &'static Program {
    program::real_apptainer().expect("required")
}

fn all_images() -> Images {
    images(apptainer())
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// Processes that have `file` open.
fn users_of(file: &Path) -> Vec<processes::Process> {
    processes::holding(file)
}

/// Waits until nobody has `file` open any more.
fn until_free(file: &Path) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !users_of(file).is_empty() {
        assert!(
            Instant::now() < deadline,
            "{} is still in use by {:?}",
            file.display(),
            users_of(file)
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The file system in `image` has nothing to repair.
fn is_clean(image: &Path) {
    let outcome = Cmd::new("/sbin/e2fsck").args(["-fn"]).arg(image).run();
    outcome.expect_success("e2fsck");
}

const WRITE: &str = "set -e; echo new >/new; mkdir -p /made/deep; echo deep >/made/deep/f; \
     rm /opt/data.txt; rm -r /opt/empty 2>/dev/null || true; echo more >>/opt/script; ln -s new /link; \
     mv /opt/argv.py /moved.py; chmod 640 /new";
const READ: &str = "cat /link /made/deep/f; ls /opt/data.txt 2>&1 | wc -l; tail -1 /opt/script; \
     stat -c %a /new; ls /opt/argv.py /moved.py 2>/dev/null; ls -d /opt/empty 2>/dev/null; true";
const WANTED: &str = "new\ndeep\n1\nmore\n640\n/moved.py\n";

fn check_kept(who: Who, folder: &Folder, image: &Path, overlay: &str) {
    let image = text(image);
    folder
        .run(
            who,
            skiff(),
            &["exec", "-o", overlay, &image, "sh", "-c", WRITE],
        )
        .expect_success("writing");
    for overlay in [overlay.to_owned(), format!("{overlay}:ro")] {
        let outcome = folder.run(
            who,
            skiff(),
            &["exec", "-o", &overlay, &image, "sh", "-c", READ],
        );
        let outcome = outcome.expect_success("reading");
        assert_eq!(outcome.stdout_text(), WANTED, "{who:?} {overlay}");
    }
}

#[test]
fn changes_are_kept_in_a_directory() {
    require!("overlay directories"; Skiff, Apptainer, Fuse, UserNamespaces);
    let images = all_images();
    for who in [Who::User, Who::Root] {
        if who == Who::Root && !skiff_tests::require::is_root() {
            continue;
        }
        for image in [&images.sif, &images.sandbox, &images.squashfs] {
            let folder = Folder::new("dir");
            folder.directory("o");
            check_kept(who, &folder, image, "o");
            // The image is as it was.
            let outcome = folder.run(
                who,
                skiff(),
                &[
                    "exec",
                    &text(image),
                    "sh",
                    "-c",
                    "cat /opt/data.txt; ls /new",
                ],
            );
            assert_eq!(outcome.stdout_text(), "from the image\n");
        }
    }
}

#[test]
fn a_directory_belongs_to_both_programs() {
    require!("overlay directories of Apptainer"; Skiff, Apptainer, Fuse, UserNamespaces);
    let image = text(&all_images().sif);
    for (writer, reader) in [(skiff(), apptainer()), (apptainer(), skiff())] {
        let folder = Folder::new("both");
        folder.directory("o");
        let run = |program, script| {
            folder.run(
                Who::User,
                program,
                &["exec", "-o", "o", &image, "sh", "-c", script],
            )
        };
        run(writer, WRITE).expect_success("writing");
        let outcome = run(reader, READ).expect_success("reading");
        assert_eq!(
            outcome.stdout_text(),
            WANTED,
            "{} after {}",
            reader.title,
            writer.title
        );
    }
}
#[test]
fn a_sif_has_an_overlay_of_its_own() {
    require!("SIF with overlay"; Skiff, Apptainer, Fuse, UserNamespaces, Fuse2fs, FuseOverlayfs);
    let folder = Folder::new("sif");
    let sif = folder.at("own.sif");
    std::fs::copy(&all_images().plain_sif, &sif).expect("room");
    ordinary().own(&sif);
    let before = std::fs::metadata(&sif).expect("there").len();
    let run = |args: &[&str]| folder.run(Who::User, skiff(), args);
    run(&["overlay", "create", "--size", "65", "own.sif"]).expect_success("overlay create");
    let size = std::fs::metadata(&sif).expect("there").len();
    assert_eq!(size, before.next_multiple_of(4096) + (65 << 20));
    // Apptainer finds it where it would have put it.
    let list = folder
        .run(Who::User, apptainer(), &["sif", "list", "own.sif"])
        .expect_success("sif list");
    assert!(
        list.stdout_text().contains("FS (Ext3/Overlay/amd64)"),
        "{}",
        list.stdout_text()
    );
    let outcome = run(&["exec", "own.sif", "sh", "-c", "echo x >/new"]);
    assert!(outcome.stderr_text().contains("Read-only file system"));
    run(&["exec", "-w", "own.sif", "sh", "-c", WRITE]).expect_success("writing");
    let outcome = run(&["exec", "-w", "own.sif", "sh", "-c", READ]);
    assert_eq!(outcome.stdout_text(), WANTED);
    let outcome = run(&["exec", "own.sif", "cat", "/new"]).expect_success("reading");
    assert_eq!(outcome.stdout_text(), "new\n");
    // Below another overlay, and as another image's.
    folder.directory("o");
    let outcome = run(&[
        "exec",
        "-o",
        "o",
        "own.sif",
        "sh",
        "-c",
        "cat /new; echo top >/new; cat /new",
    ]);
    assert_eq!(outcome.stdout_text(), "new\ntop\n");
    let plain = text(&all_images().plain_sif);
    let outcome = run(&["exec", "-o", "own.sif:ro", &plain, "cat", "/new"]);
    assert_eq!(outcome.stdout_text(), "new\n");
    until_free(&sif);
}

#[test]
fn many_read_one_layer() {
    require!("many readers of a layer"; Skiff, Apptainer, Fuse, UserNamespaces, Mksquashfs);
    let image = text(&all_images().sif);
    let folder = Folder::new("many");
    let source = folder.directory("q");
    for number in 0..50 {
        std::fs::write(source.join(format!("f{number}")), format!("{number}\n")).expect("ours");
    }
    mksquashfs(&source, &folder.at("q.img"), &["-all-root"]);
    let mut children: Vec<_> = (0..8)
        .map(|_| {
            folder
                .command(
                    Who::User,
                    skiff(),
                    &[
                        "exec",
                        "-o",
                        "q.img:ro",
                        &image,
                        "sh",
                        "-c",
                        "cat /f* | sort -n | tail -1",
                    ],
                )
                .start()
        })
        .collect();
    for child in &mut children {
        assert!(child.wait().expect("ours").success());
    }
    until_free(&folder.at("q.img"));
}

#[test]
fn memory_is_forgotten() {
    require!("--writable-tmpfs"; Skiff, Apptainer, Fuse, UserNamespaces);
    let images = all_images();
    for who in [Who::User, Who::Root] {
        if who == Who::Root && !skiff_tests::require::is_root() {
            continue;
        }
        for image in [&images.sif, &images.sandbox] {
            let folder = Folder::new("memory");
            let image = text(image);
            let outcome = folder.run(
                who,
                skiff(),
                &[
                    "exec",
                    "--writable-tmpfs",
                    &image,
                    "sh",
                    "-c",
                    &format!("({WRITE}); {READ}"),
                ],
            );
            assert_eq!(outcome.expect_success("writing").stdout_text(), WANTED);
            let outcome = folder.run(
                who,
                skiff(),
                &["exec", "--writable-tmpfs", &image, "ls", "/new"],
            );
            assert_eq!(outcome.code(), Some(2));
        }
    }
}

#[test]
fn a_sandbox_is_written_to_by_its_owner() {
    require!("--writable"; Skiff, Apptainer, Fuse, UserNamespaces);
    let user: &User = ordinary();
    let folder = Folder::new("sandbox");
    let copy = folder.at("s");
    user.command("/bin/cp")
        .arg("-a")
        .arg(&all_images().sandbox)
        .arg(&copy)
        .run()
        .expect_success("cp");
    let run = |args: &[&str]| folder.run(Who::User, skiff(), args);
    run(&["exec", "-w", "s", "sh", "-c", WRITE]).expect_success("writing");
    let outcome = run(&["exec", "s", "sh", "-c", READ]);
    assert_eq!(outcome.stdout_text(), WANTED);
    assert_eq!(copy.join("new").metadata().expect("there").uid(), user.uid);
    // No bind point was made in it.
    assert!(!copy.join("var/tmp/skiff").exists());
    let outcome = run(&["exec", "-w", "-B", "/var/tmp:/not/there", "s", "true"]);
    assert_eq!(outcome.code(), Some(255));
    assert!(!copy.join("not").exists());
}
