//! What is known of one account: how many rows each message has, which snapshots stand, what was erased.
//!
//! An operation that was begun and not answered may have happened: until the next inspection a message
//! then has any number of rows between two.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use storage::ids::{AccountId, EmailNumber};

/// Rows by message.
pub(super) type Rows = BTreeMap<u64, i64>;

/// What an operation may change of a message's rows: at least and at most.
pub(super) type Span = (i64, i64);

/// Notes that complaints show.
const NOTED_MAX: usize = 12;

/// One account, as it is remembered across crashes.
#[derive(Clone, Debug)]
pub(super) struct Ledger {
    pub(super) account: AccountId,
    /// What was acknowledged; rows below `Ripristino …` do not count.
    rows: Rows,
    begun: BTreeMap<u64, BTreeMap<u64, Span>>,
    next: u64,
    /// Snapshots that were acknowledged and that nobody let go.
    pub(super) kept: BTreeSet<u64>,
    /// Of which it was begun to forget them; they may be there or not.
    pub(super) leaving: BTreeSet<u64>,
    /// Snapshots that are held, and the number that their messages are below.
    pub(super) held: BTreeMap<u64, EmailNumber>,
    pub(super) erasing: BTreeSet<EmailNumber>,
    pub(super) erased: BTreeSet<EmailNumber>,
    /// Operations acknowledged.
    pub(super) acknowledged: u64,
    /// What was noted of rows lately, for complaints.
    noted: VecDeque<String>,
}

impl Ledger {
    pub(super) fn new(account: AccountId) -> Self {
        Self {
            account,
            rows: Rows::new(),
            begun: BTreeMap::new(),
            next: 0,
            kept: BTreeSet::new(),
            leaving: BTreeSet::new(),
            held: BTreeMap::new(),
            erasing: BTreeSet::new(),
            erased: BTreeSet::new(),
            acknowledged: 0,
            noted: VecDeque::new(),
        }
    }

    /// Notes what an operation may do to the rows of messages.
    pub(super) fn begin(
        &mut self,
        what: &str,
        changes: impl IntoIterator<Item = (u64, Span)>,
    ) -> u64 {
        self.next += 1;
        let begun = self.begun.entry(self.next).or_default();
        for (message, (least, most)) in changes {
            let span = begun.entry(message).or_default();
            *span = (span.0 + least, span.1 + most);
        }
        let text = format!("{} begins, {what}: {begun:?}", self.next);
        self.note(text);
        self.next
    }

    fn note(&mut self, text: String) {
        self.noted.push_back(text);
        if self.noted.len() > NOTED_MAX {
            self.noted.pop_front();
        }
    }

    /// Notes what it did.
    pub(super) fn end(&mut self, operation: u64, changes: impl IntoIterator<Item = (u64, i64)>) {
        self.begun.remove(&operation);
        let changes: Vec<(u64, i64)> = changes.into_iter().collect();
        self.note(format!("{operation} ends: {changes:?}"));
        for (message, change) in changes {
            *self.rows.entry(message).or_default() += change;
        }
        self.acknowledged += 1;
    }

    fn span(&self, message: u64) -> Span {
        let known = self.rows.get(&message).copied().unwrap_or(0);
        let begun = self.begun.values().filter_map(|begun| begun.get(&message));
        begun.fold((known, known), |(least, most), span| (least + span.0, most + span.1))
    }

    /// What is wrong with these rows.
    pub(super) fn complaints(&self, found: &Rows) -> Vec<String> {
        let messages: BTreeSet<u64> = self.rows.keys().chain(found.keys()).copied().collect();
        let mut complaints = Vec::new();
        for message in messages {
            let rows = found.get(&message).copied().unwrap_or(0);
            let (least, most) = self.span(message);
            if !(least..=most).contains(&rows) {
                complaints.push(format!(
                    "message {message} of {:?} has {rows} rows, {least} to {most} were due, after {:#?}",
                    self.account, self.noted
                ));
            }
        }
        complaints
    }

    /// Goes on with what was found, when nothing is on its way.
    pub(super) fn adopt(&mut self, found: Rows) {
        self.rows = found;
        self.begun.clear();
    }
}
