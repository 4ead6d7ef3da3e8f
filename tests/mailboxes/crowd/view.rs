//! A mailbox as one client knows it, held against every response.
//!
//! * A number stands for the same UID until an EXPUNGE moves it; UIDs ascend with the numbers.
//! * EXISTS never takes a message away. What was told gone never comes back.
//! * The MODSEQ of a message never falls; with the same one it has the same flags, for all clients.
//! * HIGHESTMODSEQ never falls, and nothing that was told before it is forgotten.

use std::collections::{BTreeMap, BTreeSet};

use super::ledger::{Ledger, Place};
use crate::value::{Response, Value, numbers};

#[derive(Clone, Debug, Default)]
pub(super) struct Slot {
    /// `None` until the client has asked.
    pub(super) uid: Option<u32>,
    pub(super) flags: Option<BTreeSet<String>>,
    pub(super) mod_seq: u64,
}

/// What a response may do, by the command that it comes with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Numbers {
    /// FETCH, STORE and SEARCH by number: nothing may be taken away (RFC 3501 §7.4.1).
    Stay,
    MayChange,
}

#[derive(Debug, Default)]
pub(super) struct View {
    pub(super) mailbox: usize,
    pub(super) slots: Vec<Slot>,
    pub(super) uid_validity: u64,
    /// Up to where the client knows everything.
    pub(super) highest_mod_seq: u64,
    /// Responses name UIDs alone (RFC 9586).
    pub(super) uid_only: bool,
    /// Whether MODSEQ must come with every change.
    pub(super) condstore: bool,
    pub(super) gone: BTreeSet<u32>,
    /// How many messages SELECT counted when it resynchronised.
    pub(super) counted: Option<usize>,
    /// The keyword of this client, which nobody else sets or takes away, by UID.
    pub(super) own: BTreeMap<u32, bool>,
    pub(super) keyword: String,
}

impl View {
    fn place(&self, uid: u32) -> Place {
        (self.mailbox, uid)
    }

    pub(super) fn uids(&self) -> Vec<u32> {
        self.slots.iter().filter_map(|slot| slot.uid).collect()
    }

    pub(super) fn slot(&self, uid: u32) -> Option<&Slot> {
        self.slots.iter().find(|slot| slot.uid == Some(uid))
    }

    /// The first UID that may belong to a message not asked for yet, when there is one.
    pub(super) fn unknown_from(&self) -> Option<u32> {
        let unknown = self.slots.iter().position(|slot| slot.uid.is_none())?;
        if self.uid_only {
            return Some(1);
        }
        Some(self.slots[..unknown].iter().filter_map(|slot| slot.uid).max().unwrap_or(0) + 1)
    }

    /// Takes in an untagged response. Returns UIDs and octets of `BODY[]` when it has them.
    pub(super) fn take(
        &mut self,
        response: &Response,
        numbers_stay: Numbers,
        ledger: &Ledger,
    ) -> Option<(u32, Vec<u8>)> {
        let values = match response {
            Response::Status { code, .. } => {
                self.code(code);
                return None;
            }
            Response::Data(values) => values,
            Response::Continuation => return None,
        };
        if values[0].atom() == "VANISHED" {
            self.vanished(&values[1..], numbers_stay, ledger);
            return None;
        }
        if !values[0].atom().bytes().all(|octet| octet.is_ascii_digit()) {
            return None;
        }
        let number = usize::try_from(values[0].number()).unwrap();
        match values[1].atom() {
            "EXISTS" => {
                assert!(number >= self.slots.len(), "EXISTS {number} of {}", self.slots.len());
                self.slots.resize(number, Slot::default());
                None
            }
            "EXPUNGE" => {
                assert_eq!(numbers_stay, Numbers::MayChange, "EXPUNGE {number} in between");
                assert!(!self.uid_only, "EXPUNGE after UIDONLY");
                assert!((1..=self.slots.len()).contains(&number), "EXPUNGE {number}");
                let slot = self.slots.remove(number - 1);
                self.leave(slot.uid, ledger);
                None
            }
            "FETCH" => self.fetch(Some(number), None, &values[2], ledger),
            "UIDFETCH" => {
                let uid = u32::try_from(number).unwrap();
                self.fetch(None, Some(uid), &values[2], ledger)
            }
            _ => None,
        }
    }

    fn code(&mut self, code: &[Value]) {
        let Some(name) = code.first() else { return };
        match name.atom() {
            "UIDVALIDITY" => self.uid_validity = code[1].number(),
            "HIGHESTMODSEQ" => {
                let told = code[1].number();
                assert!(told >= self.highest_mod_seq, "{told} after {}", self.highest_mod_seq);
                self.highest_mod_seq = told;
            }
            _ => {}
        }
    }

    fn leave(&mut self, uid: Option<u32>, ledger: &Ledger) {
        if let Some(uid) = uid {
            assert!(self.gone.insert(uid), "{uid} goes twice");
            self.own.remove(&uid);
            ledger.gone(self.place(uid));
        }
    }

