//! The provider under test: the engine on a store in memory, and looks into what it keeps.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use ceralacca::{
    config::{Config, DnsSettings, units::Millis},
    content::Checker,
    names::Names,
    pec::{
        access_point::AccessPoint,
        destination::{Destinations, Target},
        engine::{EngineParts, EngineSettings, PecEngine},
        incoming_point::IncomingPoint,
        queue::{self, IdleConnections, QueueHandle},
        records::{
            DELIVERY_WORK, INCOMING_WORK, JOURNAL, JournalRecord, OUTGOING_QUEUE, QueueRecord,
            RecipientRecord, TRANSMISSION_RECIPIENTS, TRANSMISSION_WORK, decode,
        },
        relay::Relay,
        work::{self, WorkQueue},
    },
};
use protocols::{
    access::Identity,
    smtp::{
        client::ClientSettings,
        grammar::ClientName,
        transport::{Envelope, EnvelopeDsn, Peer, Refusal, Service, Taken, Transport},
    },
};
use storage::{
    account::settings::AccountSettings,
    catalog::{
        engine::{Engine, Entries, Family, Scan},
        simulated::SimulatedEngine,
    },
    ids::AccountId,
    mailbox::view::{MailboxView as _, MessageRow},
    octets::OctetStoreConfig,
    store::{Store, StoreLimits},
};
use tokio::{sync::watch, task::JoinSet};
use trust::{
    certificate::chain::{RevocationPolicy, TrustedAuthorities},
    clock::{ManualClock, UnixMillis},
    random::SeededRandom,
    seal::DataKey,
    smime::verify::Verifier,
};

use crate::{
    letter::Letter,
    network::{self, BETA, NOON, keys},
};

/// A holder of the provider under test.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Holder {
    pub(crate) id: AccountId,
    pub(crate) address: &'static str,
}

pub(crate) const BRUNO: Holder = Holder { id: AccountId(1), address: "bruno@pec.beta.example" };
pub(crate) const CARLA: Holder = Holder { id: AccountId(2), address: "carla@pec.beta.example" };
pub(crate) const DARIO: Holder = Holder { id: AccountId(3), address: "dario@pec.beta.example" };
/// Has no account.
pub(crate) const NOBODY: &str = "nessuno@pec.beta.example";

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(30);

/// Entries of one family that a test may leave.
const ENTRIES_MAX: usize = 10_000;

/// Waits until `look` finds something.
pub(crate) async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let seen = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let found = tokio::time::timeout(PATIENCE, seen).await;
    found.unwrap_or_else(|elapsed| panic!("{what}: {elapsed}"))
}

/// DNS where nothing listens.
fn names_of_nobody() -> Names {
    let servers = vec![(Ipv4Addr::LOCALHOST, 9).into()];
    let (timeout, tries) = (Millis(50), 1);
    Names::open(&DnsSettings { servers, timeout, tries, ..Config::default().dns }).expect("names")
}

/// A relay in the clear that keeps so many idle connections.
pub(crate) fn relay_to(routes: &[(&str, u16)], idle: usize) -> Relay {
    let target = |port| Target { host: "127.0.0.1".to_owned(), port };
    let routes =
        routes.iter().map(|(domain, port)| ((*domain).to_owned(), target(*port))).collect();
    let client_name = ClientName::parse("mail.beta.example").expect("a client name");
    let lookups = Arc::new(names_of_nobody());
    let random = Arc::new(SeededRandom::new(9));
    let destinations = Destinations::new(routes, lookups, "mail.beta.example", random);
    Relay {
        idle: IdleConnections::new(idle, PATIENCE),
        ..Relay::in_the_clear(destinations, ClientSettings::new(client_name)).expect("TLS")
    }
}

