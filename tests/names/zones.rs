//! Records of every kind, aliases, names without records, and servers that do not answer.

use std::net::SocketAddr;

use ceralacca::{
    config::units::Millis,
    names::{Exchange, Names, NamesError},
    pec::lookups::Lookups,
};

use crate::{
    name_server::{NameServer, Signing, Wrong, WrongServer, Zone},
    names_of, server, settings,
};

fn exchange(preference: u16, host: &str) -> Exchange {
    Exchange { preference, host: host.to_owned() }
}

fn addresses(texts: &[&str]) -> Vec<std::net::IpAddr> {
    texts.iter().map(|text| text.parse().expect("an address")).collect()
}

#[tokio::test]
async fn exchanges_come_by_preference_in_lower_case_and_a_null_mx_as_it_is() {
    let server = server();
    let names = names_of(&server);
    let answer = names.mx("unsigned.test").await.expect("MX records");
    let expected = [
        exchange(10, "alias.unsigned.test"),
        exchange(10, "mx1.unsigned.test"),
        exchange(20, "mx2.unsigned.test"),
    ];
    assert_eq!((answer.value, answer.secure), (expected.to_vec(), false));
    let answer = names.mx("null.unsigned.test.").await.expect("a null MX");
    assert_eq!(answer.value, [exchange(0, ".")]);
}

#[tokio::test]
async fn a_name_outside_ascii_is_asked_for_as_a_label() {
    let answer = names_of(&server()).mx("Città.unsigned.test").await.expect("MX records");
    assert_eq!(answer.value, [exchange(5, "mx1.unsigned.test")]);
}

#[tokio::test]
async fn a_truncated_answer_is_asked_for_again_over_tcp() {
    let answer = names_of(&server()).mx("many.unsigned.test").await.expect("MX records");
    let preferences: Vec<u16> = answer.value.iter().map(|exchange| exchange.preference).collect();
    assert_eq!(preferences, (0..60).collect::<Vec<u16>>());
}

#[tokio::test]
async fn aliases_are_followed_within_a_zone_and_into_another() {
    let server = server();
    let names = names_of(&server);
    let answer = names.addresses("alias.unsigned.test").await.expect("addresses");
    assert_eq!(answer.value, addresses(&["192.0.2.1", "2001:db8::1"]));
    let answer = names.mx("mail.unsigned.test").await.expect("MX records");
    assert_eq!(answer.value, [exchange(10, "mx.signed.test")]);
}

#[tokio::test]
async fn aliases_without_an_end_are_no_answer() {
    let server = server();
    let names = names_of(&server);
    for name in ["loop1.unsigned.test", "long0.unsigned.test"] {
        let error = names.mx(name).await.expect_err("no end");
        assert!(error.is_temporary(), "{error}");
        assert!(error.to_string().contains("aliases have no end"), "{error}");
    }
}

#[tokio::test]
async fn no_such_name_and_no_records_are_told_apart() {
    let server = server();
    let names = names_of(&server);
    let absent = "absent.unsigned.test";
    for name in [absent, "nowhere.unsigned.test", "not a name", ""] {
        let error = names.mx(name).await.expect_err("no such name");
        assert_eq!(error, NamesError::NoSuchName { name: name.to_owned() });
    }
    for name in ["mx1.unsigned.test", "only4.unsigned.test"] {
        let error = names.mx(name).await.expect_err("no MX");
        assert!(matches!(error, NamesError::NoRecords { .. }), "{error}");
    }
    let error = names.addresses("null.unsigned.test").await.expect_err("no address");
    assert!(matches!(error, NamesError::NoRecords { .. }), "{error}");
    let error = names.addresses(absent).await.expect_err("no such name");
    assert_eq!(error, NamesError::NoSuchName { name: absent.to_owned() });
    let answer = names.addresses("only4.unsigned.test").await.expect("one family is enough");
    assert_eq!(answer.value, addresses(&["192.0.2.4"]));
}

#[tokio::test]
async fn pieces_of_a_text_are_joined() {
    let mut texts = names_of(&server()).txt("unsigned.test").await.expect("texts").value;
    texts.sort();
    assert_eq!(texts, ["two pieces", "v=spf1 -all"]);
}

