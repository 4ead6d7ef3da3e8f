//! Conservation ("conservazione a norma"): keeping messages so that they prove themselves, long
//! after the mailbox, the account and this program are gone.
//!
//! The path of a message, in the words of the rules (AgID Guidelines on electronic documents of
//! 2020, chapter 4; their Italian names stay, because they have no true English ones):
//!
//! * [`pdv`]: the *pacchetto di versamento*, what a producer hands over: messages by name and digest.
//! * [`rdv`]: its validation, and the *rapporto di versamento*, which says what was found and
//!   whether the package was taken in charge or refused.
//! * [`pda`]: the *pacchetto di archiviazione*, what is kept: a BagIt bag in one tar file.
//!
//! Invariants:
//!
//! * Only a package that was taken in charge can become a PdA: the type
//!   [`AcceptedPdv`](rdv::AcceptedPdv) cannot be made otherwise.
//! * The same package gives the same PdA, octet for octet.
//! * Everything in a PdA can be checked with `tar` and `sha256sum`.
//!
//! Not here: signing and stamping packages, descriptive metadata, delivery, disposal.

#[cfg(test)]
#[expect(dead_code, reason = "each package uses its own part")]
#[path = "../../tests/formats/golden.rs"]
mod golden;
pub mod name;
pub mod pda;
pub mod pdv;
pub mod rdv;
