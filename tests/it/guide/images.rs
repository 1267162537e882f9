//! Rows 3 to 9 of the guide: images pulled, built, changed and built again, against a registry on
//! this machine that stands in for the public ones through `registries.conf`.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;
use skiff_tests::command::Cmd;
use skiff_tests::debian;
use skiff_tests::image::{digest, keep};
use skiff_tests::oci::{OciImage, Packing, push};
use skiff_tests::pty::Terminal;
use skiff_tests::require;
use skiff_tests::user::ordinary;
use skiff_tests::web::daemon::{Access, Daemon, python, registry};

use super::Desk;

/// Longest that a build with packages from a mirror may take on a loaded machine.
const BUILD_LIMIT: Duration = Duration::from_secs(600);

/// What `Miniforge3-Linux-x86_64.sh` is for the guide: a script that unpacks itself to `-p`.
const INSTALLER: &str = r#"#!/bin/bash
set -e
[ "$1" = -fp ] && [ "$3" = -b ] || { echo "usage: $0 -fp DIR -b" >&2; exit 2; }
mkdir -p "$2/bin" "$2/pkgs"
cat >"$2/bin/mamba" <<'END'
#!/bin/bash
root=$(cd "$(dirname "$0")/.." && pwd)
case $1 in
  --version) echo "mamba 1.4.2" ;;
  install)
    shift
    while [ $# -gt 0 ]; do
      case $1 in
        -y) ;;
        --file) shift; while read -r package; do touch "$root/pkgs/$package"; done <"$1" ;;
        *) touch "$root/pkgs/$1" ;;
      esac
      shift
    done ;;
esac
END
chmod +x "$2/bin/mamba"
ln -f "$2/bin/mamba" "$2/bin/conda"
"#;

/// The definition file of the guide, with where things come from.
fn definition(bootstrap: &str, from: &str, installer: &str) -> String {
    let name = installer.rsplit('/').next().expect("a URL");
    format!(
        "Bootstrap: {bootstrap}\nFrom: {from}\n\n\
         %environment\n    export PATH=/opt/miniforge3/bin:$PATH\n    export PYTHONNOUSERSITE=True\n\n\
         %post\n    apt-get update && apt-get install -y --no-install-recommends \\\n        git \\\n        \
         nano \\\n        wget curl\n    apt-get clean && rm -rf /var/lib/apt/lists/*\n    cd /tmp\n    \
         curl -L -O {installer}\n    bash {name} -fp /opt/miniforge3 -b\n    rm {name}\n    \
         export PATH=/opt/miniforge3/bin:$PATH\n    mamba install -y python=3.10\n\
         cat << EOF > /opt/requirements.txt\ntorch==2.0.1\nnumpy\nEOF\n    \
         mamba install -y --file /opt/requirements.txt\n"
    )
}

/// Registries that have what the guide names, and the user's view of them.
struct Site {
    desk: Desk,
    conf: PathBuf,
    _registry: Daemon,
    web: Daemon,
    /// Name of the installer on the web server: /tmp is everybody's while a build runs.
    installer: String,
}

/// The layout of an image with the Debian base in it.
fn debian_layout() -> PathBuf {
    let tar = debian::base();
    let name = format!(
        "debian-layout-{}",
        digest(&[include_str!("../../src/oci.rs")])
    );
    keep(&name, |folder| {
        let image = OciImage {
            layers: vec![(tar.clone(), Packing::Gzip)],
            config: json!({
                "Env": [
                    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                    "CUDA_VERSION=11.7.1",
                    "NVIDIA_REQUIRE_CUDA=cuda>=11.7 brand=tesla,driver>=450,driver<451",
                ],
                "Entrypoint": ["/bin/sh", "-c", "echo entry \"$@\"", "entry"],
                "Cmd": ["bash"],
                "Labels": {"maintainer": "Somebody <somebody@example.org>"},
                "WorkingDir": "/workspace",
            }),
        };
        image.layout(&folder.join("layout"));
        Cmd::new("/bin/chmod")
            .args(["-R", "a+rX"])
            .arg(folder)
            .run()
            .expect_success("chmod");
    })
    .join("layout")
}

