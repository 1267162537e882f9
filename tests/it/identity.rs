//! Who programs in containers are and what they may do, beyond what conformance compares: sharing,
//! package managers, what stays closed, and what only root can ask for.

pub(crate) mod packages;

use std::path::{Path, PathBuf};

use skiff_tests::command::{Cmd, Outcome};
use skiff_tests::image::images;
use skiff_tests::user::ordinary;
use skiff_tests::{program, require};

/// Ways to be root, without and with subordinate ids.
pub(crate) const WAYS: [&[&str]; 5] = [
    &["--fakeroot"],
    &["--fakeroot", "--ignore-subuid"],
    &["--fakeroot", "--ignore-subuid", "--ignore-fakeroot-command"],
    &["--fakeroot", "--ignore-subuid", "--ignore-userns"],
    &[
        "--fakeroot",
        "--ignore-subuid",
        "--ignore-userns",
        "--ignore-fakeroot-command",
    ],
];

/// A folder of the ordinary user, gone afterwards.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        let path = PathBuf::from(format!("/tmp/skiff-identity-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("room in /tmp");
        ordinary().own(&path);
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Left behind, it would only take room.
        std::fs::remove_dir_all(&self.0).ok();
    }
}

/// skiff of the ordinary user, with the words before and behind the image.
pub(crate) fn exec(options: &[&str], image: &Path, program: &[&str]) -> Cmd {
    let skiff = program::skiff().expect("required").called("apptainer");
    let mut cmd = ordinary().command(skiff);
    cmd.cwd("/tmp")
        .args(["-q", "exec"])
        .args(options)
        .arg(image)
        .args(program);
    cmd
}

/// Standard output of a program that must succeed, trimmed.
fn told(options: &[&str], image: &Path, program: &[&str]) -> String {
    exec(options, image, program)
        .run()
        .expect_success(&format!("{options:?} {program:?}"))
        .stdout_text()
        .trim()
        .to_owned()
}

#[test]
fn everybody_with_the_same_ids_shares_a_namespace() {
    require!("sharing with --fakeroot"; Skiff, Apptainer, Fuse, UserNamespaces, Subuids);
    let image = images(program::real_apptainer().expect("required")).sif;
    let namespace = |options: &[&str]| told(options, &image, &["readlink", "/proc/self/ns/user"]);
    let plain = namespace(&[]);
    let root = namespace(&["--fakeroot"]);
    let mapped = namespace(&["--fakeroot", "--ignore-subuid", "--ignore-fakeroot-command"]);
    let fifth = namespace(&["--security", "uid:5"]);
    assert_eq!(namespace(&[]), plain);
    assert_eq!(namespace(&["--fakeroot"]), root);
    let mut all = vec![plain, root, mapped, fifth];
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 4, "different ids share a namespace: {all:?}");
}

#[test]
fn owners_of_the_image_are_seen_where_their_ids_exist() {
    require!("owners with --fakeroot"; Skiff, Fuse, UserNamespaces, Subuids, Mksquashfs, Root);
    let folder = Folder::new("owners");
    let source = folder.0.join("source");
    skiff_tests::userland::lay_out(&source);
    skiff_tests::userland::write(&source.join("opt/given"), "x");
    std::os::unix::fs::chown(source.join("opt/given"), Some(33), Some(34)).expect("root may");
    let image = folder.0.join("image.sqfs");
    skiff_tests::image::mksquashfs(&source, &image, &[]);
    let owner = |options: &[&str]| told(options, &image, &["stat", "-c", "%u:%g", "/opt/given"]);
    assert_eq!(owner(&["--fakeroot"]), "33:34");
    let only = ["--fakeroot", "--ignore-subuid", "--ignore-fakeroot-command"];
    assert_eq!(owner(&only), "0:0");
    // Images beside the root likewise.
    let data = format!("{}:/mnt:image-src=/", image.display());
    let beside = |options: &[&str]| {
        let options = [options, &["-B", &data]].concat();
        told(&options, &image, &["stat", "-c", "%u:%g", "/mnt/opt/given"])
    };
    assert_eq!(beside(&["--fakeroot"]), "33:34");
    assert_eq!(beside(&only), "0:0");
    let user = ordinary();
    assert_eq!(owner(&[]), format!("{}:{}", user.uid, user.gid));
    // Who is root there may become whoever owns it, and give it back.
    let become_him = [
        "setpriv",
        "--reuid=33",
        "--regid=34",
        "--clear-groups",
        "id",
        "-u",
    ];
    assert_eq!(told(&["--fakeroot"], &image, &become_him), "33");
}

#[test]
fn process_one_is_closed_to_the_program() {
    require!("closed supervisors"; Skiff, Apptainer, Fuse, UserNamespaces);
    let image = images(program::real_apptainer().expect("required")).sif;
    let script = "for file in exe cwd root; do readlink /proc/1/$file && echo open; done; \
        cat /proc/1/environ /proc/1/maps && echo open; ls /proc/1/fd && echo open; \
        (: >>/proc/1/exe) && echo open; cat /proc/1/comm";
    for options in [
        &["-p"][..],
        &["-p", "--fakeroot"],
        &["-C", "--add-caps", "all"],
    ] {
        let outcome = exec(options, &image, &["sh", "-c", script]).run();
        assert_eq!(outcome.stdout_text(), "appinit\n", "{options:?}: {outcome}");
    }
    // The program itself is as open as any.
    assert_eq!(
        told(
            &["-p"],
            &image,
            &["sh", "-c", "readlink /proc/$$/exe >/dev/null; echo $?"]
        ),
        "0"
    );
}

