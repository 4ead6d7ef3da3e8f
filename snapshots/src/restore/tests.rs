mod in_place;

use storage::{
    account::{erase::EraseRequest, quota::QuotaRule, settings::AccountSettings},
    catalog::{
        engine::{Batch, Family, Reader as _, Scan},
        keys,
        simulated::Faults,
    },
    ids::MailboxId,
    mailbox::{
        flags::Flags,
        restore::{ErasedRows, RestoreRows, RestoredRow},
        view::MailboxView as _,
    },
    octets::ErasureReason,
    summary::Envelope,
};

use super::{
    RestoreLimits, Restores, Target,
    job::{RestoreJob, RestoreState, Scope},
};
use crate::error::SnapshotError;
use crate::keep::keys::SNAPSHOTS;
use crate::keep::tests::house::{ANNA, House, INBOX, MORNING, small, uid};

const LIMITS: RestoreLimits =
    RestoreLimits { rows_per_step_max: 7, jobs_ended_max: 3, jobs_open_max: 2 };

fn restores(house: &House) -> std::sync::Arc<Restores> {
    Restores::new(house.snapshots.clone(), LIMITS)
}

async fn begin(house: &House, scope: Scope, target: Target) -> u64 {
    let begun = restores(house).begin(ANNA, 1, scope, target, MORNING).await;
    begun.expect("begin").number
}

async fn finish(restores: &Restores, number: u64) -> RestoreJob {
    loop {
        let job = restores.step(ANNA, number).await.expect("a step").expect("the job");
        if job.state != RestoreState::Running {
            return job;
        }
    }
}

async fn subjects(house: &House, name: &str) -> Vec<String> {
    let anna = house.anna().await;
    let mailbox = anna.mailbox_by_name(name).await.expect("the mailbox");
    let mut subjects = Vec::new();
    for row in mailbox.rows().await.expect("rows").1 {
        let summary = anna.summary(row.email_number).await.expect("summary");
        let subject = summary.envelope.subject.clone().unwrap_or_default();
        subjects.push(String::from_utf8(subject).expect("UTF-8"));
    }
    subjects
}

fn numbers(numbers: impl Iterator<Item = usize>) -> Vec<String> {
    numbers.map(|number| format!("numero {number}")).collect()
}

/// Forty messages in INBOX, in a snapshot; half of them were expunged since.
async fn halved_house() -> House {
    let (house, _) = House::new(small()).await;
    house.fill(INBOX, 1..41).await;
    house.take().await;
    let half: Vec<_> = (21..41).map(uid).collect();
    house.expunge(INBOX, &half).await;
    house
}

#[tokio::test]
async fn a_restore_in_place_brings_back_what_is_gone_once_and_leaves_the_rest_alone() {
    let house = halved_house().await;
    house.flag(INBOX, &[uid(3)], Flags { flagged: true, ..Flags::default() }).await;
    for restored in [20, 0] {
        let number = begin(&house, Scope::default(), Target::InPlace).await;
        let job = finish(&restores(&house), number).await;
        assert_eq!((job.state, job.restored), (RestoreState::Done, restored), "{job:?}");
        assert_eq!((job.done, job.total, job.present), (40, 40, 40 - restored));
        assert_eq!(subjects(&house, "INBOX").await, numbers(1..41));
    }
    let inbox = house.anna().await.mailbox(INBOX).await.expect("INBOX");
    assert!(inbox.rows().await.expect("rows").1[2].flags.flagged, "live flags stay");
}

#[tokio::test]
async fn a_restore_goes_on_exactly_once_after_each_crash() {
    let mut house = halved_house().await;
    let number = begin(&house, Scope::default(), Target::Into("Ripristino".to_owned())).await;
    let mut steps = 0;
    loop {
        let job = restores(&house).step(ANNA, number).await.expect("step").expect("the job");
        let engine = house.engine.crash();
        house = House::open(engine, house.objects.clone(), house.clock.clone(), small()).await;
        steps += 1;
        if job.state == RestoreState::Done {
            break;
        }
    }
    assert!(steps > 7, "{steps}");
    assert_eq!(subjects(&house, "Ripristino/INBOX").await, numbers(1..41));
    assert_eq!(subjects(&house, "INBOX").await, numbers(1..21), "in place nothing changes");
    // A second one never mixes with the first.
    let number = begin(&house, Scope::default(), Target::Into("Ripristino".to_owned())).await;
    let job = finish(&restores(&house), number).await;
    assert_eq!(job.root.as_deref(), Some("Ripristino (2)"));
    assert_eq!(subjects(&house, "Ripristino (2)/INBOX").await, numbers(1..41));
}

