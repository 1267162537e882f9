//! Signatures: what one program signs the other verifies, and neither lets a change pass.

mod keys;

use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use skiff_tests::command::Outcome;
use skiff_tests::program::{self, Program};
use skiff_tests::require;
use skiff_tests::user::ordinary;

/// A folder of the ordinary user with a keyring in it, gone afterwards.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = PathBuf::from(format!(
            "/var/tmp/skiff-signing-{}-{number}",
            std::process::id()
        ));
        std::fs::create_dir(&path).expect("fresh");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("ours");
        ordinary().own(&path);
        Self(path)
    }

    fn file(&self, name: &str, content: &str) {
        let path = self.0.join(name);
        std::fs::write(&path, content).expect("ours");
        ordinary().own(&path);
    }

    fn run(&self, program: &Program, line: &str) -> Outcome {
        let mut cmd = ordinary().command(program.called("apptainer"));
        cmd.cwd(&self.0)
            .env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
            .env("APPTAINER_KEYSDIR", self.0.join("ring"))
            .env("SKIFF_LINGER", "1")
            .args(line.split(' '))
            .limit(Duration::from_secs(300));
        cmd.run()
    }

    fn good(&self, program: &Program, line: &str) -> String {
        let what = format!("{} {line}", program.title);
        self.run(program, line).expect_success(&what).stdout_text()
    }

    /// What the program says at the end, and its exit code.
    fn verdict(&self, program: &Program, line: &str) -> (Option<i32>, String) {
        let outcome = self.run(program, line);
        let text = outcome.stderr_text();
        (
            outcome.code(),
            text.lines().last().unwrap_or_default().to_owned(),
        )
    }

    /// An image with a definition and a partition in group 1, and data in group 2.
    fn image(&self, name: &str) {
        self.file("definition", "bootstrap: nothing\n");
        self.file("partition", &"not really a file system\n".repeat(400));
        self.file("data", "some data\n");
        for line in [
            format!("sif new {name}"),
            format!("sif add --datatype 1 --groupid 1 {name} definition"),
            format!(
                "sif add --datatype 4 --parttype 1 --partfs 1 --partarch 2 --groupid 1 {name} \
                 partition"
            ),
            format!("sif add --datatype 7 --groupid 2 --filename data {name} data"),
        ] {
            self.good(apptainer(), &line);
        }
    }

    fn copy(&self, from: &str, to: &str) {
        std::fs::copy(self.0.join(from), self.0.join(to)).expect("room");
        ordinary().own(&self.0.join(to));
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Left behind, it would only take room.
        std::fs::remove_dir_all(&self.0).ok();
    }
}

fn skiff() -> &'static Program {
    program::skiff().expect("required")
}

fn apptainer() -> &'static Program {
    program::real_apptainer().expect("required")
}

/// Both programs, and the other one of each.
fn pairs() -> [(&'static Program, &'static Program); 2] {
    [(skiff(), apptainer()), (apptainer(), skiff())]
}

#[test]
fn openpgp_keys_and_signatures_of_either_are_the_others() {
    require!("OpenPGP signatures"; Skiff, Apptainer);
    for (index, (maker, other)) in pairs().into_iter().enumerate() {
        let folder = Folder::new();
        // 4096 bits take skiff some seconds without optimisation.
        let bits = [2048, 4096][index];
        folder.good(
            maker,
            &format!(
                "key newpair -b {bits} -N Maker -E m@example.org -C test --password= -U=false"
            ),
        );
        let listing = folder.good(maker, "key list");
        assert_eq!(folder.good(other, "key list"), listing);
        assert!(listing.contains(&format!("Length (in bits):  {bits}")));
        for signer in [maker, other] {
            folder.image("a.sif");
            folder.good(signer, "sign a.sif");
            let said = folder.good(signer, "verify -l a.sif");
            for verifier in [maker, other] {
                assert_eq!(folder.good(verifier, "verify -l a.sif"), said);
                folder.good(verifier, "verify -l -g 2 a.sif");
                folder.good(verifier, "verify -l -i 1 a.sif");
            }
            folder.good(other, "sign -i 1 a.sif");
            for verifier in [maker, other] {
                folder.good(verifier, "verify -l -i 1 a.sif");
                let (code, last) = folder.verdict(verifier, "verify -l a.sif");
                assert_eq!(code, Some(255));
                assert!(last.ends_with("object 2: object not signed"), "{last}");
            }
            std::fs::remove_file(folder.0.join("a.sif")).expect("ours");
        }
    }
}

