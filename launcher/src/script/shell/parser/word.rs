//! Words: quoting and expansions.

use std::rc::Rc;

use super::super::ast::{Index, List, Operation, Parameter, Part, Place, Text, Word};
use super::cursor::{is_name_byte, is_name_start};
use super::{Parsed, Parser};

/// Where the parts stand, which decides what ends them and what quoting means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// An ordinary word.
    Plain,
    /// Inside `"…"`, up to the closing quote.
    Double,
    /// A here-document or another text that is expanded as if double-quoted, to its end.
    Document,
    /// The word of `${x:-word}`, up to `}`; `quoted` where the expansion stands in double quotes.
    Braced { quoted: bool },
    /// The pattern of `${x/pattern/…}`, up to `/` or `}`.
    Pattern,
    /// A number of `${x:offset:length}`, up to `:` or `}`.
    Slice,
    /// `[…]`
    Subscript,
    /// `((…))`
    Arithmetic,
    /// A section of `for ((…))`.
    ArithmeticPart,
    /// Right of `=~`: brackets and bars belong to the word.
    Regex,
}

/// Parts under construction; neighbouring literals are one.
#[derive(Default)]
struct Parts(Vec<Part>);

impl Parts {
    fn literal(&mut self, byte: u8) {
        if let Some(Part::Literal(text)) = self.0.last_mut() {
            text.push(byte);
        } else {
            self.0.push(Part::Literal(vec![byte]));
        }
    }

    fn quoted(&mut self, bytes: &[u8]) {
        if let Some(Part::Quoted(text)) = self.0.last_mut() {
            text.extend_from_slice(bytes);
        } else {
            self.0.push(Part::Quoted(bytes.to_vec()));
        }
    }
}