/// The same house after the power was cut; its engine fails from then on as `faults` say.
async fn restarted(house: &House, faults: Faults) -> House {
    let engine = house.engine.restart_with(faults);
    House::open(engine, house.objects.clone(), house.clock.clone(), small()).await
}

#[tokio::test]
async fn wherever_the_power_is_cut_a_restore_brings_each_message_back_once() {
    for seed in 0..12 {
        let mut house = halved_house().await;
        let number = begin(&house, Scope::default(), Target::InPlace).await;
        let faults = Faults {
            failed_commits_per_thousand: 20 * seed,
            failed_syncs_per_thousand: 30 * seed,
            ..Faults::default()
        };
        loop {
            house = restarted(&house, faults).await;
            let restores = restores(&house);
            let job = loop {
                match restores.step(ANNA, number).await {
                    Ok(Some(job)) if job.state == RestoreState::Running => {}
                    Ok(job) => break job,
                    Err(_) => break None,
                }
            };
            if job.is_some() {
                break;
            }
        }
        house = restarted(&house, Faults::default()).await;
        let job = finish(&restores(&house), number).await;
        assert_eq!((job.state, job.restored), (RestoreState::Done, 20), "seed {seed}: {job:?}");
        assert_eq!(subjects(&house, "INBOX").await, numbers(1..41), "seed {seed}");
        house.is_sound().await;
    }
}

/// Settings with so much space.
fn settings(limit: u64) -> AccountSettings {
    AccountSettings {
        address: "anna@pec.example".to_owned(),
        plan: "base".to_owned(),
        quota_octets: Some(limit),
        ..AccountSettings::default()
    }
}

/// Leaves space for nine messages beside twenty; returns the limit.
async fn narrow(house: &House) -> u64 {
    let used = house.anna().await.quota().await.expect("quota").used_octets;
    let limit = used + used / 20 * 9 + used / 40;
    house.store.apply_account(ANNA, 2, settings(limit)).await.expect("less space");
    limit
}

#[tokio::test]
async fn over_quota_a_restore_stops_with_all_that_fits_and_can_be_resumed() {
    let house = halved_house().await;
    let limit = narrow(&house).await;
    let number = begin(&house, Scope::default(), Target::InPlace).await;
    let job = finish(&restores(&house), number).await;
    assert_eq!(job.state, RestoreState::Stopped);
    assert!(job.trouble.as_deref().is_some_and(|text| text.contains("over quota")), "{job:?}");
    assert!((8..=10).contains(&job.restored), "{job:?}");
    house.store.apply_account(ANNA, 3, settings(limit * 2)).await.expect("more space");
    restores(&house)
        .resume(ANNA, number, &Batch::default())
        .await
        .expect("resume")
        .expect("the job");
    let job = finish(&restores(&house), number).await;
    assert_eq!((job.state, job.restored), (RestoreState::Done, 20), "{job:?}");
    assert_eq!(subjects(&house, "INBOX").await, numbers(1..41));
}

