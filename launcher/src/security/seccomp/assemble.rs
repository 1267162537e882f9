//! Rules become a program for the kernel's classic BPF machine.
//!
//! ```text
//! other architecture? ─► its action          calls of other machines have other numbers
//! number of a rule?   ─► argument tests ─► the rule's action
//!                        not met: the next rule
//! otherwise           ─► the default action
//! ```
//! Rules without argument tests that lie side by side and say the same become one range.

/// One instruction.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Instruction {
    pub(super) code: u16,
    pub(super) if_true: u8,
    pub(super) if_false: u8,
    pub(super) value: u32,
}

/// Comparison of an argument.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Comparison {
    NotEqual,
    Less,
    LessOrEqual,
    Equal,
    GreaterOrEqual,
    Greater,
    /// After taking these bits.
    MaskedEqual(u64),
}

/// A test of one argument.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Test {
    pub(super) argument: u32,
    pub(super) comparison: Comparison,
    pub(super) value: u64,
}

/// What happens to a call if all tests hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Rule {
    pub(super) number: u32,
    pub(super) tests: Vec<Test>,
    pub(super) action: u32,
}

/// The kernel's code for this architecture.
#[cfg(target_arch = "x86_64")]
pub(super) const ARCHITECTURE: u32 = 0xC000_003E;
/// The kernel's code for this architecture.
#[cfg(target_arch = "aarch64")]
pub(super) const ARCHITECTURE: u32 = 0xC000_00B7;
/// The kernel's code for this architecture.
#[cfg(target_arch = "riscv64")]
pub(super) const ARCHITECTURE: u32 = 0xC000_00F3;
/// The kernel's code for this architecture.
#[cfg(target_arch = "powerpc64")]
pub(super) const ARCHITECTURE: u32 = 0xC000_0015;

/// From here on numbers are those of the x32 form of calls.
#[cfg(target_arch = "x86_64")]
const FOREIGN_NUMBERS: Option<u32> = Some(0x4000_0000);
/// There is but one form of calls.
#[cfg(not(target_arch = "x86_64"))]
const FOREIGN_NUMBERS: Option<u32> = None;

const LOAD: u16 = 0x20;
const AND: u16 = 0x54;
const JUMP: u16 = 0x05;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_GREATER: u16 = 0x25;
const JUMP_GREATER_EQUAL: u16 = 0x35;
const RETURN: u16 = 0x06;

/// Offsets in what a filter looks at: number, architecture, instruction pointer, arguments.
const NUMBER: u32 = 0;
const ARCHITECTURE_FIELD: u32 = 4;
const ARGUMENTS: u32 = 16;

/// Longest program that the kernel takes.
pub(super) const MAX_LENGTH: usize = 4096;

const fn statement(code: u16, value: u32) -> Instruction {
    Instruction {
        code,
        if_true: 0,
        if_false: 0,
        value,
    }
}

const fn branch(code: u16, value: u32, if_true: u8, if_false: u8) -> Instruction {
    Instruction {
        code,
        if_true,
        if_false,
        value,
    }
}

/// The program of `rules`, of which the first that fits a call decides; `None` when it is longer
/// than the kernel takes.
pub(super) fn program(rules: &[Rule], default: u32, foreign: u32) -> Option<Vec<Instruction>> {
    let mut code = vec![
        statement(LOAD, ARCHITECTURE_FIELD),
        branch(JUMP_EQUAL, ARCHITECTURE, 1, 0),
        statement(RETURN, foreign),
        statement(LOAD, NUMBER),
    ];
    if let Some(first) = FOREIGN_NUMBERS {
        code.push(branch(JUMP_GREATER_EQUAL, first, 0, 1));
        code.push(statement(RETURN, foreign));
    }
    // Those with tests first: for the same call they are the more particular ones.
    let (plain, tested): (Vec<&Rule>, Vec<&Rule>) =
        rules.iter().partition(|rule| rule.tests.is_empty());
    for rule in tested {
        let body = tested_body(rule);
        // Around the body: past its end and the reload of the number.
        let around = u32::try_from(body.len()).ok()?;
        code.push(branch(JUMP_EQUAL, rule.number, 1, 0));
        code.push(statement(JUMP, around));
        code.extend(body);
    }
    for (low, high, action) in ranges(&plain) {
        if low == high {
            code.push(branch(JUMP_EQUAL, low, 0, 1));
        } else {
            code.push(branch(JUMP_GREATER_EQUAL, low, 0, 2));
            code.push(branch(JUMP_GREATER, high, 1, 0));
        }
        code.push(statement(RETURN, action));
    }
    code.push(statement(RETURN, default));
    (code.len() <= MAX_LENGTH).then_some(code)
}

