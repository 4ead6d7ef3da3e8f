//! Random operations against a naive model, with crashes and faults in between.
//!
//! An operation that was acknowledged is there after any crash; one that failed has happened whole
//! or not at all; and every state is sound.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use object_store::ObjectStore;
use proptest::prelude::*;
use trust::digest::Sha256Digest;

use super::{
    house::{ANNA, House, limits, message, request, settings},
    objects::fresh,
    states::{List, STATES, forget, observe},
};
use crate::{
    account::{Account, name::MailboxName, settings::AccountSettings, tier::Tier},
    catalog::{
        engine::Batch,
        simulated::{Faults, SimulatedEngine},
    },
    error::StoreError,
    ids::{MailboxId, Uid},
    mailbox::{
        archive::{ArchiveRequest, ArchiveSelection, Archived, Candidate, NoRoom},
        flags::{FlagChange, Flags},
        view::MailboxView as _,
    },
    store::{Store, StoreLimits},
};

const NAMES: [&str; 7] =
    ["INBOX", "Inviati", "Cestino", "Lavori", "Lavori/2026", "Archivio", "Archivio/2026"];

/// Messages that each tier may have.
const MESSAGES_MAX: usize = 6;

#[derive(Clone, Debug)]
enum Operation {
    Append { mailbox: usize, number: usize, deleted: bool },
    Flag { mailbox: usize, uids: u16, add: bool },
    Expunge { mailbox: usize, uids: u16 },
    Copy { from: usize, to: usize, uids: u16, remove: bool },
    Create { mailbox: usize },
    Delete { mailbox: usize },
    RenameInbox { to: usize },
    TakeSnapshot,
    ForgetSnapshot { nth: usize },
    Rename { from: usize, to: usize },
    Archive { mailbox: usize, uids: u16 },
    Crash,
}

fn operation() -> impl Strategy<Value = Operation> {
    let mailbox = || 0..NAMES.len();
    prop_oneof![
        6 => (mailbox(), 0..6_usize, any::<bool>())
            .prop_map(|(mailbox, number, deleted)| Operation::Append { mailbox, number, deleted }),
        2 => (mailbox(), any::<u16>(), any::<bool>())
            .prop_map(|(mailbox, uids, add)| Operation::Flag { mailbox, uids, add }),
        2 => (mailbox(), any::<u16>())
            .prop_map(|(mailbox, uids)| Operation::Expunge { mailbox, uids }),
        4 => (mailbox(), mailbox(), any::<u16>(), any::<bool>())
            .prop_map(|(from, to, uids, remove)| Operation::Copy { from, to, uids, remove }),
        1 => mailbox().prop_map(|mailbox| Operation::Create { mailbox }),
        1 => mailbox().prop_map(|mailbox| Operation::Delete { mailbox }),
        1 => mailbox().prop_map(|to| Operation::RenameInbox { to }),
        2 => Just(Operation::TakeSnapshot),
        1 => (0..4_usize).prop_map(|nth| Operation::ForgetSnapshot { nth }),
        1 => (1..3_usize, mailbox()).prop_map(|(from, to)| Operation::Rename { from, to }),
        2 => (mailbox(), any::<u16>())
            .prop_map(|(mailbox, uids)| Operation::Archive { mailbox, uids }),
        1 => Just(Operation::Crash),
    ]
}

/// Rows by UID: message number and `\Deleted`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct ModelMailbox {
    rows: BTreeMap<u32, (usize, bool)>,
    given: u32,
}

type Model = BTreeMap<&'static str, ModelMailbox>;

fn first_model() -> Model {
    let names = ["INBOX", "Inviati", "Cestino", "Archivio"];
    names.into_iter().map(|name| (name, ModelMailbox::default())).collect()
}

/// UIDs 1 to 16 whose bits are set.
fn chosen(uids: u16) -> impl Iterator<Item = u32> {
    (0..16).filter(move |bit| uids & (1 << bit) != 0).map(|bit| bit + 1)
}

impl ModelMailbox {
    fn append(&mut self, row: (usize, bool)) {
        self.given += 1;
        self.rows.insert(self.given, row);
    }