#[tokio::test]
async fn one_message_comes_back_and_an_erased_one_is_counted_and_a_cancelled_job_ends() {
    let house = halved_house().await;
    let anna = house.anna().await;
    let open = house.snapshots.open(ANNA, 1).await.expect("open");
    let row = super::step::one(&open, INBOX, uid(30)).await.expect("read").expect("the row");
    let scope = |uid| Scope { mailbox: Some(INBOX), uid: Some(uid), ..Scope::default() };
    let number = begin(&house, scope(uid(31)), Target::InPlace).await;
    assert_eq!(finish(&restores(&house), number).await.restored, 1);
    assert_eq!(subjects(&house, "INBOX").await.last().expect("one"), "numero 31");
    let request = EraseRequest {
        email_number: row.email_number,
        reason: ErasureReason::Other,
        envelope: Envelope::default(),
        also: Batch::default(),
    };
    anna.erase(request).await.expect("erase");
    let number = begin(&house, scope(uid(30)), Target::InPlace).await;
    let job = finish(&restores(&house), number).await;
    assert_eq!((job.restored, job.erased, job.state), (0, 1, RestoreState::Done));
    let number = begin(&house, Scope::default(), Target::InPlace).await;
    restores(&house).step(ANNA, number).await.expect("step");
    restores(&house).cancel(ANNA, number, &Batch::default()).await.expect("cancel");
    assert_eq!(finish(&restores(&house), number).await.state, RestoreState::Cancelled);
    let missing = Scope { mailbox: Some(MailboxId(99)), ..Scope::default() };
    assert!(restores(&house).begin(ANNA, 1, missing, Target::InPlace, MORNING).await.is_err());
}

#[tokio::test]
async fn a_mailbox_that_is_gone_is_made_again_with_those_below_it() {
    let (house, anna) = House::new(small()).await;
    let top = anna.create_mailbox("Clienti", None).await.expect("create");
    let below = anna.create_mailbox("Clienti/Rossi", None).await.expect("create");
    house.fill(top, 1..4).await;
    house.fill(below, 4..9).await;
    house.take().await;
    anna.delete_mailbox("Clienti/Rossi").await.expect("delete");
    anna.delete_mailbox("Clienti").await.expect("delete");
    let scope = Scope { mailbox: Some(top), below: true, ..Scope::default() };
    let number = begin(&house, scope, Target::InPlace).await;
    assert_eq!(finish(&restores(&house), number).await.restored, 8);
    assert_eq!(subjects(&house, "Clienti").await, numbers(1..4));
    assert_eq!(subjects(&house, "Clienti/Rossi").await, numbers(4..9));
}

#[tokio::test]
async fn a_name_that_only_stands_above_others_means_those_below_it() {
    let (house, anna) = House::new(small()).await;
    for (number, name) in ["Clienti/Rossi", "Clienti/Verdi", "Clientela"].into_iter().enumerate() {
        let id = anna.create_mailbox(name, None).await.expect("create");
        house.append(id, number).await;
    }
    anna.delete_mailbox("Clienti").await.expect("delete");
    house.take().await;
    let scope = Scope { above: Some("Clienti".to_owned()), below: true, ..Scope::default() };
    let number = begin(&house, scope, Target::Into("Ripristino".to_owned())).await;
    let job = finish(&restores(&house), number).await;
    assert_eq!((job.state, job.total, job.restored), (RestoreState::Done, 2, 2), "{job:?}");
    assert_eq!(subjects(&house, "Ripristino/Clienti/Rossi").await, numbers(0..1));
    assert_eq!(subjects(&house, "Ripristino/Clienti/Verdi").await, numbers(1..2));
}

#[test]
fn a_job_reads_back_and_hostile_octets_are_refused() {
    let job = RestoreJob {
        account: ANNA,
        number: 3,
        snapshot: 9,
        scope: Scope {
            mailbox: Some(INBOX),
            above: Some("Clienti".to_owned()),
            below: true,
            uid: Some(uid(4)),
        },
        root: Some("Ripristino".to_owned()),
        begun: MORNING,
        state: RestoreState::Stopped,
        trouble: Some("over quota".to_owned()),
        position: Some(super::job::Position::start(INBOX)),
        done: 1,
        total: 2,
        restored: 3,
        present: 4,
        erased: 5,
        unreadable: 6,
    };
    let (key, octets) = (super::job::key(ANNA, 3), job.encode());
    assert_eq!(RestoreJob::decode(&key, &octets).expect("the job"), job);
    for cut in 0..octets.len() {
        let _ = RestoreJob::decode(&key, &octets[..cut]);
    }
    assert!(RestoreJob::decode(&key, &[]).is_err());
    assert!(RestoreJob::decode(&key, &[2]).is_err());
    assert!(RestoreJob::decode(&key[1..], &octets).is_err());
}

