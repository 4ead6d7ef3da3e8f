//! A keeper takes, holds, thins and forgets the snapshots of one account, erases messages, and looks into
//! snapshots while all that goes on. It is the only one who lets snapshots go; runs take some, too.

use std::sync::{Arc, Mutex};

use storage::{
    account::{Account, erase::EraseRequest},
    catalog::engine::Batch,
    error::StoreError,
    ids::EmailNumber,
    mailbox::view::{MailboxView, MessageRow},
    octets::ErasureReason,
    summary::Envelope,
};
use trust::clock::Clock as _;

use super::{
    ledger::Ledger,
    mail::{is_refused, is_unknown},
    post::octets_of,
    run::{Life, Stage},
};
use crate::{
    error::SnapshotError,
    keep::{
        holds::hold_of,
        open::OpenSnapshot,
        settings::{Hold, Retention},
        snapshot::SnapshotKind,
        take::Taken,
        tests::copy::{self, Octets},
    },
};

/// Snapshots of one account that no more are added to.
const ENOUGH: usize = 8;

#[derive(Clone)]
pub(super) struct Keeper {
    pub(super) stage: Arc<Stage>,
    pub(super) life: Arc<Life>,
    pub(super) ledger: Arc<Mutex<Ledger>>,
}

/// Whether an operation on snapshots was refused for a reason that comes with others at work.
pub(super) fn is_put_off(error: &SnapshotError) -> bool {
    match error {
        SnapshotError::TooSoon(_) | SnapshotError::TooBusy(_) | SnapshotError::Held { .. } => true,
        SnapshotError::Store(error) => is_refused(error),
        _ => false,
    }
}

/// Whether nobody can say what became of it before the restart.
pub(super) fn is_lost(error: &SnapshotError) -> bool {
    matches!(error, SnapshotError::Store(error) if is_unknown(error))
}

impl Keeper {
    pub(super) async fn keep(self) {
        loop {
            self.stage.world.sleep("keeper", self.stage.world.below(60)).await;
            match self.one().await {
                Ok(()) => self.ledger.lock().expect("no panic").acknowledged += 1,
                Err(error) if is_put_off(&error) => {}
                Err(error) if is_lost(&error) => return self.stage.world.break_down(),
                Err(error) => return self.stage.world.blame(format!("a keeper: {error:?}")),
            }
        }
    }

    fn known<T>(&self, of: impl FnOnce(&mut Ledger) -> T) -> T {
        of(&mut self.ledger.lock().expect("no panic"))
    }

    async fn one(&self) -> Result<(), SnapshotError> {
        let kept = self.known(|ledger| ledger.kept.iter().copied().collect::<Vec<u64>>());
        let some = kept.get(self.stage.world.index(kept.len())).copied();
        match (self.stage.world.below(20), some) {
            (0..=6, _) if kept.len() < ENOUGH => self.take().await,
            (7..=9, Some(number)) => self.forget(number).await,
            (10, _) => self.thin().await,
            (11, Some(number)) => self.hold(number).await,
            (12..=13, _) => self.release().await,
            (14..=15, some) => self.erase(some).await,
            (_, Some(number)) => self.look(number).await,
            (_, None) => self.take().await,
        }
    }

    async fn take(&self) -> Result<(), SnapshotError> {
        let account = self.known(|ledger| ledger.account);
        let now = self.stage.later();
        let asked = self.stage.world.chance(300);
        let kind = if asked { SnapshotKind::OnDemand } else { SnapshotKind::Scheduled };
        if let Taken::New(snapshot) = self.life.snapshots.take(account, kind, now).await? {
            self.known(|ledger| ledger.kept.insert(snapshot.number));
        }
        Ok(())
    }

