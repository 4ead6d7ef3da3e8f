//! Messages as IMAP shows them.
//!
//! * [`attribute`], [`envelope`], [`body_structure`]: from row and summary alone, no chunk is touched.
//!   [`continued`]: parameters in pieces.
//! * [`section`]: which octets a section names. * [`content`]: sending them; [`binary`]: decoded.
//! * [`search`]: whether a message matches. [`sort`], [`base_subject`]: in which order messages stand.
//! * [`thread`], [`message_id`]: which messages answer which.

pub(crate) mod attribute;
pub(crate) mod base_subject;
pub(crate) mod binary;
pub(crate) mod body_structure;
pub(crate) mod content;
pub(crate) mod continued;
pub(crate) mod envelope;
pub(crate) mod erased;
pub(crate) mod message_id;
pub(crate) mod search;
pub(crate) mod section;
pub(crate) mod sort;
pub(crate) mod thread;
