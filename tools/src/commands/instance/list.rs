//! `instance list`.

use serde::Serialize;
use skiff_launcher::instance::record::Record;

use super::{fits, folder_of, switch, text};
use crate::cli::Context;
use crate::cli::instance::ListArgs;
use crate::commands::cache::list::plain;
use crate::exit::ExitStatus;
use crate::output;

/// Columns between two columns of text.
const GAP: usize = 4;

/// One instance as JSON has it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Entry<'a> {
    instance: &'a str,
    pid: i32,
    img: &'a str,
    ip: &'a str,
    log_err_path: &'a str,
    log_out_path: &'a str,
}

#[derive(Serialize)]
struct Instances<'a> {
    instances: Vec<Entry<'a>>,
}

/// `instance list [PATTERN]`
///
/// # Errors
/// Records that cannot be read, or another user's.
pub fn list(args: &ListArgs, context: &Context) -> anyhow::Result<ExitStatus> {
    let user = args.user.clone().or_else(|| text("USER", context));
    let folder = folder_of(user.as_deref(), "list", context)?;
    let pattern = args.words.first().map(|word| word.to_string_lossy());
    let pattern = pattern.as_deref().unwrap_or("*");
    let all = switch(args.all, "ALL", context);
    let records = folder.records(&|name| fits(pattern, name, all))?;
    let text = if args.json {
        json(&records)?
    } else if switch(args.logs, "LOGS", context) {
        logs(&records)
    } else {
        table(&records)
    };
    output::stdout(text)?;
    Ok(ExitStatus::Success)
}

fn json(records: &[Record]) -> anyhow::Result<String> {
    let instances = Instances {
        instances: records
            .iter()
            .map(|record| Entry {
                instance: &record.name,
                pid: record.pid,
                img: &record.image,
                ip: &record.ip,
                log_err_path: &record.log_err_path,
                log_out_path: &record.log_out_path,
            })
            .collect(),
    };
    let mut bytes = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"\t");
    let mut encoder = serde_json::Serializer::with_formatter(&mut bytes, formatter);
    instances.serialize(&mut encoder)?;
    let mut text = String::from_utf8_lossy(&bytes).into_owned();
    text.push('\n');
    Ok(text)
}

fn table(records: &[Record]) -> String {
    let mut rows = vec![["INSTANCE NAME", "PID", "IP", "IMAGE"].map(str::to_owned)];
    rows.extend(records.iter().map(|record| {
        [
            record.name.clone(),
            record.pid.to_string(),
            plain(&record.ip),
            plain(&record.image),
        ]
    }));
    laid_out(&rows)
}

fn logs(records: &[Record]) -> String {
    let mut rows = vec![["INSTANCE NAME", "PID", "LOGS"].map(str::to_owned)];
    for record in records {
        rows.push([
            record.name.clone(),
            record.pid.to_string(),
            plain(&record.log_err_path),
        ]);
        rows.push([String::new(), String::new(), plain(&record.log_out_path)]);
    }
    laid_out(&rows)
}

/// Columns as wide as their widest cell; the last one as it comes.
fn laid_out<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| {
        let widths = rows.iter().map(|row| row[column].chars().count());
        widths.max().unwrap_or(0) + GAP
    };
    let widths: Vec<usize> = (0..N.saturating_sub(1)).map(width).collect();
    let mut text = String::new();
    for row in rows {
        for (cell, width) in row.iter().zip(&widths) {
            text.push_str(&format!("{cell:<width$}"));
        }
        text.push_str(row.last().map_or("", String::as_str));
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns() {
        let row = |cells: [&str; 3]| cells.map(str::to_owned);
        let text = laid_out(&[row(["NAME", "PID", "IMAGE"]), row(["longer", "7", "/x"])]);
        assert_eq!(text, "NAME      PID    IMAGE\nlonger    7      /x\n");
    }

    #[test]
    fn nothing_as_json() {
        assert_eq!(json(&[]).unwrap(), "{\n\t\"instances\": []\n}\n");
    }
}
