//! The launcher's own program file: a container neither reads nor changes it by the processes that
//! stay outside, nor has it run in its place.

use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::PermissionsExt;

use skiff_tests::program as programs;
use skiff_tests::require;
use skiff_tests::user::ordinary;

use super::Den;

/// What a container tries on every process that it sees.
const TRY: &str = r#"
for exe in /proc/[0-9]*/exe; do
    pid=${exe#/proc/}; pid=${pid%/exe}
    test "$pid" != $$ || continue
    comm=$(cat /proc/$pid/comm 2>/dev/null)
    case $comm in sh|cat|readlink|sleep) continue;; esac
    readlink "$exe" >/dev/null && echo "read the name of $comm ($pid)"
    cat "$exe" >/tmp/copy 2>/dev/null && echo "read $comm ($pid)"
    (echo x >>"$exe") 2>/dev/null && echo "wrote to $comm ($pid)"
    chmod 0777 "$exe" 2>/dev/null && echo "changed the mode of $comm ($pid)"
    touch "$exe" 2>/dev/null && echo "touched $comm ($pid)"
    kill -0 "$pid" 2>/dev/null
done
true
"#;

/// A copy of skiff that belongs to the attacked user, as after an installation in $HOME.
fn own_skiff(den: &Den) -> std::path::PathBuf {
    let own = den.make("bin").join("apptainer");
    let skiff = programs::skiff().expect("required").called("skiff");
    std::fs::copy(skiff, &own).expect("room");
    std::fs::set_permissions(&own, PermissionsExt::from_mode(0o755)).expect("ours");
    den.user.own(&own);
    own
}

#[test]
fn processes_outside_do_not_lead_to_it() {
    require!("/proc/N/exe"; Skiff, Fuse, UserNamespaces, Mksquashfs);
    let den = Den::new("exe");
    let image = den.image("plain", |_| {});
    let own = own_skiff(&den);
    let before = std::fs::metadata(&own).expect("just made");
    for flags in [&["-C"][..], &["-c", "--pid"], &["-c", "--pid", "--no-init"]] {
        let mut cmd = ordinary().command(&own);
        cmd.cwd(&den.folder).env("SKIFF_LINGER", "0").arg("exec");
        cmd.args(flags).arg(&image).args(["sh", "-c", TRY]);
        let outcome = cmd.run();
        assert!(outcome.success(), "{flags:?}: {outcome}");
        assert_eq!(outcome.stdout_text(), "", "{flags:?}");
    }
    let after = std::fs::metadata(&own).expect("still there");
    assert_eq!(
        (before.mode(), before.len(), before.mtime(), before.ino()),
        (after.mode(), after.len(), after.mtime(), after.ino())
    );
}

#[test]
fn it_is_not_run_in_place_of_the_program() {
    require!("/proc/self/exe as program"; Skiff, Fuse, UserNamespaces, Mksquashfs);
    let den = Den::new("self");
    // A program and an interpreter that are the launcher itself, at the moment it becomes them.
    let image = den.image("self", |root| {
        std::os::unix::fs::symlink("/proc/self/exe", root.join("usr/bin/me")).expect("fresh");
        for (name, text, mode) in [
            ("script", "#!/proc/self/exe\n", 0o755),
            ("zero", "#!/proc/self/exe\0 -x\n", 0o755),
            ("closed", "#!/proc/self/exe\n", 0o111),
            ("bare", "true\n", 0o755),
        ] {
            let script = root.join("usr/bin").join(name);
            std::fs::write(&script, text).expect("room");
            std::fs::set_permissions(&script, PermissionsExt::from_mode(mode)).expect("ours");
        }
        // What a script without interpreter line is given to.
        let shell = root.join("bin/sh");
        std::fs::remove_file(&shell).expect("a userland");
        std::os::unix::fs::symlink("/proc/self/exe", shell).expect("gone");
    });
    let own = own_skiff(&den);
    for program in ["me", "script", "zero", "closed", "bare", "/proc/self/exe"] {
        let mut cmd = ordinary().command(&own);
        cmd.cwd(&den.folder).env("SKIFF_LINGER", "0");
        cmd.args(["exec", "-C"])
            .arg(&image)
            .args([program, "--version"]);
        let outcome = cmd.run();
        assert!(
            !outcome.stdout_text().contains("version"),
            "{program}: {outcome}"
        );
        assert!(!outcome.success(), "{program}: {outcome}");
        let said = outcome.stderr_text();
        assert!(
            said.contains("container runtime itself"),
            "{program}: {outcome}"
        );
    }
}

#[test]
fn programs_that_cannot_be_read_run_where_skiff_is_roots() {
    require!("programs of mode 0111"; Root, Skiff, Fuse, UserNamespaces, Mksquashfs);
    let den = Den::new("closed");
    let image = den.image("closed", |root| {
        let program = root.join("usr/bin/closed");
        std::fs::copy("/bin/true", &program).expect("room");
        std::fs::set_permissions(&program, PermissionsExt::from_mode(0o111)).expect("ours");
    });
    let image = image.display().to_string();
    let outcome = den.apptainer(&["exec", "-C", &image, "closed"]).run();
    assert!(outcome.success(), "{outcome}");
}
