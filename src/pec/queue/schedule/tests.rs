//! Turns, counted by position.

mod world;

use super::*;
use crate::pec::records::DestinationRecord;

const BOUNDS: Bounds = Bounds { entries: 1_000, per_destination: 4, connections: 64 };
const NOW: UnixMillis = UnixMillis(1_000);

fn lane(number: u8) -> LaneId {
    LaneId([number; 16])
}

fn id(number: u64) -> QueueId {
    let mut octets = [0; 16];
    octets[8..].copy_from_slice(&number.to_be_bytes());
    QueueId(octets)
}

fn due(number: u64, to: u8, class: u64) -> Due {
    Due { id: id(number), lane: lane(to), class, at: NOW }
}

fn schedule() -> Schedule {
    Schedule::new(BOUNDS)
}

/// What a lane's one connection would send, without any window read.
fn drain(schedule: &mut Schedule, to: u8) -> Vec<QueueId> {
    let mut sent = Vec::new();
    loop {
        match schedule.next(lane(to)) {
            Next::Message(id, _) => {
                sent.push(id);
                schedule.release(id, None, NOW);
            }
            Next::Read(class, ..) => schedule.filled(lane(to), class, None),
            Next::Look(..) => schedule.looked(lane(to), None, NOW),
            Next::Nothing => return sent,
        }
    }
}

/// Lets the lane's connection look for senders, and find these, whose messages are due.
fn look(schedule: &mut Schedule, to: u8, classes: &[u64]) {
    assert!(matches!(schedule.next(lane(to)), Next::Look(..)));
    let senders = classes.iter().map(|class| (*class, NOW)).collect();
    schedule.looked(lane(to), Some(Looked { senders, on: None }), NOW);
}

fn failure(at: i64) -> DestinationRecord {
    DestinationRecord { failures: 1, next_attempt_millis: at, ..DestinationRecord::default() }
}

#[test]
fn nothing_is_sent_before_it_is_due_and_nothing_by_two() {
    let mut schedule = schedule();
    schedule.announce(Due { at: UnixMillis(2_000), ..due(1, 1, 1) }, NOW);
    schedule.ripen(UnixMillis(1_999));
    assert_eq!(schedule.take(), None);
    schedule.ripen(UnixMillis(2_000));
    assert_eq!(schedule.take(), Some(lane(1)));
    // What is due later is not remembered one by one: it is looked for when its instant comes.
    look(&mut schedule, 1, &[1]);
    assert_eq!(schedule.next(lane(1)), Next::Read(1, None, WINDOW_ENTRIES));
    assert_eq!(schedule.next(lane(1)), Next::Nothing, "it is being read");
    let read = Read { ids: vec![id(1)], after: None, later: Some(UnixMillis(3_000)) };
    schedule.filled(lane(1), 1, Some(read));
    assert_eq!(schedule.next(lane(1)), Next::Message(id(1), 1));
    schedule.announce(due(1, 1, 1), NOW);
    assert_eq!(schedule.next(lane(1)), Next::Nothing, "it is being attempted");
    schedule.ripen(UnixMillis(3_000));
    assert!(matches!(schedule.next(lane(1)), Next::Look(None, _)));
}

/// The second of two senders does not wait behind the thousand of the first.
#[test]
fn senders_of_a_destination_take_turns_message_by_message() {
    let mut schedule = schedule();
    for number in 0..90 {
        schedule.announce(due(number, 1, 1), NOW);
    }
    for number in 0..3 {
        schedule.announce(due(1_000 + number, 1, 2), NOW);
    }
    schedule.announce(due(2_000, 1, 3), NOW);
    assert_eq!(schedule.take(), Some(lane(1)));
    let sent = drain(&mut schedule, 1);
    assert_eq!(sent.len(), 94);
    let position = |number| sent.iter().position(|sent| *sent == id(number)).expect("sent");
    assert_eq!(position(1_000), 1, "one message of each other sender before it");
    assert_eq!(position(2_000), 2);
    assert_eq!(position(1_001), 4);
    assert_eq!(position(1_002), 6);
    assert_eq!(position(89), 93);
}