/// Numbers with one action that follow on each other; for a number with several the first counts.
fn ranges(rules: &[&Rule]) -> Vec<(u32, u32, u32)> {
    let mut sorted: Vec<(u32, u32)> = rules
        .iter()
        .map(|rule| (rule.number, rule.action))
        .collect();
    sorted.sort_by_key(|(number, _)| *number);
    sorted.dedup_by_key(|(number, _)| *number);
    let mut ranges: Vec<(u32, u32, u32)> = Vec::new();
    for (number, action) in sorted {
        match ranges.last_mut() {
            Some((_, high, same)) if *high + 1 == number && *same == action => *high = number,
            _ => ranges.push((number, number, action)),
        }
    }
    ranges
}

/// Tests, the action if they hold, and the number loaded again if not.
fn tested_body(rule: &Rule) -> Vec<Instruction> {
    let tests: Vec<Vec<Instruction>> = rule.tests.iter().map(test).collect();
    let mut body = Vec::new();
    let total: usize = tests.iter().map(Vec::len).sum::<usize>() + tests.len();
    for code in tests {
        body.extend(code);
        // A test falls through here when it fails, and skips this jump when it holds; the way out
        // is behind all tests and the action.
        let rest = total - body.len() - 1 + 1;
        body.push(statement(JUMP, u32::try_from(rest).unwrap_or(u32::MAX)));
    }
    body.push(statement(RETURN, rule.action));
    body.push(statement(LOAD, NUMBER));
    body
}

/// Code that goes on behind its end plus one when the test holds, and right behind its end when not.
fn test(test: &Test) -> Vec<Instruction> {
    let (low, high) = halves(test.value);
    let place = ARGUMENTS + 8 * test.argument;
    // All architectures here are little-endian but for older POWER.
    let (low_place, high_place) = if cfg!(target_endian = "little") {
        (place, place + 4)
    } else {
        (place + 4, place)
    };
    let load_high = statement(LOAD, high_place);
    let load_low = statement(LOAD, low_place);
    // Where a jump of the last instruction leads: 0 is the failure behind the code, 1 the success.
    let (fails, holds) = (0, 1);
    match test.comparison {
        Comparison::Equal => vec![
            load_high,
            branch(JUMP_EQUAL, high, 0, 2 + fails),
            load_low,
            branch(JUMP_EQUAL, low, holds, fails),
        ],
        Comparison::NotEqual => vec![
            load_high,
            branch(JUMP_EQUAL, high, 0, 2 + holds),
            load_low,
            branch(JUMP_EQUAL, low, fails, holds),
        ],
        Comparison::Greater => vec![
            load_high,
            branch(JUMP_GREATER, high, 3 + holds, 0),
            branch(JUMP_EQUAL, high, 0, 2 + fails),
            load_low,
            branch(JUMP_GREATER, low, holds, fails),
        ],
        Comparison::GreaterOrEqual => vec![
            load_high,
            branch(JUMP_GREATER, high, 3 + holds, 0),
            branch(JUMP_EQUAL, high, 0, 2 + fails),
            load_low,
            branch(JUMP_GREATER_EQUAL, low, holds, fails),
        ],
        Comparison::Less => vec![
            load_high,
            branch(JUMP_GREATER, high, 3 + fails, 0),
            branch(JUMP_EQUAL, high, 0, 2 + holds),
            load_low,
            branch(JUMP_GREATER_EQUAL, low, fails, holds),
        ],
        Comparison::LessOrEqual => vec![
            load_high,
            branch(JUMP_GREATER, high, 3 + fails, 0),
            branch(JUMP_EQUAL, high, 0, 2 + holds),
            load_low,
            branch(JUMP_GREATER, low, fails, holds),
        ],
        Comparison::MaskedEqual(mask) => {
            let (mask_low, mask_high) = halves(mask);
            vec![
                load_high,
                statement(AND, mask_high),
                branch(JUMP_EQUAL, high, 0, 3 + fails),
                load_low,
                statement(AND, mask_low),
                branch(JUMP_EQUAL, low, holds, fails),
            ]
        }
    }
}

/// Low and high half.
fn halves(value: u64) -> (u32, u32) {
    let half = |value: u64| u32::try_from(value & u64::from(u32::MAX)).unwrap_or(0);
    (half(value), half(value >> 32))
}

