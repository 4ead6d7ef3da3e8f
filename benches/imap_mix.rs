//! `imap_mix` and `imap_login`: commands per second that this program answers to 50 clients, and logins
//! per second, each over TLS, beside Debian's Dovecot on the same messages.
//!
//! A client of `imap_mix` has an account of its own with 100 messages of 20 KB. It connects, logs in and
//! selects INBOX; five times it then fetches the envelopes and flags of all, fetches one message, flags
//! it, appends one, marks the oldest as deleted and expunges; then it logs out. So the mailbox keeps its
//! size. Every command counts, connecting does not. A client of `imap_login` connects, logs in and logs
//! out, and logins are counted.
//!
//! The servers are processes of their own, on the same disk; rounds take turns, each with another first, and
//! those that are not asked are idle. The clients share the processors with the server: what they use is
//! told beside, and so is what Dovecot does with login processes that are kept.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use protocols::net::tls::TlsClient;
use tokio::task::JoinSet;

use crate::{
    Failure,
    house::per_second,
    imap_client::ImapClient,
    imap_servers::{ImapServer, LoginProcesses, login_command},
    line::{Goal, Line},
    messages,
};

const SERVERS: usize = 3;
const CLIENTS: usize = 50;
const MESSAGES_PER_ACCOUNT: usize = 100;
const ROUNDS: usize = 3;
/// Sessions of a client in one round.
const MIXED_SESSIONS: usize = 3;
const LOGINS: usize = 10;
/// Times that a session of the mix does its changes.
const CHANGES: usize = 5;
/// Clock ticks of `/proc`.
const TICKS_PER_SECOND: f64 = 100.0;

/// The mix.
pub(crate) fn mix() -> Result<Line, Failure> {
    compare("imap_mix", "commands/s", Goal::AtLeast(2.0), Work::Mix)
}

/// Logins alone.
pub(crate) fn login() -> Result<Line, Failure> {
    compare("imap_login", "logins/s", Goal::AtLeast(5.0), Work::Login)
}

#[derive(Clone, Copy)]
enum Work {
    Mix,
    Login,
}

fn compare(
    name: &'static str,
    unit: &'static str,
    goal: Goal,
    work: Work,
) -> Result<Line, Failure> {
    // A folder of the system's that users of other processes may look into, and that is on a disk.
    let folder = tempfile::Builder::new().prefix("ceralacca-bench").tempdir_in("/var/tmp")?;
    open_to_others(folder.path())?;
    let [own, other, kept] = ["ceralacca", "dovecot", "kept"].map(|name| folder.path().join(name));
    for folder in [&own, &other, &kept] {
        std::fs::create_dir(folder)?;
    }
    let servers = [
        ImapServer::program(&own, CLIENTS)?,
        ImapServer::dovecot(&other, CLIENTS, LoginProcesses::OfOneLogin)?,
        ImapServer::dovecot(&kept, CLIENTS, LoginProcesses::Kept)?,
    ];
    let threads = std::thread::available_parallelism()?.get();
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(threads).enable_all().build()?;
    let [value, limit, _] = runtime.block_on(rounds(name, &servers, work))?;
    Ok(Line { name, unit, value, limit, goal })
}

/// What each server does in a second.
async fn rounds(
    name: &str,
    servers: &[ImapServer; SERVERS],
    work: Work,
) -> Result<[f64; SERVERS], Failure> {
    let mut done = [(0, Duration::ZERO, 0.0); SERVERS];
    for server in servers {
        all_clients(server, Task::Fill).await?;
    }
    let task = match work {
        Work::Mix => Task::Mix,
        Work::Login => Task::Login,
    };
    for round in 0..ROUNDS {
        for turn in 0..SERVERS {
            let server = (round + turn) % SERVERS;
            let (server, (count, time, processor)) = (&servers[server], &mut done[server]);
            let (began, used) = (Instant::now(), processor_seconds()?);
            *count += all_clients(server, task).await?;
            *time += began.elapsed();
            *processor += processor_seconds()? - used;
        }
    }
    let mut rates = [0.0; SERVERS];
    for ((server, (count, time, processor)), rate) in servers.iter().zip(done).zip(&mut rates) {
        *rate = per_second(count, time)?;
        crate::tell(&format!(
            "NOTE {name}: {} did {rate:.1} a second in {:.1} s, in which the clients used {processor:.1} s of the processors",
            server.name,
            time.as_secs_f64(),
        ));
    }
    Ok(rates)
}

