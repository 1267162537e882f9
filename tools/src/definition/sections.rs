//! The sections of a stage.

use std::collections::BTreeMap;

use super::files::{self, FileGroup};
use super::split::RawSection;
use super::{App, Section, Stage};

/// Sections of applications.
const APP_SECTIONS: &[&str] = &[
    "appinstall",
    "applabels",
    "appfiles",
    "appenv",
    "apptest",
    "apphelp",
    "apprun",
    "appstart",
];

/// Reads the sections of a stage, all but its header and text.
///
/// # Errors
/// What is wrong with the first wrong one, or which there are that are not known.
pub fn read(sections: Vec<RawSection<'_>>) -> Result<Stage, String> {
    let mut stage = Stage::default();
    let mut labels = Section::default();
    let mut unknown: Vec<String> = Vec::new();
    for section in sections {
        let Some(body) = section.body else {
            return Err(format!(
                "section {}: could not be split into section name and body",
                section.heading
            ));
        };
        let heading = section.heading.trim_start_matches('%');
        let (word, arguments) = match heading.split_once(' ') {
            Some((word, arguments)) => (word, Some(arguments)),
            None => (heading, None),
        };
        let name = word.to_lowercase();
        if name == "files" {
            add_files(&mut stage.files, arguments, body, section.line)?;
            continue;
        }
        if APP_SECTIONS.contains(&name.as_str()) {
            let app = arguments
                .and_then(|text| text.split(' ').next())
                .ok_or_else(|| {
                    format!("app section {word}: could not be split into section name and app name")
                })?;
            // The name of such a section counts as it is written.
            match app_section(&mut stage.apps, app, word) {
                Some(place) => place.append(body, section.line),
                None => unknown.push(format!("{word} {app}")),
            }
            continue;
        }
        let place = match name.as_str() {
            "labels" => Some(&mut labels),
            _ => stage_section(&mut stage, &name),
        };
        let Some(place) = place else {
            if !unknown.contains(&name) {
                unknown.push(name);
            }
            continue;
        };
        if let Some(arguments) = arguments {
            arguments.clone_into(&mut place.arguments);
        }
        place.append(body, section.line);
    }
    if !unknown.is_empty() {
        return Err(format!(
            "invalid section(s) specified: {}",
            unknown.join(", ")
        ));
    }
    stage.labels = read_labels(&labels.body);
    Ok(stage)
}

fn stage_section<'a>(stage: &'a mut Stage, name: &str) -> Option<&'a mut Section> {
    Some(match name {
        "help" => &mut stage.help,
        "setup" => &mut stage.setup,
        "environment" => &mut stage.environment,
        "pre" => &mut stage.pre,
        "post" => &mut stage.post,
        "runscript" => &mut stage.runscript,
        "test" => &mut stage.test,
        "startscript" => &mut stage.startscript,
        "arguments" => &mut stage.arguments,
        _ => return None,
    })
}

fn app_section<'a>(apps: &'a mut Vec<App>, app: &str, section: &str) -> Option<&'a mut Section> {
    if !APP_SECTIONS.contains(&section) {
        return None;
    }
    let at = apps
        .iter()
        .position(|known| known.name == app)
        .unwrap_or_else(|| {
            apps.push(App {
                name: app.to_owned(),
                ..App::default()
            });
            apps.len() - 1
        });
    let app = apps.get_mut(at)?;
    Some(match section {
        "appinstall" => &mut app.install,
        "applabels" => &mut app.labels,
        "appfiles" => &mut app.files,
        "appenv" => &mut app.env,
        "apptest" => &mut app.test,
        "apphelp" => &mut app.help,
        "apprun" => &mut app.run,
        _ => &mut app.start,
    })
}

/// Applications from their sections by heading, such as `apprun name`; `order` names them first.
///
/// # Errors
/// About sections that are not known.
pub fn app_sections(
    order: &[String],
    sections: &BTreeMap<String, String>,
) -> Result<Vec<App>, String> {
    let mut apps: Vec<App> = order
        .iter()
        .map(|name| App {
            name: name.clone(),
            ..App::default()
        })
        .collect();
    for (heading, body) in sections {
        heading
            .split_once(' ')
            .and_then(|(section, app)| app_section(&mut apps, app, section))
            .ok_or_else(|| format!("invalid section(s) specified: {heading}"))?
            .append(body, 0);
    }
    Ok(apps)
}

fn add_files(
    groups: &mut Vec<FileGroup>,
    arguments: Option<&str>,
    body: &str,
    line: usize,
) -> Result<(), String> {
    let arguments = arguments.unwrap_or_default();
    let files = files::read(body, line + 1)?;
    match groups.iter_mut().find(|group| group.arguments == arguments) {
        Some(group) => group.files.extend(files),
        None => groups.push(FileGroup {
            arguments: arguments.to_owned(),
            files,
        }),
    }
    Ok(())
}

/// Labels from lines of a key and a value, which may be missing; the last of a key counts.
pub fn read_labels(text: &str) -> BTreeMap<String, String> {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| {
            let (key, value) = line.split_once(' ').unwrap_or((line, ""));
            (key.trim().to_owned(), value.trim().to_owned())
        })
        .collect()
}

impl App {
    /// The part of what is run in the container that installs it.
    pub fn install_script(&self) -> String {
        let root = format!("/scif/apps/{}", self.name);
        format!(
            "\ncd /\n. {root}/scif/env/01-base.sh\n\ncd {root}\n{}\n\ncd /\n",
            self.install.body
        )
    }
}
