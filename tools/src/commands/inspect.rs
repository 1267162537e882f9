//! `inspect`: what an image says about itself, as text or JSON.

use crate::cli::Context;
use crate::cli::image::InspectArgs;
use crate::exit::ExitStatus;
use crate::metadata::{self, AppMetadata, Metadata, Parts, Selection, json};
use crate::output;

/// Prints what the flags select.
///
/// # Errors
/// When the image cannot be opened or read, or standard output cannot be written.
pub fn run(args: &InspectArgs, context: &Context) -> anyhow::Result<ExitStatus> {
    let selection = selection(args);
    let found = metadata::read::of_image(
        args.words.first().map_or("".as_ref(), |word| word),
        &selection,
        &args.remote,
        context,
    )?;
    let text = if args.json || args.all {
        json::print(&found)?
    } else {
        plain(&found, &selection)
    };
    output::stdout(text)?;
    Ok(ExitStatus::Success)
}

fn selection(args: &InspectArgs) -> Selection {
    let mut parts = Parts {
        labels: args.labels,
        deffile: args.deffile,
        environment: args.environment,
        runscript: args.runscript,
        startscript: args.startscript,
        test: args.test,
        helpfile: args.helpfile,
        apps: args.list_apps,
    };
    if parts == Parts::default() {
        parts.labels = true;
    }
    let app = args.app.clone().filter(|name| !name.is_empty());
    Selection {
        parts,
        app,
        all: args.all,
    }
}

/// The parts that were found, one after the other.
fn plain(found: &Metadata, selection: &Selection) -> String {
    let mut text = String::new();
    let mut line = |content: &str| {
        if !content.is_empty() {
            text.push_str(content);
            text.push('\n');
        }
    };
    if selection.parts.apps {
        found.apps.keys().for_each(|name| line(name));
    }
    let part = match &selection.app {
        Some(name) => found.apps.get(name).cloned().unwrap_or_default(),
        None => found.image_part(),
    };
    let AppMetadata {
        environment,
        labels,
        runscript,
        test,
        helpfile,
        startscript,
    } = part;
    for content in [&found.deffile, &runscript, &startscript, &test, &helpfile] {
        line(content);
    }
    for (file, content) in environment {
        line(&format!("=== {file} ===\n{content}\n"));
    }
    for (name, value) in labels {
        line(&format!("{name}: {value}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_come_in_a_fixed_order() {
        let found = Metadata {
            deffile: "def".into(),
            runscript: "run".into(),
            labels: [
                ("b".to_owned(), String::new()),
                ("a".to_owned(), "1".to_owned()),
            ]
            .into(),
            environment: [("/e.sh".to_owned(), "export A=1".to_owned())].into(),
            ..Metadata::default()
        };
        assert_eq!(
            plain(
                &found,
                &Selection {
                    parts: Parts::ALL,
                    ..Selection::default()
                }
            ),
            "def\nrun\n=== /e.sh ===\nexport A=1\n\na: 1\nb: \n"
        );
    }
}
