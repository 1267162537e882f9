//! `key …`: OpenPGP keys, in Apptainer's keyrings.

mod files;
mod list;
mod newpair;
mod remove;

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use anyhow::anyhow;
use clap::Args;
use skiff_fs::integrity::pgp::{KeysFolder, PublicKey, Ring};
use skiff_launcher::config;

use super::EMPTY;
use crate::cli::Context;
use crate::cli::signing::{
    ExportArgs, ImportArgs, ListArgs, NewpairArgs, RemoveArgs, SearchArgs, ServerArgs,
};
use crate::cli::verb::{Arity, Verb, call};
use crate::exit::ExitStatus;
use crate::output;
use crate::text::os_error;

/// How these commands end when they fail.
const FAILED: ExitStatus = ExitStatus::Code(2);

/// Name of the ring that all users of a machine read.
const GLOBAL: &str = "global-pgp-public";

/// `key …`
pub const VERBS: &[Verb] = &[
    Verb {
        name: "export",
        about: "Export a public or private key into a specific file",
        usage: "[export options...] <output-file>",
        examples: &[
            "key export --secret ./private.asc",
            "key export ./public.asc",
        ],
        arity: Arity::Exactly(1),
        augment: ExportArgs::augment_args,
        run: |matches, context| call(matches, context, files::export),
        ..EMPTY
    },
    Verb {
        name: "import",
        about: "Import a local key into the local or global keyring",
        usage: "[import options...] <input-key>",
        examples: &[
            "key import ./my-key.asc",
            "key import --global ./my-key.asc",
        ],
        arity: Arity::Exactly(1),
        augment: ImportArgs::augment_args,
        run: |matches, context| call(matches, context, files::import),
        ..EMPTY
    },
    Verb {
        name: "list",
        about: "List keys in your local or in the global keyring",
        examples: &["key list", "key list --secret", "key list --global"],
        arity: Arity::Exactly(0),
        augment: ListArgs::augment_args,
        run: |matches, context| call(matches, context, list::run),
        ..EMPTY
    },
    Verb {
        name: "newpair",
        about: "Create a new key pair",
        examples: &[
            "key newpair",
            "key newpair --password=psk --name=your-name --comment=\"key comment\" \
             --email=mail@email.com",
        ],
        arity: Arity::Exactly(0),
        augment: NewpairArgs::augment_args,
        run: |matches, context| call(matches, context, newpair::run),
        ..EMPTY
    },
    Verb {
        name: "pull",
        about: "Download a public key from a key server (not supported)",
        usage: "[pull options...] <fingerprint>",
        arity: Arity::Exactly(1),
        augment: ServerArgs::augment_args,
        run: |matches, context| call(matches, context, |_: &ServerArgs, _| no_server("pull")),
        ..EMPTY
    },
    Verb {
        name: "push",
        about: "Upload a public key to a key server (not supported)",
        usage: "[push options...] <fingerprint>",
        arity: Arity::Exactly(1),
        augment: ServerArgs::augment_args,
        run: |matches, context| call(matches, context, |_: &ServerArgs, _| no_server("push")),
        ..EMPTY
    },
    Verb {
        name: "remove",
        about: "Remove a local public key from your local or the global keyring",
        usage: "<fingerprint>",
        examples: &["key remove D87FE3AF5C1F063FCBCC9B02F812842B5EEE5934"],
        arity: Arity::Exactly(1),
        augment: RemoveArgs::augment_args,
        run: |matches, context| call(matches, context, remove::run),
        ..EMPTY
    },
    Verb {
        name: "search",
        about: "Search for keys on a key server (not supported)",
        usage: "[search options...] <search_string>",
        arity: Arity::Exactly(1),
        augment: SearchArgs::augment_args,
        run: |matches, context| call(matches, context, |_: &SearchArgs, _| no_server("search")),
        ..EMPTY
    },
];

fn no_server(verb: &str) -> anyhow::Result<ExitStatus> {
    output::error(format_args!(
        "{verb} failed: key servers are not supported by this version of skiff: exchange keys as \
         files with \"key export\" and \"key import\""
    ));
    Ok(FAILED)
}

