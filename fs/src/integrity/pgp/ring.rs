//! Rings of keys: files of keys one after the other, in the binary form.
//!
//! A ring is locked while it is changed, and replaced as a whole by a file written beside it.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use pgp::armor::BlockType;
use pgp::composed::{Deserializable as _, SignedPublicKey, SignedSecretKey};

use super::packets::{is_secret, split};
use super::public::PublicKey;
use super::secret::SecretKey;
use super::{Fingerprint, PgpError};

/// Largest ring that is read.
const RING_MAX: u64 = 64 << 20;

/// Who may read rings and their folder.
const PRIVATE: u32 = 0o600;
const PRIVATE_FOLDER: u32 = 0o700;

/// Mode of the ring that all users of a machine read.
const SHARED: u32 = 0o644;

/// The public keys in `bytes`; those that cannot be read are left out.
pub fn parse_public(bytes: &[u8]) -> Vec<PublicKey> {
    let keys = split(bytes).into_iter().filter_map(|part| {
        if is_secret(part) {
            return secret(part)?.public().ok();
        }
        public(part)
    });
    keys.collect()
}

/// The secret keys in `bytes`; those that cannot be read are left out.
pub fn parse_secret(bytes: &[u8]) -> Vec<SecretKey> {
    split(bytes).into_iter().filter_map(secret).collect()
}

fn public(part: &[u8]) -> Option<PublicKey> {
    let key = SignedPublicKey::from_bytes(part).ok()?;
    PublicKey::new(key, part.to_vec())
}

fn secret(part: &[u8]) -> Option<SecretKey> {
    let key = SignedSecretKey::from_bytes(part).ok()?;
    SecretKey::new(key, part.to_vec())
}

/// Keys from a file that somebody gives: binary, or with ASCII armour.
///
/// # Errors
/// When there is no key.
pub fn read_any(bytes: &[u8]) -> Result<(Vec<PublicKey>, Vec<SecretKey>), PgpError> {
    let binary = bytes.first().is_some_and(|byte| byte & 0x80 != 0);
    let mut plain = Vec::new();
    let bytes = if binary {
        bytes
    } else {
        let missing = |_| PgpError::OpenPgp("invalid argument: no armored data found".to_owned());
        let start = bytes
            .windows(START.len())
            .position(|window| window == START)
            .and_then(|at| bytes.get(at..))
            .ok_or(())
            .map_err(missing)?;
        let mut armour = pgp::armor::Dearmor::new(start);
        armour
            .read_header()
            .map_err(|error| PgpError::OpenPgp(error.to_string()))?;
        armour.read_to_end(&mut plain)?;
        &plain
    };
    let (secret_parts, public_parts): (Vec<&[u8]>, Vec<&[u8]>) =
        split(bytes).into_iter().partition(|part| is_secret(part));
    let secrets: Vec<SecretKey> = secret_parts.into_iter().filter_map(secret).collect();
    let publics: Vec<PublicKey> = public_parts.into_iter().filter_map(public).collect();
    if secrets.is_empty() && publics.is_empty() {
        return Err(PgpError::OpenPgp("no keys found".to_owned()));
    }
    Ok((publics, secrets))
}

/// A key in ASCII armour, without a line break at the end.
///
/// # Errors
/// When it cannot be written.
pub fn armoured(key: &[u8], secret: bool) -> Result<String, PgpError> {
    let kind = if secret {
        BlockType::PrivateKey
    } else {
        BlockType::PublicKey
    };
    let mut text = Vec::new();
    pgp::armor::write(&Plain(key), kind, &mut text, None, true)?;
    Ok(String::from_utf8_lossy(&text).trim_end().to_owned())
}

/// A key as it is.
struct Plain<'a>(&'a [u8]);

impl pgp::ser::Serialize for Plain<'_> {
    fn to_writer<W: io::Write>(&self, writer: &mut W) -> pgp::errors::Result<()> {
        writer.write_all(self.0)?;
        Ok(())
    }

    fn write_len(&self) -> usize {
        self.0.len()
    }
}

/// What armour starts with.
const START: &[u8] = b"-----BEGIN ";

/// The folder with a user's rings.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeysFolder(PathBuf);

impl KeysFolder {
    /// The folder at `path`, which need not exist.
    pub fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Makes folder and rings where they are missing, and readable by the user alone where they are
    /// not; says what had to be put right.
    ///
    /// # Errors
    /// What the system reports.
    pub fn prepare(&self) -> io::Result<Vec<String>> {
        let made = DirBuilder::new()
            .recursive(true)
            .mode(PRIVATE_FOLDER)
            .create(&self.0);
        made?;
        let mut remarks = Vec::new();
        let mut restrict = |path: &Path, what: &str, wanted: u32| {
            let mode = path.metadata()?.permissions().mode() & 0o777;
            if mode != wanted {
                let shown = path.display();
                remarks.push(format!(
                    "{what} mode ({mode:o}) on {shown} needs to be {wanted:o}, fixing that..."
                ));
                std::fs::set_permissions(path, std::fs::Permissions::from_mode(wanted))?;
            }
            io::Result::Ok(())
        };
        restrict(&self.0, "Directory", PRIVATE_FOLDER)?;
        for ring in [self.secret(), self.public()] {
            ring.open()?;
            restrict(&ring.path, "File", PRIVATE)?;
        }
        Ok(remarks)
    }

