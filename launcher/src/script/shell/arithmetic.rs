//! Integer arithmetic of `$((…))`, by precedence climbing over the expanded text.

use super::ast::Text;

/// Recursion of brackets and of variables that hold expressions.
const MAX_DEPTH: usize = 60;

/// Variables as the evaluator sees them.
pub(crate) trait Numbers {
    /// The text of a variable or array element, empty where unset.
    fn read(&mut self, name: &[u8], index: Option<i64>) -> Text;
    /// Assigns; the error is worded for the user.
    fn write(&mut self, name: &[u8], index: Option<i64>, value: i64) -> Result<(), String>;
}

/// Evaluates `expression`; empty is 0.
pub(crate) fn evaluate(expression: &[u8], numbers: &mut dyn Numbers) -> Result<i64, String> {
    evaluate_at(expression, numbers, 0)
}

fn evaluate_at(expression: &[u8], numbers: &mut dyn Numbers, depth: usize) -> Result<i64, String> {
    if depth > MAX_DEPTH {
        return Err("arithmetic expression nested too deeply".to_owned());
    }
    let mut evaluation = Evaluation {
        rest: expression,
        numbers,
        depth,
        skipping: 0,
    };
    evaluation.blanks();
    if evaluation.rest.is_empty() {
        return Ok(0);
    }
    let value = evaluation.comma()?;
    evaluation.blanks();
    if evaluation.rest.is_empty() {
        Ok(value)
    } else {
        Err(evaluation.wrong())
    }
}

struct Evaluation<'a> {
    rest: &'a [u8],
    numbers: &'a mut dyn Numbers,
    depth: usize,
    /// Above 0 in the branch that does not count: no assignment, no error of division.
    skipping: usize,
}

/// A name that can be assigned to.
struct Place {
    name: Text,
    index: Option<i64>,
}

/// Binary operators by falling precedence; longer ones first where one begins another.
const BINARY: [&[&[u8]]; 10] = [
    &[b"**"],
    &[b"*", b"/", b"%"],
    &[b"+", b"-"],
    &[b"<<", b">>"],
    &[b"<=", b">=", b"<", b">"],
    &[b"==", b"!="],
    &[b"&"],
    &[b"^"],
    &[b"|"],
    &[b"&&"],
];

