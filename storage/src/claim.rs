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
//! 25..41  Lineage: what all nodes of one store share; zeros = not known
//! ```
//!
//! * A claim is created by one conditional PUT, and never replaced or removed. So each epoch has
//!   one node, and a restore gets an epoch of its own, whatever else is restored at the same time.
//! * The store is the highest claim's. A node of a lower epoch, and one whose epoch was claimed
//!   with another token, is *superseded*: it ships nothing, deletes nothing and takes no mail. It
//!   keeps that in its catalog, and needs no answer to know it the next time.
//! * An object store with a claim of another lineage is another installation's: nothing there is
//!   claimed or changed, by no command.
//! * A claim lies in every object store that a node changes: that of its packs and that of its
//!   back-up. It is confirmed before every deletion of a pack, and again and again while a
//!   back-up is swept.
//! * A *rehearsal* (a restore that was only tried) has no claim and makes none.
//!
//! Between the look and one deletion lies a moment in which a restore may begin; what such a deletion
//! takes is found by a check.
//!
//! The node's own half is `store_identity/claim`: version 1, then 1 and the token; 2 for a rehearsal;
//! 3, the token and the epoch (u32) that it was superseded by. A store without the row has not claimed
//! anything yet.
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
    octets::store::secret_of,
    store::Store,
};

/// What the paths of claims begin with.
pub const PREFIX: &str = "claims";
const SUFFIX: &str = ".claim";
const MAGIC: &[u8; 8] = b"CERCLAIM";
const VERSION: u8 = 1;
const OBJECT_OCTETS: usize = 41;

/// The key of the node's own half.
pub(crate) const CLAIM_KEY: &[u8] = b"claim";
const ROW_VERSION: u8 = 1;
const NODE: u8 = 1;
const REHEARSAL: u8 = 2;
const SUPERSEDED: u8 = 3;

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

/// Tells a store, with all nodes that ever grew from it, from other stores. Zeros: not known.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Lineage(pub [u8; 16]);

impl Lineage {
    /// The lineage of the store of a catalog.
    pub async fn of(reader: &(impl Reader + ?Sized)) -> Result<Self, StoreError> {
        let secret = secret_of(reader).await?;
        Ok(secret.map(|secret| Self(secret.lineage())).unwrap_or_default())
    }

    fn contradicts(self, other: Self) -> bool {
        self != other && self != Self::default() && other != Self::default()
    }
}

/// Who claims.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Claimant {
    /// The node.
    pub token: ClaimToken,
    /// The store.
    pub lineage: Lineage,
}

/// What a node is to its object stores.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Standing {
    /// The node of its epoch.
    Node(ClaimToken),
    /// A restore that was only tried: it changes nothing outside of its folder.
    Rehearsal,
    /// It was the node, until another one took its place in this epoch.
    Superseded(ClaimToken, u32),
}

impl Standing {
    /// The row's value.
    pub(crate) fn encode(self) -> Bytes {
        match self {
            Self::Node(token) => [&[ROW_VERSION, NODE], token.0.as_slice()].concat().into(),
            Self::Rehearsal => Bytes::from_static(&[ROW_VERSION, REHEARSAL]),
            Self::Superseded(token, epoch) => {
                let (token, epoch) = (token.0.as_slice(), epoch.to_be_bytes());
                [&[ROW_VERSION, SUPERSEDED], token, &epoch].concat().into()
            }
        }
    }

    fn decode(octets: &[u8]) -> Result<Self, StoreError> {
        let object = || "store_identity row `claim`".to_owned();
        let known = match octets {
            [ROW_VERSION, NODE, token @ ..] => {
                token.try_into().ok().map(ClaimToken).map(Self::Node)
            }
            [ROW_VERSION, REHEARSAL] => Some(Self::Rehearsal),
            [ROW_VERSION, SUPERSEDED, rest @ ..] => {
                rest.split_first_chunk::<16>().and_then(|(token, epoch)| {
                    let epoch = epoch.try_into().ok().map(u32::from_be_bytes)?;
                    Some(Self::Superseded(ClaimToken(*token), epoch))
                })
            }
            [version, ..] if *version > ROW_VERSION => {
                let (found, known) = ((*version).into(), ROW_VERSION.into());
                return Err(StoreError::TooNew { object: object(), found, known });
            }
            _ => None,
        };
        let detail = || "it is no standing that is known".to_owned();
        known.ok_or_else(|| StoreError::Damaged { object: object(), detail: detail() })
    }

    async fn read(reader: &(impl Reader + ?Sized)) -> Result<Option<Self>, StoreError> {
        let row = reader.get(STORE_IDENTITY, CLAIM_KEY).await?;
        row.map(|octets| Self::decode(&octets)).transpose()
    }

