//! 32 tasks append, copy, flag and expunge in the same mailboxes; what they were answered adds up to
//! exactly what is there.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use storage::{
    account::Account,
    error::StoreError,
    ids::{AccountId, MailboxId, ModSeq, Uid},
    mailbox::{
        flags::{FlagChange, Flags},
        view::{MailboxView as _, MessageRow},
    },
    store::Store,
};
use trust::random::{RandomSource as _, SeededRandom};

use super::store::{account, append, digest, message, open, tell};

const TASKS: u64 = 32;
const OPERATIONS: u64 = 40;
const ACCOUNTS: u64 = 2;
const MAILBOXES: [&str; 2] = ["INBOX", "Lavori"];
/// Little enough that some appends and copies are refused.
const QUOTA: u64 = 1_500_000;

/// What the tasks of one account were answered.
#[derive(Debug, Default)]
struct Answers {
    /// Mailbox and UID → seed: every row that ever was.
    given: BTreeMap<(MailboxId, Uid), u64>,
    /// Rows that are gone.
    removed: BTreeSet<(MailboxId, Uid)>,
    /// The latest answer about a row's flags.
    flags: BTreeMap<(MailboxId, Uid), (ModSeq, Flags)>,
    /// MODSEQs of appends: one each.
    mod_seqs: BTreeSet<ModSeq>,
    refused: u64,
    operations: u64,
    faults: Vec<String>,
}

impl Answers {
    fn give(&mut self, mailbox: MailboxId, uid: Uid, seed: u64) {
        if self.given.insert((mailbox, uid), seed).is_some() {
            self.faults.push(format!("UID {uid} of {mailbox} was given twice"));
        }
    }

    fn remove(&mut self, mailbox: MailboxId, uid: Uid) {
        if !self.removed.insert((mailbox, uid)) {
            self.faults.push(format!("UID {uid} of {mailbox} was removed twice"));
        }
    }

    fn note_flags(&mut self, mailbox: MailboxId, rows: Vec<MessageRow>) {
        for row in rows {
            let entry =
                self.flags.entry((mailbox, row.uid)).or_insert((ModSeq(0), Flags::default()));
            if row.mod_seq == entry.0 && row.flags != entry.1 {
                self.faults.push(format!("UID {} has two flags at one MODSEQ", row.uid));
            }
            if row.mod_seq > entry.0 {
                *entry = (row.mod_seq, row.flags);
            }
        }
    }
}

struct Task {
    store: Arc<Store>,
    account: Account,
    random: SeededRandom,
    answers: Arc<Mutex<Answers>>,
}

impl Task {
    fn below(&self, end: u64) -> u64 {
        self.random.next_u64() % end.max(1)
    }

    async fn work(self, mailboxes: [MailboxId; 2]) {
        for _ in 0..OPERATIONS {
            let mailbox = mailboxes[usize::from(self.below(3) == 0)];
            let other = mailboxes[usize::from(self.below(2) == 0)];
            let outcome = self.one(mailbox, other).await;
            let mut answers = self.answers.lock().expect("no panic");
            answers.operations += 1;
            match outcome {
                Ok(()) => {}
                Err(StoreError::OverQuota { used, limit, .. }) => {
                    answers.refused += 1;
                    if used > limit {
                        answers.faults.push(format!("{used} of {limit} are used"));
                    }
                }
                Err(error) => answers.faults.push(format!("{error:?}")),
            }
        }
    }

    async fn one(&self, mailbox: MailboxId, other: MailboxId) -> Result<(), StoreError> {
        match self.below(8) {
            0..=2 => self.append(mailbox).await,
            3..=4 => self.flag(mailbox).await,
            5 => self.expunge(mailbox).await,
            6 => self.copy(mailbox, other, false).await,
            _ => self.copy(mailbox, other, true).await,
        }
    }

    /// Some UIDs that were given out in a mailbox, gone or not.
    fn some(&self, mailbox: MailboxId) -> Vec<Uid> {
        let answers = self.answers.lock().expect("no panic");
        let all: Vec<Uid> =
            answers.given.keys().filter(|(of, _)| *of == mailbox).map(|(_, uid)| *uid).collect();
        let start = usize::try_from(self.below(all.len() as u64)).expect("small");
        all.into_iter().skip(start).take(3).collect()
    }

    async fn append(&self, mailbox: MailboxId) -> Result<(), StoreError> {
        let seed = self.below(1 << 40);
        let appended = append(&self.store, &self.account, mailbox, seed).await?;
        let mut answers = self.answers.lock().expect("no panic");
        answers.give(mailbox, appended.uid, seed);
        if !answers.mod_seqs.insert(appended.mod_seq) {
            answers.faults.push(format!("MODSEQ {:?} was given twice", appended.mod_seq));
        }
        Ok(())
    }

    async fn flag(&self, mailbox: MailboxId) -> Result<(), StoreError> {
        let flags = match self.below(3) {
            0 => Flags { seen: true, ..Flags::default() },
            1 => Flags { flagged: true, ..Flags::default() },
            _ => Flags { deleted: true, ..Flags::default() },
        };
        let change = [FlagChange::Add, FlagChange::Remove, FlagChange::Replace];
        let change = change[usize::try_from(self.below(3)).expect("small")];
        let opened = self.account.mailbox(mailbox).await?;
        let (rows, _) = opened.store_flags(&self.some(mailbox), change, &flags, None).await?;
        self.answers.lock().expect("no panic").note_flags(mailbox, rows);
        Ok(())
    }

