//! Definition files: what an image is made of and how.
//!
//! ```text
//! text ─ split ─► stages ─ header, sections ─► values
//!          └ arguments: {{ NAME }} replaced in the text of each stage, which is then read again
//! ```
//! Nothing is done here: see [`crate::dot_singularity`] for what goes into an image, and
//! [`agents`] for what makes its first files. The grammar and the words of complaints are
//! Apptainer's, since definition files are written against those.

pub mod agents;
pub mod arguments;
pub mod files;
pub mod header;
pub mod json;
pub mod script;
pub mod sections;
pub mod split;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, bail};

pub use agents::Agent;
pub use arguments::BuildArguments;
pub use files::{FileCopy, FileGroup, Origin};
pub use script::Section;

use crate::dot_singularity::apps;
use crate::output;
use crate::text::os_error;

/// Largest definition file that is read.
const MAX_BYTES: u64 = 64 << 20;

/// A definition file.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Definition {
    /// What is built, in this order; the last one is the image.
    pub stages: Vec<Stage>,
    /// The text that is stored in the image: all stages, with build arguments replaced.
    pub text: String,
}

/// A root file system to be built.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Stage {
    /// Values by lower-case key.
    pub header: BTreeMap<String, String>,
    /// The stage's own text, with build arguments replaced.
    pub text: String,
    /// Defaults of build arguments; not needed once the file is read.
    pub arguments: Section,
    /// On the host, before everything.
    pub pre: Section,
    /// On the host, after the first files are there.
    pub setup: Section,
    /// In the container.
    pub post: Section,
    /// In the container, at the end and whenever `test` is asked for.
    pub test: Section,
    /// Variables of the image.
    pub environment: Section,
    /// The script of `run`.
    pub runscript: Section,
    /// The script of instances.
    pub startscript: Section,
    /// The text of `run-help`.
    pub help: Section,
    /// Labels of the image.
    pub labels: BTreeMap<String, String>,
    /// What is copied, one group for each way of copying.
    pub files: Vec<FileGroup>,
    /// Applications in the order in which the file names them first.
    pub apps: Vec<App>,
}

/// An application (SCIF) of the image.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct App {
    /// Its name, a word; may hold what cannot be a file name.
    pub name: String,
    /// Part of what is run in the container.
    pub install: Section,
    /// Files copied from the host.
    pub files: Section,
    /// Variables.
    pub env: Section,
    /// The script of `test`.
    pub test: Section,
    /// The text of `run-help`.
    pub help: Section,
    /// The script of `run`.
    pub run: Section,
    /// The script of instances.
    pub start: Section,
    /// Labels.
    pub labels: Section,
}

/// What is not part of the definition itself but came up as it was read.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Remarks {
    /// Lines to warn the user with.
    pub warnings: Vec<String>,
    /// Build arguments that were given and are not used anywhere.
    pub unused: Vec<String>,
}

/// Reads the definition file `path`; remarks go to the user. With `lenient`, unused build arguments
/// are a warning instead of an error.
///
/// # Errors
/// When there is no such file or it is wrong; ready to be shown.
pub fn read(path: &Path, given: &BuildArguments, lenient: bool) -> anyhow::Result<Definition> {
    let name = path.display();
    let bytes = read_bytes(path).with_context(|| format!("Unable to build from {name}"))?;
    let Ok(text) = String::from_utf8(bytes) else {
        bail!("Unable to build from {name}: while parsing definition: {name}: not UTF-8 text");
    };
    let (definition, remarks) = parse(&text, given).map_err(|error| match error {
        Wrong::Grammar(reason) => anyhow::anyhow!(
            "Unable to build from {name}: while parsing definition: {name}: {reason}"
        ),
        Wrong::Arguments(reason) => anyhow::anyhow!("Unable to build from {name}: {reason}"),
    })?;
    tell(&remarks, lenient)?;
    Ok(definition)
}

/// Tells the user what came up; unused arguments are an error unless `lenient`.
///
/// # Errors
/// About unused build arguments.
pub fn tell(remarks: &Remarks, lenient: bool) -> anyhow::Result<()> {
    for warning in &remarks.warnings {
        output::warning(format_args!("{warning}"));
    }
    if !remarks.unused.is_empty() {
        let names = remarks.unused.join(" ");
        if !lenient {
            bail!(
                "unused build args: {names}. Use option --warn-unused-build-args to show a \
                 warning instead of a fatal message"
            );
        }
        output::warning(format_args!("unused build args: {names}"));
    }
    Ok(())
}

fn read_bytes(path: &Path) -> anyhow::Result<Vec<u8>> {
    use std::io::Read as _;
    let failed = |error: std::io::Error| {
        let name = path.display();
        anyhow::anyhow!(
            "unable to open file {name}: open {name}: {}",
            os_error(&error)
        )
    };
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .map_err(failed)?
        .take(MAX_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() as u64 > MAX_BYTES {
        bail!("{} is too large for a definition file", path.display());
    }
    Ok(bytes)
}

/// What is wrong with a definition file; the two are announced in different words.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Wrong {
    /// Its text does not follow the grammar.
    Grammar(String),
    /// Its build arguments do not fit.
    Arguments(String),
}