    /// The token of a node that is still one.
    fn token(self, ours: u32) -> Result<ClaimToken, StoreError> {
        match self {
            Self::Node(token) => Ok(token),
            Self::Rehearsal => Err(StoreError::Rehearsal),
            Self::Superseded(_, found) => Err(StoreError::Superseded { ours, found }),
        }
    }
}

impl Store {
    /// Confirms that `objects`, those of the packs or of the back-up, are this node's, and claims
    /// them for its epoch when nobody has.
    ///
    /// [`StoreError::Superseded`] when another node has taken this one's place,
    /// [`StoreError::ForeignObjects`], [`StoreError::Rehearsal`].
    pub async fn confirm_claim(&self, objects: &dyn ObjectStore) -> Result<(), StoreError> {
        confirm(&*self.core.engine, &*self.core.octets.random, objects).await
    }

    /// As [`Store::confirm_claim`], for the object store of the packs.
    pub async fn confirm_own_objects(&self) -> Result<(), StoreError> {
        self.confirm_claim(&**self.core.octets.packs.objects()).await
    }

    /// Claims the store for this node again, after another one was restored from its back-up: an epoch
    /// above all others, and above `newest` (that of the newest checkpoint), in the packs' object store
    /// and in `others`. [`Store::take_over`] must follow; until then the node is refused.
    ///
    /// [`StoreError::Rehearsal`], [`StoreError::ForeignObjects`].
    pub async fn claim_again(
        &self,
        others: &[&dyn ObjectStore],
        newest: u32,
    ) -> Result<(u32, ClaimToken), StoreError> {
        let (engine, octets) = (&*self.core.engine, &*self.core.octets);
        let token = match Standing::read(engine).await? {
            Some(Standing::Superseded(token, _)) => token,
            Some(standing) => standing.token(0)?,
            None => own_token(engine, &*octets.random, 0).await?,
        };
        let mut stores: Vec<&dyn ObjectStore> = vec![&**octets.packs.objects()];
        stores.extend_from_slice(others);
        let highest = self.epoch().await?.max(newest);
        let next = highest.checked_add(1).ok_or(StoreError::Exhausted("epochs"))?;
        let claimant = Claimant { token, lineage: Lineage::of(engine).await? };
        Ok((claim_next(&stores, claimant, next).await?, token))
    }

    /// Makes this node the one of an epoch that it has claimed again: raises what the other node may have
    /// given out (`backup::rules`). `pinned`: the checkpoints whose packs lie beside those of the store.
    /// Nobody else may have the store open. Cut short, it is to be done again, and goes on.
    pub async fn take_over(
        &self,
        (epoch, token): (u32, ClaimToken),
        pinned: Vec<CheckpointName>,
    ) -> Result<RulesApplied, StoreError> {
        rules::apply(&*self.core.engine, &Succession::Node { epoch, token, pinned }).await
    }
}

