//! `if`, loops, `case`, functions, groups and conditions.

use std::rc::Rc;

use super::super::ast::{Arm, ArmEnding, Body, Command, Condition, List, Text, Word};
use super::cursor::{is_name_byte, is_name_start};
use super::word::Mode;
use super::{Parsed, Parser};

impl Parser<'_> {
    /// A compound command, where one begins here.
    pub(super) fn compound(&mut self) -> Parsed<Option<Body>> {
        let opener = self.cursor;
        if self.cursor.peek() == Some(b'(') {
            if self.cursor.peek_at(1) == Some(b'(')
                && let Some(body) = self.arithmetic_command()?
            {
                return Ok(Some(body));
            }
            self.cursor.bump();
            let list = self.list()?;
            if !self.cursor.eat(b")") {
                return Err(Self::error_at(
                    &opener,
                    "reached EOF without matching ( with )",
                ));
            }
            return Ok(Some(Body::Subshell(list)));
        }
        if self.eat_keyword(b"{") {
            let list = self.list()?;
            if !self.eat_keyword(b"}") {
                return Err(Self::error_at(
                    &opener,
                    "reached EOF without matching { with }",
                ));
            }
            return Ok(Some(Body::Group(list)));
        }
        if self.eat_keyword(b"if") {
            return self.conditional().map(Some);
        }
        let until = self.at_keyword(b"until");
        if self.eat_keyword(b"while") || self.eat_keyword(b"until") {
            let condition = self.list()?;
            let body = self.do_group()?;
            return Ok(Some(Body::While {
                until,
                condition,
                body,
            }));
        }
        if self.eat_keyword(b"for") {
            return self.for_loop().map(Some);
        }
        if self.eat_keyword(b"case") {
            return self.case().map(Some);
        }
        if self.eat_keyword(b"function") {
            self.skip_blanks();
            let name = self.function_name()?;
            self.skip_blanks();
            if self.cursor.eat(b"(") {
                self.skip_blanks();
                if !self.cursor.eat(b")") {
                    return Err(self.error("functions must have empty parentheses"));
                }
            }
            return self.function_body(name).map(Some);
        }
        if self.eat_keyword(b"[[") {
            let condition = self.either()?;
            self.skip_lines()?;
            if !self.eat_keyword(b"]]") {
                return Err(Self::error_at(
                    &opener,
                    "reached EOF without matching [[ with ]]",
                ));
            }
            return Ok(Some(Body::Condition(condition)));
        }
        if self.at_keyword(b"select") || self.at_keyword(b"coproc") {
            return Err(self.error("select and coproc are not supported"));
        }
        Ok(None)
    }

    /// `((…))`; `None` where the second bracket turns out to open a nested subshell.
    fn arithmetic_command(&mut self) -> Parsed<Option<Body>> {
        let start = self.cursor;
        self.cursor.eat(b"((");
        let parts = self.parts(Mode::Arithmetic)?;
        if self.cursor.eat(b"))") {
            return Ok(Some(Body::Arithmetic(Word(parts))));
        }
        self.cursor = start;
        Ok(None)
    }

    fn conditional(&mut self) -> Parsed<Body> {
        let mut branches = Vec::new();
        let mut otherwise = None;
        loop {
            let condition = self.list()?;
            self.expect_keyword("then", "if")?;
            branches.push((condition, self.list()?));
            if self.eat_keyword(b"elif") {
                continue;
            }
            if self.eat_keyword(b"else") {
                otherwise = Some(self.list()?);
            }
            self.expect_keyword("fi", "if")?;
            return Ok(Body::If {
                branches,
                otherwise,
            });
        }
    }

    fn do_group(&mut self) -> Parsed<List> {
        self.expect_keyword("do", "loop")?;
        let body = self.list()?;
        self.expect_keyword("done", "loop")?;
        Ok(body)
    }

    fn for_loop(&mut self) -> Parsed<Body> {
        self.skip_blanks();
        if self.cursor.eat(b"((") {
            let start = Word(self.parts(Mode::ArithmeticPart)?);
            let mut sections = Vec::new();
            while sections.len() < 2 {
                if !self.cursor.eat(b";") {
                    return Err(self.error("for (( needs three expressions"));
                }
                let mode = if sections.is_empty() {
                    Mode::ArithmeticPart
                } else {
                    Mode::Arithmetic
                };
                sections.push(Word(self.parts(mode)?));
            }
            if !self.cursor.eat(b"))") {
                return Err(self.error("reached EOF without matching (( with ))"));
            }
            let step = sections.pop().unwrap_or_default();
            let condition = sections.pop().unwrap_or_default();
            self.end_of_header()?;
            let body = self.do_group()?;
            return Ok(Body::Count {
                start,
                condition,
                step,
                body,
            });
        }
        let name = self.name()?;
        self.skip_lines()?;
        let mut words = None;
        if self.eat_keyword(b"in") {
            let mut list = Vec::new();
            loop {
                self.skip_blanks();
                if self.at_word_end() {
                    break;
                }
                list.push(self.word()?);
            }
            words = Some(list);
        }
        self.end_of_header()?;
        let body = self.do_group()?;
        Ok(Body::For { name, words, body })
    }

    /// A `;` or line ends between the header of a loop and `do`.
    fn end_of_header(&mut self) -> Parsed<()> {
        self.skip_blanks();
        if self.cursor.peek() == Some(b';') && !self.at_arm_end() {
            self.cursor.bump();
        }
        self.skip_lines()
    }

    fn case(&mut self) -> Parsed<Body> {
        self.skip_blanks();
        let subject = self.word()?;
        self.skip_lines()?;
        if !self.eat_keyword(b"in") {
            return Err(self.error("case x must be followed by \"in\""));
        }
        let mut arms = Vec::new();
        loop {
            self.skip_lines()?;
            if self.eat_keyword(b"esac") {
                return Ok(Body::Case { subject, arms });
            }
            if self.cursor.peek().is_none() {
                return Err(self.error("case statement must end with \"esac\""));
            }
            self.cursor.eat(b"(");
            let mut patterns = Vec::new();
            loop {
                self.skip_blanks();
                patterns.push(self.word()?);
                self.skip_blanks();
                if !self.cursor.eat(b"|") {
                    break;
                }
            }
            if !self.cursor.eat(b")") {
                return Err(self.error("case patterns must be separated with |"));
            }
            let body = self.list()?;
            let ending = if self.cursor.eat(b";;&") {
                ArmEnding::Test
            } else if self.cursor.eat(b";&") {
                ArmEnding::Fall
            } else {
                self.cursor.eat(b";;");
                ArmEnding::Leave
            };
            arms.push(Arm {
                patterns,
                body,
                ending,
            });
        }
    }

    fn name(&mut self) -> Parsed<Text> {
        let name = self.cursor.take_while(is_name_byte).to_vec();
        if name.first().copied().is_some_and(is_name_start) {
            Ok(name)
        } else {
            Err(self.error("a variable name belongs here"))
        }
    }

    fn function_name(&mut self) -> Parsed<Text> {
        let name = self.cursor.take_while(is_function_byte).to_vec();
        if name.is_empty() {
            Err(self.error("a function name belongs here"))
        } else {
            Ok(name)
        }
    }

    /// `()` and a body after `word` make it the name of a function.
    pub(super) fn function_after(&mut self, word: &Word) -> Parsed<Option<Body>> {
        let Some(name) = word.literal() else {
            return Ok(None);
        };
        let start = self.cursor;
        self.skip_blanks();
        if !self.cursor.eat(b"(") {
            self.cursor = start;
            return Ok(None);
        }
        self.skip_blanks();
        if !self.cursor.eat(b")") || !name.iter().copied().all(is_function_byte) {
            return Err(self.error("a command can only contain words and redirects; encountered ("));
        }
        self.function_body(name.to_vec()).map(Some)
    }

    fn function_body(&mut self, name: Text) -> Parsed<Body> {
        self.skip_lines()?;
        let command: Command = self.command()?;
        if matches!(command.body, Body::Simple(_)) {
            return Err(self.error("a function body must be a compound command"));
        }
        Ok(Body::Function {
            name,
            body: Rc::new(command),
        })
    }

    fn either(&mut self) -> Parsed<Condition> {
        let mut left = self.both()?;
        loop {
            self.skip_lines()?;
            if !self.cursor.eat(b"||") {
                return Ok(left);
            }
            left = Condition::Or(Box::new(left), Box::new(self.both()?));
        }
    }

    fn both(&mut self) -> Parsed<Condition> {
        let mut left = self.primary()?;
        loop {
            self.skip_lines()?;
            if !self.cursor.eat(b"&&") {
                return Ok(left);
            }
            left = Condition::And(Box::new(left), Box::new(self.primary()?));
        }
    }

    fn primary(&mut self) -> Parsed<Condition> {
        self.skip_lines()?;
        if self.eat_keyword(b"!") {
            return Ok(Condition::Not(Box::new(self.deeper(Self::primary)?)));
        }
        if self.cursor.eat(b"(") {
            let inner = self.deeper(Self::either)?;
            self.skip_lines()?;
            if !self.cursor.eat(b")") {
                return Err(self.error("reached EOF without matching ( with )"));
            }
            return Ok(inner);
        }
        let left = self.word()?;
        self.skip_blanks();
        if let Some([b'-', flag]) = left.literal()
            && flag.is_ascii_alphabetic()
            && !self.at_condition_end()
        {
            let flag = *flag;
            return Ok(Condition::Unary(flag, self.word()?));
        }
        if self.at_condition_end() {
            return Ok(Condition::Word(left));
        }
        let operator = match self.cursor.peek() {
            Some(byte @ (b'<' | b'>')) => {
                self.cursor.bump();
                vec![byte]
            }
            _ => match self.word()?.literal() {
                Some(operator) => operator.to_vec(),
                None => return Err(self.error("not a valid test operator")),
            },
        };
        self.skip_blanks();
        let right = if operator == b"=~" {
            Word(self.parts(Mode::Regex)?)
        } else {
            self.word()?
        };
        Ok(Condition::Binary {
            left,
            operator,
            right,
        })
    }

    fn at_condition_end(&self) -> bool {
        self.at_keyword(b"]]")
            || self.at_line_end()
            || self.cursor.peek() == Some(b')')
            || self.cursor.rest().starts_with(b"&&")
            || self.cursor.rest().starts_with(b"||")
    }
}

fn is_function_byte(byte: u8) -> bool {
    is_name_byte(byte) || matches!(byte, b'-' | b'.' | b':' | b'+' | b'@' | b',' | b'/')
}
