//! Labels of an image.

use std::collections::BTreeMap;

use super::finish::{Facts, Message};
use crate::metadata::Texts;
use crate::metadata::json::{escape, parse_labels};

/// The text of `labels.json`.
pub fn json(labels: &BTreeMap<String, String>) -> String {
    use serde::Serialize as _;
    let mut bytes = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"\t");
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, formatter);
    // Texts cannot fail to be written to memory.
    if labels.serialize(&mut serializer).is_err() {
        return "{}".to_owned();
    }
    escape(&String::from_utf8_lossy(&bytes))
}

/// Labels of a `labels.json`; those that are no texts become empty, with a warning.
pub(super) fn existing(content: &[u8], messages: &mut Vec<Message>) -> Texts {
    let (labels, complaint) = parse_labels(content);
    if let Some(complaint) = complaint {
        messages.push(Message::Warning(format!(
            "Unable to parse labels: {complaint}"
        )));
    }
    labels
}

/// Adds the labels that every build sets, then those of the definition. The latter do not replace
/// any, unless that is forced.
pub(super) fn add(facts: &Facts<'_>, labels: &mut Texts, messages: &mut Vec<Message>) {
    let mut set = |name: &str, value: &str| {
        labels.insert(name.to_owned(), value.to_owned());
    };
    set("org.label-schema.schema-version", "1.0");
    set("org.label-schema.build-date", &facts.date.label());
    set("org.label-schema.build-arch", facts.arch);
    set("org.label-schema.usage.apptainer.version", facts.version);
    if facts.sections.has("help") && !facts.stage.help.is_empty() {
        let place = "/.singularity.d/runscript.help";
        set("org.label-schema.usage", place);
        set("org.label-schema.usage.apptainer.runscript.help", place);
    }
    if !facts.update || facts.force {
        for (key, value) in &facts.stage.header {
            let name = format!("org.label-schema.usage.singularity.deffile.{key}");
            set(&name, value);
        }
    }
    if !facts.sections.has("labels") || facts.stage.labels.is_empty() {
        return;
    }
    messages.push(Message::Info("Adding labels".to_owned()));
    for (name, value) in &facts.stage.labels {
        if labels.contains_key(name) && !facts.force {
            messages.push(Message::Warning(format!(
                "Label: {name} already exists and force option is false, not overwriting"
            )));
        } else {
            labels.insert(name.clone(), value.clone());
        }
    }
}
