//! The socket with a real store behind it, and operations that the tests can hold.

use std::{
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
};
use tokio_util::sync::CancellationToken;
use trust::{clock::SystemClock, random::SystemRandom};

use super::{
    ControlSocket, Kind, Operation, OperationError, Operations, Progress, Run, Site, connect,
    operations::check::StoreCheck,
};
use crate::{config::Config, registry::Registry, texts::Text};

/// Counts to `steps`, one step each 10 ms; writes a file `ended` when it is cancelled.
#[derive(Debug, Deserialize, Serialize)]
struct Count {
    steps: u64,
}

#[async_trait::async_trait]
impl Operation for Count {
    const NAME: &'static str = "tests/count";
    type Outcome = u64;

    async fn run(&self, site: &Site, run: &Run) -> Result<u64, OperationError> {
        for step in 0..self.steps {
            if run.is_cancelled() {
                std::fs::write(site.config.data.folder.join("ended"), step.to_string()).unwrap();
            }
            run.go_on()?;
            run.tell(Progress::new(Text::fixed("passi", "steps"), step, Some(self.steps)));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(self.steps)
    }
}

/// Puts out `pieces` numbered pieces as fast as they are taken.
#[derive(Debug, Deserialize, Serialize)]
struct PutOut {
    pieces: u32,
}

#[async_trait::async_trait]
impl Operation for PutOut {
    const NAME: &'static str = "tests/put-out";
    type Outcome = u32;

    async fn run(&self, _site: &Site, run: &Run) -> Result<u32, OperationError> {
        for piece in 0..self.pieces {
            run.put_out(piece.to_be_bytes().to_vec().into()).await?;
        }
        Ok(self.pieces)
    }
}

struct Served {
    folder: TempDir,
    socket: ControlSocket,
    site: Site,
}

impl Served {
    fn path(&self) -> PathBuf {
        self.folder.path().join("control.socket")
    }

    async fn ask<O: Operation>(&self, operation: &O) -> Result<O::Outcome, OperationError> {
        let (run, _) = Run::new(CancellationToken::new());
        let connection = connect(&self.path()).await.unwrap().expect("a server");
        connection.ask(operation, &run).await
    }

