//! The bound on octets in memory.

use std::time::Duration;

use ceralacca::{pec::engine::EngineSettings, sources::Source};
use protocols::smtp::transport::{Envelope, Refusal, Service, Taken, Transport as _};
use storage::ids::AccountId;

use crate::{
    letter::{kinds, written},
    network::{ANNA, Foreign},
    provider::{BRUNO, CARLA, Provider, peer},
};

/// Sends again what was put off, as every server does (RFC 5321 §4.5.4.1).
async fn patiently(mut send: impl AsyncFnMut() -> Result<Taken, Refusal>) {
    loop {
        match send().await {
            Ok(_) => return,
            Err(refusal) if refusal.code == 452 => {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            Err(refusal) => panic!("{refusal}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_for_a_single_message_lets_everything_through() {
    let settings = EngineSettings { memory_octets_max: 64 * 1024, ..EngineSettings::default() };
    let provider = Provider::start_with(settings).await;
    let (alfa, line) = (Foreign::alfa(), "una riga di testo\r\n".repeat(2_100));
    let come_in = async |number: u8| {
        let envelope = alfa.envelope(&[CARLA.address], &format!("{number} {line}"));
        patiently(async || provider.relay(ANNA, &[CARLA.address], &envelope).await).await;
    };
    let go_out = async |number: u8| {
        let message = written(BRUNO.address, CARLA.address, "", &format!("{number} {line}"));
        patiently(async || provider.submit(BRUNO, &[CARLA.address], &message).await).await;
    };
    let everything = async {
        tokio::join!(
            come_in(1),
            come_in(2),
            come_in(3),
            come_in(4),
            go_out(1),
            go_out(2),
            go_out(3),
            go_out(4),
        );
        provider.settle().await;
    };
    tokio::time::timeout(Duration::from_secs(40), everything).await.expect("no waiting for ever");
    assert_eq!(kinds(&provider.inbox(CARLA).await), ["posta-certificata"; 8]);
    assert_eq!(kinds(&provider.inbox(BRUNO).await)[..4], ["accettazione"; 4]);
    assert_eq!(kinds(&provider.inbox(BRUNO).await)[4..], ["avvenuta-consegna"; 4]);
    assert_eq!(provider.queued().await.len(), 8);
    provider.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_larger_than_the_memory_for_messages_passes_alone() {
    let settings = EngineSettings { memory_octets_max: 1_000_000, ..EngineSettings::default() };
    let provider = Provider::start_with(settings).await;
    let line = "una riga di testo\r\n".repeat(60_000);
    let envelope = Foreign::alfa().envelope(&[CARLA.address], &line);
    provider.relay(ANNA, &[CARLA.address], &envelope).await.expect("taken");
    provider.settle().await;
    let message = written(BRUNO.address, CARLA.address, "", &line);
    provider.submit(BRUNO, &[CARLA.address], &message).await.expect("taken");
    provider.settle().await;
    assert_eq!(kinds(&provider.inbox(CARLA).await), ["posta-certificata"; 2]);
    provider.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn peers_that_send_slowly_hold_no_memory() {
    let folder = tempfile::tempdir().expect("a folder");
    let settings = EngineSettings {
        memory_octets_max: 1 << 20,
        arriving_folder: folder.path().to_owned(),
        ..EngineSettings::default()
    };
    let provider = Provider::start_with(settings).await;
    let line = "una riga di testo\r\n".repeat(20_000);
    let envelope = Foreign::alfa().envelope(&[CARLA.address], &line);
    let (half, rest) = envelope.split_at(envelope.len() / 2);
    let mut slow = Vec::new();
    for _ in 0..20 {
        let envelope = Envelope {
            reverse_path: ANNA.to_owned(),
            forward_paths: vec![CARLA.address.to_owned()],
            ..Envelope::default()
        };
        let data = provider.incoming_point.data(&peer(Service::Relay, None), &envelope).await;
        let mut sink = data.expect("DATA");
        for piece in half.chunks(60_000) {
            sink.write(piece).await.expect("taken");
        }
        slow.push(sink);
    }
    let left_over = std::fs::read_dir(folder.path()).expect("the folder").count();
    assert_eq!(left_over, 0, "files without names");
    let message = written(BRUNO.address, CARLA.address, "", "una riga\r\n");
    provider.submit(BRUNO, &[CARLA.address], &message).await.expect("there is room for others");
    provider.settle().await;
    assert_eq!(kinds(&provider.inbox(CARLA).await), ["posta-certificata"]);
    let mut last = slow.pop().expect("one of them");
    last.write(rest).await.expect("taken");
    drop(slow);
    last.finish().await.expect("what came slowly is whole");
    provider.settle().await;
    assert_eq!(kinds(&provider.inbox(CARLA).await), ["posta-certificata"; 2]);
    provider.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_finds_no_memory_in_time_is_put_off_whole() {
    let settings = EngineSettings {
        memory_octets_max: 1 << 20,
        memory_time_max: Duration::from_millis(50),
        ..EngineSettings::default()
    };
    let provider = Provider::start_with(settings).await;
    let source = Source::Account(AccountId(9_999));
    // The whole pool for small messages.
    let held = provider.engine.memory().incoming(source, 100_000, Duration::from_secs(1)).await;
    let message = written(BRUNO.address, CARLA.address, "", "una riga\r\n");
    let refusal = provider.submit(BRUNO, &[CARLA.address], &message).await.expect_err("no memory");
    assert_eq!((refusal.code, refusal.enhanced), (452, "4.3.1"));
    drop(held.expect("all of it"));
    provider.submit(BRUNO, &[CARLA.address], &message).await.expect("taken");
    provider.settle().await;
    assert_eq!(kinds(&provider.inbox(CARLA).await), ["posta-certificata"]);
    provider.stop().await;
}
