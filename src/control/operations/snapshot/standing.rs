//! The snapshot that an operation is about, and what a person is told when the floor
//! below refuses.
//!
//! An *instant* names a snapshot, in the same words for all operations: `latest`; the name of its folder;
//! a time with its zone, or a day of legal time, which mean the snapshot that stood at the end of that
//! second or day; the beginning of one name only. A day is always a day, also where names begin like it.
//!
//! A snapshot stands from its instant until that of the next one that was ever taken. Numbers are never
//! used twice, so that a gap behind the one that is kept tells that others are gone. The one before the gap
//! knows until when it stood (`Snapshot::stood_until`); behind that, or when it does not know, the account
//! may have been otherwise at the instant that was asked for: [`Standing::note`].

use std::sync::Arc;

use ::snapshots::{
    error::SnapshotError,
    keep::{Snapshots, open::OpenSnapshot, snapshot::Snapshot},
};
use jiff::{Timestamp, ToSpan as _, civil::Date};
use storage::ids::AccountId;
use trust::clock::{Clock as _, SystemClock, UnixMillis};

use super::not_found;
use crate::{
    control::{Kind, OperationError, Site},
    pec::instant::ROME,
    texts::{self, Text},
};

/// Names that a refusal lists.
const NAMED_MAX: usize = 5;

/// An account's snapshots, and the number of its next one.
pub(super) struct Kept {
    all: Vec<Snapshot>,
    next: u64,
    now: UnixMillis,
}

/// The snapshot that stood at an instant, as far as that is known.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Standing {
    /// The latest one that is kept of those taken until then.
    pub(super) snapshot: Snapshot,
    doubt: Doubt,
    /// It is of the very instant that was asked for.
    is_exact: bool,
}

/// Whether it stood at the instant that was asked for.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Doubt {
    /// It did.
    None,
    /// Others that were taken between it and this one are gone.
    GoneBefore(String),
    /// Others that were taken after it are gone.
    Gone,
    /// The next one may have been taken before it, by a clock that was ahead: that one's name.
    Overtaken(String),
    /// Nobody knows yet.
    NotYet,
    /// Only the beginning of its name was given.
    Beginning,
}

impl Kept {
    /// Reads them.
    pub(super) async fn read(
        snapshots: &Snapshots,
        account: AccountId,
    ) -> Result<Self, OperationError> {
        // Before the list: one that is taken meanwhile must not look as if one were gone.
        let next = snapshots.store().account(account).await?.state().await?.next_snapshot();
        let all = snapshots.list(account).await?;
        Ok(Self { all, next, now: SystemClock.now() })
    }

    /// The snapshot that `instant` names.
    pub(super) fn named(&self, instant: &str) -> Result<Standing, OperationError> {
        let of =
            |one: &Snapshot, doubt, is_exact| Standing { snapshot: one.clone(), doubt, is_exact };
        let certain = |one: &Snapshot| of(one, Doubt::None, true);
        let none = || {
            not_found(
                format!(
                    "nessuna istantanea per \"{instant}\": `ceralacca snapshot list` mostra quelle che ci sono"
                ),
                format!(
                    "no snapshot for \"{instant}\": `ceralacca snapshot list` shows what there is"
                ),
            )
        };
        if instant == "latest" {
            return self.all.last().map(certain).ok_or_else(none);
        }
        if let Some(one) = self.all.iter().find(|one| one.name() == instant) {
            return Ok(certain(one));
        }
        if let Some(time) = Time::parse(instant) {
            return self.stood(&time).ok_or_else(none);
        }
        let begins = |one: &&Snapshot| !instant.is_empty() && one.name().starts_with(instant);
        let alike: Vec<&Snapshot> = self.all.iter().filter(begins).collect();
        match alike[..] {
            [] => Err(none()),
            [one] => Ok(of(one, Doubt::Beginning, false)),
            _ => Err(several(instant, &alike)),
        }
    }

