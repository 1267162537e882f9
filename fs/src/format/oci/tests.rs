//! Documents, platforms, layouts and archives.

#![allow(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test that fails may panic"
)]

use std::fs;
use std::io::Read;
use std::path::Path;

use serde_json::{Value, json};

use super::*;
use crate::remote::Digest;

fn amd64() -> Platform {
    Platform {
        architecture: "amd64".to_owned(),
        variant: None,
    }
}

fn put(root: &Path, value: &Value) -> Value {
    put_bytes(root, value.to_string().as_bytes())
}

fn put_bytes(root: &Path, bytes: &[u8]) -> Value {
    let digest = Digest::of(bytes);
    let folder = root.join("blobs/sha256");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(digest.hex()), bytes).unwrap();
    json!({"digest": digest.to_string(), "size": bytes.len()})
}

fn manifest(root: &Path, architecture: &str) -> Value {
    let mut layer = put_bytes(root, architecture.as_bytes());
    layer["mediaType"] = "application/vnd.oci.image.layer.v1.tar".into();
    let config = put(
        root,
        &json!({
            "architecture": architecture, "os": "linux",
            "config": {"Env": ["A=1"], "Cmd": null},
            "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]},
        }),
    );
    let mut manifest = put(
        root,
        &json!({"schemaVersion": 2, "config": config, "layers": [layer]}),
    );
    manifest["platform"] = json!({"architecture": architecture, "os": "linux"});
    manifest
}

fn index(root: &Path, manifests: &[Value]) {
    let text = json!({"schemaVersion": 2, "manifests": manifests}).to_string();
    fs::write(root.join("index.json"), text).unwrap();
    fs::write(root.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
}

fn content(store: &dyn Store, image: &OciImage) -> String {
    let layers: Vec<&OciLayer> = image.layers.iter().collect();
    let mut text = String::new();
    for mut reader in store.open(&layers, Box::new(|_, _| {})).unwrap() {
        reader.read_to_string(&mut text).unwrap();
    }
    text
}

#[test]
fn a_layout_by_platform_digest_and_tag() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let many = put(
        root,
        &json!({"manifests": [manifest(root, "arm64"), manifest(root, "amd64")]}),
    );
    index(root, std::slice::from_ref(&many));
    let path = root.to_str().unwrap();
    let layout = Layout::new(path);
    let image = layout.image(&amd64()).unwrap();
    assert_eq!(image.config.architecture, "amd64");
    assert_eq!(image.config.config.env, ["A=1"]);
    assert_eq!(content(&layout, &image), "amd64");
    let none = Platform {
        architecture: "s390x".to_owned(),
        variant: None,
    };
    let error = layout.image(&none).unwrap_err().to_string();
    assert!(error.ends_with("no image for linux/s390x; there are linux/arm64, linux/amd64"));

    let mut tagged = manifest(root, "arm64");
    tagged["annotations"] = json!({layout::REF_NAME: "v1:x"});
    index(root, &[many.clone(), tagged]);
    let error = Layout::new(path).image(&amd64()).unwrap_err().to_string();
    assert!(error.contains("must specify a digest - layout contains multiple images"));
    let by_tag = Layout::new(&format!("{path}:v1:x"));
    assert_eq!(by_tag.image(&amd64()).unwrap().config.architecture, "arm64");
    let by_digest = Layout::new(&format!("{path}@{}", many["digest"].as_str().unwrap()));
    assert_eq!(
        by_digest.image(&amd64()).unwrap().config.architecture,
        "amd64"
    );
}

#[test]
fn bytes_that_do_not_fit_are_refused() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let manifest = manifest(root, "amd64");
    index(root, std::slice::from_ref(&manifest));
    let layout = Layout::new(root.to_str().unwrap());
    let image = layout.image(&amd64()).unwrap();
    let blob = |digest: &str| root.join("blobs/sha256").join(&digest[7..]);
    fs::write(blob(image.layers[0].digest.as_ref().unwrap().as_str()), "x").unwrap();
    let layers: Vec<&OciLayer> = image.layers.iter().collect();
    assert!(layout.open(&layers, Box::new(|_, _| {})).is_err());
    fs::write(blob(manifest["digest"].as_str().unwrap()), "{}").unwrap();
    let error = layout.image(&amd64()).unwrap_err().to_string();
    assert!(error.contains("do not fit their digest"), "{error}");
}

