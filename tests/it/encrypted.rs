//! Encrypted images of real Apptainer, run with their keys and without.

use std::path::PathBuf;
use std::time::Duration;

use skiff_tests::command::Outcome;
use skiff_tests::image::{digest, images, keep};
use skiff_tests::processes;
use skiff_tests::program::{self, Program};
use skiff_tests::require;
use skiff_tests::user::{User, ordinary, root};

const WARNINGS: [&str; 2] = [
    "WARNING: passwd file doesn't exist in container, not updating\n",
    "WARNING: group file doesn't exist in container, not updating\n",
];

/// Makes keys, and with them images of a small tree.
const MAKE: &str = "
    set -e
    openssl genrsa -traditional -out private.pem 2048 2>openssl.log
    openssl genrsa -traditional -out other.pem 2048 2>>openssl.log
    openssl rsa -in private.pem -RSAPublicKey_out -out public.pem 2>>openssl.log
    apptainer build --sandbox tree \"$TINY\"
    head -c 3000000 /dev/urandom >tree/large
    sha256sum <tree/large >large.sum
    APPTAINER_ENCRYPTION_PASSPHRASE=secret apptainer build --encrypt pass.sif tree
    apptainer build --encrypt --pem-path public.pem rsa.sif tree
    chmod 755 . ; chmod 644 *.pem
    rm -rf tree";

/// The folder with keys and images.
fn made() -> PathBuf {
    let apptainer = program::real_apptainer().expect("required");
    let tiny = images(apptainer).tiny_sif;
    let name = format!("encrypted-{}", digest(&[MAKE]));
    keep(&name, |folder| {
        ordinary().own(folder);
        let tiny = tiny.display().to_string();
        script(
            ordinary(),
            apptainer,
            folder.to_owned(),
            MAKE,
            &[("TINY", &tiny)],
        )
        .expect_success("making encrypted images");
    })
}

fn script(
    user: &User,
    program: &Program,
    folder: PathBuf,
    text: &str,
    variables: &[(&str, &str)],
) -> Outcome {
    let mut command = user.command("/bin/bash");
    command
        .cwd(folder)
        .env(
            "PATH",
            format!(
                "{}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                program.folder.display()
            ),
        )
        .args(["-c", text])
        .limit(Duration::from_secs(300));
    for (name, value) in variables {
        command.env(name, value);
    }
    command.run()
}

/// Output, error output and exit code of `text`, run by `user`.
fn seen(user: &User, text: &str, variables: &[(&str, &str)]) -> (String, String, Option<i32>) {
    let skiff = program::skiff().expect("required");
    let outcome = script(user, skiff, made(), text, variables);
    let mut errors = outcome.stderr_text();
    for warning in WARNINGS {
        errors = errors.replace(warning, "");
    }
    (outcome.stdout_text(), errors, outcome.code())
}

fn good(text: &str) -> (String, String, Option<i32>) {
    (text.to_owned(), String::new(), Some(0))
}

fn bad(text: &str) -> (String, String, Option<i32>) {
    (String::new(), text.to_owned(), Some(255))
}

#[test]
fn images_run_with_their_keys() {
    require!("encrypted images"; Skiff, Apptainer, Fuse, UserNamespaces);
    let hello = "/bin/cat /hello.txt";
    for user in [ordinary(), &root()] {
        for (text, variables) in [
            (
                format!("apptainer exec pass.sif {hello}"),
                &[("APPTAINER_ENCRYPTION_PASSPHRASE", "secret")][..],
            ),
            (
                format!("apptainer exec --pem-path private.pem rsa.sif {hello}"),
                &[],
            ),
            (
                format!("apptainer exec rsa.sif {hello}"),
                &[("APPTAINER_ENCRYPTION_PEM_PATH", "private.pem")],
            ),
            (
                format!(
                    "APPTAINER_ENCRYPTION_PEM_DATA=$(cat private.pem) apptainer exec rsa.sif {hello}"
                ),
                &[],
            ),
        ] {
            assert_eq!(seen(user, &text, variables), good("hello\n"), "{text}");
        }
    }
    // The passphrase is the first line, the rest is the program's.
    assert_eq!(
        seen(
            ordinary(),
            "printf 'secret\\nmore\\n' | apptainer exec --passphrase pass.sif /bin/cat",
            &[]
        ),
        good("Enter encryption passphrase: \nmore\n")
    );
}

