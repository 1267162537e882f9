//! `echo` and `printf`.

use super::super::ast::Text;
use super::super::{Shell, escapes, expand};

/// Width and precision at most, so that a format cannot exhaust memory.
const MAX_WIDTH: usize = 4096;

impl Shell<'_> {
    pub(super) fn echo(&mut self, arguments: &[Text]) -> u8 {
        let mut rest = arguments;
        let mut newline = true;
        let mut decode = false;
        while let Some((first, after)) = rest.split_first() {
            let Some(letters) = first.strip_prefix(b"-") else {
                break;
            };
            if letters.is_empty()
                || !letters
                    .iter()
                    .all(|letter| matches!(letter, b'n' | b'e' | b'E'))
            {
                break;
            }
            for letter in letters {
                match letter {
                    b'n' => newline = false,
                    letter => decode = *letter == b'e',
                }
            }
            rest = after;
        }
        let mut output = Text::new();
        for (number, word) in rest.iter().enumerate() {
            if number > 0 {
                output.push(b' ');
            }
            if decode {
                if decode_into(word, &mut output) {
                    self.print(&output);
                    return 0;
                }
            } else {
                output.extend_from_slice(word);
            }
        }
        if newline {
            output.push(b'\n');
        }
        self.print(&output);
        0
    }

    pub(super) fn printf(&mut self, arguments: &[Text]) -> u8 {
        let (variable, arguments) = match arguments {
            [flag, name, rest @ ..] if flag == b"-v" => (Some(name), rest),
            [flag, rest @ ..] if flag == b"--" => (None, rest),
            _ => (None, arguments),
        };
        let Some((format, arguments)) = arguments.split_first() else {
            self.complain("usage: printf format [arguments]");
            return 2;
        };
        let mut output = Text::new();
        let mut rest = arguments;
        loop {
            let before = rest.len();
            match format_once(format, &mut rest, &mut output) {
                Ok(true) => {}
                Ok(false) => break,
                Err(reason) => {
                    self.complain(&format!("printf: {reason}"));
                    return 1;
                }
            }
            if rest.is_empty() || rest.len() == before {
                break;
            }
        }
        match variable {
            Some(name) => {
                let result = self.variables.assign_text(name, output);
                u8::from(self.assigned(name, result).is_err())
            }
            None => {
                self.print(&output);
                0
            }
        }
    }
}

/// Decodes the escapes of `text`; `true` where `\c` ends the output.
fn decode_into(text: &[u8], output: &mut Text) -> bool {
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'\\' {
            output.push(byte);
            continue;
        }
        match rest.first() {
            Some(b'c') => return true,
            // `\0nnn` has up to three digits after the zero.
            Some(b'0')
                if rest
                    .get(1)
                    .is_some_and(|digit| matches!(digit, b'0'..=b'7')) =>
            {
                rest = rest.get(1..).unwrap_or_default();
            }
            // Only here: quotes keep their backslash.
            Some(quote @ (b'\'' | b'"' | b'?')) => {
                output.extend_from_slice(&[b'\\', *quote]);
                rest = rest.get(1..).unwrap_or_default();
                continue;
            }
            _ => {}
        }
        let used = escapes::decode_one(rest, output);
        rest = rest.get(used..).unwrap_or_default();
    }
    false
}

/// One conversion of a format.
#[derive(Default)]
struct Conversion {
    left: bool,
    zero: bool,
    plus: bool,
    space: bool,
    alternate: bool,
    width: usize,
    precision: Option<usize>,
}

/// Writes the format once; `false` where the output ends.
fn format_once(format: &[u8], arguments: &mut &[Text], output: &mut Text) -> Result<bool, String> {
    let mut rest = format;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'\\' => {
                if rest.first() == Some(&b'c') {
                    return Ok(false);
                }
                let used = escapes::decode_one(rest, output);
                rest = rest.get(used..).unwrap_or_default();
            }
            b'%' if rest.first() == Some(&b'%') => {
                output.push(b'%');
                rest = rest.get(1..).unwrap_or_default();
            }
            b'%' => {
                let mut conversion = Conversion::default();
                rest = conversion.read(rest, arguments);
                let Some((&letter, after)) = rest.split_first() else {
                    return Err("missing format character".to_owned());
                };
                rest = after;
                if !conversion.write(letter, arguments, output)? {
                    return Ok(false);
                }
            }
            _ => output.push(byte),
        }
    }
    Ok(true)
}

fn next(arguments: &mut &[Text]) -> Option<Text> {
    let (first, rest) = arguments.split_first()?;
    let first = first.clone();
    *arguments = rest;
    Some(first)
}

