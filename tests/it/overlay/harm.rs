//! What goes wrong around overlays: unfit file systems, links that lead away, interruptions, races.

use super::*;

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
