//! Images whose links lead to the host: nothing is written there.

use std::os::unix::fs::symlink;

use skiff_tests::require;

use super::{Folder, Who};

/// A base whose links all lead to a folder of the user's on the host.
fn hostile(folder: &Folder) {
    let victim = folder.at("victim");
    std::fs::create_dir(&victim).expect("fresh");
    skiff_tests::user::ordinary().own(&victim);
    folder.write("victim/file", "untouched");
    let victim = victim.display();
    folder.definition(
        "hostile.def",
        &format!(
            "Bootstrap: localimage\nFrom: BASE\n\n%post\n    rm -rf /opt /srv\n    \
             ln -s {victim} /opt\n    ln -s ../../../../../../../..{victim} /srv\n    \
             mkdir /d\n    ln -s {victim}/file /d/file\n    ln -s {victim}/new /d/new\n    \
             ln -s {victim} /d/sub\n"
        ),
    );
    folder.built(Who::User, &["hostile.sif", "hostile.def"]);
    // Not from within: what a build makes itself is repaired by the build.
    folder.built(Who::User, &["--sandbox", "hostile", "hostile.def"]);
    for (name, target) in [
        (".singularity.d", "victim"),
        (".post.script", "victim/file"),
    ] {
        let path = folder.at("hostile").join(name);
        std::fs::remove_dir_all(&path).ok();
        std::fs::remove_file(&path).ok();
        symlink(folder.at(target), &path).expect("fresh");
    }
}

#[test]
fn nothing_is_written_to_the_host() {
    require!("builds"; Fuse, UserNamespaces);
    let folder = Folder::new("escapes");
    hostile(&folder);
    std::fs::create_dir_all(folder.at("tree/sub")).expect("ours");
    for file in ["tree/file", "tree/new", "tree/sub/inner"] {
        folder.write(file, "copied");
    }
    for base in ["hostile.sif", "hostile"] {
        folder.write(
            "x.def",
            &format!(
                "Bootstrap: localimage\nFrom: {base}\nStage: one\n\n%files\n    tree/file /opt/\n    \
                 tree/file /srv/file\n    tree /opt/tree\n    tree/. /d\n    tree/file /d/file\n    \
                 tree/new /d/new\n\n%post\n    echo \"export A=1\" >> $APPTAINER_ENVIRONMENT\n    \
                 echo \"a b\" >> $APPTAINER_LABELS\n\n%environment\n    export B=2\n\n%test\n    true\n\n\
                 Bootstrap: localimage\nFrom: {base}\n\n%files from one\n    /d /opt/\n    \
                 /opt/tree /srv/\n    /d/file /d/new\n"
            ),
        );
        // It may fail: that is for the image to decide.
        folder.build(Who::User, &["-F", "x.sif", "x.def"]);
        folder.assert_clean();
        let left = super::names(&folder.at("victim"));
        assert_eq!(left, ["file"], "{base}");
        let text = std::fs::read_to_string(folder.at("victim/file")).expect("it is there");
        assert_eq!(text, "untouched", "{base}");
    }
}

#[test]
fn nothing_is_read_from_the_host_by_way_of_a_stage() {
    require!("builds"; Fuse, UserNamespaces);
    let folder = Folder::new("reads");
    let secret = folder.write("secret", "of the host");
    folder.definition(
        "x.def",
        &format!(
            "Bootstrap: localimage\nFrom: BASE\nStage: one\n\n%post\n    ln -s {0} /a\n    \
             ln -s {1} /b\n\nBootstrap: localimage\nFrom: BASE\n\n%files from one\n    /a /found\n",
            secret.display(),
            folder.path.display(),
        ),
    );
    let outcome = folder.build(Who::User, &["x.sif", "x.def"]);
    assert_eq!(outcome.code(), Some(255), "{}", outcome.stderr_text());
    folder.assert_clean();
    let text = std::fs::read_to_string(folder.at("x.def")).expect("ours");
    folder.write("x.def", &text.replace("/a /found", "/b/* /found/"));
    let outcome = folder.build(Who::User, &["x.sif", "x.def"]);
    assert_eq!(outcome.code(), Some(255), "{}", outcome.stderr_text());
    folder.assert_clean();
}
