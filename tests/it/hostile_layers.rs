//! Images whose layers were made to do harm, built and pulled by the program: nothing is written
//! outside of what is built, what cannot be right is refused in one line, and nothing is left of it.
//!
//! What each layer leads to is looked at closely in fs/tests/hostile_layers.rs; here it comes in by
//! the doors that users have.

mod archives;

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use skiff_tests::command::{Cmd, Outcome};
use skiff_tests::oci::architecture;
use skiff_tests::processes::peak_memory;
use skiff_tests::program::{self, hex};
use skiff_tests::require;
use skiff_tests::require::is_root;
use skiff_tests::user::ordinary;

/// More than this no conversion may use.
const MEMORY: u64 = 1 << 30;

/// What layers are said to be where nothing else is wanted.
const PLAIN: &str = "application/vnd.oci.image.layer.v1.tar";

/// Things that must stay as they are, and a folder to work in.
struct Place {
    folder: PathBuf,
    before: BTreeMap<PathBuf, (u32, u64, i64, i64, Vec<u8>)>,
}

impl Place {
    fn new(name: &str) -> Self {
        let folder = PathBuf::from(format!(
            "/var/tmp/skiff-layers-{}-{name}",
            std::process::id()
        ));
        std::fs::create_dir(&folder).expect("fresh");
        for path in ["canary/inner", "work", "tmp"] {
            std::fs::create_dir_all(folder.join(path)).expect("room");
        }
        for path in ["canary/file", "canary/inner/x", "x"] {
            std::fs::write(folder.join(path), "untouched").expect("room");
        }
        ordinary().own_all(&folder);
        let mut place = Self {
            folder,
            before: BTreeMap::new(),
        };
        place.before = place.picture();
        place
    }

    fn canary(&self) -> Vec<u8> {
        self.folder.join("canary").as_os_str().as_bytes().to_vec()
    }

    /// Everything that no build has a right to touch.
    fn picture(&self) -> BTreeMap<PathBuf, (u32, u64, i64, i64, Vec<u8>)> {
        let mut all = BTreeMap::new();
        let mut rest = vec![self.folder.join("canary"), self.folder.join("x")];
        while let Some(path) = rest.pop() {
            let data = std::fs::symlink_metadata(&path).expect("it is ours");
            let content = if data.is_dir() {
                let inner = std::fs::read_dir(&path).expect("it is ours");
                rest.extend(inner.map(|entry| entry.expect("readable").path()));
                Vec::new()
            } else {
                std::fs::read(&path).expect("it is ours")
            };
            let seen = (
                data.mode(),
                data.nlink(),
                data.mtime(),
                data.mtime_nsec(),
                content,
            );
            all.insert(path, seen);
        }
        all
    }

    fn command(&self, root: bool, args: &[&str]) -> Cmd {
        let name = program::skiff().expect("required").called("apptainer");
        let mut cmd = if root {
            let mut cmd = Cmd::new(name);
            cmd.env("HOME", "/root").env("PATH", "/usr/bin:/bin");
            cmd
        } else {
            ordinary().command(name)
        };
        cmd.cwd(self.folder.join("work"))
            .env("APPTAINER_TMPDIR", self.folder.join("tmp"))
            .env("APPTAINER_CACHEDIR", self.folder.join("tmp"))
            .env("SKIFF_CACHE_DIR", self.folder.join("tmp/cache"))
            .limit(Duration::from_secs(60))
            .args(args);
        cmd
    }

    /// Builds a directory and an image of `source`; whether that went well.
    fn build(&self, what: &str, source: &str) -> bool {
        let mut good = Vec::new();
        let users: &[bool] = if is_root() { &[false, true] } else { &[false] };
        for &root in users {
            for args in [
                &["build", "--sandbox", "made", source][..],
                &["build", "made", source],
            ] {
                let outcome = self.command(root, args).run();
                let what = format!("{what}, {args:?}, root {root}");
                good.push(self.check(&what, &outcome));
            }
        }
        assert!(good.iter().all(|fine| *fine == good[0]), "{what}: {good:?}");
        good[0]
    }

    /// That it ended well or in a line that says why, that nothing else happened; and cleans up.
    fn check(&self, what: &str, outcome: &Outcome) -> bool {
        let said = outcome.stderr_text();
        let fine = outcome.success();
        assert!(fine || outcome.code() == Some(255), "{what}: {outcome}");
        assert!(
            !said.contains("panicked") && !said.contains('\x1b'),
            "{what}: {said}"
        );
        if !fine {
            let fatal: Vec<&str> = said
                .lines()
                .filter(|line| line.starts_with("FATAL:"))
                .collect();
            assert!(
                matches!(fatal.as_slice(), [line] if line.len() > 30),
                "{what}: {said}"
            );
        }
        assert_eq!(self.picture(), self.before, "{what}");
        for path in ["/skiff-hostile", "/tmp/skiff-hostile", "/etc/skiff-hostile"] {
            assert!(std::fs::symlink_metadata(path).is_err(), "{what}: {path}");
        }
        let made: Vec<PathBuf> = std::fs::read_dir(self.folder.join("work"))
            .expect("it is ours")
            .map(|entry| entry.expect("readable").path())
            .collect();
        if fine {
            assert_eq!(made, [self.folder.join("work/made")], "{what}");
        } else {
            assert!(made.is_empty(), "{what}: {made:?}");
        }
        for path in made {
            remove(&path);
        }
        fine
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        remove(&self.folder);
    }
}

