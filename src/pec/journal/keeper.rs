//! The keeper of the journal: makes the daily pieces and puts them into the object store.
//!
//! [`Keeper::days`] does whatever is due but the seals: it closes every period that is over, brings
//! the objects of pieces into the object store, and disposes of what is over its time. A step that
//! fails keeps none of the others back, and is due again in the next round. Sealing ([`Keeper::seal`]) goes on
//! beside it, however long a time stamp takes: both move the head, and who finds that it moved goes on from
//! where it is now.
//!
//! * A piece is made once: statement, signature and stamp are committed with the head before the
//!   first object is put. Until that batch is there nobody has seen them, and a stamp that was got
//!   and then lost by a crash is only asked for again.
//! * Objects are created, never replaced, and hold what the catalog says: a second try puts the
//!   same octets. The statement goes last, so that a piece with one is whole.
//! * The system clock alone closes no period and disposes of nothing: the stamp must agree with it, and
//!   what is old enough to go is so by the newest stamp.
//! * Without a stamp there is no piece: when the time-stamping service does not answer, the period
//!   waits, and is closed late, with the same content.
//! * After a restore the objects of all pieces are looked for, and put where they are missing.
//!
//! Not here: the form of pieces ([`super::piece`]), disposal ([`super::disposal`]).

use std::sync::Arc;

use bytes::Bytes;
use storage::{
    catalog::engine::{Batch, Expected},
    error::StoreError,
    objects::{
        ObjectStore,
        named::{self, Created},
    },
};
use tokio::sync::Mutex;
use trust::{
    certificate::chain::TrustedAuthorities,
    clock::UnixMillis,
    digest::Sha256Digest,
    timestamp::{TimestampError, TimestampSource, TimestampToken, verify},
};

use super::{
    disposal::{self, Disposed},
    head::{Head, JOURNAL_PIECES, JournalHead, digest, numbered},
    piece::{
        Extent, PieceFile, PieceRecord, PieceSeals, SEALS, SEGMENT_OCTETS, SIGNATURE, STAMP,
        STATEMENT, Segments, Statement, period_end,
    },
    sealer::{self, Sealed},
};
use crate::pec::{
    distribution::CONFLICTS_MAX,
    engine::{PecEngine, PecError},
};

/// Level of zstd for files of records: they are written once and read rarely.
const COMPRESSION_LEVEL: i32 = 9;

/// The largest object of a piece: one file of records that did not compress at all, with one record
/// of a batch's size.
pub(super) const OBJECT_OCTETS_MAX: u64 = 256 << 20;

/// How far clock and time stamp may be apart: the clock is held within seconds of legal time (RFC 6109
/// §2.2), the rest is what a slow service takes.
const CLOCK_DIFFERENCE_MAX: i64 = 600_000;

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
    #[error("the journal's piece has no time stamp that holds")]
    Stamp(#[from] TimestampError),
    /// The clock and the time-stamping service do not agree: one of the two is wrong.
    #[error(
        "the clock says {now:?}, the time stamp {stamped:?} (ms since 1970): set the clock; until then \
         no day of the journal is closed"
    )]
    Clock {
        /// What the clock says.
        now: UnixMillis,
        /// What the time stamp says.
        stamped: UnixMillis,
    },
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
    /// Up to when every period has a piece with all of its objects; `None` before the first round.
    pub saved_until: Option<UnixMillis>,
}

/// Keeps the journal of one node.
#[derive(Debug)]
pub struct Keeper {
    engine: Arc<PecEngine>,
    objects: Arc<dyn ObjectStore>,
    stamps: Arc<dyn TimestampSource>,
    trusted: TrustedAuthorities,
    kept_months: u32,
    prepared: Mutex<Option<Prepared>>,
    /// One seal at a time: two tasks of a server seal, and who finds a seal of the other's behind a head that was
    /// read before it would tell of tampering.
    sealing: Mutex<()>,
}

/// A statement that waits for its time stamp: as long as the service does not answer, the day is not read
/// again in each round.
#[derive(Clone, Debug)]
struct Prepared {
    head: JournalHead,
    statement: Statement,
    text: Bytes,
    signature: Vec<u8>,
}