    fn stood(&self, time: &Time) -> Option<Standing> {
        let at = self.all.iter().rposition(|one| one.record.instant.0 <= time.until)?;
        let snapshot = self.all[at].clone();
        let following = self.all.get(at + 1);
        let number = following.map_or(self.next, |next| next.number);
        let is_exact = snapshot.record.instant.0 >= time.since && !time.is_day;
        let is_gap = number > snapshot.number.saturating_add(1);
        let stood = snapshot.stood_until.is_some_and(|until| time.until < until.0);
        // What stands behind one was taken after it, whatever the clock said.
        let first = self.all[at + 1..].iter().map(Snapshot::taken).min();
        let overtaken = following.filter(|next| {
            first.is_some_and(|first| first < next.taken() || first.0 <= time.until)
        });
        let doubt = if is_exact {
            Doubt::None
        } else if is_gap && !stood {
            following.map_or(Doubt::Gone, |next| Doubt::GoneBefore(next.name()))
        } else if time.until > self.now.0 {
            Doubt::NotYet
        } else {
            overtaken.map_or(Doubt::None, |one| Doubt::Overtaken(one.name()))
        };
        Some(Standing { snapshot, doubt, is_exact })
    }
}

fn several(instant: &str, alike: &[&Snapshot]) -> OperationError {
    let names: Vec<String> = alike.iter().take(NAMED_MAX).map(|one| one.name()).collect();
    let (count, names) = (alike.len(), names.join(", "));
    let more = if count > NAMED_MAX { ", …" } else { "" };
    OperationError::new(
        Kind::Invalid,
        Text::filled(
            format!(
                "{count} istantanee cominciano con \"{instant}\" ({names}{more}): scriverne di più"
            ),
            format!("{count} snapshots begin with \"{instant}\" ({names}{more}): write more of it"),
        ),
    )
}

impl Standing {
    /// What a person must know who takes the account as the snapshot shows it for what it was at the
    /// instant that was asked for: of which instant it is, when it is another, and what is not certain.
    pub(super) fn note(&self) -> Option<Text> {
        let name = self.snapshot.name();
        let (italian, english) = match &self.doubt {
            Doubt::None if self.is_exact => return None,
            Doubt::None | Doubt::Beginning => {
                return Some(Text::filled(
                    format!("vale l'istantanea {name}"),
                    format!("the snapshot {name} counts"),
                ));
            }
            Doubt::NotYet => {
                return Some(Text::filled(
                    format!("quell'istante deve ancora venire: vale l'istantanea {name}"),
                    format!("that instant is still to come: the snapshot {name} counts"),
                ));
            }
            Doubt::Overtaken(_) | Doubt::GoneBefore(_) | Doubt::Gone => self.others(),
        };
        Some(Text::filled(
            format!(
                "attenzione: vale l'istantanea {name}; {italian}, e all'istante chiesto la casella poteva essere diversa"
            ),
            format!(
                "note: the snapshot {name} counts; {english}, and at the instant asked for the account may have been otherwise"
            ),
        ))
    }

    /// Which others may have stood.
    fn others(&self) -> (String, String) {
        match &self.doubt {
            Doubt::Overtaken(other) => (
                format!(
                    "la {other} fu presa prima di quanto dice il suo nome, da un orologio che andava avanti"
                ),
                format!("{other} was taken earlier than its name says, by a clock that was ahead"),
            ),
            Doubt::GoneBefore(next) => (
                format!("quelle prese dopo e prima di {next} non sono più conservate"),
                format!("those taken after it and before {next} are not kept any more"),
            ),
            _ => (
                "quelle prese dopo non sono più conservate".to_owned(),
                "those taken after it are not kept any more".to_owned(),
            ),
        }
    }

    /// The snapshot, for a proof: whoever proves how the account was at an instant must not get one of
    /// how it was at another.
    ///
    /// # Errors
    ///
    /// [`Kind::Conflict`] when others that may have stood then are gone, when the instant is still to
    /// come, or when only the beginning of a name was given.
    pub(super) fn proves(self) -> Result<Snapshot, OperationError> {
        let name = self.snapshot.name();
        let (italian, english) = match &self.doubt {
            Doubt::None => return Ok(self.snapshot),
            Doubt::NotYet => (
                "quell'istante deve ancora venire".to_owned(),
                "that instant is still to come".to_owned(),
            ),
            Doubt::Beginning => (
                "è scritto solo l'inizio del suo nome".to_owned(),
                "only the beginning of its name was given".to_owned(),
            ),
            Doubt::Overtaken(_) | Doubt::GoneBefore(_) | Doubt::Gone => self.others(),
        };
        Err(OperationError::new(
            Kind::Conflict,
            Text::filled(
                format!(
                    "l'istantanea {name} non prova com'era la casella all'istante chiesto: {italian}; per provare com'era alle {name} scrivere questo nome come istante"
                ),
                format!(
                    "the snapshot {name} does not prove how the account was at the instant asked for: {english}; to prove how it was at {name} give that name as the instant"
                ),
            ),
        ))
    }
}

