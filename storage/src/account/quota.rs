//! Usage of an account, and the limit it is held against.
//!
//! Usage is the sum of `charged_octets` over the account's rows, and the number of its rows. It
//! stands in the head record, which every change rewrites in the batch that adds or removes rows,
//! so it is exact at every instant. A copy is a row of its own and is charged like its source.
//!
//! A change that makes room, or moves rows, is never refused; nor is one that is exempt (receipts
//! and notices, which the rules oblige the provider to store).

use super::draft::Draft;
use crate::error::StoreError;

/// Whether an append may be refused for lack of space.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum QuotaRule {
    /// Refused with [`StoreError::OverQuota`] when it would exceed the account's limit.
    Enforce,
    /// Stored in any case and charged like any other message.
    Exempt,
}

/// Usage and limit of one account (RFC 9208).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Quota {
    /// Octets charged.
    pub used_octets: u64,
    /// Octets allowed; `None` = unlimited.
    pub limit_octets: Option<u64>,
    /// Rows, copies counted each.
    pub used_messages: u64,
}

/// Charges `octets` for `messages` new rows.
pub(crate) async fn charge(
    draft: &mut Draft<'_>,
    octets: u64,
    messages: u64,
    rule: QuotaRule,
) -> Result<(), StoreError> {
    let limit = match rule {
        QuotaRule::Enforce => draft.settings().await?.quota_octets,
        QuotaRule::Exempt => None,
    };
    let head = draft.head()?;
    let used = head.usage_octets;
    let usage = used.checked_add(octets).ok_or(StoreError::Exhausted("quota octets"))?;
    if let Some(limit) = limit
        && usage > limit
    {
        return Err(StoreError::OverQuota { resource: "octets", used, limit });
    }
    head.usage_octets = usage;
    head.usage_messages += messages;
    Ok(())
}

/// Gives back what removed rows were charged.
pub(crate) fn discharge(
    draft: &mut Draft<'_>,
    octets: u64,
    messages: u64,
) -> Result<(), StoreError> {
    let account = draft.account;
    let head = draft.head()?;
    let rest = head.usage_octets.checked_sub(octets).zip(head.usage_messages.checked_sub(messages));
    let Some((octets, messages)) = rest else {
        return Err(StoreError::Damaged {
            object: format!("usage of account {account}"),
            detail: "it is less than its rows are charged".to_owned(),
        });
    };
    head.usage_octets = octets;
    head.usage_messages = messages;
    Ok(())
}
