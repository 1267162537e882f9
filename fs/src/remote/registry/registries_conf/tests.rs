use super::*;

fn conf(text: &str) -> RegistriesConf {
    let mut conf = RegistriesConf::default();
    conf.add(Path::new("/etc/r.conf"), text).unwrap();
    conf
}

fn endpoints(conf: &RegistriesConf, name: &str, pinned: bool) -> Result<Vec<String>, RemoteError> {
    let (registry, repository) = name.split_once('/').unwrap();
    let place = Place {
        name,
        registry,
        repository,
        pinned,
    };
    let show = |it: Endpoint| {
        let flags = [(it.is_mirror, " mirror"), (it.insecure, " insecure")];
        let flags: String = flags
            .iter()
            .filter(|(set, _)| *set)
            .map(|(_, text)| *text)
            .collect();
        format!("{}/{}{flags}", it.registry, it.repository)
    };
    conf.endpoints(place)
        .map(|all| all.into_iter().map(show).collect())
}

#[test]
fn names_that_nobody_mentions_stay() {
    assert_eq!(
        endpoints(&conf(""), "reg:5000/a/b", false).unwrap(),
        ["reg:5000/a/b"]
    );
    // Tables of version 1 and of other uses are no concern of ours.
    let old = "unqualified-search-registries = ['x']\nshort-name-mode = 'enforcing'\n[aliases]\n'a' = 'b/c'";
    assert_eq!(endpoints(&conf(old), "reg/a", false).unwrap(), ["reg/a"]);
}

#[test]
fn the_longest_prefix_wins_and_covers_whole_parts() {
    let conf = conf(
        "[[registry]]\nlocation = 'reg'\n\
         [[registry]]\nprefix = 'reg/lab'\nlocation = 'other:5000/mirror/lab'\ninsecure = true\n\
         [[registry]]\nprefix = 'reg/lab/secret'\nblocked = true\n\
         [[registry]]\nprefix = '*.example.com'\n\
         [[registry.mirror]]\nlocation = 'cache/example'\n\
         [[registry]]\nprefix = '*.evil.com/x'\nblocked = true\n",
    );
    let check =
        |name, expected: &[&str]| assert_eq!(endpoints(&conf, name, false).unwrap(), expected);
    check("reg/laboratory/a", &["reg/laboratory/a"]);
    check("reg/lab/a", &["other:5000/mirror/lab/a insecure"]);
    check("reg:5000/lab/a", &["reg:5000/lab/a"]);
    check("registry/lab/a", &["registry/lab/a"]);
    check(
        "a.example.com/x",
        &["cache/example/x mirror", "a.example.com/x"],
    );
    check(
        "a.b.example.com:5000/x",
        &["cache/example:5000/x mirror", "a.b.example.com:5000/x"],
    );
    check("example.com/x", &["example.com/x"]);
    check("notexample.com/x", &["notexample.com/x"]);
    check("a.evil.com/y", &["a.evil.com/y"]);
    for blocked in [
        "reg/lab/secret",
        "reg/lab/secret/b",
        "a.evil.com/x",
        "a.evil.com/x/y",
    ] {
        let error = endpoints(&conf, blocked, false).unwrap_err();
        assert!(matches!(error, RemoteError::Blocked { .. }), "{error}");
        assert!(error.to_string().contains("/etc/r.conf"), "{error}");
    }
}

#[test]
fn mirrors_come_in_order_and_some_only_for_tags_or_digests() {
    let conf = conf(
        "[[registry]]\nprefix = 'reg'\nlocation = 'reg'\n\
         [[registry.mirror]]\nlocation = 'one'\ninsecure = true\n\
         [[registry.mirror]]\nlocation = 'two'\npull-from-mirror = 'digest-only'\n\
         [[registry.mirror]]\nlocation = 'three/x/'\npull-from-mirror = 'tag-only'\n\
         [[registry]]\nlocation = 'strict'\nmirror-by-digest-only = true\n\
         [[registry.mirror]]\nlocation = 'four'\n",
    );
    let all = |name, pinned| endpoints(&conf, name, pinned).unwrap();
    assert_eq!(
        all("reg/a", false),
        ["one/a mirror insecure", "three/x/a mirror", "reg/a"]
    );
    assert_eq!(
        all("reg/a", true),
        ["one/a mirror insecure", "two/a mirror", "reg/a"]
    );
    assert_eq!(all("strict/a", false), ["strict/a"]);
    assert_eq!(all("strict/a", true), ["four/a mirror", "strict/a"]);
}

#[test]
fn files_of_the_user_and_of_directories() {
    let directory = tempfile::tempdir().unwrap();
    let (system, user) = (directory.path().join("etc"), directory.path().join("home"));
    let write = |path: PathBuf, location: &str| {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(
            path,
            format!("[[registry]]\nprefix = 'reg'\nlocation = '{location}'\n"),
        )
        .unwrap();
    };
    let mut places = Places {
        etc_containers: system.clone(),
        user_containers: Some(user.clone()),
        ..Places::default()
    };
    let now = |places: &Places| {
        endpoints(&RegistriesConf::read(places).unwrap(), "reg/a", false).unwrap()
    };
    assert_eq!(now(&places), ["reg/a"]);
    write(system.join("registries.conf"), "system");
    assert_eq!(now(&places), ["system/a"]);
    write(user.join("registries.conf"), "user");
    assert_eq!(now(&places), ["user/a"]);
    write(system.join("registries.conf.d/20.conf"), "twenty");
    write(system.join("registries.conf.d/10.conf"), "ten");
    write(system.join("registries.conf.d/30.txt"), "text");
    assert_eq!(now(&places), ["twenty/a"]);
    write(user.join("registries.conf.d/05.conf"), "five");
    assert_eq!(now(&places), ["five/a"]);
    places.registries_conf = Some(directory.path().join("only.conf"));
    assert_eq!(now(&places), ["reg/a"]);
    fs::write(directory.path().join("only.conf"), "[[registry]\n").unwrap();
    let error = RegistriesConf::read(&places).unwrap_err().to_string();
    assert!(
        error.contains("only.conf") && !error.contains('\n'),
        "{error}"
    );
}