    fn take(&mut self, uids: u16, remove: bool) -> Vec<(usize, bool)> {
        let rows: Vec<_> =
            chosen(uids).filter_map(|uid| Some((uid, *self.rows.get(&uid)?))).collect();
        if remove {
            for (uid, _) in &rows {
                self.rows.remove(uid);
            }
        }
        rows.into_iter().map(|(_, row)| row).collect()
    }
}

/// Messages of a tier.
fn held(model: &Model, tier: Tier) -> usize {
    let of_tier = model.iter().filter(|(name, _)| Tier::of_name(name) == tier);
    of_tier.map(|(_, mailbox)| mailbox.rows.len()).sum()
}

/// What the model says to an operation: the next state, or that it is refused.
fn imagine(model: &Model, operation: &Operation) -> Option<Model> {
    let next = imagine_room(model, operation)?;
    let fits = |tier| held(&next, tier) <= held(model, tier).max(MESSAGES_MAX);
    (fits(Tier::Live) && fits(Tier::Archive)).then_some(next)
}

/// The same where there is always room.
fn imagine_room(model: &Model, operation: &Operation) -> Option<Model> {
    let mut next = model.clone();
    match *operation {
        Operation::Append { mailbox, number, deleted } => {
            next.get_mut(NAMES[mailbox])?.append((number, deleted));
        }
        Operation::Flag { mailbox, uids, add } => {
            let mailbox = next.get_mut(NAMES[mailbox])?;
            for uid in chosen(uids) {
                if let Some(row) = mailbox.rows.get_mut(&uid) {
                    row.1 = add;
                }
            }
        }
        Operation::Expunge { mailbox, uids } => {
            let mailbox = next.get_mut(NAMES[mailbox])?;
            for uid in chosen(uids) {
                if mailbox.rows.get(&uid).is_some_and(|row| row.1) {
                    mailbox.rows.remove(&uid);
                }
            }
        }
        Operation::Copy { from, to, uids, remove } => {
            next.get(NAMES[to])?;
            let rows = next.get_mut(NAMES[from])?.take(uids, remove);
            let to = next.get_mut(NAMES[to])?;
            for row in rows {
                to.append(row);
            }
        }
        Operation::Create { mailbox } => add(&mut next, NAMES[mailbox])?,
        Operation::Delete { mailbox: 0 } => return None,
        Operation::Delete { mailbox } => drop(next.remove(NAMES[mailbox])?),
        Operation::RenameInbox { to } => {
            add(&mut next, NAMES[to])?;
            let rows = std::mem::take(&mut next.get_mut("INBOX")?.rows);
            let to = next.get_mut(NAMES[to])?;
            for row in rows.into_values() {
                to.append(row);
            }
        }
        Operation::Rename { from, to } => {
            if !next.contains_key(NAMES[from]) {
                return None;
            }
            add(&mut next, NAMES[to])?;
            let moved = next.remove(NAMES[from])?;
            next.insert(NAMES[to], moved);
        }
        Operation::Archive { mailbox, uids } => imagine_archive(&mut next, NAMES[mailbox], uids)?,
        Operation::TakeSnapshot | Operation::ForgetSnapshot { .. } | Operation::Crash => {}
    }
    Some(next)
}

/// Rows without `\Deleted` go to the last of [`NAMES`], as many as there is room for.
fn imagine_archive(model: &mut Model, name: &'static str, uids: u16) -> Option<()> {
    let mut room = MESSAGES_MAX.saturating_sub(held(model, Tier::Archive));
    let source = model.get(name)?.rows.clone();
    if Tier::of_name(name) == Tier::Archive {
        return Some(());
    }
    for uid in chosen(uids) {
        let Some(row) = source.get(&uid).filter(|row| !row.1) else { continue };
        if room == 0 {
            break;
        }
        room -= 1;
        if !model.contains_key("Archivio/2026") {
            add(model, "Archivio/2026")?;
        }
        model.get_mut(name)?.rows.remove(&uid);
        model.get_mut("Archivio/2026")?.append(*row);
    }
    Some(())
}

struct NotDeleted;

impl ArchiveSelection for NotDeleted {
    fn target(&self, candidate: Candidate<'_>) -> Option<MailboxName> {
        let name = MailboxName::new("Archivio/2026").expect("a name");
        (!candidate.flags.deleted).then_some(name)
    }