/// A time or a day, in ms since 1970, with its first and its last millisecond.
struct Time {
    since: i64,
    until: i64,
    is_day: bool,
}

impl Time {
    /// A time with its zone, or a day of legal time.
    fn parse(text: &str) -> Option<Self> {
        if let Ok(date) = text.parse::<Date>()
            && text.len() == 10
        {
            let start = |date: Date| {
                date.to_zoned(ROME.clone()).ok().map(|start| start.timestamp().as_millisecond())
            };
            let next = date.checked_add(1.day()).ok()?;
            return Some(Self { since: start(date)?, until: start(next)? - 1, is_day: true });
        }
        let since = text.parse::<Timestamp>().ok()?.as_millisecond();
        // A snapshot's name has no fraction: its whole second means the same.
        let until = if since.rem_euclid(1_000) == 0 { since + 999 } else { since };
        Some(Self { since, until, is_day: false })
    }
}

/// The snapshot of an account that `instant` names, in the words that all commands take.
pub(super) async fn snapshot(
    site: &Site,
    account: AccountId,
    instant: &str,
) -> Result<Standing, OperationError> {
    Kept::read(site.runs.snapshots(), account).await?.named(instant)
}

/// Opens the snapshot that `instant` names; with it what a person must know of it.
pub(super) async fn open(
    snapshots: &Snapshots,
    account: AccountId,
    instant: &str,
) -> Result<(Arc<OpenSnapshot>, Option<Text>), OperationError> {
    let standing = Kept::read(snapshots, account).await?.named(instant)?;
    let open = snapshots.open(account, standing.snapshot.number).await?;
    Ok((open, standing.note()))
}

/// What a person is told about an error of the floor below, and what it means for who asked.
pub(super) fn refusal(error: &SnapshotError) -> OperationError {
    let kind = match error {
        SnapshotError::NotPresent | SnapshotError::NoSuchSnapshot { .. } => Kind::NotFound,
        SnapshotError::TooSoon(_)
        | SnapshotError::TooBusy(_)
        | SnapshotError::TooManyRestores { .. } => Kind::Temporary,
        SnapshotError::Held { .. } | SnapshotError::InPlaceOpen { .. } => Kind::Conflict,
        SnapshotError::Store(error) => Kind::of_store(error),
        _ => Kind::Failed,
    };
    OperationError::new(kind, texts::snapshots::error(error))
}

impl From<SnapshotError> for OperationError {
    fn from(error: SnapshotError) -> Self {
        refusal(&error)
    }
}

#[cfg(test)]
mod tests {
    use ::snapshots::{keep::snapshot::SnapshotKind, record::SnapshotRecord, state::StateRoot};
    use storage::{
        error::StoreError,
        ids::{EmailNumber, ModSeq},
    };
    use trust::digest::Sha256Digest;

    use super::*;
    use crate::texts::Language;

    /// What is kept of an account: numbers with instants, the number of the next snapshot.
    fn kept(kept: &[(u64, &str)], next: u64) -> Kept {
        let snapshot = |(number, at): &(u64, &str)| Snapshot {
            number: *number,
            record: SnapshotRecord {
                account: AccountId(7),
                instant: UnixMillis(at.parse::<Timestamp>().expect("a time").as_millisecond()),
                previous: None,
                state_root: StateRoot(Sha256Digest([0; 32])),
                mailboxes: 1,
                messages: 1,
                octets: 1,
            },
            kind: SnapshotKind::Scheduled,
            asked_at: None,
            clock: None,
            stood_until: None,
            hold: None,
            email_numbers_below: EmailNumber(2),
            mod_seq: ModSeq(1),
        };
        let now = "2026-11-28T12:00:00Z".parse::<Timestamp>().expect("a time").as_millisecond();
        Kept { all: kept.iter().map(snapshot).collect(), next, now: UnixMillis(now) }
    }

    fn november() -> Kept {
        kept(
            &[
                (3, "2026-11-20T06:00:17.250Z"),
                (4, "2026-11-20T23:30:00Z"),
                (7, "2026-11-21T06:00:17.900Z"),
                (8, "2026-11-21T06:00:50Z"),
            ],
            9,
        )
    }

