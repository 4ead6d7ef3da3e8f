//! The keeper of the journal: makes the daily pieces and puts them into the object store.
//!
//! One [`Keeper::round`] does whatever is due: it seals, closes every period that is over, brings
//! the objects of pieces into the object store, and disposes of what is over its time. A step that
//! fails keeps none of the others back, and is due again in the next round.
//!
//! * A piece is made once: statement, signature and stamp are committed with the head before the
//!   first object is put. Until that batch is there nobody has seen them, and a stamp that was got
//!   and then lost by a crash is only asked for again.
//! * Objects are created, never replaced, and hold what the catalog says: a second try puts the
//!   same octets. The statement goes last, so that a piece with one is whole.
//! * Without a stamp there is no piece: when the time-stamping service does not answer, the period
//!   waits, and is closed late, with the same content.
//! * After a restore the objects of all pieces are looked for, and put where they are missing.
//!
//! Not here: the form of pieces ([`super::piece`]), disposal ([`super::disposal`]).

use std::sync::Arc;

use bytes::Bytes;
use storage::{
    catalog::engine::Batch,
    error::StoreError,
    objects::{
        ObjectStore,
        named::{self, Created},
    },
};
use trust::{
    clock::UnixMillis,
    digest::Sha256Digest,
    timestamp::{TimestampError, TimestampSource},
};

use super::{
    disposal::{self, Disposed},
    head::{Head, JOURNAL_PIECES, JournalHead, digest, numbered},
    piece::{
        PieceFile, PieceRecord, PieceSeals, SEALS, SEGMENT_OCTETS, SIGNATURE, STAMP, STATEMENT,
        Segments, Statement, period_end,
    },
    sealer::{self, Sealed},
};
use crate::pec::{
    engine::{PecEngine, PecError},
    records::decode,
};

/// Level of zstd for files of records: they are written once and read rarely.
const COMPRESSION_LEVEL: i32 = 9;

/// The largest object of a piece: one file of records that did not compress at all, with one record
/// of a batch's size.
pub(super) const OBJECT_OCTETS_MAX: u64 = 256 << 20;

/// The least that a journal is kept: 30 months (RFC 6109 §2.3).
pub const KEPT_MONTHS_MIN: u32 = 30;

