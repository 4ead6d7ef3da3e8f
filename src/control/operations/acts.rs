//! The account that an operation is about, and how the journal notes what an operator does to it.

use storage::{account::settings::AccountSettings, catalog::engine::Batch, ids::AccountId};
use trust::clock::{Clock as _, SystemClock};

use crate::{
    control::{Kind, OperationError, Site},
    pec::{
        engine::EngineSettings,
        journal::{self, JournalEvent},
        records::JournalRecord,
    },
    texts::Text,
};

/// Characters of a detail at most.
const DETAIL_MAX: usize = 2_000;

/// The account with an address.
pub(super) async fn account(
    site: &Site,
    address: &str,
) -> Result<(AccountId, AccountSettings), OperationError> {
    site.store.account_by_address(address).await?.ok_or_else(|| {
        OperationError::new(
            Kind::NotFound,
            Text::filled(
                format!("la casella {address} non esiste: controllare l'indirizzo"),
                format!("there is no account {address}: check the address"),
            ),
        )
    })
}

/// The record of an act on the account with `address`, for the batch that does it.
pub(super) fn noted(event: JournalEvent, address: &str, detail: &str) -> Batch {
    let mut batch = Batch::default();
    let record = JournalRecord {
        recipients: vec![address.to_owned()],
        detail: detail.chars().take(DETAIL_MAX).collect(),
        ..JournalRecord::default()
    };
    let node = EngineSettings::default().node;
    journal::write(&mut batch, node, SystemClock.now(), event, record);
    batch
}
