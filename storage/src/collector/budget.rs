//! How fast a run may be: octets and requests per second.
//!
//! Work is paid for after it is done, by a rest as long as the budget gives it. So a run never
//! exceeds its budget by more than one step, and needs no clock.

use std::{sync::Mutex, sync::PoisonError, time::Duration};

/// Rests shorter than this are saved up.
const REST_MIN: Duration = Duration::from_millis(20);

/// What a run may use in a second; 0 = as much as there is.
#[derive(Debug)]
pub(crate) struct Budget {
    octets_per_second: u64,
    requests_per_second: u64,
    owed: Mutex<Duration>,
}

impl Budget {
    pub(crate) fn new(octets_per_second: u64, requests_per_second: u64) -> Self {
        Self { octets_per_second, requests_per_second, owed: Mutex::default() }
    }

    /// Pays for octets read or written, and for requests to the object store.
    pub(crate) async fn pay(&self, octets: u64, requests: u64) {
        let rest = self.owe(octets, requests);
        if rest >= REST_MIN {
            tokio::time::sleep(rest).await;
        }
    }

    /// Adds to what is owed, and returns the rest that is due.
    fn owe(&self, octets: u64, requests: u64) -> Duration {
        let mut owed = self.owed.lock().unwrap_or_else(PoisonError::into_inner);
        *owed += seconds(octets, self.octets_per_second)
            .max(seconds(requests, self.requests_per_second));
        if *owed < REST_MIN { Duration::ZERO } else { std::mem::take(&mut owed) }
    }
}

fn seconds(amount: u64, per_second: u64) -> Duration {
    let Some(whole) = amount.checked_div(per_second) else { return Duration::ZERO };
    let rest = u128::from(amount % per_second) * 1_000_000_000 / u128::from(per_second);
    Duration::new(whole, u32::try_from(rest).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_is_rested_for_and_nothing_is_forgotten() {
        let budget = Budget::new(1_000, 10);
        assert_eq!(budget.owe(10, 0), Duration::ZERO);
        assert_eq!(budget.owe(10, 0), Duration::from_millis(20));
        assert_eq!(budget.owe(500, 30), Duration::from_secs(3));
        assert_eq!(budget.owe(2_500, 1), Duration::from_millis(2_500));
        assert_eq!(Budget::new(0, 0).owe(u64::MAX, u64::MAX), Duration::ZERO);
    }
}
