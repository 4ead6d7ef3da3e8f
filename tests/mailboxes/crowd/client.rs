//! One client: draws operations, and holds every answer against what it knows.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use super::{
    ledger::{Ledger, MAILBOXES, id_of, octets},
    view::{Numbers, Slot, View},
};
use crate::{
    draw::Draw,
    server,
    value::{Response, Value, numbers},
    wire::{Answer, Piece, Wire},
};

/// Messages above which a client removes more than it adds.
const CROWDED: usize = 60;

/// How a client speaks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    Plain,
    Condstore,
    Qresync,
    UidOnly,
}

pub(super) struct Client {
    pub(super) wire: Wire,
    pub(super) view: View,
    kind: Kind,
    draw: Draw,
    ledger: Arc<Ledger>,
    address: SocketAddr,
    keyword: String,
}

impl Client {
    pub(super) fn new(number: u64, seed: u64, address: SocketAddr, ledger: Arc<Ledger>) -> Self {
        let kind = match number % 4 {
            0 => Kind::Plain,
            1 => Kind::Condstore,
            2 => Kind::Qresync,
            _ => Kind::UidOnly,
        };
        let draw = Draw::new(seed.wrapping_mul(1_000).wrapping_add(number));
        let (wire, keyword) = (server::connect(address), format!("$C{number}"));
        let mut client = Self { wire, view: View::default(), kind, draw, ledger, address, keyword };
        client.enable();
        let mailbox = client.draw.below(MAILBOXES.len());
        client.select(mailbox);
        client
    }

    fn enable(&mut self) {
        match self.kind {
            Kind::Plain => {}
            Kind::Condstore => self.ok("ENABLE CONDSTORE"),
            Kind::Qresync => self.ok("ENABLE QRESYNC"),
            Kind::UidOnly => self.ok("ENABLE QRESYNC UIDONLY"),
        }
    }

    fn ok(&mut self, command: &str) {
        let answer = self.wire.say(command);
        assert_eq!(answer.condition, "OK", "{command}: {}", answer.text());
    }

    /// Does one thing, then asks for messages that came.
    pub(super) fn step(&mut self) {
        let crowded = self.view.slots.len() > CROWDED;
        match self.draw.below(100) {
            0..18 if !crowded => self.append(),
            0..18 | 56..64 => self.expunge(),
            18..42 => self.store(),
            42..50 if !crowded => self.copy("COPY"),
            42..56 => self.copy("MOVE"),
            64..72 => self.read(),
            72..80 => self.fetch(),
            80..87 => self.search(),
            87..91 => self.idle(),
            91..95 => drop(self.say("NOOP", Numbers::MayChange)),
            95..97 => {
                let mailbox = self.draw.below(MAILBOXES.len());
                self.select(mailbox);
            }
            _ => self.reconnect(),
        }
        self.ask_for_new();
        self.ledger.known().commands += 1;
    }

    /// Says a command and takes its whole answer in.
    fn say(&mut self, command: &str, numbers_stay: Numbers) -> Answer {
        let answer = self.wire.say(command);
        self.take(&answer, numbers_stay);
        assert_ne!(answer.condition, "BAD", "{command}: {}", answer.text());
        answer
    }

    fn take(&mut self, answer: &Answer, numbers_stay: Numbers) {
        for response in &answer.untagged {
            if let Some((uid, octets)) = self.view.take(response, numbers_stay, &self.ledger) {
                self.ledger.read((self.view.mailbox, uid), id_of(&octets));
            }
        }
        let told =
            Response::Status { tag: None, condition: String::new(), code: answer.code.clone() };
        self.view.take(&told, numbers_stay, &self.ledger);
    }

    /// Learns the UIDs of messages that EXISTS counted.
    fn ask_for_new(&mut self) {
        for _ in 0..20 {
            let Some(from) = self.view.unknown_from() else { return };
            let items = if self.view.condstore { "(FLAGS MODSEQ)" } else { "FLAGS" };
            self.say(&format!("UID FETCH {from}:* {items}"), Numbers::MayChange);
            // One that is gone before it was read leaves its number only now.
            self.say("NOOP", Numbers::MayChange);
        }
        panic!("a message that is counted cannot be read: {:?}", self.view.slots);
    }

    fn select(&mut self, mailbox: usize) {
        self.select_with(mailbox, "");
    }

    fn select_with(&mut self, mailbox: usize, parameter: &str) {
        self.view = View {
            mailbox,
            uid_only: self.kind == Kind::UidOnly,
            condstore: self.kind != Kind::Plain,
            keyword: self.keyword.clone(),
            ..View::default()
        };
        let answer = self.wire.say(&format!("SELECT {}{parameter}", MAILBOXES[mailbox]));
        assert_eq!(answer.condition, "OK", "{}", answer.text());
        self.take(&answer, Numbers::MayChange);
        self.ask_for_new();
    }

