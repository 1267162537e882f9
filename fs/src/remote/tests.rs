//! The client against servers that behave, and against some that do not.

mod digests;
mod http;
mod login;
mod policy;
mod registry;
mod tls;

use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::server::Server;
use super::*;

/// Remembers what it is told.
#[derive(Default)]
struct Listener(Mutex<Vec<String>>);

impl Observer for Listener {
    fn event(&self, event: &Event) {
        self.0.lock().unwrap().push(event.to_string());
    }
}

impl Listener {
    fn heard(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    fn heard_of(&self, text: &str) -> bool {
        self.heard().iter().any(|line| line.contains(text))
    }
}

/// Short times.
fn options() -> RemoteOptions {
    RemoteOptions {
        give_up_after: Duration::from_millis(600),
        stall_after: Duration::from_millis(200),
        hedge_after: Duration::from_secs(5),
        ..RemoteOptions::default()
    }
}

struct Setup {
    client: Arc<Client>,
    listener: Arc<Listener>,
}

fn setup(options: RemoteOptions) -> Setup {
    let listener = Arc::new(Listener::default());
    let client = Client::new(options, Arc::clone(&listener) as Arc<dyn Observer>).unwrap();
    Setup { client, listener }
}

impl Setup {
    fn resolve(&self, name: &str) -> Result<(Resolved, Vec<u8>), RemoteError> {
        self.client
            .resolve(&Reference::parse(name).unwrap().unwrap())
    }

    fn open(&self, server: &Server) -> Arc<RemoteBlob> {
        let (resolved, _) = self.resolve(&server.url("/image.sif")).unwrap();
        self.client.blob(&resolved).unwrap()
    }
}

fn read(blob: &RemoteBlob, range: Range<u64>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    blob.fetch(range, &mut |piece| {
        bytes.extend_from_slice(piece);
        Ok(())
    })?;
    Ok(bytes)
}

/// Bytes that do not repeat within any window that matters here.
fn data(length: usize) -> Vec<u8> {
    let mut state = 1u32;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    std::iter::repeat_with(next).take(length).collect()
}
