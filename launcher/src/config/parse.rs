//! From the text of a configuration to its values. Lines that are no directives, and directives
//! that nobody knows, are passed over, as in Apptainer; of a directive that takes one value and is
//! there several times the first counts.

use std::path::PathBuf;

use super::directives::{DIRECTIVES, Directive, Effect, Kind};
use super::{Config, DevWish, RootCapabilities};

/// The directives of a text: each name with its values, as written, in order.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Directives(Vec<(String, Vec<String>)>);

/// Name and value of a line, if it is a directive.
pub fn directive(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.split_once('=')?;
    let (name, value) = (name.trim(), value.trim());
    let is_name = |byte: u8| byte.is_ascii_alphabetic() || matches!(byte, b' ' | b'_' | b'-');
    (!name.is_empty() && name.bytes().all(is_name)).then_some((name, value))
}

impl Directives {
    /// Reads a text.
    pub fn read(text: &str) -> Self {
        let mut found = Self::default();
        for (name, value) in text.lines().filter_map(directive) {
            // An empty value is as good as none.
            if value.is_empty() {
                continue;
            }
            match found.0.iter_mut().find(|(known, _)| known == name) {
                Some((_, values)) => values.push(value.to_owned()),
                None => found.0.push((name.to_owned(), vec![value.to_owned()])),
            }
        }
        found
    }

    /// The values of a directive, as written.
    pub fn values(&self, name: &str) -> &[String] {
        let mut all = self.0.iter();
        all.find(|(known, _)| known == name)
            .map_or(&[], |(_, values)| values.as_slice())
    }

    /// The one value of a directive.
    fn value(&self, directive: &Directive) -> &str {
        self.values(directive.name)
            .first()
            .and_then(|value| value.split(',').next())
            .unwrap_or(directive.default)
    }

    /// The items of a directive.
    fn items(&self, name: &str) -> Vec<String> {
        let values = self.values(name).iter();
        values
            .flat_map(|value| value.split(','))
            .map(str::trim)
            .filter(|item| !item.is_empty())
            .map(str::to_owned)
            .collect()
    }
}

/// The configuration that `given` makes.
///
/// # Errors
/// What is wrong with a value.
pub fn config(given: &Directives) -> Result<Config, String> {
    let mut config = Config::default();
    for directive in DIRECTIVES {
        let value = given.value(directive);
        check(directive, value)?;
        // A file that names no bind paths wants none: the default is for those without a file.
        match directive.kind {
            Kind::List => list(&mut config, directive.name, given.items(directive.name)),
            _ if given.values(directive.name).is_empty() => {}
            _ => single(&mut config, directive.name, value),
        }
        let says_something = !given.values(directive.name).is_empty() && value != directive.default;
        if says_something && directive.effect != Effect::Same {
            config.unheeded.push(directive);
        }
    }
    Ok(config)
}

/// Whether a directive can have this value.
fn check(directive: &Directive, value: &str) -> Result<(), String> {
    let name = directive.name;
    match directive.kind {
        Kind::Flag if !matches!(value, "yes" | "no") => Err(format!(
            "value authorized for directive {name:?} are [yes no]"
        )),
        Kind::Choice(words) if !words.contains(&value) => Err(format!(
            "value authorized for directive '{name}' are [{}]",
            words.join(" ")
        )),
        Kind::Number if number(value).is_none() => Err(format!(
            "value authorized for directive {name:?} are numbers, not {value:?}"
        )),
        _ => Ok(()),
    }
}

/// A number as Go's parser reads it: `0x`, `0o` and `0b` announce other bases.
fn number(text: &str) -> Option<u64> {
    let text = text.to_ascii_lowercase();
    let based = |prefix, base| {
        let digits = text.strip_prefix(prefix)?;
        Some(u64::from_str_radix(digits, base).ok())
    };
    if text.starts_with('+') {
        return None;
    }
    based("0x", 16)
        .or_else(|| based("0o", 8))
        .or_else(|| based("0b", 2))
        .or_else(|| (text != "0").then(|| based("0", 8))?)
        .unwrap_or_else(|| text.parse().ok())
}

