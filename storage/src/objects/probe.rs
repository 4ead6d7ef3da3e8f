//! Asks a store, before anything is entrusted to it, whether it does what it says.
//!
//! Packs are safe only where a name is given once. Servers are in use that accept the condition of
//! a PUT and overwrite all the same, or check it and then write, so that a race has many winners.
//! The probe writes small objects with random names under `probe/` and removes them:
//!
//! 1. An object is put, read back whole and in part, and listed.
//! 2. It is created a second time, which must fail, and must leave it as it was.
//! 3. [`CREATORS`] create one name at the same time: exactly one may win, [`ROUNDS`] times.
//! 4. Where uploads in parts are in use, an object made of parts may not replace another.
//! 5. It is deleted, and must be gone.
//!
//! A silent pass is no proof that a store is right for ever; a failure is proof that it is wrong.
//!
//! Not here: object lock (`objects::s3`), the text for the operator (the program's).

use std::fmt::Write as _;

use bytes::Bytes;
use futures::{TryStreamExt as _, future::join_all};
use object_store::{Error, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions, path::Path};
use trust::random::RandomSource;

/// The folder of the probe's objects.
pub const PREFIX: &str = "probe";
/// Who race for one name.
pub const CREATORS: usize = 8;
/// Races.
pub const ROUNDS: usize = 4;

/// Why a store is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProbeError {
    /// The store does not answer, or refuses. Says nothing about whether it can be trusted.
    #[error("the object store cannot {operation} a small object")]
    Unanswered {
        /// `create`, `read`, `list`, `delete`.
        operation: &'static str,
        /// The cause.
        #[source]
        source: Box<Error>,
    },
    /// An object was created a second time.
    #[error("the object store replaces an object that it was told to create")]
    Replaces,
    /// Several created the same object.
    #[error("the object store let {winners} of {CREATORS} create one and the same object")]
    RaceWon {
        /// How many; 0 when nobody could.
        winners: usize,
    },
    /// What was read is not what was written.
    #[error("the object store gives other octets back than were put ({0})")]
    OtherOctets(&'static str),
    /// An object that was put is not listed.
    #[error("the object store does not list an object just put")]
    NotListed,
    /// An object that was deleted is still there.
    #[error("the object store keeps an object just deleted")]
    NotDeleted,
}

impl ProbeError {
    /// Whether the store answered, and answered wrongly.
    #[must_use]
    pub fn is_pretence(&self) -> bool {
        !matches!(self, Self::Unanswered { .. })
    }
}

/// Probes `objects`; `in_parts` also races uploads in parts.
pub async fn probe(
    objects: &dyn ObjectStore,
    random: &dyn RandomSource,
    in_parts: bool,
) -> Result<(), ProbeError> {
    let names: Vec<Path> = (0..2 + ROUNDS).map(|_| name(random)).collect();
    let result = ask(objects, random, &names, in_parts).await;
    // Whatever came out: nothing stays behind, unless the store does not answer.
    for name in &names {
        if objects.delete(name).await.is_err_and(|error| !matches!(error, Error::NotFound { .. })) {
            break;
        }
    }
    result
}

async fn ask(
    objects: &dyn ObjectStore,
    random: &dyn RandomSource,
    names: &[Path],
    in_parts: bool,
) -> Result<(), ProbeError> {
    let [first, parts, races @ ..] = names else { return Ok(()) };
    let octets = random_octets(random);
    if !create(objects, first, octets.clone()).await? {
        return Err(ProbeError::RaceWon { winners: 0 });
    }
    reads(objects, first, &octets).await?;
    lists(objects, first).await?;
    if create(objects, first, random_octets(random)).await? {
        return Err(ProbeError::Replaces);
    }
    reads(objects, first, &octets).await?;
    for name in races {
        let octets: Vec<Bytes> = (0..CREATORS).map(|_| random_octets(random)).collect();
        let race = octets.iter().map(|octets| create(objects, name, octets.clone()));
        one_winner(join_all(race).await)?;
    }
    if in_parts {
        let octets = random_octets(random);
        if !create_in_parts(objects, parts, octets.clone()).await? {
            return Err(ProbeError::RaceWon { winners: 0 });
        }
        if create_in_parts(objects, parts, random_octets(random)).await? {
            return Err(ProbeError::Replaces);
        }
        reads(objects, parts, &octets).await?;
    }
    deletes(objects, first).await
}