#[tokio::test]
async fn a_missing_chunk_stops_a_restore_with_its_reason_and_it_can_be_resumed_when_mended() {
    let house = halved_house().await;
    let chunks = Family("chunk_index");
    let rows = house.engine.scan(&Scan::prefix(chunks, &[], usize::MAX)).await.expect("chunks");
    assert!(!rows.is_empty());
    let (mut lose, mut mend) = (Batch::default(), Batch::default());
    for (key, value) in rows {
        lose.delete(chunks, key.clone());
        mend.put(chunks, key, value);
    }
    house.store.commit(lose).await.expect("commit");
    let number = begin(&house, Scope::default(), Target::InPlace).await;
    let job = finish(&restores(&house), number).await;
    assert_eq!((job.state, job.restored), (RestoreState::Stopped, 0), "{job:?}");
    assert!(job.trouble.as_deref().is_some_and(|text| text.contains("chunks")), "{job:?}");
    house.store.commit(mend).await.expect("commit");
    restores(&house)
        .resume(ANNA, number, &Batch::default())
        .await
        .expect("resume")
        .expect("the job");
    let job = finish(&restores(&house), number).await;
    assert_eq!((job.state, job.restored), (RestoreState::Done, 20), "{job:?}");
    assert_eq!(subjects(&house, "INBOX").await, numbers(1..41));
}

#[tokio::test]
async fn messages_that_cannot_be_read_are_counted_and_the_others_come_back() {
    let house = halved_house().await;
    let open = house.snapshots.open(ANNA, 1).await.expect("open");
    let mut lose = Batch::default();
    for (number, family, value) in [
        (25, keys::MESSAGES, None),
        (26, keys::MESSAGES, Some("")),
        // A version that no program writes.
        (27, keys::MESSAGES, Some("~")),
        (33, keys::SUMMARIES, None),
    ] {
        let row = super::step_one(&open, INBOX, uid(number)).await;
        let key = keys::message(ANNA, row.email_number);
        match value {
            Some(value) => lose.put(family, key, value),
            None => lose.delete(family, key),
        };
    }
    house.store.commit(lose).await.expect("commit");
    let number = begin(&house, Scope::default(), Target::InPlace).await;
    let job = finish(&restores(&house), number).await;
    assert_eq!((job.state, job.restored, job.unreadable), (RestoreState::Done, 16, 4), "{job:?}");
    assert_eq!((job.done, job.present), (40, 20));
    let left = (1..41).filter(|number| ![25, 26, 27, 33].contains(number));
    assert_eq!(subjects(&house, "INBOX").await, numbers(left));
    // When the snapshot itself goes, the job stops.
    let number = begin(&house, Scope::default(), Target::Into("Altro".to_owned())).await;
    restores(&house).step(ANNA, number).await.expect("step");
    house.snapshots.forget(ANNA, 1).await.expect("forget");
    let job = finish(&restores(&house), number).await;
    assert_eq!((job.state, job.unreadable), (RestoreState::Stopped, 0), "{job:?}");
}

#[tokio::test]
async fn names_too_deep_or_too_long_below_the_root_become_the_last_level_or_the_identifier() {
    let (house, anna) = House::new(small()).await;
    let deep = ["a"; 19].join("/");
    let mut ids = Vec::new();
    for (number, name) in ["fondo", "doppio"].into_iter().enumerate() {
        let id = anna.create_mailbox(&format!("{deep}/{name}"), None).await.expect("create");
        house.fill(id, number + 1..number + 2).await;
        ids.push(id);
    }
    anna.create_mailbox("doppio", None).await.expect("create");
    house.take().await;
    let root = "r".repeat(255);
    let number = begin(&house, Scope::default(), Target::Into(root.clone())).await;
    let job = finish(&restores(&house), number).await;
    assert_eq!((job.state, job.restored), (RestoreState::Done, 2), "{job:?}");
    assert_eq!(subjects(&house, &format!("{root}/fondo")).await, numbers(1..2));
    assert_eq!(subjects(&house, &format!("{root}/{}", ids[1])).await, numbers(2..3));
}

