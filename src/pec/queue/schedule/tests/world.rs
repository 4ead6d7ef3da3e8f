//! Whatever happens: turns by chance.

use std::collections::BTreeMap;

use trust::random::{RandomSource as _, SeededRandom};

use super::*;

/// A catalog and connections that do what chance wants.
struct World {
    random: SeededRandom,
    schedule: Schedule,
    catalog: BTreeSet<Due>,
    now: UnixMillis,
    queued: u64,
    sent: BTreeMap<QueueId, usize>,
    connections: Vec<(LaneId, At)>,
    /// Rows whose instant is drawn and that are not committed.
    drawn: Vec<Due>,
    /// Where the survey goes on.
    from: LaneId,
}

/// What a connection is at.
#[derive(Debug)]
enum At {
    Nothing,
    Message(QueueId, u64),
    /// It has seen what was there when it looked.
    Reading(u64, Read),
    Looking(Looked),
}

impl World {
    fn new(seed: u64, entries: usize) -> Self {
        let bounds = Bounds { entries, per_destination: 3, connections: 6 };
        Self {
            random: SeededRandom::new(seed),
            schedule: Schedule::new(bounds),
            catalog: BTreeSet::new(),
            now: NOW,
            queued: 0,
            sent: BTreeMap::new(),
            connections: Vec::new(),
            drawn: Vec::new(),
            from: lane(0),
        }
    }

    fn chance(&self, of: u64) -> u64 {
        self.random.next_u64() % of
    }

    /// Draws the instant of a message.
    fn draw(&mut self) {
        self.queued += 1;
        let to = u8::try_from(self.chance(4)).expect("small");
        let later = [0, 0, 700][usize::try_from(self.chance(3)).expect("small")];
        let at = self.now.plus_millis(later);
        self.drawn.push(Due { at, ..due(self.queued, to, self.chance(5)) });
    }

    /// Queues one of the messages that were drawn; now and then its announcement is lost.
    fn queue(&mut self) {
        let Some(last) = self.drawn.len().checked_sub(1) else { return };
        let at = usize::try_from(self.chance(last as u64 + 1)).expect("small");
        let due = self.drawn.swap_remove(at);
        self.catalog.insert(due);
        if self.chance(10) == 0 {
            self.schedule.set_incomplete();
        } else {
            self.schedule.announce(due, self.now);
        }
    }

    fn survey(&mut self) {
        if !self.schedule.take_incomplete() {
            return;
        }
        let lanes: BTreeSet<LaneId> = self.catalog.iter().map(|due| due.lane).collect();
        let from = std::mem::replace(&mut self.from, lane(0));
        for lane in lanes.range(from..) {
            if !self.schedule.note(*lane) {
                self.from = *lane;
                return;
            }
        }
        if from > lane(0) {
            self.schedule.set_incomplete();
        }
    }

    /// Which senders the catalog has in a lane from `from` on.
    fn look(&self, lane: LaneId, from: Option<&Bytes>, room: usize) -> Looked {
        let mut looked = Looked { senders: Vec::new(), on: None };
        let mut room = room;
        for due in self.catalog.iter().filter(|due| due.lane == lane) {
            let is_known = looked.senders.last().is_some_and(|(class, _)| *class == due.class);
            if is_known || from.is_some_and(|from| due.octets() < *from) {
                continue;
            }
            if room == 0 || looked.senders.len() == 3 {
                looked.on = Some(due.octets());
                break;
            }
            looked.senders.push((due.class, due.at));
            room -= usize::from(due.at <= self.now);
        }
        looked
    }

    /// What the catalog has of a sender behind `after`.
    fn read(&self, lane: LaneId, class: u64, after: Option<&Bytes>, entries: usize) -> Read {
        let mut read = Read { ids: Vec::new(), after: None, later: None };
        let mut last = None;
        for due in self.catalog.iter().filter(|due| (due.lane, due.class) == (lane, class)) {
            if after.is_some_and(|after| due.octets() <= *after) {
                continue;
            }
            if due.at > self.now {
                read.later = Some(due.at);
                break;
            }
            if read.ids.len() == entries {
                read.after = last;
                break;
            }
            read.ids.push(due.id);
            last = Some(due.octets());
        }
        read
    }

    /// One step of one connection; `willing`: the server takes everything.
    fn serve(&mut self, willing: bool) {
        let Some(last) = self.connections.len().checked_sub(1) else { return };
        let at = usize::try_from(self.chance(last as u64 + 1)).expect("small");
        let (lane, is_at) = std::mem::replace(&mut self.connections[at], (lane(0), At::Nothing));
        self.connections[at].0 = lane;
        match is_at {
            At::Nothing => self.go_on(at),
            At::Reading(class, read) => self.schedule.filled(lane, class, Some(read)),
            At::Looking(looked) => self.schedule.looked(lane, Some(looked), self.now),
            At::Message(id, class) => self.answer(at, id, class, willing),
        }
    }

