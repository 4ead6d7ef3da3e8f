//! The account and the snapshot that an operation is about, by an instant, and what a person is told when
//! the floor below refuses.

use ::snapshots::{error::SnapshotError, keep::snapshot::Snapshot};
use storage::{account::settings::AccountSettings, error::StoreError, ids::AccountId};

use super::{named, not_found};
use crate::{
    control::{Kind, OperationError, Site},
    texts::{self, Text},
};

/// The account with an address.
pub(super) async fn account(
    site: &Site,
    address: &str,
) -> Result<(AccountId, AccountSettings), OperationError> {
    let found = site.store.account_by_address(address).await?;
    found.ok_or_else(|| {
        not_found(
            format!("la casella {address} non c'è: controllare l'indirizzo"),
            format!("there is no account {address}: check the address"),
        )
    })
}

/// The snapshot of an account that `instant` names, in the words that all commands take.
pub(super) async fn snapshot(
    site: &Site,
    account: AccountId,
    instant: &str,
) -> Result<Snapshot, OperationError> {
    let all = site.runs.snapshots().list(account).await?;
    named(&all, instant).cloned()
}

/// The snapshot that stood at an instant: the latest one taken until then.
pub(super) async fn standing(
    site: &Site,
    account: AccountId,
    instant: trust::clock::UnixMillis,
) -> Result<Snapshot, OperationError> {
    let all = site.runs.snapshots().list(account).await.map_err(|error| refusal(&error))?;
    // An instant of a whole second names the snapshot of that second, as its name does.
    let second = instant.seconds();
    let found = all.into_iter().rfind(|one| {
        one.record.instant <= instant
            || (instant.0 % 1_000 == 0 && one.record.instant.seconds() == second)
    });
    found.ok_or_else(|| {
        OperationError::new(
            Kind::NotFound,
            Text::fixed(
                "nessuna istantanea della casella è così vecchia",
                "no snapshot of the account is that old",
            ),
        )
    })
}

/// What a person is told about an error of the floor below, and what it means for who asked.
pub(super) fn refusal(error: &SnapshotError) -> OperationError {
    let kind = match error {
        SnapshotError::NotPresent
        | SnapshotError::NoSuchSnapshot { .. }
        | SnapshotError::Store(
            StoreError::NoSuchMailbox { .. }
            | StoreError::NoSuchMailboxName(_)
            | StoreError::SnapshotExpired { .. },
        ) => Kind::NotFound,
        SnapshotError::TooSoon(_)
        | SnapshotError::TooBusy(_)
        | SnapshotError::TooManyRestores { .. } => Kind::Temporary,
        SnapshotError::Held { .. } | SnapshotError::Store(StoreError::Conflict) => Kind::Conflict,
        _ => Kind::Failed,
    };
    OperationError::new(kind, texts::snapshots::error(error))
}

impl From<SnapshotError> for OperationError {
    fn from(error: SnapshotError) -> Self {
        refusal(&error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::texts::Language;

    #[test]
    fn an_error_of_snapshots_has_the_same_kind_and_italian_text_whichever_way_it_comes() {
        let account = AccountId(7);
        let reason = "causa 12".to_owned();
        for (kind, error) in [
            (Kind::NotFound, SnapshotError::NoSuchSnapshot { account, number: 3 }),
            (Kind::NotFound, SnapshotError::NotPresent),
            (Kind::NotFound, StoreError::NoSuchMailboxName("Clienti".to_owned()).into()),
            (Kind::Temporary, SnapshotError::TooSoon(account)),
            (Kind::Temporary, SnapshotError::TooBusy(account)),
            (Kind::Temporary, SnapshotError::TooManyRestores { account, limit: 20 }),
            (Kind::Conflict, SnapshotError::Held { account, number: 3, reason }),
            (Kind::Conflict, StoreError::Conflict.into()),
            (Kind::Failed, SnapshotError::LimitExceeded { what: "a page", limit: 8 }),
        ] {
            let english = error.to_string();
            let told = refusal(&error);
            let converted = OperationError::from(error);
            assert_eq!((told.kind, &told.text), (kind, &converted.text), "{english}");
            assert_eq!(converted.kind, kind);
            assert_ne!(told.text.get(Language::Italian), english);
            assert_eq!(told.text.get(Language::English), english);
        }
    }
}
