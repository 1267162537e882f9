//! Flags: the key of an encrypted image.

use std::ffi::OsString;

use clap::Args;

/// Where the key is.
#[derive(Args, Clone, Debug, Default)]
pub struct EncryptionArgs {
    /// Ask for the passphrase of an encrypted image
    #[arg(long)]
    pub passphrase: bool,
    /// File with the RSA key of an encrypted image (PEM, PKCS #1): the private one to run it, the
    /// public one to build it
    #[arg(long, value_name = "string")]
    pub pem_path: Option<OsString>,
}