#[derive(Clone, Copy)]
enum Task {
    /// Puts the messages into the account.
    Fill,
    Mix,
    Login,
}

/// What all clients together got done.
async fn all_clients(server: &ImapServer, task: Task) -> Result<usize, Failure> {
    let (address, tls) = (server.address, TlsClient::opportunistic()?);
    let mut running = JoinSet::new();
    for client in 0..CLIENTS {
        let tls = tls.clone();
        running.spawn(async move {
            match task {
                Task::Fill => fill(address, &tls, client).await,
                Task::Mix => mixed(address, &tls, client).await,
                Task::Login => log_in(address, &tls, client).await,
            }
        });
    }
    let mut count = 0;
    while let Some(client) = running.join_next().await {
        count += client?.map_err(|error| format!("{}: {error}", server.name))?;
    }
    Ok(count)
}

async fn fill(
    address: std::net::SocketAddr,
    tls: &TlsClient,
    account: usize,
) -> Result<usize, Failure> {
    let mut client = ImapClient::connect(address, tls).await?;
    client.command(&login_command(account)).await?;
    for message in messages::make(account as u64, MESSAGES_PER_ACCOUNT) {
        client.append(&message).await?;
    }
    client.command("LOGOUT").await?;
    Ok(0)
}

async fn mixed(
    address: std::net::SocketAddr,
    tls: &TlsClient,
    account: usize,
) -> Result<usize, Failure> {
    let added = messages::make(1_000 + account as u64, 1);
    let added = added.first().ok_or("no message was made")?;
    let mut commands = 0;
    for session in 0..MIXED_SESSIONS {
        let mut client = ImapClient::connect(address, tls).await?;
        client.command(&login_command(account)).await?;
        client.command("SELECT INBOX").await?;
        for change in 0..CHANGES {
            let number = 1 + (session * CHANGES + change * 7) % MESSAGES_PER_ACCOUNT;
            client.command("FETCH 1:* (UID FLAGS ENVELOPE)").await?;
            client.command(&format!("FETCH {number} BODY.PEEK[]")).await?;
            client.command(&format!("STORE {number} +FLAGS (\\Seen \\Flagged)")).await?;
            client.append(added).await?;
            client.command("STORE 1 +FLAGS.SILENT (\\Deleted)").await?;
            client.command("EXPUNGE").await?;
        }
        client.command("LOGOUT").await?;
        commands += client.commands();
    }
    Ok(commands)
}

async fn log_in(
    address: std::net::SocketAddr,
    tls: &TlsClient,
    account: usize,
) -> Result<usize, Failure> {
    for _ in 0..LOGINS {
        let mut client = ImapClient::connect(address, tls).await?;
        client.command(&login_command(account)).await?;
        client.command("LOGOUT").await?;
    }
    Ok(LOGINS)
}

/// Seconds of the processors that this process has used: the clients.
fn processor_seconds() -> Result<f64, Failure> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let after_name = stat.rsplit_once(") ").ok_or("no stat")?.1;
    let ticks: u32 = after_name
        .split_ascii_whitespace()
        .skip(11)
        .take(2)
        .map(str::parse::<u32>)
        .sum::<Result<u32, _>>()?;
    Ok(f64::from(ticks) / TICKS_PER_SECOND)
}

fn open_to_others(folder: &Path) -> Result<(), Failure> {
    use std::os::unix::fs::PermissionsExt as _;
    Ok(std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755))?)
}
