//! `config global`: directives of the configuration file.

use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use skiff_launcher::config::directives::{self, DIRECTIVES, Directive, Kind};
use skiff_launcher::config::parse::Directives;
use skiff_launcher::config::write::{Change, edit};
use skiff_launcher::config::{Config, SEARCH};

use super::file::Held;
use crate::cli::Context;
use crate::cli::admin::{GlobalConfigArgs, word};
use crate::exit::{CommandError, ExitStatus};
use crate::output;
use crate::text::os_error;

/// Head of a file that did not exist.
const HEAD: &str = "# Configuration of skiff, in the syntax of apptainer.conf.\n";

/// `config global`
///
/// # Errors
/// Unknown directives, impossible values, files that cannot be read or written.
pub(crate) fn run(args: &GlobalConfigArgs, context: &Context) -> anyhow::Result<ExitStatus> {
    let change = match args {
        _ if args.set => Some(Change::Set),
        _ if args.unset => Some(Change::Unset),
        _ if args.get => None,
        _ if args.reset => Some(Change::Reset),
        _ => bail!(CommandError(
            "you must specify an option (eg: --set/--unset)".to_owned()
        )),
    };
    let (name, value) = (&word(&args.words, 0), &word(&args.words, 1));
    if name.is_empty() {
        bail!("you must specify a configuration directive");
    }
    let directive = directives::find(name)
        .with_context(|| format!("{name:?} is not a valid configuration directive"))?;
    let file = context
        .config
        .clone()
        .or_else(|| Config::path().map(Path::to_owned));
    let Some(change) = change else {
        return get(directive, file.as_deref());
    };
    if args.dry_run {
        let old = file.as_deref().map(read).transpose()?;
        let text = edited(old, directive, change, value)?;
        output::stdout(text)?;
        return Ok(ExitStatus::Success);
    }
    write(file, directive, change, value)
}

/// `--get`: the values as written.
fn get(directive: &Directive, file: Option<&Path>) -> anyhow::Result<ExitStatus> {
    let text = match file {
        Some(file) => Directives::read(&read(file)?)
            .values(directive.name)
            .join(","),
        None => directive.default.to_owned(),
    };
    if !text.is_empty() {
        output::stdout(format!("{text}\n"))?;
    }
    Ok(ExitStatus::Success)
}

fn read(file: &Path) -> anyhow::Result<String> {
    let bytes = std::fs::read(file).map_err(|error| {
        anyhow::anyhow!(
            "while opening configuration file {0}: open {0}: {1}",
            file.display(),
            os_error(&error)
        )
    })?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The text with the change made; without a text, one that says what holds without a file.
fn edited(
    old: Option<String>,
    directive: &Directive,
    change: Change,
    value: &str,
) -> anyhow::Result<String> {
    let old = old.filter(|text| !text.is_empty()).unwrap_or_else(|| {
        let lists = DIRECTIVES
            .iter()
            .filter(|directive| directive.kind == Kind::List && !directive.default.is_empty());
        let lines = lists.flat_map(|list| {
            let items = list.default.split(',');
            items.map(|item| format!("{} = {item}\n", list.name))
        });
        std::iter::once(HEAD.to_owned()).chain(lines).collect()
    });
    edit(&old, directive, change, value).map_err(anyhow::Error::msg)
}

fn write(
    file: Option<PathBuf>,
    directive: &Directive,
    change: Change,
    value: &str,
) -> anyhow::Result<ExitStatus> {
    let (file, is_new) = match file {
        Some(file) => (file, false),
        None => (PathBuf::from(SEARCH[0]), true),
    };
    let failed = |error: &io::Error| {
        anyhow::anyhow!(
            "while creating configuration file {0}: open {0}: {1}",
            file.display(),
            os_error(error)
        )
    };
    // What is wrong with the wish is said before what is wrong with the file.
    let old = if is_new { None } else { Some(read(&file)?) };
    edited(old, directive, change, value)?;
    if is_new && let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder).map_err(|error| failed(&error))?;
    }
    let held = Held::open(&file, is_new).map_err(|error| failed(&error))?;
    let text = held.text().map_err(|error| failed(&error))?;
    let text = edited(Some(text), directive, change, value)?;
    held.replace(&text).map_err(|error| failed(&error))?;
    Ok(ExitStatus::Success)
}
