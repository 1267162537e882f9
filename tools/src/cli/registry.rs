//! Arguments of `registry …` and of its old names `remote login` and `remote logout`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

/// `registry login`.
#[derive(Args, Clone, Debug, Default)]
pub struct LoginArgs {
    /// File to keep the login in, as docker's config.json is laid out
    #[arg(long, value_name = "string")]
    pub authfile: Option<PathBuf>,
    /// Password or token
    #[arg(long, short, value_name = "string")]
    pub password: Option<String>,
    /// Read the password from standard input
    #[arg(long)]
    pub password_stdin: bool,
    /// User name; registries that only know tokens want one too
    #[arg(long, short, value_name = "string")]
    pub username: Option<String>,
    /// Use http instead of https
    #[arg(long)]
    pub no_https: bool,
    /// The registry.
    #[arg(trailing_var_arg = true, hide = true)]
    pub words: Vec<OsString>,
}

/// `remote login`, for a registry.
#[derive(Args, Clone, Debug)]
pub struct RemoteLoginArgs {
    /// Use http instead of https
    #[arg(long, short)]
    pub insecure: bool,
    /// Password or token
    #[arg(long, short, value_name = "string")]
    pub password: Option<String>,
    /// Read the password from standard input
    #[arg(long)]
    pub password_stdin: bool,
    /// Of endpoints of a library only: not supported
    #[arg(long, value_name = "string", hide = true)]
    pub tokenfile: Option<OsString>,
    /// User name; registries that only know tokens want one too
    #[arg(long, short, value_name = "string")]
    pub username: Option<String>,
    /// The registry.
    #[arg(trailing_var_arg = true, hide = true)]
    pub words: Vec<OsString>,
}

/// `registry logout` and `registry list`.
#[derive(Args, Clone, Debug, Default)]
pub struct LogoutArgs {
    /// File that the login is kept in, as docker's config.json is laid out
    #[arg(long, value_name = "string")]
    pub authfile: Option<PathBuf>,
    /// The registry.
    #[arg(trailing_var_arg = true, hide = true)]
    pub words: Vec<OsString>,
}
