//! Snapshots as a whole, over a store on the simulated engine.

pub(crate) mod house;
mod taking;