    fn vanished(&mut self, rest: &[Value], numbers_stay: Numbers, ledger: &Ledger) {
        let earlier = rest.len() > 1;
        assert!(earlier || numbers_stay == Numbers::MayChange, "VANISHED in between");
        for uid in numbers(rest.last().expect("a set").atom()) {
            let uid = u32::try_from(uid).unwrap();
            if let Some(index) = self.slots.iter().position(|slot| slot.uid == Some(uid)) {
                let slot = self.slots.remove(index);
                self.leave(slot.uid, ledger);
            } else if !earlier {
                // One that was counted and not asked for yet.
                self.slots.remove(self.unknown_place(uid));
                self.leave(Some(uid), ledger);
            }
        }
    }

    /// A message not asked for that can be `uid`: it stands between those that are known.
    fn unknown_place(&self, uid: u32) -> usize {
        let before = |slot: &Slot| slot.uid.is_some_and(|known| known < uid);
        let from = self.slots.iter().rposition(before).map_or(0, |index| index + 1);
        // Where there are no numbers nobody knows where it stands.
        let from = if self.uid_only { 0 } else { from };
        let unknown =
            self.slots[from..].iter().take_while(|slot| self.uid_only || slot.uid.is_none());
        let found = unknown.enumerate().find(|(_, slot)| slot.uid.is_none());
        from + found.unwrap_or_else(|| panic!("VANISHED {uid}, which nobody counted")).0
    }

    /// Takes in a FETCH or UIDFETCH response.
    fn fetch(
        &mut self,
        number: Option<usize>,
        uid: Option<u32>,
        items: &Value,
        ledger: &Ledger,
    ) -> Option<(u32, Vec<u8>)> {
        assert_eq!(self.uid_only, number.is_none(), "FETCH or UIDFETCH: {items}");
        let mut told = Slot { uid, ..Slot::default() };
        let mut body = None;
        for pair in items.list().chunks(2) {
            match pair[0].atom() {
                "UID" => told.uid = Some(u32::try_from(pair[1].number()).unwrap()),
                "MODSEQ" => told.mod_seq = pair[1].list()[0].number(),
                "FLAGS" => {
                    let flags = pair[1].list().iter().map(|flag| flag.atom().to_owned());
                    told.flags = Some(flags.filter(|flag| flag != "\\Recent").collect());
                }
                "BODY[]" => body = Some(pair[1].clone()),
                _ => {}
            }
        }
        let index = match (number, told.uid) {
            (Some(number), _) => number - 1,
            (None, uid) => self.index_of(uid.expect("a UID")),
        };
        self.learn(index, told, ledger);
        let uid = self.slots[index].uid?;
        match body {
            Some(Value::Text(octets)) => Some((uid, octets)),
            _ => None,
        }
    }

    /// The place of a UID where there are no numbers: in the order of UIDs, those not asked for last.
    fn index_of(&mut self, uid: u32) -> usize {
        if let Some(known) = self.slots.iter().position(|slot| slot.uid == Some(uid)) {
            return known;
        }
        let unknown = self.slots.iter().position(|slot| slot.uid.is_none());
        let unknown = unknown.unwrap_or_else(|| panic!("UID {uid} is not among those counted"));
        let slot = self.slots.remove(unknown);
        let before = |slot: &&Slot| slot.uid.is_some_and(|known| known < uid);
        let index = self.slots.iter().take_while(before).count();
        self.slots.insert(index, slot);
        index
    }

    fn learn(&mut self, index: usize, told: Slot, ledger: &Ledger) {
        let count = self.slots.len();
        assert!(index < count, "FETCH of number {} of {count}", index + 1);
        let slot = &mut self.slots[index];
        if let Some(uid) = told.uid {
            assert!(
                slot.uid.is_none_or(|known| known == uid),
                "number {} is {:?} and {uid}",
                index + 1,
                slot.uid
            );
            slot.uid = Some(uid);
            assert!(!self.gone.contains(&uid), "{uid} comes back");
            let before = self.slots[..index].iter().filter_map(|slot| slot.uid).max();
            let after = self.slots[index + 1..].iter().filter_map(|slot| slot.uid).min();
            assert!(before.is_none_or(|before| before < uid), "{uid} after {before:?}");
            assert!(after.is_none_or(|after| uid < after), "{uid} before {after:?}");
        }
        let Some(uid) = self.slots[index].uid else { return };
        let place = self.place(uid);
        let slot = &mut self.slots[index];
        if told.mod_seq > 0 {
            assert!(
                told.mod_seq >= slot.mod_seq,
                "MODSEQ of {uid}: {} after {}",
                told.mod_seq,
                slot.mod_seq
            );
            if told.mod_seq > slot.mod_seq && told.flags.is_none() {
                // The answer to STORE with .SILENT: what the client asked for is not followed here.
                slot.flags = None;
            }
            slot.mod_seq = told.mod_seq;
        }
        let Some(flags) = told.flags else { return };
        assert!(told.mod_seq > 0 || !self.condstore, "flags of {uid} without MODSEQ");
        if told.mod_seq > 0 {
            ledger.flags_at(place, told.mod_seq, &flags);
        }
        let own = self.own.get(&uid).copied();
        let has = flags.contains(&self.keyword);
        assert!(own.is_none_or(|own| own == has), "{uid}: own keyword {own:?}, told {flags:?}");
        slot.flags = Some(flags);
    }
}