    /// Leaves without a word, comes back and makes up for what was missed.
    fn reconnect(&mut self) {
        self.wire = server::connect(self.address);
        self.enable();
        let mailbox = self.view.mailbox;
        if matches!(self.kind, Kind::Plain | Kind::Condstore) {
            return self.select(mailbox);
        }
        let before = std::mem::take(&mut self.view);
        let known = set(&before.uids());
        let known = if self.draw.once_in(2) && !known.is_empty() {
            format!(" {known}")
        } else {
            String::new()
        };
        let command = format!(
            "SELECT {} (QRESYNC ({} {}{known}))",
            MAILBOXES[mailbox], before.uid_validity, before.highest_mod_seq
        );
        let answer = self.wire.say(&command);
        assert_eq!(answer.condition, "OK", "{}", answer.text());
        let highest = before.highest_mod_seq;
        self.resynchronise(before, &answer);
        assert!(self.view.highest_mod_seq >= highest, "HIGHESTMODSEQ fell from {highest}");
        let counts = |response: &&Response| matches!(response, Response::Data(values) if values.get(1).map(Value::atom) == Some("EXISTS"));
        // Those that come after the first count are told without a word more.
        if known.is_empty() && answer.untagged.iter().filter(counts).count() == 1 {
            assert_eq!(self.view.unknown_from(), None, "new messages are told: {}", answer.text());
        }
        self.ask_for_new();
        self.nothing_was_missed();
    }

    /// Brings what the client knew to what the answer of SELECT says (RFC 7162 §3.2.5): EXISTS counts the
    /// messages of now; once VANISHED (EARLIER) has said which of the old ones are gone, the rest come
    /// first and the new ones behind.
    fn resynchronise(&mut self, before: View, answer: &Answer) {
        self.view = View { highest_mod_seq: 0, counted: None, ..before };
        let mut exists = None;
        for response in &answer.untagged {
            let word = |values: &[Value]| values.get(1).map(|word| word.atom().to_owned());
            match response {
                Response::Data(values)
                    if exists.is_none() && word(values).as_deref() == Some("EXISTS") =>
                {
                    exists = Some(usize::try_from(values[0].number()).unwrap());
                    continue;
                }
                Response::Data(values) if values[0].atom() == "VANISHED" && values.len() > 2 => {}
                Response::Data(values) if word(values).is_some_and(|word| word != "RECENT") => {
                    self.count(exists);
                }
                _ => {}
            }
            self.view.take(response, Numbers::MayChange, &self.ledger);
        }
        self.count(exists);
    }

    /// Counts the messages that SELECT counted, when that has not been done.
    fn count(&mut self, exists: Option<usize>) {
        if let Some(exists) = exists.filter(|_| self.view.counted.is_none()) {
            let left = self.view.slots.len();
            assert!(left <= exists, "{left} are left of {exists}");
            self.view.slots.resize(exists, Slot::default());
            self.view.counted = Some(exists);
        }
    }

    /// Reads all flags: what has not changed since the client knew all of it is as it knows it.
    fn nothing_was_missed(&mut self) {
        let (all, known) = (self.view.highest_mod_seq, self.view.slots.clone());
        let answer = self.say("UID FETCH 1:* (FLAGS MODSEQ)", Numbers::MayChange);
        let missed = |uid: Option<u32>, slot: &Slot| {
            let old = known.iter().find(|old| old.uid == uid);
            slot.mod_seq <= all
                && old.is_none_or(|old| old.flags.is_some() && old.flags != slot.flags)
        };
        for slot in &self.view.slots {
            assert!(
                slot.uid.is_none() || !missed(slot.uid, slot),
                "{slot:?} was missed: {}",
                answer.text()
            );
        }
    }

    fn append(&mut self) {
        let count = if self.draw.once_in(5) { 2 } else { 1 };
        let mailbox = self.draw.below(MAILBOXES.len());
        let ids: Vec<u64> = (0..count).map(|_| self.ledger.new_id()).collect();
        let mut pieces = vec![Piece::Text(format!("APPEND {}", MAILBOXES[mailbox]))];
        for id in &ids {
            let flags = self.draw.pick(&["", "(\\Seen) ", "(\\Flagged) ", "(\\Deleted) "]);
            pieces.push(Piece::Text(format!(" {flags}")));
            pieces.push(Piece::Literal(octets(*id)));
        }
        let answer = self.wire.command(&pieces);
        self.take(&answer, Numbers::MayChange);
        assert_eq!(answer.condition, "OK", "{}", answer.text());
        assert_eq!(answer.code[0].atom(), "APPENDUID", "{}", answer.text());
        let uids = numbers(answer.code[2].atom());
        assert_eq!(uids.len(), ids.len(), "{}", answer.text());
        for (uid, id) in uids.into_iter().zip(ids) {
            self.ledger.created((mailbox, u32::try_from(uid).unwrap()), id);
        }
    }

