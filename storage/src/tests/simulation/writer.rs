//! A writer: one operation after the other, each acknowledged before the next.

use std::sync::{Arc, Mutex};

use super::{
    SNAPSHOTS,
    bodies::{BODIES, Body},
    model::{Operation, Scribe},
    world::World,
};
use crate::{
    account::Account,
    catalog::engine::Batch,
    error::StoreError,
    held::HeldId,
    ids::Uid,
    mailbox::{
        append::Appended,
        flags::{FlagChange, Flags},
        view::MailboxView as _,
    },
    octets::StagedMessage,
    store::Store,
    tests::house::request,
};

/// Messages of one mailbox, held and kept ones of one writer, that more are not added to.
const ENOUGH: usize = 12;

#[derive(Clone)]
pub(super) struct Writer {
    pub(super) world: Arc<World>,
    pub(super) store: Arc<Store>,
    pub(super) scribe: Arc<Mutex<Scribe>>,
}

impl Writer {
    pub(super) async fn write(self) {
        loop {
            self.world.pause("writer").await;
            let operation = self.choose();
            self.scribe.lock().expect("no panic").pending = Some(operation.clone());
            let outcome = self.perform(&operation).await;
            let mut scribe = self.scribe.lock().expect("no panic");
            match outcome {
                Ok(mod_seq) => {
                    scribe.state = scribe.state.after(&operation);
                    scribe.pending = None;
                    scribe.acknowledged += 1;
                    if mod_seq.is_some_and(|mod_seq| mod_seq <= scribe.mod_seq) {
                        let text = format!("MODSEQ {mod_seq:?} after {}", scribe.mod_seq);
                        self.world.blame(format!("{operation:?}: {text}"));
                    }
                    scribe.mod_seq = scribe.mod_seq.max(mod_seq.unwrap_or(0));
                }
                // Refused whole: the caller may try again.
                Err(StoreError::Conflict | StoreError::Objects { .. }) => scribe.pending = None,
                // It may have happened; nobody can say before the restart.
                Err(StoreError::Engine { .. } | StoreError::Closed) => {
                    return self.world.break_down();
                }
                Err(error) => return self.world.blame(format!("{operation:?}: {error:?}")),
            }
        }
    }

    fn choose(&self) -> Operation {
        let scribe = self.scribe.lock().expect("no panic");
        let world = &self.world;
        let names: Vec<String> = scribe.state.mailboxes.keys().cloned().collect();
        let name = || names[world.index(names.len())].clone();
        let body = Body(world.below(BODIES));
        let mailbox = name();
        let rows = &scribe.state.mailboxes[&mailbox].rows;
        // A few neighbours, so that operations meet what others left.
        let uids: Vec<u32> = rows.keys().copied().filter(|_| world.chance(400)).take(8).collect();
        let append = Operation::Append { mailbox: mailbox.clone(), body };
        match world.below(20) {
            0..=4 if rows.len() < ENOUGH => append,
            5..=6 if rows.len() < ENOUGH => {
                Operation::Copy { from: mailbox, to: name(), uids, remove: world.chance(500) }
            }
            7..=9 => Operation::Flag {
                mailbox,
                uids,
                deleted: world.chance(800),
                add: world.chance(800),
            },
            10..=12 => Operation::Expunge { mailbox, uids: rows.keys().copied().take(8).collect() },
            13 if names.len() == 1 => Operation::Create { mailbox: scribe.tent() },
            13 => Operation::Delete { mailbox: scribe.tent() },
            14 | 15 if scribe.state.held.len() < ENOUGH => {
                let number =
                    u128::from(world.below(u64::MAX)) << 64 | u128::from(world.below(u64::MAX));
                Operation::Hold { id: HeldId(number.to_be_bytes()), body }
            }
            16 | 17 if !scribe.state.held.is_empty() => {
                let nth = world.index(scribe.state.held.len());
                let id = *scribe.state.held.keys().nth(nth).expect("there is one");
                if world.chance(500) {
                    Operation::Release { id }
                } else {
                    Operation::Deliver { id, mailbox }
                }
            }
            18 if !rows.is_empty() && scribe.state.kept.len() < ENOUGH => {
                let nth = world.index(rows.len());
                let uid = *rows.keys().nth(nth).expect("there is one");
                Operation::Keep { key: world.below(u64::MAX), mailbox, uid }
            }
            19 if !scribe.state.kept.is_empty() => {
                let nth = world.index(scribe.state.kept.len());
                Operation::Forget { key: *scribe.state.kept.keys().nth(nth).expect("there is one") }
            }
            _ => append,
        }
    }