fn single(config: &mut Config, name: &str, value: &str) {
    if let Some(flag) = flag(config, name) {
        *flag = value == "yes";
        return;
    }
    match name {
        "mount dev" => {
            config.mount_dev = match value {
                "minimal" => DevWish::Minimal,
                "no" => DevWish::No,
                _ => DevWish::Yes,
            };
        }
        "enable overlay" => {
            config.enable_overlay = value != "no";
            config.overlay_driver = value == "driver";
        }
        "sessiondir max size" => {
            config.session_size_mib = number(value).unwrap_or(config.session_size_mib);
        }
        "memory fs type" => config.ramfs = value == "ramfs",
        "root default capabilities" => {
            config.root_capabilities = match value {
                "file" => RootCapabilities::File,
                "no" => RootCapabilities::No,
                _ => RootCapabilities::Full,
            };
        }
        _ => {}
    }
}

fn list(config: &mut Config, name: &str, items: Vec<String>) {
    let paths = |items: Vec<String>| items.into_iter().map(PathBuf::from).collect();
    match name {
        "bind path" => {
            config.bind_paths = items.iter().filter_map(|item| bind_path(item)).collect();
        }
        "limit container owners" => config.limit_owners = items,
        "limit container groups" => config.limit_groups = items,
        "limit container paths" => config.limit_paths = paths(items),
        "allow net users" => config.net_users = items,
        "allow net groups" => config.net_groups = items,
        "allow net networks" => config.net_networks = items,
        "allow netns paths" => config.netns_paths = paths(items),
        _ => {}
    }
}

/// The field behind a directive that is yes or no.
fn flag<'a>(config: &'a mut Config, name: &str) -> Option<&'a mut bool> {
    Some(match name {
        "allow user ns" => &mut config.allow_user_ns,
        "allow pid ns" => &mut config.allow_pid_ns,
        "allow ipc ns" => &mut config.allow_ipc_ns,
        "allow uts ns" => &mut config.allow_uts_ns,
        "config passwd" => &mut config.config_passwd,
        "config group" => &mut config.config_group,
        "config resolv_conf" => &mut config.config_resolv_conf,
        "mount proc" => &mut config.mount_proc,
        "mount sys" => &mut config.mount_sys,
        "mount devpts" => &mut config.mount_devpts,
        "mount home" => &mut config.mount_home,
        "mount tmp" => &mut config.mount_tmp,
        "mount hostfs" => &mut config.mount_hostfs,
        "user bind control" => &mut config.user_bind_control,
        "enable fusemount" => &mut config.enable_fusemount,
        "mount slave" => &mut config.mount_slave,
        "allow container sif" => &mut config.allow_sif,
        "allow container squashfs" => &mut config.allow_squashfs,
        "allow container extfs" => &mut config.allow_extfs,
        "allow container dir" => &mut config.allow_dir,
        "allow container encrypted" => &mut config.allow_encrypted,
        "always use nv" => &mut config.always_nv,
        "use nvidia-container-cli" => &mut config.nvidia_container_cli,
        "always use rocm" => &mut config.always_rocm,
        "systemd cgroups" => &mut config.systemd_cgroups,
        _ => return None,
    })
}

