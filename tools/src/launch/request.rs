//! Flags and environment become a [`LaunchRequest`].

mod gpu;
mod identity;
mod layers;
mod limits;
mod writing;

use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::net::IpAddr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use skiff_launcher::mount::bind::{parse_binds, parse_mounts};
use skiff_launcher::request::{
    Bind, EnvironmentWish, HomeWish, ImageRequest, LaunchRequest, NamespaceWish,
};

use super::Launch;
use crate::cli::action::{ActionArgs, EnvironmentArgs, MountArgs, NamespaceArgs};
use crate::cli::value::Strings;
use crate::output;
use crate::wire::Served;

/// Builds the request, in the order in which Apptainer checks things, so that of two mistakes the
/// same is reported.
///
/// # Errors
/// One line about the value that cannot be used.
pub fn build(
    wish: &Launch<'_>,
    image: ImageRequest,
    served: Option<&Served>,
) -> anyhow::Result<LaunchRequest> {
    let options = &preset(wish.options);
    if options.remote.nohttps {
        output::warning("Flag --nohttps has been deprecated, use --no-https");
    }
    let limits = limits::build(&options.limits)?;
    let mut binds = binds(&options.mounts).context("While setting bind mount configuration")?;
    let home = home(&options.mounts).context("While setting home directory")?;
    // Before binds are looked at, as in Apptainer.
    let namespaces = namespaces(options);
    options.others.check()?;
    let mut writing = writing::build(&options.writing, &image, served)?;
    gpu::imply_writable(&options.gpu, &mut writing);
    layers::resolve_binds(&mut binds)?;
    Ok(LaunchRequest {
        action: wish.action.clone(),
        image,
        prompt: wish.context.personality.prompt().to_owned(),
        binds,
        home,
        contain: options.mounts.contain || options.mounts.containall,
        no_mount: no_mount(&options.mounts.no_mount),
        workdir: options.mounts.workdir.clone().filter(is_set).map(absolute),
        scratch: Strings::flatten(&options.mounts.scratch)
            .map(PathBuf::from)
            .collect(),
        cwd: options
            .mounts
            .pwd
            .clone()
            .or(options.mounts.cwd.clone())
            .filter(is_set),
        host_cwd: host_cwd(&wish.context.environment),
        namespaces,
        hostname: options
            .namespaces
            .hostname
            .clone()
            .filter(|name| !name.is_empty()),
        dns: dns(options.namespaces.dns.as_deref())?,
        environment: environment(
            &options.environment,
            options.mounts.containall,
            &wish.context.environment,
        )?,
        no_umask: options.environment.no_umask,
        shell: wish.shell.clone().filter(is_set),
        app: options.mounts.app.clone().filter(|name| !name.is_empty()),
        writing,
        instance: None,
        identity: identity::build(&options.identity)?,
        gpu: gpu::build(&options.gpu)?,
        limits,
    })
}

#[expect(clippy::ptr_arg, reason = "the shape that Option::filter wants")]
fn is_set(path: &PathBuf) -> bool {
    !path.as_os_str().is_empty()
}

fn absolute(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}

fn binds(args: &MountArgs) -> anyhow::Result<Vec<Bind>> {
    let mut binds = Vec::new();
    for text in &args.bind {
        binds.extend(parse_binds(utf8(text)?)?);
    }
    for text in &args.mount {
        binds.extend(parse_mounts(utf8(text)?)?);
    }
    Ok(binds)
}

fn utf8(text: &OsStr) -> anyhow::Result<&str> {
    text.to_str()
        .with_context(|| format!("{} is not UTF-8", text.display()))
}

fn home(args: &MountArgs) -> anyhow::Result<HomeWish> {
    let custom = match &args.home {
        None => None,
        Some(text) => {
            let fields: Vec<&[u8]> = text.as_bytes().split(|&byte| byte == b':').collect();
            let field = |bytes: &[u8]| PathBuf::from(OsStr::from_bytes(bytes));
            Some(match fields.as_slice() {
                [source] => (field(source), field(source)),
                [source, destination] => (field(source), field(destination)),
                more => {
                    anyhow::bail!(
                        "home argument has incorrect number of elements: {}",
                        more.len()
                    )
                }
            })
        }
    };
    Ok(match custom {
        _ if args.no_home => HomeWish::None,
        Some((source, destination)) => HomeWish::Custom {
            source: absolute(source),
            destination,
        },
        None => HomeWish::Default,
    })
}

/// What `--compat` stands for.
fn preset(options: &ActionArgs) -> Cow<'_, ActionArgs> {
    if !options.mounts.compat {
        return Cow::Borrowed(options);
    }
    let mut options = options.clone();
    options.mounts.containall = true;
    options.namespaces.no_init = true;
    options.environment.no_umask = true;
    options.environment.no_eval = true;
    options.writing.writable_tmpfs = true;
    options.writing.writable_tmpfs = true;
    Cow::Owned(options)
}

