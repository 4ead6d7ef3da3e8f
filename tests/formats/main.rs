//! Data folders of every version of the formats, opened by the present program.
//!
//! `vN.tar.zst` is a data folder that the program of its time made (`make`), `vN.txt` what was read from it
//! then: how many records each family of the catalog had, and every message of every mailbox, live and in
//! snapshots, with its flags and its SHA-256. Nobody makes them again: what a later program does not read
//! as it was read then is a format that was broken. A version without its text is written once, and the
//! test that found it missing fails.
//!
//! `records` and `engine` are the same for single records: see `golden`.

mod engine;
mod golden;
mod records;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use ceralacca::config::Config;
use snapshots::keep::{SnapshotLimits, Snapshots};
use storage::{
    catalog::{engine::Scan, pages::Pages},
    error::StoreError,
    mailbox::{
        flags::Keyword,
        view::{MailboxView, MessageRow},
    },
    store::Store,
};
use tempfile::TempDir;
use trust::{
    clock::SystemClock,
    digest::{Sha256Digest, Sha256Hasher},
    random::SystemRandom,
};

/// Families that no running provider leaves records in, or none that is this small; their records have
/// golden octets alone.
const EMPTY: [&str; 8] = [
    // An archive that is full has 7 GB, a mailbox that is nearly full 0.8; and the notice follows at once.
    "archive_notices",
    "quota_warnings",
    // While a checkpoint is taken, or where the back-up lies in the bucket of the packs.
    "backup_checkpoints",
    // While the collector is at work.
    "collector_state",
    // Of damage, which `every_version_is_sound` would find.
    "damaged_chunks",
    "repair_log",
    // While a mailbox of many thousand messages is deleted.
    "mailbox_deletions",
    // What a domain publishes in DNS, and by HTTPS on port 443.
    "receiving_policies",
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/formats")
}

/// The versions there are, by the names of their files.
fn versions() -> Vec<String> {
    let mut versions: Vec<String> = fs::read_dir(folder())
        .expect("the folder of this test")
        .filter_map(|entry| {
            entry.ok()?.file_name().to_str()?.strip_suffix(".tar.zst").map(str::to_owned)
        })
        .collect();
    versions.sort_by_key(|version| (version.len(), version.clone()));
    assert!(!versions.is_empty(), "there is one version at least");
    versions
}

/// A version in a folder of its own.
fn unpacked(version: &str) -> TempDir {
    let there = tempfile::tempdir().expect("a folder");
    let file =
        fs::File::open(folder().join(format!("{version}.tar.zst"))).expect("the data folder");
    let plain = zstd::Decoder::new(file).expect("zstd");
    tar::Archive::new(plain).unpack(there.path()).expect("unpacked");
    there
}

/// Opens the store of a version in a folder of its own, and works on it.
fn with_store<T>(version: &str, work: impl AsyncFnOnce(Arc<Store>) -> T) -> T {
    let there = unpacked(version);
    let mut config = Config::default();
    config.data.folder = there.path().join("data");
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads");
    runtime.block_on(async {
        let (clock, random) = (Arc::new(SystemClock), Arc::new(SystemRandom));
        let store = ceralacca::serve::store::open(&config, clock, random).await.expect("it opens");
        let result = work(Arc::clone(&store)).await;
        store.close().await.expect("it closes");
        result
    })
}

/// How many records each family has.
async fn records(store: &Store) -> BTreeMap<&'static str, u64> {
    let mut counts = BTreeMap::new();
    for family in Store::families(&ceralacca::serve::store::families()) {
        let mut pages = Pages::new(Scan::prefix(family, &[], 1_000));
        let count: &mut u64 = counts.entry(family.0).or_default();
        while let Some(page) = pages.next(&**store.engine()).await.expect("read") {
            *count += page.len() as u64;
        }
    }
    counts
}

