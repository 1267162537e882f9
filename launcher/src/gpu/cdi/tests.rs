//! Resolving against a made-up host.

use super::*;

const GPU: &str = r#"
cdiVersion: "0.5.0"
kind: nvidia.com/gpu
devices:
- name: "0"
  containerEdits:
    deviceNodes:
    - path: /dev/nvidia0
    hooks:
    - hookName: createContainer
      path: /usr/bin/nvidia-cdi-hook
      args: [nvidia-cdi-hook, chmod, --mode, "755", --path, /dev/dri]
- name: all
  containerEdits:
    deviceNodes:
    - path: /dev/nvidia0
      major: 195
      permissions: rw
    - path: /dev/nvidia1
containerEdits:
  env:
  - NVIDIA_VISIBLE_DEVICES=void
  deviceNodes:
  - path: /dev/nvidiactl
  mounts:
  - hostPath: /usr/lib/libdl.so.2
    containerPath: /usr/lib/libdl.so.2
    options: [ro, nosuid, nodev, bind]
  - hostPath: /run/nvidia-persistenced/socket
    containerPath: /run/nvidia-persistenced/socket
    options: [nosuid, nodev, bind, noexec]
  hooks:
  - hookName: createContainer
    path: /usr/bin/nvidia-ctk
    args: [nvidia-ctk, hook, create-symlinks, --link, libdl.so.2::/usr/lib/libalias.so, --link=../x::/usr/lib/gbm/y.so]
  - hookName: createContainer
    path: /usr/bin/nvidia-ctk
    args: [nvidia-ctk, hook, update-ldcache, --folder, /usr/lib]
"#;

fn host(files: &[(&str, &str)]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = root.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let library = ["/lib/x86_64-linux-gnu/libdl.so.2", "/lib64/libdl.so.2"]
        .iter()
        .find_map(|path| std::fs::read(path).ok());
    if let Some(library) = library {
        std::fs::create_dir_all(root.path().join("usr/lib")).unwrap();
        std::fs::write(root.path().join("usr/lib/libdl.so.2"), library).unwrap();
    }
    root
}

type Said = Vec<(Level, String)>;

fn resolved(files: &[(&str, &str)], devices: &[&str]) -> (Result<Found, String>, Said) {
    let root = host(files);
    let devices: Vec<String> = devices.iter().map(|&name| name.to_owned()).collect();
    let mut said = Vec::new();
    let found = resolve(
        &HostRoot::new(root.path()),
        &devices,
        &[],
        &mut |level, text| {
            said.push((level, text.to_owned()));
        },
    );
    (found, said)
}

#[test]
fn a_specification_of_nvidia() {
    let (found, said) = resolved(
        &[("etc/cdi/nvidia.yaml", GPU)],
        &["nvidia.com/gpu=0", "nvidia.com/gpu=0"],
    );
    let found = found.unwrap();
    assert_eq!(
        found.devices,
        ["/dev/nvidiactl", "/dev/nvidia0"].map(PathBuf::from)
    );
    assert_eq!(
        found.variables,
        [("NVIDIA_VISIBLE_DEVICES".into(), "void".into())]
    );
    let places: Vec<_> = found
        .files
        .iter()
        .map(|file| (file.destination.to_str().unwrap(), file.writable))
        .collect();
    assert_eq!(
        places,
        [
            ("/usr/lib/libdl.so.2", false),
            ("/run/nvidia-persistenced/socket", true)
        ]
    );
    if !found.libraries.is_empty() {
        let names: Vec<_> = found
            .libraries
            .iter()
            .map(|library| &*library.name)
            .collect();
        assert_eq!(names, ["libdl.so.2", "libalias.so"]);
    }
    assert!(
        said.iter().all(|(level, _)| *level == Level::Verbose),
        "{said:?}"
    );
}

#[test]
fn which_file_counts() {
    let spec = |node: &str| {
        format!(
            r#"{{"cdiVersion":"0.6.0","kind":"a.b/c","devices":[{{"name":"x","containerEdits":{{"deviceNodes":[{{"path":"/dev/{node}"}}]}}}}],"containerEdits":null}}"#
        )
    };
    let (one, two) = (spec("one"), spec("two"));
    let (found, _) = resolved(
        &[
            ("etc/cdi/a.json", &one),
            ("var/run/cdi/a.json", &two),
            ("etc/cdi/b.txt", "x"),
        ],
        &["a.b/c=x"],
    );
    assert_eq!(found.unwrap().devices, [PathBuf::from("/dev/two")]);
    let (found, _) = resolved(
        &[("etc/cdi/a.json", &one), ("etc/cdi/b.json", &two)],
        &["a.b/c=x"],
    );
    let error = found.unwrap_err();
    assert!(
        error.contains("described in both /etc/cdi/a.json and /etc/cdi/b.json"),
        "{error}"
    );
    let (found, _) = resolved(&[("etc/cdi/a.json", &one)], &["a.b/c=y"]);
    assert_eq!(
        found.unwrap_err(),
        "unresolvable CDI devices a.b/c=y in /etc/cdi, /var/run/cdi: described there: a.b/c=x"
    );
}

#[test]
fn names_that_are_none() {
    for name in [
        "gpu",
        "nvidia.com/gpu",
        "=",
        "/=x",
        "a/b=",
        "../x/y=z",
        "a/b=../x",
        "a/b=-",
    ] {
        let (found, _) = resolved(&[], &[name]);
        assert!(
            found
                .unwrap_err()
                .contains("is not the name of a CDI device"),
            "{name}"
        );
    }
}

#[test]
fn hostile_specifications() {
    let with = |edits: &str| {
        let text = format!(
            r#"{{"cdiVersion":"0.6.0","kind":"a.b/c","devices":[{{"name":"x","containerEdits":{edits}}}]}}"#
        );
        resolved(&[("etc/cdi/a.json", &text)], &["a.b/c=x"])
    };
    for edits in [
        r#"{"deviceNodes":[{"path":"/dev/../etc/shadow"}]}"#,
        r#"{"deviceNodes":[{"path":"/etc/shadow"}]}"#,
        r#"{"deviceNodes":[{"path":"/dev"}]}"#,
        r#"{"mounts":[{"hostPath":"../x","containerPath":"/y"}]}"#,
        r#"{"mounts":[{"hostPath":"/x","containerPath":"/y/../../z"}]}"#,
        r#"{"mounts":[{"hostPath":"/x","containerPath":"/"}]}"#,
        r#"{"env":["=x"]}"#,
        r#"{"env":["no value"]}"#,
    ] {
        let (found, _) = with(edits);
        assert!(
            found.unwrap_err().starts_with("/etc/cdi/a.json: "),
            "{edits}"
        );
    }
    let (found, said) = with(
        r#"{"hooks":[{"hookName":"createRuntime","path":"/tmp/evil","args":["evil","create-symlinks"]}],"env":["PATH=/tmp"]}"#,
    );
    assert_eq!(found.unwrap(), Found::default());
    assert_eq!(said.len(), 2);
    assert!(
        said.iter()
            .any(|(_, text)| text.contains("/tmp/evil create-symlinks is not run")),
        "{said:?}"
    );
    // What cannot be understood is told, and its devices do not exist.
    for text in [
        "{",
        "[]",
        r#"{"kind":"a.b/c"}"#,
        r#"{"cdiVersion":"9","kind":"a.b/c"}"#,
    ] {
        let (found, said) = resolved(&[("etc/cdi/a.json", text)], &["a.b/c=x"]);
        assert!(found.is_err());
        assert_eq!(said.first().unwrap().0, Level::Warning);
    }
}
