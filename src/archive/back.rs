//! Takes messages of the archive of one account back to where they came from, batch by batch.
//!
//! * Where that is, each row notes: its mailbox, wherever it stands now; else one of the name that it
//!   had; else INBOX (`storage::mailbox::archive`).
//! * A batch is one write. What it took back stays when the next one fails, and doing it again goes on
//!   with the rest.
//! * What live mail has no room for stays in the archive; smaller ones that fit are taken back. When it has
//!   as many messages as it may, that ends it.
//! * What is back came to its mailbox now (SAVEDATE): rules let it stay for their time again.
//!
//! Not here: what holders move themselves, by MOVE.

use std::{collections::BTreeMap, time::Duration};

use storage::{
    account::{
        Account, MailboxListing,
        name::{INBOX, MailboxName},
        quota::Quota,
        tier::Tier,
    },
    error::StoreError,
    ids::{AccountId, MailboxId, Uid},
    mailbox::{archive::Full, view::MessageRow},
    store::Store,
};
use tokio_util::sync::CancellationToken;

use super::run::{Ended, Room, RunReport, lacking, rows_of};
use crate::config::Config;

/// What may lack for one message and not for a smaller one.
const OCTETS: &str = "octets";

/// Takes back what stands in the mailbox `only` of the archive and in those below, or in all of the
/// archive, until it is done or `stopping` is cancelled. The report is by the mailboxes where messages
/// stand now.
///
/// # Errors
///
/// [`StoreError::NoSuchMailboxName`], [`StoreError::InvalidMailboxName`] for one that is not in the
/// archive, or what the store met; what was taken back by then stays.
pub async fn run(
    store: &Store,
    config: &Config,
    id: AccountId,
    only: Option<&str>,
    stopping: &CancellationToken,
) -> Result<RunReport, StoreError> {
    let account = store.account(id).await?;
    let archived = archived(&account.mailboxes().await?, only)?;
    let rate = u64::from(config.archive.messages_per_second_max).max(1);
    let batch = usize::try_from(config.archive.batch_messages_max).unwrap_or(1).max(1);
    let mut back = Back { account, returned: BTreeMap::new(), full: None, too_large: u64::MAX };
    let mut ended = Ended::Finished;
    'all: for mailbox in archived {
        let rows = rows_of(&back.account, mailbox).await?;
        for rows in rows.chunks(batch) {
            if stopping.is_cancelled() {
                ended = Ended::Stopped;
                break 'all;
            }
            let moved = back.batch(mailbox, rows).await?;
            if back.full.as_ref().is_some_and(is_end) {
                break 'all;
            }
            let pause = Duration::from_millis(moved.saturating_mul(1_000) / rate);
            stopping.run_until_cancelled(tokio::time::sleep(pause)).await;
        }
    }
    back.report(ended).await
}

/// Says what [`run`] would do. Changes nothing.
///
/// # Errors
///
/// As [`run`].
pub async fn foresee(
    store: &Store,
    id: AccountId,
    only: Option<&str>,
) -> Result<RunReport, StoreError> {
    let account = store.account(id).await?;
    let listing = account.mailboxes().await?;
    let mut room = Room::new(&account.quota().await?, &listing);
    let mut report = RunReport::default();
    for mailbox in archived(&listing, only)? {
        for row in rows_of(&account, mailbox).await? {
            if let Some(full) = no_room(&room.quota, &row) {
                if is_end(&full) {
                    report.full = Some(full);
                    return Ok(report);
                }
                report.full.get_or_insert(full);
                continue;
            }
            let quota = &mut room.quota;
            quota.used_octets = quota.used_octets.saturating_add(row.charged_octets);
            quota.used_messages += 1;
            report.note(&home(&listing, &mut room, &row), 1, row.charged_octets);
        }
    }
    Ok(report)
}

/// The mailboxes of the archive that are meant.
fn archived(listing: &[MailboxListing], only: Option<&str>) -> Result<Vec<MailboxId>, StoreError> {
    let only = only.map(MailboxName::new).transpose()?;
    if let Some(name) = &only
        && Tier::of_name(name.as_str()) != Tier::Archive
    {
        let (name, reason) = (name.to_string(), "it is not in the archive");
        return Err(StoreError::InvalidMailboxName { name, reason });
    }
    let is_meant = |listed: &MailboxListing| {
        Tier::of_name(&listed.name) == Tier::Archive
            && only.as_ref().is_none_or(|only| {
                listed.name == only.as_str() || listed.name.starts_with(&only.below_prefix())
            })
    };
    let found: Vec<MailboxId> =
        listing.iter().filter(|one| is_meant(one)).filter_map(|one| one.mailbox_id).collect();
    match only {
        Some(name) if found.is_empty() => Err(StoreError::NoSuchMailboxName(name.to_string())),
        _ => Ok(found),
    }
}

