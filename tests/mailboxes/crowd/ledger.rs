//! What all clients together know: which messages there ever were, which are gone, and which flags
//! each had at each modification sequence. Two clients that were told different things are found here.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    sync::{Mutex, MutexGuard, PoisonError},
};

pub(super) const MAILBOXES: [&str; 3] = ["INBOX", "Uno", "Due"];

/// A message's place: the index of its mailbox, and its UID.
pub(super) type Place = (usize, u32);

#[derive(Debug, Default)]
pub(super) struct Known {
    /// Every place that was given out, by APPENDUID and COPYUID, and which message is there.
    pub(super) created: BTreeMap<Place, u64>,
    /// Places that a client was told to be empty again.
    pub(super) gone: BTreeSet<Place>,
    /// Copies whose source nobody knew yet: to, from.
    copies: Vec<(Place, Place)>,
    flags_at: BTreeMap<(Place, u64), BTreeSet<String>>,
    next_id: u64,
    /// Changes of the account that were acknowledged, for the line at the end.
    pub(super) commands: u64,
}

#[derive(Debug, Default)]
pub(super) struct Ledger(Mutex<Known>);

impl Ledger {
    pub(super) fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An id that no other message has.
    pub(super) fn new_id(&self) -> u64 {
        let mut known = self.known();
        known.next_id += 1;
        known.next_id
    }

    /// A message was put there. Fails when something else was there before: a UID given twice.
    pub(super) fn created(&self, place: Place, id: u64) {
        let before = self.known().created.insert(place, id);
        // Another client may have read it before this one was told where it is.
        assert!(
            before.is_none_or(|before| before == id),
            "{place:?} is given to {before:?} and {id}"
        );
    }

    /// A client read message `id` there.
    pub(super) fn read(&self, place: Place, id: u64) {
        let found = *self.known().created.entry(place).or_insert(id);
        assert_eq!(found, id, "{place:?} holds another message");
    }

    /// A message was copied, or moved. Whoever appended it may not have been told where it is yet.
    pub(super) fn copied(&self, to: Place, from: Place) {
        self.known().copies.push((to, from));
        self.settle_copies();
    }

    /// Says of copies which messages they are, as far as that is known. How many are left.
    pub(super) fn settle_copies(&self) -> usize {
        loop {
            let mut known = self.known();
            let found = known.copies.iter().position(|(_, from)| known.created.contains_key(from));
            let Some(found) = found else { return known.copies.len() };
            let (to, from) = known.copies.swap_remove(found);
            let id = known.created[&from];
            drop(known);
            self.created(to, id);
        }
    }

    pub(super) fn gone(&self, place: Place) {
        self.known().gone.insert(place);
    }

    /// Flags that a client was told with a modification sequence: all are told the same.
    pub(super) fn flags_at(&self, place: Place, mod_seq: u64, flags: &BTreeSet<String>) {
        let mut known = self.known();
        let found = known.flags_at.entry((place, mod_seq)).or_insert_with(|| flags.clone());
        assert_eq!(found, flags, "{place:?} at MODSEQ {mod_seq}: told two ways");
    }
}

/// The octets of message `id`: of any length, and its own.
pub(super) fn octets(id: u64) -> Vec<u8> {
    let lines = id.wrapping_mul(2_654_435_761) % 40;
    let mut text = format!("From: c{id}@pec.example\r\nSubject: n. {id}\r\nX-Id: {id}\r\n\r\n");
    for line in 0..lines {
        let number = id.wrapping_mul(line + 7);
        write!(text, "riga {line} del messaggio {id}, {number}\r\n").expect("a string grows");
    }
    text.into_bytes()
}

/// The id that octets carry; fails when they are not those of that message.
pub(super) fn id_of(found: &[u8]) -> u64 {
    let text = String::from_utf8_lossy(found);
    let id = text.lines().find_map(|line| line.strip_prefix("X-Id: ")).expect("an id");
    let id = id.parse().expect("a number");
    assert_eq!(found, octets(id), "the octets of message {id} are not those that were appended");
    id
}
