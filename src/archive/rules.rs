//! Rules: which messages go into the archive, and where to.
//!
//! * A message goes when one rule picks it; the first that does says where.
//! * What is in the archive stays. What is marked `\Deleted` stays for its holder to remove. Drafts,
//!   junk and trash stay, with all below them and whatever they are called, unless a rule names their
//!   mailbox, and so does what a restore from a snapshot brought below `Ripristino …`.
//! * Age counts from the latest of INTERNALDATE, SAVEDATE, and the rename that took the mailbox out of the
//!   archive: what its holder moved or renamed out of it, or had restored, is not archived again by the next
//!   run.
//! * An account without rules of its own has those of its plan; an empty list of its own means that
//!   nothing is archived by itself.
//!
//! Not here: when they are applied ([`super::run`], [`super::schedule`]).

use ::snapshots::keep::snapshot::parse_name;
use prost::Message;
use serde::{Deserialize, Serialize};
use storage::{
    account::{
        MailboxListing,
        name::{MailboxName, SEPARATOR},
        settings::{AccountSettings, AccountState},
        tier::{ARCHIVE, Tier},
        tree::SpecialUse,
    },
    catalog::{engine::Batch, keys},
    error::StoreError,
    ids::AccountId,
    mailbox::archive::Candidate,
    store::Store,
};
use trust::clock::UnixMillis;

use super::ARCHIVE_RULES;
use crate::{
    config::{ArchiveSettings, Config},
    pec::{
        instant::CertifiedInstant,
        records::{decode, encode},
    },
    registry::plan::Plan,
    texts::Text,
};

/// Rules that one account may have.
pub const RULES_MAX: usize = 50;

/// Mailboxes that one rule may name.
pub const MAILBOXES_MAX: usize = 100;

/// The longest age that a rule may ask for: a hundred years.
pub const DAYS_MAX: u32 = 36_500;

/// What stands for the year of INTERNALDATE, in legal time, in a rule's target.
pub const YEAR: &str = "{year}";

/// What stands for the mailbox that a message comes from.
pub const MAILBOX: &str = "{mailbox}";

/// Where messages go when a rule does not say it.
pub const TARGET: &str = "Archivio/{year}/{mailbox}";

/// After a name of a rule: the mailboxes below it, too.
const AND_BELOW: &str = "/*";

const DAY_MILLIS: i64 = 86_400_000;

/// Mailboxes that rules pass over unless they name them, whatever their special use, with those below.
const LEFT_ALONE: [&str; 3] = ["Bozze", "Posta indesiderata", "Cestino"];

/// What the name of a mailbox begins with below which a restore puts what it brings back; the name of
/// the snapshot follows.
const RESTORED: &str = "Ripristino ";

/// Octets of the name of a snapshot.
const SNAPSHOT_NAME_OCTETS: usize = 20;

/// One rule: a message that is all of this goes to `target`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Received so many days ago, by INTERNALDATE, as long in its mailbox, by SAVEDATE, and as long out of the
    /// archive.
    pub older_than_days: u32,
    /// In one of these mailboxes, `Name/*` with those below; in any when there are none.
    #[serde(default)]
    pub mailboxes: Vec<String>,
    /// Of more octets; 0 = of any size.
    #[serde(default)]
    pub larger_than_octets: u64,
    /// Read: with `\Seen`.
    #[serde(default)]
    pub only_read: bool,
    /// Without `\Flagged`.
    #[serde(default = "always")]
    pub except_flagged: bool,
    /// The mailbox it goes to, [`YEAR`] and [`MAILBOX`] filled in.
    #[serde(default = "target")]
    pub target: String,
}

fn always() -> bool {
    true
}

fn target() -> String {
    TARGET.to_owned()
}

/// Why rules are refused.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum RuleError {
    /// More than [`RULES_MAX`].
    #[error("an account has {RULES_MAX} archive rules at most")]
    TooMany,
    /// More than [`MAILBOXES_MAX`].
    #[error("a rule names {MAILBOXES_MAX} mailboxes at most")]
    TooManyMailboxes,
    /// More than [`DAYS_MAX`].
    #[error("the age of a rule is {DAYS_MAX} days at most")]
    TooOld,
    /// It cannot name a mailbox, or names one of the archive.
    #[error("{0:?} names no mailbox that can be archived")]
    Mailbox(String),
    /// It cannot name a mailbox of the archive.
    #[error("{0:?} is no target: it must be a mailbox below Archivio")]
    Target(String),
}

impl RuleError {
    /// What a person reads.
    #[must_use]
    pub fn text(&self) -> Text {
        let italian = match self {
            Self::TooMany => format!("una casella ha al più {RULES_MAX} regole di archiviazione"),
            Self::TooManyMailboxes => format!("una regola nomina al più {MAILBOXES_MAX} cartelle"),
            Self::TooOld => format!("l'età di una regola è al più {DAYS_MAX} giorni"),
            Self::Mailbox(name) => format!("{name:?} non è una cartella che si possa archiviare"),
            Self::Target(name) => {
                format!(
                    "{name:?} non va bene come destinazione: dev'essere una cartella sotto Archivio"
                )
            }
        };
        Text::filled(italian, self.to_string())
    }
}

