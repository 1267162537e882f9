//! `--section`: which parts of a definition are heeded.

use anyhow::bail;

use crate::cli::value::Strings;

/// The chosen sections.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Sections(Vec<String>);

impl Sections {
    /// From what was given.
    ///
    /// # Errors
    /// `all` or `none` beside others.
    pub(super) fn new(given: &[Strings]) -> anyhow::Result<Self> {
        let names: Vec<String> = Strings::flatten(given)
            .map(|name| name.to_string_lossy().into_owned())
            .collect();
        for alone in ["all", "none"] {
            if names.len() > 1 && names.iter().any(|name| name == alone) {
                bail!(
                    "Could not check build sections: section specification error: cannot have \
                     {alone} and any other option"
                );
            }
        }
        Ok(Self(names))
    }

    /// Whether the section called `name` is heeded.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.is_empty()
            || self
                .0
                .iter()
                .any(|chosen| chosen == name || chosen == "all")
    }
}
