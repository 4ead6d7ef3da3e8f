//! The lowest floor: what every other floor trusts.
//!
//! * [`clock`] and [`random`]: the only seams through which time and randomness enter the program.
//! * [`digest`]: SHA-256 (and SHA-1 where a rule prints it).
//!
//! Not here: who may use which key, where messages are kept, what a receipt says.

pub mod clock;
pub mod digest;
pub mod random;
