//! Words to text: quoting, parameters, substitutions, field splitting and file names.
//!
//! While a word is expanded, each field is kept twice: as text, and as a pattern in which quoted
//! characters are escaped. File names and `case` match the pattern, everything else takes the text.

mod brace;
mod glob;
mod parameter;

pub(super) use self::parameter::{absolute, quote};

use super::ast::{Part, Text, Word};
use super::{Shell, Stop, arithmetic, pattern};

/// One field under construction.
#[derive(Debug, Clone, Default)]
struct Field {
    text: Text,
    pattern: Text,
}

/// The fields a word gives.
#[derive(Debug, Default)]
pub(super) struct Fields {
    done: Vec<Field>,
    current: Field,
    /// Something, perhaps the empty string, belongs to the current field.
    open: bool,
    /// White space ended the last field: one other separator may still follow.
    after_blank: bool,
}

/// How a word is expanded.
#[derive(Debug, Clone, Copy)]
pub(super) struct Manner {
    /// Unquoted expansions are split and `"$@"` gives several fields.
    split: bool,
    /// A tilde counts after a colon too, as in the value of an assignment.
    assignment: bool,
}

const WORDS: Manner = Manner {
    split: true,
    assignment: false,
};
const SINGLE: Manner = Manner {
    split: false,
    assignment: false,
};
const VALUE: Manner = Manner {
    split: false,
    assignment: true,
};

impl Fields {
    fn push_active(&mut self, bytes: &[u8]) {
        self.open = true;
        self.after_blank = false;
        self.current.text.extend_from_slice(bytes);
        self.current.pattern.extend_from_slice(bytes);
    }

    fn push_quoted(&mut self, bytes: &[u8]) {
        self.open = true;
        self.after_blank = false;
        self.current.text.extend_from_slice(bytes);
        pattern::escape_into(bytes, &mut self.current.pattern);
    }

    /// The result of an unquoted expansion that is not split: its glob characters count, its
    /// backslashes do not.
    fn push_result(&mut self, bytes: &[u8]) {
        self.open = true;
        self.after_blank = false;
        self.current.text.extend_from_slice(bytes);
        for byte in bytes {
            if *byte == b'\\' {
                self.current.pattern.push(b'\\');
            }
            self.current.pattern.push(*byte);
        }
    }

    fn finish(&mut self) {
        if self.open {
            self.done.push(std::mem::take(&mut self.current));
        }
        self.open = false;
        self.after_blank = false;
    }

    /// Splits the result of an expansion at the characters of `separators`.
    fn push_split(&mut self, bytes: &[u8], separators: &[u8]) {
        for byte in bytes {
            if !separators.contains(byte) {
                self.push_result(&[*byte]);
            } else if matches!(byte, b' ' | b'\t' | b'\n') {
                if self.open {
                    self.finish();
                    self.after_blank = true;
                }
            } else if self.open {
                self.finish();
            } else if self.after_blank {
                self.after_blank = false;
            } else {
                self.done.push(Field::default());
            }
        }
    }
}

