use storage::mailbox::{flags::Flags, view::MailboxView as _};

use super::*;
use crate::{
    diff::{Difference, Later},
    keep::tests::house::{ANNA, House, INBOX, small, uid},
    search::Query,
};

async fn between(house: &House, before: u64, after: Option<u64>) -> (Vec<Difference>, DiffTotals) {
    let before = house.snapshots.open(ANNA, before).await.expect("open");
    let mut told = Vec::new();
    let mut tell = |one| {
        told.push(one);
        true
    };
    let totals = if let Some(after) = after {
        let after = house.snapshots.open(ANNA, after).await.expect("open");
        diff(&before, Later::Snapshot(&after), &mut tell).await
    } else {
        let state = house.anna().await.state().await.expect("state");
        diff(&before, Later::Now(&state), &mut tell).await
    };
    (told, totals.expect("a diff"))
}

/// Two hundred messages, a snapshot, and then one change of each kind.
async fn changed_house() -> House {
    let (house, anna) = House::new(small()).await;
    let other = anna.create_mailbox("Pratiche", None).await.expect("create");
    anna.create_mailbox("Vecchia", None).await.expect("create");
    house.fill(INBOX, 1..201).await;
    house.take().await;
    anna.rename_mailbox("Pratiche", "Pratiche 2026").await.expect("rename");
    anna.delete_mailbox("Vecchia").await.expect("delete");
    let inbox = anna.mailbox(INBOX).await.expect("INBOX");
    inbox.move_to(&[uid(7)], other).await.expect("move");
    house.expunge(INBOX, &[uid(90)]).await;
    house.flag(INBOX, &[uid(120)], Flags { seen: true, ..Flags::default() }).await;
    house.append(INBOX, 500).await;
    house
}

fn words(told: &[Difference]) -> Vec<String> {
    told.iter()
        .map(|one| match one {
            Difference::MailboxCreated(_, name) => format!("created {name}"),
            Difference::MailboxDeleted(_, name) => format!("deleted {name}"),
            Difference::MailboxRenamed(_, from, to) => format!("renamed {from} {to}"),
            Difference::Added(place, _) => format!("added {}", place.uid),
            Difference::Removed(place, _) => format!("removed {}", place.uid),
            Difference::Moved { from, to, .. } => format!("moved {} {}", from.uid, to.uid),
            Difference::Flags(place, was, is) => format!("{} {}-{}", place.uid, was.seen, is.seen),
        })
        .collect()
}

#[tokio::test]
async fn every_kind_of_change_is_told_between_snapshots_and_until_now() {
    let house = changed_house().await;
    let wanted = [
        "removed 90",
        "added 201",
        "120 false-true",
        "renamed Pratiche Pratiche 2026",
        "moved 7 1",
        "deleted Vecchia",
    ];
    let sorted = |mut words: Vec<String>| {
        words.sort();
        words
    };
    let wanted = sorted(wanted.map(str::to_owned).into());
    let (now, totals) = between(&house, 1, None).await;
    assert_eq!(sorted(words(&now)), wanted);
    assert_eq!((totals.added, totals.removed, totals.moved, totals.flags), (1, 1, 1, 1));
    house.take().await;
    let (told, again) = between(&house, 1, Some(2)).await;
    assert_eq!(sorted(words(&told)), wanted);
    assert_eq!(again, totals);
    let (back, _) = between(&house, 2, Some(1)).await;
    assert!(words(&back).contains(&"moved 1 7".to_owned()), "{:?}", words(&back));
    assert_eq!(between(&house, 2, None).await.0, []);
}

#[tokio::test]
async fn much_that_changed_is_told_as_well_when_rows_are_read_side_by_side() {
    let (house, anna) = House::new(small()).await;
    house.fill(INBOX, 1..300).await;
    house.take().await;
    house.expunge(INBOX, &[uid(3), uid(250)]).await;
    house.append(INBOX, 900).await;
    // What was expunged before is known no more.
    let later = trust::clock::Clock::now(&*house.clock).plus_millis(1);
    anna.trim_expunge_log(INBOX, later).await.expect("trim");
    let (told, _) = between(&house, 1, None).await;
    assert_eq!(words(&told), ["removed 3", "removed 250", "added 300"]);
}

#[tokio::test]
async fn where_a_message_last_stood_is_found_by_id_digest_and_subject() {
    let (house, anna) = House::new(small()).await;
    let other = anna.create_mailbox("Pratiche", None).await.expect("create");
    house.fill(INBOX, 1..50).await;
    house.take().await;
    let uid_77 = house.append(INBOX, 77).await;
    house.take().await;
    let inbox = anna.mailbox(INBOX).await.expect("INBOX");
    inbox.move_to(&[uid_77], other).await.expect("move");
    house.take().await;
    house.expunge(other, &[uid(1)]).await;
    house.take().await;
    let digest = trust::digest::Sha256Digest::of(&crate::keep::tests::house::message(77));
    for query in [
        Query::MessageId("77@PEC.example".to_owned()),
        Query::Digest(digest),
        Query::Text("Numero 77".to_owned()),
    ] {
        let found = house.snapshots.search(ANNA, &query, 10, |_, _| true).await.expect("search");
        let [message] = &found.messages[..] else { panic!("{query:?}: {found:?}") };
        assert_eq!((message.first.snapshot.number, message.last.snapshot.number), (2, 3));
        assert_eq!((message.first.mailbox.as_str(), message.first.place.uid), ("INBOX", uid_77));
        assert_eq!((message.last.mailbox.as_str(), message.last.place.uid), ("Pratiche", uid(1)));
        assert_eq!((message.now.len(), message.digest), (0, digest));
    }
    let query = Query::MessageId("<5@pec.example>".to_owned());
    let found = house.snapshots.search(ANNA, &query, 10, |_, _| true).await.expect("search");
    let message = &found.messages[0];
    assert_eq!((message.first.snapshot.number, message.last.snapshot.number), (1, 4));
    assert_eq!(message.now.len(), 1, "it stands where it stood");
}