/// Every message of every mailbox, one line each.
async fn messages(store: &Arc<Store>) -> String {
    let mut text = String::new();
    let random = Arc::new(SystemRandom);
    let snapshots = Snapshots::new(Arc::clone(store), random, SnapshotLimits::default());
    for (id, _, settings) in store.accounts(None, 100).await.expect("accounts") {
        let account = store.account(id).await.expect("an account");
        for listed in account.mailboxes().await.expect("mailboxes") {
            let Some(mailbox) = listed.mailbox_id else { continue };
            let mailbox = account.mailbox(mailbox).await.expect("a mailbox");
            let place = format!("{} {}", settings.address, listed.name);
            text.push_str(&read(&*mailbox, &place).await);
        }
        for snapshot in snapshots.list(id).await.expect("snapshots") {
            let open = snapshots.open(id, snapshot.number).await.expect("it opens");
            for (mailbox, entry) in &open.state().mailboxes {
                let view = open.mailbox(*mailbox).expect("a mailbox");
                let place = format!("{} {}/{}", settings.address, snapshot.name(), entry.name);
                text.push_str(&read(&*view, &place).await);
            }
        }
    }
    text
}

async fn read(mailbox: &dyn MailboxView, place: &str) -> String {
    let validity = mailbox.state().await.expect("a state").uid_validity.0;
    let mut text = format!("{place} {validity}\n");
    for row in mailbox.rows().await.expect("rows").1 {
        let octets = match digest(mailbox, &row).await {
            Some(digest) => {
                assert_eq!(digest, row.digest, "{place} {}", row.uid);
                digest.to_string()
            }
            None => "erased".to_owned(),
        };
        let MessageRow { uid, flags, internal_date, size, charged_octets, .. } = row;
        let keywords: Vec<&str> = flags.keywords.iter().map(Keyword::as_str).collect();
        let marks = [flags.seen, flags.answered, flags.flagged, flags.deleted, flags.draft];
        let marks: String = marks.iter().map(|set| if *set { '1' } else { '0' }).collect();
        let date = internal_date.0;
        writeln!(text, "  {uid} {marks} {keywords:?} {date} {size} {charged_octets} {octets}")
            .expect("a text");
    }
    text
}

/// SHA-256 of a message's octets; `None` when they were erased.
async fn digest(mailbox: &dyn MailboxView, row: &MessageRow) -> Option<Sha256Digest> {
    let (mut hasher, mut read) = (Sha256Hasher::default(), 0);
    while read < row.size {
        match mailbox.read(row.email_number, read..row.size).await {
            Ok(octets) => {
                hasher.update(&octets);
                read += octets.len() as u64;
            }
            Err(StoreError::Erased { .. }) => return None,
            Err(error) => panic!("{error}"),
        }
    }
    Some(hasher.finish())
}

#[test]
fn what_every_version_wrote_is_read_as_it_was() {
    for version in versions() {
        let found = with_store(&version, async |store| {
            let mut text = String::new();
            for (family, count) in records(&store).await {
                writeln!(text, "{family} {count}").expect("a text");
            }
            text.push_str(&messages(&store).await);
            text
        });
        let file = folder().join(format!("{version}.txt"));
        let Ok(then) = fs::read_to_string(&file) else {
            fs::write(&file, &found).expect("written");
            panic!("{} was missing: look at it, and run the test again", file.display());
        };
        assert_eq!(found, then, "{version}");
    }
}

#[test]
fn every_version_is_sound() {
    for version in versions() {
        with_store(&version, async |store| {
            let report = store.check(&|_| {}).await.expect("a check");
            assert_eq!(report.violations, [], "{version}");
            assert!(report.seen.messages > 0, "{version}");
            let report = snapshots::check::run(&store, &|_| {}).await.expect("a check");
            assert_eq!(report.violations, [], "{version}");
            assert!(report.seen.snapshots > 0, "{version}");
        });
    }
}

