//! Scripts by seed: some sessions, the same mailboxes, commands of every kind.
//!
//! No mailbox is deleted or renamed while a session has it selected: what happens then is left to
//! the server (RFC 2180 §3).

use std::path::Path;

use super::{
    canonical::{View, shown},
    differences::Explained,
    forms::{ITEMS, KEYS, LISTS, WRONG},
    pair::{Pair, Session},
};
use crate::{
    draw::Draw,
    messages,
    value::Response,
    wire::{Answer, Piece},
};

const NAMES: [&str; 7] =
    ["INBOX", "Uno", "Due", "Uno/Sotto", "Tre", "Perch&AOk-", "\"Con spazio\""];
const SESSIONS: usize = 3;

/// A session and what the script knows of it.
struct Actor {
    session: Session,
    selected: Option<String>,
    examined: bool,
    slots: usize,
}

struct Script<'s> {
    draw: Draw,
    explained: &'s mut Explained,
    actors: Vec<Actor>,
    appended: usize,
}

/// Runs a script of `commands` commands, then compares all mailboxes.
pub(crate) fn run(pair: &mut Pair<'_>, seed: u64, commands: usize, explained: &mut Explained) {
    let actors = (0..SESSIONS).map(|_| Actor {
        session: pair.session(),
        selected: None,
        examined: false,
        slots: 0,
    });
    let mut script =
        Script { draw: Draw::new(seed), explained, actors: actors.collect(), appended: 0 };
    script.take_default_mailboxes_away();
    script.begin();
    for _ in 0..commands {
        let actor = script.draw.below(SESSIONS);
        script.step(actor);
    }
    script.end(pair);
}

/// Appends the messages of a folder to both and compares what they are shown as.
pub(crate) fn by_hand(pair: &mut Pair<'_>, folder: &Path, explained: &mut Explained) {
    let actor = Actor { session: pair.session(), selected: None, examined: false, slots: 0 };
    let mut script = Script { draw: Draw::new(0), explained, actors: vec![actor], appended: 0 };
    let mut files: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let text = |text: &str| Piece::Text(text.to_owned());
    for (number, file) in files.iter().enumerate() {
        let message = std::fs::read(file).unwrap();
        let append = [text("APPEND INBOX "), Piece::Literal(message)];
        if !script.pieces(0, &append) {
            continue;
        }
        script.say(0, "SELECT INBOX");
        for items in ["ENVELOPE", "BODYSTRUCTURE", "(BODY.PEEK[1] BODY.PEEK[2])"] {
            let before = script.explained.unexplained.len();
            script.say(0, &format!("FETCH * {items}"));
            if script.explained.unexplained.len() > before {
                script.explained.unexplained.push(format!("that was {number}: {}", file.display()));
            }
        }
        script.say(0, "CLOSE");
    }
}

