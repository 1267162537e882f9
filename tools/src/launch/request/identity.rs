//! Flags of [`crate::cli::action::identity`] become a wish.

use std::path::PathBuf;

use skiff_launcher::error::reason;
use skiff_launcher::request::identity::{FakerootWish, IdentityWish};

use crate::cli::action::identity::IdentityArgs;
use crate::cli::value::Strings;
use crate::output;

/// The wish behind `args`.
///
/// # Errors
/// One line about the value that cannot be used.
pub(super) fn build(args: &IdentityArgs) -> anyhow::Result<IdentityWish> {
    let mut wish = IdentityWish {
        fakeroot: args.fakeroot.then_some(FakerootWish {
            ignore_subuid: args.ignore_subuid,
            ignore_userns: args.ignore_userns,
            ignore_command: args.ignore_fakeroot_command,
        }),
        userns: args.userns,
        add_capabilities: list(args.add_caps.as_deref()),
        drop_capabilities: list(args.drop_caps.as_deref()),
        keep_privileges: args.keep_privs,
        no_privileges: args.no_privs,
        allow_setuid: args.allow_setuid,
        ..IdentityWish::default()
    };
    let is_root = rustix::process::getuid().is_root();
    // Whoever is root only in a namespace of his own is asked there, by Apptainer too.
    let mapped = args.fakeroot && args.ignore_subuid;
    if !is_root && !mapped {
        for (given, flag) in [
            (args.keep_privs, "keep-privs"),
            (args.allow_setuid, "allow-setuid"),
        ] {
            if given {
                anyhow::bail!("Could not configure --{flag}: --{flag} requires root privileges");
            }
        }
    }
    for item in Strings::flatten(&args.security) {
        let item = item.to_string_lossy();
        match item.split_once(':') {
            Some(("uid", number)) => wish.uid = Some(id("UID", number)?),
            Some(("gid", numbers)) => {
                let numbers = numbers.split(':');
                wish.gids = numbers
                    .map(|number| id("GID", number))
                    .collect::<Result<_, _>>()?;
            }
            Some(("seccomp", file)) => wish.seccomp = Some(profile(file)?),
            Some(("selinux", label)) => wish.selinux = Some(label.to_owned()),
            Some(("apparmor", profile)) => wish.apparmor = Some(profile.to_owned()),
            None if ["uid", "gid", "seccomp", "selinux", "apparmor"].contains(&&*item) => {
                anyhow::bail!("bad format for parameter {item} (format is <security>:<arg>)");
            }
            _ => output::debug(format_args!("--security {item} is unknown and ignored")),
        }
    }
    Ok(wish)
}

fn list(text: Option<&str>) -> Vec<String> {
    text.unwrap_or_default()
        .split(',')
        .map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
        .collect()
}

/// A number of `--security`, with the complaint that Apptainer makes.
fn id(kind: &str, text: &str) -> anyhow::Result<u32> {
    text.parse().map_err(|_| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let why = if digits {
            "value out of range"
        } else {
            "invalid syntax"
        };
        anyhow::anyhow!(
            "Could not configure target UID/GID: failed to parse provided {kind}: \
             strconv.ParseUint: parsing {text:?}: {why}"
        )
    })
}

fn profile(file: &str) -> anyhow::Result<(PathBuf, String)> {
    let path = PathBuf::from(file);
    match std::fs::read(&path) {
        Ok(text) => Ok((path, String::from_utf8_lossy(&text).into_owned())),
        Err(error) => anyhow::bail!("open {file}: {}", reason(&error)),
    }
}
