//! Which messages belong together (RFC 5256 §3): ORDEREDSUBJECT, REFERENCES, and REFS of the
//! Internet-Draft draft-ietf-morg-inthread.
//!
//! Invariants: every message is in one thread, once; no message is below itself. Time and memory grow
//! nearly with the number of messages and identifiers, whatever they say, and nothing here recurses:
//! threads may be as deep as there are messages.
//!
//! Not here: which messages (`found`), reading identifiers ([`super::message_id`]).

use std::collections::{HashMap, hash_map::Entry};

use super::base_subject::BaseSubject;
use crate::imap::grammar::sort::Threading;

mod links;

use links::{Links, NONE};

/// What is known of a message.
#[derive(Clone, Debug, Default)]
pub(crate) struct Message {
    /// The number that the answer calls it by; ascending in what is handed in.
    pub(crate) number: u32,
    /// Seconds: when it was sent, or it arrived.
    pub(crate) sent: i64,
    pub(crate) arrived: i64,
    pub(crate) subject: BaseSubject,
    /// Its identifier, of [`Identifiers`].
    pub(crate) id: Option<u32>,
    /// Identifiers of messages that it refers to, the oldest first.
    pub(crate) references: Vec<u32>,
}

/// Gives each identifier a number, from 0 on.
#[derive(Debug, Default)]
pub(crate) struct Identifiers {
    numbers: HashMap<Box<str>, u32>,
    octets: usize,
}

impl Identifiers {
    /// The number of `identifier`.
    pub(crate) fn number(&mut self, identifier: &str) -> u32 {
        if let Some(number) = self.numbers.get(identifier) {
            return *number;
        }
        // There is no room for 2³² identifiers: the caller bounds their octets.
        let number = u32::try_from(self.numbers.len()).unwrap_or(NONE);
        self.octets += identifier.len() + 64;
        self.numbers.insert(identifier.into(), number);
        number
    }

    /// Octets that they take.
    pub(crate) fn octets(&self) -> usize {
        self.octets
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.numbers.len()
    }
}

/// One message, or the place of one that is not there, and what answers it.
#[derive(Debug, Default)]
struct Node {
    message: Option<usize>,
    children: Vec<usize>,
}

/// Threads: the nodes, and which of them are at the top, in order.
#[derive(Debug)]
pub(crate) struct Forest<'m> {
    messages: &'m [Message],
    nodes: Vec<Node>,
    roots: Vec<usize>,
}

impl<'m> Forest<'m> {
    /// Puts `messages` into threads. `identifiers` are as many as they name.
    pub(crate) fn of(messages: &'m [Message], threading: Threading, identifiers: usize) -> Self {
        let mut forest = match threading {
            Threading::OrderedSubject => return Self::by_subject(messages),
            _ => Self::by_references(messages, identifiers),
        };
        forest.prune();
        if threading == Threading::References {
            forest.sort_siblings();
            forest.gather_subjects();
            forest.sort_siblings();
        } else {
            forest.sort_siblings();
            forest.sort_by_arrival();
        }
        forest
    }

    fn by_subject(messages: &'m [Message]) -> Self {
        let mut groups: HashMap<&str, Vec<usize>> = HashMap::new();
        for (index, message) in messages.iter().enumerate() {
            groups.entry(&message.subject.text).or_default().push(index);
        }
        let mut nodes: Vec<Node> = (0..messages.len())
            .map(|index| Node { message: Some(index), children: Vec::new() })
            .collect();
        let key = |index: &usize| (messages[*index].sent, messages[*index].number);
        let mut roots = Vec::with_capacity(groups.len());
        for mut group in groups.into_values() {
            group.sort_unstable_by_key(key);
            let first = group.remove(0);
            nodes[first].children = group;
            roots.push(first);
        }
        roots.sort_unstable_by_key(key);
        Self { messages, nodes, roots }
    }

    /// Steps 1 and 2 of REFERENCES: links, and who has no parent.
    fn by_references(messages: &'m [Message], identifiers: usize) -> Self {
        // The node of an identifier has its number; a message without one of its own, a later one.
        let mut links = Links::new(identifiers);
        let mut held: Vec<Option<usize>> = vec![None; identifiers];
        for (index, message) in messages.iter().enumerate() {
            let own = match message.id.map(|id| id as usize) {
                Some(id) if held[id].is_none() => id,
                _ => {
                    held.push(None);
                    links.push()
                }
            };
            held[own] = Some(index);
            for pair in message.references.windows(2) {
                let [parent, child] = [pair[0] as usize, pair[1] as usize];
                if !links.has_parent(child) {
                    links.link(parent, child);
                }
            }
            links.cut(own);
            if let Some(parent) = message.references.last() {
                links.link(*parent as usize, own);
            }
        }
        let mut nodes: Vec<Node> =
            held.into_iter().map(|message| Node { message, children: Vec::new() }).collect();
        let mut roots = Vec::new();
        for index in 0..nodes.len() {
            match links.parent(index) {
                Some(parent) => nodes[parent].children.push(index),
                None => roots.push(index),
            }
        }
        Self { messages, nodes, roots }
    }

    /// Nodes, parents before their children.
    fn downwards(&self) -> Vec<usize> {
        let mut order = Vec::with_capacity(self.nodes.len());
        let mut waiting = self.roots.clone();
        while let Some(index) = waiting.pop() {
            order.push(index);
            waiting.extend(&self.nodes[index].children);
        }
        order
    }