    fn also(&self, _: &Archived) -> Batch {
        Batch::default()
    }
}

fn add(model: &mut Model, name: &'static str) -> Option<()> {
    if model.contains_key(name) {
        return None;
    }
    if let Some((above, _)) = name.rsplit_once('/') {
        model.entry(above).or_default();
    }
    model.insert(name, ModelMailbox::default());
    Some(())
}

/// Does it; `kept` are the snapshots that stand.
async fn perform(
    house: &House,
    anna: &Account,
    operation: &Operation,
    kept: &mut BTreeSet<u64>,
) -> Result<(), StoreError> {
    let uids = |uids: u16| chosen(uids).filter_map(Uid::new).collect::<Vec<_>>();
    let deleted = Flags { deleted: true, ..Flags::default() };
    let open = |mailbox: usize| anna.mailbox_by_name(NAMES[mailbox]);
    match *operation {
        Operation::Append { mailbox, number, deleted } => {
            let id = open(mailbox).await?.id();
            let mut writer = house.store.message_writer();
            writer.write(&message(number)).await?;
            let staged = writer.finish().await?;
            let mut request = request(id, &staged);
            request.flags.deleted = deleted;
            anna.append(request).await?;
        }
        Operation::Flag { mailbox, uids: bits, add } => {
            let change = if add { FlagChange::Add } else { FlagChange::Remove };
            open(mailbox).await?.store_flags(&uids(bits), change, &deleted, None).await?;
        }
        Operation::Expunge { mailbox, uids: bits } => {
            open(mailbox).await?.expunge(&uids(bits)).await?;
        }
        Operation::Copy { from, to, uids: bits, remove } => {
            let (from, to) = (open(from).await?, open(to).await?.id());
            let uids = uids(bits);
            if remove {
                from.move_to(&uids, to).await?
            } else {
                from.copy(&uids, to).await?
            };
        }
        Operation::Create { mailbox } => drop(anna.create_mailbox(NAMES[mailbox], None).await?),
        Operation::Delete { mailbox } => anna.delete_mailbox(NAMES[mailbox]).await?,
        Operation::RenameInbox { to } => anna.rename_mailbox("INBOX", NAMES[to]).await?,
        Operation::TakeSnapshot => {
            let number = anna.capture(List).await?;
            assert!(kept.last().is_none_or(|last| *last < number), "{number} after {kept:?}");
            kept.insert(number);
        }
        Operation::ForgetSnapshot { nth } => {
            if let Some(number) = kept.iter().nth(nth).copied() {
                forget(&house.store, ANNA, number).await?;
                kept.remove(&number);
            }
        }
        Operation::Rename { from, to } => anna.rename_mailbox(NAMES[from], NAMES[to]).await?,
        Operation::Archive { mailbox, uids: bits } => {
            let (source, uids) = (open(mailbox).await?.id(), uids(bits));
            let no_room = NoRoom::default();
            anna.archive(ArchiveRequest { source, uids, selection: NotDeleted, no_room }).await?;
        }
        Operation::Crash => {}
    }
    Ok(())
}

/// What the store shows, as a model.
async fn observed(anna: &Account) -> Model {
    let mut model = Model::new();
    for entry in anna.mailboxes().await.expect("list") {
        let Some(id) = entry.mailbox_id else { continue };
        let Some(name) = NAMES.into_iter().find(|name| *name == entry.name) else { continue };
        model.insert(name, observed_mailbox(anna, id).await);
    }
    model
}

async fn observed_mailbox(anna: &Account, id: MailboxId) -> ModelMailbox {
    let mailbox = anna.mailbox(id).await.expect("open");
    let next = mailbox.state().await.expect("state").uid_next.expect("UIDs are left").get();
    let mut found = ModelMailbox { rows: BTreeMap::new(), given: next - 1 };
    for row in mailbox.rows().await.expect("rows").1 {
        let number = (0..6).find(|number| Sha256Digest::of(&message(*number)) == row.digest);
        found.rows.insert(row.uid.get(), (number.expect("a known message"), row.flags.deleted));
    }
    found
}

