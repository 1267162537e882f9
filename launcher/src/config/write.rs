//! Changing one directive of a configuration. Everything else, comments too, stays as it is:
//! Apptainer writes the whole file anew.

use super::directives::{Directive, Kind};
use super::parse::{self, Directives, directive};

/// What is done to a directive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    /// Gives it a value; a list gets more items.
    Set,
    /// Takes a value, or items of a list, away.
    Unset,
    /// Makes it what it is by default.
    Reset,
}

/// `text` with `change` made to the directive.
///
/// # Errors
/// What cannot be done, in one line.
pub fn edit(text: &str, wanted: &Directive, change: Change, value: &str) -> Result<String, String> {
    let mut items: Vec<&str> = Vec::new();
    for item in value.split(',').map(str::trim) {
        if !item.is_empty() && !items.contains(&item) {
            items.push(item);
        }
    }
    let present = Directives::read(text);
    let edited = match change {
        Change::Set if items.is_empty() => {
            return Err(format!(
                "you must specify a value for directive {:?}",
                wanted.name
            ));
        }
        Change::Set if wanted.kind == Kind::List => {
            let known = present.values(wanted.name);
            items.retain(|item| !holds(known, item));
            let lines: Vec<String> = items.iter().map(|item| line(wanted, item)).collect();
            insert(text, wanted, &lines, false)
        }
        Change::Set => insert(text, wanted, &[line(wanted, &items.join(","))], true),
        Change::Unset => {
            let known = present.values(wanted.name);
            if !items.iter().any(|item| holds(known, item)) {
                return Err(format!(
                    "value '{value}' not found for directive {:?}",
                    wanted.name
                ));
            }
            without(text, wanted, &items)
        }
        Change::Reset => {
            let defaults: Vec<String> = match wanted.kind {
                // Without a line of it, a list is empty.
                Kind::List => wanted
                    .default
                    .split(',')
                    .filter(|item| !item.is_empty())
                    .map(|item| line(wanted, item))
                    .collect(),
                _ => Vec::new(),
            };
            insert(text, wanted, &defaults, true)
        }
    };
    parse::config(&Directives::read(&edited))
        .map_err(|reason| format!("configuration directive invalid: {reason}"))?;
    Ok(edited)
}

fn line(wanted: &Directive, value: &str) -> String {
    format!("{} = {value}\n", wanted.name)
}

/// Whether one of the values as written is, or has among its items, `item`.
fn holds(values: &[String], item: &str) -> bool {
    values
        .iter()
        .any(|value| value == item || value.split(',').any(|part| part.trim() == item))
}

/// Whether `line` sets the directive.
fn sets(line: &str, wanted: &Directive) -> bool {
    directive(line).is_some_and(|(name, _)| name == wanted.name)
}

/// Puts `lines` in front of the first line that sets the directive, or at the end; with `replace`,
/// in place of all lines that do.
fn insert(text: &str, wanted: &Directive, lines: &[String], replace: bool) -> String {
    let mut edited = String::with_capacity(text.len() + 64);
    let mut to_come = Some(lines);
    for old in text.split_inclusive('\n') {
        if sets(old, wanted) {
            edited.extend(
                to_come
                    .take()
                    .unwrap_or_default()
                    .iter()
                    .map(String::as_str),
            );
            if replace {
                continue;
            }
        }
        edited.push_str(old);
    }
    let rest = to_come.unwrap_or_default();
    if !rest.is_empty() && !edited.is_empty() && !edited.ends_with('\n') {
        edited.push('\n');
    }
    edited.extend(rest.iter().map(String::as_str));
    edited
}

/// Takes the items away; a line that has others beside them keeps those.
fn without(text: &str, wanted: &Directive, items: &[&str]) -> String {
    let mut edited = String::with_capacity(text.len());
    for old in text.split_inclusive('\n') {
        let value = directive(old).map_or("", |(_, value)| value);
        if !sets(old, wanted) || value.is_empty() {
            edited.push_str(old);
            continue;
        }
        let left: Vec<&str> = value
            .split(',')
            .map(str::trim)
            .filter(|part| !items.contains(part))
            .collect();
        if left.len() == value.split(',').count() {
            edited.push_str(old);
        } else if !left.is_empty() {
            edited.push_str(&line(wanted, &left.join(", ")));
        }
    }
    edited
}

#[cfg(test)]
mod tests {
    use super::super::directives::find;
    use super::*;

    const TEXT: &str = "# about homes\nmount home = yes\nbind path = /a, /b\nbind path=/c";

    fn edited(name: &str, change: Change, value: &str) -> Result<String, String> {
        edit(TEXT, find(name).unwrap(), change, value)
    }

    #[test]
    fn single_values() {
        assert_eq!(
            edited("mount home", Change::Set, "no").unwrap(),
            TEXT.replace("yes", "no")
        );
        assert_eq!(
            edited("mount tmp", Change::Set, "no").unwrap(),
            format!("{TEXT}\nmount tmp = no\n")
        );
        assert_eq!(
            edited("mount home", Change::Unset, "yes").unwrap(),
            TEXT.replace("mount home = yes\n", "")
        );
        assert_eq!(
            edited("mount home", Change::Reset, "").unwrap(),
            TEXT.replace("mount home = yes\n", "")
        );
    }

    #[test]
    fn lists() {
        assert_eq!(
            edited("bind path", Change::Set, "/d,/b,/d").unwrap(),
            TEXT.replace("bind path = /a", "bind path = /d\nbind path = /a")
        );
        assert_eq!(
            edited("bind path", Change::Unset, "/b").unwrap(),
            TEXT.replace("/a, /b", "/a")
        );
        assert_eq!(
            edited("bind path", Change::Unset, "/a,/b,/c").unwrap(),
            "# about homes\nmount home = yes\n"
        );
        assert_eq!(
            edited("bind path", Change::Reset, "").unwrap(),
            "# about homes\nmount home = yes\nbind path = /etc/localtime\nbind path = /etc/hosts\n"
        );
    }

    #[test]
    fn refusals() {
        for (name, change, value, reason) in [
            (
                "mount home",
                Change::Set,
                "",
                "you must specify a value for directive \"mount home\"",
            ),
            (
                "mount home",
                Change::Set,
                "maybe",
                "configuration directive invalid: value authorized for directive \"mount home\" are \
                 [yes no]",
            ),
            (
                "bind path",
                Change::Unset,
                "/z",
                "value '/z' not found for directive \"bind path\"",
            ),
        ] {
            assert_eq!(edited(name, change, value).unwrap_err(), reason);
        }
    }
}
