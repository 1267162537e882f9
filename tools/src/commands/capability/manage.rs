//! `capability add`, `drop` and `list`.

use std::collections::BTreeMap;
use std::io;

use anyhow::{Context as _, anyhow, bail};
use serde::Serialize;
use serde_json::ser::PrettyFormatter;
use skiff_launcher::accounts;
use skiff_launcher::config::capabilities::{CapabilityFile, split};

use crate::cli::admin::{CapabilityArgs, NameArgs, word};
use crate::commands::config::file::Held;
use crate::exit::ExitStatus;
use crate::output;
use crate::text::os_error;

/// Who has capabilities.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    User,
    Group,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Group => "group",
        }
    }
}

type Owners = BTreeMap<String, Vec<String>>;

/// What is done to the capabilities of one.
type Change = fn(&mut Owners, Kind, &str, &[String]) -> anyhow::Result<()>;

/// `capability add`
///
/// # Errors
/// Not root, unknown users and groups, a file that cannot be written.
pub(super) fn add(args: &CapabilityArgs) -> anyhow::Result<ExitStatus> {
    manage(args, give).context("Unable to add capabilities")
}

/// `capability drop`
///
/// # Errors
/// As [`add`].
pub(super) fn drop(args: &CapabilityArgs) -> anyhow::Result<ExitStatus> {
    manage(args, take).context("Unable to drop capabilities")
}

fn manage(args: &CapabilityArgs, change: Change) -> anyhow::Result<ExitStatus> {
    if !rustix::process::getuid().is_root() {
        bail!("while managing capability file: only root user can manage capabilities");
    }
    let (known, unknown) = split(&word(&args.words, 0));
    if !unknown.is_empty() {
        output::warning(format_args!(
            "Ignoring unknown capabilities: [{}]",
            unknown.join(" ")
        ));
    }
    let user = args.user.as_deref().filter(|name| !name.is_empty());
    let group = args.group.as_deref().filter(|name| !name.is_empty());
    if user.is_none() && group.is_none() {
        bail!("no user or group specified");
    }
    let opening =
        |error: io::Error| anyhow!("while opening capability config file: {}", os_error(&error));
    let path = CapabilityFile::path();
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(opening)?;
    }
    let held = Held::open(&path, true).map_err(opening)?;
    let text = held.text().map_err(opening)?;
    let mut file = parse(text.as_bytes())?;
    if let Some(user) = user {
        let failed = || format!("while setting capabilities for user {user}");
        accounts::user(user)
            .context("user does not exist")
            .with_context(failed)?;
        change(&mut file.users, Kind::User, user, &known).with_context(failed)?;
    }
    if let Some(group) = group {
        let failed = || format!("while setting capabilities for group {group}");
        accounts::group(group)
            .context("group does not exist")
            .with_context(failed)?;
        change(&mut file.groups, Kind::Group, group, &known).with_context(failed)?;
    }
    held.replace(&pretty(&file)?).map_err(|error| {
        anyhow!(
            "while writing capability data to file: {}",
            os_error(&error)
        )
    })?;
    Ok(ExitStatus::Success)
}

fn parse(text: &[u8]) -> anyhow::Result<CapabilityFile> {
    CapabilityFile::parse(text)
        .map_err(|error| anyhow!("while parsing capability config data: {error}"))
}

/// The file's text, indented as Apptainer does it.
fn pretty(file: &CapabilityFile) -> anyhow::Result<String> {
    let mut text = Vec::new();
    let format = PrettyFormatter::with_indent(b"\t");
    file.serialize(&mut serde_json::Serializer::with_formatter(
        &mut text, format,
    ))
    .context("encoding the capabilities")?;
    Ok(String::from_utf8(text)?)
}

