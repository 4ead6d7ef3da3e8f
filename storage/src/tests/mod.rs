//! The store as a whole, through its public face.

mod accounts;
mod blocks;
mod check;
mod collector;
mod conditions;
mod erase;
mod figures;
mod headers;
pub(crate) mod house;
mod mailboxes;
mod model;
mod power_cut;
mod quota;
mod seeds;
mod simulation;
