//! `test`, `[` and `[[ … ]]`.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;
use std::{fs, io};

use rustix::fs::Access;

use super::ast::{Condition, Text};
use super::{Shell, Stop, pattern};

/// Brackets of `test`, so that its arguments cannot overflow the stack.
const MAX_DEPTH: usize = 50;

impl Shell<'_> {
    /// Evaluates `[[ … ]]`.
    pub(super) fn condition(&mut self, condition: &Condition) -> Result<bool, Stop> {
        Ok(match condition {
            Condition::Not(inner) => !self.condition(inner)?,
            Condition::And(left, right) => self.condition(left)? && self.condition(right)?,
            Condition::Or(left, right) => self.condition(left)? || self.condition(right)?,
            Condition::Word(word) => !self.expand_text(word)?.is_empty(),
            Condition::Unary(flag, word) => {
                let operand = self.expand_text(word)?;
                match self.unary(*flag, &operand) {
                    Some(result) => result,
                    None => return Err(self.bad_operator(&[b'-', *flag])),
                }
            }
            Condition::Binary {
                left,
                operator,
                right,
            } => {
                let left = self.expand_text(left)?;
                match operator.as_slice() {
                    b"=" | b"==" => pattern::matches(&self.expand_pattern(right)?, &left),
                    b"!=" => !pattern::matches(&self.expand_pattern(right)?, &left),
                    b"=~" => {
                        let expression = self.expand_regex(right)?;
                        self.matches_regex(&left, &expression)?
                    }
                    b"-eq" | b"-ne" | b"-lt" | b"-le" | b"-gt" | b"-ge" => {
                        let right = self.expand_text(right)?;
                        let (left, right) = (self.evaluate(&left)?, self.evaluate(&right)?);
                        compare(operator, left, right).unwrap_or_default()
                    }
                    _ => {
                        let right = self.expand_text(right)?;
                        match self.binary(&left, operator, &right) {
                            Some(Ok(result)) => result,
                            Some(Err(reason)) => {
                                self.complain(&reason);
                                return Err(Stop::Exit(1));
                            }
                            None => return Err(self.bad_operator(operator)),
                        }
                    }
                }
            }
        })
    }

    fn bad_operator(&self, operator: &[u8]) -> Stop {
        self.complain(&format!(
            "not a valid test operator: {}",
            String::from_utf8_lossy(operator)
        ));
        Stop::Exit(1)
    }

    /// Quoted parts of a regular expression stand for themselves.
    fn expand_regex(&mut self, word: &super::ast::Word) -> Result<String, Stop> {
        use super::ast::Part;
        let mut expression = String::new();
        for part in &word.0 {
            let single = super::ast::Word(vec![part.clone()]);
            let text = self.expand_text(&single)?;
            let text = String::from_utf8_lossy(&text);
            if matches!(part, Part::Quoted(_) | Part::Double(_)) {
                expression.push_str(&regex_lite::escape(&text));
            } else {
                expression.push_str(&text);
            }
        }
        Ok(expression)
    }

    fn matches_regex(&mut self, text: &[u8], expression: &str) -> Result<bool, Stop> {
        let regex = match regex_lite::Regex::new(expression) {
            Ok(regex) => regex,
            Err(error) => {
                self.complain(&format!("{error}"));
                return Ok(false);
            }
        };
        let text = String::from_utf8_lossy(text).into_owned();
        let Some(captures) = regex.captures(&text) else {
            return Ok(false);
        };
        let groups = captures
            .iter()
            .zip(0_i64..)
            .map(|(group, number)| {
                let text = group.map(|group| group.as_str().as_bytes().to_vec());
                (number, text.unwrap_or_default())
            })
            .collect();
        self.assign(
            "BASH_REMATCH".as_bytes(),
            super::variables::Value::Indexed(groups),
        )?;
        Ok(true)
    }

    /// The `test` builtin; `Err` is a usage error (status 2).
    pub(super) fn test(&mut self, arguments: &[Text]) -> Result<bool, String> {
        let mut test = Test {
            shell: self,
            rest: arguments,
            depth: 0,
        };
        match arguments {
            [] => Ok(false),
            [word] => Ok(!word.is_empty()),
            [not, word] if not == b"!" => Ok(word.is_empty()),
            [left, operator, right] => {
                if let Some(result) = test.shell.binary(left, operator, right) {
                    return result;
                }
                test.whole()
            }
            _ => test.whole(),
        }
    }

    fn unary(&self, flag: u8, operand: &[u8]) -> Option<bool> {
        let path = Path::new(OsStr::from_bytes(operand));
        let metadata = || fs::metadata(path).ok();
        let access = |mode| rustix::fs::access(path, mode).is_ok();
        Some(match flag {
            b'n' => !operand.is_empty(),
            b'z' => operand.is_empty(),
            b'e' | b'a' => metadata().is_some(),
            b'f' => metadata().is_some_and(|metadata| metadata.is_file()),
            b'd' => metadata().is_some_and(|metadata| metadata.is_dir()),
            b's' => metadata().is_some_and(|metadata| metadata.len() > 0),
            b'L' | b'h' => fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink()),
            b'p' => metadata().is_some_and(|metadata| metadata.file_type().is_fifo()),
            b'S' => metadata().is_some_and(|metadata| metadata.file_type().is_socket()),
            b'b' => metadata().is_some_and(|metadata| metadata.file_type().is_block_device()),
            b'c' => metadata().is_some_and(|metadata| metadata.file_type().is_char_device()),
            b'u' => metadata().is_some_and(|metadata| metadata.mode() & 0o4000 != 0),
            b'g' => metadata().is_some_and(|metadata| metadata.mode() & 0o2000 != 0),
            b'k' => metadata().is_some_and(|metadata| metadata.mode() & 0o1000 != 0),
            b'r' => access(Access::READ_OK),
            b'w' => access(Access::WRITE_OK),
            b'x' => access(Access::EXEC_OK),
            b'O' => metadata()
                .is_some_and(|metadata| metadata.uid() == rustix::process::geteuid().as_raw()),
            b'G' => metadata()
                .is_some_and(|metadata| metadata.gid() == rustix::process::getegid().as_raw()),
            b't' => is_terminal(operand),
            b'v' => self.is_set(operand),
            b'o' => self.options.is_on(operand),
            _ => return None,
        })
    }

    /// Whether `name` or `name[index]` has a value.
    fn is_set(&self, name: &[u8]) -> bool {
        use super::variables::Value;
        let Some(open) = name.iter().position(|byte| *byte == b'[') else {
            return self.variables.is_set(name);
        };
        let (array, rest) = name.split_at_checked(open).unwrap_or_default();
        let index = rest
            .get(1..rest.len().saturating_sub(1))
            .unwrap_or_default();
        match self
            .variables
            .get(array)
            .and_then(|variable| variable.value.as_ref())
        {
            Some(Value::Associative(elements)) => elements.contains_key(index),
            Some(Value::Indexed(elements)) => std::str::from_utf8(index)
                .ok()
                .and_then(|index| index.parse().ok())
                .is_some_and(|index: i64| elements.contains_key(&index)),
            Some(Value::Text(_)) => index == b"0",
            None => false,
        }
    }

    fn binary(&self, left: &[u8], operator: &[u8], right: &[u8]) -> Option<Result<bool, String>> {
        let path = |text| Path::new(OsStr::from_bytes(text));
        let modified = |text| {
            fs::metadata(path(text))
                .and_then(|metadata| metadata.modified())
                .ok()
        };
        Some(Ok(match operator {
            b"=" | b"==" => left == right,
            b"!=" => left != right,
            b"<" => left < right,
            b">" => left > right,
            b"-eq" | b"-ne" | b"-lt" | b"-le" | b"-gt" | b"-ge" => {
                let number = |text: &[u8]| {
                    std::str::from_utf8(text)
                        .ok()
                        .and_then(|text| text.trim().parse::<i64>().ok())
                        .ok_or_else(|| {
                            format!(
                                "{}: integer expression expected",
                                String::from_utf8_lossy(text)
                            )
                        })
                };
                let numbers = number(left).and_then(|left| Ok((left, number(right)?)));
                return Some(
                    numbers.map(|(left, right)| compare(operator, left, right).unwrap_or_default()),
                );
            }
            b"-nt" => match (modified(left), modified(right)) {
                (Some(left), Some(right)) => left > right,
                (left, right) => left.is_some() && right.is_none(),
            },
            b"-ot" => match (modified(left), modified(right)) {
                (Some(left), Some(right)) => left < right,
                (left, right) => left.is_none() && right.is_some(),
            },
            b"-ef" => {
                let identity = |text| -> io::Result<(u64, u64)> {
                    let metadata = fs::metadata(path(text))?;
                    Ok((metadata.dev(), metadata.ino()))
                };
                matches!((identity(left), identity(right)), (Ok(left), Ok(right)) if left == right)
            }
            _ => return None,
        }))
    }
}

