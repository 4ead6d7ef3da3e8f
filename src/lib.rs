//! The program: PEC engine, registry, configuration, command line and wiring.
//!
//! Not here: octets and mailboxes (`storage`), sessions (`protocols`), signatures (`trust`).
