//! Which messages need a chunk that is damaged.
//!
//! Not here: which chunks are damaged (`octets::scrub`).

use std::collections::HashSet;

use crate::{
    account::message_name,
    catalog::{
        keys::{self, KeyReader},
        pages::Pages,
        records::{self, HeldRecord},
    },
    error::StoreError,
    ids::{AccountId, EmailNumber, StoredId},
    octets::StoredMessage,
    store::StoreCore,
};

/// Entries read at once.
const PAGE: usize = 1_000;

/// Messages that need one of `chunks`, by account and number.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Concerned {
    /// Account and number of the messages, at most as many as asked for.
    pub messages: Vec<(AccountId, EmailNumber)>,
    /// Names of held messages, at most as many.
    pub held: Vec<String>,
    /// Those beyond.
    pub left_out: u64,
}

/// Walks over every message and held message; lists at most `limit` of each.
pub(crate) async fn find(
    core: &StoreCore,
    chunks: &HashSet<StoredId>,
    limit: usize,
) -> Result<Concerned, StoreError> {
    let mut concerned = Concerned::default();
    if chunks.is_empty() {
        return Ok(concerned);
    }
    for family in [keys::MESSAGES, keys::HELD_MESSAGES] {
        let mut pages = Pages::prefix(family, &[], PAGE);
        while let Some(page) = pages.next(&*core.engine).await? {
            for (key, value) in &page {
                if family == keys::HELD_MESSAGES {
                    concerned.look_at_held(key, value, chunks, limit);
                } else {
                    concerned.look_at_message(key, value, chunks, limit);
                }
            }
        }
    }
    Ok(concerned)
}

/// Whether a message record needs one of `chunks`; one that cannot be read is `check`'s affair.
fn needs(record: &[u8], chunks: &HashSet<StoredId>) -> bool {
    StoredMessage::decode_stored_ids(record, String::new)
        .is_ok_and(|ids| ids.iter().any(|id| chunks.contains(id)))
}

impl Concerned {
    fn look_at_message(
        &mut self,
        key: &[u8],
        value: &[u8],
        chunks: &HashSet<StoredId>,
        limit: usize,
    ) {
        let mut reader = KeyReader::new(keys::MESSAGES, key);
        let (Ok(account), Ok(number)) = (reader.take_u64(), reader.take_u64()) else { return };
        if !needs(value, chunks) {
            return;
        }
        if self.messages.len() < limit {
            self.messages.push((AccountId(account), EmailNumber(number)));
        } else {
            self.left_out += 1;
        }
    }

    fn look_at_held(&mut self, key: &[u8], value: &[u8], chunks: &HashSet<StoredId>, limit: usize) {
        let record = records::decode::<HeldRecord>(keys::HELD_MESSAGES, key, value);
        if !record.is_ok_and(|record| needs(&record.message, chunks)) {
            return;
        }
        if self.held.len() < limit {
            self.held.push(keys::object(keys::HELD_MESSAGES, key));
        } else {
            self.left_out += 1;
        }
    }

    /// The messages as errors and reports name them.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let messages =
            self.messages.iter().map(|(account, number)| message_name(*account, *number));
        messages.chain(self.held.iter().cloned()).collect()
    }
}
