//! Searches whose changes are told as they happen (RFC 5267 §4.3).
//!
//! Invariants:
//!
//! * A context's members are what the client was told: the first answer, and every ADDTO and
//!   REMOVEFROM since, applied one after the other.
//! * Messages leave a context before their EXPUNGE is sent, and join it after the EXISTS that counts
//!   them: the numbers of both are then true.
//! * Contexts are bounded in number, and sorted ones in the octets of their keys together. One that has
//!   no room, or whose keys are of sequence numbers, is answered with NOUPDATE and not kept.
//!
//! Not here: the first answer (`command::search`, `command::sort`).

use std::{collections::BTreeSet, ops::Range};

use storage::ids::{ModSeq, Uid};

use super::{
    command::{fetch::tell_new, sort::keyed},
    completion::{Completion, Failure},
    found::{Searched, correlated, number},
    grammar::{
        FetchItem, results::Results, search::SearchProgram, sequence::write_set, sort::Criterion,
    },
    message::sort::{self, SortKey},
    notify::Moment,
    selected::SelectedMailbox,
    session::Context,
};
use crate::lines::{Disconnect, Stream};

/// What a context was made of.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) uid: bool,
    pub(crate) program: SearchProgram,
    /// `None` = a SEARCH: its members have no positions.
    pub(crate) criteria: Option<Vec<Criterion>>,
    /// What is told of a new message that joins (RFC 5465 §7).
    pub(crate) items: Vec<FetchItem>,
}

/// One search whose changes are told.
#[derive(Debug)]
struct Kept {
    tag: String,
    asked: Asked,
    members: Members,
    /// New messages of which it is still to be told what is asked for, should they have joined.
    undescribed: BTreeSet<Uid>,
}

/// What changes in a context.
#[derive(Debug, Default)]
struct Judged {
    leaving: BTreeSet<Uid>,
    /// Indexes of rows, ascending.
    joining: Vec<usize>,
}

#[derive(Debug)]
enum Members {
    Unsorted(BTreeSet<Uid>),
    /// In the order of the context.
    Sorted(Vec<(SortKey, Uid)>),
}

/// The contexts of a selected mailbox.
#[derive(Debug, Default)]
pub(crate) struct Contexts {
    kept: Vec<Kept>,
    /// The messages that they have been judged by, as they were then, ascending.
    judged: Vec<(Uid, ModSeq)>,
    /// New messages of which it is still to be told what NOTIFY asked for.
    undescribed: BTreeSet<Uid>,
}

impl Contexts {
    /// Forgets the context of a tag; says whether there was one.
    pub(crate) fn cancel(&mut self, tag: &[u8]) -> bool {
        let before = self.kept.len();
        self.kept.retain(|kept| kept.tag.as_bytes() != tag);
        if self.kept.is_empty() {
            self.judged = Vec::new();
        }
        self.kept.len() < before
    }

    /// Octets of all sort keys.
    fn octets(&self) -> usize {
        let of = |kept: &Kept| match &kept.members {
            Members::Unsorted(_) => 0,
            Members::Sorted(members) => members.iter().map(|(key, _)| sort::octets(key)).sum(),
        };
        self.kept.iter().map(of).sum()
    }
}

/// The tag of a context may not be used for another (RFC 5267 §4.3).
pub(crate) fn check_tag<S>(
    context: &Context<S>,
    mailbox: &SelectedMailbox,
    results: Option<&Results>,
) -> Result<(), Completion> {
    let updates = results.is_some_and(|results| results.update);
    if updates && mailbox.contexts.kept.iter().any(|kept| kept.tag == context.tag) {
        return Err(Completion::bad("Etichetta di un contesto aperto / The tag names a context"));
    }
    Ok(())
}

