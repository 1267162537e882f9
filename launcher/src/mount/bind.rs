//! The grammar of binds: `src[:dst[:opts]]` lists and `--mount` specifications to
//! [`Bind`]s. Pure: nothing is looked up here.
//!
//! In a list, a comma ends a bind unless what follows it is one more option of a bind that
//! already has options: `/a:/b:ro,rw,/c` are two binds. `\,` and `\:` stand for themselves, space
//! around a bind is dropped.

use std::path::PathBuf;

use crate::request::{Bind, ImageBind};

/// A bind that cannot be understood.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BindError {
    /// More than three fields.
    #[error(
        "while parsing bind path: while getting bind path: bad bind syntax \"{given}:\": should be {given}"
    )]
    TooManyFields {
        /// The first three fields.
        given: String,
    },
    /// An option that does not exist.
    #[error(
        "while parsing bind path: while getting bind path: {option} is not a valid bind option"
    )]
    Option {
        /// As given.
        option: String,
    },
    /// A `--mount` that cannot be understood.
    #[error("while parsing mount {given:?}: {reason}")]
    Mount {
        /// As given.
        given: String,
        /// Why.
        reason: MountSpecError,
    },
}

/// What is wrong with a `--mount`.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum MountSpecError {
    /// Quotes in the wrong place.
    #[error("error parsing mount: parse error on line 1, column {column}: {what}")]
    Quote {
        /// Byte column, counted from 1.
        column: usize,
        /// Which mistake.
        what: &'static str,
    },
    /// Another type than `bind`.
    #[error("unsupported mount type {0:?}, only 'bind' is supported")]
    Type(String),
    /// Propagation is for administrators.
    #[error(
        "bind-propagation not supported for individual mounts, check apptainer.conf for global setting"
    )]
    Propagation,
    /// An unknown key.
    #[error("invalid key {0:?} in mount specification")]
    Key(String),
    /// Source or destination is missing.
    #[error("mounts must specify a source and a destination")]
    Incomplete,
}

/// Parses the value of one `--bind`, or of a variable such as `APPTAINER_BIND`.
///
/// # Errors
/// The first mistake.
pub fn parse_binds(text: &str) -> Result<Vec<Bind>, BindError> {
    let mut binds = Vec::new();
    let mut current: Option<Vec<String>> = None;
    for item in split_unescaped(text, ',') {
        let item = item.trim();
        match &mut current {
            Some(fields) if fields.len() == 3 && is_option(item) => {
                if let Some(options) = fields.last_mut() {
                    options.push(',');
                    options.push_str(item);
                }
            }
            _ => {
                binds.extend(finish(current.take())?);
                current = Some(split_unescaped(item, ':'));
            }
        }
    }
    binds.extend(finish(current)?);
    Ok(binds)
}

fn is_option(text: &str) -> bool {
    matches!(text, "ro" | "rw") || text.starts_with("image-src=") || text.starts_with("id=")
}

/// Splits at `separator` where no backslash precedes it; escapes stay for [`unescape`].
fn split_unescaped(text: &str, separator: char) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut escaped = false;
    for character in text.chars() {
        if character == separator && !escaped {
            parts.push(String::new());
        } else if let Some(part) = parts.last_mut() {
            part.push(character);
        }
        escaped = character == '\\' && !escaped;
    }
    parts
}

fn unescape(text: &str) -> String {
    text.replace("\\,", ",").replace("\\:", ":")
}

/// Turns the fields of one bind into a bind; none for an empty item.
fn finish(fields: Option<Vec<String>>) -> Result<Option<Bind>, BindError> {
    let Some(mut fields) = fields else {
        return Ok(None);
    };
    // An empty source is dropped, so that ":/x" means "/x".
    if fields.len() > 1 && fields.first().is_some_and(String::is_empty) {
        fields.remove(0);
    }
    let (source, destination, options) = match fields.as_slice() {
        [source] if source.is_empty() => return Ok(None),
        [source] => (source, source, None),
        [source, destination] => (source, destination, None),
        [source, destination, options] => (source, destination, Some(options)),
        [first, second, third, ..] => {
            return Err(BindError::TooManyFields {
                given: format!("{first}:{second}:{third}"),
            });
        }
        [] => return Ok(None),
    };
    let mut read_only = false;
    let mut image = None;
    for option in options.iter().flat_map(|options| options.split(',')) {
        match option {
            "ro" => read_only = true,
            "rw" => {}
            _ if take_image_option(option, &mut image) => {}
            _ => {
                return Err(BindError::Option {
                    option: option.to_owned(),
                });
            }
        }
    }
    Ok(Some(Bind {
        source: PathBuf::from(unescape(source)),
        destination: PathBuf::from(unescape(destination)),
        read_only,
        image,
    }))
}

