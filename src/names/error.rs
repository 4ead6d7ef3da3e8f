//! Why a question about a name has no answer.

use super::Kind;

/// A question without an answer.
///
/// The first two are answers of their own: asking again says the same until somebody changes the
/// zone. The others say nothing about the name; whoever asked must come back later.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NamesError {
    /// For good: there is no such name, for any kind of record.
    #[error("the name {name} does not exist")]
    NoSuchName {
        /// The name that was asked for.
        name: String,
    },
    /// For good: the name exists without records of this kind.
    #[error("the name {name} has no {kind} records")]
    NoRecords {
        /// The name that was asked for.
        name: String,
        /// What was asked for.
        kind: Kind,
    },
    /// For the moment: a time-out, a refusal, a server that does not know the zone, or signatures that do
    /// not hold.
    #[error(
        "DNS does not say which {kind} records {name} has ({reason}): check [dns]; ask again later"
    )]
    Unreachable {
        /// The name that was asked for.
        name: String,
        /// What was asked for.
        kind: Kind,
        /// What the last server did, for the log.
        reason: String,
    },
    /// For the moment: a bound of our own kept us from asking, or from asking to the end. Nobody else has
    /// a hand in it, so nothing may follow from it.
    #[error("{name} was not asked for its {kind} records ({reason}): check [dns]; ask again later")]
    NotAsked {
        /// The name that was to be asked for.
        name: String,
        /// What was to be asked for.
        kind: Kind,
        /// The bound, for the log.
        reason: String,
    },
}

impl NamesError {
    /// Whether the same question can have an answer later.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::NotAsked { .. })
    }
}

/// As [`NamesError`], before it is known who asked: the same for every question with this outcome.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Failure {
    NoSuchName,
    NoRecords,
    Unreachable(Reason),
}

/// Why nobody said anything that counts.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Reason {
    /// Signatures that should be there are missing or do not hold.
    Bogus,
    /// No server answered in time, or only with an error.
    Silence(String),
    /// We did not ask, or not to the end: a bound of our own.
    NotAsked(String),
}

impl Failure {
    pub(super) fn silence(detail: impl Into<String>) -> Self {
        Self::Unreachable(Reason::Silence(detail.into()))
    }

    pub(super) fn not_asked(detail: impl Into<String>) -> Self {
        Self::Unreachable(Reason::NotAsked(detail.into()))
    }

    pub(super) fn about(self, name: &str, kind: Kind) -> NamesError {
        let name = name.to_owned();
        match self {
            Self::NoSuchName => NamesError::NoSuchName { name },
            Self::NoRecords => NamesError::NoRecords { name, kind },
            Self::Unreachable(reason) => {
                let reason = match reason {
                    Reason::Bogus => "its DNSSEC signatures are not valid".to_owned(),
                    Reason::Silence(detail) => detail,
                    Reason::NotAsked(reason) => return NamesError::NotAsked { name, kind, reason },
                };
                NamesError::Unreachable { name, kind, reason }
            }
        }
    }
}
