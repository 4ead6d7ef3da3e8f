//! Where receipts of what an account sends are filed: its holder's choice.
//!
//! Not here: how the place is found (`pec::filing`).

use serde::{Deserialize, Serialize};
use storage::account::settings;

use super::{
    account::RegisteredAccount, address::AccountAddress, database::Registry, error::RegistryError,
};

/// Where receipts are filed.
#[derive(
    Clone, Copy, Debug, Default, Deserialize, Eq, Hash, PartialEq, Serialize, clap::ValueEnum,
)]
#[serde(rename_all = "snake_case")]
pub enum ReceiptsPlace {
    /// In INBOX.
    #[default]
    Inbox,
    /// In the mailbox that has the message sent, else in INBOX.
    Sent,
    /// In `Ricevute`.
    Ricevute,
}

impl ReceiptsPlace {
    /// The name in tables and commands.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Inbox => "inbox",
            Self::Sent => "sent",
            Self::Ricevute => "ricevute",
        }
    }

    /// The place that the tables call `name`; INBOX, where nobody overlooks a receipt, for what is
    /// not known.
    pub(super) fn of_name(name: &str) -> Self {
        match name {
            "sent" => Self::Sent,
            "ricevute" => Self::Ricevute,
            _ => Self::Inbox,
        }
    }

    /// The same as the store keeps it.
    pub(super) fn kept(self) -> settings::ReceiptsPlace {
        match self {
            Self::Inbox => settings::ReceiptsPlace::Inbox,
            Self::Sent => settings::ReceiptsPlace::Sent,
            Self::Ricevute => settings::ReceiptsPlace::Ricevute,
        }
    }
}

impl Registry {
    /// Sets where receipts of what an account sends are filed; those it has stay where they are.
    pub async fn set_receipts(
        &self,
        address: &AccountAddress,
        receipts: ReceiptsPlace,
    ) -> Result<RegisteredAccount, RegistryError> {
        self.change_account(address, |account| {
            account.receipts = receipts;
            Ok(())
        })
        .await
    }
}
