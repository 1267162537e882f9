//! Tables of values and what Go makes of them.

use super::*;

#[test]
fn bools() {
    for text in ["1", "t", "T", "true", "True", "TRUE"] {
        assert_eq!(parse_bool(text), Ok(true), "{text}");
    }
    for text in ["0", "f", "F", "false", "False", "FALSE"] {
        assert_eq!(parse_bool(text), Ok(false), "{text}");
    }
    assert_eq!(
        parse_bool("yes").unwrap_err(),
        "strconv.ParseBool: parsing \"yes\": invalid syntax"
    );
    assert!(parse_bool("tRUE").is_err());
}

#[test]
fn ints() {
    for (text, expected) in [
        ("0", 0),
        ("-1", -1),
        ("+7", 7),
        ("0x1F", 31),
        ("010", 8),
        ("0b11", 3),
        ("0o17", 15),
    ] {
        assert_eq!(parse_int(text), Ok(expected), "{text}");
    }
    for text in ["", "x", "1x", "--1", "1_0", "0x"] {
        assert!(
            parse_int(text).unwrap_err().ends_with("invalid syntax"),
            "{text}"
        );
    }
    for text in [
        "9223372036854775808",
        "99999999999999999999999999999999999999999999",
    ] {
        assert!(
            parse_int(text).unwrap_err().ends_with("value out of range"),
            "{text}"
        );
    }
}

fn check_csv(record: &str, expected: &[&str]) {
    let expected: Vec<OsString> = expected.iter().map(OsString::from).collect();
    assert_eq!(split_csv(record.as_bytes()), Ok(expected), "{record}");
}

#[test]
fn csv() {
    check_csv("a", &["a"]);
    check_csv("a,b", &["a", "b"]);
    check_csv("a,,b", &["a", "", "b"]);
    check_csv("a,", &["a", ""]);
    check_csv(" a, b", &[" a", " b"]);
    check_csv("\"a,b\",c", &["a,b", "c"]);
    check_csv("\"a\"\"b\"", &["a\"b"]);
    check_csv("a\nb", &["a\nb"]);
}

#[test]
fn csv_errors() {
    assert_eq!(
        split_csv(b"a\"b").unwrap_err(),
        "parse error on line 1, column 2: bare \" in non-quoted-field"
    );
    assert!(split_csv(b"\"a").is_err());
    assert!(split_csv(b"\"a\"b").is_err());
}

fn check_assignments(text: &str, expected: &[(&str, &str)]) {
    let expected = expected
        .iter()
        .map(|(key, value)| (key.into(), value.into()))
        .collect();
    assert_eq!(
        Assignments::parse(OsStr::new(text)),
        Ok(Assignments(expected)),
        "{text}"
    );
}

#[test]
fn assignments() {
    check_assignments("A=1", &[("A", "1")]);
    check_assignments("A=1,2", &[("A", "1,2")]);
    check_assignments("A=1,B=2", &[("A", "1"), ("B", "2")]);
    check_assignments("A=1,\"B=2,3\"", &[("A", "1"), ("B", "2,3")]);
    check_assignments("A=", &[("A", "")]);
    check_assignments("=x", &[("", "x")]);
    check_assignments("A=b=c", &[("A", "b=c")]);
    assert_eq!(
        Assignments::parse(OsStr::new("A")).unwrap_err(),
        "A must be formatted as key=value"
    );
    assert_eq!(
        Assignments::parse(OsStr::new("A=1,B=2,C")).unwrap_err(),
        "C must be formatted as key=value"
    );
    assert!(Assignments::parse(OsStr::new("A=1,b\"c=2")).is_err());
}

#[test]
fn quoting() {
    assert_eq!(quote(OsStr::new("a\"b\\")), r#""a\"b\\""#);
    assert_eq!(quote(OsStr::from_bytes(b"\xff\n")), r#""\xff\n""#);
}
