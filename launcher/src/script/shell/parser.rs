//! Script text to [`List`]: commands here, words in [`word`].
//!
//! The dialect is bash without history, job control, aliases, coprocesses, `select` and process
//! substitution. There is no token stream: what a character means depends on where it stands, so
//! each rule looks at the text itself through one cursor. A whole file is parsed before its first
//! command runs.

mod compound;
mod cursor;
mod word;

use std::cell::OnceCell;
use std::rc::Rc;

use self::cursor::{Cursor, is_name_byte, is_name_start};
use self::word::Mode;
use super::ast::{
    Argument, Assigned, Assignment, Body, Command, Connector, List, Part, Pipeline, Redirect,
    Simple, Statement, Target, Text, Word,
};

/// Nesting of compound commands and expansions, so that a hostile script cannot overflow the
/// stack of the parser or of the evaluator.
const MAX_DEPTH: usize = 120;

/// Builtins whose arguments may be assignments.
const DECLARATIONS: [&[u8]; 5] = [b"export", b"readonly", b"declare", b"typeset", b"local"];

/// Where and why a script cannot be parsed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{line}:{column}: {reason}")]
pub(crate) struct ParseError {
    pub(crate) line: usize,
    pub(crate) column: usize,
    pub(crate) reason: String,
}

type Parsed<T> = Result<T, ParseError>;

/// Parses a whole script.
pub(crate) fn parse(script: &[u8]) -> Parsed<List> {
    Parser::new(script, 0).whole()
}

/// Parses `text` as if it stood between double quotes; quotes in it are escaped first, as Apptainer
/// does, so that an escaped one ends the text.
pub(crate) fn parse_double_quoted(text: &[u8]) -> Parsed<Word> {
    let mut script = Vec::with_capacity(text.len().saturating_add(2));
    script.push(b'"');
    for byte in text {
        if *byte == b'"' {
            script.push(b'\\');
        }
        script.push(*byte);
    }
    script.push(b'"');
    let mut parser = Parser::new(&script, 0);
    let word = parser.word()?;
    match (word.0.as_slice(), parser.cursor.peek()) {
        ([Part::Double(_)], None) => Ok(word),
        _ => Err(parser.error("reached EOF without closing quote \"")),
    }
}

struct Parser<'a> {
    cursor: Cursor<'a>,
    depth: usize,
    /// Here-documents whose text begins after the next line end.
    documents: Vec<PendingDocument>,
}

struct PendingDocument {
    text: Rc<OnceCell<Word>>,
    delimiter: Text,
    literal: bool,
    strip_tabs: bool,
}

impl<'a> Parser<'a> {
    fn new(script: &'a [u8], depth: usize) -> Self {
        Self {
            cursor: Cursor::new(script),
            depth,
            documents: Vec::new(),
        }
    }

    fn whole(mut self) -> Parsed<List> {
        let list = self.list()?;
        if let Some(byte) = self.cursor.peek() {
            return Err(self.error(format!(
                "{:?} can only be used to end something",
                char::from(byte)
            )));
        }
        if !self.documents.is_empty() {
            self.read_documents()?;
        }
        Ok(list)
    }

    fn error(&self, reason: impl Into<String>) -> ParseError {
        Self::error_at(&self.cursor, reason)
    }

    /// An error about what began at `place`, such as a quote that is never closed.
    fn error_at(place: &Cursor<'_>, reason: impl Into<String>) -> ParseError {
        let (line, column) = place.place();
        ParseError {
            line,
            column,
            reason: reason.into(),
        }
    }

    fn deeper<T>(&mut self, rule: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.depth >= MAX_DEPTH {
            return Err(self.error("nested too deeply"));
        }
        self.depth = self.depth.saturating_add(1);
        let result = rule(self);
        self.depth = self.depth.saturating_sub(1);
        result
    }

    /// Blanks, line continuations and a comment.
    fn skip_blanks(&mut self) {
        loop {
            if self.cursor.eat(b"\\\n") || self.cursor.eat(b" ") || self.cursor.eat(b"\t") {
                continue;
            }
            if self.cursor.peek() == Some(b'#') {
                while self.cursor.peek().is_some_and(|byte| byte != b'\n') {
                    self.cursor.bump();
                }
            }
            return;
        }
    }

