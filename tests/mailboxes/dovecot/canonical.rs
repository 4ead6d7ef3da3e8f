//! What a command was answered, as facts that two servers can be compared by.
//!
//! Left out is what a standard leaves to the server: tags, free text, the order of untagged responses
//! and of flags, values of UIDVALIDITY and MODSEQ, capabilities, `\Recent` among several sessions (RFC 3501
//! §2.3.2), `\Marked` and `\Unmarked`, keywords that FLAGS lists, a UID that nobody asked for.

use std::collections::BTreeMap;

use super::structure;
use crate::{
    value::{Response, Value, joined, numbers},
    wire::{Answer, Piece},
};

/// What both must agree on: a name and a value.
pub(crate) type Facts = BTreeMap<String, String>;

/// Codes that tell a reason more exactly, for whoever wants to know (RFC 5530 §3): nobody
/// need send one, and often more than one fits.
const WHY: [&str; 12] = [
    "ALREADYEXISTS",
    "CANNOT",
    "CLIENTBUG",
    "CONTACTADMIN",
    "CORRUPTION",
    "EXPUNGEISSUED",
    "INUSE",
    "LIMIT",
    "NONEXISTENT",
    "NOPERM",
    "OVERQUOTA",
    "PARSE",
];

/// The messages that one session counts. A message is named by how many the mailbox had shown
/// before it: expunges are then comparable, whatever their order.
#[derive(Clone, Debug, Default)]
pub(crate) struct View {
    pub(crate) messages: Vec<u64>,
    /// Flags that were told.
    pub(crate) flags: BTreeMap<u64, String>,
    next: u64,
    pub(crate) uid_validity: u64,
    pub(crate) highest_mod_seq: u64,
}

/// A command as text, its literals shown.
pub(crate) fn shown(pieces: &[Piece]) -> String {
    let shown = pieces.iter().map(|piece| match piece {
        Piece::Text(text) => text.clone(),
        Piece::Literal(octets) => format!("{{{}}}{}", octets.len(), octets.escape_ascii()),
    });
    shown.collect()
}

impl View {
    /// Reads an answer, takes in what it says of the mailbox, and returns its facts.
    pub(crate) fn facts(&mut self, command: &str, answer: &Answer) -> Facts {
        let command = command.to_ascii_uppercase();
        if command.starts_with("SELECT") || command.starts_with("EXAMINE") {
            *self = Self { next: 1, ..Self::default() };
        }
        if command.contains(".SILENT") {
            // What the client makes of it itself is not followed here.
            self.flags.clear();
        }
        let mut facts = Facts::new();
        facts.insert("condition".into(), answer.condition.clone());
        self.code(&answer.code, &mut facts);
        for response in &answer.untagged {
            match response {
                Response::Status { condition, code, .. } => {
                    if condition == "BYE" {
                        facts.insert("bye".into(), String::new());
                    }
                    self.code(code, &mut facts);
                }
                Response::Data(values) => self.data(&command, values, &mut facts),
                Response::Continuation => {}
            }
        }
        facts
    }

    /// The messages that the client knows of, and the flags that it was told.
    pub(crate) fn state(&self) -> Facts {
        let count = ("messages".to_owned(), format!("{:?}", self.messages));
        let flags = self.flags.iter().filter(|(message, _)| self.messages.contains(message));
        let flags = flags.map(|(message, flags)| (format!("told {message}"), flags.clone()));
        flags.chain([count]).collect()
    }

    fn code(&mut self, code: &[Value], facts: &mut Facts) {
        let Some((name, arguments)) = code.split_first() else { return };
        let name = name.atom().to_ascii_uppercase();
        let value = match name.as_str() {
            "UIDVALIDITY" => {
                self.uid_validity = arguments[0].number();
                String::new()
            }
            "HIGHESTMODSEQ" => {
                self.highest_mod_seq = arguments[0].number();
                String::new()
            }
            "CAPABILITY" | "PERMANENTFLAGS" | "MAILBOXID" => return,
            "BADCHARSET" => String::new(),
            "APPENDUID" => set(&arguments[1]),
            "COPYUID" => format!("{} {}", set(&arguments[1]), set(&arguments[2])),
            "MODIFIED" => set(&arguments[0]),
            _ if WHY.contains(&name.as_str()) => return,
            _ => joined(arguments),
        };
        facts.insert(format!("code {name}"), value);
    }

    fn data(&mut self, command: &str, values: &[Value], facts: &mut Facts) {
        if let [number, word, rest @ ..] = values
            && number.atom().bytes().all(|octet| octet.is_ascii_digit())
        {
            return self.numbered(number.number(), word.atom(), rest, command, facts);
        }
        let (name, rest) = values.split_first().expect("a name");
        match name.atom().to_ascii_uppercase().as_str() {
            "FLAGS" | "CAPABILITY" | "ID" => {}
            "SEARCH" => {
                let mut found: Vec<u64> = rest
                    .iter()
                    .filter(|value| value.list().is_empty())
                    .map(Value::number)
                    .collect();
                found.sort_unstable();
                facts.insert("search".into(), format!("{found:?}"));
                facts.insert("search modseq".into(), (found.len() != rest.len()).to_string());
            }
            "SORT" | "THREAD" => {
                let found: Vec<&Value> = rest.iter().filter(|value| !is_mod_seq(value)).collect();
                let found = found.into_iter().map(Value::to_string).collect::<Vec<_>>();
                facts.insert(name.atom().to_ascii_lowercase(), found.join(" "));
            }
            "ESEARCH" => esearch(rest, facts),
            "VANISHED" => self.vanished(rest, facts),
            word @ ("LIST" | "LSUB") => list(word, rest, facts),
            "STATUS" => status(rest, self, facts),
            "ENABLED" => {
                let mut names: Vec<String> = rest.iter().map(Value::to_string).collect();
                names.sort();
                facts.insert("enabled".into(), names.join(" "));
            }
            other => {
                facts.insert(other.to_ascii_lowercase(), joined(rest));
            }
        }
    }

