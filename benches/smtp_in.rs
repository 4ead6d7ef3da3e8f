//! `smtp_in`: messages of 20 KB per second, submitted over TLS by 32 connections, each to the access
//! point of one provider, each counted when it was answered with 250 and is therefore durable. Workers
//! stand still: what is measured is taking in, not the transmission.
//!
//! The limit is `append` in the same run: the same messages by as many writers into a store, without
//! protocol, TLS, formal checks and journal. Rounds of the two take turns. Connecting, logging in and
//! making the messages are not timed.
//!
//! Beside it: how long the answer to the end of the data takes at half of that rate, spread evenly over
//! the connections.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use protocols::{
    net::{
        Listener,
        limits::{ConnectionLimits, ConnectionLimitsSettings},
        serve,
        stream::ConnectionStream,
        tls::{TlsClient, TlsContext},
    },
    smtp::server::{ServerSettings, SmtpServer},
};
use storage::{ids::AccountId, octets::OctetStoreConfig};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;
use trust::{authority::DevelopmentAuthority, clock::SystemClock, random::SystemRandom};

use crate::{
    Failure,
    append::{Share, append_all, timed},
    house::{self, House},
    line::{Goal, Line},
    logins::Everybody,
    messages,
    provider::{Provider, RECIPIENT, holder},
};

const CONNECTIONS: usize = 32;
const MESSAGES_PER_CONNECTION: usize = 50;
const ROUNDS: u8 = 5;
const PASSWORD: &str = "una parola segreta";
const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(30);

/// Runs the rounds.
pub(crate) fn measure() -> Result<Line, Failure> {
    house::in_folder(rounds)
}

async fn rounds(folder: PathBuf) -> Result<Line, Failure> {
    let house =
        House::open(&folder.join("limit"), OctetStoreConfig::default(), CONNECTIONS).await?;
    let site = Site::open(&folder.join("site")).await?;
    let (mut by_smtp, mut by_append) = (Duration::ZERO, Duration::ZERO);
    for round in 0..ROUNDS {
        let shares = shares(round.into());
        by_append += timed(&shares, |writer, share| {
            let store = Arc::clone(&house.store);
            async move { append_all(&store, writer, &share).await }
        })
        .await?;
        by_smtp += site.submit_all(&shares, Duration::ZERO).await?.0;
    }
    house.close("append").await?;
    let count = CONNECTIONS * MESSAGES_PER_CONNECTION * usize::from(ROUNDS);
    let value = house::per_second(count, by_smtp)?;
    let pause = Duration::from_secs_f64(f64::from(u32::try_from(CONNECTIONS)?) * 2.0 / value);
    let (_, mut answers) = site.submit_all(&shares(ROUNDS.into()), pause).await?;
    answers.sort_unstable();
    let share =
        |of_thousand: usize| answers[answers.len() * of_thousand / 1_000].as_secs_f64() * 1e3;
    crate::tell(&format!(
        "NOTE smtp_in: at half of the rate the end of the data is answered within {:.1} ms (half), \
         {:.1} ms (99 of 100)",
        share(500),
        share(990)
    ));
    site.close().await?;
    Ok(Line {
        name: "smtp_in",
        unit: "messages/s",
        value,
        limit: house::per_second(count, by_append)?,
        goal: Goal::AtLeast(0.5),
    })
}

/// New messages for every connection, each from its own holder.
fn shares(round: u64) -> Vec<Share<Vec<u8>>> {
    let share = |connection: usize| {
        let seed = round * 1_000 + connection as u64;
        messages::make_to(seed, MESSAGES_PER_CONNECTION, &holder(connection), RECIPIENT)
    };
    (0..CONNECTIONS).map(|connection| Arc::new(share(connection))).collect()
}

/// A provider whose door for submission over TLS is open.
struct Site {
    provider: Provider,
    address: SocketAddr,
    tls: TlsClient,
    stopping: CancellationToken,
    door: JoinHandle<()>,
}

