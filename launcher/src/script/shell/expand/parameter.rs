//! `${…}`: what a parameter holds and what its operation makes of it.

use std::collections::BTreeMap;

use super::super::ast::{Index, Operation, Parameter, Place, Text, Word};
use super::super::variables::{Value, is_identifier};
use super::super::{Shell, Stop, arithmetic, pattern};
use super::{Fields, Manner};

/// What a parameter holds.
enum Content {
    One(Option<Text>),
    /// `joined` for `*`, whose elements become one word in quotes.
    Many {
        elements: Vec<Text>,
        joined: bool,
    },
}

impl Parameter {
    /// `$@` or `${array[@]}` without an operation.
    pub(super) fn is_all(&self) -> bool {
        matches!(self.operation, Operation::None)
            && (self.name == b"@" || matches!(self.index, Some(Index::Each)))
    }
}

impl Shell<'_> {
    pub(super) fn add_parameter(
        &mut self,
        parameter: &Parameter,
        quoted: bool,
        manner: Manner,
        fields: &mut Fields,
    ) -> Result<(), Stop> {
        let content = match &parameter.operation {
            Operation::Keys => self.keys(&parameter.name),
            Operation::Names => {
                let names = self.variables.names();
                let elements = names
                    .into_iter()
                    .filter(|name| name.starts_with(&parameter.name))
                    .cloned()
                    .collect();
                Content::Many {
                    elements,
                    joined: false,
                }
            }
            _ => self.content(parameter)?,
        };
        let missing = |unset_or_empty: bool| match &content {
            Content::One(None) => true,
            Content::One(Some(text)) => unset_or_empty && text.is_empty(),
            Content::Many { elements, .. } => {
                elements.is_empty() || (unset_or_empty && elements.iter().all(Vec::is_empty))
            }
        };
        match &parameter.operation {
            Operation::Default {
                unset_or_empty,
                word,
            } if missing(*unset_or_empty) => {
                return self.add_parts(&word.0, quoted, manner, fields);
            }
            Operation::Assign {
                unset_or_empty,
                word,
            } if missing(*unset_or_empty) => {
                let value = self.expand_text(word)?;
                self.assign_text(&parameter.name, &value)?;
                self.add_result(&value, quoted, manner, fields);
                return Ok(());
            }
            Operation::Require {
                unset_or_empty,
                word,
            } if missing(*unset_or_empty) => {
                let reason = self.expand_text(word)?;
                self.complain_about(
                    &parameter.name,
                    if reason.is_empty() {
                        b"parameter null or not set"
                    } else {
                        &reason
                    },
                );
                return Err(Stop::Exit(1));
            }
            Operation::Alternative {
                unset_or_empty,
                word,
            } => {
                if missing(*unset_or_empty) {
                    return Ok(());
                }
                return self.add_parts(&word.0, quoted, manner, fields);
            }
            _ => {}
        }
        let bare = !matches!(
            parameter.operation,
            Operation::Default { .. } | Operation::Assign { .. } | Operation::Require { .. }
        );
        if bare && self.options.no_unset && matches!(content, Content::One(None)) {
            self.complain_about(&parameter.name, b"unbound variable");
            return Err(Stop::Exit(1));
        }
        let content = self.operate(content, &parameter.operation)?;
        self.add_content(content, quoted, manner, fields);
        Ok(())
    }

    fn add_content(&self, content: Content, quoted: bool, manner: Manner, fields: &mut Fields) {
        match content {
            Content::One(text) => {
                let text = text.unwrap_or_default();
                if quoted || !text.is_empty() {
                    self.add_result(&text, quoted, manner, fields);
                }
            }
            Content::Many { elements, joined } => {
                if !manner.split || (quoted && joined) {
                    let separator = if joined {
                        self.separators()
                            .first()
                            .map(|byte| vec![*byte])
                            .unwrap_or_default()
                    } else {
                        b" ".to_vec()
                    };
                    let text = elements.join(separator.as_slice());
                    if quoted || !text.is_empty() {
                        self.add_result(
                            &text,
                            quoted,
                            Manner {
                                split: false,
                                ..manner
                            },
                            fields,
                        );
                    }
                    return;
                }
                for (number, element) in elements.iter().enumerate() {
                    if number > 0 {
                        fields.finish();
                    }
                    if quoted || !element.is_empty() {
                        self.add_result(element, quoted, manner, fields);
                    }
                }
            }
        }
    }

    fn content(&mut self, parameter: &Parameter) -> Result<Content, Stop> {
        if parameter.indirect {
            let target = match self.content_of(&parameter.name, parameter.index.as_ref())? {
                Content::One(Some(target)) => target,
                Content::One(None) | Content::Many { .. } => return Ok(Content::One(None)),
            };
            let (name, index) = split_subscript(&target);
            return self.content_of(&name, index.as_ref());
        }
        self.content_of(&parameter.name, parameter.index.as_ref())
    }

    fn content_of(&mut self, name: &[u8], index: Option<&Index>) -> Result<Content, Stop> {
        match index {
            Some(Index::Each | Index::Joined) => {
                let joined = matches!(index, Some(Index::Joined));
                let elements = match self
                    .variables
                    .get(name)
                    .and_then(|variable| variable.value.as_ref())
                {
                    None => Vec::new(),
                    Some(Value::Text(text)) => vec![text.clone()],
                    Some(Value::Indexed(elements)) => elements.values().cloned().collect(),
                    Some(Value::Associative(elements)) => elements.values().cloned().collect(),
                };
                Ok(Content::Many { elements, joined })
            }
            Some(Index::One(word)) => self.element(name, word).map(Content::One),
            None => Ok(match name {
                b"@" | b"*" => Content::Many {
                    elements: self.positional.clone(),
                    joined: name == b"*",
                },
                _ => Content::One(
                    self.special(name)
                        .or_else(|| self.variables.scalar(name).cloned()),
                ),
            }),
        }
    }

    fn element(&mut self, name: &[u8], word: &Word) -> Result<Option<Text>, Stop> {
        if let Some(Value::Associative(_)) = self
            .variables
            .get(name)
            .and_then(|variable| variable.value.as_ref())
        {
            let key = self.expand_text(word)?;
            return Ok(
                match self
                    .variables
                    .get(name)
                    .and_then(|variable| variable.value.as_ref())
                {
                    Some(Value::Associative(elements)) => elements.get(&key).cloned(),
                    _ => None,
                },
            );
        }
        let index = self.arithmetic(word)?;
        Ok(self.indexed(name, index))
    }

    /// Element of an indexed array; a negative index counts from the end.
    fn indexed(&self, name: &[u8], index: i64) -> Option<Text> {
        match self.variables.get(name)?.value.as_ref()? {
            Value::Text(text) => matches!(index, 0 | -1).then(|| text.clone()),
            Value::Indexed(elements) => elements.get(&absolute(elements, index)).cloned(),
            Value::Associative(elements) => elements.get(index.to_string().as_bytes()).cloned(),
        }
    }

    /// `$0`, `$1`, `$#`, `$?` and their like, and the variables that are computed.
    fn special(&mut self, name: &[u8]) -> Option<Text> {
        let first = *name.first()?;
        if first.is_ascii_digit() {
            let number: usize = std::str::from_utf8(name).ok()?.parse().ok()?;
            return match number.checked_sub(1) {
                None => Some(self.name.clone()),
                Some(index) => self.positional.get(index).cloned(),
            };
        }
        let number = |value: u64| Some(value.to_string().into_bytes());
        match name {
            b"#" => number(self.positional.len().try_into().unwrap_or(u64::MAX)),
            b"?" => number(u64::from(self.status)),
            b"$" => number(u64::from(self.process)),
            b"!" => self
                .background
                .map(|process| process.to_string().into_bytes()),
            b"-" => Some(self.options.letters()),
            b"LINENO" => number(self.line.try_into().unwrap_or(u64::MAX)),
            b"RANDOM" if !self.variables.is_set(name) => number(u64::from(self.random())),
            b"SECONDS" if !self.variables.is_set(name) => number(self.started.elapsed().as_secs()),
            _ => None,
        }
    }

    fn keys(&self, name: &[u8]) -> Content {
        let elements = match self
            .variables
            .get(name)
            .and_then(|variable| variable.value.as_ref())
        {
            None => Vec::new(),
            Some(Value::Text(_)) => vec![b"0".to_vec()],
            Some(Value::Indexed(elements)) => elements
                .keys()
                .map(|key| key.to_string().into_bytes())
                .collect(),
            Some(Value::Associative(elements)) => elements.keys().cloned().collect(),
        };
        Content::Many {
            elements,
            joined: false,
        }
    }

    fn operate(&mut self, content: Content, operation: &Operation) -> Result<Content, Stop> {
        match operation {
            Operation::Length => {
                let length = match content {
                    Content::One(text) => characters(&text.unwrap_or_default()),
                    Content::Many { elements, .. } => elements.len(),
                };
                Ok(Content::One(Some(length.to_string().into_bytes())))
            }
            Operation::Slice { offset, length } => self.slice(content, offset, length.as_ref()),
            Operation::TrimStart { longest, pattern } => {
                let pattern = self.expand_pattern(pattern)?;
                Ok(content.map(|text| trim_start(&text, &pattern, *longest)))
            }
            Operation::TrimEnd { longest, pattern } => {
                let pattern = self.expand_pattern(pattern)?;
                Ok(content.map(|text| trim_end(&text, &pattern, *longest)))
            }
            Operation::Replace {
                place,
                pattern,
                replacement,
            } => {
                let pattern = self.expand_pattern(pattern)?;
                let replacement = self.expand_text(replacement)?;
                Ok(content.map(|text| replace(&text, &pattern, &replacement, *place)))
            }
            Operation::Case { upper, all } => Ok(content.map(|text| fold(text, *upper, *all))),
            Operation::Transform(letter) => Ok(content.map(|text| match letter {
                b'U' => fold(text, true, true),
                b'L' => fold(text, false, true),
                b'u' => fold(text, true, false),
                _ => quote(&text),
            })),
            _ => Ok(content),
        }
    }

    fn slice(
        &mut self,
        content: Content,
        offset: &Word,
        length: Option<&Word>,
    ) -> Result<Content, Stop> {
        let offset = self.arithmetic(offset)?;
        let length = match length {
            Some(word) => Some(self.arithmetic(word)?),
            None => None,
        };
        Ok(match content {
            Content::One(None) => Content::One(None),
            Content::One(Some(text)) => {
                let boundaries = pattern::boundaries(&text);
                let (start, end) = range(boundaries.len().saturating_sub(1), offset, length);
                let from = boundaries.get(start).copied().unwrap_or(text.len());
                let to = boundaries.get(end).copied().unwrap_or(text.len());
                Content::One(Some(text.get(from..to).unwrap_or_default().to_vec()))
            }
            Content::Many {
                mut elements,
                joined,
            } => {
                // `${@:0}` begins with `$0`.
                let (start, end) = range(
                    elements.len(),
                    if offset > 0 && joined_positional(&elements, &self.positional) {
                        offset.saturating_sub(1)
                    } else {
                        offset
                    },
                    length,
                );
                elements.truncate(end);
                Content::Many {
                    elements: elements.split_off(start.min(elements.len())),
                    joined,
                }
            }
        })
    }
}

