//! `pec_local`: transmissions per second with one recipient of the same provider, 20 KB, fully
//! processed: acceptance receipt, transport envelope, delivery and delivery receipt, every step
//! durable.
//!
//! The limit is the cryptography that each needs, on as many threads: three RSA-2048 signatures
//! and five SHA-256 passes over the message's octets. Rounds of the two take turns. Making the
//! messages is not timed; submitting them through the access point is.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr},
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use ceralacca::pec::{
    access_point::AccessPoint,
    address::{Address, Domain},
    destination::Destinations,
    directory::{Directory, ProviderRecord},
    engine::{EngineParts, EngineSettings, PecEngine},
    identifier::IdentifierSource,
    issuer::Issuer,
    queue::{self, QueueHandle},
    records,
    relay::Relay,
    work::{self, WorkQueue},
};
use protocols::{
    access::Identity,
    smtp::{
        client::{ClientSettings, TlsPolicy},
        grammar::ClientName,
        transport::{Envelope, Peer, Service, Transport as _},
    },
};
use storage::{
    account::settings::AccountSettings,
    catalog::rocksdb::RocksConfig,
    ids::AccountId,
    mailbox::view::MailboxView as _,
    octets::OctetStoreConfig,
    pack::store::local_objects,
    store::{Store, StoreConfig, StoreLimits},
};
use tokio::{sync::watch, task::JoinSet};
use trust::{
    authority::{DevelopmentAuthority, Issued},
    certificate::chain::{RevocationPolicy, TrustedAuthorities},
    clock::SystemClock,
    digest::Sha256Digest,
    key::PrivateKey,
    random::SystemRandom,
    smime::{sign::FileSigner, verify::Verifier},
};

use crate::{Failure, line::Line, messages};

const SUBMITTERS: usize = 32;
const MESSAGES_PER_SUBMITTER: usize = 10;
const ROUNDS: u8 = 3;
const SIGNATURES: usize = 3;
const DIGESTS: usize = 5;
const SENDER: &str = "anna@pec.alfa.example";
const RECIPIENT: &str = "bruno@pec.alfa.example";

/// Runs the rounds.
pub(crate) fn measure() -> Result<Line, Failure> {
    let threads = std::thread::available_parallelism()?.get();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    runtime.block_on(rounds(folder.path(), threads))
}

async fn rounds(folder: &Path, threads: usize) -> Result<Line, Failure> {
    let provider = Provider::start(folder, threads).await?;
    let (mut in_engine, mut in_limit) = (Duration::ZERO, Duration::ZERO);
    let count = SUBMITTERS * MESSAGES_PER_SUBMITTER;
    for round in 0..ROUNDS {
        let made = messages::make_to(u64::from(round), count, SENDER, RECIPIENT);
        in_engine += provider.transmit(&made, usize::from(round)).await?;
        in_limit += cryptography(&provider.key, &made, threads)?;
    }
    provider.stop().await?;
    let all = f64::from(u32::try_from(count * usize::from(ROUNDS))?);
    Ok(Line {
        name: "pec_local",
        unit: "transmissions/s",
        value: all / in_engine.as_secs_f64(),
        limit: all / in_limit.as_secs_f64(),
        goal: 0.7,
    })
}

/// The signatures and digests that the messages need at least, spread over the threads.
fn cryptography(
    key: &PrivateKey,
    messages: &[Vec<u8>],
    threads: usize,
) -> Result<Duration, Failure> {
    let began = Instant::now();
    std::thread::scope(|scope| {
        let workers: Vec<_> = messages
            .chunks(messages.len().div_ceil(threads))
            .map(|share| {
                scope.spawn(move || share.iter().try_for_each(|message| one(key, message)))
            })
            .collect();
        workers.into_iter().try_for_each(|worker| match worker.join() {
            Ok(done) => done,
            Err(_) => Err("a thread of the limit failed".into()),
        })
    })?;
    Ok(began.elapsed())
}

fn one(key: &PrivateKey, message: &[u8]) -> Result<(), Failure> {
    let mut digest = Sha256Digest::of(message);
    for _ in 1..DIGESTS {
        digest = std::hint::black_box(Sha256Digest::of(std::hint::black_box(message)));
    }
    for _ in 0..SIGNATURES {
        let mut signer =
            openssl::sign::Signer::new(openssl::hash::MessageDigest::sha256(), key.as_openssl())?;
        std::hint::black_box(signer.sign_oneshot_to_vec(&digest.0)?);
    }
    Ok(())
}