/// However much stands in the catalog, whoever comes is in the ring at once.
#[test]
fn a_full_window_keeps_nobody_else_out() {
    let mut schedule = Schedule::new(Bounds { connections: 1_000, ..BOUNDS });
    for number in 0..500 {
        schedule.announce(due(number, 1, 1), NOW);
    }
    schedule.announce(due(900, 1, 2), NOW);
    assert_eq!(schedule.take(), Some(lane(1)));
    assert_eq!(schedule.next(lane(1)), Next::Message(id(0), 1));
    assert_eq!(schedule.next(lane(1)), Next::Message(id(900), 2));
    for number in 1..WINDOW_ENTRIES as u64 {
        assert_eq!(schedule.next(lane(1)), Next::Message(id(number), 1));
    }
    // The rest is read, behind what was read before.
    assert_eq!(schedule.next(lane(1)), Next::Read(1, None, WINDOW_ENTRIES));
    let ids: Vec<QueueId> = (0..150).map(id).collect();
    let after = Some(Bytes::from_static(b"key"));
    schedule.filled(lane(1), 1, Some(Read { ids, after: after.clone(), later: None }));
    for number in 100..150 {
        assert_eq!(schedule.next(lane(1)), Next::Message(id(number), 1), "others are claimed");
    }
    assert_eq!(schedule.next(lane(1)), Next::Read(1, after, WINDOW_ENTRIES));
}

#[test]
fn the_entries_in_memory_are_bounded_and_the_rest_is_found_in_the_catalog() {
    let bounds = Bounds { entries: 10, ..BOUNDS };
    let mut schedule = Schedule::new(bounds);
    assert!(schedule.take_incomplete(), "the catalog is looked through at the start");
    for number in 0..50 {
        schedule.announce(due(number, 1, 0), NOW);
    }
    assert_eq!(schedule.known.len(), 10);
    assert!(!schedule.take_incomplete(), "the window says that there is more");
    for number in 0..50 {
        schedule.announce(due(100 + number, 2, 100 + number), NOW);
    }
    assert_eq!(schedule.windows, 2);
    assert!(!schedule.take_incomplete(), "the lane says that there are more");
    for number in 0..50 {
        schedule.announce(due(200 + u64::from(number), number, 7), NOW);
    }
    assert!(schedule.take_incomplete());
    assert_eq!(schedule.lanes.len(), 10);
    let mut looks = 0;
    loop {
        match schedule.next(lane(2)) {
            Next::Message(id, _) => schedule.release(id, None, NOW),
            Next::Look(from, room) => {
                assert_eq!(room, 1);
                looks += 1;
                let senders = vec![(looks, NOW)];
                let on = (looks < 5).then(|| Due::prefix(lane(2), looks + 1).into());
                assert_eq!(from.is_none(), looks == 1);
                schedule.looked(lane(2), Some(Looked { senders, on }), NOW);
            }
            Next::Read(class, _, entries) => {
                assert_eq!(entries, 1, "one at a time while there is no room");
                let read = Read { ids: Vec::new(), after: None, later: None };
                schedule.filled(lane(2), class, Some(read));
            }
            Next::Nothing => break,
        }
    }
    assert_eq!(looks, 5);
}

/// More wait for a destination than there is room for, and it does not answer.
#[test]
fn however_many_wait_for_one_destination_another_has_its_turn() {
    for fails in [false, true] {
        let mut schedule = Schedule::new(Bounds { entries: 10, ..BOUNDS });
        assert!(schedule.take_incomplete());
        for number in 0..50 {
            schedule.announce(due(number, 1, number), NOW);
        }
        assert_eq!(schedule.take(), Some(lane(1)));
        let Next::Message(taken, class) = schedule.next(lane(1)) else { panic!("a message") };
        if fails {
            schedule.failed(lane(1), failure(9_000));
            schedule.give_back(taken, lane(1), class);
            schedule.ended(lane(1));
            for number in 50..100 {
                schedule.announce(due(number, 1, number), NOW);
            }
            assert!(schedule.note(lane(1)));
            assert_eq!((schedule.windows, schedule.lanes.len(), schedule.known.len()), (0, 0, 0));
        }
        schedule.announce(due(200, 2, 200), NOW);
        assert_eq!(schedule.take(), Some(lane(2)), "{fails}");
        assert_eq!(schedule.next(lane(2)), Next::Message(id(200), 200));
        assert!(!schedule.take_incomplete(), "all of it is known of");
        if fails {
            schedule.ripen(UnixMillis(9_000));
            assert_eq!(schedule.take(), Some(lane(1)));
            assert!(matches!(schedule.next(lane(1)), Next::Look(None, _)));
        }
    }
}

