//! Keys of encrypted images, from flags and variables, and images opened with them.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, IsTerminal as _, Seek as _, SeekFrom};
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use skiff_fs::crypt::{KeyError, PrivateKey, PublicKey, fill_random};
use skiff_fs::format::gocryptfs;
use skiff_fs::format::sif::table::{RawTies, Table};
use skiff_fs::format::sif::{DataType, Extra, MessageFormat, MessageType, NewObject};
use skiff_fs::image::{Image, ImageError};
use skiff_fs::source::FileSource;

use crate::cli::Context;
use crate::cli::action::encryption::EncryptionArgs;
use crate::cli::build::BuildArgs;
use crate::output;
use crate::prompt;
use crate::text::os_error;

const PROMPT: &str = "Enter encryption passphrase: ";

const PASSPHRASE_VARIABLE: &str = "APPTAINER_ENCRYPTION_PASSPHRASE";
const PEM_PATH_VARIABLE: &str = "APPTAINER_ENCRYPTION_PEM_PATH";
const PEM_DATA_VARIABLE: &str = "APPTAINER_ENCRYPTION_PEM_DATA";

/// The longest passphrase that is read.
const MAX_PASSPHRASE_BYTES: usize = 64 * 1024;

/// The longest file with a key.
const MAX_PEM_BYTES: u64 = 1 << 20;

/// What the user gave.
#[derive(Clone)]
pub enum Material {
    /// A passphrase, as it is.
    Passphrase(Vec<u8>),
    /// Text with a key, and where it was.
    Pem {
        /// The text.
        text: Vec<u8>,
        /// The file, or the text itself as Apptainer has it, for messages.
        name: String,
    },
}

impl std::fmt::Debug for Material {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Passphrase(_) => "Passphrase",
            Self::Pem { .. } => "Pem",
        })
    }
}

/// What the key is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// Opening an image.
    Open,
    /// Making one.
    Make,
}

/// The key that flags, or else variables, name.
///
/// # Errors
/// One line that says why it cannot be used, in Apptainer's words; so it is for an image that needs
/// none.
pub fn material(
    args: &EncryptionArgs,
    context: &Context,
    purpose: Purpose,
) -> anyhow::Result<Option<Material>> {
    if let Some(path) = &args.pem_path {
        output::verbose("Using pem path flag for encrypted container");
        return pem_file(path, purpose).map(Some);
    }
    if args.passphrase {
        output::verbose("Using interactive passphrase entry for encrypted container");
        let passphrase = ask()?;
        if passphrase.is_empty() {
            bail!("Cannot encrypt container with empty passphrase");
        }
        return Ok(Some(Material::Passphrase(passphrase)));
    }
    if let Some(path) = context.variable(PEM_PATH_VARIABLE) {
        output::verbose("Using pem path environment variable for encrypted container");
        return pem_file(&path, purpose).map(Some);
    }
    if let Some(data) = context.variable(PEM_DATA_VARIABLE) {
        output::verbose("Using pem data environment variable for encrypted container");
        let name = data.to_string_lossy().into_owned();
        let text = data.into_vec();
        return Ok(Some(Material::Pem { text, name }));
    }
    let passphrase = context.variable(PASSPHRASE_VARIABLE);
    if passphrase.is_some() {
        output::verbose("Using passphrase environment variable for encrypted container");
    }
    Ok(passphrase.map(|text| Material::Passphrase(text.into_vec())))
}

fn pem_file(path: &OsString, purpose: Purpose) -> anyhow::Result<Material> {
    let path = PathBuf::from(path);
    let name = path.display().to_string();
    match path.metadata() {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            bail!("Specified PEM file {name}: does not exist.")
        }
        Err(error) => bail!(
            "Unable to verify existence of {name}: stat {name}: {}",
            os_error(&error)
        ),
    }
    let half = match purpose {
        Purpose::Open => "private",
        Purpose::Make => "public",
    };
    let text = read_pem(&path)
        .map_err(|reason| anyhow::anyhow!("Invalid encryption {half} key: {reason}"))?;
    let checked = match purpose {
        Purpose::Open => PrivateKey::parse(&text, &name).map(drop),
        Purpose::Make => PublicKey::parse(&text, &name).map(drop),
    };
    checked.with_context(|| format!("Invalid encryption {half} key"))?;
    Ok(Material::Pem { text, name })
}

fn read_pem(path: &Path) -> Result<Vec<u8>, String> {
    use std::io::Read as _;
    let name = path.display();
    let file =
        std::fs::File::open(path).map_err(|error| format!("open {name}: {}", os_error(&error)))?;
    let mut text = Vec::new();
    file.take(MAX_PEM_BYTES)
        .read_to_end(&mut text)
        .map_err(|error| format!("read {name}: {}", os_error(&error)))?;
    Ok(text)
}

/// Asks for the passphrase. What follows it on a standard input that is no terminal is the
/// program's.
fn ask() -> anyhow::Result<Vec<u8>> {
    if io::stdin().is_terminal() {
        return Ok(prompt::secret(PROMPT)?.into_bytes());
    }
    // Where Apptainer asks: scripts look there.
    output::stdout(format!("{PROMPT}\n"))?;
    let mut answer = Vec::new();
    let mut byte = [0];
    while answer.len() < MAX_PASSPHRASE_BYTES {
        match rustix::io::read(rustix::stdio::stdin(), &mut byte) {
            Ok(0) => break,
            Ok(_) if byte == *b"\n" => break,
            Ok(_) => answer.extend_from_slice(&byte),
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => {
                return Err(anyhow::Error::new(io::Error::from(errno))
                    .context("reading the passphrase from standard input"));
            }
        }
    }
    if answer.last() == Some(&b'\r') {
        answer.pop();
    }
    Ok(answer)
}

