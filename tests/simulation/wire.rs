//! The network between two providers: a relay of octets that loses, doubles and delays what it
//! carries, as a seed says, until it is mended.

use std::{
    net::Ipv4Addr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU16, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, tcp::OwnedWriteHalf},
    task::JoinSet,
};
use trust::random::{RandomSource as _, SeededRandom};

/// Octets that are cut off somewhere: more than the largest message of the simulation.
const CUT_WITHIN: u64 = 14_000;
/// Octets of replies to one message.
const REPLIES_WITHIN: u64 = 400;

/// What happens to one connection.
#[derive(Clone, Copy, Debug, Default)]
struct Fate {
    /// Nobody answers.
    refused: bool,
    delay_millis: u64,
    /// Octets of the client after which both ends hear nothing more.
    client_octets_max: Option<u64>,
    /// Octets of the server after which it is so.
    server_octets_max: Option<u64>,
    /// Everything that the client said is said again, later.
    doubled: bool,
}

/// The wire to one provider, from all others.
pub(crate) struct Wire {
    pub(crate) port: u16,
    _task: JoinSet<()>,
}

/// A number below `bound`.
pub(crate) fn below(random: &SeededRandom, bound: u64) -> u64 {
    let mut octets = [0; 8];
    random.fill(&mut octets);
    u64::from_be_bytes(octets) % bound.max(1)
}

fn draw(random: &SeededRandom) -> Fate {
    let mut fate = Fate { delay_millis: below(random, 10), ..Fate::default() };
    match below(random, 10) {
        0 => fate.refused = true,
        1 | 2 => fate.client_octets_max = Some(below(random, CUT_WITHIN)),
        3 | 4 => fate.server_octets_max = Some(below(random, REPLIES_WITHIN)),
        5 => fate.doubled = true,
        6 => {
            fate.doubled = true;
            fate.server_octets_max = Some(below(random, REPLIES_WITHIN));
        }
        _ => {}
    }
    fate
}

impl Wire {
    /// A wire to whoever listens at `server`; `stormy` says whether it loses anything.
    pub(crate) async fn start(
        server: Arc<AtomicU16>,
        stormy: Arc<AtomicBool>,
        random: SeededRandom,
    ) -> Self {
        let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let port = socket.local_addr().expect("bound").port();
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = socket.accept().await {
                while connections.try_join_next().is_some() {}
                let storm = stormy.load(Ordering::SeqCst);
                let fate = if storm { draw(&random) } else { Fate::default() };
                connections.spawn(carry(client, Arc::clone(&server), fate));
            }
        });
        Self { port, _task: task }
    }
}

async fn connect(server: &AtomicU16) -> Option<TcpStream> {
    let port = server.load(Ordering::SeqCst);
    if port == 0 {
        return None;
    }
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.ok()
}

async fn carry(client: TcpStream, server: Arc<AtomicU16>, fate: Fate) {
    if fate.refused {
        return;
    }
    tokio::time::sleep(Duration::from_millis(fate.delay_millis)).await;
    let Some(stream) = connect(&server).await else { return };
    let said = Arc::new(Mutex::new(Vec::new()));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = stream.into_split();
    let heard = fate.doubled.then(|| Arc::clone(&said));
    tokio::select! {
        () = pass(from_client, to_server, fate.client_octets_max, heard) => {}
        () = pass(from_server, to_client, fate.server_octets_max, None) => {}
    }
    if fate.doubled {
        let said = std::mem::take(&mut *said.lock().unwrap_or_else(PoisonError::into_inner));
        repeat(&server, said).await;
    }
}

/// What was read at once, piece by piece.
type Said = Arc<Mutex<Vec<Vec<u8>>>>;

/// Carries octets until one end closes or `octets_max` have gone.
async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: OwnedWriteHalf,
    octets_max: Option<u64>,
    said: Option<Said>,
) {
    let mut left = octets_max.unwrap_or(u64::MAX);
    let mut block = vec![0; 4096];
    loop {
        let Ok(read @ 1..) = from.read(&mut block).await else { return };
        let passed = usize::try_from(left).unwrap_or(usize::MAX).min(read);
        left -= passed as u64;
        if let Some(said) = &said {
            said.lock().unwrap_or_else(PoisonError::into_inner).push(block[..passed].to_vec());
        }
        if to.write_all(&block[..passed]).await.is_err() || left == 0 {
            return;
        }
    }
}

/// Says to the server what a client has said before; nobody hears the answers.
async fn repeat(server: &AtomicU16, said: Vec<Vec<u8>>) {
    let Some(mut stream) = connect(server).await else { return };
    for piece in said {
        if answer(&mut stream).await.is_none() || stream.write_all(&piece).await.is_err() {
            return;
        }
    }
    answer(&mut stream).await;
}

async fn answer(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> Option<()> {
    let mut block = [0; 1024];
    match tokio::time::timeout(Duration::from_millis(50), stream.read(&mut block)).await {
        Ok(Ok(0) | Err(_)) => None,
        // Silence may be an end of data that has not come yet.
        Ok(Ok(_)) | Err(_) => Some(()),
    }
}
