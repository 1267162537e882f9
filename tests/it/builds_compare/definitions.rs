//! Images made by definition files.

use std::path::Path;

use serde_json::json;
use skiff_tests::oci::{self, OciImage, Packing};
use skiff_tests::require;
use skiff_tests::userland::{lay_out, write};

use super::{Case, case, compare, shell};

/// Changes when what [`make`] makes changes.
pub(super) const VERSION: &str = "1";

/// A userland in which shells run, as a directory and a layout.
pub(super) fn make(folder: &Path) {
    let full = folder.join("full");
    std::fs::create_dir_all(&full).expect("room");
    lay_out(&full);
    write(&full.join("opt/data/file"), "content\n");
    shell(
        folder,
        "cd full && mkdir -m 700 root && ln -s data/file opt/link && ln opt/data/file opt/data/hard && chmod 750 opt/data \
         && find . -exec touch -hd 2020-02-03T04:05:00Z {} +",
    );
    let tar = folder.join("full.tar");
    oci::archive(&full, &tar);
    let image = OciImage {
        layers: vec![(tar, Packing::Gzip)],
        config: json!({
            "Env": ["PATH=/usr/local/bin:/usr/bin:/bin", "FROM_IMAGE=here"],
            "Entrypoint": ["echo", "entry"], "Cmd": ["cmd"], "Labels": {"of.image": "yes"},
        }),
    };
    image.layout(&folder.join("layout-full"));
}

macro_rules! on_base {
    ($text:literal) => {
        concat!("Bootstrap: localimage\nFrom: $M/full.sif\n", $text)
    };
}

macro_rules! on_tree {
    ($text:literal) => {
        concat!("Bootstrap: oci\nFrom: $M/layout-full\n", $text)
    };
}

const METADATA: &[Case] = &[
    case("header-alone", on_tree!("")),
    case("header-image", on_base!("")),
    case("directory-base", "Bootstrap: localimage\nFrom: $M/full\n"),
    case(
        "archive-base",
        "Bootstrap: oci-archive\nFrom: $M/archive.tar\n",
    ),
    case(
        "docker-archive-base",
        "Bootstrap: docker-archive\nFrom: $M/docker.tar\n",
    ),
    case("runscript", on_tree!("%runscript\necho run \"$@\"\n"))
        .commands(&["run $I", "run $I 1 '2 3'"]),
    case("runscript-arguments", on_base!("%runscript -eu\necho $1\n"))
        .commands(&["run $I a", "run $I"]),
    case(
        "runscript-shebang",
        on_base!("%runscript\n#!/bin/cat\nshown\n"),
    ),
    case("startscript", on_tree!("%startscript\necho start\n")),
    case(
        "test",
        on_tree!("%test\necho tested $FROM\n%environment\nexport FROM=here\n"),
    )
    .commands(&["test $I"]),
    case("help", on_tree!("%help\nhow to\n")).commands(&["run-help $I"]),
    case("labels", on_tree!("%labels\nA b c\nB\nC <x>\n")),
    case(
        "labels-kept",
        on_base!("%labels\norg.label-schema.schema-version 9\nX y\n"),
    ),
    case(
        "environment",
        on_tree!("%environment\nexport A='x y'\nexport PATH=/opt/bin:$PATH\n"),
    )
    .commands(&[
        "exec $I sh -c 'echo $A $PATH'",
        "exec --env A=1 $I sh -c 'echo $A'",
    ]),
    case(
        "environment-later",
        on_tree!("%post\necho 'export LATE=1' >>\"$APPTAINER_ENVIRONMENT\"\n"),
    )
    .commands(&["exec $I sh -c 'echo $LATE'"]),
    case(
        "labels-later",
        on_tree!("%post\necho 'Late 1 2' >>\"$SINGULARITY_LABELS\"\n%labels\nLate no\n"),
    ),
    case(
        "arguments",
        on_tree!("%arguments\nV=1\n%labels\nA {{ V }}\n%runscript\necho {{ W }}\n"),
    )
    .flags(&["--build-arg", "W=w x"]),
    case(
        "chosen-sections",
        on_tree!("%labels\nA b\n%help\nh\n%environment\nexport A=1\n"),
    )
    .flags(&["--section", "help"]),
    case("history", on_base!("Stage: x\n%labels\nH 1\n")),
];