/// Messages that were put off are waited for in more lanes than can be remembered.
#[test]
fn what_is_due_later_keeps_nobody_out() {
    let mut schedule = Schedule::new(Bounds { entries: 10, ..BOUNDS });
    assert!(schedule.take_incomplete());
    for number in 0..50 {
        let at = UnixMillis(2_000 + i64::from(number));
        schedule.announce(Due { at, ..due(u64::from(number), number, 1) }, NOW);
    }
    assert_eq!((schedule.lanes.len(), schedule.wakes.len()), (10, 10));
    schedule.announce(due(200, 200, 1), NOW);
    assert_eq!(schedule.take(), Some(lane(200)));
    assert!(!schedule.take_incomplete());
    schedule.ripen(UnixMillis(2_049));
    assert!(schedule.take_incomplete(), "what was forgotten is looked for when it is due");
}

#[test]
fn one_destination_cannot_take_every_connection() {
    let mut schedule = schedule();
    for number in 0..50 {
        schedule.announce(due(number, 1, number), NOW);
    }
    schedule.announce(due(200, 2, 1), NOW);
    let mut lanes: Vec<LaneId> = std::iter::from_fn(|| schedule.take()).collect();
    lanes.sort();
    assert_eq!(lanes, [lane(1), lane(2)], "one each, until one has answered");
    for _ in 0..9 {
        schedule.succeeded(lane(1));
    }
    assert_eq!(std::iter::from_fn(|| schedule.take()).count(), 3, "four in all");
    assert_eq!(schedule.connections(), 5);
}

#[test]
fn lanes_take_turns_and_a_quarter_of_all_connections_is_kept_for_new_ones() {
    let bounds = Bounds { connections: 8, per_destination: 8, ..BOUNDS };
    let mut schedule = Schedule::new(bounds);
    for number in 0..80 {
        schedule.announce(due(number, 1, number), NOW);
        schedule.announce(due(100 + number, 2, number), NOW);
    }
    let first = schedule.take().expect("a lane");
    let second = schedule.take().expect("a lane");
    assert_ne!(first, second);
    for _ in 0..8 {
        schedule.succeeded(lane(1));
        schedule.succeeded(lane(2));
    }
    let more: Vec<LaneId> = std::iter::from_fn(|| schedule.take()).collect();
    assert_eq!(more, [first, second, first, second], "in turn, up to three quarters");
    for number in 3..9 {
        schedule.announce(due(300 + u64::from(number), number, 1), NOW);
    }
    assert_eq!(std::iter::from_fn(|| schedule.take()).count(), 2, "eight in all");
}

/// There is one connection, and always somebody new.
#[test]
fn a_destination_that_waits_goes_before_new_ones() {
    let mut schedule = Schedule::new(Bounds { connections: 1, ..BOUNDS });
    for number in 0..10 {
        schedule.announce(due(number, 200, 1), NOW);
    }
    let mut taken = Vec::new();
    for number in 0..20 {
        schedule.announce(due(u64::from(number) + 100, number, 1), NOW);
        let lane = schedule.take().expect("a lane");
        let Next::Message(id, _) = schedule.next(lane) else { panic!("a message") };
        schedule.release(id, None, NOW);
        schedule.ended(lane);
        taken.push(lane);
    }
    let positions: Vec<usize> = (0..20).filter(|at| taken[*at] == lane(200)).collect();
    assert!(positions.len() >= 3, "{positions:?}");
}

/// Begins with every message for which there is a connection.
fn begin(schedule: &mut Schedule) -> Vec<(LaneId, QueueId, u64)> {
    let mut begun = Vec::new();
    while let Some(lane) = schedule.take() {
        match schedule.next(lane) {
            Next::Message(id, class) => begun.push((lane, id, class)),
            _ => schedule.ended(lane),
        }
        assert!(begun.len() < 1_000, "it ends");
    }
    begun
}

/// One sender's message to many destinations that hang.
#[test]
fn one_sender_cannot_take_every_connection() {
    let bounds = Bounds { connections: 8, ..BOUNDS };
    let mut schedule = Schedule::new(bounds);
    for number in 0..40 {
        schedule.announce(due(u64::from(number), number, 1), NOW);
    }
    let mut begun = begin(&mut schedule);
    assert_eq!(begun.len(), 6, "nobody else waits, and the last quarter is for whoever comes");
    for number in 100..110 {
        schedule.announce(due(u64::from(number), number, 2), NOW);
    }
    let others = begin(&mut schedule);
    assert_eq!(others.iter().map(|(.., class)| *class).collect::<Vec<_>>(), [2, 2]);
    // Both have their share. A third comes first, however long the others have waited.
    for number in 120..122 {
        schedule.announce(due(u64::from(number), number, 3), NOW);
    }
    for _ in 0..2 {
        let (lane, id, _) = begun.pop().expect("under way");
        schedule.release(id, None, NOW);
        assert_eq!(schedule.next(lane), Next::Nothing);
        schedule.ended(lane);
        let next = begin(&mut schedule);
        assert_eq!(next.iter().map(|(.., class)| *class).collect::<Vec<_>>(), [3]);
    }
    // The second has his share, the first has more: who waits longest goes on with his.
    let mut sent = 0;
    while let Some((lane, id, _)) = begun.pop() {
        schedule.release(id, None, NOW);
        assert_eq!(schedule.next(lane), Next::Nothing);
        schedule.ended(lane);
        begun.extend(begin(&mut schedule));
        sent += 1;
    }
    assert_eq!(sent, 46, "nothing is forgotten");
}