    /// The user's public keys.
    pub fn public(&self) -> Ring {
        Ring {
            path: self.0.join("pgp-public"),
            shared: false,
        }
    }

    /// The user's secret keys.
    pub fn secret(&self) -> Ring {
        Ring {
            path: self.0.join("pgp-secret"),
            shared: false,
        }
    }
}

/// A file of keys.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ring {
    path: PathBuf,
    shared: bool,
}

impl Ring {
    /// The ring at `path` that all users of the machine read.
    pub fn shared(path: PathBuf) -> Self {
        Self { path, shared: true }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is in it; nothing when it does not exist.
    ///
    /// # Errors
    /// When it exists and cannot be read.
    pub fn bytes(&self) -> io::Result<Vec<u8>> {
        match File::open(&self.path) {
            Ok(file) => read(&file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// The public keys in it.
    ///
    /// # Errors
    /// As [`Ring::bytes`].
    pub fn public_keys(&self) -> io::Result<Vec<PublicKey>> {
        Ok(parse_public(&self.bytes()?))
    }

    /// The secret keys in it.
    ///
    /// # Errors
    /// As [`Ring::bytes`].
    pub fn secret_keys(&self) -> io::Result<Vec<SecretKey>> {
        Ok(parse_secret(&self.bytes()?))
    }

    fn mode(&self) -> u32 {
        if self.shared { SHARED } else { PRIVATE }
    }

    fn open(&self) -> io::Result<File> {
        OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(self.mode())
            .open(&self.path)
    }

    /// Whether there is a key with that fingerprint.
    ///
    /// # Errors
    /// As [`Ring::bytes`].
    pub fn contains(&self, fingerprint: Fingerprint) -> io::Result<bool> {
        Ok(find(&self.bytes()?, fingerprint).is_some())
    }

    /// Adds a key; false when it is there already.
    ///
    /// # Errors
    /// What the system reports.
    pub fn add(&self, fingerprint: Fingerprint, key: &[u8]) -> io::Result<bool> {
        self.change(|bytes| {
            if find(bytes, fingerprint).is_some() {
                return None;
            }
            Some([bytes, key].concat())
        })
    }

    /// Takes a key out; false when it is not there.
    ///
    /// # Errors
    /// What the system reports.
    pub fn remove(&self, fingerprint: Fingerprint) -> io::Result<bool> {
        self.change(|bytes| {
            let gone = find(bytes, fingerprint)?;
            let keep = split(bytes).into_iter().filter(|part| *part != gone);
            Some(keep.flatten().copied().collect())
        })
    }

    /// Replaces the content by what `edit` makes of it, unless that is nothing.
    fn change(&self, edit: impl FnOnce(&[u8]) -> Option<Vec<u8>>) -> io::Result<bool> {
        let file = loop {
            let file = self.open()?;
            file.lock()?;
            // Another one may have replaced it before it was locked.
            if same(&file, &self.path)? {
                break file;
            }
        };
        let Some(changed) = edit(&read(&file)?) else {
            return Ok(false);
        };
        // A link to the ring stays one.
        let target = std::fs::canonicalize(&self.path)?;
        let mut name = target.as_os_str().to_owned();
        name.push(format!(".{}", std::process::id()));
        let beside = PathBuf::from(name);
        let written = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(self.mode())
            .open(&beside)
            .and_then(|mut new| {
                new.set_permissions(std::fs::Permissions::from_mode(self.mode()))?;
                new.write_all(&changed)?;
                new.sync_all()
            })
            .and_then(|()| std::fs::rename(&beside, &target));
        if written.is_err() {
            // The error says what matters; the file may not even exist.
            std::fs::remove_file(&beside).unwrap_or_default();
        }
        written.map(|()| true)
    }
}

/// Whether `file` is what stands at `path`.
fn same(file: &File, path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt as _;
    let own = file.metadata()?;
    Ok(std::fs::metadata(path).is_ok_and(|now| (now.dev(), now.ino()) == (own.dev(), own.ino())))
}

fn read(file: &File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(RING_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The key with that fingerprint in the ring `bytes`.
fn find(bytes: &[u8], fingerprint: Fingerprint) -> Option<&[u8]> {
    split(bytes).into_iter().find(|part| {
        let found = if is_secret(part) {
            secret(part).map(|key| key.fingerprint())
        } else {
            public(part).map(|key| key.fingerprint())
        };
        found == Some(fingerprint)
    })
}
