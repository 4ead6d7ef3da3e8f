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
            if !site.config.snapshots.enabled {
                return Err(off());
            }
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

/// Without runs nothing would thin what holders ask for.
fn off() -> OperationError {
    let text = Text::fixed(
        "con snapshots.enabled = false i titolari non possono chiedere istantanee: nulla le toglierebbe a tempo scaduto",
        "with snapshots.enabled = false holders can ask for no snapshots: nothing would remove them when their time is over",
    );
    OperationError::new(Kind::Invalid, text)
}

fn over(limit: u32) -> OperationError {
    let text = match limit {
        0 => {
            let text = Text::fixed(
                "questa casella non può chiedere istantanee: snapshots.on_demand_per_day è 0",
                "this account may ask for no snapshots: snapshots.on_demand_per_day is 0",
            );
            return OperationError::new(Kind::Invalid, text);
        }
        1 => Text::fixed(
            "nel giorno UTC di oggi la casella ha già avuto l'istantanea a richiesta che le spetta: riprovare dopo le 00:00 UTC",
            "the account has had its one snapshot on demand of this day (UTC): try again after 00:00 UTC",
        ),
        _ => Text::filled(
            format!(
                "nel giorno UTC di oggi la casella ha già avuto {limit} istantanee a richiesta: riprovare dopo le 00:00 UTC"
            ),
            format!(
                "the account has had {limit} snapshots on demand this day (UTC): try again after 00:00 UTC"
            ),
        ),
    };
    OperationError::new(Kind::Temporary, text)
}