    async fn forget(&self, number: u64) -> Result<(), SnapshotError> {
        let account = self.known(|ledger| ledger.account);
        let held = self.known(|ledger| ledger.held.contains_key(&number));
        if !held {
            self.known(|ledger| ledger.leaving.insert(number));
        }
        match self.life.snapshots.forget(account, number).await {
            Ok(()) if held => {
                self.stage.world.blame(format!("snapshot {number} went although it is held"));
            }
            Ok(()) => self.gone(|snapshot| snapshot == number),
            // It may be marked, and hidden, and the rest is left for later.
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn gone(&self, is_gone: impl Fn(u64) -> bool) {
        self.known(|ledger| {
            ledger.kept.retain(|number| !is_gone(*number));
            ledger.leaving.retain(|number| !is_gone(*number));
        });
    }

    async fn thin(&self) -> Result<(), SnapshotError> {
        let hourly_hours = u32::try_from(self.stage.world.below(5)).expect("small");
        let none = Retention { hourly_hours, daily_days: 0, monthly_months: 0, on_demand_days: 0 };
        let account = self.known(|ledger| {
            // Runs take some, too: which one is the latest is not known here.
            let stays = |number: &u64| ledger.held.contains_key(number);
            let leaving: Vec<u64> =
                ledger.kept.iter().copied().filter(|number| !stays(number)).collect();
            ledger.leaving.extend(leaving);
            ledger.account
        });
        self.life.snapshots.thin(account, &none, self.stage.calendar.now()).await?;
        let listed = self.life.snapshots.list(account).await?;
        let left: Vec<u64> = listed.iter().map(|snapshot| snapshot.number).collect();
        self.known(|ledger| {
            for number in ledger.kept.difference(&ledger.leaving) {
                if !left.contains(number) {
                    self.stage.world.blame(format!("thinning took snapshot {number}"));
                }
            }
            if left.is_empty() && !ledger.kept.is_empty() {
                self.stage.world.blame("thinning took the latest snapshot".to_owned());
            }
            ledger.kept.retain(|number| left.contains(number));
            ledger.leaving.clear();
        });
        Ok(())
    }

    async fn hold(&self, number: u64) -> Result<(), SnapshotError> {
        let account = self.known(|ledger| ledger.account);
        let hold = Hold { reason: "indagine 7".to_owned(), since: self.stage.calendar.now() };
        self.life.runs.hold(account, Some(number), Some(hold), Batch::default()).await?;
        let snapshot = self.life.snapshots.get(account, number).await?;
        let Some(snapshot) = snapshot else {
            self.stage.world.blame(format!("snapshot {number} was held, and is gone"));
            return Ok(());
        };
        self.known(|ledger| ledger.held.insert(number, snapshot.email_numbers_below));
        Ok(())
    }

    async fn release(&self) -> Result<(), SnapshotError> {
        let held = self.known(|ledger| ledger.held.pop_first());
        let Some((number, _)) = held else { return Ok(()) };
        let account = self.known(|ledger| ledger.account);
        self.life.runs.hold(account, Some(number), None, Batch::default()).await
    }

    /// Erases a message of a snapshot, or of a mailbox, unless a hold concerns it.
    async fn erase(&self, snapshot: Option<u64>) -> Result<(), SnapshotError> {
        let account = self.life.store.account(self.known(|ledger| ledger.account)).await?;
        let rows = match snapshot.filter(|_| self.stage.world.chance(500)) {
            Some(number) => {
                let open = self.life.snapshots.open(account.id(), number).await?;
                all_rows(&open).await?
            }
            None => account.mailbox_by_name("INBOX").await?.rows().await?.1,
        };
        let Some(row) = rows.get(self.stage.world.index(rows.len())) else { return Ok(()) };
        self.erase_one(&account, row.email_number).await
    }

    async fn erase_one(&self, account: &Account, number: EmailNumber) -> Result<(), SnapshotError> {
        let mut also = Batch::default();
        if hold_of(account, number, &mut also).await?.is_some() {
            return Ok(());
        }
        let (reason, envelope) = (ErasureReason::DataSubject, Envelope::default());
        let request = EraseRequest { email_number: number, reason, envelope, also };
        let held = self.known(|ledger| {
            ledger.erasing.insert(number);
            ledger.held.values().any(|below| number < *below)
        });
        match account.erase(request).await {
            Ok(_) => {
                if held {
                    self.stage.world.blame(format!("message {number:?} went although it is held"));
                }
                self.known(|ledger| ledger.erased.insert(number));
            }
            // It went with its last row, and no snapshot has it.
            Err(StoreError::NoSuchMessage { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Compares a snapshot with the account as it was; nobody else can let it go meanwhile.
    async fn look(&self, number: u64) -> Result<(), SnapshotError> {
        let (account, leaving) =
            self.known(|ledger| (ledger.account, ledger.leaving.contains(&number)));
        let open = match self.life.snapshots.open(account, number).await {
            Err(SnapshotError::NoSuchSnapshot { .. }) if leaving => return Ok(()),
            opened => opened?,
        };
        let found = copy::read(&open, Octets::Without).await?;
        if self.stage.moments.copy((account, number)).await.as_deref() != Some(&found) {
            let text = format!("snapshot {number} of {account} is another than it was: {found:?}");
            self.stage.world.blame(text);
        }
        self.stage.compared();
        let all = all_rows(&open).await?;
        for row in all.iter().filter(|_| self.stage.world.chance(150)) {
            let Some((id, _)) = found.iter().find(|(_, copied)| copied.rows.contains(row)) else {
                continue;
            };
            let mailbox = open.mailbox(*id)?;
            if let Some(complaint) = complaint(&self.stage, &self.ledger, &*mailbox, row).await? {
                self.stage.world.blame(format!("snapshot {number} of {account}: {complaint}"));
            }
        }
        Ok(())
    }
}

/// Every row of a snapshot.
pub(super) async fn all_rows(open: &Arc<OpenSnapshot>) -> Result<Vec<MessageRow>, StoreError> {
    let copy = copy::read(open, Octets::Without).await?;
    Ok(copy.into_values().flat_map(|copied| copied.rows).collect())
}

/// Says what is wrong with the octets of a message.
pub(super) async fn complaint(
    stage: &Stage,
    ledger: &Mutex<Ledger>,
    mailbox: &dyn MailboxView,
    row: &MessageRow,
) -> Result<Option<String>, StoreError> {
    let number = row.email_number;
    let erased = ledger.lock().expect("no panic").erased.contains(&number);
    let read = mailbox.read(number, 0..row.size).await;
    let erasing = ledger.lock().expect("no panic").erasing.contains(&number);
    match read {
        Ok(read) if !erased && read == octets_of(stage.message(row)) => Ok(None),
        Ok(_) => Ok(Some(format!("{number:?} is not what was sent (erased: {erased})"))),
        Err(StoreError::Erased { .. }) if erasing => Ok(None),
        Err(error) if is_unknown(&error) || matches!(error, StoreError::Objects { .. }) => {
            Err(error)
        }
        Err(error) => Ok(Some(format!("{number:?} cannot be read: {error:?}"))),
    }
}
