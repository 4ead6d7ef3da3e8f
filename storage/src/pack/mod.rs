//! Chunks at rest: their stored form, the packs that hold many of them, and the index that says
//! where each one is.
//!
//! * [`stored`]: the stored form of one chunk (suite octet, then zstd), verified on every read.
//! * [`format`](mod@format): the octets of a pack.
//! * [`index`]: the rows of the catalog that find a chunk.
//! * [`store`]: packs in the object store.
//! * [`packer`]: moves staged chunks into packs, in the background; `repack` verifies what is moved.
//! * [`cache`]: plain chunks kept in memory, bounded by octets; [`disk_cache`]: stored forms on a
//!   local disk; [`flights`]: who misses the same chunk waits for one.
//!
//! Not here: how messages become chunks (`octets`), which chunks may go (`collector`).

pub mod cache;
pub mod disk_cache;
pub mod flights;
pub mod format;
pub mod index;
pub mod packer;
pub(crate) mod repack;
pub mod store;
pub mod stored;
