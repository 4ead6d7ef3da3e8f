//! Mailboxes: rows, flags, and the views that protocols read.
//!
//! * [`view`]: the seam; [`live`] implements it for the mailboxes of an account.
//! * [`append`], `store_flags`, `expunge`, `copy`: one file per change.
//! * [`restore`]: brings back what a snapshot shows.
//! * `blocks`: rows once more, many to a value, for mailboxes that are large.
//! * `rows`: the only places where rows appear, change and go.
//!
//! Not here: the tree of mailboxes and quota (`account`), octets (`octets`).

pub mod append;
pub mod blocks;
pub(crate) mod copy;
pub(crate) mod expunge;
pub mod flags;
pub mod live;
pub mod restore;
pub(crate) mod rows;
pub(crate) mod store_flags;
pub mod view;