/// The mass of one sender leaves by a quarter of the connections while another's waits.
#[test]
fn a_sender_with_his_share_leaves_the_connection_to_another() {
    let mut schedule = Schedule::new(Bounds { connections: 4, ..BOUNDS });
    for number in 0..30 {
        schedule.announce(due(number, 1, 1), NOW);
        schedule.announce(due(100 + number, 2, 1), NOW);
    }
    let begun = begin(&mut schedule);
    assert_eq!(begun.len(), 2, "a destination that has not answered has one");
    for number in 3..6 {
        schedule.announce(due(200 + u64::from(number), number, u64::from(number)), NOW);
    }
    assert_eq!(begin(&mut schedule).len(), 2);
    let (lane, id, _) = begun[0];
    schedule.release(id, None, NOW);
    assert_eq!(schedule.next(lane), Next::Nothing, "he has one, and another waits");
    schedule.ended(lane);
    let next = begin(&mut schedule);
    assert_eq!(next.iter().map(|(.., class)| *class).collect::<Vec<_>>(), [5]);
}

#[test]
fn a_destination_that_fails_is_left_alone_and_then_tried_once_for_all() {
    let mut schedule = schedule();
    for number in 0..50 {
        schedule.announce(due(number, 1, number), NOW);
    }
    assert_eq!(schedule.take(), Some(lane(1)));
    let Next::Message(taken, class) = schedule.next(lane(1)) else { panic!("a message") };
    assert!(!schedule.has_others(lane(1)));
    schedule.give_back(taken, lane(1), class);
    schedule.failed(lane(1), failure(5_000));
    schedule.ended(lane(1));
    schedule.announce(due(500, 1, 500), NOW);
    schedule.ripen(UnixMillis(4_999));
    assert_eq!(schedule.take(), None);
    schedule.ripen(UnixMillis(5_000));
    assert_eq!(schedule.take(), Some(lane(1)));
    assert_eq!(schedule.take(), None, "one tries for all");
    assert!(schedule.succeeded(lane(1)));
    assert!(!schedule.succeeded(lane(1)));
    assert_eq!(std::iter::from_fn(|| schedule.take()).count(), 2, "by what was answered");
    // One of several that fails means that there are too many.
    assert!(schedule.has_others(lane(1)));
    schedule.ended(lane(1));
    assert_eq!(schedule.take(), None);
    schedule.failed(lane(1), failure(9_000));
    schedule.hurry(lane(1));
    schedule.ended(lane(1));
    schedule.ended(lane(1));
    assert_eq!(schedule.take(), Some(lane(1)), "an operator does not wait");
}

/// It was committed after the reading had begun, which does not see it.
#[test]
fn what_comes_while_a_window_is_read_is_read_afterwards() {
    let mut schedule = schedule();
    schedule.note(lane(1));
    assert_eq!(schedule.take(), Some(lane(1)));
    look(&mut schedule, 1, &[1]);
    assert!(matches!(schedule.next(lane(1)), Next::Read(1, None, _)));
    schedule.announce(due(2, 1, 1), NOW);
    schedule.filled(lane(1), 1, Some(Read { ids: vec![id(1)], after: None, later: None }));
    assert_eq!(schedule.next(lane(1)), Next::Message(id(1), 1));
    assert!(matches!(schedule.next(lane(1)), Next::Read(1, None, _)));
    let ids = vec![id(1), id(2)];
    schedule.filled(lane(1), 1, Some(Read { ids, after: None, later: None }));
    assert_eq!(schedule.next(lane(1)), Next::Message(id(2), 1), "and nothing twice");
    assert_eq!(schedule.next(lane(1)), Next::Nothing);
}

