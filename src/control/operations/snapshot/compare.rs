//! `snapshot/diff` and `snapshot/search`.

use serde::{Deserialize, Serialize};
use snapshots::{
    diff::{Difference, Later, Place, diff},
    export::flag_names,
    search::{FoundMessage, Query, Seen},
};
use storage::ids::MailboxId;
use trust::{
    clock::{Clock as _, SystemClock},
    digest::Sha256Digest,
};

use super::{LISTED_MAX, account, opened, read, standing::Kept};
use crate::{
    control::{Kind, Operation, OperationError, Progress, Run, Site},
    texts::Text,
};

/// Asks what changed between two instants.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct SnapshotDiff {
    /// The account's address.
    pub account: String,
    /// The one instant.
    pub from: String,
    /// The other, or `now`.
    pub to: String,
    /// How many differences at most.
    pub limit: usize,
}

/// What changed.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Differences {
    /// The name of the one snapshot.
    pub from: String,
    /// The name of the other, or `now`.
    pub to: String,
    /// The differences.
    pub changes: Vec<ChangeView>,
    /// Messages added, in all.
    pub added: u64,
    /// Messages removed.
    pub removed: u64,
    /// Messages moved.
    pub moved: u64,
    /// Messages with other flags.
    pub flags: u64,
    /// Mailboxes created, deleted, renamed.
    pub mailboxes: u64,
    /// There are more differences than are listed.
    pub more: bool,
    /// Whether every move counts as one; otherwise some count as removed and added.
    #[serde(default)]
    pub moves_complete: bool,
    /// Why the account may have been otherwise at an instant that was asked for, and that some moves count
    /// as something else.
    #[serde(default)]
    pub notes: Vec<Text>,
}

/// One difference.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct ChangeView {
    /// `added`, `removed`, `moved`, `flags`, `mailbox_created`, `mailbox_deleted`, `mailbox_renamed`.
    pub change: String,
    /// The mailbox, as it is called where the message last stood.
    pub mailbox: String,
    /// The UID there; 0 of a mailbox.
    pub uid: u32,
    /// Where it was before: mailbox and UID, the name, or the flags.
    pub before: String,
    /// The flags after.
    pub after: String,
    /// SHA-256 of the message, in hexadecimal digits.
    pub sha256: String,
}

#[async_trait::async_trait]
impl Operation for SnapshotDiff {
    const NAME: &'static str = "snapshot/diff";

    type Outcome = Differences;

    async fn run(&self, site: &Site, run: &Run) -> Result<Differences, OperationError> {
        let (id, settings) = account(site, &self.account).await?;
        let (snapshots, now) = (opened(site), SystemClock.now());
        let kept = Kept::read(&snapshots, id).await?;
        let standing = kept.named(&self.from)?;
        let number = standing.snapshot.number;
        let mut readings = vec![run.reading(snapshots.begin_reading(id, number, now)).await??];
        let from = snapshots.open(id, number).await?;
        let mut notes: Vec<Text> = standing.note().into_iter().collect();
        let detail = format!("diff {} {}", standing.snapshot.name(), self.to);
        read(site, &settings.address, &detail).await?;
        let mut names = names_of(&from);
        let mut changes = Vec::new();
        let (to, totals) = if self.to == "now" {
            let state = from.account().state().await?;
            for mailbox in state.mailboxes().await? {
                names.insert(mailbox.state.mailbox_id, mailbox.name);
            }
            let tell = |one| self.tell(&names, one, &mut changes, run);
            ("now".to_owned(), diff(&from, Later::Now(&state), tell).await?)
        } else {
            let standing = kept.named(&self.to)?;
            let number = standing.snapshot.number;
            readings.push(run.reading(snapshots.begin_reading(id, number, now)).await??);
            let to = snapshots.open(id, number).await?;
            notes.extend(standing.note());
            names.extend(names_of(&to));
            let tell = |one| self.tell(&names, one, &mut changes, run);
            (to.snapshot().name(), diff(&from, Later::Snapshot(&to), tell).await?)
        };
        drop(readings);
        run.go_on()?;
        notes.extend((!totals.moves_complete).then(some_moves_apart));
        let total = totals.added + totals.removed + totals.moved + totals.flags + totals.mailboxes;
        Ok(Differences {
            from: from.snapshot().name(),
            to,
            more: total > changes.len() as u64,
            changes,
            added: totals.added,
            removed: totals.removed,
            moved: totals.moved,
            flags: totals.flags,
            mailboxes: totals.mailboxes,
            moves_complete: totals.moves_complete,
            notes,
        })
    }
}

fn some_moves_apart() -> Text {
    Text::fixed(
        "le differenze sono più di quante se ne tengono (snapshots.limits.differences_held_max): alcuni \
         spostamenti figurano come tolti e aggiunti",
        "there are more differences than are held (snapshots.limits.differences_held_max): some moves count \
         as removed and added",
    )
}

type MailboxNames = std::collections::BTreeMap<MailboxId, String>;

fn names_of(open: &snapshots::keep::open::OpenSnapshot) -> MailboxNames {
    open.state().mailboxes.iter().map(|(id, entry)| (*id, entry.name.clone())).collect()
}

impl SnapshotDiff {
    fn tell(
        &self,
        names: &MailboxNames,
        difference: Difference,
        changes: &mut Vec<ChangeView>,
        run: &Run,
    ) -> bool {
        if changes.len() < self.limit.min(LISTED_MAX) {
            changes.push(view(names, difference));
        }
        !run.is_cancelled()
    }
}

