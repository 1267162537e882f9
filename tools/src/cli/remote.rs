//! Arguments about images that are elsewhere.

use std::path::PathBuf;

use clap::Args;
use skiff_fs::remote::{Reference, RemoteOptions};

use super::Context;

/// How to get at a registry or web server.
#[derive(Args, Clone, Debug, Default)]
pub struct RemoteArgs {
    /// User name at the registry
    #[arg(long, value_name = "string", hide = true)]
    pub docker_username: Option<String>,
    /// Password at the registry
    #[arg(long, value_name = "string", hide = true)]
    pub docker_password: Option<String>,
    /// Ask for the registry's user name and password
    #[arg(long)]
    pub docker_login: bool,
    /// File with credentials for registries
    #[arg(long, value_name = "string")]
    pub authfile: Option<PathBuf>,
    /// Docker daemon for docker-daemon:, unix://PATH or tcp://HOST:PORT
    #[arg(long, value_name = "string")]
    pub docker_host: Option<String>,
    /// Use http instead of https for registries
    #[arg(long)]
    pub no_https: bool,
    /// Same as --no-https
    #[arg(long, hide = true)]
    pub nohttps: bool,
    /// Keep nothing of an image that is elsewhere for the next time
    #[arg(long)]
    pub disable_cache: bool,
    /// Ask no registry or server: what the cache has must do
    #[arg(long)]
    pub offline: bool,
}

impl RemoteArgs {
    /// The options they amount to, with what the environment says about the rest.
    ///
    /// # Errors
    /// When a password was to be asked for and there is nobody to ask.
    pub fn options(
        &self,
        reference: &Reference,
        context: &Context,
    ) -> anyhow::Result<RemoteOptions> {
        let mut options = self.settings(context)?;
        options.adopt(reference);
        Ok(options)
    }

    /// As [`RemoteArgs::options`], for names that carry no login.
    ///
    /// # Errors
    /// As there.
    pub fn settings(&self, context: &Context) -> anyhow::Result<RemoteOptions> {
        let variable = |name: &str| context.variable(name);
        let mut options = RemoteOptions::from_env(&variable)?;
        options.no_https |= self.no_https || self.nohttps;
        options.offline |= self.offline;
        if let Some(path) = &self.authfile {
            // The server works in another directory.
            options.authfile = Some(std::path::absolute(path)?);
        }
        if self.docker_host.is_some() {
            options.docker_host.clone_from(&self.docker_host);
        }
        if self.docker_username.is_some() {
            options.username.clone_from(&self.docker_username);
        }
        if self.docker_password.is_some() {
            options.password.clone_from(&self.docker_password);
        }
        if self.docker_login {
            let (username, password) = crate::prompt::credentials()?;
            options.username = Some(username);
            options.password = Some(password);
        }
        Ok(options)
    }
}