impl Shell<'_> {
    /// Expands words to arguments.
    pub(super) fn expand_words<'w>(
        &mut self,
        words: impl IntoIterator<Item = &'w Word>,
    ) -> Result<Vec<Text>, Stop> {
        let mut arguments = Vec::new();
        for word in words {
            self.expand_word(word, &mut arguments)?;
        }
        Ok(arguments)
    }

    /// Expands one word to any number of arguments.
    pub(super) fn expand_word(
        &mut self,
        word: &Word,
        arguments: &mut Vec<Text>,
    ) -> Result<(), Stop> {
        if let Some(text) = word.literal()
            && !pattern::is_active(text)
            && !text.contains(&b'{')
            && text.first() != Some(&b'~')
        {
            arguments.push(text.to_vec());
            return Ok(());
        }
        if brace::applies(word) {
            for word in brace::expand(word) {
                self.expand_plain(&word, arguments)?;
            }
            return Ok(());
        }
        self.expand_plain(word, arguments)
    }

    /// Expands a word without braces.
    fn expand_plain(&mut self, word: &Word, arguments: &mut Vec<Text>) -> Result<(), Stop> {
        let mut fields = Fields::default();
        self.add_parts(&word.0, false, WORDS, &mut fields)?;
        fields.finish();
        for field in fields.done {
            if !self.options.no_glob && pattern::is_active(&field.pattern) {
                let names = glob::expand(&field.pattern);
                if !names.is_empty() {
                    arguments.extend(names);
                    continue;
                }
                if self.options.null_glob {
                    continue;
                }
            }
            arguments.push(field.text);
        }
        Ok(())
    }

    /// Expands a word to one text, without splitting and file names.
    pub(super) fn expand_text(&mut self, word: &Word) -> Result<Text, Stop> {
        self.expand_single(word, SINGLE).map(|field| field.text)
    }

    /// Expands the value of an assignment.
    pub(super) fn expand_value(&mut self, word: &Word) -> Result<Text, Stop> {
        self.expand_single(word, VALUE).map(|field| field.text)
    }

    /// Expands a word to a pattern in which quoted characters stand for themselves.
    pub(super) fn expand_pattern(&mut self, word: &Word) -> Result<Text, Stop> {
        self.expand_single(word, SINGLE).map(|field| field.pattern)
    }

    fn expand_single(&mut self, word: &Word, manner: Manner) -> Result<Field, Stop> {
        let mut fields = Fields::default();
        self.add_parts(&word.0, false, manner, &mut fields)?;
        Ok(fields.current)
    }

    fn add_parts(
        &mut self,
        parts: &[Part],
        quoted: bool,
        manner: Manner,
        fields: &mut Fields,
    ) -> Result<(), Stop> {
        for (number, part) in parts.iter().enumerate() {
            match part {
                Part::Literal(text) if quoted => fields.push_quoted(text),
                Part::Literal(text) => {
                    let last = number.saturating_add(1) == parts.len();
                    self.add_literal(text, number == 0, last, manner, fields);
                }
                Part::Quoted(text) => fields.push_quoted(text),
                Part::Double(inner) => {
                    let before = (fields.done.len(), fields.open);
                    self.add_parts(inner, true, manner, fields)?;
                    // `"$@"` without arguments gives no field, any other quotes give one.
                    let only_all = matches!(inner.as_slice(), [Part::Parameter(parameter)] if parameter.is_all());
                    if before == (fields.done.len(), fields.open) && !(manner.split && only_all) {
                        fields.open = true;
                    }
                }
                Part::Parameter(parameter) => {
                    self.add_parameter(parameter, quoted, manner, fields)?;
                }
                Part::Substitution(list) => {
                    let output = self.substitute(list)?;
                    self.add_result(&output, quoted, manner, fields);
                }
                Part::Arithmetic(word) => {
                    let value = self.arithmetic(word)?;
                    self.add_result(value.to_string().as_bytes(), quoted, manner, fields);
                }
            }
        }
        Ok(())
    }

    /// Adds the result of an expansion.
    fn add_result(&self, text: &[u8], quoted: bool, manner: Manner, fields: &mut Fields) {
        if quoted {
            fields.push_quoted(text);
        } else if manner.split {
            fields.push_split(text, &self.separators());
        } else {
            fields.push_result(text);
        }
    }

    fn separators(&self) -> Text {
        match self.variables.get(b"IFS") {
            Some(variable) => variable.scalar().cloned().unwrap_or_default(),
            None => b" \t\n".to_vec(),
        }
    }

    fn add_literal(
        &self,
        text: &[u8],
        first: bool,
        last: bool,
        manner: Manner,
        fields: &mut Fields,
    ) {
        let mut rest = text;
        let mut at_start = first;
        while !rest.is_empty() {
            let end = if manner.assignment {
                rest.iter()
                    .position(|byte| *byte == b':')
                    .unwrap_or(rest.len())
            } else {
                rest.len()
            };
            let (piece, after) = rest.split_at_checked(end).unwrap_or((rest, &[]));
            let complete = last || !after.is_empty();
            match piece.strip_prefix(b"~") {
                Some(path)
                    if at_start && (path.starts_with(b"/") || (path.is_empty() && complete)) =>
                {
                    fields.push_quoted(&self.home());
                    fields.push_active(path);
                }
                _ => fields.push_active(piece),
            }
            rest = after;
            if let Some(after_colon) = rest.strip_prefix(b":") {
                fields.push_active(b":");
                rest = after_colon;
                at_start = true;
            }
        }
    }

    fn home(&self) -> Text {
        self.variables
            .scalar(b"HOME")
            .cloned()
            .unwrap_or_else(|| b"~".to_vec())
    }

    /// Expands and evaluates an arithmetic expression.
    pub(super) fn arithmetic(&mut self, word: &Word) -> Result<i64, Stop> {
        let mut fields = Fields::default();
        self.add_parts(&word.0, true, SINGLE, &mut fields)?;
        self.evaluate(&fields.current.text)
    }

    /// Evaluates an arithmetic expression.
    pub(super) fn evaluate(&mut self, expression: &[u8]) -> Result<i64, Stop> {
        arithmetic::evaluate(expression, &mut parameter::Numbers(self)).map_err(|reason| {
            self.complain(&reason);
            Stop::Exit(1)
        })
    }
}
