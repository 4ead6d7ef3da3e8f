//! The PdA (*pacchetto di archiviazione*, archival package): what is kept.
//!
//! A PdA is one tar file that holds one BagIt bag ([`bag`]). Not here: its index, descriptive
//! metadata, signature and evidence record.

pub mod bag;
pub mod check;
