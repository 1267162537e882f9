use super::*;

fn canonical(name: &str) -> String {
    Reference::parse(name).unwrap().unwrap().to_string()
}

#[test]
fn names_have_a_canonical_form() {
    for (name, expected) in [
        (
            "https://Host.example/a/b.sif",
            "https://host.example/a/b.sif",
        ),
        ("http://h:80/x.sif#part", "http://h/x.sif"),
        ("https://h/x.sif?sig=1", "https://h/x.sif?sig=1"),
        (
            "oras://reg.example/lab/py",
            "oras://reg.example/lab/py:latest",
        ),
        ("oras://Reg:5000/lab/py:3.12", "oras://reg:5000/lab/py:3.12"),
        ("oras://[::1]:5000/a:b", "oras://[::1]:5000/a:b"),
    ] {
        assert_eq!(canonical(name), expected);
    }
    let digest = Digest::of(b"");
    let name = format!("oras://reg/a:tag@{digest}");
    assert_eq!(canonical(&name), format!("oras://reg/a@{digest}"));
    assert!(Reference::parse(&name).unwrap().unwrap().is_pinned());
    assert!(
        !Reference::parse("oras://reg/a:tag")
            .unwrap()
            .unwrap()
            .is_pinned()
    );
}

#[test]
fn paths_and_other_transports_are_not_ours() {
    for name in [
        "image.sif",
        "/a/b",
        "docker://alpine",
        "oci-archive:/x",
        "instance://a",
        "oras:x",
    ] {
        assert_eq!(Reference::parse(name), Ok(None), "{name}");
    }
}

#[test]
fn wrong_names_say_what_is_wrong() {
    for (name, text) in [
        ("http://", "not a URL"),
        ("https://h:99999/x", "not a URL"),
        ("oras://reg", "no repository"),
        ("oras:///a", "no host"),
        ("oras://reg/", "no repository"),
        ("oras://reg/A", "lower-case"),
        ("oras://reg/a//b", "lower-case"),
        ("oras://reg/a/../b", "lower-case"),
        ("oras://reg/a:", "tag"),
        ("oras://reg/a:b:c", "tag"),
        ("oras://reg/a@sha256:12", "digest"),
        ("oras://u:p@reg/a", "login"),
        ("library://sylabs/x/y", "oras://"),
        ("shub://a/b", "https://"),
    ] {
        let error = Reference::parse(name).unwrap_err().to_string();
        assert!(error.contains(text), "{name}: {error}");
    }
}

#[test]
fn secrets_in_urls_are_not_shown() {
    let reference = Reference::parse("https://me:se%3Acret@h/x.sif?token=hush")
        .unwrap()
        .unwrap();
    let Reference::Http(http) = &reference else {
        panic!("{reference:?}")
    };
    assert_eq!(http.login(), Some(("me", "se:cret")));
    assert_eq!(reference.to_string(), "https://h/x.sif?token=hush");
    assert_eq!(reference.name(), "https://h/x.sif?...");
    assert!(!format!("{reference:?}").contains("hush"));
    let error = Reference::parse("https://me:secret@h:x/")
        .unwrap_err()
        .to_string();
    assert!(!error.contains("secret"), "{error}");
}

#[test]
fn secrets_in_names_that_are_none_are_not_shown() {
    for (name, shown) in [
        ("oras://me:secret@reg/a:b", "oras://reg/a:b"),
        ("oras://me:se/cr@et@reg/a", "oras://reg/a"),
        (
            "https://h:99999/x.sif?sig=secret",
            "https://h:99999/x.sif?...",
        ),
        ("library://me:secret@l/x", "library://l/x"),
        ("shub://secret@l/x", "shub://l/x"),
        ("oras://me:secret?@reg/A", "oras://reg/A"),
    ] {
        assert_eq!(hide_secrets(name), shown);
        let error = Reference::parse(name).unwrap_err().to_string();
        assert!(
            error.starts_with(shown) && !error.contains("secret"),
            "{error}"
        );
    }
    let digest = Digest::of(b"");
    let name = format!("oras://reg/A@{digest}");
    assert_eq!(hide_secrets(&name), name);
    assert_eq!(hide_secrets("a@b?c"), "a@b?c");
}
