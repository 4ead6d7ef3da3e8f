//! Back-up and restore of a whole node.
//!
//! * [`target`]: where the back-up lies, its data key and the seals of that.
//! * [`companions`]: what goes with the catalog: registry, keys, certificates, configuration.
//! * [`service`]: takes checkpoints while the server runs, and says how old the last one is.
//! * [`restore`]: rebuilds a data folder from the object store alone.
//! * [`held`]: duties that a restore found unfinished, until an operator releases them.
//!
//! The window of loss is the pause between two increments (`backup.interval`) and the time that
//! one takes: what was acknowledged before the last complete one is never lost.
//!
//! Not here: checkpoints, pieces, packs (`storage::backup`).

pub mod companions;
pub mod held;
pub mod restore;
pub mod service;
pub mod target;
