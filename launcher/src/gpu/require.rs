//! `NVIDIA_REQUIRE_*`: what a program wants from the driver, as `cuda>=12.4 brand=tesla,driver>=535`.
//!
//! Words separated by spaces are alternatives, conditions separated by commas belong together. What
//! only the driver's own library could tell (brand, architecture) counts as unknown.

use std::cmp::Ordering;

/// First driver branch of each CUDA version, newest first.
const BRANCHES: [(u32, &str); 21] = [
    (590, "13.1"),
    (580, "13.0"),
    (575, "12.9"),
    (570, "12.8"),
    (565, "12.7"),
    (560, "12.6"),
    (555, "12.5"),
    (550, "12.4"),
    (545, "12.3"),
    (535, "12.2"),
    (530, "12.1"),
    (525, "12.0"),
    (520, "11.8"),
    (515, "11.7"),
    (510, "11.6"),
    (495, "11.5"),
    (470, "11.4"),
    (465, "11.3"),
    (460, "11.2"),
    (455, "11.1"),
    (450, "11.0"),
];

const OPERATORS: [&str; 6] = ["!=", "<=", ">=", "=", "<", ">"];

/// What became of a requirement.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It holds.
    Met,
    /// It does not.
    Unmet,
    /// It cannot be told.
    Unknown,
}

/// Judges `requirement` for a driver of `version`, such as `550.54.14`.
pub fn judge(requirement: &str, version: &str) -> Verdict {
    let mut alternatives = requirement.split_whitespace().peekable();
    if alternatives.peek().is_none() {
        return Verdict::Met;
    }
    let mut verdict = Verdict::Unmet;
    for alternative in alternatives {
        match together(alternative, version) {
            Verdict::Met => return Verdict::Met,
            Verdict::Unknown => verdict = Verdict::Unknown,
            Verdict::Unmet => {}
        }
    }
    verdict
}

fn together(conditions: &str, version: &str) -> Verdict {
    let mut verdict = Verdict::Met;
    for condition in conditions.split(',').filter(|text| !text.is_empty()) {
        match holds(condition, version) {
            Some(true) => {}
            Some(false) => return Verdict::Unmet,
            None => verdict = Verdict::Unknown,
        }
    }
    verdict
}

fn holds(condition: &str, version: &str) -> Option<bool> {
    let (at, operator) = OPERATORS
        .iter()
        .filter_map(|operator| Some((condition.find(operator)?, *operator)))
        .min_by_key(|(at, operator)| (*at, std::cmp::Reverse(operator.len())))?;
    let domain = condition.get(..at)?.trim();
    let wanted = condition.get(at + operator.len()..)?.trim();
    let have = match domain {
        "driver" => version,
        "cuda" => cuda(version)?,
        _ => return None,
    };
    let order = compare(have, wanted)?;
    Some(match operator {
        "=" => order == Ordering::Equal,
        "!=" => order != Ordering::Equal,
        "<" => order == Ordering::Less,
        "<=" => order != Ordering::Greater,
        ">" => order == Ordering::Greater,
        _ => order != Ordering::Less,
    })
}

/// The newest CUDA version that a driver runs.
fn cuda(version: &str) -> Option<&'static str> {
    let branch: u32 = version.split('.').next()?.parse().ok()?;
    BRANCHES
        .iter()
        .find(|(first, _)| branch >= *first)
        .map(|(_, cuda)| *cuda)
}

/// Versions as numbers, as far as the wanted one goes: 550.54 equals 550.
fn compare(have: &str, wanted: &str) -> Option<Ordering> {
    let numbers = |text: &str| -> Option<Vec<u32>> {
        text.split('.').map(|part| part.parse().ok()).collect()
    };
    let (have, wanted) = (numbers(have)?, numbers(wanted)?);
    Some(
        wanted
            .iter()
            .enumerate()
            .map(|(index, wanted)| have.get(index).unwrap_or(&0).cmp(wanted))
            .find(|order| *order != Ordering::Equal)
            .unwrap_or(Ordering::Equal),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_images_write_them() {
        use Verdict::{Met, Unknown, Unmet};
        for (requirement, verdict) in [
            ("", Met),
            ("cuda>=12.4", Met),
            ("cuda>=12.5", Unmet),
            ("cuda>=12.6 brand=tesla,driver>=535,driver<536", Unmet),
            ("cuda>=12.6 brand=tesla,driver>=550,driver<551", Unknown),
            ("cuda>=12.6 driver>=550,driver<551", Met),
            ("driver=550", Met),
            ("driver!=550", Unmet),
            ("driver<=550.54", Met),
            ("driver>550.54.14", Unmet),
            ("arch>=7.0", Unknown),
            ("nonsense", Unknown),
            ("cuda>=new", Unknown),
        ] {
            assert_eq!(judge(requirement, "550.54.14"), verdict, "{requirement}");
        }
    }
}
