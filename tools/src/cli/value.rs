//! Values of flags as Apptainer's command line reads them, which is as Go does.
//!
//! | kind | syntax |
//! |---|---|
//! | bool | `--x`, `--x=false`; only Go's spellings |
//! | strings | comma separated with CSV quotes, repeatable |
//! | stringToString | `K=V`; with several `=` a CSV list of them, repeatable |
//! | int | Go's integer literals |

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use clap::builder::{TypedValueParser, ValueParserFactory};

/// Go's `strconv.ParseBool`.
///
/// # Errors
/// The text that Go gives.
pub fn parse_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
        _ => Err(format!(
            "strconv.ParseBool: parsing {text:?}: invalid syntax"
        )),
    }
}

/// Go's `strconv.ParseInt` with base 0: a sign, a prefix for the base, underscores after a prefix.
///
/// # Errors
/// The text that Go gives.
pub fn parse_int(text: &str) -> Result<i64, String> {
    let fail = |reason: &str| format!("strconv.ParseInt: parsing {text:?}: {reason}");
    let (negative, digits) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let lower = digits.to_ascii_lowercase();
    let (base, number) = if let Some(rest) = lower.strip_prefix("0x") {
        (16, rest)
    } else if let Some(rest) = lower.strip_prefix("0b") {
        (2, rest)
    } else if let Some(rest) = lower.strip_prefix("0o") {
        (8, rest)
    } else if lower.len() > 1 && lower.starts_with('0') {
        (8, &lower[1..])
    } else {
        (10, lower.as_str())
    };
    let cleaned = if base == 10 {
        number.to_owned()
    } else {
        number.replace('_', "")
    };
    if cleaned.is_empty() || !cleaned.bytes().all(|digit| (digit as char).is_digit(base)) {
        return Err(fail("invalid syntax"));
    }
    let magnitude = i128::from_str_radix(&cleaned, base).map_err(|_| fail("value out of range"))?;
    let signed = if negative { -magnitude } else { magnitude };
    i64::try_from(signed).map_err(|_| fail("value out of range"))
}

/// Go's `%q` for the texts that occur here.
pub fn quote(text: &OsStr) -> String {
    let mut quoted = String::from("\"");
    for chunk in text.as_bytes().utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '"' | '\\' => quoted.extend(['\\', character]),
                '\n' => quoted.push_str("\\n"),
                '\t' => quoted.push_str("\\t"),
                '\r' => quoted.push_str("\\r"),
                control if control.is_control() => {
                    quoted.push_str(&format!("\\x{:02x}", u32::from(control)));
                }
                plain => quoted.push(plain),
            }
        }
        for byte in chunk.invalid() {
            quoted.push_str(&format!("\\x{byte:02x}"));
        }
    }
    quoted.push('"');
    quoted
}

/// Splits one CSV record; fields may be wrapped in double quotes.
///
/// # Errors
/// The text that Go's CSV reader gives.
pub fn split_csv(record: &[u8]) -> Result<Vec<OsString>, String> {
    let mut fields = Vec::new();
    let mut position = 0;
    loop {
        let mut field = Vec::new();
        if record.get(position) == Some(&b'"') {
            position += 1;
            loop {
                match record.get(position) {
                    None => {
                        return Err(csv_error(
                            position,
                            "extraneous or missing \" in quoted-field",
                        ));
                    }
                    Some(b'"') if record.get(position + 1) == Some(&b'"') => {
                        field.push(b'"');
                        position += 2;
                    }
                    Some(b'"') => {
                        position += 1;
                        break;
                    }
                    Some(&byte) => {
                        field.push(byte);
                        position += 1;
                    }
                }
            }
            if !matches!(record.get(position), None | Some(b',')) {
                return Err(csv_error(
                    position - 1,
                    "extraneous or missing \" in quoted-field",
                ));
            }
        } else {
            while let Some(&byte) = record.get(position) {
                match byte {
                    b',' => break,
                    b'"' => return Err(csv_error(position, "bare \" in non-quoted-field")),
                    _ => field.push(byte),
                }
                position += 1;
            }
        }
        fields.push(OsString::from_vec(field));
        if position >= record.len() {
            return Ok(fields);
        }
        position += 1;
    }
}

fn csv_error(position: usize, what: &str) -> String {
    format!("parse error on line 1, column {}: {what}", position + 1)
}

/// One occurrence of a `strings` flag.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Strings(pub Vec<OsString>);

