//! `imap_fetch`: MB per second of messages of 20 KB that 8 clients read over TLS by `FETCH BODY.PEEK[]`, 50
//! messages a command, each client from its own account, out of packs.
//!
//! The limit is a TLS copy of the same octets: as many connections, on which every message is a zstd
//! frame in memory that is decompressed, digested with BLAKE3 and written, 64 KiB at a time. Clients, runtime and threads are
//! the same, and rounds take turns; both have read everything once before.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use ceralacca::mail_access::StoreMailAccess;
use protocols::{
    access::Protocol,
    imap,
    net::{
        Connection, Listener, SessionHandler,
        limits::{ConnectionLimits, ConnectionLimitsSettings},
        serve,
        tls::{TlsClient, TlsContext},
    },
};
use storage::{ids::AccountId, octets::OctetStoreConfig};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, BufWriter},
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};
use tokio_util::sync::CancellationToken;
use trust::{authority::DevelopmentAuthority, clock::SystemClock, random::SystemRandom};

use crate::{
    Failure,
    house::{self, House},
    imap_client::ImapClient,
    line::{Goal, Line},
    logins::Everybody,
    messages,
};

const CLIENTS: usize = 8;
const MESSAGES_PER_CLIENT: usize = 500;
const MESSAGES_PER_COMMAND: usize = 50;
const ROUNDS: usize = 5;
const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(30);
/// Octets that a client of the limit reads at a time.
const BUFFER_OCTETS: usize = 16 * 1024;
/// Octets that the copy gathers before it writes, as the program does.
const OUTPUT_OCTETS: usize = 64 * 1024;

/// Runs the rounds.
pub(crate) fn measure() -> Result<Line, Failure> {
    house::in_folder(rounds)
}

async fn rounds(folder: PathBuf) -> Result<Line, Failure> {
    let config = OctetStoreConfig { pack_patience_calls: 0, ..OctetStoreConfig::default() };
    let house = House::open(&folder, config, CLIENTS).await?;
    let mut frames = Vec::with_capacity(CLIENTS);
    let mut octets = 0;
    for client in 0..CLIENTS {
        let (account, inbox) = house::inbox(&house.store, client).await?;
        let mut own = Vec::with_capacity(MESSAGES_PER_CLIENT);
        for message in messages::make(client as u64, MESSAGES_PER_CLIENT) {
            let staged = house::stage(&house.store, &message).await?;
            house::append(&account, inbox, &staged).await?;
            octets += message.len();
            own.push((zstd::bulk::compress(&message, 1)?, message.len()));
        }
        frames.push(own);
    }
    house.pack_all().await?;
    let mail = Arc::new(StoreMailAccess::new(Arc::clone(&house.store), 1 << 20));
    let server =
        imap::Server::new(imap::ServerSettings::default(), Arc::new(Everybody(client_of)), mail);
    let doors = Doors::open(&folder, Arc::new(server), Arc::new(Copier { frames })).await?;
    let (mut by_imap, mut by_copy) = (Duration::ZERO, Duration::ZERO);
    for round in 0..=ROUNDS {
        let (fetched, copied) = (doors.fetch_all(octets).await?, doors.copy_all(octets).await?);
        if round > 0 {
            by_imap += fetched;
            by_copy += copied;
        }
    }
    doors.close().await?;
    house.close("imap_fetch").await?;
    let megabytes = octets * ROUNDS / 1_000_000;
    Ok(Line {
        name: "imap_fetch",
        unit: "MB/s",
        value: house::per_second(megabytes, by_imap)?,
        limit: house::per_second(megabytes, by_copy)?,
        goal: Goal::AtLeast(0.5),
    })
}

/// The two servers, under one certificate.
struct Doors {
    imap: SocketAddr,
    copy: SocketAddr,
    tls: TlsClient,
    stopping: CancellationToken,
    serving: [JoinHandle<()>; 2],
}

impl Doors {
    async fn open(
        folder: &std::path::Path,
        imap: Arc<imap::Server>,
        copier: Arc<Copier>,
    ) -> Result<Self, Failure> {
        let (clock, random) = (Arc::new(SystemClock), Arc::new(SystemRandom));
        let authority = DevelopmentAuthority::open(&folder.join("tls"), clock, random)?;
        let issued = authority.issue_tls(&["localhost"], &[])?;
        let context = TlsContext::from_pem(&issued.certificate.to_pem()?, &issued.key.to_pem()?)?;
        let stopping = CancellationToken::new();
        let (imap, imap_door) = open(imap, &context, &stopping).await?;
        let (copy, copy_door) = open(copier, &context, &stopping).await?;
        let tls = TlsClient::opportunistic()?;
        Ok(Self { imap, copy, tls, stopping, serving: [imap_door, copy_door] })
    }