#[test]
fn locked_keys_open_in_both() {
    require!("locked OpenPGP keys"; Skiff, Apptainer);
    for (maker, other) in pairs() {
        let folder = Folder::new();
        folder.good(
            maker,
            "key newpair -b 2048 -N Maker -E m@example.org -C test -P geheim -U=false",
        );
        folder.image("a.sif");
        for program in [maker, other] {
            let with = |passphrase: &str| {
                let mut cmd = ordinary().command(program.called("apptainer"));
                cmd.cwd(&folder.0)
                    .env("APPTAINER_KEYSDIR", folder.0.join("ring"))
                    .args(["sign", "a.sif"])
                    .stdin(format!("{passphrase}\n"))
                    .limit(Duration::from_secs(120));
                cmd.run()
            };
            with("geheim").expect_success("sign with a passphrase");
            let wrong = with("falsch");
            assert_eq!(wrong.code(), Some(255));
            assert!(
                wrong
                    .stderr_text()
                    .contains("Failed to sign container: openpgp: invalid data")
            );
        }
        for program in [maker, other] {
            folder.good(program, "verify -l a.sif");
        }
    }
}

#[test]
fn keys_in_pem_files_work_in_both() {
    require!("signatures by raw keys"; Skiff, Apptainer);
    let folder = Folder::new();
    folder.image("plain.sif");
    let all = [keys::RSA, keys::P256, keys::P384, keys::P521, keys::ED25519];
    for (index, [private, public]) in all.into_iter().enumerate() {
        folder.file("private.pem", private);
        folder.file("public.pem", public);
        let [_, wrong] = all[(index + 1) % all.len()];
        folder.file("wrong.pem", wrong);
        for (signer, other) in pairs() {
            folder.copy("plain.sif", "a.sif");
            folder.good(signer, "sign --key private.pem a.sif");
            let said = folder.good(signer, "verify --key public.pem a.sif");
            assert_eq!(folder.good(other, "verify --key public.pem a.sif"), said);
            assert_eq!(
                folder.verdict(signer, "verify --key wrong.pem a.sif"),
                folder.verdict(other, "verify --key wrong.pem a.sif")
            );
        }
    }
}

#[test]
fn certificates_vouch_for_keys() {
    require!("certificates"; Skiff, Apptainer);
    let folder = Folder::new();
    folder.image("a.sif");
    let [private, _] = keys::P256;
    folder.file("private.pem", private);
    folder.file("root.crt", keys::ROOT);
    folder.file("int.crt", keys::INTERMEDIATE);
    folder.file("leaf.crt", keys::LEAF);
    folder.file("web.crt", keys::WEB);
    folder.file("self.crt", keys::SELF);
    folder.file("other.crt", "no certificate\n");
    folder.good(skiff(), "sign --key private.pem a.sif");
    let chain = "--certificate-intermediates int.crt --certificate-roots root.crt";
    for (flags, good) in [
        (format!("--certificate leaf.crt {chain}"), true),
        (format!("--certificate web.crt {chain}"), false),
        ("--certificate leaf.crt".to_owned(), false),
        (
            "--certificate leaf.crt --certificate-roots root.crt".to_owned(),
            false,
        ),
        (
            "--certificate leaf.crt --certificate-roots int.crt".to_owned(),
            true,
        ),
        (
            "--certificate self.crt --certificate-roots self.crt".to_owned(),
            true,
        ),
        (
            "--certificate self.crt --certificate-roots root.crt".to_owned(),
            false,
        ),
        (format!("--certificate other.crt {chain}"), false),
        (format!("--certificate none.crt {chain}"), false),
        (
            "--certificate leaf.crt --certificate-roots other.crt".to_owned(),
            false,
        ),
    ] {
        let line = format!("verify {flags} a.sif");
        let (code, last) = folder.verdict(skiff(), &line);
        assert_eq!(code == Some(0), good, "{line}: {last}");
        let (theirs, their_last) = folder.verdict(apptainer(), &line);
        assert_eq!(theirs, code, "{line}: {their_last}");
        if !line.contains("self.crt --certificate-roots root.crt") {
            assert_eq!(last, their_last, "{line}");
        }
    }
}