/// Grammar of `test` with more than three arguments.
struct Test<'t, 's, 'a> {
    shell: &'t mut Shell<'s>,
    rest: &'a [Text],
    depth: usize,
}

impl Test<'_, '_, '_> {
    fn whole(&mut self) -> Result<bool, String> {
        let result = self.either()?;
        match self.rest {
            [] => Ok(result),
            [extra, ..] => Err(format!(
                "not a valid test operator: {}",
                String::from_utf8_lossy(extra)
            )),
        }
    }

    fn either(&mut self) -> Result<bool, String> {
        let mut result = self.both()?;
        while self.eat(b"-o") {
            let right = self.both()?;
            result = result || right;
        }
        Ok(result)
    }

    fn both(&mut self) -> Result<bool, String> {
        let mut result = self.primary()?;
        while self.eat(b"-a") {
            let right = self.primary()?;
            result = result && right;
        }
        Ok(result)
    }

    fn eat(&mut self, operator: &[u8]) -> bool {
        match self.rest.split_first() {
            Some((first, rest)) if first == operator => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    fn primary(&mut self) -> Result<bool, String> {
        if self.depth > MAX_DEPTH {
            return Err("test expression nested too deeply".to_owned());
        }
        if let [left, operator, right, rest @ ..] = self.rest
            && let Some(result) = self.shell.binary(left, operator, right)
        {
            self.rest = rest;
            return result;
        }
        if self.rest.len() > 1 && self.eat(b"!") {
            self.depth = self.depth.saturating_add(1);
            let result = self.primary();
            self.depth = self.depth.saturating_sub(1);
            return result.map(|result| !result);
        }
        if self.rest.len() > 1 && self.eat(b"(") {
            self.depth = self.depth.saturating_add(1);
            let result = self.either()?;
            self.depth = self.depth.saturating_sub(1);
            return if self.eat(b")") {
                Ok(result)
            } else {
                Err("reached EOF without matching ( with )".to_owned())
            };
        }
        if let [operator, operand, rest @ ..] = self.rest
            && let [b'-', flag] = operator.as_slice()
            && let Some(result) = self.shell.unary(*flag, operand)
        {
            self.rest = rest;
            return Ok(result);
        }
        match self.rest.split_first() {
            Some((word, rest)) => {
                self.rest = rest;
                Ok(!word.is_empty())
            }
            None => Err("argument expected".to_owned()),
        }
    }
}

fn compare(operator: &[u8], left: i64, right: i64) -> Option<bool> {
    Some(match operator {
        b"-eq" => left == right,
        b"-ne" => left != right,
        b"-lt" => left < right,
        b"-le" => left <= right,
        b"-gt" => left > right,
        b"-ge" => left >= right,
        _ => return None,
    })
}

fn is_terminal(operand: &[u8]) -> bool {
    use std::io::IsTerminal as _;
    match operand {
        b"0" => io::stdin().is_terminal(),
        b"1" => io::stdout().is_terminal(),
        b"2" => io::stderr().is_terminal(),
        _ => false,
    }
}
