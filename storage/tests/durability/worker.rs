//! The process under load: tells what it finds, then works until it is killed.

use std::{path::Path, sync::Arc, time::Duration};

use storage::{
    account::Account,
    error::StoreError,
    ids::{AccountId, Uid},
    mailbox::{
        flags::{FlagChange, Flags},
        live::LiveMailbox,
        view::MailboxView as _,
    },
    store::Store,
};
use trust::{
    digest::{Sha256Digest, Sha256Hasher},
    random::{RandomSource as _, SystemRandom},
};

use super::{
    ledger::Operation,
    store::{account, append, open, tell},
};

const ACCOUNTS: u64 = 3;
pub(crate) const TASKS: u64 = 9;
/// Messages of one mailbox that more are not added to.
const ENOUGH: usize = 10;

pub(crate) fn owner(task: u64) -> AccountId {
    AccountId(1 + task % ACCOUNTS)
}

/// The mailboxes of a task: one that stays, one that comes and goes.
pub(crate) fn names(task: u64) -> [String; 2] {
    [format!("Casa{task}"), format!("Tenda{task}")]
}

fn below(end: u64) -> u64 {
    SystemRandom.next_u64() % end.max(1)
}

/// Works until the process is killed.
pub(crate) async fn work(folder: &Path) {
    let store = open(folder).await;
    let mut tasks = Vec::new();
    for task in 0..TASKS {
        let account = account(&store, owner(task), None).await;
        report(&account, task).await;
        tasks.push(Task { number: task, store: Arc::clone(&store), account });
    }
    tell("FOUND");
    let background = tokio::spawn(tend(store));
    let tasks = tasks.into_iter().map(|task| tokio::spawn(task.work()));
    for task in tasks.collect::<Vec<_>>() {
        task.await.expect("a task");
    }
    background.abort();
}

/// Packer and collector beside.
async fn tend(store: Arc<Store>) {
    loop {
        store.octets().pack_once().await.expect("pack");
        tokio::time::sleep(Duration::from_millis(below(12))).await;
    }
}

/// Tells every row of a task's mailboxes, with the digest of the octets that are read for it.
async fn report(account: &Account, task: u64) {
    for name in names(task) {
        let mailbox = match account.mailbox_by_name(&name).await {
            Err(StoreError::NoSuchMailboxName(_)) => continue,
            mailbox => mailbox.expect("open"),
        };
        let next = mailbox.state().await.expect("state").uid_next.expect("few").get();
        tell(&format!("HAS {task} {name} {}", next - 1));
        for row in mailbox.rows().await.expect("rows").1 {
            let digest = read_digest(&mailbox, row.email_number).await;
            let deleted = row.flags.deleted;
            tell(&format!("ROW {task} {name} {} {deleted} {digest}", row.uid));
        }
    }
}

/// SHA-256 of what is read.
pub(crate) async fn read_digest(
    mailbox: &LiveMailbox,
    email_number: storage::ids::EmailNumber,
) -> Sha256Digest {
    let mut hasher = Sha256Hasher::default();
    let mut from = 0;
    loop {
        let octets = mailbox.read(email_number, from..u64::MAX).await.expect("read");
        if octets.is_empty() {
            return hasher.finish();
        }
        from += octets.len() as u64;
        hasher.update(&octets);
    }
}

struct Task {
    number: u64,
    store: Arc<Store>,
    account: Account,
}

impl Task {
    async fn work(self) {
        let names = names(self.number);
        loop {
            let operation = self.choose(&names).await;
            tell(&format!("{} TRY {}", self.number, operation.line()));
            self.perform(&operation).await.expect("the operation");
            tell(&format!("{} ACK", self.number));
        }
    }

    async fn choose(&self, [home, tent]: &[String; 2]) -> Operation {
        for name in [home, tent] {
            if self.account.mailbox_by_name(name).await.is_err() {
                return Operation::Create { mailbox: name.clone() };
            }
        }
        let pick = || if below(2) == 0 { home.clone() } else { tent.clone() };
        let mailbox = pick();
        let opened = self.account.mailbox_by_name(&mailbox).await.expect("open");
        let rows = opened.rows().await.expect("rows").1;
        let some = |chance: u64| {
            rows.iter().map(|row| row.uid.get()).filter(|_| below(10) < chance).take(8).collect()
        };
        match below(12) {
            0..=4 if rows.len() < ENOUGH => Operation::Append { mailbox, seed: below(1 << 40) },
            5 if rows.len() < ENOUGH => {
                Operation::Copy { from: mailbox, to: pick(), uids: some(3), remove: below(2) == 0 }
            }
            6..=7 => Operation::Flag { mailbox, uids: some(5) },
            8 if below(4) == 0 => Operation::Delete { mailbox: tent.clone() },
            _ => Operation::Expunge { mailbox, uids: some(9) },
        }
    }

    async fn perform(&self, operation: &Operation) -> Result<(), StoreError> {
        let account = &self.account;
        match operation {
            Operation::Append { mailbox, seed } => {
                let mailbox = account.mailbox_by_name(mailbox).await?.id();
                append(&self.store, account, mailbox, *seed).await.map(drop)
            }
            Operation::Copy { from, to, uids, remove } => {
                let destination = account.mailbox_by_name(to).await?.id();
                let source = account.mailbox_by_name(from).await?;
                if *remove {
                    source.move_to(&uids_of(uids), destination).await.map(drop)
                } else {
                    source.copy(&uids_of(uids), destination).await.map(drop)
                }
            }
            Operation::Flag { mailbox, uids } => {
                let mailbox = account.mailbox_by_name(mailbox).await?;
                let flags = Flags { deleted: true, ..Flags::default() };
                mailbox.store_flags(&uids_of(uids), FlagChange::Add, &flags, None).await.map(drop)
            }
            Operation::Expunge { mailbox, uids } => {
                let mailbox = account.mailbox_by_name(mailbox).await?;
                mailbox.expunge(&uids_of(uids)).await.map(drop)
            }
            Operation::Create { mailbox } => account.create_mailbox(mailbox, None).await.map(drop),
            Operation::Delete { mailbox } => account.delete_mailbox(mailbox).await,
        }
    }
}

fn uids_of(uids: &[u32]) -> Vec<Uid> {
    uids.iter().filter_map(|uid| Uid::new(*uid)).collect()
}
