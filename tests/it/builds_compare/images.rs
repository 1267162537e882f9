//! Images made of other images.

use std::path::Path;

use serde_json::{Value, json};
use skiff_tests::oci::{self, Packing};
use skiff_tests::require;

use super::{Case, case, compare, layout, shell};

/// Changes when what [`make`] makes changes.
pub(super) const VERSION: &str = "1";

/// Configurations by name.
fn configurations() -> Vec<(&'static str, Value)> {
    let path = "PATH=/usr/local/bin:/usr/bin:/bin";
    vec![
        (
            "both",
            json!({"Env": [path], "Entrypoint": ["echo", "entry"], "Cmd": ["cmd"]}),
        ),
        (
            "cmd",
            json!({"Env": [path], "Cmd": ["echo", "a  b", "$HOME"]}),
        ),
        (
            "entry",
            json!({"Env": [path], "Entrypoint": ["echo", "entry"]}),
        ),
        (
            "quotes",
            json!({"Env": [path], "Entrypoint": ["printf", "[%s]\\n"],
                "Cmd": ["\"", "'", "a'b\"c", "$X ${Y}", "`id`", "$(id)", "\\", "a\\b", "*", "~", "", "#x", "a;b", "{1,2}"]}),
        ),
        (
            "lines",
            json!({"Env": [path], "Cmd": ["printf", "[%s]\\n", "a\nb", "\tc", "é"]}),
        ),
        (
            "variables",
            json!({"Env": [path, "PLAIN=a b", "EMPTY=", "EQUALS=a=b", "BAD-NAME=x", "UNICODE=é", "LIST=a:b"],
                "Cmd": ["sh", "-c", "echo \"$PLAIN|$EMPTY|$EQUALS|$UNICODE|$LIST\""]}),
        ),
        (
            "labels",
            json!({"Env": [path], "Cmd": ["true"], "Labels": {"a": "b", "quotes": "<\"&'>", "org.label-schema.schema-version": "0"}}),
        ),
        (
            "ignored",
            json!({"Env": [path], "Cmd": ["sh", "-c", "id -u >/dev/null; echo hi"], "User": "901", "WorkingDir": "/opt",
                "ExposedPorts": {"80/tcp": {}}, "Volumes": {"/data": {}}, "StopSignal": "SIGTERM"}),
        ),
        (
            "shellform",
            json!({"Env": [path], "Cmd": ["/bin/sh", "-c", "for i in 1 2; do echo \"$i\"; done"]}),
        ),
    ]
}

pub(super) fn make(folder: &Path) {
    for (name, config) in configurations() {
        layout(folder, name, &[], Packing::Gzip, config);
    }
    let command = || json!({"Cmd": ["ls", "-A", "/opt"]});
    shell(
        folder,
        "mkdir -p one/opt/new one/opt/data one/etc two/opt/new three/opt four/opt/sub four/dev
         echo changed >one/opt/data/file; echo new >one/opt/new/a; echo x >one/etc/hosts; echo nameserver 1 >one/etc/resolv.conf
         touch two/opt/new/.wh.a two/opt/.wh.link; echo b >two/opt/new/b
         mkdir -p three/opt/data; touch three/opt/data/.wh..wh..opq; echo c >three/opt/data/only
         ln -s /etc/passwd four/opt/absolute; ln -s ../../../.. four/opt/up; mkfifo four/opt/fifo
         echo s >four/opt/sub/setuid; chmod 4711 four/opt/sub/setuid; echo h >four/opt/h1; ln four/opt/h1 four/opt/sub/h2; chmod 1777 four/opt/sub
         find one two three four -exec touch -hd 2020-03-04T05:06:00Z {} +",
    );
    for name in ["one", "two", "three", "four"] {
        oci::archive(&folder.join(name), &folder.join(format!("{name}.tar")));
    }
    let tar = |name: &str| folder.join(format!("{name}.tar"));
    layout(folder, "upper", &[&tar("one")], Packing::Gzip, command());
    layout(
        folder,
        "whiteout",
        &[&tar("one"), &tar("two")],
        Packing::Plain,
        command(),
    );
    layout(
        folder,
        "opaque",
        &[&tar("one"), &tar("three")],
        Packing::Gzip,
        command(),
    );
    layout(folder, "kinds", &[&tar("four")], Packing::Gzip, command());
    shell(
        folder,
        "tar -C layout-both -cf archive.tar blobs index.json oci-layout",
    );
    oci::docker_archive(&folder.join("layout-quotes"), &folder.join("docker.tar"));
    shell(folder, "rm -rf one two three four");
}

const CONFIGURATIONS: &[Case] = &[
    case("both", "oci:$M/layout-both").commands(&[
        "run $I",
        "run $I x 'y  z' '$HOME'",
        "run --no-eval $I '$HOME' '\"'",
        "exec $I sh -c 'echo $PATH'",
    ]),
    case("cmd", "oci:$M/layout-cmd").commands(&["run $I", "run $I echo 1", "run --no-eval $I"]),
    case("entry", "oci:$M/layout-entry").commands(&["run $I", "run $I 1 '2 3'"]),
    case("quotes", "oci:$M/layout-quotes").commands(&["run $I", "run --no-eval $I", "run $I a"]),
    case("lines", "oci:$M/layout-lines").commands(&["run $I", "run --no-eval $I"]),
    case("variables", "oci:$M/layout-variables").commands(&[
        "run $I",
        "run --env PLAIN=mine $I",
        "run --cleanenv $I",
    ]),
    case("labels", "oci:$M/layout-labels"),
    case("ignored", "oci:$M/layout-ignored"),
    case("shellform", "oci:$M/layout-shellform"),
];

const LAYERS: &[Case] = &[
    case("upper", "oci:$M/layout-upper"),
    case("whiteout", "oci:$M/layout-whiteout"),
    case("opaque", "oci:$M/layout-opaque"),
    case("kinds", "oci:$M/layout-kinds"),
    case("oci-archive", "oci-archive:$M/archive.tar"),
    case("docker-archive", "docker-archive:$M/docker.tar"),
    case("image", "$M/base.sif").commands(&["run $I", "run $I x"]),
    case("directory", "$M/tree").commands(&["run $I", "exec $I cat /opt/link"]),
];

#[test]
fn configurations_of_images() {
    require!("builds of OCI configurations"; Skiff, Apptainer, Fuse, UserNamespaces);
    compare(CONFIGURATIONS);
}

#[test]
fn layers_and_other_images() {
    require!("builds of layers"; Skiff, Apptainer, Fuse, UserNamespaces);
    compare(LAYERS);
}
