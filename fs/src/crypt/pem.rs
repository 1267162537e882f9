//! Text around binary keys (RFC 1421), read as leniently as Go's `pem.Decode`: whatever stands
//! before the first sound block is passed over.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
const DASHES: &str = "-----";

/// Bytes of base64 in a line that is written.
const LINE: usize = 64;

/// One block.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Block {
    /// What it says it is.
    pub(super) label: String,
    /// A passphrase protects it (`DEK-Info`).
    pub(super) protected: bool,
    /// Its content.
    pub(super) bytes: Vec<u8>,
}

/// The first block in `text`.
pub(super) fn first(text: &[u8]) -> Option<Block> {
    let text = String::from_utf8_lossy(text);
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    lines
        .iter()
        .enumerate()
        .filter_map(|(at, line)| {
            let label = line.strip_prefix(BEGIN)?.strip_suffix(DASHES)?;
            block(label, lines.get(at.checked_add(1)?..)?)
        })
        .next()
}

fn block(label: &str, lines: &[&str]) -> Option<Block> {
    let end = format!("{END}{label}{DASHES}");
    let len = lines.iter().position(|line| *line == end)?;
    let lines = lines.get(..len)?;
    let is_header = |line: &&&str| line.contains(':');
    let headers = lines.iter().take_while(is_header).count();
    let protected = lines
        .iter()
        .take(headers)
        .any(|line| line.starts_with("DEK-Info:"));
    let body: String = lines
        .iter()
        .skip(headers)
        .flat_map(|line| line.split_whitespace())
        .collect();
    Some(Block {
        label: label.to_owned(),
        protected,
        bytes: STANDARD.decode(body).ok()?,
    })
}

/// `bytes` as a block.
pub(super) fn write(label: &str, bytes: &[u8]) -> String {
    let body = STANDARD.encode(bytes);
    let mut text = format!("{BEGIN}{label}{DASHES}\n");
    let mut rest = body.as_str();
    while !rest.is_empty() {
        let (line, more) = rest.split_at(rest.len().min(LINE));
        text.push_str(line);
        text.push('\n');
        rest = more;
    }
    text.push_str(&format!("{END}{label}{DASHES}\n"));
    text
}