#[tokio::test]
async fn an_address_and_localhost_need_no_server() {
    let names = Names::open(&settings(&["127.0.0.1:1".parse().expect("an address")]));
    let names = names.expect("names");
    let answer = names.addresses("192.0.2.9").await.expect("itself");
    assert_eq!(answer.value, addresses(&["192.0.2.9"]));
    let answer = names.addresses("localhost").await.expect("loopback");
    assert_eq!(answer.value, addresses(&["127.0.0.1", "::1"]));
}

/// Names that ask `servers`, with little patience.
fn impatient(servers: &[SocketAddr]) -> Names {
    let mut settings = settings(servers);
    settings.timeout = Millis(300);
    Names::open(&settings).expect("names")
}

/// Every way in which a server says nothing about a name.
const LAME: [Wrong; 7] = [
    Wrong::Refuses,
    Wrong::Fails,
    Wrong::Babbles,
    Wrong::Refers,
    Wrong::Blank,
    Wrong::Strays,
    Wrong::Silent,
];

#[tokio::test]
async fn a_lame_server_is_no_answer() {
    for wrong in LAME {
        let lame = WrongServer::start(wrong);
        let error = impatient(&[lame.address]).mx("unsigned.test").await.expect_err("lame");
        assert!(error.is_temporary(), "{wrong:?}: {error}");
        assert!(lame.questions() >= 2, "{wrong:?}: every server is asked in each of two rounds");
    }
}

#[tokio::test]
async fn behind_a_lame_server_the_next_one_is_asked() {
    let server = server();
    for wrong in LAME {
        let lame = WrongServer::start(wrong);
        let names = impatient(&[lame.address, server.address]);
        let answer = names.mx("signed.test").await;
        assert_eq!(answer.expect("the second knows").value, [exchange(10, "mx.signed.test")]);
        assert!(lame.questions() >= 1, "{wrong:?}");
    }
}

/// RFC 2308 §2.2, the third kind.
#[tokio::test]
async fn an_empty_answer_in_the_word_of_no_zone_denies_addresses_only() {
    let server = server();
    let blank = WrongServer::start(Wrong::Blank);
    let names = impatient(&[blank.address]);
    let host = "mx1.unsigned.test";
    for (error, what) in [
        (names.mx(host).await.map(drop), "mail would go to the domain's own address"),
        (names.tlsa(host, 25).await.map(drop), "DANE would be off"),
        (names.txt(host).await.map(drop), "policies would be denied, and that remembered"),
    ] {
        let error = error.expect_err(what);
        assert!(error.is_temporary(), "{what}: {error}");
        assert!(error.to_string().contains("nothing at all"), "{error}");
    }
    // Forwarders leave the SOA out of what they remember.
    let error = names.addresses(host).await.expect_err("no address");
    assert!(matches!(error, NamesError::NoRecords { .. }), "{error}");
    let refuses = WrongServer::start(Wrong::Refuses);
    let error = impatient(&[blank.address, refuses.address]).addresses(host).await;
    assert!(error.expect_err("not all say so").is_temporary());
    let answer = impatient(&[blank.address, server.address]).addresses(host).await;
    assert_eq!(answer.expect("the second knows").value.len(), 2);
}

#[tokio::test]
async fn a_question_ends_within_its_time_whatever_the_servers_do() {
    let silent: Vec<WrongServer> = (0..4).map(|_| WrongServer::start(Wrong::Silent)).collect();
    let mut settings = settings(&silent.iter().map(|server| server.address).collect::<Vec<_>>());
    settings.timeout = Millis::minutes(2);
    settings.question_time_max = Millis(200);
    let names = Names::open(&settings).expect("names");
    let error = names.txt("unsigned.test").await.expect_err("no answer");
    assert!(error.to_string().contains("no answer within 200ms"), "{error}");
}

