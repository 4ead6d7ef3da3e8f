//! `snapshot/take`: a snapshot now.

use ::snapshots::keep::{snapshot::SnapshotKind, take::Taken};
use serde::{Deserialize, Serialize};
use trust::clock::{Clock as _, SystemClock};

use super::{account, standing::refusal};
use crate::{
    control::{Kind, Operation, OperationError, Run, Site},
    texts::Text,
};

/// Asks for a snapshot of an account as it is now.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct SnapshotTake {
    /// The account's address.
    pub account: String,
    /// The holder asks for it: within the limit of a day.
    #[serde(default)]
    pub holder: bool,
}

/// The account's latest snapshot.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct TakenView {
    /// The account's address.
    pub account: String,
    /// Its number.
    pub number: u64,
    /// Its name.
    pub name: String,
    /// Whether it was taken now: an unchanged account gets no second one.
    pub new: bool,
    /// Messages in it.
    pub messages: u64,
    /// Octets of these.
    pub octets: u64,
}

#[async_trait::async_trait]
impl Operation for SnapshotTake {
    const NAME: &'static str = "snapshot/take";

    type Outcome = TakenView;

    async fn run(&self, site: &Site, _: &Run) -> Result<TakenView, OperationError> {
        let (id, settings) = account(site, &self.account).await?;
        let (snapshots, now) = (site.runs.snapshots(), SystemClock.now());
        let taken = if self.holder {
            let limit = site.config.snapshots.times(&settings.plan).on_demand_per_day;
            let taken = site.runs.take_asked(id, limit, now).await;
            taken.map_err(|error| refusal(&error))?.ok_or_else(|| over(limit))?
        } else {
            let taken = snapshots.take(id, SnapshotKind::Operator, now).await;
            taken.map_err(|error| refusal(&error))?
        };
        let (snapshot, new) = match taken {
            Taken::New(snapshot) => (snapshot, true),
            Taken::Unchanged(Some(snapshot)) => (snapshot, false),
            Taken::Unchanged(None) => return Err(OperationError::cancelled()),
        };
        Ok(TakenView {
            account: settings.address,
            number: snapshot.number,
            name: snapshot.name(),
            new,
            messages: snapshot.record.messages,
            octets: snapshot.record.octets,
        })
    }
}

fn over(limit: u32) -> OperationError {
    let text = Text::filled(
        format!("oggi la casella ha già avuto {limit} istantanee a richiesta: riprovare domani"),
        format!("the account has had {limit} snapshots on demand today: try again tomorrow"),
    );
    OperationError::new(Kind::Temporary, text)
}