/// Beta.
pub(crate) struct Provider {
    pub(crate) engine: Arc<PecEngine>,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) incoming_point: IncomingPoint,
    pub(crate) access_point: AccessPoint,
    versions: AtomicU64,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
    stop_queue: watch::Sender<bool>,
    queue: JoinSet<()>,
}

impl Provider {
    /// Starts it with its workers; the queue stands still until [`Provider::run_queue`].
    pub(crate) async fn start() -> Self {
        Self::start_with(EngineSettings::default()).await
    }

    pub(crate) async fn start_with(settings: EngineSettings) -> Self {
        Self::start_on(SimulatedEngine::new(&families()), settings).await
    }

    /// Starts it with its catalog in `catalog`.
    pub(crate) async fn start_on(catalog: Arc<dyn Engine>, settings: EngineSettings) -> Self {
        let settings = EngineSettings { rescan_millis: 200, ..settings };
        Self::start_exactly(catalog, settings, None).await
    }

    /// Starts it with a scanner.
    pub(crate) async fn start_scanned(antivirus: Checker) -> Self {
        Self::start_scanned_on(SimulatedEngine::new(&families()), antivirus).await
    }

    /// As [`Provider::start_scanned`], with its catalog in `catalog`.
    pub(crate) async fn start_scanned_on(catalog: Arc<dyn Engine>, antivirus: Checker) -> Self {
        Self::start_scanned_with(catalog, antivirus, 16, NOON).await
    }

    /// The same with so many workers, at `now`: whoever starts on a catalog that has been in use does so later,
    /// for names are drawn by time and by chance, and chance begins anew.
    pub(crate) async fn start_scanned_with(
        catalog: Arc<dyn Engine>,
        antivirus: Checker,
        workers_max: usize,
        now: UnixMillis,
    ) -> Self {
        let settings =
            EngineSettings { rescan_millis: 200, workers_max, ..EngineSettings::default() };
        Self::start_at(now, catalog, settings, Some(Arc::new(antivirus))).await
    }

    /// Starts it with no look for duties that were not announced: holders are not told that their
    /// mailboxes fill.
    pub(crate) async fn start_without_looks() -> Self {
        let settings = EngineSettings { rescan_millis: 3_600_000, ..EngineSettings::default() };
        Self::start_exactly(SimulatedEngine::new(&families()), settings, None).await
    }

    async fn start_exactly(
        catalog: Arc<dyn Engine>,
        settings: EngineSettings,
        antivirus: Option<Arc<Checker>>,
    ) -> Self {
        Self::start_at(NOON, catalog, settings, antivirus).await
    }

    async fn start_at(
        now: UnixMillis,
        catalog: Arc<dyn Engine>,
        settings: EngineSettings,
        antivirus: Option<Arc<Checker>>,
    ) -> Self {
        let clock = Arc::new(ManualClock::new(now));
        let random = Arc::new(SeededRandom::new(1));
        let store = open_store(catalog, &clock, &random).await;
        let trusted = TrustedAuthorities::new(vec![keys().authority.clone()]);
        let work = WorkQueue::new(&settings);
        let queue = QueueHandle::new(&settings);
        let engine = PecEngine::new(EngineParts {
            store,
            signer: Arc::new(network::signer(&keys().beta, Arc::clone(&clock))),
            issuer: network::issuer(BETA, 2),
            clock: clock.clone(),
            random,
            host_name: "mail.beta.example".to_owned(),
            domains: BTreeSet::from(["pec.beta.example".to_owned()]),
            verifier: Arc::new(Verifier::new(trusted, RevocationPolicy::WhenKnown)),
            directory: network::directory(),
            antivirus,
            quarantine_key: quarantine_key(),
            settings,
            work,
            queue,
        });
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        tasks.spawn(work::run(Arc::clone(&engine), stopped));
        let provider = Self {
            access_point: AccessPoint::new(Arc::clone(&engine)),
            incoming_point: IncomingPoint::new(Arc::clone(&engine)),
            engine,
            clock,
            versions: AtomicU64::new(1),
            stop,
            tasks,
            stop_queue: watch::channel(false).0,
            queue: JoinSet::new(),
        };
        for holder in [BRUNO, CARLA, DARIO] {
            provider.set(holder, |_| {}).await;
        }
        provider
    }

