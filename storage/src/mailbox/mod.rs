//! Mailboxes: rows, flags, and the views that protocols read.

pub mod flags;
pub mod view;
