//! What becomes of duties while nothing can be signed, and when another pair signs.

use std::sync::Arc;

use trust::{clock::ManualClock, smime::sign::MessageSigner as _};

use crate::{
    letter::{kinds, written},
    network::{BETA, NOON, authority, issue, keys, signer},
    provider::{BRUNO, CARLA, Provider, eventually},
};

const YEARS: i64 = 4 * 365 * 86_400_000;

#[tokio::test(flavor = "multi_thread")]
async fn with_an_expired_certificate_receipts_wait_and_come_with_the_renewed_one() {
    let provider = Provider::start().await;
    let late = Arc::new(ManualClock::new(NOON.plus_millis(YEARS)));
    provider.engine.replace_signer(Arc::new(signer(&keys().beta, late)));
    let message = written(BRUNO.address, CARLA.address, "", "una riga");
    provider.submit(BRUNO, &[CARLA.address], &message).await.expect("taken all the same");
    // The step is tried and put off at least twice.
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    assert!(provider.inbox(BRUNO).await.is_empty() && provider.inbox(CARLA).await.is_empty());

    let renewed = issue(&authority(), BETA);
    let renewed = signer(&renewed, Arc::clone(&provider.clock));
    let certificate = renewed.certificate().clone();
    provider.engine.replace_signer(Arc::new(renewed));
    assert_eq!(provider.engine.signer().certificate(), &certificate);
    eventually("the receipts come", async || {
        let rows = provider.rows(BRUNO).await.len() + provider.rows(CARLA).await.len();
        (rows == 3).then_some(())
    })
    .await;
    provider.settle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_pair_signs_is_signed_by_it_from_the_next_message_on() {
    let provider = Provider::start().await;
    let message = written(BRUNO.address, CARLA.address, "", "una riga");
    provider.submit(BRUNO, &[CARLA.address], &message).await.expect("taken");
    provider.settle().await;
    let (before, other) = (provider.engine.signer(), Arc::clone(&provider.clock));
    provider.engine.replace_signer(Arc::new(signer(&keys().unlisted, other)));
    assert_ne!(provider.engine.signer().certificate(), before.certificate());
    let again = written(BRUNO.address, CARLA.address, "", "un'altra");
    provider.submit(BRUNO, &[CARLA.address], &again).await.expect("taken");
    provider.settle().await;
    assert_eq!(kinds(&provider.inbox(CARLA).await), ["posta-certificata", "posta-certificata"]);
    let signers: Vec<_> =
        provider.inbox(CARLA).await.iter().map(|letter| letter.signer.clone()).collect();
    assert_eq!(signers, [before.certificate().clone(), keys().unlisted.certificate.clone()]);
}