    /// Also line ends, with the here-documents that follow them.
    fn skip_lines(&mut self) -> Parsed<()> {
        loop {
            self.skip_blanks();
            if self.cursor.peek() == Some(b'\r') && self.cursor.peek_at(1) == Some(b'\n') {
                self.cursor.bump();
            }
            if !self.cursor.eat(b"\n") {
                return Ok(());
            }
            self.read_documents()?;
        }
    }

    /// Statements up to a keyword or bracket that ends the enclosing construct.
    fn list(&mut self) -> Parsed<List> {
        self.deeper(|parser| {
            let mut statements = Vec::new();
            loop {
                parser.skip_lines()?;
                if parser.at_list_end() {
                    return Ok(List(statements));
                }
                let mut statement = parser.statement()?;
                parser.skip_blanks();
                if parser.cursor.peek() == Some(b'&') && parser.cursor.peek_at(1) != Some(b'&') {
                    parser.cursor.bump();
                    statement.background = true;
                } else if parser.cursor.peek() == Some(b';') && !parser.at_arm_end() {
                    parser.cursor.bump();
                } else if !parser.at_line_end() && !parser.at_list_end() {
                    let found = parser.cursor.peek().map_or('\n', char::from);
                    return Err(parser.error(format!(
                        "a command can only contain words and redirects; encountered {found}"
                    )));
                }
                statements.push(statement);
            }
        })
    }

    fn at_line_end(&self) -> bool {
        match self.cursor.peek() {
            None | Some(b'\n') => true,
            Some(b'\r') => self.cursor.peek_at(1) == Some(b'\n'),
            Some(_) => false,
        }
    }

    fn at_arm_end(&self) -> bool {
        self.cursor.peek() == Some(b';') && matches!(self.cursor.peek_at(1), Some(b';' | b'&'))
    }

    fn at_list_end(&self) -> bool {
        match self.cursor.peek() {
            None | Some(b')') => true,
            Some(b'}') => self.at_keyword(b"}"),
            Some(b';') => self.at_arm_end(),
            Some(_) => [
                b"then".as_slice(),
                b"else",
                b"elif",
                b"fi",
                b"do",
                b"done",
                b"esac",
            ]
            .iter()
            .any(|keyword| self.at_keyword(keyword)),
        }
    }

    /// Whether the next word is exactly `keyword`.
    fn at_keyword(&self, keyword: &[u8]) -> bool {
        self.cursor
            .rest()
            .strip_prefix(keyword)
            .is_some_and(|rest| {
                rest.first().is_none_or(|byte| {
                    matches!(
                        byte,
                        b' ' | b'\t'
                            | b'\n'
                            | b'\r'
                            | b';'
                            | b'&'
                            | b'|'
                            | b'('
                            | b')'
                            | b'<'
                            | b'>'
                    )
                }) || rest.starts_with(b"\\\n")
            })
    }

    fn eat_keyword(&mut self, keyword: &[u8]) -> bool {
        self.at_keyword(keyword) && self.cursor.eat(keyword)
    }

    fn expect_keyword(&mut self, keyword: &str, opener: &str) -> Parsed<()> {
        self.skip_lines()?;
        if self.eat_keyword(keyword.as_bytes()) {
            Ok(())
        } else {
            Err(self.error(format!("{opener} statement must end with {keyword:?}")))
        }
    }

    fn statement(&mut self) -> Parsed<Statement> {
        let first = self.pipeline()?;
        let mut rest = Vec::new();
        loop {
            self.skip_blanks();
            let connector = if self.cursor.eat(b"&&") {
                Connector::And
            } else if self.cursor.eat(b"||") {
                Connector::Or
            } else {
                return Ok(Statement {
                    first,
                    rest,
                    background: false,
                });
            };
            self.skip_lines()?;
            rest.push((connector, self.pipeline()?));
        }
    }

    fn pipeline(&mut self) -> Parsed<Pipeline> {
        self.skip_blanks();
        let mut negated = false;
        while self.eat_keyword(b"!") {
            negated = !negated;
            self.skip_blanks();
        }
        let mut commands = vec![self.command()?];
        loop {
            self.skip_blanks();
            if self.cursor.peek() != Some(b'|') || self.cursor.peek_at(1) == Some(b'|') {
                return Ok(Pipeline { negated, commands });
            }
            self.cursor.bump();
            if self.cursor.eat(b"&")
                && let Some(command) = commands.last_mut()
            {
                command.redirects.push(Redirect {
                    descriptor: 2,
                    target: Target::Duplicate(Word::quoted(*b"1")),
                });
            }
            self.skip_lines()?;
            commands.push(self.command()?);
        }
    }

