//! What is put off before it is on its way: a disk that is full, a store that does not take.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use ceralacca::{
    config::{Config, units::Millis},
    pec::engine::EngineSettings,
    serve::pressure::Watch,
    sources::Source,
};
use protocols::{
    access::Identity,
    smtp::transport::{Envelope, MessageSink, Peer, Refusal, Service, Transport},
};
use storage::{
    catalog::{
        engine::{Batch, Engine, Family, Page, Reader, Scan},
        simulated::SimulatedEngine,
    },
    error::StoreError,
    ids::AccountId,
};

use crate::{
    letter::{kinds, written},
    network::ANNA,
    provider::{BRUNO, CARLA, Provider, eventually, families, peer},
};

/// The two points with a peer of each, and the envelope that he begins with.
fn doors(provider: &Provider) -> [(&dyn Transport, Peer, Envelope); 2] {
    let identity = Identity { account_id: BRUNO.id, address: BRUNO.address.to_owned() };
    let envelope = |reverse_path: &str| Envelope {
        reverse_path: reverse_path.to_owned(),
        ..Envelope::default()
    };
    [
        (
            &provider.access_point,
            peer(Service::Submission, Some(identity)),
            envelope(BRUNO.address),
        ),
        (&provider.incoming_point, peer(Service::Relay, None), envelope(ANNA)),
    ]
}

/// What MAIL, RCPT and DATA are answered at both doors.
async fn answers(provider: &Provider) -> Vec<Result<(), Refusal>> {
    let mut answers = Vec::new();
    for (point, peer, mut envelope) in doors(provider) {
        answers.push(point.mail(&peer, &envelope).await);
        answers.push(point.recipient(&peer, &envelope, CARLA.address).await);
        envelope.forward_paths.push(CARLA.address.to_owned());
        answers.push(point.data(&peer, &envelope).await.map(drop));
    }
    answers
}

fn assert_all(answers: &[Result<(), Refusal>], code: u16, enhanced: &str) {
    for answer in answers {
        let refusal = answer.as_ref().expect_err("put off");
        assert_eq!((refusal.code, refusal.enhanced), (code, enhanced), "{refusal}");
    }
}

