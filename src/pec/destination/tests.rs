//! Destinations over a table of names.

use std::collections::BTreeSet;

use trust::random::SeededRandom;

use super::*;
use crate::pec::lookups::table::Table;

fn destinations(table: Table) -> Destinations {
    let routes = BTreeMap::from([(
        "pec.beta.example".to_owned(),
        Target { host: "127.0.0.1".to_owned(), port: 2525 },
    )]);
    let random = Arc::new(SeededRandom::new(1));
    Destinations::new(routes, Arc::new(table), "Mail.Alfa.example", random)
}

fn hosts(destination: &Destination) -> Vec<&str> {
    destination.servers.iter().map(|server| server.host.as_str()).collect()
}

async fn find(destinations: &Destinations, domain: &str) -> Result<Destination, NoDestination> {
    destinations.find(&*destinations.lookups(), domain).await
}

async fn refused(table: Table) -> Never {
    match find(&destinations(table), "one.example").await {
        Err(NoDestination::Never { why, .. }) => why,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_route_wins_over_dns_and_a_literal_needs_none() {
    let table = Table::default().mx("pec.beta.example", &[(10, "mx.beta.example")]);
    let destinations = destinations(table);
    let found = find(&destinations, "pec.beta.example").await.expect("the route");
    assert_eq!(found.kind, DestinationKind::Fixed);
    assert_eq!(found.servers[0].addresses, [SocketAddr::from(([127, 0, 0, 1], 2525))]);
    for (domain, address) in
        [("[192.0.2.1]", "192.0.2.1:25"), ("[ipv6:2001:db8::1]", "[2001:db8::1]:25")]
    {
        let found = find(&destinations, domain).await.expect("a literal");
        assert_eq!(found.servers[0].addresses, [address.parse().expect("an address")]);
    }
}

#[tokio::test]
async fn exchanges_go_by_preference_and_equals_by_chance() {
    let table = Table::default()
        .mx(
            "one.example",
            &[(20, "late.one.example"), (10, "a.one.example"), (10, "b.one.example")],
        )
        .addresses("late.one.example", &["192.0.2.3"])
        .addresses("a.one.example", &["192.0.2.1"])
        .addresses("b.one.example", &["192.0.2.2"]);
    let destinations = destinations(table);
    let mut orders = BTreeSet::new();
    for _ in 0..64 {
        let found = find(&destinations, "one.example").await.expect("servers");
        assert_eq!(hosts(&found)[2], "late.one.example");
        orders.insert(hosts(&found)[..2].join(" "));
    }
    assert_eq!(orders.len(), 2, "{orders:?}");
}

#[tokio::test]
async fn both_families_are_tried_in_turn_and_not_without_end() {
    let many: Vec<String> = (1..=9).map(|number| format!("192.0.2.{number}")).collect();
    let mut addresses: Vec<&str> = many.iter().map(String::as_str).collect();
    addresses.extend(["2001:db8::1", "2001:db8::2"]);
    let exchanges: Vec<(u16, String)> =
        (0..20).map(|number| (number, format!("mx{number}.one.example"))).collect();
    let exchanges: Vec<(u16, &str)> =
        exchanges.iter().map(|(preference, host)| (*preference, host.as_str())).collect();
    let table = exchanges
        .iter()
        .fold(Table::default().mx("one.example", &exchanges), |table, (_, host)| {
            table.addresses(host, &addresses)
        });
    let found = find(&destinations(table), "one.example").await.expect("servers");
    assert_eq!(found.servers.len(), SERVERS_MAX);
    let tried: Vec<String> =
        found.servers[0].addresses.iter().map(|address| address.ip().to_string()).collect();
    assert_eq!(
        tried,
        ["2001:db8::1", "192.0.2.1", "2001:db8::2", "192.0.2.2", "192.0.2.3", "192.0.2.4"]
    );
}

/// RFC 5321 §5.1, RFC 7505.
#[tokio::test]
async fn what_takes_no_mail_for_good_is_told_from_what_dns_does_not_say_now() {
    assert_eq!(refused(Table::default()).await, Never::Unknown);
    assert_eq!(refused(Table::default().mx("one.example", &[(0, "")])).await, Never::NullMx);
    assert_eq!(refused(Table::default().exists("one.example")).await, Never::Unknown);
    let loops = [(10, "mail.alfa.example"), (10, "a.one.example"), (20, "b.one.example")];
    assert_eq!(refused(Table::default().mx("one.example", &loops)).await, Never::Loop);
    for table in [
        Table::default().unreachable("one.example"),
        Table::default().mx("one.example", &[(10, "gone.one.example")]),
        Table::default().mx("one.example", &[(10, "a.one.example")]).unreachable("a.one.example"),
    ] {
        let found = find(&destinations(table), "one.example").await;
        assert!(matches!(found, Err(NoDestination::NotNow { .. })), "{found:?}");
    }
}

#[tokio::test]
async fn without_exchanges_the_domain_is_its_own_server() {
    let table = Table::default().addresses("one.example", &["192.0.2.1"]);
    let found = find(&destinations(table), "one.example").await.expect("itself");
    assert_eq!(hosts(&found), ["one.example"]);
}

#[tokio::test]
async fn mail_never_goes_to_exchanges_no_better_than_this_server() {
    let table = Table::default()
        .mx(
            "one.example",
            &[
                (5, "a.one.example"),
                (10, "mail.alfa.example"),
                (10, "b.one.example"),
                (20, "c.one.example"),
            ],
        )
        .addresses("a.one.example", &["192.0.2.1"])
        .addresses("b.one.example", &["192.0.2.2"])
        .addresses("c.one.example", &["192.0.2.3"]);
    let found = find(&destinations(table), "one.example").await.expect("the better one");
    assert_eq!(hosts(&found), ["a.one.example"]);
}

#[tokio::test]
async fn one_exchange_that_dns_does_not_know_leaves_the_others() {
    let table = Table::default()
        .mx(
            "one.example",
            &[(5, "gone.one.example"), (10, "dead.one.example"), (20, "b.one.example")],
        )
        .unreachable("dead.one.example")
        .addresses("b.one.example", &["192.0.2.2"])
        .secure("one.example");
    let found = find(&destinations(table), "one.example").await.expect("the last");
    assert_eq!(hosts(&found), ["b.one.example"]);
    assert_eq!(found.kind, DestinationKind::Dns { secure: true });
    assert!(!found.servers[0].secure);
}