fn give(owners: &mut Owners, kind: Kind, name: &str, wanted: &[String]) -> anyhow::Result<()> {
    let own = owners.entry(name.to_owned()).or_default();
    for capability in wanted {
        if own.contains(capability) {
            output::warning(format_args!(
                "Won't add capability '{capability}', already assigned to {} {name}",
                kind.name()
            ));
            continue;
        }
        own.push(capability.clone());
        if kind == Kind::User {
            output::warning(format_args!(
                "Adding '{capability}' capability will likely allow user {name} to escalate \
                 privilege on the host"
            ));
            output::warning(format_args!(
                "Use 'apptainer capability drop --user {name} {capability}' to reverse this action \
                 if necessary"
            ));
        }
    }
    owners.retain(|_, own| !own.is_empty());
    Ok(())
}

fn take(owners: &mut Owners, kind: Kind, name: &str, wanted: &[String]) -> anyhow::Result<()> {
    let Some(own) = owners.get_mut(name) else {
        bail!(
            "{} '{name}' doesn't have any capability assigned",
            kind.name()
        );
    };
    for capability in wanted {
        if !own.contains(capability) {
            output::warning(format_args!(
                "Won't drop capability '{capability}', not assigned to {} {name}",
                kind.name()
            ));
        }
    }
    own.retain(|capability| !wanted.contains(capability));
    owners.retain(|_, own| !own.is_empty());
    Ok(())
}

/// `capability list`
///
/// # Errors
/// Nobody has any; a file that cannot be read.
pub(super) fn list(args: &NameArgs) -> anyhow::Result<ExitStatus> {
    let failed = "Unable to list capabilities";
    let file = CapabilityFile::load()
        .map_err(|error| anyhow!("while opening capability config file: {}", os_error(&error)))
        .context(failed)?;
    let wanted = args.words.first().map(|_| word(&args.words, 0));
    if wanted.as_deref() == Some("") {
        bail!("{failed}: while listing capabilities: must specify a user or a group");
    }
    let text = table(&file, wanted.as_deref());
    if text.is_empty() {
        let nobody = match wanted {
            Some(name) => anyhow!("no capability set for user/group {name}"),
            None => anyhow!("no capability set for users or groups"),
        };
        return Err(nobody.context(failed));
    }
    output::stdout(text)?;
    Ok(ExitStatus::Success)
}

fn table(file: &CapabilityFile, wanted: Option<&str>) -> String {
    let users = file.users.iter().map(|entry| (Kind::User, entry));
    let groups = file.groups.iter().map(|entry| (Kind::Group, entry));
    users
        .chain(groups)
        .filter(|(_, (name, own))| !own.is_empty() && wanted.is_none_or(|wanted| *name == wanted))
        .map(|(kind, (name, own))| format!("{name} [{}]: {}\n", kind.name(), own.join(",")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn giving_taking_and_listing() {
        let mut file = CapabilityFile::default();
        give(
            &mut file.users,
            Kind::User,
            "ann",
            &names(&["CAP_KILL", "CAP_CHOWN"]),
        )
        .unwrap();
        give(&mut file.groups, Kind::Group, "ann", &names(&["CAP_KILL"])).unwrap();
        give(&mut file.users, Kind::User, "bob", &[]).unwrap();
        assert_eq!(
            table(&file, None),
            "ann [user]: CAP_KILL,CAP_CHOWN\nann [group]: CAP_KILL\n"
        );
        assert_eq!(table(&file, Some("bob")), "");
        take(&mut file.users, Kind::User, "ann", &names(&["CAP_KILL"])).unwrap();
        take(&mut file.groups, Kind::Group, "ann", &names(&["CAP_KILL"])).unwrap();
        assert_eq!(
            pretty(&file).unwrap(),
            "{\n\t\"users\": {\n\t\t\"ann\": [\n\t\t\t\"CAP_CHOWN\"\n\t\t]\n\t}\n}"
        );
        assert_eq!(
            take(&mut file.users, Kind::User, "bob", &[])
                .unwrap_err()
                .to_string(),
            "user 'bob' doesn't have any capability assigned"
        );
        assert_eq!(pretty(&CapabilityFile::default()).unwrap(), "{}");
    }
}