    fn number(kept: &Kept, instant: &str) -> Result<u64, Kind> {
        kept.named(instant).map(|one| one.snapshot.number).map_err(|error| error.kind)
    }

    #[test]
    fn an_instant_is_a_name_or_its_beginning_or_latest_or_a_time_or_a_day_of_legal_time() {
        let kept = november();
        for (instant, found) in [
            ("latest", Ok(8)),
            ("2026-11-20T06:00:17Z", Ok(3)),
            ("2026-11-20T06", Ok(3)),
            ("2026-11-21T06:00:1", Ok(7)),
            ("2026-11-21T06", Err(Kind::Invalid)),
            // A second has its end in it, a millisecond is one.
            ("2026-11-20T07:00:17+01:00", Ok(3)),
            ("2026-11-21T06:00:17.899Z", Ok(4)),
            ("2026-11-21T06:00:17.900Z", Ok(7)),
            ("2026-11-21T06:00:49Z", Ok(7)),
            // 23:30 UTC belongs to the next day of legal time, although the name begins so.
            ("2026-11-20", Ok(3)),
            ("2026-11-21", Ok(8)),
            ("2100-01-01", Ok(8)),
            ("2026-11-19", Err(Kind::NotFound)),
            ("2026-11-20T06:00:16Z", Err(Kind::NotFound)),
            ("ieri", Err(Kind::NotFound)),
            ("", Err(Kind::NotFound)),
        ] {
            assert_eq!(number(&kept, instant), found, "{instant}");
        }
    }

    #[test]
    fn a_person_is_told_exactly_when_a_nearer_snapshot_may_have_gone() {
        let note = |kept: &Kept, instant: &str| {
            let note = kept.named(instant).expect("a snapshot").note();
            note.map(|note| note.get(Language::Italian).to_owned())
        };
        let kept = november();
        for exact in ["latest", "2026-11-20T23:30:00Z", "2026-11-21T00:30:00+01:00"] {
            assert_eq!(note(&kept, exact), None, "{exact}");
        }
        // Between 4 and 7 two are gone; each of the others was followed by the next one.
        for (certain, counts) in [
            ("2026-11-20T23", "2026-11-20T23:30:00Z"),
            ("2026-11-20T12:00:00Z", "2026-11-20T06:00:17Z"),
            ("2026-11-21T06:00:20Z", "2026-11-21T06:00:17Z"),
            ("2026-11-27", "2026-11-21T06:00:50Z"),
        ] {
            let text = note(&kept, certain).expect(certain);
            assert_eq!(text, format!("vale l'istantanea {counts}"), "{certain}");
        }
        for doubtful in ["2026-11-20T23:30:01Z", "2026-11-21T06:00:17.899Z"] {
            let text = note(&kept, doubtful).expect(doubtful);
            let named = text.contains("vale l'istantanea 2026-11-20T23:30:00Z");
            assert!(named && text.contains("prima di 2026-11-21T06:00:17Z"), "{text}");
        }
        // Today is not over: a day means its end.
        for future in ["2026-11-28", "2026-11-29", "2026-11-28T12:00:00Z"] {
            let text = note(&kept, future).expect(future);
            assert!(text.contains("deve ancora venire"), "{future}: {text}");
        }
        // Of the latest that are kept, the one behind is gone.
        let lost = kept_until_seven();
        assert_eq!(note(&lost, "latest"), None);
        let text = note(&lost, "2026-11-28").expect("a note");
        assert!(text.contains("quelle prese dopo non sono più conservate"), "{text}");
    }

    fn kept_until_seven() -> Kept {
        let mut kept = november();
        kept.all.pop();
        kept
    }

