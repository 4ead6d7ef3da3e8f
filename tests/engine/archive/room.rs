//! Archives that have no room for everything: what fits is moved, and a dry run says so.

use super::*;

/// Limits of the archive.
#[derive(Clone, Copy, Debug, Default)]
struct Limits {
    octets: Option<u64>,
    messages: Option<u64>,
    /// How many more mailboxes there may be.
    mailboxes: Option<u64>,
}

/// An account whose archive has one message of 12 octets, and whose INBOX has at its end one that is charged
/// nothing.
async fn account_with(limits: Limits) -> (Arc<Store>, Account) {
    let clock = Arc::new(ManualClock::new(NOW));
    let store = open(SimulatedEngine::new(&families()), &clock).await;
    let account = furnish(&store, &clock, None).await;
    append(&store, &account, "Archivio", 2, 400, Flags::default()).await;
    clock.advance(-400 * DAY);
    let mut writer = store.message_writer();
    writer.write(b"Subject: notice\r\n\r\n").await.expect("write");
    let message = writer.finish().await.expect("finish");
    let request = AppendRequest {
        mailbox: account.mailbox_by_name("INBOX").await.expect("INBOX").id(),
        message: &message,
        flags: Flags { seen: true, ..Flags::default() },
        internal_date: None,
        charged_octets: Some(0),
        quota: QuotaRule::Exempt,
        also: Batch::default(),
    };
    account.append(request).await.expect("append");
    clock.advance(400 * DAY);
    let used = account.quota().await.expect("quota").used_mailboxes;
    let settings = AccountSettings {
        archive_quota_messages: limits.messages,
        quota_mailboxes: limits.mailboxes.map(|more| used + more),
        ..settings(limits.octets)
    };
    store.apply_account(ANNA, 2, settings).await.expect("limits");
    (store, account)
}

#[tokio::test]
async fn what_fits_is_moved_past_what_does_not_and_a_dry_run_says_so() {
    let octets = |octets| Limits { octets: Some(octets), ..Limits::default() };
    let messages = |messages| Limits { messages: Some(messages), ..Limits::default() };
    let mailboxes = |more| Limits { mailboxes: Some(more), ..Limits::default() };
    let mut whole_batches = Config::default();
    whole_batches.archive.messages_per_second_max = 1_000_000;
    // INBOX has 10, 16 and 0; Inviati and Lavori/2019 have 10 and 16 each. All of 10 and that of 0 go below
    // Archivio/2025, the others below Archivio/2020.
    for (limits, moved, charged, full) in [
        (Limits::default(), 7, 78, None),
        (octets(12 + 78), 7, 78, None),
        (octets(12 + 25), 3, 20, Some("archive octets")),
        (octets(12 + 9), 1, 0, Some("archive octets")),
        // It has more than its limit already.
        (octets(5), 1, 0, Some("archive octets")),
        (messages(1 + 2), 2, 26, Some("archive messages")),
        (Limits { octets: Some(12 + 11), ..messages(1 + 2) }, 2, 10, Some("archive octets")),
        // Archivio/2025/INBOX and what is above it; then Inviati beside it.
        (mailboxes(3), 3, 20, Some("mailboxes")),
        (mailboxes(0), 0, 0, Some("mailboxes")),
    ] {
        for config in [&*config(), &whole_batches] {
            let (store, account) = account_with(limits).await;
            let foreseen = run::foresee(&store, config, ANNA, NOW).await.expect("foresee");
            let report = archive(&store, config, NOW).await.expect("run");
            assert_eq!(foreseen, report, "{limits:?}");
            let met = report.full.map(|full| full.resource);
            assert_eq!((report.total(), met), ((moved, charged), full), "{limits:?}");
            let archive = account.quota().await.expect("quota").archive;
            let held = (archive.used_messages, archive.used_octets);
            assert_eq!(held, (1 + moved, 12 + charged), "{limits:?}");
            let note = note(&store, ANNA).await;
            let expected = (full.unwrap_or_default(), full.is_some());
            assert_eq!((&*note.full, note.told), expected, "{limits:?}");
            is_sound(&store).await;
        }
    }
}

#[tokio::test]
async fn what_needs_no_room_goes_back_also_to_an_account_that_is_over_its_limit() {
    let (store, account) = account_with(Limits::default()).await;
    archive(&store, &config(), NOW).await.expect("run");
    let settings = AccountSettings { quota_octets: Some(1), ..settings(None) };
    store.apply_account(ANNA, 3, settings).await.expect("a limit");
    let foreseen = back::foresee(&store, ANNA, None).await.expect("foresee");
    let stopping = CancellationToken::new();
    let report = back::run(&store, &config(), ANNA, None, &stopping).await.expect("back");
    assert_eq!(foreseen, report);
    assert_eq!(report.total(), (1, 0));
    assert_eq!(account.quota().await.expect("quota").archive.used_messages, 1 + 7 - 1);
    is_sound(&store).await;
}
