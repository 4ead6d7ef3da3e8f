//! One provider of the simulation: its engine on a runtime of its own, so that it can be killed
//! between any two of its awaits and be found again as its catalog and its object store are.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU16, Ordering},
    },
    time::Duration,
};

use ceralacca::{
    config::{Config, DnsSettings},
    names::Names,
    pec::{
        access_point::AccessPoint,
        destination::{Destinations, Target},
        engine::{EngineParts, EngineSettings, PecEngine},
        incoming_point::IncomingPoint,
        queue::{self, IdleConnections, QueueHandle},
        relay::Relay,
        work::{self, WorkQueue},
    },
};
use object_store::memory::InMemory;
use protocols::{
    access::Identity,
    net::{
        Listener,
        limits::{ConnectionLimits, ConnectionLimitsSettings},
        serve,
    },
    smtp::{
        client::ClientSettings,
        grammar::ClientName,
        server::{ServerSettings, SmtpServer},
        transport::{Envelope, Peer, Service, Transport as _},
    },
};
use storage::{
    account::settings::AccountSettings,
    catalog::simulated::SimulatedEngine,
    ids::AccountId,
    octets::OctetStoreConfig,
    store::{Store, StoreLimits},
};
use tokio::{net::TcpListener, runtime::Runtime, sync::watch};
use tokio_util::sync::CancellationToken;
use trust::{
    authority::Issued,
    certificate::chain::{RevocationPolicy, TrustedAuthorities},
    clock::ManualClock,
    random::SeededRandom,
    seal::DataKey,
    smime::verify::Verifier,
};

use crate::{
    catalog::CutCatalog,
    network::{self, ProviderName, keys},
};

/// Somebody with a mailbox.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Holder {
    pub(crate) id: AccountId,
    pub(crate) address: &'static str,
}

/// What stays of a provider when its machine does not.
pub(crate) struct Node {
    pub(crate) name: ProviderName,
    issued: &'static Issued,
    pub(crate) holders: [Holder; 3],
    /// Where the wires to the other providers begin: domain, port.
    pub(crate) routes: Vec<(String, u16)>,
    /// Where its server listens now; 0 = nowhere.
    pub(crate) port: Arc<AtomicU16>,
    clock: Arc<ManualClock>,
    seed: u64,
    starts: u64,
    objects: Arc<InMemory>,
    folder: tempfile::TempDir,
    catalog: Arc<SimulatedEngine>,
    pub(crate) machine: Option<Machine>,
    /// Its machine stays off.
    pub(crate) away: bool,
}

/// A provider that runs.
pub(crate) struct Machine {
    runtime: Option<Runtime>,
    pub(crate) engine: Arc<PecEngine>,
    pub(crate) catalog: Arc<CutCatalog>,
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Every task ends where it stands; nobody is asked to finish.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// DNS where nothing listens: every domain has its route. All providers share it, as it takes long
/// to open.
fn nobodys_names() -> Arc<Names> {
    static NAMES: OnceLock<Arc<Names>> = OnceLock::new();
    let open = || {
        let servers = vec![(Ipv4Addr::LOCALHOST, 9).into()];
        let dns = DnsSettings { servers, ..Config::default().dns };
        Arc::new(Names::open(&dns).expect("names"))
    };
    Arc::clone(NAMES.get_or_init(open))
}

impl Node {
    /// A provider that has never run. The last of `holders` has the service mailbox.
    pub(crate) fn new(
        name: ProviderName,
        issued: &'static Issued,
        holders: [Holder; 3],
        clock: Arc<ManualClock>,
        seed: u64,
    ) -> Self {
        Self {
            name,
            issued,
            holders,
            routes: Vec::new(),
            port: Arc::new(AtomicU16::new(0)),
            clock,
            seed,
            starts: 0,
            objects: Arc::new(InMemory::new()),
            folder: tempfile::tempdir().expect("a folder"),
            catalog: SimulatedEngine::with_faults(
                &Store::families(&ceralacca::serve::store::families()),
                seed,
                storage::catalog::simulated::Faults::default(),
            ),
            machine: None,
            away: false,
        }
    }

    pub(crate) fn machine(&self) -> &Machine {
        self.machine.as_ref().expect("it runs")
    }

    /// Starts it; its catalog dies at step number `steps`. Returns whether it lived long enough to
    /// open its store.
    pub(crate) async fn start(&mut self, steps: Option<i64>, reads_count: bool) -> bool {
        self.starts += 1;
        // What is drawn after a crash is not what was drawn before.
        let seed = self.seed.wrapping_mul(1_000_003).wrapping_add(self.starts);
        if self.starts == 1 {
            let whole = CutCatalog::new(Arc::clone(&self.catalog), None, false);
            let store = self.open_store(whole, seed).await;
            for (version, holder) in (1..).zip(self.holders) {
                let settings = AccountSettings {
                    address: holder.address.to_owned(),
                    plan: "base".to_owned(),
                    message_octets_max: 50 << 20,
                    recipients_max: 50,
                    ..AccountSettings::default()
                };
                store.apply_account(holder.id, version, settings).await.expect("applied");
            }
        }
        let catalog = CutCatalog::new(Arc::clone(&self.catalog), steps, reads_count);
        let socket = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        socket.set_nonblocking(true).expect("a socket");
        let port = socket.local_addr().map(|address: SocketAddr| address.port()).expect("bound");
        let store = tokio::select! {
            store = self.open_store(catalog.clone(), seed) => store,
            () = catalog.death() => {
                self.catalog = self.catalog.crash();
                return false;
            }
        };
        let engine = self.engine(store, seed);
        let relay = Arc::new(self.relay(seed));
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let running = Arc::clone(&engine);
        // The senders are dropped with the tasks that hold them.
        runtime.spawn(async move {
            let (stop, stopped) = watch::channel(false);
            let socket = TcpListener::from_std(socket).expect("a socket");
            let point = Arc::new(IncomingPoint::new(Arc::clone(&running)));
            let server =
                SmtpServer::relay(ServerSettings::new("mail.simulation.example"), point, None);
            let limits = ConnectionLimits::new(ConnectionLimitsSettings {
                arrivals_per_source_max: u32::MAX,
                arrivals_per_network_max: u32::MAX,
                ..ConnectionLimitsSettings::default()
            });
            tokio::join!(
                work::run(Arc::clone(&running), stopped.clone()),
                queue::run(Arc::clone(&running), relay, stopped),
                serve(Listener::new(socket, None), limits, CancellationToken::new(), server),
            );
            drop(stop);
        });
        self.port.store(port, Ordering::SeqCst);
        self.machine = Some(Machine { runtime: Some(runtime), engine, catalog });
        true
    }

