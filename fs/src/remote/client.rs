//! The network client: a small runtime of its own behind calls that block.

use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};

use super::blob::RemoteBlob;
use super::error::RemoteError;
use super::observer::{Observer, Voice};
use super::options::RemoteOptions;
use super::reference::Reference;
use super::registry::Registries;
use super::resolved::Resolved;
use super::retry::Patience;
use super::transport::Transport;

/// Talks to web servers and registries. Its calls block and may come from any thread that is not one
/// of an asynchronous runtime. Threads of its own are started by the first request.
pub struct Client {
    options: RemoteOptions,
    voice: Voice,
    transport: Transport,
    registries: Registries,
    runtime: OnceLock<Runtime>,
    /// Taken while the runtime is being started.
    starting: Mutex<()>,
}

impl Client {
    /// A client that has done nothing yet.
    ///
    /// # Errors
    /// Settings that cannot be used.
    pub fn new(
        options: RemoteOptions,
        observer: Arc<dyn Observer>,
    ) -> Result<Arc<Self>, RemoteError> {
        Ok(Arc::new(Self {
            transport: Transport::new(options.clone()),
            options,
            voice: Voice::new(observer),
            registries: Registries::default(),
            runtime: OnceLock::new(),
            starting: Mutex::new(()),
        }))
    }

    /// Looks a name up: which bytes it stands for now. What came of the blob on the way is returned
    /// too, from its first byte on; it may be nothing.
    ///
    /// # Errors
    /// No such image, no access, no network.
    pub fn resolve(&self, reference: &Reference) -> Result<(Resolved, Vec<u8>), RemoteError> {
        self.resolve_within(reference, Duration::MAX)
    }

    /// As [`Client::resolve`], with less patience than the settings say.
    pub(super) fn resolve_within(
        &self,
        reference: &Reference,
        patience: Duration,
    ) -> Result<(Resolved, Vec<u8>), RemoteError> {
        if self.options.offline {
            return Err(RemoteError::Offline {
                name: reference.name(),
            });
        }
        let patience = patience.min(self.options.look_up_for());
        match reference {
            Reference::Http(http) => self.block_on(self.resolve_http(http, patience))?,
            Reference::Oras(oras) => {
                let resolved = self.block_on(self.resolve_oras(oras, patience))??;
                Ok((resolved, Vec::new()))
            }
        }
    }

    /// Whether what a name stood for before is what it stands for now, if that can be had for less
    /// than a look-up.
    pub(super) fn is_unchanged(
        &self,
        reference: &Reference,
        resolved: &Resolved,
        patience: Duration,
    ) -> bool {
        match reference {
            Reference::Http(http) if !self.options.offline => self
                .block_on(self.is_unchanged_http(http, resolved, patience))
                .unwrap_or(false),
            Reference::Http(_) | Reference::Oras(_) => false,
        }
    }

    /// The bytes of a blob that was found.
    ///
    /// # Errors
    /// A value that does not come from [`Client::resolve`].
    pub fn blob(self: &Arc<Self>, resolved: &Resolved) -> Result<Arc<RemoteBlob>, RemoteError> {
        RemoteBlob::new(Arc::clone(self), resolved).map(Arc::new)
    }

    /// The settings.
    pub fn options(&self) -> &RemoteOptions {
        &self.options
    }

    pub(super) fn transport(&self) -> &Transport {
        &self.transport
    }

    pub(super) fn registries(&self) -> &Registries {
        &self.registries
    }

    pub(super) fn voice(&self) -> &Voice {
        &self.voice
    }

    /// Patience for one errand.
    pub(super) fn patience<'a>(&'a self, url: &'a str, limit: Duration) -> Patience<'a> {
        Patience::new(&self.voice, url, limit, self.options.stall_after)
    }

    /// Tells a warning, once.
    pub(super) fn warn(&self, text: String) {
        self.voice.warn(text);
    }

    /// Runs a future on the calling thread, with the runtime's threads moving the bytes.
    pub(super) fn block_on<F: Future>(&self, future: F) -> Result<F::Output, RemoteError> {
        Ok(self.handle()?.block_on(future))
    }

    fn handle(&self) -> Result<&Handle, RemoteError> {
        if let Some(runtime) = self.runtime.get() {
            return Ok(runtime.handle());
        }
        let _starting: MutexGuard<'_, ()> =
            self.starting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(runtime) = self.runtime.get() {
            return Ok(runtime.handle());
        }
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            // These look up host names.
            .max_blocking_threads(4)
            .thread_name("skiff-net")
            .enable_all()
            .build()
            .map_err(|error| RemoteError::Configuration {
                file: "network threads".to_owned(),
                reason: error.to_string(),
            })?;
        Ok(self.runtime.get_or_init(|| runtime).handle())
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // A name look-up that hangs must not hold up the end.
            runtime.shutdown_background();
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Client")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}
