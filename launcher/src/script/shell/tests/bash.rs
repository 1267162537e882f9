//! Random scripts, run here and by the system's bash, must export the same.
//!
//! Left out is what Apptainer's interpreter does in its own way (see the header of the shell).

use std::collections::BTreeMap;
use std::process::{Command, Stdio};

use proptest::prelude::*;

use super::run;

/// What bash exports after `script`; `None` where there is no bash.
fn bash(script: &str) -> Option<BTreeMap<String, String>> {
    let output = Command::new("bash")
        .args([
            "--norc",
            "--noprofile",
            "-c",
            &format!("{script}\nexec env -0"),
        ])
        .env_clear()
        .envs([
            ("H", "host"),
            ("PATH", "/usr/bin:/bin"),
            ("HOME", "/home/me"),
        ])
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Some(
        text.split('\0')
            .filter_map(|entry| entry.split_once('='))
            .filter(|(name, _)| !matches!(*name, "_" | "PWD" | "SHLVL" | "OLDPWD"))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
    )
}

fn name() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["A", "B", "C", "LONG_NAME", "H"]).prop_map(str::to_owned)
}

/// Text without meaning to the shell.
fn plain() -> impl Strategy<Value = String> {
    "[a-z/.:_=,%+-]{0,6}"
}

fn expansion() -> impl Strategy<Value = String> {
    (name(), plain(), 0..16_u8).prop_map(|(name, text, kind)| match kind {
        0 => format!("${name}"),
        1 => format!("${{{name}:-{text}}}"),
        2 => format!("${{{name}-{text}}}"),
        3 => format!("${{{name}:+{text}}}"),
        4 => format!("${{{name}:={text}}}"),
        5 => format!("${{#{name}}}"),
        6 => format!(
            "${{{name}#*{}}}",
            text.chars()
                .next()
                .filter(char::is_ascii_alphabetic)
                .unwrap_or('a')
        ),
        7 => format!(
            "${{{name}%{}*}}",
            text.chars()
                .next()
                .filter(char::is_ascii_alphabetic)
                .unwrap_or('a')
        ),
        8 => format!("${{{name}//[a-f]/X}}"),
        9 => format!("${{{name}:1:2}}"),
        10 => format!("${{{name}^^}}"),
        11 => format!("$(echo {text} x)"),
        12 => "$((3 * 4 - 1))".to_owned(),
        13 => format!("${{{name}##*/}}"),
        14 => format!("${{{name}%%:*}}"),
        _ => format!("${{{name}}}"),
    })
}

fn value() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        plain(),
        "[a-z $\"*?~\\\\#;|&(){}\\[\\]<>!]{0,8}".prop_map(|text| format!("'{text}'")),
        (plain(), expansion(), "[a-z '*?~#;|&(){}<>]{0,5}")
            .prop_map(|(a, b, c)| format!("\"{a}{b}{c}\"")),
        expansion(),
        prop::sample::select(vec![
            "\\$", "\\ ", "\\\\", "\\\"", "\\'", "~/", "\"\\$x\"", "\"\\\\\"", "\"a\\b\""
        ])
        .prop_map(str::to_owned),
    ];
    prop::collection::vec(piece, 0..4).prop_map(|pieces| pieces.concat())
}

/// Words with well-formed braces; what bash makes of others nobody should rely on.
fn braces() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "a",
        "-",
        " ",
        "{a,b}",
        "{1..3}",
        "{c..a}",
        "{a,{b,c}}",
        "{,x}",
        "{}",
        "{z}",
        "'{q,r}'",
        "${H}",
    ]);
    prop::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat())
}

