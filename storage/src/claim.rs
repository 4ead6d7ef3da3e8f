//! Claims: which node's an object store is.
//!
//! A restore makes a second node out of one past. When the first one still runs, by mistake or on
//! its way back, both would ship to one back-up, each would delete packs that only the other
//! names, and both would give out the same numbers. A claim settles which of them goes on:
//!
//! ```text
//! claims/<epoch, 8 hexadecimal digits>.claim
//! 0..8    "CERCLAIM"
//! 8       version: 1
//! 9..25   ClaimToken: a random number that only the node of this epoch has
//! ```
//!
//! * A claim is created by one conditional PUT, and never replaced or removed. So each epoch has
//!   one node, and a restore gets an epoch of its own, whatever else is restored at the same time.
//! * The store is the highest claim's. A node of a lower epoch, and one whose epoch was claimed
//!   with another token, is *superseded*: it ships nothing, deletes nothing and takes no mail.
//! * A claim lies in every object store that a node changes: that of its packs and that of its
//!   back-up. Both are looked at before anything there is removed.
//! * A *rehearsal* (a restore that was only tried) has no claim and makes none.
//!
//! Between the look and a deletion lies a moment in which a restore may begin. It verifies the packs
//! after its claim, so what such a deletion takes is named in its report.
//!
//! The node's own half is `store_identity/claim`: version 1, then 1 and the token, or 2 for a
//! rehearsal. A store without the row has not claimed anything yet.
//!
//! Not here: what a restore does with its epoch (`backup::rules`), who stops the doors (floors above).

use std::fmt;

use bytes::Bytes;
use futures::TryStreamExt as _;
use object_store::{ObjectStore, ObjectStoreExt as _, PutMode, PutOptions, PutPayload, path::Path};
use trust::random::RandomSource;

use crate::{
    backup::{
        epoch::{self, STORE_IDENTITY},
        manifest::CheckpointName,
        rules::{self, RulesApplied, Succession},
    },
    catalog::engine::{Batch, Engine, Expected, Reader},
    error::StoreError,
    store::Store,
};

const PREFIX: &str = "claims";
const SUFFIX: &str = ".claim";
const MAGIC: &[u8; 8] = b"CERCLAIM";
const VERSION: u8 = 1;
const OBJECT_OCTETS: usize = 25;

/// The key of the node's own half.
pub(crate) const CLAIM_KEY: &[u8] = b"claim";
const ROW_VERSION: u8 = 1;
const CLAIMED: u8 = 1;
const REHEARSAL: u8 = 2;

/// Times that a restore tries for an epoch while others take theirs.
const TRIES_MAX: usize = 64;

/// Tells the node of an epoch from all others.
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct ClaimToken(pub [u8; 16]);

impl ClaimToken {
    /// Draws a token.
    #[must_use]
    pub fn draw(random: &dyn RandomSource) -> Self {
        let mut octets = [0; 16];
        random.fill(&mut octets);
        Self(octets)
    }
}

impl fmt::Debug for ClaimToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "ClaimToken({:032x})", u128::from_be_bytes(self.0))
    }
}

/// What a node is to its object stores.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Standing {
    /// The node of its epoch.
    Node(ClaimToken),
    /// A restore that was only tried: it changes nothing outside of its folder.
    Rehearsal,
}

impl Standing {
    /// The row's value.
    pub(crate) fn encode(self) -> Bytes {
        match self {
            Self::Node(token) => [&[ROW_VERSION, CLAIMED], token.0.as_slice()].concat().into(),
            Self::Rehearsal => Bytes::from_static(&[ROW_VERSION, REHEARSAL]),
        }
    }

    fn decode(octets: &[u8]) -> Result<Self, StoreError> {
        let object = || "store_identity row `claim`".to_owned();
        match octets {
            [ROW_VERSION, CLAIMED, token @ ..] if token.len() == 16 => {
                let mut octets = [0; 16];
                octets.copy_from_slice(token);
                Ok(Self::Node(ClaimToken(octets)))
            }
            [ROW_VERSION, REHEARSAL] => Ok(Self::Rehearsal),
            [version, ..] if *version > ROW_VERSION => Err(StoreError::TooNew {
                object: object(),
                found: (*version).into(),
                known: ROW_VERSION.into(),
            }),
            _ => Err(StoreError::Damaged {
                object: object(),
                detail: "it is neither a token nor a rehearsal".to_owned(),
            }),
        }
    }
}