/// The folder with the user's keyrings: `keysdir`, or where the environment says.
pub(super) fn folder(keysdir: Option<&OsStr>, context: &Context) -> anyhow::Result<KeysFolder> {
    let variable = |name: &str| {
        context
            .variable(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let given = keysdir.filter(|folder| !folder.is_empty());
    let folder = given
        .map(PathBuf::from)
        .or_else(|| variable("APPTAINER_KEYSDIR"))
        .or_else(|| {
            variable("SINGULARITY_SYPGPDIR").inspect(|_| {
                output::info(
                    "Environment variable SINGULARITY_SYPGPDIR is set, but APPTAINER_KEYSDIR is \
                     preferred",
                );
            })
        })
        .or_else(|| variable("APPTAINER_CONFIGDIR").map(|folder| folder.join("keys")))
        .or_else(|| {
            let home = variable("HOME").or_else(std::env::home_dir);
            home.map(|home| home.join(".apptainer/keys"))
        });
    folder.map(KeysFolder::new).ok_or_else(|| {
        anyhow!("there is no home directory to keep keys in: set HOME or APPTAINER_KEYSDIR")
    })
}

/// The keys of the user's keyring and the machine's.
///
/// # Errors
/// When one of them cannot be read.
pub fn trusted_keys(context: &Context) -> anyhow::Result<Vec<PublicKey>> {
    let mut keys = Vec::new();
    for ring in [folder(None, context)?.public(), global_ring(context)] {
        keys.extend(
            ring.public_keys()
                .map_err(|error| ring_error(&ring, &error))?,
        );
    }
    Ok(keys)
}

/// Makes the user's keyrings, and theirs alone.
pub(super) fn prepared(rings: &KeysFolder) -> anyhow::Result<()> {
    let remarks = rings.prepare().map_err(|error| {
        let shown = rings.path().display();
        anyhow!("mkdir {shown}: {}", os_error(&error))
    })?;
    remarks.iter().for_each(output::warning);
    Ok(())
}

/// The ring that all users of the machine read, beside the configuration.
pub(crate) fn global_ring(context: &Context) -> Ring {
    let beside = |file: &Path| file.parent().map(|folder| folder.join(GLOBAL));
    let given = context.config.as_deref().and_then(beside);
    let path = given.unwrap_or_else(|| {
        let places: Vec<PathBuf> = config::SEARCH
            .iter()
            .filter_map(|file| beside(Path::new(file)))
            .collect();
        let found = places.iter().find(|place| place.exists());
        found.or(places.last()).cloned().unwrap_or_default()
    });
    Ring::shared(path)
}

/// The ring of public keys that the flags name.
fn public_ring(args: &crate::cli::signing::RingArgs, context: &Context) -> anyhow::Result<Ring> {
    if args.global {
        return Ok(global_ring(context));
    }
    let rings = folder(args.keysdir.as_deref(), context)?;
    prepared(&rings)?;
    Ok(rings.public())
}

/// The ring of the user's secret keys.
fn secret_ring(args: &crate::cli::signing::RingArgs, context: &Context) -> anyhow::Result<Ring> {
    let rings = folder(args.keysdir.as_deref(), context)?;
    prepared(&rings)?;
    Ok(rings.secret())
}

/// The only word of a command line.
pub(super) fn word(words: &[OsString]) -> &OsStr {
    words.first().map_or("".as_ref(), |word| word)
}

/// What could not be done to a ring.
fn ring_error(ring: &Ring, error: &std::io::Error) -> anyhow::Error {
    anyhow!("open {}: {}", ring.path().display(), os_error(error))
}

/// Prints a failure as these commands do.
fn report(what: &str, result: anyhow::Result<()>, code: ExitStatus) -> anyhow::Result<ExitStatus> {
    match result {
        Ok(()) => Ok(ExitStatus::Success),
        Err(error) => {
            output::error(format_args!("{what}: {error:#}"));
            Ok(code)
        }
    }
}