/// Keeps what was found, in its order, and tells its changes from now on.
pub(crate) async fn add<S: Stream>(
    context: &mut Context<S>,
    mailbox: &mut SelectedMailbox,
    asked: Asked,
    found: impl Iterator<Item = (Option<SortKey>, usize)>,
) -> Result<(), Disconnect> {
    let limits = &context.server.settings.limits;
    let rows = mailbox.rows();
    let uid_of = |index: usize| rows.get(index).map(|row| row.uid);
    let members = if asked.criteria.is_some() {
        Members::Sorted(found.filter_map(|(key, index)| Some((key?, uid_of(index)?))).collect())
    } else {
        Members::Unsorted(found.filter_map(|(_, index)| uid_of(index)).collect())
    };
    let judged = rows.iter().map(|row| (row.uid, row.mod_seq)).collect();
    let (tag, undescribed) = (context.tag.clone(), BTreeSet::new());
    let kept = Kept { tag, asked, members, undescribed };
    if mailbox.contexts.kept.is_empty() {
        mailbox.contexts.judged = judged;
    }
    let contexts = &mut mailbox.contexts;
    let is_of_numbers = kept.asked.program.is_of_selection();
    contexts.kept.push(kept);
    if is_of_numbers
        || contexts.kept.len() > limits.contexts_max
        || contexts.octets() > limits.sort_octets_max
    {
        contexts.kept.pop();
        let tag = context.tag.clone();
        return refuse(context, &tag).await;
    }
    Ok(())
}

/// Says that changes will not be told, or no more (RFC 5267 §4.3.1).
pub(crate) async fn refuse<S: Stream>(
    context: &mut Context<S>,
    tag: &str,
) -> Result<(), Disconnect> {
    let told = format!(
        "* NO [NOUPDATE \"{tag}\"] Senza aggiornamenti: troppi contesti o criteri non adatti / No updates: too many contexts or unsuitable keys\r\n"
    );
    context.frame.put(told.as_bytes()).await
}

/// Tells the client what it does not know yet of its mailbox and of its contexts. Says whether that
/// was all: what cannot be read now is told later.
pub(crate) async fn report<S: Stream>(
    context: &mut Context<S>,
    mailbox: &mut SelectedMailbox,
    moment: Moment,
) -> Result<bool, Disconnect> {
    let mut contexts = std::mem::take(&mut mailbox.contexts);
    let told = tell(&mut contexts, context, mailbox, moment).await;
    mailbox.contexts = contexts;
    told
}

async fn tell<S: Stream>(
    contexts: &mut Contexts,
    context: &mut Context<S>,
    mailbox: &mut SelectedMailbox,
    moment: Moment,
) -> Result<bool, Disconnect> {
    let gone = mailbox.gone(moment);
    if !gone.is_empty() {
        for kept in &mut contexts.kept {
            let leaving = kept.uids().filter(|uid| gone.contains(uid)).collect();
            kept.remove(context, mailbox, &leaving).await?;
        }
        contexts.judged.retain(|(uid, _)| !gone.contains(uid));
    }
    let arrived = mailbox.report(&mut context.frame, context.enabled, moment).await?;
    contexts.take_in(context, mailbox, arrived);
    let changed =
        if contexts.kept.is_empty() { Vec::new() } else { changed(&contexts.judged, mailbox) };
    let mut judged = Vec::with_capacity(contexts.kept.len());
    for kept in &contexts.kept {
        judged.push(told(kept.judge(context, mailbox, &changed).await)?);
    }
    let mut all = contexts.describe(context, mailbox, &judged).await?;
    all &= judged.iter().all(Option::is_some);
    for (kept, judged) in contexts.kept.iter_mut().zip(&judged) {
        let Some(Judged { leaving, joining }) = judged else { continue };
        kept.remove(context, mailbox, leaving).await?;
        all &= told(kept.add(context, mailbox, joining).await)?.is_some();
    }
    if changed.is_empty() || !all {
        return Ok(all);
    }
    contexts.judged = mailbox.rows().iter().map(|row| (row.uid, row.mod_seq)).collect();
    while contexts.octets() > context.server.settings.limits.sort_octets_max
        && let Some(kept) = contexts.kept.pop()
    {
        refuse(context, &kept.tag).await?;
    }
    Ok(true)
}

/// `None` for what cannot be read now: one context that fails keeps no other from what is its own.
fn told<T>(done: Result<T, Failure>) -> Result<Option<T>, Disconnect> {
    match done {
        Ok(done) => Ok(Some(done)),
        Err(Failure::Refused(_)) => Ok(None),
        Err(Failure::Disconnected(disconnect)) => Err(disconnect),
    }
}