impl Store {
    /// Confirms that `objects`, those of the packs or of the back-up, are this node's, and claims
    /// them for its epoch when nobody has.
    ///
    /// [`StoreError::Superseded`] when another node was restored from this one's back-up,
    /// [`StoreError::Rehearsal`].
    pub async fn confirm_claim(&self, objects: &dyn ObjectStore) -> Result<(), StoreError> {
        confirm(&*self.core.engine, &*self.core.octets.random, objects).await
    }

    /// As [`Store::confirm_claim`], for the object store of the packs.
    pub async fn confirm_own_objects(&self) -> Result<(), StoreError> {
        self.confirm_claim(&**self.core.octets.packs.objects()).await
    }

    /// Makes this node the store's again, after another one was restored from its back-up: claims an
    /// epoch above all others for the packs' object store and for `others`, and raises what that node
    /// may have given out (`backup::rules`). `pinned`: the checkpoints whose packs lie beside those
    /// of the store. Nobody else may have the store open. Cut short, it is to be done again.
    ///
    /// [`StoreError::Rehearsal`].
    pub async fn take_over(
        &self,
        others: &[&dyn ObjectStore],
        pinned: Vec<CheckpointName>,
    ) -> Result<RulesApplied, StoreError> {
        let core = &*self.core;
        let token = own_token(&*core.engine, &*core.octets.random).await?;
        let mut stores: Vec<&dyn ObjectStore> = vec![&**core.octets.packs.objects()];
        stores.extend_from_slice(others);
        let next = self.epoch().await?.checked_add(1).ok_or(StoreError::Exhausted("epochs"))?;
        let epoch = claim_next(&stores, token, next).await?;
        rules::apply(&*core.engine, &Succession::Node { epoch, token, pinned }).await
    }
}

async fn standing(reader: &(impl Reader + ?Sized)) -> Result<Option<Standing>, StoreError> {
    let row = reader.get(STORE_IDENTITY, CLAIM_KEY).await?;
    row.map(|octets| Standing::decode(&octets)).transpose()
}

