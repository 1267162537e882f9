//! `{a,b}` and `{1..9}`: one word becomes several before anything else is expanded.
//!
//! Only unquoted text takes part; what stands in quotes or is yet to be expanded is carried along
//! whole.

use super::super::ast::{Part, Word};

/// Characters of all words of one expansion at most, so that `{1..999999999}` or many braces in a
/// row cannot exhaust memory; what goes beyond is left out.
const MAX_PIECES: usize = 1_000_000;

/// Words of a range at most.
const MAX_RANGE: usize = 100_000;

/// A longer word is taken as it is: looking for braces takes the square of its length.
const MAX_WORD: usize = 2000;

/// A character of unquoted text, or something that is not looked into.
#[derive(Clone)]
enum Piece {
    Byte(u8),
    Whole(Part),
}

impl Piece {
    fn is(&self, expected: u8) -> bool {
        matches!(self, Self::Byte(byte) if *byte == expected)
    }
}

/// Whether a word can have braces to expand.
pub(super) fn applies(word: &Word) -> bool {
    word.0
        .iter()
        .any(|part| matches!(part, Part::Literal(text) if text.contains(&b'{')))
}

/// The words that `word` stands for, in order; itself where it has no braces.
pub(super) fn expand(word: &Word) -> Vec<Word> {
    let mut pieces = Vec::new();
    for part in &word.0 {
        match part {
            Part::Literal(text) => pieces.extend(text.iter().map(|byte| Piece::Byte(*byte))),
            other => pieces.push(Piece::Whole(other.clone())),
        }
    }
    if pieces.len() > MAX_WORD {
        return vec![word.clone()];
    }
    let mut expansion = Expansion { left: MAX_PIECES };
    let mut words = Vec::new();
    expansion.expand_into(&[], &pieces, &mut words);
    words.into_iter().map(|pieces| join(&pieces)).collect()
}

struct Expansion {
    /// Pieces that may still be made.
    left: usize,
}

impl Expansion {
    fn expand_into(&mut self, before: &[Piece], pieces: &[Piece], words: &mut Vec<Vec<Piece>>) {
        let size = before.len().saturating_add(pieces.len()).saturating_add(1);
        let Some(left) = self.left.checked_sub(size) else {
            return;
        };
        self.left = left;
        let Some((prefix, alternatives, rest)) = first_braces(pieces) else {
            words.push([before, pieces].concat());
            return;
        };
        let before = [before, prefix].concat();
        for alternative in alternatives {
            let mut inner = Vec::new();
            self.expand_into(&[], &alternative, &mut inner);
            for middle in inner {
                self.expand_into(&[before.as_slice(), &middle].concat(), rest, words);
            }
        }
    }
}

type Braces<'p> = (&'p [Piece], Vec<Vec<Piece>>, &'p [Piece]);

/// The first braces that mean something: what is before, the alternatives, what is after.
fn first_braces(pieces: &[Piece]) -> Option<Braces<'_>> {
    for (start, piece) in pieces.iter().enumerate() {
        if !piece.is(b'{') {
            continue;
        }
        let inside = pieces.get(start.saturating_add(1)..)?;
        // `{}` is text, for the sake of `find -exec`.
        if inside.first().is_some_and(|piece| piece.is(b'}')) {
            continue;
        }
        if let Some((alternatives, length)) = alternatives(inside) {
            let rest = inside.get(length..).unwrap_or_default();
            return Some((pieces.get(..start)?, alternatives, rest));
        }
    }
    None
}

/// Alternatives after an opening brace and how many pieces they take with the closing one.
fn alternatives(inside: &[Piece]) -> Option<(Vec<Vec<Piece>>, usize)> {
    let mut depth = 0_usize;
    let mut found = vec![Vec::new()];
    for (at, piece) in inside.iter().enumerate() {
        if piece.is(b'}') && depth == 0 {
            let length = at.saturating_add(1);
            if found.len() > 1 {
                return Some((found, length));
            }
            if let Some(range) = range(found.first()?) {
                return Some((range, length));
            }
            // `{a},b}`: a brace that closes nothing useful is text.
        }
        if piece.is(b',') && depth == 0 {
            found.push(Vec::new());
            continue;
        }
        if piece.is(b'{') {
            depth = depth.saturating_add(1);
        } else if piece.is(b'}') {
            depth = depth.saturating_sub(1);
        }
        found.last_mut()?.push(piece.clone());
    }
    None
}

/// `first..last` or `first..last..step` of numbers or letters.
fn range(pieces: &[Piece]) -> Option<Vec<Vec<Piece>>> {
    let text: Option<Vec<u8>> = pieces
        .iter()
        .map(|piece| match piece {
            Piece::Byte(byte) => Some(*byte),
            Piece::Whole(_) => None,
        })
        .collect();
    let text = String::from_utf8(text?).ok()?;
    let mut bounds = text.split("..");
    let (first, last, step) = (bounds.next()?, bounds.next()?, bounds.next());
    if bounds.next().is_some() {
        return None;
    }
    let step: i64 = step.map_or(Some(1), |step| step.parse().ok())?;
    let step = step.checked_abs().filter(|step| *step > 0).unwrap_or(1);
    if let (Ok(from), Ok(to)) = (first.parse::<i64>(), last.parse::<i64>()) {
        let padded = [first, last].iter().any(|bound| {
            let digits = bound.trim_start_matches('-');
            digits.len() > 1 && digits.starts_with('0')
        });
        let width = if padded {
            first.len().max(last.len())
        } else {
            0
        };
        return Some(
            series(from, to, step)
                .map(|number| bytes(format!("{number:0width$}").as_bytes()))
                .collect(),
        );
    }
    let letter = |bound: &str| match bound.as_bytes() {
        [byte] if byte.is_ascii_alphabetic() => Some(i64::from(*byte)),
        _ => None,
    };
    let (from, to) = (letter(first)?, letter(last)?);
    Some(
        series(from, to, step)
            .filter_map(|number| u8::try_from(number).ok())
            .map(|byte| bytes(&[byte]))
            .collect(),
    )
}

fn series(from: i64, to: i64, step: i64) -> impl Iterator<Item = i64> {
    let step = if from <= to {
        step
    } else {
        step.saturating_neg()
    };
    std::iter::successors(Some(from), move |number| number.checked_add(step))
        .take_while(move |number| {
            if step > 0 {
                *number <= to
            } else {
                *number >= to
            }
        })
        .take(MAX_RANGE)
}

fn bytes(text: &[u8]) -> Vec<Piece> {
    text.iter().map(|byte| Piece::Byte(*byte)).collect()
}

fn join(pieces: &[Piece]) -> Word {
    let mut parts: Vec<Part> = Vec::new();
    for piece in pieces {
        match (piece, parts.last_mut()) {
            (Piece::Byte(byte), Some(Part::Literal(text))) => text.push(*byte),
            (Piece::Byte(byte), _) => parts.push(Part::Literal(vec![*byte])),
            (Piece::Whole(part), _) => parts.push(part.clone()),
        }
    }
    Word(parts)
}
