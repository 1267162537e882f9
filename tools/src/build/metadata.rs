//! What a build writes to the root itself, beside what its sections do.

use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use skiff_fs::format::sif::Arch;

use super::Job;
use super::copy;
use super::stage::{Made, open_root};
use crate::definition::{App, Stage};
use crate::dot_singularity::{
    self, Begun, Content, Facts, Message, Node, Nodes, apps, finish::BUILD_LABELS, labels,
};
use crate::metadata::sandbox::SandboxFiles;
use crate::output;
use crate::program::Personality;
use crate::text::os_error;

/// Before files are copied and anything is run: what every image has, and its applications.
pub(super) fn prepare(stage: &Stage, made: &Made, begun: Begun<'_>) -> Result<(), String> {
    let root = open_root(&made.root)?;
    let root = root.as_fd();
    let base = dot_singularity::base(begun);
    for (path, node) in base.bottom.iter() {
        if !copy::is_there(root, Path::new(path)) {
            put(root, path, node)?;
        }
    }
    put_all(root, &base.top)?;
    if let Begun::Oci(config) = begun {
        let labels = labels::json(&config.labels);
        place_file(root, ".singularity.d/labels.json", labels.as_bytes(), 0o644)?;
    }
    // Apptainer's links are made anew where there are links.
    for (path, node) in base.bottom.iter() {
        let Content::Link(target) = &node.content else {
            continue;
        };
        if copy::link_at(root, Path::new(path)).is_some_and(|there| there != target.as_str()) {
            put(root, path, node)?;
        }
    }
    // What is bound for %post must be there: a link of the image's may lead to nowhere.
    for path in ["etc/hosts", "etc/resolv.conf"] {
        if !copy::leads_somewhere(root, Path::new(path)) {
            place_file(root, path, b"", 0o644)?;
        }
    }
    put_all(root, &apps::files(&stage.apps))
}

/// After `%post`.
pub(super) fn insert(job: &Job<'_>, stage: &Stage, made: &Made) -> Result<(), String> {
    let files = SandboxFiles::open(&made.root).map_err(|error| format!("{error:#}"))?;
    let facts = Facts {
        stage,
        text: &job.definition.text,
        sections: &job.sections,
        force: job.args.target.force,
        update: job.args.target.update,
        date: job.manner.date,
        arch: &Arch::host().to_string(),
        version: &Personality::Apptainer.version(),
    };
    let done = dot_singularity::finish(&facts, &files).map_err(|error| format!("{error:#}"))?;
    for message in done.messages {
        match message {
            Message::Info(text) => output::info(text),
            Message::Warning(text) => output::warning(text),
        }
    }
    let root = open_root(&made.root)?;
    put_all(root.as_fd(), &done.nodes)?;
    if done.remove_labels {
        copy::remove(root.as_fd(), Path::new(BUILD_LABELS));
    }
    Ok(())
}

/// Copies the files of an application.
pub(super) fn app_files(app: &App, made: &Made) -> Result<(), String> {
    let root = open_root(&made.root)?;
    let line = app.files.line() + 1;
    for file in crate::definition::files::read(&app.files.body, line)? {
        let target = match file.target.is_empty() {
            true => &file.source,
            false => &file.target,
        };
        let target = format!("{}/{}", apps::root(app), target.trim_start_matches('/'));
        copy::from_host(&file.source, &target, root.as_fd())?;
    }
    Ok(())
}

fn put_all(root: BorrowedFd<'_>, nodes: &Nodes) -> Result<(), String> {
    nodes
        .iter()
        .try_for_each(|(path, node)| put(root, path, node))
}

fn put(root: BorrowedFd<'_>, path: &str, node: &Node) -> Result<(), String> {
    let place = Path::new(path);
    match &node.content {
        Content::Directory => copy::directory(root, place, node.mode),
        Content::Link(target) => copy::link(root, place, target),
        Content::File(content) => return place_file(root, path, content, node.mode),
    }
    .map_err(|error| format!("{path}: {}", os_error(&error)))
}

/// Writes a file of the root anew, whatever was there.
pub(super) fn place_file(
    root: BorrowedFd<'_>,
    path: &str,
    content: &[u8],
    mode: u32,
) -> Result<(), String> {
    copy::place(root, Path::new(path), mode)
        .and_then(|mut file| file.write_all(content))
        .map_err(|error| format!("writing {path}: {}", os_error(&error)))
}

/// Removes a file of the root, if it is there.
pub(super) fn remove_file(root: BorrowedFd<'_>, path: &str) {
    copy::remove(root, Path::new(path));
}
