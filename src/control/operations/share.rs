//! `account/share`: lets an account read a service account, or ends that.

use serde::{Deserialize, Serialize};
use storage::{
    account::settings::{AccountSettings, AccountState},
    catalog::engine::Batch,
};

use super::acts::{account, noted};
use crate::{
    control::{Kind, Operation, OperationError, Run, Site},
    pec::journal::JournalEvent,
    texts::Text,
};

/// Asks for a change of who reads what.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct AccountShare {
    /// The address of the service account that is read.
    pub account: String,
    /// The address of the account that reads.
    pub with: String,
    /// Whether it may from now on.
    pub granted: bool,
}

/// What was done.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct ShareOutcome {
    /// The address of the account that is read.
    pub account: String,
    /// The address of the account that reads.
    pub with: String,
    /// Whether it may now.
    pub granted: bool,
    /// Whether that is new.
    pub changed: bool,
}

#[async_trait::async_trait]
impl Operation for AccountShare {
    const NAME: &'static str = "account/share";

    type Outcome = ShareOutcome;

    async fn run(&self, site: &Site, _: &Run) -> Result<ShareOutcome, OperationError> {
        let (read, settings) = account(site, &self.account).await?;
        let (reader, with) = account(site, &self.with).await?;
        if self.granted && !settings.service {
            return Err(OperationError::new(
                Kind::Invalid,
                Text::filled(
                    format!(
                        "{} non è una casella di servizio: solo quelle si condividono",
                        self.account
                    ),
                    format!("{} is no service account: only such are shared", self.account),
                ),
            ));
        }
        if self.granted && (reader == read || with.state != AccountState::Active) {
            return Err(OperationError::new(
                Kind::Invalid,
                Text::filled(
                    format!(
                        "{} non può leggere {}: scegliere un'altra casella attiva",
                        self.with, self.account
                    ),
                    format!(
                        "{} cannot read {}: choose another account that is active",
                        self.with, self.account
                    ),
                ),
            ));
        }
        let changed = site
            .store
            .account(reader)
            .await?
            .grant(read, self.granted, self.journal(&settings, &with))
            .await?;
        Ok(ShareOutcome {
            account: settings.address,
            with: with.address,
            granted: self.granted,
            changed,
        })
    }
}

impl AccountShare {
    fn journal(&self, read: &AccountSettings, reader: &AccountSettings) -> Batch {
        let event = if self.granted { JournalEvent::Shared } else { JournalEvent::Unshared };
        noted(event, &read.address, &format!("read-only, with {}", reader.address))
    }
}