    fn numbered(
        &mut self,
        number: u64,
        word: &str,
        rest: &[Value],
        command: &str,
        facts: &mut Facts,
    ) {
        let index = usize::try_from(number).unwrap();
        match word.to_ascii_uppercase().as_str() {
            "EXISTS" => {
                while self.messages.len() < index {
                    self.messages.push(self.next);
                    self.next += 1;
                }
                facts.insert("exists".into(), self.messages.len().to_string());
            }
            "RECENT" => {}
            "EXPUNGE" => {
                let message = self.messages.remove(index - 1);
                facts.insert(format!("gone {message}"), String::new());
            }
            "FETCH" => {
                let Some(&message) = self.messages.get(index - 1) else {
                    facts.insert(format!("FETCH of no message {index}"), String::new());
                    return;
                };
                for pair in rest[0].list().chunks(2) {
                    self.item(message, pair, command, facts);
                }
            }
            other => {
                facts.insert(format!("{other} {number}"), joined(rest));
            }
        }
    }

    fn item(&mut self, message: u64, pair: &[Value], command: &str, facts: &mut Facts) {
        let [name, value] = pair else { panic!("{} is no pair", joined(pair)) };
        let name = name.atom().to_ascii_uppercase();
        let asked = |word: &str| command.contains(word);
        let value = match name.as_str() {
            "UID" if !asked("UID") => return,
            "MODSEQ" if !asked("MODSEQ") && !asked("CHANGEDSINCE") => return,
            "MODSEQ" => String::new(),
            "FLAGS" => {
                let flags = flags(value);
                self.flags.insert(message, flags.clone());
                if !asked("QRESYNC")
                    && !asked("STORE")
                    && !asked("FLAGS")
                    && !asked("FULL")
                    && !asked("ALL")
                    && !asked("FAST")
                {
                    return;
                }
                flags
            }
            "BODYSTRUCTURE" | "BODY" => {
                return structure::body(&format!("message {message} {name}"), value, facts);
            }
            "ENVELOPE" => {
                return structure::envelope(&format!("message {message} ENVELOPE"), value, facts);
            }
            _ => value.to_string(),
        };
        facts.insert(format!("message {message} {name}"), value);
    }

    fn vanished(&mut self, rest: &[Value], facts: &mut Facts) {
        let earlier = rest.len() > 1;
        let uids = numbers(rest.last().expect("a set").atom());
        let name = if earlier { "vanished earlier" } else { "vanished" };
        facts.insert(name.into(), format!("{uids:?}"));
        if !earlier {
            // Which of the messages they are is not known here; what counts is how many are left.
            self.flags.clear();
            let left = self.messages.len().saturating_sub(uids.len());
            self.messages.truncate(left);
        }
    }
}

fn is_mod_seq(value: &Value) -> bool {
    value.list().first().is_some_and(|first| first.atom() == "MODSEQ")
}

fn set(value: &Value) -> String {
    format!("{:?}", numbers(value.atom()))
}

fn flags(value: &Value) -> String {
    let mut flags: Vec<String> = value.list().iter().map(|flag| flag.atom().to_owned()).collect();
    flags.retain(|flag| !flag.eq_ignore_ascii_case("\\Recent"));
    flags.sort();
    flags.join(" ")
}

fn esearch(rest: &[Value], facts: &mut Facts) {
    let mut rest = rest.iter().filter(|value| value.list().is_empty()).peekable();
    if rest.next_if(|value| value.atom() == "UID").is_some() {
        facts.insert("esearch uid".into(), String::new());
    }
    facts.insert("esearch".into(), String::new());
    while let (Some(name), Some(value)) = (rest.next(), rest.next()) {
        let name = name.atom().to_ascii_uppercase();
        let value = match name.as_str() {
            "ALL" => set(value),
            "MODSEQ" => String::new(),
            _ => value.to_string(),
        };
        facts.insert(format!("esearch {name}"), value);
    }
}

fn list(word: &str, rest: &[Value], facts: &mut Facts) {
    let mut attributes: Vec<String> = rest[0].list().iter().map(|one| one.atom().into()).collect();
    attributes.retain(|one| one != "\\Marked" && one != "\\UnMarked" && one != "\\Unmarked");
    attributes.sort();
    let (delimiter, more) = (&rest[1], rest.get(3..).map(joined).unwrap_or_default());
    let value = format!("{} {delimiter} {more}", attributes.join(" "));
    facts.insert(format!("{} {}", word.to_ascii_lowercase(), rest[2].string()), value);
}

fn status(rest: &[Value], view: &mut View, facts: &mut Facts) {
    for pair in rest[1].list().chunks(2) {
        let name = pair[0].atom();
        if name == "HIGHESTMODSEQ" {
            view.highest_mod_seq = pair[1].number();
        }
        let free = ["HIGHESTMODSEQ", "UIDVALIDITY", "RECENT", "MAILBOXID"].contains(&name);
        let value = if free { String::new() } else { pair[1].to_string() };
        facts.insert(format!("status {} {name}", rest[0].string()), value);
    }
}
