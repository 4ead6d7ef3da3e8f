//! `snapshot_open`: milliseconds that a client waits for EXAMINE of a mailbox of 10,000 messages as it was, and
//! for the ENVELOPE of each, beside the same of the live mailbox.
//!
//! A session of the program over a stream in memory answers; nothing has changed since the snapshot, so both
//! answers are equally long. Five rounds of each take turns, after a first one that fills the caches.

use std::{
    net::{IpAddr, Ipv4Addr},
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use ceralacca::mail_access::StoreMailAccess;
use futures::future::try_join_all;
use protocols::{
    imap::{Server, ServerSettings},
    net::stream::ChannelBindings,
};
use snapshots::keep::{SnapshotLimits, Snapshots, snapshot::SnapshotKind, take::Taken};
use tokio::io::DuplexStream;
use tokio_util::sync::CancellationToken;
use trust::{
    clock::{Clock as _, SystemClock},
    random::SystemRandom,
};

use crate::{
    Failure, house,
    imap::{STREAM_OCTETS, ask},
    line::{Goal, Line},
    logins::Everybody,
    select::{ACCOUNT, append, empty},
};

const MESSAGES: usize = 10_000;
const TOGETHER: usize = 128;
const ROUNDS: u32 = 5;

pub(crate) fn measure() -> Result<Line, Failure> {
    let [old, live] = house::in_folder(|folder| async move { opened(&folder).await })?;
    let milliseconds = |time: Duration| time.as_secs_f64() * 1_000.0 / f64::from(ROUNDS);
    let (value, limit) = (milliseconds(old), milliseconds(live));
    Ok(Line { name: "snapshot_open", unit: "ms", value, limit, goal: Goal::AtMost(1.2) })
}

/// How long all rounds take, of the snapshot and of the live mailbox.
async fn opened(folder: &Path) -> Result<[Duration; 2], Failure> {
    let (store, account, inbox) = empty(folder).await?;
    for first in (0..MESSAGES).step_by(TOGETHER) {
        let some = first..(first + TOGETHER).min(MESSAGES);
        try_join_all(some.map(|number| append(&store, &account, &inbox, number))).await?;
    }
    let limits = SnapshotLimits::default();
    let snapshots = Snapshots::new(Arc::clone(&store), Arc::new(SystemRandom), limits);
    let now = SystemClock.now();
    let Taken::New(taken) = snapshots.take(ACCOUNT, SnapshotKind::Scheduled, now).await? else {
        return Err("no snapshot was taken".into());
    };
    let mail = StoreMailAccess::new(Arc::clone(&store), 1 << 20).with_snapshots(snapshots, 16);
    let server = Server::new(
        ServerSettings::default(),
        Arc::new(Everybody(|_| Some(ACCOUNT))),
        Arc::new(mail),
    );
    let (mut client, stream) = tokio::io::duplex(STREAM_OCTETS);
    let session = tokio::spawn(async move {
        let peer = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let bindings = Some(ChannelBindings::default());
        server.serve(stream, peer, bindings, CancellationToken::new()).await;
    });
    ask(&mut client, "LOGIN anna@pec.alfa.example x").await?;
    let old = format!("\"Snapshot/{}/INBOX\"", taken.name());
    let mut times = [Duration::ZERO; 2];
    for round in 0..=ROUNDS {
        for (time, mailbox) in times.iter_mut().zip([old.as_str(), "INBOX"]) {
            let spent = envelopes(&mut client, mailbox).await?;
            if round > 0 {
                *time += spent;
            }
        }
    }
    ask(&mut client, "LOGOUT").await?;
    session.await?;
    store.close().await?;
    Ok(times)
}

async fn envelopes(client: &mut DuplexStream, mailbox: &str) -> Result<Duration, Failure> {
    let began = Instant::now();
    ask(client, &format!("EXAMINE {mailbox}")).await?;
    let answer = ask(client, "FETCH 1:* (UID ENVELOPE)").await?;
    let spent = began.elapsed();
    let count = answer.matches(" FETCH (").count();
    ask(client, "UNSELECT").await?;
    if count == MESSAGES { Ok(spent) } else { Err(format!("{count} envelopes came").into()) }
}
