//! `--type`: which entries are meant.

use skiff_cache::disk::BlobKind;

use super::show;
use crate::cli::value::Strings;

/// Types that Apptainer lists as container files; those of the node's own files are counted with
/// them.
const CONTAINERS: [&str; 7] = ["library", "oci", "oci-tmp", "shub", "oras", "net", "file"];

/// The wanted types.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Kinds {
    /// `None` for all.
    names: Option<Vec<String>>,
}

impl Kinds {
    pub(super) fn new(occurrences: &[Strings]) -> Self {
        let names: Vec<String> = Strings::flatten(occurrences)
            .map(|name| match name.to_string_lossy().as_ref() {
                "blobs" => "blob".to_owned(),
                "oci" => "oci-tmp".to_owned(),
                name => name.to_owned(),
            })
            .collect();
        let all = names.is_empty() || names.iter().any(|name| name == "all");
        Self {
            names: (!all).then_some(names),
        }
    }

    fn has_name(&self, name: &str) -> bool {
        self.names
            .as_ref()
            .is_none_or(|names| names.iter().any(|known| known == name))
    }

    /// Whether an entry of this kind is meant.
    pub(super) fn has(&self, kind: BlobKind) -> bool {
        self.has_name(show::kind(kind))
    }

    /// Whether layers are.
    pub(super) fn has_blobs(&self) -> bool {
        self.has_name("blob")
    }

    /// Whether anything but layers is.
    pub(super) fn has_containers(&self) -> bool {
        CONTAINERS.iter().any(|name| self.has_name(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(words: &[&str]) -> Kinds {
        Kinds::new(&[Strings(words.iter().map(Into::into).collect())])
    }

    #[test]
    fn choices() {
        for all in [kinds(&[]), kinds(&["all"]), kinds(&["net", "all", "foo"])] {
            assert!(all.has_blobs() && all.has_containers() && all.has(BlobKind::File));
        }
        let net = kinds(&["net"]);
        assert!(net.has(BlobKind::Net) && !net.has(BlobKind::Oras));
        assert!(net.has_containers() && !net.has_blobs());
        let converted = kinds(&["oci"]);
        assert!(converted.has(BlobKind::Converted) && converted.has_containers());
        let blobs = kinds(&["blobs"]);
        assert!(blobs.has(BlobKind::Oci) && blobs.has_blobs() && !blobs.has_containers());
        let nothing = kinds(&["foo"]);
        assert!(!nothing.has_blobs() && !nothing.has_containers());
    }
}
