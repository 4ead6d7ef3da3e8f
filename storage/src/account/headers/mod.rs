//! Headers of an account's messages as they are searched and sorted by: decoded, and folded in case.
//!
//! A *window* is [`StoreLimits::block_rows`](crate::store::StoreLimits::block_rows) successive
//! EmailNumbers, the first from number 1. Once every number of a window is given, a block may stand
//! for it, with the headers of the messages that were left. Invariants:
//!
//! * A number is given to one message for ever, and a message's header never changes: what a block
//!   says of a message is right as long as there is the message. Entries of messages that are gone
//!   are dead: no row names them.
//! * What a block does not say is read from the summary. So blocks may be missing, damaged, of a
//!   newer program, or short of a message.
//! * What takes a message's header away or changes its summary deletes the block that could hold
//!   it, in the same batch ([`list::forget`]); a builder that read the summary before then finds
//!   another list and writes nothing.
//!
//! * [`page`]: headers of many messages, and the block's layout. [`list`]: which blocks there are.
//! * [`sent_date`]: when a message was sent. [`read`]: headers by way of blocks. [`build`]: makes them.
//!
//! Not here: rows and flags (`mailbox::blocks`), what matches a search (`protocols`).

pub(crate) mod build;
pub(crate) mod list;
pub mod page;
pub(crate) mod read;
pub mod sent_date;

/// The version octet of lists.
const LIST_VERSION: u8 = 1;

/// The version octet of blocks. Those of version 1 were in one part: they are passed over, and
/// built again.
const BLOCK_VERSION: u8 = 2;

/// Octets of a block's plain value at most.
const PLAIN_OCTETS_MAX: usize = 4 << 20;

/// Octets of text of one message at most: a longer one is left to its summary.
const TEXT_OCTETS_MAX: usize = 16 << 10;

/// Octets of text of a block at most: the messages that come after are left to their summaries.
const BLOCK_TEXT_OCTETS_MAX: usize = 3 << 20;

/// Octets of a list's plain value at most.
const LIST_OCTETS_MAX: usize = 64 << 20;

/// A window of which fewer than one message in so many is there, or asked for, is not worth a
/// block.
const SPARSE: u64 = 64;
