//! What searches find.

use storage::catalog::engine::Batch;

use super::*;
use crate::{
    keep::tests::house::{ANNA, House, INBOX, MORNING, small, uid},
    restore::{
        RestoreLimits, Target,
        job::{RestoreState, Scope},
    },
};

/// Four snapshots: message 1 stands in all, 77 in the second and third, 5 in the first.
async fn house_with_four() -> House {
    let (house, _) = House::new(small()).await;
    house.fill(INBOX, 1..60).await;
    house.take().await;
    house.expunge(INBOX, &[uid(5)]).await;
    let seventy_seven = house.append(INBOX, 77).await;
    house.take().await;
    house.append(INBOX, 200).await;
    house.take().await;
    house.expunge(INBOX, &[seventy_seven]).await;
    house.take().await;
    house
}

/// What a search finds when the snapshots `gone` go after all were opened: subject, first, last.
async fn found_without(gone: &[u64]) -> (Vec<(String, u64, u64, usize)>, u64) {
    let house = house_with_four().await;
    let mut open = Vec::new();
    for number in [4, 3, 2, 1] {
        open.push(house.snapshots.open(ANNA, number).await.expect("open"));
    }
    let query = Query::Text("numero".to_owned());
    let mut search = Search::new(house.anna().await, &query, 500);
    let (mut newer, mut done): (Option<&OpenSnapshot>, u64) = (None, 0);
    for one in &open {
        if gone.contains(&(one.snapshot().number + 10)) {
            house.snapshots.forget(ANNA, one.snapshot().number).await.expect("forget");
        }
        if search.step(newer, one).await.expect("a step") {
            (newer, done) = (Some(&**one), done + 1);
        }
        // Those that go after they were looked at.
        if gone.contains(&one.snapshot().number) {
            house.snapshots.forget(ANNA, one.snapshot().number).await.expect("forget");
        }
    }
    search.close(newer.expect("a snapshot"));
    let found = search.finish(done).await.expect("what was found");
    let told = found.messages.into_iter().map(|one| {
        let (first, last) = (one.first.snapshot.number, one.last.snapshot.number);
        (one.subject.unwrap_or_default(), first, last, one.now.len())
    });
    let wanted = ["numero 1", "numero 5", "numero 77"];
    let mut told: Vec<_> = told.filter(|one| wanted.contains(&one.0.as_str())).collect();
    told.sort();
    (told, found.snapshots)
}

#[tokio::test]
async fn what_is_found_without_regard_to_case_is_shown_as_it_was_written() {
    let (house, _) = House::new(small()).await;
    let octets = b"Subject: =?utf-8?Q?Perizia_Citt=C3=A0?= N. 7\r\nMessage-ID: <Perizia.7@PEC.example>\r\n\r\nx\r\n";
    house.append_octets(INBOX, octets).await;
    house.take().await;
    for query in [
        Query::Text("PERIZIA citt\u{e0} n. 7".to_owned()),
        Query::MessageId("perizia.7@pec.EXAMPLE".to_owned()),
        Query::Digest(Sha256Digest::of(octets)),
    ] {
        let found = house.snapshots.search(ANNA, &query, 10, |_, _| true).await;
        let found = found.expect("a search").messages;
        let shown = found.iter().map(|one| (one.subject.as_deref(), one.message_id.as_deref()));
        let written = (Some("Perizia Citt\u{e0} N. 7"), Some("<Perizia.7@PEC.example>"));
        assert_eq!(shown.collect::<Vec<_>>(), [written], "{query:?}");
    }
}

#[tokio::test]
async fn a_message_that_a_restore_brought_back_is_there() {
    let house = house_with_four().await;
    let restores = crate::restore::Restores::new(house.snapshots.clone(), RestoreLimits::default());
    // 77 stands in the third snapshot, and not in the latest.
    let begun = restores.begin(ANNA, 3, Scope::default(), Target::InPlace, MORNING).await;
    let number = begun.expect("begin").number;
    while restores.step(ANNA, number).await.expect("a step").expect("the job").state
        == RestoreState::Running
    {}
    let there = async |number: usize| {
        let query = Query::MessageId(format!("<{number}@pec.example>"));
        let found = house.snapshots.search(ANNA, &query, 10, |_, _| true).await;
        found.expect("a search").messages.iter().map(|one| one.now.len()).collect::<Vec<_>>()
    };
    assert_eq!(there(77).await, [1]);
    assert_eq!(there(5).await, [0]);
    house.take().await;
    // Two messages now, of the same octets.
    assert_eq!(there(77).await, [1, 1]);
}

#[tokio::test]
async fn messages_whose_summary_cannot_be_read_hide_no_others_and_are_counted() {
    let (house, _) = House::new(small()).await;
    house.fill(INBOX, 1..6).await;
    let snapshot = house.take().await;
    let rows = house.rows(&snapshot, "INBOX").await;
    let mut damage = Batch::default();
    for (row, octets) in [(&rows[1], &b""[..]), (&rows[2], &[0xff][..])] {
        let key = storage::catalog::keys::message(ANNA, row.email_number);
        damage.put(storage::catalog::keys::SUMMARIES, key, octets.to_vec());
    }
    house.store.commit(damage).await.expect("commit");
    let search = async |query: Query| {
        let found = house.snapshots.search(ANNA, &query, 10, |_, _| true).await;
        let found = found.expect("a search");
        (found.messages.len(), found.unreadable)
    };
    assert_eq!(search(Query::Text("numero".to_owned())).await, (3, 2));
    assert_eq!(search(Query::MessageId("5@pec.example".to_owned())).await, (1, 2));
    assert_eq!(search(Query::Digest(rows[1].digest)).await, (1, 0));
}

fn three(one: (u64, u64), five: (u64, u64), seventy: (u64, u64)) -> Vec<(String, u64, u64, usize)> {
    let told = |number: u64, of: (u64, u64), now| (format!("numero {number}"), of.0, of.1, now);
    vec![told(1, one, 1), told(5, five, 0), told(77, seventy, 0)]
}

#[tokio::test]
async fn a_snapshot_that_goes_during_a_search_is_dropped_and_the_search_goes_on() {
    let all = three((1, 4), (1, 1), (2, 3));
    assert_eq!(found_without(&[]).await, (all.clone(), 4));
    // Gone after it was looked at: the one before it is read whole.
    for gone in [&[4][..], &[3], &[2], &[4, 3], &[4, 3, 2]] {
        assert_eq!(found_without(gone).await, (all.clone(), 4), "{gone:?}");
    }
    // Gone before it was looked at: as if it had not been there.
    assert_eq!(found_without(&[14]).await, (three((1, 3), (1, 1), (2, 3)), 3));
    assert_eq!(found_without(&[12]).await, (three((1, 4), (1, 1), (3, 3)), 3));
}
