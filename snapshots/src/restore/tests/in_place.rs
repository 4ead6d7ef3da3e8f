//! What a restore in place takes for present, and what it makes.

use std::sync::Arc;

use storage::{
    account::Account,
    catalog::engine::Batch,
    ids::Uid,
    mailbox::{live::LiveMailbox, view::MailboxView as _},
};

use super::{
    super::{
        Target,
        job::{RestoreState, Scope},
    },
    begin, finish, numbers, restores, subjects,
};
use crate::keep::{
    keys::{self, SNAPSHOT_PAGES},
    tests::house::{ANNA, House, INBOX, small, uid},
};

/// Everything of a mailbox.
async fn all_of(anna: &Account, name: &str) -> (Arc<LiveMailbox>, Vec<Uid>) {
    let mailbox = anna.mailbox_by_name(name).await.expect("the mailbox");
    let uids = mailbox.rows().await.expect("rows").1.iter().map(|row| row.uid).collect();
    (mailbox, uids)
}

async fn throw_away(anna: &Account, name: &str) {
    let (mailbox, uids) = all_of(anna, name).await;
    let trash = anna.mailbox_by_name("Cestino").await.expect("Cestino").id();
    mailbox.move_to(&uids, trash).await.expect("move");
}

#[tokio::test]
async fn in_place_a_message_that_was_moved_since_is_present_and_comes_no_second_time() {
    let (house, anna) = House::new(small()).await;
    house.fill(INBOX, 1..11).await;
    house.take().await;
    let archive = anna.mailbox_by_name("Archivio").await.expect("Archivio").state().await;
    let archive = archive.expect("its state").mailbox_id;
    let inbox = anna.mailbox(INBOX).await.expect("INBOX");
    inbox.move_to(&[uid(2), uid(3)], archive).await.expect("move");
    house.expunge(INBOX, &[uid(4)]).await;
    let number = begin(&house, Scope::default(), Target::InPlace).await;
    let job = finish(&restores(&house), number).await;
    assert_eq!((job.state, job.restored, job.present), (RestoreState::Done, 1, 9), "{job:?}");
    let wanted = numbers([1, 5, 6, 7, 8, 9, 10, 4].into_iter());
    assert_eq!(subjects(&house, "INBOX").await, wanted);
    assert_eq!(subjects(&house, "Archivio").await, numbers(2..4));
}

#[tokio::test]
async fn in_place_what_was_thrown_away_comes_back_once() {
    let (house, anna) = House::new(small()).await;
    house.fill(INBOX, 1..41).await;
    house.take().await;
    throw_away(&anna, "INBOX").await;
    // What a restore beside brought there is no reason to leave it out either.
    let beside = begin(&house, Scope::default(), Target::Into("Ripristino".to_owned())).await;
    assert_eq!(finish(&restores(&house), beside).await.restored, 40);
    for restored in [40, 0] {
        let number = begin(&house, Scope::default(), Target::InPlace).await;
        let job = finish(&restores(&house), number).await;
        assert_eq!((job.state, job.restored), (RestoreState::Done, restored), "{job:?}");
        assert_eq!((job.present, job.total), (40 - restored, 40));
        assert_eq!(subjects(&house, "INBOX").await, numbers(1..41));
    }
    assert_eq!(subjects(&house, "Cestino").await, numbers(1..41));
}

#[tokio::test]
async fn in_place_each_copy_that_the_snapshot_had_comes_back_also_after_each_restart() {
    let (house, anna) = House::new(small()).await;
    house.fill(INBOX, 1..21).await;
    let (inbox, uids) = all_of(&anna, "INBOX").await;
    for name in ["Clienti", "Fatture"] {
        let copies = anna.create_mailbox(name, None).await.expect("create");
        inbox.copy(&uids, copies).await.expect("copy");
    }
    house.take().await;
    throw_away(&anna, "INBOX").await;
    anna.delete_mailbox("Clienti").await.expect("delete");
    anna.delete_mailbox("Fatture").await.expect("delete");
    let number = begin(&house, Scope::default(), Target::InPlace).await;
    let job = loop {
        // As after a restart: nothing is held from one step to the next.
        let job = restores(&house).step(ANNA, number).await.expect("a step").expect("the job");
        if job.state != RestoreState::Running {
            break job;
        }
    };
    assert_eq!((job.state, job.restored, job.present), (RestoreState::Done, 60, 0), "{job:?}");
    for name in ["INBOX", "Clienti", "Fatture", "Cestino"] {
        assert_eq!(subjects(&house, name).await, numbers(1..21), "{name}");
    }
    // One of several copies gone: that one comes.
    let (clients, uids) = all_of(&anna, "Clienti").await;
    house.expunge(clients.id(), &uids[..5]).await;
    let number = begin(&house, Scope::default(), Target::InPlace).await;
    let job = finish(&restores(&house), number).await;
    assert_eq!((job.restored, job.present), (5, 55), "{job:?}");
    assert_eq!(subjects(&house, "Clienti").await.len(), 20);
}

