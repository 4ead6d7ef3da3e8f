//! A keeper takes snapshots of one account and forgets them: whatever else happens, every message that
//! a snapshot lists is there whole, and nothing is left that neither a row nor a snapshot has.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use super::world::World;
use crate::{
    error::StoreError,
    ids::AccountId,
    store::Store,
    tests::states::{List, complaint, forget, observe, standing},
};

/// Snapshots of one account that more are not added to.
const ENOUGH: usize = 6;

/// What a keeper began.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Begun {
    Take,
    Forget(u64),
}

/// The snapshots of one account, as they are remembered across crashes.
#[derive(Clone, Debug)]
pub(super) struct Rack {
    account: AccountId,
    /// Those that were acknowledged.
    kept: BTreeSet<u64>,
    /// What was begun and not acknowledged: it happened, or it did not.
    pending: Option<Begun>,
    /// The highest number that was ever seen.
    given: u64,
}

impl Rack {
    pub(super) fn new(account: AccountId) -> Self {
        Self { account, kept: BTreeSet::new(), pending: None, given: 0 }
    }

    /// Whether `found` is what was acknowledged, or that and what was begun.
    fn explains(&self, found: &BTreeSet<u64>) -> bool {
        let added: Vec<u64> = found.difference(&self.kept).copied().collect();
        let gone: Vec<u64> = self.kept.difference(found).copied().collect();
        match (self.pending, added.as_slice(), gone.as_slice()) {
            (_, [], []) => true,
            (Some(Begun::Take), [number], []) => *number > self.given,
            (Some(Begun::Forget(number)), [], [gone]) => number == *gone,
            _ => false,
        }
    }
}

#[derive(Clone)]
pub(super) struct Keeper {
    pub(super) world: Arc<World>,
    pub(super) store: Arc<Store>,
    pub(super) rack: Arc<Mutex<Rack>>,
}

impl Keeper {
    pub(super) async fn keep(self) {
        loop {
            self.world.sleep("keeper", self.world.below(120)).await;
            let chosen = self.choose();
            let outcome = match chosen {
                None => self.look().await,
                Some(begun) => self.perform(begun).await,
            };
            match outcome {
                Ok(()) => {}
                Err(StoreError::Conflict | StoreError::Objects { .. }) => {
                    self.rack.lock().expect("no panic").pending = None;
                }
                Err(StoreError::Engine { .. } | StoreError::Closed) => {
                    return self.world.break_down();
                }
                Err(error) => return self.world.blame(format!("{chosen:?}: {error:?}")),
            }
        }
    }

    fn choose(&self) -> Option<Begun> {
        let rack = self.rack.lock().expect("no panic");
        match self.world.below(5) {
            0 | 1 if rack.kept.len() < ENOUGH => Some(Begun::Take),
            2 | 3 if !rack.kept.is_empty() => {
                let nth = self.world.index(rack.kept.len());
                rack.kept.iter().nth(nth).map(|number| Begun::Forget(*number))
            }
            _ => None,
        }
    }

    async fn perform(&self, begun: Begun) -> Result<(), StoreError> {
        let account = {
            let mut rack = self.rack.lock().expect("no panic");
            rack.pending = Some(begun);
            rack.account
        };
        match begun {
            Begun::Take => {
                let number = self.store.account(account).await?.capture(List).await?;
                let mut rack = self.rack.lock().expect("no panic");
                if number <= rack.given {
                    self.world.blame(format!("snapshot {number} after {}", rack.given));
                }
                rack.given = number;
                rack.kept.insert(number);
            }
            Begun::Forget(number) => {
                forget(&self.store, account, number).await?;
                self.rack.lock().expect("no panic").kept.remove(&number);
            }
        }
        self.rack.lock().expect("no panic").pending = None;
        Ok(())
    }

    /// Reads a message of a snapshot: only this keeper could let it go.
    async fn look(&self) -> Result<(), StoreError> {
        let account = self.rack.lock().expect("no panic").account;
        let standing = standing(&self.store, account).await?;
        let Some(kept) = standing.get(self.world.index(standing.len())) else { return Ok(()) };
        let nth = self.world.index(kept.messages.len());
        let Some((number, digest)) = kept.messages.iter().nth(nth) else { return Ok(()) };
        if let Some(complaint) = complaint(&self.store, account, (*number, *digest)).await? {
            self.world.blame(format!("snapshot {}: {complaint}", kept.snapshot.number));
        }
        Ok(())
    }

    /// Forgets every snapshot, with nobody else there.
    pub(super) async fn clear(&self) {
        let (account, kept) = {
            let rack = self.rack.lock().expect("no panic");
            (rack.account, rack.kept.clone())
        };
        for number in kept {
            if let Err(error) = forget(&self.store, account, number).await {
                self.world.blame(format!("snapshot {number} does not go: {error:?}"));
            }
            self.rack.lock().expect("no panic").kept.remove(&number);
        }
    }
}

/// Looks at the account's snapshots, quiet as it is, and adopts those that are found.
pub(super) async fn inspect(world: &World, store: &Store, rack: &Mutex<Rack>, occasion: &str) {
    let mut found = rack.lock().expect("no panic").clone();
    let observed = observe(store, found.account).await;
    if let Ok((_, complaints)) = &observed {
        for complaint in complaints {
            world.blame(format!("{occasion}: {complaint}"));
        }
    }
    match observed.map(|(standing, _)| standing) {
        Ok(standing) if found.explains(&standing) => {
            found.given = standing.last().copied().unwrap_or(0).max(found.given);
            found.kept = standing;
            found.pending = None;
        }
        Ok(standing) => {
            world.blame(format!("{occasion}: snapshots {standing:?} stand, instead of {found:?}"));
        }
        Err(error) => world.blame(format!("{occasion}: snapshots: {error:?}")),
    }
    *rack.lock().expect("no panic") = found;
}
