//! `verify`: checks the signatures of a SIF.

use std::fs::File;
use std::path::Path;

use anyhow::{Context as _, anyhow, bail};
use serde::Serialize;
use skiff_fs::format::sif::{Descriptor, Link};
use skiff_fs::integrity::certificate::Certificate;
use skiff_fs::integrity::pgp::{Fingerprint, PublicKey, fingerprint_text};
use skiff_fs::integrity::{
    Error, Keys, Outcome, SignedBy, SignedImage, Task, default_tasks, raw_key, verify,
};

use super::key::{folder, global_ring, prepared};
use super::sign::{pem, reason};
use crate::cli::Context;
use crate::cli::signing::VerifyArgs;
use crate::exit::ExitStatus;
use crate::output;
use crate::text::os_error;

/// What stands before a line about the signer.
const LOCAL: &str = "[LOCAL]";
const GLOBAL: &str = "[GLOBAL]";
const REMOTE: &str = "[REMOTE]";

/// `verify IMAGE`
///
/// # Errors
/// When a signature is missing or does not hold, or the keys cannot be read.
pub fn run(args: &VerifyArgs, context: &Context) -> anyhow::Result<ExitStatus> {
    for (given, remark) in [
        (
            args.old_id.is_some(),
            "id has been deprecated, use '--sif-id'",
        ),
        (
            args.old_group_id.is_some(),
            "groupid has been deprecated, use '--group-id'",
        ),
    ] {
        if given {
            output::warning(format_args!("Flag --{remark}"));
        }
    }
    let path = Path::new(super::key::word(&args.words));
    let given = |path: &Option<std::path::PathBuf>| {
        path.clone().filter(|path| !path.as_os_str().is_empty())
    };
    let mut report = Report::new(args.json);
    let verdict = if let Some(file) = given(&args.certificate) {
        output::info(format_args!(
            "Verifying image with key material from certificate '{}'",
            file.display()
        ));
        let key = certified(args, &file)?;
        let keys = [key];
        let keys = Keys {
            pgp: None,
            raw: Some(&keys),
        };
        check(args, path, keys, &mut report)
    } else if let Some(file) = given(&args.key) {
        output::info(format_args!(
            "Verifying image with key material from '{}'",
            file.display()
        ));
        let key = pem(&file)
            .and_then(|text| Ok(raw_key::PublicKey::from_pem(&text)?))
            .context("Failed to load key material")?;
        let keys = [key];
        let keys = Keys {
            pgp: None,
            raw: Some(&keys),
        };
        check(args, path, keys, &mut report)
    } else {
        output::info("Verifying image with PGP key material");
        let found = rings(context).map_err(failed)?;
        report.own = found.own;
        report.global = found.global;
        report.asks_servers = !args.local;
        let keys = Keys {
            pgp: Some(&found.all),
            raw: None,
        };
        check(args, path, keys, &mut report)
    };
    if args.json {
        output::stdout(report.json()?)?;
    }
    verdict.map_err(failed)?;
    if !args.json {
        output::info(format_args!(
            "Verified signature(s) from image '{}'",
            path.display()
        ));
    }
    Ok(ExitStatus::Success)
}

fn failed(error: anyhow::Error) -> anyhow::Error {
    error.context("Failed to verify container")
}

/// The key that a certificate vouches for.
fn certified(args: &VerifyArgs, file: &Path) -> anyhow::Result<raw_key::PublicKey> {
    let leaf = pem(file)
        .and_then(|text| Ok(Certificate::from_pem(&text)?))
        .context("Failed to load certificate")?;
    let pool = |path: &Option<std::path::PathBuf>, kind: &str| {
        let Some(path) = path.as_deref().filter(|path| !path.as_os_str().is_empty()) else {
            return Ok(None);
        };
        pem(path)
            .and_then(|text| Ok(Certificate::pool_from_pem(&text)?))
            .map(Some)
            .with_context(|| format!("Failed to load {kind} certificates"))
    };
    let between = pool(&args.certificate_intermediates, "intermediate")?.unwrap_or_default();
    let roots = pool(&args.certificate_roots, "root")?.unwrap_or_else(Certificate::system_pool);
    let key = leaf
        .key(&between, &roots)
        .map_err(|error| failed(error.into()))?;
    if args.ocsp_verify {
        output::warning(
            "OCSP verification has failed. Err: OCSP is not supported by this version of skiff: \
             leave out --ocsp-verify if the certificate need not be looked up",
        );
        return Err(failed(anyhow!("OCSP verification has failed")));
    }
    Ok(key)
}

/// Keys that count, and where they are from.
struct Rings {
    own: Vec<Fingerprint>,
    global: Vec<Fingerprint>,
    all: Vec<PublicKey>,
}

/// The user's own public keys and the machine's.
fn rings(context: &Context) -> anyhow::Result<Rings> {
    let rings = folder(None, context)?;
    prepared(&rings)?;
    let read = |ring: skiff_fs::integrity::pgp::Ring| {
        ring.public_keys()
            .map_err(|error| anyhow!("open {}: {}", ring.path().display(), os_error(&error)))
    };
    let prints = |keys: &[PublicKey]| keys.iter().map(PublicKey::fingerprint).collect();
    let mut all = read(rings.public())?;
    let own = prints(&all);
    let shared = read(global_ring(context))?;
    let global = prints(&shared);
    all.extend(shared);
    Ok(Rings { own, global, all })
}