    /// Sets the outgoing queue in motion; all mail to `domain` goes to `port` on this machine.
    pub(crate) fn run_queue(&mut self, domain: &str, port: u16) {
        self.run_queue_by(&[(domain, port)]);
    }

    /// As [`Provider::run_queue`], for several domains.
    pub(crate) fn run_queue_by(&mut self, routes: &[(&str, u16)]) {
        let relay = relay_to(routes, 0);
        self.run_queue_with(relay);
    }

    /// Sets the outgoing queue in motion with `relay`.
    pub(crate) fn run_queue_with(&mut self, relay: Relay) {
        let (engine, stopped) = (Arc::clone(&self.engine), self.stop_queue.subscribe());
        self.queue.spawn(queue::run(engine, Arc::new(relay), stopped));
    }

    /// Lets the outgoing queue end as at a stop of the program.
    pub(crate) async fn stop_queue(&mut self) {
        self.stop_queue.send_replace(true);
        while self.queue.join_next().await.is_some() {}
        self.stop_queue = watch::channel(false).0;
    }

    /// Lets the workers end.
    pub(crate) async fn stop(mut self) {
        self.stop_queue().await;
        self.stop.send_replace(true);
        self.tasks.join_all().await;
    }

    /// As [`Provider::stop`], without waiting for a server that does not answer.
    pub(crate) async fn stop_soon(self) {
        let (mut queue, mut tasks) = (self.queue, self.tasks);
        queue.shutdown().await;
        tasks.shutdown().await;
    }

    /// Gives `holder` his settings, with the changes of `change`.
    pub(crate) async fn set(&self, holder: Holder, change: impl FnOnce(&mut AccountSettings)) {
        let mut settings = AccountSettings {
            address: holder.address.to_owned(),
            plan: "base".to_owned(),
            message_octets_max: 50 << 20,
            recipients_max: 50,
            ..AccountSettings::default()
        };
        change(&mut settings);
        let version = self.versions.fetch_add(1, Ordering::SeqCst);
        self.engine.store().apply_account(holder.id, version, settings).await.expect("applied");
    }

    /// A holder submits `message`.
    pub(crate) async fn submit(
        &self,
        sender: Holder,
        recipients: &[&str],
        message: &[u8],
    ) -> Result<Taken, Refusal> {
        self.submit_asking(sender, recipients, EnvelopeDsn::default(), message).await
    }

    /// As [`Provider::submit`], with what the holder asks to be told (RFC 3461).
    pub(crate) async fn submit_asking(
        &self,
        sender: Holder,
        recipients: &[&str],
        dsn: EnvelopeDsn,
        message: &[u8],
    ) -> Result<Taken, Refusal> {
        let peer = peer(Service::Submission, Some(identity(sender)));
        let reverse_path = sender.address.to_owned();
        let envelope = Envelope { reverse_path, dsn, ..Envelope::default() };
        self.access_point.mail(&peer, &envelope).await?;
        transact(&self.access_point, &peer, envelope, recipients, message, true).await
    }

    /// As [`Provider::submit`], by one who was let in at MAIL while there was room.
    pub(crate) async fn submit_unasked(
        &self,
        sender: Holder,
        recipients: &[&str],
        message: &[u8],
    ) -> Result<Taken, Refusal> {
        let peer = peer(Service::Submission, Some(identity(sender)));
        let envelope = Envelope { reverse_path: sender.address.to_owned(), ..Envelope::default() };
        transact(&self.access_point, &peer, envelope, recipients, message, true).await
    }

