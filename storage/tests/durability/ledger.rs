//! What one task of the killed process was acknowledged, kept by its parent.
//!
//! The lines that a task writes, one operation after the other:
//!
//! ```text
//! <task> TRY APPEND <mailbox> <seed>
//! <task> TRY COPY|MOVE <from> <to> <uid>,…
//! <task> TRY FLAG <mailbox> <uid>,…          (adds \Deleted)
//! <task> TRY EXPUNGE <mailbox> <uid>,…
//! <task> TRY CREATE|DELETE <mailbox>
//! <task> ACK
//! ```

use std::collections::BTreeMap;

/// UID → seed and `\Deleted`, and the last UID given.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Rows {
    pub(crate) rows: BTreeMap<u32, (u64, bool)>,
    pub(crate) given: u32,
}

pub(crate) type State = BTreeMap<String, Rows>;

#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Operation {
    Append { mailbox: String, seed: u64 },
    Copy { from: String, to: String, uids: Vec<u32>, remove: bool },
    Flag { mailbox: String, uids: Vec<u32> },
    Expunge { mailbox: String, uids: Vec<u32> },
    Create { mailbox: String },
    Delete { mailbox: String },
}

/// One task's acknowledged state, and the operation that was on its way.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) state: State,
    pub(crate) pending: Option<Operation>,
    pub(crate) acknowledged: u64,
}

fn uids_in(text: &str) -> Vec<u32> {
    text.split(',').filter(|uid| !uid.is_empty()).map(|uid| uid.parse().expect("a UID")).collect()
}

impl Operation {
    pub(crate) fn parse(words: &[&str]) -> Self {
        let text = |nth: usize| (*words.get(nth).expect("a word")).to_owned();
        match words[0] {
            "APPEND" => Self::Append { mailbox: text(1), seed: text(2).parse().expect("a seed") },
            kind @ ("COPY" | "MOVE") => Self::Copy {
                from: text(1),
                to: text(2),
                uids: uids_in(&text(3)),
                remove: kind == "MOVE",
            },
            "FLAG" => Self::Flag { mailbox: text(1), uids: uids_in(&text(2)) },
            "EXPUNGE" => Self::Expunge { mailbox: text(1), uids: uids_in(&text(2)) },
            "CREATE" => Self::Create { mailbox: text(1) },
            "DELETE" => Self::Delete { mailbox: text(1) },
            other => panic!("{other} is no operation"),
        }
    }

    /// The words that [`Operation::parse`] reads.
    pub(crate) fn line(&self) -> String {
        let list = |uids: &[u32]| {
            let uids: Vec<String> = uids.iter().map(ToString::to_string).collect();
            uids.join(",")
        };
        match self {
            Self::Append { mailbox, seed } => format!("APPEND {mailbox} {seed}"),
            Self::Copy { from, to, uids, remove } => {
                let kind = if *remove { "MOVE" } else { "COPY" };
                format!("{kind} {from} {to} {}", list(uids))
            }
            Self::Flag { mailbox, uids } => format!("FLAG {mailbox} {}", list(uids)),
            Self::Expunge { mailbox, uids } => format!("EXPUNGE {mailbox} {}", list(uids)),
            Self::Create { mailbox } => format!("CREATE {mailbox}"),
            Self::Delete { mailbox } => format!("DELETE {mailbox}"),
        }
    }
}

impl Ledger {
    /// Takes in one line of this task.
    pub(crate) fn note(&mut self, words: &[&str]) {
        match words.split_first() {
            Some((&"TRY", rest)) => self.pending = Some(Operation::parse(rest)),
            Some((&"ACK", _)) => {
                let done = self.pending.take().expect("an operation was tried");
                self.state = after(&self.state, &done);
                self.acknowledged += 1;
            }
            _ => panic!("{words:?}"),
        }
    }

    /// Compares with what is there: the acknowledged state, or the one that the operation on its
    /// way leads to; takes over which it is.
    pub(crate) fn settle(&mut self, found: &State) -> Result<(), String> {
        let next = self.pending.as_ref().map(|pending| after(&self.state, pending));
        if *found != self.state && next.as_ref() != Some(found) {
            return Err(format!(
                "found {found:?}\nacknowledged {:?}\nthen {:?}",
                self.state, self.pending
            ));
        }
        self.state.clone_from(found);
        self.pending = None;
        Ok(())
    }
}

fn after(state: &State, operation: &Operation) -> State {
    let mut next = state.clone();
    match operation {
        Operation::Append { mailbox, seed } => {
            add(next.entry(mailbox.clone()).or_default(), (*seed, false));
        }
        Operation::Copy { from, to, uids, remove } => {
            let source = next.entry(from.clone()).or_default();
            let mut taken = Vec::new();
            for uid in uids {
                taken.extend(source.rows.get(uid).copied());
                if *remove {
                    source.rows.remove(uid);
                }
            }
            let destination = next.entry(to.clone()).or_default();
            for row in taken {
                add(destination, row);
            }
        }
        Operation::Flag { mailbox, uids } => {
            let rows = next.entry(mailbox.clone()).or_default();
            rows.rows
                .iter_mut()
                .filter(|(uid, _)| uids.contains(uid))
                .for_each(|(_, row)| row.1 = true);
        }
        Operation::Expunge { mailbox, uids } => {
            let rows = next.entry(mailbox.clone()).or_default();
            rows.rows.retain(|uid, row| !(row.1 && uids.contains(uid)));
        }
        Operation::Create { mailbox } => {
            next.insert(mailbox.clone(), Rows::default());
        }
        Operation::Delete { mailbox } => {
            next.remove(mailbox);
        }
    }
    next
}

fn add(rows: &mut Rows, row: (u64, bool)) {
    rows.given += 1;
    rows.rows.insert(rows.given, row);
}