    async fn close(self) -> TempDir {
        self.socket.close().await;
        self.site.registry.close().await;
        self.site.store.close().await.unwrap();
        self.folder
    }
}

pub(super) async fn site(folder: &Path) -> Site {
    let mut config = Config::default();
    config.data.folder = folder.to_owned();
    config.limits.control_requests_max = 1;
    config.limits.http_timeout = crate::config::units::Millis(300);
    let store = crate::serve::store::open(&config, Arc::new(SystemClock), Arc::new(SystemRandom));
    let store = store.await.unwrap();
    let (file, plans) = (config.data.registry_file(), config.plans.clone());
    let registry = Registry::open(&file, &config.registry, plans, Arc::new(SystemClock)).await;
    Site {
        registry: registry.unwrap(),
        runs: crate::snapshots::open(&store, config.snapshots.limits),
        store,
        config: Arc::new(config),
        engine: None,
        backup: None,
        directory: None,
    }
}

async fn serve() -> Served {
    let folder = tempfile::tempdir().unwrap();
    let site = site(folder.path()).await;
    let behind = Site {
        config: Arc::clone(&site.config),
        store: Arc::clone(&site.store),
        registry: Arc::clone(&site.registry),
        runs: Arc::clone(&site.runs),
        engine: None,
        backup: None,
        directory: None,
    };
    let operations = Operations::default().with::<Count>().with::<PutOut>().with::<StoreCheck>();
    let path = site.config.data.control_socket();
    // What a crash leaves behind.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let socket = ControlSocket::open(path, behind, operations, &site.config.limits);
    Served { folder, socket: socket.unwrap().expect("a short path"), site }
}

#[tokio::test]
async fn the_server_does_what_a_command_would_do_itself_and_says_how_far_it_is() {
    let served = serve().await;
    let there = served.ask(&StoreCheck {}).await.unwrap();
    let (run, _) = Run::new(CancellationToken::new());
    let here = StoreCheck {}.run(&served.site, &run).await.unwrap();
    let json = |outcome| serde_json::to_value(outcome).unwrap();
    assert_eq!(json(&there), json(&here));

    let (run, progress) = Run::new(CancellationToken::new());
    let connection = connect(&served.path()).await.unwrap().expect("a server");
    assert_eq!(connection.ask(&Count { steps: 60 }, &run).await.unwrap(), 60);
    let last = progress.borrow().clone();
    assert!(last.total == Some(60) && last.done > 0, "{last:?}");
    served.close().await;
}

#[tokio::test]
async fn what_an_operation_puts_out_arrives_whole_in_order_and_before_its_end() {
    let served = serve().await;
    for pieces in [0, 1, 3, 500] {
        let (run, mut octets) = Run::new(CancellationToken::new()).0.with_octets();
        let reading = tokio::spawn(async move {
            let mut all: Vec<u8> = Vec::new();
            while let Some(piece) = octets.recv().await {
                all.extend_from_slice(&piece);
            }
            all
        });
        let connection = connect(&served.path()).await.unwrap().expect("a server");
        assert_eq!(connection.ask(&PutOut { pieces }, &run).await.unwrap(), pieces);
        drop(run);
        let wanted: Vec<u8> = (0..pieces).flat_map(u32::to_be_bytes).collect();
        assert_eq!(reading.await.unwrap(), wanted);
    }
    let refused = served.ask(&PutOut { pieces: 500 }).await.unwrap_err();
    assert_eq!(refused.kind, Kind::Cancelled, "nobody reads");
    served.close().await;
}

#[tokio::test]
async fn the_socket_is_closed_to_others_replaces_a_dead_one_and_goes_at_the_stop() {
    let served = serve().await;
    let mode = served.path().metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let path = served.path();
    let _folder = served.close().await;
    assert!(!path.exists());
    assert!(connect(&path).await.unwrap().is_none(), "nobody listens");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(connect(&path).await.unwrap().is_none(), "a dead socket is no server");
}

#[tokio::test]
async fn a_client_that_goes_away_cancels_its_operation_between_two_steps() {
    let served = serve().await;
    let cancelled = CancellationToken::new();
    let (run, mut progress) = Run::new(cancelled.clone());
    let connection = connect(&served.path()).await.unwrap().expect("a server");
    let forever = Count { steps: u64::MAX };
    let asked = connection.ask(&forever, &run);
    let stopped = async {
        progress.wait_for(|progress| progress.done > 3).await.unwrap();
        cancelled.cancel();
    };
    let (asked, ()) = tokio::join!(asked, stopped);
    assert_eq!(asked.expect_err("it never ends").kind, Kind::Cancelled);
    let ended = served.folder.path().join("ended");
    let seen = async {
        while !ended.exists() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), seen).await.expect("the server noticed");
    served.close().await;
}

#[tokio::test]
async fn a_stop_of_the_server_cancels_what_runs_and_the_command_hears_it() {
    let served = serve().await;
    let (run, mut progress) = Run::new(CancellationToken::new());
    let connection = connect(&served.path()).await.unwrap().expect("a server");
    let asked = tokio::spawn(async move { connection.ask(&Count { steps: u64::MAX }, &run).await });
    progress.wait_for(|progress| progress.done > 3).await.unwrap();
    served.close().await;
    let error = asked.await.unwrap().expect_err("it never ends");
    assert_eq!(error.kind, Kind::Cancelled);
}

#[tokio::test]
async fn more_operations_than_there_are_places_are_told_to_come_later() {
    let served = serve().await;
    let (run, mut progress) = Run::new(CancellationToken::new());
    let connection = connect(&served.path()).await.unwrap().expect("a server");
    let first = tokio::spawn(async move { connection.ask(&Count { steps: 100 }, &run).await });
    progress.wait_for(|progress| progress.done > 3).await.unwrap();
    let error = served.ask(&Count { steps: 1 }).await.expect_err("there is one place");
    assert_eq!(error.kind, Kind::Temporary, "{error}");
    assert_eq!(first.await.unwrap().unwrap(), 100);
    assert_eq!(served.ask(&Count { steps: 1 }).await.unwrap(), 1, "the place is free again");
    served.close().await;
}

