//! Usage of an account, the limits it is held against, and the warnings that it nears one.
//!
//! Usage is the sum of `charged_octets` over the account's rows, the number of its rows, and the
//! number of its mailboxes. It stands in the head record, which every change rewrites in the batch
//! that adds or removes rows, so it is exact at every instant. A copy is a row of its own and is
//! charged like its source. Live mail and archive (`tier`) have each their sums, limits and warnings.
//!
//! * A change that makes room, or moves rows within a tier, is never refused; nor is one that is
//!   exempt (receipts and notices, which the rules oblige the provider to store). Moving rows to the
//!   other tier needs room there.
//! * The batch in which usage of octets reaches a level of [`WARNING_LEVELS`] notes the level in
//!   the head and writes one row of `quota_warnings`. The level stays noted, and is not warned of
//!   again, until usage is [`REARMED_BELOW`] per cent of the limit under it.
//!
//! Not here: what the holder is told, and how (a floor above, which takes the rows).

use bytes::Bytes;
use trust::clock::UnixMillis;

use super::{after, draft::Draft, read, tier::Tier};
use crate::{
    catalog::{
        engine::{Batch, Engine, Expected, Reader, Scan},
        keys::{self, KeyReader},
        pages::Pages,
        records::{self, AccountRecord, HeadRecord, QuotaWarningRecord},
    },
    error::StoreError,
    ids::AccountId,
};

/// Per cent of the limit at which the holder is warned.
pub const WARNING_LEVELS: [u32; 3] = [80, 90, 95];

/// How far usage must fall below a level, in per cent of the limit, before crossing it warns again:
/// otherwise a mailbox that is emptied and filled around a level would warn with every message.
pub const REARMED_BELOW: u32 = 5;

/// Whether an append may be refused for lack of space.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum QuotaRule {
    /// Refused with [`StoreError::OverQuota`] when it would exceed the account's limit.
    Enforce,
    /// Stored in any case and charged like any other message.
    Exempt,
}

/// Usage and limits of one account (RFC 9208 §5: STORAGE, MESSAGE, MAILBOX).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Quota {
    /// Octets charged in live mailboxes.
    pub used_octets: u64,
    /// Octets allowed there; `None` = unlimited.
    pub limit_octets: Option<u64>,
    /// Rows of live mailboxes, copies counted each.
    pub used_messages: u64,
    /// Rows allowed there; `None` = unlimited.
    pub limit_messages: Option<u64>,
    /// Mailboxes of both tiers.
    pub used_mailboxes: u64,
    /// Mailboxes allowed.
    pub limit_mailboxes: u64,
    /// The archive.
    pub archive: ArchiveQuota,
}

/// Usage and limits of the archive of one account.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ArchiveQuota {
    /// Octets charged.
    pub used_octets: u64,
    /// Octets allowed; `None` = unlimited.
    pub limit_octets: Option<u64>,
    /// Rows, copies counted each.
    pub used_messages: u64,
    /// Rows allowed; `None` = unlimited.
    pub limit_messages: Option<u64>,
}

impl Quota {
    pub(crate) fn of(head: &HeadRecord, settings: &AccountRecord, mailboxes_max: u64) -> Self {
        Self {
            used_octets: head.usage_octets.saturating_sub(head.archive_octets),
            limit_octets: settings.quota_octets,
            used_messages: head.usage_messages.saturating_sub(head.archive_messages),
            limit_messages: settings.quota_messages,
            used_mailboxes: head.mailboxes,
            limit_mailboxes: limit_mailboxes(settings, mailboxes_max),
            archive: ArchiveQuota {
                used_octets: head.archive_octets,
                limit_octets: settings.archive_quota_octets,
                used_messages: head.archive_messages,
                limit_messages: settings.archive_quota_messages,
            },
        }
    }
}

/// What is counted of one tier, or added to it, or allowed in it.
#[derive(Clone, Copy)]
struct Sums<T> {
    octets: T,
    messages: T,
}