/// Bytes changed one at a time: what skiff accepts Apptainer accepts too.
#[test]
fn changes_that_pass_pass_in_both() {
    require!("changed images"; Skiff, Apptainer);
    let folder = Folder::new();
    let [private, public] = keys::ED25519;
    folder.file("private.pem", private);
    folder.file("public.pem", public);
    folder.image("a.sif");
    folder.good(skiff(), "sign --key private.pem a.sif");
    let bytes = std::fs::read(folder.0.join("a.sif")).expect("ours");
    let slot = |number: usize, at: usize| 4096 + number * 585 + at;
    let mut passed = 0;
    let mut places = vec![3, 33, 43, 46, 52, 66, 90, 125, 200];
    for number in 0..4 {
        places.extend([0, 4, 9, 13, 25, 33, 41, 50, 58, 70, 80, 210].map(|at| slot(number, at)));
    }
    places.extend([32176, 32768, 36000, bytes.len() - 700, bytes.len() - 60]);
    for at in places {
        let file = std::fs::File::options()
            .write(true)
            .open(folder.0.join("a.sif"))
            .expect("ours");
        file.write_all_at(&[bytes[at] ^ 0x11], at as u64)
            .expect("ours");
        let line = "verify --key public.pem a.sif";
        let (code, last) = folder.verdict(skiff(), line);
        if code == Some(0) {
            passed += 1;
            let (theirs, their_last) = folder.verdict(apptainer(), line);
            assert_eq!(theirs, Some(0), "byte {at}: {last} / {their_last}");
        }
        file.write_all_at(&bytes[at..=at], at as u64).expect("ours");
    }
    assert!(passed >= 4, "only {passed} changes passed");
    assert_eq!(
        folder.verdict(skiff(), "verify --key public.pem a.sif").0,
        Some(0)
    );
}