#[tokio::test]
async fn a_job_that_is_resumed_keeps_its_mailbox_unless_that_has_gone() {
    let (house, anna) = House::new(small()).await;
    let from = anna.create_mailbox("Pratiche", None).await.expect("create");
    house.fill(from, 1..5).await;
    house.take().await;
    let scope = Scope { mailbox: Some(from), ..Scope::default() };
    let number = begin(&house, scope, Target::Into("Ripristino".to_owned())).await;
    let job = restores(&house).step(ANNA, number).await.expect("step").expect("the job");
    let (restores, position) = (restores(&house), job.position.expect("a position"));
    let into = position.destination.expect("a destination");
    let stopped = |job: &mut RestoreJob| job.state = RestoreState::Stopped;
    // Renamed meanwhile, it is the same mailbox.
    anna.rename_mailbox("Ripristino/Pratiche", "Ripristino/Altre").await.expect("rename");
    restores.change(ANNA, number, &Batch::default(), stopped).await.expect("stop");
    let resumed =
        restores.resume(ANNA, number, &Batch::default()).await.expect("resume").expect("the job");
    assert_eq!(resumed.position, Some(position));
    anna.delete_mailbox("Ripristino/Altre").await.expect("delete");
    restores.change(ANNA, number, &Batch::default(), stopped).await.expect("stop");
    let resumed =
        restores.resume(ANNA, number, &Batch::default()).await.expect("resume").expect("the job");
    assert_eq!(resumed.position.expect("a position").destination, None);
    assert_eq!(finish(&restores, number).await.restored, 4);
    assert_eq!(subjects(&house, "Ripristino/Pratiche").await, numbers(1..5));
    let made = anna.mailbox_by_name("Ripristino/Pratiche").await.expect("it").state().await;
    assert_ne!(made.expect("its state").mailbox_id, into);
}

#[tokio::test]
async fn a_row_that_cannot_be_read_holds_up_no_other_job() {
    let house = halved_house().await;
    let number = begin(&house, Scope::default(), Target::InPlace).await;
    let mut batch = Batch::default();
    batch.put(super::SNAPSHOT_RESTORES, super::key(ANNA, 0), "nonsense");
    house.store.commit(batch).await.expect("commit");
    let running = restores(&house).running().await.expect("running");
    let numbers: Vec<u64> = running.jobs.iter().map(|job| job.number).collect();
    assert_eq!((numbers, running.unreadable.len()), (vec![number], 1));
}

#[tokio::test]
async fn an_account_has_so_many_open_jobs_and_remembers_so_many_that_ended() {
    let house = halved_house().await;
    let restores = restores(&house);
    let scope = Scope { mailbox: Some(INBOX), uid: Some(uid(30)), ..Scope::default() };
    for _ in 0..5 {
        let number = begin(&house, scope.clone(), Target::InPlace).await;
        assert_eq!(finish(&restores, number).await.state, RestoreState::Done);
    }
    let open = [
        begin(&house, scope.clone(), Target::InPlace).await,
        begin(&house, scope.clone(), Target::Into("Ripristino".to_owned())).await,
    ];
    let kept: Vec<u64> =
        restores.list(ANNA).await.expect("list").iter().map(|job| job.number).collect();
    assert_eq!(kept, [3, 4, 5, open[0], open[1]]);
    let beside = Target::Into("Ripristino".to_owned());
    let refused = restores.begin(ANNA, 1, scope.clone(), beside, MORNING).await;
    assert!(
        matches!(refused, Err(SnapshotError::TooManyRestores { account: ANNA, limit: 2 })),
        "{refused:?}"
    );
    restores.cancel(ANNA, open[0], &Batch::default()).await.expect("cancel");
    begin(&house, scope, Target::InPlace).await;
}

