//! The walk over a parsed script.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::ast::{
    Argument, ArmEnding, Assigned, Assignment, Body, Command, Connector, List, Pipeline, Simple,
    Statement, Text, Word,
};
use super::variables::{Value, Variable};
use super::{Shell, Stop, pattern};

/// A condition on a loop's number of rounds would cut off honest scripts; hostile ones can loop in
/// Apptainer too. What is bounded is memory, by the limits of text and nesting.
const MAX_TEXT: usize = 64 * 1024 * 1024;

impl Shell<'_> {
    pub(super) fn run_list(&mut self, list: &List) -> Result<(), Stop> {
        for statement in &list.0 {
            self.run_statement(statement)?;
        }
        Ok(())
    }

    fn run_statement(&mut self, statement: &Statement) -> Result<(), Stop> {
        if statement.background {
            return self.run_background(|shell| shell.run_chain(statement));
        }
        self.run_chain(statement)
    }

    fn run_chain(&mut self, statement: &Statement) -> Result<(), Stop> {
        let mut pipelines = statement.rest.iter().peekable();
        self.run_pipeline(&statement.first, pipelines.peek().is_some())?;
        while let Some((connector, pipeline)) = pipelines.next() {
            let wanted = match connector {
                Connector::And => self.status == 0,
                Connector::Or => self.status != 0,
            };
            if wanted {
                self.run_pipeline(pipeline, pipelines.peek().is_some())?;
            }
        }
        Ok(())
    }

    fn run_pipeline(&mut self, pipeline: &Pipeline, tested: bool) -> Result<(), Stop> {
        let tested = tested || pipeline.negated;
        if tested {
            self.tested = self.tested.saturating_add(1);
        }
        let result = match pipeline.commands.as_slice() {
            [command] => self.run_command(command),
            commands => self.run_piped(commands),
        };
        if tested {
            self.tested = self.tested.saturating_sub(1);
        }
        result?;
        if pipeline.negated {
            self.status = u8::from(self.status == 0);
        }
        if self.options.exit_on_error && !tested && self.tested == 0 && self.status != 0 {
            return Err(Stop::Exit(self.status));
        }
        Ok(())
    }

    pub(super) fn run_command(&mut self, command: &Command) -> Result<(), Stop> {
        if let Body::Simple(simple) = &command.body {
            return self.run_simple(simple, command);
        }
        self.deeper(|shell| {
            shell.redirected(&command.redirects, |shell| shell.run_body(&command.body))
        })
    }

    fn run_body(&mut self, body: &Body) -> Result<(), Stop> {
        match body {
            // `run_command` takes these itself, because their redirections come after expansion.
            Body::Simple(_) => Ok(()),
            Body::Group(list) => self.run_list(list),
            Body::Subshell(list) => self.run_subshell(list),
            Body::If {
                branches,
                otherwise,
            } => {
                for (condition, body) in branches {
                    if self.holds(condition)? {
                        return self.run_list(body);
                    }
                }
                match otherwise {
                    Some(body) => self.run_list(body),
                    None => {
                        self.status = 0;
                        Ok(())
                    }
                }
            }
            Body::While {
                until,
                condition,
                body,
            } => self.run_while(*until, condition, body),
            Body::For { name, words, body } => {
                let values = match words {
                    Some(words) => self.expand_words(words)?,
                    None => self.positional.clone(),
                };
                self.status = 0;
                for value in values {
                    self.assign_text(name, &value)?;
                    if self.run_round(body)? {
                        break;
                    }
                }
                Ok(())
            }
            Body::Count {
                start,
                condition,
                step,
                body,
            } => {
                self.arithmetic(start)?;
                self.status = 0;
                while condition.0.is_empty() || self.arithmetic(condition)? != 0 {
                    if self.run_round(body)? {
                        break;
                    }
                    self.arithmetic(step)?;
                }
                Ok(())
            }
            Body::Case { subject, arms } => {
                let subject = self.expand_text(subject)?;
                self.status = 0;
                let mut falling = false;
                for arm in arms {
                    if falling || self.matches_any(&arm.patterns, &subject)? {
                        self.run_list(&arm.body)?;
                        match arm.ending {
                            ArmEnding::Leave => return Ok(()),
                            ArmEnding::Fall => falling = true,
                            ArmEnding::Test => falling = false,
                        }
                    }
                }
                Ok(())
            }
            Body::Function { name, body } => {
                self.functions.insert(name.clone(), Rc::clone(body));
                self.status = 0;
                Ok(())
            }
            Body::Condition(condition) => {
                self.status = u8::from(!self.condition(condition)?);
                Ok(())
            }
            Body::Arithmetic(word) => {
                self.status = u8::from(self.arithmetic(word)? == 0);
                Ok(())
            }
        }
    }

    fn matches_any(&mut self, patterns: &[Word], subject: &[u8]) -> Result<bool, Stop> {
        for word in patterns {
            let pattern = self.expand_pattern(word)?;
            if pattern::matches(&pattern, subject) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Runs a condition, whose failure `set -e` ignores.
    fn holds(&mut self, condition: &List) -> Result<bool, Stop> {
        self.tested = self.tested.saturating_add(1);
        let result = self.run_list(condition);
        self.tested = self.tested.saturating_sub(1);
        result?;
        Ok(self.status == 0)
    }

    fn run_while(&mut self, until: bool, condition: &List, body: &List) -> Result<(), Stop> {
        let mut status = 0;
        loop {
            if self.holds(condition)? == until {
                self.status = status;
                return Ok(());
            }
            if self.run_round(body)? {
                return Ok(());
            }
            status = self.status;
        }
    }

    /// One round of a loop; `true` where `break` left it.
    fn run_round(&mut self, body: &List) -> Result<bool, Stop> {
        self.loops = self.loops.saturating_add(1);
        let result = self.run_list(body);
        self.loops = self.loops.saturating_sub(1);
        match result {
            Ok(()) | Err(Stop::Continue(1)) => Ok(false),
            Err(Stop::Break(1)) => Ok(true),
            Err(Stop::Break(levels)) => Err(Stop::Break(levels.saturating_sub(1))),
            Err(Stop::Continue(levels)) => Err(Stop::Continue(levels.saturating_sub(1))),
            Err(stop) => Err(stop),
        }
    }

    fn run_simple(&mut self, simple: &Simple, command: &Command) -> Result<(), Stop> {
        self.line = simple.line;
        self.substituted = None;
        if simple.words.is_empty() {
            return self.redirected(&command.redirects, |shell| {
                for assignment in &simple.assignments {
                    shell.assign_from(assignment)?;
                }
                shell.status = shell.substituted.unwrap_or(0);
                Ok(())
            });
        }
        if let Some(Argument::Word(first)) = simple.words.first()
            && let Some(name) = first.literal()
            && super::builtins::is_declaration(name)
        {
            let name = name.to_vec();
            return self.redirected(&command.redirects, |shell| {
                shell.run_declaration(&name, simple.words.get(1..).unwrap_or_default())
            });
        }
        let mut words = Vec::new();
        for argument in &simple.words {
            match argument {
                Argument::Word(word) => self.expand_word(word, &mut words)?,
                // The parser gives assignments to declarations only.
                Argument::Assignment(_) => {}
            }
        }
        self.redirected(&command.redirects, |shell| {
            if simple.assignments.is_empty() {
                return shell.invoke(&words);
            }
            if words.is_empty() {
                for assignment in &simple.assignments {
                    shell.assign_from(assignment)?;
                }
                shell.status = shell.substituted.unwrap_or(0);
                return Ok(());
            }
            shell.with_assignments(&simple.assignments, |shell| shell.invoke(&words))
        })
    }

    /// Runs with variables that last as long as one command.
    fn with_assignments(
        &mut self,
        assignments: &[Assignment],
        run: impl FnOnce(&mut Self) -> Result<(), Stop>,
    ) -> Result<(), Stop> {
        let mut before: Vec<(Text, Option<Variable>)> = Vec::new();
        for assignment in assignments {
            before.push((
                assignment.name.clone(),
                self.variables.get(&assignment.name).cloned(),
            ));
            self.assign_from(assignment)?;
            self.variables.entry(&assignment.name).exported = true;
        }
        let result = run(self);
        for (name, variable) in before.into_iter().rev() {
            match variable {
                Some(variable) => *self.variables.entry(&name) = variable,
                None => {
                    // It was not there before, so it cannot be read-only unless the command made
                    // it so; then it stays, as in bash.
                    drop(self.variables.unset(&name));
                }
            }
        }
        result
    }

    /// Runs a command that has been expanded: function, builtin or program.
    pub(super) fn invoke(&mut self, words: &[Text]) -> Result<(), Stop> {
        let Some((name, arguments)) = words.split_first() else {
            self.status = self.substituted.unwrap_or(0);
            return Ok(());
        };
        if let Some(function) = self.functions.get(name) {
            let function = Rc::clone(function);
            return self.call(&function, arguments);
        }
        self.invoke_plain(words)
    }

    /// As [`Self::invoke`], without functions.
    pub(super) fn invoke_plain(&mut self, words: &[Text]) -> Result<(), Stop> {
        let Some((name, arguments)) = words.split_first() else {
            return Ok(());
        };
        if let Some(result) = self.builtin(name, arguments) {
            self.status = result?;
            return Ok(());
        }
        self.run_program(words)
    }

    fn call(&mut self, function: &Command, arguments: &[Text]) -> Result<(), Stop> {
        let positional = std::mem::replace(&mut self.positional, arguments.to_vec());
        let loops = std::mem::take(&mut self.loops);
        self.variables.enter();
        let result = self.deeper(|shell| shell.run_command(function));
        self.variables.leave();
        self.loops = loops;
        self.positional = positional;
        match result {
            Err(Stop::Return(status)) => {
                self.status = status;
                Ok(())
            }
            other => other,
        }
    }

    /// Carries out one assignment.
    pub(super) fn assign_from(&mut self, assignment: &Assignment) -> Result<(), Stop> {
        let name = &assignment.name;
        match (&assignment.value, &assignment.index) {
            (Assigned::Word(word), None) => {
                let mut text = self.expand_value(word)?;
                if assignment.append {
                    if self
                        .variables
                        .get(name)
                        .is_some_and(|variable| variable.integer)
                    {
                        let before = self.variables.scalar(name).cloned().unwrap_or_default();
                        text = [before.as_slice(), b"+", &text].concat();
                    } else if let Some(before) = self.variables.scalar(name) {
                        text = [before.as_slice(), &text].concat();
                    }
                }
                if text.len() > MAX_TEXT {
                    return Err(Stop::Fatal(crate::script::ScriptError::Script {
                        reason: format!("{}: value too long", String::from_utf8_lossy(name)),
                    }));
                }
                self.assign_text(name, &text)
            }
            (Assigned::Word(word), Some(index)) => self.assign_indexed(assignment, index, word),
            (Assigned::Array(elements), _) => self.assign_array(name, elements, assignment.append),
        }
    }

    fn assign_indexed(
        &mut self,
        assignment: &Assignment,
        index: &Word,
        word: &Word,
    ) -> Result<(), Stop> {
        let name = &assignment.name;
        let text = self.expand_value(word)?;
        let associative = matches!(
            self.variables
                .get(name)
                .and_then(|variable| variable.value.as_ref()),
            Some(Value::Associative(_))
        );
        if associative {
            let key = self.expand_text(index)?;
            let variable = self.variables.entry(name);
            if let (false, Some(Value::Associative(elements))) =
                (variable.readonly, &mut variable.value)
            {
                let slot = elements.entry(key).or_default();
                if !assignment.append {
                    slot.clear();
                }
                slot.extend_from_slice(&text);
                return Ok(());
            }
            self.complain_about(name, b"readonly variable");
            self.substituted = Some(1);
            return Ok(());
        }
        let index = self.arithmetic(index)?;
        let result = self.assign_element(name, index, text, assignment.append);
        self.assigned(name, result)
    }

    fn assign_array(
        &mut self,
        name: &[u8],
        elements: &[(Option<Word>, Word)],
        append: bool,
    ) -> Result<(), Stop> {
        let before = self
            .variables
            .get(name)
            .and_then(|variable| variable.value.clone());
        if let Some(Value::Associative(old)) = before {
            let mut map = if append { old } else { BTreeMap::new() };
            for (key, word) in elements {
                if let Some(key) = key {
                    let key = self.expand_text(key)?;
                    let value = self.expand_value(word)?;
                    map.insert(key, value);
                }
            }
            return self.assign(name, Value::Associative(map));
        }
        let mut array = match before {
            Some(Value::Indexed(old)) if append => old,
            Some(Value::Text(text)) if append => BTreeMap::from([(0, text)]),
            _ => BTreeMap::new(),
        };
        let mut next = array
            .last_key_value()
            .map_or(0_i64, |(last, _)| last.saturating_add(1));
        for (key, word) in elements {
            match key {
                Some(key) => {
                    let index = self.arithmetic(key)?;
                    let value = self.expand_value(word)?;
                    array.insert(index, value);
                    next = index.saturating_add(1);
                }
                None => {
                    let mut values = Vec::new();
                    self.expand_word(word, &mut values)?;
                    for value in values {
                        array.insert(next, value);
                        next = next.saturating_add(1);
                    }
                }
            }
        }
        self.assign(name, Value::Indexed(array))
    }
}
