//! The power is cut while many tasks append to two accounts: what was acknowledged is there, and
//! nothing is half there.

use std::sync::{Arc, Mutex};

use super::house::{ANNA, House, message};
use crate::{
    catalog::simulated::{Faults, SimulatedEngine},
    ids::{AccountId, MailboxId, Uid},
    mailbox::view::MailboxView as _,
    store::Store,
};

const INBOX: MailboxId = MailboxId(1);
const BRUNO: AccountId = AccountId(8);
const WRITERS: usize = 5;

type Acknowledged = Arc<Mutex<Vec<(AccountId, Uid, usize)>>>;

/// Appends from several tasks to each account, and cuts the power after `yields` turns. Returns
/// the engine after the restart, and what was acknowledged before the cut.
async fn write_until_cut(
    house: &Arc<House>,
    yields: usize,
) -> (Arc<SimulatedEngine>, Vec<(AccountId, Uid, usize)>) {
    let acknowledged = Acknowledged::default();
    let mut tasks = Vec::new();
    for id in [ANNA, BRUNO] {
        for writer in 0..WRITERS {
            let account = house.store.account(id).await.expect("the account");
            let (house, acknowledged) = (Arc::clone(house), Arc::clone(&acknowledged));
            tasks.push(tokio::spawn(async move {
                for number in (writer..).step_by(WRITERS) {
                    let mut message_writer = house.store.message_writer();
                    if message_writer.write(&message(number)).await.is_err() {
                        return;
                    }
                    let Ok(staged) = message_writer.finish().await else { return };
                    let request = super::house::request(INBOX, &staged);
                    let Ok(appended) = account.append(request).await else { return };
                    let fact = (id, appended.uid, number);
                    acknowledged.lock().expect("no panic").push(fact);
                }
            }));
        }
    }
    for _ in 0..yields {
        tokio::task::yield_now().await;
    }
    let restarted = house.engine.crash();
    // Answers that were on their way reach nobody.
    let before = acknowledged.lock().expect("no panic").clone();
    for task in tasks {
        task.await.expect("a task");
    }
    (restarted, before)
}

#[tokio::test]
async fn a_power_cut_amid_concurrent_appends_loses_nothing_acknowledged() {
    let (mut facts, mut more) = (0, 0);
    for seed in 0..12_usize {
        let engine =
            SimulatedEngine::with_faults(&Store::families(&[]), seed as u64, Faults::default());
        let house = House::open(engine, super::objects::fresh()).await;
        house.create(ANNA, "anna@pec.example", None).await;
        house.create(BRUNO, "bruno@pec.example", None).await;
        let house = Arc::new(house);
        let (engine, acknowledged) = write_until_cut(&house, 20 + 7 * seed).await;
        let restarted = House::open(engine, house.objects.clone()).await;
        restarted.is_sound().await;
        for (id, uid, number) in &acknowledged {
            let account = restarted.store.account(*id).await.expect("the account");
            let inbox = account.mailbox(INBOX).await.expect("INBOX");
            let row = inbox.row(*uid).await.expect("read").expect("an acknowledged row");
            let octets = inbox.read(row.email_number, 0..9_999).await.expect("read");
            assert_eq!(octets, message(*number), "seed {seed}, UID {uid}");
        }
        facts += acknowledged.len();
        for id in [ANNA, BRUNO] {
            let account = restarted.store.account(id).await.expect("the account");
            let used = account.quota().await.expect("quota").used_messages;
            more += usize::try_from(used).expect("few");
        }
    }
    assert!(facts > 100, "the cuts came too early to mean anything: {facts}");
    assert!(more > facts, "no cut fell between a commit and its answer");
}