#[tokio::test]
async fn while_a_restore_in_place_is_open_another_one_is_refused() {
    let house = halved_house().await;
    let limit = narrow(&house).await;
    let restores = restores(&house);
    let again = || restores.begin(ANNA, 1, Scope::default(), Target::InPlace, MORNING);
    let (one, other) = tokio::join!(again(), again());
    assert!(one.is_ok() != other.is_ok(), "{one:?} {other:?}");
    let number = one.or(other).expect("one of them").number;
    assert_eq!(finish(&restores, number).await.state, RestoreState::Stopped);
    let refused = again().await;
    assert!(
        matches!(refused, Err(SnapshotError::InPlaceOpen { account: ANNA, number: 1 })),
        "{refused:?}"
    );
    let beside = Target::Into("Ripristino".to_owned());
    let beside = restores.begin(ANNA, 1, Scope::default(), beside, MORNING).await.expect("beside");
    restores.cancel(ANNA, beside.number, &Batch::default()).await.expect("cancel");
    house.store.apply_account(ANNA, 3, settings(limit * 2)).await.expect("more space");
    restores.resume(ANNA, number, &Batch::default()).await.expect("resume").expect("the job");
    assert_eq!(finish(&restores, number).await.restored, 20);
    let number = again().await.expect("the first has ended").number;
    assert_eq!(finish(&restores, number).await.restored, 0);
    assert_eq!(subjects(&house, "INBOX").await, numbers(1..41));
}

#[tokio::test]
async fn what_the_holder_took_out_of_the_snapshot_while_a_job_stood_still_comes_no_second_time() {
    let (house, anna) = House::new(small()).await;
    house.fill(INBOX, 1..41).await;
    // Twice in the mailbox: both come back, also when the job stops between them.
    house.append(INBOX, 21).await;
    house.take().await;
    let half: Vec<_> = (21..42).map(uid).collect();
    house.expunge(INBOX, &half).await;
    let limit = narrow(&house).await;
    let number = begin(&house, Scope::default(), Target::InPlace).await;
    let restores = restores(&house);
    let stopped = finish(&restores, number).await;
    assert_eq!(stopped.state, RestoreState::Stopped);
    assert!((8..=10).contains(&stopped.restored), "{stopped:?}");
    house.store.apply_account(ANNA, 3, settings(limit * 2)).await.expect("more space");
    let open = house.snapshots.open(ANNA, 1).await.expect("open");
    let mut rows = Vec::new();
    for number in [35, 36] {
        rows.push(RestoredRow::from(&super::step_one(&open, INBOX, uid(number)).await));
    }
    let request = RestoreRows {
        destination: INBOX,
        rows,
        quota: QuotaRule::Enforce,
        erased: ErasedRows::Refuse,
        also: Batch::default(),
    };
    anna.restore_rows(request).await.expect("copied");
    restores.resume(ANNA, number, &Batch::default()).await.expect("resume").expect("the job");
    let job = finish(&restores, number).await;
    assert_eq!((job.state, job.restored, job.present), (RestoreState::Done, 19, 22), "{job:?}");
    let (mut found, mut wanted) = (subjects(&house, "INBOX").await, numbers(1..41));
    wanted.push("numero 21".to_owned());
    found.sort();
    wanted.sort();
    assert_eq!(found, wanted);
}

#[tokio::test]
async fn a_snapshot_that_goes_while_a_restore_waits_for_its_turn_gets_no_job() {
    let house = halved_house().await;
    let restores = restores(&house);
    let place = house.snapshots.place(ANNA).await;
    let begun = restores.begin(ANNA, 1, Scope::default(), Target::InPlace, MORNING);
    let mut begun = std::pin::pin!(begun);
    for _ in 0..100 {
        assert!(futures::poll!(&mut begun).is_pending());
        tokio::task::yield_now().await;
    }
    let mut gone = Batch::default();
    gone.delete(SNAPSHOTS, crate::keep::keys::snapshot(ANNA, 1));
    house.store.commit(gone).await.expect("commit");
    drop(place);
    let refused = begun.await;
    assert!(matches!(refused, Err(SnapshotError::NoSuchSnapshot { .. })), "{refused:?}");
    assert_eq!(restores.list(ANNA).await.expect("list"), []);
}