impl Site {
    async fn open(folder: &Path) -> Result<Self, Failure> {
        let threads = std::thread::available_parallelism()?.get();
        let provider = Provider::at_rest(folder, threads, OctetStoreConfig::default()).await?;
        provider.add_holders(CONNECTIONS).await?;
        let (clock, random) = (Arc::new(SystemClock), Arc::new(SystemRandom));
        let authority = DevelopmentAuthority::open(&folder.join("tls"), clock, random)?;
        let issued = authority.issue_tls(&["localhost"], &[])?;
        let context = TlsContext::from_pem(&issued.certificate.to_pem()?, &issued.key.to_pem()?)?;
        let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = socket.local_addr()?;
        let server = SmtpServer::submission(
            ServerSettings::new("mail.alfa.example"),
            provider.access_point().clone(),
            Arc::new(Everybody(holder_of)),
            None,
        );
        let limits = ConnectionLimits::new(ConnectionLimitsSettings {
            arrivals_per_source_max: u32::MAX,
            ..ConnectionLimitsSettings::default()
        });
        let stopping = CancellationToken::new();
        let listener = Listener::new(socket, Some(context));
        let door = tokio::spawn(serve(listener, limits, stopping.clone(), server));
        Ok(Self { provider, address, tls: TlsClient::opportunistic()?, stopping, door })
    }

    /// Submits every share over a connection of its own. Returns how long all of it took, and each
    /// answer to the end of the data. A connection begins a message `pause` after the one before, or
    /// when that is answered.
    async fn submit_all(
        &self,
        shares: &[Share<Vec<u8>>],
        pause: Duration,
    ) -> Result<(Duration, Vec<Duration>), Failure> {
        let mut clients = Vec::with_capacity(shares.len());
        for connection in 0..shares.len() {
            clients.push(Client::connect(self.address, &self.tls, holder(connection)).await?);
        }
        let began = Instant::now();
        let running: Vec<_> = clients
            .into_iter()
            .zip(shares)
            .map(|(client, share)| tokio::spawn(client.submit(Arc::clone(share), pause)))
            .collect();
        let mut answers = Vec::new();
        for client in running {
            answers.extend(client.await??);
        }
        Ok((began.elapsed(), answers))
    }

    async fn close(self) -> Result<(), Failure> {
        self.stopping.cancel();
        self.door.await?;
        self.provider.stop().await
    }
}

/// One connection that is logged in.
struct Client {
    stream: BufReader<ConnectionStream>,
    login: String,
    line: String,
}

impl Client {
    async fn connect(address: SocketAddr, tls: &TlsClient, login: String) -> Result<Self, Failure> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let stream = tls.connect("localhost", stream, HANDSHAKE_TIME_MAX).await?;
        let mut client = Self { stream: BufReader::new(stream), login, line: String::new() };
        client.expect("220").await?;
        client.say("EHLO client.example\r\n").await?;
        client.expect("250").await?;
        let plain = STANDARD.encode(format!("\0{}\0{PASSWORD}", client.login));
        client.say(&format!("AUTH PLAIN {plain}\r\n")).await?;
        client.expect("235").await?;
        Ok(client)
    }

    async fn submit(
        mut self,
        share: Share<Vec<u8>>,
        pause: Duration,
    ) -> Result<Vec<Duration>, Failure> {
        let mut answers = Vec::with_capacity(share.len());
        let mut clock = (!pause.is_zero()).then(|| tokio::time::interval(pause));
        for message in share.iter() {
            if let Some(clock) = &mut clock {
                clock.tick().await;
            }
            let envelope =
                format!("MAIL FROM:<{}>\r\nRCPT TO:<{RECIPIENT}>\r\nDATA\r\n", self.login);
            self.say(&envelope).await?;
            for code in ["250", "250", "354"] {
                self.expect(code).await?;
            }
            self.stream.get_mut().write_all(message).await?;
            self.say(".\r\n").await?;
            let ended = Instant::now();
            self.expect("250").await?;
            answers.push(ended.elapsed());
        }
        self.say("QUIT\r\n").await?;
        self.expect("221").await?;
        Ok(answers)
    }

    async fn say(&mut self, text: &str) -> Result<(), Failure> {
        let stream = self.stream.get_mut();
        stream.write_all(text.as_bytes()).await?;
        Ok(stream.flush().await?)
    }

    /// Reads a whole reply, which must begin with `code`.
    async fn expect(&mut self, code: &str) -> Result<(), Failure> {
        loop {
            self.line.clear();
            self.stream.read_line(&mut self.line).await?;
            if !self.line.starts_with(code) {
                return Err(format!("{code} was expected, and came: {}", self.line).into());
            }
            if self.line.as_bytes().get(3) != Some(&b'-') {
                return Ok(());
            }
        }
    }
}

fn holder_of(login: &str) -> Option<AccountId> {
    let connection = (0..CONNECTIONS).find(|connection| holder(*connection) == login)?;
    Some(Provider::holder_id(connection))
}