/// Every operation is one batch, so that a failed one happened whole or not at all.
fn one_step() -> StoreLimits {
    StoreLimits { rows_per_step_max: 1_000, ..limits() }
}

/// Opens the store; with faults it may take several tries.
async fn open(engine: Arc<SimulatedEngine>, objects: &Arc<dyn ObjectStore>) -> House {
    let mut engine = engine;
    loop {
        match House::try_open_with(engine.clone(), Arc::clone(objects), one_step()).await {
            Ok(house) if house.store.account(ANNA).await.is_ok() => return house,
            _ => engine = engine.crash(),
        }
    }
}

async fn account(house: &House) -> Account {
    loop {
        if let Ok(account) = house.store.account(ANNA).await {
            return account;
        }
    }
}

async fn run(operations: &[Operation], seed: u64, faults: Faults) {
    let engine = SimulatedEngine::with_faults(&Store::families(&[STATES]), seed, Faults::default());
    let objects = fresh();
    let first = House::try_open_with(engine, Arc::clone(&objects), one_step()).await.expect("open");
    let most = Some(MESSAGES_MAX as u64);
    let limited = AccountSettings {
        quota_messages: most,
        archive_quota_messages: most,
        ..settings("anna@pec.example", None)
    };
    first.store.apply_account(ANNA, 1, limited).await.expect("create");
    let (mut model, mut kept) = (first_model(), BTreeSet::new());
    let mut house = open(first.engine.restart_with(faults), &objects).await;
    for operation in operations {
        let anna = account(&house).await;
        let outcome = perform(&house, &anna, operation, &mut kept).await;
        let imagined = imagine(&model, operation);
        let unknown = match (&outcome, &imagined) {
            (Ok(()), Some(next)) => {
                model.clone_from(next);
                false
            }
            (Err(StoreError::Engine { .. }), _) => true,
            (Err(_), None) => false,
            (Ok(()), None) | (Err(_), Some(_)) => panic!("{operation:?}: {outcome:?}"),
        };
        if unknown || matches!(operation, Operation::Crash) {
            let calm = open(house.engine.restart_with(Faults::default()), &objects).await;
            calm.is_sound().await;
            let found = observed(&account(&calm).await).await;
            match imagined {
                Some(next) if unknown && found == next => model = next,
                _ => assert_eq!(found, model, "after {operation:?}"),
            }
            snapshots_stand(&calm, &mut kept, Some(operation).filter(|_| unknown)).await;
            house = open(calm.engine.restart_with(faults), &objects).await;
        }
    }
    let calm = open(house.engine.restart_with(Faults::default()), &objects).await;
    calm.is_sound().await;
    assert_eq!(observed(&account(&calm).await).await, model);
    snapshots_stand(&calm, &mut kept, None).await;
}

/// Every message that a snapshot lists is whole, none is left that nobody has, and those snapshots stand
/// that are `kept`; `unknown` may have happened or not.
async fn snapshots_stand(house: &House, kept: &mut BTreeSet<u64>, unknown: Option<&Operation>) {
    let (standing, complaints) = observe(&house.store, ANNA).await.expect("observe");
    assert_eq!(complaints, [""; 0], "after {unknown:?}");
    let (added, gone) = (standing.difference(kept).count(), kept.difference(&standing).count());
    let most = match unknown {
        Some(Operation::TakeSnapshot) => (1, 0),
        Some(Operation::ForgetSnapshot { .. }) => (0, 1),
        _ => (0, 0),
    };
    assert!(
        added <= most.0 && gone <= most.1,
        "{standing:?} instead of {kept:?} after {unknown:?}"
    );
    *kept = standing;
}

fn block_on(future: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(future);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn the_store_does_what_the_model_does_also_across_crashes(
        operations in prop::collection::vec(operation(), 1..40),
        seed in any::<u64>(),
    ) {
        block_on(run(&operations, seed, Faults::default()));
    }

    #[test]
    fn a_failed_operation_happened_whole_or_not_at_all(
        operations in prop::collection::vec(operation(), 1..40),
        seed in any::<u64>(),
    ) {
        let faults = Faults {
            failed_commits_per_thousand: 60,
            failed_syncs_per_thousand: 60,
            failed_reads_per_thousand: 8,
        };
        block_on(run(&operations, seed, faults));
    }
}
