//! The sender is killed while its queue drains, and a fifth of the receiver's answers never reaches
//! it: every message arrives, and what came twice is recognised.

use std::{
    collections::{HashMap, HashSet},
    io::{BufRead as _, BufReader, Write as _},
    net::{Ipv4Addr, Shutdown, TcpListener, TcpStream},
    path::Path,
    sync::{Arc, Mutex},
};

use ceralacca::{
    config::Config,
    pec::records::{
        JOURNAL, JournalRecord, QueueId, QueueKind, QueueRecipient, QueueRecord, decode,
        draw_held_id, sender_class, write_queued,
    },
    serve::store,
};
use storage::{
    catalog::engine::{Batch, Scan},
    mailbox::view::MailboxView as _,
    store::Store,
};
use trust::{
    clock::{Clock as _, SystemClock},
    random::SystemRandom,
};

use crate::support::{Pair, Provider, wait_until};

/// Messages in the queue of the provider that is killed.
const MESSAGES: usize = 5_000;

/// Messages that are sent when the sender is killed.
const KILLS: [usize; 2] = [MESSAGES / 10, MESSAGES / 2];

/// Messages that one batch queues.
const BATCH: usize = 250;

/// Connections that one destination gets: so many answers may be on their way at a kill.
const CONNECTIONS: usize = 8;

/// What the proxy has seen of each message, by number.
#[derive(Debug, Default)]
struct Seen {
    /// How often the message was sent to its end.
    sent: HashMap<usize, usize>,
    /// Answers that were swallowed.
    swallowed: usize,
    /// Messages whose answer was passed on.
    answered: HashSet<usize>,
    /// Messages that were sent again although their answer had been passed on.
    again: usize,
}

/// A connection between the providers: it takes STARTTLS out of the greeting, and swallows the first
/// answer to every fifth message.
struct Proxy {
    port: u16,
    seen: Arc<Mutex<Seen>>,
}

impl Proxy {
    fn start(to: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = listener.local_addr().expect("its address").port();
        let seen = Arc::new(Mutex::new(Seen::default()));
        let shared = Arc::clone(&seen);
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let (Ok(client), shared) = (client, Arc::clone(&shared)) else { return };
                std::thread::spawn(move || {
                    // A connection that breaks ends; the sender opens another.
                    let _ = relay(&client, to, &shared);
                    let _ = client.shutdown(Shutdown::Both);
                });
            }
        });
        Self { port, seen }
    }

    fn sent(&self) -> usize {
        self.seen.lock().expect("no panic before").sent.len()
    }
}

/// Passes one connection on, command by command.
fn relay(client: &TcpStream, to: u16, seen: &Mutex<Seen>) -> std::io::Result<()> {
    let server = TcpStream::connect((Ipv4Addr::LOCALHOST, to))?;
    for stream in [client, &server] {
        stream.set_nodelay(true)?;
    }
    let (mut from_client, mut from_server) = (BufReader::new(client), BufReader::new(&server));
    let (mut to_client, mut to_server) = (client, &server);
    to_client.write_all(&reply(&mut from_server)?)?;
    loop {
        let mut line = Vec::new();
        if from_client.read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        to_server.write_all(&line)?;
        let answer = reply(&mut from_server)?;
        let is_data = line.starts_with(b"DATA");
        to_client.write_all(&without_starttls(answer.clone()))?;
        if is_data && answer.starts_with(b"354") {
            let octets = data(&mut from_client)?;
            to_server.write_all(&octets)?;
            // The receiver has the message, whatever becomes of its answer.
            let answer = reply(&mut from_server)?;
            if swallows(&octets, &answer, seen) {
                return Ok(());
            }
            to_client.write_all(&answer)?;
        }
    }
}