/// `src[:dst]`; an empty item is nothing.
fn bind_path(text: &str) -> Option<(PathBuf, PathBuf)> {
    let (source, destination) = text.split_once(':').unwrap_or((text, text));
    (!source.is_empty()).then(|| (PathBuf::from(source), PathBuf::from(destination)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, String> {
        config(&Directives::read(text))
    }

    #[test]
    fn an_empty_file_is_the_defaults_without_binds() {
        let none = Config {
            bind_paths: Vec::new(),
            ..Config::default()
        };
        assert_eq!(parse("# nothing\n").unwrap(), none);
        assert_eq!(parse("# nothing\n\nmount home=\n").unwrap(), none);
    }

    #[test]
    fn values_replace_defaults() {
        let config = parse(
            "mount home = no\nmount dev = minimal\nenable overlay = try\nsessiondir max size = 16\n\
             bind path = /etc/hosts, /opt/site:/opt\nbind path = /etc/localtime\nunknown = 1\n\
             memory fs type = ramfs\nroot default capabilities = file\nalways use nv = yes\n\
             limit container paths = /apps, /sw\nallow netns paths = /run/netns/a\n",
        )
        .unwrap();
        assert!(!config.mount_home && config.enable_overlay && config.ramfs && config.always_nv);
        assert_eq!(config.mount_dev, DevWish::Minimal);
        assert_eq!(config.root_capabilities, RootCapabilities::File);
        assert_eq!(config.session_size_mib, 16);
        let pair = |a: &str, b: &str| (PathBuf::from(a), PathBuf::from(b));
        assert_eq!(
            config.bind_paths,
            [
                pair("/etc/hosts", "/etc/hosts"),
                pair("/opt/site", "/opt"),
                pair("/etc/localtime", "/etc/localtime")
            ]
        );
        assert_eq!(
            config.limit_paths,
            [PathBuf::from("/apps"), PathBuf::from("/sw")]
        );
        assert_eq!(config.netns_paths, [PathBuf::from("/run/netns/a")]);
        assert!(config.unheeded.is_empty());
    }

    #[test]
    fn the_first_of_several_counts() {
        assert!(
            !parse("mount home = no\nmount home = yes")
                .unwrap()
                .mount_home
        );
        assert!(!parse("mount home = no,yes").unwrap().mount_home);
    }

    #[test]
    fn what_changes_nothing_is_remembered() {
        let names = |text: &str| -> Vec<&str> {
            let unheeded = parse(text).unwrap().unheeded;
            unheeded.iter().map(|directive| directive.name).collect()
        };
        assert_eq!(
            names("max loop devices = 8\nimage driver = x\nallow setuid = yes\nmount tmp = no"),
            ["max loop devices", "image driver"]
        );
    }

    #[test]
    fn impossible_values() {
        for (text, reason) in [
            (
                "mount home = maybe",
                "value authorized for directive \"mount home\" are [yes no]",
            ),
            (
                "mount home = no # why",
                "value authorized for directive \"mount home\" are [yes no]",
            ),
            (
                "mount dev = most",
                "value authorized for directive 'mount dev' are [yes no minimal]",
            ),
            (
                "sessiondir max size = 1G",
                "value authorized for directive \"sessiondir max size\" are numbers, not \"1G\"",
            ),
        ] {
            assert_eq!(parse(text).unwrap_err(), reason);
        }
    }

    #[test]
    fn numbers() {
        for (text, expected) in [
            ("0", Some(0)),
            ("64", Some(64)),
            ("0x10", Some(16)),
            ("0b11", Some(3)),
            ("010", Some(8)),
            ("", None),
            ("-1", None),
            ("+1", None),
            ("0x", None),
        ] {
            assert_eq!(number(text), expected, "{text}");
        }
    }

    #[test]
    fn defaults_of_the_table_are_those_of_the_value() {
        for directive in DIRECTIVES {
            if directive.kind != Kind::List {
                check(directive, directive.default).unwrap();
                let mut config = Config::default();
                single(&mut config, directive.name, directive.default);
                assert_eq!(config, Config::default(), "{}", directive.name);
            }
        }
        let mut config = Config::default();
        let binds = Directives::read("bind path = /etc/localtime,/etc/hosts").items("bind path");
        list(&mut config, "bind path", binds);
        assert_eq!(config, Config::default());
    }
}
