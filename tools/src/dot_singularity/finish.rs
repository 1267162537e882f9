//! What is written once everything else is in a root file system: help, labels, the definition, the
//! environment, scripts.

use super::date::BuildDate;
use super::labels;
use super::nodes::Nodes;
use super::scripts;
use crate::definition::{Section, Stage};
use crate::metadata::files::Files;
use crate::metadata::gather::gather;
use crate::metadata::{Metadata, Selection, json};

const ROOT: &str = "/.singularity.d";

/// Where what is run in the container leaves labels, relative to the root.
pub const BUILD_LABELS: &str = ".build.labels";

/// Which sections are carried out, by `--section`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum SectionChoice {
    /// All of them.
    #[default]
    All,
    /// These.
    Only(Vec<String>),
}

impl SectionChoice {
    /// From the names given.
    ///
    /// # Errors
    /// When `all` or `none` stands beside others; ready to be shown.
    pub fn new(names: &[String]) -> anyhow::Result<Self> {
        for word in ["all", "none"] {
            anyhow::ensure!(
                names.len() < 2 || !names.iter().any(|name| name == word),
                "Could not check build sections: section specification error: cannot have {word} \
                 and any other option"
            );
        }
        Ok(match names {
            [] => Self::All,
            [only] if only == "all" => Self::All,
            [only] if only == "none" => Self::Only(Vec::new()),
            names => Self::Only(names.to_vec()),
        })
    }

    /// Whether the section called `name` is carried out.
    pub fn has(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(names) => names.iter().any(|known| known == name),
        }
    }
}

/// What the end of a stage depends on.
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    /// The stage; one made of a name by [`crate::definition::Definition::of_uri`] has a header alone.
    pub stage: &'a Stage,
    /// The text of the definition, to be stored.
    pub text: &'a str,
    /// Which sections are carried out.
    pub sections: &'a SectionChoice,
    /// Labels and help replace those that are there.
    pub force: bool,
    /// An image that was there is built upon.
    pub update: bool,
    /// When.
    pub date: BuildDate,
    /// Architecture by Go's name, such as `amd64`.
    pub arch: &'a str,
    /// Version of the program that builds, for a label.
    pub version: &'a str,
}

/// Something to tell the user.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Message {
    /// As it goes on.
    Info(String),
    /// Something is not as it was asked for.
    Warning(String),
}

/// What the end of a stage writes.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Finished {
    /// Put over what is there.
    pub nodes: Nodes,
    /// Whether [`BUILD_LABELS`] is there and is to be removed.
    pub remove_labels: bool,
    /// What to tell, in this order.
    pub messages: Vec<Message>,
}

/// Works out what the end of a stage writes over `files`, which is everything that it has by now.
///
/// # Errors
/// When a file cannot be read.
pub fn finish(facts: &Facts<'_>, files: &dyn Files) -> anyhow::Result<Finished> {
    let mut done = Finished::default();
    help(facts, files, &mut done)?;
    all_labels(facts, files, &mut done)?;
    definition(facts, files, &mut done)?;
    environment(facts, files, &mut done)?;
    let stage = facts.stage;
    for (name, section, message) in [
        ("startscript", &stage.startscript, "Adding startscript"),
        ("runscript", &stage.runscript, "Adding runscript"),
        ("test", &stage.test, "Adding testscript"),
    ] {
        if is_wanted(facts, name, section) {
            done.messages.push(Message::Info(message.to_owned()));
            let path = format!(".singularity.d/{name}");
            done.nodes.script(&path, section.stored());
        }
    }
    Ok(done)
}

/// What `inspect --all` is going to say about these files, as the object of a SIF.
///
/// # Errors
/// When a file cannot be read.
pub fn inspection(files: &dyn Files) -> anyhow::Result<Vec<u8>> {
    let all = Selection {
        all: true,
        ..Selection::default()
    };
    let metadata: Metadata = gather(files, &all)?;
    Ok(json::object(&metadata)?.into_bytes())
}

fn is_wanted(facts: &Facts<'_>, name: &str, section: &Section) -> bool {
    facts.sections.has(name) && !section.is_empty()
}

fn help(facts: &Facts<'_>, files: &dyn Files, done: &mut Finished) -> anyhow::Result<()> {
    let help = &facts.stage.help;
    if !is_wanted(facts, "help", help) {
        return Ok(());
    }
    let exists = files.read(&format!("{ROOT}/runscript.help"))?.is_some();
    if exists && !facts.force {
        done.messages.push(Message::Warning(
            "Help message already exists and force option is false, not overwriting".to_owned(),
        ));
        return Ok(());
    }
    done.messages
        .push(Message::Info("Adding help info".to_owned()));
    let text = format!("{}\n", help.body);
    done.nodes.text(".singularity.d/runscript.help", text);
    Ok(())
}

fn all_labels(facts: &Facts<'_>, files: &dyn Files, done: &mut Finished) -> anyhow::Result<()> {
    let mut labels = match files.read(&format!("{ROOT}/labels.json"))? {
        Some(content) => labels::existing(&content, &mut done.messages),
        None => Default::default(),
    };
    if let Some(added) = files.read(&format!("/{BUILD_LABELS}"))? {
        done.remove_labels = true;
        let text = String::from_utf8_lossy(&added);
        labels.extend(crate::definition::sections::read_labels(&text));
    }
    labels::add(facts, &mut labels, &mut done.messages);
    let text = labels::json(&labels);
    done.nodes.text(".singularity.d/labels.json", text);
    Ok(())
}

/// A definition that is there becomes history.
fn definition(facts: &Facts<'_>, files: &dyn Files, done: &mut Finished) -> anyhow::Result<()> {
    if let Some(former) = files.read(&format!("{ROOT}/Singularity"))? {
        let history = ".singularity.d/bootstrap_history";
        let count = files.names(&format!("/{history}"))?.len();
        done.nodes.directory(history);
        done.nodes
            .text(&format!("{history}/Apptainer{count}"), former);
    }
    done.nodes.text(".singularity.d/Singularity", facts.text);
    Ok(())
}

fn environment(facts: &Facts<'_>, files: &dyn Files, done: &mut Finished) -> anyhow::Result<()> {
    let own = &facts.stage.environment;
    if !is_wanted(facts, "environment", own) {
        return Ok(());
    }
    done.messages
        .push(Message::Info("Adding environment to container".to_owned()));
    let path = ".singularity.d/env/90-environment.sh";
    let mut content = files
        .read(&format!("/{path}"))?
        .unwrap_or_else(|| scripts::ENVIRONMENT.into());
    content.extend_from_slice(format!("\n{}\n", own.body).as_bytes());
    done.nodes.script(path, content);
    Ok(())
}