    #[test]
    fn a_proof_for_an_instant_of_which_snapshots_are_gone_is_refused_and_one_by_name_is_not() {
        let proves = |kept: &Kept, instant: &str| {
            kept.named(instant).expect("a snapshot").proves().map(|one| one.number)
        };
        let kept = november();
        assert_eq!(proves(&kept, "2026-11-21T06:00:20Z").expect("certain"), 7);
        let refused = proves(&kept, "2026-11-21T01:00:00Z").expect_err("two are gone");
        let text = refused.text.get(Language::English);
        assert!(refused.kind == Kind::Conflict && text.contains("give that name"), "{text}");
        assert_eq!(proves(&kept, "2026-11-20T23:30:00Z").expect("by its name"), 4);
        assert!(proves(&kept_until_seven(), "2026-11-27").is_err());
        assert_eq!(proves(&kept, "2026-11-27").expect("a day that is over"), 8);
        let refusals = [
            ("2026-11-21T06:00:1", "only the beginning"),
            ("2026-11-28", "still to come"),
            ("2026-11-28T12:00:01Z", "still to come"),
            ("2100-01-01", "still to come"),
        ];
        for (instant, why) in refusals {
            let refused = proves(&kept, instant).expect_err(instant);
            let text = refused.text.get(Language::English);
            assert!(refused.kind == Kind::Conflict && text.contains(why), "{instant}: {text}");
        }
    }

    #[test]
    fn a_snapshot_proves_every_instant_until_the_next_one_was_taken_although_that_one_is_gone() {
        let mut kept = november();
        let until = "2026-11-21T00:30:00Z".parse::<Timestamp>().expect("a time");
        kept.all[1].stood_until = Some(UnixMillis(until.as_millisecond()));
        for (instant, certain) in [
            ("2026-11-21T00:00:00Z", true),
            ("2026-11-21T00:29:59Z", true),
            ("2026-11-21T00:30:00Z", false),
            ("2026-11-21T05:00:00Z", false),
        ] {
            let standing = kept.named(instant).expect("a snapshot");
            let note = standing.note().expect("another instant");
            let text = note.get(Language::Italian);
            assert_eq!(!text.contains("poteva essere diversa"), certain, "{instant}: {text}");
            let number = standing.proves().map(|one| one.number);
            assert_eq!(number.ok(), certain.then_some(4), "{instant}");
        }
    }

    #[test]
    fn what_a_clock_that_was_ahead_has_taken_proves_nothing_of_before() {
        let mut kept = kept(
            &[
                (1, "2026-11-20T06:00:00Z"),
                (2, "2027-12-20T06:00:00Z"),
                (3, "2027-12-20T06:00:01Z"),
            ],
            4,
        );
        let clock = "2026-11-20T08:00:00Z".parse::<Timestamp>().expect("a time");
        kept.all[2].clock = Some(UnixMillis(clock.as_millisecond()));
        let standing = kept.named("2026-11-20T09:00:00Z").expect("a snapshot");
        let text = standing.note().expect("a note").get(Language::English).to_owned();
        assert!(text.contains("a clock that was ahead"), "{text}");
        assert!(standing.proves().is_err());
        let between = kept.named("2026-11-20T07:00:00Z").expect("a snapshot");
        assert!(between.proves().is_err(), "the second was taken at some time before the third");
        let first = kept.named("2026-11-20T06:00:00Z").expect("a snapshot");
        assert_eq!(first.proves().expect("its own instant").number, 1);
    }

    #[test]
    fn an_error_of_snapshots_has_the_same_kind_and_italian_text_whichever_way_it_comes() {
        let account = AccountId(7);
        let reason = "causa 12".to_owned();
        for (kind, error) in [
            (Kind::NotFound, SnapshotError::NoSuchSnapshot { account, number: 3 }),
            (Kind::NotFound, SnapshotError::NotPresent),
            (Kind::NotFound, StoreError::NoSuchMailboxName("Clienti".to_owned()).into()),
            (Kind::Temporary, SnapshotError::TooSoon(account)),
            (Kind::Temporary, SnapshotError::TooBusy(account)),
            (Kind::Temporary, SnapshotError::TooManyRestores { account, limit: 20 }),
            (Kind::Conflict, SnapshotError::Held { account, number: 3, reason }),
            (Kind::Conflict, SnapshotError::InPlaceOpen { account, number: 2 }),
            (Kind::Conflict, StoreError::Conflict.into()),
            (Kind::Failed, SnapshotError::LimitExceeded { what: "a page", limit: 8, remedy: "" }),
        ] {
            let english = error.to_string();
            let told = refusal(&error);
            let converted = OperationError::from(error);
            assert_eq!((told.kind, &told.text), (kind, &converted.text), "{english}");
            assert_eq!(converted.kind, kind);
            assert_ne!(told.text.get(Language::Italian), english);
            assert_eq!(told.text.get(Language::English), english);
        }
    }
}
