//! `imap_idle`: KiB of memory that a server needs for each of 5,000 sessions over TLS that wait in IDLE,
//! with a mailbox of 100 messages selected; 100 sessions of each of 50 accounts.
//!
//! Counted is what the process of the program has of its own (RssAnon), less what it had before. The accounts are
//! filled by another process of it, so that no memory that appends gave back is there to be used; one
//! session of each account has been and gone. What the kernel keeps for a socket is not in it. Beside it
//! stands what it may be, 64 KiB.

use std::time::Duration;

use protocols::net::tls::TlsClient;

use crate::{
    Failure, house,
    imap_client::ImapClient,
    imap_servers::{ImapServer, login_command},
    line::{Goal, Line},
    messages,
};

const ACCOUNTS: usize = 50;
const SESSIONS: usize = 5_000;
const MESSAGES_PER_ACCOUNT: usize = 100;
const KIB_MAX: f64 = 64.0;
/// In which the last sessions come to rest.
const REST: Duration = Duration::from_secs(3);

/// Opens the sessions.
pub(crate) fn measure() -> Result<Line, Failure> {
    house::in_folder(|folder| async move {
        let mut server = ImapServer::program(&folder, ACCOUNTS)?;
        fill(&server).await?;
        server.restart()?;
        let value = per_session(&server).await?;
        Ok(Line { name: "imap_idle", unit: "KiB", value, limit: KIB_MAX, goal: Goal::AtMost(1.0) })
    })
}

async fn fill(server: &ImapServer) -> Result<(), Failure> {
    let tls = TlsClient::opportunistic()?;
    for account in 0..ACCOUNTS {
        let mut client = ImapClient::connect(server.address, &tls).await?;
        client.command(&login_command(account)).await?;
        for message in messages::make(account as u64, MESSAGES_PER_ACCOUNT) {
            client.append(&message).await?;
        }
        client.command("LOGOUT").await?;
    }
    Ok(())
}

async fn per_session(server: &ImapServer) -> Result<f64, Failure> {
    let tls = TlsClient::opportunistic()?;
    for account in 0..ACCOUNTS {
        let mut client = ImapClient::connect(server.address, &tls).await?;
        client.command(&login_command(account)).await?;
        client.command("SELECT INBOX").await?;
        client.command("LOGOUT").await?;
    }
    tokio::time::sleep(REST).await;
    let before = server.memory_kib()?;
    let mut sessions = Vec::with_capacity(SESSIONS);
    for session in 0..SESSIONS {
        let mut client = ImapClient::connect(server.address, &tls).await?;
        client.command(&login_command(session % ACCOUNTS)).await?;
        client.command("SELECT INBOX").await?;
        client.idle().await?;
        sessions.push(client);
    }
    tokio::time::sleep(REST).await;
    let after = server.memory_kib()?;
    crate::tell(&format!(
        "NOTE imap_idle: the process had {before} KiB, and {after} KiB with {SESSIONS} sessions"
    ));
    drop(sessions);
    let more = u32::try_from(after.saturating_sub(before))?;
    Ok(f64::from(more) / f64::from(u32::try_from(SESSIONS)?))
}
