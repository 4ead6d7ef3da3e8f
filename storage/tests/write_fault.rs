//! A write that the system refuses ends all commits until the store is opened again, and loses
//! nothing that was acknowledged.
//!
//! The test starts itself again as a process that may not make a file longer than some mebibytes
//! (`RLIMIT_FSIZE`, with the signal ignored, so that writes fail with EFBIG in the middle of the
//! log). That process commits until one fails, and prints what was acknowledged and what was
//! answered afterwards; the parent opens the catalog without the limit.

use std::{
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
};

use storage::catalog::{
    engine::{Batch, Engine as _, Family, Reader as _},
    rocksdb::{RocksConfig, RocksEngine},
};

const FOLDER: &str = "CERALACCA_TEST_WRITE_FAULT_FOLDER";
const ROWS: Family = Family("rows");
/// Octets of a value: some hundred of them reach the limit.
const VALUE_OCTETS: usize = 16 << 10;
/// Writers at a time, so that groups have several batches.
const WRITERS: u32 = 4;
const ROUNDS_MAX: u32 = 2_000;

async fn open(folder: &Path) -> Arc<RocksEngine> {
    RocksEngine::open(folder, &[ROWS], &RocksConfig::default()).await.expect("open")
}

fn batch(key: u32) -> Batch {
    let mut batch = Batch::default();
    batch.put(
        ROWS,
        key.to_be_bytes().to_vec(),
        vec![u8::try_from(key % 251).unwrap(); VALUE_OCTETS],
    );
    batch
}

/// Prints a line past the capture of the test's output.
fn tell(line: &str) {
    writeln!(std::io::stdout(), "{line}").expect("a pipe to the parent");
}

/// Prints `=ack KEY`, then `=failed`, then the cause of each later refusal.
async fn commit_until_refused(folder: &Path) {
    let engine = open(folder).await;
    for round in 0..ROUNDS_MAX {
        let keys = (0..WRITERS).map(|writer| round * WRITERS + writer);
        let commits = keys.map(|key| {
            let engine = Arc::clone(&engine);
            tokio::spawn(async move { (key, engine.commit(batch(key)).await.is_ok()) })
        });
        let mut failed = false;
        for commit in commits.collect::<Vec<_>>() {
            let (key, committed) = commit.await.expect("a task");
            if committed {
                tell(&format!("=ack {key}"));
            }
            failed |= !committed;
        }
        if failed {
            tell("=failed");
            break;
        }
    }
    for key in 0..5 {
        // A small one, which the system would take.
        let mut small = Batch::default();
        small.put(ROWS, vec![0xff, key], "late");
        match engine.commit(small).await {
            Ok(_) => tell("=accepted"),
            Err(error) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                tell(&format!("=refused {}", cause.unwrap_or_default()));
            }
        }
    }
    // What was acknowledged can still be read.
    assert!(engine.get(ROWS, &0_u32.to_be_bytes()).await.expect("read").is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_write_that_failed_every_commit_is_refused_and_nothing_acknowledged_is_lost() {
    if let Some(folder) = std::env::var_os(FOLDER) {
        return commit_until_refused(Path::new(&folder)).await;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let name = "after_a_write_that_failed_every_commit_is_refused_and_nothing_acknowledged_is_lost";
    let program = std::env::current_exe().expect("this program");
    // 512-octet blocks: 4 MiB.
    let script = "trap '' XFSZ; ulimit -f 8192; exec \"$0\" --exact --nocapture \"$1\"";
    let output = Command::new("sh")
        .args(["-c", script])
        .arg(program)
        .arg(name)
        .env(FOLDER, folder.path())
        .stderr(Stdio::inherit())
        .output()
        .expect("a child");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}");
    let lines = |word: &str| {
        let of_word = text.lines().filter_map(|line| line.split_once(word));
        of_word.map(|(_, rest)| rest.trim().to_owned()).collect::<Vec<_>>()
    };
    let acknowledged = lines("=ack ");
    assert!(acknowledged.len() > 100, "{} commits before the limit", acknowledged.len());
    assert_eq!(lines("=failed").len(), 1, "the limit was met: {text}");
    assert!(!text.contains("=accepted"), "a commit behind the failed one was taken");
    let refused = lines("=refused ");
    assert_eq!(refused.len(), 5);
    assert!(refused.iter().all(|cause| cause.contains("an earlier write failed")), "{refused:?}");
    let engine = open(folder.path()).await;
    for key in acknowledged {
        let key: u32 = key.parse().expect("a number");
        let found = engine.get(ROWS, &key.to_be_bytes()).await.expect("read").expect("a value");
        assert!(found.len() == VALUE_OCTETS && found.iter().all(|&o| u32::from(o) == key % 251));
    }
    assert!(engine.get(ROWS, &[0xff, 0]).await.expect("read").is_none());
    engine.commit(batch(u32::MAX)).await.expect("commits are taken again");
    engine.close().await.expect("close");
}