    fn command(&mut self) -> Parsed<Command> {
        self.skip_blanks();
        if let Some(body) = self.deeper(Self::compound)? {
            let mut redirects = Vec::new();
            loop {
                self.skip_blanks();
                match self.redirect()? {
                    Some(redirect) => redirects.push(redirect),
                    None => return Ok(Command { body, redirects }),
                }
            }
        }
        self.simple()
    }

    /// Assignments, words and redirections; or the definition of a function.
    fn simple(&mut self) -> Parsed<Command> {
        let mut simple = Simple {
            line: self.cursor.place().0,
            ..Simple::default()
        };
        let mut redirects = Vec::new();
        let mut declares = false;
        loop {
            self.skip_blanks();
            if let Some(redirect) = self.redirect()? {
                redirects.push(redirect);
                continue;
            }
            if self.at_word_end() {
                break;
            }
            if (simple.words.is_empty() || declares)
                && let Some(assignment) = self.assignment()?
            {
                if declares {
                    simple.words.push(Argument::Assignment(assignment));
                } else {
                    simple.assignments.push(assignment);
                }
                continue;
            }
            let word = self.word()?;
            if simple.words.is_empty() && simple.assignments.is_empty() {
                if let Some(body) = self.function_after(&word)? {
                    return Ok(Command { body, redirects });
                }
                declares = word
                    .literal()
                    .is_some_and(|name| DECLARATIONS.contains(&name));
            }
            simple.words.push(Argument::Word(word));
        }
        if simple.words.is_empty() && simple.assignments.is_empty() && redirects.is_empty() {
            let found = self.cursor.peek().map_or('\n', char::from);
            return Err(self.error(format!("{found:?} must follow a command")));
        }
        Ok(Command {
            body: Body::Simple(simple),
            redirects,
        })
    }

    fn at_word_end(&self) -> bool {
        self.at_line_end() || matches!(self.cursor.peek(), Some(b';' | b'&' | b'|' | b')'))
    }

    fn word(&mut self) -> Parsed<Word> {
        let parts = self.deeper(|parser| parser.parts(Mode::Plain))?;
        if parts.is_empty() {
            let found = self.cursor.peek().map_or('\n', char::from);
            return Err(self.error(format!("unexpected {found:?} where a word belongs")));
        }
        Ok(Word(parts))
    }

    /// `name=…`, `name+=…`, `name[index]=…`; leaves the cursor alone where there is none.
    fn assignment(&mut self) -> Parsed<Option<Assignment>> {
        let start = self.cursor;
        let name = self.cursor.take_while(is_name_byte).to_vec();
        if !name.first().copied().is_some_and(is_name_start) {
            self.cursor = start;
            return Ok(None);
        }
        let mut index = None;
        if self.cursor.peek() == Some(b'[') {
            self.cursor.bump();
            let Ok(parts) = self.parts(Mode::Subscript) else {
                self.cursor = start;
                return Ok(None);
            };
            if !self.cursor.eat(b"]") {
                self.cursor = start;
                return Ok(None);
            }
            index = Some(Word(parts));
        }
        let append = self.cursor.eat(b"+=");
        if !append && !self.cursor.eat(b"=") {
            self.cursor = start;
            return Ok(None);
        }
        let value = if self.cursor.peek() == Some(b'(') && index.is_none() {
            Assigned::Array(self.array()?)
        } else {
            Assigned::Word(Word(self.deeper(|parser| parser.parts(Mode::Plain))?))
        };
        Ok(Some(Assignment {
            name,
            index,
            append,
            value,
        }))
    }

    fn array(&mut self) -> Parsed<Vec<(Option<Word>, Word)>> {
        let opener = self.cursor;
        self.cursor.bump();
        let mut elements = Vec::new();
        loop {
            self.skip_lines()?;
            if self.cursor.eat(b")") {
                return Ok(elements);
            }
            if self.cursor.peek().is_none() {
                return Err(Self::error_at(
                    &opener,
                    "reached EOF without matching ( with )",
                ));
            }
            let start = self.cursor;
            if self.cursor.eat(b"[")
                && let Ok(parts) = self.parts(Mode::Subscript)
                && self.cursor.eat(b"]=")
            {
                elements.push((Some(Word(parts)), Word(self.parts(Mode::Plain)?)));
                continue;
            }
            self.cursor = start;
            elements.push((None, self.word()?));
        }
    }

