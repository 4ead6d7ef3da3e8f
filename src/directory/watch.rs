//! The daily round of the directory: fetch, and after a failure sooner again.
//!
//! Not here: what is fetched ([`super::keeper`]).

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;
use trust::random::RandomSource;

use super::keeper::DirectoryKeeper;
use crate::config::{DirectorySettings, units::Millis};

/// The share of a pause that chance takes away or adds, in per cent: providers that were started
/// together do not all ask in the same second.
const CHANCE_PERCENT: u64 = 10;

/// The pause after `failures` failures in a row, before chance.
fn pause(settings: &DirectorySettings, failures: u32) -> Duration {
    let Some(doublings) = failures.checked_sub(1) else { return settings.refresh.duration() };
    let first = settings.fetch.retry_first.0;
    let longest = settings.fetch.retry_longest.0.min(settings.refresh.0);
    let grown = first.saturating_mul(1_u64.checked_shl(doublings).unwrap_or(u64::MAX));
    Millis(grown.min(longest)).duration()
}

/// `pause` and up to a tenth less: no interval that was promised grows.
fn by_chance(pause: Duration, random: &dyn RandomSource) -> Duration {
    let mut octets = [0; 8];
    random.fill(&mut octets);
    let millis = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
    let share = u64::from_be_bytes(octets) % (millis * CHANCE_PERCENT / 100).max(1);
    Duration::from_millis(millis - share.min(millis))
}

/// Fetches every `refresh`, until the stop.
pub async fn run(
    keeper: Arc<DirectoryKeeper>,
    settings: DirectorySettings,
    random: Arc<dyn RandomSource>,
    stopping: CancellationToken,
) {
    if settings.fetch.url.is_none() {
        return;
    }
    let mut failures = 0;
    let mut rest = first_pause(&keeper, &settings).await;
    loop {
        tokio::select! {
            () = stopping.cancelled() => return,
            () = tokio::time::sleep(rest) => {}
        }
        let outcome = tokio::select! {
            () = stopping.cancelled() => return,
            outcome = keeper.fetch() => outcome,
        };
        match outcome {
            Ok(_) => failures = 0,
            Err(error) => {
                failures += 1;
                tracing::error!(error = %format_args!("{error:#}"), failures, "the directory was not fetched: the last good copy stays in use");
            }
        }
        rest = by_chance(pause(&settings, failures), &*random);
    }
}

/// What is left of the interval since the copy was confirmed last; nothing after a failure at the
/// start.
async fn first_pause(keeper: &DirectoryKeeper, settings: &DirectorySettings) -> Duration {
    let status = keeper.status().await;
    let age = status.confirmed_millis.map(|confirmed| keeper.now().0.saturating_sub(confirmed));
    match age.map(u64::try_from) {
        Some(Ok(age)) => Millis(settings.refresh.0.saturating_sub(age)).duration(),
        _ => pause(settings, 1),
    }
}

#[cfg(test)]
mod tests {
    use trust::random::SeededRandom;

    use super::*;
    use crate::config::Config;

    #[test]
    fn pauses_double_from_the_first_to_the_longest_and_chance_only_shortens_them() {
        let settings = Config::default().directory;
        let minutes = |failures| pause(&settings, failures).as_secs() / 60;
        let expected = [24 * 60, 1, 2, 4, 8, 16, 32, 60, 60];
        assert_eq!([0, 1, 2, 3, 4, 5, 6, 7, 200].map(minutes), expected);
        let random = SeededRandom::new(3);
        for _ in 0..1_000 {
            let rest = by_chance(Duration::from_secs(100), &random);
            assert!((90..=100).contains(&rest.as_secs()), "{rest:?}");
        }
    }
}
