//! A process that is killed while it writes loses nothing that it acknowledged, and leaves nothing
//! half done.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use trust::random::{RandomSource as _, SeededRandom};

use super::{
    ledger::{Ledger, Rows, State},
    store::{digest, open, tell},
    worker::{TASKS, work},
};

const FOLDER: &str = "CERALACCA_TEST_KILLED_FOLDER";
const KILLS: usize = 100;
/// Kills between two full checks.
const CHECK_EVERY: usize = 20;

/// Digest in hexadecimal → seed, of every message that was ever tried.
type Seeds = BTreeMap<String, u64>;

/// Starts the worker, takes its lines down, and kills it `after` it has told what it found.
fn work_until_killed(folder: &Path, after: Duration) -> Vec<String> {
    let mut worker = Command::new(std::env::current_exe().expect("this test"))
        .args(["killed::a_process_killed_a_hundred_times_loses_nothing", "--exact", "--nocapture"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .spawn()
        .expect("start the worker");
    let out = BufReader::new(worker.stdout.take().expect("piped"));
    let (found, told) = std::sync::mpsc::channel();
    let reading = std::thread::spawn(move || {
        let mut lines = Vec::new();
        for line in out.lines() {
            let line = line.expect("a line");
            if line == "FOUND" {
                // Only the first is waited for.
                let _ = found.send(());
            }
            lines.push(line);
        }
        lines
    });
    told.recv().expect("the worker ended before it was ready");
    std::thread::sleep(after);
    worker.kill().expect("SIGKILL");
    let status = worker.wait().expect("wait");
    assert!(!status.success(), "the worker ended by itself");
    reading.join().expect("the reader")
}

/// What the worker found when it started, task by task.
fn found_in(lines: &[String], seeds: &Seeds) -> Vec<State> {
    let mut found = vec![State::new(); usize::try_from(TASKS).expect("few")];
    for line in lines {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["HAS", task, name, given] => {
                let task: usize = task.parse().expect("a task");
                let given = given.parse().expect("a UID");
                found[task].insert(name.to_owned(), Rows { given, ..Rows::default() });
            }
            ["ROW", task, name, uid, deleted, digest] => {
                let task: usize = task.parse().expect("a task");
                let seed = *seeds.get(digest).expect("octets that were sent");
                let row = (seed, deleted == "true");
                let rows = found[task].get_mut(name).expect("HAS comes first");
                rows.rows.insert(uid.parse().expect("a UID"), row);
            }
            _ => {}
        }
    }
    found
}

fn note_all(lines: &[String], ledgers: &mut [Ledger], seeds: &mut Seeds) {
    for line in lines {
        let words: Vec<&str> = line.split(' ').collect();
        let Some(task) = words.first().and_then(|task| task.parse::<usize>().ok()) else {
            continue;
        };
        if let ["TRY", "APPEND", _, seed] = words[1..] {
            let seed: u64 = seed.parse().expect("a seed");
            seeds.insert(digest(seed).to_string(), seed);
        }
        if matches!(words.get(1), Some(&("TRY" | "ACK"))) {
            ledgers[task].note(&words[1..]);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_killed_a_hundred_times_loses_nothing() {
    if let Some(folder) = std::env::var_os(FOLDER) {
        return work(Path::new(&folder)).await;
    }
    let begun = Instant::now();
    let folder = tempfile::tempdir().expect("a folder");
    let random = SeededRandom::new(5);
    let mut ledgers = vec![Ledger::default(); usize::try_from(TASKS).expect("few")];
    let (mut seeds, mut undecided, mut checks) = (Seeds::new(), 0, 0);
    for kill in 1..=KILLS {
        let after = Duration::from_millis(random.next_u64() % 120);
        let lines = work_until_killed(folder.path(), after);
        for (ledger, found) in ledgers.iter_mut().zip(found_in(&lines, &seeds)) {
            let settled = ledger.settle(&found);
            assert_eq!(settled, Ok(()), "after kill {}", kill - 1);
        }
        note_all(&lines, &mut ledgers, &mut seeds);
        undecided += ledgers.iter().filter(|ledger| ledger.pending.is_some()).count();
        if kill.is_multiple_of(CHECK_EVERY) {
            let store = open(folder.path()).await;
            let report = store.check(&|_| {}).await.expect("check");
            assert_eq!(report.violations, [], "after kill {kill}");
            store.close().await.expect("close");
            checks += 1;
        }
    }
    let acknowledged: u64 = ledgers.iter().map(|ledger| ledger.acknowledged).sum();
    tell(&format!(
        "killed {KILLS} times in {} s: {acknowledged} operations acknowledged, {undecided} cut short, \
         {checks} full checks",
        begun.elapsed().as_secs()
    ));
    assert!(acknowledged > 400 && undecided > 100, "the kills came at dull moments");
}