#[test]
fn archives_of_both_kinds() {
    let root = tempfile::tempdir().unwrap();
    let (layout, root) = (root.path().join("layout"), root.path());
    fs::create_dir(&layout).unwrap();
    let manifest = manifest(&layout, "amd64");
    index(&layout, &[manifest]);
    let packed = root.join("a.tar");
    let mut tar = tar::Builder::new(fs::File::create(&packed).unwrap());
    tar.append_dir_all(".", &layout).unwrap();
    tar.finish().unwrap();
    let store = OciArchive::open(packed.to_str().unwrap()).unwrap();
    let image = store.image(&amd64()).unwrap();
    assert_eq!(content(&store, &image), "amd64");

    let config = json!({"architecture": "amd64", "rootfs": {"diff_ids": [Digest::of(b"l")]}});
    let list = json!([{"Config": "c.json", "RepoTags": ["a/b:latest"], "Layers": ["2/layer.tar"]}]);
    let saved = root.join("saved.tar");
    let mut tar = tar::Builder::new(fs::File::create(&saved).unwrap());
    for (name, bytes) in [
        ("1/layer.tar", b"l".to_vec()),
        ("c.json", config.to_string().into_bytes()),
        ("manifest.json", list.to_string().into_bytes()),
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        tar.append_data(&mut header, name, &*bytes).unwrap();
    }
    let mut link = tar::Header::new_gnu();
    link.set_entry_type(tar::EntryType::Symlink);
    link.set_size(0);
    tar.append_link(&mut link, "2/layer.tar", "../1/layer.tar")
        .unwrap();
    tar.finish().unwrap();
    for name in ["", ":a/b:latest", ":a/b"] {
        let store = SavedImage::open(&format!("{}{name}", saved.display())).unwrap();
        let image = store.image(&amd64()).unwrap();
        assert_eq!(content(&*store, &image), "l");
    }
    let other = SavedImage::open(&format!("{}:c", saved.display())).unwrap();
    assert!(other.image(&amd64()).is_err());
}

#[test]
fn platforms() {
    let rank = |wanted: (&str, Option<&str>), architecture: &str, variant: &str| {
        let stated = platform::Stated {
            architecture: architecture.to_owned(),
            os: "linux".to_owned(),
            variant: variant.to_owned(),
        };
        let wanted = Platform {
            architecture: wanted.0.to_owned(),
            variant: wanted.1.map(str::to_owned),
        };
        wanted.rank(&stated)
    };
    assert_eq!(rank(("amd64", None), "amd64", ""), Some(0));
    assert!(rank(("amd64", None), "amd64", "v3") > Some(0));
    assert_eq!(rank(("amd64", None), "arm64", ""), None);
    assert!(rank(("arm", None), "arm", "v7") < rank(("arm", None), "arm", "v6"));
    assert_eq!(rank(("arm", Some("v6")), "arm", "v7"), None);
    assert!(rank(("arm64", Some("v8")), "arm64", "").is_some());
}

#[test]
fn what_is_no_image() {
    let parse = |text: &str, header| document::parse("x", text.as_bytes(), header).is_ok();
    assert!(!parse("<html>", None));
    assert!(!parse("{}", None));
    assert!(!parse(r#"{"schemaVersion":1,"fsLayers":[]}"#, None));
    assert!(!parse(r#"{"manifests":[],"layers":[]}"#, None));
    assert!(parse(r#"{"manifests":[]}"#, None));
    let header = Some("application/vnd.oci.image.manifest.v1+json");
    assert!(!parse(r#"{"manifests":[]}"#, header));
}
