//! The provider that receives is killed.

use std::collections::BTreeSet;

use crate::{
    TRANSMISSIONS,
    outcome::{assert_each_exactly_once, stop_and_check},
    support::{Filling, Pair, load::Load, wait_until},
};

#[test]
fn a_provider_killed_in_the_middle_of_200_transmissions_answers_each_exactly_once() {
    let mut pair = Pair::new("");
    pair.alfa.let_flood(&pair.alfa.address("mario"));
    pair.alfa.start();
    pair.beta.start();
    let anna = pair.beta.address("anna");
    let load = Load::start(&pair, 0, TRANSMISSIONS);
    let mut inbox = Filling::default();

    // In the middle: some are delivered, most are not. Three times, at different points.
    for share in [TRANSMISSIONS / 20, TRANSMISSIONS / 8, TRANSMISSIONS / 4] {
        let mut delivered = 0;
        wait_until("some are delivered", || {
            delivered = inbox.read(&pair.beta, &pair.authority, &anna, "INBOX").len() as u64;
            delivered >= share
        });
        pair.beta.kill();
        assert!(delivered < TRANSMISSIONS, "the kill must come while some are on their way");
        pair.beta.start();
    }
    let acknowledged: BTreeSet<u64> = load.end().into_keys().collect();
    assert_eq!(acknowledged, (0..TRANSMISSIONS).collect(), "nobody troubled the client");
    assert_each_exactly_once(&pair, &acknowledged, &BTreeSet::new());
    stop_and_check(pair);
}
