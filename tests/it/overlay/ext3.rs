//! Changes that are kept in an ext3 image, and images that several use.

use super::*;

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
