//! `read` and `getopts`.

use std::collections::BTreeMap;

use super::super::ast::Text;
use super::super::variables::Value;
use super::super::{Shell, Stop};

impl Shell<'_> {
    /// Reads one line, byte by byte, because what follows it belongs to the next command.
    pub(super) fn read(&mut self, arguments: &[Text]) -> Result<u8, Stop> {
        let mut raw = false;
        let mut array = None;
        let mut end = b'\n';
        let mut names = Vec::new();
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            match argument.as_slice() {
                b"-r" => raw = true,
                b"-a" => array = rest.next(),
                b"-d" => {
                    end = rest
                        .next()
                        .and_then(|text| text.first().copied())
                        .unwrap_or(0);
                }
                b"-p" | b"-n" | b"-t" | b"-u" => {
                    rest.next();
                }
                [b'-', letters @ ..] if !letters.is_empty() => raw |= letters.contains(&b'r'),
                _ => names.push(argument.clone()),
            }
        }
        let (line, complete) = read_line(end, raw);
        let separators = match self.variables.get(b"IFS") {
            Some(variable) => variable.scalar().cloned().unwrap_or_default(),
            None => b" \t\n".to_vec(),
        };
        if let Some(array) = array {
            let elements = split(&line, &separators, usize::MAX);
            let elements: BTreeMap<i64, Text> = (0_i64..).zip(elements).collect();
            self.assign(array, Value::Indexed(elements))?;
            return Ok(u8::from(!complete));
        }
        if names.is_empty() {
            self.assign_text(b"REPLY", &line)?;
            return Ok(u8::from(!complete));
        }
        let mut values = split(&line, &separators, names.len()).into_iter();
        for name in names {
            let value = values.next().unwrap_or_default();
            self.assign_text(&name, &value)?;
        }
        Ok(u8::from(!complete))
    }

    pub(super) fn getopts(&mut self, arguments: &[Text]) -> Result<u8, Stop> {
        let [options, name, rest @ ..] = arguments else {
            self.complain("getopts: usage: getopts optstring name [arg ...]");
            return Ok(2);
        };
        let words = if rest.is_empty() {
            self.positional.clone()
        } else {
            rest.to_vec()
        };
        let index = self.number(b"OPTIND").max(1);
        let within = self.number(b"__optpos").max(1);
        let Some(word) = words.get(index.saturating_sub(1)) else {
            return self.end_of_options(name);
        };
        if word.len() < 2 || !word.starts_with(b"-") {
            return self.end_of_options(name);
        }
        if word == b"--" {
            self.assign_text(b"OPTIND", index.saturating_add(1).to_string().as_bytes())?;
            return self.end_of_options(name);
        }
        let letter = word.get(within).copied().unwrap_or_default();
        let last = within.saturating_add(1) >= word.len();
        let place = options
            .iter()
            .position(|option| *option == letter && letter != b':');
        let takes = place.is_some_and(|place| options.get(place.saturating_add(1)) == Some(&b':'));
        let mut next_index = if last { index.saturating_add(1) } else { index };
        let mut next_within = if last { 1 } else { within.saturating_add(1) };
        let mut found = letter;
        // A script that looks at OPTARG must not see the last option's.
        drop(self.variables.unset(b"OPTARG"));
        if place.is_none() {
            self.complain(&format!(
                "getopts: illegal option -- {}",
                char::from(letter)
            ));
            found = b'?';
        } else if takes {
            let argument = if last {
                next_index = index.saturating_add(2);
                words.get(index).cloned()
            } else {
                next_index = index.saturating_add(1);
                word.get(within.saturating_add(1)..).map(<[u8]>::to_vec)
            };
            next_within = 1;
            match argument {
                Some(argument) => self.assign_text(b"OPTARG", &argument)?,
                None => {
                    self.complain(&format!(
                        "getopts: option requires an argument -- {}",
                        char::from(letter)
                    ));
                    found = b'?';
                }
            }
        }
        self.assign_text(b"OPTIND", next_index.to_string().as_bytes())?;
        self.assign_text(b"__optpos", next_within.to_string().as_bytes())?;
        self.assign_text(name, &[found])?;
        Ok(0)
    }

    fn end_of_options(&mut self, name: &[u8]) -> Result<u8, Stop> {
        self.assign_text(b"__optpos", b"1")?;
        self.assign_text(name, b"?")?;
        Ok(1)
    }

    fn number(&self, name: &[u8]) -> usize {
        self.variables
            .scalar(name)
            .and_then(|text| std::str::from_utf8(text).ok())
            .and_then(|text| text.parse().ok())
            .unwrap_or(0)
    }
}

/// The line and whether its end was found.
fn read_line(end: u8, raw: bool) -> (Text, bool) {
    let mut line = Text::new();
    let mut escaped = false;
    loop {
        let mut byte = [0_u8];
        match rustix::io::read(rustix::stdio::stdin(), byte.as_mut_slice()) {
            Ok(0) => return (line, false),
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(_) => return (line, false),
        }
        let [byte] = byte;
        if escaped {
            escaped = false;
            if byte != b'\n' {
                line.push(byte);
            }
        } else if byte == b'\\' && !raw {
            escaped = true;
        } else if byte == end {
            return (line, true);
        } else {
            line.push(byte);
        }
    }
}

/// Splits a line into at most `most` values; the last one keeps what is left.
fn split(line: &[u8], separators: &[u8], most: usize) -> Vec<Text> {
    let blank = |byte: u8| matches!(byte, b' ' | b'\t' | b'\n') && separators.contains(&byte);
    let mut values = Vec::new();
    let mut rest = line;
    while let Some((first, after)) = rest.split_first() {
        if !blank(*first) {
            break;
        }
        rest = after;
    }
    while !rest.is_empty() {
        if values.len().saturating_add(1) >= most {
            let mut last = rest.to_vec();
            while last.last().is_some_and(|byte| blank(*byte)) {
                last.pop();
            }
            values.push(last);
            break;
        }
        let end = rest
            .iter()
            .position(|byte| separators.contains(byte))
            .unwrap_or(rest.len());
        let (value, after) = rest.split_at_checked(end).unwrap_or((rest, &[]));
        values.push(value.to_vec());
        rest = after;
        let mut solid = false;
        while let Some((first, after)) = rest.split_first() {
            if blank(*first) {
                rest = after;
            } else if separators.contains(first) && !solid {
                solid = true;
                rest = after;
            } else {
                break;
            }
        }
    }
    values
}
