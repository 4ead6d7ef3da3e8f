//! Snapshots as a whole, over a store on the simulated engine.

mod clock;
mod formats;
mod histories;
pub(crate) mod house;
mod lost;
mod measure;
mod taking;
mod thinning;