/// Takes `image-src=PATH` and `id=NUMBER`, either of which makes the source an image.
fn take_image_option(option: &str, image: &mut Option<ImageBind>) -> bool {
    let start = || ImageBind {
        inside: PathBuf::from("/"),
        ..ImageBind::default()
    };
    match option.split_once('=') {
        Some(("image-src", path)) => {
            let image = image.get_or_insert_with(start);
            if !path.is_empty() {
                image.inside = PathBuf::from(path);
            }
        }
        Some(("id", id)) => image.get_or_insert_with(start).id = Some(id.to_owned()),
        _ => return false,
    }
    true
}

/// Parses the value of one `--mount` or of its variable, where lines are separate mounts.
///
/// # Errors
/// The first mistake.
pub fn parse_mounts(text: &str) -> Result<Vec<Bind>, BindError> {
    text.lines()
        .filter(|line| !line.is_empty())
        .map(|line| {
            let failed = |reason| BindError::Mount {
                given: line.to_owned(),
                reason,
            };
            let fields = csv_fields(line).map_err(failed)?;
            parse_mount(&fields, failed)
        })
        .collect()
}

fn parse_mount(
    fields: &[String],
    failed: impl Fn(MountSpecError) -> BindError,
) -> Result<Bind, BindError> {
    let mut source = None;
    let mut destination = None;
    let mut read_only = false;
    let mut image = None;
    for field in fields {
        let (key, value) = field.split_once('=').unwrap_or((field, ""));
        match key {
            "type" if value == "bind" => {}
            "type" => return Err(failed(MountSpecError::Type(value.to_owned()))),
            "source" | "src" => source = Some(value),
            "destination" | "dst" | "target" => destination = Some(value),
            // Any value counts, as in Apptainer: "ro=false" is read-only.
            "ro" | "readonly" => read_only = true,
            "bind-propagation" => return Err(failed(MountSpecError::Propagation)),
            _ if take_image_option(field, &mut image) => {}
            _ => return Err(failed(MountSpecError::Key(key.to_owned()))),
        }
    }
    match (source, destination) {
        (Some(source), Some(destination)) if !source.is_empty() && !destination.is_empty() => {
            Ok(Bind {
                source: PathBuf::from(source),
                destination: PathBuf::from(destination),
                read_only,
                image,
            })
        }
        _ => Err(failed(MountSpecError::Incomplete)),
    }
}

/// Fields of one line of comma-separated values: a field may be quoted as a whole, with `""` for
/// a quote in it.
fn csv_fields(line: &str) -> Result<Vec<String>, MountSpecError> {
    let mut fields = Vec::new();
    let mut rest = line;
    loop {
        let column = |tail: &str| line.len() - tail.len() + 1;
        let (field, tail) = if let Some(mut quoted) = rest.strip_prefix('"') {
            let mut field = String::new();
            loop {
                let Some((text, after)) = quoted.split_once('"') else {
                    return Err(MountSpecError::Quote {
                        column: line.len() + 1,
                        what: "extraneous or missing \" in quoted-field",
                    });
                };
                field.push_str(text);
                if let Some(after) = after.strip_prefix('"') {
                    field.push('"');
                    quoted = after;
                } else if after.is_empty() || after.starts_with(',') {
                    break (field, after);
                } else {
                    return Err(MountSpecError::Quote {
                        column: column(after) - 1,
                        what: "extraneous or missing \" in quoted-field",
                    });
                }
            }
        } else {
            let end = rest.find(',').unwrap_or(rest.len());
            let (field, tail) = rest.split_at(end);
            if let Some(quote) = field.find('"') {
                return Err(MountSpecError::Quote {
                    column: column(rest) + quote,
                    what: "bare \" in non-quoted-field",
                });
            }
            (field.to_owned(), tail)
        };
        fields.push(field);
        match tail.strip_prefix(',') {
            Some(tail) => rest = tail,
            None => return Ok(fields),
        }
    }
}

#[cfg(test)]
mod tests;