fn view(names: &MailboxNames, difference: Difference) -> ChangeView {
    let name = |place: Place| names.get(&place.mailbox).cloned().unwrap_or_default();
    let of = |change: &str, place: Place| ChangeView {
        change: change.to_owned(),
        mailbox: name(place),
        uid: place.uid.get(),
        ..ChangeView::default()
    };
    let of_mailbox = |change: &str, mailbox, before| ChangeView {
        change: change.to_owned(),
        mailbox,
        before,
        ..ChangeView::default()
    };
    match difference {
        Difference::Added(place, row) => {
            ChangeView { sha256: row.digest.to_string(), ..of("added", place) }
        }
        Difference::Removed(place, row) => {
            ChangeView { sha256: row.digest.to_string(), ..of("removed", place) }
        }
        Difference::Moved { from, to, row } => ChangeView {
            before: format!("{} {}", name(from), from.uid),
            sha256: row.digest.to_string(),
            ..of("moved", to)
        },
        Difference::Flags(place, before, after) => ChangeView {
            before: flag_names(&before),
            after: flag_names(&after),
            ..of("flags", place)
        },
        Difference::MailboxCreated(_, name) => of_mailbox("mailbox_created", name, String::new()),
        Difference::MailboxDeleted(_, name) => of_mailbox("mailbox_deleted", name, String::new()),
        Difference::MailboxRenamed(_, from, to) => of_mailbox("mailbox_renamed", to, from),
    }
}

/// Asks in which snapshots messages stood.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct SnapshotSearch {
    /// The account's address.
    pub account: String,
    /// With this Message-ID,
    #[serde(default)]
    pub message_id: Option<String>,
    /// or of this SHA-256 in hexadecimal digits,
    #[serde(default)]
    pub sha256: Option<String>,
    /// or with this text in subject or addresses.
    #[serde(default)]
    pub text: Option<String>,
    /// How many messages at most.
    pub limit: usize,
}

/// Messages that were found.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct SearchOutcome {
    /// The one that was there last comes first.
    pub messages: Vec<FoundView>,
    /// There are more.
    pub more: bool,
    /// Snapshots that were looked at.
    pub snapshots: u64,
    /// Messages whose headers cannot be read: they may be missing.
    #[serde(default)]
    pub unreadable: u64,
}

/// A message that was found.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct FoundView {
    /// Its subject.
    pub subject: String,
    /// Its Message-ID.
    pub message_id: String,
    /// SHA-256, in hexadecimal digits.
    pub sha256: String,
    /// Octets.
    pub octets: u64,
    /// The earliest snapshot that holds it.
    pub first: SeenView,
    /// The latest one.
    pub last: SeenView,
    /// Whether it is in the account now.
    pub is_there: bool,
}

/// Where a message stood.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct SeenView {
    /// The snapshot's name.
    pub snapshot: String,
    /// The mailbox.
    pub mailbox: String,
    /// The UID.
    pub uid: u32,
}

impl From<Seen> for SeenView {
    fn from(seen: Seen) -> Self {
        Self { snapshot: seen.snapshot.name(), mailbox: seen.mailbox, uid: seen.place.uid.get() }
    }
}

impl From<FoundMessage> for FoundView {
    fn from(found: FoundMessage) -> Self {
        Self {
            subject: found.subject.unwrap_or_default(),
            message_id: found.message_id.unwrap_or_default(),
            sha256: found.digest.to_string(),
            octets: found.size,
            first: found.first.into(),
            last: found.last.into(),
            is_there: !found.now.is_empty(),
        }
    }
}

impl SnapshotSearch {
    fn query(&self) -> Result<Query, OperationError> {
        let invalid = |text| OperationError::new(Kind::Invalid, text);
        match (&self.message_id, &self.sha256, &self.text) {
            (Some(id), None, None) => Ok(Query::MessageId(id.clone())),
            (None, Some(digits), None) => {
                let mut octets = [0; 32];
                hex::decode_to_slice(digits, &mut octets).map_err(|_| {
                    invalid(Text::fixed(
                        "uno SHA-256 ha 64 cifre esadecimali",
                        "a SHA-256 has 64 hexadecimal digits",
                    ))
                })?;
                Ok(Query::Digest(Sha256Digest(octets)))
            }
            (None, None, Some(text)) => Ok(Query::Text(text.clone())),
            _ => Err(invalid(Text::fixed(
                "indicare che cosa cercare con uno solo fra --message-id, --sha256 e --text",
                "name what to search for with one of --message-id, --sha256 and --text",
            ))),
        }
    }
}

/// What is looked for, for the journal.
fn in_words(query: &Query) -> String {
    match query {
        Query::MessageId(id) => format!("Message-ID {id}"),
        Query::Digest(digest) => format!("SHA-256 {digest}"),
        Query::Text(text) => format!("text {text}"),
    }
}

#[async_trait::async_trait]
impl Operation for SnapshotSearch {
    const NAME: &'static str = "snapshot/search";

    type Outcome = SearchOutcome;

    async fn run(&self, site: &Site, run: &Run) -> Result<SearchOutcome, OperationError> {
        let query = self.query()?;
        let (account, settings) = account(site, &self.account).await?;
        read(site, &settings.address, &format!("search {}", in_words(&query))).await?;
        let go_on = |done, total| {
            let what = Text::fixed("istantanee", "snapshots");
            run.tell(Progress::new(what, done, Some(total)));
            !run.is_cancelled()
        };
        let limit = self.limit.min(LISTED_MAX);
        let found = opened(site).search(account, &query, limit, go_on).await?;
        run.go_on()?;
        Ok(SearchOutcome {
            messages: found.messages.into_iter().map(FoundView::from).collect(),
            more: found.more,
            snapshots: found.snapshots,
            unreadable: found.unreadable,
        })
    }
}