/// Whether the elements are the positional parameters, whose numbering starts at 1.
fn joined_positional(elements: &[Text], positional: &[Text]) -> bool {
    elements == positional
}

impl Content {
    fn map(self, change: impl Fn(Text) -> Text) -> Self {
        match self {
            Self::One(text) => Self::One(text.map(change)),
            Self::Many { elements, joined } => Self::Many {
                elements: elements.into_iter().map(change).collect(),
                joined,
            },
        }
    }
}

/// Bounds of `:offset:length` in something of `size` elements.
fn range(size: usize, offset: i64, length: Option<i64>) -> (usize, usize) {
    let count = i64::try_from(size).unwrap_or(i64::MAX);
    let start = if offset < 0 {
        count.saturating_add(offset)
    } else {
        offset
    };
    if start < 0 || start > count {
        return (size, size);
    }
    let end = match length {
        None => count,
        Some(length) if length < 0 => count.saturating_add(length).max(start),
        Some(length) => start.saturating_add(length).min(count),
    };
    (
        usize::try_from(start).unwrap_or(size),
        usize::try_from(end).unwrap_or(size),
    )
}

/// The key that a possibly negative index means.
pub(in super::super) fn absolute(elements: &BTreeMap<i64, Text>, index: i64) -> i64 {
    if index >= 0 {
        return index;
    }
    let end = elements
        .last_key_value()
        .map_or(0, |(last, _)| last.saturating_add(1));
    end.saturating_add(index)
}

