//! The house rules that a machine can check: floors, lints, citations, words, the two commands.
//!
//! Each test reads the tree as text; none needs the program. A rule that must bend for one place is
//! changed in CONTRIBUTING.md first, then here.

mod citations;
mod commands;
mod italian;
mod manifests;
mod rules;
mod sources;
mod tree;
