//! Descriptors: none of the launcher's own reaches a program, so none leads out of the container.

use skiff_tests::require;

use super::Den;

/// Lists what is open, and tries the way out through each of them.
const LOOK: &str = r#"
for fd in /proc/self/fd/*; do
    number=${fd##*/}
    target=$(readlink "$fd") || continue
    case $number in 0|1|2) continue;; esac
    # What the list itself and this shell have open.
    case $target in /proc/*/fd|/dev/tty|pipe:*) continue;; esac
    echo "left open: $number -> $target"
done
for number in 3 4 5 6 7 8 9 10 11 12 13 14 15 20 100; do
    for up in . .. ../.. ../../.. ../../../../..; do
        test ! -e "/proc/self/fd/$number/$up/VICTIM/precious" || echo "reached by $number/$up"
    done
done
true
"#;

#[test]
fn nothing_is_left_open() {
    require!("leaked descriptors"; Skiff, Fuse, UserNamespaces, Mksquashfs);
    let den = Den::new("fds");
    let image = den.image("plain", |_| {});
    let sandbox = den.sandbox("plain-sandbox", |_| {});
    let look = LOOK.replace("VICTIM", &den.victim().display().to_string());
    // Whoever started the tests may have left something open, which is the caller's to give.
    let outside = den.user.command("/bin/sh").args(["-c", &look]).run();
    let outside = outside.expect_success("a look outside").stdout_text();
    for image in [&image, &sandbox] {
        for flags in [
            &["-c", "--no-home"][..],
            &["-C"],
            &["-C", "--no-init"],
            &["--userns", "-c"],
            &["-c", "-B", "victim:/mnt"],
        ] {
            let outcome = den.run(flags, image, &look);
            assert!(outcome.success(), "{flags:?}: {outcome}");
            assert_eq!(
                outcome.stdout_text(),
                outside,
                "{} {flags:?}",
                image.display()
            );
        }
    }
}

#[test]
fn a_working_directory_is_never_a_descriptor() {
    require!("working directories"; Skiff, Fuse, UserNamespaces, Mksquashfs);
    let den = Den::new("cwd");
    let image = den.image("plain", |_| {});
    for number in 3..24 {
        for place in ["proc/self/fd", "proc/1/fd", "dev/fd"] {
            let cwd = format!("/{place}/{number}");
            let outcome = den.run(
                &["-C", "--cwd", &cwd],
                &image,
                "cat ../../../../../../../$0/precious; pwd -P",
            );
            // Where there is no such directory, the program may start somewhere harmless.
            let text = outcome.stdout_text();
            assert!(!text.contains("as it was"), "{cwd}: {outcome}");
        }
    }
    den.assert_victim_is_well("working directories");
}

#[test]
fn process_one_shows_nothing_of_its_own() {
    require!("process 1"; Skiff, Fuse, UserNamespaces, Mksquashfs);
    let den = Den::new("init");
    let image = den.image("plain", |_| {});
    let script = "ls /proc/1/fd /proc/1/cwd/ /proc/1/root/ 2>/dev/null; \
                  cat /proc/1/environ /proc/1/maps /proc/1/mem 2>/dev/null; \
                  test \"$(cat /proc/1/comm)\" != sh || echo 'no process 1 of its own'";
    let outcome = den.run(&["-C"], &image, script);
    assert_eq!(outcome.stdout_text(), "", "{outcome}");
}
