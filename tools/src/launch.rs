//! From the arguments of an action to a running program.
//!
//! ```text
//! name ─ image ─► Found ┐
//! flags ─ request ──────┴► LaunchRequest ─► plan ─► process::launch ─► execve
//! ```

mod admit;
pub mod convert;
mod ecl;
pub mod image;
mod instance;
pub mod request;

use std::ffi::OsStr;
use std::path::PathBuf;

use anyhow::Context as _;
use skiff_launcher::Level;
use skiff_launcher::config::Config;
use skiff_launcher::config::directives::Effect;
use skiff_launcher::environment;
use skiff_launcher::host::{HostFacts, RealPaths};
use skiff_launcher::plan::{LaunchPlan, PlanInputs, plan};
use skiff_launcher::process;
use skiff_launcher::request::instance::InstanceWish;
use skiff_launcher::request::{Action, LaunchRequest};

use crate::cli::Context;
use crate::cli::action::ActionArgs;
use crate::commands;
use crate::encryption::{self, Purpose};
use crate::exit::ExitStatus;
use crate::output;
use crate::wire::{Provider, Served};

/// What an action command asks for.
#[derive(Debug)]
pub struct Launch<'a> {
    /// The image as the user named it.
    pub image: &'a OsStr,
    /// What to start in it.
    pub action: Action,
    /// The flags.
    pub options: &'a ActionArgs,
    /// `shell --shell`.
    pub shell: Option<PathBuf>,
    /// Names and the caller's environment.
    pub context: &'a Context,
}

/// A launch that only has to be carried out.
#[derive(Debug)]
pub(crate) struct Ready {
    /// What the user wants.
    pub(crate) request: LaunchRequest,
    /// Who asks.
    pub(crate) facts: HostFacts,
    /// What will be done.
    pub(crate) plan: LaunchPlan,
    /// What is served for it.
    pub(crate) served: Option<Served>,
}

/// Starts it. Normally this process becomes the program; it returns for a dry run, where the image
/// has nothing to run, and where it had to wait for the program.
///
/// # Errors
/// One line that says what kept the program from starting.
pub fn launch(wish: &Launch<'_>) -> anyhow::Result<ExitStatus> {
    let shares = wish.options.namespaces.sharens;
    let is_instance = commands::instance::name_in(wish.image).is_some();
    if is_instance {
        // A key that is none is told, though nothing is opened with it.
        let _checked = encryption::material(&wish.options.encryption, wish.context, Purpose::Open)?;
    }
    match commands::instance::name_in(wish.image) {
        Some(_) if shares => anyhow::bail!(
            "While setting image/instance: starting an instance from another is not allowed"
        ),
        Some(name) => return instance::join(wish, &name),
        None if shares => return instance::share(wish),
        None => {}
    }
    let ready = prepare(wish, None)?;
    if wish.options.plan.dry_run {
        return print(&ready.plan, wish.options.plan.json);
    }
    let mut provider = Provider::new(ready.served.as_ref());
    Ok(ExitStatus::Code(process::launch(
        &ready.plan,
        Some(&mut provider),
        &mut report,
    )?))
}

/// Finds the image and plans its launch, for `instance` if there is one.
///
/// # Errors
/// One line that says why it cannot be started.
pub(crate) fn prepare(wish: &Launch<'_>, instance: Option<InstanceWish>) -> anyhow::Result<Ready> {
    let key = encryption::material(&wish.options.encryption, wish.context, Purpose::Open)?;
    let found = image::find(wish.image, &wish.options.remote, key.as_ref(), wish.context)?;
    let config = configuration(wish.context)?;
    let facts = HostFacts::probe(&config);
    found.admit(&config, &facts)?;
    ecl::check(&found, wish.context)?;
    admit::overlays_at_all(&config, &wish.options.writing)?;
    let mut request = request::build(wish, found.request, found.served.as_ref())?;
    request.instance = instance;
    admit::layers(&config, &facts, &request)?;
    let (facts, plan) = plan_of(wish, &request, &config, facts)?;
    Ok(Ready {
        request,
        facts,
        plan,
        served: found.served,
    })
}

/// The plan for `request`.
fn plan_of(
    wish: &Launch<'_>,
    request: &LaunchRequest,
    config: &Config,
    mut facts: HostFacts,
) -> anyhow::Result<(HostFacts, LaunchPlan)> {
    facts.look_for(&request.identity, config);
    let files = environment::read_files(&request.environment.files)?;
    if !request.instance.as_ref().is_some_and(InstanceWish::is_join) {
        request::check_network(wish.options, request)?;
    }
    let inputs = PlanInputs {
        request,
        config,
        facts: &facts,
        paths: &RealPaths,
        environment_files: &files,
    };
    let plan = plan(&inputs, &mut report)?;
    Ok((facts, plan))
}

/// The configuration in force.
///
/// # Errors
/// A file that cannot be read, or a directive with an impossible value.
pub fn configuration(context: &Context) -> anyhow::Result<Config> {
    let mut config = match &context.config {
        Some(path) => Config::read(path)?,
        None => Config::find()?,
    };
    if output::shows(output::Level::Verbose) {
        let file = context.config.as_deref().or_else(|| Config::path());
        let file = file.map_or("none".into(), |file| file.display().to_string());
        output::verbose(format_args!("Configuration file: {file}"));
    }
    if context.build_config {
        config.for_building();
    }
    for directive in &config.unheeded {
        if let Effect::None(why) = directive.effect {
            output::debug(format_args!(
                "The directive {:?} of the configuration has no effect: {why}",
                directive.name
            ));
        }
    }
    Ok(config)
}

/// `--dry-run`: the plan instead of the launch.
pub(crate) fn print(plan: &LaunchPlan, as_json: bool) -> anyhow::Result<ExitStatus> {
    let text = if as_json {
        serde_json::to_string_pretty(plan).context("encoding the plan")? + "\n"
    } else {
        plan.to_string()
    };
    output::stdout(text)?;
    Ok(ExitStatus::Success)
}

/// Receives what the launcher has to say.
pub(crate) fn report(level: Level, text: &str) {
    match level {
        Level::Debug => output::debug(text),
        Level::Verbose => output::verbose(text),
        Level::Info => output::info(text),
        Level::Warning => output::warning(text),
        Level::Error => output::error(text),
    }
}