#[test]
fn content_is_right() {
    require!("encrypted images"; Skiff, Apptainer, Fuse, UserNamespaces);
    let text = "apptainer exec pass.sif /bin/cat /large | sha256sum | cmp - large.sum";
    let variables = [("APPTAINER_ENCRYPTION_PASSPHRASE", "secret")];
    assert_eq!(seen(ordinary(), text, &variables), good(""));
}

#[test]
fn without_its_key_an_image_does_not_run() {
    require!("encrypted images"; Skiff, Apptainer, Fuse, UserNamespaces);
    let folder = made();
    let shown = folder.display();
    let missing = "FATAL:   While checking container encryption: required option --passphrase or \
                   --pem-path missing\n";
    let pass = |secret| [("APPTAINER_ENCRYPTION_PASSPHRASE", secret)];
    // Also while somebody who has the key runs it.
    let text = "apptainer exec pass.sif /bin/cat /hello.txt";
    assert_eq!(seen(ordinary(), text, &pass("secret")), good("hello\n"));
    for verb in ["exec", "run", "shell", "test"] {
        let text = format!("apptainer {verb} pass.sif /bin/true");
        let expected = match verb {
            "shell" => format!("WARNING: Parameters to shell command are ignored\n{missing}"),
            _ => missing.to_owned(),
        };
        assert_eq!(seen(ordinary(), &text, &[]), bad(&expected), "{verb}");
    }
    assert_eq!(
        seen(ordinary(), "apptainer instance start pass.sif never", &[]),
        bad(missing)
    );
    let wrong = |image| {
        bad(&format!(
            "FATAL:   container creation failed: cannot decrypt {shown}/{image}: Password incorrect.\n"
        ))
    };
    for secret in ["Secret", "", "secret "] {
        assert_eq!(seen(ordinary(), text, &pass(secret)), wrong("pass.sif"));
    }
    let rsa = "apptainer exec rsa.sif /bin/true";
    assert_eq!(seen(ordinary(), rsa, &pass("secret")), wrong("rsa.sif"));
    let check = "ERROR:   Please check you are providing the correct key for decryption\n";
    let checking = "FATAL:   While checking container encryption: cannot decrypt";
    assert_eq!(
        seen(
            ordinary(),
            "apptainer exec --pem-path other.pem rsa.sif /bin/true",
            &[]
        ),
        bad(&format!(
            "{check}{checking} {shown}/rsa.sif: could not decrypt LUKS key: crypto/rsa: decryption \
             error\n"
        ))
    );
    assert_eq!(
        seen(
            ordinary(),
            "apptainer exec --pem-path private.pem pass.sif /bin/true",
            &[]
        ),
        bad(&format!(
            "{check}{checking} {shown}/pass.sif: could not get encryption information from SIF: \
             could not read LUKS key from {shown}/pass.sif: encrypted key not found\n"
        ))
    );
}

#[test]
fn the_key_is_in_nobodys_view() {
    require!("encrypted images"; Skiff, Apptainer, Fuse, UserNamespaces);
    let text = "apptainer exec -B /usr/bin:/mnt pass.sif /mnt/env | grep -c 'secret\\|ENCRYPTION'";
    let variables = [("APPTAINER_ENCRYPTION_PASSPHRASE", "secret")];
    let (output, ..) = seen(ordinary(), text, &variables);
    assert_eq!(output, "0\n");
    // Of processes that stay, only root could see it.
    let servers = processes::servers(&made().join("pass.sif"));
    assert!(!servers.is_empty(), "no server is left");
    for server in servers {
        for pid in [server.pid, server.parent] {
            for file in ["environ", "cmdline"] {
                let text = std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
                let text = String::from_utf8_lossy(&text).into_owned();
                assert!(!text.contains("secret"), "{file} of {pid}: {text}");
            }
        }
    }
}

