//! OCI images for tests: layouts on disk made from layers, and real registries that have them.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::command::Cmd;
use crate::program::hex;
use crate::user::ordinary;
use crate::web::daemon::Daemon;

/// How a layer is packed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Packing {
    /// As it is.
    Plain,
    /// By gzip.
    Gzip,
    /// By zstd.
    Zstd,
}

/// An image to be written.
#[derive(Clone, Debug)]
pub struct OciImage {
    /// Tar archives, the lowest first, and how they are packed.
    pub layers: Vec<(PathBuf, Packing)>,
    /// The `config` object of the image's configuration: `Env`, `Cmd`, `Entrypoint`, `Labels` …
    pub config: Value,
}

impl OciImage {
    /// One gzip layer from the archive `tar`, with a usual configuration.
    pub fn of(tar: &Path) -> Self {
        Self {
            layers: vec![(tar.to_owned(), Packing::Gzip)],
            config: json!({
                "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
                "Cmd": ["bash"],
            }),
        }
    }

    /// Writes a layout into `folder`, which is made; returns the digest of the manifest.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn layout(&self, folder: &Path) -> String {
        let blobs = folder.join("blobs/sha256");
        std::fs::create_dir_all(&blobs).expect("room for a layout");
        let mut layers = Vec::new();
        let mut plain = Vec::new();
        for (tar, packing) in &self.layers {
            plain.push(format!("sha256:{}", sum_of(tar)));
            let packed = folder.join("packed");
            let media_type = match packing {
                Packing::Plain => {
                    std::fs::copy(tar, &packed).expect("room for a layer");
                    "application/vnd.oci.image.layer.v1.tar"
                }
                Packing::Gzip => {
                    pack(&["gzip", "-n", "-c", "-1"], tar, &packed);
                    "application/vnd.oci.image.layer.v1.tar+gzip"
                }
                Packing::Zstd => {
                    pack(&["zstd", "-q", "-c"], tar, &packed);
                    "application/vnd.oci.image.layer.v1.tar+zstd"
                }
            };
            let sum = sum_of(&packed);
            let size = std::fs::metadata(&packed).expect("just written").len();
            std::fs::rename(&packed, blobs.join(&sum)).expect("the same disk");
            layers.push(json!({
                "mediaType": media_type, "digest": format!("sha256:{sum}"), "size": size,
            }));
        }
        let config = blob(
            &blobs,
            &json!({
                "architecture": architecture(), "os": "linux", "config": self.config,
                "created": "2024-05-06T07:08:09Z",
                "rootfs": {"type": "layers", "diff_ids": plain},
                "history": [],
            }),
            "application/vnd.oci.image.config.v1+json",
        );
        let mut manifest = blob(
            &blobs,
            &json!({
                "schemaVersion": 2,
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "config": config, "layers": layers,
            }),
            "application/vnd.oci.image.manifest.v1+json",
        );
        let digest = manifest["digest"].as_str().expect("text").to_owned();
        manifest["platform"] = json!({"architecture": architecture(), "os": "linux"});
        manifest["annotations"] = json!({"org.opencontainers.image.ref.name": "latest"});
        let index = json!({"schemaVersion": 2, "manifests": [manifest]});
        std::fs::write(folder.join("index.json"), index.to_string()).expect("room");
        std::fs::write(
            folder.join("oci-layout"),
            r#"{"imageLayoutVersion": "1.0.0"}"#,
        )
        .expect("room");
        digest
    }
}

/// Copies the only image of the layout in `folder` into `registry`, as `name` (repository and tag).
///
/// # Panics
/// When it cannot be copied.
pub fn push(folder: &Path, registry: &Daemon, name: &str) {
    copy(
        &format!("oci:{}", folder.display()),
        &format!("docker://{}/{name}", registry.host()),
    );
}

/// Copies the only image of the layout in `folder` into an archive as `docker save` writes it.
///
/// # Panics
/// When it cannot be copied.
pub fn docker_archive(folder: &Path, archive: &Path) {
    copy(
        &format!("oci:{}", folder.display()),
        &format!("docker-archive:{}:example/image:latest", archive.display()),
    );
}

/// Copies the only image of the layout in `folder` into the store of docker's daemon at `host`.
///
/// # Panics
/// When it cannot be copied.
pub fn give_to_docker(folder: &Path, host: &str, name: &str) {
    let to = format!("docker-daemon:{name}");
    let flags = ["--dest-daemon-host", host];
    copy_with(&flags, &format!("oci:{}", folder.display()), &to);
}

fn copy(from: &str, to: &str) {
    copy_with(&["--dest-tls-verify=false"], from, to);
}

fn copy_with(flags: &[&str], from: &str, to: &str) {
    let mut cmd = ordinary().command("skopeo");
    cmd.args(["--insecure-policy", "copy", "-q"]).args(flags);
    cmd.args([from, to])
        .run()
        .expect_success("skopeo copies an image");
}

/// The architecture of this machine as registries call it.
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// A tar archive at `tar` of what is in `root`, all owned by root, in the order of the names.
///
/// # Panics
/// When it cannot be written.
pub fn archive(root: &Path, tar: &Path) {
    Cmd::new("tar")
        .env("PATH", "/usr/bin:/bin")
        .args(["--sort=name", "--numeric-owner", "--owner=0", "--group=0"])
        .args(["--xattrs", "--xattrs-include=user.*", "-C"])
        .arg(root)
        .arg("-cf")
        .arg(tar)
        .arg(".")
        .run()
        .expect_success("tar");
}

fn pack(words: &[&str], from: &Path, to: &Path) {
    let mut cmd = Cmd::new("/bin/sh");
    let line = format!("exec {} <\"$1\" >\"$2\"", words.join(" "));
    cmd.env("PATH", "/usr/bin:/bin")
        .args(["-c", &line, "sh"])
        .args([from, to]);
    cmd.run().expect_success("packing a layer");
}

fn blob(blobs: &Path, value: &Value, media_type: &str) -> Value {
    let text = value.to_string();
    let sum = hex(&Sha256::digest(text.as_bytes()));
    std::fs::write(blobs.join(&sum), &text).expect("room for a blob");
    json!({"mediaType": media_type, "digest": format!("sha256:{sum}"), "size": text.len()})
}

fn sum_of(path: &Path) -> String {
    let mut sum = Summing(Sha256::new());
    let mut file = std::fs::File::open(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    std::io::copy(&mut file, &mut sum).expect("readable");
    hex(&sum.0.finalize())
}

struct Summing(Sha256);

impl Write for Summing {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
