//! `snapshot/forget`: a snapshot whose record cannot be read is taken out.
//!
//! All others end with their term.

use serde::{Deserialize, Serialize};

use super::{
    super::acts::{account, noted},
    opened,
};
use crate::{
    control::{Kind, Operation, OperationError, Run, Site},
    pec::journal::JournalEvent,
    texts::Text,
};

/// Takes a snapshot out whose record cannot be read.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct SnapshotForget {
    /// The account's address.
    pub account: String,
    /// Its number in the account, as `store check` names it.
    pub number: u64,
}

/// What went with it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct ForgottenView {
    /// The account's address.
    pub account: String,
    /// The snapshot's number.
    pub number: u64,
    /// Messages that no other snapshot had.
    pub messages_removed: u64,
    /// Pages of snapshots that no other one had.
    pub pages_removed: u64,
}

#[async_trait::async_trait]
impl Operation for SnapshotForget {
    const NAME: &'static str = "snapshot/forget";

    type Outcome = ForgottenView;

    async fn run(&self, site: &Site, _: &Run) -> Result<ForgottenView, OperationError> {
        let (id, settings) = account(site, &self.account).await?;
        let (account, number) = (settings.address, self.number);
        let detail = format!("snapshot {number}, which cannot be read");
        let also = noted(JournalEvent::SnapshotForgotten, &account, &detail);
        let forgotten = opened(site).forget_unreadable(id, number, also).await?;
        let forgotten = forgotten.ok_or_else(|| readable(number))?;
        Ok(ForgottenView {
            account,
            number,
            messages_removed: forgotten.messages_removed,
            pages_removed: forgotten.pages_removed,
        })
    }
}

fn readable(number: u64) -> OperationError {
    let text = Text::filled(
        format!(
            "l'istantanea {number} si legge: resta fino al suo termine (`ceralacca snapshot settings`)"
        ),
        format!(
            "snapshot {number} can be read: it stays until its term (`ceralacca snapshot settings`)"
        ),
    );
    OperationError::new(Kind::Conflict, text)
}
