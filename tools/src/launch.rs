//! From the arguments of an action to a running program.
//!
//! ```text
//! name ─ image ─► Found ┐
//! flags ─ request ──────┴► LaunchRequest ─► plan ─► process::launch ─► execve
//! ```

pub mod image;
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
use skiff_launcher::request::Action;

use crate::cli::Context;
use crate::cli::action::ActionArgs;
use crate::exit::ExitStatus;
use crate::output;
use crate::wire::Provider;

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

/// Starts it. Normally this process becomes the program; it returns for a dry run, where the image
/// has nothing to run, and where it had to wait for the program.
///
/// # Errors
/// One line that says what kept the program from starting.
pub fn launch(wish: &Launch<'_>) -> anyhow::Result<ExitStatus> {
    let found = image::find(wish.image, &wish.options.remote, wish.context)?;
    let config = configuration(wish.context)?;
    let mut facts = HostFacts::probe(&config);
    found.admit(&config, &facts)?;
    let request = request::build(wish, found.request, found.served.as_ref())?;
    facts.look_for(&request.identity, &config);
    let files = environment::read_files(&request.environment.files)?;
    request::check_network(wish.options, &request)?;
    let inputs = PlanInputs {
        request: &request,
        config: &config,
        facts: &facts,
        paths: &RealPaths,
        environment_files: &files,
    };
    let plan = plan(&inputs, &mut report)?;
    if wish.options.plan.dry_run {
        return print(&plan, wish.options.plan.json);
    }
    let mut provider = Provider::new(found.served.as_ref());
    Ok(ExitStatus::Code(process::launch(
        &plan,
        Some(&mut provider),
        &mut report,
    )?))
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
fn print(plan: &LaunchPlan, as_json: bool) -> anyhow::Result<ExitStatus> {
    let text = if as_json {
        serde_json::to_string_pretty(plan).context("encoding the plan")? + "\n"
    } else {
        plan.to_string()
    };
    output::stdout(text)?;
    Ok(ExitStatus::Success)
}

/// Receives what the launcher has to say.
fn report(level: Level, text: &str) {
    match level {
        Level::Debug => output::debug(text),
        Level::Verbose => output::verbose(text),
        Level::Info => output::info(text),
        Level::Warning => output::warning(text),
        Level::Error => output::error(text),
    }
}
