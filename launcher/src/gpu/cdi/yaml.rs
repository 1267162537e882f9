//! YAML as a JSON value, without what makes YAML dangerous: no aliases, hence no texts that grow
//! without bounds, no tags, no deep nesting, no duplicate keys, one document.

use saphyr_parser::{Event, Parser, ScalarStyle};
use serde_json::{Map, Value};

/// Deeper than any specification.
const MAX_DEPTH: usize = 32;

/// More values than any specification has.
const MAX_VALUES: usize = 500_000;

/// A collection that is not complete yet.
#[derive(Debug)]
enum Open {
    Sequence(Vec<Value>),
    Mapping(Map<String, Value>, Option<String>),
}

/// Parses one document.
///
/// # Errors
/// What is wrong with it, with its line.
pub(super) fn parse(text: &str) -> Result<Value, String> {
    let mut open: Vec<Open> = Vec::new();
    let mut whole = None;
    let mut count = 0_usize;
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| error.to_string())?;
        let line = span.start.line();
        let complete = match event {
            Event::Scalar(text, style, _, _) => {
                let plain = style == ScalarStyle::Plain;
                Some(scalar(&text, plain))
            }
            Event::SequenceStart(..) => {
                open.push(Open::Sequence(Vec::new()));
                None
            }
            Event::MappingStart(..) => {
                open.push(Open::Mapping(Map::new(), None));
                None
            }
            Event::SequenceEnd | Event::MappingEnd => match open.pop() {
                Some(Open::Sequence(items)) => Some(Value::Array(items)),
                Some(Open::Mapping(entries, _)) => Some(Value::Object(entries)),
                None => None,
            },
            Event::Alias(_) => return Err(format!("line {line}: aliases are not allowed")),
            _ => None,
        };
        count += 1;
        if open.len() > MAX_DEPTH || count > MAX_VALUES {
            return Err(format!("line {line}: too deep or too long"));
        }
        let Some(value) = complete else { continue };
        match open.last_mut() {
            Some(Open::Sequence(items)) => items.push(value),
            Some(Open::Mapping(entries, key)) => match key.take() {
                Some(key) => {
                    if entries.insert(key.clone(), value).is_some() {
                        return Err(format!("line {line}: {key} is there twice"));
                    }
                }
                None => match value {
                    Value::String(text) => *key = Some(text),
                    Value::Number(number) => *key = Some(number.to_string()),
                    _ => return Err(format!("line {line}: a key must be text")),
                },
            },
            None if whole.is_some() => {
                return Err(format!("line {line}: more than one document"));
            }
            None => whole = Some(value),
        }
    }
    whole.ok_or_else(|| "empty".to_owned())
}

/// A value by the core schema, as far as specifications use it.
fn scalar(text: &str, plain: bool) -> Value {
    if plain {
        match text {
            "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
            "true" | "True" | "TRUE" => return Value::Bool(true),
            "false" | "False" | "FALSE" => return Value::Bool(false),
            _ => {}
        }
        if let Ok(number) = text.parse::<i64>() {
            return number.into();
        }
    }
    Value::String(text.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_specifications_use() {
        let text = "---\na: 1\nb: \"1\"\nc:\n- x: y\n  z: null\n- [p, 'q']\nd: {e: true}\nf: >-\n  two\n  lines\n";
        assert_eq!(
            parse(text).unwrap(),
            json!({"a": 1, "b": "1", "c": [{"x": "y", "z": null}, ["p", "q"]], "d": {"e": true}, "f": "two lines"})
        );
    }

    #[test]
    fn what_is_refused() {
        let deep = "[".repeat(100) + &"]".repeat(100);
        for (text, reason) in [
            ("a: &x 1\nb: *x\n", "aliases"),
            ("a: 1\na: 2\n", "twice"),
            ("a: 1\n---\nb: 2\n", "more than one"),
            ("", "empty"),
            (&*deep, "too deep"),
            ("[a]: b\n", "a key must be text"),
            ("a: [", ""),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(reason), "{text:?}: {error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_does_no_harm(text in "[-a:{}\\[\\]&*!|>'\"#%@,? \\n0-9]{0,200}") {
            let _any = parse(&text);
        }
    }
}