fn statement() -> impl Strategy<Value = String> {
    prop_oneof![
        (name(), value()).prop_map(|(name, value)| format!("export {name}={value}")),
        (name(), value()).prop_map(|(name, value)| format!("{name}={value}")),
        (name(), value()).prop_map(|(name, value)| format!("{name}+={value}")),
        name().prop_map(|name| format!("export {name}")),
        name().prop_map(|name| format!("unset {name}")),
        (name(), value(), name())
            .prop_map(|(a, value, b)| format!("if [ -n \"${a}\" ]; then export {b}={value}; fi")),
        (name(), value())
            .prop_map(|(name, value)| format!("[ -z \"${{{name}:-}}\" ] && {name}={value}")),
        (name(), value()).prop_map(|(name, value)| format!(
            "case \"${name}\" in *a*) export {name}={value} ;; *) : ;; esac"
        )),
        (name(), value())
            .prop_map(|(name, value)| format!("for i in {value} x; do {name}=${name}.$i; done")),
        (name(), value())
            .prop_map(|(name, value)| format!("set -- {value} y; export {name}=\"$#:$1\"")),
        (name(), value()).prop_map(|(name, value)| format!(
            "f() {{ local {name}={value}; export G=\"${name}\"; }}; f"
        )),
        (name(), value()).prop_map(|(name, value)| format!(
            "a=({value} z); export {name}=\"${{a[0]}}-${{#a[@]}}\""
        )),
        (name(), braces()).prop_map(|(name, words)| format!("set -- {words} y; {name}=\"$#:$*\"")),
        Just("# comment 'unclosed".to_owned()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases.max(400), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn exports_what_bash_exports(statements in prop::collection::vec(statement(), 1..8)) {
        let script = statements.join("\n");
        if let Some(expected) = bash(&script) {
            // A script bash cannot parse exports nothing and is not judged.
            prop_assume!(!expected.is_empty());
            let ran = run(&script, &[("H", "host"), ("PATH", "/usr/bin:/bin"), ("HOME", "/home/me")]);
            prop_assert_eq!(ran.env, expected, "{}", script);
        }
    }

    #[test]
    fn no_text_makes_the_parser_panic(script in prop::collection::vec(any::<u8>(), 0..200)) {
        drop(super::super::parser::parse(&script));
    }

    #[test]
    fn no_mixture_of_syntax_makes_the_parser_panic(pieces in prop::collection::vec(prop::sample::select(vec![
        "$", "{", "}", "(", ")", "((", "))", "[[", "]]", "`", "\"", "'", "\\", "\n", ";", ";;", "&", "|", "<<E", "E", "<", ">",
        "if ", "then ", "fi", "for ", "do ", "done", "case ", " in ", "esac", "a", "=", "#", "%", "/", ":", "!", "@", "*", "[", "]",
        "${a:-", "$((", "f()", " ", "-", "+", "~/",
    ]), 0..60)) {
        drop(super::super::parser::parse(pieces.concat().as_bytes()));
    }

    #[test]
    fn no_mixture_of_syntax_makes_the_evaluator_panic(pieces in prop::collection::vec(prop::sample::select(vec![
        "$", "{", "}", "(", ")", "((", "))", "[[ ", " ]]", "`", "\"", "'", "\\", "\n", ";", "&&", "||", "|", "<<E", "<<<", "<",
        "if ", "then ", "fi", "case ", " in ", "esac", "a", "b", "=", "#", "##", "%", "/", "//", ":", "!", "@", "*", "[", "]", "[@]",
        "${a:-", "${#", "${!a", "${a[", "${a:", "$((", "f()", " ", "-", "+", "~", "1", "9223372036854775807", "export ", "declare -A ",
        "local ", "echo ", "printf '%9.3d%b' ", "eval ", "test ", "shift ", "set -- ", "unset ", "read a", "getopts ab: o ", "-n", ",", "..", "^^",
    ]), 0..40)) {
        let mut report = |_, _: &str| {};
        let policy = super::super::Policy { commands: false, files: false, timeout: std::time::Duration::from_secs(1) };
        let mut shell = super::super::Shell::new(b"fuzz", policy, &mut report);
        shell.capture = Some(Vec::new());
        drop(shell.source_text("fuzz", pieces.concat().as_bytes()));
    }
}
