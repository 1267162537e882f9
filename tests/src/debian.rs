//! A small real Debian with apt, made once by mmdebstrap from the mirror that this machine uses.

use std::path::PathBuf;

use crate::command::Cmd;
use crate::image::{digest, keep};
use crate::user::ordinary;

/// Makes it; `$1` is the archive. Only the suite's own packages: no updates, so few indices to fetch.
const MAKE: &str = r#"set -e
. /etc/os-release
mirror=$(awk '$1 == "URIs:" && $2 ~ /\/debian\/?$/ {print $2; exit}' /etc/apt/sources.list.d/*.sources 2>/dev/null || true)
[ -n "$mirror" ] || mirror=$(awk '$1 == "deb" {for (i = 2; i <= NF; i++) if ($i ~ /:\/\/.*\/debian\/?$/) {print $i; exit}}' \
  /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null || true)
exec mmdebstrap --quiet --variant=apt --include=ca-certificates "$VERSION_CODENAME" "$1" ${mirror:+"$mirror"}
"#;

/// A tar archive of its root; needs root, `mmdebstrap` and the mirror.
///
/// # Panics
/// When it cannot be made.
pub fn base() -> PathBuf {
    keep(&format!("debian-base-{}", digest(&[MAKE])), |folder| {
        let tar = folder.join("base.tar");
        let mut cmd = Cmd::new("/bin/sh");
        cmd.env(
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        )
        .args(["-c", MAKE, "sh"])
        .arg(&tar)
        .limit(std::time::Duration::from_secs(300));
        cmd.run().expect_success("mmdebstrap");
        ordinary().own(&tar);
    })
    .join("base.tar")
}
