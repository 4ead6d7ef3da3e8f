//! `snapshot/restore`: begins a restore; the server's own service does it. Beside it its status, and an
//! end or another beginning of it.

use serde::{Deserialize, Serialize};
use snapshots::restore::{
    Restores, Target,
    job::{RestoreJob, RestoreState},
};
use trust::clock::{Clock as _, SystemClock};

use super::{account, not_found, noted, open, opened, part, scope};
use crate::{
    control::{Operation, OperationError, Run, Site},
    pec::journal::JournalEvent,
    texts::Text,
};

/// Asks for a restore.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct SnapshotRestore {
    /// The account's address.
    pub account: String,
    /// From which snapshot.
    pub instant: String,
    /// This mailbox only.
    #[serde(default)]
    pub mailbox: Option<String>,
    /// Without those below it.
    #[serde(default)]
    pub only: bool,
    /// This message of the mailbox only.
    #[serde(default)]
    pub uid: Option<u32>,
    /// Where it was, instead of below `Ripristino …`.
    #[serde(default)]
    pub in_place: bool,
}

/// The work is the server's.
const NO_SERVER: Text = Text::fixed(
    "nessun server è in funzione: il ripristino è annotato e comincia, o prosegue, quando il server parte",
    "no server runs: the restore is noted and begins, or goes on, when the server starts",
);

/// A restore.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct RestoreView {
    /// Its number in the account.
    pub number: u64,
    /// `running`, `done`, `stopped`, `cancelled`.
    pub state: String,
    /// The snapshot's number.
    pub snapshot: u64,
    /// The mailbox above what is restored; `None` in place.
    pub into: Option<String>,
    /// When it was asked for, in ms since 1970.
    pub begun_millis: i64,
    /// Messages looked at.
    pub done: u64,
    /// Messages to look at.
    pub total: u64,
    /// Messages brought back.
    pub restored: u64,
    /// Messages that were there already.
    pub present: u64,
    /// Messages whose octets were erased.
    pub erased: u64,
    /// Messages whose records are missing or damaged.
    #[serde(default)]
    pub unreadable: u64,
    /// Why it stopped, in English.
    pub trouble: Option<String>,
    /// When it was just asked for: why the account may have been otherwise at the instant that was named.
    #[serde(default)]
    pub note: Option<Text>,
    /// Why nothing comes of it before something else happens.
    #[serde(default)]
    pub waits: Option<Text>,
}

impl RestoreView {
    /// `job`; one that runs waits for a server where none does.
    fn of(job: RestoreJob, site: &Site) -> Self {
        let waits = job.state == RestoreState::Running && site.engine.is_none();
        Self { waits: waits.then_some(NO_SERVER), ..job.into() }
    }
}

impl From<RestoreJob> for RestoreView {
    fn from(job: RestoreJob) -> Self {
        let state = match job.state {
            RestoreState::Running => "running",
            RestoreState::Done => "done",
            RestoreState::Stopped => "stopped",
            RestoreState::Cancelled => "cancelled",
        };
        Self {
            number: job.number,
            state: state.to_owned(),
            snapshot: job.snapshot,
            into: job.root,
            begun_millis: job.begun.0,
            done: job.done,
            total: job.total,
            restored: job.restored,
            present: job.present,
            erased: job.erased,
            unreadable: job.unreadable,
            trouble: job.trouble,
            note: None,
            waits: None,
        }
    }
}

fn restores(site: &Site) -> std::sync::Arc<Restores> {
    Restores::new(opened(site), site.config.snapshots.restore.limits)
}

#[async_trait::async_trait]
impl Operation for SnapshotRestore {
    const NAME: &'static str = "snapshot/restore";

    type Outcome = RestoreView;

    async fn run(&self, site: &Site, run: &Run) -> Result<RestoreView, OperationError> {
        let (id, settings) = account(site, &self.account).await?;
        let (opened, note) = run.reading(open(&opened(site), id, &self.instant)).await??;
        let scope = scope(&opened, self.mailbox.as_deref(), self.only, self.uid)?;
        let snapshot = opened.snapshot();
        let target = if self.in_place {
            Target::InPlace
        } else {
            Target::Into(format!("Ripristino {}", snapshot.name()))
        };
        let now = SystemClock.now();
        let what = part(self.mailbox.as_deref(), self.only, self.uid);
        let place = if self.in_place { "in place" } else { "beside the rest" };
        let detail = format!("{}: {what}, {place}", snapshot.name());
        let act = noted(JournalEvent::SnapshotRestored, &settings.address, &detail);
        let restores = restores(site);
        let job = restores.begin_with(id, snapshot.number, scope, target, now, &act).await?;
        Ok(RestoreView { note, ..RestoreView::of(job, site) })
    }
}

/// Asks how restores stand.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct RestoreStatus {
    /// The account's address.
    pub account: String,
    /// One restore; `None` is all.
    #[serde(default)]
    pub number: Option<u64>,
}

#[async_trait::async_trait]
impl Operation for RestoreStatus {
    const NAME: &'static str = "snapshot/restore-status";

    type Outcome = Vec<RestoreView>;

    async fn run(&self, site: &Site, _run: &Run) -> Result<Vec<RestoreView>, OperationError> {
        let (account, _) = account(site, &self.account).await?;
        let jobs = restores(site).list(account).await?;
        let Some(number) = self.number else {
            return Ok(jobs.into_iter().map(|job| RestoreView::of(job, site)).collect());
        };
        let wanted = jobs.into_iter().find(|job| job.number == number);
        let wanted = wanted.ok_or_else(|| no_such(&self.account, number))?;
        Ok(vec![RestoreView::of(wanted, site)])
    }
}

/// Ends a restore, or lets one that stopped go on.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct RestoreChange {
    /// The account's address.
    pub account: String,
    /// Which.
    pub number: u64,
    /// Lets it go on instead of ending it.
    #[serde(default)]
    pub resume: bool,
}

#[async_trait::async_trait]
impl Operation for RestoreChange {
    const NAME: &'static str = "snapshot/restore-change";

    type Outcome = RestoreView;

    async fn run(&self, site: &Site, _run: &Run) -> Result<RestoreView, OperationError> {
        let (account, settings) = account(site, &self.account).await?;
        let restores = restores(site);
        let what = if self.resume { "resumed" } else { "cancelled" };
        let detail = format!("restore {}: {what}", self.number);
        let act = noted(JournalEvent::SnapshotRestored, &settings.address, &detail);
        let changed = if self.resume {
            restores.resume(account, self.number, &act).await?
        } else {
            restores.cancel(account, self.number, &act).await?
        };
        let changed = changed.ok_or_else(|| no_such(&self.account, self.number))?;
        Ok(RestoreView::of(changed, site))
    }
}

fn no_such(address: &str, number: u64) -> OperationError {
    not_found(
        format!("{address} non ha un ripristino {number}: `ceralacca snapshot restore-status`"),
        format!("{address} has no restore {number}: `ceralacca snapshot restore-status`"),
    )
}