/// Takes note of a message that was sent to its end; says whether its answer is lost.
fn swallows(octets: &[u8], answer: &[u8], seen: &Mutex<Seen>) -> bool {
    assert!(answer.starts_with(b"250"), "{}", String::from_utf8_lossy(answer));
    let text = String::from_utf8_lossy(octets);
    let number = text.split("<coda.").nth(1).and_then(|rest| rest.split('@').next());
    let number: usize = number.and_then(|number| number.parse().ok()).expect("a number");
    let mut seen = seen.lock().expect("no panic before");
    let sent = seen.sent.entry(number).or_default();
    *sent += 1;
    let first = *sent == 1;
    if seen.answered.contains(&number) {
        seen.again += 1;
    }
    if first && number.is_multiple_of(5) {
        seen.swallowed += 1;
        return true;
    }
    seen.answered.insert(number);
    false
}

/// A whole reply of any number of lines.
fn reply(from: &mut BufReader<&TcpStream>) -> std::io::Result<Vec<u8>> {
    let mut octets = Vec::new();
    loop {
        let start = octets.len();
        if from.read_until(b'\n', &mut octets)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if octets.get(start + 3) != Some(&b'-') {
            return Ok(octets);
        }
    }
}

/// Data to its end.
fn data(from: &mut BufReader<&TcpStream>) -> std::io::Result<Vec<u8>> {
    let mut octets = Vec::new();
    while !octets.ends_with(b"\r\n.\r\n") {
        if from.read_until(b'\n', &mut octets)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(octets)
}

fn without_starttls(reply: Vec<u8>) -> Vec<u8> {
    let text = String::from_utf8_lossy(&reply);
    if !text.contains("STARTTLS") {
        return reply;
    }
    // It is the last line; the one before becomes the last.
    let lines: Vec<&str> = text.split_inclusive("\r\n").collect();
    let mut kept: Vec<String> = lines
        .iter()
        .filter(|line| !line.contains("STARTTLS"))
        .map(|line| (*line).to_owned())
        .collect();
    if let Some(last) = kept.last_mut() {
        last.replace_range(3..4, " ");
    }
    kept.concat().into_bytes()
}

async fn open(folder: &Path) -> Arc<Store> {
    let file = folder.join("ceralacca.toml");
    let config = Config::load(Some(&file), std::iter::empty()).expect("a configuration");
    let (clock, random) = (Arc::new(SystemClock), Arc::new(SystemRandom));
    store::open(&config, clock, random).await.expect("a store")
}

/// Queues [`MESSAGES`] small messages to the accounts of `to`.
async fn fill(folder: &Path, from: &str, to: [&str; 2]) {
    let store = open(folder).await;
    let mut batch = Batch::default();
    for number in 0..MESSAGES {
        let recipient = to[number % to.len()];
        let text = format!(
            "From: {from}\r\nTo: {recipient}\r\nSubject: Coda {number}\r\n\
             Message-ID: <coda.{number}@client.example>\r\n\r\nMessaggio {number}.\r\n"
        );
        let mut writer = store.message_writer();
        writer.write(text.as_bytes()).await.expect("written");
        let staged = writer.finish().await.expect("staged");
        let now = SystemClock.now();
        let held = draw_held_id(now, &SystemRandom);
        store.hold(held, &staged, &mut batch);
        let recipient =
            QueueRecipient { address: recipient.to_owned(), ..QueueRecipient::default() };
        let (_, domain) = recipient.address.split_once('@').expect("an address");
        let record = QueueRecord {
            kind: QueueKind::Notification.into(),
            domain: domain.to_owned(),
            reverse_path: from.to_owned(),
            message: held.0.to_vec(),
            queued_millis: now.0,
            next_attempt_millis: now.0,
            sender_class: sender_class(from),
            recipients: vec![recipient],
            ..QueueRecord::default()
        };
        write_queued(&mut batch, QueueId::draw(now, &SystemRandom), None, Some(&record));
        if (number + 1) % BATCH == 0 {
            store.commit(std::mem::take(&mut batch)).await.expect("queued");
        }
    }
    store.close().await.expect("closed");
}

/// How often the journal has each message, by event.
async fn journal(store: &Store, event: &str) -> HashMap<String, usize> {
    let mut counts = HashMap::new();
    let mut scan = Scan::prefix(JOURNAL, b"", 1_000);
    loop {
        let page = store.engine().scan(&scan).await.expect("a scan");
        for (key, value) in &page {
            let record: JournalRecord = decode(JOURNAL, key, value).expect("a record");
            if record.event == event && record.message_id.starts_with("<coda.") {
                *counts.entry(record.message_id).or_default() += 1;
            }
        }
        let Some((last, _)) = page.last() else { return counts };
        scan.start = [last.as_ref(), &[0]].concat().into();
    }
}

async fn rows(store: &Store, address: &str) -> usize {
    let (id, _) = store.account_by_address(address).await.expect("read").expect("an account");
    let account = store.account(id).await.expect("an account");
    account.mailbox_by_name("INBOX").await.expect("an INBOX").rows().await.expect("rows").1.len()
}

/// What `ceralacca queue list` says is left, asked of the running provider.
fn left(provider: &Provider) -> usize {
    let printed = provider.administer(&["queue", "list", "--limit", "1", "--json"], "");
    let rows: serde_json::Value = serde_json::from_str(&printed).expect("JSON");
    rows.as_array().expect("an array").len()
}

#[test]
fn a_sender_killed_while_answers_are_lost_delivers_5000_messages_once_each() {
    // The proxy reads along, which takes leave between providers (RFC 6109 §5.3).
    let clear = "[tls_policy]\n\"pec.beta.example\" = \"opportunistic\"\n";
    let mut pair = Pair::new(&format!("[outgoing]\nretry_first = \"1 s\"\n{clear}"));
    let proxy = Proxy::start(pair.beta.ports.relay);
    let config = pair.alfa.folder.join("ceralacca.toml");
    let text = std::fs::read_to_string(&config).expect("a configuration");
    let direct = format!("127.0.0.1:{}", pair.beta.ports.relay);
    std::fs::write(&config, text.replace(&direct, &format!("127.0.0.1:{}", proxy.port)))
        .expect("written");
    let (anna, bruno) = (pair.beta.address("anna"), pair.beta.address("bruno"));
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(fill(&pair.alfa.folder, "posta-certificata@alfa.example", [&anna, &bruno]));

    pair.beta.start();
    pair.alfa.start();
    for share in KILLS {
        wait_until("some are sent", || proxy.sent() >= share);
        pair.alfa.kill();
        assert!(proxy.sent() < MESSAGES, "the kill must come while some wait");
        pair.alfa.start();
    }
    wait_until("the queue is empty", || proxy.sent() == MESSAGES && left(&pair.alfa) == 0);
    assert!(pair.alfa.stop(), "{}", pair.alfa.log());
    assert!(pair.beta.stop(), "{}", pair.beta.log());

    let (swallowed, again) = {
        let seen = proxy.seen.lock().expect("no panic before");
        (seen.swallowed, seen.again)
    };
    assert_eq!(swallowed, MESSAGES / 5);
    assert!(
        again <= KILLS.len() * CONNECTIONS,
        "{again} were sent again after their answer was seen"
    );
    runtime.block_on(async {
        let store = open(&pair.beta.folder).await;
        let (incoming, repeats) =
            (journal(&store, "incoming").await, journal(&store, "repeat").await);
        assert_eq!(incoming.len(), MESSAGES);
        assert!(incoming.values().all(|count| *count == 1), "each is taken once");
        assert!(repeats.len() >= swallowed, "{} repeats", repeats.len());
        let delivered = [rows(&store, &anna).await, rows(&store, &bruno).await];
        assert_eq!(delivered, [MESSAGES / 2; 2], "and delivered once");
        store.close().await.expect("closed");
    });
}
