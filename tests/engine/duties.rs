//! What `store check` finds in the engine's own families.

use ceralacca::pec::{
    check::{self, Duties, DutyFault},
    records::{INCOMING_MESSAGES, OUTGOING_QUEUE, QueueRecord, decode, held_id},
};
use storage::{catalog::engine::Batch, held::HeldId};

use crate::{
    letter::written,
    provider::{BRUNO, CARLA, Provider},
};

async fn look(provider: &Provider) -> Duties {
    check::check(&**provider.engine.store().engine(), &|_| {}).await.expect("the catalog answers")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_duty_without_its_message_and_a_message_without_an_owner_are_found() {
    let provider = Provider::start().await;
    let to = [CARLA.address, "anna@pec.alfa.example"];
    let message = written(BRUNO.address, &to.join(", "), "", "ciao");
    provider.submit(BRUNO, &to, &message).await.expect("taken");
    provider.settle().await;
    let clean = look(&provider).await;
    assert!(clean.rows > 5, "{clean:?}");
    assert!(clean.faults.is_empty() && clean.orphans.is_empty(), "{clean:?}");

    // A queued envelope loses its octets.
    let (key, value) = provider.entries(OUTGOING_QUEUE).await.remove(0);
    let queued: QueueRecord = decode(OUTGOING_QUEUE, &key, &value).expect("a record");
    let store = provider.engine.store();
    let lost = held_id(&queued.message).expect("a name");
    let kept = store.held(lost).await.expect("read").expect("it is there");
    let mut batch = Batch::default();
    store.hold(HeldId([9; 16]), &kept.to_staged(), &mut batch);
    store.release(lost, &mut batch);
    store.commit(batch).await.expect("committed");

    let found = look(&provider).await;
    assert_eq!(found.faults.len(), 1, "{found:?}");
    assert!(found.faults[0].0.starts_with("outgoing_queue/"), "{found:?}");
    assert_eq!(found.faults[0].1, DutyFault::Needs(format!("held_messages/{lost}")));
    assert_eq!(found.orphans, [format!("held_messages/{}", "09".repeat(16))]);

    // A duty to distribute a message that is not known.
    let mut batch = Batch::default();
    batch.put(ceralacca::pec::records::INCOMING_WORK, vec![7; 16], Vec::new());
    store.commit(batch).await.expect("committed");
    let found = look(&provider).await;
    let unknown = format!("{}/{}", INCOMING_MESSAGES.0, "07".repeat(16));
    let fault = DutyFault::Needs(unknown);
    assert!(found.faults.iter().any(|(_, found)| *found == fault), "{found:?}");
}
