//! The limit of `append`: the least that any store must do with a message before it may say that it
//! has it.
//!
//! SHA-256 of the octets, BLAKE3 and zstd level 1 of what is kept of them, one append to one file, one `fdatasync` for all that arrive
//! together. No names, no rows, no quota, nothing can be found again.

use std::{fs::File, io::Write as _, path::Path};

use tokio::sync::{mpsc, oneshot};

use crate::Failure;

/// Messages waiting for the file. More than the writers there are.
const QUEUE_MAX: usize = 1_024;

type Entry = (Vec<u8>, oneshot::Sender<()>);

/// An open file with its committer.
pub(crate) struct Appender {
    queue: mpsc::Sender<Entry>,
}

impl Appender {
    /// Creates the file. Must be called inside a runtime.
    pub(crate) fn create(path: &Path) -> Result<Self, Failure> {
        let file = File::create(path)?;
        let (queue, entries) = mpsc::channel(QUEUE_MAX);
        tokio::task::spawn_blocking(move || commit(file, entries));
        Ok(Self { queue })
    }

    /// Returns when the message is durable. `kept` are the octets that a store must keep of it, when
    /// it keeps each of them as small as it can.
    pub(crate) async fn append(&self, octets: &[u8], kept: &[u8]) -> Result<(), Failure> {
        let sha256 = openssl::sha::sha256(octets);
        let blake3 = blake3::hash(kept);
        let mut frame = zstd::bulk::compress(kept, 1)?;
        frame.extend_from_slice(&sha256);
        frame.extend_from_slice(blake3.as_bytes());
        let (durable, wait) = oneshot::channel();
        self.queue.send((frame, durable)).await?;
        Ok(wait.await?)
    }
}

/// All octets of a message.
pub(crate) fn whole(message: &[u8]) -> &[u8] {
    message
}

/// Writes what has arrived, syncs once, tells everybody; until the queue is closed. An error drops the
/// senders, which every waiting writer sees.
fn commit(mut file: File, mut entries: mpsc::Receiver<Entry>) {
    let mut group = Vec::new();
    while entries.blocking_recv_many(&mut group, QUEUE_MAX) > 0 {
        let octets: Vec<u8> = group.iter().flat_map(|(frame, _)| frame).copied().collect();
        if file.write_all(&octets).and_then(|()| file.sync_data()).is_err() {
            return;
        }
        for (_, durable) in group.drain(..) {
            let _ = durable.send(());
        }
    }
}