async fn raw(served: &Served, request: &str) -> String {
    let mut stream = UnixStream::connect(served.path()).await.unwrap();
    // The server may hang up before it has read everything.
    let _ = stream.write_all(request.as_bytes()).await;
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer).await;
    answer
}

#[tokio::test]
async fn what_no_command_sends_is_refused_and_takes_no_place() {
    let served = serve().await;
    let post = |name: &str, length: usize, body: &str| {
        format!("POST /{name} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{body}")
    };
    let rows = [
        (post("tests/other", 2, "{}"), "404", "\"kind\":\"invalid\""),
        (post("tests/count", 7, "{\"a\":1}"), "200", "\"kind\":\"invalid\""),
        // Hung up on in the middle, perhaps before the answer can be read.
        (post("tests/count", 100_000, &"x".repeat(100_000)), "", ""),
        (post("tests/count", 100, "{"), "408", "\"kind\":\"invalid\""),
        ("GET /tests/count HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), "405", ""),
        ("POST".to_owned(), "", ""),
    ];
    for (request, status, text) in rows {
        let answer = raw(&served, &request).await;
        let expected = format!("HTTP/1.1 {status}");
        assert!(status.is_empty() || answer.starts_with(&expected), "{request:.60}: {answer}");
        assert!(answer.contains(text), "{request:.60}: {answer}");
    }
    assert_eq!(served.ask(&Count { steps: 1 }).await.unwrap(), 1);
    served.close().await;
}

#[tokio::test]
async fn a_path_too_long_for_a_socket_leaves_the_server_without_one() {
    let folder = tempfile::tempdir().unwrap();
    let long = folder.path().join("a".repeat(100));
    std::fs::create_dir(&long).unwrap();
    let site = site(&long).await;
    let (config, path) = (Arc::clone(&site.config), site.config.data.control_socket());
    let opened = ControlSocket::open(path.clone(), site, Operations::default(), &config.limits);
    assert!(opened.unwrap().is_none());
    assert!(connect(&path).await.unwrap().is_none());
}

#[tokio::test]
async fn check_names_every_account_of_which_registry_and_catalog_say_different_things() {
    let served = serve().await;
    let Site { registry, store, .. } = &served.site;
    let check = async || served.ask(&StoreCheck {}).await.unwrap();
    registry.ensure_domains(&["gestore.example".parse().unwrap()]).await.unwrap();
    let address = "servizio@gestore.example".parse().unwrap();
    let account = registry.ensure_service_account(&address).await.unwrap();
    assert!(check().await.clean, "the change is on its way");
    crate::registry::outbox::apply_pending(registry, &**store).await.unwrap();
    let clean = check().await;
    assert!(clean.clean && clean.accounts == 1, "{clean:?}");
    assert_eq!(clean.not_checked.iter().map(|one| one.number).collect::<Vec<_>>(), [7]);

    let mut settings = store.accounts(None, 1).await.unwrap().remove(0).2;
    settings.plan = "base".to_owned();
    store.apply_account(account.id, 9, settings.clone()).await.unwrap();
    settings.address = "nessuno@gestore.example".to_owned();
    store.apply_account(storage::ids::AccountId(77), 1, settings).await.unwrap();
    let found = check().await;
    let of_nine: Vec<_> =
        found.first_violations.iter().filter(|violation| violation.invariant == 9).collect();
    assert_eq!((of_nine.len(), found.violations), (2, 2), "{found:?}");
    assert_eq!(
        of_nine[0].detail,
        "version 1 in the registry, 9 in the catalog; plan differs from the registry's"
    );
    assert_eq!((of_nine[1].object.as_str(), found.clean), ("account 77", false));
    served.close().await;
}