/// Reads a definition from its text.
///
/// # Errors
/// [`Wrong`].
pub fn parse(text: &str, given: &BuildArguments) -> Result<(Definition, Remarks), Wrong> {
    let mut definition = Definition::default();
    let mut remarks = Remarks::default();
    let mut unused = given.names();
    for (line, text) in split::stages(text) {
        let Some(raw) = stage(text, line).map_err(Wrong::Grammar)? else {
            continue;
        };
        let defaults = BuildArguments::defaults(&raw.arguments, &mut remarks.warnings);
        let replaced =
            arguments::replace(text, given, &defaults, &mut unused).map_err(Wrong::Arguments)?;
        let read = stage(&replaced, line).map_err(Wrong::Grammar)?;
        definition.text.push_str(&replaced);
        definition.stages.extend(read);
    }
    if definition.stages.is_empty() {
        return Err(Wrong::Grammar(
            "no stages found in definition file".to_owned(),
        ));
    }
    remarks.unused = unused;
    Ok((definition, remarks))
}

/// One stage from its text, which begins at `line` of the file; `None` when there is nothing in it.
fn stage(text: &str, line: usize) -> Result<Option<Stage>, String> {
    let split = split::sections(text, line);
    let mut stage = sections::read(split.sections)?;
    if let Some(text) = split.header {
        stage.header = header::read(text)?;
    }
    if stage == Stage::default() {
        return Ok(None);
    }
    stage.text = text.to_owned();
    Ok(Some(stage))
}

impl Definition {
    /// The definition of an image that is named, such as `docker://debian` or `oci:folder`: its
    /// transport and the rest. `None` when there is no transport in the name.
    pub fn of_uri(uri: &str) -> Option<Self> {
        let (transport, name) = uri.split_once("://").or_else(|| uri.split_once(':'))?;
        Some(Self::of_image(transport, name))
    }

    /// The definition of an image of which agent and name are known.
    pub fn of_image(transport: &str, name: &str) -> Self {
        let header = [("bootstrap", transport), ("from", name)]
            .map(|(key, value)| (key.to_owned(), value.to_owned()));
        let text = format!("bootstrap: {transport}\nfrom: {name}\n\n");
        let stage = Stage {
            header: header.into(),
            text: text.clone(),
            ..Stage::default()
        };
        Self {
            stages: vec![stage],
            text,
        }
    }

    /// Checks what can be known before anything is built: every stage has a header that names an
    /// agent.
    ///
    /// # Errors
    /// The first of them that does not; ready to be shown.
    pub fn check(&self) -> anyhow::Result<()> {
        for stage in &self.stages {
            if stage.header.is_empty() {
                bail!("Unable to create build: multiple stages detected, all must have headers");
            }
            stage.agent().map_err(|reason| {
                anyhow::anyhow!("Unable to create build: unable to get conveyorpacker: {reason}")
            })?;
            if let Some(app) = stage.apps.iter().find(|app| !apps::is_name(&app.name)) {
                bail!(
                    "Unable to create build: {:?} cannot be the name of an application",
                    app.name
                );
            }
        }
        Ok(())
    }

    /// Place of the stage called `name`.
    ///
    /// # Errors
    /// When there is none.
    pub fn stage_called(&self, name: &str) -> anyhow::Result<usize> {
        self.stages
            .iter()
            .position(|stage| stage.name() == name)
            .with_context(|| format!("stage {name} was not found"))
    }
}

impl Stage {
    /// Value of a header line, by its lower-case key.
    pub fn value(&self, key: &str) -> Option<&str> {
        self.header.get(key).map(String::as_str)
    }

    /// What other stages call it; empty when they cannot.
    pub fn name(&self) -> &str {
        self.value("stage").unwrap_or_default()
    }

    /// What makes its first files.
    ///
    /// # Errors
    /// When the header names none or an unknown one.
    pub fn agent(&self) -> Result<Agent, String> {
        Agent::by_name(self.value("bootstrap").unwrap_or_default())
    }

    /// The image it starts from as a name with its transport, such as `docker://registry/image`.
    pub fn reference(&self) -> String {
        let mut name = self.value("from").unwrap_or_default().to_owned();
        for key in ["namespace", "registry"] {
            if let Some(prefix) = self.value(key).filter(|prefix| !prefix.is_empty()) {
                name = format!("{prefix}/{name}");
            }
        }
        let transport = self.value("bootstrap").unwrap_or_default();
        match transport {
            "docker" | "oras" | "library" | "shub" => format!("{transport}://{name}"),
            _ => format!("{transport}:{name}"),
        }
    }

    /// What is run in the container: `%post` and the installation of each application.
    pub fn post_script(&self) -> String {
        let mut script = self.post.body.clone();
        for app in &self.apps {
            script.push_str(&app.install_script());
        }
        script
    }
}

#[cfg(test)]
mod tests;