/// Its instant was drawn before those that were read, and it was committed after them.
#[test]
fn what_comes_to_stand_before_the_last_that_was_read_is_read_too() {
    let earlier = Due { at: UnixMillis(900), ..due(9, 1, 1) };
    for while_reading in [false, true] {
        let mut schedule = schedule();
        schedule.note(lane(1));
        assert_eq!(schedule.take(), Some(lane(1)));
        look(&mut schedule, 1, &[1]);
        assert!(matches!(schedule.next(lane(1)), Next::Read(1, None, _)));
        if while_reading {
            schedule.announce(earlier, NOW);
        }
        let after = Some(due(1, 1, 1).octets());
        schedule.filled(lane(1), 1, Some(Read { ids: vec![id(1)], after, later: None }));
        if !while_reading {
            schedule.announce(earlier, NOW);
        }
        assert_eq!(schedule.next(lane(1)), Next::Message(id(1), 1));
        assert!(matches!(schedule.next(lane(1)), Next::Read(1, None, _)), "{while_reading}");
    }
}

#[test]
fn what_an_operator_is_at_is_not_sent_meanwhile() {
    let mut schedule = schedule();
    schedule.announce(due(1, 1, 1), NOW);
    assert!(schedule.claim(id(1)));
    assert!(!schedule.claim(id(1)));
    assert_eq!(schedule.next(lane(1)), Next::Nothing);
    schedule.release(id(1), Some(due(1, 1, 1)), NOW);
    assert_eq!(schedule.next(lane(1)), Next::Message(id(1), 1));
    assert!(!schedule.claim(id(1)), "a connection is at it");
    schedule.release(id(1), None, NOW);
    assert_eq!(schedule.known.len(), 0);
}

/// What waits for a destination that fails goes where it is given up at once.
#[test]
fn a_row_that_moves_to_another_lane_does_not_wait_for_the_old_one() {
    let mut schedule = schedule();
    schedule.announce(due(1, 1, 1), NOW);
    schedule.failed(lane(1), failure(9_000));
    schedule.announce(due(1, 2, 1), NOW);
    assert_eq!(schedule.take(), Some(lane(2)));
    assert_eq!(schedule.next(lane(2)), Next::Message(id(1), 1));
    assert_eq!(schedule.next(lane(1)), Next::Nothing, "not by two");
}

/// The connection that is at it cannot be had: what was given up does not wait for the destination.
#[test]
fn what_is_given_back_goes_where_its_row_stands_now() {
    let mut schedule = schedule();
    schedule.announce(due(1, 1, 1), NOW);
    assert_eq!(schedule.take(), Some(lane(1)));
    assert_eq!(schedule.next(lane(1)), Next::Message(id(1), 1));
    schedule.announce(due(1, 2, 1), NOW);
    schedule.failed(lane(1), failure(9_000));
    schedule.give_back(id(1), lane(1), 1);
    schedule.ended(lane(1));
    assert_eq!(schedule.take(), Some(lane(2)));
    assert_eq!(schedule.next(lane(2)), Next::Message(id(1), 1));
    // Who has tried it and wrote down when it is due knows better.
    schedule.announce(due(1, 3, 1), NOW);
    schedule.release(id(1), Some(Due { at: UnixMillis(2_000), ..due(1, 2, 1) }), NOW);
    schedule.ended(lane(2));
    assert_eq!(schedule.take(), None);
}

#[test]
fn nothing_is_remembered_of_what_is_done() {
    let mut schedule = schedule();
    for number in 0..300 {
        schedule.announce(due(number, u8::try_from(number % 7).expect("small"), number), NOW);
    }
    while let Some(lane) = schedule.take() {
        while let Next::Message(id, _) = schedule.next(lane) {
            schedule.succeeded(lane);
            schedule.release(id, None, NOW);
        }
        schedule.ended(lane);
    }
    assert!(schedule.lanes.is_empty() && schedule.known.is_empty());
    assert!((0..7).all(|number| !schedule.places.contains(lane(number))));
    assert!((0..300).all(|class| schedule.places.busy(class) == 0));
    assert_eq!((schedule.windows, schedule.connections()), (0, 0));
    // A failing destination is forgotten once it is known that nothing waits for it.
    schedule.failed(lane(1), failure(2_000));
    schedule.ripen(UnixMillis(2_000));
    assert_eq!(schedule.forgotten(UnixMillis(2_001)), []);
    assert_eq!(schedule.take(), Some(lane(1)));
    look(&mut schedule, 1, &[]);
    assert_eq!(schedule.next(lane(1)), Next::Nothing);
    schedule.ended(lane(1));
    assert_eq!(schedule.forgotten(UnixMillis(1_999)), []);
    assert_eq!(schedule.forgotten(UnixMillis(2_001)), [lane(1)]);
    assert!(schedule.lanes.is_empty());
    assert_eq!(schedule.failing(), 0);
}