impl Script<'_> {
    /// Those of ours, which Dovecot has not.
    fn take_default_mailboxes_away(&mut self) {
        let wire = &mut self.actors[0].session.ours.wire;
        for response in wire.say("LIST \"\" *").untagged {
            let Response::Data(values) = response else { continue };
            if values[3].string() != "INBOX" {
                wire.say(&format!("UNSUBSCRIBE {}", values[3]));
                wire.say(&format!("DELETE {}", values[3]));
            }
        }
        wire.say("UNSUBSCRIBE INBOX");
    }

    fn begin(&mut self) {
        for command in [
            "LIST \"\" *",
            "SUBSCRIBE INBOX",
            "CREATE Uno",
            "CREATE Due",
            "ENABLE QRESYNC",
            "ENABLE NIENTE",
        ] {
            self.say(0, command);
        }
        for _ in 0..8 {
            self.append(0, "INBOX");
        }
    }

    /// Says a command to both as session `actor`, compares, and says whether ours did it.
    fn say(&mut self, actor: usize, command: &str) -> bool {
        self.pieces(actor, &[Piece::Text(command.to_owned())])
    }

    /// Says a command to ours alone.
    fn ours(&mut self, actor: usize, command: &str) -> Answer {
        self.actors[actor].session.ours.wire.say(command)
    }

    fn pieces(&mut self, actor: usize, pieces: &[Piece]) -> bool {
        let command = shown(pieces);
        self.catch_up(actor);
        let session = &mut self.actors[actor].session;
        let (ours, theirs) = session.say(pieces);
        let facts = session.ours.view.facts(&command, &ours);
        let other = session.theirs.view.facts(&command, &theirs);
        self.explained.compare(&format!("[{actor}] {command}"), &facts, &other);
        if command.starts_with("SUBSCRIBE") && ours.condition != theirs.condition {
            self.ours(actor, &format!("UN{command}"));
        }
        ours.condition == "OK"
    }

    /// Has both tell what other sessions changed: when and in which order they tell it is their affair,
    /// what the client knows then is not.
    fn catch_up(&mut self, actor: usize) {
        if self.actors[actor].selected.is_none() {
            return;
        }
        let session = &mut self.actors[actor].session;
        let (ours, theirs) = session.say(&[Piece::Text("NOOP".to_owned())]);
        session.ours.view.facts("NOOP", &ours);
        session.theirs.view.facts("NOOP", &theirs);
        let [ours, theirs] = [&session.ours.view, &session.theirs.view].map(View::state);
        self.explained.compare(&format!("[{actor}] NOOP"), &ours, &theirs);
    }

    fn step(&mut self, actor: usize) {
        let selected = self.actors[actor].selected.is_some();
        match self.draw.below(100) {
            0..14 => self.tree(actor),
            14..22 => {
                let name = *self.draw.pick(&NAMES);
                self.append(actor, name);
            }
            22..26 => self.wrong(actor),
            26..32 => self.select(actor),
            _ if !selected => self.select(actor),
            32..56 => self.fetch(actor),
            56..70 => self.store(actor),
            70..78 => self.copy(actor),
            78..92 => self.search(actor),
            92..97 => self.expunge(actor),
            _ => {
                let command = *self.draw.pick(&["NOOP", "CHECK"]);
                self.say(actor, command);
            }
        }
    }

    /// A name that no session has selected, nor any below it.
    fn free_name(&mut self) -> Option<&'static str> {
        let name = *self.draw.pick(&NAMES);
        let mut selected = self.actors.iter().filter_map(|actor| actor.selected.as_deref());
        let taken = selected.any(|other| {
            other.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        });
        (!taken && name != "INBOX").then_some(name)
    }

    fn tree(&mut self, actor: usize) {
        let name = *self.draw.pick(&NAMES);
        let command = match self.draw.below(12) {
            0 | 1 => format!("CREATE {name}"),
            2 => match self.free_name() {
                Some(name) => format!("DELETE {name}"),
                None => return,
            },
            3 => match (self.free_name(), self.free_name()) {
                (Some(from), Some(to)) => format!("RENAME {from} {to}"),
                _ => return,
            },
            4 => format!("SUBSCRIBE {name}"),
            5 => format!("UNSUBSCRIBE {name}"),
            6..9 => self.list(),
            _ => {
                let items = [
                    "MESSAGES",
                    "RECENT",
                    "UIDNEXT",
                    "UIDVALIDITY",
                    "UNSEEN",
                    "HIGHESTMODSEQ",
                    "SIZE",
                ];
                format!("STATUS {name} ({})", self.draw.some(&items).join(" "))
            }
        };
        // What stands above a name is made first: Dovecot would make a name without a mailbox.
        if command.ends_with("Uno/Sotto") && !command.starts_with("DELETE") {
            self.say(actor, "CREATE Uno");
        }
        self.say(actor, &command);
    }

    fn list(&mut self) -> String {
        (*self.draw.pick(&LISTS)).to_owned()
    }

    fn append(&mut self, actor: usize, name: &str) {
        let message = messages::draw(&mut self.draw);
        let options = ["", "(\\Seen) ", "(\\Flagged $Uno) ", "(\\Draft \\Answered) "];
        let options = self.draw.pick(&options);
        let date = self.date();
        let text = Piece::Text(format!("APPEND {name} {options}{date} "));
        let mut pieces = vec![text, Piece::Literal(message)];
        if self.draw.once_in(6) {
            let date = self.date();
            pieces.push(Piece::Text(format!(" (\\Deleted) {date} ")));
            pieces.push(Piece::Literal(messages::draw(&mut self.draw)));
        }
        self.pieces(actor, &pieces);
    }

    /// Each message has a date of its own, for an order by date that two servers agree on.
    fn date(&mut self) -> String {
        self.appended += 1;
        let (day, minute) = (1 + self.draw.below(28), self.appended % 60);
        let zone = self.draw.pick(&["+0000", "-0800", "+0200"]);
        format!("\"{day:02}-Jul-20{:02} 02:{minute:02}:25 {zone}\"", 10 + self.appended / 60)
    }

    fn select(&mut self, actor: usize) {
        let closing = self.draw.below(6);
        if self.actors[actor].selected.is_some() && closing < 2 {
            self.say(actor, ["CLOSE", "UNSELECT"][closing]);
            self.actors[actor].selected = None;
            return;
        }
        let names = ["INBOX", "INBOX", "INBOX", "Uno", "Due", "Tre", "Uno/Sotto"];
        let mut name = *self.draw.pick(&names);
        let mut parameter =
            if self.draw.once_in(6) { " (CONDSTORE)".to_owned() } else { String::new() };
        let slots = self.actors[actor].slots;
        // The first session has said that it resynchronises.
        if actor == 0 && slots > 0 && self.draw.below(3) > 0 {
            let selected = self.actors[actor].selected.as_deref();
            name = NAMES.into_iter().find(|name| selected == Some(*name)).unwrap_or(name);
            if selected == Some(name) {
                let slot = self.draw.below(slots);
                parameter = format!(" (QRESYNC ({{uidvalidity}} {{modseq:{slot}}}))");
            }
        }
        let word = if self.draw.once_in(5) { "EXAMINE" } else { "SELECT" };
        let done = self.say(actor, &format!("{word} {name}{parameter}"));
        let actor = &mut self.actors[actor];
        if done && actor.selected.as_deref() != Some(name) {
            // Values of another mailbox say nothing of this one.
            actor.slots = 0;
            for side in [&mut actor.session.ours, &mut actor.session.theirs] {
                side.mod_seqs.clear();
            }
        }
        actor.selected = done.then(|| name.to_owned());
        actor.examined = word == "EXAMINE";
    }

    /// Notes both servers' HIGHESTMODSEQ of the selected mailbox, when it is a good moment.
    fn remember(&mut self, actor: usize) -> bool {
        let Some(name) = self.actors[actor].selected.clone() else { return false };
        self.say(actor, "NOOP");
        self.say(actor, &format!("STATUS {name} (HIGHESTMODSEQ)"));
        let actor = &mut self.actors[actor];
        for side in [&mut actor.session.ours, &mut actor.session.theirs] {
            side.mod_seqs.push(side.view.highest_mod_seq);
        }
        actor.slots += 1;
        true
    }

    /// A set of message numbers, most of them there.
    fn set(&mut self, actor: usize) -> String {
        let count = self.actors[actor].session.ours.view.messages.len().max(1);
        let mut one = || 1 + self.draw.below(count);
        let (a, b, c) = (one(), one(), one());
        match self.draw.below(8) {
            0 => "1:*".to_owned(),
            1 => "*".to_owned(),
            2 => format!("{a}:{b}"),
            3 => format!("{a},{b},{c}"),
            4 => format!("{a}:{b},{c}"),
            _ => a.to_string(),
        }
    }

    /// The same as UIDs, of which some are not there.
    fn uid_set(&mut self, actor: usize) -> String {
        let set = self.set(actor);
        if self.draw.once_in(5) { format!("{set},{}:{}", 30, 40) } else { set }
    }

    fn addressed(&mut self, actor: usize, command: &str) -> String {
        if self.draw.once_in(2) {
            format!("{command} {}", self.set(actor))
        } else {
            format!("UID {command} {}", self.uid_set(actor))
        }
    }

    fn fetch(&mut self, actor: usize) {
        if self.draw.once_in(12) {
            let count = self.actors[actor].session.ours.view.messages.len().max(1);
            let forms =
                ["BINARY.PEEK[1]", "BINARY.SIZE[1]", "BINARY.PEEK[2]", "BINARY.PEEK[1]<1.4>"];
            let (number, form) = (1 + self.draw.below(count), self.draw.pick(&forms));
            self.say(actor, &format!("FETCH {number} {form}"));
            return;
        }
        let items = match self.draw.below(8) {
            0 => (*self.draw.pick(&["ALL", "FAST", "FULL"])).to_owned(),
            1 => "(FLAGS MODSEQ)".to_owned(),
            2 | 3 => (*self.draw.pick(&ITEMS)).to_owned(),
            _ => {
                let some =
                    [*self.draw.pick(&ITEMS), *self.draw.pick(&ITEMS), *self.draw.pick(&ITEMS)];
                let mut some = some.to_vec();
                some.sort_unstable();
                some.dedup();
                format!("({})", some.join(" "))
            }
        };
        let mut command = format!("{} {items}", self.addressed(actor, "FETCH"));
        if self.draw.once_in(4) {
            let slots = self.actors[actor].slots;
            if slots == 0 || self.draw.once_in(4) {
                self.remember(actor);
                return;
            }
            // Dovecot reads a section without parentheses together with what follows.
            let bare = items.contains('[') && !items.starts_with('(');
            let items = if bare { format!("({items})") } else { items };
            command = format!("{} {items}", self.addressed(actor, "FETCH"));
            let slot = self.draw.below(slots);
            let vanished = actor == 0 && command.starts_with("UID") && self.draw.once_in(2);
            let vanished = if vanished { " VANISHED" } else { "" };
            command = format!("{command} (CHANGEDSINCE {{modseq:{slot}}}{vanished})");
        }
        self.say(actor, &command);
    }

    fn store(&mut self, actor: usize) {
        let flags = ["\\Seen", "\\Deleted", "\\Flagged", "\\Answered", "\\Draft", "$Uno", "Due"];
        let flags = self.draw.some(&flags).join(" ");
        let sign = *self.draw.pick(&["", "+", "-"]);
        let silent = if self.draw.once_in(3) { ".SILENT" } else { "" };
        let mut command = self.addressed(actor, "STORE");
        let slots = self.actors[actor].slots;
        if slots > 0 && self.draw.once_in(4) {
            let slot = self.draw.below(slots);
            command = format!("{command} (UNCHANGEDSINCE {{modseq:{slot}}})");
        }
        self.say(actor, &format!("{command} {sign}FLAGS{silent} ({flags})"));
    }

    fn copy(&mut self, actor: usize) {
        // Dovecot moves out of a mailbox that is read-only: it copies.
        let moves = !self.actors[actor].examined && self.draw.once_in(3);
        let word = if moves { "MOVE" } else { "COPY" };
        let command = self.addressed(actor, word);
        let name = *self.draw.pick(&NAMES);
        self.say(actor, &format!("{command} {name}"));
    }

    fn expunge(&mut self, actor: usize) {
        let command = if self.draw.once_in(2) {
            format!("UID EXPUNGE {}", self.uid_set(actor))
        } else {
            "EXPUNGE".to_owned()
        };
        self.say(actor, &command);
    }

    fn search(&mut self, actor: usize) {
        let keys = [self.key(actor), self.key(actor)].join(" ");
        let uid = if self.draw.once_in(2) { "UID " } else { "" };
        let command = match self.draw.below(10) {
            0..5 => format!("{uid}SEARCH {keys}"),
            5 => format!("{uid}SEARCH RETURN (MIN MAX COUNT ALL) {keys}"),
            6 => format!(
                "{uid}SEARCH RETURN ({}) {keys}",
                self.draw.pick(&["", "COUNT", "MIN", "ALL", "MAX MIN"])
            ),
            7 | 8 => {
                let by = [
                    "DATE",
                    "SUBJECT",
                    "FROM",
                    "TO",
                    "CC",
                    "SIZE",
                    "ARRIVAL",
                    "REVERSE DATE",
                    "REVERSE SUBJECT DATE",
                    "DISPLAYFROM",
                    "DISPLAYTO",
                ];
                format!("{uid}SORT ({}) UTF-8 {keys}", self.draw.pick(&by))
            }
            _ => format!(
                "{uid}THREAD {} UTF-8 ALL",
                self.draw.pick(&["REFERENCES", "ORDEREDSUBJECT", "REFS"])
            ),
        };
        self.say(actor, &command);
    }

    fn key(&mut self, actor: usize) -> String {
        match self.draw.below(6) {
            0 => self.set(actor),
            1 => format!("UID {}", self.uid_set(actor)),
            _ => (*self.draw.pick(&KEYS)).to_owned(),
        }
    }

    fn wrong(&mut self, actor: usize) {
        let command = *self.draw.pick(&WRONG);
        if command.starts_with("SELECT") || command.starts_with("EXAMINE") {
            self.actors[actor].selected = None;
        }
        self.say(actor, command);
    }

    /// All mailboxes of both, message by message.
    fn end(&mut self, pair: &Pair<'_>) {
        self.actors.push(Actor {
            session: pair.session(),
            selected: None,
            examined: false,
            slots: 0,
        });
        self.say(SESSIONS, "LIST \"\" *");
        self.say(SESSIONS, "LSUB \"\" *");
        for name in NAMES {
            if self.say(SESSIONS, &format!("EXAMINE {name}")) {
                self.say(SESSIONS, "UID FETCH 1:* (FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[])");
                self.say(SESSIONS, "FETCH 1:* (ENVELOPE BODYSTRUCTURE)");
            }
        }
        let log = pair.log();
        let broken = ["Panic", "Fatal", "Error:"].iter().any(|word| log.contains(word));
        assert!(!broken, "Dovecot failed: {log}");
    }
}