    /// A redirection, where one begins here.
    fn redirect(&mut self) -> Parsed<Option<Redirect>> {
        let start = self.cursor;
        let digits = self.cursor.take_while(|byte| byte.is_ascii_digit());
        let number = std::str::from_utf8(digits)
            .ok()
            .and_then(|text| text.parse::<i32>().ok());
        let both = digits.is_empty() && self.cursor.rest().starts_with(b"&>");
        if !both && !matches!(self.cursor.peek(), Some(b'<' | b'>')) {
            self.cursor = start;
            return Ok(None);
        }
        if self.cursor.eat(b"&>") {
            let append = self.cursor.eat(b">");
            let word = self.target()?;
            return Ok(Some(Redirect {
                descriptor: 1,
                target: Target::Both { word, append },
            }));
        }
        let input = self.cursor.peek() == Some(b'<');
        let descriptor = number.unwrap_or(if input { 0 } else { 1 });
        let target = if self.cursor.eat(b"<<<") {
            let mut word = self.target()?;
            word.0.push(Part::Quoted(b"\n".to_vec()));
            Target::Text(word)
        } else if self.cursor.eat(b"<<") {
            self.document()?
        } else if self.cursor.eat(b"<>") {
            Target::ReadWrite(self.target()?)
        } else if self.cursor.eat(b"<&") || self.cursor.eat(b">&") {
            Target::Duplicate(self.target()?)
        } else if self.cursor.eat(b">>") {
            Target::Append(self.target()?)
        } else if self.cursor.eat(b">|") || self.cursor.eat(b">") {
            Target::Write(self.target()?)
        } else {
            self.cursor.bump();
            Target::Read(self.target()?)
        };
        Ok(Some(Redirect { descriptor, target }))
    }

    fn target(&mut self) -> Parsed<Word> {
        self.skip_blanks();
        if self.cursor.peek() == Some(b'(') {
            return Err(self.error("process substitution is not supported"));
        }
        self.word()
    }

    /// Notes a here-document; its text is filled in once its lines have been read.
    fn document(&mut self) -> Parsed<Target> {
        let strip_tabs = self.cursor.eat(b"-");
        let word = self.target()?;
        let mut delimiter = Vec::new();
        let mut literal = false;
        for part in &word.0 {
            match part {
                Part::Literal(text) => delimiter.extend_from_slice(text),
                Part::Quoted(text) => {
                    literal = true;
                    delimiter.extend_from_slice(text);
                }
                Part::Double(parts) => {
                    literal = true;
                    for part in parts {
                        if let Part::Quoted(text) | Part::Literal(text) = part {
                            delimiter.extend_from_slice(text);
                        }
                    }
                }
                _ => return Err(self.error("expansions not allowed in heredoc words")),
            }
        }
        let text = Rc::new(OnceCell::new());
        self.documents.push(PendingDocument {
            text: Rc::clone(&text),
            delimiter,
            literal,
            strip_tabs,
        });
        Ok(Target::Document(text))
    }

    fn read_documents(&mut self) -> Parsed<()> {
        for pending in std::mem::take(&mut self.documents) {
            let mut text = Vec::new();
            loop {
                if self.cursor.peek().is_none() {
                    break;
                }
                let mut line = self.cursor.take_while(|byte| byte != b'\n');
                let ended = self.cursor.eat(b"\n");
                if pending.strip_tabs {
                    while let Some(rest) = line.strip_prefix(b"\t") {
                        line = rest;
                    }
                }
                if line == pending.delimiter {
                    break;
                }
                text.extend_from_slice(line);
                if ended {
                    text.push(b'\n');
                }
            }
            let word = if pending.literal {
                Word::quoted(text)
            } else {
                let mut inner = Parser::new(&text, self.depth);
                let parts = inner
                    .parts(Mode::Document)
                    .map_err(|error| self.error(error.reason))?;
                Word(vec![Part::Double(parts)])
            };
            // Each cell is queued once, when its redirection is parsed.
            if pending.text.set(word).is_err() {
                return Err(self.error("a here-document was read twice"));
            }
        }
        Ok(())
    }
}
