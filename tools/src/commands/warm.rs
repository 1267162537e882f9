//! `warm`: images into the node's cache before a job needs them.
//!
//! ```text
//! main ── waits for the ends of images, or the deadline ──► summary, exit
//!   └ job threads: task ─ find ─ open ─ view (tree, places) ─ fetch ─► cache
//! ```
//! Made for the prologue of a batch system: whatever goes wrong is a warning, and the time is kept
//! whatever threads are stuck in, because nobody waits for them. What came is kept; the next run goes
//! on from there.

mod fetch;
mod glob;
mod report;
mod select;
mod startup;
mod task;
mod view;

use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::cli::Context;
use crate::cli::warm::{WarmArgs, count, duration, size};
use crate::exit::{CommandError, ExitStatus};
use fetch::Budget;
use glob::Glob;
use report::{End, Figures, Report};
use task::{Task, Wanted, Wish};

/// For the help.
pub const DESCRIPTION: &str = "\
Fetches images, or parts of them, into this node's cache, so that programs that start in them
later do not wait for the network. Images are URLs (http, https, oras) or paths on network file
systems; there is nothing to do for files on local disks.

Without --full, --files or --paths-from, what a container needs to start is fetched: the image's
headers and tables (with them every directory can be listed), /.singularity.d, the files of /etc
that shells and libc read, sh, bash and env, the programs that the runscript names, and the
dynamic loader and shared libraries of all of these.

GLOB matches paths from the image's root: * ? [a-z] {a,b}, and ** for any number of directories.
A directory that matches means everything below it.

What is in the cache already is not fetched again. Whatever goes wrong (no network, full disk,
damaged image, the deadline) is a warning and the exit code 0, for prologues of jobs, unless
--strict is given.";

/// Images at a time.
const JOBS: usize = 4;

/// Between two lines of progress.
const PERIOD_ON_TERMINAL: Duration = Duration::from_millis(250);
const PERIOD_IN_JSON: Duration = Duration::from_secs(1);

/// Lists of paths longer than this are no lists of paths.
const MAX_LIST_BYTES: u64 = 256 << 20;

/// Warms.
///
/// # Errors
/// When the command line makes no sense.
pub fn run(args: &WarmArgs, context: &Context) -> anyhow::Result<ExitStatus> {
    let begun = Instant::now();
    let usage = |reason: String| anyhow::Error::new(CommandError(reason));
    let flag = |text: &Option<std::ffi::OsString>| text.clone();
    let deadline = flag(&args.deadline)
        .map(|text| duration("deadline", &text).map_err(usage))
        .transpose()?
        .and_then(|time| begun.checked_add(time));
    let max_bytes = flag(&args.max_bytes)
        .map(|text| size("max-bytes", &text).map_err(usage))
        .transpose()?;
    let jobs = flag(&args.jobs)
        .map(|text| count("jobs", &text).map_err(usage))
        .transpose()?
        .unwrap_or(JOBS);
    if args.remote.disable_cache {
        return Err(usage("--disable-cache leaves nothing to warm".to_owned()));
    }
    let (wanted, jobs) = match wanted(args, deadline)? {
        Some(wanted) => (wanted, jobs),
        // There is no time left to do anything with it.
        None => (Wanted::Startup, 0),
    };
    let wish = Arc::new(Wish {
        wanted,
        pin: args.pin,
        remote: args.remote.clone(),
        context: context.clone(),
        budget: Budget::new(max_bytes),
        report: Arc::new(Report::new(args.json)),
    });
    let tasks = args.words.iter().map(|name| Task::new(name.clone()));
    let tasks: Arc<Vec<Task>> = Arc::new(tasks.collect());
    let ends = supervise(&tasks, &wish, jobs, begun, deadline);
    let failed = ends
        .iter()
        .any(|end| matches!(end, End::Failed | End::Late));
    Ok(if args.strict && failed {
        ExitStatus::Code(1)
    } else {
        ExitStatus::Success
    })
}

/// The parts that the flags ask for; `None` when the deadline passed before that was known.
fn wanted(args: &WarmArgs, deadline: Option<Instant>) -> anyhow::Result<Option<Wanted>> {
    let files = !args.files.is_empty() || args.paths_from.is_some();
    if args.full && files {
        let reason = "--full is all there is: it does not go with --files or --paths-from";
        return Err(CommandError(reason.to_owned()).into());
    }
    if args.full {
        return Ok(Some(Wanted::Everything));
    }
    if !files {
        return Ok(Some(Wanted::Startup));
    }
    let globs = args.files.iter().map(|text| {
        let glob = Glob::parse(text.as_bytes()).ok_or_else(|| {
            let text = text.display();
            CommandError(format!(
                "invalid argument \"{text}\" for \"--files\" flag: not a pattern"
            ))
        })?;
        Ok((text.clone(), glob))
    });
    let globs = globs.collect::<Result<_, CommandError>>()?;
    let paths = match &args.paths_from {
        Some(file) => read_paths_until(file, deadline)?,
        None => Some(Vec::new()),
    };
    Ok(paths.map(|paths| Wanted::Files { globs, paths }))
}

