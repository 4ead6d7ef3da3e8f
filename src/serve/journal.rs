//! The journal's keeper in the server, and whom its proofs are believed from.
//!
//! Invariant: the development authority's time-stamping certificate is made once and kept with its other
//! files. Stamps are believed from the configured authorities, and from the development authority where there
//! is one: pieces from before a service was configured are its own.
//!
//! Seals are made by a task of their own: a time-stamping service that accepts a connection and says nothing
//! holds up the pieces of days, and no minute.
//!
//! Not here: what a round does (`pec::journal::keeper`).

use std::{error::Error, path::Path, sync::Arc, time::Duration};

use anyhow::Context as _;
use storage::objects::ObjectStore;
use tokio::{task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;
use trust::{
    authority::{DevelopmentAuthority, Issued},
    certificate::{Certificate, chain::TrustedAuthorities},
    clock::{Clock, SystemClock},
    key::PrivateKey,
    random::{RandomSource, SystemRandom},
    smime::verify::Verifier,
    timestamp::{
        TimestampSource,
        authority::TimestampAuthority,
        client::{HttpTimestampConfig, HttpTimestampSource},
    },
};

use super::{credentials::Credentials, trusted};
use crate::{
    config::Config,
    metrics_names::{
        JOURNAL_DISPOSED, JOURNAL_FAILURES, JOURNAL_MISSING, JOURNAL_PIECES, JOURNAL_SAVED,
        JOURNAL_SEALED_RECORDS, JOURNAL_SEALS,
    },
    pec::{
        engine::PecEngine,
        journal::keeper::{Keeper, Kept},
    },
};

const CERTIFICATE: &str = "timestamp.pem";
const KEY: &str = "timestamp.key";

/// Makes the keeper of `engine`'s journal, and its two tasks among those `beside`.
///
/// # Errors
///
/// When the source of time stamps cannot be made.
pub fn start(
    config: &Config,
    engine: &Arc<PecEngine>,
    objects: Arc<dyn ObjectStore>,
    beside: &mut JoinSet<()>,
    stopping: &CancellationToken,
) -> anyhow::Result<()> {
    let stamps = stamps(config, Arc::new(SystemClock), Arc::new(SystemRandom))?;
    let (trusted, settings) = (trusted_stamps(config)?, &config.journal);
    let engine = Arc::clone(engine);
    let keeper = Arc::new(Keeper::new(engine, objects, stamps, trusted, settings.kept_months));
    let interval = settings.seal_interval.duration();
    let pauses = (interval, settings.timestamp_retry_longest.duration());
    beside.spawn(seal(Arc::clone(&keeper), interval, stopping.clone()));
    beside.spawn(keep(keeper, pauses, stopping.clone()));
    Ok(())
}

/// The configured time-stamping service, else the development authority's.
///
/// # Errors
///
/// When the source cannot be made.
pub fn stamps(
    config: &Config,
    clock: Arc<dyn Clock>,
    random: Arc<dyn RandomSource>,
) -> anyhow::Result<Arc<dyn TimestampSource>> {
    let settings = &config.journal;
    if let Some(url) = &settings.timestamp_url {
        anyhow::ensure!(
            !settings.timestamp_authority_files.is_empty(),
            "journal.timestamp_url is set without journal.timestamp_authority_files: no time stamp could be \
             verified. Name the PEM files of the service's authorities"
        );
        let service = HttpTimestampConfig {
            url: url.clone(),
            timeout: settings.timestamp_timeout.duration(),
            trusted: trusted_stamps(config)?,
        };
        return Ok(Arc::new(HttpTimestampSource::new(service, random)?));
    }
    let folder = config.data.authority_folder();
    let (issued, authority) = open_or_make(&folder, &config.provider.name, &clock, &random)?;
    Ok(Arc::new(TimestampAuthority::new(issued, vec![authority], clock, random)))
}

/// The time-stamping certificate in `folder`, and the authority's own.
fn open_or_make(
    folder: &Path,
    provider: &str,
    clock: &Arc<dyn Clock>,
    random: &Arc<dyn RandomSource>,
) -> anyhow::Result<(Issued, Certificate)> {
    let authority = DevelopmentAuthority::open(folder, Arc::clone(clock), Arc::clone(random))
        .with_context(|| format!("opening the development authority in {}", folder.display()))?;
    let (certificate_file, key_file) = (folder.join(CERTIFICATE), folder.join(KEY));
    if !certificate_file.try_exists()? {
        // The name's end keeps it from being taken for the signing certificate; CN has 64 characters.
        let name: String = provider.chars().take(50).chain(" Time Stamp".chars()).collect();
        let issued = authority.issue_time_stamping(&name)?;
        // A key without its certificate is what a crash left: it has stamped nothing.
        if key_file.try_exists()? {
            std::fs::remove_file(&key_file)
                .with_context(|| format!("removing {}", key_file.display()))?;
        }
        issued.key.write(&key_file)?;
        let new = certificate_file.with_extension("new");
        std::fs::write(&new, issued.certificate.to_pem()?)
            .and_then(|()| std::fs::File::open(&new)?.sync_all())
            .and_then(|()| std::fs::rename(&new, &certificate_file))
            .with_context(|| format!("writing {}", certificate_file.display()))?;
    }
    let mut certificates = Certificate::read_all(&certificate_file)?.into_iter();
    let certificate = certificates.next().with_context(|| {
        format!("{} holds no certificate: remove it", certificate_file.display())
    })?;
    let key = PrivateKey::read(&key_file)?;
    Ok((Issued { certificate, key }, authority.certificate().clone()))
}

/// The authorities whose time stamps are believed.
///
/// # Errors
///
/// When a file cannot be read.
pub fn trusted_stamps(config: &Config) -> anyhow::Result<TrustedAuthorities> {
    let mut authorities = Vec::new();
    for file in &config.journal.timestamp_authority_files {
        let read = Certificate::read_all(file);
        authorities.extend(
            read.with_context(|| format!("reading the authorities in {}", file.display()))?,
        );
    }
    let own = config.data.authority_folder().join("authority.pem");
    if own.try_exists()? {
        authorities.extend(Certificate::read_all(&own)?);
    }
    Ok(TrustedAuthorities::new(authorities))
}

/// The verifier of the provider's own signatures: the engine's, or one made from the configuration.
///
/// # Errors
///
/// When keys or certificates cannot be read.
pub fn verifier(config: &Config, engine: Option<&PecEngine>) -> anyhow::Result<Arc<Verifier>> {
    if let Some(engine) = engine {
        return Ok(Arc::clone(engine.verifier()));
    }
    let (clock, random): (Arc<dyn Clock>, Arc<dyn RandomSource>) =
        (Arc::new(SystemClock), Arc::new(SystemRandom));
    let credentials = Credentials::open(config, &clock, &random)?;
    Ok(Arc::new(trusted::verifier(&config.trust, &credentials)?))
}

/// Seals again and again until `stopping` is cancelled, in the middle of a run too: each of its steps is one
/// batch, and what is not done is due at the next start.
pub async fn seal(keeper: Arc<Keeper>, interval: Duration, stopping: CancellationToken) {
    loop {
        let round = async {
            let mut kept = Kept::default();
            keeper.seal(&mut kept).await;
            note(&kept);
            tokio::time::sleep(interval).await;
        };
        if stopping.run_until_cancelled(round).await.is_none() {
            return;
        }
    }
}

/// Makes the pieces of days that are over, stores and disposes, until `stopping` is cancelled. A time-stamping
/// service that does not answer is asked after growing pauses, `longest` at most.
pub async fn keep(
    keeper: Arc<Keeper>,
    (interval, longest): (Duration, Duration),
    stopping: CancellationToken,
) {
    let mut stamping = Stamping::new(interval, longest);
    loop {
        let round = async {
            let due = stamping.is_due(Instant::now());
            let kept = keeper.days(due).await;
            note(&kept);
            if due {
                let failed = kept.failures.iter().any(|(step, _)| *step == "piece");
                stamping.tried(failed, Instant::now());
            }
            tokio::time::sleep(interval).await;
        };
        if stopping.run_until_cancelled(round).await.is_none() {
            return;
        }
    }
}

/// When the time-stamping service is asked next.
#[derive(Debug)]
pub struct Stamping {
    first: Duration,
    longest: Duration,
    /// The pause after the next failure, and the end of the last one.
    pause: Duration,
    until: Option<Instant>,
}

impl Stamping {
    /// Pauses from `first` to `longest`.
    #[must_use]
    pub fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest: longest.max(first), pause: first, until: None }
    }

    /// Whether the service may be asked at `now`.
    #[must_use]
    pub fn is_due(&self, now: Instant) -> bool {
        self.until.is_none_or(|until| now >= until)
    }

    /// After a failure the next try waits, twice as long each time; after a success it does not.
    pub fn tried(&mut self, failed: bool, now: Instant) {
        if failed {
            self.until = Some(now + self.pause);
            self.pause = self.pause.saturating_mul(2).min(self.longest);
        } else {
            (self.until, self.pause) = (None, self.first);
        }
    }
}