impl Contexts {
    /// Takes in new messages that are to be described: not those that the client itself put there.
    fn take_in<S>(
        &mut self,
        context: &Context<S>,
        mailbox: &SelectedMailbox,
        arrived: Range<usize>,
    ) {
        let rows = mailbox.rows().get(arrived).unwrap_or_default();
        let new = rows.iter().map(|row| row.uid);
        let new = new.filter(|uid| !context.notify.is_own(mailbox, *uid));
        let new: Vec<Uid> = new.collect();
        if context.notify.new_items().is_empty() {
            self.undescribed.clear();
        } else {
            self.undescribed.extend(&new);
        }
        for kept in self.kept.iter_mut().filter(|kept| !kept.asked.items.is_empty()) {
            kept.undescribed.extend(&new);
        }
    }

    /// Tells of new messages what the client wants to know of them: all that NOTIFY and the contexts
    /// they join ask for, in one response between EXISTS and ADDTO (RFC 5465 §7; §5.2 speaks of the
    /// other order). Says whether that was all.
    async fn describe<S: Stream>(
        &mut self,
        context: &mut Context<S>,
        mailbox: &SelectedMailbox,
        judged: &[Option<Judged>],
    ) -> Result<bool, Disconnect> {
        let mut new = self.undescribed.clone();
        new.extend(self.kept.iter().flat_map(|kept| &kept.undescribed));
        let kept = self.kept.iter().zip(judged);
        let described: Vec<BTreeSet<Uid>> =
            kept.map(|(kept, judged)| kept.described(mailbox, judged.as_ref())).collect();
        let mut all = true;
        for uid in new {
            let index = mailbox.rows().binary_search_by_key(&uid, |row| row.uid).ok();
            let of_notify = context.notify.new_items().iter();
            let of_notify = of_notify.filter(|_| self.undescribed.contains(&uid));
            let mut items: Vec<FetchItem> = of_notify.cloned().collect();
            for (kept, described) in self.kept.iter().zip(&described) {
                if described.contains(&uid) {
                    items.extend(kept.asked.items.iter().cloned());
                }
            }
            if let Some(index) = index.filter(|_| !items.is_empty())
                && !tell_new(context, mailbox, index, items).await?
            {
                all = false;
                continue;
            }
            self.undescribed.remove(&uid);
            // Whether it joins one that could not be judged is not known yet.
            for (kept, judged) in self.kept.iter_mut().zip(judged) {
                if judged.is_some() || index.is_none() {
                    kept.undescribed.remove(&uid);
                }
            }
        }
        Ok(all)
    }
}

/// Indexes of the rows that are new or other than they were `judged`.
fn changed(judged: &[(Uid, ModSeq)], mailbox: &SelectedMailbox) -> Vec<usize> {
    let mut before = judged.iter().peekable();
    let mut changed = Vec::new();
    for (index, row) in mailbox.rows().iter().enumerate() {
        while before.next_if(|(uid, _)| *uid < row.uid).is_some() {}
        let known = before.next_if(|(uid, _)| *uid == row.uid);
        if known.is_none_or(|(_, mod_seq)| *mod_seq != row.mod_seq) {
            changed.push(index);
        }
    }
    changed
}

