//! A provider whose journal is kept: days pass by a clock that is handed in.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
};

use ceralacca::pec::{
    engine::{EngineSettings, PecEngine},
    journal::{
        JournalEvent,
        keeper::{Keeper, Kept},
        verify::{Scope, Trust, Verified, verify},
    },
    records::JournalRecord,
};
use object_store::memory::InMemory;
use storage::{
    catalog::{
        engine::{Batch, Engine},
        simulated::SimulatedEngine,
    },
    objects::named,
};
use trust::{
    authority::Issued,
    certificate::{Certificate, chain::TrustedAuthorities},
    clock::{Clock, ManualClock, UnixMillis},
    digest::Sha256Digest,
    random::SystemRandom,
    timestamp::{TimestampError, TimestampSource, TimestampToken, authority::TimestampAuthority},
};

use crate::{
    network::{self, NOON, keys},
    provider::{Provider, families},
};

pub(crate) const MINUTE: i64 = 60_000;
pub(crate) const DAY: i64 = 86_400_000;
pub(crate) const NODE: u64 = 1;

/// A time-stamping service that can be away.
#[derive(Debug)]
pub(crate) struct Stamps {
    authority: TimestampAuthority,
    away: AtomicBool,
    behind: Arc<Behind>,
    given: AtomicU64,
}

/// The service's clock: the provider's, less what that one is ahead.
#[derive(Debug)]
struct Behind {
    clock: Arc<ManualClock>,
    millis: AtomicI64,
}

impl Clock for Behind {
    fn now(&self) -> UnixMillis {
        self.clock.now().plus_millis(-self.millis.load(Ordering::SeqCst))
    }
}

/// The service's certificate and its authority: drawn once, as keys take long.
fn stamping() -> &'static (Issued, Certificate) {
    static STAMPING: OnceLock<(Issued, Certificate)> = OnceLock::new();
    STAMPING.get_or_init(|| {
        let authority = network::authority();
        let issued = authority.issue_time_stamping("Marche di prova").expect("a certificate");
        (issued, authority.certificate().clone())
    })
}

impl Stamps {
    fn new(clock: Arc<ManualClock>) -> Arc<Self> {
        let (issued, authority) = stamping().clone();
        let behind = Arc::new(Behind { clock, millis: AtomicI64::new(0) });
        let random = Arc::new(SystemRandom);
        let authority = TimestampAuthority::new(issued, vec![authority], behind.clone(), random);
        Arc::new(Self { authority, away: AtomicBool::new(false), behind, given: AtomicU64::new(0) })
    }

    /// From now on the provider's clock is that far ahead of the service's.
    pub(crate) fn stay_behind(&self, millis: i64) {
        self.behind.millis.store(millis, Ordering::SeqCst);
    }

    pub(crate) fn go_away(&self, away: bool) {
        self.away.store(away, Ordering::SeqCst);
    }

    pub(crate) fn given(&self) -> u64 {
        self.given.load(Ordering::SeqCst)
    }
}

#[async_trait::async_trait]
impl TimestampSource for Stamps {
    async fn stamp(&self, digest: Sha256Digest) -> Result<TimestampToken, TimestampError> {
        if self.away.load(Ordering::SeqCst) {
            let answer = "HTTP 503".to_owned();
            return Err(TimestampError::Refused { url: "https://tsa.test/".to_owned(), answer });
        }
        self.given.fetch_add(1, Ordering::SeqCst);
        self.authority.stamp(digest).await
    }
}

/// The provider, its keeper, and where its pieces lie.
pub(crate) struct Keeping {
    pub(crate) provider: Provider,
    pub(crate) objects: Arc<InMemory>,
    pub(crate) stamps: Arc<Stamps>,
    pub(crate) keeper: Keeper,
}

impl Keeping {
    pub(crate) async fn start() -> Self {
        Self::start_on(SimulatedEngine::new(&families()), Arc::default(), 1).await
    }

    pub(crate) async fn start_on(
        catalog: Arc<dyn Engine>,
        objects: Arc<InMemory>,
        epoch: u32,
    ) -> Self {
        let settings = EngineSettings { epoch, ..EngineSettings::default() };
        let provider = Provider::start_on(catalog, settings).await;
        let stamps = Stamps::new(Arc::clone(&provider.clock));
        let keeper = Keeper::new(
            Arc::clone(&provider.engine),
            objects.clone(),
            stamps.clone(),
            TrustedAuthorities::new(vec![stamping().1.clone()]),
            0, // Never less than 30.
        );
        Self { provider, objects, stamps, keeper }
    }