/// `name` or `name[index]`, as found in the value of an indirect reference.
fn split_subscript(target: &[u8]) -> (Text, Option<Index>) {
    let parts = target.strip_suffix(b"]").and_then(|inner| {
        inner
            .iter()
            .position(|byte| *byte == b'[')
            .and_then(|at| inner.split_at_checked(at))
    });
    match parts {
        Some((name, rest)) if is_identifier(name) => {
            let inside = rest.get(1..).unwrap_or_default();
            let index = match inside {
                b"@" => Index::Each,
                b"*" => Index::Joined,
                _ => Index::One(Word::quoted(inside)),
            };
            (name.to_vec(), Some(index))
        }
        _ => (target.to_vec(), None),
    }
}

fn characters(text: &[u8]) -> usize {
    pattern::boundaries(text).len().saturating_sub(1)
}

fn trim_start(text: &[u8], pattern: &[u8], longest: bool) -> Text {
    let mut cuts = pattern::boundaries(text);
    if longest {
        cuts.reverse();
    }
    for cut in cuts {
        if let Some((head, tail)) = text.split_at_checked(cut)
            && pattern::matches(pattern, head)
        {
            return tail.to_vec();
        }
    }
    text.to_vec()
}

fn trim_end(text: &[u8], pattern: &[u8], longest: bool) -> Text {
    let mut cuts = pattern::boundaries(text);
    if !longest {
        cuts.reverse();
    }
    for cut in cuts {
        if let Some((head, tail)) = text.split_at_checked(cut)
            && pattern::matches(pattern, tail)
        {
            return head.to_vec();
        }
    }
    text.to_vec()
}

