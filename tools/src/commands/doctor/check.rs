//! One line of the doctor's verdict.

/// How bad it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Nothing to do.
    Ok,
    /// Containers run, but something is slower or unavailable.
    Warn,
    /// Containers do not run.
    Fail,
}

impl Verdict {
    /// As printed.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// What was found about one thing.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize)]
pub struct Check {
    /// Stable name, for scripts.
    pub name: &'static str,
    /// How bad.
    pub verdict: Verdict,
    /// What was found.
    pub finding: String,
    /// What that means for containers.
    pub meaning: String,
    /// One line for a shell that mends it.
    pub remedy: Option<String>,
}

impl Check {
    /// Nothing to do.
    pub fn ok(name: &'static str, finding: impl Into<String>, meaning: impl Into<String>) -> Self {
        Self {
            name,
            verdict: Verdict::Ok,
            finding: finding.into(),
            meaning: meaning.into(),
            remedy: None,
        }
    }

    /// Could be better.
    pub fn warn(
        name: &'static str,
        finding: impl Into<String>,
        meaning: impl Into<String>,
    ) -> Self {
        Self {
            verdict: Verdict::Warn,
            ..Self::ok(name, finding, meaning)
        }
    }

    /// Has to be mended.
    pub fn fail(
        name: &'static str,
        finding: impl Into<String>,
        meaning: impl Into<String>,
    ) -> Self {
        Self {
            verdict: Verdict::Fail,
            ..Self::ok(name, finding, meaning)
        }
    }

    /// Adds the line that mends it.
    #[must_use]
    pub fn mend(self, line: impl Into<String>) -> Self {
        Self {
            remedy: Some(line.into()),
            ..self
        }
    }
}
