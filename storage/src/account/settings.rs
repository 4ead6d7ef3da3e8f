//! Settings of an account: state, limits, address. The registry owns them; the catalog keeps the
//! copy that mail transactions obey, so that none of them asks the registry.
//!
//! * Settings come with a version and are applied once: an older or equal version changes nothing,
//!   so the registry may send the same change as often as it likes.
//! * An address belongs to one account at a time.

use super::{draft::Draft, queue::Change, tree};
use crate::{
    catalog::{
        engine::{Batch, Expected},
        keys,
        records::{self, AccountRecord, HeadRecord, IndexRecord},
    },
    error::StoreError,
    ids::AccountId,
};

/// Whether an account is in use.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum AccountState {
    /// In use.
    #[default]
    Active,
    /// Nobody can log in or send; mail is still delivered or not as the floor above decides.
    Blocked,
    /// Closed for good; kept until it is erased.
    Closed,
}

/// Where receipts of what an account sends are filed. Kept for the floor above.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum ReceiptsPlace {
    /// In INBOX.
    #[default]
    Inbox,
    /// In the mailbox that has the message sent, else in INBOX.
    Sent,
    /// In a mailbox of their own.
    Ricevute,
}

impl ReceiptsPlace {
    fn number(self) -> u32 {
        match self {
            Self::Inbox => 0,
            Self::Sent => 1,
            Self::Ricevute => 2,
        }
    }

    /// Unknown ones, written by a newer program, are INBOX.
    fn of_number(number: u32) -> Self {
        match number {
            1 => Self::Sent,
            2 => Self::Ricevute,
            _ => Self::Inbox,
        }
    }
}

/// What the registry says about an account.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct AccountSettings {
    /// Its address.
    pub address: String,
    /// Whether it is in use.
    pub state: AccountState,
    /// Name of its plan.
    pub plan: String,
    /// Octets that may be charged; `None` = unlimited.
    pub quota_octets: Option<u64>,
    /// Octets of one submitted message.
    pub message_octets_max: u64,
    /// Recipients of one message.
    pub recipients_max: u32,
    /// Messages submitted in a minute.
    pub messages_per_minute_max: u32,
    /// Messages submitted in a day.
    pub messages_per_day_max: u32,
    /// An account of the provider itself.
    pub service: bool,
    /// Messages that may be kept, copies counted each; `None` = unlimited.
    pub quota_messages: Option<u64>,
    /// Mailboxes; `None` = as many as the store allows.
    pub quota_mailboxes: Option<u64>,
    /// Mail that is not certified is refused. Kept for the floor above.
    pub certified_mail_only: bool,
    /// Where receipts are filed.
    pub receipts: ReceiptsPlace,
}

/// What [`Store::apply_account`](crate::store::Store::apply_account) did.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Applied {
    /// The account was created.
    Created,
    /// The settings were replaced.
    Changed,
    /// The same or a newer version stands already.
    Unchanged,
}

impl AccountSettings {
    pub(crate) fn to_record(&self, version: u64) -> AccountRecord {
        AccountRecord {
            version,
            address: self.address.clone(),
            state: match self.state {
                AccountState::Active => 1,
                AccountState::Blocked => 2,
                AccountState::Closed => 3,
            },
            plan: self.plan.clone(),
            quota_octets: self.quota_octets,
            message_octets_max: self.message_octets_max,
            recipients_max: self.recipients_max,
            messages_per_minute_max: self.messages_per_minute_max,
            messages_per_day_max: self.messages_per_day_max,
            service: self.service,
            quota_messages: self.quota_messages,
            quota_mailboxes: self.quota_mailboxes,
            certified_mail_only: self.certified_mail_only,
            receipts: self.receipts.number(),
        }
    }