/// As [`read_paths`]; `None` when that is not done by the deadline: it may be a pipe that nobody
/// fills, or a file on a server that does not answer.
fn read_paths_until(
    file: &OsStr,
    deadline: Option<Instant>,
) -> anyhow::Result<Option<Vec<Vec<u8>>>> {
    let Some(deadline) = deadline else {
        return read_paths(file).map(Some);
    };
    let (sender, receiver) = mpsc::channel();
    let name = file.to_owned();
    std::thread::Builder::new()
        .name("paths".into())
        .spawn(move || {
            // Nobody listens any more once the deadline has passed.
            let _late = sender.send(read_paths(&name));
        })
        .context("starting a thread")?;
    let left = deadline.saturating_duration_since(Instant::now());
    match receiver.recv_timeout(left) {
        Ok(paths) => paths.map(Some),
        Err(_) => Ok(None),
    }
}

/// The lines of `file`.
fn read_paths(file: &OsStr) -> anyhow::Result<Vec<Vec<u8>>> {
    let read = || {
        let mut text = Vec::new();
        let from: Box<dyn Read> = if file == "-" {
            Box::new(std::io::stdin().lock())
        } else {
            Box::new(std::fs::File::open(file)?)
        };
        from.take(MAX_LIST_BYTES).read_to_end(&mut text)?;
        Ok::<_, std::io::Error>(text)
    };
    let text = read().with_context(|| format!("while reading paths from {}", file.display()))?;
    let lines = text.split(|byte| *byte == b'\n');
    let lines = lines.map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    Ok(lines
        .filter(|line| !line.is_empty())
        .map(<[u8]>::to_vec)
        .collect())
}

/// Has threads do it and waits for them, but not beyond the deadline.
fn supervise(
    tasks: &Arc<Vec<Task>>,
    wish: &Arc<Wish>,
    jobs: usize,
    begun: Instant,
    deadline: Option<Instant>,
) -> Vec<End> {
    let (sender, receiver) = mpsc::channel();
    let next = Arc::new(AtomicUsize::new(0));
    let report = Arc::clone(&wish.report);
    for _ in 0..jobs.min(tasks.len()) {
        let (sender, next) = (sender.clone(), Arc::clone(&next));
        let (tasks, wish) = (Arc::clone(tasks), Arc::clone(wish));
        let job = move || {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let Some(task) = tasks.get(number) else {
                    return;
                };
                let (end, reason) = task.run(&wish);
                // Nobody listens any more once the deadline has passed.
                if sender.send((number, end, reason, task.figures())).is_err() {
                    return;
                }
            }
        };
        if let Err(error) = std::thread::Builder::new().name("warm".into()).spawn(job) {
            report.warning(&format!("starting a thread: {error}"));
        }
    }
    drop(sender);
    let period = match (report.has_progress(), report.is_json()) {
        (false, _) => Duration::MAX,
        (true, true) => PERIOD_IN_JSON,
        (true, false) => PERIOD_ON_TERMINAL,
    };
    let mut ends: Vec<Option<End>> = vec![None; tasks.len()];
    let mut shown = Instant::now();
    let so_far = || Figures {
        fetched: tasks.iter().map(Task::fetched).sum(),
        took: begun.elapsed(),
        ..Figures::default()
    };
    let late = loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) {
            break true;
        }
        let until_shown = period.saturating_sub(shown.elapsed());
        match receiver.recv_timeout(until_shown.min(left.unwrap_or(LONG)).min(LONG)) {
            Ok((number, end, reason, figures)) => {
                if let (Some(place), Some(task)) = (ends.get_mut(number), tasks.get(number)) {
                    *place = Some(end);
                    report.end(&task.shown(), end, reason.as_deref(), &figures);
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break false,
        }
        if shown.elapsed() >= period {
            shown = Instant::now();
            let done = ends.iter().flatten().count();
            report.progress(done, tasks.len(), &so_far());
        }
    };
    let ends = tasks.iter().zip(ends).map(|(task, end)| {
        end.unwrap_or_else(|| {
            // Without a thread to do it, it is not the time that was lacking.
            let (end, reason) = match late {
                true => (End::Late, "the deadline has passed"),
                false => (End::Failed, "given up"),
            };
            report.end(&task.shown(), end, Some(reason), &task.figures());
            end
        })
    });
    let ends: Vec<End> = ends.collect();
    report.clear();
    report.summary(&ends, &so_far());
    ends
}

/// Longer than anybody waits for a message that does not come.
const LONG: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests;
