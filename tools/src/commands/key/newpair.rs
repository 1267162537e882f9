//! `key newpair`: makes a key pair and puts it into the user's keyrings.

use std::io::{self, IsTerminal as _};

use anyhow::{anyhow, bail};
use skiff_fs::integrity::pgp::{NewKey, SecretKey};

use super::{FAILED, folder, prepared, report, ring_error};
use crate::cli::Context;
use crate::cli::signing::NewpairArgs;
use crate::exit::ExitStatus;
use crate::output;
use crate::prompt;

/// How often somebody may mistype a passphrase.
const TRIES: usize = 3;

/// `key newpair`
///
/// # Errors
/// When standard output cannot be written.
pub(super) fn run(args: &NewpairArgs, context: &Context) -> anyhow::Result<ExitStatus> {
    let answers = match answers(args) {
        Ok(answers) => answers,
        Err(error) => {
            output::error(format_args!("could not collect user input: {error:#}"));
            return Ok(FAILED);
        }
    };
    if args.push {
        output::warning(
            "the public key is not pushed: key servers are not supported by this version of skiff",
        );
    }
    output::stdout("Generating Entity and OpenPGP Key Pair... ")?;
    let made = make(args, &answers, context);
    output::stdout(if made.is_ok() { "done\n" } else { "\n" })?;
    report("creating newpair failed", made, FAILED)
}

/// What the key is to have.
struct Answers {
    name: String,
    email: String,
    comment: String,
    passphrase: String,
}

fn answers(args: &NewpairArgs) -> anyhow::Result<Answers> {
    let ask = |given: &Option<String>, question: &str| match given {
        Some(answer) => Ok(answer.clone()),
        None => prompt::answer(question),
    };
    Ok(Answers {
        name: ask(&args.name, "Enter your name (e.g., John Doe) : ")?,
        email: ask(
            &args.email,
            "Enter your email address (e.g., john.doe@example.com) : ",
        )?,
        comment: ask(
            &args.comment,
            "Enter optional comment (e.g., development keys) : ",
        )?,
        passphrase: match &args.password {
            Some(passphrase) => passphrase.clone(),
            None => asked()?,
        },
    })
}

fn asked() -> anyhow::Result<String> {
    let passphrase = new_passphrase("Enter a passphrase : ")?;
    if passphrase.is_empty() {
        let answer = prompt::answer(
            "WARNING: if there is no password set, your key is not secure. Do you want to \
             continue? [y/n] ",
        )?;
        if !matches!(answer.trim(), "y" | "Y" | "yes") {
            bail!("empty passphrase");
        }
    }
    Ok(passphrase)
}

/// Asks twice for a new passphrase, until both are the same.
pub(super) fn new_passphrase(question: &str) -> anyhow::Result<String> {
    for _ in 0..TRIES {
        let first = prompt::hidden(question)?;
        let second = prompt::hidden("Retype your passphrase : ")?;
        if first == second {
            return Ok(first);
        }
        output::warning("passphrases do not match");
        if !io::stdin().is_terminal() {
            break;
        }
    }
    bail!("passphrases do not match")
}

fn make(args: &NewpairArgs, answers: &Answers, context: &Context) -> anyhow::Result<()> {
    let rings = folder(args.keysdir.as_deref(), context)?;
    let bits = u32::try_from(args.bit_length)
        .map_err(|_| anyhow!("openpgp: invalid argument: bits must be >= 1024"))?;
    let key = SecretKey::generate(&NewKey {
        name: answers.name.trim(),
        comment: answers.comment.trim(),
        email: answers.email.trim(),
        bits,
        passphrase: &answers.passphrase,
    })?;
    prepared(&rings)?;
    let public = key.public()?;
    for (ring, bytes) in [
        (rings.secret(), key.bytes()),
        (rings.public(), public.bytes()),
    ] {
        ring.add(key.fingerprint(), bytes)
            .map_err(|error| ring_error(&ring, &error))?;
    }
    Ok(())
}