fn note(kept: &Kept) {
    metrics::counter!(JOURNAL_SEALS).increment(kept.sealed.seals);
    metrics::counter!(JOURNAL_SEALED_RECORDS).increment(kept.sealed.records);
    metrics::counter!(JOURNAL_PIECES).increment(kept.pieces);
    metrics::counter!(JOURNAL_DISPOSED).increment(kept.disposed.records);
    for (first, last) in &kept.sealed.missing {
        metrics::counter!(JOURNAL_MISSING).increment(last - first + 1);
        tracing::error!(
            first,
            last,
            "records of the journal are missing: run `ceralacca journal verify`"
        );
    }
    for (step, error) in &kept.failures {
        metrics::counter!(JOURNAL_FAILURES, "step" => *step).increment(1);
        tracing::warn!(step, error = error as &dyn Error, "a step of the journal is put off");
    }
    if let Some(until) = kept.saved_until {
        #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 are far below 2⁵³")]
        metrics::gauge!(JOURNAL_SAVED).set(until.seconds() as f64);
    }
    if kept.pieces + kept.disposed.pieces > 0 {
        tracing::info!(
            pieces = kept.pieces,
            stored = kept.stored,
            disposed = kept.disposed.pieces,
            "daily pieces of the journal"
        );
    }
}