/// The node's token, drawn when there is none. [`StoreError::Rehearsal`].
async fn own_token(
    engine: &dyn Engine,
    random: &dyn RandomSource,
) -> Result<ClaimToken, StoreError> {
    loop {
        match standing(engine).await? {
            Some(Standing::Node(token)) => return Ok(token),
            Some(Standing::Rehearsal) => return Err(StoreError::Rehearsal),
            None => {}
        }
        let mut batch = Batch::default();
        batch.expect(STORE_IDENTITY, CLAIM_KEY, Expected::Absent);
        batch.put(STORE_IDENTITY, CLAIM_KEY, Standing::Node(ClaimToken::draw(random)).encode());
        match engine.commit(batch).await {
            // Another task drew one at the same time: that one counts.
            Ok(_) | Err(StoreError::Conflict) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Confirms that `objects` is this node's, and claims it when nobody has its epoch yet.
///
/// [`StoreError::Superseded`] when it is another node's, [`StoreError::Rehearsal`] when this store
/// must not change it.
pub async fn confirm(
    engine: &dyn Engine,
    random: &dyn RandomSource,
    objects: &dyn ObjectStore,
) -> Result<(), StoreError> {
    let ours = epoch::read(engine).await?;
    let token = own_token(engine, random).await?;
    match highest(objects).await? {
        Some(found) if found > ours => return Err(StoreError::Superseded { ours, found }),
        Some(found) if found == ours => {}
        _ => {
            create(objects, ours, token).await?;
            // Whoever was restored since the list was read has claimed before.
            return match highest(objects).await? {
                Some(found) if found > ours => Err(StoreError::Superseded { ours, found }),
                _ => whose(objects, ours, token).await,
            };
        }
    }
    whose(objects, ours, token).await
}

/// As [`confirm`], but claims nothing: for who only wants to look.
pub async fn look(reader: &dyn Reader, objects: &dyn ObjectStore) -> Result<(), StoreError> {
    let ours = epoch::read(reader).await?;
    let token = match standing(reader).await? {
        Some(Standing::Rehearsal) => return Err(StoreError::Rehearsal),
        Some(Standing::Node(token)) => Some(token),
        None => None,
    };
    match (highest(objects).await?, token) {
        (Some(found), _) if found > ours => Err(StoreError::Superseded { ours, found }),
        (Some(found), Some(token)) if found == ours => whose(objects, ours, token).await,
        (Some(found), None) if found == ours => Err(StoreError::Superseded { ours, found }),
        _ => Ok(()),
    }
}

async fn whose(objects: &dyn ObjectStore, ours: u32, token: ClaimToken) -> Result<(), StoreError> {
    match read(objects, ours).await? {
        Some(found) if found == token => Ok(()),
        _ => Err(StoreError::Superseded { ours, found: ours }),
    }
}

/// Claims an epoch for a restored node in every one of `stores`: above all claims there, and not
/// below `epoch_min`. The same `token` gets the same epoch again as long as nobody claims a higher
/// one.
pub async fn claim_next(
    stores: &[&dyn ObjectStore],
    token: ClaimToken,
    epoch_min: u32,
) -> Result<u32, StoreError> {
    for _ in 0..TRIES_MAX {
        let mut epoch = epoch_min;
        for objects in stores {
            let Some(found) = highest(*objects).await? else { continue };
            let next = match read(*objects, found).await? {
                Some(of) if of == token => found,
                _ => found.checked_add(1).ok_or(StoreError::Exhausted("epochs"))?,
            };
            epoch = epoch.max(next);
        }
        let mut claimed = true;
        for objects in stores {
            create(*objects, epoch, token).await?;
            claimed &= read(*objects, epoch).await? == Some(token);
        }
        if claimed {
            return Ok(epoch);
        }
    }
    Err(StoreError::Conflict)
}

/// The highest epoch that is claimed in `objects`.
pub async fn highest(objects: &dyn ObjectStore) -> Result<Option<u32>, StoreError> {
    let mut listed = objects.list(Some(&Path::from(PREFIX)));
    let mut highest = None;
    loop {
        let next = listed.try_next().await.map_err(|error| failed("list", PREFIX.into(), error))?;
        let Some(meta) = next else { return Ok(highest) };
        highest = highest.max(epoch_of(meta.location.as_ref()));
    }
}

fn path(epoch: u32) -> String {
    format!("{PREFIX}/{epoch:08x}{SUFFIX}")
}

fn epoch_of(object: &str) -> Option<u32> {
    let digits = object.rsplit('/').next()?.strip_suffix(SUFFIX)?;
    let epoch = u32::from_str_radix(digits, 16).ok()?;
    (path(epoch) == object).then_some(epoch)
}

/// Creates the claim unless there is one, whoever's it is.
async fn create(
    objects: &dyn ObjectStore,
    epoch: u32,
    token: ClaimToken,
) -> Result<(), StoreError> {
    let path = path(epoch);
    let octets = [MAGIC.as_slice(), &[VERSION], &token.0].concat();
    let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
    let payload = PutPayload::from(octets);
    match objects.put_opts(&Path::from(path.as_str()), payload, options).await {
        // It may be the answer to an earlier try of ours: the reader finds out.
        Ok(_) | Err(object_store::Error::AlreadyExists { .. }) => Ok(()),
        Err(error) => Err(failed("put", path, error)),
    }
}

/// Whose claim it is; `None` when there is none.
async fn read(objects: &dyn ObjectStore, epoch: u32) -> Result<Option<ClaimToken>, StoreError> {
    let path = path(epoch);
    let found = match objects.get(&Path::from(path.as_str())).await {
        Ok(found) => found,
        Err(object_store::Error::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(failed("get", path, error)),
    };
    if found.meta.size != OBJECT_OCTETS as u64 {
        let detail = format!("{} octets instead of {OBJECT_OCTETS}", found.meta.size);
        return Err(StoreError::Damaged { object: path, detail });
    }
    let octets = found.bytes().await.map_err(|error| failed("get", path.clone(), error))?;
    let token = octets
        .strip_prefix(MAGIC.as_slice())
        .and_then(|rest| rest.strip_prefix(&[VERSION]))
        .and_then(|token| token.try_into().ok());
    token
        .map(|token| Some(ClaimToken(token)))
        .ok_or_else(|| StoreError::Damaged { object: path, detail: "it is no claim".to_owned() })
}

fn failed(operation: &'static str, object: String, error: object_store::Error) -> StoreError {
    StoreError::Objects { operation, object, source: Box::new(error) }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use object_store::memory::InMemory;
    use trust::random::SeededRandom;

    use super::*;
    use crate::{backup::epoch::EPOCH_KEY, catalog::simulated::SimulatedEngine};

    struct Node {
        engine: Arc<dyn Engine>,
        random: SeededRandom,
    }

    impl Node {
        async fn of_epoch(epoch: u32, seed: u64) -> Self {
            let engine = SimulatedEngine::new(&Store::families(&[]));
            let mut batch = Batch::default();
            batch.put(STORE_IDENTITY, EPOCH_KEY, epoch::encode(epoch));
            engine.commit(batch).await.unwrap();
            Self { engine, random: SeededRandom::new(seed) }
        }

        async fn confirm(&self, objects: &dyn ObjectStore) -> Result<(), StoreError> {
            confirm(&*self.engine, &self.random, objects).await
        }
    }

    fn superseded_by(result: &Result<(), StoreError>) -> Option<(u32, u32)> {
        match result {
            Err(StoreError::Superseded { ours, found }) => Some((*ours, *found)),
            _ => None,
        }
    }

    #[tokio::test]
    async fn an_object_store_is_the_first_nodes_until_a_higher_epoch_is_claimed() {
        let objects = InMemory::new();
        let (first, twin) = (Node::of_epoch(1, 1).await, Node::of_epoch(1, 2).await);
        look(&*first.engine, &objects).await.unwrap();
        assert_eq!(highest(&objects).await.unwrap(), None, "who looks claims nothing");
        first.confirm(&objects).await.unwrap();
        first.confirm(&objects).await.unwrap();
        assert_eq!(superseded_by(&twin.confirm(&objects).await), Some((1, 1)));
        assert_eq!(superseded_by(&look(&*twin.engine, &objects).await), Some((1, 1)));
        let restored = claim_next(&[&objects], ClaimToken([7; 16]), 2).await.unwrap();
        assert_eq!(restored, 2);
        assert_eq!(superseded_by(&first.confirm(&objects).await), Some((1, 2)));
        assert_eq!(superseded_by(&look(&*first.engine, &objects).await), Some((1, 2)));
    }

    #[tokio::test]
    async fn every_restore_gets_an_epoch_of_its_own_and_the_same_one_when_it_is_tried_again() {
        let (packs, backup) = (InMemory::new(), InMemory::new());
        let stores: [&dyn ObjectStore; 2] = [&packs, &backup];
        let (one, other) = (ClaimToken([1; 16]), ClaimToken([2; 16]));
        assert_eq!(claim_next(&stores[..1], one, 2).await.unwrap(), 2);
        assert_eq!(claim_next(&stores, one, 2).await.unwrap(), 2, "it goes on where it was");
        assert_eq!(claim_next(&stores, other, 2).await.unwrap(), 3);
        assert_eq!(claim_next(&stores, one, 2).await.unwrap(), 4, "another came in between");
        let tokens = (0..16_u8).map(|number| ClaimToken([number + 10; 16]));
        let racing = tokens.map(|token| async move { claim_next(&stores, token, 2).await });
        let mut epochs: Vec<u32> =
            futures::future::join_all(racing).await.into_iter().map(Result::unwrap).collect();
        epochs.sort_unstable();
        epochs.dedup();
        assert_eq!(epochs.len(), 16, "{epochs:?}");
    }

    #[tokio::test]
    async fn a_rehearsal_claims_nothing_and_a_damaged_claim_lets_nobody_pass() {
        let objects = InMemory::new();
        let rehearsal = Node::of_epoch(2, 1).await;
        let mut batch = Batch::default();
        batch.put(STORE_IDENTITY, CLAIM_KEY, Standing::Rehearsal.encode());
        rehearsal.engine.commit(batch).await.unwrap();
        assert_eq!(standing(&*rehearsal.engine).await.unwrap(), Some(Standing::Rehearsal));
        assert!(matches!(rehearsal.confirm(&objects).await, Err(StoreError::Rehearsal)));
        assert_eq!(highest(&objects).await.unwrap(), None);

        let node = Node::of_epoch(1, 2).await;
        for octets in [b"".as_slice(), b"short", &[0; OBJECT_OCTETS], &[0; 1 << 10]] {
            let payload = PutPayload::from(octets.to_vec());
            objects.put(&Path::from(path(1)), payload).await.unwrap();
            let found = node.confirm(&objects).await;
            assert!(matches!(found, Err(StoreError::Damaged { .. })), "{found:?}");
        }
    }

    #[test]
    fn an_epoch_has_one_path() {
        assert_eq!(path(26), "claims/0000001a.claim");
        assert_eq!(epoch_of("claims/0000001a.claim"), Some(26));
        for object in ["claims/1a.claim", "claims/0000001A.claim", "claims/0000001a", "claims/x"] {
            assert_eq!(epoch_of(object), None, "{object}");
        }
    }
}