async fn opened(provider: &Provider) -> Vec<Box<dyn MessageSink>> {
    let mut sinks = Vec::new();
    for (point, peer, mut envelope) in doors(provider) {
        envelope.forward_paths.push(CARLA.address.to_owned());
        sinks.push(point.data(&peer, &envelope).await.expect("DATA"));
    }
    sinks
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_full_disk_mail_is_put_off_before_data_and_what_is_on_its_way_is_kept() {
    let settings = EngineSettings { free_octets_min: 1 << 30, ..EngineSettings::default() };
    let provider = Provider::start_with(settings).await;
    assert!(answers(&provider).await.iter().all(Result::is_ok), "nothing is known yet");
    let on_their_way = opened(&provider).await;
    provider.engine.pressure().note_free(|| Some((1 << 30) - 1));
    assert_all(&answers(&provider).await, 452, "4.3.1");
    for mut sink in on_their_way {
        let message = written(BRUNO.address, CARLA.address, "", "una riga\r\n");
        sink.write(&message).await.expect("taken");
        sink.finish().await.expect("kept whole");
    }
    provider.settle().await;
    assert_eq!(kinds(&provider.inbox(CARLA).await).len(), 2);
    provider.engine.pressure().note_free(|| Some((1 << 30) + (10 << 20)));
    assert!(answers(&provider).await.iter().all(Result::is_ok));
    provider.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_would_fill_the_disk_is_put_off_at_mail() {
    let settings = EngineSettings { free_octets_min: 1 << 30, ..EngineSettings::default() };
    let provider = Provider::start_with(settings).await;
    provider.engine.pressure().note_free(|| Some((1 << 30) + (10 << 20)));
    for (point, peer, envelope) in doors(&provider) {
        let sized = |octets| Envelope { declared_size: Some(octets), ..envelope.clone() };
        point.mail(&peer, &sized(1 << 20)).await.expect("there is room for it");
        let refusal = point.mail(&peer, &sized(20 << 20)).await.expect_err("no room");
        assert_eq!((refusal.code, refusal.enhanced), (452, "4.3.1"));
        let refusal = point.mail(&peer, &sized(1 << 40)).await.expect_err("never room");
        assert_eq!((refusal.code, refusal.enhanced), (552, "5.3.4"), "later would not help");
    }
    provider.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_free_space_is_promised_to_one_message() {
    let settings = EngineSettings { free_octets_min: 1 << 30, ..EngineSettings::default() };
    let provider = Provider::start_with(settings).await;
    provider.engine.pressure().note_free(|| Some((1 << 30) + (40 << 20)));
    let [(point, peer, envelope), other] = doors(&provider);
    let sized = |envelope: &Envelope| Envelope {
        declared_size: Some(10 << 20),
        forward_paths: vec![CARLA.address.to_owned()],
        ..envelope.clone()
    };
    let mut on_its_way = point.data(&peer, &sized(&envelope)).await.expect("there is room for it");
    let refusal = other.0.data(&other.1, &sized(&other.2)).await.map(drop).expect_err("given away");
    assert_eq!((refusal.code, refusal.enhanced), (452, "4.3.1"));
    let refusal = other.0.mail(&other.1, &sized(&other.2)).await.expect_err("at MAIL too");
    assert_eq!((refusal.code, refusal.enhanced), (452, "4.3.1"));
    let message = written(BRUNO.address, CARLA.address, "", "una riga\r\n");
    on_its_way.write(&message).await.expect("taken");
    on_its_way.finish().await.expect("kept");
    let again =
        other.0.data(&other.1, &sized(&other.2)).await.expect("it was smaller than it said");
    drop(again);
    other.0.data(&other.1, &sized(&other.2)).await.map(drop).expect("one that did not come");
    provider.settle().await;
    provider.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_sender_is_promised_a_share_of_what_is_free() {
    let provider = Provider::start_with(EngineSettings::default()).await;
    provider.engine.pressure().note_free(|| Some(800 << 20));
    let [(point, peer, envelope), other] = doors(&provider);
    let sized = |envelope: &Envelope| Envelope {
        declared_size: Some(20 << 20),
        forward_paths: vec![CARLA.address.to_owned()],
        ..envelope.clone()
    };
    let first = point.data(&peer, &sized(&envelope)).await.expect("60 of 100 MiB");
    let refusal = point.data(&peer, &sized(&envelope)).await.map(drop).expect_err("120 of them");
    assert_eq!((refusal.code, refusal.enhanced), (452, "4.3.1"));
    other.0.data(&other.1, &sized(&other.2)).await.map(drop).expect("another sender has his own");
    drop(first);
    point.data(&peer, &sized(&envelope)).await.map(drop).expect("given back");
    provider.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_one_sender_that_grow_stay_within_his_share() {
    let provider = Provider::start_with(EngineSettings::default()).await;
    provider.engine.pressure().note_free(|| Some(100 << 20));
    let [(point, peer, mut envelope), _] = doors(&provider);
    envelope.forward_paths.push(CARLA.address.to_owned());
    let mut first = point.data(&peer, &envelope).await.expect("a beginning");
    let mut second = point.data(&peer, &envelope).await.expect("another");
    let piece = vec![b'x'; 64 << 10];
    let fill = async |sink: &mut Box<dyn MessageSink>| {
        for _ in 0..64 {
            sink.write(&piece).await?;
        }
        Ok::<_, Refusal>(())
    };
    let refusal = match fill(&mut first).await {
        Ok(()) => fill(&mut second).await.expect_err("his share is used up"),
        Err(refusal) => refusal,
    };
    assert_eq!((refusal.code, refusal.enhanced), (452, "4.3.1"));
    drop((first, second));
    let mut alone = point.data(&peer, &envelope).await.expect("given back");
    fill(&mut alone).await.expect("one message may be larger than the share");
    fill(&mut alone).await.expect("as large as it likes");
    provider.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_larger_than_it_was_declared_may_use_half_of_what_stays_free() {
    let settings = EngineSettings { free_octets_min: 20 << 20, ..EngineSettings::default() };
    let provider = Provider::start_with(settings).await;
    provider.engine.pressure().note_free(|| Some(21 << 20));
    let line = "una riga di testo\r\n".repeat(10_000);
    for (point, peer, mut envelope) in doors(&provider) {
        envelope.forward_paths.push(CARLA.address.to_owned());
        let mut grows = point.data(&peer, &envelope).await.expect("room for a beginning");
        let header = written(BRUNO.address, CARLA.address, "", "");
        grows.write(&header).await.expect("taken");
        for _ in 0..10 {
            grows.write(line.as_bytes()).await.expect("taken from what stays free");
        }
        let endless = async {
            for _ in 0..20 {
                grows.write(line.as_bytes()).await?;
            }
            Ok::<_, Refusal>(())
        };
        let refusal = endless.await.expect_err("half of it is left alone");
        assert_eq!((refusal.code, refusal.enhanced), (452, "4.3.1"));
    }
    provider.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_owed_for_messages_that_wait_counts_until_they_are_done() {
    let settings = EngineSettings {
        free_octets_min: 1 << 20,
        rescan_millis: 20,
        memory_octets_max: 1 << 20,
        ..EngineSettings::default()
    };
    let provider = Provider::start_with(settings).await;
    let everything = provider.engine.reserve(1 << 30).await.expect("the share of work");
    let message = written(BRUNO.address, CARLA.address, "", &"una riga\r\n".repeat(20_000));
    provider.submit(BRUNO, &[CARLA.address], &message).await.expect("taken");
    // As much as the message, and less than what is made of it.
    let free = (1 << 20) + message.len() as u64;
    let room = || {
        provider.engine.pressure().note_free(|| Some(free));
        provider.engine.admit(Source::Account(BRUNO.id), 0).is_ok()
    };
    for _ in 0..10 {
        assert!(!room(), "its envelope is still to be made");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    drop(everything);
    eventually("nothing is owed any more", async || room().then_some(())).await;
    provider.settle().await;
    provider.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_crowd_waits_for_memory_mail_is_put_off_before_data() {
    let settings = EngineSettings { memory_octets_max: 1 << 20, ..EngineSettings::default() };
    let provider = Provider::start_with(settings).await;
    let wait = async |number| {
        let (source, time_max) = (Source::Account(AccountId(number)), Duration::from_mins(1));
        provider.engine.memory().incoming(source, 2_000, time_max).await.expect("memory")
    };
    // Small messages, of which the pool has room for 16.
    let held = futures::future::join_all((1..17).map(wait)).await;
    let put_off = eventually("it is a crowd", async || {
        let answers = answers(&provider).await;
        answers.iter().all(Result::is_err).then(|| assert_all(&answers, 452, "4.3.1"))
    });
    let crowd = futures::future::join_all((17..40).map(async |number| drop(wait(number).await)));
    let looked = async {
        put_off.await;
        drop(held);
    };
    tokio::join!(crowd, looked);
    assert!(answers(&provider).await.iter().all(Result::is_ok));
    provider.stop().await;
}

/// A catalog that does not take what it is told to, for as long as the test wants.
struct Moody {
    inner: Arc<SimulatedEngine>,
    mood: AtomicU8,
}

const WELL: u8 = 0;
const STUCK: u8 = 1;
const BROKEN: u8 = 2;

impl Moody {
    fn set(&self, mood: u8) {
        self.mood.store(mood, Ordering::SeqCst);
    }

    fn mood(&self) -> u8 {
        self.mood.load(Ordering::SeqCst)
    }
}

#[async_trait::async_trait]
impl Reader for Moody {
    async fn get(&self, family: Family, key: &[u8]) -> Result<Option<bytes::Bytes>, StoreError> {
        self.inner.get(family, key).await
    }

    async fn multi_get(
        &self,
        keys: &[(Family, bytes::Bytes)],
    ) -> Result<Vec<Option<bytes::Bytes>>, StoreError> {
        self.inner.multi_get(keys).await
    }

    async fn page(&self, scan: &Scan, octets_max: usize) -> Result<Page, StoreError> {
        self.inner.page(scan, octets_max).await
    }
}

#[async_trait::async_trait]
impl Engine for Moody {
    async fn snapshot(&self) -> Result<Arc<dyn Reader>, StoreError> {
        self.inner.snapshot().await
    }

    async fn commit(&self, batch: Batch) -> Result<Vec<u64>, StoreError> {
        while self.mood() == STUCK {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        if self.mood() == BROKEN {
            return Err(StoreError::Engine { operation: "commit", source: "no space left".into() });
        }
        self.inner.commit(batch).await
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.inner.close().await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_store_refuses_or_hangs_mail_is_put_off_before_data() {
    let inner = SimulatedEngine::new(&families());
    let moody = Arc::new(Moody { inner, mood: AtomicU8::new(WELL) });
    let catalog: Arc<dyn Engine> = moody.clone();
    let provider = Provider::start_on(catalog, EngineSettings::default()).await;
    let mut config = Config::default();
    config.limits.store_time_max = Millis(100);
    config.limits.pressure_interval = Millis(10);
    let stop = tokio_util::sync::CancellationToken::new();
    let watch = Watch::new(Arc::clone(&provider.engine), &config).run(stop.clone());
    let watch = tokio::spawn(watch);
    for mood in [BROKEN, WELL, STUCK, WELL] {
        moody.set(mood);
        eventually("the points have heard of it", async || {
            let answers = answers(&provider).await;
            if mood == WELL {
                return answers.iter().all(Result::is_ok).then_some(());
            }
            answers.iter().all(Result::is_err).then(|| assert_all(&answers, 451, "4.3.0"))
        })
        .await;
    }
    stop.cancel();
    watch.await.expect("it ends");
    provider.stop().await;
}
