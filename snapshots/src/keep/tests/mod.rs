//! Snapshots as a whole, over a store on the simulated engine.

mod clock;
pub(crate) mod copy;
mod formats;
mod histories;
pub(crate) mod house;
mod lost;
mod measure;
mod taking;
mod thinning;
