//! A post office for tests: a `Transport` that records, an `Authenticator` with one login, and
//! doors on 127.0.0.1.

#![allow(dead_code, missing_docs, unreachable_pub, clippy::missing_panics_doc)]

use std::{
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use protocols::{
    access::{Authenticator, Identity, LoginError, Protocol, ScramKeys},
    net::{
        Listener,
        limits::{ConnectionLimits, ConnectionLimitsSettings},
        serve,
        tls::TlsContext,
    },
    sasl::scram::ScramVerifier,
    smtp::{
        server::{ServerSettings, SmtpServer},
        transport::{Envelope, MessageSink, Peer, Refusal, Taken, Transport},
    },
};
use storage::ids::AccountId;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use super::{Certificates, certificates};

/// One message that was taken.
#[derive(Clone, Debug)]
pub struct Recorded {
    pub peer: Peer,
    pub envelope: Envelope,
    pub octets: Vec<u8>,
}

/// Takes everything but what its addresses say:
/// `refused@…` 550, `later@…` 451, `closing@…` 421 and close, as sender or recipient;
/// `nodata@…` refuses DATA, `badsink@…` refuses while octets come, `badend@…` at the end.
#[derive(Debug, Default)]
pub struct Post {
    pub taken: Mutex<Vec<Recorded>>,
    /// The largest piece a sink was given.
    pub largest_piece: AtomicUsize,
    /// Sinks that were dropped without `finish`.
    pub dropped: AtomicUsize,
    pub octets_max: u64,
}

impl Post {
    pub fn taken(&self) -> Vec<Recorded> {
        self.taken.lock().unwrap().clone()
    }
}

pub const OCTETS_MAX: u64 = 200_000;
pub const RECIPIENTS_MAX: usize = 100;

fn judge(address: &str) -> Result<(), Refusal> {
    match address.split('@').next().unwrap_or_default() {
        "refused" => Err(Refusal::new(550, "5.7.1", "not taken\r\n250 smuggled")),
        "later" => Err(Refusal::new(451, "4.3.0", "not now")),
        "closing" => Err(Refusal { close: true, ..Refusal::new(421, "4.3.2", "closing") }),
        _ => Ok(()),
    }
}

struct Sink {
    post: Arc<Post>,
    recorded: Option<Recorded>,
}

impl Drop for Sink {
    fn drop(&mut self) {
        if self.recorded.is_some() {
            self.post.dropped.fetch_add(1, Ordering::SeqCst);
        }
    }
}

#[async_trait::async_trait]
impl MessageSink for Sink {
    async fn write(&mut self, octets: &[u8]) -> Result<(), Refusal> {
        self.post.largest_piece.fetch_max(octets.len(), Ordering::SeqCst);
        let recorded = self.recorded.as_mut().unwrap();
        if recorded.envelope.reverse_path.starts_with("badsink") {
            return Err(Refusal::new(552, "5.2.2", "no room"));
        }
        recorded.octets.extend_from_slice(octets);
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> Result<Taken, Refusal> {
        let recorded = self.recorded.take().unwrap();
        if recorded.envelope.reverse_path.starts_with("badend") {
            return Err(Refusal::new(554, "5.6.0", "not liked"));
        }
        let mut taken = self.post.taken.lock().unwrap();
        taken.push(recorded);
        Ok(Taken { identifier: format!("message-{}", taken.len()) })
    }
}

#[async_trait::async_trait]
impl Transport for PostOffice {
    fn message_octets_max(&self, _peer: &Peer) -> u64 {
        self.0.octets_max
    }

    fn recipients_max(&self, _peer: &Peer) -> usize {
        RECIPIENTS_MAX
    }

    async fn mail(&self, _peer: &Peer, envelope: &Envelope) -> Result<(), Refusal> {
        judge(&envelope.reverse_path)
    }

    async fn recipient(
        &self,
        _peer: &Peer,
        _envelope: &Envelope,
        forward_path: &str,
    ) -> Result<(), Refusal> {
        judge(forward_path)
    }

    async fn data(
        &self,
        peer: &Peer,
        envelope: &Envelope,
    ) -> Result<Box<dyn MessageSink>, Refusal> {
        if envelope.reverse_path.starts_with("nodata") {
            return Err(Refusal::new(452, "4.3.1", "no room"));
        }
        let recorded =
            Recorded { peer: peer.clone(), envelope: envelope.clone(), octets: Vec::new() };
        Ok(Box::new(Sink { post: self.0.clone(), recorded: Some(recorded) }))
    }
}

/// The door's side of [`Post`].
#[derive(Clone, Debug)]
pub struct PostOffice(pub Arc<Post>);

/// Knows `tim@one.example` with `tanstaaf`, and `blocked@one.example` with the same.
#[derive(Debug)]
pub struct OneLogin;

#[async_trait::async_trait]
impl Authenticator for OneLogin {
    async fn verify_password(
        &self,
        protocol: Protocol,
        _peer: IpAddr,
        login: &str,
        password: &str,
    ) -> Result<Identity, LoginError> {
        assert_eq!(protocol, Protocol::Submission);
        match (login, password) {
            ("tim@one.example", "tanstaaf") => {
                Ok(Identity { account_id: AccountId(7), address: login.to_owned() })
            }
            ("blocked@one.example", "tanstaaf") => Err(LoginError::Blocked),
            ("down@one.example", _) => Err(LoginError::Unavailable("no registry".into())),
            _ => Err(LoginError::BadCredentials),
        }
    }

    async fn scram_keys(
        &self,
        _protocol: Protocol,
        _peer: IpAddr,
        login: &str,
    ) -> Result<ScramKeys, LoginError> {
        let mut verifier = ScramVerifier::derive(b"tanstaaf", b"salt of a test", 4_096).unwrap();
        if login != "tim@one.example" {
            verifier.stored_key = [0; 32];
        }
        Ok(ScramKeys { verifier, nonce: "3rfcNHYJY1ZVvWVs7j".to_owned() })
    }

    async fn scram_settled(
        &self,
        _protocol: Protocol,
        _peer: IpAddr,
        login: &str,
        _verifier: &ScramVerifier,
        proven: bool,
    ) -> Result<Identity, LoginError> {
        let identity = Identity { account_id: AccountId(7), address: login.to_owned() };
        if proven { Ok(identity) } else { Err(LoginError::BadCredentials) }
    }
}

/// Which door to open.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Door {
    /// Port 465.
    SubmissionTls,
    /// Port 587.
    SubmissionStartTls,
    /// Port 25 with STARTTLS.
    Relay,
    /// Port 25 without.
    RelayClear,
}

pub struct Office {
    pub address: SocketAddr,
    pub post: Arc<Post>,
    pub made: Certificates,
    pub limits: Arc<ConnectionLimits>,
    pub shutdown: CancellationToken,
    pub running: JoinHandle<()>,
}

/// Times short enough for tests, everything else as in the product.
pub fn settings() -> ServerSettings {
    ServerSettings {
        command_time_max: Duration::from_secs(5),
        data_block_time_max: Duration::from_secs(5),
        ..ServerSettings::new("mail.one.example")
    }
}

pub async fn open(door: Door, settings: ServerSettings) -> Office {
    open_with(door, settings, OCTETS_MAX).await
}

pub async fn open_with(door: Door, settings: ServerSettings, octets_max: u64) -> Office {
    let made = certificates();
    let tls = TlsContext::from_pem(&made.chain, &made.key).unwrap();
    let post = Arc::new(Post { octets_max, ..Post::default() });
    let transport = Arc::new(PostOffice(post.clone()));
    let login = Arc::new(OneLogin);
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let (server, implicit) = match door {
        Door::SubmissionTls => {
            (SmtpServer::submission(settings, transport, login, None), Some(tls))
        }
        Door::SubmissionStartTls => {
            (SmtpServer::submission(settings, transport, login, Some(tls)), None)
        }
        Door::Relay => (SmtpServer::relay(settings, transport, Some(tls)), None),
        Door::RelayClear => (SmtpServer::relay(settings, transport, None), None),
    };
    let limits = ConnectionLimits::new(ConnectionLimitsSettings::default());
    let shutdown = CancellationToken::new();
    let listener = Listener::new(socket, implicit);
    let running = tokio::spawn(serve(listener, limits.clone(), shutdown.clone(), server));
    Office { address, post, made, limits, shutdown, running }
}
