//! `archive/…`: rules of an account, a run over it, and how far the archive is.

use serde::{Deserialize, Serialize};
use storage::{
    account::tier::ARCHIVE,
    catalog::{engine::Scan, pages::Pages},
    error::StoreError,
};
use trust::clock::{Clock as _, SystemClock};

use super::acts::{account, noted};
use crate::{
    archive::{
        ARCHIVE_RULES, ARCHIVE_RUNS, back,
        rules::{Rule, Rules, decode_own},
        run::{self, Ended, RunRecord, RunReport},
        schedule,
    },
    control::{Kind, Operation, OperationError, Progress, Run, Site},
    pec::{journal::JournalEvent, records::decode},
    texts::Text,
};

/// Entries read at a time.
const PAGE: usize = 1_000;

/// Asks for the rules of an account, after changing them when it says so.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct ArchiveRules {
    /// The account's address.
    pub account: String,
    /// What to change.
    #[serde(default)]
    pub change: RulesChange,
}

/// A change of rules.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RulesChange {
    /// None.
    #[default]
    Keep,
    /// These are the account's own from now on.
    Set(Vec<Rule>),
    /// This one comes behind those that it has.
    Add(Rule),
    /// It has those of its plan again.
    Reset,
}

/// The rules of an account.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct RulesOutcome {
    /// The account's address.
    pub account: String,
    /// Its plan.
    pub plan: String,
    /// Whether the rules are its own.
    pub own: bool,
    /// In the order in which they are asked.
    pub rules: Vec<Rule>,
}

#[async_trait::async_trait]
impl Operation for ArchiveRules {
    const NAME: &'static str = "archive/rules";

    type Outcome = RulesOutcome;

    async fn run(&self, site: &Site, _: &Run) -> Result<RulesOutcome, OperationError> {
        let (id, settings) = account(site, &self.account).await?;
        let (store, config) = (&site.store, &site.config);
        let wanted = match &self.change {
            RulesChange::Keep => None,
            RulesChange::Set(rules) => Some(Some(rules.clone())),
            // The others replace what is there, also what cannot be read.
            RulesChange::Add(rule) => {
                let mut rules = Rules::kept(store, config, id, &settings.plan).await?.list;
                rules.push(rule.clone());
                Some(Some(rules))
            }
            RulesChange::Reset => Some(None),
        };
        if let Some(rules) = wanted {
            let detail = match &rules {
                None => "those of the plan".to_owned(),
                Some(rules) => serde_json::to_string(rules).unwrap_or_default(),
            };
            let also = noted(JournalEvent::ArchiveRules, &settings.address, &detail);
            let kept = Rules::keep(store, id, rules.as_deref(), also).await?;
            kept.map_err(|error| OperationError::new(Kind::Invalid, error.text()))?;
        }
        let rules = Rules::of_account(store, config, id, &settings).await?;
        let (account, plan) = (settings.address, settings.plan);
        Ok(RulesOutcome { account, plan, own: rules.own, rules: rules.list })
    }
}

/// Asks for a run over an account, or what it would do.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct ArchiveRun {
    /// The account's address.
    pub account: String,
    /// Only say what would be done.
    #[serde(default)]
    pub dry_run: bool,
}

/// What a run did, or would do.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct RunOutcome {
    /// The account's address.
    pub account: String,
    /// Nothing was done.
    pub dry_run: bool,
    /// What was moved, by the mailbox outside the archive that it came from, or went back to.
    pub mailboxes: Vec<MovedMessages>,
    /// Messages in all.
    pub messages: u64,
    /// What they are charged, in octets.
    pub octets: u64,
    /// `archive octets`, `archive messages` or `mailboxes`, when there was no room for more; `octets` or
    /// `messages` of live mail.
    pub full: Option<String>,
    /// Mailboxes that could not be read: what is left in them stays.
    #[serde(default)]
    pub unreadable: Vec<String>,
    /// Another run is at the same account, and goes on.
    pub overtaken: bool,
}

/// Messages of one mailbox.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct MovedMessages {
    /// The mailbox.
    pub mailbox: String,
    /// How many.
    pub messages: u64,
    /// What they are charged, in octets.
    pub octets: u64,
}

#[async_trait::async_trait]
impl Operation for ArchiveRun {
    const NAME: &'static str = "archive/run";

    type Outcome = RunOutcome;

    async fn run(&self, site: &Site, run: &Run) -> Result<RunOutcome, OperationError> {
        let (id, settings) = account(site, &self.account).await?;
        let (store, config, now) = (&site.store, &site.config, SystemClock.now());
        let report = if self.dry_run {
            run.reading(run::foresee(store, config, id, now)).await??
        } else {
            let report = run::run(store, config, id, now, run.token()).await?;
            schedule::note(&report);
            if report.ended == Ended::Stopped {
                return Err(OperationError::cancelled());
            }
            report
        };
        Ok(outcome(settings.address, self.dry_run, &report))
    }
}

/// Asks that messages of the archive go back to where they came from, or what that would do.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct ArchiveRestore {
    /// The account's address.
    pub account: String,
    /// Those of this mailbox of the archive, with those below it; `None` = all.
    #[serde(default)]
    pub mailbox: Option<String>,
    /// Only say what would be done.
    #[serde(default)]
    pub dry_run: bool,
}

#[async_trait::async_trait]
impl Operation for ArchiveRestore {
    const NAME: &'static str = "archive/restore";