fn replace(text: &[u8], pattern: &[u8], replacement: &[u8], place: Place) -> Text {
    if pattern.is_empty() {
        return match place {
            Place::Start => [replacement, text].concat(),
            Place::End => [text, replacement].concat(),
            Place::First | Place::All => text.to_vec(),
        };
    }
    let mut result = Vec::with_capacity(text.len());
    let mut rest = text;
    loop {
        match longest_match(rest, pattern, place == Place::End) {
            Some(length) if length > 0 || place != Place::All => {
                result.extend_from_slice(replacement);
                rest = rest.get(length..).unwrap_or_default();
                if place != Place::All || rest.is_empty() {
                    break;
                }
                continue;
            }
            _ => {}
        }
        if place == Place::Start || rest.is_empty() {
            break;
        }
        let (head, tail) = rest
            .split_at_checked(pattern::character_length(rest))
            .unwrap_or((rest, &[]));
        result.extend_from_slice(head);
        rest = tail;
        if rest.is_empty() {
            break;
        }
    }
    result.extend_from_slice(rest);
    result
}

/// Length of the longest match at the beginning of `text`; with `to_end` it must reach the end.
fn longest_match(text: &[u8], pattern: &[u8], to_end: bool) -> Option<usize> {
    if to_end {
        return pattern::matches(pattern, text).then_some(text.len());
    }
    pattern::boundaries(text).into_iter().rev().find(|cut| {
        text.get(..*cut)
            .is_some_and(|head| pattern::matches(pattern, head))
    })
}

fn fold(text: Text, upper: bool, all: bool) -> Text {
    let Ok(string) = std::str::from_utf8(&text) else {
        return text;
    };
    let change = |part: &str| {
        if upper {
            part.to_uppercase()
        } else {
            part.to_lowercase()
        }
    };
    if all {
        return change(string).into_bytes();
    }
    let mut characters = string.chars();
    match characters.next() {
        Some(first) => {
            let mut folded = change(first.encode_utf8(&mut [0; 4]));
            folded.push_str(characters.as_str());
            folded.into_bytes()
        }
        None => Vec::new(),
    }
}

/// Quotes a text so that the shell reads it back.
pub(in super::super) fn quote(text: &[u8]) -> Text {
    let mut quoted = vec![b'\''];
    for byte in text {
        if *byte == b'\'' {
            quoted.extend_from_slice(b"'\\''");
        } else {
            quoted.push(*byte);
        }
    }
    quoted.push(b'\'');
    quoted
}

/// The variables as arithmetic sees them.
pub(super) struct Numbers<'s, 'a>(pub(super) &'s mut Shell<'a>);

impl arithmetic::Numbers for Numbers<'_, '_> {
    fn read(&mut self, name: &[u8], index: Option<i64>) -> Text {
        match index {
            Some(index) => self.0.indexed(name, index),
            None => self
                .0
                .special(name)
                .or_else(|| self.0.variables.scalar(name).cloned()),
        }
        .unwrap_or_default()
    }

    fn write(&mut self, name: &[u8], index: Option<i64>, value: i64) -> Result<(), String> {
        let text = value.to_string().into_bytes();
        let result = match index {
            Some(index) => self.0.assign_element(name, index, text, false),
            None => self.0.variables.assign_text(name, text),
        };
        result.map_err(|error| format!("{}: readonly variable", String::from_utf8_lossy(&error.0)))
    }
}
