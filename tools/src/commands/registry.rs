//! `registry login`, `logout` and `list`, and their old names under `remote`.

pub(super) mod verbs;

use std::ffi::OsString;
use std::io::{self, IsTerminal, Read};
use std::sync::Arc;

use anyhow::{Context as _, anyhow, bail};
use skiff_fs::remote::{Client, Event, Observer, RemoteOptions, login as store};

use crate::cli::Context;
use crate::cli::admin::WordArgs;
use crate::cli::registry::{LoginArgs, LogoutArgs, RemoteLoginArgs};
use crate::exit::ExitStatus;
use crate::output;
use crate::prompt;

const PROMPT: &str = "Password / Token: ";

/// The most that is read as a password: tokens have some kilobytes.
const MAX_PASSWORD_BYTES: u64 = 1 << 20;

/// Passes on what the network client has to say.
struct Spokesman;

impl Observer for Spokesman {
    fn event(&self, event: &Event) {
        match event {
            Event::Warning(_) => output::warning(event),
            _ => output::verbose(event),
        }
    }
}

/// `registry login URI`
///
/// # Errors
/// A registry that is none, cannot be reached or does not let us in; a file that cannot be written.
pub fn login(args: &LoginArgs, context: &Context) -> anyhow::Result<ExitStatus> {
    let uri = word(&args.words);
    let failed = || format!("while login to {uri}");
    check_transport(&uri).with_context(failed)?;
    let username = args.username.as_deref().filter(|name| !name.is_empty());
    let username = username
        .context("Docker/OCI registry requires a username")
        .with_context(failed)?;
    let password = password(args)?;
    if password.is_empty() {
        return Err(anyhow!("a password is required").context(failed()));
    }
    let registry = store::registry_of(&uri).with_context(failed)?;
    let mut options = options(context)?;
    options.authfile = args.authfile.clone().or(options.authfile);
    options.no_https |= args.no_https;
    let client = Client::new(options, Arc::new(Spokesman)).with_context(failed)?;
    let file = store::login(&client, &registry, username, &password).with_context(failed)?;
    output::info(format_args!("Token stored in {}", file.display()));
    Ok(ExitStatus::Success)
}

/// The password that was given, or is asked for.
fn password(args: &LoginArgs) -> anyhow::Result<String> {
    let mut password = args.password.clone().unwrap_or_default();
    if args.password_stdin {
        let mut bytes = Vec::new();
        io::stdin()
            .lock()
            .take(MAX_PASSWORD_BYTES)
            .read_to_end(&mut bytes)
            .context("reading the password from standard input")?;
        let text = String::from_utf8(bytes).context("the password is no text (UTF-8)")?;
        password = text.trim_end_matches(['\n', '\r']).to_owned();
    }
    if !password.is_empty() {
        return Ok(password);
    }
    if io::stdin().is_terminal() {
        return prompt::secret(PROMPT);
    }
    // Scripts feed the answer through a pipe; one that has ended is an empty one.
    output::stderr(&format!("{PROMPT}\n"));
    let mut answer = String::new();
    io::stdin()
        .read_line(&mut answer)
        .context("reading the password from standard input")?;
    Ok(answer.trim_end_matches(['\n', '\r']).to_owned())
}

/// `registry logout URI`
///
/// # Errors
/// A registry that is none; a file that cannot be written.
pub fn logout(args: &LogoutArgs, context: &Context) -> anyhow::Result<ExitStatus> {
    let uri = word(&args.words);
    let failed = "while verifying token";
    check_transport(&uri).context(failed)?;
    let registry = store::registry_of(&uri).context(failed)?;
    let mut options = options(context)?;
    options.authfile = args.authfile.clone().or(options.authfile);
    let (file, found) = store::logout(&options, &registry).context(failed)?;
    if found {
        output::info(format_args!("Token removed from {}", file.display()));
    } else {
        output::warning(format_args!(
            "There is no existing login to registry {registry:?}."
        ));
    }
    output::info("Logout succeeded");
    Ok(ExitStatus::Success)
}

/// `registry list`
///
/// # Errors
/// A file that cannot be read.
pub fn list(args: &LogoutArgs, context: &Context) -> anyhow::Result<ExitStatus> {
    let mut options = options(context)?;
    options.authfile = args.authfile.clone().or(options.authfile);
    let registries: Vec<String> = store::list(&options)?
        .into_iter()
        .map(|login| format!("docker://{}", login.registry))
        .collect();
    output::stdout(table(&registries))?;
    Ok(ExitStatus::Success)
}

fn table(uris: &[String]) -> String {
    let width = uris
        .iter()
        .map(|uri| uri.chars().count())
        .fold("URI".len(), usize::max);
    let mut text = format!("\n{:<width$}  SECURE?\n", "URI");
    for uri in uris {
        text.push_str(&format!("{uri:<width$}  ✓\n"));
    }
    text
}

/// `remote login URI`
///
/// # Errors
/// As [`login`].
pub fn remote_login(args: &RemoteLoginArgs, context: &Context) -> anyhow::Result<ExitStatus> {
    deprecated("login");
    let args = LoginArgs {
        password: args.password.clone(),
        password_stdin: args.password_stdin,
        username: args.username.clone(),
        no_https: args.insecure,
        words: args.words.clone(),
        ..LoginArgs::default()
    };
    login(&args, context)
}

/// `remote logout URI`
///
/// # Errors
/// As [`logout`].
pub fn remote_logout(args: &WordArgs, context: &Context) -> anyhow::Result<ExitStatus> {
    deprecated("logout");
    let args = LogoutArgs {
        words: args.words.clone(),
        ..LogoutArgs::default()
    };
    logout(&args, context)
}

fn deprecated(verb: &str) {
    output::warning(format_args!(
        "'remote {verb}' is deprecated for registries or keyservers and will be removed in a future \
         release; running 'registry {verb}'"
    ));
}

fn options(context: &Context) -> anyhow::Result<RemoteOptions> {
    let variable = |name: &str| context.variable(name);
    Ok(RemoteOptions::from_env(&variable)?)
}

fn word(words: &[OsString]) -> String {
    words
        .first()
        .map(|word| word.to_string_lossy().into_owned())
        .unwrap_or_default()
}

/// Registries are named by these two; Apptainer says so of all others.
fn check_transport(uri: &str) -> anyhow::Result<()> {
    let scheme = uri.split_once("://").map_or("", |(scheme, _)| scheme);
    if !matches!(scheme, "docker" | "oras") {
        bail!("{scheme} transport is not supported");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables() {
        assert_eq!(table(&[]), "\nURI  SECURE?\n");
        assert_eq!(
            table(&["docker://127.0.0.1:5911".to_owned()]),
            "\nURI                      SECURE?\ndocker://127.0.0.1:5911  ✓\n"
        );
    }

    #[test]
    fn transports() {
        assert!(check_transport("docker://a").is_ok() && check_transport("oras://a").is_ok());
        for (uri, reason) in [
            ("", " transport is not supported"),
            ("foo", " transport is not supported"),
            ("foo://bar", "foo transport is not supported"),
        ] {
            assert_eq!(check_transport(uri).unwrap_err().to_string(), reason);
        }
    }
}
