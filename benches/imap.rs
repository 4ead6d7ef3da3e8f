//! `imap_select` and `imap_search`: milliseconds that a client waits for SELECT of a mailbox of 100,000
//! messages, and for a search of a sender in it.
//!
//! Beside them stands what they may take, 20 ms and 30 ms. A session of the program over a stream in
//! memory answers, from the store of `select`: who logs in is the only thing that is not asked
//! of the program. Ten answers after a first one, which fills the catalog's cache.

use std::{
    net::{IpAddr, Ipv4Addr},
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use ceralacca::mail_access::StoreMailAccess;
use protocols::{
    imap::{Server, ServerSettings},
    net::stream::ChannelBindings,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio_util::sync::CancellationToken;

use crate::{
    Failure,
    line::{Goal, Line},
    logins::Everybody,
    select::{ACCOUNT, MESSAGES, SENDER, furnished},
};

const ROUNDS: u32 = 10;
const SELECT_MS_MAX: f64 = 20.0;
const SEARCH_MS_MAX: f64 = 30.0;
/// Octets between the two ends of the stream.
pub(crate) const STREAM_OCTETS: usize = 256 * 1024;

/// SELECT.
pub(crate) fn select() -> Result<Line, Failure> {
    let told = format!("* {MESSAGES} EXISTS\r\n");
    line("imap_select", "SELECT INBOX", &told, SELECT_MS_MAX)
}

/// SEARCH.
pub(crate) fn search() -> Result<Line, Failure> {
    let command = format!("UID SEARCH RETURN (COUNT) FROM {SENDER}");
    let told = format!(" COUNT {}\r\n", MESSAGES / 1_000);
    line("imap_search", &command, &told, SEARCH_MS_MAX)
}

fn line(
    name: &'static str,
    command: &str,
    told: &str,
    milliseconds_max: f64,
) -> Result<Line, Failure> {
    let threads = std::thread::available_parallelism()?.get();
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(threads).enable_all().build()?;
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let time = runtime.block_on(answered(folder.path(), command, told))?;
    let value = time.as_secs_f64() * 1_000.0 / f64::from(ROUNDS);
    Ok(Line { name, unit: "ms", value, limit: milliseconds_max, goal: Goal::AtMost(1.0) })
}

/// How long all rounds of `command` take; each answer has `told` in it.
async fn answered(folder: &Path, command: &str, told: &str) -> Result<Duration, Failure> {
    let (store, account, inbox) = furnished(folder).await?;
    drop((account, inbox));
    let mail = Arc::new(StoreMailAccess::new(Arc::clone(&store), 1 << 20));
    let server =
        Server::new(ServerSettings::default(), Arc::new(Everybody(|_| Some(ACCOUNT))), mail);
    let (mut client, stream) = tokio::io::duplex(STREAM_OCTETS);
    let stopping = CancellationToken::new();
    let peer = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let session = tokio::spawn(async move {
        server.serve(stream, peer, Some(ChannelBindings::default()), stopping).await;
    });
    ask(&mut client, "LOGIN anna@pec.alfa.example x").await?;
    ask(&mut client, "SELECT INBOX").await?;
    let mut time = Duration::ZERO;
    for round in 0..=ROUNDS {
        let began = Instant::now();
        let answer = ask(&mut client, command).await?;
        if round > 0 {
            time += began.elapsed();
        }
        if !answer.contains(told) {
            return Err(format!("{command} was answered {answer}").into());
        }
    }
    ask(&mut client, "LOGOUT").await?;
    session.await?;
    store.close().await?;
    Ok(time)
}

/// Sends a command and reads its answer, which must be OK.
pub(crate) async fn ask(client: &mut DuplexStream, command: &str) -> Result<String, Failure> {
    client.write_all(format!("a {command}\r\n").as_bytes()).await?;
    let mut answer = Vec::new();
    loop {
        if client.read_buf(&mut answer).await? == 0 {
            return Err("the session ended".into());
        }
        let text = String::from_utf8_lossy(&answer);
        let last = text.trim_end().rsplit("\r\n").next().unwrap_or_default();
        if text.ends_with("\r\n") && last.starts_with("a ") {
            return if last.starts_with("a OK ") {
                Ok(text.into_owned())
            } else {
                Err(text.into())
            };
        }
    }
}