/// The rules of one account.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Rules {
    /// In the order in which they are asked.
    pub list: Vec<Rule>,
    /// Whether they are the account's own, not its plan's.
    pub own: bool,
}

/// The rules of one account, as far as they concern one mailbox.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MailboxRules {
    mailbox: String,
    rules: Vec<Rule>,
    now: UnixMillis,
    live_since: Option<UnixMillis>,
}

impl Rule {
    /// Whether it can be kept.
    fn check(&self) -> Result<(), RuleError> {
        if self.older_than_days > DAYS_MAX {
            return Err(RuleError::TooOld);
        }
        if self.mailboxes.len() > MAILBOXES_MAX {
            return Err(RuleError::TooManyMailboxes);
        }
        for named in &self.mailboxes {
            let name = named.strip_suffix(AND_BELOW).unwrap_or(named);
            let valid = MailboxName::new(name).is_ok_and(|valid| valid.as_str() == name);
            let valid = valid && !name.contains('*');
            if !valid || Tier::of_name(name) == Tier::Archive {
                return Err(RuleError::Mailbox(named.clone()));
            }
        }
        match self.expanded(2026, "INBOX") {
            Some(_) => Ok(()),
            None => Err(RuleError::Target(self.target.clone())),
        }
    }

    fn names(&self, mailbox: &str) -> bool {
        self.mailboxes.iter().any(|named| match named.strip_suffix(AND_BELOW) {
            None => named == mailbox,
            Some(above) => is_of_tree(mailbox, above),
        })
    }

    fn concerns(&self, mailbox: &str, left_alone: &[&str]) -> bool {
        if !self.mailboxes.is_empty() {
            return self.names(mailbox);
        }
        let first = mailbox.split(SEPARATOR).next().unwrap_or_default();
        !left_alone.iter().chain(&LEFT_ALONE).any(|above| is_of_tree(mailbox, above))
            && !is_restored(first)
    }

    /// Whether it picks a message that has been where it is for so many milliseconds.
    fn picks(&self, candidate: Candidate<'_>, age: i64) -> bool {
        let flags = candidate.flags;
        age >= i64::from(self.older_than_days) * DAY_MILLIS
            && (self.larger_than_octets == 0 || candidate.size > self.larger_than_octets)
            && (!self.only_read || flags.seen)
            && !(self.except_flagged && flags.flagged)
            && !flags.deleted
    }

    fn expanded(&self, year: i16, mailbox: &str) -> Option<MailboxName> {
        let year = format!("{year:04}");
        let name = self.target.replace(YEAR, &year).replace(MAILBOX, mailbox);
        let name = MailboxName::new(&name).ok()?;
        (Tier::of_name(name.as_str()) == Tier::Archive).then_some(name)
    }

    fn record(&self) -> RuleRecord {
        RuleRecord {
            older_than_days: self.older_than_days,
            mailboxes: self.mailboxes.clone(),
            larger_than_octets: self.larger_than_octets,
            only_read: self.only_read,
            flagged_too: !self.except_flagged,
            target: self.target.clone(),
        }
    }

    fn of_record(record: RuleRecord) -> Self {
        Self {
            older_than_days: record.older_than_days,
            mailboxes: record.mailboxes,
            larger_than_octets: record.larger_than_octets,
            only_read: record.only_read,
            except_flagged: !record.flagged_too,
            target: record.target,
        }
    }
}

impl Rules {
    /// The rules of the plan called `plan`; none of a plan that archives nothing by itself.
    #[must_use]
    pub fn of_plan(config: &Config, plan: &str) -> Self {
        let Ok(plan) = plan.parse::<Plan>() else { return Self::default() };
        let older_than = config.plans.limits(plan).archive_older_than;
        let days = u32::try_from(older_than.0.div_ceil(DAY_MILLIS.unsigned_abs()));
        let days = days.unwrap_or(DAYS_MAX).min(DAYS_MAX);
        if plan == Plan::Service || days == 0 {
            return Self::default();
        }
        let ArchiveSettings { larger_than, only_read, except_flagged, .. } = config.archive;
        let rule = Rule {
            older_than_days: days,
            mailboxes: Vec::new(),
            larger_than_octets: larger_than.0,
            only_read,
            except_flagged,
            target: target(),
        };
        Self { list: vec![rule], own: false }
    }

    /// The rules of an account: its own, else those of its plan. A closed account and one of the
    /// provider itself have none.
    pub async fn of_account(
        store: &Store,
        config: &Config,
        id: AccountId,
        settings: &AccountSettings,
    ) -> Result<Self, StoreError> {
        if settings.service || settings.state == AccountState::Closed {
            return Ok(Self::default());
        }
        Self::kept(store, config, id, &settings.plan).await
    }