/// The value of `--network`, if there is one.
fn network(args: &NamespaceArgs) -> Option<&str> {
    args.network.as_deref().filter(|name| !name.is_empty())
}

fn namespaces(options: &ActionArgs) -> NamespaceWish {
    let ActionArgs {
        mounts,
        namespaces: args,
        ..
    } = options;
    let implied = if network(args).is_some() {
        Some("--network")
    } else {
        let mut list = Strings::flatten(&options.limits.network_args);
        list.next().map(|_| "--network-args")
    };
    if let Some(flag) = implied.filter(|_| !args.net) {
        output::info(format_args!("Setting --net (required by {flag})"));
    }
    NamespaceWish {
        // --no-pid is against namespaces that other flags imply, but not --containall: none so far.
        pid: args.pid || mounts.containall,
        no_init: args.no_init,
        ipc: args.ipc || mounts.containall,
        uts: args.uts
            || args
                .hostname
                .as_deref()
                .is_some_and(|name| !name.is_empty()),
        net: args.net || implied.is_some(),
    }
}

/// Refuses networks that need privileges: Apptainer does so late, when the container is made.
/// `wish` says whether there is a new network at all.
///
/// # Errors
/// One line about who may have them.
pub fn check_network(options: &ActionArgs, wish: &LaunchRequest) -> anyhow::Result<()> {
    let network = network(&options.namespaces);
    if !wish.namespaces.net || network == Some("none") || wish.limits.netns_path.is_some() {
        return Ok(());
    }
    if wish.identity.fakeroot.is_some() {
        output::warning(
            "fakeroot with unprivileged installation or 'allow setuid = no' could not use \
             'fakeroot' network, fallback to 'none' network",
        );
        return Ok(());
    }
    if rustix::process::getuid().is_root() {
        anyhow::bail!(
            "container creation failed: network setup failed: the network {} needs CNI plugins, \
             which skiff does not run; use --network none, or --netns-path with a namespace that \
             was set up before",
            network.unwrap_or("bridge")
        );
    }
    anyhow::bail!(
        "container creation failed: network requires root or a suid installation with /etc/subuid \
         --fakeroot; non-root users can only use --network=none unless permitted by the \
         administrator"
    )
}

/// The names Apptainer knows; anything else that is not a path is remarked upon and dropped.
const MOUNT_NAMES: &[&str] = &[
    "proc",
    "sys",
    "dev",
    "devpts",
    "home",
    "tmp",
    "hostfs",
    "cwd",
    "bind-paths",
];

fn no_mount(lists: &[Strings]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for item in Strings::flatten(lists) {
        let name = item.to_string_lossy().into_owned();
        if !MOUNT_NAMES.contains(&name.as_str()) && !name.starts_with('/') {
            output::warning(format_args!("Ignoring unknown mount type '{name}'"));
        } else if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

fn dns(list: Option<&str>) -> anyhow::Result<Vec<IpAddr>> {
    list.filter(|list| !list.is_empty())
        .map_or(Ok(Vec::new()), |list| {
            list.split(',')
                .map(str::trim)
                .map(|address| {
                    address.parse().map_err(|_| {
                        anyhow::anyhow!(
                            "container creation failed: dns ip {address} is not a valid IP address"
                        )
                    })
                })
                .collect()
        })
}

/// The working directory by the name under which the caller entered it. One that is gone keeps its
/// name, so that the launcher can say so and take another.
fn host_cwd(environment: &[(OsString, OsString)]) -> PathBuf {
    let logical = environment
        .iter()
        .find(|(name, _)| name == "PWD")
        .map(|(_, value)| PathBuf::from(value))
        .filter(|path| path.is_absolute());
    let identity = |path: &Path| path.metadata().map(|it| (it.dev(), it.ino())).ok();
    match (std::env::current_dir(), logical) {
        (Ok(here), Some(logical)) if identity(&logical) == identity(&here) => logical,
        (Ok(here), _) => here,
        (Err(_), Some(logical)) => logical,
        (Err(_), None) => PathBuf::from("/"),
    }
}

fn environment(
    args: &EnvironmentArgs,
    containall: bool,
    host: &[(OsString, OsString)],
) -> anyhow::Result<EnvironmentWish> {
    let mut variables = Vec::new();
    for (key, value) in args.env.iter().flat_map(|occurrence| &occurrence.0) {
        if key.is_empty() {
            output::warning(format_args!(
                "Ignore environment variable ={}: variable name missing",
                value.display()
            ));
            continue;
        }
        let Some(key) = key.to_str() else {
            anyhow::bail!("--env: {} is not a name for a variable", key.display());
        };
        variables.push((key.to_owned(), value.clone()));
    }
    Ok(EnvironmentWish {
        host: host.to_vec(),
        clean: args.cleanenv || containall,
        no_eval: args.no_eval,
        variables,
        files: Strings::flatten(&args.env_file)
            .map(PathBuf::from)
            .collect(),
    })
}