impl Kept {
    fn uids(&self) -> Box<dyn Iterator<Item = Uid> + Send + '_> {
        match &self.members {
            Members::Unsorted(uids) => Box::new(uids.iter().copied()),
            Members::Sorted(members) => Box::new(members.iter().map(|(_, uid)| *uid)),
        }
    }

    /// The new messages of which it is to be told now what is asked for.
    fn described(&self, mailbox: &SelectedMailbox, judged: Option<&Judged>) -> BTreeSet<Uid> {
        let Some(judged) = judged.filter(|_| !self.undescribed.is_empty()) else {
            return BTreeSet::new();
        };
        let joining = judged.joining.iter().filter_map(|index| mailbox.rows().get(*index));
        let members = self.uids().chain(joining.map(|row| row.uid));
        members.filter(|uid| self.undescribed.contains(uid)).collect()
    }

    /// Judges the rows at `changed` again.
    async fn judge<S: Stream>(
        &self,
        context: &mut Context<S>,
        mailbox: &SelectedMailbox,
        changed: &[usize],
    ) -> Result<Judged, Failure> {
        if changed.is_empty() {
            return Ok(Judged::default());
        }
        let searched = Searched::selected(mailbox);
        let found = searched.find_among(context, &self.asked.program, changed).await?;
        let uid_of = |index: &usize| mailbox.rows().get(*index).map(|row| row.uid);
        let matching: BTreeSet<Uid> = found.iter().filter_map(uid_of).collect();
        let judged: BTreeSet<Uid> = changed.iter().filter_map(uid_of).collect();
        let members: BTreeSet<Uid> = self.uids().filter(|uid| judged.contains(uid)).collect();
        let gone = members.difference(&matching).copied();
        // One that is gone leaves when its EXPUNGE is sent.
        let leaving = gone.filter(|uid| !mailbox.is_expunged(*uid)).collect();
        let is_new = |index: &usize| uid_of(index).is_some_and(|uid| !members.contains(&uid));
        Ok(Judged { leaving, joining: found.into_iter().filter(is_new).collect() })
    }

    /// Tells that `gone` leave: of an order, the last first, so that each position is true.
    async fn remove<S: Stream>(
        &mut self,
        context: &mut Context<S>,
        mailbox: &SelectedMailbox,
        gone: &BTreeSet<Uid>,
    ) -> Result<(), Disconnect> {
        if gone.is_empty() {
            return Ok(());
        }
        let number = |uid: &Uid| self.number(mailbox, *uid);
        let told = match &self.members {
            Members::Unsorted(_) => format!("0 {}", write_set(gone.iter().filter_map(number))),
            Members::Sorted(members) => {
                let at = (1..).zip(members).filter(|(_, (_, uid))| gone.contains(uid));
                let at = at.filter_map(|(position, (_, uid)): (usize, _)| {
                    Some(format!("{position} {}", number(uid)?))
                });
                let mut told: Vec<String> = at.collect();
                told.reverse();
                told.join(" ")
            }
        };
        self.say(context, "REMOVEFROM", &told).await?;
        match &mut self.members {
            Members::Unsorted(uids) => uids.retain(|uid| !gone.contains(uid)),
            Members::Sorted(members) => members.retain(|(_, uid)| !gone.contains(uid)),
        }
        Ok(())
    }

    /// Tells that the rows at `new` join: in an order, the first first, so that each position is true.
    async fn add<S: Stream>(
        &mut self,
        context: &mut Context<S>,
        mailbox: &SelectedMailbox,
        new: &[usize],
    ) -> Result<(), Failure> {
        if new.is_empty() {
            return Ok(());
        }
        let rows = mailbox.rows();
        let uid = self.asked.uid;
        let uids = new.iter().filter_map(|index| rows.get(*index)).map(|row| row.uid);
        let told = match (&mut self.members, &self.asked.criteria) {
            (Members::Sorted(members), Some(criteria)) => {
                let searched = Searched::selected(mailbox);
                let keyed = keyed(context, &searched, criteria, new).await?;
                let keyed = keyed.into_iter().zip(uids).map(|((key, _), uid)| (key, uid));
                let before = members.len();
                members.extend(keyed);
                let fresh: BTreeSet<Uid> =
                    members.iter().skip(before).map(|(_, uid)| *uid).collect();
                members.sort_by(|(one, uid), (other, other_uid)| {
                    sort::compare(criteria, one, other).then(uid.cmp(other_uid))
                });
                let at = (1..).zip(members.iter()).filter(|(_, (_, uid))| fresh.contains(uid));
                let told = at.filter_map(|(position, (_, of)): (usize, _)| {
                    let index = rows.binary_search_by_key(of, |row| row.uid).ok()?;
                    Some(format!("{position} {}", number(rows, index, uid)))
                });
                told.collect::<Vec<_>>().join(" ")
            }
            (Members::Unsorted(members), _) => {
                members.extend(uids);
                format!("0 {}", write_set(new.iter().map(|index| number(rows, *index, uid))))
            }
            (Members::Sorted(_), None) => return Ok(()),
        };
        Ok(self.say(context, "ADDTO", &told).await?)
    }

    fn number(&self, mailbox: &SelectedMailbox, uid: Uid) -> Option<u32> {
        let rows = mailbox.rows();
        let index = rows.binary_search_by_key(&uid, |row| row.uid).ok()?;
        Some(number(rows, index, self.asked.uid))
    }

    async fn say<S: Stream>(
        &self,
        context: &mut Context<S>,
        item: &str,
        told: &str,
    ) -> Result<(), Disconnect> {
        let mut line = correlated(&self.tag, None, context.enabled.names(), self.asked.uid);
        line.extend_from_slice(format!(" {item} ({told})\r\n").as_bytes());
        context.frame.put(&line).await
    }
}
