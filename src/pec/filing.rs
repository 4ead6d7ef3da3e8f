//! Where a receipt goes in the mailbox tree of who sent the message: INBOX, beside the message, or a
//! mailbox of its own, as the account's settings say.
//!
//! * The place is found before the batch that appends; when it goes in between, the receipt goes to
//!   INBOX. A receipt is never lost, and never put twice, for the sake of its place.
//! * Whatever goes wrong while the place is looked for, a damaged mailbox among them, the receipt goes to
//!   INBOX, with a warning.
//! * Only the newest messages of each mailbox are looked at, and so many in all: a receipt comes soon after
//!   what it is about. It never lies among drafts, junk or what is thrown away, where clients remove it.
//!
//! Not here: what is appended, and with what else (`issue`, `delivery_point`).

use storage::{
    account::{
        Account, MailboxListing,
        headers::page::{HeaderField, HeaderFields},
        settings::ReceiptsPlace,
        tree::SpecialUse,
    },
    error::StoreError,
    ids::{EmailNumber, MailboxId},
    mailbox::{
        append::{AppendRequest, Appended},
        view::MailboxView as _,
    },
};

use super::{issue::INBOX, records::TransmissionRecord};

/// The mailbox of receipts, in each account that wants one.
pub const RECEIPTS: &str = "Ricevute";

/// Messages of a mailbox, the newest, among which the message sent is looked for.
const LOOKED_AT_MAX: usize = 5_000;

/// Messages of an account among which it is looked for. A mailbox counts as one at least.
const LOOKED_AT_IN_ALL_MAX: usize = 20_000;

/// Messages whose headers are read at a time.
const PAGE: usize = 500;

/// Appends a receipt about `transmission` where the account wants it, whatever mailbox `request`
/// names; without a transmission, or for another account's, into INBOX.
///
/// # Errors
///
/// As [`Account::append`].
pub async fn append(
    account: &Account,
    transmission: Option<&TransmissionRecord>,
    mut request: AppendRequest<'_>,
) -> Result<Appended, StoreError> {
    let inbox = account.mailbox_by_name(INBOX).await?.id();
    request.mailbox = match transmission.filter(|record| record.account_id == account.id().0) {
        Some(record) => place(account, record, inbox).await.unwrap_or_else(|error| {
            let (account, transmission) = (account.id(), &record.identifier);
            tracing::warn!(%account, transmission, %error, "the place of a receipt was not found: it goes into INBOX");
            inbox
        }),
        None => inbox,
    };
    let again = AppendRequest { mailbox: inbox, ..request.clone() };
    let chosen = request.mailbox;
    match account.append(request).await {
        Err(StoreError::NoSuchMailbox { .. }) if chosen != inbox => account.append(again).await,
        appended => appended,
    }
}

async fn place(
    account: &Account,
    transmission: &TransmissionRecord,
    inbox: MailboxId,
) -> Result<MailboxId, StoreError> {
    Ok(match account.settings().await?.receipts {
        ReceiptsPlace::Inbox => inbox,
        ReceiptsPlace::Ricevute => receipts_mailbox(account).await?.unwrap_or(inbox),
        ReceiptsPlace::Sent => beside(account, transmission, inbox).await?.unwrap_or(inbox),
    })
}

/// The mailbox of receipts, created when it is missing; `None` when there can be none.
async fn receipts_mailbox(account: &Account) -> Result<Option<MailboxId>, StoreError> {
    match account.mailbox_by_name(RECEIPTS).await {
        Ok(found) => return Ok(Some(found.id())),
        Err(StoreError::NoSuchMailboxName(_)) => {}
        Err(error) => return Err(error),
    }
    match account.create_mailbox(RECEIPTS, None).await {
        Ok(id) => {
            account.subscribe(RECEIPTS, true).await?;
            Ok(Some(id))
        }
        // Somebody else made it meanwhile.
        Err(StoreError::MailboxExists(_)) => {
            Ok(Some(account.mailbox_by_name(RECEIPTS).await?.id()))
        }
        Err(StoreError::OverQuota { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The mailbox that has the message sent: by the Message-ID that its client gave it, or by the one
/// that it got here.
async fn beside(
    account: &Account,
    transmission: &TransmissionRecord,
    inbox: MailboxId,
) -> Result<Option<MailboxId>, StoreError> {
    let mut wanted = vec![format!("<{}>", transmission.identifier)];
    wanted.extend(transmission.client_message_id.clone());
    let mut mailboxes: Vec<MailboxListing> = account.mailboxes().await?;
    mailboxes.retain(|listed| !is_passing(listed.special_use));
    // What has just come into INBOX is no copy of what was sent: it is looked at last.
    mailboxes.sort_by_key(|listed| match (listed.special_use, listed.mailbox_id) {
        (Some(SpecialUse::Sent), _) => 0,
        (_, Some(id)) if id == inbox => 2,
        _ => 1,
    });
    let mut left = LOOKED_AT_IN_ALL_MAX;
    for listed in mailboxes {
        let Some(id) = listed.mailbox_id else { continue };
        if left == 0 {
            break;
        }
        match holds(account, id, &wanted, &mut left).await {
            Ok(true) => return Ok(Some(id)),
            Ok(false) | Err(StoreError::NoSuchMailbox { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// Whether what lies in a mailbox of that use is removed unread, or is no message that was sent.
fn is_passing(special_use: Option<SpecialUse>) -> bool {
    matches!(special_use, Some(SpecialUse::Trash | SpecialUse::Junk | SpecialUse::Drafts))
}

/// Whether one of the newest messages of `mailbox`, `left` at most, has one of the `wanted` identifiers; what is
/// looked at is taken from `left`.
async fn holds(
    account: &Account,
    mailbox: MailboxId,
    wanted: &[String],
    left: &mut usize,
) -> Result<bool, StoreError> {
    let (_, rows) = account.mailbox(mailbox).await?.list().await?;
    let newest: Vec<EmailNumber> =
        rows.iter().rev().take(LOOKED_AT_MAX.min(*left)).map(|row| row.email_number).collect();
    *left = left.saturating_sub(newest.len().max(1));
    for page in newest.chunks(PAGE) {
        let fields = HeaderFields::NONE.with(HeaderField::MessageId);
        let mut found = account.headers(page, fields).await?.into_iter().flatten();
        let has_it = |id: Option<&str>| {
            id.is_some_and(|id| wanted.iter().any(|wanted| wanted.trim() == id.trim()))
        };
        if found.any(|headers| has_it(headers.text(HeaderField::MessageId))) {
            return Ok(true);
        }
    }
    Ok(false)
}
