//! Two handles on one file, as the server and a command have: SQLite sees no difference between
//! handles of one process and of two.

use std::{os::unix::fs::PermissionsExt as _, sync::Arc};

use ceralacca::registry::{account::AccountFilter, outbox::apply_pending, plan::Plans};

use crate::fixture::{Fixture, RecordingSink, at, reopen};

#[tokio::test(flavor = "multi_thread")]
async fn writers_of_two_processes_take_turns_and_lose_nothing() {
    let fixture = Fixture::new().await;
    let other = reopen(&fixture.file(), Plans::default()).await;
    let mut writers = tokio::task::JoinSet::new();
    for (name, registry) in [("a", Arc::clone(&fixture.registry)), ("b", other)] {
        for number in 0..40 {
            let mut new = fixture.new_account("x@pec.example");
            new.address = at(&format!("{name}{number}@pec.example"));
            let registry = Arc::clone(&registry);
            writers.spawn(async move {
                let address = registry.add_account(new).await.unwrap().address;
                registry.add_increments(&address, 1).await.unwrap();
            });
        }
    }
    writers.join_all().await;
    let accounts = fixture.registry.accounts(&AccountFilter::default()).await.unwrap();
    assert_eq!(accounts.len(), 80);
    assert!(accounts.iter().all(|account| (account.version, account.increments) == (2, 1)));
    assert_eq!(fixture.registry.pending_changes().await.unwrap(), 160);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_may_open_a_new_file_at_the_same_time() {
    let folder = tempfile::tempdir().unwrap();
    let mut openers = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let file = folder.path().join("deep/registry.sqlite");
        openers.spawn(async move { reopen(&file, Plans::default()).await.domains().await });
    }
    for domains in openers.join_all().await {
        assert_eq!(domains.unwrap(), []);
    }
}

#[tokio::test]
async fn a_change_by_one_process_is_applied_by_the_other() {
    let fixture = Fixture::new().await;
    let server = reopen(&fixture.file(), Plans::default()).await;
    let sink = RecordingSink::default();
    assert_eq!(apply_pending(&server, &sink).await.unwrap().applied, 0);
    fixture.add("anna@pec.example").await;
    assert_eq!(apply_pending(&server, &sink).await.unwrap().applied, 1);
}

#[tokio::test]
async fn nobody_else_may_read_the_file() {
    let fixture = Fixture::new().await;
    fixture.add("anna@pec.example").await;
    for entry in std::fs::read_dir(fixture.folder.path()).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{:?}", entry.file_name());
    }
}
