//! Random stacks of layers, merged here and unpacked one after the other by umoci.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::Cursor;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::process::{Command, Stdio};

use sha2::{Digest, Sha256};
use skiff_fs::layers::{Layer, Limits, MergeOptions, TarLayer, merge};
use skiff_fs::pack::{DirectoryOptions, DirectorySink, Sink};
use tar::{Builder, EntryType, Header};

const STACKS: u64 = 150;

/// Numbers that look random and are the same every time.
struct Random(u64);

impl Random {
    fn below(&mut self, most: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % most
    }

    fn one_of<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        let place = self.below(choices.len() as u64);
        choices[usize::try_from(place).expect("a test layer")]
    }

    fn path(&mut self) -> String {
        let parts: Vec<_> = (0..=self.below(3))
            .map(|_| self.one_of(&["a", "b", "c", "d", "e"]))
            .collect();
        parts.join("/")
    }
}

/// A layer, and what is in it for messages.
fn layer(random: &mut Random, number: u64, known: &mut Vec<String>) -> (Vec<u8>, String) {
    let mut archive = Builder::new(Vec::new());
    let mut text = String::new();
    for place in 0..=random.below(10) {
        let mut header = Header::new_gnu();
        header.set_mtime(1000 * (number + 1) + place);
        header.set_mode(u32::try_from(0o700 + random.below(0o100)).expect("a test layer"));
        header.set_size(0);
        header.set_uid(0);
        header.set_gid(0);
        let path = random.path();
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", &path));
        let parent = if parent.is_empty() { "." } else { parent };
        let mut content = Vec::new();
        let mut link = None;
        let mut entry = path.clone();
        match random.below(20) {
            0..=5 => {
                content = format!("{number}.{place}").into_bytes();
                header.set_size(content.len() as u64);
                header.set_entry_type(EntryType::Regular);
                known.push(path.clone());
            }
            6..=11 => header.set_entry_type(EntryType::Directory),
            12..=14 => {
                header.set_entry_type(EntryType::Symlink);
                link = Some(
                    random
                        .one_of(&["a", "b", "../b", "/c", "../../..", "a/b", "/a/c", "c"])
                        .to_owned(),
                );
            }
            15 | 16 if !known.is_empty() => {
                header.set_entry_type(EntryType::Link);
                let place = random.below(known.len() as u64);
                link = Some(known[usize::try_from(place).expect("a test layer")].clone());
            }
            17 => {
                header.set_entry_type(EntryType::Regular);
                entry = format!("{parent}/.wh.{name}");
            }
            18 => {
                header.set_entry_type(EntryType::Regular);
                entry = format!("{parent}/.wh..wh..opq");
            }
            _ => header.set_entry_type(EntryType::Fifo),
        }
        let kind = char::from(header.entry_type().as_byte());
        writeln!(text, "  {kind} {entry} {link:?}").expect("a test layer");
        match link {
            Some(link) => archive
                .append_link(&mut header, &entry, link)
                .expect("a test layer"),
            None => archive
                .append_data(&mut header, &entry, Cursor::new(content))
                .expect("a test layer"),
        }
    }
    (archive.into_inner().expect("a test layer"), text)
}

fn hex(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a test layer");
        text
    })
}

/// An image layout with these layers.
fn layout(folder: &Path, layers: &[Vec<u8>]) {
    let blobs = folder.join("blobs/sha256");
    fs::create_dir_all(&blobs).expect("a test layer");
    let store = |bytes: &[u8]| {
        fs::write(blobs.join(hex(bytes)), bytes).expect("a test layer");
        format!(
            "\"digest\":\"sha256:{}\",\"size\":{}",
            hex(bytes),
            bytes.len()
        )
    };
    let list = |items: Vec<String>| items.join(",");
    let diff_ids = list(
        layers
            .iter()
            .map(|bytes| format!("\"sha256:{}\"", hex(bytes)))
            .collect(),
    );
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux","rootfs":{{"type":"layers","diff_ids":[{diff_ids}]}}}}"#
    );
    let blobs = list(
        layers
            .iter()
            .map(|bytes| {
                format!(
                    r#"{{"mediaType":"application/vnd.oci.image.layer.v1.tar",{}}}"#,
                    store(bytes)
                )
            })
            .collect(),
    );
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{{"mediaType":"application/vnd.oci.image.config.v1+json",{}}},"layers":[{blobs}]}}"#,
        store(config.as_bytes())
    );
    let index = format!(
        r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"application/vnd.oci.image.manifest.v1+json",{},"annotations":{{"org.opencontainers.image.ref.name":"x"}}}}]}}"#,
        store(manifest.as_bytes())
    );
    fs::write(folder.join("index.json"), index).expect("a test layer");
    fs::write(
        folder.join("oci-layout"),
        r#"{"imageLayoutVersion":"1.0.0"}"#,
    )
    .expect("a test layer");
}

