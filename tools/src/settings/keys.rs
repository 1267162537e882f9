//! All settings. docs/configuration.md has the same table; a test compares them.

/// What a setting's value can be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A path.
    Path,
    /// A number of bytes.
    Size,
    /// A time.
    Duration,
    /// A number of seconds.
    Seconds,
    /// Yes or no; `1` or `0` for the variable.
    Flag,
}

impl Kind {
    /// What is allowed, for messages.
    pub const fn allowed(self) -> &'static str {
        match self {
            Self::Path => "an absolute path in quotes",
            Self::Size => "a size such as \"10G\", \"512M\" or a number of bytes",
            Self::Duration => "a time such as \"500ms\", \"30s\", \"2m\" or a number of seconds",
            Self::Seconds => "a number of seconds",
            Self::Flag => "true or false",
        }
    }
}

/// A setting.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Key {
    /// Table and key in the file, with a point between them.
    pub name: &'static str,
    /// Its variable.
    pub variable: &'static str,
    /// Its values.
    pub kind: Kind,
    /// Its value where nobody says anything, if that is a fixed one.
    pub default: &'static str,
    /// What it is for.
    pub about: &'static str,
}

const fn key(
    name: &'static str,
    variable: &'static str,
    kind: Kind,
    default: &'static str,
    about: &'static str,
) -> Key {
    Key {
        name,
        variable,
        kind,
        default,
        about,
    }
}

use Kind::{Duration, Flag, Path, Seconds, Size};

/// All settings.
#[rustfmt::skip]
pub const KEYS: &[Key] = &[
    key("cache.dir", "SKIFF_CACHE_DIR", Path, "", "the user's cache directory"),
    key("cache.shared", "SKIFF_SHARED_CACHE", Path, "/var/cache/skiff", "a cache that all users of the node read"),
    key("cache.quota", "SKIFF_CACHE_QUOTA", Size, "", "the most that the cache takes"),
    key("cache.keep-free", "SKIFF_CACHE_KEEP_FREE", Size, "", "what the cache leaves free on its disk"),
    key("cache.files", "SKIFF_CACHE_FILES", Flag, "", "read image files through the cache, whatever file system they are on"),
    key("network.offline", "SKIFF_OFFLINE", Flag, "", "ask no registry or server"),
    key("network.timeout", "SKIFF_NETWORK_TIMEOUT", Duration, "120s", "for how long reading what is elsewhere is tried"),
    key("network.lookup-timeout", "SKIFF_LOOKUP_TIMEOUT", Duration, "20s", "for how long looking a name up is tried"),
    key("network.stall-timeout", "SKIFF_STALL_TIMEOUT", Duration, "15s", "after how much silence another request is made"),
    key("network.tag-ttl", "SKIFF_TAG_TTL", Duration, "30s", "for how long a tag is taken to mean the same image"),
    key("server.linger", "SKIFF_LINGER", Seconds, "10", "for how long an image stays mounted without programs"),
];