impl Site {
    fn new(name: &str) -> Self {
        let layout = debian_layout();
        let desk = Desk::empty(name);
        let daemon = registry(&desk.folder.join("registry"), Access::Open);
        for image in [
            "pytorch/pytorch:2.0.1-cuda11.7-cudnn8-runtime",
            "nvidia/tensorflow:20.03-tf2-py3",
            "nvidia/cuda:11.7.1-cudnn8-devel-ubuntu22.04",
        ] {
            push(&layout, &daemon, image);
        }
        let conf: String = ["docker.io", "nvcr.io"]
            .iter()
            .map(|public| {
                format!(
                    "[[registry]]\nprefix = \"{public}\"\nlocation = \"{public}\"\n\
                     [[registry.mirror]]\nlocation = \"{}\"\ninsecure = true\n\n",
                    daemon.host()
                )
            })
            .collect();
        desk.write("registries.conf", &conf);
        let installer = format!("Miniforge3-{}-{name}.sh", std::process::id());
        desk.write(&format!("web/{installer}"), INSTALLER);
        let web = python(&desk.folder.join("web"));
        Self {
            conf: desk.folder.join("registries.conf"),
            desk,
            _registry: daemon,
            web,
            installer,
        }
    }

    fn line(&self, line: &str) -> Cmd {
        let mut cmd = self.desk.line(line);
        cmd.env("CONTAINERS_REGISTRIES_CONF", &self.conf)
            .env("SKIFF_CACHE_DIR", self.desk.folder.join("cache"))
            .env("TMPDIR", self.made("tmp"))
            .limit(BUILD_LIMIT);
        cmd
    }

    fn made(&self, name: &str) -> PathBuf {
        let folder = self.desk.folder.join(name);
        if !folder.exists() {
            std::fs::create_dir(&folder).expect("room");
            ordinary().own(&folder);
        }
        folder
    }

    fn installer_url(&self) -> String {
        self.web.url(&format!("/{}", self.installer))
    }

    fn is_empty(&self, folder: &str) -> bool {
        std::fs::read_dir(self.desk.folder.join(folder))
            .map_or(true, |mut names| names.next().is_none())
    }
}

fn debian_version(site: &Site, image: &str) -> String {
    let outcome = site
        .line(&format!("apptainer exec {image} cat /etc/os-release"))
        .run()
        .expect_success(image);
    outcome.stdout_text()
}

#[test]
fn images_are_pulled_and_built_from_registries() {
    require!("rows 3 to 5 of the guide"; Root, Skiff, Fuse, UserNamespaces, Registry, Skopeo, Mmdebstrap);
    let site = Site::new("pull");
    for (line, image) in [
        (
            "apptainer pull pytorch_2.0.1.sif docker://pytorch/pytorch:2.0.1-cuda11.7-cudnn8-runtime",
            "pytorch_2.0.1.sif",
        ),
        (
            "apptainer pull tensorflow-20.03-tf2-py3.sif docker://nvcr.io/nvidia/tensorflow:20.03-tf2-py3",
            "tensorflow-20.03-tf2-py3.sif",
        ),
        (
            "apptainer build cuda_11.7.1-cudnn8-devel-ubuntu22.04.sif docker://nvidia/cuda:11.7.1-cudnn8-devel-ubuntu22.04",
            "cuda_11.7.1-cudnn8-devel-ubuntu22.04.sif",
        ),
    ] {
        site.line(line).run().expect_success(line);
        assert!(debian_version(&site, image).contains("Debian"), "{image}");
        assert!(site.is_empty("tmp"), "{line} left something in TMPDIR");
    }
    let environment = site
        .line("apptainer exec pytorch_2.0.1.sif sh -c 'echo $CUDA_VERSION'")
        .run()
        .expect_success("exec");
    assert_eq!(environment.stdout_text(), "11.7.1\n");
    let entry = site
        .line("apptainer run pytorch_2.0.1.sif one 'two three'")
        .run()
        .expect_success("run");
    assert_eq!(entry.stdout_text(), "entry one two three\n");
}

