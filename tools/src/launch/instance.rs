//! Programs in containers that are there already: `instance://NAME`, and `--sharens`.

use std::path::PathBuf;

use anyhow::Context as _;
use skiff_launcher::host::HostFacts;
use skiff_launcher::instance::record::Live;
use skiff_launcher::instance::start::Start;
use skiff_launcher::instance::{join as launcher, share as sharing};
use skiff_launcher::plan::LaunchPlan;
use skiff_launcher::request::identity::IdentityWish;
use skiff_launcher::request::instance::{InstanceRole, InstanceWish};
use skiff_launcher::request::limits::LimitsWish;
use skiff_launcher::request::{ImageRequest, RootKind};

use super::{Launch, configuration, plan_of, prepare, print, report, request};
use crate::cli::action::ActionArgs;
use crate::cli::action::gpu::GpuArgs;
use crate::cli::action::writing::WritingArgs;
use crate::commands::instance as records;
use crate::exit::ExitStatus;
use crate::output;
use crate::wire::Provider;

/// Starts the program of `wish` in the running instance `name`.
///
/// # Errors
/// There is none, or what kept the program from starting in it.
pub(super) fn join(wish: &Launch<'_>, name: &str) -> anyhow::Result<ExitStatus> {
    let live = records::find(name, wish.context)?;
    let plan = plan_in(wish, &live, false)?;
    if wish.options.plan.dry_run {
        return print(&plan, wish.options.plan.json);
    }
    Ok(ExitStatus::Code(launcher::join(&live, &plan, &mut report)?))
}

/// `--sharens`: starts the program in the container that all children of this process's parent
/// share, which is made if there is none yet.
///
/// # Errors
/// What kept the program from starting.
pub(super) fn share(wish: &Launch<'_>) -> anyhow::Result<ExitStatus> {
    let ready = prepare(wish, None)?;
    if wish.options.plan.dry_run {
        return print(&ready.plan, wish.options.plan.json);
    }
    let folder = records::own_folder(wish.context)?;
    let mut provider = Provider::new(ready.served.as_ref());
    let claimed = sharing::claim(
        &Start {
            folder: &folder,
            name: "",
            user: &ready.facts.user.name,
            plan: &ready.plan,
            image_name: &ready.request.image.name.to_string_lossy(),
        },
        Some(&mut provider),
        &mut report,
    )?;
    let plan = plan_in(wish, &claimed.live, claimed.master)?;
    Ok(ExitStatus::Code(launcher::join_shared(
        claimed,
        &plan,
        &mut report,
    )?))
}

/// The plan for one more program in `live`: what belongs to the container is the instance's.
fn plan_in(wish: &Launch<'_>, live: &Live, master: bool) -> anyhow::Result<LaunchPlan> {
    let record = &live.record;
    let proof = record.skiff.as_ref();
    let proof = proof.with_context(|| format!("instance {} is not skiff's", record.name))?;
    let image = ImageRequest {
        path: PathBuf::from(&record.image),
        name: proof.image_name.clone().into(),
        kind: RootKind::Mounted,
    };
    // Layers and drivers of the instance are what they are.
    let options = ActionArgs {
        writing: WritingArgs::default(),
        gpu: GpuArgs::default(),
        ..wish.options.clone()
    };
    let wish = &Launch {
        image: wish.image,
        action: wish.action.clone(),
        options: &options,
        shell: wish.shell.clone(),
        context: wish.context,
    };
    let mut request = request::build(wish, image, None)?;
    if request.limits.resources.is_some() {
        output::warning(
            "Resource limits & cgroups configuration are only applied to instances at instance \
             start.",
        );
    }
    if request.identity.fakeroot.is_some() {
        output::info("--fakeroot ignored when joining instance");
    }
    request.hostname = None;
    request.identity = IdentityWish::default();
    request.limits = LimitsWish {
        command_timeout: request.limits.command_timeout,
        ..LimitsWish::default()
    };
    request.instance = Some(InstanceWish {
        name: record.name.clone(),
        role: InstanceRole::Join {
            home: proof.home.clone(),
            master,
        },
    });
    let config = configuration(wish.context)?;
    let facts = HostFacts::probe(&config);
    let (_, mut plan) = plan_of(wish, &request, &config, facts)?;
    plan.security = proof.security().with_context(|| {
        format!(
            "the record of instance {} does not tell what its programs may do",
            record.name
        )
    })?;
    plan.fakeroot.clone_from(&proof.fakeroot);
    Ok(plan)
}
