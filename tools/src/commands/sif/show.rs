//! The texts of `sif header`, `sif list` and `sif info`.

use skiff_fs::format::sif::{Arch, Descriptor, Extra, HashType, Header, Link, SbomFormat};

use super::columns::{align, size, time};

/// 0001-01-01T00:00:00Z: a time that is not given, in images that are to be reproducible.
const NO_TIME: i64 = -62_135_596_800;

const RULE: &str =
    "------------------------------------------------------------------------------\n";

/// The header, field by field; what is not given is left out.
pub(super) fn header(header: &Header) -> String {
    let mut rows = Vec::new();
    let mut row = |name: &str, value: String| rows.push((format!("{name}:"), value));
    let launch_line = String::from_utf8_lossy(header.launch_line());
    let launch_line = launch_line.trim_end_matches('\n');
    if !launch_line.is_empty() {
        row("Launch Script", launch_line.to_owned());
    }
    // The only one that is read.
    row("Version", "01".to_owned());
    if header.arch != Arch::Unknown {
        row("Primary Architecture", header.arch.to_string());
    }
    row("ID", header.uuid_text());
    for (name, seconds) in [
        ("Created At", header.created),
        ("Modified At", header.modified),
    ] {
        if seconds != NO_TIME {
            row(name, time(seconds));
        }
    }
    row("Descriptors Free", header.descriptors_free.to_string());
    row("Descriptors Total", header.descriptors_total.to_string());
    row("Descriptors Offset", header.descriptors_offset.to_string());
    row("Descriptors Size", size(header.descriptors_size));
    row("Data Offset", header.data_offset.to_string());
    row("Data Size", size(header.data_size));
    align(&rows, 1)
}

/// All objects, one a line.
pub(super) fn list(descriptors: &[Descriptor]) -> String {
    let mut text = format!(
        "{RULE}{:<4} |{:<7} |{:<7} |{:<25} |TYPE\n{RULE}",
        "ID", "GROUP", "LINK", "SIF POSITION (start-end)"
    );
    for descriptor in descriptors {
        let link = match descriptor.link {
            Link::None => "NONE".to_owned(),
            Link::Object(id) => id.to_string(),
            Link::Group(group) => format!("{group:<3} (G)"),
        };
        let position = format!(
            "{}-{}",
            descriptor.offset,
            descriptor.offset.saturating_add(descriptor.size)
        );
        text.push_str(&format!(
            "{:<4} |{:<7} |{link:<7} |{position:<25} |{}{}\n",
            descriptor.id,
            group(descriptor),
            descriptor.data_type,
            details(&descriptor.extra),
        ));
    }
    text
}

fn group(descriptor: &Descriptor) -> String {
    descriptor
        .group
        .map_or_else(|| "NONE".to_owned(), |group| group.to_string())
}

/// What the list shows in brackets behind the type.
fn details(extra: &Extra) -> String {
    match extra {
        Extra::Partition { fs, kind, arch } => format!(" ({fs}/{kind}/{arch})"),
        Extra::Signature { hash, .. } => format!(" ({})", hash_name(*hash)),
        Extra::Message { format, kind } => format!(" ({format}/{kind})"),
        Extra::Sbom { format } => format!(" ({})", sbom_name(*format)),
        Extra::Digest(_) | Extra::None => String::new(),
    }
}

/// One object, field by field.
pub(super) fn info(descriptor: &Descriptor) -> String {
    let mut rows = Vec::new();
    let mut row = |name: &str, value: String| rows.push((format!("  {name}:"), value));
    row("Data Type", descriptor.data_type.to_string());
    row("ID", descriptor.id.to_string());
    row("Group ID", group(descriptor));
    row(
        "Linked ID",
        match descriptor.link {
            Link::None => "NONE".to_owned(),
            Link::Object(id) => id.to_string(),
            Link::Group(group) => format!("{group} (G)"),
        },
    );
    row("Offset", descriptor.offset.to_string());
    row("Size", descriptor.size.to_string());
    for (name, seconds) in [
        ("Created At", descriptor.created),
        ("Modified At", descriptor.modified),
    ] {
        if seconds != NO_TIME {
            row(name, time(seconds));
        }
    }
    if !descriptor.name.is_empty() {
        row("Name", descriptor.name.clone());
    }
    match &descriptor.extra {
        Extra::Partition { fs, kind, arch } => {
            row("Filesystem Type", fs.to_string());
            row("Partition Type", kind.to_string());
            row("Architecture", arch.to_string());
        }
        Extra::Signature { hash, fingerprint } => {
            row("Hash Type", hash_name(*hash).to_owned());
            if let Some(fingerprint) = fingerprint {
                row(
                    "Entity",
                    fingerprint
                        .iter()
                        .map(|byte| format!("{byte:02X}"))
                        .collect(),
                );
            }
        }
        Extra::Message { format, kind } => {
            row("Format Type", format.to_string());
            row("Message Type", kind.to_string());
        }
        Extra::Sbom { format } => row("Format", sbom_name(*format)),
        Extra::Digest(digest) => row("Digest", digest.clone()),
        Extra::None => {}
    }
    align(&rows, 2)
}

/// Go's names of hashes have a dash.
const fn hash_name(hash: HashType) -> &'static str {
    match hash {
        HashType::Sha256 => "SHA-256",
        HashType::Sha384 => "SHA-384",
        HashType::Sha512 => "SHA-512",
        HashType::Blake2s256 => "BLAKE2s-256",
        HashType::Blake2b256 => "BLAKE2b-256",
        HashType::Unknown(_) => "Unknown",
    }
}

/// The only kind whose unknown members are not capitalized.
fn sbom_name(format: SbomFormat) -> String {
    match format {
        SbomFormat::Unknown(_) => "unknown".to_owned(),
        known => known.to_string(),
    }
}