impl Evaluation<'_> {
    fn blanks(&mut self) {
        while let Some((byte, rest)) = self.rest.split_first() {
            if !byte.is_ascii_whitespace() {
                break;
            }
            self.rest = rest;
        }
    }

    fn eat(&mut self, operator: &[u8]) -> bool {
        self.blanks();
        match self.rest.strip_prefix(operator) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn wrong(&self) -> String {
        format!(
            "not a valid arithmetic expression at {:?}",
            String::from_utf8_lossy(self.rest)
        )
    }

    fn deeper(&mut self, rule: fn(&mut Self) -> Result<i64, String>) -> Result<i64, String> {
        if self.depth > MAX_DEPTH {
            return Err("arithmetic expression nested too deeply".to_owned());
        }
        self.depth = self.depth.saturating_add(1);
        let value = rule(self);
        self.depth = self.depth.saturating_sub(1);
        value
    }

    fn comma(&mut self) -> Result<i64, String> {
        let mut value = self.assignment()?;
        while self.eat(b",") {
            value = self.assignment()?;
        }
        Ok(value)
    }

    fn assignment(&mut self) -> Result<i64, String> {
        let start = self.rest;
        if let Some(place) = self.place()? {
            self.blanks();
            for operator in [
                b"<<=".as_slice(),
                b">>=",
                b"+=",
                b"-=",
                b"*=",
                b"/=",
                b"%=",
                b"&=",
                b"|=",
                b"^=",
            ] {
                if self.eat(operator) {
                    let right = self.deeper(Self::assignment)?;
                    let left = self.read(&place)?;
                    let symbol = operator
                        .get(..operator.len().saturating_sub(1))
                        .unwrap_or_default();
                    let value = self.apply(symbol, left, right)?;
                    return self.write(&place, value);
                }
            }
            if self.rest.first() == Some(&b'=') && self.rest.get(1) != Some(&b'=') {
                self.eat(b"=");
                let value = self.deeper(Self::assignment)?;
                return self.write(&place, value);
            }
            self.rest = start;
        }
        self.conditional()
    }

    fn conditional(&mut self) -> Result<i64, String> {
        let condition = self.or()?;
        if !self.eat(b"?") {
            return Ok(condition);
        }
        let yes = self.branch(condition != 0, Self::assignment)?;
        if !self.eat(b":") {
            return Err(self.wrong());
        }
        let no = self.branch(condition == 0, Self::assignment)?;
        Ok(if condition != 0 { yes } else { no })
    }

    fn branch(
        &mut self,
        counts: bool,
        rule: fn(&mut Self) -> Result<i64, String>,
    ) -> Result<i64, String> {
        if counts {
            return self.deeper(rule);
        }
        self.skipping = self.skipping.saturating_add(1);
        let value = self.deeper(rule);
        self.skipping = self.skipping.saturating_sub(1);
        value
    }

    fn or(&mut self) -> Result<i64, String> {
        let mut left = self.binary(9)?;
        while self.eat(b"||") {
            let right = self.branch(left == 0, |evaluation| evaluation.binary(9))?;
            left = i64::from(left != 0 || right != 0);
        }
        Ok(left)
    }

    /// Operators of `level` and tighter ones.
    fn binary(&mut self, level: usize) -> Result<i64, String> {
        let tighter = level.checked_sub(1);
        let mut left = match tighter {
            Some(tighter) => self.binary(tighter)?,
            None => self.unary()?,
        };
        while let Some(operator) = self.operator(level) {
            left = match (operator, tighter) {
                // Right associative.
                (b"**", _) => {
                    let right = self.deeper(|evaluation| evaluation.binary(0))?;
                    self.apply(operator, left, right)?
                }
                (b"&&", Some(tighter)) => {
                    let right = if left == 0 {
                        self.skipping = self.skipping.saturating_add(1);
                        let right = self.binary(tighter);
                        self.skipping = self.skipping.saturating_sub(1);
                        right?
                    } else {
                        self.binary(tighter)?
                    };
                    i64::from(left != 0 && right != 0)
                }
                (_, Some(tighter)) => {
                    let right = self.binary(tighter)?;
                    self.apply(operator, left, right)?
                }
                (_, None) => return Err(self.wrong()),
            };
        }
        Ok(left)
    }

    fn operator(&mut self, level: usize) -> Option<&'static [u8]> {
        self.blanks();
        let operators = BINARY.get(level)?;
        let operator = operators
            .iter()
            .find(|operator| self.rest.starts_with(operator))?;
        let after = self.rest.get(operator.len()..).unwrap_or_default();
        let next = after.first();
        // `*` is no `**`, `&` no `&&`, `+` no `+=`.
        let clash = match *operator {
            b"*" => matches!(next, Some(b'*' | b'=')),
            b"&" => matches!(next, Some(b'&' | b'=')),
            b"|" => matches!(next, Some(b'|' | b'=')),
            b"<" => next == Some(&b'<'),
            b">" => next == Some(&b'>'),
            b"/" | b"%" | b"+" | b"-" | b"^" | b"<<" | b">>" => next == Some(&b'='),
            _ => false,
        };
        if clash {
            return None;
        }
        self.rest = after;
        Some(operator)
    }

    fn unary(&mut self) -> Result<i64, String> {
        self.blanks();
        if self.eat(b"++") || self.rest.starts_with(b"--") {
            let increment = if self.eat(b"--") { -1 } else { 1 };
            let Some(place) = self.place()? else {
                return Err(self.wrong());
            };
            let value = self.read(&place)?.wrapping_add(increment);
            return self.write(&place, value);
        }
        if self.eat(b"+") {
            return self.deeper(Self::unary);
        }
        if self.eat(b"-") {
            return self.deeper(Self::unary).map(i64::wrapping_neg);
        }
        if self.eat(b"!") {
            return self.deeper(Self::unary).map(|value| i64::from(value == 0));
        }
        if self.eat(b"~") {
            return self.deeper(Self::unary).map(|value| !value);
        }
        if self.eat(b"(") {
            let value = self.deeper(Self::comma)?;
            return if self.eat(b")") {
                Ok(value)
            } else {
                Err(self.wrong())
            };
        }
        if let Some(place) = self.place()? {
            let value = self.read(&place)?;
            if self.eat(b"++") {
                self.write(&place, value.wrapping_add(1))?;
            } else if self.eat(b"--") {
                self.write(&place, value.wrapping_sub(1))?;
            }
            return Ok(value);
        }
        self.number()
    }

    fn number(&mut self) -> Result<i64, String> {
        let end = self
            .rest
            .iter()
            .position(|byte| !(byte.is_ascii_alphanumeric() || matches!(byte, b'#' | b'_' | b'@')))
            .unwrap_or(self.rest.len());
        let (digits, rest) = self.rest.split_at_checked(end).unwrap_or_default();
        let value = parse_number(digits).ok_or_else(|| self.wrong())?;
        self.rest = rest;
        Ok(value)
    }

    fn place(&mut self) -> Result<Option<Place>, String> {
        self.blanks();
        let end = self
            .rest
            .iter()
            .position(|byte| !(*byte == b'_' || byte.is_ascii_alphanumeric()))
            .unwrap_or(self.rest.len());
        let (name, mut rest) = self.rest.split_at_checked(end).unwrap_or_default();
        if !super::variables::is_identifier(name) {
            return Ok(None);
        }
        let mut index = None;
        if let Some(inside) = rest.strip_prefix(b"[") {
            let mut depth = 1_usize;
            let close = inside.iter().position(|byte| {
                match byte {
                    b'[' => depth = depth.saturating_add(1),
                    b']' => depth = depth.saturating_sub(1),
                    _ => {}
                }
                depth == 0
            });
            let Some((expression, after)) = close.and_then(|close| inside.split_at_checked(close))
            else {
                return Err(self.wrong());
            };
            index = Some(evaluate_at(
                expression,
                self.numbers,
                self.depth.saturating_add(1),
            )?);
            rest = after.get(1..).unwrap_or_default();
        }
        self.rest = rest;
        Ok(Some(Place {
            name: name.to_vec(),
            index,
        }))
    }

    /// The value of a variable, which may itself be an expression.
    fn read(&mut self, place: &Place) -> Result<i64, String> {
        let text = self.numbers.read(&place.name, place.index);
        match parse_number(text.trim_ascii()) {
            Some(value) => Ok(value),
            None => evaluate_at(&text, self.numbers, self.depth.saturating_add(1)),
        }
    }

    fn write(&mut self, place: &Place, value: i64) -> Result<i64, String> {
        if self.skipping == 0 {
            self.numbers.write(&place.name, place.index, value)?;
        }
        Ok(value)
    }

    fn apply(&self, operator: &[u8], left: i64, right: i64) -> Result<i64, String> {
        // Bash takes the shift modulo the width.
        let shift = u32::try_from(right.rem_euclid(64)).unwrap_or_default();
        Ok(match operator {
            b"+" => left.wrapping_add(right),
            b"-" => left.wrapping_sub(right),
            b"*" => left.wrapping_mul(right),
            b"/" | b"%" if right == 0 && self.skipping > 0 => 0,
            b"/" | b"%" if right == 0 => return Err("division by zero".to_owned()),
            b"/" => left.checked_div(right).unwrap_or(i64::MIN),
            b"%" => left.checked_rem(right).unwrap_or(0),
            b"**" => {
                let exponent =
                    u32::try_from(right).map_err(|_| "exponent less than 0".to_owned())?;
                left.wrapping_pow(exponent)
            }
            b"<<" => left.wrapping_shl(shift),
            b">>" => left.wrapping_shr(shift),
            b"<" => i64::from(left < right),
            b">" => i64::from(left > right),
            b"<=" => i64::from(left <= right),
            b">=" => i64::from(left >= right),
            b"==" => i64::from(left == right),
            b"!=" => i64::from(left != right),
            b"&" => left & right,
            b"^" => left ^ right,
            b"|" => left | right,
            _ => return Err(self.wrong()),
        })
    }
}

/// A literal: decimal, octal with 0, hexadecimal with 0x, or `base#digits`.
fn parse_number(text: &[u8]) -> Option<i64> {
    let (text, negative) = match text.strip_prefix(b"-") {
        Some(rest) => (rest, true),
        None => (text, false),
    };
    let (digits, radix) = if let Some(rest) = text
        .strip_prefix(b"0x")
        .or_else(|| text.strip_prefix(b"0X"))
    {
        (rest, 16)
    } else if let Some(hash) = text.iter().position(|byte| *byte == b'#') {
        let (base, rest) = text.split_at_checked(hash)?;
        let base: u32 = std::str::from_utf8(base).ok()?.parse().ok()?;
        (rest.get(1..)?, base)
    } else if text.len() > 1 && text.first() == Some(&b'0') {
        (text, 8)
    } else {
        (text, 10)
    };
    if digits.is_empty() || !(2..=36).contains(&radix) {
        return None;
    }
    let mut value = 0_i64;
    for byte in digits {
        let digit = char::from(*byte).to_digit(radix)?;
        value = value
            .wrapping_mul(i64::from(radix))
            .wrapping_add(i64::from(digit));
    }
    Some(if negative {
        value.wrapping_neg()
    } else {
        value
    })
}
