//! One sender's mass of messages beside another's single one, counted by positions.

use ceralacca::pec::engine::EngineSettings;

use crate::{
    letter::written,
    peer::{Manner, Peer},
    provider::{BRUNO, CARLA, DARIO, Holder, Provider, eventually},
};

async fn submit(provider: &Provider, sender: Holder, to: &str) {
    let message = written(sender.address, to, "", "ciao");
    provider.submit(sender, &[to], &message).await.expect("taken");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_message_is_accepted_after_one_of_whoever_sends_many() {
    let settings = EngineSettings { workers_max: 1, ..EngineSettings::default() };
    let provider = Provider::start_with(settings).await;
    for _ in 0..60 {
        submit(&provider, BRUNO, CARLA.address).await;
    }
    submit(&provider, DARIO, CARLA.address).await;
    provider.settle().await;
    let journal = provider.journal().await;
    let of_dario = |event: &str| {
        let found = |(_, record): &(u64, ceralacca::pec::records::JournalRecord)| {
            record.event == event && record.sender == DARIO.address
        };
        journal.iter().position(found).expect("an event")
    };
    let (submitted, accepted) = (of_dario("submission"), of_dario("acceptance-receipt"));
    let between = &journal[submitted..accepted];
    let others = between.iter().filter(|(_, record)| record.event == "acceptance-receipt").count();
    assert!(others <= 2, "{others} others: the one under way, and one more");
    let later = journal[accepted..].iter();
    let later = later.filter(|(_, record)| record.event == "acceptance-receipt").count();
    assert!(later > 5, "{later}: there must have been a crowd");
    provider.stop().await;
}

/// What waits for a destination goes out by turns, however late somebody joins.
#[tokio::test(flavor = "multi_thread")]
async fn a_single_message_leaves_after_one_of_whoever_sends_many() {
    let peer = Peer::willing().await;
    let mut provider = Provider::start_with(EngineSettings {
        destination_connections_max: 1,
        ..EngineSettings::default()
    })
    .await;
    let to = "anna@pec.alfa.example";
    for _ in 0..130 {
        submit(&provider, BRUNO, to).await;
    }
    for _ in 0..2 {
        submit(&provider, DARIO, to).await;
    }
    provider.settle().await;
    provider.run_queue("pec.alfa.example", peer.port);
    eventually("all are sent", async || (peer.transactions().len() == 132).then_some(())).await;
    let from_dario = format!("MAIL FROM:<{}>", DARIO.address);
    let positions: Vec<usize> = peer
        .transactions()
        .iter()
        .enumerate()
        .filter(|(_, transaction)| transaction.mail.starts_with(&from_dario))
        .map(|(position, _)| position)
        .collect();
    assert!(positions[0] <= 1 && positions[1] <= 3, "{positions:?}");
    provider.stop().await;
}

/// One sender's message goes to more servers that say nothing than there are connections.
#[tokio::test(flavor = "multi_thread")]
async fn one_message_to_many_servers_that_say_nothing_takes_no_place_of_anothers() {
    let tarpit = Peer::start(|_, _| Some(Manner::Hang)).await;
    let peer = Peer::willing().await;
    let mut provider =
        Provider::start_with(EngineSettings { connections_max: 4, ..EngineSettings::default() })
            .await;
    let domains: Vec<String> = (0..8).map(|number| format!("h{number}.example")).collect();
    let mut routes: Vec<(&str, u16)> =
        domains.iter().map(|domain| (domain.as_str(), tarpit.port)).collect();
    routes.push(("pec.alfa.example", peer.port));
    provider.run_queue_by(&routes);
    let to: Vec<String> = domains.iter().map(|domain| format!("ospite@{domain}")).collect();
    let to: Vec<&str> = to.iter().map(String::as_str).collect();
    let message = written(BRUNO.address, &to.join(", "), "", "ciao");
    provider.submit(BRUNO, &to, &message).await.expect("taken");
    eventually("the tarpit's connections", async || (tarpit.connections() == 3).then_some(()))
        .await;
    for sender in [CARLA, DARIO] {
        submit(&provider, sender, "anna@pec.alfa.example").await;
    }
    eventually("the others' messages", async || (peer.transactions().len() == 2).then_some(()))
        .await;
    assert_eq!(tarpit.connections(), 3, "the last quarter is for whoever comes");
    provider.stop_soon().await;
}
