//! Arguments of `sign`, `verify` and `key`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

use super::value::{int_parser, uint32_parser};

/// `sign`.
#[derive(Args, Clone, Debug)]
pub struct SignArgs {
    /// sign objects with the specified group ID
    #[arg(long, short, value_name = "uint32", value_parser = uint32_parser())]
    pub group_id: Option<u32>,
    /// Old name of --group-id.
    #[arg(long = "groupid", value_name = "uint32", value_parser = uint32_parser(), hide = true)]
    pub old_group_id: Option<u32>,
    /// path to the private key file
    #[arg(long, value_name = "string")]
    pub key: Option<PathBuf>,
    /// PGP private key to use (index from 'key list --secret')
    #[arg(long, short, value_name = "int", value_parser = int_parser())]
    pub keyidx: Option<i64>,
    /// sign object with the specified ID
    #[arg(long, short = 'i', value_name = "uint32", value_parser = uint32_parser())]
    pub sif_id: Option<u32>,
    /// Old name of --sif-id.
    #[arg(long = "id", value_name = "uint32", value_parser = uint32_parser(), hide = true)]
    pub old_id: Option<u32>,
    /// What is done anyway.
    #[arg(long, short, hide = true)]
    pub all: bool,
    /// The image.
    #[arg(trailing_var_arg = true, hide = true)]
    pub words: Vec<OsString>,
}

/// `verify`.
#[derive(Args, Clone, Debug)]
pub struct VerifyArgs {
    /// verify all objects
    #[arg(long, short)]
    pub all: bool,
    /// path to the certificate
    #[arg(long, value_name = "string")]
    pub certificate: Option<PathBuf>,
    /// path to pool of intermediate certificates
    #[arg(long, value_name = "string")]
    pub certificate_intermediates: Option<PathBuf>,
    /// path to pool of root certificates
    #[arg(long, value_name = "string")]
    pub certificate_roots: Option<PathBuf>,
    /// verify objects with the specified group ID
    #[arg(long, short, value_name = "uint32", value_parser = uint32_parser())]
    pub group_id: Option<u32>,
    /// Old name of --group-id.
    #[arg(long = "groupid", value_name = "uint32", value_parser = uint32_parser(), hide = true)]
    pub old_group_id: Option<u32>,
    /// output json
    #[arg(long, short)]
    pub json: bool,
    /// path to the public key file
    #[arg(long, value_name = "string")]
    pub key: Option<PathBuf>,
    /// enable verification of (insecure) legacy signatures
    #[arg(long)]
    pub legacy_insecure: bool,
    /// only verify with local key(s) in keyring
    #[arg(long, short)]
    pub local: bool,
    /// enable online revocation check for certificates
    #[arg(long)]
    pub ocsp_verify: bool,
    /// verify object with the specified ID
    #[arg(long, short = 'i', value_name = "uint32", value_parser = uint32_parser())]
    pub sif_id: Option<u32>,
    /// Old name of --sif-id.
    #[arg(long = "id", value_name = "uint32", value_parser = uint32_parser(), hide = true)]
    pub old_id: Option<u32>,
    /// specify a URL for a key server
    #[arg(long, short, value_name = "string")]
    pub url: Option<String>,
    /// The image.
    #[arg(trailing_var_arg = true, hide = true)]
    pub words: Vec<OsString>,
}

/// Which keyring, for the commands below `key`.
#[derive(Args, Clone, Debug)]
pub struct RingArgs {
    /// manage global public keys (import/pull/remove are restricted to root user)
    #[arg(long, short)]
    pub global: bool,
    /// set local keyring dir path, an alternative way is to set environment variable
    /// 'APPTAINER_KEYSDIR' (default "~/.apptainer/keys")
    #[arg(long, short = 'd', value_name = "string")]
    pub keysdir: Option<OsString>,
}

/// `key newpair`.
#[derive(Args, Clone, Debug)]
pub struct NewpairArgs {
    /// specify key bit length
    #[arg(long, short, value_name = "int", value_parser = int_parser(), default_value = "4096")]
    pub bit_length: i64,
    /// key comment
    #[arg(long, short = 'C', value_name = "string")]
    pub comment: Option<String>,
    /// key owner email
    #[arg(long, short = 'E', value_name = "string")]
    pub email: Option<String>,
    /// set local keyring dir path, an alternative way is to set environment variable
    /// 'APPTAINER_KEYSDIR' (default "~/.apptainer/keys")
    #[arg(long, short = 'd', value_name = "string")]
    pub keysdir: Option<OsString>,
    /// key owner name
    #[arg(long, short = 'N', value_name = "string")]
    pub name: Option<String>,
    /// key password
    #[arg(long, short = 'P', value_name = "string")]
    pub password: Option<String>,
    /// specify to push the public key to the remote keystore
    #[arg(long, short = 'U')]
    pub push: bool,
    /// The words.
    #[arg(trailing_var_arg = true, hide = true)]
    pub words: Vec<OsString>,
}

/// `key list`.
#[derive(Args, Clone, Debug)]
pub struct ListArgs {
    /// Which keyring.
    #[command(flatten)]
    pub ring: RingArgs,
    /// list private keys instead of the default which displays public ones
    #[arg(long, short)]
    pub secret: bool,
    /// The words.
    #[arg(trailing_var_arg = true, hide = true)]
    pub words: Vec<OsString>,
}

/// `key import`.
#[derive(Args, Clone, Debug)]
pub struct ImportArgs {
    /// Which keyring.
    #[command(flatten)]
    pub ring: RingArgs,
    /// set a new password to the private key
    #[arg(long)]
    pub new_password: bool,
    /// The file.
    #[arg(trailing_var_arg = true, hide = true)]
    pub words: Vec<OsString>,
}

/// `key export`.
#[derive(Args, Clone, Debug)]
pub struct ExportArgs {
    /// ascii armored format
    #[arg(long, short)]
    pub armor: bool,
    /// Which keyring.
    #[command(flatten)]
    pub ring: RingArgs,
    /// export a secret key
    #[arg(long, short)]
    pub secret: bool,
    /// The file.
    #[arg(trailing_var_arg = true, hide = true)]
    pub words: Vec<OsString>,
}

/// `key remove`.
#[derive(Args, Clone, Debug)]
pub struct RemoveArgs {
    /// remove both public and private keys
    #[arg(long, short)]
    pub both: bool,
    /// Which keyring.
    #[command(flatten)]
    pub ring: RingArgs,
    /// remove public keys only
    #[arg(long, short)]
    pub public: bool,
    /// remove secret keys only
    #[arg(long, short)]
    pub secret: bool,
    /// The fingerprint.
    #[arg(trailing_var_arg = true, hide = true)]
    pub words: Vec<OsString>,
}

/// `key pull` and `key push`.
#[derive(Args, Clone, Debug)]
pub struct ServerArgs {
    /// Which keyring.
    #[command(flatten)]
    pub ring: RingArgs,
    /// specify the key server URL
    #[arg(long, short, value_name = "string")]
    pub url: Option<String>,
    /// The fingerprint.
    #[arg(trailing_var_arg = true, hide = true)]
    pub words: Vec<OsString>,
}

/// `key search`.
#[derive(Args, Clone, Debug)]
pub struct SearchArgs {
    /// output long list when searching for keys
    #[arg(long, short)]
    pub long_list: bool,
    /// specify the key server URL
    #[arg(long, short, value_name = "string")]
    pub url: Option<String>,
    /// What is searched for.
    #[arg(trailing_var_arg = true, hide = true)]
    pub words: Vec<OsString>,
}
