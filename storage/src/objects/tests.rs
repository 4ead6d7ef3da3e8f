//! The wrappers and the probe over stores that fail or pretend; the S3 client over real sockets
//! stands in `storage/tests/s3`.

mod faulty;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use object_store::{
    Error, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions,
    client::{HttpError, HttpErrorKind},
    memory::InMemory,
    multipart::MultipartStore,
    path::Path,
};
use trust::random::SeededRandom;

use self::faulty::{Fault, Faulty};
use super::{
    RemoteSettings, guarded,
    local::local_objects,
    metrics::{Operation, Outcome, RequestObserver},
    parts::{InParts, PartSettings},
    probe::{PREFIX, ProbeError, probe},
    retry::{RetrySettings, Retrying},
    timeout::TimeSettings,
};

/// Counts what it hears.
#[derive(Debug, Default)]
struct Heard {
    requests: Mutex<Vec<(Operation, Outcome, u64)>>,
    retries: Mutex<Vec<Operation>>,
}

impl Heard {
    fn retries(&self) -> usize {
        self.retries.lock().unwrap().len()
    }
}

impl RequestObserver for Heard {
    fn request(&self, operation: Operation, outcome: Outcome, octets: u64, _: Duration) {
        self.requests.lock().unwrap().push((operation, outcome, octets));
    }

    fn retry(&self, operation: Operation) {
        self.retries.lock().unwrap().push(operation);
    }
}

fn quick() -> RetrySettings {
    let pause = Duration::from_millis(2);
    RetrySettings { tries_max: 4, pause_first: pause, pause_max: pause, ..RetrySettings::default() }
}

fn retrying(store: Faulty) -> (Retrying<Faulty>, Arc<Heard>) {
    let heard = Arc::new(Heard::default());
    let random = Arc::new(SeededRandom::new(5));
    (Retrying::new(store, quick(), random, heard.clone()), heard)
}

fn create() -> PutOptions {
    PutOptions { mode: PutMode::Create, ..PutOptions::default() }
}

async fn octets(store: &dyn ObjectStore, path: &Path) -> Bytes {
    store.get(path).await.unwrap().bytes().await.unwrap()
}

#[tokio::test]
async fn a_request_that_fails_for_a_moment_is_tried_again_within_the_bound() {
    let path = Path::from("a");
    let (store, heard) = retrying(Faulty::failing_times("put", 3, Fault::Before));
    store.put_opts(&path, "x".into(), create()).await.unwrap();
    assert_eq!(heard.retries(), 3);
    assert_eq!(octets(&store, &path).await, "x");
    let (store, heard) = retrying(Faulty::failing_times("put", 4, Fault::Before));
    assert!(store.put_opts(&path, "x".into(), create()).await.is_err());
    assert_eq!(heard.retries(), 3, "four tries in all");
}

#[tokio::test]
async fn what_cannot_succeed_later_is_not_tried_again() {
    let (store, heard) = retrying(Faulty::failing_times("get", 1, Fault::Permanent));
    assert!(store.get(&Path::from("a")).await.is_err());
    let missing = store.get(&Path::from("a")).await;
    assert!(matches!(missing, Err(Error::NotFound { .. })));
    assert_eq!(heard.retries(), 0);
}

#[tokio::test]
async fn a_write_whose_answer_was_lost_is_known_as_our_own() {
    let path = Path::from("a");
    let (store, heard) = retrying(Faulty::failing_times("put", 1, Fault::After));
    store.put_opts(&path, "x".into(), create()).await.unwrap();
    assert_eq!(heard.retries(), 1);
    assert_eq!(octets(&store, &path).await, "x");
}

#[tokio::test]
async fn a_write_of_another_with_the_same_octets_is_not_taken_for_ours() {
    let path = Path::from("a");
    let memory = Arc::new(InMemory::new());
    memory.put(&path, "x".into()).await.unwrap();
    let faulty = Faulty::over(memory, "put", 1, Fault::Before);
    let (store, heard) = retrying(faulty);
    let result = store.put_opts(&path, "x".into(), create()).await;
    assert!(matches!(result, Err(Error::AlreadyExists { .. })), "{result:?}");
    assert_eq!(heard.retries(), 1);
}