/// What `program` answers to a call: the machine in small, for tests.
#[cfg(test)]
pub(super) fn run(
    program: &[Instruction],
    architecture: u32,
    number: u32,
    arguments: [u64; 6],
) -> u32 {
    let word = |offset: u32| match offset {
        NUMBER => number,
        ARCHITECTURE_FIELD => architecture,
        _ => {
            let index = usize::try_from((offset - ARGUMENTS) / 8).unwrap();
            let (low, high) = halves(arguments[index]);
            if offset.is_multiple_of(8) { low } else { high }
        }
    };
    let mut counter = 0;
    let mut register = 0;
    loop {
        let instruction = program[counter];
        counter += 1;
        let holds = match instruction.code {
            LOAD => {
                register = word(instruction.value);
                continue;
            }
            AND => {
                register &= instruction.value;
                continue;
            }
            JUMP => {
                counter += usize::try_from(instruction.value).unwrap();
                continue;
            }
            RETURN => return instruction.value,
            JUMP_EQUAL => register == instruction.value,
            JUMP_GREATER => register > instruction.value,
            JUMP_GREATER_EQUAL => register >= instruction.value,
            code => panic!("no instruction: {code:#x}"),
        };
        counter += usize::from(if holds {
            instruction.if_true
        } else {
            instruction.if_false
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOW: u32 = 1;
    const DENY: u32 = 2;
    const FOREIGN: u32 = 3;

    fn answer(rules: &[Rule], number: u32, arguments: [u64; 6]) -> u32 {
        let program = program(rules, DENY, FOREIGN).unwrap();
        run(&program, ARCHITECTURE, number, arguments)
    }

    fn plain(number: u32, action: u32) -> Rule {
        Rule {
            number,
            tests: Vec::new(),
            action,
        }
    }

    #[test]
    fn numbers_and_ranges() {
        let rules: Vec<Rule> = [1, 2, 3, 7, 9, 10]
            .map(|number| plain(number, ALLOW))
            .into();
        for number in 0..20 {
            let wanted = if [1, 2, 3, 7, 9, 10].contains(&number) {
                ALLOW
            } else {
                DENY
            };
            assert_eq!(answer(&rules, number, [0; 6]), wanted, "{number}");
        }
        let program = program(&rules, DENY, FOREIGN).unwrap();
        assert_eq!(run(&program, ARCHITECTURE ^ 1, 1, [0; 6]), FOREIGN);
        if let Some(first) = FOREIGN_NUMBERS {
            assert_eq!(run(&program, ARCHITECTURE, first + 1, [0; 6]), FOREIGN);
        }
    }

    /// Every comparison with values around those where halves carry.
    #[test]
    fn comparisons() {
        let values = [
            0,
            1,
            5,
            6,
            7,
            0xffff_ffff,
            0x1_0000_0000,
            0x1_0000_0006,
            0x2_0000_0005,
            u64::MAX,
        ];
        let holds = |comparison, seen: u64, value: u64| match comparison {
            Comparison::Equal => seen == value,
            Comparison::NotEqual => seen != value,
            Comparison::Less => seen < value,
            Comparison::LessOrEqual => seen <= value,
            Comparison::Greater => seen > value,
            Comparison::GreaterOrEqual => seen >= value,
            Comparison::MaskedEqual(mask) => seen & mask == value,
        };
        for comparison in [
            Comparison::Equal,
            Comparison::NotEqual,
            Comparison::Less,
            Comparison::LessOrEqual,
            Comparison::Greater,
            Comparison::GreaterOrEqual,
            Comparison::MaskedEqual(0x1_0000_000f),
        ] {
            for value in values {
                for seen in values {
                    let rules = [Rule {
                        number: 4,
                        tests: vec![Test {
                            argument: 2,
                            comparison,
                            value,
                        }],
                        action: ALLOW,
                    }];
                    let wanted = if holds(comparison, seen, value) {
                        ALLOW
                    } else {
                        DENY
                    };
                    let arguments = [9, 9, seen, 9, 9, 9];
                    assert_eq!(
                        answer(&rules, 4, arguments),
                        wanted,
                        "{seen:#x} {comparison:?} {value:#x}"
                    );
                    assert_eq!(answer(&rules, 5, arguments), DENY);
                }
            }
        }
    }

    #[test]
    fn all_tests_of_a_rule_and_several_rules_of_a_call() {
        let equal = |argument, value| Test {
            argument,
            comparison: Comparison::Equal,
            value,
        };
        let rules = [
            Rule {
                number: 4,
                tests: vec![equal(0, 1), equal(1, 2), equal(5, 3)],
                action: 7,
            },
            Rule {
                number: 4,
                tests: vec![equal(0, 9)],
                action: 8,
            },
            plain(6, ALLOW),
        ];
        assert_eq!(answer(&rules, 4, [1, 2, 0, 0, 0, 3]), 7);
        assert_eq!(answer(&rules, 4, [1, 2, 0, 0, 0, 4]), DENY);
        assert_eq!(answer(&rules, 4, [1, 3, 0, 0, 0, 3]), DENY);
        assert_eq!(answer(&rules, 4, [9, 3, 0, 0, 0, 3]), 8);
        assert_eq!(answer(&rules, 6, [0; 6]), ALLOW);
    }

    #[test]
    fn too_long() {
        let rules: Vec<Rule> = (0..3000).map(|number| plain(number * 2, ALLOW)).collect();
        assert_eq!(program(&rules, DENY, FOREIGN), None);
    }
}
