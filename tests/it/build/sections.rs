//! What each section does, and what the image has of it.

use skiff_tests::require;
use skiff_tests::require::is_root;

use super::{Folder, Who, everybody};

#[test]
fn every_section() {
    require!("builds"; Fuse, UserNamespaces);
    for who in everybody() {
        let folder = Folder::new("sections");
        folder.write("copied", "from the host\n");
        folder.definition(
            "x.def",
            r#"Bootstrap: localimage
From: BASE

%arguments
    WORD=default

%pre
    echo "pre $(id -u)" > pre.out

%setup
    echo "setup $(id -u)" > setup.out
    echo "made by setup" > "$APPTAINER_ROOTFS/setup"

%files
    copied /opt/dir/
    copied /opt/file

%post
    test "$(cat /setup)" = "made by setup"
    test "$(cat /opt/dir/copied)" = "from the host"
    test "$(id -u)" = 0
    test "$(pwd)" = /
    test "$HOME" = /root
    echo "{{ WORD }}" > /word
    echo 'export FROM_POST=1' >> "$APPTAINER_ENVIRONMENT"
    echo 'from.post yes' >> "$APPTAINER_LABELS"
    chown 1:2 /word
    rm /usr/bin/nproc
    mkdir -m 700 /private
    ln -s word /link
    ln /word /second

%environment
    export FROM_ENVIRONMENT=2

%runscript
    echo "run $1 $FROM_POST $FROM_ENVIRONMENT"

%test
    test -e /word
    echo tested

%labels
    Some Label

%help
    Helps.
"#,
        );
        let outcome = folder.built(who, &["--build-arg", "WORD=given", "x.sif", "x.def"]);
        assert!(outcome.stdout_text().contains("tested"));
        for line in [
            "INFO:    Starting build...",
            "INFO:    Running pre scriptlet",
            "INFO:    Running setup scriptlet",
            "INFO:    Copying copied to /opt/dir/",
            "INFO:    Running post scriptlet",
            "+ test 0 = 0",
            "INFO:    Running testscript",
            "INFO:    Build complete: x.sif",
        ] {
            let said = outcome.stderr_text();
            assert!(said.contains(line), "{who:?}: no {line:?} in {said}");
        }
        let read = |name: &str| std::fs::read_to_string(folder.at(name)).expect("it was made");
        assert_eq!(read("pre.out"), "pre 0\n");
        assert_eq!(read("setup.out"), "setup 0\n");
        assert_eq!(folder.says(&["run", "x.sif", "a"]), "run a 1 2\n");
        assert_eq!(folder.says(&["exec", "x.sif", "cat", "/word"]), "given\n");
        assert_eq!(folder.says(&["exec", "x.sif", "cat", "/link"]), "given\n");
        let all = folder.says(&[
            "exec",
            "x.sif",
            "sh",
            "-c",
            "test ! -e /usr/bin/nproc && test /word -ef /second && test ! -e /.post.script && ls /",
        ]);
        assert!(all.contains("private"), "{all}");
        let labels = folder.says(&["inspect", "x.sif"]);
        for label in ["Some: Label", "from.post: yes"] {
            assert!(labels.contains(label), "{label}: {labels}");
        }
        let text = folder.says(&["inspect", "--deffile", "x.sif"]);
        assert!(text.contains("echo \"given\" > /word"), "{text}");
        if who != Who::Alone {
            let owner = folder.says(&[
                "exec",
                "--fakeroot",
                "x.sif",
                "stat",
                "-c",
                "%u:%g",
                "/word",
            ]);
            assert_eq!(owner, "1:2\n", "{who:?}");
        }
    }
}

#[test]
fn several_stages() {
    require!("builds"; Fuse, UserNamespaces);
    let folder = Folder::new("stages");
    folder.definition(
        "x.def",
        "Bootstrap: localimage\nFrom: BASE\nStage: one\n\n%post\n    mkdir -p /opt/app/sub\n    \
         echo one > /opt/app/file\n    chown 3:4 /opt/app/file\n    chmod 4711 /opt/app/file\n    \
         ln -s file /opt/app/link\n    ln -s /opt/app /short\n\n\
         Bootstrap: localimage\nFrom: BASE\nStage: two\n\n%files from one\n    /opt/app\n    \
         /short /second\n    /opt/app/* /third/\n\n%post\n    test ! -e /short\n    \
         test \"$(stat -c %u:%g:%a /opt/app/file)\" = 3:4:4711\n    test -L /opt/app/link\n    \
         test \"$(cat /second/link)\" = one\n    test -d /third/sub\n",
    );
    folder.built(Who::User, &["x.sif", "x.def"]);
    assert_eq!(
        folder.says(&["exec", "x.sif", "cat", "/third/link"]),
        "one\n"
    );
}

