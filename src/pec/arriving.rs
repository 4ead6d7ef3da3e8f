//! The octets of a message on their way in.
//!
//! * A small message stays in memory; a larger one, and a small one when many come at the same
//!   time, waits in a file that has no name, so that a crash leaves nothing. However slowly a peer
//!   sends, it takes none of the memory that others are waiting for.
//! * When it has come it is looked at for viruses where it lies ([`Arriving::scan`]): however slow that is,
//!   it takes none of that memory either.
//! * Memory for the whole message is taken after that ([`Arriving::finish`]).
//! * Room on disk is promised before the first octet and grows with what comes beyond that
//!   ([`RoomPromise`]).
//!
//! Not here: how much memory there is (`memory`), how much room (`pressure`), what a message must
//! look like (`formal`, `incoming_point`).

use std::{io::SeekFrom, sync::Arc};

use bytes::{Bytes, BytesMut};
use protocols::smtp::transport::Refusal;
use tokio::{
    fs::File,
    io::{AsyncReadExt as _, AsyncSeekExt as _, AsyncWriteExt as _},
    sync::OwnedSemaphorePermit,
};

use super::{
    content,
    engine::PecEngine,
    memory::{Incoming, SMALL_OCTETS_MAX},
    pressure::RoomPromise,
    refusals,
};
use crate::{
    content::{Content, Passage},
    sources::Source,
};

/// Octets that a file keeps in memory on their way to the disk.
const FILE_OCTETS: usize = 32 * 1024;

/// One message while it comes. Dropping it forgets everything.
#[derive(Debug)]
pub(super) struct Arriving {
    engine: Arc<PecEngine>,
    octets_max: u64,
    size: u64,
    room: RoomPromise,
    octets: BytesMut,
    memory: Option<OwnedSemaphorePermit>,
    file: Option<File>,
    /// What `octets` were when the message had come whole.
    whole: Option<Bytes>,
}

/// One message that has come whole.
#[derive(Debug)]
pub(super) struct Arrived {
    /// The message.
    pub(super) octets: Bytes,
    /// Keeps their memory.
    pub(super) memory: Incoming,
    /// Keeps the room for what is made of them.
    pub(super) room: RoomPromise,
}

impl Arriving {
    /// Begins a message of at most `octets_max`, for which there is `room`.
    pub(super) fn new(engine: Arc<PecEngine>, octets_max: u64, room: RoomPromise) -> Self {
        let octets = BytesMut::new();
        Self { engine, octets_max, size: 0, room, octets, memory: None, file: None, whole: None }
    }

    /// Takes the next octets.
    pub(super) async fn write(&mut self, octets: &[u8]) -> Result<(), Refusal> {
        let size = self.size + octets.len() as u64;
        if size > self.octets_max {
            return Err(refusals::message_too_large(self.octets_max));
        }
        self.room.cover(size)?;
        self.size = size;
        if self.file.is_none() && self.stays_in_memory() {
            self.octets.extend_from_slice(octets);
            return Ok(());
        }
        self.put(octets).await.map_err(|error| refusals::cannot_keep(&error))
    }

    fn stays_in_memory(&mut self) -> bool {
        self.size <= SMALL_OCTETS_MAX && self.engine.memory().arriving(&mut self.memory, self.size)
    }

    async fn put(&mut self, octets: &[u8]) -> std::io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            none => {
                let folder = self.engine.settings().arriving_folder.clone();
                let made = tokio::task::spawn_blocking(|| tempfile::tempfile_in(folder)).await;
                let file = none.insert(File::from_std(made.map_err(std::io::Error::other)??));
                file.set_max_buf_size(FILE_OCTETS);
                file.write_all(&std::mem::take(&mut self.octets)).await?;
                self.memory = None;
                file
            }
        };
        file.write_all(octets).await
    }

    /// The whole message where it lies. Nothing is written after this.
    async fn content(&mut self) -> std::io::Result<Content<'_>> {
        if let Some(file) = &mut self.file {
            file.flush().await?;
            return Ok(Content::File(file, self.size));
        }
        let octets = &mut self.octets;
        let whole = self.whole.get_or_insert_with(|| std::mem::take(octets).freeze());
        Ok(Content::Memory(whole.clone()))
    }

    /// Looks for viruses in the message, which has come whole; the name of the one that was found.
    pub(super) async fn scan(
        &mut self,
        source: Source,
        passage: &Passage,
    ) -> Result<Option<String>, Refusal> {
        let engine = Arc::clone(&self.engine);
        let content = self.content().await.map_err(|error| refusals::cannot_keep(&error))?;
        content::scan(&engine, content, passage, source).await
    }

    /// Returns the whole message with memory to work on it, which is waited for within the bound of
    /// the settings.
    pub(super) async fn finish(self, source: Source) -> Result<Arrived, Refusal> {
        let Self { engine, size, room, octets, file, whole, memory: arriving, .. } = self;
        let time_max = engine.settings().memory_time_max;
        let memory = engine.memory().incoming(source, size, time_max).await;
        let memory = memory.ok_or_else(refusals::busy)?;
        drop(arriving);
        let octets = match file {
            None => whole.unwrap_or_else(|| octets.freeze()),
            Some(mut file) => {
                read_back(&mut file, size).await.map_err(|error| refusals::cannot_keep(&error))?
            }
        };
        Ok(Arrived { octets, memory, room })
    }
}

async fn read_back(file: &mut File, size: u64) -> std::io::Result<Bytes> {
    file.flush().await?;
    file.seek(SeekFrom::Start(0)).await?;
    let length = usize::try_from(size).map_err(std::io::Error::other)?;
    let mut octets = BytesMut::zeroed(length);
    file.read_exact(&mut octets).await?;
    Ok(octets.freeze())
}
