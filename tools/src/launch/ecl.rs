//! The execution control list: who must have signed a SIF that is run from where.
//!
//! The file `ecl.toml` lies beside the configuration and looks as Apptainer's:
//!
//! ```toml
//! activated = true
//! [[execgroup]]
//!   tagname = "group1"
//!   mode = "whitelist"        # or "whitestrict", "blacklist"
//!   dirpath = "/containers"   # empty: wherever no other group says something
//!   keyfp = ["5994BE54C31CF1B5E1994F987C52CF6D055F072B"]
//! ```
//!
//! These are rules among people who mean well, as all that an administrator says about images is:
//! whoever may make user namespaces can run an image with a program of his own.

use std::fs::File;
use std::io;
use std::path::Path;

use anyhow::{Context as _, anyhow, bail};
use serde::Deserialize;
use skiff_fs::image::ImageKind;
use skiff_fs::integrity::pgp::{Fingerprint, parse_fingerprint};
use skiff_fs::integrity::{SignedImage, signed_with};
use skiff_launcher::config::Config;

use super::image::Found;
use crate::cli::Context;
use crate::commands::key::global_ring;
use crate::commands::sign::reason;
use crate::text::os_error;
use crate::wire::Served;

/// Name of the file.
const NAME: &str = "ecl.toml";

/// The whole list.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(default)]
struct List {
    activated: bool,
    legacyinsecure: bool,
    execgroup: Vec<Group>,
}

/// Rules about the SIFs of one directory.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(default)]
struct Group {
    tagname: String,
    mode: String,
    dirpath: String,
    keyfp: Vec<String>,
}

/// Checks whether the list lets `found` be run.
///
/// # Errors
/// The rule that forbids it, in Apptainer's words; a list that cannot be read.
pub(super) fn check(found: &Found, context: &Context) -> anyhow::Result<()> {
    let Some(list) = active(context)? else {
        return Ok(());
    };
    let file = &found.request.path;
    let refused = || "while checking container image with ECL";
    match &found.served {
        Some(Served::Here(image)) => match image.kind() {
            ImageKind::Sif(_) => {}
            ImageKind::Sandbox | ImageKind::Squashfs { .. } | ImageKind::Ext3 { .. } => {
                return Ok(());
            }
        },
        // What is read bit by bit cannot be verified before it is run.
        Some(Served::Elsewhere(_)) => {
            return Err(anyhow!(
                "{} is not on this machine, so that its signatures cannot be verified: pull it \
                 first",
                file.display()
            ))
            .with_context(refused);
        }
        None => return Ok(()),
    }
    let real = file
        .canonicalize()
        .map_err(|error| anyhow!("{}: {}", file.display(), os_error(&error)))
        .with_context(refused)?;
    judge(&list, &real, context).with_context(refused)
}

/// The list, if there is one and it is in force.
fn active(context: &Context) -> anyhow::Result<Option<List>> {
    let config = context.config.as_deref().or_else(|| Config::path());
    let Some(path) = config
        .and_then(Path::parent)
        .map(|folder| folder.join(NAME))
    else {
        return Ok(None);
    };
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            // Somebody wrote rules: without them nothing is run.
            bail!(
                "while loading ECL configuration: {}: {}",
                path.display(),
                os_error(&error)
            )
        }
    };
    let list: List = toml::from_str(&text).map_err(|error| {
        anyhow!(
            "while loading ECL configuration: {}: {}",
            path.display(),
            error.message()
        )
    })?;
    if !list.activated {
        return Ok(None);
    }
    valid(&list).context("while validating ECL configuration")?;
    Ok(Some(list))
}

fn valid(list: &List) -> anyhow::Result<()> {
    for (index, group) in list.execgroup.iter().enumerate() {
        let earlier = list.execgroup.iter().take(index);
        for other in earlier {
            if other.tagname == group.tagname {
                bail!("a specified name must be unique: {:?}", group.tagname);
            }
            if other.dirpath == group.dirpath {
                bail!(
                    "a specified dirpath can only appear in one execgroup: {:?}",
                    group.dirpath
                );
            }
        }
        if !matches!(
            group.mode.as_str(),
            "whitelist" | "whitestrict" | "blacklist"
        ) {
            bail!("the mode field can only be either: whitelist, whitestrict, blacklist");
        }
        if group
            .keyfp
            .iter()
            .any(|print| parse_fingerprint(print).is_none())
        {
            bail!("expecting a 40 chars hex fingerprint string");
        }
    }
    Ok(())
}

/// Applies the rules to the SIF at `path`, which has no links.
fn judge(list: &List, path: &Path, context: &Context) -> anyhow::Result<()> {
    let group = group_for(list, path)
        .ok_or_else(|| anyhow!("{} not part of any execgroup", path.display()))?;
    let ring = global_ring(context);
    let keys = ring
        .public_keys()
        .map_err(|error| anyhow!("{}: {}", ring.path().display(), os_error(&error)))?;
    let file = File::open(path)
        .map_err(|error| anyhow!("open {}: {}", path.display(), os_error(&error)))?;
    let signers = SignedImage::open(file)
        .and_then(|image| signed_with(&image, &keys, list.legacyinsecure))
        .map_err(|error| reason(&error, path))
        .context("image signature not valid")?;
    let named: Vec<Fingerprint> = group
        .keyfp
        .iter()
        .filter_map(|print| parse_fingerprint(print))
        .collect();
    match group.mode.as_str() {
        "whitelist" if !named.iter().any(|print| signers.all.contains(print)) => {
            bail!("image not signed by required entities")
        }
        "whitestrict" if !named.iter().all(|print| signers.all.contains(print)) => {
            bail!("image not signed by required entities")
        }
        "blacklist" if named.iter().any(|print| signers.any.contains(print)) => {
            bail!("image signed by a forbidden entity")
        }
        _ => Ok(()),
    }
}

fn group_for<'a>(list: &'a List, path: &Path) -> Option<&'a Group> {
    let of = |wanted: &Path| {
        let mut groups = list.execgroup.iter();
        groups.find(|group| Path::new(&group.dirpath) == wanted)
    };
    path.parent().and_then(of).or_else(|| of(Path::new("")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> List {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn groups_by_directory() {
        let list = list(
            "activated = true\n[[execgroup]]\ntagname = \"a\"\ndirpath = \"/a\"\n\
             [[execgroup]]\ntagname = \"b\"\ndirpath = \"\"\n",
        );
        let of = |path: &str| group_for(&list, Path::new(path)).map(|group| &*group.tagname);
        assert_eq!(of("/a/x.sif"), Some("a"));
        assert_eq!(of("/a/b/x.sif"), Some("b"));
        assert_eq!(of("/x.sif"), Some("b"));
        assert_eq!(group_for(&List::default(), Path::new("/a/x.sif")), None);
    }

    #[test]
    fn rules_are_checked() {
        let print = "5994BE54C31CF1B5E1994F987C52CF6D055F072B";
        let group = |mode: &str, print: &str| {
            list(&format!(
                "[[execgroup]]\nmode = \"{mode}\"\nkeyfp = [\"{print}\"]\n"
            ))
        };
        assert!(valid(&group("whitelist", print)).is_ok());
        assert!(valid(&group("foo", print)).is_err());
        assert!(valid(&group("whitelist", &print[1..])).is_err());
        let twice = format!(
            "{0}{0}",
            format_args!("[[execgroup]]\nmode = \"blacklist\"\nkeyfp = [\"{print}\"]\n")
        );
        assert!(valid(&list(&twice)).is_err());
    }
}