/// Why a step of a round was not done. It is due again in the next one.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// Catalog or object store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The signature could not be made.
    #[error(transparent)]
    Engine(#[from] PecError),
    /// There is no time stamp.
    #[error("the journal's piece has no time stamp yet")]
    Stamp(#[from] TimestampError),
    /// The file cannot be compressed or read.
    #[error("a file of the journal's piece cannot be compressed")]
    Compression(#[source] std::io::Error),
}

/// What a round did.
#[derive(Debug, Default)]
pub struct Kept {
    /// What was sealed.
    pub sealed: Sealed,
    /// Pieces made.
    pub pieces: u64,
    /// Pieces whose objects are there now.
    pub stored: u64,
    /// What was disposed of.
    pub disposed: Disposed,
    /// What was not done: the step and why.
    pub failures: Vec<(&'static str, KeepError)>,
    /// The end of the last period that has a piece; `None` before the first.
    pub saved_until: Option<UnixMillis>,
}

/// Keeps the journal of one node.
#[derive(Debug)]
pub struct Keeper {
    engine: Arc<PecEngine>,
    objects: Arc<dyn ObjectStore>,
    stamps: Arc<dyn TimestampSource>,
    kept_months: u32,
}

impl Keeper {
    /// A keeper that stamps with `stamps`, and keeps the journal `kept_months`, 30 at least.
    pub fn new(
        engine: Arc<PecEngine>,
        objects: Arc<dyn ObjectStore>,
        stamps: Arc<dyn TimestampSource>,
        kept_months: u32,
    ) -> Self {
        Self { engine, objects, stamps, kept_months: kept_months.max(KEPT_MONTHS_MIN) }
    }

    fn node(&self) -> u64 {
        self.engine.settings().node
    }

    /// Does what is due.
    pub async fn round(&self) -> Kept {
        let mut kept = Kept::default();
        let (engine, now) = (&**self.engine.store().engine(), self.engine.now());
        let (node, epoch) = (self.node(), self.engine.settings().epoch);
        match sealer::seal(engine, node, epoch, now).await {
            Ok(sealed) => kept.sealed = sealed,
            Err(error) => kept.failures.push(("seal", error.into())),
        }
        loop {
            match self.close_period(now).await {
                Ok(true) => kept.pieces += 1,
                Ok(false) => break,
                Err(error) => {
                    kept.failures.push(("piece", error));
                    break;
                }
            }
        }
        loop {
            match self.store_next().await {
                Ok(true) => kept.stored += 1,
                Ok(false) => break,
                Err(error) => {
                    kept.failures.push(("store", error));
                    break;
                }
            }
        }
        match disposal::dispose(engine, &*self.objects, node, now, self.kept_months).await {
            Ok(disposed) => kept.disposed = disposed,
            Err(error) => kept.failures.push(("dispose", error.into())),
        }
        if let Ok(head) = Head::read(engine, node).await
            && head.record.pieces > 0
        {
            kept.saved_until = Some(UnixMillis(head.record.period_millis));
        }
        kept
    }

    /// Makes the piece of the first period that is over; false when none is.
    async fn close_period(&self, now: UnixMillis) -> Result<bool, KeepError> {
        let engine = &**self.engine.store().engine();
        let head = Head::read(engine, self.node()).await?;
        let from = UnixMillis(head.record.period_millis);
        let until = period_end(from);
        if head.is_new() || now < until {
            return Ok(false);
        }
        let statement = self.statement(&head, from, until).await?;
        let text = Bytes::from(statement.text());
        let text_digest = Sha256Digest::of(&text);
        let signer = self.engine.signer();
        let made = self.engine.compute(move || signer.sign_digest(text_digest)).await?;
        let signature = made.map_err(|error| PecError::Sign(Box::new(error)))?;
        let stamp = self.stamps.stamp(Sha256Digest::of(&signature)).await?;
        let record = PieceRecord {
            statement: text.to_vec(),
            signature,
            stamp: stamp.as_der().to_vec(),
            made_millis: self.engine.now().0,
        };
        let mut batch = Batch::default();
        let key = numbered(self.node(), statement.number);
        batch.put(JOURNAL_PIECES, key, crate::pec::records::encode(&record));
        let next = JournalHead {
            pieces: statement.number,
            statement: text_digest.0.to_vec(),
            piece_seals: statement.seals.map_or(head.record.piece_seals, |(_, last)| last),
            piece_sequence: statement.records.map_or(head.record.piece_sequence, |(_, last)| last),
            period_millis: until.0,
            ..head.record.clone()
        };
        head.advance(&mut batch, &next);
        engine.commit(batch).await?;
        Ok(true)
    }

    /// The statement of the period that begins at `from`.
    async fn statement(
        &self,
        head: &Head,
        from: UnixMillis,
        until: UnixMillis,
    ) -> Result<Statement, StoreError> {
        let engine = &**self.engine.store().engine();
        let record = &head.record;
        let seals =
            PieceSeals::read(engine, head.node, record.piece_seals.saturating_add(1), until)
                .await?;
        let mut files = Vec::new();
        if let Some(records) = seals.records {
            let seals =
                PieceFile { digest: Sha256Digest::of(&seals.octets), name: SEALS.to_owned() };
            files.push(seals);
            let mut segments = Segments::new(head.node, records);
            while let Some((name, octets)) = segments.next(engine).await? {
                files.push(PieceFile { digest: Sha256Digest::of(&octets), name });
            }
        }
        let chain = match seals.chain {
            Some(chain) => chain,
            None => chain_before(engine, head).await?,
        };
        Ok(Statement {
            provider: self.engine.issuer().name.clone(),
            node: head.node,
            epoch: record.epoch,
            number: record.pieces.saturating_add(1),
            from,
            until,
            seals: seals.seals,
            records: seals.records,
            chain,
            previous: digest(&record.statement),
            files,
        })
    }

    /// Puts the objects of the next piece that may lack some; false when there is none.
    async fn store_next(&self) -> Result<bool, KeepError> {
        let engine = &**self.engine.store().engine();
        let head = Head::read(engine, self.node()).await?;
        let number = head.record.stored.max(head.record.disposed_pieces).saturating_add(1);
        if number > head.record.pieces || number == head.record.disposing {
            return Ok(false);
        }
        let key = numbered(self.node(), number);
        let damaged = |detail: &str| StoreError::Damaged {
            object: storage::catalog::keys::object(JOURNAL_PIECES, &key),
            detail: detail.to_owned(),
        };
        let octets = engine.get(JOURNAL_PIECES, &key).await?;
        let octets = octets.ok_or_else(|| damaged("the piece is gone"))?;
        let record: PieceRecord = decode(JOURNAL_PIECES, &key, &octets)?;
        let statement = Statement::read(&record.statement)
            .ok_or_else(|| damaged("its statement cannot be read"))?;
        self.put_objects(&statement, record).await?;
        let mut batch = Batch::default();
        head.advance(&mut batch, &JournalHead { stored: number, ..head.record.clone() });
        engine.commit(batch).await?;
        Ok(true)
    }

    async fn put_objects(
        &self,
        statement: &Statement,
        record: PieceRecord,
    ) -> Result<(), KeepError> {
        let objects = &*self.objects;
        let whole = named::read(objects, &statement.object(STATEMENT), OBJECT_OCTETS_MAX).await?;
        if whole.is_some_and(|octets| octets == record.statement) {
            return Ok(());
        }
        let engine = &**self.engine.store().engine();
        if let (Some((first, _)), Some(records)) = (statement.seals, statement.records) {
            let mut segments = Segments::new(statement.node, records);
            while let Some((name, octets)) = segments.next(engine).await? {
                expect_digest(statement, &name, &octets)?;
                put_compressed(objects, &statement.object(&format!("{name}.zst")), octets).await?;
            }
            let seals = PieceSeals::read(engine, statement.node, first, statement.until).await?;
            expect_digest(statement, SEALS, &seals.octets)?;
            put(objects, &statement.object(SEALS), seals.octets.into()).await?;
        }
        for (name, octets) in
            [(SIGNATURE, record.signature), (STAMP, record.stamp), (STATEMENT, record.statement)]
        {
            put(objects, &statement.object(name), octets.into()).await?;
        }
        Ok(())
    }
}

/// The hash of the last seal that stands in a piece already.
async fn chain_before(
    engine: &dyn storage::catalog::engine::Engine,
    head: &Head,
) -> Result<Sha256Digest, StoreError> {
    let number = head.record.piece_seals;
    if number == head.record.disposed_seals {
        return Ok(digest(&head.record.disposed_seal));
    }
    let seal = super::head::seal(engine, head.node, number).await?;
    seal.map(|seal| seal.hash()).ok_or_else(|| StoreError::Damaged {
        object: format!("seal {number} of the journal"),
        detail: "it is gone".to_owned(),
    })
}

/// What is put must be what was signed.
fn expect_digest(statement: &Statement, name: &str, octets: &[u8]) -> Result<(), StoreError> {
    let digest = Sha256Digest::of(octets);
    if statement.files.iter().any(|file| file.name == name && file.digest == digest) {
        return Ok(());
    }
    Err(StoreError::Damaged {
        object: statement.object(name),
        detail: "seals or records of the journal are not those that were signed".to_owned(),
    })
}

async fn put(objects: &dyn ObjectStore, name: &str, octets: Bytes) -> Result<(), StoreError> {
    match named::create(objects, name, octets.clone()).await? {
        Created::New => Ok(()),
        Created::Existed => {
            let found = named::read(objects, name, OBJECT_OCTETS_MAX).await?;
            if found == Some(octets) { Ok(()) } else { Err(other(name)) }
        }
    }
}

/// As [`put`]: another compressor may have written the object, so what is inside counts.
async fn put_compressed(
    objects: &dyn ObjectStore,
    name: &str,
    octets: Vec<u8>,
) -> Result<(), KeepError> {
    let digest = Sha256Digest::of(&octets);
    let compress = move || zstd::encode_all(octets.as_slice(), COMPRESSION_LEVEL);
    let compressed = tokio::task::spawn_blocking(compress).await;
    let compressed = compressed
        .map_err(|_| KeepError::Engine(PecError::Stopping))?
        .map_err(KeepError::Compression)?;
    if named::create(objects, name, compressed.into()).await? == Created::Existed {
        let found = named::read(objects, name, OBJECT_OCTETS_MAX).await?.unwrap_or_default();
        let inside = decompressed(&found);
        if inside.is_none_or(|inside| Sha256Digest::of(&inside) != digest) {
            return Err(other(name).into());
        }
    }
    Ok(())
}

/// The octets of a compressed file; `None` when they are none, or too many.
pub(super) fn decompressed(octets: &[u8]) -> Option<Vec<u8>> {
    use std::io::Read as _;
    let mut inside = Vec::new();
    let decoder = zstd::Decoder::new(octets).ok()?;
    let read = decoder.take(OBJECT_OCTETS_MAX + 1).read_to_end(&mut inside).ok()?;
    (read as u64 <= OBJECT_OCTETS_MAX).then_some(inside)
}

const _: () = assert!((SEGMENT_OCTETS as u64) < OBJECT_OCTETS_MAX, "a file of records is readable");

fn other(name: &str) -> StoreError {
    StoreError::Damaged {
        object: name.to_owned(),
        detail: "an object of that name is there and has other octets".to_owned(),
    }
}