#[tokio::test]
async fn a_mailbox_that_was_thrown_away_whole_is_made_again_where_it_was() {
    let (house, anna) = House::new(small()).await;
    let clients = anna.create_mailbox("Clienti", None).await.expect("create");
    house.fill(clients, 1..11).await;
    house.take().await;
    anna.rename_mailbox("Clienti", "Cestino/Clienti").await.expect("rename");
    // Whatever the trash is called.
    anna.rename_mailbox("Cestino", "Trash").await.expect("rename");
    let number = begin(&house, Scope::default(), Target::InPlace).await;
    let job = finish(&restores(&house), number).await;
    assert_eq!((job.state, job.restored), (RestoreState::Done, 10), "{job:?}");
    assert_eq!(subjects(&house, "Clienti").await, numbers(1..11));
    assert_eq!(subjects(&house, "Trash/Clienti").await, numbers(1..11));
    assert!(anna.mailbox_by_name("Cestino").await.is_err(), "the trash is the same one");
}

#[tokio::test]
async fn what_is_moved_while_a_job_goes_on_comes_no_second_time() {
    let (house, anna) = House::new(small()).await;
    let clients = anna.create_mailbox("Clienti", None).await.expect("create");
    let other = anna.create_mailbox("Pratiche", None).await.expect("create");
    house.fill(INBOX, 1..21).await;
    house.fill(clients, 21..41).await;
    house.take().await;
    throw_away(&anna, "INBOX").await;
    let (number, restores) =
        (begin(&house, Scope::default(), Target::InPlace).await, restores(&house));
    // A first look, at INBOX.
    for _ in 0..2 {
        restores.step(ANNA, number).await.expect("a step");
    }
    let (clients, uids) = all_of(&anna, "Clienti").await;
    clients.move_to(&uids, other).await.expect("move");
    let job = finish(&restores, number).await;
    assert_eq!((job.restored, job.present), (20, 20), "{job:?}");
    assert_eq!(subjects(&house, "Clienti").await, numbers(0..0));
}

#[tokio::test]
async fn what_a_restore_makes_is_subscribed_to_beside_always_and_in_place_when_it_was() {
    let (house, anna) = House::new(small()).await;
    for (number, name) in ["Clienti/Rossi", "Riservata"].into_iter().enumerate() {
        let id = anna.create_mailbox(name, None).await.expect("create");
        house.append(id, number).await;
    }
    anna.subscribe("Clienti/Rossi", true).await.expect("subscribe");
    house.take().await;
    for name in ["Clienti/Rossi", "Clienti", "Riservata"] {
        anna.delete_mailbox(name).await.expect("delete");
        anna.subscribe(name, false).await.expect("unsubscribe");
    }
    for target in [Target::InPlace, Target::Into("Ripristino".to_owned())] {
        let number = begin(&house, Scope::default(), target).await;
        assert_eq!(finish(&restores(&house), number).await.restored, 2);
    }
    let listed = anna.mailboxes().await.expect("mailboxes");
    let made = ["Clienti", "Riservata", "Ripristino"];
    let made = |name: &str| made.iter().any(|one| name.starts_with(one));
    let not: Vec<&str> = listed
        .iter()
        .filter(|one| made(&one.name) && !one.subscribed)
        .map(|one| one.name.as_str())
        .collect();
    assert_eq!(not, ["Clienti", "Riservata"]);
}

#[tokio::test]
async fn in_place_what_went_into_a_new_mailbox_of_the_old_name_comes_no_second_time() {
    let (house, anna) = House::new(small()).await;
    let old = anna.create_mailbox("Clienti", None).await.expect("create");
    house.fill(old, 1..11).await;
    house.take().await;
    anna.rename_mailbox("Clienti", "Clienti vecchi").await.expect("rename");
    let new = anna.create_mailbox("Clienti", None).await.expect("create");
    let (mailbox, uids) = all_of(&anna, "Clienti vecchi").await;
    mailbox.move_to(&uids, new).await.expect("move");
    let number = begin(&house, Scope::default(), Target::InPlace).await;
    let job = finish(&restores(&house), number).await;
    assert_eq!((job.state, job.restored, job.present), (RestoreState::Done, 0, 10), "{job:?}");
    assert_eq!(subjects(&house, "Clienti").await, numbers(1..11));
    assert_eq!(subjects(&house, "Clienti vecchi").await, numbers(0..0));
}

#[tokio::test]
async fn in_place_damage_of_another_mailbox_keeps_nothing_from_coming_back() {
    let (house, anna) = House::new(small()).await;
    house.fill(INBOX, 1..11).await;
    let other = anna.create_mailbox("Fatture", None).await.expect("create");
    house.fill(other, 11..21).await;
    let taken = house.take().await;
    throw_away(&anna, "INBOX").await;
    let open = house.snapshots.open(ANNA, taken.number).await.expect("open");
    let page = open.mailbox(other).expect("the mailbox").entry().content.page;
    let mut lose = Batch::default();
    lose.delete(SNAPSHOT_PAGES, keys::page(ANNA, page));
    house.store.commit(lose).await.expect("commit");
    let scope = Scope { mailbox: Some(INBOX), ..Scope::default() };
    let number = begin(&house, scope, Target::InPlace).await;
    let job = finish(&restores(&house), number).await;
    assert_eq!((job.state, job.restored), (RestoreState::Done, 10), "{job:?}");
    assert_eq!(subjects(&house, "INBOX").await, numbers(1..11));
}