/// A directory as text: kinds, permissions, times, contents, which names are links of each other.
/// Times that are the clock's in `times_from` are left out.
fn listing(root: &Path, times_from: &Path) -> String {
    fn list(
        folder: &Path,
        times_from: &Path,
        shown: &str,
        seen: &mut BTreeMap<u64, String>,
        out: &mut String,
    ) {
        let mut names: Vec<_> = fs::read_dir(folder)
            .expect("a test layer")
            .map(|entry| {
                entry
                    .expect("a test layer")
                    .file_name()
                    .into_string()
                    .expect("a test layer")
            })
            .collect();
        names.sort();
        for name in names {
            let path = folder.join(&name);
            let shown = format!("{shown}/{name}");
            let stat = fs::symlink_metadata(&path).expect("a test layer");
            let kind = stat.file_type();
            let first = seen
                .entry(stat.ino())
                .or_insert_with(|| shown.clone())
                .clone();
            let other = times_from.join(&name);
            let is_clock = fs::symlink_metadata(&other).is_ok_and(|stat| stat.mtime() > 1_000_000);
            let time = if is_clock { 0 } else { stat.mtime() };
            let what = if kind.is_symlink() {
                format!(
                    "-> {}",
                    fs::read_link(&path).expect("a test layer").display()
                )
            } else if kind.is_file() {
                fs::read_to_string(&path).expect("a test layer")
            } else if kind.is_fifo() {
                "pipe".into()
            } else {
                "directory".into()
            };
            let mode = if kind.is_symlink() {
                0
            } else {
                stat.mode() & 0o7777
            };
            writeln!(out, "{shown} {mode:o} {time} {what} ({first})").expect("a test layer");
            if kind.is_dir() {
                list(&path, &other, &shown, seen, out);
            }
        }
    }
    let mut out = String::new();
    list(root, times_from, "", &mut BTreeMap::new(), &mut out);
    out
}

fn merged(layers: &[Vec<u8>], target: &Path) -> Result<(), String> {
    let layers = layers
        .iter()
        .rev()
        .map(|bytes| {
            let reader = Box::new(Cursor::new(bytes.clone()));
            Box::new(TarLayer::new("layer", reader, Limits::default())) as Box<dyn Layer>
        })
        .collect();
    let text = |error: &dyn std::error::Error| format!("{error}: {:?}", error.source());
    let mut sink =
        DirectorySink::create(target, DirectoryOptions::default()).map_err(|e| text(&e))?;
    let merged =
        merge(layers, &mut sink, &MergeOptions::default(), &mut |_| {}).map_err(|e| text(&e))?;
    Box::new(sink).finish(&merged.tree).map_err(|e| text(&e))?;
    Ok(())
}

#[test]
fn random_stacks_are_what_umoci_makes_of_them() {
    let umoci = |arguments: &[&str], folder: &Path| {
        Command::new("sh")
            .args(["-c", "umask 022; exec umoci \"$@\"", "umoci"])
            .args(arguments)
            .current_dir(folder)
            .stdin(Stdio::null())
            .output()
    };
    if !umoci(&["--version"], Path::new("/")).is_ok_and(|output| output.status.success()) {
        eprintln!("SKIP: umoci is not installed");
        return;
    }
    let mut alike = 0;
    for seed in 1..=STACKS {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let count = 1 + random.below(4);
        let mut known = Vec::new();
        let (layers, texts): (Vec<_>, Vec<_>) = (0..count)
            .map(|number| layer(&mut random, number, &mut known))
            .unzip();
        let folder = tempfile::tempdir().expect("a test layer");
        layout(&folder.path().join("image"), &layers);
        let theirs = umoci(
            &["unpack", "--rootless", "--image", "image:x", "bundle"],
            folder.path(),
        )
        .expect("a test layer");
        let ours = merged(&layers, &folder.path().join("ours"));
        let told = format!(
            "stack {seed}\n{}\nours: {ours:?}\numoci: {}",
            texts.join("--\n"),
            String::from_utf8_lossy(&theirs.stderr)
        );
        assert_eq!(ours.is_ok(), theirs.status.success(), "{told}");
        if ours.is_ok() {
            alike += 1;
            // Where umoci makes directories that no layer has, it touches those above.
            let theirs = folder.path().join("bundle/rootfs");
            assert_eq!(
                listing(&folder.path().join("ours"), &theirs),
                listing(&theirs, &theirs),
                "{told}"
            );
        }
    }
    assert!(
        alike > STACKS / 4,
        "only {alike} of {STACKS} stacks make a tree"
    );
}