    type Outcome = RunOutcome;

    async fn run(&self, site: &Site, run: &Run) -> Result<RunOutcome, OperationError> {
        let (id, settings) = account(site, &self.account).await?;
        let (store, only) = (&site.store, self.mailbox.as_deref());
        // Asked first: what is refused is no act.
        let foreseen = run.reading(back::foresee(store, id, only)).await?.map_err(not_archived)?;
        let report = if self.dry_run {
            foreseen
        } else {
            // What is asked for: how much comes of it, the work itself finds out. Of each message that is
            // there, the dry run says that it goes back or that there is no room.
            if foreseen.total().0 > 0 || foreseen.full.is_some() {
                let detail = format!("what {} holds", only.unwrap_or(ARCHIVE));
                let act = noted(JournalEvent::ArchiveRestored, &settings.address, &detail);
                store.commit(act).await?;
            }
            let report = back::run(store, &site.config, id, only, run.token()).await?;
            if report.ended == Ended::Stopped {
                return Err(OperationError::cancelled());
            }
            report
        };
        Ok(outcome(settings.address, self.dry_run, &report))
    }
}

/// What a person reads who names a mailbox from which nothing can go back.
fn not_archived(error: StoreError) -> OperationError {
    let (kind, name) = match error {
        StoreError::InvalidMailboxName { name, .. } => (Kind::Invalid, name),
        StoreError::NoSuchMailboxName(name) => (Kind::NotFound, name),
        error => return error.into(),
    };
    OperationError::new(
        kind,
        Text::filled(
            format!("\"{name}\" non è una cartella dell'archivio: indicarne una sotto {ARCHIVE}"),
            format!("\"{name}\" is no mailbox of the archive: name one below {ARCHIVE}"),
        ),
    )
}

fn outcome(account: String, dry_run: bool, report: &RunReport) -> RunOutcome {
    let (messages, octets) = report.total();
    let moved = report.mailboxes.iter().map(|(mailbox, (messages, octets))| MovedMessages {
        mailbox: mailbox.clone(),
        messages: *messages,
        octets: *octets,
    });
    RunOutcome {
        account,
        dry_run,
        mailboxes: moved.collect(),
        messages,
        octets,
        full: report.full.map(|full| full.resource.to_owned()),
        unreadable: report.unreadable.clone(),
        overtaken: report.ended == Ended::Overtaken,
    }
}

/// Asks how far the archive is.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct ArchiveStatus {}

/// How far the archive is.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct StatusOutcome {
    /// Whether runs begin by themselves.
    pub enabled: bool,
    /// Accounts that have rules of their own.
    pub own_rules: u64,
    /// Accounts that were run over.
    pub accounts: u64,
    /// Runs that are under way, or were cut off.
    pub under_way: u64,
    /// Accounts whose last run found no room.
    pub full: u64,
    /// Accounts whose next run is due.
    pub due: u64,
    /// Messages that the last run of each account moved.
    pub messages: u64,
    /// What they are charged, in octets.
    pub octets: u64,
    /// Runs and rules of accounts that cannot be read.
    #[serde(default)]
    pub unreadable: u64,
    /// When the run ended that ended first of all last runs, in ms since 1970.
    pub oldest_millis: Option<i64>,
    /// When the latest ended.
    pub latest_millis: Option<i64>,
}

#[async_trait::async_trait]
impl Operation for ArchiveStatus {
    const NAME: &'static str = "archive/status";

    type Outcome = StatusOutcome;

    async fn run(&self, site: &Site, run: &Run) -> Result<StatusOutcome, OperationError> {
        let settings = &site.config.archive;
        let mut status = StatusOutcome { enabled: settings.enabled, ..StatusOutcome::default() };
        let interval = i64::try_from(settings.interval.0).unwrap_or(i64::MAX);
        let (now, engine) = (SystemClock.now(), &**site.store.engine());
        let mut pages = Pages::new(Scan::prefix(ARCHIVE_RUNS, &[], PAGE));
        while let Some(page) = pages.next(engine).await? {
            for (key, value) in &page {
                match decode::<RunRecord>(ARCHIVE_RUNS, key, value) {
                    Ok(record) => status.note(&record, record.due_at(interval) <= now.0),
                    Err(_) => status.unreadable += 1,
                }
            }
            let what = Text::fixed("caselle lette", "accounts read");
            run.tell(Progress::new(what, status.accounts, None));
            run.go_on()?;
        }
        let mut pages = Pages::new(Scan::prefix(ARCHIVE_RULES, &[], PAGE));
        while let Some(page) = pages.next(engine).await? {
            let unreadable = page.iter().filter(|(key, value)| decode_own(key, value).is_err());
            status.unreadable += unreadable.count() as u64;
            status.own_rules += page.len() as u64;
            run.go_on()?;
        }
        Ok(status)
    }
}

impl StatusOutcome {
    fn note(&mut self, record: &RunRecord, due: bool) {
        self.accounts += 1;
        self.messages += record.messages;
        self.octets = self.octets.saturating_add(record.octets);
        self.full += u64::from(!record.full.is_empty());
        self.due += u64::from(due);
        if record.finished_at == 0 {
            self.under_way += 1;
            return;
        }
        let ended = record.finished_at;
        self.oldest_millis = Some(self.oldest_millis.map_or(ended, |oldest| oldest.min(ended)));
        self.latest_millis = Some(self.latest_millis.map_or(ended, |latest| latest.max(ended)));
    }
}
