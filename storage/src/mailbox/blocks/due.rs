//! Which mailboxes are worth new blocks: those that changed, as the accounts' queues say.
//!
//! The counts are in memory and bounded; what is forgotten, by a restart or because too many
//! mailboxes changed, is found again by the sweep over all mailboxes (`build`).

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::ids::{AccountId, MailboxId};

/// Mailboxes that changed since their blocks were looked at.
#[derive(Debug, Default)]
pub(crate) struct DueMailboxes {
    noted: Mutex<Noted>,
}

/// A mailbox in the store, or with `None` the messages of an account.
pub(crate) type Place = (AccountId, Option<MailboxId>);

#[derive(Debug, Default)]
struct Noted {
    changes: HashMap<Place, u64>,
    /// Those of `changes` that are worth a look, each once.
    due: VecDeque<Place>,
}

impl DueMailboxes {
    /// Notes that rows of a mailbox changed; with `enough` of them it is due. As many as a `u64` can
    /// count stand for a block that cannot be used. At most `most` mailboxes are remembered.
    pub(crate) fn note(&self, place: Place, changes: u64, enough: u64, most: usize) {
        let mut noted = self.lock();
        let Noted { changes: counts, due } = &mut *noted;
        if counts.len() >= most && !counts.contains_key(&place) {
            return;
        }
        let count = counts.entry(place).or_default();
        let was_due = *count >= enough;
        *count = count.saturating_add(changes);
        if *count >= enough && !was_due {
            due.push_back(place);
        }
    }

    /// The mailbox that is due for the longest time, and whether some block of it was found
    /// unusable; from now on its changes are counted anew.
    pub(crate) fn take(&self) -> Option<(Place, bool)> {
        let mut noted = self.lock();
        let place = noted.due.pop_front()?;
        let changes = noted.changes.remove(&place);
        Some((place, changes == Some(u64::MAX)))
    }

    fn lock(&self) -> MutexGuard<'_, Noted> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mailbox_is_due_once_it_changed_enough_and_then_counted_anew() {
        let due = DueMailboxes::default();
        let place = |number| (AccountId(1), Some(MailboxId(number)));
        due.note(place(1), 3, 4, 2);
        due.note(place(2), 4, 4, 2);
        due.note(place(2), 4, 4, 2);
        due.note(place(3), 9, 4, 2);
        assert_eq!(due.take(), Some((place(2), false)), "the third was not remembered");
        assert_eq!(due.take(), None);
        due.note(place(1), 1, 4, 2);
        due.note(place(2), 1, 4, 2);
        assert_eq!(due.take(), Some((place(1), false)));
        due.note(place(2), u64::MAX, 4, 2);
        assert_eq!(due.take(), Some((place(2), true)));
        assert_eq!(due.take(), None);
    }
}
