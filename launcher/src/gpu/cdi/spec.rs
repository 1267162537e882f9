//! A specification file as a value.

use serde::{Deserialize, Deserializer};

use super::yaml;

/// A whole file.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Spec {
    /// Version of the format.
    pub(super) cdi_version: String,
    /// `vendor/class`.
    pub(super) kind: String,
    /// Devices.
    #[serde(default, deserialize_with = "or_default")]
    pub(super) devices: Vec<Device>,
    /// What every device of the file needs.
    #[serde(default, deserialize_with = "or_default", rename = "containerEdits")]
    pub(super) edits: Edits,
}

/// One device.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Device {
    /// Its name; a bare number counts as text.
    #[serde(deserialize_with = "text")]
    pub(super) name: String,
    /// What it needs.
    #[serde(default, deserialize_with = "or_default", rename = "containerEdits")]
    pub(super) edits: Edits,
}

/// What changes in a container.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Edits {
    /// `NAME=value`.
    #[serde(deserialize_with = "or_default")]
    pub(super) env: Vec<String>,
    /// Device nodes.
    #[serde(deserialize_with = "or_default")]
    pub(super) device_nodes: Vec<Node>,
    /// Mounts.
    #[serde(deserialize_with = "or_default")]
    pub(super) mounts: Vec<Mount>,
    /// Programs of the vendor.
    #[serde(deserialize_with = "or_default")]
    pub(super) hooks: Vec<Hook>,
    /// Groups.
    #[serde(deserialize_with = "or_default")]
    pub(super) additional_gids: Vec<u32>,
}

/// A device node. What is said about its numbers and permissions does not matter: the host's node
/// is what appears.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Node {
    /// In the container.
    pub(super) path: String,
    /// On the host, if elsewhere.
    #[serde(default)]
    pub(super) host_path: Option<String>,
}

/// A mount.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Mount {
    /// On the host.
    pub(super) host_path: String,
    /// In the container.
    pub(super) container_path: String,
    /// As in fstab.
    #[serde(default, deserialize_with = "or_default")]
    pub(super) options: Vec<String>,
    /// File system; a bind where there is none.
    #[serde(default, rename = "type")]
    pub(super) kind: Option<String>,
}

/// A program that the vendor wants to be run.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Hook {
    /// When.
    #[serde(default)]
    pub(super) hook_name: String,
    /// Which.
    pub(super) path: String,
    /// Its words, its own name first.
    #[serde(default, deserialize_with = "or_default")]
    pub(super) args: Vec<String>,
}

/// `null` counts as nothing.
fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    match serde_json::Value::deserialize(deserializer)? {
        serde_json::Value::String(text) => Ok(text),
        serde_json::Value::Number(number) => Ok(number.to_string()),
        _ => Err(serde::de::Error::custom("a name must be text")),
    }
}

impl Spec {
    /// Parses the text of a file.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn parse(text: &[u8], is_yaml: bool) -> Result<Self, String> {
        let spec: Self = if is_yaml {
            let text = std::str::from_utf8(text).map_err(|_| "not UTF-8".to_owned())?;
            serde_json::from_value(yaml::parse(text)?)
        } else {
            serde_json::from_slice(text)
        }
        .map_err(|error| error.to_string())?;
        if !is_kind(&spec.kind) {
            return Err(format!("kind {:?} is not vendor/class", spec.kind));
        }
        if !spec.cdi_version.starts_with("0.") && !spec.cdi_version.starts_with("1.") {
            return Err(format!("version {:?} is not known", spec.cdi_version));
        }
        match spec
            .devices
            .iter()
            .find(|device| !is_device_name(&device.name))
        {
            Some(device) => Err(format!("{:?} is no name for a device", device.name)),
            None => Ok(spec),
        }
    }
}

/// `vendor/class`.
pub(super) fn is_kind(text: &str) -> bool {
    text.split_once('/')
        .is_some_and(|(vendor, class)| is_name(vendor, "_.-", false) && is_name(class, "_-", false))
}

/// The last part of a device's name.
pub(super) fn is_device_name(text: &str) -> bool {
    is_name(text, "_.:-", true)
}

fn is_name(text: &str, inner: &str, digit_first: bool) -> bool {
    let fits = |first: char| first.is_ascii_alphabetic() || digit_first && first.is_ascii_digit();
    text.starts_with(fits)
        && text.ends_with(|last: char| last.is_ascii_alphanumeric())
        && text
            .chars()
            .all(|letter| letter.is_ascii_alphanumeric() || inner.contains(letter))
}