    /// Another server hands over `message`.
    pub(crate) async fn relay(
        &self,
        reverse_path: &str,
        recipients: &[&str],
        message: &[u8],
    ) -> Result<Taken, Refusal> {
        self.relay_asking(reverse_path, recipients, EnvelopeDsn::default(), message).await
    }

    /// As [`Provider::relay`], with what the sender asks to be told (RFC 3461).
    pub(crate) async fn relay_asking(
        &self,
        reverse_path: &str,
        recipients: &[&str],
        dsn: EnvelopeDsn,
        message: &[u8],
    ) -> Result<Taken, Refusal> {
        let reverse_path = reverse_path.to_owned();
        let envelope = Envelope { reverse_path, dsn, ..Envelope::default() };
        let peer = peer(Service::Relay, None);
        transact(&self.incoming_point, &peer, envelope, recipients, message, true).await
    }

    /// What another server hears to MAIL.
    pub(crate) async fn mail(&self, reverse_path: &str) -> Result<(), Refusal> {
        let reverse_path = reverse_path.to_owned();
        let envelope = Envelope { reverse_path, ..Envelope::default() };
        self.incoming_point.mail(&peer(Service::Relay, None), &envelope).await
    }

    /// As [`Provider::relay`], for recipients that were there at RCPT and no longer are.
    pub(crate) async fn relay_to_the_gone(&self, recipient: &str, message: &[u8]) {
        let envelope = Envelope { reverse_path: network::ANNA.to_owned(), ..Envelope::default() };
        let peer = peer(Service::Relay, None);
        let refused = self.incoming_point.recipient(&peer, &envelope, recipient).await;
        assert_eq!(refused.expect_err("nobody is there").enhanced, "5.1.1");
        transact(&self.incoming_point, &peer, envelope, &[recipient], message, false)
            .await
            .expect("taken");
    }

    /// Waits until no point owes anything. The families stand in the order in which work passes
    /// through them, so that nothing slips by between two looks.
    pub(crate) async fn settle(&self) {
        eventually("no work left", async || {
            for family in [TRANSMISSION_WORK, INCOMING_WORK, DELIVERY_WORK] {
                if !self.entries(family).await.is_empty() {
                    return None;
                }
            }
            self.engine.work().is_empty().then_some(())
        })
        .await;
    }

    pub(crate) async fn entries(&self, family: Family) -> Entries {
        let scan = Scan::prefix(family, b"", ENTRIES_MAX);
        self.engine.store().engine().scan(&scan).await.expect("a scan")
    }

    /// The rows of the INBOX.
    pub(crate) async fn rows(&self, holder: Holder) -> Vec<MessageRow> {
        let account = self.engine.store().account(holder.id).await.expect("an account");
        let inbox = account.mailbox_by_name("INBOX").await.expect("an INBOX");
        inbox.rows().await.expect("rows").1
    }

    /// The messages of the INBOX, in order.
    pub(crate) async fn inbox(&self, holder: Holder) -> Vec<Letter> {
        let mut letters = Vec::new();
        for row in self.rows(holder).await {
            letters.push(self.letter(holder, &row).await);
        }
        letters
    }

    /// The newest message of the INBOX: the others may be damaged.
    pub(crate) async fn newest(&self, holder: Holder) -> Letter {
        let rows = self.rows(holder).await;
        self.letter(holder, rows.last().expect("a message")).await
    }

    async fn letter(&self, holder: Holder, row: &MessageRow) -> Letter {
        let account = self.engine.store().account(holder.id).await.expect("an account");
        let inbox = account.mailbox_by_name("INBOX").await.expect("an INBOX");
        let mut octets = Vec::new();
        while (octets.len() as u64) < row.size {
            let rest = octets.len() as u64..row.size;
            let piece = inbox.read(row.email_number, rest).await.expect("octets");
            octets.extend_from_slice(&piece);
        }
        self.open(octets)
    }

