//! Three providers, the wires between them, and time.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use ceralacca::pec::records::{
    DELIVERY_WORK, INCOMING_WORK, OUTGOING_QUEUE, RecipientRecord, RecipientState,
    TRANSMISSION_RECIPIENTS, TRANSMISSION_WORK, decode,
};
use storage::{
    catalog::engine::{Family, Reader as _, Scan},
    ids::AccountId,
};
use trust::{
    clock::{Clock as _, ManualClock},
    random::SeededRandom,
};

use crate::{
    letter::written,
    network::{ALFA, BETA, GAMMA, NOON, keys},
    node::{Holder, Node},
    wire::{Wire, below},
};

/// Where work stands while it is not done.
const WORK: [Family; 4] = [TRANSMISSION_WORK, INCOMING_WORK, DELIVERY_WORK, OUTGOING_QUEUE];

/// How long a simulation may take: nothing in it waits for longer than its network does.
const PATIENCE: Duration = Duration::from_mins(1);

/// The real pause between two looks.
const TICK: Duration = Duration::from_millis(4);

/// When the power of a machine is cut.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cuts {
    /// Never.
    None,
    /// Once, of this machine, at this step of its commits.
    Once { node: usize, step: i64 },
    /// Again and again while it storms, every so many steps, drawn below this number.
    Often { steps_below: u64 },
}

pub(crate) struct World {
    pub(crate) nodes: Vec<Node>,
    pub(crate) clock: Arc<ManualClock>,
    /// Identifiers of the submissions that were answered.
    pub(crate) answered: Vec<String>,
    /// Submissions, answered or not.
    pub(crate) sent: usize,
    /// Hours that have passed for the providers.
    pub(crate) hours: i64,
    /// How often the power was cut.
    pub(crate) cuts: usize,
    pub(crate) random: SeededRandom,
    stormy: Arc<AtomicBool>,
    plan: Cuts,
    _wires: Vec<Wire>,
}

fn holder(id: u64, address: &'static str) -> Holder {
    Holder { id: AccountId(id), address }
}

impl World {
    pub(crate) async fn start(seed: u64, stormy: bool, plan: Cuts) -> Self {
        let clock = Arc::new(ManualClock::new(NOON));
        let node = |name, issued, holders, number: u64| {
            Node::new(name, issued, holders, Arc::clone(&clock), seed.wrapping_mul(8) + number)
        };
        let alfa = [
            holder(1, "anna@pec.alfa.example"),
            holder(2, "aldo@pec.alfa.example"),
            holder(3, "posta-certificata@alfa.example"),
        ];
        let beta = [
            holder(1, "bruno@pec.beta.example"),
            holder(2, "bice@pec.beta.example"),
            holder(3, "posta-certificata@beta.example"),
        ];
        let gamma = [
            holder(1, "giulia@pec.gamma.example"),
            holder(2, "guido@pec.gamma.example"),
            holder(3, "posta-certificata@gamma.example"),
        ];
        let mut nodes = vec![
            node(ALFA, &keys().alfa, alfa, 1),
            node(BETA, &keys().beta, beta, 2),
            node(GAMMA, &keys().gamma, gamma, 3),
        ];
        let stormy = Arc::new(AtomicBool::new(stormy));
        let mut wires = Vec::new();
        let mut routes = Vec::new();
        for (number, node) in (0..).zip(&nodes) {
            let random = SeededRandom::new(seed.wrapping_mul(64) + number);
            let wire = Wire::start(Arc::clone(&node.port), Arc::clone(&stormy), random).await;
            routes.push((node.name.domain().as_str().to_owned(), wire.port));
            routes.push((node.mailboxes().to_owned(), wire.port));
            wires.push(wire);
        }
        for node in &mut nodes {
            node.routes.clone_from(&routes);
        }
        let random = SeededRandom::new(seed);
        let (answered, sent, hours, cuts) = (Vec::new(), 0, 0, 0);
        let mut world =
            Self { nodes, clock, answered, sent, hours, cuts, random, stormy, plan, _wires: wires };
        for node in 0..world.nodes.len() {
            world.start_node(node).await;
        }
        world
    }

    async fn start_node(&mut self, node: usize) {
        let (steps, reads_count) = match self.plan {
            Cuts::Once { node: named, step } if named == node && self.cuts == 0 => {
                (Some(step), false)
            }
            Cuts::Often { steps_below } if self.stormy.load(Ordering::SeqCst) => {
                let steps = below(&self.random, steps_below);
                (i64::try_from(steps).ok(), true)
            }
            _ => (None, false),
        };
        if !self.nodes[node].start(steps, reads_count).await {
            self.cuts += 1;
            self.nodes[node].start(None, false).await;
        }
    }