/// The authorities that signatures are believed from, in PEM: what goes along with an export.
///
/// # Errors
///
/// When a file cannot be read.
pub fn authorities_pem(config: &Config) -> anyhow::Result<String> {
    let own = config.data.authority_folder().join("authority.pem");
    // As `trusted::verifier`: where it stamps alone nobody believes its signatures.
    let signs = config.signing.is_none() || config.tls.is_none();
    let own = (signs && own.try_exists()?).then_some(own);
    let mut pem = Vec::new();
    for file in config.trust.authority_files.iter().chain(&own) {
        let read = Certificate::read_all(file);
        let read =
            read.with_context(|| format!("reading the authorities in {}", file.display()))?;
        for certificate in read {
            pem.extend(certificate.to_pem()?);
        }
    }
    Ok(String::from_utf8_lossy(&pem).into_owned())
}

#[cfg(test)]
mod tests {
    use trust::{digest::Sha256Digest, timestamp::verify::verify};

    use super::*;

    fn config(folder: &Path) -> Config {
        let mut config = Config::default();
        config.data.folder = folder.to_owned();
        config
    }

    fn source(config: &Config) -> anyhow::Result<Arc<dyn TimestampSource>> {
        stamps(config, Arc::new(SystemClock), Arc::new(SystemRandom))
    }

    #[tokio::test]
    async fn the_development_authority_stamps_with_one_certificate_that_is_believed() {
        let folder = tempfile::tempdir().expect("a folder");
        let config = config(folder.path());
        let (digest, mut signers) = (Sha256Digest::of(b"piece"), Vec::new());
        for _ in 0..2 {
            let token = source(&config).expect("a source").stamp(digest).await.expect("a stamp");
            let trusted = trusted_stamps(&config).expect("authorities");
            let verified = verify(&token, digest, &trusted).expect("believed");
            signers.push(verified.signer.to_der().to_vec());
        }
        assert_eq!(signers[0], signers[1], "made once");
        // A key that a crash left without its certificate is drawn anew.
        std::fs::remove_file(config.data.authority_folder().join(CERTIFICATE)).expect("removed");
        source(&config).expect("a source").stamp(digest).await.expect("a stamp");
    }

    #[test]
    fn a_service_that_does_not_answer_is_asked_after_growing_pauses_and_at_once_when_it_is_back() {
        let second = Duration::from_secs(1);
        let (mut stamping, mut now) = (Stamping::new(60 * second, 900 * second), Instant::now());
        let mut pauses = Vec::new();
        for _ in 0..6 {
            let asked = now;
            stamping.tried(true, now);
            while !stamping.is_due(now) {
                now += second;
            }
            pauses.push((now - asked).as_secs());
        }
        assert_eq!(pauses, [60, 120, 240, 480, 900, 900]);
        stamping.tried(false, now);
        assert!(stamping.is_due(now));
        stamping.tried(true, now);
        assert!(stamping.is_due(now + 60 * second), "from the beginning");
    }

    #[test]
    fn a_service_whose_stamps_nobody_could_verify_is_refused_at_the_start() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut config = config(folder.path());
        config.journal.timestamp_url = Some("https://tsa.example/tsr".to_owned());
        let refused = source(&config).map(drop).expect_err("refused").to_string();
        assert!(refused.contains("journal.timestamp_authority_files"), "{refused}");
    }
}
