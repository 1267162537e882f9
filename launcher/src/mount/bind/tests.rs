use super::*;

fn bind(source: &str, destination: &str, read_only: bool) -> Bind {
    Bind {
        source: source.into(),
        destination: destination.into(),
        read_only,
        image: None,
    }
}

#[track_caller]
fn check(text: &str, expected: &[(&str, &str, bool)]) {
    let expected: Vec<_> = expected
        .iter()
        .map(|(source, destination, read_only)| bind(source, destination, *read_only))
        .collect();
    assert_eq!(parse_binds(text), Ok(expected), "{text}");
}

#[test]
fn lists_of_binds() {
    check("", &[]);
    check("/a", &[("/a", "/a", false)]);
    check("a:/b", &[("a", "/b", false)]);
    check("/a:/b:ro", &[("/a", "/b", true)]);
    check("/a:/b:rw", &[("/a", "/b", false)]);
    check("/a:/b:ro,rw", &[("/a", "/b", true)]);
    check("/a,,/b", &[("/a", "/a", false), ("/b", "/b", false)]);
    check("/a:/b:ro,/c", &[("/a", "/b", true), ("/c", "/c", false)]);
    check("/a:/b,ro", &[("/a", "/b", false), ("ro", "ro", false)]);
    check(r"/a\,b:/c\:d", &[("/a,b", "/c:d", false)]);
    check(":/x", &[("/x", "/x", false)]);
    check(" /a:/b , /c ", &[("/a", "/b", false), ("/c", "/c", false)]);
    check("/a::ro", &[("/a", "", true)]);
}

#[track_caller]
fn check_error(text: &str, expected: &str) {
    let error = parse_binds(text).unwrap_err().to_string();
    let prefix = "while parsing bind path: while getting bind path: ";
    assert_eq!(error.strip_prefix(prefix), Some(expected), "{error}");
}

#[test]
fn mistakes_in_binds() {
    check_error("/a:/b:foo", "foo is not a valid bind option");
    check_error("/a:/b:", " is not a valid bind option");
    check_error(
        "/a:/b:ro:foo",
        "bad bind syntax \"/a:/b:ro:\": should be /a:/b:ro",
    );
}

#[test]
fn parts_of_images() {
    let image = |text: &str| {
        let bind = parse_binds(text).unwrap().remove(0);
        (bind.read_only, bind.image)
    };
    let part = |inside: &str, id: Option<&str>| {
        Some(ImageBind {
            inside: inside.into(),
            id: id.map(str::to_owned),
            ..ImageBind::default()
        })
    };
    let all = image("/a.sqfs:/b:ro,image-src=/x");
    assert_eq!(all, (true, part("/x", None)));
    assert_eq!(image("/a.sqfs:/b:image-src="), (false, part("/", None)));
    assert_eq!(image("/a.sif:/b:id=3").1, part("/", Some("3")));
    let both = image("/a.sif:/b:id=3,image-src=/y,/c:/d");
    assert_eq!(both.1, part("/y", Some("3")));
    let mount = parse_mounts("type=bind,src=/a,dst=/b,image-src=/x,id=2").unwrap();
    assert_eq!(mount[0].image, part("/x", Some("2")));
    assert_eq!(parse_binds("/a:/b:ro").unwrap()[0].image, None);
}

#[track_caller]
fn check_mount(text: &str, expected: Result<(&str, &str, bool), &str>) {
    let result = parse_mounts(text).map_err(|error| error.to_string());
    let expected = expected
        .map(|(source, destination, read_only)| vec![bind(source, destination, read_only)])
        .map_err(|reason| format!("while parsing mount {text:?}: {reason}"));
    assert_eq!(result, expected);
}

#[test]
fn mount_specifications() {
    check_mount("type=bind,src=/a,dst=/b,ro", Ok(("/a", "/b", true)));
    check_mount("source=/a,target=/b,ro=false", Ok(("/a", "/b", true)));
    check_mount(
        "type=bind,\"src=/a,b\",destination=/b",
        Ok(("/a,b", "/b", false)),
    );
    check_mount(
        "type=bind,src=/a",
        Err("mounts must specify a source and a destination"),
    );
    check_mount(
        "type=tmpfs,src=/a,dst=/b",
        Err("unsupported mount type \"tmpfs\", only 'bind' is supported"),
    );
    check_mount(
        "src=/a,dst=/b,",
        Err("invalid key \"\" in mount specification"),
    );
    check_mount(
        "type=bind,src=\"/tmp/lx/d2\",dst=/q2",
        Err("error parsing mount: parse error on line 1, column 15: bare \" in non-quoted-field"),
    );
    assert_eq!(parse_mounts("").unwrap(), []);
    assert_eq!(
        parse_mounts("src=/a,dst=/b\nsrc=/c,dst=/d").unwrap().len(),
        2
    );
}
