//! `queue_drain`: messages per second at the end of a queue of 100,000 messages of 4 KB from 100
//! senders to one sink.
//!
//! The limit is the rate at the beginning: how long the queue is must not matter. Compared are two
//! tenths of it, the second and the last; the first warms up. Beside it: the rate of the whole, and
//! the most memory that draining has added to the process.

use std::{
    collections::BTreeMap,
    net::Ipv4Addr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use ceralacca::pec::{
    destination::Target,
    records::{
        QueueId, QueueKind, QueueRecipient, QueueRecord, draw_held_id, sender_class, write_queued,
    },
};
use storage::{catalog::engine::Batch, octets::OctetStoreConfig, store::Store};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
};
use trust::{
    clock::{Clock as _, SystemClock},
    random::SystemRandom,
};

use crate::{
    Failure, house,
    line::{Goal, Line},
    memory::{forget_peak, peak_kib},
    provider::Provider,
};

const MESSAGES: usize = 100_000;
const SENDERS: usize = 100;
const OCTETS: usize = 4 << 10;
const BATCH: usize = 500;
const DOMAIN: &str = "pec.beta.example";
const PAUSE: Duration = Duration::from_millis(5);

/// Fills the queue and lets it drain.
pub(crate) fn measure() -> Result<Line, Failure> {
    house::in_folder(drain)
}

async fn drain(folder: PathBuf) -> Result<Line, Failure> {
    let threads = std::thread::available_parallelism()?.get();
    let mut provider = Provider::start_idle(&folder, threads, OctetStoreConfig::default()).await?;
    fill(provider.store()).await?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let port = listener.local_addr()?.port();
    let taken = Arc::new(AtomicUsize::new(0));
    let sink = tokio::spawn(serve(listener, Arc::clone(&taken)));
    forget_peak();
    let before = peak_kib()?;
    let target = Target { host: "127.0.0.1".to_owned(), port };
    let began = Instant::now();
    provider.run_queue(BTreeMap::from([(DOMAIN.to_owned(), target)]))?;
    let mut tenths = Vec::with_capacity(10);
    for tenth in 1..=10 {
        while taken.load(Ordering::SeqCst) < tenth * MESSAGES / 10 {
            tokio::time::sleep(PAUSE).await;
        }
        tenths.push(began.elapsed());
    }
    let added = peak_kib()?.saturating_sub(before);
    sink.abort();
    provider.stop().await?;
    let count = f64::from(u32::try_from(MESSAGES)?);
    let rate = |from: Duration, to: Duration| count / 10.0 / to.saturating_sub(from).as_secs_f64();
    let [first, second, .., ninth, last] = tenths[..] else { return Err("ten tenths".into()) };
    crate::tell(&format!(
        "NOTE queue_drain: {:.0} messages/s over all, {added} KiB more memory at the peak",
        count / last.as_secs_f64()
    ));
    Ok(Line {
        name: "queue_drain",
        unit: "messages/s",
        value: rate(ninth, last),
        limit: rate(first, second),
        goal: Goal::AtLeast(0.8),
    })
}

/// Queues the messages, each from the next sender.
async fn fill(store: &Store) -> Result<(), Failure> {
    let line = "una riga di testo che riempie il messaggio fino alla misura voluta\r\n";
    let body = line.repeat(OCTETS / line.len());
    let mut batch = Batch::default();
    for number in 0..MESSAGES {
        let sender = format!("mittente{}@pec.alfa.example", number % SENDERS);
        let text = format!(
            "From: {sender}\r\nTo: anna@{DOMAIN}\r\nSubject: {number}\r\n\
             Message-ID: <{number}@client.example>\r\n\r\n{body}"
        );
        let mut writer = store.message_writer();
        writer.write(text.as_bytes()).await?;
        let staged = writer.finish().await?;
        let now = SystemClock.now();
        let held = draw_held_id(now, &SystemRandom);
        store.hold(held, &staged, &mut batch);
        let recipient =
            QueueRecipient { address: format!("anna@{DOMAIN}"), ..QueueRecipient::default() };
        let record = QueueRecord {
            kind: QueueKind::Notification.into(),
            domain: DOMAIN.to_owned(),
            sender_class: sender_class(&sender),
            reverse_path: sender,
            recipients: vec![recipient],
            message: held.0.to_vec(),
            queued_millis: now.0,
            next_attempt_millis: now.0,
            ..QueueRecord::default()
        };
        write_queued(&mut batch, QueueId::draw(now, &SystemRandom), None, Some(&record));
        if (number + 1) % BATCH == 0 {
            store.commit(std::mem::take(&mut batch)).await?;
        }
    }
    Ok(())
}

async fn serve(listener: TcpListener, taken: Arc<AtomicUsize>) {
    while let Ok((stream, _)) = listener.accept().await {
        let taken = Arc::clone(&taken);
        tokio::spawn(async move {
            // A connection that ends early shows in the count.
            let _ = session(stream, &taken).await;
        });
    }
}

/// Takes everything as fast as it comes.
async fn session(stream: TcpStream, taken: &AtomicUsize) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::with_capacity(64 << 10, stream);
    stream.write_all(b"220 sink\r\n").await?;
    let mut line = Vec::new();
    let mut in_data = false;
    loop {
        line.clear();
        if stream.read_until(b'\n', &mut line).await? == 0 {
            return Ok(());
        }
        let answer: &[u8] = match (in_data, &line[..line.len().min(4)]) {
            (true, _) if line == b".\r\n" => {
                in_data = false;
                taken.fetch_add(1, Ordering::SeqCst);
                b"250 2.0.0 taken\r\n"
            }
            (true, _) => continue,
            (false, b"EHLO") => b"250-sink\r\n250-PIPELINING\r\n250 8BITMIME\r\n",
            (false, b"DATA") => {
                in_data = true;
                b"354 go on\r\n"
            }
            (false, b"QUIT") => return stream.write_all(b"221 bye\r\n").await,
            (false, _) => b"250 2.0.0 ok\r\n",
        };
        stream.write_all(answer).await?;
    }
}