#[test]
fn an_image_is_built_changed_and_saved() {
    require!("rows 6 to 9 of the guide"; Root, Skiff, Fuse, UserNamespaces, Subuids, Registry, Skopeo, Mmdebstrap);
    let site = Site::new("build");
    let base = "cuda_11.7.1-cudnn8-devel-ubuntu22.04.sif";
    site.line(&format!(
        "apptainer build {base} docker://nvidia/cuda:11.7.1-cudnn8-devel-ubuntu22.04"
    ))
    .run()
    .expect_success("the base");
    // An image that an ordinary user built from a registry has one owner; bootstrapped by root of a
    // namespace it has all.
    for (file, bootstrap, from, owner) in [
        ("pytorch_2.0.1", "localimage", base, "0:0"),
        (
            "from_docker",
            "docker",
            "nvidia/cuda:11.7.1-cudnn8-devel-ubuntu22.04",
            "0:42",
        ),
    ] {
        let text = definition(bootstrap, from, &site.installer_url());
        site.desk.write(&format!("{file}.def"), &text);
        let build = format!("apptainer build --fakeroot {file}.sif {file}.def");
        site.line(&build).run().expect_success(&build);
        assert!(site.is_empty("tmp"), "{build} left something in TMPDIR");
        let look = format!(
            "apptainer exec --fakeroot {file}.sif sh -c 'mamba --version; git --version; \
             echo $PYTHONNOUSERSITE; cat /opt/requirements.txt; ls /opt/miniforge3/pkgs; \
             stat -c %u:%g /etc/shadow; which nano wget curl'"
        );
        let seen = site.line(&look).run().expect_success(&look);
        let seen = seen.stdout_text();
        let lines: Vec<_> = seen.lines().collect();
        assert_eq!(lines[0], "mamba 1.4.2", "{seen}");
        assert!(lines[1].starts_with("git version"), "{seen}");
        assert_eq!(
            lines[2..],
            [
                "True",
                "torch==2.0.1",
                "numpy",
                "numpy",
                "python=3.10",
                "torch==2.0.1",
                owner,
                "/usr/bin/nano",
                "/usr/bin/wget",
                "/usr/bin/curl",
            ],
            "{seen}"
        );
    }
    let sandbox = "apptainer build --fakeroot --sandbox pytorch_2.0.1 pytorch_2.0.1.sif";
    site.line(sandbox).run().expect_success(sandbox);
    assert!(site.desk.folder.join("pytorch_2.0.1/bin/sh").exists());

    let mut shell = site.line("apptainer shell --fakeroot --writable pytorch_2.0.1/");
    let mut shell = Terminal::start(&mut shell).expect("a terminal");
    shell.until("Apptainer> ").expect("a prompt");
    shell
        .send("mamba install -y scipy; apt update && apt install vim -y && echo done $((6*7))\n")
        .expect("typed");
    shell
        .until_within("done 42\r\n", BUILD_LIMIT)
        .expect("installed");
    shell.until("Apptainer> ").expect("a prompt");
    shell.send("exit\n").expect("typed");
    shell.end().expect("an end");

    let save = "apptainer build pytorch_2.0.1_v2.sif pytorch_2.0.1";
    site.line(save).run().expect_success(save);
    let look = "apptainer exec pytorch_2.0.1_v2.sif sh -c 'ls /opt/miniforge3/pkgs/scipy; vim --version | head -1'";
    let seen = site.line(look).run().expect_success(look).stdout_text();
    assert!(
        seen.starts_with("/opt/miniforge3/pkgs/scipy\nVIM"),
        "{seen}"
    );
    // The files of other users in it cannot be removed from outside.
    site.line("apptainer exec --fakeroot -B $PWD:/mnt pytorch_2.0.1.sif rm -rf /mnt/pytorch_2.0.1")
        .run();
}
