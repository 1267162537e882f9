//! Configuration, from outside: what only root may change, and skiff's own settings.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use skiff_tests::command::{Cmd, Outcome};
use skiff_tests::image::images;
use skiff_tests::processes;
use skiff_tests::user::ordinary;
use skiff_tests::{program, require};

/// A folder of the ordinary user's, gone afterwards.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let path = PathBuf::from(format!("/tmp/skiff-config-{name}-{}", std::process::id()));
        fs::create_dir(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        ordinary().own(&path);
        Self(path)
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).expect("a file");
        path
    }

    /// skiff as the ordinary user, with runtime directory and home here.
    fn skiff(&self, args: &[&str]) -> Cmd {
        let program = program::skiff().expect("required");
        let runtime = self.0.join("run");
        if !runtime.is_dir() {
            fs::create_dir(&runtime).expect("a directory");
            let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
            fs::set_permissions(&runtime, private).expect("just made");
            ordinary().own(&runtime);
        }
        let mut cmd = ordinary().command(program.called("skiff"));
        cmd.cwd(&self.0)
            .env("HOME", &self.0)
            .env("SKIFF_RUNTIME_DIR", &runtime)
            .args(args);
        cmd
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

/// Runs a script as root in a mount namespace where /etc is a copy; `$S` is skiff, called
/// `apptainer`.
fn with_own_etc(script: &str) -> Outcome {
    let prelude = "set -e; mount -t tmpfs none /mnt; cp -a /etc /mnt/etc; mount --bind /mnt/etc /etc; \
                   set +e\n";
    Cmd::new("unshare")
        .args(["--mount", "--", "/bin/bash", "-c"])
        .arg(format!("{prelude}{script}"))
        .env(
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        )
        .env("LC_ALL", "C")
        .env("S", program::skiff().expect("required").called("apptainer"))
        .env("SKIFF", program::skiff().expect("required").called("skiff"))
        .env("ME", &ordinary().name)
        .run()
}

#[test]
fn ids_for_fakeroot_are_given_disabled_enabled_and_taken() {
    require!("config fakeroot"; Skiff, Root);
    let outcome = with_own_etc(
        "printf '# site\\nsomebody:100000:65536\\n' >/etc/subuid; cp /etc/subuid /etc/subgid
         chmod 640 /etc/subgid
         $S config fakeroot --add daemon; tail -1 /etc/subuid
         $S config fakeroot --add daemon; wc -l </etc/subuid
         $S config fakeroot --disable daemon; tail -1 /etc/subgid
         $S config fakeroot --enable daemon; tail -1 /etc/subgid
         $S config fakeroot --remove daemon; cat /etc/subuid; cmp /etc/subuid /etc/subgid
         stat -c %a /etc/subgid
         $S config fakeroot --remove daemon; echo $?
         $S config fakeroot --add nosuch; echo $?
         $S config fakeroot daemon >/dev/null; echo $?",
    );
    assert_eq!(
        outcome.stdout_text(),
        "1:4294836224:65536\n3\n!1:4294836224:65536\n1:4294836224:65536\n# site\n\
         somebody:100000:65536\n640\n255\n255\n1\n",
        "{}",
        outcome.stderr_text()
    );
    assert_eq!(
        outcome.stderr_text(),
        "FATAL:   while removing daemon: no mapping entry found in /etc/subuid for daemon\n\
         FATAL:   while adding nosuch: could not retrieve user information for nosuch: user: unknown \
         user nosuch\n\
         Error for command \"fakeroot\": you must specify an option (eg: --add/--remove)\n\n"
    );
}

#[test]
fn ids_are_given_to_many_at_once() {
    require!("config fakeroot, many at once"; Skiff, Root);
    let outcome = with_own_etc(
        ": >/etc/subuid; : >/etc/subgid
         for user in root daemon bin sys sync games man lp mail news; do
           $S config fakeroot --add $user &
         done; wait
         cut -d: -f2 /etc/subuid | sort -u | wc -l; wc -l </etc/subgid",
    );
    assert_eq!(
        outcome.stdout_text(),
        "10\n10\n",
        "{}",
        outcome.stderr_text()
    );
}

#[test]
fn capabilities_are_given_listed_and_taken() {
    require!("capability"; Skiff, Root);
    let outcome = with_own_etc(
        "rm -rf /etc/skiff /etc/apptainer
         $S capability add -u daemon chown,foo 2>&1; echo $?
         $S capability add -u daemon -g daemon CAP_CHOWN,kill 2>/dev/null
         $S capability list; cat /etc/skiff/capability.json; echo
         $S capability drop -u daemon all 2>&1 | grep -c \"Won't drop\"
         $S capability list; $S capability list root 2>&1; echo $?
         $S capability drop -g daemon chown,kill; cat /etc/skiff/capability.json; echo
         $S capability drop -u daemon chown 2>&1
         $S capability add -u nosuch chown 2>&1
         $S capability add chown 2>&1
         stat -c %a /etc/skiff/capability.json",
    );
    assert_eq!(
        outcome.stdout_text(),
        "WARNING: Ignoring unknown capabilities: [CAP_FOO]\n\
         WARNING: Adding 'CAP_CHOWN' capability will likely allow user daemon to escalate privilege on \
         the host\n\
         WARNING: Use 'apptainer capability drop --user daemon CAP_CHOWN' to reverse this action if \
         necessary\n0\n\
         daemon [user]: CAP_CHOWN,CAP_KILL\ndaemon [group]: CAP_CHOWN,CAP_KILL\n\
         {\n\t\"users\": {\n\t\t\"daemon\": [\n\t\t\t\"CAP_CHOWN\",\n\t\t\t\"CAP_KILL\"\n\t\t]\n\t},\n\
         \t\"groups\": {\n\t\t\"daemon\": [\n\t\t\t\"CAP_CHOWN\",\n\t\t\t\"CAP_KILL\"\n\t\t]\n\t}\n}\n\
         39\ndaemon [group]: CAP_CHOWN,CAP_KILL\n\
         FATAL:   Unable to list capabilities: no capability set for user/group root\n255\n{}\n\
         FATAL:   Unable to drop capabilities: while setting capabilities for user daemon: user \
         'daemon' doesn't have any capability assigned\n\
         FATAL:   Unable to add capabilities: while setting capabilities for user nosuch: user does \
         not exist\n\
         FATAL:   Unable to add capabilities: no user or group specified\n644\n",
        "{}",
        outcome.stderr_text()
    );
}

#[test]
fn the_first_directive_makes_a_file_that_means_what_held_without() {
    require!("config global without a file"; Skiff, Root);
    let outcome = with_own_etc(
        "rm -rf /etc/skiff /etc/apptainer
         $S config global -g 'bind path'; $S config global -g 'sessiondir max size'
         $S config global -s 'mount hostfs' yes; grep -v '^#' /etc/skiff/skiff.conf
         mkdir /etc/apptainer; echo 'mount tmp = no' >/etc/apptainer/apptainer.conf
         $S config global -g 'mount tmp'
         rm -r /etc/skiff; $S config global -g 'mount tmp'
         $SKIFF --config /etc/apptainer/apptainer.conf config global -s 'bind path' /opt
         cat /etc/apptainer/apptainer.conf",
    );
    assert_eq!(
        outcome.stdout_text(),
        "/etc/localtime,/etc/hosts\n64\nbind path = /etc/localtime\nbind path = /etc/hosts\n\
         mount hostfs = yes\nno\nmount tmp = no\nbind path = /opt\n",
        "{}",
        outcome.stderr_text()
    );
}

#[test]
fn refused_commands_say_so_to_root_as_well() {
    require!("oci, plugin, checkpoint"; Skiff, Root);
    let skiff = program::skiff().expect("required").called("apptainer");
    for args in [
        &["oci", "run", "-b", "/bundle", "x"][..],
        &["oci", "state", "x"],
        &["plugin", "install", "x"],
        &["plugin", "compile", "--out", "a", "b"],
        &["checkpoint", "create", "x"],
    ] {
        let outcome = Cmd::new(&skiff).args(args).run();
        let said = outcome.stderr_text();
        assert_eq!(outcome.code(), Some(255), "{args:?}: {said}");
        assert!(
            said.starts_with("FATAL:   ") && said.contains("not supported"),
            "{args:?}: {said}"
        );
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}

/// The setting `name` of `config show --json`.
fn setting(outcome: &Outcome, name: &str) -> (Value, Value) {
    let list: Vec<Value> = serde_json::from_slice(&outcome.stdout).expect("JSON");
    let found = list.iter().find(|entry| entry["name"] == name);
    let found = found.unwrap_or_else(|| panic!("no {name} in {list:?}"));
    (found["value"].clone(), found["origin"].clone())
}

#[test]
fn settings_come_from_variables_then_files() {
    require!("skiff.toml"; Skiff);
    let place = Place::new("settings");
    fs::create_dir_all(place.0.join(".config/skiff")).expect("a directory");
    let file = place.file(
        ".config/skiff/skiff.toml",
        "[cache]\nquota = \"5G\"\nkeep-free = \"1G\"\n",
    );
    let show = |variables: &[(&str, &str)]| {
        let mut cmd = place.skiff(&["config", "show", "--json"]);
        for (name, value) in variables {
            cmd.env(name, value);
        }
        cmd.run().expect_success("config show")
    };
    let outcome = show(&[("SKIFF_CACHE_KEEP_FREE", "2G")]);
    let is = |name: &str, value: &str, origin: &str| {
        assert_eq!(setting(&outcome, name), (value.into(), origin.into()));
    };
    is("cache.quota", "5G", "file");
    is("cache.keep-free", "2G", "environment");
    is("network.lookup-timeout", "20s", "default");
    assert_eq!(
        setting(&show(&[("SKIFF_CONFIG", "")]), "cache.quota"),
        (Value::Null, "default".into())
    );

    // What the files say is what holds.
    let cache = place.0.join("cache");
    let text = format!("[cache]\ndir = \"{}\"\n", cache.display());
    fs::write(&file, text).expect("a file");
    let said = place.skiff(&["cache", "du"]).run().stdout_text();
    assert!(said.contains(&cache.display().to_string()), "{said}");

    fs::write(&file, "[cache]\n\nqouta = \"5G\"\n").expect("a file");
    for args in [&["cache", "du"][..], &["config", "show"]] {
        let outcome = place.skiff(args).run();
        let expected = format!(
            "FATAL:   {}: line 3: there is no setting cache.qouta; there are cache.dir,",
            file.display()
        );
        assert_eq!(outcome.code(), Some(255));
        assert!(
            outcome.stderr_text().starts_with(&expected),
            "{}",
            outcome.stderr_text()
        );
    }
    // What needs no settings does not read them.
    place.skiff(&["version"]).run().expect_success("version");
}

#[test]
fn settings_reach_the_server_and_not_the_container() {
    require!("skiff.toml of a server"; Skiff, Apptainer, Fuse, UserNamespaces);
    let place = Place::new("server");
    let image = place.0.join("i.sif");
    let source = &images(program::real_apptainer().expect("required")).sif;
    fs::copy(source, &image).expect("a copy");
    let file = place.file("s.toml", "[server]\nlinger = many\n");
    let exec = |program: &[&str]| {
        let mut cmd = place.skiff(&["exec", "i.sif"]);
        cmd.args(program.iter()).env("SKIFF_CONFIG", &file);
        cmd.run()
    };
    let outcome = exec(&["true"]);
    assert_eq!(outcome.code(), Some(255));
    let said = outcome.stderr_text();
    assert!(said.contains("s.toml: line 2: "), "{said}");

    fs::write(&file, "[server]\nlinger = 3\n").expect("a file");
    let outcome = exec(&["env"]).expect_success("env");
    assert!(
        !outcome.stdout_text().contains("SKIFF_LINGER"),
        "{}",
        outcome.stdout_text()
    );
    let holders = holders(&image);
    assert!(!holders.is_empty());
    for environment in holders {
        assert!(environment.contains("SKIFF_LINGER=3\0"), "{environment}");
    }
    // A launch that finds the server running reads nothing.
    fs::write(&file, "[[[").expect("a file");
    exec(&["true"]).expect_success("a launch beside a broken file");
}

/// Environments of the processes that keep `image` mounted.
fn holders(image: &Path) -> Vec<String> {
    processes::holding(image)
        .iter()
        .filter_map(|process| fs::read(format!("/proc/{}/environ", process.pid)).ok())
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .collect()
}