    /// The settings in the record of `account`.
    pub(crate) fn of_record(account: AccountId, record: AccountRecord) -> Result<Self, StoreError> {
        let state = match record.state {
            1 => AccountState::Active,
            2 => AccountState::Blocked,
            3 => AccountState::Closed,
            other => {
                let detail = format!("account state {other} is unknown");
                return Err(records::damaged(keys::ACCOUNTS, &keys::account(account), detail));
            }
        };
        Ok(Self {
            address: record.address,
            state,
            plan: record.plan,
            quota_octets: record.quota_octets,
            message_octets_max: record.message_octets_max,
            recipients_max: record.recipients_max,
            messages_per_minute_max: record.messages_per_minute_max,
            messages_per_day_max: record.messages_per_day_max,
            service: record.service,
            quota_messages: record.quota_messages,
            quota_mailboxes: record.quota_mailboxes,
            certified_mail_only: record.certified_mail_only,
            receipts: ReceiptsPlace::of_number(record.receipts),
        })
    }
}

/// Applies one version of the settings, and creates the account when there is none.
pub(crate) struct ApplySettings {
    pub(crate) version: u64,
    pub(crate) settings: AccountSettings,
}

#[async_trait::async_trait]
impl Change for ApplySettings {
    type Outcome = Applied;

    async fn apply(&self, draft: &mut Draft<'_>) -> Result<Applied, StoreError> {
        let key = keys::account(draft.account);
        let found: Option<AccountRecord> = draft.record(keys::ACCOUNTS, &key).await?;
        if found.as_ref().is_some_and(|found| found.version >= self.version) {
            return Ok(Applied::Unchanged);
        }
        let old_address = found.as_ref().map(|found| keys::address(&found.address));
        let new_address = keys::address(&self.settings.address);
        if old_address.as_ref() != Some(&new_address) {
            // Addresses are shared by all accounts, whose heads do not guard them: the batch
            // itself expects the address to be free.
            if let Some(taken) = draft.get(keys::ACCOUNT_ADDRESSES, &new_address).await? {
                let index: IndexRecord =
                    records::decode(keys::ACCOUNT_ADDRESSES, &new_address, &taken)?;
                return Err(StoreError::AddressTaken {
                    address: self.settings.address.clone(),
                    account: AccountId(index.id),
                });
            }
            let mut batch = Batch::default();
            batch.expect(keys::ACCOUNT_ADDRESSES, new_address.clone(), Expected::Absent);
            let index = IndexRecord { id: draft.account.0 };
            batch.put(keys::ACCOUNT_ADDRESSES, new_address, records::encode(&index));
            if let Some(old_address) = old_address {
                batch.delete(keys::ACCOUNT_ADDRESSES, old_address);
            }
            draft.add(batch);
        }
        draft.put_record(keys::ACCOUNTS, key, &self.settings.to_record(self.version));
        if found.is_some() {
            return Ok(Applied::Changed);
        }
        create(draft)?;
        tree::create_default_mailboxes(draft)?;
        Ok(Applied::Created)
    }
}

/// Writes the first head of an account.
fn create(draft: &mut Draft<'_>) -> Result<(), StoreError> {
    if draft.exists() {
        return Err(StoreError::Damaged {
            object: format!("account {}", draft.account),
            detail: "it has a head record and no settings".to_owned(),
        });
    }
    // UIDVALIDITY begins with the time of day, so that an account created anew under an old
    // address never shows a client UIDs that it has seen with other messages (RFC 9051 §2.3.1.1).
    let seconds = u64::try_from(draft.now.seconds()).unwrap_or(0);
    draft.create_head(HeadRecord {
        version: 0,
        next_mod_seq: 1,
        next_email_number: 1,
        next_mailbox_id: 1,
        next_uid_validity: seconds.clamp(1, u64::from(u32::MAX / 2)),
        usage_octets: 0,
        usage_messages: 0,
        mailboxes: 0,
        quota_level: 0,
        next_snapshot: 1,
        snapshot: 0,
        snapshot_below: 0,
        snapshot_mod_seq: 0,
        captured_version: 0,
    });
    Ok(())
}
