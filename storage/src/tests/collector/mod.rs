//! The collector: what nobody refers to goes, what somebody refers to stays, whatever happens
//! between two of its steps.

mod cached;
mod cold;
mod interleaved;
mod packs;
mod runs;
mod yard;