/// A provider without doors: the engine on a real store.
struct Provider {
    engine: Arc<PecEngine>,
    access_point: Arc<AccessPoint>,
    key: PrivateKey,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl Provider {
    async fn start(folder: &Path, threads: usize) -> Result<Self, Failure> {
        let store = open(folder).await?;
        let (clock, random) = (Arc::new(SystemClock), Arc::new(SystemRandom));
        let authority =
            DevelopmentAuthority::open(&folder.join("authority"), clock.clone(), random.clone())?;
        let service = "posta-certificata@alfa.example";
        let Issued { certificate, key } = authority.issue_provider("Alfa PEC", service)?;
        let domains = [Domain::parse("alfa.example")?, Domain::parse("pec.alfa.example")?];
        let service = Address::parse(service)?;
        let der = certificate.to_der().to_vec();
        let record = ProviderRecord::new("Alfa PEC", service.clone(), domains.to_vec(), vec![der]);
        let settings = EngineSettings { signatures_max: threads, ..EngineSettings::default() };
        let (work, work_receiver) = WorkQueue::new(settings.work_entries_max);
        let (queue, queue_receiver) = QueueHandle::new(settings.work_entries_max);
        let trusted = TrustedAuthorities::new(vec![authority.certificate().clone()]);
        let engine = PecEngine::new(EngineParts {
            store,
            signer: Arc::new(FileSigner::new(certificate, Vec::new(), key.clone(), clock.clone())?),
            issuer: Issuer {
                name: "Alfa PEC".to_owned(),
                service_address: service,
                identifiers: IdentifierSource::new(1, domains[0].clone(), random.clone()),
            },
            clock,
            random,
            host_name: "mail.alfa.example".to_owned(),
            domains: BTreeSet::from(["pec.alfa.example".to_owned()]),
            verifier: Arc::new(Verifier::new(trusted, RevocationPolicy::WhenKnown)),
            directory: Arc::new(Directory::new(vec![record])?),
            settings,
            work,
            queue,
        });
        let client_name = ClientName::parse("mail.alfa.example").ok_or("a client name")?;
        let relay = Relay {
            destinations: Destinations::new(std::collections::BTreeMap::new())?,
            client: Arc::new(ClientSettings::new(client_name, TlsPolicy::Never)),
        };
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        tasks.spawn(work::run(Arc::clone(&engine), work_receiver, stopped.clone()));
        tasks.spawn(queue::run(Arc::clone(&engine), Arc::new(relay), queue_receiver, stopped));
        let access_point = Arc::new(AccessPoint::new(Arc::clone(&engine)));
        Ok(Self { engine, access_point, key, stop, tasks })
    }

    /// Submits `messages` and waits until every receipt is in the sender's mailbox.
    async fn transmit(
        &self,
        messages: &[Vec<u8>],
        rounds_before: usize,
    ) -> Result<Duration, Failure> {
        let account = self.engine.store().account(AccountId(1)).await?;
        let inbox = account.mailbox_by_name("INBOX").await?;
        let receipts = 2 * messages.len() * (rounds_before + 1);
        let began = Instant::now();
        let mut submitters = JoinSet::new();
        for share in messages.chunks(MESSAGES_PER_SUBMITTER) {
            let (access_point, share) = (Arc::clone(&self.access_point), share.to_vec());
            submitters.spawn(async move {
                for message in share {
                    submit(&access_point, &message).await?;
                }
                Ok::<(), Failure>(())
            });
        }
        while let Some(submitted) = submitters.join_next().await {
            submitted??;
        }
        let mut changes = account.changes();
        while inbox.state().await?.exists < receipts as u64 {
            changes.changed().await?;
        }
        Ok(began.elapsed())
    }

    async fn stop(self) -> Result<(), Failure> {
        self.stop.send(true)?;
        self.tasks.join_all().await;
        self.engine.store().close().await?;
        Ok(())
    }
}

async fn submit(access_point: &AccessPoint, message: &[u8]) -> Result<(), Failure> {
    let identity = Identity { account_id: AccountId(1), address: SENDER.to_owned() };
    let peer = Peer {
        service: Service::Submission,
        address: IpAddr::V4(Ipv4Addr::LOCALHOST),
        helo: "client.example".to_owned(),
        extended: true,
        tls: None,
        identity: Some(identity),
    };
    let mut envelope = Envelope { reverse_path: SENDER.to_owned(), ..Envelope::default() };
    access_point.mail(&peer, &envelope).await?;
    access_point.recipient(&peer, &envelope, RECIPIENT).await?;
    envelope.forward_paths.push(RECIPIENT.to_owned());
    let mut sink = access_point.data(&peer, &envelope).await?;
    sink.write(message).await?;
    sink.finish().await?;
    Ok(())
}

async fn open(folder: &Path) -> Result<Arc<Store>, Failure> {
    let config = StoreConfig {
        catalog_folder: folder.join("catalog"),
        families: records::FAMILIES.to_vec(),
        references: Vec::new(),
        catalog: RocksConfig::default(),
        octets: OctetStoreConfig::default(),
        limits: StoreLimits::default(),
    };
    let objects = local_objects(&folder.join("objects"))?;
    let store = Store::open(config, objects, Arc::new(SystemClock), Arc::new(SystemRandom)).await?;
    for (id, address) in [(1, SENDER), (2, RECIPIENT)] {
        let settings = AccountSettings {
            address: address.to_owned(),
            plan: "base".to_owned(),
            message_octets_max: 50 << 20,
            recipients_max: 50,
            ..AccountSettings::default()
        };
        store.apply_account(AccountId(id), 1, settings).await?;
    }
    Ok(store)
}
