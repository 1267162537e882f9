//! `export`, `readonly`, `declare`, `typeset`, `local`.

use std::collections::BTreeMap;

use super::super::ast::{Argument, Assigned, Assignment, Text, Word};
use super::super::variables::{Value, is_identifier};
use super::super::{Shell, Stop, expand};

/// Whether the arguments of `name` may be assignments.
pub(in super::super) fn is_declaration(name: &[u8]) -> bool {
    matches!(
        name,
        b"export" | b"readonly" | b"declare" | b"typeset" | b"local"
    )
}

/// What the options of a declaration ask for; `None` leaves an attribute as it is.
#[derive(Default, Clone, Copy)]
struct Attributes {
    exported: Option<bool>,
    readonly: bool,
    integer: Option<bool>,
    lower: Option<bool>,
    upper: Option<bool>,
    indexed: bool,
    associative: bool,
    global: bool,
    local: bool,
    /// `-f`: functions, which cannot be given attributes here.
    functions: bool,
    print: bool,
}

impl Attributes {
    fn of(command: &[u8]) -> Self {
        Self {
            exported: (command == b"export").then_some(true),
            readonly: command == b"readonly",
            local: command == b"local",
            ..Self::default()
        }
    }

    /// Reads `-x` and its like; `false` where the argument is no option.
    fn option(&mut self, argument: &[u8]) -> bool {
        let [sign @ (b'-' | b'+'), letters @ ..] = argument else {
            return false;
        };
        if letters.is_empty() {
            return false;
        }
        let on = *sign == b'-';
        for letter in letters {
            match letter {
                b'x' => self.exported = Some(on),
                b'n' => self.exported = Some(false),
                b'r' => self.readonly = on,
                b'i' => self.integer = Some(on),
                b'l' => self.lower = Some(on),
                b'u' => self.upper = Some(on),
                b'a' => self.indexed = on,
                b'A' => self.associative = on,
                b'g' => self.global = on,
                b'f' | b'F' => self.functions = true,
                b'p' => self.print = true,
                _ => {}
            }
        }
        true
    }
}

impl Shell<'_> {
    /// A declaration as parsed. Its assignments take effect one by one, so that later ones see
    /// earlier ones.
    pub(in super::super) fn run_declaration(
        &mut self,
        command: &[u8],
        arguments: &[Argument],
    ) -> Result<(), Stop> {
        let mut attributes = Attributes::of(command);
        let mut status = 0;
        let mut named = false;
        let mut options = true;
        for argument in arguments {
            match argument {
                Argument::Assignment(assignment) => {
                    named = true;
                    // `local a=$a` means the outer one, so the value comes before the declaration.
                    let expanded = self.expand_assignment(assignment)?;
                    status |= self.declare(attributes, &assignment.name, Some(&expanded))?;
                }
                Argument::Word(word) => {
                    let mut words = Vec::new();
                    self.expand_word(word, &mut words)?;
                    for text in words {
                        if options && text == b"--" {
                            options = false;
                        } else if !(options && attributes.option(&text)) {
                            named = true;
                            status |= self.declare_text(command, attributes, &text)?;
                        }
                    }
                }
            }
        }
        if !named && !attributes.functions {
            self.print_declarations(command);
        }
        self.status = status.max(self.substituted.filter(|_| status != 0).unwrap_or(0));
        Ok(())
    }

    fn expand_assignment(&mut self, assignment: &Assignment) -> Result<Assignment, Stop> {
        let mut expanded = assignment.clone();
        if let Assigned::Word(word) = &assignment.value {
            expanded.value = Assigned::Word(Word::quoted(self.expand_value(word)?));
        }
        Ok(expanded)
    }

    /// A declaration whose name was quoted or computed: `\export A=b`.
    pub(super) fn declare_texts(&mut self, command: &[u8], arguments: &[Text]) -> Result<u8, Stop> {
        let mut attributes = Attributes::of(command);
        let mut status = 0;
        for text in arguments {
            if text != b"--" && !attributes.option(text) {
                status |= self.declare_text(command, attributes, text)?;
            }
        }
        Ok(status)
    }

    /// `name` or `name=value` as one text.
    fn declare_text(
        &mut self,
        command: &[u8],
        attributes: Attributes,
        text: &[u8],
    ) -> Result<u8, Stop> {
        let (name, value) = match text.iter().position(|byte| *byte == b'=') {
            Some(at) => {
                let (name, rest) = text.split_at_checked(at).unwrap_or((text, &[]));
                (name, rest.get(1..))
            }
            None => (text, None),
        };
        let (name, append) = match name.strip_suffix(b"+") {
            Some(name) if value.is_some() => (name, true),
            _ => (name, false),
        };
        if !is_identifier(name) {
            if attributes.functions {
                return Ok(0);
            }
            self.complain(&format!(
                "{}: invalid name {:?}",
                String::from_utf8_lossy(command),
                String::from_utf8_lossy(name)
            ));
            return Ok(1);
        }
        let assignment = value.map(|value| Assignment {
            name: name.to_vec(),
            index: None,
            append,
            value: Assigned::Word(Word::quoted(value)),
        });
        self.declare(attributes, name, assignment.as_ref())
    }

    fn declare(
        &mut self,
        attributes: Attributes,
        name: &[u8],
        assignment: Option<&Assignment>,
    ) -> Result<u8, Stop> {
        if attributes.functions {
            return Ok(0);
        }
        let scoped = attributes.exported.is_none() && !attributes.global;
        let plain_readonly = attributes.readonly && !attributes.local;
        if self.variables.in_function() && (attributes.local || (scoped && !plain_readonly)) {
            self.variables.local(name);
        }
        if self
            .variables
            .get(name)
            .is_some_and(|variable| variable.readonly)
        {
            if assignment.is_some() {
                self.complain_about(name, b"readonly variable");
                return Ok(1);
            }
            if let Some(exported) = attributes.exported {
                self.variables.entry(name).exported = exported;
            }
            return Ok(0);
        }
        let variable = self.variables.entry(name);
        if let Some(integer) = attributes.integer {
            variable.integer = integer;
        }
        if let Some(lower) = attributes.lower {
            variable.lower = lower;
        }
        if let Some(upper) = attributes.upper {
            variable.upper = upper;
        }
        if attributes.associative && !matches!(variable.value, Some(Value::Associative(_))) {
            variable.value = Some(Value::Associative(BTreeMap::new()));
        }
        if attributes.indexed {
            variable.value = match variable.value.take() {
                Some(Value::Text(text)) => Some(Value::Indexed(BTreeMap::from([(0, text)]))),
                None => Some(Value::Indexed(BTreeMap::new())),
                other => other,
            };
        }
        if let Some(assignment) = assignment {
            self.assign_from(assignment)?;
        }
        let variable = self.variables.entry(name);
        if let Some(exported) = attributes.exported {
            variable.exported = exported;
        }
        if attributes.readonly {
            variable.readonly = true;
        }
        Ok(0)
    }

    /// `export` without names.
    fn print_declarations(&mut self, command: &[u8]) {
        let mut output = Text::new();
        for name in self.variables.names() {
            let Some(variable) = self.variables.get(name) else {
                continue;
            };
            let wanted = match command {
                b"export" => variable.exported,
                b"readonly" => variable.readonly,
                _ => true,
            };
            if let (true, Some(text)) = (wanted, variable.scalar()) {
                output.extend_from_slice(command);
                output.push(b' ');
                output.extend_from_slice(name);
                output.push(b'=');
                output.extend_from_slice(&expand::quote(text));
                output.push(b'\n');
            }
        }
        self.print(&output);
    }
}
