//! The JSON form of metadata, as Apptainer writes and reads it.

use serde::{Deserialize, Serialize};

use super::{Metadata, Texts};

#[derive(Serialize, Deserialize)]
struct Envelope {
    #[serde(default)]
    data: Data,
    #[serde(default, rename = "type")]
    kind: String,
}

#[derive(Default, Serialize, Deserialize)]
struct Data {
    #[serde(default)]
    attributes: Metadata,
}

/// Reads the object of a SIF.
///
/// # Errors
/// When it is not such an object.
pub fn parse(bytes: &[u8]) -> Result<Metadata, serde_json::Error> {
    serde_json::from_slice::<Envelope>(bytes).map(|envelope| envelope.data.attributes)
}

/// The text of `inspect --json`.
///
/// # Errors
/// None in practice; the type of the encoder has them.
pub fn print(metadata: &Metadata) -> Result<String, serde_json::Error> {
    let envelope = envelope(metadata);
    let mut bytes = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"\t");
    envelope.serialize(&mut serde_json::Serializer::with_formatter(
        &mut bytes, formatter,
    ))?;
    let mut text = escape(&String::from_utf8_lossy(&bytes));
    text.push('\n');
    Ok(text)
}

/// The object of a SIF.
///
/// # Errors
/// As [`print`].
pub fn object(metadata: &Metadata) -> Result<String, serde_json::Error> {
    Ok(escape(&serde_json::to_string(&envelope(metadata))?))
}

fn envelope(metadata: &Metadata) -> Envelope {
    Envelope {
        data: Data {
            attributes: metadata.clone(),
        },
        kind: "container".to_owned(),
    }
}

/// Escapes what Go's encoder escapes beyond the standard. All of it can stand in strings only.
/// U+FFFD is what a byte that is no UTF-8 has become.
pub(crate) fn escape(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for character in json.chars() {
        match character {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\u{fffd}' => {
                text.push_str(&format!("\\u{:04x}", u32::from(character)));
            }
            other => text.push(other),
        }
    }
    text
}

/// Reads a labels file: an object of texts. Values of other types become empty and are complained
/// about once, after which the rest is read all the same.
///
/// # Errors
/// The complaint, beside what could be read.
pub fn parse_labels(bytes: &[u8]) -> (Texts, Option<String>) {
    let kind = |value: &serde_json::Value| match value {
        serde_json::Value::Null | serde_json::Value::String(_) => None,
        serde_json::Value::Bool(_) => Some("bool"),
        serde_json::Value::Number(_) => Some("number"),
        serde_json::Value::Array(_) => Some("array"),
        serde_json::Value::Object(_) => Some("object"),
    };
    match serde_json::from_slice::<serde_json::Value>(bytes) {
        Ok(serde_json::Value::Object(object)) => {
            let complaint = object
                .values()
                .find_map(kind)
                .map(|kind| format!("json: cannot unmarshal {kind} into Go value of type string"));
            let labels = object
                .into_iter()
                .map(|(name, value)| (name, value.as_str().unwrap_or_default().to_owned()))
                .collect();
            (labels, complaint)
        }
        Ok(other) => {
            let complaint = kind(&other).map_or_else(
                || matches!(other, serde_json::Value::String(_)).then_some("string"),
                Some,
            );
            let text = |kind| {
                format!("json: cannot unmarshal {kind} into Go value of type map[string]string")
            };
            (Texts::new(), complaint.map(text))
        }
        Err(error) if error.is_eof() => (
            Texts::new(),
            Some("unexpected end of JSON input".to_owned()),
        ),
        Err(error) => (Texts::new(), Some(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn printing_is_indented_and_escaped_as_go_does() {
        let metadata = Metadata {
            runscript: "a <b> & \"c\"\n\u{1}\u{2028}".into(),
            ..Metadata::default()
        };
        assert_eq!(
            print(&metadata).unwrap(),
            "{\n\t\"data\": {\n\t\t\"attributes\": {\n\t\t\t\"runscript\": \"a \\u003cb\\u003e \
             \\u0026 \\\"c\\\"\\n\\u0001\\u2028\"\n\t\t}\n\t},\n\t\"type\": \"container\"\n}\n"
        );
        assert_eq!(
            print(&Metadata::default()).unwrap(),
            "{\n\t\"data\": {\n\t\t\"attributes\": {}\n\t},\n\t\"type\": \"container\"\n}\n"
        );
    }

    #[test]
    fn parsing_takes_unknown_and_missing_fields() {
        let text = br#"{"data":{"attributes":{"runscript":"x","new":1}},"type":"container"}"#;
        assert_eq!(parse(text).unwrap().runscript, "x");
        assert_eq!(parse(b"{}").unwrap(), Metadata::default());
        assert!(parse(b"").is_err() && parse(b"{\"data\":1}").is_err());
    }

    fn check_labels(text: &str, expected: &[(&str, &str)], complaint: Option<&str>) {
        let (labels, found) = parse_labels(text.as_bytes());
        let expected: Texts = expected
            .iter()
            .map(|&(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        assert_eq!(labels, expected, "{text}");
        assert_eq!(found.as_deref(), complaint, "{text}");
    }

    #[test]
    fn labels() {
        check_labels(r#"{"b":"2","a":"1"}"#, &[("a", "1"), ("b", "2")], None);
        check_labels(
            r#"{"b":"2","a":1,"n":null}"#,
            &[("a", ""), ("b", "2"), ("n", "")],
            Some("json: cannot unmarshal number into Go value of type string"),
        );
        check_labels(
            "[]",
            &[],
            Some("json: cannot unmarshal array into Go value of type map[string]string"),
        );
        check_labels("", &[], Some("unexpected end of JSON input"));
        check_labels(r#"{"a":"#, &[], Some("unexpected end of JSON input"));
        check_labels("null", &[], None);
    }
}
