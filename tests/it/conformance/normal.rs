//! Outputs without what differs from machine to machine and run to run.

use skiff_tests::image::Images;
use skiff_tests::program::Program;
use skiff_tests::user::User;

/// Names for the things of this machine, longest value first.
pub(super) struct Names(Vec<(String, &'static str)>);

impl Names {
    pub(super) fn of(folder: &str, program: &Program, images: &Images, user: &User) -> Self {
        let host = rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .into_owned();
        let mut names = vec![
            (folder.to_owned(), "$T"),
            (
                folder.rsplit('/').next().unwrap_or(folder).to_owned(),
                "$CASE",
            ),
            (program.folder.display().to_string(), "$BIN"),
            (images.folder.display().to_string(), "$IMAGES"),
            (user.home.display().to_string(), "$HOME"),
            (user.name.clone(), "$USER"),
            (user.uid.to_string(), "$UID"),
            (host, "$HOST"),
        ];
        if user.gid != user.uid {
            names.push((user.gid.to_string(), "$GID"));
        }
        names.retain(|(value, _)| value.len() > 2);
        names.sort_by_key(|(value, _)| std::cmp::Reverse(value.len()));
        Self(names)
    }

    /// `bytes` as text with the names put in; bytes that are no text become `\xNN`.
    pub(super) fn put_into(&self, bytes: &[u8]) -> String {
        let mut text = String::new();
        for chunk in bytes.utf8_chunks() {
            for c in chunk.valid().chars() {
                match c {
                    '\n' | '\t' => text.push(c),
                    c if c.is_control() => text.push_str(&format!("\\x{:02x}", u32::from(c))),
                    c => text.push(c),
                }
            }
            for byte in chunk.invalid() {
                text.push_str(&format!("\\x{byte:02x}"));
            }
        }
        for (value, name) in &self.0 {
            text = text.replace(value, name);
        }
        text
    }
}

/// Lines on standard error that tell of the machine and not of the command: helpers of Apptainer
/// that are not installed, and its own way of ending the file system process.
const NOISE: &[&str] = &[
    "gocryptfs not found",
    "Terminating squashfuse_ll after timeout",
    "Timeouts can be caused by a running background process",
    "Cleanup error: while unmounting ",
    "squashfuse_ll not found",
    "underlay of ",
    "Instance stats will not be available",
    "Detected Singularity user configuration directory",
];

/// Standard error without noise and colours.
pub(super) fn without_noise(text: &str) -> String {
    text.replace("\\x1b[0m", "")
        .replace("\\x1b[31m", "")
        .replace("\\x1b[33m", "")
        .replace("\\x1b[34m", "")
        .lines()
        .filter(|line| !NOISE.iter().any(|noise| line.contains(noise)))
        .map(|line| format!("{line}\n"))
        .collect()
}
