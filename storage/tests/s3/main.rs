//! The S3 client over real sockets: against a SeaweedFS cluster, with a proxy in between that does
//! what networks do, and against a server that only pretends.
//!
//! The suite of the crate runs over the same kind of cluster with `CERALACCA_TEST_OBJECTS=s3`.

mod pretender;
mod proxy;
#[path = "../support/seaweedfs.rs"]
mod seaweedfs;
mod store;

use std::{
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use object_store::{
    Error, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions, multipart::MultipartStore as _,
    path::Path,
};
use storage::objects::{
    PrefixedObjects, RemoteSettings,
    metrics::{Operation, Outcome, RequestObserver},
    open_s3,
    parts::PartSettings,
    probe::{ProbeError, probe},
    retry::RetrySettings,
    s3::{S3Objects, S3Settings},
    timeout::TimeSettings,
};
use trust::{
    clock::{Clock as _, SystemClock},
    random::{SeededRandom, SystemRandom},
};

use self::{
    proxy::{Fault, Proxy},
    seaweedfs::{ACCESS_KEY, BUCKET, Cluster, SECRET_KEY},
};

static CLUSTER: OnceLock<Cluster> = OnceLock::new();

fn cluster() -> u16 {
    CLUSTER.get_or_init(|| Cluster::start(2)).port()
}

fn settings(port: u16) -> S3Settings {
    S3Settings {
        endpoint: Some(format!("http://127.0.0.1:{port}")),
        bucket: BUCKET.to_owned(),
        region: "us-east-1".to_owned(),
        access_key: ACCESS_KEY.to_owned(),
        secret_key: SECRET_KEY.to_owned(),
        allow_http: true,
        virtual_hosted: false,
        authority_pem: None,
    }
}

fn quick() -> RemoteSettings {
    RemoteSettings {
        retry: RetrySettings {
            tries_max: 8,
            pause_first: Duration::from_millis(20),
            pause_max: Duration::from_millis(500),
            ..RetrySettings::default()
        },
        time: TimeSettings { answer_max: Duration::from_secs(10), ..TimeSettings::default() },
        parts: PartSettings { object_octets_min: 6 << 20, ..PartSettings::default() },
        ..RemoteSettings::default()
    }
}

#[derive(Debug, Default)]
struct Heard {
    requests: Mutex<Vec<(Operation, Outcome)>>,
    retries: Mutex<Vec<Operation>>,
}

impl Heard {
    fn retries(&self) -> Vec<Operation> {
        std::mem::take(&mut *self.retries.lock().unwrap())
    }
}

impl RequestObserver for Heard {
    fn request(&self, operation: Operation, outcome: Outcome, _: u64, _: Duration) {
        self.requests.lock().unwrap().push((operation, outcome));
    }

    fn retry(&self, operation: Operation) {
        self.retries.lock().unwrap().push(operation);
    }
}

/// A store with a prefix of its own, reached over `port`.
fn objects(port: u16, remote: &RemoteSettings) -> (Arc<dyn ObjectStore>, Arc<Heard>) {
    let heard = Arc::new(Heard::default());
    let store = open_s3(&settings(port), remote, Arc::new(SystemRandom), heard.clone()).unwrap();
    (Arc::new(PrefixedObjects::new(store, unique())), heard)
}

fn unique() -> String {
    use trust::random::RandomSource as _;
    format!("test-{:016x}", SystemRandom.next_u64())
}

fn create() -> PutOptions {
    PutOptions { mode: PutMode::Create, ..PutOptions::default() }
}

async fn read(objects: &dyn ObjectStore, path: &Path) -> Bytes {
    objects.get(path).await.unwrap().bytes().await.unwrap()
}

fn large() -> Bytes {
    (0..(9_u32 << 20)).map(|number| u8::try_from(number % 251).unwrap()).collect::<Vec<u8>>().into()
}

#[tokio::test]
async fn a_real_cluster_passes_the_probe_also_with_uploads_in_parts() {
    let (objects, _) = objects(cluster(), &quick());
    for seed in 0..5 {
        probe(&*objects, &SeededRandom::new(seed), true).await.unwrap();
    }
    let left: Vec<_> = futures::TryStreamExt::try_collect(objects.list(None)).await.unwrap();
    let left: &[object_store::ObjectMeta] = &left;
    assert_eq!(left, []);
}

#[tokio::test]
async fn a_server_that_only_pretends_to_create_is_refused() {
    let (objects, _) = objects(pretender::start().await, &quick());
    let refused = probe(&*objects, &SeededRandom::new(1), false).await;
    assert!(matches!(refused, Err(ProbeError::Replaces)), "{refused:?}");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_told_from_one_that_pretends() {
    let port = {
        let held = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        held.local_addr().unwrap().port()
    };
    let (objects, heard) = objects(port, &quick());
    let error = probe(&*objects, &SeededRandom::new(1), false).await.unwrap_err();
    assert!(!error.is_pretence(), "{error}");
    let retries = heard.retries();
    let puts = retries.iter().filter(|operation| **operation == Operation::Put).count();
    assert_eq!(puts, 7, "eight tries");
}

#[tokio::test]
async fn whatever_the_network_does_to_a_put_it_is_done_once() {
    let proxy = Proxy::start(cluster()).await;
    let (objects, heard) = objects(proxy.port, &quick());
    let faults = [Fault::Busy, Fault::Reset, Fault::TornUpload, Fault::LostAnswer];
    for (number, fault) in (0_u8..).zip(faults) {
        let path = Path::from(format!("put/{number}"));
        let octets = Bytes::from(vec![number; 300_000]);
        proxy.fail("PUT", "put/", 2, fault);
        objects.put_opts(&path, octets.clone().into(), create()).await.unwrap();
        assert_eq!(read(&*objects, &path).await, octets, "{fault:?}");
        let retries = heard.retries();
        assert!(!retries.is_empty(), "{fault:?}");
        let again = objects.put_opts(&path, octets.into(), create()).await;
        assert!(matches!(again, Err(Error::AlreadyExists { .. })), "{fault:?}: {again:?}");
    }
}

#[tokio::test]
async fn of_two_writers_whose_answers_are_lost_only_one_is_told_that_it_wrote() {
    let proxy = Proxy::start(cluster()).await;
    let (objects, _) = objects(proxy.port, &quick());
    for round in 0..5 {
        proxy.fail("PUT", "race/", 4, Fault::LostAnswer);
        let path = Path::from(format!("race/{round}"));
        let writers = (0..4).map(|_| objects.put_opts(&path, "same octets".into(), create()));
        let outcomes = futures::future::join_all(writers).await;
        let won = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
        assert_eq!(won, 1, "{outcomes:?}");
    }
}

#[tokio::test]
async fn a_read_that_is_cut_or_slow_is_read_again_whole() {
    let proxy = Proxy::start(cluster()).await;
    let time = TimeSettings { answer_max: Duration::from_millis(1_500), ..TimeSettings::default() };
    let (objects, heard) = objects(proxy.port, &RemoteSettings { time, ..quick() });
    let path = Path::from("get/a");
    let octets = large().slice(..1 << 20);
    objects.put(&path, octets.clone().into()).await.unwrap();
    for fault in [Fault::TornAnswer, Fault::Busy, Fault::Slow(Duration::from_secs(20))] {
        proxy.fail("GET", "get/", 1, fault);
        assert_eq!(read(&*objects, &path).await, octets, "{fault:?}");
        proxy.fail("GET", "get/", 1, fault);
        let range = objects.get_range(&path, 1_000..700_000).await.unwrap();
        assert_eq!(range, octets[1_000..700_000], "{fault:?}");
        assert_eq!(heard.retries(), [Operation::Get, Operation::Get], "{fault:?}");
    }
}

#[tokio::test]
async fn an_upload_in_parts_survives_faults_at_every_step_and_never_replaces() {
    let proxy = Proxy::start(cluster()).await;
    let (objects, heard) = objects(proxy.port, &quick());
    let octets = large();
    for (number, (method, part, fault)) in [
        ("POST", "uploads", Fault::LostAnswer),
        ("PUT", "partNumber=1", Fault::TornUpload),
        ("PUT", "partNumber=2", Fault::LostAnswer),
        ("POST", "uploadId=", Fault::Busy),
        ("POST", "uploadId=", Fault::LostAnswer),
    ]
    .into_iter()
    .enumerate()
    {
        let path = Path::from(format!("large/{number}"));
        proxy.fail(method, part, 1, fault);
        objects.put_opts(&path, octets.clone().into(), create()).await.unwrap();
        assert_eq!(heard.retries().len(), 1, "{method} {part} {fault:?}");
        assert_eq!(read(&*objects, &path).await, octets, "{method} {part} {fault:?}");
        let again = objects.put_opts(&path, octets.clone().into(), create()).await;
        assert!(matches!(again, Err(Error::AlreadyExists { .. })), "{fault:?}: {again:?}");
    }
}

#[tokio::test]
async fn uploads_that_nobody_completed_are_found_and_aborted_when_they_are_old() {
    let store = S3Objects::open(&settings(cluster()), Duration::from_secs(5)).unwrap();
    let folder = unique();
    store.put(&Path::from(format!("{folder}/there")), "x".into()).await.unwrap();
    for number in 0..3 {
        let path = Path::from(format!("{folder}/packs/{number}"));
        let id = store.create_multipart(&path).await.unwrap();
        store.put_part(&path, &id, 0, large().into()).await.unwrap();
    }
    let other = Path::from(format!("{folder}-other/x"));
    store.create_multipart(&other).await.unwrap();
    let prefix = format!("{folder}/packs/");
    assert_eq!(store.leftovers(&prefix).await.unwrap().len(), 3);
    let now = SystemClock.now();
    let day = 24 * 3_600_000;
    assert_eq!(store.abort_leftovers(&prefix, now.plus_millis(-day)).await.unwrap(), 0);
    assert_eq!(store.abort_leftovers(&prefix, now.plus_millis(day)).await.unwrap(), 3);
    assert_eq!(store.leftovers(&prefix).await.unwrap(), []);
    assert_eq!(store.leftovers(&format!("{folder}-other/")).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_bucket_without_object_lock_is_not_trusted_with_retention() {
    let store = S3Objects::open(&settings(cluster()), Duration::from_secs(5)).unwrap();
    store.put(&Path::from(unique()), "x".into()).await.unwrap();
    let until = SystemClock.now().plus_millis(60_000);
    let refused = store.probe_retention(&Path::from(unique()), until).await;
    assert!(refused.is_err());
}