    /// How long all clients together take for all their messages, connecting not counted.
    async fn fetch_all(&self, octets: usize) -> Result<Duration, Failure> {
        let mut clients = Vec::with_capacity(CLIENTS);
        for client in 0..CLIENTS {
            let mut connection = ImapClient::connect(self.imap, &self.tls).await?;
            connection.command(&format!("LOGIN {client} x")).await?;
            connection.command("EXAMINE INBOX").await?;
            clients.push(connection);
        }
        let began = Instant::now();
        let mut running = JoinSet::new();
        for client in clients {
            running.spawn(fetch(client));
        }
        counted(running, octets).await?;
        Ok(began.elapsed())
    }

    async fn copy_all(&self, octets: usize) -> Result<Duration, Failure> {
        let mut clients = Vec::with_capacity(CLIENTS);
        for _ in 0..CLIENTS {
            let stream = TcpStream::connect(self.copy).await?;
            clients.push(self.tls.connect("localhost", stream, HANDSHAKE_TIME_MAX).await?);
        }
        let began = Instant::now();
        let mut running = JoinSet::new();
        for (number, mut client) in clients.into_iter().enumerate() {
            running.spawn(async move {
                client.write_all(&[u8::try_from(number)?]).await?;
                client.flush().await?;
                let mut buffer = vec![0; BUFFER_OCTETS];
                let mut copied = 0;
                loop {
                    match client.read(&mut buffer).await? {
                        0 => return Ok(copied),
                        read => copied += read,
                    }
                }
            });
        }
        counted(running, octets).await?;
        Ok(began.elapsed())
    }

    async fn close(self) -> Result<(), Failure> {
        self.stopping.cancel();
        for door in self.serving {
            door.await?;
        }
        Ok(())
    }
}

async fn open<H: SessionHandler>(
    handler: Arc<H>,
    context: &Arc<TlsContext>,
    stopping: &CancellationToken,
) -> Result<(SocketAddr, JoinHandle<()>), Failure> {
    let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = socket.local_addr()?;
    let limits = ConnectionLimits::new(ConnectionLimitsSettings::default());
    let listener = Listener::new(socket, Some(Arc::clone(context)));
    Ok((address, tokio::spawn(serve(listener, limits, stopping.clone(), handler))))
}

/// Reads every message of a mailbox; how many octets they have.
async fn fetch(mut client: ImapClient) -> Result<usize, Failure> {
    let mut octets = 0;
    for first in (1..=MESSAGES_PER_CLIENT).step_by(MESSAGES_PER_COMMAND) {
        let last = first + MESSAGES_PER_COMMAND - 1;
        octets += client.command(&format!("FETCH {first}:{last} BODY.PEEK[]")).await?;
    }
    Ok(octets)
}

async fn counted(
    mut running: JoinSet<Result<usize, Failure>>,
    octets: usize,
) -> Result<(), Failure> {
    let mut found = 0;
    while let Some(client) = running.join_next().await {
        found += client??;
    }
    if found == octets { Ok(()) } else { Err(format!("{found} of {octets} octets came").into()) }
}

/// Writes the messages of a client, who sends his number, as fast as may be.
struct Copier {
    /// Of each client: the frame of each message, and the octets that it gives.
    frames: Vec<Vec<(Vec<u8>, usize)>>,
}

impl Copier {
    async fn copy(&self, mut connection: Connection) -> Result<(), Failure> {
        let mut number = [0];
        connection.stream.read_exact(&mut number).await?;
        let frames = self.frames.get(usize::from(number[0])).ok_or("no such client")?;
        let mut frame_opener = zstd::bulk::Decompressor::new()?;
        let mut stream = BufWriter::with_capacity(OUTPUT_OCTETS, connection.stream);
        for (frame, octets) in frames {
            let plain = frame_opener.decompress(frame, *octets)?;
            std::hint::black_box(blake3::hash(&plain));
            stream.write_all(&plain).await?;
        }
        Ok(stream.shutdown().await?)
    }
}

#[async_trait::async_trait]
impl SessionHandler for Copier {
    fn protocol(&self) -> Protocol {
        Protocol::Imap
    }

    fn refusal_line(&self) -> &[u8] {
        b""
    }

    async fn session(&self, connection: Connection) {
        // A copy that was cut short is seen by the client, who counts octets.
        let _ = self.copy(connection).await;
    }
}

/// Who logs in is a number.
fn client_of(login: &str) -> Option<AccountId> {
    Some(house::account_id(login.parse().ok()?))
}
