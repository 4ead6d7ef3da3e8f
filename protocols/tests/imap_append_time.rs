//! How long a message of APPEND may take to come: over streams in memory, whose time is the test's.

mod account;

use std::{sync::Arc, time::Duration};

use account::{
    client::loopback,
    memory::{ADDRESS, MemoryAccount, OneAccount, OneLogin},
};
use protocols::{
    imap::{ImapLimits, Server, ServerSettings},
    net::stream::ChannelBindings,
};
use tokio::{
    io::{
        AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, DuplexStream, ReadHalf, WriteHalf,
    },
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

struct Slow {
    read: BufReader<ReadHalf<DuplexStream>>,
    write: WriteHalf<DuplexStream>,
    stopping: CancellationToken,
}

impl Slow {
    /// A client that is logged in.
    async fn new(account: &Arc<MemoryAccount>, limits: ImapLimits) -> Self {
        let settings = ServerSettings { limits, ..ServerSettings::default() };
        let mail = Arc::new(OneAccount(Arc::clone(account)));
        let server = Server::new(settings, Arc::new(OneLogin), mail);
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let stopping = CancellationToken::new();
        let stops = stopping.clone();
        tokio::spawn(async move {
            let tls = Some(ChannelBindings::default());
            server.serve(theirs, loopback(), tls, stops).await;
        });
        let (read, write) = tokio::io::split(ours);
        let mut client = Self { read: BufReader::new(read), write, stopping };
        client.line().await;
        client.send(format!("in LOGIN {ADDRESS} \"ceralacca \\\"1\\\"\"\r\n")).await;
        assert!(client.line().await.starts_with("in OK"));
        client
    }

    async fn send(&mut self, octets: impl AsRef<[u8]>) {
        self.write.write_all(octets.as_ref()).await.unwrap();
    }

    async fn line(&mut self) -> String {
        let mut line = String::new();
        self.read.read_line(&mut line).await.unwrap();
        line
    }

    /// Sends `octets` each `interval` until the server says something, which is returned with how
    /// long that took.
    async fn drip(&mut self, octets: &[u8], interval: Duration) -> (String, Duration) {
        let begun = Instant::now();
        loop {
            let mut first = [0];
            tokio::select! {
                biased;
                read = self.read.read(&mut first) => {
                    assert_eq!(read.unwrap(), 1);
                    let taken = begun.elapsed();
                    return (format!("{}{}", char::from(first[0]), self.line().await), taken);
                }
                () = sleep(interval) => {}
            }
            self.send(octets).await;
        }
    }
}

const TOO_SLOW: &str = "* BYE Messaggio troppo lento / The message comes too slowly\r\n";
const MINUTE: Duration = Duration::from_mins(1);

/// Asserts that the connection ended after `minutes`.
fn ended(after: (String, Duration), minutes: u32) {
    let (said, taken) = after;
    assert_eq!(said, TOO_SLOW);
    assert!(taken >= MINUTE * minutes && taken < MINUTE * (minutes + 1), "{taken:?}");
}

#[tokio::test(start_paused = true)]
async fn a_message_that_drips_is_given_up_after_a_while() {
    let account = MemoryAccount::new();
    let mut client = Slow::new(&account, ImapLimits::default()).await;
    client.send("a APPEND INBOX {100000+}\r\n").await;
    ended(client.drip(b"x", MINUTE / 2).await, 5);
    assert!(account.messages("INBOX").is_empty());
    // Asked for, it is no other.
    let mut client = Slow::new(&account, ImapLimits::default()).await;
    client.send("a APPEND INBOX {100000}\r\n").await;
    assert_eq!(client.line().await, "+ OK\r\n");
    ended(client.drip(b"x", MINUTE / 2).await, 5);
}

#[tokio::test(start_paused = true)]
async fn who_keeps_the_pace_has_his_time_and_no_more() {
    let account = MemoryAccount::new();
    let mut client = Slow::new(&account, ImapLimits::default()).await;
    // 1,100 octets a second for half an hour.
    client.send(format!("a APPEND INBOX {{{}+}}\r\n", 1_100 * 1_800)).await;
    for _ in 0..1_800 {
        sleep(Duration::from_secs(1)).await;
        client.send([b'x'; 1_100]).await;
    }
    client.send("\r\n").await;
    assert!(client.line().await.starts_with("a OK [APPENDUID "));
    let limits = ImapLimits { append_time_max: MINUTE * 10, ..ImapLimits::default() };
    let mut client = Slow::new(&account, limits).await;
    client.send("a APPEND INBOX {10000000+}\r\n").await;
    ended(client.drip(&[b'x'; 1_100], Duration::from_secs(1)).await, 10);
    assert_eq!(account.messages("INBOX").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn each_message_of_a_command_has_its_time() {
    let account = MemoryAccount::new();
    let mut client = Slow::new(&account, ImapLimits::default()).await;
    client.send("a APPEND INBOX {3+}\r\na:b").await;
    sleep(MINUTE * 4).await;
    client.send(" {3+}\r\na:b").await;
    sleep(MINUTE * 4).await;
    client.send("\r\n").await;
    assert!(client.line().await.starts_with("a OK [APPENDUID "));
    // Another command has no deadline but that of a silent session.
    sleep(MINUTE * 29).await;
    client.send("b NOOP\r\n").await;
    assert_eq!(client.line().await, "b OK NOOP\r\n");
}

#[tokio::test(start_paused = true)]
async fn what_stands_around_messages_may_not_drip_either() {
    let account = MemoryAccount::new();
    // Behind a message; in the text of a URL; in a message that is refused and not kept.
    for begun in [
        "a APPEND INBOX {3+}\r\na:b",
        "a APPEND INBOX CATENATE (TEXT {3+}\r\na:b URL {5000+}\r\n",
        "a APPEND Nessuna {100000+}\r\n",
        "a APPEND INBOX (\\Recent) {100000+}\r\n",
    ] {
        let mut client = Slow::new(&account, ImapLimits::default()).await;
        client.send(begun).await;
        ended(client.drip(b" ", MINUTE / 2).await, 5);
    }
    assert!(account.messages("INBOX").is_empty());
}

#[tokio::test(start_paused = true)]
async fn messages_of_a_refused_command_have_the_time_of_one() {
    let account = MemoryAccount::new();
    let mut client = Slow::new(&account, ImapLimits::default()).await;
    client.send("a APPEND Nessuna {1+}\r\nx").await;
    ended(client.drip(b" {1+}\r\nx", MINUTE * 2).await, 5);
    // Refused on the way.
    let mut client = Slow::new(&account, ImapLimits::default()).await;
    client.send("a APPEND INBOX {3+}\r\na:b").await;
    sleep(MINUTE * 4).await;
    client.send(" {1+}\r\n\0").await;
    ended(client.drip(b" {3+}\r\na:b", MINUTE * 2).await, 7);
    assert!(account.messages("INBOX").is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_server_that_stops_waits_for_no_further_message() {
    let account = MemoryAccount::new();
    let mut client = Slow::new(&account, ImapLimits::default()).await;
    client.send("a APPEND INBOX {3+}\r\na:b").await;
    sleep(MINUTE).await;
    client.stopping.cancel();
    client.send(" {3+}\r\na:b").await;
    let line = client.line().await;
    assert_eq!(line, "* BYE Server in chiusura, riconnettersi / Server stops, reconnect\r\n");
    assert!(account.messages("INBOX").is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_store_that_stalls_is_not_the_fault_of_who_sends() {
    let account = MemoryAccount::new();
    account.set_stall(MINUTE * 6);
    let mut client = Slow::new(&account, ImapLimits::default()).await;
    client.send("a APPEND INBOX {6+}\r\na:b").await;
    sleep(MINUTE * 6 + Duration::from_secs(1)).await;
    client.send("c\r\n").await;
    sleep(MINUTE * 6 + Duration::from_secs(1)).await;
    client.send(" {3+}\r\na:b").await;
    sleep(MINUTE * 6 + Duration::from_secs(1)).await;
    client.send("\r\n").await;
    let line = client.line().await;
    assert!(line.starts_with("a OK [APPENDUID "), "{line}");
    assert_eq!(account.messages("INBOX").len(), 2);
}