impl Parser<'_> {
    /// Parts up to what ends them in `mode`; the ending itself is left.
    pub(super) fn parts(&mut self, mode: Mode) -> Parsed<Vec<Part>> {
        let mut parts = Parts::default();
        let mut brackets = 0_usize;
        let in_double = matches!(
            mode,
            Mode::Double | Mode::Document | Mode::Braced { quoted: true }
        );
        while let Some(byte) = self.cursor.peek() {
            if brackets == 0 && self.ends(mode, byte) {
                break;
            }
            let opener = self.cursor;
            match byte {
                b'\\' => self.escape(mode, in_double, &mut parts),
                b'$' => match self.dollar(in_double)? {
                    Some(part) => parts.0.push(part),
                    None => parts.literal(b'$'),
                },
                b'`' => {
                    let list = self.backquoted(in_double)?;
                    parts.0.push(Part::Substitution(Rc::new(list)));
                }
                b'"' if !matches!(mode, Mode::Double | Mode::Document) => {
                    self.cursor.bump();
                    let inner = self.deeper(|parser| parser.parts(Mode::Double))?;
                    if !self.cursor.eat(b"\"") {
                        return Err(Self::error_at(
                            &opener,
                            "reached EOF without closing quote \"",
                        ));
                    }
                    parts.0.push(Part::Double(inner));
                }
                b'\'' if !in_double => {
                    self.cursor.bump();
                    let text = self.cursor.take_while(|byte| byte != b'\'');
                    if !self.cursor.eat(b"'") {
                        return Err(Self::error_at(
                            &opener,
                            "reached EOF without closing quote '",
                        ));
                    }
                    parts.quoted(text);
                }
                _ => {
                    if matches!(
                        mode,
                        Mode::Arithmetic | Mode::ArithmeticPart | Mode::Regex | Mode::Slice
                    ) {
                        match byte {
                            b'(' => brackets = brackets.saturating_add(1),
                            b')' => brackets = brackets.saturating_sub(1),
                            _ => {}
                        }
                    } else if mode == Mode::Subscript {
                        match byte {
                            b'[' => brackets = brackets.saturating_add(1),
                            b']' => brackets = brackets.saturating_sub(1),
                            _ => {}
                        }
                    }
                    self.cursor.bump();
                    parts.literal(byte);
                }
            }
        }
        Ok(parts.0)
    }

    fn ends(&self, mode: Mode, byte: u8) -> bool {
        match mode {
            Mode::Plain => {
                matches!(
                    byte,
                    b' ' | b'\t' | b'\n' | b';' | b'&' | b'|' | b'<' | b'>' | b'(' | b')'
                ) || (byte == b'\r' && self.cursor.peek_at(1) == Some(b'\n'))
            }
            Mode::Double => byte == b'"',
            Mode::Document => false,
            Mode::Braced { .. } => byte == b'}',
            Mode::Pattern => matches!(byte, b'}' | b'/'),
            Mode::Slice => matches!(byte, b'}' | b':'),
            Mode::Subscript => byte == b']',
            Mode::Arithmetic => self.cursor.rest().starts_with(b"))") || (byte == b')'),
            Mode::ArithmeticPart => byte == b';',
            Mode::Regex => matches!(byte, b' ' | b'\t' | b'\n' | b'&' | b';' | b')'),
        }
    }

    fn escape(&mut self, mode: Mode, in_double: bool, parts: &mut Parts) {
        self.cursor.bump();
        let Some(next) = self.cursor.bump() else {
            parts.quoted(b"\\");
            return;
        };
        if next == b'\n' {
            return;
        }
        let special = match mode {
            Mode::Document => matches!(next, b'$' | b'`' | b'\\'),
            Mode::Braced { quoted: true } => matches!(next, b'$' | b'`' | b'\\' | b'"' | b'}'),
            _ if in_double => matches!(next, b'$' | b'`' | b'\\' | b'"'),
            _ => true,
        };
        if special {
            parts.quoted(&[next]);
        } else {
            parts.quoted(&[b'\\', next]);
        }
    }

    /// What a `$` begins; `None` where it is only itself (already consumed).
    fn dollar(&mut self, in_double: bool) -> Parsed<Option<Part>> {
        let opener = self.cursor;
        self.cursor.bump();
        let Some(byte) = self.cursor.peek() else {
            return Ok(None);
        };
        match byte {
            b'{' => {
                self.cursor.bump();
                let parameter = self.deeper(|parser| parser.braced(in_double))?;
                Ok(Some(Part::Parameter(Box::new(parameter))))
            }
            b'(' => {
                if self.cursor.peek_at(1) == Some(b'(') {
                    let start = self.cursor;
                    self.cursor.eat(b"((");
                    let parts = self.deeper(|parser| parser.parts(Mode::Arithmetic))?;
                    if self.cursor.eat(b"))") {
                        return Ok(Some(Part::Arithmetic(Word(parts))));
                    }
                    self.cursor = start;
                }
                self.cursor.bump();
                let list = self.list()?;
                if !self.cursor.eat(b")") {
                    return Err(Self::error_at(
                        &opener,
                        "reached EOF without matching ( with )",
                    ));
                }
                Ok(Some(Part::Substitution(Rc::new(list))))
            }
            b'\'' if !in_double => {
                self.cursor.bump();
                self.ansi_quoted().map(|text| Some(Part::Quoted(text)))
            }
            b'"' if !in_double => {
                self.cursor.bump();
                let inner = self.deeper(|parser| parser.parts(Mode::Double))?;
                if !self.cursor.eat(b"\"") {
                    return Err(Self::error_at(
                        &opener,
                        "reached EOF without closing quote \"",
                    ));
                }
                Ok(Some(Part::Double(inner)))
            }
            b'@' | b'*' | b'#' | b'?' | b'-' | b'$' | b'!' | b'0'..=b'9' => {
                self.cursor.bump();
                Ok(Some(simple(vec![byte])))
            }
            _ if is_name_start(byte) => {
                let name = self.cursor.take_while(is_name_byte).to_vec();
                Ok(Some(simple(name)))
            }
            _ => Ok(None),
        }
    }

    fn backquoted(&mut self, in_double: bool) -> Parsed<List> {
        let opener = self.cursor;
        self.cursor.bump();
        let mut text = Vec::new();
        loop {
            match self.cursor.bump() {
                None => {
                    return Err(Self::error_at(
                        &opener,
                        "reached EOF without closing quote `",
                    ));
                }
                Some(b'`') => break,
                Some(b'\\') => match self.cursor.bump() {
                    Some(byte @ (b'`' | b'\\' | b'$')) => text.push(byte),
                    Some(b'"') if in_double => text.push(b'"'),
                    Some(byte) => text.extend_from_slice(&[b'\\', byte]),
                    None => text.push(b'\\'),
                },
                Some(byte) => text.push(byte),
            }
        }
        if self.depth >= super::MAX_DEPTH {
            return Err(self.error("nested too deeply"));
        }
        Parser::new(&text, self.depth.saturating_add(1))
            .whole()
            .map_err(|error| self.error(error.reason))
    }

    /// `$'…'`.
    fn ansi_quoted(&mut self) -> Parsed<Text> {
        let opener = self.cursor;
        let mut text = Vec::new();
        loop {
            match self.cursor.bump() {
                None => {
                    return Err(Self::error_at(
                        &opener,
                        "reached EOF without closing quote '",
                    ));
                }
                Some(b'\'') => return Ok(text),
                Some(b'\\') => {
                    let used = super::super::escapes::decode_one(self.cursor.rest(), &mut text);
                    for _ in 0..used {
                        self.cursor.bump();
                    }
                }
                Some(byte) => text.push(byte),
            }
        }
    }

    /// After `${`.
    fn braced(&mut self, quoted: bool) -> Parsed<Parameter> {
        let mut parameter = Parameter {
            name: Vec::new(),
            index: None,
            indirect: false,
            operation: Operation::None,
        };
        let length = self.cursor.peek() == Some(b'#')
            && self
                .cursor
                .peek_at(1)
                .is_some_and(|byte| is_name_byte(byte) || matches!(byte, b'@' | b'*' | b'?' | b'$' | b'!' | b'-' | b'#'))
            // `${#-word}` and `${##pattern}` are operations on `$#`.
            && !(matches!(self.cursor.peek_at(1), Some(b'-' | b'?' | b'#')) && self.cursor.peek_at(2) != Some(b'}'));
        if length {
            self.cursor.bump();
        } else if self.cursor.peek() == Some(b'!')
            && self
                .cursor
                .peek_at(1)
                .is_some_and(|byte| is_name_byte(byte) || matches!(byte, b'@' | b'*' | b'#'))
        {
            self.cursor.bump();
            parameter.indirect = true;
        }
        parameter.name = self.parameter_name()?;
        if self.cursor.peek() == Some(b'[') {
            self.cursor.bump();
            parameter.index = Some(if self.cursor.eat(b"@]") {
                Index::Each
            } else if self.cursor.eat(b"*]") {
                Index::Joined
            } else {
                let word = Word(self.parts(Mode::Subscript)?);
                if !self.cursor.eat(b"]") {
                    return Err(self.error("reached EOF without matching [ with ]"));
                }
                Index::One(word)
            });
        }
        parameter.operation = if length {
            Operation::Length
        } else {
            self.operation(&mut parameter, quoted)?
        };
        if self.cursor.eat(b"}") {
            return Ok(parameter);
        }
        Err(match self.cursor.peek() {
            None => self.error("reached EOF without matching ${ with }"),
            Some(byte) => self.error(format!(
                "not a valid parameter expansion operator: {}",
                char::from(byte)
            )),
        })
    }

    fn parameter_name(&mut self) -> Parsed<Text> {
        match self.cursor.peek() {
            Some(byte @ (b'@' | b'*' | b'#' | b'?' | b'-' | b'$' | b'!')) => {
                self.cursor.bump();
                Ok(vec![byte])
            }
            Some(byte) if byte.is_ascii_digit() => Ok(self
                .cursor
                .take_while(|byte| byte.is_ascii_digit())
                .to_vec()),
            Some(byte) if is_name_start(byte) => Ok(self.cursor.take_while(is_name_byte).to_vec()),
            _ => Err(self.error("invalid parameter name")),
        }
    }

    fn operation(&mut self, parameter: &mut Parameter, quoted: bool) -> Parsed<Operation> {
        if parameter.indirect {
            if matches!(parameter.index, Some(Index::Each | Index::Joined)) {
                parameter.indirect = false;
                return Ok(Operation::Keys);
            }
            if self.cursor.rest().starts_with(b"*}") || self.cursor.rest().starts_with(b"@}") {
                self.cursor.bump();
                parameter.indirect = false;
                return Ok(Operation::Names);
            }
        }
        let Some(byte) = self.cursor.peek() else {
            return Ok(Operation::None);
        };
        let colon =
            byte == b':' && matches!(self.cursor.peek_at(1), Some(b'-' | b'=' | b'?' | b'+'));
        if colon {
            self.cursor.bump();
        }
        let kind = self.cursor.peek().unwrap_or_default();
        let unset_or_empty = colon;
        match kind {
            b'}' => Ok(Operation::None),
            b'-' | b'=' | b'?' | b'+' => {
                self.cursor.bump();
                let word = Word(self.parts(Mode::Braced { quoted })?);
                Ok(match kind {
                    b'-' => Operation::Default {
                        unset_or_empty,
                        word,
                    },
                    b'=' => Operation::Assign {
                        unset_or_empty,
                        word,
                    },
                    b'?' => Operation::Require {
                        unset_or_empty,
                        word,
                    },
                    _ => Operation::Alternative {
                        unset_or_empty,
                        word,
                    },
                })
            }
            b'#' | b'%' => {
                self.cursor.bump();
                let longest = self.cursor.eat(&[kind]);
                let pattern = Word(self.parts(Mode::Braced { quoted: false })?);
                Ok(if kind == b'#' {
                    Operation::TrimStart { longest, pattern }
                } else {
                    Operation::TrimEnd { longest, pattern }
                })
            }
            b'/' => {
                self.cursor.bump();
                let place = if self.cursor.eat(b"/") {
                    Place::All
                } else if self.cursor.eat(b"#") {
                    Place::Start
                } else if self.cursor.eat(b"%") {
                    Place::End
                } else {
                    Place::First
                };
                let pattern = Word(self.parts(Mode::Pattern)?);
                let replacement = if self.cursor.eat(b"/") {
                    Word(self.parts(Mode::Braced { quoted: false })?)
                } else {
                    Word::default()
                };
                Ok(Operation::Replace {
                    place,
                    pattern,
                    replacement,
                })
            }
            b':' => {
                self.cursor.bump();
                let offset = Word(self.parts(Mode::Slice)?);
                let length = if self.cursor.eat(b":") {
                    Some(Word(self.parts(Mode::Slice)?))
                } else {
                    None
                };
                Ok(Operation::Slice { offset, length })
            }
            b'^' | b',' => {
                self.cursor.bump();
                let all = self.cursor.eat(&[kind]);
                Ok(Operation::Case {
                    upper: kind == b'^',
                    all,
                })
            }
            b'@' => {
                self.cursor.bump();
                let letter = self.cursor.bump().unwrap_or_default();
                if matches!(letter, b'Q' | b'U' | b'L' | b'u') {
                    Ok(Operation::Transform(letter))
                } else {
                    Err(self.error("not a valid parameter expansion operator: @"))
                }
            }
            other => Err(self.error(format!(
                "not a valid parameter expansion operator: {}",
                char::from(other)
            ))),
        }
    }
}

fn simple(name: Text) -> Part {
    Part::Parameter(Box::new(Parameter {
        name,
        index: None,
        indirect: false,
        operation: Operation::None,
    }))
}
