//! The two ways to ask for a bind mount: `--bind src[:dst[:opts]]` and `--mount type=bind,…`.
//!
//! In a `--bind` list commas separate both whole specifications and options of one; a piece is an
//! option when it is spelled like one and stands behind a destination. There is no escape.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use skiff_launcher::request::Bind;

use super::value::{quote, split_csv};

/// Why a specification was refused, worded as users of Apptainer know it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BindError(String);

impl std::fmt::Display for BindError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BindError {}

/// Reads one value of `--bind`.
///
/// # Errors
/// [`BindError`] for too many fields and unknown options.
pub fn parse_bind(text: &OsStr) -> Result<Vec<Bind>, BindError> {
    specifications(text.as_bytes())
        .iter()
        .map(|specification| parse_one(specification))
        .collect::<Result<_, _>>()
        .map_err(|error| {
            BindError(format!(
                "while parsing bind path: while getting bind path: {error}"
            ))
        })
}

/// Cuts a list into specifications.
fn specifications(list: &[u8]) -> Vec<Vec<u8>> {
    let mut found: Vec<Vec<u8>> = Vec::new();
    // Colons seen in the specification under way; an option can only follow the second.
    let mut colons = 0;
    for piece in list.split(|&byte| byte == b',') {
        let piece = piece.trim_ascii();
        if piece.is_empty() {
            continue;
        }
        if colons >= 2
            && is_option(piece)
            && let Some(current) = found.last_mut()
        {
            current.push(b',');
            current.extend_from_slice(piece);
            continue;
        }
        colons = piece.iter().filter(|&&byte| byte == b':').count();
        found.push(piece.to_vec());
    }
    found
}

fn is_option(piece: &[u8]) -> bool {
    piece == b"ro"
        || piece == b"rw"
        || piece.starts_with(b"image-src=")
        || piece.starts_with(b"id=")
}

fn parse_one(specification: &[u8]) -> Result<Bind, BindError> {
    let fields: Vec<&[u8]> = specification.split(|&byte| byte == b':').collect();
    let (source, destination, options) = match fields.as_slice() {
        [source] => (*source, *source, None),
        [source, destination] => (*source, *destination, None),
        [source, destination, options] => (*source, *destination, Some(*options)),
        _ => {
            let usable = fields[..3].join(&b':');
            return Err(BindError(format!(
                "bad bind syntax {}: should be {}",
                quote(OsStr::from_bytes(&[&usable[..], b":"].concat())),
                String::from_utf8_lossy(&usable),
            )));
        }
    };
    let mut read_only = false;
    for option in options
        .into_iter()
        .flat_map(|list| list.split(|&byte| byte == b','))
    {
        match option {
            b"ro" => read_only = true,
            b"rw" => read_only = false,
            other if is_option(other) => return Err(image_bind()),
            other => {
                return Err(BindError(format!(
                    "{} is not a valid bind option",
                    String::from_utf8_lossy(other)
                )));
            }
        }
    }
    Ok(Bind {
        source: path(source),
        destination: path(destination),
        read_only,
    })
}

/// Reads one value of `--mount`, which may hold several lines.
///
/// # Errors
/// [`BindError`] for other types, unknown keys and missing paths.
pub fn parse_mount(text: &OsStr) -> Result<Vec<Bind>, BindError> {
    text.as_bytes()
        .split(|&byte| byte == b'\n')
        .filter(|line| !line.trim_ascii().is_empty())
        .map(|line| {
            parse_mount_line(line).map_err(|error| {
                BindError(format!(
                    "while parsing mount {}: {error}",
                    quote(OsStr::from_bytes(line))
                ))
            })
        })
        .collect()
}

