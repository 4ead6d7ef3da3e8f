//! The account and the snapshot that an operation is about, by an instant, and what a person is told when
//! the floor below refuses.

use ::snapshots::{error::SnapshotError, keep::snapshot::Snapshot};
use storage::{account::settings::AccountSettings, ids::AccountId};

use crate::{
    control::{Kind, OperationError, Site},
    texts::Text,
};

/// The account with an address.
pub(super) async fn account(
    site: &Site,
    address: &str,
) -> Result<(AccountId, AccountSettings), OperationError> {
    let found = site.store.account_by_address(address).await?;
    found.ok_or_else(|| {
        let text = Text::filled(
            format!("non c'è alcuna casella {address}"),
            format!("there is no account {address}"),
        );
        OperationError::new(Kind::NotFound, text)
    })
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

/// What a person is told about an error of the floor below.
pub(super) fn refusal(error: &SnapshotError) -> OperationError {
    let (kind, italian) = match error {
        SnapshotError::NoSuchSnapshot { number, .. } => {
            (Kind::NotFound, format!("l'istantanea {number} non c'è (più): elencarle di nuovo"))
        }
        SnapshotError::TooSoon(_) => (
            Kind::Temporary,
            "c'è già un'istantanea di questo secondo: riprovare tra un secondo".to_owned(),
        ),
        SnapshotError::TooBusy(_) => (
            Kind::Temporary,
            "la casella cambia troppo in fretta per un'istantanea: riprovare più tardi".to_owned(),
        ),
        SnapshotError::Held { number, reason, .. } => (
            Kind::Conflict,
            format!("l'istantanea {number} è trattenuta ({reason}): togliere prima il vincolo"),
        ),
        other => return OperationError::of_machine(other),
    };
    OperationError::new(kind, Text::filled(italian, error.to_string()))
}