    pub(crate) async fn used_octets(&self, holder: Holder) -> u64 {
        let account = self.engine.store().account(holder.id).await.expect("an account");
        account.quota().await.expect("a quota").used_octets
    }

    /// What waits in the outgoing queue, in no order.
    pub(crate) async fn queued(&self) -> Vec<(QueueRecord, Letter)> {
        let mut queued = Vec::new();
        for (key, value) in self.entries(OUTGOING_QUEUE).await {
            let record: QueueRecord = decode(OUTGOING_QUEUE, &key, &value).expect("a record");
            let held = self.engine.held(&record.message, "the queue").await.expect("held");
            let octets = self.engine.read_held(&held).await.expect("octets");
            queued.push((record, self.open(octets.to_vec())));
        }
        queued
    }

    /// The queued messages alone.
    pub(crate) async fn queued_letters(&self) -> Vec<Letter> {
        self.queued().await.into_iter().map(|(_, letter)| letter).collect()
    }

    /// The journal with its numbers.
    pub(crate) async fn journal(&self) -> Vec<(u64, JournalRecord)> {
        let read = |(key, value): &(bytes::Bytes, bytes::Bytes)| {
            let number = key[8..].try_into().map(u64::from_be_bytes).expect("a number");
            (number, decode(JOURNAL, key, value).expect("a record"))
        };
        self.entries(JOURNAL).await.iter().map(read).collect()
    }

    /// The words of the journal, in order.
    pub(crate) async fn events(&self) -> Vec<String> {
        self.journal().await.into_iter().map(|(_, record)| record.event).collect()
    }

    /// Where the recipients of all transmissions stand.
    pub(crate) async fn recipients(&self) -> Vec<RecipientRecord> {
        let read = |(key, value): &(bytes::Bytes, bytes::Bytes)| {
            decode(TRANSMISSION_RECIPIENTS, key, value).expect("a record")
        };
        self.entries(TRANSMISSION_RECIPIENTS).await.iter().map(read).collect()
    }

    fn open(&self, octets: Vec<u8>) -> Letter {
        Letter::open(octets, self.engine.verifier(), self.engine.now())
    }
}

/// What the provider seals messages with viruses under.
pub(crate) fn quarantine_key() -> DataKey {
    DataKey::draw(&SeededRandom::new(3))
}

/// What a catalog under a provider must have.
pub(crate) fn families() -> Vec<Family> {
    Store::families(&ceralacca::serve::store::families())
}

async fn open_store(
    catalog: Arc<dyn Engine>,
    clock: &Arc<ManualClock>,
    random: &Arc<SeededRandom>,
) -> Arc<Store> {
    Store::open_with_engine(
        catalog,
        Arc::new(object_store::memory::InMemory::new()),
        clock.clone(),
        random.clone(),
        // Nothing is kept in memory: what a test damages is read as it is.
        OctetStoreConfig { cache_octets_max: 0, ..OctetStoreConfig::default() },
        StoreLimits::default(),
    )
    .await
    .expect("a store")
}

pub(crate) fn identity(holder: Holder) -> Identity {
    Identity { account_id: holder.id, address: holder.address.to_owned() }
}

pub(crate) fn peer(service: Service, identity: Option<Identity>) -> Peer {
    Peer {
        service,
        address: IpAddr::V4(Ipv4Addr::LOCALHOST),
        helo: "client.example".to_owned(),
        extended: true,
        tls: None,
        identity,
    }
}

async fn transact(
    point: &dyn Transport,
    peer: &Peer,
    mut envelope: Envelope,
    recipients: &[&str],
    message: &[u8],
    ask: bool,
) -> Result<Taken, Refusal> {
    for recipient in recipients {
        if ask {
            point.recipient(peer, &envelope, recipient).await?;
        }
        envelope.forward_paths.push((*recipient).to_owned());
    }
    let mut sink = point.data(peer, &envelope).await?;
    sink.write(message).await?;
    sink.finish().await
}
