//! A reader: whatever it is given was once sent, and what was acknowledged is there.

use std::sync::{Arc, Mutex};

use super::{
    SNAPSHOTS,
    bodies::Body,
    model::{Operation, Scribe},
    world::World,
};
use crate::{
    error::StoreError,
    ids::Uid,
    octets::{OctetStore, StoredMessage},
    store::Store,
};

#[derive(Clone)]
pub(super) struct Reader {
    pub(super) world: Arc<World>,
    pub(super) store: Arc<Store>,
    pub(super) scribes: Vec<Arc<Mutex<Scribe>>>,
}

/// What a read came to.
enum Found {
    Body(Body, Vec<u8>),
    Nothing,
    Unreadable(StoreError),
}

impl Reader {
    pub(super) async fn read(self) {
        loop {
            self.world.pause("reader").await;
            let scribe = &self.scribes[self.world.index(self.scribes.len())];
            let outcome = if self.world.chance(800) {
                self.one_row(scribe).await
            } else {
                self.one_kept(scribe).await
            };
            match outcome {
                // A request that failed says nothing about what is stored.
                Ok(()) | Err(StoreError::Objects { .. }) => {}
                Err(StoreError::Engine { .. } | StoreError::Closed) => return,
                Err(error) => return self.world.blame(format!("a reader: {error:?}")),
            }
        }
    }

    async fn one_row(&self, scribe: &Mutex<Scribe>) -> Result<(), StoreError> {
        let (account, name, uid, validity) = {
            let scribe = scribe.lock().expect("no panic");
            let nth = self.world.index(scribe.state.mailboxes.len());
            let Some((name, rows)) = scribe.state.mailboxes.iter().nth(nth) else { return Ok(()) };
            let nth = self.world.index(rows.rows.len());
            let Some(uid) = rows.rows.keys().nth(nth) else { return Ok(()) };
            let validity = scribe.validities.get(name).copied();
            (scribe.account, name.clone(), *uid, validity)
        };
        let account = self.store.account(account).await?;
        let found = match self.row_octets(&account, &name, uid).await {
            Err(
                StoreError::NoSuchMailboxName(_)
                | StoreError::NoSuchMailbox { .. }
                | StoreError::NoSuchMessage { .. },
            ) => Found::Nothing,
            // Whose row is gone may have gone with its octets; below it is seen whether it is.
            Err(error @ StoreError::Damaged { .. }) => Found::Unreadable(error),
            found => found?,
        };
        let scribe = scribe.lock().expect("no panic");
        let gone = scribe.pending.as_ref().is_some_and(|pending| pending.may_remove(&name, uid));
        // Under another UIDVALIDITY the same UID is another message.
        let same = scribe.validities.get(&name).copied() == validity;
        let known = scribe.state.mailboxes.get(&name).and_then(|rows| rows.rows.get(&uid));
        let known = known.filter(|_| same);
        match (found, known) {
            (Found::Body(body, octets), _) if octets != body.octets() => {
                self.world.blame(format!("UID {uid} of {name}: other octets than were sent"));
            }
            (Found::Body(body, _), Some(known)) if known.body != body && !gone => {
                self.world.blame(format!("UID {uid} of {name}: {body:?} instead of {known:?}"));
            }
            (Found::Unreadable(error), Some(known)) if !gone => {
                self.world.blame(format!("UID {uid} of {name}, {known:?}: {error:?}"));
            }
            (Found::Nothing, Some(known)) if !gone => {
                self.world.blame(format!("UID {uid} of {name} is gone: {known:?}"));
            }
            _ => {}
        }
        Ok(())
    }

    async fn row_octets(
        &self,
        account: &crate::account::Account,
        name: &str,
        uid: u32,
    ) -> Result<Found, StoreError> {
        let mailbox = account.mailbox_by_name(name).await?;
        let Some(row) = mailbox.row(Uid::new(uid).expect("not zero")).await? else {
            return Ok(Found::Nothing);
        };
        let Some(body) = Body::of_digest(row.digest) else {
            self.world.blame(format!("UID {uid} of {name} is no message that was sent"));
            return Ok(Found::Nothing);
        };
        let stored = mailbox.stored(row.email_number).await?;
        Ok(Found::Body(body, read_all(self.store.octets(), &stored).await?))
    }

    async fn one_kept(&self, scribe: &Mutex<Scribe>) -> Result<(), StoreError> {
        let (key, body) = {
            let scribe = scribe.lock().expect("no panic");
            let nth = self.world.index(scribe.state.kept.len());
            let Some((key, body)) = scribe.state.kept.iter().nth(nth) else { return Ok(()) };
            (*key, *body)
        };
        let Some(value) = self.store.engine().get(SNAPSHOTS, &key.to_be_bytes()).await? else {
            return Ok(());
        };
        let stored = StoredMessage::decode(&value, || "a kept message".to_owned())?;
        let read = read_all(self.store.octets(), &stored).await;
        let kept = {
            let scribe = scribe.lock().expect("no panic");
            let going = matches!(scribe.pending, Some(Operation::Forget { key: of }) if of == key);
            scribe.state.kept.contains_key(&key) && !going
        };
        match read {
            Ok(octets) if octets == body.octets() => Ok(()),
            Ok(_) => {
                self.world.blame(format!("kept message {key}: other octets than were sent"));
                Ok(())
            }
            Err(StoreError::Damaged { .. }) if !kept => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// All octets, in windows.
pub(super) async fn read_all(
    octets: &OctetStore,
    stored: &StoredMessage,
) -> Result<Vec<u8>, StoreError> {
    let mut all = Vec::new();
    loop {
        let from = all.len() as u64;
        let window = octets.read(stored, from..from + 5_000).await?;
        if window.is_empty() {
            return Ok(all);
        }
        all.extend_from_slice(&window);
    }
}
