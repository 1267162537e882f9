//! Large pieces of bytes from one thread to another, a bounded number of them.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Size of a piece.
const PIECE: usize = 1 << 20;

enum Message {
    Piece(Vec<u8>),
    End(io::Result<()>),
}

/// The thread's end.
pub(super) struct Sender {
    pieces: SyncSender<Message>,
    used: Receiver<Vec<u8>>,
}

/// The reader's end.
pub(super) struct Queue {
    pieces: Receiver<Message>,
    used: SyncSender<Vec<u8>>,
    piece: Vec<u8>,
    at: usize,
    ended: bool,
}

/// A queue that holds about so many bytes.
pub(super) fn bounded(bytes: usize) -> (Sender, Queue) {
    let most = (bytes / PIECE).max(1);
    let (to_reader, pieces) = sync_channel(most);
    let (to_thread, used) = sync_channel(most);
    let sender = Sender {
        pieces: to_reader,
        used,
    };
    let queue = Queue {
        pieces,
        used: to_thread,
        piece: Vec::new(),
        at: 0,
        ended: false,
    };
    (sender, queue)
}

impl Sender {
    /// A piece to be filled: one that was read, if there is one.
    pub(super) fn piece(&self) -> Vec<u8> {
        let mut piece = self.used.try_recv().unwrap_or_default();
        piece.resize(PIECE, 0);
        piece
    }

    /// Waits for room. `false`: nobody reads any more.
    pub(super) fn send(&self, piece: Vec<u8>) -> bool {
        self.pieces.send(Message::Piece(piece)).is_ok()
    }

    /// How it ended.
    pub(super) fn end(self, result: io::Result<()>) {
        // Who has stopped reading does not want to know.
        drop(self.pieces.send(Message::End(result)));
    }
}

impl Read for Queue {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at == self.piece.len() && !self.ended {
            match self.pieces.recv() {
                Ok(Message::Piece(piece)) => {
                    let used = std::mem::replace(&mut self.piece, piece);
                    self.at = 0;
                    // A thread that has ended needs no pieces.
                    drop(self.used.try_send(used));
                }
                Ok(Message::End(result)) => {
                    self.ended = true;
                    result?;
                }
                Err(_) => {
                    self.ended = true;
                    return Err(io::Error::other("the thread that inflates it has died"));
                }
            }
        }
        let rest = &self.piece[self.at..];
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        self.at += count;
        Ok(count)
    }
}