impl Strings {
    /// All items of all occurrences.
    pub fn flatten(occurrences: &[Self]) -> impl Iterator<Item = &OsString> {
        occurrences.iter().flat_map(|occurrence| &occurrence.0)
    }

    fn parse(text: &OsStr) -> Result<Self, String> {
        if text.is_empty() {
            Ok(Self::default())
        } else {
            split_csv(text.as_bytes()).map(Self)
        }
    }
}

/// One occurrence of a `stringToString` flag.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Assignments(pub Vec<(OsString, OsString)>);

impl Assignments {
    fn parse(text: &OsStr) -> Result<Self, String> {
        let bytes = text.as_bytes();
        let fields = match bytes.iter().filter(|&&byte| byte == b'=').count() {
            0 => return Err(format!("{} must be formatted as key=value", text.display())),
            1 => vec![OsStr::from_bytes(trim_quotes(bytes)).to_owned()],
            _ => split_csv(bytes)?,
        };
        fields
            .iter()
            .map(|field| {
                let field_bytes = field.as_bytes();
                let Some(equals) = field_bytes.iter().position(|&byte| byte == b'=') else {
                    return Err(format!(
                        "{} must be formatted as key=value",
                        field.display()
                    ));
                };
                Ok((
                    OsStr::from_bytes(&field_bytes[..equals]).to_owned(),
                    OsStr::from_bytes(&field_bytes[equals + 1..]).to_owned(),
                ))
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

fn trim_quotes(mut bytes: &[u8]) -> &[u8] {
    while let [b'"', rest @ ..] = bytes {
        bytes = rest;
    }
    while let [rest @ .., b'"'] = bytes {
        bytes = rest;
    }
    bytes
}

/// Lets clap read a type of ours from the raw bytes of the command line.
#[derive(Clone, Copy, Debug)]
pub struct RawParser<T>(fn(&OsStr) -> Result<T, String>);

impl<T: Clone + Send + Sync + 'static> TypedValueParser for RawParser<T> {
    type Value = T;

    fn parse_ref(
        &self,
        command: &clap::Command,
        argument: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<T, clap::Error> {
        (self.0)(value).map_err(|reason| {
            let mut error =
                clap::Error::new(clap::error::ErrorKind::ValueValidation).with_cmd(command);
            let name = argument.map(flag_names).unwrap_or_default();
            for (kind, text) in [
                (clap::error::ContextKind::InvalidArg, name),
                (clap::error::ContextKind::InvalidValue, quote(value)),
                // The reason has no place of its own in clap's errors; it is taken from here
                // when the message is worded.
                (clap::error::ContextKind::Custom, reason),
            ] {
                error.insert(kind, clap::error::ContextValue::String(text));
            }
            error
        })
    }
}

/// `-p, --pid`
fn flag_names(argument: &clap::Arg) -> String {
    let long = argument.get_long().unwrap_or_default();
    match argument.get_short() {
        Some(short) => format!("-{short}, --{long}"),
        None => format!("--{long}"),
    }
}

impl ValueParserFactory for Strings {
    type Parser = RawParser<Self>;

    fn value_parser() -> Self::Parser {
        RawParser(Self::parse)
    }
}

impl ValueParserFactory for Assignments {
    type Parser = RawParser<Self>;

    fn value_parser() -> Self::Parser {
        RawParser(Self::parse)
    }
}

/// Parser of switches.
pub const fn bool_parser() -> RawParser<bool> {
    RawParser(|text| parse_bool(&text.to_string_lossy()))
}

/// Parser of integers.
pub const fn int_parser() -> RawParser<i64> {
    RawParser(|text| parse_int(&text.to_string_lossy()))
}

/// Parser of integers of 32 bits.
pub const fn int32_parser() -> RawParser<i32> {
    RawParser(|text| {
        let text = text.to_string_lossy();
        let number = parse_int(&text)?;
        i32::try_from(number)
            .map_err(|_| format!("strconv.ParseInt: parsing {text:?}: value out of range"))
    })
}

/// Parser of integers of 32 bits that have no sign.
pub const fn uint32_parser() -> RawParser<u32> {
    RawParser(|text| {
        let text = text.to_string_lossy();
        let fail = |reason: &str| format!("strconv.ParseUint: parsing {text:?}: {reason}");
        if text.starts_with(['+', '-']) {
            return Err(fail("invalid syntax"));
        }
        let number = parse_int(&text).map_err(|reason| reason.replace("ParseInt", "ParseUint"))?;
        u32::try_from(number).map_err(|_| fail("value out of range"))
    })
}

#[cfg(test)]
mod tests;
