//! How things stand with the directory: what commands are told.
//!
//! Not here: who keeps it ([`super::keeper`]).

use serde::{Deserialize, Serialize};

use super::changes::Changes;

/// What came of a fetch.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The copy in use is the newest.
    Unchanged,
    /// A new copy is in use.
    Changed(Changes),
    /// A new copy waits for an operator.
    Held {
        /// Why.
        why: String,
        /// What it would change.
        changes: Changes,
    },
}

/// The copy that waits.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct HeldStatus {
    /// Why.
    pub why: String,
    /// What it would change.
    pub changes: Changes,
    /// When it was fetched, in ms since 1970.
    pub fetched_millis: i64,
    /// Its SHA-256: names it to who accepts it.
    pub digest: String,
}

/// How things stand.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Status {
    /// Providers in use, this one included.
    pub providers: usize,
    /// Domains of all of them.
    pub domains: usize,
    /// Where the directory is fetched from.
    pub url: Option<String>,
    /// SHA-256 of the copy in use.
    pub digest: Option<String>,
    /// Who signed it.
    pub signer: Option<String>,
    /// When, as the signer says, in ms since 1970.
    pub signed_millis: Option<i64>,
    /// When it was fetched.
    pub fetched_millis: Option<i64>,
    /// When its server said last that it is the newest.
    pub confirmed_millis: Option<i64>,
    /// The copy that waits.
    pub held: Option<HeldStatus>,
    /// Why the last fetch came to nothing; `None` when it did not.
    pub failure: Option<String>,
    /// When that was.
    pub failed_millis: Option<i64>,
    /// Where the own entry is published.
    pub published_url: Option<String>,
    /// Since when in its present form.
    pub published_millis: Option<i64>,
}