#[test]
fn a_list_of_signers_decides_what_runs() {
    require!("execution control lists"; Skiff, Apptainer, Fuse, UserNamespaces);
    let images = skiff_tests::image::images(apptainer());
    let folder = Folder::new();
    folder.good(
        apptainer(),
        "key newpair -b 2048 -N One -E one@example.org -C c --password= -U=false",
    );
    let listing = folder.good(apptainer(), "key list");
    let print = listing
        .lines()
        .find_map(|line| line.trim().strip_prefix("Fingerprint:"))
        .expect("one key")
        .trim();
    for name in ["signed.sif", "plain.sif", "changed.sif"] {
        std::fs::copy(&images.plain_sif, folder.0.join(name)).expect("room");
        ordinary().own(&folder.0.join(name));
    }
    for name in ["signed.sif", "changed.sif"] {
        folder.good(skiff(), &format!("sign {name}"));
    }
    let changed = std::fs::File::options()
        .write(true)
        .open(folder.0.join("changed.sif"))
        .expect("ours");
    // The time of creation, in the first descriptor.
    changed.write_all_at(&[7], 4096 + 41).expect("ours");
    folder.file("apptainer.conf", "");
    let ring = std::fs::read(folder.0.join("ring/pgp-public")).expect("ours");
    std::fs::write(folder.0.join("global-pgp-public"), ring).expect("ours");
    let set = |mode: &str, place: &str, active: bool| {
        folder.file(
            "ecl.toml",
            &format!(
                "activated = {active}\n[[execgroup]]\ntagname = \"g\"\nmode = \"{mode}\"\n\
                 dirpath = \"{place}\"\nkeyfp = [\"{print}\"]\n"
            ),
        );
    };
    let run = |image: &str| {
        let line = format!("-c apptainer.conf exec {image} true");
        let (code, last) = folder.verdict(skiff(), &line);
        let reason = last.split_once("with ECL: ").map(|(_, reason)| reason);
        match reason {
            Some(reason) => {
                assert_eq!(code, Some(255));
                reason.replace(&*folder.0.to_string_lossy(), "$T")
            }
            None => "runs".to_owned(),
        }
    };
    let unsigned = "image signature not valid: integrity: signature not found for object group 1";
    let broken = "image signature not valid: integrity: data object descriptor integrity \
                  compromised: 1";
    let here = folder.0.display().to_string();
    for (mode, place, active, expected) in [
        ("whitelist", "", true, ["runs", unsigned, broken]),
        ("whitestrict", &*here, true, ["runs", unsigned, broken]),
        (
            "blacklist",
            "",
            true,
            ["image signed by a forbidden entity", unsigned, broken],
        ),
        (
            "whitelist",
            "/elsewhere",
            true,
            [
                "$T/signed.sif not part of any execgroup",
                "$T/plain.sif not part of any execgroup",
                "$T/changed.sif not part of any execgroup",
            ],
        ),
        ("whitelist", "/elsewhere", false, ["runs"; 3]),
    ] {
        set(mode, place, active);
        let seen = ["signed.sif", "plain.sif", "changed.sif"].map(run);
        assert_eq!(seen, expected, "{mode} {place:?} {active}");
    }
    std::fs::write(folder.0.join("global-pgp-public"), "").expect("ours");
    set("whitelist", "", true);
    assert_eq!(run("signed.sif"), "image not signed by required entities");
    folder.file("ecl.toml", "activated = [\n");
    let line = "-c apptainer.conf exec signed.sif true";
    let (code, last) = folder.verdict(skiff(), line);
    assert_eq!(code, Some(255));
    assert!(last.contains("while loading ECL configuration"), "{last}");
}

/// What is said of the image that a build starts from, without the text of a keyserver.
fn said_of_base(outcome: &Outcome) -> Vec<String> {
    assert!(outcome.success(), "{outcome}");
    let said = outcome.stderr_text();
    let lines = said.lines().filter(|line| {
        line.contains("ootstrap image")
            || line.contains("integrity:")
            || line.contains("Extracting")
    });
    lines.map(str::to_owned).collect()
}

#[test]
fn builds_look_at_the_signatures_of_what_they_start_from() {
    require!("builds from signed images"; Skiff, Apptainer);
    let folder = Folder::new();
    std::fs::create_dir(folder.0.join("root")).expect("ours");
    ordinary().own(&folder.0.join("root"));
    folder.good(apptainer(), "-s build base.sif root");
    folder.good(
        apptainer(),
        "key newpair -b 2048 -N Maker -E m@example.org -C test --password= -U=false",
    );
    folder.copy("base.sif", "signed.sif");
    folder.good(apptainer(), "sign signed.sif");
    for (keys, count) in [("ring", 2), ("none", 4)] {
        for (image, warned) in [("base.sif", false), ("signed.sif", keys == "none")] {
            let all = [apptainer(), skiff()].map(|program| {
                let mut cmd = ordinary().command(program.called("apptainer"));
                cmd.cwd(&folder.0)
                    .env("APPTAINER_KEYSDIR", folder.0.join(keys))
                    .env("SKIFF_LINGER", "1")
                    .args(["build", "-F", "made.sif", image])
                    .limit(Duration::from_secs(60));
                said_of_base(&cmd.run())
            });
            assert_eq!(all[0], all[1], "{image}");
            assert_eq!(all[1].len(), if warned { count } else { 2 }, "{all:?}");
        }
    }
}

