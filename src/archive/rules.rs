//! Rules: which messages go into the archive, and where to.
//!
//! * A message goes when one rule picks it; the first that does says where.
//! * What is in the archive stays. What is marked `\Deleted` stays for its holder to remove. Drafts,
//!   junk and trash stay unless a rule names their mailbox, and so does what a restore from a snapshot
//!   brought below `Ripristino …`.
//! * Age counts from the later of INTERNALDATE and SAVEDATE: what its holder moved out of the archive,
//!   or had restored, is not archived again by the next run.
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

/// Mailboxes that rules pass over unless they name them, whatever their special use.
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
    /// Received so many days ago, by INTERNALDATE, and as long in its mailbox, by SAVEDATE.
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
            Some(above) => mailbox
                .strip_prefix(above)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(SEPARATOR)),
        })
    }

    fn concerns(&self, listed: &MailboxListing) -> bool {
        if !self.mailboxes.is_empty() {
            return self.names(&listed.name);
        }
        let special = matches!(
            listed.special_use,
            Some(SpecialUse::Drafts | SpecialUse::Junk | SpecialUse::Trash)
        );
        let first = listed.name.split(SEPARATOR).next().unwrap_or_default();
        !special && !LEFT_ALONE.contains(&first) && !is_restored(first)
    }

    fn picks(&self, candidate: Candidate<'_>, now: UnixMillis) -> bool {
        let age = i64::from(self.older_than_days) * DAY_MILLIS;
        let flags = candidate.flags;
        let since = candidate.internal_date.max(candidate.save_date);
        now.0.saturating_sub(since.0) >= age
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
        let key = keys::account(id);
        match store.engine().get(ARCHIVE_RULES, &key).await? {
            None => Ok(Self::of_plan(config, &settings.plan)),
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

    /// The rules for a mailbox at the instant `now`; `None` when none concerns it.
    #[must_use]
    pub fn of_mailbox(&self, listed: &MailboxListing, now: UnixMillis) -> Option<MailboxRules> {
        if Tier::of_name(&listed.name) == Tier::Archive {
            return None;
        }
        let rules: Vec<Rule> =
            self.list.iter().filter(|rule| rule.concerns(listed)).cloned().collect();
        (!rules.is_empty()).then(|| MailboxRules { mailbox: listed.name.clone(), rules, now })
    }
}

impl MailboxRules {
    /// The mailbox of the archive that a message goes to; `None` = it stays.
    #[must_use]
    pub fn target(&self, candidate: Candidate<'_>) -> Option<MailboxName> {
        let rule = self.rules.iter().find(|rule| rule.picks(candidate, self.now))?;
        let year = CertifiedInstant::new(candidate.internal_date).year();
        // A mailbox with many levels may leave no room for those of the archive.
        rule.expanded(year, &self.mailbox)
            .or_else(|| MailboxName::new(&format!("{ARCHIVE}/{year:04}")).ok())
    }
}

/// The rules in a row of [`ARCHIVE_RULES`].
pub(super) fn decode_own(key: &[u8], value: &[u8]) -> Result<Vec<Rule>, StoreError> {
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
mod tests {
    use storage::mailbox::flags::Flags;

    use super::*;
    use crate::golden::Golden;

    /// 2026-11-28T12:00:00Z.
    const NOW: UnixMillis = UnixMillis(1_795_867_200_000);

    fn rule(days: u32) -> Rule {
        serde_json::from_str(&format!("{{\"older_than_days\":{days}}}")).expect("a rule")
    }

    fn listed(name: &str, special_use: Option<SpecialUse>) -> MailboxListing {
        let name = name.to_owned();
        MailboxListing { name, mailbox_id: None, subscribed: true, special_use, state: None }
    }

    fn where_to(
        rules: &[Rule],
        mailbox: &str,
        days: i64,
        flags: &Flags,
        size: u64,
    ) -> Option<String> {
        let rules = Rules { list: rules.to_vec(), own: true };
        let rules = rules.of_mailbox(&listed(mailbox, None), NOW)?;
        let internal_date = NOW.plus_millis(-days * DAY_MILLIS);
        let save_date = internal_date;
        let candidate = Candidate { flags, internal_date, save_date, size };
        rules.target(candidate).map(|name| name.to_string())
    }

    #[test]
    fn a_message_goes_when_it_is_all_that_a_rule_asks_for() {
        let (plain, seen) = (Flags::default(), Flags { seen: true, ..Flags::default() });
        let flagged = Flags { flagged: true, ..seen.clone() };
        let deleted = Flags { deleted: true, ..seen.clone() };
        let read = Rule { only_read: true, larger_than_octets: 10, ..rule(300) };
        let there = Some("Archivio/2025/INBOX".to_owned());
        for (days, flags, size, expected) in [
            (400, &seen, 11, &there),
            (400, &seen, 10, &None),
            (400, &plain, 11, &None),
            (400, &flagged, 11, &None),
            (400, &deleted, 11, &None),
            (299, &seen, 11, &None),
        ] {
            let found = where_to(std::slice::from_ref(&read), "INBOX", days, flags, size);
            assert_eq!(&found, expected, "{days} {flags:?} {size}");
        }
        let all = Rule { except_flagged: false, ..rule(0) };
        assert_eq!(
            where_to(&[all], "INBOX", 0, &flagged, 1).as_deref(),
            Some("Archivio/2026/INBOX")
        );
    }

    #[test]
    fn drafts_junk_and_trash_stay_unless_they_are_named() {
        let rules = Rules { list: vec![rule(1)], own: false };
        let concerned =
            |name, special_use| rules.of_mailbox(&listed(name, special_use), NOW).is_some();
        assert!(concerned("INBOX", None) && concerned("Lavori/2020", None));
        assert!(concerned("Inviati", Some(SpecialUse::Sent)));
        assert!(concerned("Ripristino caldaia", None), "no restore made it");
        for (name, special_use) in [
            ("Cestino", None),
            ("Cestino/Vecchio", None),
            ("Spazzatura", Some(SpecialUse::Junk)),
            ("Minute", Some(SpecialUse::Drafts)),
            ("Archivio", None),
            ("Archivio/2020", None),
            ("Ripristino 2026-11-21T06:00:17Z", None),
            ("Ripristino 2026-11-21T06:00:17Z 2/INBOX", None),
        ] {
            assert!(!concerned(name, special_use), "{name}");
        }
        let named = Rule { mailboxes: vec!["Cestino".into(), "Lavori/*".into()], ..rule(1) };
        let rules = Rules { list: vec![named], own: true };
        let concerned = |name: &str| rules.of_mailbox(&listed(name, None), NOW).is_some();
        assert!(concerned("Cestino") && concerned("Lavori") && concerned("Lavori/2020"));
        assert!(!concerned("Cestino/Vecchio") && !concerned("Lavori2") && !concerned("INBOX"));
    }

    #[test]
    fn the_first_rule_that_picks_a_message_says_where_it_goes() {
        let seen = Flags { seen: true, ..Flags::default() };
        let large = Rule { larger_than_octets: 9, target: "Archivio/Grandi".into(), ..rule(1) };
        let rules = [large, rule(2)];
        let to = |size| where_to(&rules, "Lavori/A", 3, &seen, size);
        assert_eq!(to(10).as_deref(), Some("Archivio/Grandi"));
        assert_eq!(to(9).as_deref(), Some("Archivio/2026/Lavori/A"));
        let deep = ["x"; 20].join("/");
        let short = where_to(&rules, &deep, 3, &seen, 1);
        assert_eq!(short.as_deref(), Some("Archivio/2026"), "20 levels and two more are too many");
    }

    #[test]
    fn the_age_counts_from_the_day_a_message_came_to_its_mailbox_when_that_is_later() {
        let rules = Rules { list: vec![rule(365)], own: false };
        let rules = rules.of_mailbox(&listed("INBOX", None), NOW).expect("rules");
        let ago = |days: i64| NOW.plus_millis(-days * DAY_MILLIS);
        let picked = |received, saved| {
            let (internal_date, save_date) = (ago(received), ago(saved));
            let flags = &Flags::default();
            rules.target(Candidate { flags, internal_date, save_date, size: 1 })
        };
        assert_eq!(picked(900, 0), None, "it came back from the archive today");
        assert_eq!(picked(900, 364), None);
        let back = picked(900, 365).expect("it has been back for a year");
        assert_eq!(back.as_str(), "Archivio/2024/INBOX", "the year is the one it was received in");
        assert_eq!(picked(364, 900), None, "a clock that ran behind archives nothing early");
    }

    /// 31 December 2025, 23:30 UTC is 2026 in Rome.
    #[test]
    fn the_year_is_that_of_legal_time() {
        let rules = Rules { list: vec![rule(0)], own: true };
        let rules = rules.of_mailbox(&listed("INBOX", None), NOW).expect("rules");
        let internal_date = UnixMillis(1_767_223_800_000);
        let save_date = internal_date;
        let candidate = Candidate { flags: &Flags::default(), internal_date, save_date, size: 1 };
        let target = rules.target(candidate).expect("a target");
        assert_eq!(target.as_str(), "Archivio/2026/INBOX");
    }

    #[test]
    fn rules_that_cannot_work_are_refused() {
        let named = |name: &str| Rule { mailboxes: vec![name.to_owned()], ..rule(1) };
        let to = |target: &str| Rule { target: target.to_owned(), ..rule(1) };
        for wrong in [
            rule(DAYS_MAX + 1),
            named("Archivio/2020"),
            named("a//b"),
            named("*"),
            named("inbox"),
            to("Vecchi/{year}"),
            to("Archivio//{year}"),
            Rule { mailboxes: vec!["a".into(); MAILBOXES_MAX + 1], ..rule(1) },
        ] {
            assert!(wrong.check().is_err(), "{wrong:?}");
        }
        for right in [rule(DAYS_MAX), named("Lavori/*"), to("Archivio"), to("Archivio/{mailbox}")] {
            assert_eq!(right.check(), Ok(()), "{right:?}");
        }
    }

    #[test]
    fn records_of_rules_stay_as_they_are() {
        let rule = Rule {
            mailboxes: vec!["INBOX".into(), "Lavori/*".into()],
            larger_than_octets: 5,
            only_read: true,
            except_flagged: false,
            ..rule(7)
        };
        let key = keys::account(AccountId(7));
        let golden = Golden::of("archive_rules").key(&key).fields("rules::RulesRecord", 1);
        golden.holds(
            &rule,
            |rule| encode(&RulesRecord { rules: vec![rule.record()] }),
            |octets| {
                let mut record: RulesRecord =
                    decode(ARCHIVE_RULES, &key, octets).expect("a record");
                Rule::of_record(record.rules.remove(0))
            },
        );
    }

    #[test]
    fn a_rule_is_kept_as_it_is() {
        let rule = Rule {
            mailboxes: vec!["INBOX".into()],
            larger_than_octets: 5,
            only_read: true,
            except_flagged: false,
            ..rule(7)
        };
        assert_eq!(Rule::of_record(rule.record()), rule);
    }
}
