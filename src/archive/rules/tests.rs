//! Which messages rules pick, and where to.

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
    MailboxListing {
        name,
        mailbox_id: None,
        subscribed: true,
        special_use,
        state: None,
        live_since: None,
    }
}

fn where_to(rules: &[Rule], mailbox: &str, days: i64, flags: &Flags, size: u64) -> Option<String> {
    let rules = Rules { list: rules.to_vec(), own: true };
    let rules = rules.of_mailbox(&listed(mailbox, None), &[], NOW)?;
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
    assert_eq!(where_to(&[all], "INBOX", 0, &flagged, 1).as_deref(), Some("Archivio/2026/INBOX"));
}

#[test]
fn drafts_junk_and_trash_stay_unless_they_are_named() {
    let rules = Rules { list: vec![rule(1)], own: false };
    let concerned = |name, special_use| {
        let listed = [listed(name, special_use)];
        rules.of_mailbox(&listed[0], &left_alone(&listed), NOW).is_some()
    };
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
    let concerned = |name: &str| rules.of_mailbox(&listed(name, None), &[], NOW).is_some();
    assert!(concerned("Cestino") && concerned("Lavori") && concerned("Lavori/2020"));
    assert!(!concerned("Cestino/Vecchio") && !concerned("Lavori2") && !concerned("INBOX"));
}

#[test]
fn what_stands_below_drafts_junk_and_trash_stays_whatever_they_are_called() {
    let listing = [
        listed("Trash", Some(SpecialUse::Trash)),
        listed("INBOX/Spam", Some(SpecialUse::Junk)),
        listed("Inviati", Some(SpecialUse::Sent)),
    ];
    let left_alone = left_alone(&listing);
    assert_eq!(left_alone, ["Trash", "INBOX/Spam"]);
    let named = Rule { mailboxes: vec!["Trash/*".into()], ..rule(1) };
    for (name, plan, own) in [
        ("Trash", false, true),
        ("Trash/Progetto", false, true),
        ("Trash2", true, false),
        ("INBOX/Spam/2020", false, false),
        ("INBOX", true, false),
        ("Inviati/2020", true, false),
        ("Cestino/Progetto", false, false),
    ] {
        let concerned = |rule: &Rule| {
            let rules = Rules { list: vec![rule.clone()], own: true };
            rules.of_mailbox(&listed(name, None), &left_alone, NOW).is_some()
        };
        assert_eq!((concerned(&rule(1)), concerned(&named)), (plan, own), "{name}");
    }
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
    let rules = rules.of_mailbox(&listed("INBOX", None), &[], NOW).expect("rules");
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
    let rules = rules.of_mailbox(&listed("INBOX", None), &[], NOW).expect("rules");
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
            let mut record: RulesRecord = decode(ARCHIVE_RULES, &key, octets).expect("a record");
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