fn check(
    args: &VerifyArgs,
    path: &Path,
    keys: Keys<'_>,
    report: &mut Report,
) -> anyhow::Result<()> {
    let file = File::open(path)
        .map_err(|error| anyhow!("open {}: {}", path.display(), os_error(&error)))?;
    let image = SignedImage::open(file).map_err(|error| reason(&error, path))?;
    let group = args.group_id.or(args.old_group_id);
    let object = args.sif_id.or(args.old_id);
    for (id, what) in [(group, "group"), (object, "object")] {
        if id == Some(0) {
            bail!("integrity: invalid {what} ID");
        }
    }
    let tasks = if group.is_none() && object.is_none() {
        default_tasks(&image, args.legacy_insecure, args.all)
            .map_err(|error| reason(&error, path))?
    } else {
        let legacy = args.legacy_insecure;
        let group = group.map(|group| {
            if legacy {
                Task::LegacyGroup(group)
            } else {
                Task::Group(group)
            }
        });
        let object = object.map(|object| {
            if legacy {
                Task::LegacyObject(object)
            } else {
                Task::Object(object)
            }
        });
        group.into_iter().chain(object).collect()
    };
    let mut stuck = None;
    let verdict = verify(&image, keys, &tasks, &mut |outcome| {
        if let Err(error) = report.take(outcome) {
            stuck = Some(error);
        }
        false
    });
    if let Some(error) = stuck {
        return Err(error);
    }
    verdict.map_err(|error| reason(&error, path))
}

/// What is told about signatures.
struct Report {
    as_json: bool,
    /// The user's own keys, which are called local.
    own: Vec<Fingerprint>,
    /// The machine's.
    global: Vec<Fingerprint>,
    /// Apptainer would ask a server for keys that are missing.
    asks_servers: bool,
    signatures: usize,
    signers: Vec<SignerKey>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Summary<'a> {
    signatures: usize,
    signer_keys: Option<&'a [SignerKey]>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct SignerKey {
    signer: SignerFacts,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct SignerFacts {
    partition: String,
    name: String,
    fingerprint: String,
    key_local: bool,
    key_check: bool,
    data_check: bool,
}

impl Report {
    fn new(as_json: bool) -> Self {
        Self {
            as_json,
            own: Vec::new(),
            global: Vec::new(),
            asks_servers: false,
            signatures: 0,
            signers: Vec::new(),
        }
    }

    fn take(&mut self, outcome: &Outcome<'_>) -> anyhow::Result<()> {
        self.signatures += 1;
        if let (SignedBy::Unknown, Some(issuer), true) =
            (&outcome.by, &outcome.issuer, self.asks_servers)
            && outcome.error.is_some_and(Error::is_unknown_signer)
        {
            output::warning(format_args!(
                "failed to get key material: key 0x{issuer} is in no keyring, and key servers \
                 are not supported by this version of skiff: add it with \"key import\""
            ));
        }
        if self.as_json {
            self.note(outcome);
            return Ok(());
        }
        let mut text = String::new();
        if let SignedBy::Pgp(key) = outcome.by {
            let place = self.place(key);
            text.push_str(&format!(
                "{place:<18} Signing entity: {}\n{place:<18} Fingerprint: {}\n",
                key.user().whole,
                fingerprint_text(&key.fingerprint())
            ));
        }
        if !outcome.verified.is_empty() {
            text.push_str(&table(&outcome.verified));
        }
        if let Some(error) = outcome.error {
            text.push_str(&format!(
                "\nError encountered during signature verification: {error}\n"
            ));
        }
        output::stdout(text)?;
        Ok(())
    }

    /// Where a key is from.
    fn place(&self, key: &PublicKey) -> &'static str {
        let print = key.fingerprint();
        if self.global.contains(&print) {
            GLOBAL
        } else if self.own.contains(&print) {
            LOCAL
        } else {
            REMOTE
        }
    }

    /// Keeps what is to be printed as JSON: every object that was looked at.
    fn note(&mut self, outcome: &Outcome<'_>) {
        let (name, fingerprint, local, checked) = match outcome.by {
            SignedBy::Pgp(key) => (
                key.user().whole,
                fingerprint_text(&key.fingerprint()).to_ascii_lowercase(),
                self.place(key) != REMOTE,
                true,
            ),
            SignedBy::Raw | SignedBy::Unknown => {
                ("unknown".to_owned(), String::new(), false, false)
            }
        };
        let good = outcome.verified.iter().map(|object| (*object, true));
        let bad = outcome.broken.into_iter().map(|object| (object, false));
        for (object, data_check) in good.chain(bad) {
            self.signers.push(SignerKey {
                signer: SignerFacts {
                    partition: object.data_type.to_string(),
                    name: name.clone(),
                    fingerprint: fingerprint.clone(),
                    key_local: local,
                    key_check: checked,
                    data_check,
                },
            });
        }
    }

    fn json(&self) -> anyhow::Result<String> {
        let summary = Summary {
            signatures: self.signatures,
            signer_keys: Some(self.signers.as_slice()).filter(|signers| !signers.is_empty()),
        };
        // As Go writes it.
        let text = serde_json::to_string_pretty(&summary)?;
        let text = text
            .replace('<', "\\u003c")
            .replace('>', "\\u003e")
            .replace('&', "\\u0026");
        Ok(format!("{text}\n"))
    }
}

fn table(objects: &[&Descriptor]) -> String {
    let mut text = format!(
        "Objects verified:\n{:<4}|{:<8}|{:<8}|TYPE\n{}\n",
        "ID",
        "GROUP",
        "LINK",
        "-".repeat(48)
    );
    for object in objects {
        let group = object
            .group
            .map_or_else(|| "NONE".to_owned(), |group| group.to_string());
        let link = match object.link {
            Link::None => "NONE".to_owned(),
            Link::Object(id) => id.to_string(),
            Link::Group(group) => format!("{group} (G)"),
        };
        text.push_str(&format!(
            "{:<4}|{group:<8}|{link:<8}|{}\n",
            object.id, object.data_type
        ));
    }
    text
}
