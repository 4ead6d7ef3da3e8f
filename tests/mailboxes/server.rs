//! The server under test: the real store (RocksDB and a folder of packs) and IMAP over real
//! sockets, in this process, so that a test can read the rows behind it.

use std::{
    net::{IpAddr, SocketAddr},
    path::Path,
    sync::Arc,
    time::Duration,
};

use protocols::{
    access::{Authenticator, Identity, LoginError, Protocol, ScramKeys},
    imap::{ImapLimits, Server, ServerSettings},
    net::stream::ChannelBindings,
    sasl::scram::ScramVerifier,
    sessions::{SessionLimits, SessionLimitsSettings},
};
use storage::{
    account::{Account, settings::AccountSettings},
    catalog::rocksdb::RocksConfig,
    ids::AccountId,
    objects::local::local_objects,
    octets::OctetStoreConfig,
    store::{Store, StoreConfig, StoreLimits},
};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;
use trust::{
    clock::SystemClock,
    random::{RandomSource as _, SystemRandom},
};

use crate::{StoreMailAccess, wire::Wire};

pub(crate) const ADDRESS: &str = "anna@pec.example";
const PASSWORD: &str = "Prova-di-sicurezza-2026";
const ACCOUNT: AccountId = AccountId(1);
const APPEND_OCTETS_MAX: u64 = 8 << 20;
/// How long a client waits for an answer, on a busy machine.
const PATIENCE: Duration = Duration::from_mins(2);

/// A running server with one account.
pub(crate) struct Running {
    runtime: Runtime,
    address: SocketAddr,
    pub(crate) store: Arc<Store>,
    stopping: CancellationToken,
    _folder: tempfile::TempDir,
}

impl Running {
    pub(crate) fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let store = runtime.block_on(open(folder.path()));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let stopping = CancellationToken::new();
        let limits = ImapLimits { bad_commands_max: 10_000, ..ImapLimits::default() };
        let sessions = SessionLimits::new(SessionLimitsSettings::default());
        let settings = ServerSettings { limits, sessions, ..ServerSettings::default() };
        let mail = Arc::new(StoreMailAccess::new(Arc::clone(&store), APPEND_OCTETS_MAX));
        let server = Server::new(settings, Arc::new(OneLogin), mail);
        let stop = stopping.clone();
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            while let Ok((stream, peer)) = listener.accept().await {
                let (server, stop) = (server.clone(), stop.clone());
                // As a door under TLS hands a connection in.
                let tls = Some(ChannelBindings::default());
                tokio::spawn(async move { server.serve(stream, peer.ip(), tls, stop).await });
            }
        });
        Self { runtime, address, store, stopping, _folder: folder }
    }

    /// A session that is logged in.
    pub(crate) fn connect(&self) -> Wire {
        connect(self.address)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    pub(crate) fn account(&self) -> Account {
        self.wait(self.store.account(ACCOUNT)).unwrap()
    }

    /// What `store check` says: every violation of an invariant, in words.
    pub(crate) fn violations(&self) -> Vec<String> {
        let report = self.wait(self.store.check(&|_| {})).unwrap();
        report.violations.iter().map(|violation| format!("{violation:?}")).collect()
    }

    pub(crate) fn stop(self) {
        self.stopping.cancel();
        self.runtime.shutdown_timeout(Duration::from_secs(5));
    }
}

/// A session that is logged in.
pub(crate) fn connect(address: SocketAddr) -> Wire {
    let stream = std::net::TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    let mut wire = Wire::new(stream.try_clone().unwrap(), stream);
    wire.response();
    let answer = wire.say(&format!("LOGIN {ADDRESS} {PASSWORD}"));
    assert_eq!(answer.condition, "OK", "{}", answer.text());
    wire
}

async fn open(folder: &Path) -> Arc<Store> {
    let config = StoreConfig {
        catalog_folder: folder.join("catalog"),
        families: Vec::new(),
        references: Vec::new(),
        catalog: RocksConfig::default(),
        octets: OctetStoreConfig::default(),
        limits: StoreLimits::default(),
    };
    let objects = local_objects(&folder.join("objects")).unwrap();
    let (clock, random) = (Arc::new(SystemClock), Arc::new(SystemRandom));
    let store = Store::open(config, objects, clock, random).await.unwrap();
    let settings = AccountSettings { address: ADDRESS.to_owned(), ..AccountSettings::default() };
    store.apply_account(ACCOUNT, 1, settings).await.unwrap();
    store
}

/// A seed of this run: that of the variable `name`, else a new one.
pub(crate) fn seed(name: &str) -> u64 {
    match std::env::var(name) {
        Ok(seed) => seed.parse().expect("a number as seed"),
        Err(_) => SystemRandom.next_u64() >> 32,
    }
}

#[derive(Debug)]
struct OneLogin;

#[async_trait::async_trait]
impl Authenticator for OneLogin {
    async fn verify_password(
        &self,
        _protocol: Protocol,
        _peer: IpAddr,
        login: &str,
        password: &str,
    ) -> Result<Identity, LoginError> {
        if login != ADDRESS || password != PASSWORD {
            return Err(LoginError::BadCredentials);
        }
        Ok(Identity { account_id: ACCOUNT, address: ADDRESS.to_owned() })
    }

    async fn scram_keys(
        &self,
        _protocol: Protocol,
        _peer: IpAddr,
        _login: &str,
    ) -> Result<ScramKeys, LoginError> {
        Err(LoginError::BadCredentials)
    }

    async fn scram_settled(
        &self,
        _protocol: Protocol,
        _peer: IpAddr,
        _login: &str,
        _verifier: &ScramVerifier,
        _proven: bool,
    ) -> Result<Identity, LoginError> {
        Err(LoginError::BadCredentials)
    }
}