#[tokio::test]
async fn answers_are_remembered_after_their_server_has_gone() {
    let zone = "@ MX 10 mx\nmx A 192.0.2.1\n";
    let gone = NameServer::start(&[Zone::new("gone.test", Signing::Unsigned, zone)]);
    let mut settings = settings(&[gone.address]);
    settings.timeout = Millis(300);
    settings.cache_entries_max = 2;
    let names = Names::open(&settings).expect("names");
    names.mx("gone.test").await.expect("MX records");
    let absent = names.mx("absent.gone.test").await.expect_err("no such name");
    drop(gone);
    names.mx("GONE.test").await.expect("remembered");
    assert_eq!(names.mx("absent.gone.test").await, Err(absent), "this too is remembered");
    names.txt("gone.test").await.expect_err("not asked before");
    let forgotten =
        names.mx("gone.test").await.expect_err("two are remembered, this was the third");
    assert!(forgotten.is_temporary(), "{forgotten}");
}

#[tokio::test]
async fn the_time_of_a_question_begins_with_its_turn() {
    let silent = WrongServer::start(Wrong::Silent);
    let mut settings = settings(&[silent.address]);
    settings.timeout = Millis::minutes(2);
    settings.question_time_max = Millis(300);
    settings.questions_max = 1;
    let names = Names::open(&settings).expect("names");
    let questions = (0..3).map(|number| {
        let names = names.clone();
        async move { names.mx(&format!("a{number}.unsigned.test")).await }
    });
    for answer in futures::future::join_all(questions).await {
        assert!(answer.expect_err("silence").to_string().contains("no answer within 300ms"));
    }
    assert_eq!(silent.questions(), 3, "each was asked in its turn");
    // Who gets no turn has not found a dead server, and the next one asks.
    settings.question_time_max = Millis::minutes(2);
    settings.waiting_time_max = Millis(50);
    let names = Names::open(&settings).expect("names");
    let asking = tokio::spawn({
        let names = names.clone();
        async move { names.mx("b.unsigned.test").await }
    });
    while silent.questions() < 4 {
        tokio::task::yield_now().await;
    }
    let error = names.mx("c.unsigned.test").await.expect_err("no turn");
    assert!(error.is_temporary() && error.to_string().contains("no turn within 50ms"), "{error}");
    assert!(matches!(error, NamesError::NotAsked { .. }), "{error}");
    asking.abort();
    assert!(asking.await.is_err());
    let next = tokio::spawn(async move { names.mx("c.unsigned.test").await });
    while silent.questions() < 5 {
        tokio::task::yield_now().await;
    }
    next.abort();
}

#[tokio::test]
async fn one_destination_asks_no_more_than_its_bound() {
    let refuses = WrongServer::start(Wrong::Refuses);
    let server = server();
    let mut settings = settings(&[refuses.address, server.address]);
    settings.questions_per_destination_max = 3;
    let names = std::sync::Arc::new(Names::open(&settings).expect("names"));
    let one = Lookups::for_one_destination(names.clone());
    one.mx("unsigned.test").await.expect("two questions, of which one is refused");
    let error = one.txt("unsigned.test").await.expect_err("one is refused, and no more are left");
    assert!(error.to_string().contains("dns.questions_per_destination_max"), "{error}");
    assert!(matches!(error, NamesError::NotAsked { .. }), "{error}");
    assert_eq!(refuses.questions(), 2);
    one.mx("unsigned.test").await.expect("what is remembered costs nothing");
    let error = one.mx("long0.unsigned.test").await.expect_err("nothing is left");
    assert!(error.is_temporary(), "{error}");
    assert_eq!(refuses.questions(), 2);
    // Others have a bound of their own, and are not told what was not asked.
    let other = Lookups::for_one_destination(names.clone());
    other.txt("unsigned.test").await.expect("texts");
    names.mx("signed.test").await.expect("without a bound");
}

#[tokio::test]
async fn many_ask_at_once_within_the_bound() {
    let server = server();
    let mut settings = settings(&[server.address]);
    settings.questions_max = 2;
    let names = Names::open(&settings).expect("names");
    let questions = (0..40).map(|number| {
        let names = names.clone();
        async move { names.mx(&format!("absent{number}.unsigned.test")).await }
    });
    for answer in futures::future::join_all(questions).await {
        assert!(matches!(answer, Err(NamesError::NoSuchName { .. })), "{answer:?}");
    }
}
