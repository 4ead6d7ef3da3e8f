//! The lowest floor: what every other floor trusts.
//!
//! * [`clock`] and [`random`]: the only seams through which time and randomness enter the program.
//! * [`digest`]: SHA-256 (and SHA-1 where a rule prints it).
//! * [`key`] and [`certificate`]: private keys, certificates, chains, revocation lists.
//! * [`authority`]: the development authority, which makes a provider work with nobody's help.
//! * [`smime`]: signing and verifying `multipart/signed`.
//! * [`seal`]: data keys, and the seals they travel in.
//! * [`timestamp`]: RFC 3161 time stamps: client, development authority, verification.
//!
//! Not here: who may use which key, where messages are kept, what a receipt says, and TLS
//! connections (`protocols`), which only take their certificates and keys from here.

pub mod authority;
pub mod certificate;
pub mod clock;
pub mod digest;
pub mod key;
pub mod random;
pub mod seal;
mod signed_data;
pub mod smime;
pub mod timestamp;
