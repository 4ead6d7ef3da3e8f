//! A registry in a temporary folder, with one domain and one owner.

use std::{
    path::Path,
    sync::{Arc, Mutex},
};

use ceralacca::{
    config::{Config, RegistrySettings},
    registry::{
        Registry,
        account::NewAccount,
        address::AccountAddress,
        outbox::{AccountChange, AccountSink},
        owner::{OwnerData, OwnerId, OwnerName},
        plan::{Plan, Plans},
    },
};
use storage::error::StoreError;
use tempfile::TempDir;
use trust::clock::{ManualClock, UnixMillis};

pub(crate) struct Fixture {
    pub(crate) folder: TempDir,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) owner: OwnerId,
}

impl Fixture {
    pub(crate) async fn new() -> Self {
        Self::with(Config::default().registry).await
    }

    pub(crate) async fn with(settings: RegistrySettings) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(UnixMillis(1_000_000)));
        let file = folder.path().join("registry.sqlite");
        let registry =
            Registry::open(&file, &settings, Plans::default(), clock.clone()).await.unwrap();
        registry.add_domain(&"pec.example".parse().unwrap()).await.unwrap();
        let owner = registry.add_owner(person("RSSMRA79B11C566R")).await.unwrap().id;
        Self { folder, clock, registry, owner }
    }

    pub(crate) fn file(&self) -> std::path::PathBuf {
        self.folder.path().join("registry.sqlite")
    }

    pub(crate) fn new_account(&self, address: &str) -> NewAccount {
        NewAccount {
            address: at(address),
            owner: Some(self.owner),
            plan: Plan::Base,
            increments: 0,
            credential: None,
        }
    }

    pub(crate) async fn add(&self, address: &str) -> AccountAddress {
        self.registry.add_account(self.new_account(address)).await.unwrap().address
    }
}

pub(crate) async fn reopen(file: &Path, plans: Plans) -> Arc<Registry> {
    let clock = Arc::new(ManualClock::new(UnixMillis(2_000_000)));
    Registry::open(file, &Config::default().registry, plans, clock).await.unwrap()
}

pub(crate) fn at(address: &str) -> AccountAddress {
    address.parse().unwrap()
}

pub(crate) fn person(codice_fiscale: &str) -> OwnerData {
    OwnerData {
        name: OwnerName::Person { given_name: "Maria".into(), family_name: "Rossi".into() },
        codice_fiscale: Some(codice_fiscale.parse().unwrap()),
        partita_iva: None,
    }
}

/// Takes changes as the store does: each account as its newest version says.
#[derive(Default)]
pub(crate) struct RecordingSink {
    pub(crate) taken: Mutex<Vec<AccountChange>>,
    pub(crate) fail_after: Mutex<Option<usize>>,
}

#[async_trait::async_trait]
impl AccountSink for RecordingSink {
    async fn apply_account(&self, change: &AccountChange) -> Result<(), StoreError> {
        let mut taken = self.taken.lock().unwrap();
        if self.fail_after.lock().unwrap().is_some_and(|most| taken.len() >= most) {
            return Err(StoreError::Closed);
        }
        taken.push(change.clone());
        Ok(())
    }
}