#[test]
fn builds_upon_builds() {
    require!("builds"; Fuse, UserNamespaces);
    let folder = Folder::new("upon");
    folder.definition("a.def", "Bootstrap: localimage\nFrom: BASE\n\n%post\n    mkdir /d\n    touch /d/a /d/b\n\n%labels\n    One 1\n");
    folder.built(Who::User, &["a.sif", "a.def"]);
    folder.write("b.def", "Bootstrap: localimage\nFrom: a.sif\n\n%post\n    rm /d/a\n    mv /d/b /c\n    rm -r /d\n    mkdir /d\n    touch /d/new\n\n%labels\n    Two 2\n");
    folder.built(Who::User, &["b.sif", "b.def"]);
    assert_eq!(
        folder.says(&["exec", "b.sif", "sh", "-c", "ls /d; ls /c"]),
        "new\n/c\n"
    );
    let labels = folder.says(&["inspect", "b.sif"]);
    assert!(
        labels.contains("One: 1") && labels.contains("Two: 2"),
        "{labels}"
    );
    // A sandbox as a base, as a target, and as what is built into.
    folder.built(Who::User, &["--sandbox", "dir", "b.def"]);
    assert!(folder.at("dir/d/new").is_file());
    assert!(!folder.at("dir/d/a").exists());
    folder.write(
        "c.def",
        "Bootstrap: localimage\nFrom: dir\n\n%post\n    touch /d/newer\n",
    );
    folder.built(Who::User, &["c.sif", "c.def"]);
    assert_eq!(folder.says(&["exec", "c.sif", "ls", "/d"]), "new\nnewer\n");
    assert!(
        !folder.at("dir/d/newer").exists(),
        "the base stays as it is"
    );
    folder.built(Who::User, &["--sandbox", "--update", "dir", "c.def"]);
    assert!(folder.at("dir/d/newer").is_file());
}

#[test]
fn chosen_sections() {
    require!("builds"; Fuse, UserNamespaces);
    let folder = Folder::new("chosen");
    folder.definition(
        "x.def",
        "Bootstrap: localimage\nFrom: BASE\n\n%setup\n    touch $APPTAINER_ROOTFS/setup\n\n%post\n    \
         touch /post\n\n%test\n    exit 1\n\n%labels\n    One 1\n",
    );
    let failed = folder.build(Who::User, &["x.sif", "x.def"]);
    assert_eq!(failed.code(), Some(255));
    assert!(!folder.at("x.sif").exists());
    folder.built(Who::User, &["--notest", "x.sif", "x.def"]);
    folder.built(Who::User, &["-F", "--section", "none", "x.sif", "x.def"]);
    let all = folder.says(&["exec", "x.sif", "ls", "/"]);
    assert!(all.contains("post") && !all.contains("setup"), "{all}");
    let wrong = folder.build(
        Who::User,
        &["-F", "--section", "all,post", "x.sif", "x.def"],
    );
    assert_eq!(wrong.code(), Some(255));
    if is_root() {
        folder.built(Who::Root, &["-F", "--section", "setup", "x.sif", "x.def"]);
        let all = folder.says(&["exec", "x.sif", "ls", "/"]);
        assert!(all.contains("setup"), "{all}");
    }
}

#[test]
fn from_scratch() {
    require!("builds"; Fuse, UserNamespaces);
    let folder = Folder::new("scratch");
    folder.definition(
        "x.def",
        "Bootstrap: scratch\n\n%setup\n    cp -a BASE/. \"$APPTAINER_ROOTFS\"/\n\n%post\n    echo made > /made\n",
    );
    folder.built(Who::User, &["x.sif", "x.def"]);
    assert_eq!(folder.says(&["exec", "x.sif", "cat", "/made"]), "made\n");
    folder.built(Who::User, &["--sandbox", "dir", "x.def"]);
    assert_eq!(folder.says(&["exec", "dir", "cat", "/made"]), "made\n");
}
