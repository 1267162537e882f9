//! Commands of Apptainer about services that need an account somewhere: libraries (`delete`,
//! `search`), remote endpoints and key servers. There are none here; what can be said without one is
//! said, in Apptainer's words where it says the same.

use std::ffi::OsString;

use anyhow::bail;
use clap::Args;

use super::EMPTY;
use super::push::NO_LIBRARY;
use crate::cli::Context;
use crate::cli::admin::{AnyArgs, WordArgs};
use crate::cli::verb::{Arity, Verb, call};
use crate::exit::ExitStatus;
use crate::output;

/// Arguments of `delete`.
#[derive(Args, Clone, Debug)]
pub struct DeleteArgs {
    /// Architecture of the image
    #[arg(long, short = 'A', value_name = "string")]
    pub arch: Option<String>,
    /// Do not ask
    #[arg(long, short = 'F')]
    pub force: bool,
    /// Library to delete from
    #[arg(long, value_name = "string")]
    pub library: Option<String>,
    /// Use http instead of https
    #[arg(long)]
    pub no_https: bool,
    /// The image.
    #[arg(hide = true)]
    pub words: Vec<OsString>,
}

/// Arguments of `search`.
#[derive(Args, Clone, Debug)]
pub struct SearchArgs {
    /// Architecture to search for
    #[arg(long, value_name = "string")]
    pub arch: Option<String>,
    /// Library to search in
    #[arg(long, value_name = "string")]
    pub library: Option<String>,
    /// Signed images only
    #[arg(long)]
    pub signed: bool,
    /// What to search for.
    #[arg(hide = true)]
    pub words: Vec<OsString>,
}

/// `delete IMAGE`
///
/// # Errors
/// Always: there is no library.
pub fn delete(args: &DeleteArgs, _: &Context) -> anyhow::Result<ExitStatus> {
    let name = word(&args.words);
    if let Some((scheme, _)) = name.split_once("://")
        && scheme != "library"
    {
        bail!("unsupported protocol scheme {scheme:?} for delete");
    }
    if !args.force {
        output::verbose("Nobody is asked, since there is nothing to delete");
    }
    bail!("Error while getting library client config: {NO_LIBRARY}")
}

/// `search WORDS`
///
/// # Errors
/// Always: there is no library.
pub fn search(_: &SearchArgs, _: &Context) -> anyhow::Result<ExitStatus> {
    bail!("Error while getting library client config: {NO_LIBRARY}")
}

fn word(words: &[OsString]) -> String {
    words
        .first()
        .map(|word| word.to_string_lossy().into_owned())
        .unwrap_or_default()
}

/// `remote …`, as far as it is about endpoints.
pub(super) const ADD: Verb = Verb {
    name: "add",
    about: "Add a remote endpoint (not supported)",
    usage: "[words...]",
    augment: AnyArgs::augment_args,
    run: |_, _| {
        bail!(
            "remote endpoints are not supported: skiff knows no library; use registries, oras:// and docker://"
        )
    },
    ..EMPTY
};

pub(super) const GET_LOGIN_PASSWORD: Verb = Verb {
    name: "get-login-password",
    about: "Show the secret of the current endpoint: there is never one",
    arity: Arity::Exactly(0),
    augment: WordArgs::augment_args,
    run: |_, _| bail!("no default remote"),
    ..EMPTY
};

pub(super) const LIST: Verb = Verb {
    name: "list",
    about: "List remote endpoints: there are never any",
    arity: Arity::Exactly(0),
    augment: WordArgs::augment_args,
    run: |matches, context| call(matches, context, no_remotes),
    ..EMPTY
};

pub(super) const REMOVE: Verb = Verb {
    name: "remove",
    about: "Remove a remote endpoint: there are never any",
    usage: "<remote_name>",
    arity: Arity::Exactly(1),
    augment: WordArgs::augment_args,
    run: |matches, context| call(matches, context, no_remote),
    ..EMPTY
};

pub(super) const STATUS: Verb = Verb {
    name: "status",
    about: "Check the services of an endpoint: there are never any",
    usage: "[remote_name]",
    arity: Arity::Between(0, 1),
    augment: WordArgs::augment_args,
    run: |matches, context| call(matches, context, status),
    ..EMPTY
};

pub(super) const USE: Verb = Verb {
    name: "use",
    about: "Choose a remote endpoint: there are never any",
    usage: "<remote_name>",
    arity: Arity::Exactly(1),
    augment: AnyArgs::augment_args,
    run: |matches, context| call(matches, context, no_remote_of_any),
    ..EMPTY
};

fn no_remotes(_: &WordArgs, _: &Context) -> anyhow::Result<ExitStatus> {
    output::stdout("\nNAME  URI  DEFAULT?  GLOBAL?  EXCLUSIVE?  SECURE?\n")?;
    Ok(ExitStatus::Success)
}

fn no_remote(args: &WordArgs, _: &Context) -> anyhow::Result<ExitStatus> {
    bail!("{} is not a remote", word(&args.words))
}

fn no_remote_of_any(args: &AnyArgs, _: &Context) -> anyhow::Result<ExitStatus> {
    bail!("{} is not a remote", word(&args.words))
}

fn status(args: &WordArgs, _: &Context) -> anyhow::Result<ExitStatus> {
    if args.words.is_empty() {
        output::info("Checking status of default remote.");
        bail!("no default remote");
    }
    let name = word(&args.words);
    output::info(format_args!("Checking status of remote: {name}"));
    bail!("{name} is not a remote")
}

/// `keyserver …`
pub const KEYSERVER_VERBS: &[Verb] = &[
    Verb {
        name: "add",
        about: "Add a keyserver (not supported)",
        usage: "[add options...] <keyserver_url>",
        augment: AnyArgs::augment_args,
        run: |_, _| change_keyservers(),
        ..EMPTY
    },
    Verb {
        name: "list",
        about: "List the keyservers of the current remote endpoint: there is never one",
        usage: "[remote_name]",
        arity: Arity::Between(0, 1),
        augment: WordArgs::augment_args,
        run: |_, _| bail!("error getting default remote-endpoint: no default remote"),
        ..EMPTY
    },
    Verb {
        name: "login",
        about: "Login to a keyserver (not supported)",
        usage: "[login options...] <keyserver_url>",
        augment: AnyArgs::augment_args,
        run: |_, _| no_login(),
        ..EMPTY
    },
    Verb {
        name: "logout",
        about: "Logout from a keyserver (not supported)",
        usage: "<keyserver_url>",
        augment: AnyArgs::augment_args,
        run: |_, _| no_login(),
        ..EMPTY
    },
    Verb {
        name: "remove",
        about: "Remove a keyserver (not supported)",
        usage: "[remove options...] <keyserver_url>",
        augment: AnyArgs::augment_args,
        run: |_, _| change_keyservers(),
        ..EMPTY
    },
];

fn change_keyservers() -> anyhow::Result<ExitStatus> {
    if !rustix::process::geteuid().is_root() {
        bail!("Unable to modify keyserver configuration: not root user");
    }
    bail!("keyservers are not configured with skiff: name one with --url where it is needed")
}

fn no_login() -> anyhow::Result<ExitStatus> {
    bail!("logins at keyservers are not supported: skiff asks them for what everybody may have")
}