    async fn expunge(&self, mailbox: MailboxId) -> Result<(), StoreError> {
        let gone = self.account.mailbox(mailbox).await?.expunge(&self.some(mailbox)).await?;
        let mut answers = self.answers.lock().expect("no panic");
        for uid in gone {
            answers.remove(mailbox, uid);
        }
        Ok(())
    }

    async fn copy(&self, from: MailboxId, to: MailboxId, remove: bool) -> Result<(), StoreError> {
        let opened = self.account.mailbox(from).await?;
        let uids = self.some(from);
        let copied =
            if remove { opened.move_to(&uids, to).await? } else { opened.copy(&uids, to).await? };
        let mut answers = self.answers.lock().expect("no panic");
        for (old, new) in copied.uids {
            let seed = answers.given[&(from, old)];
            answers.give(to, new, seed);
            if remove {
                answers.remove(from, old);
            }
        }
        Ok(())
    }
}

/// Compares what is in one mailbox with the answers; returns octets and rows.
async fn compare(account: &Account, mailbox: MailboxId, answers: &Answers) -> (u64, u64) {
    let opened = account.mailbox(mailbox).await.expect("open");
    let state = opened.state().await.expect("state");
    let (up_to, rows) = opened.rows().await.expect("rows");
    let given: BTreeMap<Uid, u64> = answers
        .given
        .iter()
        .filter(|((of, _), _)| *of == mailbox)
        .map(|((_, uid), seed)| (*uid, *seed))
        .collect();
    let last = given.keys().next_back().map_or(0, |uid| uid.get());
    assert_eq!(given.len(), last as usize, "UIDs are given without gaps");
    assert_eq!(state.uid_next.map(Uid::get), Some(last + 1));
    let expected: BTreeSet<Uid> =
        given.keys().copied().filter(|uid| !answers.removed.contains(&(mailbox, *uid))).collect();
    let found: BTreeSet<Uid> = rows.iter().map(|row| row.uid).collect();
    assert_eq!(found, expected);
    let mut octets = 0;
    for row in &rows {
        assert_eq!(row.digest, digest(given[&row.uid]), "UID {}", row.uid);
        assert_eq!(row.size, message(given[&row.uid]).len() as u64);
        assert!(row.mod_seq <= up_to);
        if let Some((mod_seq, flags)) = answers.flags.get(&(mailbox, row.uid)) {
            assert_eq!((&row.mod_seq, &row.flags), (mod_seq, flags), "UID {}", row.uid);
        }
        octets += row.size;
    }
    let changes = opened.changes_since(ModSeq(0)).await.expect("changes");
    assert_eq!(changes.changed, rows, "the index by MODSEQ has every row");
    let gone: BTreeSet<Uid> = changes.expunged.into_iter().collect();
    let removed: BTreeSet<Uid> =
        answers.removed.iter().filter(|(of, _)| *of == mailbox).map(|(_, uid)| *uid).collect();
    assert_eq!(gone, removed, "the log has every row that is gone");
    (octets, rows.len() as u64)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn thirty_two_tasks_on_shared_accounts_get_exact_uids_mod_seqs_and_usage() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(folder.path()).await;
    let mut accounts = Vec::new();
    for id in 1..=ACCOUNTS {
        let account = account(&store, AccountId(id), Some(QUOTA)).await;
        account.create_mailbox(MAILBOXES[1], None).await.expect("create");
        let mut ids = Vec::new();
        for name in MAILBOXES {
            ids.push(account.mailbox_by_name(name).await.expect("open").id());
        }
        accounts.push((account, [ids[0], ids[1]], Arc::new(Mutex::new(Answers::default()))));
    }
    let mut tasks = Vec::new();
    for number in 0..TASKS {
        let (account, mailboxes, answers) =
            &accounts[usize::try_from(number % ACCOUNTS).expect("small")];
        let task = Task {
            store: Arc::clone(&store),
            account: account.clone(),
            random: SeededRandom::new(number),
            answers: Arc::clone(answers),
        };
        tasks.push(tokio::spawn(task.work(*mailboxes)));
    }
    for task in tasks {
        task.await.expect("a task");
    }
    for (account, mailboxes, answers) in &accounts {
        let answers = std::mem::take(&mut *answers.lock().expect("no panic"));
        assert_eq!(answers.faults, Vec::<String>::new());
        let mut used = (0, 0);
        for mailbox in mailboxes {
            let (octets, rows) = compare(account, *mailbox, &answers).await;
            used = (used.0 + octets, used.1 + rows);
        }
        let quota = account.quota().await.expect("quota");
        assert_eq!((quota.used_octets, quota.used_messages), used);
        assert!(quota.used_octets <= QUOTA);
        tell(&format!(
            "account {}: {} operations, {} rows given, {} removed, {} refused for space",
            account.id(),
            answers.operations,
            answers.given.len(),
            answers.removed.len(),
            answers.refused
        ));
    }
    let report = store.check(&|_| {}).await.expect("check");
    assert_eq!(report.violations, []);
    store.close().await.expect("close");
}
