//! Shape of a parsed script.
//!
//! Text is bytes throughout: scripts and variables need not be UTF-8.

use std::cell::OnceCell;
use std::rc::Rc;

/// A string of the shell.
pub(crate) type Text = Vec<u8>;

/// Statements that run one after the other.
#[derive(Debug, Clone, Default)]
pub(crate) struct List(pub(crate) Vec<Statement>);

/// A chain and whether it is started in the background.
#[derive(Debug, Clone)]
pub(crate) struct Statement {
    pub(crate) first: Pipeline,
    pub(crate) rest: Vec<(Connector, Pipeline)>,
    pub(crate) background: bool,
}

/// `&&` or `||`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Connector {
    And,
    Or,
}

/// Commands joined by `|`.
#[derive(Debug, Clone)]
pub(crate) struct Pipeline {
    pub(crate) negated: bool,
    pub(crate) commands: Vec<Command>,
}

/// A command with its redirections.
#[derive(Debug, Clone)]
pub(crate) struct Command {
    pub(crate) body: Body,
    pub(crate) redirects: Vec<Redirect>,
}

/// What a command does.
#[derive(Debug, Clone)]
pub(crate) enum Body {
    Simple(Simple),
    Group(List),
    Subshell(List),
    If {
        branches: Vec<(List, List)>,
        otherwise: Option<List>,
    },
    While {
        until: bool,
        condition: List,
        body: List,
    },
    For {
        name: Text,
        /// `None` stands for `"$@"`.
        words: Option<Vec<Word>>,
        body: List,
    },
    /// `for ((start; condition; step))`.
    Count {
        start: Word,
        condition: Word,
        step: Word,
        body: List,
    },
    Case {
        subject: Word,
        arms: Vec<Arm>,
    },
    Function {
        name: Text,
        body: Rc<Command>,
    },
    /// `[[ … ]]`.
    Condition(Condition),
    /// `(( … ))`.
    Arithmetic(Word),
}

/// One `pattern) list ;;`.
#[derive(Debug, Clone)]
pub(crate) struct Arm {
    pub(crate) patterns: Vec<Word>,
    pub(crate) body: List,
    pub(crate) ending: ArmEnding,
}

/// How an arm of `case` ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ArmEnding {
    /// `;;`
    Leave,
    /// `;&`: the next body runs too.
    Fall,
    /// `;;&`: go on matching.
    Test,
}

/// Assignments and words.
#[derive(Debug, Clone, Default)]
pub(crate) struct Simple {
    pub(crate) assignments: Vec<Assignment>,
    pub(crate) words: Vec<Argument>,
    /// Line in its file, for `$LINENO`.
    pub(crate) line: usize,
}

/// An argument; those of `export` and its kin may be assignments, which are not split.
#[derive(Debug, Clone)]
pub(crate) enum Argument {
    Word(Word),
    Assignment(Assignment),
}

/// `name[index]+=value`.
#[derive(Debug, Clone)]
pub(crate) struct Assignment {
    pub(crate) name: Text,
    pub(crate) index: Option<Word>,
    pub(crate) append: bool,
    pub(crate) value: Assigned,
}

/// Right-hand side of an assignment.
#[derive(Debug, Clone)]
pub(crate) enum Assigned {
    Word(Word),
    /// `(a b [3]=c)`.
    Array(Vec<(Option<Word>, Word)>),
}

/// A word is the concatenation of its parts.
#[derive(Debug, Clone, Default)]
pub(crate) struct Word(pub(crate) Vec<Part>);

/// A piece of a word.
#[derive(Debug, Clone)]
pub(crate) enum Part {
    /// Unquoted text: glob characters and a leading tilde count.
    Literal(Text),
    /// Quoted or escaped text.
    Quoted(Text),
    /// `"…"`.
    Double(Vec<Part>),
    Parameter(Box<Parameter>),
    /// `$(…)` and backquotes.
    Substitution(Rc<List>),
    /// `$((…))`.
    Arithmetic(Word),
}

/// `${…}`.
#[derive(Debug, Clone)]
pub(crate) struct Parameter {
    pub(crate) name: Text,
    pub(crate) index: Option<Index>,
    /// `${!name}`.
    pub(crate) indirect: bool,
    pub(crate) operation: Operation,
}

/// Which elements of an array.
#[derive(Debug, Clone)]
pub(crate) enum Index {
    /// `[@]`
    Each,
    /// `[*]`
    Joined,
    One(Word),
}

/// What becomes of the value.
#[derive(Debug, Clone)]
pub(crate) enum Operation {
    None,
    Length,
    /// `${!name[@]}`: the keys.
    Keys,
    /// `${!prefix*}`: names of variables.
    Names,
    /// `-`: with `unset_or_empty`, `:-`.
    Default {
        unset_or_empty: bool,
        word: Word,
    },
    /// `=`
    Assign {
        unset_or_empty: bool,
        word: Word,
    },
    /// `?`
    Require {
        unset_or_empty: bool,
        word: Word,
    },
    /// `+`
    Alternative {
        unset_or_empty: bool,
        word: Word,
    },
    /// `#`, `##`
    TrimStart {
        longest: bool,
        pattern: Word,
    },
    /// `%`, `%%`
    TrimEnd {
        longest: bool,
        pattern: Word,
    },
    /// `/`, `//`, `/#`, `/%`
    Replace {
        place: Place,
        pattern: Word,
        replacement: Word,
    },
    /// `:offset:length`
    Slice {
        offset: Word,
        length: Option<Word>,
    },
    /// `^`, `^^`, `,`, `,,`
    Case {
        upper: bool,
        all: bool,
    },
    /// `@Q`, `@U`, …
    Transform(u8),
}

/// Where a replacement applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    First,
    All,
    Start,
    End,
}

/// `[[ … ]]`.
#[derive(Debug, Clone)]
pub(crate) enum Condition {
    Not(Box<Condition>),
    And(Box<Condition>, Box<Condition>),
    Or(Box<Condition>, Box<Condition>),
    /// `-f word`
    Unary(u8, Word),
    Binary {
        left: Word,
        operator: Text,
        right: Word,
    },
    /// True when not empty.
    Word(Word),
}

/// `n>word`.
#[derive(Debug, Clone)]
pub(crate) struct Redirect {
    pub(crate) descriptor: i32,
    pub(crate) target: Target,
}

/// Where a descriptor goes.
#[derive(Debug, Clone)]
pub(crate) enum Target {
    Read(Word),
    Write(Word),
    Append(Word),
    ReadWrite(Word),
    /// `&>`: both standard output and error.
    Both {
        word: Word,
        append: bool,
    },
    /// `>&n`, `<&n`; `-` closes.
    Duplicate(Word),
    /// Here-string.
    Text(Word),
    /// Here-document; its text is known once the parser has reached the lines it stands on.
    Document(Rc<OnceCell<Word>>),
}

impl Word {
    /// A word of quoted text.
    pub(crate) fn quoted(text: impl Into<Text>) -> Self {
        Self(vec![Part::Quoted(text.into())])
    }

    /// The text, where the word is one unquoted literal.
    pub(crate) fn literal(&self) -> Option<&[u8]> {
        match self.0.as_slice() {
            [Part::Literal(text)] => Some(text),
            _ => None,
        }
    }
}