/// What `tier` uses. [`StoreError::Damaged`] when the archive's part is more than the whole.
fn used(head: &HeadRecord, account: AccountId, tier: Tier) -> Result<Sums<u64>, StoreError> {
    let archive = Sums { octets: head.archive_octets, messages: head.archive_messages };
    if tier == Tier::Archive {
        return Ok(archive);
    }
    let octets = head.usage_octets.checked_sub(archive.octets);
    let rest = octets.zip(head.usage_messages.checked_sub(archive.messages));
    let (octets, messages) = rest.ok_or_else(|| too_little(account))?;
    Ok(Sums { octets, messages })
}

fn too_little(account: AccountId) -> StoreError {
    StoreError::Damaged {
        object: format!("usage of account {account}"),
        detail: "it is less than its rows are charged".to_owned(),
    }
}

fn limits(settings: &AccountRecord, tier: Tier) -> Sums<Option<u64>> {
    match tier {
        Tier::Live => Sums { octets: settings.quota_octets, messages: settings.quota_messages },
        Tier::Archive => Sums {
            octets: settings.archive_quota_octets,
            messages: settings.archive_quota_messages,
        },
    }
}

/// What `tier` uses with `more` of it. [`StoreError::OverQuota`] names what there is no room for. What
/// needs no more is not refused where usage is above a limit already.
async fn raised(
    draft: &mut Draft<'_>,
    tier: Tier,
    more: Sums<u64>,
    rule: QuotaRule,
) -> Result<(), StoreError> {
    let limit = match rule {
        QuotaRule::Enforce => limits(&draft.settings().await?, tier),
        QuotaRule::Exempt => Sums { octets: None, messages: None },
    };
    let account = draft.account;
    let used = used(draft.head()?, account, tier)?;
    let (octets, messages) = match tier {
        Tier::Live => ("octets", "messages"),
        Tier::Archive => ("archive octets", "archive messages"),
    };
    let next = sum(used.octets, more.octets, "quota octets")?;
    within(octets, used.octets, next, limit.octets.filter(|_| more.octets > 0))?;
    let next = sum(used.messages, more.messages, "quota messages")?;
    within(messages, used.messages, next, limit.messages.filter(|_| more.messages > 0))
}

fn sum(used: u64, more: u64, what: &'static str) -> Result<u64, StoreError> {
    used.checked_add(more).ok_or(StoreError::Exhausted(what))
}

/// Charges `octets` for `messages` new rows of a mailbox of `tier`.
pub(crate) async fn charge(
    draft: &mut Draft<'_>,
    tier: Tier,
    octets: u64,
    messages: u64,
    rule: QuotaRule,
) -> Result<(), StoreError> {
    raised(draft, tier, Sums { octets, messages }, rule).await?;
    let head = draft.head()?;
    head.usage_octets = sum(head.usage_octets, octets, "quota octets")?;
    head.usage_messages = sum(head.usage_messages, messages, "quota messages")?;
    if tier == Tier::Archive {
        // A part of what was just added without overflow.
        head.archive_octets += octets;
        head.archive_messages += messages;
    }
    Ok(())
}

/// Moves what `messages` rows are charged from the first of `tiers` to the second.
/// [`StoreError::OverQuota`] when there is no room; within one tier nothing changes.
pub(crate) async fn transfer(
    draft: &mut Draft<'_>,
    tiers: (Tier, Tier),
    octets: u64,
    messages: u64,
) -> Result<(), StoreError> {
    let (from, to) = tiers;
    if from == to {
        return Ok(());
    }
    raised(draft, to, Sums { octets, messages }, QuotaRule::Enforce).await?;
    let account = draft.account;
    let head = draft.head()?;
    let left = used(head, account, from)?;
    let rest = left.octets.checked_sub(octets).zip(left.messages.checked_sub(messages));
    let (rest_octets, rest_messages) = rest.ok_or_else(|| too_little(account))?;
    (head.archive_octets, head.archive_messages) = match from {
        Tier::Archive => (rest_octets, rest_messages),
        Tier::Live => (head.usage_octets - rest_octets, head.usage_messages - rest_messages),
    };
    Ok(())
}

fn within(
    resource: &'static str,
    used: u64,
    next: u64,
    limit: Option<u64>,
) -> Result<(), StoreError> {
    match limit {
        Some(limit) if next > limit => Err(StoreError::OverQuota { resource, used, limit }),
        _ => Ok(()),
    }
}

