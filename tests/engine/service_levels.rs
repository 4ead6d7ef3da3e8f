//! What is counted of the service (DM 2 November 2005 art. 12).

use std::collections::BTreeMap;

use ceralacca::service_levels::{
    availability::{self, Availability},
    delays::{self, DelayKind, Histogram},
    period::Period,
};
use trust::clock::UnixMillis;

use crate::{
    letter::written,
    network::{ANNA, Foreign, NOON},
    provider::{BRUNO, CARLA, Provider},
    receipts::delivery,
};

const MINUTE_MILLIS: i64 = 60_000;
const DAY: i64 = 24 * 60;

/// How many delays of a kind there are, by domain, on the day of the tests.
async fn counted(provider: &Provider, kind: DelayKind) -> BTreeMap<String, u64> {
    let store = provider.engine.store();
    provider.engine.delays().flush(store).await.expect("written");
    let day = Period::day(NOON);
    let read = delays::read(store, kind, day, day).await.expect("read");
    read.into_iter().map(|(domain, histogram)| (domain, histogram.count())).collect()
}

fn of(domains: &[(&str, u64)]) -> BTreeMap<String, u64> {
    domains.iter().map(|(domain, count)| ((*domain).to_owned(), *count)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_receipt_is_counted_once_by_the_domain_that_it_is_about() {
    let provider = Provider::start().await;
    let to = format!("{}, {ANNA}", CARLA.address);
    let message = written(BRUNO.address, &to, "", "ciao");
    provider.submit(BRUNO, &[CARLA.address, ANNA], &message).await.expect("taken");
    provider.settle().await;
    assert_eq!(counted(&provider, DelayKind::Acceptance).await, of(&[("pec.beta.example", 1)]));
    assert_eq!(counted(&provider, DelayKind::Delivery).await, of(&[("pec.beta.example", 1)]));

    let envelope = provider.queued_letters().await.pop().expect("the envelope");
    provider.clock.advance(90_000);
    let alfa = Foreign::alfa();
    let sender = alfa.issuer.service_address.as_str();
    // The second is another message that says the same: nothing moves any more.
    for _ in 0..2 {
        let receipt = alfa.seal(&delivery(&alfa, &envelope));
        provider.relay(sender, &[BRUNO.address], &receipt).await.expect("taken");
        provider.settle().await;
    }
    let both = of(&[("pec.alfa.example", 1), ("pec.beta.example", 1)]);
    assert_eq!(counted(&provider, DelayKind::Delivery).await, both);
    let day = Period::day(NOON);
    let read = delays::read(provider.engine.store(), DelayKind::Delivery, day, day).await;
    let slow = read.expect("read").get("pec.alfa.example").map(Histogram::longest_millis);
    assert_eq!(slow, Some(90_000));
    delays::dispose(provider.engine.store(), day).await.expect("disposed");
    assert_eq!(counted(&provider, DelayKind::Delivery).await, both);
    delays::dispose(provider.engine.store(), day + 1).await.expect("disposed");
    assert_eq!(counted(&provider, DelayKind::Delivery).await, of(&[]));
    provider.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_minute_counts_when_one_node_was_there_and_nothing_counts_before_the_first() {
    let provider = Provider::start().await;
    let store = provider.engine.store();
    let begin = NOON.0 / MINUTE_MILLIS / DAY * DAY + DAY - 10;
    let read = async |from: i64, until: i64, now: i64| {
        let now = UnixMillis(now * MINUTE_MILLIS);
        Availability::read(store, from, until, now).await.expect("read")
    };
    assert_eq!(read(begin, begin + 60, begin + 60).await, None);
    // Over midnight; the second node was there for some of the minutes that the first lacks.
    let first: Vec<i64> = (begin..begin + 8).chain(begin + 15..begin + 30).collect();
    let second: Vec<i64> = (begin + 5..begin + 12).collect();
    availability::mark(store, 1, &first).await.expect("marked");
    availability::mark(store, 2, &second).await.expect("marked");
    availability::mark(store, 2, &second).await.expect("marked twice");
    let seen = read(begin - 1_000, begin + 60, begin + 32).await.expect("watched");
    assert_eq!(seen.from_millis, begin * MINUTE_MILLIS);
    // The last two minutes may still be written down.
    assert_eq!((seen.minutes, seen.lost_minutes), (30, 3));
    assert_eq!((seen.longest_minutes(), seen.outages_count), (3, 1));
    let part = read(begin + 13, begin + 16, begin + 60).await.expect("watched");
    assert_eq!((part.minutes, part.lost_minutes), (3, 2));
    let later = read(begin, begin + 60, begin + 42).await.expect("watched");
    assert_eq!((later.minutes, later.lost_minutes, later.longest_minutes()), (40, 13, 10));
    let day = u32::try_from(begin / DAY).expect("a day");
    availability::dispose(store, day + 1).await.expect("disposed");
    let rest = read(begin, begin + 60, begin + 32).await.expect("watched");
    assert_eq!(rest.from_millis, (begin + 10) * MINUTE_MILLIS);
    provider.stop().await;
}