impl Conversion {
    /// Reads flags, width and precision.
    fn read<'f>(&mut self, format: &'f [u8], arguments: &mut &[Text]) -> &'f [u8] {
        let mut rest = format;
        while let Some((flag, after)) = rest.split_first() {
            match flag {
                b'-' => self.left = true,
                b'0' => self.zero = true,
                b'+' => self.plus = true,
                b' ' => self.space = true,
                b'#' => self.alternate = true,
                _ => break,
            }
            rest = after;
        }
        let (width, after) = size(rest, arguments);
        self.width = width.unwrap_or(0);
        rest = after;
        if let Some(after) = rest.strip_prefix(b".") {
            let (precision, after) = size(after, arguments);
            self.precision = Some(precision.unwrap_or(0));
            rest = after;
        }
        rest
    }

    fn write(
        &self,
        letter: u8,
        arguments: &mut &[Text],
        output: &mut Text,
    ) -> Result<bool, String> {
        let mut going = true;
        let text = match letter {
            b's' => self.cut(next(arguments).unwrap_or_default()),
            b'b' => {
                let mut decoded = Text::new();
                going = !decode_into(&next(arguments).unwrap_or_default(), &mut decoded);
                self.cut(decoded)
            }
            b'q' => {
                let text = next(arguments).unwrap_or_default();
                let plain = !text.is_empty()
                    && text.iter().all(|byte| {
                        byte.is_ascii_alphanumeric()
                            || matches!(
                                byte,
                                b'_' | b'-' | b'.' | b'/' | b':' | b'=' | b'@' | b'+' | b','
                            )
                    });
                if plain { text } else { expand::quote(&text) }
            }
            b'c' => next(arguments)
                .unwrap_or_default()
                .get(..1)
                .unwrap_or_default()
                .to_vec(),
            b'd' | b'i' | b'u' | b'x' | b'X' | b'o' => {
                self.number(letter, &next(arguments).unwrap_or_default())?
            }
            b'f' | b'F' | b'g' | b'e' => {
                let text = next(arguments).unwrap_or_default();
                let text = String::from_utf8_lossy(&text).trim().to_owned();
                let value: f64 = if text.is_empty() {
                    0.0
                } else {
                    text.parse()
                        .map_err(|_| format!("{text}: invalid number"))?
                };
                format!("{value:.*}", self.precision.unwrap_or(6)).into_bytes()
            }
            other => return Err(format!("unsupported format char: {}", char::from(other))),
        };
        let fill = self.width.saturating_sub(text.len());
        let zero = self.zero && !self.left && !matches!(letter, b's' | b'b' | b'q' | b'c');
        if self.left {
            output.extend_from_slice(&text);
            output.extend(std::iter::repeat_n(b' ', fill));
        } else if zero {
            let signed = matches!(text.first(), Some(b'-' | b'+' | b' '));
            let (sign, digits) = text
                .split_at_checked(usize::from(signed))
                .unwrap_or((&[], &text));
            output.extend_from_slice(sign);
            output.extend(std::iter::repeat_n(b'0', fill));
            output.extend_from_slice(digits);
        } else {
            output.extend(std::iter::repeat_n(b' ', fill));
            output.extend_from_slice(&text);
        }
        Ok(going)
    }

    fn cut(&self, mut text: Text) -> Text {
        if let Some(precision) = self.precision {
            text.truncate(precision);
        }
        text
    }

    fn number(&self, letter: u8, text: &[u8]) -> Result<Text, String> {
        let text = String::from_utf8_lossy(text);
        let text = text.trim();
        let value: i64 = if text.is_empty() {
            0
        } else if let Some(character) = text.strip_prefix(['\'', '"']) {
            i64::from(character.chars().next().map_or(0, u32::from))
        } else if let Some(hex) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
            i64::from_str_radix(hex, 16).map_err(|_| format!("{text}: invalid number"))?
        } else if text.len() > 1 && text.starts_with('0') {
            i64::from_str_radix(text, 8).map_err(|_| format!("{text}: invalid number"))?
        } else {
            text.parse()
                .map_err(|_| format!("{text}: invalid number"))?
        };
        let mut digits = match letter {
            b'x' => format!("{}{value:x}", if self.alternate { "0x" } else { "" }),
            b'X' => format!("{}{value:X}", if self.alternate { "0X" } else { "" }),
            b'o' => format!("{}{value:o}", if self.alternate { "0" } else { "" }),
            _ => value.unsigned_abs().to_string(),
        };
        if let Some(precision) = self.precision {
            while digits.len() < precision {
                digits.insert(0, '0');
            }
        }
        if matches!(letter, b'd' | b'i' | b'u') {
            if value < 0 {
                digits.insert(0, '-');
            } else if self.plus {
                digits.insert(0, '+');
            } else if self.space {
                digits.insert(0, ' ');
            }
        }
        Ok(digits.into_bytes())
    }
}

/// A number of the format, or `*` for one of the arguments.
fn size<'f>(format: &'f [u8], arguments: &mut &[Text]) -> (Option<usize>, &'f [u8]) {
    if let Some(rest) = format.strip_prefix(b"*") {
        let width = next(arguments)
            .and_then(|text| String::from_utf8_lossy(&text).trim().parse::<usize>().ok())
            .map(|width| width.min(MAX_WIDTH));
        return (width, rest);
    }
    let end = format
        .iter()
        .position(|byte| !byte.is_ascii_digit())
        .unwrap_or(format.len());
    let (digits, rest) = format.split_at_checked(end).unwrap_or((&[], format));
    let width = std::str::from_utf8(digits)
        .ok()
        .and_then(|text| text.parse::<usize>().ok())
        .map(|width| width.min(MAX_WIDTH));
    (width, rest)
}