/// Root's skiff or Apptainer; `None` where that Apptainer cannot work as root on this machine.
fn as_root(program: &program::Program, options: &[&str], image: &Path, words: &[&str]) -> Outcome {
    Cmd::new(program.called("apptainer"))
        .env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin")
        .env("HOME", "/root")
        .env("USER", "root")
        .cwd("/tmp")
        .args(["-q", "exec"])
        .args(options)
        .arg(image)
        .args(words)
        .run()
}

#[test]
fn root_has_what_apptainer_gives_it() {
    require!("root's privileges"; Root, Skiff, Apptainer, Fuse);
    let apptainer = program::real_apptainer().expect("required");
    let skiff = program::skiff().expect("required");
    let image = images(apptainer).sif;
    let status = [
        "grep",
        "-E",
        "^(Uid|Gid|Groups|Cap...|NoNewPrivs):",
        "/proc/self/status",
    ];
    let mut compared = 0;
    for options in [
        &[][..],
        &["--no-privs"],
        &["--drop-caps", "all"],
        &["--drop-caps", "sys_resource"],
        &["--drop-caps", "sys_resource,CAP_NET_RAW"],
        &["--no-privs", "--add-caps", "net_raw"],
        &["--no-privs", "--keep-privs"],
        &["--security", "uid:5"],
        &["--security", "gid:7"],
        &["--security", "gid:7:8"],
        &["--security", "uid:5,gid:7"],
        &["--security", "uid:5", "--add-caps", "net_raw"],
        &["--userns"],
        &["--userns", "--drop-caps", "all"],
        &["--userns", "--security", "uid:5"],
        &["--fakeroot"],
        &["--security", "uid:x"],
    ] {
        let theirs = as_root(apptainer, options, &image, &status);
        // Where this root lacks a capability, Apptainer gives up.
        if theirs.stderr_text().contains("Requesting capability set") {
            continue;
        }
        compared += 1;
        let ours = as_root(skiff, options, &image, &status);
        assert_eq!(ours.code(), theirs.code(), "{options:?}: {ours}\n{theirs}");
        assert_eq!(ours.stdout_text(), theirs.stdout_text(), "{options:?}");
    }
    assert!(compared >= 8, "only {compared} could be compared");
}

#[test]
fn root_decides_whether_set_user_id_programs_work() {
    require!("--allow-setuid"; Root, Skiff);
    let folder = Folder::new("setuid");
    let sandbox = folder.0.join("sandbox");
    skiff_tests::userland::lay_out(&sandbox);
    let program = sandbox.join("usr/bin/who");
    std::fs::copy(sandbox.join("usr/bin/id"), &program).expect("just made");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o4755);
    std::fs::set_permissions(&program, mode).expect("root's");
    let skiff = program::skiff().expect("required");
    let who = ["setpriv", "--reuid=4242", "--clear-groups", "who", "-u"];
    for (options, wanted) in [(&[][..], "4242\n"), (&["--allow-setuid"], "0\n")] {
        let outcome = as_root(skiff, options, &sandbox, &who);
        assert_eq!(outcome.stdout_text(), wanted, "{options:?}: {outcome}");
    }
}

/// A profile in the style of Docker's: what is not listed is refused.
#[test]
fn profiles_of_allowed_calls_work() {
    require!("seccomp profiles"; Skiff, Apptainer, Fuse, UserNamespaces);
    let image = images(program::real_apptainer().expect("required")).sif;
    let folder = Folder::new("profile");
    let profile = folder.0.join("profile.json");
    std::fs::write(&profile, include_str!("identity/profile.json")).expect("room");
    ordinary().own(&profile);
    let option = format!("seccomp:{}", profile.display());
    let options = ["--security", &option];
    assert_eq!(
        told(&options, &image, &["cat", "/opt/data.txt"]),
        "from the image"
    );
    let refused = exec(&options, &image, &["unshare", "-U", "true"]).run();
    assert_ne!(refused.code(), Some(0), "{refused}");
    assert!(refused.stderr_text().contains("not permitted"), "{refused}");
}

#[test]
fn an_image_cannot_have_skiff_executed_inside() {
    require!("skiff's own program"; Skiff, Apptainer, Fuse, UserNamespaces);
    let image = images(program::real_apptainer().expect("required")).sif;
    let folder = Folder::new("ourselves");
    let script = folder.0.join("script");
    std::fs::write(&script, "#!/proc/self/exe\n").expect("room");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&script, mode).expect("ours");
    let link = folder.0.join("link");
    std::os::unix::fs::symlink("/proc/self/exe", &link).expect("room");
    for file in [&script, &link] {
        for options in [&[][..], &["--fakeroot"], &["-p"]] {
            let outcome = exec(options, &image, &[file.to_str().expect("text")]).run();
            assert_eq!(outcome.code(), Some(255), "{outcome}");
            assert!(
                outcome.stderr_text().contains("container runtime itself"),
                "{outcome}"
            );
        }
    }
}