/// Gives back what removed rows of a mailbox of `tier` were charged.
pub(crate) fn discharge(
    draft: &mut Draft<'_>,
    tier: Tier,
    octets: u64,
    messages: u64,
) -> Result<(), StoreError> {
    let account = draft.account;
    let head = draft.head()?;
    let used = used(head, account, tier)?;
    let rest = used.octets.checked_sub(octets).zip(used.messages.checked_sub(messages));
    let Some((rest_octets, rest_messages)) = rest else { return Err(too_little(account)) };
    if tier == Tier::Archive {
        (head.archive_octets, head.archive_messages) = (rest_octets, rest_messages);
    }
    let whole =
        head.usage_octets.checked_sub(octets).zip(head.usage_messages.checked_sub(messages));
    (head.usage_octets, head.usage_messages) = whole.ok_or_else(|| too_little(account))?;
    Ok(())
}

/// Refuses one mailbox more than the account may have.
pub(crate) async fn check_mailbox(draft: &mut Draft<'_>) -> Result<(), StoreError> {
    let limit = limit_mailboxes(&draft.settings().await?, draft.limits.mailboxes_per_account_max);
    let used = draft.head()?.mailboxes;
    within("mailboxes", used, used.saturating_add(1), Some(limit))
}

fn limit_mailboxes(settings: &AccountRecord, mailboxes_max: u64) -> u64 {
    settings.quota_mailboxes.map_or(mailboxes_max, |limit| limit.min(mailboxes_max))
}

/// Notes in the head which level the usage of each tier has reached, and writes a warning when it is
/// a higher one. Run once for each batch, after all its changes.
pub(crate) async fn note_level(draft: &mut Draft<'_>) -> Result<(), StoreError> {
    let Some(before) = draft.began_with().copied() else { return Ok(()) };
    let Ok(head) = draft.head().copied() else { return Ok(()) };
    let key = keys::account(draft.account);
    let usage = |head: &HeadRecord| (head.usage_octets, head.archive_octets);
    if usage(&head) == usage(&before) && !draft.changes(keys::ACCOUNTS, &key) {
        return Ok(());
    }
    let settings = match draft.settings().await {
        Ok(settings) => settings,
        // `check` names what is missing; the change is not to be refused for it.
        Err(StoreError::NoSuchAccount(_)) => return Ok(()),
        Err(error) => return Err(error),
    };
    for tier in [Tier::Live, Tier::Archive] {
        let used_octets = match tier {
            Tier::Live => head.usage_octets.saturating_sub(head.archive_octets),
            Tier::Archive => head.archive_octets,
        };
        let limit = limits(&settings, tier).octets;
        let noted = level_of(&head, tier);
        let level = next_level(noted, used_octets, limit);
        match tier {
            Tier::Live => draft.head()?.quota_level = level,
            Tier::Archive => draft.head()?.archive_level = level,
        }
        if let Some(limit_octets) = limit
            && level > noted
        {
            let (at, number) = (draft.now.0, tier.number());
            let record = QuotaWarningRecord { level, used_octets, limit_octets, at, tier: number };
            let key = keys::quota_warning(draft.account, tier, head.version);
            draft.put_record(keys::QUOTA_WARNINGS, key, &record);
        }
    }
    Ok(())
}

fn level_of(head: &HeadRecord, tier: Tier) -> u32 {
    match tier {
        Tier::Live => head.quota_level,
        Tier::Archive => head.archive_level,
    }
}

/// The level after usage has become `used` of `limit`, when `noted` was the level before.
fn next_level(noted: u32, used: u64, limit: Option<u64>) -> u32 {
    let Some(limit) = limit.filter(|_| used > 0) else { return 0 };
    let reaches =
        |per_cent: u32| u128::from(used) * 100 >= u128::from(limit) * u128::from(per_cent);
    let holds = |level: &u32| {
        if *level <= noted { reaches(*level - REARMED_BELOW) } else { reaches(*level) }
    };
    WARNING_LEVELS.into_iter().rev().find(holds).unwrap_or(0)
}

