//! Files that say who is who: nothing that a user or an image chooses becomes a line of its own.

use skiff_tests::require;

use super::Den;

#[test]
fn no_line_is_smuggled_into_passwd() {
    require!("lines in passwd"; Skiff, Fuse, UserNamespaces, Mksquashfs);
    let den = Den::new("passwd");
    let image = den.image("plain", |_| {});
    let source = den.make("me").display().to_string();
    for home in [
        "/x\nroot2::0:0::/:/bin/sh",
        "/x\nroot2::0:0::/:/bin/sh\n",
        "/x\r\nroot2::0:0::/:/bin/sh",
        "\nroot2::0:0::/:/bin/sh",
    ] {
        let home = format!("{source}:{home}");
        let outcome = den.run(&["--home", &home], &image, "cat /etc/passwd /etc/group");
        for line in outcome.stdout_text().lines() {
            assert!(!line.starts_with("root2"), "{home:?}: {outcome}");
        }
    }
    // Through variables, with a user whose database entry says otherwise.
    for name in ["HOME", "USER", "LOGNAME", "SHELL"] {
        let mut cmd = den.apptainer(&["exec"]);
        cmd.arg(&image).args(["cat", "/etc/passwd"]);
        cmd.env(name, "/x\nroot2::0:0::/:/bin/sh");
        let outcome = cmd.run();
        assert!(
            !outcome.stdout_text().contains("root2"),
            "{name}: {outcome}"
        );
    }
}

#[test]
fn an_image_does_not_choose_who_the_user_is() {
    require!("users of an image"; Skiff, Fuse, UserNamespaces, Mksquashfs);
    let den = Den::new("users");
    let uid = den.user.uid;
    // The user's number under root's name, and as a group member of everything.
    let image = den.image("users", |root| {
        std::fs::write(
            root.join("etc/passwd"),
            format!("root:x:{uid}:0::/:/bin/sh\nroot:x:0:0::/:/bin/sh\n"),
        )
        .expect("room");
    });
    let outcome = den.run(&[], &image, "id -u; grep -c . /etc/passwd; touch /usr/x");
    assert!(
        outcome.stdout_text().starts_with(&format!("{uid}\n2\n")),
        "{outcome}"
    );
    assert!(!outcome.success(), "{outcome}");
}

#[test]
fn links_for_passwd_are_not_written_through() {
    require!("passwd as a link"; Skiff, Fuse, UserNamespaces, Mksquashfs);
    let den = Den::new("link");
    let precious = den.victim().join("precious");
    let image = den.image("link", |root| {
        for name in ["passwd", "group", "resolv.conf", "hostname", "hosts"] {
            let path = root.join("etc").join(name);
            std::fs::remove_file(&path).ok();
            std::os::unix::fs::symlink(&precious, &path).expect("free");
        }
    });
    for flags in [
        &[][..],
        &["-C"],
        &["-C", "--hostname", "x", "--dns", "1.2.3.4"],
    ] {
        let outcome = den.run(flags, &image, "cat /etc/passwd");
        assert!(!outcome.stdout_text().contains("as it was"), "{outcome}");
        den.assert_victim_is_well("passwd as a link");
    }
}
