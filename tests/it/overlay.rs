//! Overlays and what is written to them, from outside: kept whole whoever ends how, read by real
//! Apptainer, used by many, on file systems of all kinds.

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

/// An ext3 image made by `program`.
fn ext3(folder: &Folder, who: Who, program: &Program) -> PathBuf {
    folder
        .run(who, program, &["overlay", "create", "e.img"])
        .expect_success("overlay create");
    folder.at("e.img")
}

#[test]
fn changes_are_kept_in_an_ext3_image() {
    require!("ext3 overlays"; Skiff, Apptainer, Fuse, UserNamespaces, Fuse2fs, FuseOverlayfs);
    let images = all_images();
    for who in [Who::User, Who::Root] {
        if who == Who::Root && !skiff_tests::require::is_root() {
            continue;
        }
        for image in [&images.sif, &images.sandbox] {
            let folder = Folder::new("ext3");
            let overlay = ext3(&folder, who, skiff());
            let image = text(image);
            let run = |overlay: &str, script: &str| {
                folder.run(
                    who,
                    skiff(),
                    &["exec", "-o", overlay, &image, "sh", "-c", script],
                )
            };
            run("e.img", WRITE).expect_success("writing");
            // When the command is back, all is in the file and nobody has it.
            assert!(users_of(&overlay).is_empty(), "{who:?}");
            is_clean(&overlay);
            let outcome = run("e.img", READ).expect_success("reading");
            assert_eq!(outcome.stdout_text(), WANTED, "{who:?} {image}");
            let outcome = run("e.img:ro", "cat /link /made/deep/f; echo x >/y");
            assert_eq!(outcome.stdout_text(), "new\ndeep\n");
            assert!(outcome.stderr_text().contains("Read-only file system"));
            until_free(&overlay);
        }
    }
}

#[test]
fn an_ext3_image_belongs_to_both_programs() {
    require!("ext3 overlays of Apptainer"; Skiff, Apptainer, Fuse, UserNamespaces, Fuse2fs, FuseOverlayfs);
    let image = text(&all_images().sif);
    for (writer, reader) in [(skiff(), apptainer()), (apptainer(), skiff())] {
        let folder = Folder::new("ext3-both");
        let overlay = ext3(&folder, Who::User, writer);
        let run = |program, script| {
            let outcome = folder.run(
                Who::User,
                program,
                &["exec", "-o", "e.img", &image, "sh", "-c", script],
            );
            until_free(&overlay);
            outcome
        };
        run(writer, WRITE).expect_success("writing");
        let outcome = run(reader, READ).expect_success("reading");
        assert_eq!(outcome.stdout_text(), WANTED);
        is_clean(&overlay);
    }
}

#[test]
fn an_ext3_image_is_whole_however_the_container_ends() {
    require!("ext3 overlays and signals"; Skiff, Apptainer, Fuse, UserNamespaces, Fuse2fs, FuseOverlayfs);
    let image = text(&all_images().sif);
    for signal in ["TERM", "INT", "KILL"] {
        for pid in [false, true] {
            let folder = Folder::new("ends");
            let overlay = ext3(&folder, Who::User, skiff());
            let script = format!(
                "i=0; while [ $i -lt 200 ]; do echo $i >/f$i; i=$((i+1)); done; echo up >{}/up; \
                 exec sleep 60",
                text(&folder.0)
            );
            let mut args = vec!["exec", "-B", "/var/tmp", "-o", "e.img"];
            if pid {
                args.push("--pid");
            }
            args.extend([image.as_str(), "sh", "-c", &script]);
            let mut child = folder.command(Who::User, skiff(), &args).start();
            let deadline = Instant::now() + Duration::from_secs(60);
            while !folder.at("up").exists() {
                assert!(Instant::now() < deadline, "it never came up");
                std::thread::sleep(Duration::from_millis(20));
            }
            Cmd::new("/bin/kill")
                .arg(format!("-{signal}"))
                .arg(child.id().to_string())
                .run()
                .expect_success("kill");
            let _status = child.wait().expect("ours");
            until_free(&overlay);
            is_clean(&overlay);
            let outcome = folder.run(
                Who::User,
                skiff(),
                &["exec", "-o", "e.img:ro", &image, "cat", "/f199"],
            );
            assert_eq!(outcome.stdout_text(), "199\n", "{signal} {pid}");
            until_free(&overlay);
        }
    }
}