/// A level that an account's usage has reached, not passed on to the holder yet.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct QuotaWarning {
    /// The account.
    pub account: AccountId,
    /// What nears its limit.
    pub tier: Tier,
    /// One of [`WARNING_LEVELS`].
    pub level: u32,
    /// Octets charged when it was reached.
    pub used_octets: u64,
    /// The limit then.
    pub limit_octets: u64,
    /// When.
    pub at: UnixMillis,
    key: Bytes,
    value: Bytes,
}

impl QuotaWarning {
    fn decode(key: &Bytes, value: &Bytes) -> Result<Self, StoreError> {
        let mut reader = KeyReader::new(keys::QUOTA_WARNINGS, key);
        let account = AccountId(reader.take_u64()?);
        reader.take_u64()?;
        reader.finish()?;
        let record: QuotaWarningRecord = records::decode(keys::QUOTA_WARNINGS, key, value)?;
        let QuotaWarningRecord { level, used_octets, limit_octets, at, tier } = record;
        let (key, value) = (key.clone(), value.clone());
        let at = UnixMillis(at);
        let tier = Tier::of_number(tier);
        Ok(Self { account, tier, level, used_octets, limit_octets, at, key, value })
    }

    /// Adds to `batch` that the warning is passed on, or needs no passing on: it happens once,
    /// however many try.
    pub fn settle(&self, batch: &mut Batch) {
        let expected = Expected::Value(self.value.clone());
        batch.expect(keys::QUOTA_WARNINGS, self.key.clone(), expected);
        batch.delete(keys::QUOTA_WARNINGS, self.key.clone());
    }
}

/// The warnings after `start_after` that can be read; `unreadable` is told of the others.
pub(crate) async fn warnings(
    engine: &dyn Engine,
    start_after: Option<&QuotaWarning>,
    limit: usize,
    unreadable: &mut (dyn FnMut(StoreError) + Send),
) -> Result<Vec<QuotaWarning>, StoreError> {
    let mut scan = Scan::prefix(keys::QUOTA_WARNINGS, &[], limit);
    if let Some(warning) = start_after {
        scan.start = after(&warning.key);
    }
    let (mut pages, mut warnings) = (Pages::new(scan), Vec::new());
    while warnings.len() < limit
        && let Some(page) = pages.next(engine).await?
    {
        for (key, value) in &page {
            match QuotaWarning::decode(key, value) {
                Ok(warning) => warnings.push(warning),
                Err(error) => unreadable(error),
            }
        }
    }
    warnings.truncate(limit);
    Ok(warnings)
}

pub(crate) async fn stands(
    engine: &(impl Reader + ?Sized),
    warning: &QuotaWarning,
) -> Result<bool, StoreError> {
    let key = keys::account(warning.account);
    let head = read::<HeadRecord>(engine, keys::ACCOUNT_HEADS, &key).await?;
    if head.is_none_or(|head| level_of(&head, warning.tier) < warning.level) {
        return Ok(false);
    }
    let mut later =
        Scan { start: after(&warning.key), ..Scan::prefix(keys::QUOTA_WARNINGS, &key, 1) };
    if warning.tier == Tier::Live {
        let archive = keys::quota_warnings(Tier::Archive).start;
        later.end = Some(keys::quota_warning(warning.account, Tier::Archive, archive));
    }
    Ok(engine.scan(&later).await?.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_reached_exactly_and_left_only_five_points_below() {
        // Noted before, used of 1,000, noted after.
        let cases = [
            (0, 799, 0),
            (0, 800, 80),
            (80, 899, 80),
            (80, 900, 90),
            (0, 950, 95),
            (95, 900, 95),
            (95, 899, 90),
            (90, 850, 90),
            (90, 849, 80),
            (80, 750, 80),
            (80, 749, 0),
            (95, 5_000, 95),
            (95, 0, 0),
        ];
        for (noted, used, level) in cases {
            assert_eq!(next_level(noted, used, Some(1_000)), level, "{noted} and {used}");
        }
        assert_eq!(next_level(95, 1, None), 0);
        assert_eq!(next_level(0, 1, Some(0)), 95, "anything is too much for nothing");
        assert_eq!(next_level(0, u64::MAX, Some(u64::MAX)), 95);
    }
}
