//! Hooks of a specification. They are programs of the host that would run with the container's root
//! in their hands, a well from which several escapes were drawn; skiff runs none. What NVIDIA's do
//! is done by other means, or told.

use std::path::Path;

use super::Found;
use super::spec::Hook;
use crate::mount::HostLibrary;
use crate::report::{Level, Report};

/// What NVIDIA's hooks are called that make libraries findable. The directory of libraries is on
/// the loader's path, under the names that programs ask for: nothing is left to do.
const DONE: [&str; 2] = ["update-ldcache", "create-soname-symlinks"];

/// Those whose effect a container of an ordinary user does without.
const NOT_NEEDED: [&str; 3] = [
    "chmod",
    "disable-device-node-modification",
    "enable-cuda-compat",
];

/// Does what `hook` is for, or tells that it is not done.
pub(super) fn carry_out(hook: &Hook, found: &mut Found, origin: &Path, report: &mut Report<'_>) {
    let program = Path::new(&hook.path)
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    let ours = matches!(
        program.as_str(),
        "nvidia-cdi-hook" | "nvidia-ctk" | "nvidia-ctk-hook"
    );
    let words = hook.args.get(1..).unwrap_or_default();
    let words = match words.split_first() {
        Some((first, rest)) if first == "hook" => rest,
        _ => words,
    };
    match words.split_first() {
        Some((task, words)) if ours && task == "create-symlinks" => {
            links(words, found, origin, report);
        }
        Some((task, _)) if ours && DONE.contains(&task.as_str()) => {}
        Some((task, _)) if ours && NOT_NEEDED.contains(&task.as_str()) => report(
            Level::Verbose,
            &format!("{}: hook {task} is left out", origin.display()),
        ),
        _ => report(
            Level::Warning,
            &format!(
                "{}: hook {} {} is not run: skiff runs no program of the host for a container",
                origin.display(),
                hook.path,
                hook.args.get(1..).unwrap_or_default().join(" ")
            ),
        ),
    }
}

/// `--link target::link`: another name for a library goes into our directory of libraries; links
/// elsewhere would be changes to the image.
fn links(words: &[String], found: &mut Found, origin: &Path, report: &mut Report<'_>) {
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let pair = match word.strip_prefix("--link") {
            Some("") => words.next().map(String::as_str),
            Some(rest) => rest.strip_prefix('='),
            None => None,
        };
        let Some((target, link)) = pair.and_then(|pair| pair.split_once("::")) else {
            continue;
        };
        let name = |path: &str| {
            Path::new(path)
                .file_name()
                .and_then(|name| name.to_str())
                .map(str::to_owned)
        };
        let (Some(target), Some(alias)) = (name(target), name(link)) else {
            continue;
        };
        match library_behind(found, &target) {
            Some(library) if alias.contains(".so") => found.push_library(HostLibrary {
                name: alias,
                ..library
            }),
            _ => report(
                Level::Verbose,
                &format!("{}: link {link} is left out", origin.display()),
            ),
        }
    }
}

/// The library that has this name, or whose file has.
fn library_behind(found: &Found, name: &str) -> Option<HostLibrary> {
    found
        .libraries
        .iter()
        .find(|library| {
            library.name == name || library.path.file_name().is_some_and(|file| file == name)
        })
        .cloned()
}