/// The node's token, drawn when there is none.
async fn own_token(
    engine: &dyn Engine,
    random: &dyn RandomSource,
    ours: u32,
) -> Result<ClaimToken, StoreError> {
    loop {
        if let Some(standing) = Standing::read(engine).await? {
            return standing.token(ours);
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
pub(crate) async fn confirm(
    engine: &dyn Engine,
    random: &dyn RandomSource,
    objects: &dyn ObjectStore,
) -> Result<(), StoreError> {
    let ours = epoch::read(engine).await?;
    let token = own_token(engine, random, ours).await?;
    let claimant = Claimant { token, lineage: Lineage::of(engine).await? };
    let mut found = highest(objects).await?;
    if found.is_none_or(|found| found < ours) {
        judge_lineage(objects, found, claimant).await?;
        create(objects, ours, claimant).await?;
        // Whoever was restored since the list was read has claimed before.
        found = highest(objects).await?;
    }
    let judged = judge(objects, found, ours, claimant).await;
    if let Err(StoreError::Superseded { found, .. }) = judged {
        remember(engine, token, found).await?;
    }
    judged
}

/// As [`confirm`], but claims and remembers nothing: for who only wants to look.
pub(crate) async fn look(
    reader: &(impl Reader + ?Sized),
    objects: &dyn ObjectStore,
) -> Result<(), StoreError> {
    let ours = epoch::read(reader).await?;
    let token = Standing::read(reader).await?.map(|standing| standing.token(ours)).transpose()?;
    let lineage = Lineage::of(reader).await?;
    let found = highest(objects).await?;
    // Who never drew a token has claimed nothing: an epoch that is claimed is another's.
    let claimant = Claimant { token: token.unwrap_or(ClaimToken([0; 16])), lineage };
    match found {
        Some(found) if found >= ours => judge(objects, Some(found), ours, claimant).await,
        found => judge_lineage(objects, found, claimant).await,
    }
}

/// Says whether the highest claim, which is of our epoch or a later one, is ours.
async fn judge(
    objects: &dyn ObjectStore,
    found: Option<u32>,
    ours: u32,
    claimant: Claimant,
) -> Result<(), StoreError> {
    let found = found.unwrap_or(ours);
    let of = read(objects, found).await?;
    match of {
        Some(of) if of.lineage.contradicts(claimant.lineage) => Err(StoreError::ForeignObjects),
        Some(of) if of.token == claimant.token && found == ours => Ok(()),
        Some(of) if of.token == claimant.token => Err(StoreError::TakeOverUnfinished(found)),
        Some(_) => Err(StoreError::Superseded { ours, found }),
        // Listed and not there: the object store is going away, and nobody has taken anything.
        None => Err(StoreError::Objects {
            operation: "get",
            object: path(found),
            source: "the claim was listed and is not there".into(),
        }),
    }
}

/// Says whether the highest claim, of an earlier epoch, is of our store.
async fn judge_lineage(
    objects: &dyn ObjectStore,
    found: Option<u32>,
    claimant: Claimant,
) -> Result<(), StoreError> {
    let Some(found) = found else { return Ok(()) };
    match read(objects, found).await? {
        Some(of) if of.lineage.contradicts(claimant.lineage) => Err(StoreError::ForeignObjects),
        _ => Ok(()),
    }
}

/// Keeps it for the starts at which no object store answers.
async fn remember(engine: &dyn Engine, token: ClaimToken, found: u32) -> Result<(), StoreError> {
    let mut batch = Batch::default();
    let node = Standing::Node(token).encode();
    batch.expect(STORE_IDENTITY, CLAIM_KEY, Expected::Value(node));
    batch.put(STORE_IDENTITY, CLAIM_KEY, Standing::Superseded(token, found).encode());
    match engine.commit(batch).await {
        Ok(_) | Err(StoreError::Conflict) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Claims an epoch for a node in every one of `stores`: above all claims there, and not below
/// `epoch_min`. The same claimant gets the same epoch again as long as nobody claims a higher one.
/// A claim that cannot be read counts as somebody else's of this store.
///
/// [`StoreError::ForeignObjects`] when one of them is another store's: nothing was claimed then.
pub async fn claim_next(
    stores: &[&dyn ObjectStore],
    claimant: Claimant,
    epoch_min: u32,
) -> Result<u32, StoreError> {
    for _ in 0..TRIES_MAX {
        let mut epoch = epoch_min;
        for objects in stores {
            let Some(found) = highest(*objects).await? else { continue };
            let of = match read(*objects, found).await {
                Err(StoreError::Damaged { .. }) => None,
                of => of?,
            };
            let next = match of {
                Some(of) if of.lineage.contradicts(claimant.lineage) => {
                    return Err(StoreError::ForeignObjects);
                }
                Some(of) if of.token == claimant.token => found,
                _ => found.checked_add(1).ok_or(StoreError::Exhausted("epochs"))?,
            };
            epoch = epoch.max(next);
        }
        let mut claimed = true;
        for objects in stores {
            create(*objects, epoch, claimant).await?;
            claimed &= read(*objects, epoch).await?.is_some_and(|of| of.token == claimant.token);
        }
        if claimed {
            return Ok(epoch);
        }
    }
    Err(StoreError::Conflict)
}

/// The highest epoch that is claimed in `objects`.
async fn highest(objects: &dyn ObjectStore) -> Result<Option<u32>, StoreError> {
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
    claimant: Claimant,
) -> Result<(), StoreError> {
    let path = path(epoch);
    let Claimant { token, lineage } = claimant;
    let octets = [MAGIC.as_slice(), &[VERSION], &token.0, &lineage.0].concat();
    let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
    let payload = PutPayload::from(octets);
    match objects.put_opts(&Path::from(path.as_str()), payload, options).await {
        // It may be the answer to an earlier try of ours: the reader finds out.
        Ok(_) | Err(object_store::Error::AlreadyExists { .. }) => Ok(()),
        Err(error) => Err(failed("put", path, error)),
    }
}

/// Whose claim it is; `None` when there is none.
async fn read(objects: &dyn ObjectStore, epoch: u32) -> Result<Option<Claimant>, StoreError> {
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
    let claimant = octets
        .strip_prefix(MAGIC.as_slice())
        .and_then(|rest| rest.strip_prefix(&[VERSION]))
        .and_then(|rest| rest.split_first_chunk::<16>())
        .and_then(|(token, lineage)| {
            let lineage = Lineage(lineage.try_into().ok()?);
            Some(Claimant { token: ClaimToken(*token), lineage })
        });
    let detail = || "it is no claim".to_owned();
    claimant.map(Some).ok_or_else(|| StoreError::Damaged { object: path, detail: detail() })
}

fn failed(operation: &'static str, object: String, error: object_store::Error) -> StoreError {
    StoreError::Objects { operation, object, source: Box::new(error) }
}

#[cfg(test)]
mod tests;
