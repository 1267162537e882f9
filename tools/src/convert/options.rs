//! How conversions are done.

use skiff_fs::format::oci::Platform;
use skiff_fs::remote::{Reference, RemoteOptions};

use crate::cli::Context;
use crate::cli::build::PlatformArgs;
use crate::cli::remote::RemoteArgs;

use super::source::{OciSource, Source};

/// How an image is fetched and which one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    /// How to get at what is elsewhere.
    pub remote: RemoteOptions,
    /// For which machine.
    pub platform: Platform,
    /// Nothing is kept for the next time, nor taken from the last.
    pub uncached: bool,
}

impl Options {
    /// From flags; `variables` are those that stand for `--arch` and `--arch-variant`.
    ///
    /// # Errors
    /// Flags that contradict, or nobody to ask for a password.
    pub fn new(
        remote: &RemoteArgs,
        platform: &PlatformArgs,
        variables: (&str, &str),
        context: &Context,
    ) -> anyhow::Result<Self> {
        let variable = |name: &str| {
            [format!("APPTAINER_{name}"), format!("SINGULARITY_{name}")]
                .iter()
                .find_map(|name| context.variable(name))
                .map(|value| value.to_string_lossy().into_owned())
                .filter(|value| !value.is_empty())
        };
        let mut wanted = Platform::host();
        let given = platform.arch.clone().filter(|arch| !arch.is_empty());
        if let Some(arch) = given.or_else(|| variable(variables.0)) {
            wanted.architecture = known_architecture(&arch)?;
        }
        let given = platform.arch_variant.clone();
        wanted.variant = given
            .filter(|variant| !variant.is_empty())
            .or_else(|| variable(variables.1))
            .map(|variant| {
                // `6` is what Apptainer's help says.
                if variant.starts_with(|letter: char| letter.is_ascii_digit()) {
                    format!("v{variant}")
                } else {
                    variant
                }
            });
        Ok(Self {
            remote: remote.settings(context)?,
            platform: wanted,
            uncached: remote.disable_cache,
        })
    }

    /// With what the name of the source itself says.
    #[must_use]
    pub fn for_source(mut self, source: &Source) -> Self {
        match source {
            Source::Oci(oci) => self.platform = oci.platform(&self.platform),
            Source::Remote(reference) => self.adopt(reference),
            Source::Local(_) => {}
        }
        self
    }

    fn adopt(&mut self, reference: &Reference) {
        self.remote.adopt(reference);
    }
}

/// Warns where the name of a source overrides the platform that was asked for.
pub fn warn_of_architecture(source: &Source, platform: &PlatformArgs) {
    if let Source::Oci(OciSource::Docker(reference)) = source
        && let Some((architecture, _)) = reference.architecture()
        && platform
            .arch
            .as_ref()
            .is_some_and(|given| given != architecture)
    {
        crate::output::warning(format_args!(
            "the image's name says architecture {architecture}, which is used instead of --arch"
        ));
    }
}

fn known_architecture(arch: &str) -> anyhow::Result<String> {
    let name = match arch {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "i386" | "i686" => "386",
        other => other,
    };
    if !Platform::KNOWN.contains(&name) {
        anyhow::bail!(
            "--arch: {arch} is no architecture that is known; there are {}",
            Platform::KNOWN.join(", ")
        );
    }
    Ok(name.to_owned())
}
