//! `imap_watch`: milliseconds within which 99 of 100 changes to a mailbox, made by one client, have been
//! read by each of eight others that wait in IDLE, over TLS; from the tagged OK that the first one reads.
//!
//! Changes are flags set and taken away, and messages of 20 KB appended. Beside it stands what it may be,
//! 100 ms. The server is a process of its own.

use std::time::{Duration, Instant};

use protocols::net::tls::TlsClient;
use tokio::sync::mpsc;

use crate::{
    Failure, house,
    imap_client::ImapClient,
    imap_servers::{ImapServer, login_command},
    line::{Goal, Line},
    messages,
};

const WATCHERS: usize = 8;
const CHANGES: usize = 300;
const MILLISECONDS_MAX: f64 = 100.0;

/// Makes the changes.
pub(crate) fn measure() -> Result<Line, Failure> {
    house::in_folder(|folder| async move {
        let server = ImapServer::program(&folder, 1)?;
        let mut delays = delays(&server).await?;
        delays.sort_unstable();
        let of_hundred = |of: usize| delays[(delays.len() * of / 100).min(delays.len() - 1)];
        let half = of_hundred(50).as_secs_f64() * 1_000.0;
        crate::tell(&format!("NOTE imap_watch: half of the changes were read within {half:.1} ms"));
        let value = of_hundred(99).as_secs_f64() * 1_000.0;
        let (name, goal) = ("imap_watch", Goal::AtMost(1.0));
        Ok(Line { name, unit: "ms", value, limit: MILLISECONDS_MAX, goal })
    })
}

async fn delays(server: &ImapServer) -> Result<Vec<Duration>, Failure> {
    let tls = TlsClient::opportunistic()?;
    let mut writer = ImapClient::connect(server.address, &tls).await?;
    writer.command(&login_command(0)).await?;
    let message = messages::make(0, 1).pop().ok_or("no message was made")?;
    writer.append(&message).await?;
    writer.command("SELECT INBOX").await?;
    let (seen, mut all_seen) = mpsc::channel(WATCHERS);
    for _ in 0..WATCHERS {
        let mut watcher = ImapClient::connect(server.address, &tls).await?;
        watcher.command(&login_command(0)).await?;
        watcher.command("EXAMINE INBOX").await?;
        watcher.idle().await?;
        let seen = seen.clone();
        tokio::spawn(async move {
            for change in 0..CHANGES {
                let told = watcher.told(word(change)).await;
                if seen.send(told).await.is_err() {
                    return;
                }
            }
        });
    }
    let mut delays = Vec::with_capacity(CHANGES * WATCHERS);
    for change in 0..CHANGES {
        match change % 3 {
            0 => drop(writer.command("STORE 1 +FLAGS (\\Flagged)").await?),
            1 => writer.append(&message).await?,
            _ => drop(writer.command("STORE 1 -FLAGS (\\Flagged)").await?),
        }
        let done = Instant::now();
        for _ in 0..WATCHERS {
            let read = all_seen.recv().await.ok_or("the watchers have gone")??;
            delays.push(read.saturating_duration_since(done));
        }
    }
    Ok(delays)
}

/// What the line has that tells of a change.
fn word(change: usize) -> &'static str {
    if change % 3 == 1 { " EXISTS" } else { " FETCH " }
}