/// What a command prints when it has done its work.
fn done(command: &mut Command) -> String {
    let output = command.output().expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

/// `ceralacca` on an unpacked version; the authority that it was signed under is trusted.
fn ceralacca(there: &Path, arguments: &[&str]) -> String {
    let authority = authority(there);
    let authority = authority.display();
    let text = format!(
        "[data]\nfolder = \"data\"\n[provider]\nname = \"Alfa PEC\"\nmail_domain = \"alfa.example\"\n\
         host_name = \"mail.alfa.example\"\npec_domains = [\"pec.alfa.example\"]\n\
         [trust]\nauthority_files = [\"{authority}/authority.pem\"]\n\
         revocation_files = [\"{authority}/authority.crl\"]\n"
    );
    fs::write(there.join("ceralacca.toml"), text).expect("written");
    let mut command = Command::new(env!("CARGO_BIN_EXE_ceralacca"));
    done(command.args(arguments).current_dir(there).env("LANG", "en"))
}

/// The authority that signatures of a version lead to: one beside the data, else the one in it.
fn authority(there: &Path) -> PathBuf {
    let beside = there.join("authority");
    if beside.exists() { beside } else { there.join("data/authority") }
}

/// `docs/verify_proof.py` on a proof file; the authorities of signature and of time stamp are trusted.
fn verified(there: &Path, proof: &Path) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/verify_proof.py");
    let own = fs::read(there.join("data/authority/authority.pem")).unwrap_or_default();
    let beside = fs::read(there.join("authority/authority.pem")).unwrap_or_default();
    let authorities = there.join("authorities.pem");
    fs::write(&authorities, [own, beside].concat()).expect("written");
    let mut command = Command::new("python3");
    let command = command.arg(script).arg(proof).arg("--ca").arg(authorities);
    let shown = done(command.arg("--require-stamp"));
    assert!(shown.contains("anna.verdi@pec.alfa.example"), "{shown}");
}

#[test]
fn proofs_of_every_version_verify_without_the_program() {
    for version in versions() {
        let there = unpacked(&version);
        let old = there.path().join("proof.tar");
        if old.exists() {
            verified(there.path(), &old);
        }
        let anna = "anna.verdi@pec.alfa.example";
        let listed = ceralacca(there.path(), &["snapshot", "list", anna, "--json"]);
        let listed: serde_json::Value = serde_json::from_str(&listed).expect("JSON");
        let first = listed[0]["name"].as_str().expect("a name");
        let arguments =
            ["snapshot", "prove", anna, first, "INBOX", "--uid", "9", "--out", "new.tar"];
        ceralacca(there.path(), &arguments);
        verified(there.path(), &there.path().join("new.tar"));
    }
}

#[test]
fn the_journal_of_every_version_verifies() {
    for version in versions() {
        let there = unpacked(&version);
        let shown = ceralacca(there.path(), &["journal", "verify", "--files", "--json"]);
        let shown: serde_json::Value = serde_json::from_str(&shown).expect("JSON");
        assert_eq!(shown["whole"], true, "{version}: {shown}");
        assert!(version == "v1" || shown["pieces"].as_u64() > Some(0), "{version}: {shown}");
    }
}

#[test]
fn the_latest_version_has_cold_packs() {
    let there = unpacked(&versions().pop().expect("a version"));
    let folders = fs::read_dir(there.path().join("data/objects/packs/cold")).expect("a folder");
    let packs = folders.flat_map(|folder| fs::read_dir(folder.expect("a folder").path()));
    assert!(packs.flatten().count() > 0);
}

#[test]
fn the_latest_version_has_a_record_of_every_family() {
    let latest = versions().pop().expect("a version");
    let counts = with_store(&latest, async |store| records(&store).await);
    let none: BTreeSet<&str> =
        counts.into_iter().filter(|(_, count)| *count == 0).map(|(family, _)| family).collect();
    assert_eq!(none, BTreeSet::from(EMPTY));
}