#[test]
fn who_is_left_behind_is_not_waited_for() {
    require!("processes left behind on an ext3 overlay"; Skiff, Apptainer, Fuse, UserNamespaces, Fuse2fs, FuseOverlayfs);
    let image = text(&all_images().sif);
    let folder = Folder::new("behind");
    let overlay = ext3(&folder, Who::User, skiff());
    let go = folder.at("go");
    let script = format!(
        "(exec >/dev/null 2>&1 </dev/null; while [ ! -e {0} ]; do sleep 0.1; done; echo late >/late) & \
         echo early >/early",
        text(&go)
    );
    folder
        .run(
            Who::User,
            skiff(),
            &[
                "exec", "-B", "/var/tmp", "-o", "e.img", &image, "sh", "-c", &script,
            ],
        )
        .expect_success("a program that leaves one behind");
    assert!(!users_of(&overlay).is_empty(), "it is still mounted");
    std::fs::write(&go, "").expect("ours");
    until_free(&overlay);
    is_clean(&overlay);
    let outcome = folder.run(
        Who::User,
        skiff(),
        &["exec", "-o", "e.img:ro", &image, "cat", "/early", "/late"],
    );
    assert_eq!(outcome.stdout_text(), "early\nlate\n");
    until_free(&overlay);
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
fn a_file_system_that_cannot_be_an_upper_layer() {
    require!("overlay on overlay"; Root, Skiff, Apptainer, Fuse, UserNamespaces, FuseOverlayfs);
    let image = text(&all_images().sif);
    let folder = Folder::new("unfit");
    let on_host = folder.directory("mount");
    for name in ["lower", "upper", "work"] {
        folder.directory(name);
    }
    let options = format!(
        "lowerdir={0}/lower,upperdir={0}/upper,workdir={0}/work",
        text(&folder.0)
    );
    Cmd::new("/bin/mount")
        .args(["-t", "overlay", "overlay", "-o", &options])
        .arg(&on_host)
        .run()
        .expect_success("mount");
    let inside = on_host.join("o");
    std::fs::create_dir(&inside).expect("fresh");
    ordinary().own(&inside);
    let run = |debug: bool, script: &str| {
        let mut args = vec!["exec", "-o", "mount/o", &image, "sh", "-c", script];
        if debug {
            args.insert(0, "--debug");
        }
        folder.run(Who::User, skiff(), &args)
    };
    let write = run(true, WRITE);
    let read = run(false, READ);
    Cmd::new("/bin/umount").arg("-l").arg(&on_host).run();
    let write = write.expect_success("writing");
    assert!(
        write.stderr_text().contains("fuse-overlayfs instead"),
        "{}",
        write.stderr_text()
    );
    assert_eq!(read.expect_success("reading").stdout_text(), WANTED);
}

#[test]
fn links_in_an_overlay_lead_nowhere_else() {
    require!("hostile overlay directories"; Skiff, Apptainer, Fuse, UserNamespaces);
    let image = text(&all_images().sif);
    let folder = Folder::new("links");
    let outside = folder.directory("outside");
    std::fs::write(outside.join("secret"), "secret\n").expect("ours");
    for name in ["upper", "work"] {
        let overlay = folder.directory(&format!("o-{name}"));
        std::os::unix::fs::symlink(&outside, overlay.join(name)).expect("fresh");
        let given = format!("o-{name}");
        let outcome = folder.run(
            Who::User,
            skiff(),
            &[
                "exec",
                "-o",
                &given,
                &image,
                "sh",
                "-c",
                "echo x >/new; cat /secret",
            ],
        );
        assert_ne!(outcome.code(), Some(0), "{name}");
        assert!(!outcome.stdout_text().contains("secret"));
        let left: Vec<_> = std::fs::read_dir(&outside)
            .expect("ours")
            .flatten()
            .collect();
        assert_eq!(left.len(), 1, "{name}");
    }
}

#[test]
fn nothing_half_made_is_left() {
    require!("overlay create that fails"; Root, Skiff, Apptainer);
    let folder = Folder::new("full");
    // A file system without room for the whole.
    let small = folder.directory("small");
    Cmd::new("/bin/mount")
        .args(["-t", "tmpfs", "-o", "size=20m,mode=0777", "tmpfs"])
        .arg(&small)
        .run()
        .expect_success("mount");
    let plain = folder.run(Who::User, skiff(), &["overlay", "create", "small/e.img"]);
    let after_plain = std::fs::read_dir(&small).expect("ours").count();
    let sif = small.join("x.sif");
    std::fs::copy(&all_images().tiny_sif, &sif).expect("room");
    ordinary().own(&sif);
    let before = std::fs::read(&sif).expect("there");
    let added = folder.run(Who::User, skiff(), &["overlay", "create", "small/x.sif"]);
    let after = std::fs::read(&sif).expect("there");
    let left = std::fs::read_dir(&small).expect("ours").count();
    Cmd::new("/bin/umount").arg("-l").arg(&small).run();
    assert_eq!(plain.code(), Some(255), "{}", plain.stderr_text());
    assert!(
        plain.stderr_text().contains("no space left on device"),
        "{}",
        plain.stderr_text()
    );
    assert_eq!(after_plain, 0);
    // An overlay takes only what is in it, where there are holes.
    if added.code() == Some(0) {
        assert!(after.len() > before.len());
    } else {
        assert_eq!(after, before);
    }
    assert_eq!(left, 1);
}

#[test]
fn an_interrupted_creation_leaves_nothing() {
    require!("interrupted overlay create"; Skiff, Apptainer);
    let folder = Folder::new("interrupted");
    let names = || -> Vec<String> {
        let entries = std::fs::read_dir(&folder.0).expect("ours").flatten();
        entries
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect()
    };
    for (round, wait) in [0, 3, 10, 30].into_iter().enumerate() {
        let name = format!("{round}.img");
        let args = ["overlay", "create", "--fakeroot", "--size", "512", &name];
        let mut child = folder.command(Who::User, skiff(), &args).start();
        let begin = Instant::now();
        // Its private directory says that it has begun.
        while names().iter().all(|name| !name.starts_with(".overlay-"))
            && matches!(child.try_wait(), Ok(None))
        {
            assert!(
                begin.elapsed() < Duration::from_secs(20),
                "it does not begin"
            );
        }
        std::thread::sleep(Duration::from_millis(wait));
        let pid = i32::try_from(child.id()).expect("small");
        if let Some(pid) = rustix::process::Pid::from_raw(pid) {
            rustix::process::kill_process(pid, rustix::process::Signal::TERM).ok();
        }
        child.wait().expect("it ended");
        let left = names();
        assert!(
            left.iter().all(|name| name.ends_with(".img")),
            "{wait} ms: {left:?}"
        );
    }
}

#[test]
fn two_at_once_do_not_spoil_a_sif() {
    require!("overlay create twice"; Skiff, Apptainer, Fuse, UserNamespaces);
    let folder = Folder::new("twice");
    let sif = folder.at("x.sif");
    std::fs::copy(&all_images().plain_sif, &sif).expect("room");
    ordinary().own(&sif);
    let before = std::fs::metadata(&sif).expect("there").len();
    let start = || {
        let args = ["overlay", "create", "x.sif"];
        folder.command(Who::User, skiff(), &args).start()
    };
    let both = [start(), start()];
    let made = both
        .into_iter()
        .filter_map(|mut child| child.wait().ok())
        .filter(std::process::ExitStatus::success)
        .count();
    assert_eq!(made, 1);
    let size = std::fs::metadata(&sif).expect("there").len();
    assert_eq!(size, before.next_multiple_of(4096) + (64 << 20));
    folder
        .run(Who::User, skiff(), &["exec", "-w", "x.sif", "true"])
        .expect_success("writing");
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
