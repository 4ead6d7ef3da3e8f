//! Snapshots as a whole, over a store on the simulated engine.

mod house;
mod taking;