impl Material {
    /// What opens `image`.
    fn secret_of(&self, image: &Image) -> Result<Vec<u8>, ImageError> {
        match self {
            Self::Passphrase(passphrase) => Ok(passphrase.clone()),
            Self::Pem { text, name } => {
                let key = PrivateKey::parse(text, name)?;
                image.secret_for(&key)
            }
        }
    }

    /// What a new image is encrypted with.
    fn seal(&self) -> Result<Seal, KeyError> {
        match self {
            Self::Passphrase(passphrase) => Ok(Seal {
                secret: passphrase.clone(),
                message: None,
            }),
            Self::Pem { text, name } => {
                let key = PublicKey::parse(text, name)?;
                let mut random = [0; 16];
                fill_random(&mut random)?;
                let secret: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
                let message = key.seal(secret.as_bytes())?;
                Ok(Seal {
                    secret: secret.into_bytes(),
                    message: Some(message),
                })
            }
        }
    }
}

/// Opens the root of `image`, if it is encrypted, with `key`.
///
/// # Errors
/// There is no key, or it is another image's.
pub fn unlock(image: &mut Image, key: Option<&Material>) -> anyhow::Result<()> {
    const CHECKING: &str = "While checking container encryption";
    if !image.is_encrypted() {
        return Ok(());
    }
    let shown = image.path().display().to_string();
    let Some(key) = key else {
        return match image.check_mountable() {
            Ok(()) => Ok(()),
            Err(error) => Err(anyhow::Error::new(error).context(CHECKING)),
        };
    };
    let secret = key.secret_of(image).map_err(|error| {
        output::error("Please check you are providing the correct key for decryption");
        let text = match &error {
            ImageError::Key(KeyError::NoPem { .. }) => {
                "could not load PEM private key: loading public key for key encryption: "
            }
            _ => "",
        };
        anyhow::anyhow!("{CHECKING}: cannot decrypt {shown}: {text}{error}")
    })?;
    image.unlock(&secret).map_err(|error| match error {
        ImageError::Luks => anyhow::Error::new(error).context(CHECKING),
        error => anyhow::anyhow!("container creation failed: cannot decrypt {shown}: {error}"),
    })
}

/// What a new image is encrypted with: a secret, and the message that tells it to the owner of a
/// private key.
#[derive(Clone)]
pub struct Seal {
    secret: Vec<u8>,
    message: Option<String>,
}

impl std::fmt::Debug for Seal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Seal")
    }
}

/// How `build` is to encrypt what it makes, if it is.
///
/// # Errors
/// There is no key, or none that can be used.
pub fn seal(args: &BuildArgs, context: &Context) -> anyhow::Result<Option<Seal>> {
    let is_asked_for =
        args.target.encrypt || args.secret.passphrase || args.secret.pem_path.is_some();
    if !is_asked_for {
        let is_set = |name: &&str| context.variable(name).is_some();
        if [PASSPHRASE_VARIABLE, PEM_PATH_VARIABLE, PEM_DATA_VARIABLE]
            .iter()
            .any(is_set)
        {
            output::warning(
                "Encryption related env vars found, but --encrypt was not specified. NOT encrypting \
                 container.",
            );
        }
        return Ok(None);
    }
    let Some(material) = material(&args.secret, context, Purpose::Make)? else {
        bail!(
            "Missing encryption info, please add `--passphrase` or `--pem-path` or corresponding \
             environment variable"
        );
    };
    if matches!(&material, Material::Passphrase(text) if text.is_empty()) {
        bail!("Cannot encrypt container with empty passphrase");
    }
    let seal = material.seal().context("Invalid encryption public key")?;
    // A directory is never encrypted.
    Ok(Some(seal).filter(|_| !args.target.sandbox))
}

impl Seal {
    /// Encrypts the squashfs in `plain`, which has `size` bytes, to byte `offset` of `to`; returns
    /// how many bytes that takes.
    ///
    /// # Errors
    /// When reading or writing fails.
    pub fn close(
        &self,
        plain: &File,
        size: u64,
        to: &File,
        offset: u64,
        time: i64,
    ) -> anyhow::Result<u64> {
        let mut plain = plain;
        plain.seek(SeekFrom::Start(0))?;
        let time = u32::try_from(time).unwrap_or(0);
        let packed = gocryptfs::pack(&mut plain, size, &self.secret, to, offset, time)
            .context("encrypting the root file system")?;
        Ok(packed.len)
    }

    /// Adds the message to the SIF in `file`, whose root is object `root`.
    ///
    /// # Errors
    /// When writing fails.
    pub fn tell(&self, file: &File, root: u32, time: i64) -> anyhow::Result<()> {
        let Some(message) = &self.message else {
            return Ok(());
        };
        let mut table = Table::read(&FileSource::new(file.try_clone()?)?)?;
        let object = NewObject {
            data_type: DataType::Message,
            name: "",
            extra: Extra::Message {
                format: MessageFormat::Pem,
                kind: MessageType::RsaOaep,
            },
        };
        let room = table.room(&object, 1)?;
        file.write_all_at(message.as_bytes(), room.offset)?;
        let ties = RawTies {
            group: 1,
            link: root,
        };
        let size = message.len() as u64;
        Ok(table.enter(file, room, object, size, ties, time)?)
    }
}