fn one_winner(outcomes: Vec<Result<bool, ProbeError>>) -> Result<(), ProbeError> {
    let mut winners = 0;
    for outcome in outcomes {
        winners += usize::from(outcome?);
    }
    if winners == 1 { Ok(()) } else { Err(ProbeError::RaceWon { winners }) }
}

/// Whether the object was created by this call.
async fn create(objects: &dyn ObjectStore, name: &Path, octets: Bytes) -> Result<bool, ProbeError> {
    let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
    created(objects.put_opts(name, octets.into(), options).await.map(drop))
}

async fn create_in_parts(
    objects: &dyn ObjectStore,
    name: &Path,
    octets: Bytes,
) -> Result<bool, ProbeError> {
    let mut upload = match objects.put_multipart(name).await {
        Ok(upload) => upload,
        Err(error) => return created(Err(error)),
    };
    let result = match upload.put_part(octets.into()).await {
        Ok(()) => upload.complete().await.map(drop),
        Err(error) => Err(error),
    };
    if result.is_err() {
        // One that is refused leaves no parts behind.
        let _ = upload.abort().await;
    }
    created(result)
}

fn created(result: Result<(), Error>) -> Result<bool, ProbeError> {
    match result {
        Ok(()) => Ok(true),
        Err(Error::AlreadyExists { .. }) => Ok(false),
        Err(error) => Err(unanswered("create", error)),
    }
}

async fn reads(objects: &dyn ObjectStore, name: &Path, octets: &Bytes) -> Result<(), ProbeError> {
    let got = objects.get(name).await.map_err(|error| unanswered("read", error))?;
    let whole = got.bytes().await.map_err(|error| unanswered("read", error))?;
    if whole != octets {
        return Err(ProbeError::OtherOctets("whole"));
    }
    let range = objects.get_range(name, 10..20).await;
    if range.map_err(|error| unanswered("read", error))? != octets[10..20] {
        return Err(ProbeError::OtherOctets("a range"));
    }
    Ok(())
}

async fn lists(objects: &dyn ObjectStore, name: &Path) -> Result<(), ProbeError> {
    let mut listed = objects.list(Some(&Path::from(PREFIX)));
    while let Some(meta) = listed.try_next().await.map_err(|error| unanswered("list", error))? {
        if meta.location == *name {
            return Ok(());
        }
    }
    Err(ProbeError::NotListed)
}

async fn deletes(objects: &dyn ObjectStore, name: &Path) -> Result<(), ProbeError> {
    objects.delete(name).await.map_err(|error| unanswered("delete", error))?;
    match objects.head(name).await {
        Err(Error::NotFound { .. }) => Ok(()),
        Ok(_) => Err(ProbeError::NotDeleted),
        Err(error) => Err(unanswered("read", error)),
    }
}

fn unanswered(operation: &'static str, source: Error) -> ProbeError {
    ProbeError::Unanswered { operation, source: Box::new(source) }
}

fn name(random: &dyn RandomSource) -> Path {
    let mut octets = [0; 16];
    random.fill(&mut octets);
    let name = octets.iter().fold(String::new(), |mut name, octet| {
        let _ = write!(name, "{octet:02x}");
        name
    });
    Path::from(format!("{PREFIX}/{name}"))
}

fn random_octets(random: &dyn RandomSource) -> Bytes {
    let mut octets = vec![0; 64];
    random.fill(&mut octets);
    octets.into()
}