fn parse_mount_line(line: &[u8]) -> Result<Bind, BindError> {
    let mut source = None;
    let mut destination = None;
    let mut read_only = false;
    for field in split_csv(line.trim_ascii())
        .map_err(|error| BindError(format!("error parsing mount: {error}")))?
    {
        let bytes = field.as_bytes();
        let (key, value) = match bytes.iter().position(|&byte| byte == b'=') {
            Some(equals) => (&bytes[..equals], Some(&bytes[equals + 1..])),
            None => (bytes, None),
        };
        match key {
            b"type" => {
                let kind = value.unwrap_or_default();
                if kind != b"bind" {
                    return Err(BindError(format!(
                        "unsupported mount type {}, only 'bind' is supported",
                        quote(OsStr::from_bytes(kind))
                    )));
                }
            }
            b"source" | b"src" => source = Some(filled(value, "source")?),
            b"destination" | b"dst" | b"target" => {
                destination = Some(filled(value, "destination")?);
            }
            // Whatever is assigned to it.
            b"ro" | b"readonly" => read_only = true,
            b"image-src" | b"id" => return Err(image_bind()),
            b"bind-propagation" => {
                return Err(BindError(
                    "bind-propagation not supported for individual mounts, check apptainer.conf \
                     for global setting"
                        .to_owned(),
                ));
            }
            _ => {
                return Err(BindError(format!(
                    "invalid key {} in mount specification",
                    quote(OsStr::from_bytes(key))
                )));
            }
        }
    }
    match (source, destination) {
        (Some(source), Some(destination)) => Ok(Bind {
            source,
            destination,
            read_only,
        }),
        _ => Err(BindError(
            "mounts must specify a source and a destination".to_owned(),
        )),
    }
}

fn filled(value: Option<&[u8]>, what: &str) -> Result<PathBuf, BindError> {
    match value {
        Some(text) if !text.is_empty() => Ok(path(text)),
        _ => Err(BindError(format!("mount {what} cannot be empty"))),
    }
}

fn image_bind() -> BindError {
    BindError("binding from an image file is not supported yet by this version of skiff".to_owned())
}

fn path(bytes: &[u8]) -> PathBuf {
    PathBuf::from(OsString::from(OsStr::from_bytes(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[(&str, &str, bool)]) {
        let expected: Vec<Bind> = expected
            .iter()
            .map(|&(source, destination, read_only)| Bind {
                source: source.into(),
                destination: destination.into(),
                read_only,
            })
            .collect();
        let found = if text.contains("src=") {
            parse_mount(OsStr::new(text))
        } else {
            parse_bind(OsStr::new(text))
        };
        assert_eq!(found, Ok(expected), "{text}");
    }

    #[test]
    fn binds() {
        check("", &[]);
        check("/a", &[("/a", "/a", false)]);
        check("/a:/b", &[("/a", "/b", false)]);
        check("/a:/b:ro", &[("/a", "/b", true)]);
        check("/a:/b:rw", &[("/a", "/b", false)]);
        check("/a,/b:/c", &[("/a", "/a", false), ("/b", "/c", false)]);
        check(
            "/a:/b:ro,rw,/c",
            &[("/a", "/b", false), ("/c", "/c", false)],
        );
        check("/a:/b,,/c:/d,", &[("/a", "/b", false), ("/c", "/d", false)]);
        check(
            " /a:/b , /c:/d ",
            &[("/a", "/b", false), ("/c", "/d", false)],
        );
        check("ro", &[("ro", "ro", false)]);
        check("/a,ro", &[("/a", "/a", false), ("ro", "ro", false)]);
    }

    #[test]
    fn mounts() {
        check("type=bind,src=/a,dst=/b", &[("/a", "/b", false)]);
        check("src=/a,target=/b,readonly", &[("/a", "/b", true)]);
        check(
            "type=bind,src=/a,destination=/b,ro\ntype=bind,src=/c,dst=/d\n",
            &[("/a", "/b", true), ("/c", "/d", false)],
        );
        check("type=bind,\"src=/a,b\",dst=/c", &[("/a,b", "/c", false)]);
    }

    fn refuse(text: &str, expected: &str) {
        let error = if text.contains("src=") || text.contains("dst=") {
            parse_mount(OsStr::new(text))
        } else {
            parse_bind(OsStr::new(text))
        }
        .unwrap_err();
        assert!(error.to_string().ends_with(expected), "{text}: {error}");
    }

    #[test]
    fn refusals() {
        refuse(
            "/a:/b:ro:x",
            "bad bind syntax \"/a:/b:ro:\": should be /a:/b:ro",
        );
        refuse("/a:/b:foo", "foo is not a valid bind option");
        refuse("/a:/b:id=3", "not supported yet by this version of skiff");
        refuse(
            "type=tmpfs,dst=/b",
            "unsupported mount type \"tmpfs\", only 'bind' is supported",
        );
        refuse(
            "type=bind,src=/a",
            "mounts must specify a source and a destination",
        );
        refuse(
            "src=/a,dst=/b,foo",
            "invalid key \"foo\" in mount specification",
        );
        refuse(
            "src=/a,dst=/b,bind-propagation=shared",
            "apptainer.conf for global setting",
        );
    }
}