    /// Does it; returns the MODSEQ when there is one.
    async fn perform(&self, operation: &Operation) -> Result<Option<u64>, StoreError> {
        let id = self.scribe.lock().expect("no panic").account;
        let account = self.store.account(id).await?;
        match operation {
            Operation::Append { mailbox, body } => {
                let staged = self.stage(*body).await?;
                self.append(&account, mailbox, &staged, Batch::default()).await
            }
            Operation::Copy { from, to, uids, remove } => {
                self.copy(&account, (from, to), uids, *remove).await
            }
            Operation::Flag { mailbox, uids, deleted, add } => {
                let flags = Flags { deleted: *deleted, seen: !*deleted, ..Flags::default() };
                let change = if *add { FlagChange::Add } else { FlagChange::Remove };
                let mailbox = account.mailbox_by_name(mailbox).await?;
                mailbox.store_flags(&uids_of(uids), change, &flags, None).await?;
                Ok(None)
            }
            Operation::Expunge { mailbox, uids } => {
                let mailbox = account.mailbox_by_name(mailbox).await?;
                mailbox.expunge(&uids_of(uids)).await.map(|_| None)
            }
            Operation::Create { mailbox } => self.create(&account, mailbox).await,
            Operation::Delete { mailbox } => account.delete_mailbox(mailbox).await.map(|()| None),
            Operation::Hold { id, body } => {
                let staged = self.stage(*body).await?;
                let mut batch = Batch::default();
                self.store.hold(*id, &staged, &mut batch);
                self.store.commit(batch).await.map(|_| None)
            }
            Operation::Release { id } => {
                let mut batch = Batch::default();
                self.store.release(*id, &mut batch);
                self.store.commit(batch).await.map(|_| None)
            }
            Operation::Deliver { id, mailbox } => {
                let Some(held) = self.store.held(*id).await? else {
                    self.world.blame(format!("held message {id} is gone"));
                    return Ok(None);
                };
                let mut also = Batch::default();
                self.store.release(*id, &mut also);
                self.append(&account, mailbox, &held.to_staged(), also).await
            }
            Operation::Keep { key, mailbox, uid } => self.keep(&account, *key, mailbox, *uid).await,
            Operation::Forget { key } => {
                let mut batch = Batch::default();
                batch.delete(SNAPSHOTS, key.to_be_bytes().to_vec());
                self.store.commit(batch).await.map(|_| None)
            }
        }
    }

    async fn stage(&self, body: Body) -> Result<StagedMessage, StoreError> {
        let mut writer = self.store.message_writer();
        for octets in body.octets().chunks(3_000) {
            writer.write(octets).await?;
            self.world.pause("receive").await;
        }
        writer.finish().await
    }

    async fn append(
        &self,
        account: &Account,
        mailbox: &str,
        staged: &StagedMessage,
        also: Batch,
    ) -> Result<Option<u64>, StoreError> {
        let mailbox_id = account.mailbox_by_name(mailbox).await?.id();
        let mut request = request(mailbox_id, staged);
        request.also = also;
        let Appended { uid, mod_seq, uid_validity, .. } = account.append(request).await?;
        let mut scribe = self.scribe.lock().expect("no panic");
        let due = scribe.state.mailboxes[mailbox].given + 1;
        if uid.get() != due {
            self.world.blame(format!("UID {uid} of {mailbox} was given, {due} was due"));
        }
        scribe.validities.insert(mailbox.to_owned(), uid_validity.0.get());
        Ok(Some(mod_seq.0))
    }

    async fn copy(
        &self,
        account: &Account,
        (from, to): (&str, &str),
        uids: &[u32],
        remove: bool,
    ) -> Result<Option<u64>, StoreError> {
        let source = account.mailbox_by_name(from).await?;
        let destination = account.mailbox_by_name(to).await?.id();
        let copied = if remove {
            source.move_to(&uids_of(uids), destination).await?
        } else {
            source.copy(&uids_of(uids), destination).await?
        };
        let scribe = self.scribe.lock().expect("no panic");
        let first = scribe.state.mailboxes[to].given + 1;
        let given: Vec<u32> = copied.uids.iter().map(|(_, uid)| uid.get()).collect();
        if (first..).zip(&given).any(|(due, given)| due != *given) {
            self.world.blame(format!("UIDs {given:?} of {to} were given, from {first} were due"));
        }
        Ok(None)
    }

    async fn create(&self, account: &Account, name: &str) -> Result<Option<u64>, StoreError> {
        let id = account.create_mailbox(name, None).await?;
        let validity = account.mailbox(id).await?.state().await?.uid_validity.0.get();
        let mut scribe = self.scribe.lock().expect("no panic");
        let before = scribe.validities.insert(name.to_owned(), validity);
        if before.is_some_and(|before| before >= validity) {
            self.world.blame(format!("UIDVALIDITY {validity} of {name} after {before:?}"));
        }
        Ok(None)
    }

    /// What a snapshot does: refers to the chunks of a message, in a family of a floor above.
    async fn keep(
        &self,
        account: &Account,
        key: u64,
        mailbox: &str,
        uid: u32,
    ) -> Result<Option<u64>, StoreError> {
        let mailbox = account.mailbox_by_name(mailbox).await?;
        let row = mailbox.row(Uid::new(uid).expect("not zero")).await?;
        let Some(row) = row else {
            self.world.blame(format!("UID {uid} is gone before a snapshot took it"));
            return Ok(None);
        };
        let stored = account.stored(row.email_number).await?;
        let summary = account.summary(row.email_number).await?;
        let mut batch = Batch::default();
        batch.put(SNAPSHOTS, key.to_be_bytes().to_vec(), stored.encode());
        StagedMessage::restage(stored, summary).add_to(&mut batch);
        self.store.commit(batch).await.map(|_| None)
    }
}

fn uids_of(uids: &[u32]) -> Vec<Uid> {
    uids.iter().filter_map(|uid| Uid::new(*uid)).collect()
}