impl Keeper {
    /// A keeper that stamps with `stamps`, whose stamps `trusted` tell of, and keeps the journal
    /// `kept_months`, 30 at least.
    pub fn new(
        engine: Arc<PecEngine>,
        objects: Arc<dyn ObjectStore>,
        stamps: Arc<dyn TimestampSource>,
        trusted: TrustedAuthorities,
        kept_months: u32,
    ) -> Self {
        let kept_months = kept_months.max(KEPT_MONTHS_MIN);
        Self {
            engine,
            objects,
            stamps,
            trusted,
            kept_months,
            prepared: Mutex::default(),
            sealing: Mutex::default(),
        }
    }

    fn node(&self) -> u64 {
        self.engine.settings().node
    }

    /// Seals, and does everything else that is due.
    pub async fn round(&self) -> Kept {
        let mut kept = Kept::default();
        self.seal(&mut kept).await;
        self.save(true, &mut kept).await;
        kept
    }

    /// Seals what was not sealed yet.
    pub async fn seal(&self, kept: &mut Kept) {
        let _one = self.sealing.lock().await;
        let (engine, now) = (&**self.engine.store().engine(), self.engine.now());
        match sealer::seal(engine, self.node(), self.engine.settings().epoch, now).await {
            Ok(sealed) => kept.sealed = sealed,
            Err(error) => kept.failures.push(("seal", error.into())),
        }
    }

    /// Does what is due of days that are over; with `stamping`, closes those that have no piece yet.
    pub async fn days(&self, stamping: bool) -> Kept {
        let mut kept = Kept::default();
        // The first seal after a start says in which epoch of the store all that follows is made.
        match Head::read(&**self.engine.store().engine(), self.node()).await {
            Ok(head) if head.record.epoch == self.engine.settings().epoch => {}
            _ => self.seal(&mut kept).await,
        }
        if kept.failures.is_empty() {
            self.save(stamping, &mut kept).await;
        }
        kept
    }

    async fn save(&self, stamping: bool, kept: &mut Kept) {
        let now = self.engine.now();
        if stamping {
            self.close_periods(now, kept).await;
        }
        let mut tries = Tries::default();
        loop {
            match self.store_next().await {
                Err(error) if tries.again(&error) => {}
                Ok(true) => kept.stored += 1,
                Ok(false) => break,
                Err(error) => {
                    kept.failures.push(("store", error));
                    break;
                }
            }
        }
        loop {
            match self.dispose(now).await {
                Err(error) if tries.again(&error) => continue,
                Ok(disposed) => kept.disposed = disposed,
                Err(error) => kept.failures.push(("dispose", error)),
            }
            break;
        }
        // What cannot be read was told of by the steps.
        kept.saved_until = self.saved_until().await.ok().flatten();
    }

    async fn close_periods(&self, now: UnixMillis, kept: &mut Kept) {
        loop {
            match self.close_period(now).await {
                Ok(true) => kept.pieces += 1,
                Ok(false) => return,
                Err(error) => return kept.failures.push(("piece", error)),
            }
        }
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
        let Prepared { statement, text, signature, .. } = self.prepare(&head, from, until).await?;
        let stamped = Sha256Digest::of(&signature);
        let stamp = self.stamps.stamp(stamped).await?;
        let instant = verify::verify(&stamp, stamped, &self.trusted)?.instant;
        let now = self.engine.now();
        if instant.0.abs_diff(now.0) > CLOCK_DIFFERENCE_MAX.unsigned_abs() || instant < until {
            // What it says of seals made ahead was as of a wrong time.
            *self.prepared.lock().await = None;
            return Err(KeepError::Clock { now, stamped: instant });
        }
        let record = PieceRecord {
            statement: text.to_vec(),
            signature,
            stamp: stamp.as_der().to_vec(),
            made_millis: now.0,
        };
        let mut tries = Tries::default();
        loop {
            match self.commit_piece(&head, &statement, &record).await {
                Err(error) if tries.again(&error) => {}
                committed => break committed?,
            }
        }
        *self.prepared.lock().await = None;
        Ok(true)
    }

