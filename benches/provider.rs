//! One provider without doors: the engine on a real store, with one account that sends and one that
//! receives.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr},
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use ceralacca::{
    config::Config,
    names::Names,
    pec::{
        access_point::AccessPoint,
        address::{Address, Domain},
        destination::{Destinations, Target},
        directory::{Directory, ProviderRecord},
        engine::{EngineParts, EngineSettings, PecEngine},
        identifier::IdentifierSource,
        issuer::Issuer,
        queue::{self, QueueHandle},
        records,
        relay::Relay,
        work::{self, WorkQueue},
    },
};
use protocols::{
    access::Identity,
    smtp::{
        client::ClientSettings,
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
    key::PrivateKey,
    random::SystemRandom,
    seal::DataKey,
    smime::{sign::FileSigner, verify::Verifier},
};

use crate::Failure;

/// Messages that one session of [`Provider::transmit`] submits.
pub(crate) const MESSAGES_PER_SUBMITTER: usize = 10;
/// Account 1.
pub(crate) const SENDER: &str = "anna@pec.alfa.example";
/// Account 2.
pub(crate) const RECIPIENT: &str = "bruno@pec.alfa.example";
/// The account of the first holder that is added.
const FIRST_HOLDER: u64 = 3;

/// A provider without doors: the engine on a real store.
pub(crate) struct Provider {
    engine: Arc<PecEngine>,
    access_point: Arc<AccessPoint>,
    pub(crate) key: PrivateKey,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl Provider {
    pub(crate) async fn start(
        folder: &Path,
        threads: usize,
        octets: OctetStoreConfig,
    ) -> Result<Self, Failure> {
        let mut provider = Self::start_idle(folder, threads, octets).await?;
        provider.run_queue(BTreeMap::new())?;
        Ok(provider)
    }

    /// As [`Provider::start`], with the outgoing queue standing still.
    pub(crate) async fn start_idle(
        folder: &Path,
        threads: usize,
        octets: OctetStoreConfig,
    ) -> Result<Self, Failure> {
        let mut provider = Self::at_rest(folder, threads, octets).await?;
        let (engine, stopped) = (Arc::clone(&provider.engine), provider.stop.subscribe());
        provider.tasks.spawn(work::run(engine, stopped));
        Ok(provider)
    }

    /// As [`Provider::start_idle`], with the workers standing still too: messages are taken in, and no
    /// more.
    pub(crate) async fn at_rest(
        folder: &Path,
        threads: usize,
        octets: OctetStoreConfig,
    ) -> Result<Self, Failure> {
        let store = open(folder, octets).await?;
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
        let work = WorkQueue::new(&settings);
        let queue = QueueHandle::new(&settings);
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
            antivirus: None,
            quarantine_key: DataKey::draw(&SystemRandom),
            settings,
            work,
            queue,
        });
        let access_point = Arc::new(AccessPoint::new(Arc::clone(&engine)));
        let (stop, tasks) = (watch::channel(false).0, JoinSet::new());
        Ok(Self { engine, access_point, key, stop, tasks })
    }

    /// Adds accounts called [`holder`], with the numbers [`Provider::holder_id`].
    pub(crate) async fn add_holders(&self, count: usize) -> Result<(), Failure> {
        for number in 0..count {
            add_account(self.store(), Self::holder_id(number), &holder(number)).await?;
        }
        Ok(())
    }

    /// The account of a holder.
    pub(crate) fn holder_id(number: usize) -> AccountId {
        AccountId(u64::try_from(number).unwrap_or(u64::MAX).saturating_add(FIRST_HOLDER))
    }

    /// Where messages are submitted.
    pub(crate) fn access_point(&self) -> &Arc<AccessPoint> {
        &self.access_point
    }

    /// Submits `messages` and waits until every receipt is in the sender's mailbox.
    pub(crate) async fn transmit(
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

    /// Sets the outgoing queue in motion; mail to other domains than those of `routes` goes by DNS.
    pub(crate) fn run_queue(&mut self, routes: BTreeMap<String, Target>) -> Result<(), Failure> {
        let name = "mail.alfa.example";
        let client_name = ClientName::parse(name).ok_or("a client name")?;
        let (lookups, random) =
            (Arc::new(Names::open(&Config::default().dns)?), Arc::new(SystemRandom));
        let destinations = Destinations::new(routes, lookups, name, random);
        let relay = Relay::in_the_clear(destinations, ClientSettings::new(client_name))?;
        let (engine, stopped) = (Arc::clone(&self.engine), self.stop.subscribe());
        self.tasks.spawn(queue::run(engine, Arc::new(relay), stopped));
        Ok(())
    }

    /// The store.
    pub(crate) fn store(&self) -> &Arc<Store> {
        self.engine.store()
    }

    pub(crate) async fn stop(self) -> Result<(), Failure> {
        self.stop.send_replace(true);
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

async fn open(folder: &Path, octets: OctetStoreConfig) -> Result<Arc<Store>, Failure> {
    let config = StoreConfig {
        catalog_folder: folder.join("catalog"),
        families: records::FAMILIES.to_vec(),
        references: Vec::new(),
        catalog: RocksConfig::default(),
        octets,
        limits: StoreLimits::default(),
    };
    let objects = local_objects(&folder.join("objects"))?;
    let store = Store::open(config, objects, Arc::new(SystemClock), Arc::new(SystemRandom)).await?;
    for (id, address) in [(1, SENDER), (2, RECIPIENT)] {
        add_account(&store, AccountId(id), address).await?;
    }
    Ok(store)
}

async fn add_account(store: &Store, id: AccountId, address: &str) -> Result<(), Failure> {
    let settings = AccountSettings {
        address: address.to_owned(),
        plan: "base".to_owned(),
        message_octets_max: 50 << 20,
        recipients_max: 50,
        ..AccountSettings::default()
    };
    store.apply_account(id, 1, settings).await?;
    Ok(())
}

/// The address of one of the holders that [`Provider::add_holders`] adds.
pub(crate) fn holder(number: usize) -> String {
    format!("mittente{number}@pec.alfa.example")
}