/// Removes it, closed directories too.
fn remove(path: &Path) {
    Cmd::new("/bin/sh")
        .env("PATH", "/usr/bin:/bin")
        .args(["-c", "chmod -R u+rwx \"$1\"; rm -rf \"$1\"", "sh"])
        .arg(path)
        .run();
}

/// A layer, and what the manifest says of it.
#[derive(Clone)]
struct Blob {
    bytes: Vec<u8>,
    descriptor: Value,
    diff_id: Value,
}

impl Blob {
    fn new(bytes: Vec<u8>) -> Self {
        let digest = sum(&bytes);
        Self {
            descriptor: json!({"mediaType": PLAIN, "digest": digest, "size": bytes.len()}),
            diff_id: json!(digest),
            bytes,
        }
    }

    /// With another value of the descriptor.
    fn says(mut self, key: &str, value: Value) -> Self {
        self.descriptor[key] = value;
        self
    }
}

fn sum(bytes: &[u8]) -> String {
    format!("sha256:{}", hex(&Sha256::digest(bytes)))
}

/// A layout at `folder` of these layers, the lowest first.
fn layout(folder: &Path, layers: &[Blob]) {
    let blobs = folder.join("blobs/sha256");
    std::fs::create_dir_all(&blobs).expect("room");
    let put = |bytes: &[u8], digest: &str| {
        let name = digest.trim_start_matches("sha256:");
        // Names that are no digests are for the program to refuse.
        if !name.is_empty() && !name.contains('/') {
            std::fs::write(blobs.join(name), bytes).expect("room");
        }
    };
    for layer in layers {
        let named = layer.descriptor["digest"].as_str().unwrap_or_default();
        put(&layer.bytes, named);
    }
    let config = json!({
        "architecture": architecture(), "os": "linux", "config": {},
        "rootfs": {"type": "layers", "diff_ids": layers.iter().map(|layer| layer.diff_id.clone()).collect::<Vec<_>>()},
    })
    .to_string();
    put(config.as_bytes(), &sum(config.as_bytes()));
    let manifest = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": sum(config.as_bytes()), "size": config.len()},
        "layers": layers.iter().map(|layer| layer.descriptor.clone()).collect::<Vec<_>>(),
    })
    .to_string();
    put(manifest.as_bytes(), &sum(manifest.as_bytes()));
    let index = json!({"schemaVersion": 2, "manifests": [{
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": sum(manifest.as_bytes()), "size": manifest.len(),
    }]});
    std::fs::write(folder.join("index.json"), index.to_string()).expect("room");
    let version = r#"{"imageLayoutVersion": "1.0.0"}"#;
    std::fs::write(folder.join("oci-layout"), version).expect("room");
}

/// Builds images of all these layers; returns how many were right.
fn all(place: &Place, cases: Vec<(String, Vec<Blob>)>) -> usize {
    let mut right = 0;
    for (what, layers) in cases {
        let folder = place.folder.join("layout");
        layout(&folder, &layers);
        right += usize::from(place.build(&what, &format!("oci:{}", folder.display())));
        remove(&folder);
    }
    right
}

#[test]
fn layers_that_lead_out() {
    require!("builds of hostile layers"; Skiff, Fuse, UserNamespaces);
    let place = Place::new("out");
    let cases = archives::leading_out(&place.canary());
    let count = cases.len();
    assert!(count > 150, "{count}");
    let right = all(&place, cases);
    // Paths are taken below the root; most of them are harmless there.
    assert!(right > count / 3 && right < count, "{right} of {count}");
}

#[test]
fn layers_that_are_not_as_promised() {
    require!("builds of damaged layers"; Skiff, Fuse, UserNamespaces);
    let place = Place::new("promised");
    let cases = archives::broken();
    let count = cases.len();
    assert!(count > 50, "{count}");
    assert_eq!(all(&place, cases), 0);
}

#[test]
fn archives_of_images_that_lead_out() {
    require!("builds of hostile archives"; Skiff, Fuse, UserNamespaces);
    let place = Place::new("archives");
    for (scheme, what, bytes) in archives::whole(&place.canary()) {
        let path = place.folder.join("tmp/image.tar");
        std::fs::write(&path, bytes).expect("room");
        place.build(what, &format!("{scheme}:{}", path.display()));
        std::fs::remove_file(&path).expect("ours");
    }
}

#[test]
fn a_million_entries() {
    require!("a build of a million entries"; Skiff, Fuse, UserNamespaces);
    let place = Place::new("million");
    let folder = place.folder.join("layout");
    layout(&folder, &[archives::million()]);
    let source = format!("oci:{}", folder.display());
    let mut cmd = place.command(false, &["build", "made", &source]);
    let mut child = cmd.limit(Duration::from_secs(600)).start();
    let mut most = 0;
    let ended = loop {
        let pid = i32::try_from(child.id()).expect("small");
        most = most.max(peak_memory(pid).unwrap_or(0));
        if let Some(status) = child.try_wait().expect("ours") {
            break status;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    assert!(ended.success());
    assert!(most > 0 && most < MEMORY, "{} MB", most >> 20);
    let image = place.folder.join("work/made");
    let listing = Cmd::new("/bin/sh")
        .env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin")
        .args(["-c", archives::COUNT, "sh"])
        .arg(program::skiff().expect("required").called("apptainer"))
        .arg(&image)
        .limit(Duration::from_secs(120))
        .run()
        .expect_success("counting");
    let count: u64 = listing.stdout_text().trim().parse().expect("a number");
    assert!(count > 1_000_000, "{count}");
}