/// What live mail has no room for.
fn no_room(quota: &Quota, row: &MessageRow) -> Option<Full> {
    lacking([
        (OCTETS, quota.used_octets, row.charged_octets, quota.limit_octets),
        ("messages", quota.used_messages, 1, quota.limit_messages),
    ])
}

/// Whether nothing else fits either: what lacks is not octets, of which others need fewer.
fn is_end(full: &Full) -> bool {
    full.resource != OCTETS
}

/// The name of the mailbox that a row goes back to; one that is gone is made in `room`, as long as there may
/// be more mailboxes.
fn home(listing: &[MailboxListing], room: &mut Room, row: &MessageRow) -> String {
    let Some(origin) = &row.origin else { return INBOX.to_owned() };
    let live = listing.iter().filter(|listed| Tier::of_name(&listed.name) == Tier::Live);
    let stands = live.into_iter().find(|listed| listed.mailbox_id == Some(origin.mailbox));
    match stands {
        Some(listed) => listed.name.clone(),
        None => match MailboxName::new(&origin.name) {
            Ok(name)
                if Tier::of_name(name.as_str()) == Tier::Live && room.make(&name).is_none() =>
            {
                name.to_string()
            }
            _ => INBOX.to_owned(),
        },
    }
}

struct Back {
    account: Account,
    /// Messages and what they are charged, by the mailbox in which they are now.
    returned: BTreeMap<MailboxId, (u64, u64)>,
    /// What there was no room for first.
    full: Option<Full>,
    /// Octets of the smallest message for which there was none: such and larger ones are not tried.
    too_large: u64,
}

impl Back {
    /// Takes these rows back; of a batch for which there is no room those for which there is.
    async fn batch(&mut self, from: MailboxId, rows: &[MessageRow]) -> Result<u64, StoreError> {
        let fit = rows.iter().filter(|row| row.charged_octets < self.too_large);
        let rows: Vec<MessageRow> = fit.cloned().collect();
        match self.step(from, &rows).await {
            Err(StoreError::OverQuota { .. }) => {}
            done => return done,
        }
        let mut moved = 0;
        for row in &rows {
            if row.charged_octets >= self.too_large {
                continue;
            }
            match self.step(from, std::slice::from_ref(row)).await {
                Ok(one) => moved += one,
                Err(StoreError::OverQuota { resource, used, limit }) => {
                    let full = Full { resource, used, limit };
                    if is_end(&full) {
                        self.full = Some(full);
                        break;
                    }
                    self.full.get_or_insert(full);
                    self.too_large = row.charged_octets;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(moved)
    }

    async fn step(&mut self, from: MailboxId, rows: &[MessageRow]) -> Result<u64, StoreError> {
        let uids: Vec<Uid> = rows.iter().map(|row| row.uid).collect();
        let restored = match self.account.restore_to_origin(from, &uids).await {
            // Its holder deleted the mailbox meanwhile.
            Err(StoreError::NoSuchMailbox { .. }) => Vec::new(),
            restored => restored?,
        };
        for one in &restored {
            let row = rows.binary_search_by_key(&one.from, |row| row.uid);
            let charged = row.map_or(0, |at| rows[at].charged_octets);
            let (messages, octets) = self.returned.entry(one.mailbox).or_default();
            (*messages, *octets) = (*messages + 1, octets.saturating_add(charged));
        }
        Ok(restored.len() as u64)
    }

    async fn report(self, ended: Ended) -> Result<RunReport, StoreError> {
        let mut report = RunReport { full: self.full, ended, ..RunReport::default() };
        let listing = self.account.mailboxes().await?;
        for (id, (messages, octets)) in self.returned {
            let listed = listing.iter().find(|listed| listed.mailbox_id == Some(id));
            let name = listed.map_or_else(String::new, |listed| listed.name.clone());
            report.note(&name, messages, octets);
        }
        Ok(report)
    }
}
