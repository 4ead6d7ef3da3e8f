//! What an erasure everywhere does with the same message where the engine holds it.

use ceralacca::{
    backup::held::{hold_all, release},
    pec::erasure::{ErasureOrder, Fate, erase, plan},
};
use storage::{
    backup::manifest::CheckpointName, find::Holder, ids::EmailNumber, octets::ErasureReason,
};

use crate::{
    letter::written,
    network::ANNA,
    provider::{BRUNO, CARLA, Provider},
};

/// What becomes of the held messages when Carla's is erased everywhere.
async fn fates_of_held(provider: &Provider, number: EmailNumber) -> Vec<Fate> {
    let plan = plan(provider.engine.store(), CARLA.id, number, true).await.expect("a plan");
    let held = plan.places.into_iter().filter(|(holder, _)| matches!(holder, Holder::Held(_)));
    held.map(|(_, fate)| fate).filter(|fate| *fate != Fate::Related).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_message_goes_with_the_others_when_nothing_is_owed_for_it() {
    let provider = Provider::start().await;
    let message = written(BRUNO.address, CARLA.address, "", "ciao");
    provider.submit(BRUNO, &[CARLA.address], &message).await.expect("taken");
    provider.settle().await;
    let number = provider.rows(CARLA).await[0].email_number;
    assert_eq!(fates_of_held(&provider, number).await, [Fate::Erase]);
    provider.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_message_stays_while_its_duty_waits_for_an_operator_and_is_sent_after_that() {
    let provider = Provider::start().await;
    let to = [CARLA.address, ANNA];
    let message = written(BRUNO.address, &to.join(", "), "", "ciao");
    provider.submit(BRUNO, &to, &message).await.expect("taken");
    provider.settle().await;
    // One envelope for both: Carla has it, and it waits for Alfa.
    let number = provider.rows(CARLA).await[0].email_number;
    assert_eq!(fates_of_held(&provider, number).await, [Fate::Busy], "it is in the queue");
    let (store, now) = (provider.engine.store(), provider.engine.now());
    let queued = provider.queued_letters().await.remove(0);

    let checkpoint = CheckpointName { epoch: 1, instant: now };
    // The envelope, and that nothing may be heard of Anna.
    assert_eq!(hold_all(&**store.engine(), checkpoint, now).await.expect("held"), 2);
    assert_eq!(fates_of_held(&provider, number).await, [Fate::Busy], "it waits for an operator");
    let order = ErasureOrder {
        category: ErasureReason::Authority,
        reason: "ordinanza".to_owned(),
        actor: "Bianchi".to_owned(),
        instant: now,
        node: 0,
    };
    let mut plan = plan(store, CARLA.id, number, true).await.expect("a plan");
    erase(store, &mut plan, &order).await.expect("erased");

    let released = release(&**store.engine(), None, 0, now).await.expect("released");
    assert_eq!(released.duties, 2);
    let letters = provider.queued_letters().await;
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].octets, queued.octets, "the envelope can still be sent");
    provider.stop().await;
}
