//! The layers and archives.

use serde_json::json;
use skiff_tests::archive::{Archive, archive, hostile_names, untrue_sizes};
use skiff_tests::command::Cmd;

use super::{Blob, sum};

/// Prints how many files, directories and links the first squashfs of a SIF (`$2`) has.
pub(super) const COUNT: &str = r#"
    at=$("$1" sif list "$2" | awk -F'|' '/FS \(/ {split($4, a, "-"); print a[1] + 0}')
    unsquashfs -l -o "$at" "$2" | grep -c ^squashfs-root/"#;

type Member<'a> = (u8, &'a [u8], &'a [u8]);

fn plain(members: &[Member<'_>]) -> Blob {
    Blob::new(archive(members))
}

fn shown(bytes: &[u8]) -> String {
    let text = bytes.escape_ascii().to_string();
    text.chars().take(60).collect()
}

/// Names, links and whiteouts that lead out of the root.
pub(super) fn leading_out(canary: &[u8]) -> Vec<(String, Vec<Blob>)> {
    let mut cases = names();
    through_links(canary, &mut cases);
    hard_links(canary, &mut cases);
    devices(&mut cases);
    cases
}

fn names() -> Vec<(String, Vec<Blob>)> {
    let mut cases = Vec::new();
    for (name, _) in hostile_names() {
        let name = name.as_slice();
        for kind in [b'0', b'2', b'5', b'6'] {
            let link: &[u8] = if kind == b'2' { b"../../canary" } else { b"" };
            let what = format!("{} as {}", shown(name), char::from(kind));
            cases.push((what, vec![plain(&[(kind, name, link); 2])]));
        }
    }
    for root in [&b""[..], b".", b"/", b"..", b"a/.."] {
        for kind in [b'0', b'2', b'6'] {
            let what = format!("root {} as {}", shown(root), char::from(kind));
            cases.push((what, vec![plain(&[(kind, root, b"/etc")])]));
        }
    }
    cases
}

fn through_links(canary: &[u8], cases: &mut Vec<(String, Vec<Blob>)>) {
    let inner = [canary, b"/inner"].concat();
    let targets: [&[u8]; 5] = [canary, &inner, b"../../../canary", b"/", b"/proc/self/cwd"];
    for target in targets {
        let through: [Member<'_>; 6] = [
            (b'0', b"link/x", b""),
            (b'0', b"link/skiff-hostile", b""),
            (b'2', b"link/file", b"/etc/passwd"),
            (b'0', b"link/.wh.file", b""),
            (b'0', b"link/.wh..wh..opq", b""),
            (b'0', b"link/inner/../../x", b""),
        ];
        for member in through {
            let what = format!("{} by {}", shown(member.1), shown(target));
            let link: Member<'_> = (b'2', b"link", target);
            cases.push((what.clone(), vec![plain(&[link, member])]));
            cases.push((
                format!("{what} in two layers"),
                vec![plain(&[link]), plain(&[member])],
            ));
        }
    }
    let round: [Member<'_>; 3] = [(b'2', b"a", b"b"), (b'2', b"b", b"a"), (b'0', b"a/x", b"")];
    cases.push(("a round".to_owned(), vec![plain(&round)]));
    let mut chain = Archive::default();
    for number in 0..300 {
        let (name, target) = (format!("l{number}"), format!("l{}", number + 1));
        chain.add(b'2', name.as_bytes(), target.as_bytes());
    }
    chain.add(b'0', b"l0/x", b"");
    cases.push(("a chain".to_owned(), vec![Blob::new(chain.end())]));
}

fn hard_links(canary: &[u8], cases: &mut Vec<(String, Vec<Blob>)>) {
    let file = [canary, b"/file"].concat();
    let targets: [&[u8]; 6] = [
        &file,
        b"../canary/file",
        b"/etc/passwd",
        b"../../../../etc/passwd",
        b"hard",
        b"/",
    ];
    for target in targets {
        let what = format!("hard link to {}", shown(target));
        let members: [Member<'_>; 2] = [(b'1', b"hard", target), (b'0', b"hard", b"")];
        cases.push((what, vec![plain(&members)]));
    }
    for (outside, target) in [(canary, &b"l/file"[..]), (b"/etc", b"l/passwd")] {
        let members: [Member<'_>; 3] = [
            (b'2', b"l", outside),
            (b'1', b"hard", target),
            (b'0', b"hard", b""),
        ];
        let what = format!("hard link by a link to {}", shown(outside));
        cases.push((what, vec![plain(&members)]));
    }
}

fn devices(cases: &mut Vec<(String, Vec<Blob>)>) {
    for kind in [b'3', b'4'] {
        let mut archive = Archive::default();
        for number in 0..50 {
            let name = format!("dev/{number}");
            archive.header(kind, name.as_bytes(), 0, b"", |block| {
                block[329..337].copy_from_slice(b"77777777");
            });
        }
        let what = format!("devices that do not exist as {}", char::from(kind));
        cases.push((what, vec![Blob::new(archive.end())]));
    }
}

/// What cannot be right and must be refused.
pub(super) fn broken() -> Vec<(String, Vec<Blob>)> {
    let mut cases: Vec<(String, Vec<Blob>)> = untrue_sizes()
        .into_iter()
        .map(|(what, bytes)| (what, vec![Blob::new(bytes)]))
        .collect();
    let good = archive(&[(b'0', b"a", b""), (b'0', b"b", b"")]);
    for damage in [0, 100, 124, 148, 156, 257, 1024, 1180] {
        let mut bytes = good.clone();
        bytes[damage] ^= 0x55;
        cases.push((format!("damaged at {damage}"), vec![Blob::new(bytes)]));
    }
    promises(&good, &mut cases);
    packed(&good, &mut cases);
    cases
}

/// Descriptors that say something else than what there is.
fn promises(good: &[u8], cases: &mut Vec<(String, Vec<Blob>)>) {
    let blob = || Blob::new(good.to_vec());
    let zeros = format!("sha256:{}", "0".repeat(64));
    let mut case = |what: &str, blob: Blob| cases.push((what.to_owned(), vec![blob]));
    case("wrong digest", blob().says("digest", json!(zeros)));
    for digest in [
        "",
        "sha256:",
        "sha256:../../../x",
        "md5:00",
        "../../canary/file",
        "sha256:ZZ",
    ] {
        case(
            &format!("digest {digest:?}"),
            blob().says("digest", json!(digest)),
        );
    }
    for size in [
        json!(0),
        json!(good.len() - 1),
        json!(good.len() + 1),
        json!(u64::MAX),
        json!(-1),
        json!("7"),
        json!(1.5),
    ] {
        case(&format!("size {size}"), blob().says("size", size));
    }
    let wrong = Blob {
        diff_id: json!(zeros),
        ..blob()
    };
    case("wrong diff_id", wrong);
    for kind in [
        "application/vnd.oci.image.layer.v1.tar+gzip",
        "application/vnd.oci.image.layer.v1.tar+zstd",
        "application/vnd.in-toto+json",
        "application/vnd.oci.image.manifest.v1+json",
        "text/html",
    ] {
        let (content, says) = if kind.ends_with("gzip") || kind.ends_with("zstd") {
            // What it is not: text.
            (b"<!DOCTYPE html>".repeat(100), kind)
        } else {
            (good.to_vec(), kind)
        };
        case(
            &format!("media type {kind}"),
            Blob::new(content).says("mediaType", json!(says)),
        );
    }
    let foreign = "application/vnd.oci.image.layer.nondistributable.v1.tar";
    let absent = blob()
        .says("mediaType", json!(foreign))
        .says("digest", json!(zeros));
    case("a foreign layer that is not there", absent);
}

fn run(words: &[&str], bytes: &[u8]) -> Vec<u8> {
    Cmd::new("/usr/bin/env")
        .env("PATH", "/usr/bin:/bin")
        .args(words)
        .stdin(bytes.to_vec())
        .run()
        .expect_success("packing")
        .stdout
}

/// Streams that end too early, or are packed in what they should not be.
fn packed(good: &[u8], cases: &mut Vec<(String, Vec<Blob>)>) {
    let gzip = |bytes: &[u8]| run(&["gzip", "-nc"], bytes);
    let zstd = |bytes: &[u8]| run(&["zstd", "-qc"], bytes);
    let mut case = |what: String, kind: &str, bytes: Vec<u8>| {
        let media_type = format!("application/vnd.oci.image.layer.v1.tar{kind}");
        let blob = Blob {
            diff_id: json!(sum(good)),
            ..Blob::new(bytes).says("mediaType", json!(media_type))
        };
        cases.push((what, vec![blob]));
    };
    for (kind, whole) in [("+gzip", gzip(good)), ("+zstd", zstd(good))] {
        for cut in [3, whole.len() / 2, whole.len() - 1] {
            case(format!("{kind} cut at {cut}"), kind, whole[..cut].to_vec());
        }
        for at in [20, whole.len() / 2, whole.len() - 5] {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x10;
            case(format!("{kind} damaged at {at}"), kind, bytes);
        }
        let twice = if kind == "+gzip" {
            gzip(&whole)
        } else {
            zstd(&gzip(good))
        };
        case(format!("{kind} packed twice"), kind, twice);
    }
    for cut in [1, 100, 511, 513, 600, 1025, 1500] {
        case(format!("cut at {cut}"), "", good[..cut].to_vec());
    }
    case(
        "bzip2".to_owned(),
        "+gzip",
        run(&["gzip", "-nc"], b"BZh91AY"),
    );
    case("squashfs".to_owned(), "", b"hsqs".repeat(400));
}

/// Archives of whole images: scheme, what is wrong, bytes.
pub(super) fn whole(canary: &[u8]) -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let file = [canary, b"/file"].concat();
    let version = br#"{"imageLayoutVersion": "1.0.0"}"#;
    let index = br#"{"schemaVersion": 2, "manifests": []}"#;
    let outward: Vec<Member<'_>> = vec![
        (b'2', b"blobs", canary),
        (b'2', b"index.json", &file),
        (b'0', b"blobs/sha256/x", b""),
        (b'0', b"../x", b""),
        (b'1', b"oci-layout", &file),
    ];
    let mut empty = Archive::default();
    for (name, content) in [(&b"oci-layout"[..], &version[..]), (b"index.json", index)] {
        empty.header(b'0', name, content.len() as u64, b"", |_| {});
        empty.content(content);
    }
    let mut loops = Archive::default();
    let manifest = br#"[{"Config": "../../canary/file", "RepoTags": null, "Layers": ["../x", "/etc/passwd"]}]"#;
    loops.header(b'0', b"manifest.json", manifest.len() as u64, b"", |_| {});
    loops.content(manifest);
    let mut linked = Archive::default();
    let manifest = br#"[{"Config": "config", "RepoTags": null, "Layers": ["layer.tar"]}]"#;
    linked.header(b'0', b"manifest.json", manifest.len() as u64, b"", |_| {});
    linked.content(manifest);
    linked.add(b'2', b"config", &file);
    linked.add(b'2', b"layer.tar", b"layer.tar");
    let mut named = Archive::default();
    named.header(b'L', b"x", 1 << 30, b"", |_| {});
    named.content(&vec![b'n'; 2 << 20]);
    let mut wide = Archive::default();
    wide.header(b'0', b"manifest.json", 1 << 60, b"", |_| {});
    vec![
        ("oci-archive", "links", archive(&outward)),
        ("docker-archive", "links", archive(&outward)),
        ("oci-archive", "no images", empty.end()),
        ("oci-archive", "empty", Vec::new()),
        ("docker-archive", "empty", Vec::new()),
        ("oci-archive", "text", b"<!DOCTYPE html>".repeat(100)),
        ("docker-archive", "text", b"<!DOCTYPE html>".repeat(100)),
        ("docker-archive", "paths that lead out", loops.end()),
        ("docker-archive", "links that lead out", linked.end()),
        ("docker-archive", "a manifest of an exbibyte", wide.end()),
        ("docker-archive", "a name of a gibibyte", named.end()),
        ("oci-archive", "a manifest of an exbibyte", wide.end()),
    ]
}

/// A layer of a million directories, files and links.
pub(super) fn million() -> Blob {
    let mut archive = Archive::default();
    for number in 0..1_000_000 {
        let name = format!("{}/{number}", number % 1000);
        let (kind, link): (u8, &[u8]) = match number % 5 {
            0 => (b'5', b""),
            1 => (b'2', b"../target"),
            _ => (b'0', b""),
        };
        archive.header(kind, name.as_bytes(), 0, link, |_| {});
    }
    Blob::new(archive.end())
}