    /// A keeper of the same journal that asks `stamps`.
    pub(crate) fn keeper_with(&self, stamps: Arc<dyn TimestampSource>) -> Keeper {
        let trusted = TrustedAuthorities::new(vec![stamping().1.clone()]);
        let engine = Arc::clone(&self.provider.engine);
        Keeper::new(engine, self.objects.clone(), stamps, trusted, 0)
    }

    pub(crate) fn engine(&self) -> &PecEngine {
        &self.provider.engine
    }

    pub(crate) fn catalog(&self) -> &dyn Engine {
        &**self.engine().store().engine()
    }

    /// Writes `count` records of now.
    pub(crate) async fn log(&self, count: usize) {
        let numbers = 0..count;
        for number in numbers {
            let record = JournalRecord {
                identifier: format!("opec.{}.{number}@beta.example", self.engine().now().0),
                message_id: format!("<{number}.{}@client.example>", self.engine().now().0),
                sender: "bruno@pec.beta.example".to_owned(),
                recipients: vec![format!("a{number}@pec.alfa.example")],
                subject: "Offerta".to_owned(),
                ..JournalRecord::default()
            };
            let mut batch = Batch::default();
            let now = self.engine().now();
            self.engine().journal(&mut batch, now, JournalEvent::Submission, record);
            self.engine().store().commit(batch).await.expect("committed");
        }
    }

    /// A round in which nothing may fail.
    pub(crate) async fn round(&self) -> Kept {
        let kept = self.keeper.round().await;
        assert!(kept.failures.is_empty(), "{:?}", kept.failures);
        kept
    }

    /// Lets `minutes` pass, then does a round.
    pub(crate) async fn after(&self, millis: i64) -> Kept {
        self.provider.clock.advance(millis);
        self.round().await
    }

    pub(crate) async fn verify(&self) -> Verified {
        self.verify_by(0).await
    }

    /// Verifies a journal that is to be kept for `kept_months`.
    pub(crate) async fn verify_by(&self, kept_months: u32) -> Verified {
        let stamps = TrustedAuthorities::new(vec![stamping().1.clone()]);
        let trust = Trust {
            signatures: self.engine().verifier(),
            stamps: &stamps,
            service_address: self.engine().issuer().service_address.as_str(),
        };
        let scope = Scope {
            node: NODE,
            epoch: self.engine().settings().epoch,
            objects: Some(&*self.objects),
            files: true,
            now: self.engine().now(),
            kept_months,
        };
        verify(self.catalog(), &scope, trust, &|_| {}).await.expect("verified")
    }

    /// Verifies; nothing may be wrong.
    pub(crate) async fn whole(&self) -> Verified {
        let verified = self.verify().await;
        assert_eq!(verified.faults, []);
        verified
    }

    pub(crate) async fn names(&self) -> Vec<String> {
        named::list(&*self.objects, "journal").await.expect("listed")
    }

    /// Brings the objects of one folder to the disk, with the authorities' certificates.
    pub(crate) async fn bring(&self, folder: &str, to: &Path) {
        for name in self.names().await.iter().filter(|name| name.starts_with(folder)) {
            let octets = named::read(&*self.objects, name, u64::MAX).await.expect("read");
            let file = name.rsplit('/').next().expect("a name");
            std::fs::write(to.join(file), octets.expect("an object")).expect("written");
        }
        let pem = |certificate: &Certificate| certificate.to_pem().expect("PEM");
        std::fs::write(to.join("ca.pem"), pem(&keys().authority)).expect("written");
        std::fs::write(to.join("tsa-ca.pem"), pem(&stamping().1)).expect("written");
    }
}

/// Runs a line of a shell in `folder`.
pub(crate) fn shell(folder: &Path, line: &str) -> Output {
    Command::new("sh").args(["-ec", line]).current_dir(folder).output().expect("a shell")
}

/// The same; it must succeed. Returns what it printed.
pub(crate) fn must(folder: &Path, line: &str) -> String {
    let output = shell(folder, line);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{line}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A file of this folder.
pub(crate) fn beside(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/engine").join(name)
}

/// The instant of [`NOON`] is in the day of this name.
pub(crate) const FIRST_DAY: &str = "2026-11-21";
const _: () = assert!(NOON.0 == 1_795_258_800_000);
