//! `config show`: skiff's own settings, and where each comes from.

use serde_json::json;

use crate::cli::Context;
use crate::cli::admin::ShowConfigArgs;
use crate::exit::ExitStatus;
use crate::output;
use crate::settings::{self, Origin, Setting};

/// `config show`
///
/// # Errors
/// A file of settings that cannot be used; standard output cannot be written.
pub(crate) fn run(args: &ShowConfigArgs, context: &Context) -> anyhow::Result<ExitStatus> {
    let variable = |name: &str| {
        let mut environment = context.environment.iter();
        environment
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.clone())
    };
    let settings = settings::all(&variable)?;
    let text = if args.json {
        as_json(&settings)?
    } else {
        let files: Vec<String> = settings::files(&variable)
            .iter()
            .map(|(path, _)| path.display().to_string())
            .collect();
        as_text(&settings, &files)
    };
    output::stdout(text)?;
    Ok(ExitStatus::Success)
}

fn origin(setting: &Setting) -> String {
    match &setting.origin {
        Origin::Environment => format!("${}", setting.key.variable),
        Origin::File { path, line } => format!("{}, line {line}", path.display()),
        Origin::Default => "default".to_owned(),
    }
}

fn as_text(settings: &[Setting], files: &[String]) -> String {
    let mut text = format!("# Files, the first one counts: {}\n", files.join(", "));
    let width = settings
        .iter()
        .map(|setting| setting.key.name.len())
        .fold(0, usize::max);
    for setting in settings {
        let value = match setting.value.as_str() {
            "" => "(unset)",
            value => value,
        };
        let line = format!(
            "{:<width$}  {value:<18} {}\n",
            setting.key.name,
            origin(setting)
        );
        text.push_str(&line);
    }
    text
}

fn as_json(settings: &[Setting]) -> anyhow::Result<String> {
    let list: Vec<_> = settings
        .iter()
        .map(|setting| {
            json!({
                "name": setting.key.name,
                "value": (!setting.value.is_empty()).then_some(&setting.value),
                "origin": match &setting.origin {
                    Origin::Environment => "environment",
                    Origin::File { .. } => "file",
                    Origin::Default => "default",
                },
                "from": origin(setting),
                "variable": setting.key.variable,
                "about": setting.key.about,
            })
        })
        .collect();
    Ok(serde_json::to_string_pretty(&list)? + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::KEYS;

    #[test]
    fn forms() {
        let settings = [Setting {
            key: &KEYS[0],
            value: String::new(),
            origin: Origin::Default,
        }];
        assert_eq!(
            as_text(&settings, &["/a".to_owned()]),
            "# Files, the first one counts: /a\ncache.dir  (unset)            default\n"
        );
        let list: serde_json::Value = serde_json::from_str(&as_json(&settings).unwrap()).unwrap();
        assert_eq!(list[0]["variable"], "SKIFF_CACHE_DIR");
        assert!(list[0]["value"].is_null());
    }
}
