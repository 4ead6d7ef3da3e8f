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
        incoming_point::IncomingPoint,
        issuer::Issuer,
        queue::{self, IdleConnections, QueueHandle},
        relay::Relay,
        tls_policy::TlsPolicies,
        work::{self, WorkQueue},
    },
    service_levels::delays::{self, DelayKind},
};
use protocols::{
    access::Identity,
    net::{
        Listener,
        limits::{ConnectionLimits, ConnectionLimitsSettings},
        serve,
        tls::TlsContext,
    },
    smtp::{
        client::ClientSettings,
        grammar::ClientName,
        server::{ServerSettings, SmtpServer},
        transport::{Envelope, Peer, Service, Transport as _},
    },
};
use storage::{
    account::{Account, settings::AccountSettings},
    catalog::rocksdb::RocksConfig,
    ids::AccountId,
    mailbox::view::MailboxView as _,
    octets::OctetStoreConfig,
    pack::store::local_objects,
    store::{Store, StoreConfig, StoreLimits},
};
use tokio::{net::TcpListener, sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;
use trust::{
    authority::{DevelopmentAuthority, Issued},
    certificate::{
        Certificate,
        chain::{RevocationPolicy, TrustedAuthorities},
    },
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
/// Account 2; account 3 is the service mailbox.
pub(crate) const RECIPIENT: &str = "bruno@pec.alfa.example";
/// The account of the first holder that is added.
const FIRST_HOLDER: u64 = 4;

/// Names a provider: what it is called, and its mail domain.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ProviderName {
    name: &'static str,
    pub(crate) domain: &'static str,
}

/// The provider of [`SENDER`] and [`RECIPIENT`].
pub(crate) const ALFA: ProviderName = ProviderName { name: "Alfa PEC", domain: "alfa.example" };
/// Another.
pub(crate) const BETA: ProviderName = ProviderName { name: "Beta PEC", domain: "beta.example" };

impl ProviderName {
    /// The domain of its holders.
    pub(crate) fn mailboxes(&self) -> String {
        format!("pec.{}", self.domain)
    }

    pub(crate) fn host(&self) -> String {
        format!("mail.{}", self.domain)
    }

    /// Its service mailbox.
    pub(crate) fn service(&self) -> String {
        format!("posta-certificata@{}", self.domain)
    }
}

/// Providers that know each other.
pub(crate) struct Network {
    authority: Certificate,
    directory: Arc<Directory>,
    providers: Vec<(ProviderName, Issued)>,
}

impl Network {
    /// Issues certificates for `names` and writes the directory with all of them.
    pub(crate) fn of(
        authority: &DevelopmentAuthority,
        names: &[ProviderName],
    ) -> Result<Self, Failure> {
        let mut providers = Vec::new();
        let mut records = Vec::new();
        for name in names {
            let issued = authority.issue_provider(name.name, &name.service())?;
            let domains = vec![Domain::parse(name.domain)?, Domain::parse(&name.mailboxes())?];
            let der = issued.certificate.to_der().to_vec();
            let service = Address::parse(&name.service())?;
            records.push(ProviderRecord::new(name.name, service, domains, vec![der]));
            providers.push((*name, issued));
        }
        let directory = Arc::new(Directory::new(records)?);
        Ok(Self { authority: authority.certificate().clone(), directory, providers })
    }
}

/// An authority that is kept in `folder`.
pub(crate) fn authority(folder: &Path) -> Result<DevelopmentAuthority, Failure> {
    let (clock, random) = (Arc::new(SystemClock), Arc::new(SystemRandom));
    Ok(DevelopmentAuthority::open(folder, clock, random)?)
}

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
        provider.run_workers();
        Ok(provider)
    }

    /// As [`Provider::start_idle`], with the workers standing still too: messages are taken in, and no
    /// more.
    pub(crate) async fn at_rest(
        folder: &Path,
        threads: usize,
        octets: OctetStoreConfig,
    ) -> Result<Self, Failure> {
        let authority = authority(&folder.join("authority"))?;
        let network = Network::of(&authority, &[ALFA])?;
        Self::of(folder, threads, octets, &network, 0).await
    }

    /// As [`Provider::at_rest`]: the provider number `own` of `network`.
    pub(crate) async fn of(
        folder: &Path,
        threads: usize,
        octets: OctetStoreConfig,
        network: &Network,
        own: usize,
    ) -> Result<Self, Failure> {
        let (name, issued) = network.providers.get(own).ok_or("no such provider")?;
        let store = open(folder, octets, name).await?;
        let (clock, random) = (Arc::new(SystemClock), Arc::new(SystemRandom));
        let Issued { certificate, key } = issued;
        let settings = EngineSettings {
            signatures_max: threads,
            arriving_folder: folder.to_owned(),
            ..EngineSettings::default()
        };
        let work = WorkQueue::new(&settings);
        let queue = QueueHandle::new(&settings);
        let trusted = TrustedAuthorities::new(vec![network.authority.clone()]);
        let signer = FileSigner::new(certificate.clone(), Vec::new(), key.clone(), clock.clone())?;
        let engine = PecEngine::new(EngineParts {
            store,
            signer: Arc::new(signer),
            issuer: Issuer {
                name: name.name.to_owned(),
                service_address: Address::parse(&name.service())?,
                identifiers: IdentifierSource::new(1, Domain::parse(name.domain)?, random.clone()),
            },
            clock,
            random,
            host_name: name.host(),
            domains: BTreeSet::from([name.domain.to_owned(), name.mailboxes()]),
            verifier: Arc::new(Verifier::new(trusted, RevocationPolicy::WhenKnown)),
            directory: Arc::clone(&network.directory),
            antivirus: None,
            quarantine_key: DataKey::draw(&SystemRandom),
            settings,
            work,
            queue,
        });
        let access_point = Arc::new(AccessPoint::new(Arc::clone(&engine)));
        let (stop, tasks) = (watch::channel(false).0, JoinSet::new());
        Ok(Self { engine, access_point, key: key.clone(), stop, tasks })
    }

    /// Sets the workers in motion.
    pub(crate) fn run_workers(&mut self) {
        let (engine, stopped) = (Arc::clone(&self.engine), self.stop.subscribe());
        self.tasks.spawn(work::run(engine, stopped));
    }

    /// Opens a door for other servers, under STARTTLS by `context`.
    pub(crate) async fn open_door(&mut self, context: Arc<TlsContext>) -> Result<u16, Failure> {
        let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let port = socket.local_addr()?.port();
        let point = Arc::new(IncomingPoint::new(Arc::clone(&self.engine)));
        let server =
            SmtpServer::relay(ServerSettings::new(self.engine.host_name()), point, Some(context));
        let limits = ConnectionLimits::new(ConnectionLimitsSettings {
            arrivals_per_source_max: u32::MAX,
            arrivals_per_network_max: u32::MAX,
            ..ConnectionLimitsSettings::default()
        });
        let (stopping, mut stopped) = (CancellationToken::new(), self.stop.subscribe());
        self.tasks.spawn(async move {
            let sessions = serve(Listener::new(socket, None), limits, stopping.clone(), server);
            tokio::pin!(sessions);
            tokio::select! {
                () = &mut sessions => return,
                _ = stopped.wait_for(|stop| *stop) => stopping.cancel(),
            }
            sessions.await;
        });
        Ok(port)
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

    /// Submits `messages` to [`RECIPIENT`] and waits until every receipt is in the sender's mailbox.
    pub(crate) async fn transmit(
        &self,
        messages: &[Vec<u8>],
        rounds_before: usize,
    ) -> Result<Duration, Failure> {
        let receipts = 2 * messages.len() * (rounds_before + 1);
        self.transmit_to(&[RECIPIENT.to_owned()], messages, receipts).await
    }

    /// Submits `messages` to `recipients` and waits until `receipts` messages are in the sender's
    /// mailbox.
    pub(crate) async fn transmit_to(
        &self,
        recipients: &[String],
        messages: &[Vec<u8>],
        receipts: usize,
    ) -> Result<Duration, Failure> {
        let account = self.engine.store().account(AccountId(1)).await?;
        let inbox = account.mailbox_by_name("INBOX").await?;
        let began = Instant::now();
        let mut submitters = JoinSet::new();
        for share in messages.chunks(MESSAGES_PER_SUBMITTER) {
            let (access_point, share) = (Arc::clone(&self.access_point), share.to_vec());
            let recipients = recipients.to_vec();
            submitters.spawn(async move {
                for message in share {
                    submit(&access_point, &recipients, &message).await?;
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

    /// How long receipts took until now: what half of them, and 99 of 100, did not exceed, in
    /// milliseconds.
    pub(crate) async fn delays(&self, kind: DelayKind) -> Result<(u64, u64), Failure> {
        self.engine.delays().flush(self.store()).await?;
        let mut took = (0, 0);
        for histogram in delays::read(self.store(), kind, 0, u32::MAX - 1).await?.into_values() {
            took = (took.0.max(histogram.percentile(500)), took.1.max(histogram.percentile(990)));
        }
        Ok(took)
    }

    /// Forgets how long receipts took until now.
    pub(crate) async fn forget_delays(&self) -> Result<(), Failure> {
        self.engine.delays().flush(self.store()).await?;
        Ok(delays::dispose(self.store(), u32::MAX).await?)
    }

    /// Waits until `count` take-charge receipts are in the service mailbox.
    pub(crate) async fn wait_for_charges(&self, count: usize) -> Result<(), Failure> {
        let account = self.engine.store().account(AccountId(3)).await?;
        let inbox = account.mailbox_by_name("INBOX").await?;
        let mut changes = account.changes();
        while inbox.state().await?.exists < count as u64 {
            changes.changed().await?;
        }
        Ok(())
    }

    /// The account that sends.
    pub(crate) async fn sender(&self) -> Result<Account, Failure> {
        Ok(self.engine.store().account(AccountId(1)).await?)
    }

    /// Sets the outgoing queue in motion; mail to other domains than those of `routes` goes by DNS.
    pub(crate) fn run_queue(&mut self, routes: BTreeMap<String, Target>) -> Result<(), Failure> {
        self.run_queue_under(routes, TlsPolicies::in_the_clear()?, 0)
    }

    /// As [`Provider::run_queue`], under TLS as `tls` says, with so many idle connections kept.
    pub(crate) fn run_queue_under(
        &mut self,
        routes: BTreeMap<String, Target>,
        tls: TlsPolicies,
        idle: usize,
    ) -> Result<(), Failure> {
        let name = self.engine.host_name();
        let client_name = ClientName::parse(name).ok_or("a client name")?;
        let (lookups, random) =
            (Arc::new(Names::open(&Config::default().dns)?), Arc::new(SystemRandom));
        let destinations = Destinations::new(routes, lookups, name, random);
        let client = Arc::new(ClientSettings::new(client_name));
        let idle = IdleConnections::new(idle, Duration::from_secs(10));
        let relay = Relay { destinations, client, tls, idle };
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

/// Submits one message of account 1.
pub(crate) async fn submit(
    access_point: &AccessPoint,
    recipients: &[String],
    message: &[u8],
) -> Result<(), Failure> {
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
    for recipient in recipients {
        access_point.recipient(&peer, &envelope, recipient).await?;
        envelope.forward_paths.push(recipient.clone());
    }
    let mut sink = access_point.data(&peer, &envelope).await?;
    sink.write(message).await?;
    sink.finish().await?;
    Ok(())
}

async fn open(
    folder: &Path,
    octets: OctetStoreConfig,
    name: &ProviderName,
) -> Result<Arc<Store>, Failure> {
    let config = StoreConfig {
        catalog_folder: folder.join("catalog"),
        families: ceralacca::serve::store::families(),
        references: Vec::new(),
        catalog: RocksConfig::default(),
        octets,
        limits: StoreLimits::default(),
    };
    let objects = local_objects(&folder.join("objects"))?;
    let store = Store::open(config, objects, Arc::new(SystemClock), Arc::new(SystemRandom)).await?;
    let mailboxes = name.mailboxes();
    let addresses = [format!("anna@{mailboxes}"), format!("bruno@{mailboxes}"), name.service()];
    for (id, address) in (1..).zip(addresses) {
        add_account(&store, AccountId(id), &address).await?;
    }
    Ok(store)
}

/// Lets account 1 send so many messages a minute.
pub(crate) async fn limit_sender(store: &Store, per_minute: u32) -> Result<(), Failure> {
    let settings = AccountSettings {
        plan: "massiva-avanzata".to_owned(),
        messages_per_minute_max: per_minute,
        ..settings(SENDER)
    };
    store.apply_account(AccountId(1), 2, settings).await?;
    Ok(())
}

async fn add_account(store: &Store, id: AccountId, address: &str) -> Result<(), Failure> {
    store.apply_account(id, 1, settings(address)).await?;
    Ok(())
}

fn settings(address: &str) -> AccountSettings {
    AccountSettings {
        address: address.to_owned(),
        plan: "base".to_owned(),
        message_octets_max: 50 << 20,
        recipients_max: 500,
        ..AccountSettings::default()
    }
}

/// The address of one of the holders that [`Provider::add_holders`] adds.
pub(crate) fn holder(number: usize) -> String {
    format!("mittente{number}@pec.alfa.example")
}
