//! Snapshots in the program.
//!
//! | room | what |
//! |---|---|
//! | [`proof_file`] | the one file that shows a fact about a mailbox without the store |
//!
//! Not here: what a snapshot, a run and a proof are (the crate `snapshots`), the commands
//! (`control::operations::snapshot`, `cli::snapshot`).

pub mod proof_file;