    /// Some messages, as this kind of client names them: the set, their UIDs, and whether by number.
    fn some(&mut self) -> Option<(String, Vec<u32>, bool)> {
        let uids = self.view.uids();
        if uids.is_empty() {
            return None;
        }
        let first = self.draw.below(uids.len());
        let last = (first + self.draw.below(4)).min(uids.len() - 1);
        let chosen = uids[first..=last].to_vec();
        let by_number = self.kind != Kind::UidOnly && self.draw.once_in(2);
        let set = if by_number { format!("{}:{}", first + 1, last + 1) } else { set(&chosen) };
        Some((set, chosen, by_number))
    }

    fn store(&mut self) {
        let Some((set, uids, by_number)) = self.some() else { return };
        let own = self.draw.once_in(2);
        let flag = if own {
            self.keyword.clone()
        } else {
            (*self.draw.pick(&["\\Seen", "\\Deleted", "\\Flagged", "\\Answered"])).to_owned()
        };
        let add = self.draw.below(3) > 0;
        let silent = if self.draw.once_in(4) { ".SILENT" } else { "" };
        let conditional = self.kind != Kind::Plain && self.draw.once_in(3);
        let since = uids.iter().filter_map(|uid| Some(self.view.slot(*uid)?.mod_seq)).max();
        let since = match since {
            Some(since) if conditional => format!("(UNCHANGEDSINCE {since}) "),
            _ => String::new(),
        };
        let (uid, numbers_stay) = prefix(by_number);
        let sign = if add { "+" } else { "-" };
        let command = format!("{uid}STORE {set} {since}{sign}FLAGS{silent} ({flag})");
        // While the command is under way it is not known of any of them.
        let before = self.view.own.clone();
        if own {
            for uid in &uids {
                self.view.own.remove(uid);
            }
        }
        let answer = self.say(&command, numbers_stay);
        let refused = modified(&answer);
        for (index, uid) in uids.iter().enumerate().filter(|_| own) {
            let name = if by_number { number_in(&set, index) } else { u64::from(*uid) };
            let state = if refused.contains(&name) { before.get(uid).copied() } else { Some(add) };
            if let Some(state) =
                state.filter(|_| answer.condition == "OK" && self.view.slot(*uid).is_some())
            {
                self.view.own.insert(*uid, state);
            }
        }
    }

    fn copy(&mut self, word: &str) {
        let Some((set, _, by_number)) = self.some() else { return };
        let mailbox = self.draw.below(MAILBOXES.len());
        if word == "MOVE" && mailbox == self.view.mailbox {
            return;
        }
        let (uid, _) = prefix(by_number);
        let command = format!("{uid}{word} {set} {}", MAILBOXES[mailbox]);
        let from = self.view.mailbox;
        let answer = self.wire.say(&command);
        let told = answer.untagged.iter().filter_map(|response| match response {
            Response::Status { code, .. } => Some(code),
            _ => None,
        });
        for code in told.chain([&answer.code]) {
            if code.first().map(Value::atom) != Some("COPYUID") {
                continue;
            }
            // Sets in the same order (RFC 4315 §3), both ascending here.
            let (old, new) = (numbers(code[2].atom()), numbers(code[3].atom()));
            assert_eq!(old.len(), new.len(), "{}", answer.text());
            for (old, new) in old.into_iter().zip(new) {
                let (old, new) = (u32::try_from(old).unwrap(), u32::try_from(new).unwrap());
                self.ledger.copied((mailbox, new), (from, old));
            }
        }
        self.take(&answer, Numbers::MayChange);
        assert_ne!(answer.condition, "BAD", "{command}: {}", answer.text());
    }

    /// Removes by UID, or everything when VANISHED will say what that was.
    fn expunge(&mut self) {
        let deleted =
            |slot: &&Slot| slot.flags.as_ref().is_some_and(|flags| flags.contains("\\Deleted"));
        let deleted: Vec<u32> =
            self.view.slots.iter().filter(deleted).filter_map(|slot| slot.uid).collect();
        let by_uid = matches!(self.kind, Kind::Qresync | Kind::UidOnly);
        if by_uid && self.draw.once_in(3) {
            self.say("EXPUNGE", Numbers::MayChange);
        } else if !deleted.is_empty() {
            self.say(&format!("UID EXPUNGE {}", set(&deleted)), Numbers::MayChange);
        } else if let Some((set, ..)) = self.some().filter(|(_, _, by_number)| !by_number) {
            self.say(&format!("UID STORE {set} +FLAGS (\\Deleted)"), Numbers::MayChange);
        }
    }

