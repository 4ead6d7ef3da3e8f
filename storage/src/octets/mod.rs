//! Messages as octets: each is split into chunks that are stored once, and rebuilt exactly.
//!
//! * [`store`]: [`OctetStore`], which reads messages and keeps chunks.
//! * [`writer`]: [`MessageWriter`], one streaming pass from received octets to a
//!   [`StagedMessage`] that a batch of the catalog makes durable.
//! * [`message`]: [`StoredMessage`], the record kept under a message's key.
//! * [`recipe`]: how octets are rebuilt from chunks; [`rebuild`] does it.
//! * [`splitter`]: which octets go into which chunk; [`assembler`] cuts
//!   chunks, [`base64_run`] recognises base64 that encodes again exactly.
//! * `fetch`: brings chunks from caches and packs.
//! * `keeper`: names chunks and keeps those that the store does not have.
//! * [`check`]: verifies all of it; [`scrub`] does the same for packs, little by little.
//! * [`reindex`]: rebuilds the index of chunks from packs; [`live`]: what packs hold.
//! * [`config`]: every bound.
//!
//! Invariants:
//!
//! * Rebuilt octets equal received octets: [`MessageWriter::finish`] rebuilds the message from
//!   what was stored before it returns.
//! * Wrong octets are never returned: each chunk is verified against its digest on every read.
//! * The memory a writer needs does not grow with the message (see [`writer`]).
//!
//! Not here: who owns a message (`account`, `mailbox`), which chunks may go (`collector`).

pub mod assembler;
pub mod base64_run;
pub mod check;
pub mod config;
mod fetch;
mod keeper;
pub mod live;
pub mod message;
pub mod rebuild;
pub mod recipe;
pub mod reindex;
pub mod scrub;
mod sound;
pub mod splitter;
pub mod store;
pub mod writer;

#[cfg(test)]
mod tests;

pub use check::OctetCheck;
pub use config::OctetStoreConfig;
pub use live::PackFigures;
pub use message::{Erased, ErasureReason, Kept, StoredMessage};
pub use reindex::IndexRebuilt;
pub use scrub::{ScrubCounts, ScrubState, ScrubStep};
pub use store::{ChunkPlace, ChunkUse, OctetStore};
pub use writer::{MessageWriter, StagedMessage};

pub use crate::pack::packer::PackReport;
