//! The configuration of an OCI image as scripts.

use std::collections::BTreeMap;

use serde::Deserialize;

/// What counts of an OCI image's configuration.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ImageConfig {
    /// `NAME=value`, or `NAME` alone.
    pub env: Vec<String>,
    /// The first words of the program.
    pub entrypoint: Vec<String>,
    /// The words that follow, unless others are given.
    pub cmd: Vec<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

/// The script that sets the image's variables. What the caller of a launcher has set wins, but for
/// PATH; what cannot be the name of a variable in a shell is left out.
pub fn environment(config: &ImageConfig) -> String {
    let mut script = "#!/bin/sh\n".to_owned();
    for variable in &config.env {
        let (name, value) = match variable.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (variable.as_str(), None),
        };
        if !is_name(name) {
            continue;
        }
        script.push_str(&match value {
            Some(value) if name == "PATH" => format!("export PATH={}\n", double_quoted(value)),
            Some(value) => format!("export {name}=\"${{{name}:-{}}}\"\n", double_quoted(value)),
            None => format!("export {name}=\"${{{name}:-}}\"\n"),
        });
    }
    script
}

/// The script that runs what the image is for. The line with `eval` is what launchers know such
/// scripts by: they then run them without a shell of the image.
pub fn runscript(config: &ImageConfig) -> String {
    let line = |words: &[String]| {
        let words: Vec<String> = words.iter().map(|word| double_quoted(word)).collect();
        single_quoted(&words.join(" "))
    };
    let literal = |words: &[String]| {
        let words: Vec<String> = words.iter().map(|word| single_quoted(word)).collect();
        words.join(" ")
    };
    let mut exact = String::new();
    if !config.cmd.is_empty() {
        exact.push_str(&format!(
            "    [ $# -gt 0 ] || set -- {}\n",
            literal(&config.cmd)
        ));
    }
    if !config.entrypoint.is_empty() {
        exact.push_str(&format!(
            "    set -- {} \"$@\"\n",
            literal(&config.entrypoint)
        ));
    }
    format!(
        r#"#!/bin/sh
OCI_ENTRYPOINT={}
OCI_CMD={}
# Words are passed on as they are if that was asked for.
if [ -n "${{SINGULARITY_NO_EVAL:-}}" ]; then
{exact}    [ $# -gt 0 ] || exit 0
    exec "$@"
fi
# Otherwise the shell evaluates those of the caller once more.
SINGULARITY_OCI_RUN="-- ${{OCI_ENTRYPOINT}}"
if [ $# -gt 0 ]; then
    for word in "$@"; do
        SINGULARITY_OCI_RUN="${{SINGULARITY_OCI_RUN}} \"${{word}}\""
    done
else
    SINGULARITY_OCI_RUN="${{SINGULARITY_OCI_RUN}} ${{OCI_CMD}}"
fi
eval "set ${{SINGULARITY_OCI_RUN}}"
[ $# -gt 0 ] || exit 0
exec "$@"
"#,
        line(&config.entrypoint),
        line(&config.cmd),
    )
}

fn is_name(text: &str) -> bool {
    !text.starts_with(|c: char| c.is_ascii_digit())
        && !text.is_empty()
        && text.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_')
}

/// A word that stands for `text` in a shell, even between other double quotes in an expansion.
fn double_quoted(text: &str) -> String {
    let mut quoted = "\"".to_owned();
    for character in text.chars() {
        if matches!(character, '"' | '$' | '`' | '\\') {
            quoted.push('\\');
        }
        quoted.push(character);
    }
    quoted + "\""
}

fn single_quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests;