    pub(crate) fn node_of(&self, address: &str) -> &Node {
        let domain = address.rsplit('@').next().expect("a domain");
        let of = |node: &&Node| domain == node.mailboxes() || domain == node.name.domain().as_str();
        self.nodes.iter().find(of).expect("a provider")
    }

    /// A holder of `node` sends a message; what is answered is remembered.
    pub(crate) async fn send(&mut self, node: usize, sender: usize, recipients: &[&str]) {
        let from = self.nodes[node].holders[sender];
        let number = below(&self.random, u64::MAX);
        let message = written(from.address, &recipients.join(", "), "", &format!("{number}"));
        let recipients = recipients.iter().map(|address| (*address).to_owned()).collect();
        // A machine that dies under a submission never answers.
        if let Some(identifier) = self.nodes[node].submit(from, recipients, message).await {
            self.answered.push(identifier);
        }
        self.sent += 1;
    }

    /// Lets a little time pass, `simulated` of it for the providers; machines that died start again.
    pub(crate) async fn tick(&mut self, simulated: i64) {
        tokio::time::sleep(TICK).await;
        self.clock.advance(simulated);
        self.hours = (self.clock.now().0 - NOON.0) / 3_600_000;
        for node in 0..self.nodes.len() {
            let away = self.nodes[node].away;
            if !away && self.nodes[node].machine().catalog.is_dead() {
                self.nodes[node].kill();
                self.cuts += 1;
                self.start_node(node).await;
            }
        }
    }

    /// No connection is lost from now on, and no machine dies that has not been told to.
    pub(crate) async fn calm(&mut self) {
        self.stormy.store(false, Ordering::SeqCst);
        if matches!(self.plan, Cuts::Often { .. }) {
            for node in 0..self.nodes.len() {
                self.nodes[node].kill();
                self.start_node(node).await;
            }
        }
    }

    /// Waits until nobody has anything left to do, each tick being so many simulated milliseconds.
    pub(crate) async fn settle(&mut self, simulated: i64) {
        let settled = async {
            let mut quiet = 0;
            while quiet < 3 {
                self.tick(simulated).await;
                let before = self.commits();
                let idle = self.is_idle().await;
                quiet = if idle && self.commits() == before { quiet + 1 } else { 0 };
            }
        };
        tokio::time::timeout(PATIENCE, settled).await.expect("the providers come to an end");
    }

    /// Waits until so many recipients of the first provider have not been heard of in time.
    pub(crate) async fn until_expired(&mut self, wanted: usize) {
        let expired = async |world: &Self| {
            let scan = Scan::prefix(TRANSMISSION_RECIPIENTS, b"", usize::MAX);
            let catalog = &world.nodes[0].machine().catalog.inner;
            let rows = catalog.scan(&scan).await.expect("a scan");
            let state = |(key, value): &(Bytes, Bytes)| {
                let row: RecipientRecord =
                    decode(TRANSMISSION_RECIPIENTS, key, value).expect("a row");
                row.state()
            };
            rows.iter().map(state).filter(|state| *state == RecipientState::Expired).count()
        };
        let begun = std::time::Instant::now();
        while expired(self).await != wanted {
            assert!(begun.elapsed() < PATIENCE, "{wanted} recipients are told of");
            self.tick(0).await;
        }
    }

    /// A machine that was off is switched on.
    pub(crate) async fn return_node(&mut self, node: usize) {
        self.nodes[node].away = false;
        self.start_node(node).await;
    }

    fn commits(&self) -> u64 {
        self.nodes.iter().map(|node| node.machine().catalog.commits()).sum()
    }

    /// Commits of each provider since its last start.
    pub(crate) fn commits_of(&self, node: usize) -> u64 {
        self.nodes[node].machine().catalog.commits()
    }

    async fn is_idle(&self) -> bool {
        for node in &self.nodes {
            let machine = node.machine();
            if machine.catalog.is_dead() || !machine.engine.work().is_empty() {
                return false;
            }
            for family in WORK {
                let scan = Scan::prefix(family, b"", 1);
                let rows = machine.catalog.inner.scan(&scan).await.expect("a scan");
                if !rows.is_empty() {
                    return false;
                }
            }
        }
        true
    }
}
