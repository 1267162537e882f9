//! `instance start` and `instance run`.

use std::ffi::{OsStr, OsString};

use anyhow::Context as _;
use skiff_launcher::instance::{self, start as launcher};
use skiff_launcher::request::Action;
use skiff_launcher::request::instance::{InstanceRole, InstanceWish};

use super::{name_in, own_folder, while_executing};
use crate::cli::Context;
use crate::cli::action::ActionArgs;
use crate::cli::instance::{RunArgs, StartArgs};
use crate::exit::ExitStatus;
use crate::launch::{self, Launch};
use crate::output;
use crate::wire::Provider;

/// `instance start IMAGE NAME ARGS…`
///
/// # Errors
/// What keeps the instance from starting.
pub fn start(args: &StartArgs, context: &Context) -> anyhow::Result<ExitStatus> {
    start_as(args, Action::Start, context)
}

/// `instance run IMAGE NAME ARGS…`
///
/// # Errors
/// What keeps the instance from starting.
pub fn run(args: &RunArgs, context: &Context) -> anyhow::Result<ExitStatus> {
    start_as(&args.start, Action::Run, context)
}

fn start_as(
    args: &StartArgs,
    action: fn(Vec<OsString>) -> Action,
    context: &Context,
) -> anyhow::Result<ExitStatus> {
    let checkpoint = args
        .dmtcp_launch
        .as_deref()
        .or(args.dmtcp_restart.as_deref());
    if checkpoint.is_some_and(|name| !name.is_empty()) {
        anyhow::bail!("--dmtcp-launch and --dmtcp-restart are not supported by skiff");
    }
    let (image, name, rest) = match args.words.as_slice() {
        [image, name, rest @ ..] => (image.as_os_str(), name.to_string_lossy(), rest),
        // The verb's arity says that there are both.
        _ => (OsStr::new(""), "".into(), &[] as &[OsString]),
    };
    if name_in(image).is_some() {
        anyhow::bail!(
            "While setting image/instance: starting an instance from another is not allowed"
        );
    }
    let mut options = args.options.clone();
    let mut action = action(rest.to_vec());
    if args.boot {
        if !rustix::process::getuid().is_root() {
            anyhow::bail!("Could not configure --boot: --boot requires root privileges");
        }
        boot(&mut options, &name);
        action = Action::Exec(vec![OsString::from("/sbin/init")]);
    }
    options.namespaces.pid = true;
    let ready = launch::prepare(
        &Launch {
            image,
            action,
            options: &options,
            shell: None,
            context,
        },
        Some(InstanceWish {
            name: name.clone().into_owned(),
            role: InstanceRole::Start,
        }),
    )?;
    instance::check_name(&name).map_err(while_executing)?;
    if options.plan.dry_run {
        return launch::print(&ready.plan, options.plan.json);
    }
    let folder = own_folder(context)?;
    let mut provider = Provider::new(ready.served.as_ref());
    let outcome = launcher::start(
        &launcher::Start {
            folder: &folder,
            name: &name,
            user: &ready.facts.user.name,
            plan: &ready.plan,
            image_name: &ready.request.image.name.to_string_lossy(),
        },
        Some(&mut provider),
        &mut launch::report,
    )
    .map_err(while_executing)?;
    if !outcome.said.is_empty() && output::threshold() != 0 {
        output::stderr(&format!("{}\n", outcome.said));
    }
    let pid = outcome.result.map_err(while_executing)?;
    let (out, err) = folder.log_paths(&name);
    output::verbose(format_args!(
        "you will find instance output here: {}",
        out.display()
    ));
    output::verbose(format_args!(
        "you will find instance error here: {}",
        err.display()
    ));
    output::info("instance started successfully");
    if let Some(path) = args
        .pid_file
        .as_ref()
        .filter(|path| !path.as_os_str().is_empty())
    {
        let written = std::fs::write(path, format!("{pid}\n"))
            .with_context(|| format!("open {}", path.display()));
        if let Err(error) = written {
            let reason = error.downcast_ref::<std::io::Error>().map_or_else(
                || format!("{error:#}"),
                |error| format!("open {}: {}", path.display(), crate::text::os_error(error)),
            );
            output::warning(format_args!(
                "Failed to write pid file: could not create pid file: {reason}"
            ));
        }
    }
    Ok(ExitStatus::Success)
}

/// `--boot`: what an init of a distribution needs in order to be process 1 and no danger.
fn boot(options: &mut ActionArgs, name: &str) {
    options.mounts.contain = true;
    options.namespaces.no_init = true;
    options.namespaces.uts = true;
    options
        .namespaces
        .hostname
        .get_or_insert_with(|| name.to_owned());
    if options.namespaces.network.is_none() {
        options.namespaces.network = Some("none".to_owned());
        options.namespaces.net = true;
    }
}
