//! What is there, compared with what was acknowledged.

use std::sync::{Arc, Mutex};

use super::{
    SNAPSHOTS,
    bodies::Body,
    keeper::{self, Rack},
    model::{Row, Rows, Scribe, State},
    world::World,
};
use crate::{
    error::StoreError, ids::AccountId, mailbox::view::MailboxView as _, octets::StoredMessage,
    store::Store,
};

/// Looks at the whole store, quiet as it is: it is sound, every writer's state is the acknowledged
/// one or the one that its last operation leads to, so is every keeper's, usage is exact. The states found are adopted.
pub(super) async fn inspect(
    world: &World,
    store: &Store,
    scribes: &[Arc<Mutex<Scribe>>],
    racks: &[Arc<Mutex<Rack>>],
    occasion: &str,
) {
    match store.check(&|_| {}).await {
        Ok(report) => {
            for violation in report.violations.iter().take(5) {
                world.blame(format!("{occasion}: {violation:?}"));
            }
        }
        Err(error) => world.blame(format!("{occasion}: the check ended: {error:?}")),
    }
    for scribe in scribes {
        let mut found = scribe.lock().expect("no panic").clone();
        match observe(store, &found).await {
            Ok(state) => {
                let after = found.pending.as_ref().map(|pending| found.state.after(pending));
                if state == found.state || after.as_ref() == Some(&state) {
                    found.state = state;
                    found.pending = None;
                } else {
                    world.blame(format!(
                        "{occasion}: writer {} of {:?} has\n{state:?}\nand acknowledged was\n{:?}\n\
                         then {:?}",
                        found.number, found.account, found.state, found.pending
                    ));
                }
            }
            Err(error) => {
                world.blame(format!("{occasion}: writer {}: {error:?}", found.number));
            }
        }
        *scribe.lock().expect("no panic") = found;
    }
    for rack in racks {
        keeper::inspect(world, store, rack, occasion).await;
    }
    if let Err(error) = usage_is_exact(world, store, scribes, occasion).await {
        world.blame(format!("{occasion}: usage: {error:?}"));
    }
}

async fn usage_is_exact(
    world: &World,
    store: &Store,
    scribes: &[Arc<Mutex<Scribe>>],
    occasion: &str,
) -> Result<(), StoreError> {
    let mut accounts: Vec<AccountId> =
        scribes.iter().map(|scribe| scribe.lock().expect("no panic").account).collect();
    accounts.dedup();
    for id in accounts {
        let quota = store.account(id).await?.quota().await?;
        let mut charged = (0, 0);
        for scribe in scribes {
            let scribe = scribe.lock().expect("no panic");
            if scribe.account == id {
                let (octets, messages) = scribe.state.charged();
                charged = (charged.0 + octets, charged.1 + messages);
            }
        }
        let archive = quota.archive;
        let used =
            (quota.used_octets + archive.used_octets, quota.used_messages + archive.used_messages);
        if used != charged {
            world.blame(format!("{occasion}: {id} uses {quota:?}, its rows {charged:?}"));
        }
    }
    Ok(())
}

/// The state of one writer as the store has it.
async fn observe(store: &Store, scribe: &Scribe) -> Result<State, StoreError> {
    let mut state = State::default();
    let account = store.account(scribe.account).await?;
    for name in [scribe.home(), scribe.tent()] {
        let mailbox = match account.mailbox_by_name(&name).await {
            Ok(mailbox) => mailbox,
            Err(StoreError::NoSuchMailboxName(_)) => continue,
            Err(error) => return Err(error),
        };
        let uid_next = mailbox.state().await?.uid_next.expect("few UIDs").get();
        let mut rows = Rows { given: uid_next - 1, ..Rows::default() };
        for row in mailbox.rows().await?.1 {
            let body = Body::of_digest(row.digest).ok_or_else(|| stranger(&name))?;
            let entry = Row { body, seen: row.flags.seen, deleted: row.flags.deleted };
            rows.rows.insert(row.uid.get(), entry);
        }
        state.mailboxes.insert(name, rows);
    }
    let (held, kept) = known_to(scribe);
    for id in held {
        if let Some(held) = store.held(id).await? {
            store.octets().verify_message(held.stored()).await?;
            let body = Body::of_digest(held.digest()).ok_or_else(|| stranger("held"))?;
            state.held.insert(id, body);
        }
    }
    for key in kept {
        if let Some(value) = store.engine().get(SNAPSHOTS, &key.to_be_bytes()).await? {
            let stored = StoredMessage::decode(&value, || format!("kept message {key}"))?;
            store.octets().verify_message(&stored).await?;
            let body = Body::of_digest(stored.digest()).ok_or_else(|| stranger("kept"))?;
            state.kept.insert(key, body);
        }
    }
    Ok(state)
}

fn stranger(place: &str) -> StoreError {
    StoreError::Damaged { object: place.to_owned(), detail: "a message nobody sent".to_owned() }
}

/// Held and kept messages that may be there.
fn known_to(scribe: &Scribe) -> (Vec<crate::held::HeldId>, Vec<u64>) {
    let after = scribe.pending.as_ref().map(|pending| scribe.state.after(pending));
    let states = || std::iter::once(&scribe.state).chain(&after);
    let mut held: Vec<_> = states().flat_map(|state| state.held.keys().copied()).collect();
    let mut kept: Vec<_> = states().flat_map(|state| state.kept.keys().copied()).collect();
    held.sort_unstable();
    held.dedup();
    kept.sort_unstable();
    kept.dedup();
    (held, kept)
}