    /// The rules that an account has while it is open: its own, else those of the plan called `plan`.
    pub async fn kept(
        store: &Store,
        config: &Config,
        id: AccountId,
        plan: &str,
    ) -> Result<Self, StoreError> {
        let key = keys::account(id);
        match store.engine().get(ARCHIVE_RULES, &key).await? {
            None => Ok(Self::of_plan(config, plan)),
            Some(value) => Ok(Self { list: decode_own(&key, &value)?, own: true }),
        }
    }

    /// Gives an account rules of its own; `None` gives it those of its plan again. A run under way
    /// goes on by the new ones. `also` is applied in the same batch.
    ///
    /// # Errors
    ///
    /// The outer error is the store's; the inner one says what is wrong with the rules.
    pub async fn keep(
        store: &Store,
        id: AccountId,
        rules: Option<&[Rule]>,
        also: Batch,
    ) -> Result<Result<(), RuleError>, StoreError> {
        let mut batch = also;
        let key = keys::account(id);
        match rules {
            None => {
                batch.delete(ARCHIVE_RULES, key);
            }
            Some(rules) => {
                if rules.len() > RULES_MAX {
                    return Ok(Err(RuleError::TooMany));
                }
                if let Some(error) = rules.iter().find_map(|rule| rule.check().err()) {
                    return Ok(Err(error));
                }
                let record = RulesRecord { rules: rules.iter().map(Rule::record).collect() };
                batch.put(ARCHIVE_RULES, key, encode(&record));
            }
        }
        store.commit(batch).await?;
        Ok(Ok(()))
    }

    /// The rules for a mailbox at the instant `now`; `None` when none concerns it. What is in the trees of
    /// `left_alone` a rule has to name.
    #[must_use]
    pub fn of_mailbox(
        &self,
        listed: &MailboxListing,
        left_alone: &[&str],
        now: UnixMillis,
    ) -> Option<MailboxRules> {
        if Tier::of_name(&listed.name) == Tier::Archive {
            return None;
        }
        let concerns = |rule: &&Rule| rule.concerns(&listed.name, left_alone);
        let rules: Vec<Rule> = self.list.iter().filter(concerns).cloned().collect();
        let (mailbox, live_since) = (listed.name.clone(), listed.live_since);
        (!rules.is_empty()).then_some(MailboxRules { mailbox, rules, now, live_since })
    }
}

impl MailboxRules {
    /// The mailbox of the archive that a message goes to; `None` = it stays.
    #[must_use]
    pub fn target(&self, candidate: Candidate<'_>) -> Option<MailboxName> {
        let since = candidate.internal_date.max(candidate.save_date);
        let since = self.live_since.map_or(since, |live| live.max(since));
        let age = self.now.0.saturating_sub(since.0);
        let rule = self.rules.iter().find(|rule| rule.picks(candidate, age))?;
        let year = CertifiedInstant::new(candidate.internal_date).year();
        // A mailbox with many levels may leave no room for those of the archive.
        rule.expanded(year, &self.mailbox)
            .or_else(|| MailboxName::new(&format!("{ARCHIVE}/{year:04}")).ok())
    }
}

/// The drafts, junk and trash of an account, by their special use.
#[must_use]
pub fn left_alone(listing: &[MailboxListing]) -> Vec<&str> {
    let is_left_alone = |listed: &&MailboxListing| {
        matches!(
            listed.special_use,
            Some(SpecialUse::Drafts | SpecialUse::Junk | SpecialUse::Trash)
        )
    };
    listing.iter().filter(is_left_alone).map(|listed| &*listed.name).collect()
}

/// Whether `mailbox` is called `above`, or stands below it.
fn is_of_tree(mailbox: &str, above: &str) -> bool {
    let rest = mailbox.strip_prefix(above);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(SEPARATOR))
}

/// The rules in a row of [`ARCHIVE_RULES`].
pub(crate) fn decode_own(key: &[u8], value: &[u8]) -> Result<Vec<Rule>, StoreError> {
    let record: RulesRecord = decode(ARCHIVE_RULES, key, value)?;
    Ok(record.rules.into_iter().map(Rule::of_record).collect())
}

/// Whether a mailbox at the top is one that a restore made.
fn is_restored(name: &str) -> bool {
    let snapshot = name.strip_prefix(RESTORED).and_then(|rest| rest.get(..SNAPSHOT_NAME_OCTETS));
    snapshot.is_some_and(|snapshot| parse_name(snapshot).is_some())
}

/// Value in [`ARCHIVE_RULES`].
#[derive(Clone, PartialEq, Message)]
struct RulesRecord {
    #[prost(message, repeated, tag = "1")]
    rules: Vec<RuleRecord>,
}

/// One rule in it.
#[derive(Clone, PartialEq, Message)]
struct RuleRecord {
    #[prost(uint32, tag = "1")]
    older_than_days: u32,
    #[prost(string, repeated, tag = "2")]
    mailboxes: Vec<String>,
    #[prost(uint64, tag = "3")]
    larger_than_octets: u64,
    #[prost(bool, tag = "4")]
    only_read: bool,
    /// Messages with `\Flagged`, too.
    #[prost(bool, tag = "5")]
    flagged_too: bool,
    #[prost(string, tag = "6")]
    target: String,
}

#[cfg(test)]
mod tests;