    /// Commits the piece that was made as of `then`, of whose pieces the head still tells. Seals may have been
    /// made since: a stamp takes its time.
    async fn commit_piece(
        &self,
        then: &Head,
        statement: &Statement,
        record: &PieceRecord,
    ) -> Result<(), KeepError> {
        let engine = &**self.engine.store().engine();
        let head = Head::read(engine, self.node()).await?;
        if of_pieces(&head.record) != of_pieces(&then.record) {
            return Err(StoreError::Conflict.into());
        }
        let mut batch = Batch::default();
        let key = numbered(self.node(), statement.number);
        // A piece is never replaced: one that is there is evidence of a head that was set back.
        batch.expect(JOURNAL_PIECES, key.clone(), Expected::Absent);
        batch.put(JOURNAL_PIECES, key, crate::pec::records::encode(record));
        let next = JournalHead {
            pieces: statement.number,
            statement: Sha256Digest::of(&record.statement).0.to_vec(),
            piece_seals: statement.seals.map_or(head.record.piece_seals, |(_, last)| last),
            piece_sequence: statement.records.map_or(head.record.piece_sequence, |(_, last)| last),
            period_millis: statement.until.0,
            ..head.record.clone()
        };
        head.advance(&mut batch, &next);
        engine.commit(batch).await?;
        Ok(())
    }

    /// Statement and signature of the period that begins at `from`: those of the round before when only
    /// the time stamp was missing.
    async fn prepare(
        &self,
        head: &Head,
        from: UnixMillis,
        until: UnixMillis,
    ) -> Result<Prepared, KeepError> {
        let mut waiting = self.prepared.lock().await;
        if let Some(prepared) = &*waiting
            && of_pieces(&prepared.head) == of_pieces(&head.record)
        {
            return Ok(prepared.clone());
        }
        let statement = self.statement(head, from, until).await?;
        let text = Bytes::from(statement.text());
        let text_digest = Sha256Digest::of(&text);
        let signer = self.engine.signer();
        let made = self.engine.compute(move || signer.sign_digest(text_digest)).await?;
        let signature = made.map_err(|error| PecError::Sign(Box::new(error)))?;
        let prepared = Prepared { head: head.record.clone(), statement, text, signature };
        Ok(waiting.insert(prepared).clone())
    }

    /// Disposes of what is over its time, as the newest time stamp tells the time: a clock that was set
    /// ahead makes nothing older. Without a piece there is nothing to dispose of.
    async fn dispose(&self, now: UnixMillis) -> Result<Disposed, KeepError> {
        let engine = &**self.engine.store().engine();
        let head = Head::read(engine, self.node()).await?.record;
        if head.pieces <= head.disposed_pieces {
            return Ok(Disposed::default());
        }
        let (record, _) = disposal::piece(engine, self.node(), head.pieces).await?;
        let token = TimestampToken::from_der(&record.stamp)?;
        let stamped = Sha256Digest::of(&record.signature);
        let instant = verify::verify(&token, stamped, &self.trusted)?.instant;
        let at = now.min(instant);
        let disposed =
            disposal::dispose(engine, &*self.objects, self.node(), at, self.kept_months).await?;
        Ok(disposed)
    }

    async fn saved_until(&self) -> Result<Option<UnixMillis>, StoreError> {
        let engine = &**self.engine.store().engine();
        let head = Head::read(engine, self.node()).await?;
        if head.is_new() {
            return Ok(None);
        }
        let next = head.record.stored.max(head.record.disposed_pieces).saturating_add(1);
        if next > head.record.pieces {
            return Ok(Some(UnixMillis(head.record.period_millis)));
        }
        Ok(Some(disposal::piece(engine, head.node, next).await?.1.from))
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
        let extent = Extent::Made { until, now: self.engine.now() };
        let first = record.piece_seals.saturating_add(1);
        let seals = PieceSeals::read(engine, head.node, first, extent).await?;
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
        let (record, statement) = disposal::piece(engine, self.node(), number).await?;
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
        if let (Some((first, last)), Some(records)) = (statement.seals, statement.records) {
            let mut segments = Segments::new(statement.node, records);
            while let Some((name, octets)) = segments.next(engine).await? {
                expect_digest(statement, &name, &octets)?;
                put_compressed(objects, &statement.object(&format!("{name}.zst")), octets).await?;
            }
            let seals = PieceSeals::read(engine, statement.node, first, Extent::Last(last)).await?;
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

/// What of a head the next piece follows from. Newer seals are of a later period: they change nothing.
fn of_pieces(head: &JournalHead) -> (u64, &[u8], u64, i64, u32) {
    (head.pieces, &head.statement, head.piece_seals, head.period_millis, head.epoch)
}

/// Counts how often steps, whose batches expect the head, found that the sealer had moved that on.
#[derive(Default)]
struct Tries(usize);

impl Tries {
    /// Whether a step that failed so is done again at once.
    fn again(&mut self, error: &KeepError) -> bool {
        self.0 += 1;
        self.0 < CONFLICTS_MAX && matches!(error, KeepError::Store(StoreError::Conflict))
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