    /// The connection asks what comes next.
    fn go_on(&mut self, at: usize) {
        let lane = self.connections[at].0;
        match self.schedule.next(lane) {
            Next::Message(id, class) => {
                let mut others = self.connections.iter().map(|(_, is_at)| is_at);
                let twice =
                    others.any(|is_at| matches!(is_at, At::Message(other, _) if *other == id));
                assert!(!twice, "by one at a time");
                self.connections[at].1 = At::Message(id, class);
            }
            Next::Read(class, after, entries) => {
                let read = self.read(lane, class, after.as_ref(), entries);
                self.connections[at].1 = At::Reading(class, read);
            }
            Next::Look(from, room) => {
                self.connections[at].1 = At::Looking(self.look(lane, from.as_ref(), room));
            }
            Next::Nothing => {
                self.connections.remove(at);
                self.schedule.ended(lane);
            }
        }
    }

    /// The server answers the message that the connection is at.
    fn answer(&mut self, at: usize, id: QueueId, class: u64, willing: bool) {
        let lane = self.connections[at].0;
        let stands = self.catalog.iter().find(|due| due.id == id).copied();
        let Some(due) = stands else { return self.schedule.release(id, None, self.now) };
        if due.at > self.now {
            return self.schedule.release(id, Some(due), self.now);
        }
        match if willing { 9 } else { self.chance(10) } {
            0 => {
                if !self.schedule.has_others(lane) {
                    self.schedule.failed(lane, failure(self.now.0 + 900));
                }
                self.schedule.give_back(id, lane, class);
                self.connections.remove(at);
                self.schedule.ended(lane);
            }
            1 | 2 => {
                let again = Due { at: self.now.plus_millis(500), ..due };
                self.catalog.remove(&due);
                self.catalog.insert(again);
                self.schedule.release(id, Some(again), self.now);
            }
            _ => {
                self.catalog.remove(&due);
                *self.sent.entry(id).or_default() += 1;
                self.schedule.succeeded(lane);
                self.schedule.release(id, None, self.now);
            }
        }
    }

    fn step(&mut self, willing: bool) {
        match self.chance(12) {
            0 if !willing => self.draw(),
            0 | 1 => self.queue(),
            2 => {
                self.now = self.now.plus_millis(200);
                self.schedule.ripen(self.now);
            }
            3 => self.survey(),
            4 | 5 => {
                if let Some(lane) = self.schedule.take() {
                    self.connections.push((lane, At::Nothing));
                }
                assert!(self.schedule.connections() <= 6);
            }
            _ => self.serve(willing),
        }
    }
}

#[test]
fn whatever_happens_every_message_is_sent_once_and_none_is_forgotten() {
    for (seed, entries) in (0..90).zip([40, 8, 3].into_iter().cycle()) {
        let mut world = World::new(seed, entries);
        for _ in 0..2_500 {
            world.step(false);
        }
        let mut steps = 0;
        while !world.catalog.is_empty() || !world.drawn.is_empty() {
            world.step(true);
            steps += 1;
            assert!(steps < 60_000, "seed {seed}: {:?} are forgotten", world.catalog);
        }
        assert_eq!(world.sent.len() as u64, world.queued, "seed {seed}");
        assert!(world.sent.values().all(|count| *count == 1), "seed {seed}");
    }
}

/// There is room for one of five senders at a time.
#[test]
fn senders_take_turns_message_by_message_also_where_there_is_no_room_for_all() {
    let mut world = World::new(1, 8);
    for number in 0..30 {
        world.catalog.insert(due(number, 1, number % 5));
    }
    assert!(world.schedule.note(lane(1)));
    assert_eq!(world.schedule.take(), Some(lane(1)));
    world.connections.push((lane(1), At::Nothing));
    let mut classes = Vec::new();
    while let Some((_, is_at)) = world.connections.first() {
        if let At::Message(_, class) = is_at {
            classes.push(*class);
        }
        world.serve(true);
        assert!(world.schedule.windows <= 1);
    }
    assert_eq!(classes.len(), 30);
    for round in classes.chunks(5) {
        let mut round = round.to_vec();
        round.sort_unstable();
        assert_eq!(round, [0, 1, 2, 3, 4], "{classes:?}");
    }
}
