//! Erasure of one message, because somebody has the right to it: its octets are to be gone, while
//! the account stays what it was.
//!
//! * Recipe and summary are replaced, in one batch with what the floor above wants to be true with
//!   it (its journal), by a record that keeps size, digest, instant and category of the reason, and
//!   by a summary that lists can show.
//! * Rows stay, with UID, flags, size, digest and charge: no number of the account changes, and no
//!   client is confused. The holder may expunge, move and copy them like others; the record goes
//!   with the last row, or, where a snapshot holds the message, with the last snapshot: snapshots show
//!   what stands in its place, too. A message that has departed is erased like any other.
//! * The chunks are freed by the collector when no other message needs them. Until then, and as
//!   long as another message shares them, the octets exist. They are noted, so that no pack keeps
//!   them after that because most of it is live (`collector::scour`).
//! * Whoever read the message before reads [`StoreError::Erased`] from then on, sessions that have
//!   it open included.
//!
//! A floor above that forbids an erasure (a legal hold) says so by a condition of
//! [`EraseRequest::also`]: it fails with [`StoreError::Conflict`], and the floor then names the hold.
//!
//! Not here: which messages hold the same octets ([`Store::find_octets`](crate::store::Store::find_octets)),
//! back-ups (they keep what they have until their retention ends).

use std::collections::BTreeSet;

use bytes::Bytes;

use super::{draft::Draft, headers, message_name, queue::Change};
use crate::{
    catalog::{
        engine::{Batch, Reader, Scan},
        keys::{self, KeyReader},
    },
    error::StoreError,
    ids::{AccountId, EmailNumber},
    octets::{Erased, ErasureReason, Kept},
    pack::index::{ERASED_CHUNKS, stored_id_key},
    summary::{Envelope, Summary},
};

/// Which message is erased, and what stands in its place.
#[derive(Clone, Debug)]
pub struct EraseRequest {
    /// The message.
    pub email_number: EmailNumber,
    /// Why, in one word; the journal has the whole reason.
    pub reason: ErasureReason,
    /// What lists of messages show instead.
    pub envelope: Envelope,
    /// Conditions and changes of the floor above, applied in the same batch. When a condition
    /// fails the erasure fails with [`StoreError::Conflict`].
    pub also: Batch,
}

/// [`EraseRequest`] as a change of the account.
pub(crate) struct EraseMessage(pub(crate) EraseRequest);

#[async_trait::async_trait]
impl Change for EraseMessage {
    type Outcome = Erased;

    async fn apply(&self, draft: &mut Draft<'_>) -> Result<Erased, StoreError> {
        let Self(EraseRequest { email_number, reason, envelope, also }) = self;
        let (account, email_number) = (draft.account, *email_number);
        let key = keys::message(account, email_number);
        let octets = draft.get(keys::MESSAGES, &key).await?;
        let octets = octets.ok_or(StoreError::NoSuchMessage { account, email_number })?;
        let name = || message_name(account, email_number);
        let message = match Kept::decode(&octets, name)? {
            Kept::Message(message) => message,
            Kept::Erased(Erased { at, .. }) => {
                return Err(StoreError::Erased { object: name(), at });
            }
        };
        let erased = Erased {
            size: message.size(),
            digest: message.digest(),
            at: draft.now,
            reason: *reason,
        };
        let summary = Summary::of_erased(erased.size, envelope.clone());
        draft.put(keys::MESSAGES, key.clone(), erased.encode().into());
        draft.put(keys::SUMMARIES, key.clone(), summary.encode().into());
        draft.put(keys::ERASURES, key, Bytes::new());
        for stored in message.stored_ids() {
            draft.put(ERASED_CHUNKS, stored_id_key(stored), Bytes::new());
        }
        headers::list::forget(draft, email_number).await?;
        // Whoever follows the account sees that something happened.
        draft.take_mod_seq()?;
        draft.add(also.clone());
        Ok(erased)
    }
}

/// The erased messages of `account`: few, in any account.
pub(crate) async fn erased_messages(
    reader: &(impl Reader + ?Sized),
    account: AccountId,
) -> Result<BTreeSet<EmailNumber>, StoreError> {
    let scan = Scan::prefix(keys::ERASURES, &keys::account(account), 1_000);
    let entries = super::scan_all(reader, scan).await?;
    entries
        .iter()
        .map(|(key, _)| {
            let mut fields = KeyReader::new(keys::ERASURES, key);
            fields.take_u64()?;
            let number = EmailNumber(fields.take_u64()?);
            fields.finish()?;
            Ok(number)
        })
        .collect()
}