/// Makes OpenPGP keys with gpg: one whose signing subkey is revoked later, one whose life is cut
/// short later; signs the text in `payload` with both.
const GPG: &str = r#"
export GNUPGHOME=$PWD/gnupg; mkdir -m 700 gnupg
g() { gpg --batch --yes --quiet --no-tty --pinentry-mode loopback --passphrase '' "$@"; }
last() { gpg --list-keys --with-colons | awk -F: '/^fpr/ {x = $10} END {print x}'; }
g --quick-gen-key 'One <one@example.org>' rsa2048 cert,sign never
one=$(last); g --quick-add-key "$one" rsa2048 sign never; sub=$(last)
g -u "$sub!" --digest-algo SHA256 --clearsign -o one.sig payload
g --export "$one" >one.asc
printf 'key 1\nrevkey\ny\n1\n\ny\nsave\n' |
  gpg --command-fd 0 --status-fd 2 --pinentry-mode loopback --passphrase '' --no-tty --edit-key "$one"
g --export "$one" >one-revoked.asc
g --faked-system-time 20230101T000000 --quick-gen-key 'Two <two@example.org>' rsa2048 cert,sign 20y
two=$(last)
g --faked-system-time 20230201T000000 -u "$two" --digest-algo SHA256 --clearsign -o two.sig payload
g --export "$two" >two.asc
g --faked-system-time 20230601T000000 --quick-set-expire "$two" 1y
g --export "$two" >two-short.asc
gpgconf --kill all
echo "$one" >one.fpr; echo "$two" >two.fpr
"#;

#[test]
fn keys_that_count_no_longer_count_in_neither() {
    require!("keys that were revoked or cut short"; Skiff, Apptainer, Gpg);
    let folder = Folder::new();
    folder.image("a.sif");
    // What is signed, from a signature by another key.
    folder.file("p8.pem", keys::ED25519[0]);
    folder.good(skiff(), "sign --key p8.pem a.sif");
    let envelope = folder.good(skiff(), "sif dump 4 a.sif");
    let envelope: serde_json::Value = serde_json::from_str(&envelope).expect("an envelope");
    let payload = envelope["payload"].as_str().expect("text");
    let payload = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, payload);
    let payload = String::from_utf8(payload.expect("base64")).expect("JSON");
    folder.file("payload", &payload);
    folder.good(skiff(), "sif del 4 a.sif");
    let mut cmd = ordinary().command("/bin/sh");
    cmd.cwd(&folder.0).args(["-ec", GPG]);
    cmd.limit(Duration::from_secs(120))
        .run()
        .expect_success("gpg");
    for (signature, key, reason) in [
        ("one", "one.asc", ""),
        ("one", "one-revoked.asc", "signature made by revoked key"),
        ("two", "two.asc", ""),
        ("two", "two-short.asc", "key expired"),
    ] {
        let print = std::fs::read_to_string(folder.0.join(format!("{signature}.fpr")));
        let print = print.expect("made").trim().to_owned();
        folder.copy("a.sif", "b.sif");
        folder.good(
            skiff(),
            &format!(
                "sif add --datatype 5 --signentity {print} --signhash 1 --link 4026531841 b.sif \
                 {signature}.sig"
            ),
        );
        for program in [skiff(), apptainer()] {
            std::fs::remove_dir_all(folder.0.join("ring")).ok();
            folder.good(program, &format!("key import {key}"));
            let (code, last) = folder.verdict(program, "verify -l -g 1 b.sif");
            let what = format!("{} with {key}: {last}", program.title);
            assert_eq!(code == Some(0), reason.is_empty(), "{what}");
            assert!(last.ends_with(reason), "{what}");
        }
    }
}