    /// Step 3: places without a message go, and what was below them moves up; to the top only where
    /// it is one alone.
    fn prune(&mut self) {
        for index in self.downwards().into_iter().rev() {
            let mut kept = Vec::new();
            for child in std::mem::take(&mut self.nodes[index].children) {
                if self.nodes[child].message.is_some() {
                    kept.push(child);
                } else if kept.is_empty() {
                    kept = std::mem::take(&mut self.nodes[child].children);
                } else {
                    kept.append(&mut self.nodes[child].children);
                }
            }
            self.nodes[index].children = kept;
        }
        let mut roots = Vec::new();
        for root in std::mem::take(&mut self.roots) {
            match (&self.nodes[root].message, self.nodes[root].children.as_slice()) {
                (Some(_), _) | (None, [_, _, ..]) => roots.push(root),
                (None, [child]) => roots.push(*child),
                (None, []) => {}
            }
        }
        self.roots = roots;
    }

    /// What siblings are sorted by; of a place without a message, its first child.
    fn key(&self, index: usize) -> (i64, u32) {
        let message = |node: &Node| node.message.map(|index| &self.messages[index]);
        let node = &self.nodes[index];
        let own = message(node)
            .or_else(|| node.children.first().and_then(|first| message(&self.nodes[*first])));
        own.map_or((i64::MAX, u32::MAX), |message| (message.sent, message.number))
    }

    /// Steps 4 and 6: siblings by the date at which they were sent, those below first.
    fn sort_siblings(&mut self) {
        for index in 0..self.nodes.len() {
            let mut children = std::mem::take(&mut self.nodes[index].children);
            children.sort_unstable_by_key(|child| self.key(*child));
            self.nodes[index].children = children;
        }
        let mut roots = std::mem::take(&mut self.roots);
        roots.sort_unstable_by_key(|root| self.key(*root));
        self.roots = roots;
    }

    /// The subject of a thread, and whether its top is there and is an answer.
    fn subject(&self, root: usize) -> Option<&'m BaseSubject> {
        let node = &self.nodes[root];
        let index = node.message.or_else(|| self.nodes[*node.children.first()?].message)?;
        Some(&self.messages[index].subject).filter(|subject| !subject.text.is_empty())
    }

    /// Step 5: threads of one base subject become one.
    fn gather_subjects(&mut self) {
        let mut table: HashMap<&'m str, usize> = HashMap::new();
        let is_place = |forest: &Self, root: usize| forest.nodes[root].message.is_none();
        let is_reply = |forest: &Self, root: usize| {
            forest.nodes[root].message.is_some_and(|index| forest.messages[index].subject.is_reply)
        };
        for &root in &self.roots {
            let Some(subject) = self.subject(root) else { continue };
            match table.entry(&subject.text) {
                Entry::Vacant(vacant) => drop(vacant.insert(root)),
                Entry::Occupied(mut occupied) => {
                    let known = *occupied.get();
                    let better =
                        is_place(self, root) || (is_reply(self, known) && !is_reply(self, root));
                    if !is_place(self, known) && better {
                        occupied.insert(root);
                    }
                }
            }
        }
        // Where a thread at the top goes: `None` = into another.
        let mut top: HashMap<usize, Option<usize>> = HashMap::new();
        for root in self.roots.clone() {
            let Some(subject) = self.subject(root) else { continue };
            let Some(known) = table.get(subject.text.as_str()).copied() else { continue };
            if known == root {
                continue;
            }
            if is_place(self, known) {
                if is_place(self, root) {
                    let mut children = std::mem::take(&mut self.nodes[root].children);
                    self.nodes[known].children.append(&mut children);
                } else {
                    self.nodes[known].children.push(root);
                }
            } else if is_reply(self, root) && !is_reply(self, known) {
                self.nodes[known].children.push(root);
            } else {
                let place = self.nodes.len();
                self.nodes.push(Node { message: None, children: vec![known, root] });
                top.insert(known, Some(place));
                table.insert(&subject.text, place);
            }
            top.insert(root, None);
        }
        let old = std::mem::take(&mut self.roots);
        self.roots = old
            .into_iter()
            .filter_map(|root| top.get(&root).copied().unwrap_or(Some(root)))
            .collect();
    }

    /// REFS instead of step 4: threads by what arrived last in each.
    fn sort_by_arrival(&mut self) {
        let mut keys: HashMap<usize, (i64, u32)> = HashMap::new();
        for &root in &self.roots {
            let mut last = (i64::MIN, 0);
            let mut waiting = vec![root];
            while let Some(index) = waiting.pop() {
                let node = &self.nodes[index];
                if let Some(message) = node.message.map(|index| &self.messages[index]) {
                    last = last.max((message.arrived, message.number));
                }
                waiting.extend(&node.children);
            }
            keys.insert(root, last);
        }
        self.roots.sort_unstable_by_key(|root| keys.get(root).copied());
    }

    /// Writes `thread-list`s (RFC 5256 §5).
    pub(crate) fn written(&self) -> String {
        use std::fmt::Write as _;
        enum Step {
            Open(usize),
            Close,
        }
        let mut out = String::with_capacity(self.messages.len() * 8);
        let mut steps: Vec<Step> = self.roots.iter().rev().map(|root| Step::Open(*root)).collect();
        while let Some(step) = steps.pop() {
            let Step::Open(mut index) = step else {
                out.push(')');
                continue;
            };
            out.push('(');
            steps.push(Step::Close);
            loop {
                let node = &self.nodes[index];
                if let Some(message) = node.message {
                    // Writing to a String cannot fail.
                    let _ = write!(out, "{}", self.messages[message].number);
                    if !node.children.is_empty() {
                        out.push(' ');
                    }
                }
                match node.children.as_slice() {
                    [] => break,
                    [only] if node.message.is_some() => index = *only,
                    several => {
                        steps.extend(several.iter().rev().map(|child| Step::Open(*child)));
                        break;
                    }
                }
            }
        }
        out
    }
}

#[cfg(test)]
mod tests;
