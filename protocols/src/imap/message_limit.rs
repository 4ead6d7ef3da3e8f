//! How many messages one command works on (RFC 9738).
//!
//! Invariant: what is worked on are the newest of the messages named, and the client is told
//! where to go on. SEARCH works on those that its sets and UIDAFTER and UIDBEFORE name, and on all
//! where none does: so the client goes on with UIDBEFORE (§3.2). What cannot be done in parts is
//! refused where it names too many: COPY, SORT and THREAD, and ESEARCH in several mailboxes, which
//! count together.

use std::num::NonZeroU32;

use storage::{ids::Uid, mailbox::view::ListedMessage};

use super::completion::{Completion, Condition};

/// A command named more messages than it may work on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Exceeded {
    limit: NonZeroU32,
    /// The lowest UID that was worked on.
    last: Uid,
}

const TEXT: &str =
    "Troppi messaggi: continuare con i restanti / Too many messages: go on with the rest";

impl Exceeded {
    fn code(self) -> String {
        format!("MESSAGELIMIT {} {}", self.limit, self.last)
    }

    /// The tagged OK of a command that worked on a part.
    pub(crate) fn completion(self) -> Completion {
        Completion::ok_with(self.code(), TEXT)
    }

    /// The untagged NO where the tagged response needs its code for something else
    /// (RFC 9738 §3.1).
    pub(crate) fn notice(self) -> String {
        format!("* NO [{}] {TEXT}\r\n", self.code())
    }

    /// The refusal of a command that does all or nothing.
    pub(crate) fn refusal(self) -> Completion {
        Completion { condition: Condition::No, ..self.completion() }
    }
}

/// The refusal of a command that names more messages than it may and is not done in parts
/// (RFC 9738 §3.1).
pub(crate) fn too_many(limit: NonZeroU32) -> Completion {
    let code = format!("MESSAGELIMIT {limit}");
    Completion { condition: Condition::No, ..Completion::ok_with(code, TEXT) }
}

/// `limit` as a count.
pub(crate) fn most(limit: NonZeroU32) -> usize {
    usize::try_from(limit.get()).unwrap_or(usize::MAX)
}

/// Cuts `indexes` of `rows`, ascending, to the last `limit` of them.
pub(crate) fn cut(
    rows: &[ListedMessage],
    indexes: &mut Vec<usize>,
    limit: Option<NonZeroU32>,
) -> Option<Exceeded> {
    let limit = limit?;
    let surplus = indexes.len().checked_sub(most(limit)).filter(|surplus| *surplus > 0)?;
    indexes.drain(..surplus);
    let last = indexes.first().and_then(|&index| rows.get(index))?.uid;
    Some(Exceeded { limit, last })
}
