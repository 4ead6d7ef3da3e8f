//! Twenty clients at once on three mailboxes, each held against what it was told.
//!
//! They append, flag, copy, move, expunge, fetch, search, idle, leave and resynchronise, by seed, each in its
//! own order; how they meet is the machine's affair. `CERALACCA_CROWD_SEED` draws the same operations
//! again, `CERALACCA_CROWD_SECONDS` says for how long. A failure prints what the client said and heard.
//!
//! At the end all agree: the clients, the rows of the store, its check and its quota, and the ledger of what
//! was put in and taken out: nothing is lost, nothing is there twice.

mod client;
mod ledger;
mod view;

use std::{
    collections::{BTreeMap, BTreeSet},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use storage::mailbox::{
    flags::Flags,
    view::{MailboxView as _, MessageRow},
};

use self::{
    client::Client,
    ledger::{Ledger, MAILBOXES, id_of},
    view::Slot,
};
use crate::server::{self, Running};

const CLIENTS: u64 = 20;
const SECONDS: u64 = 60;

#[test]
#[expect(clippy::print_stderr, reason = "the seed of a run that fails")]
fn twenty_clients_at_once_see_the_same_mailboxes_and_nothing_is_lost() {
    let seed = server::seed("CERALACCA_CROWD_SEED");
    let seconds = std::env::var("CERALACCA_CROWD_SECONDS").ok();
    let seconds = seconds.map_or(SECONDS, |text| text.parse().expect("a number of seconds"));
    eprintln!("CERALACCA_CROWD_SEED={seed}");
    let server = Running::start();
    let mut first = server.connect();
    for name in ["Uno", "Due"] {
        assert_eq!(first.say(&format!("CREATE {name}")).condition, "OK");
    }
    let ledger = Arc::new(Ledger::default());
    let mut clients = act(&server, seed, Duration::from_secs(seconds), &ledger);
    let rows = rows_of(&server);
    for client in &mut clients {
        let slots = client.settle();
        let rows = &rows[client.view.mailbox];
        assert_eq!(
            slots.iter().map(known).collect::<Vec<_>>(),
            rows.iter().map(row_known).collect::<Vec<_>>()
        );
    }
    agrees_with_the_ledger(&server, &rows, &ledger);
    assert_eq!(server.violations(), Vec::<String>::new());
    let known = ledger.known();
    eprintln!(
        "{} operations, {} messages, {} removed",
        known.commands,
        known.created.len(),
        known.gone.len()
    );
    drop(known);
    drop(clients);
    server.stop();
}

/// Lets all clients act, each in a thread of its own, until the time is over or one of them fails.
fn act(server: &Running, seed: u64, time: Duration, ledger: &Arc<Ledger>) -> Vec<Client> {
    let (end, failed) = (Instant::now() + time, AtomicBool::new(false));
    let address = server.address();
    std::thread::scope(|scope| {
        let run = |number| {
            let (ledger, failed) = (Arc::clone(ledger), &failed);
            move || {
                let mut client = Client::new(number, seed, address, ledger);
                while Instant::now() < end && !failed.load(Ordering::Relaxed) {
                    let step = catch_unwind(AssertUnwindSafe(|| client.step()));
                    if let Err(panic) = step {
                        failed.store(true, Ordering::Relaxed);
                        let what = panic.downcast_ref::<String>().cloned().unwrap_or_default();
                        panic!(
                            "client {number} of seed {seed}: {what}, after\n{}",
                            client.wire.transcript()
                        );
                    }
                }
                client
            }
        };
        let threads: Vec<_> = (0..CLIENTS).map(|number| scope.spawn(run(number))).collect();
        threads.into_iter().map(|thread| thread.join().expect("a client that is content")).collect()
    })
}

fn rows_of(server: &Running) -> Vec<Vec<MessageRow>> {
    let account = server.account();
    let rows = |name: &&str| {
        let mailbox = server.wait(account.mailbox_by_name(name)).unwrap();
        server.wait(mailbox.rows()).unwrap().1
    };
    MAILBOXES.iter().map(rows).collect()
}

fn known(slot: &Slot) -> (u32, BTreeSet<String>) {
    (slot.uid.expect("a UID"), slot.flags.clone().expect("flags"))
}

fn row_known(row: &MessageRow) -> (u32, BTreeSet<String>) {
    (row.uid.get(), words(&row.flags))
}

fn words(flags: &Flags) -> BTreeSet<String> {
    let system = [
        (flags.seen, "\\Seen"),
        (flags.answered, "\\Answered"),
        (flags.flagged, "\\Flagged"),
        (flags.deleted, "\\Deleted"),
        (flags.draft, "\\Draft"),
    ];
    let set = system.into_iter().filter(|(set, _)| *set).map(|(_, word)| word.to_owned());
    set.chain(flags.keywords.iter().map(|keyword| keyword.as_str().to_owned())).collect()
}

/// What was put in less what was taken out is there, octet for octet, and charged.
fn agrees_with_the_ledger(server: &Running, rows: &[Vec<MessageRow>], ledger: &Ledger) {
    assert_eq!(ledger.settle_copies(), 0, "copies of messages that nobody appended");
    let known = ledger.known();
    let expected: BTreeMap<_, _> =
        known.created.iter().filter(|(place, _)| !known.gone.contains(place)).collect();
    let there: Vec<_> = rows
        .iter()
        .enumerate()
        .flat_map(|(mailbox, rows)| rows.iter().map(move |row| (mailbox, row.uid.get())))
        .collect();
    assert_eq!(
        expected.keys().copied().copied().collect::<Vec<_>>(),
        there,
        "the ledger, and the rows"
    );
    let account = server.account();
    for (mailbox, rows) in rows.iter().enumerate() {
        let view = server.wait(account.mailbox_by_name(MAILBOXES[mailbox])).unwrap();
        for row in rows {
            let octets = server.wait(view.read(row.email_number, 0..row.size)).unwrap();
            assert_eq!(id_of(&octets), *expected[&(mailbox, row.uid.get())]);
        }
    }
    let quota = server.wait(account.quota()).unwrap();
    let rows = || rows.iter().flatten();
    assert_eq!(quota.used_messages, rows().count() as u64);
    assert_eq!(quota.used_octets, rows().map(|row| row.charged_octets).sum::<u64>());
}