#[tokio::test]
async fn an_upload_in_parts_survives_failing_parts_and_leaves_nothing_when_it_fails() {
    let path = Path::from("a");
    let settings = PartSettings { object_octets_min: 6 << 20, ..PartSettings::default() };
    let large = Bytes::from(vec![7; (17 << 20) + 3]);
    for (operation, times, fault) in
        [("part", 2, Fault::Before), ("begin", 1, Fault::Before), ("complete", 1, Fault::Before)]
    {
        let (store, heard) = retrying(Faulty::failing_times(operation, times, fault));
        let store = InParts::new(store, settings);
        store.put_opts(&path, large.clone().into(), create()).await.unwrap();
        assert_eq!(octets(&store, &path).await, large, "{operation}");
        assert_eq!(heard.retries(), times, "{operation}");
    }
    let faulty = Faulty::failing_times("part", 1, Fault::Permanent);
    let aborted = faulty.aborted();
    let (store, _) = retrying(faulty);
    let store = InParts::new(store, settings);
    assert!(store.put_opts(&path, large.clone().into(), create()).await.is_err());
    assert!(matches!(store.head(&path).await, Err(Error::NotFound { .. })));
    assert_eq!(aborted.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_completed_upload_whose_answer_was_lost_is_known_as_our_own() {
    let path = Path::from("a");
    let faulty = Faulty::failing_times("complete", 1, Fault::After).keeping_marks();
    let (store, heard) = retrying(faulty);
    let id = store.create_multipart(&path).await.unwrap();
    let part = store.put_part(&path, &id, 0, "x".into()).await.unwrap();
    store.complete_multipart(&path, &id, vec![part]).await.unwrap();
    assert_eq!(heard.retries(), 1);
    assert_eq!(octets(&store, &path).await, "x");
}

#[tokio::test]
async fn a_listing_goes_on_behind_the_last_name_after_an_error() {
    let memory = Arc::new(InMemory::new());
    for number in 0..9 {
        memory.put(&Path::from(format!("p/{number}")), "x".into()).await.unwrap();
    }
    let (store, heard) = retrying(Faulty::over(memory, "list", 2, Fault::After));
    let listed: Vec<_> =
        futures::TryStreamExt::try_collect(store.list(Some(&Path::from("p")))).await.unwrap();
    let names: Vec<String> =
        listed.iter().map(|meta: &object_store::ObjectMeta| meta.location.to_string()).collect();
    assert_eq!(names, (0..9).map(|number| format!("p/{number}")).collect::<Vec<_>>());
    assert_eq!(heard.retries(), 2);
}

#[tokio::test]
async fn a_server_that_stands_still_is_given_up_and_asked_again() {
    let heard = Arc::new(Heard::default());
    let settings = RemoteSettings {
        retry: quick(),
        time: TimeSettings { answer_max: Duration::from_millis(50), ..TimeSettings::default() },
        ..RemoteSettings::default()
    };
    let faulty = Faulty::failing_times("get", 1, Fault::Never);
    let random = Arc::new(SeededRandom::new(1));
    let store = guarded(faulty, &settings, random, heard.clone());
    let path = Path::from("a");
    store.put(&path, "octets".into()).await.unwrap();
    assert_eq!(octets(&*store, &path).await, "octets");
    let requests = heard.requests.lock().unwrap().clone();
    let expected = [
        (Operation::Put, Outcome::Done, 6),
        (Operation::Get, Outcome::Temporary, 0),
        (Operation::Get, Outcome::Done, 6),
    ];
    assert_eq!(requests, expected);
    assert_eq!(*heard.retries.lock().unwrap(), [Operation::Get]);
}

#[tokio::test]
async fn requests_at_once_are_bounded() {
    let faulty = Faulty::slow();
    let most = faulty.most_at_once();
    let settings = RemoteSettings { requests_max: 3, ..RemoteSettings::default() };
    let random = Arc::new(SeededRandom::new(1));
    let store = guarded(faulty, &settings, random, Arc::new(Heard::default()));
    let puts = (0..20).map(|number| {
        let store = Arc::clone(&store);
        async move { store.put(&Path::from(format!("{number}")), "x".into()).await }
    });
    assert!(futures::future::join_all(puts).await.iter().all(Result::is_ok));
    assert_eq!(*most.lock().unwrap(), 3);
}

#[test]
fn errors_of_the_connection_are_temporary_and_others_are_not() {
    let error = |kind| Error::Generic {
        store: "S3",
        source: Box::new(HttpError::new(kind, std::io::Error::other("x"))),
    };
    for kind in [HttpErrorKind::Connect, HttpErrorKind::Timeout, HttpErrorKind::Interrupted] {
        assert!(super::retry::is_temporary(&error(kind)));
    }
    assert!(!super::retry::is_temporary(&error(HttpErrorKind::Decode)));
    let plain = Error::Generic { store: "S3", source: "no such bucket".into() };
    assert!(!super::retry::is_temporary(&plain));
}

#[tokio::test]
async fn a_store_that_creates_once_passes_the_probe_and_keeps_nothing_of_it() {
    let folder = tempfile::tempdir().unwrap();
    for (objects, in_parts) in [
        (local_objects(folder.path()).unwrap(), false),
        (Arc::new(InMemory::new()) as Arc<dyn ObjectStore>, false),
        (guarded_memory(), false),
    ] {
        probe(&*objects, &SeededRandom::new(3), in_parts).await.unwrap();
        let mut left = objects.list(Some(&Path::from(PREFIX)));
        assert!(futures::TryStreamExt::try_next(&mut left).await.unwrap().is_none());
    }
}

fn guarded_memory() -> Arc<dyn ObjectStore> {
    let random = Arc::new(SeededRandom::new(1));
    let store = Faulty::over(Arc::new(InMemory::new()), "none", 0, Fault::Before);
    guarded(store, &RemoteSettings::default(), random, Arc::new(Heard::default()))
}

#[tokio::test]
async fn a_store_that_replaces_what_it_should_create_is_refused() {
    let refused = probe(&Faulty::replacing(), &SeededRandom::new(3), false).await;
    assert!(matches!(refused, Err(ProbeError::Replaces)), "{refused:?}");
    let refused = probe(&Faulty::looking_first(), &SeededRandom::new(3), false).await;
    let Err(ProbeError::RaceWon { winners }) = refused else { panic!("{refused:?}") };
    assert!(winners > 1);
    // Uploads in parts of this store are completed without a condition.
    let refused = probe(&*guarded_memory(), &SeededRandom::new(3), true).await;
    assert!(matches!(refused, Err(ProbeError::Replaces)), "{refused:?}");
}

#[tokio::test]
async fn a_store_that_does_not_answer_is_not_called_a_pretender() {
    let faulty = Faulty::failing_times("put", usize::MAX, Fault::Permanent);
    let error = probe(&faulty, &SeededRandom::new(3), false).await.unwrap_err();
    assert!(!error.is_pretence() && error.to_string().contains("create"), "{error}");
}