const WORK: &[Case] = &[
    case("post", on_tree!("%post\nmkdir -p /new/sub\necho content >/new/sub/file\nchmod 600 /new/sub/file\n"))
        .commands(&["exec $I stat -c '%n %F %a %u:%g' /new/sub /new/sub/file"]),
    case("post-changes", on_base!("%post\necho changed >/etc/os-release\ntouch /opt/data/other\nmkdir /opt/data/d\n")),
    case("post-sees", on_tree!("%post\n{ id -u; pwd; echo $HOME $PATH; echo $0; } >/seen\n")),
    case("post-shell", on_tree!("%post -c /bin/sh -u\necho \"$-\" | cat >/flags\n")),
    case("post-arguments", on_tree!("%post -u\necho \"$-\" >/flags\n")),
    case("post-environment", on_base!("%environment\nexport V=1\n%post\necho \"${V:-unset}\" >/seen\n")),
    case("setup", on_tree!("%setup\necho host >\"$APPTAINER_ROOTFS/opt/from-host\"\n%post\ncat /opt/from-host >/opt/again\n")),
    case("files", on_tree!("%files\n$M/docker.tar /opt/a/b/\n$M/base.tar /opt/base.tar\n")),
    case("files-directory", on_tree!("%files\n$M/layout-cmd /opt\n$M/layout-cmd /srv/named\n")),
    case("files-link", on_tree!("%files\n$M/full/opt/link /opt/copied\n")),
    case("files-glob", on_tree!("%files\n$M/d*.tar /globbed/\n")),
    case(
        "files-own-places",
        on_tree!("%files\n$M/d*.tar\n$M/layout-{cmd,entry}/oci-layout\n$M/{base,docker}.tar /made/\n"),
    ),
    case(
        "post-marks",
        on_tree!("%post\ntouch /etc/.wh.os-release; echo x >/etc/.wh.new; mkdir /d; touch /d/.wh..wh..opq\n"),
    ),
    case(
        "stage-content",
        concat!(
            "Bootstrap: oci\nFrom: $M/layout-full\nStage: one\n%post\nmkdir -p /d/e /f; touch /d/2 /d/e/1 /f/3\n",
            "Bootstrap: localimage\nFrom: $M/full.sif\n%files from one\n/d/ /z/\n/d/e/\n/d /y\n/d/{2,e} /x/\n/f/ /w\n",
        ),
    ),
    case(
        "stages",
        concat!(
            "Bootstrap: oci\nFrom: $M/layout-full\nStage: one\n%post\nmkdir /made\necho 1 >/made/file\nmkdir /made/sub\n",
            "Bootstrap: localimage\nFrom: $M/full.sif\n%files from one\n/made\n/made/file /opt/other\n/opt/link /opt/linked\n",
        ),
    ),
    case("scratch", "Bootstrap: scratch\n%files\n$M/full/usr /\n$M/full/usr/bin /bin\n$M/full/usr/lib /lib\n$M/full/usr/lib64 /lib64\n")
        .commands(&[]),
    case(
        "apps",
        on_tree!("%appinstall one\ntouch bin/tool\nmkdir data\n%apprun one\necho app $SCIF_APPNAME \"$@\"\n%appenv one\nexport ONE=1\n%applabels one\nk v\n%apphelp one\nhelp one\n%apptest one\necho tested $ONE\n%apprun two\necho second\n%appfiles two\n$M/docker.tar file\n"),
    )
    .commands(&[
        "run --app one $I x",
        "run --app two $I",
        "exec --app one $I sh -c 'echo $ONE $PATH $SCIF_APPROOT $SCIF_APPDATA_two'",
        "test --app one $I",
        "run-help --app one $I",
        "run --app none $I",
    ]),
];

#[test]
fn what_definitions_say() {
    require!("builds of definitions' metadata"; Skiff, Apptainer, Fuse, UserNamespaces);
    compare(METADATA);
}

#[test]
fn what_definitions_do() {
    require!("builds of definitions' work"; Skiff, Apptainer, Fuse, UserNamespaces);
    compare(WORK);
}
