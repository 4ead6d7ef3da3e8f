//! The store as a whole, through its public face.

mod accounts;
mod annotations;
mod archive;
mod blocks;
mod capture;
mod check;
mod collector;
mod concerned;
mod conditions;
mod damage;
mod erase;
mod figures;
mod golden;
mod headers;
pub(crate) mod house;
mod mailboxes;
pub(crate) mod meanwhile;
mod model;
pub(crate) mod objects;
mod oversized;
mod power_cut;
mod quota;
mod restore;
mod seeds;
mod simulation;
mod states;
mod to_capture;
