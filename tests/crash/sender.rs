//! The provider that takes submissions is killed, while it receives some, accepts others and has
//! others on their way.

use std::{collections::BTreeSet, ops::Range};

use crate::{
    TRANSMISSIONS,
    outcome::{assert_each_exactly_once, stop_and_check},
    support::{Pair, load::Load, metric, wait_until},
};

/// Clients that submit at the same time.
const CLIENTS: u64 = 4;

/// Acknowledged submissions at which the provider is killed.
const KILLS: [usize; 3] = [25, 75, 130];

/// Submissions, by what their client knows of them.
#[derive(Default)]
struct Submitted {
    /// They got their 250.
    acknowledged: BTreeSet<u64>,
    /// They were on their way when the provider was killed.
    in_doubt: BTreeSet<u64>,
}

impl Submitted {
    /// Takes in what a client that had to submit `numbers` knows; what is left for the next one.
    fn note(&mut self, numbers: Range<u64>, load: Load) -> Range<u64> {
        let acknowledged = load.end();
        let next = acknowledged.last_key_value().map_or(numbers.start, |(last, _)| last + 1);
        self.acknowledged.extend(acknowledged.into_keys());
        if next < numbers.end {
            self.in_doubt.insert(next);
        }
        (next + 1).min(numbers.end)..numbers.end
    }
}

#[test]
#[expect(clippy::print_stderr, reason = "the figures are worth reading, most with --nocapture")]
fn a_provider_killed_while_it_takes_and_sends_200_messages_keeps_what_it_acknowledged_once() {
    let mut pair = Pair::new("");
    pair.alfa.let_flood(&pair.alfa.address("mario"));
    pair.alfa.start();
    pair.beta.start();
    let each = TRANSMISSIONS / CLIENTS;
    let mut left: Vec<_> = (0..CLIENTS).map(|client| client * each..(client + 1) * each).collect();
    let mut submitted = Submitted::default();
    for enough in KILLS.map(Some).into_iter().chain([None]) {
        let begin = |range: &Range<u64>| Load::start(&pair, range.start, range.end - range.start);
        let loads: Vec<Load> = left.iter().map(begin).collect();
        if let Some(enough) = enough {
            let before = submitted.acknowledged.len();
            let known = || before + loads.iter().map(Load::acknowledged).sum::<usize>();
            wait_until("some are acknowledged", || known() >= enough);
            pair.alfa.kill();
            assert!((known() as u64) < TRANSMISSIONS, "the kill must come while some are sent");
        }
        left =
            left.into_iter().zip(loads).map(|(range, load)| submitted.note(range, load)).collect();
        if enough.is_some() {
            pair.alfa.start();
        }
    }
    let Submitted { acknowledged, in_doubt } = &submitted;
    assert_eq!((acknowledged.len() + in_doubt.len()) as u64, TRANSMISSIONS);
    let complete = assert_each_exactly_once(&pair, acknowledged, in_doubt);
    let repeats = metric(&pair.beta, "ceralacca_incoming_repeats_total");
    stop_and_check(pair);
    eprintln!(
        "killed {} times: {} acknowledged, {} in doubt of which {complete} are complete; {repeats} \
         envelopes came again",
        KILLS.len(),
        acknowledged.len(),
        in_doubt.len(),
    );
}