    fn read(&mut self) {
        let Some((set, _, by_number)) = self.some() else { return };
        let (uid, numbers_stay) = prefix(by_number);
        let items =
            self.draw.pick(&["BODY.PEEK[]", "(BODY.PEEK[] FLAGS)", "BODY[]", "(UID BODY.PEEK[])"]);
        let items = if self.view.condstore {
            items.replace("FLAGS", "FLAGS MODSEQ")
        } else {
            (*items).to_owned()
        };
        self.say(&format!("{uid}FETCH {set} {items}"), numbers_stay);
    }

    fn fetch(&mut self) {
        if self.kind == Kind::Plain {
            self.say("UID FETCH 1:* (FLAGS)", Numbers::MayChange);
        } else if self.draw.once_in(2) {
            self.say("NOOP", Numbers::MayChange);
            self.nothing_was_missed();
        } else {
            let since = self.view.highest_mod_seq.max(1);
            let vanished = if self.kind == Kind::Condstore { "" } else { " VANISHED" };
            let command = format!("UID FETCH 1:* (FLAGS) (CHANGEDSINCE {since}{vanished})");
            self.say(&command, Numbers::MayChange);
        }
    }

    /// Its own keyword is found where it put it, and nowhere else.
    fn search(&mut self) {
        let by_number = self.kind != Kind::UidOnly && self.draw.once_in(2);
        let (uid, numbers_stay) = prefix(by_number);
        let uids = self.view.uids();
        let answer = self.say(&format!("{uid}SEARCH KEYWORD {}", self.keyword), numbers_stay);
        let found = answer.untagged.iter().find_map(|response| match response {
            Response::Data(values) if values[0].atom() == "SEARCH" => Some(&values[1..]),
            _ => None,
        });
        let found: Vec<u64> = found.expect("SEARCH").iter().map(Value::number).collect();
        let own = self.view.own.clone();
        let wrong = uids.iter().enumerate().filter(|(index, uid)| {
            let name = if by_number { *index as u64 + 1 } else { u64::from(**uid) };
            own.get(uid).is_some_and(|own| *own != found.contains(&name))
        });
        let wrong: Vec<u32> = wrong.map(|(_, uid)| *uid).collect();
        if wrong.is_empty() {
            return;
        }
        // What is gone, although not told yet, need not be found.
        self.say("NOOP", Numbers::MayChange);
        for uid in wrong {
            let still = self.view.slot(uid).is_some();
            assert!(!still, "UID {uid}, own keyword {:?}: {}", own.get(&uid), answer.text());
        }
    }

    fn idle(&mut self) {
        let tag = self.wire.tag();
        self.wire.send(format!("{tag} IDLE\r\n").as_bytes());
        let mut answer = Answer::default();
        self.wire.read_to(&tag, &mut answer, true);
        std::thread::sleep(Duration::from_millis(20 + self.draw.below(200) as u64));
        self.wire.send(b"DONE\r\n");
        self.wire.read_to(&tag, &mut answer, false);
        self.take(&answer, Numbers::MayChange);
        assert_eq!(answer.condition, "OK", "{}", answer.text());
    }

    /// Everything settles: nobody else changes anything any more.
    pub(super) fn settle(&mut self) -> Vec<Slot> {
        self.say("NOOP", Numbers::MayChange);
        self.ask_for_new();
        self.say("NOOP", Numbers::MayChange);
        let told = self.view.slots.clone();
        let items = if self.view.condstore { "(FLAGS MODSEQ)" } else { "(FLAGS)" };
        self.say(&format!("UID FETCH 1:* {items}"), Numbers::MayChange);
        for (told, read) in told.iter().zip(&self.view.slots) {
            assert_eq!(told.uid, read.uid, "what was told last, and what there is");
        }
        assert_eq!(told.len(), self.view.slots.len(), "what was told last, and what there is");
        self.view.slots.clone()
    }
}

/// What a command by number or by UID begins with, and what may come with its answer.
fn prefix(by_number: bool) -> (&'static str, Numbers) {
    if by_number { ("", Numbers::Stay) } else { ("UID ", Numbers::MayChange) }
}

fn set(uids: &[u32]) -> String {
    uids.iter().map(u32::to_string).collect::<Vec<_>>().join(",")
}

/// The number of the message at `index` of a set `first:last`.
fn number_in(set: &str, index: usize) -> u64 {
    let first: u64 = set.split(':').next().unwrap_or_default().parse().expect("a number");
    first + index as u64
}

/// The messages of the code MODIFIED.
fn modified(answer: &Answer) -> Vec<u64> {
    match answer.code.as_slice() {
        [name, set] if name.atom() == "MODIFIED" => numbers(set.atom()),
        _ => Vec::new(),
    }
}
