//! Lists of chunk digests: found in each of the ways that registries know, and held to.

use super::super::digests::{
    ARTIFACT_TYPE, CHUNK, ChunkDigests, LAYER_TYPE, TOP_ANNOTATION, Verified, Writer,
};
use super::super::server::{Server, Step, answer, file};
use super::*;

const SIZE: usize = 300_000;
const INDEX: &str = "Content-Type: application/vnd.oci.image.index.v1+json";

/// A registry in memory: what is at each path.
#[derive(Clone, Default)]
struct Contents(Vec<(String, Vec<u8>)>);

impl Contents {
    fn add(&mut self, path: String, bytes: &[u8]) {
        self.0.push((path, bytes.to_vec()));
    }

    fn manifest(&mut self, text: &str) -> Digest {
        let digest = Digest::of(text.as_bytes());
        self.add(format!("manifests/{digest}"), text.as_bytes());
        digest
    }

    fn serve(self) -> Server {
        Server::start(move |request| -> Vec<Step> {
            let path = request
                .target
                .strip_prefix("/v2/lab/py/")
                .unwrap_or_default();
            match self.0.iter().find(|(it, _)| it == path) {
                Some((it, bytes)) if it.starts_with("blobs/") => file(request, bytes, &[]),
                Some((it, bytes)) if it.ends_with("last=1") => answer("200 OK", &[INDEX], bytes),
                Some((it, bytes)) if it.starts_with("referrers/") => {
                    let link = format!("Link: <{}&last=1>; rel=\"next\"", request.target);
                    answer(
                        "200 OK",
                        &[INDEX, &link, "OCI-Filters-Applied: artifactType"],
                        bytes,
                    )
                }
                Some((_, bytes)) => answer("200 OK", &[], bytes),
                None => answer("404 Not Found", &[], b""),
            }
        })
    }
}

fn descriptor(media_type: &str, bytes: &[u8]) -> String {
    format!(
        r#""mediaType":"{media_type}","digest":"{}","size":{}"#,
        Digest::of(bytes),
        bytes.len()
    )
}

/// An image with a list; returns the digest of its manifest and the entry for an index.
fn image(contents: &mut Contents, flaw: usize) -> (Digest, String) {
    let bytes = data(SIZE);
    contents.add(format!("blobs/{}", Digest::of(&bytes)), &bytes);
    let layer = descriptor("application/vnd.sylabs.sif.layer.v1.sif", &bytes);
    let manifest = format!(r#"{{"config":{{}},"layers":[{{{layer}}}]}}"#);
    let subject = contents.manifest(&manifest);
    contents.add("manifests/3".to_owned(), manifest.as_bytes());

    let mut writer = Writer::new();
    writer.update(&bytes);
    let (mut list, top) = writer.finish().unwrap();
    if flaw == 1 {
        list[70] ^= 1;
    }
    contents.add(format!("blobs/{}", Digest::of(&list)), &list);
    let layer = descriptor(LAYER_TYPE, &list);
    let about = if flaw == 2 {
        Digest::of(b"other")
    } else {
        subject.clone()
    };
    let artifact = format!(
        r#"{{"artifactType":"{ARTIFACT_TYPE}","config":{{}},"subject":{{"digest":"{about}","size":1}},
            "layers":[{{{layer},"annotations":{{"{TOP_ANNOTATION}":"{top}"}}}}]}}"#
    );
    let artifact = contents.manifest(&artifact);
    (
        subject,
        format!(r#"{{"artifactType":"{ARTIFACT_TYPE}","digest":"{artifact}","size":1}}"#),
    )
}

fn index(entries: &str) -> Vec<u8> {
    format!(r#"{{"manifests":[{entries}]}}"#).into_bytes()
}

fn find(server: &Server) -> (Setup, Resolved, Option<ChunkDigests>) {
    let it = setup(options());
    let (resolved, _) = it
        .resolve(&format!("oras://{}/lab/py:3", server.host()))
        .unwrap();
    let found = it.client.chunk_digests(&resolved);
    (it, resolved, found)
}

#[test]
fn lists_are_found_by_the_api_page_by_page() {
    let mut contents = Contents::default();
    let (subject, entry) = image(&mut contents, 0);
    let query = format!("referrers/{subject}?artifactType={ARTIFACT_TYPE}");
    let other = format!(r#"{{"artifactType":"application/x","digest":"{subject}","size":1}}"#);
    contents.add(query.clone(), &index(&other));
    contents.add(format!("{query}&last=1"), &index(&entry));
    let server = contents.serve();
    let (it, resolved, found) = find(&server);
    let blob = it.client.blob(&resolved).unwrap();
    let verified = Verified::new(blob, Arc::new(found.unwrap()));
    let mut got = Vec::new();
    verified
        .fetch(CHUNK - 5..SIZE as u64, &mut |piece| {
            got.extend_from_slice(piece);
            Ok(())
        })
        .unwrap();
    assert_eq!(got, data(SIZE)[CHUNK as usize - 5..]);
}

#[test]
fn lists_are_found_by_the_tag_that_stands_in() {
    let mut contents = Contents::default();
    let (subject, entry) = image(&mut contents, 0);
    contents.add(
        format!("manifests/sha256-{}", subject.hex()),
        &index(&entry),
    );
    assert!(find(&contents.serve()).2.is_some());
}

#[test]
fn a_list_that_is_damaged_or_about_something_else_is_none() {
    for flaw in [1, 2] {
        let mut contents = Contents::default();
        let (subject, entry) = image(&mut contents, flaw);
        contents.add(
            format!("manifests/sha256-{}", subject.hex()),
            &index(&entry),
        );
        assert!(find(&contents.serve()).2.is_none());
    }
    let mut contents = Contents::default();
    image(&mut contents, 0);
    let (it, _, found) = find(&contents.serve());
    assert!(found.is_none());
    assert_eq!(it.listener.heard(), [""; 0]);
}