#[test]
fn what_is_written_beside_the_root_is_no_secret() {
    require!("encrypted images"; Skiff, Apptainer);
    for text in [
        "apptainer inspect --deffile pass.sif",
        "apptainer inspect --labels pass.sif | grep -v build-date",
        "apptainer inspect --runscript rsa.sif",
        "apptainer inspect --all pass.sif",
        "apptainer run-help pass.sif",
        "apptainer sif list rsa.sif",
        "apptainer sif info 4 rsa.sif",
    ] {
        let apptainer = program::real_apptainer().expect("required");
        let theirs = script(ordinary(), apptainer, made(), text, &[]);
        let (output, errors, code) = seen(ordinary(), text, &[]);
        assert_eq!(output, theirs.stdout_text(), "{text}");
        assert_eq!(
            (errors, code),
            (theirs.stderr_text(), theirs.code()),
            "{text}"
        );
    }
}

/// Images that skiff encrypts are Apptainer's to run, and its own.
#[test]
fn images_are_built_encrypted() {
    require!("building encrypted images"; Skiff, Apptainer, Fuse, UserNamespaces);
    let folder = std::path::PathBuf::from(format!("/tmp/skiff-encrypted-{}", std::process::id()));
    std::fs::create_dir(&folder).expect("fresh");
    ordinary().own(&folder);
    let keys = made().display().to_string();
    let tiny = images(program::real_apptainer().expect("required")).tiny_sif;
    let tiny = tiny.display().to_string();
    let variables = [("KEYS", keys.as_str()), ("TINY", tiny.as_str())];
    let skiff = program::skiff().expect("required");
    let apptainer = program::real_apptainer().expect("required");
    let build = "set -e
        APPTAINER_ENCRYPTION_PASSPHRASE=secret apptainer -s build --encrypt pass.sif \"$TINY\"
        apptainer -s build --encrypt --pem-path \"$KEYS/public.pem\" rsa.sif \"$TINY\"
        apptainer -s build --pem-path \"$KEYS/public.pem\" also.sif \"$TINY\"";
    script(ordinary(), skiff, folder.clone(), build, &variables).expect_success("build");
    let run = "
        APPTAINER_ENCRYPTION_PASSPHRASE=secret apptainer exec pass.sif /bin/cat /hello.txt
        for i in rsa also; do
          apptainer exec --pem-path \"$KEYS/private.pem\" $i.sif /bin/cat /hello.txt
          apptainer sif list $i.sif | grep -o 'Gocryptfs.*\\|Crypto.*'
        done
        apptainer exec pass.sif /bin/cat /hello.txt || echo locked";
    for program in [skiff, apptainer] {
        let outcome = script(ordinary(), program, folder.clone(), run, &variables);
        let listed = "Gocryptfs squashfs/*System/amd64)\nCryptographic Message (PEM/RSA-OAEP)\n";
        let listed = listed.replace("amd64", skiff_tests::oci::architecture());
        assert_eq!(
            outcome.stdout_text(),
            format!("hello\nhello\n{listed}hello\n{listed}locked\n"),
            "{}: {}",
            program.title,
            outcome.stderr_text()
        );
    }
    let missing = "apptainer build --encrypt x.sif \"$TINY\"; apptainer build --encrypt --pem-path \
                   \"$KEYS/private.pem\" x.sif \"$TINY\"; ls";
    let outcome = script(ordinary(), skiff, folder.clone(), missing, &variables);
    assert_eq!(outcome.stdout_text(), "also.sif\npass.sif\nrsa.sif\n");
    let errors = outcome.stderr_text();
    assert!(
        errors.contains("Missing encryption info, please add `--passphrase`"),
        "{errors}"
    );
    assert!(
        errors.contains("Invalid encryption public key: asn1"),
        "{errors}"
    );
    std::fs::remove_dir_all(&folder).expect("ours");
}
