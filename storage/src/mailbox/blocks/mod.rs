//! Blocks: the rows of a mailbox once more, about a thousand to a value, so that a large mailbox is
//! opened with a read for each thousand messages instead of one for each.
//!
//! A *window* is [`StoreLimits::block_rows`](crate::store::StoreLimits::block_rows) successive
//! UIDs, the first from UID 1. Once every UID of a window is given, a block may stand for it, with
//! the rows that were left. The *list* of a mailbox names its blocks and one MODSEQ, `as_of`.
//! Invariants:
//!
//! * Every block that the list names held, at some instant with all changes up to `as_of`, exactly
//!   the rows of its window. Who reads it applies the changes after `as_of`, which stand in
//!   `mailbox_changes` and `expunge_log`; so a block is stale, and never wrong.
//! * The list names a block by its digest. What stands in the family and is not what the list
//!   names is passed over: an old block, a damaged one, one of a newer program.
//! * Nobody needs blocks. Rows without a block are read as rows; blocks that are thrown away are
//!   built again.
//! * Blocks change through the account's queue like everything else of the account, so that they
//!   go with their mailbox and never come after it.
//!
//! * [`format`]: one block. [`list`]: the list of them.
//! * [`read`]: rows by way of blocks. [`touched`]: what changed since.
//! * [`build`]: makes them. [`due`]: which mailboxes are worth it.
//!
//! Not here: when and how fast they are built (the program's background tasks), headers of messages
//! (`account::headers`), whether blocks agree with rows (`check::blocks`).

pub mod build;
pub(crate) mod due;
pub(crate) mod format;
pub(crate) mod list;
pub mod read;
pub(crate) mod touched;

/// The version octet of blocks and lists.
const VERSION: u8 = 1;

/// Octets of a block's plain value at most: with the largest windows, 64 octets for each row.
const PLAIN_OCTETS_MAX: usize = 4 << 20;

/// Octets of a list's plain value at most: one for a mailbox that has used every UID.
const LIST_OCTETS_MAX: usize = 64 << 20;

/// A window in which fewer than one in so many UIDs have rows gets no block: reading the rows costs
/// no more.
const SPARSE: u32 = 16;

/// Blocks that are read, or built, at once.
const BLOCKS_AT_ONCE: usize = 16;