    /// Cuts its power.
    pub(crate) fn kill(&mut self) {
        self.port.store(0, Ordering::SeqCst);
        self.machine = None;
        self.catalog = self.catalog.crash();
    }

    async fn open_store(
        &self,
        catalog: Arc<dyn storage::catalog::engine::Engine>,
        seed: u64,
    ) -> Arc<Store> {
        Store::open_with_engine(
            catalog,
            self.objects.clone(),
            self.clock.clone(),
            Arc::new(SeededRandom::new(seed ^ 0x5a5a)),
            OctetStoreConfig::default(),
            StoreLimits::default(),
        )
        .await
        .expect("a store")
    }

    fn engine(&self, store: Arc<Store>, seed: u64) -> Arc<PecEngine> {
        let settings = EngineSettings {
            rescan_millis: 20,
            arriving_folder: self.folder.path().to_owned(),
            retry_first_millis: 1_000,
            retry_longest_millis: 20_000,
            ..EngineSettings::default()
        };
        let domains = [self.name.domain().as_str().to_owned(), self.mailboxes().to_owned()];
        let trusted = TrustedAuthorities::new(vec![keys().authority.clone()]);
        PecEngine::new(EngineParts {
            store,
            signer: Arc::new(network::signer(self.issued, Arc::clone(&self.clock))),
            issuer: network::issuer(self.name, seed),
            clock: self.clock.clone(),
            random: Arc::new(SeededRandom::new(seed)),
            host_name: "mail.simulation.example".to_owned(),
            domains: BTreeSet::from(domains),
            verifier: Arc::new(Verifier::new(trusted, RevocationPolicy::WhenKnown)),
            directory: network::directory(),
            antivirus: None,
            quarantine_key: DataKey::draw(&SeededRandom::new(self.seed)),
            work: WorkQueue::new(&settings),
            queue: QueueHandle::new(&settings),
            settings,
        })
    }

    /// The domain of its holders.
    pub(crate) fn mailboxes(&self) -> &'static str {
        self.holders[0].address.rsplit('@').next().expect("a domain")
    }

    fn relay(&self, seed: u64) -> Relay {
        let target = |port| Target { host: "127.0.0.1".to_owned(), port };
        let routes = self.routes.iter().map(|(domain, port)| (domain.clone(), target(*port)));
        let random = Arc::new(SeededRandom::new(seed));
        let own = "mail.simulation.example";
        let destinations = Destinations::new(routes.collect(), nobodys_names(), own, random);
        let mut client = ClientSettings::new(ClientName::parse(own).expect("a name"));
        client.reply_time_max = Duration::from_secs(2);
        client.data_end_time_max = Duration::from_secs(5);
        Relay {
            idle: IdleConnections::new(4, Duration::from_millis(20)),
            ..Relay::in_the_clear(destinations, client).expect("TLS")
        }
    }

    /// One of its holders submits `message`; the identifier, or `None` when no answer came: then
    /// nobody knows whether the message was taken.
    pub(crate) async fn submit(
        &self,
        sender: Holder,
        recipients: Vec<String>,
        message: Vec<u8>,
    ) -> Option<String> {
        let machine = self.machine.as_ref()?;
        let engine = Arc::clone(&machine.engine);
        let submission = async move {
            let peer = Peer {
                service: Service::Submission,
                address: IpAddr::V4(Ipv4Addr::LOCALHOST),
                helo: "client.example".to_owned(),
                extended: true,
                tls: None,
                identity: Some(Identity {
                    account_id: sender.id,
                    address: sender.address.to_owned(),
                }),
            };
            let point = AccessPoint::new(engine);
            let reverse_path = sender.address.to_owned();
            let mut envelope = Envelope { reverse_path, ..Envelope::default() };
            point.mail(&peer, &envelope).await.ok()?;
            for recipient in recipients {
                point.recipient(&peer, &envelope, &recipient).await.ok()?;
                envelope.forward_paths.push(recipient);
            }
            let mut sink = point.data(&peer, &envelope).await.ok()?;
            sink.write(&message).await.ok()?;
            sink.finish().await.ok().map(|taken| taken.identifier)
        };
        let runtime = machine.runtime.as_ref()?;
        let submission = runtime.spawn(submission);
        tokio::select! {
            taken = submission => taken.ok().flatten(),
            () = machine.catalog.death() => None,
        }
    }
}
