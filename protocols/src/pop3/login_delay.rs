//! The time between two logins of an account (RFC 2449 §6.5).
//!
//! Invariants: only logins that got in are remembered, each for the delay, and never more than the
//! bound: when it is full the oldest is forgotten, who may then come early.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use storage::ids::AccountId;
use tokio::time::Instant;

#[derive(Debug, Default)]
struct Logins {
    at: HashMap<AccountId, Instant>,
    /// The keys of `at`; all are remembered equally long, so that the front always ends first.
    by_age: VecDeque<AccountId>,
}

/// Remembers who logged in lately.
#[derive(Debug)]
pub(super) struct LoginDelay {
    delay: Duration,
    accounts_max: usize,
    logins: Mutex<Logins>,
}

impl LoginDelay {
    /// Lets an account in once in `delay`; zero lets everybody in.
    pub(super) fn new(delay: Duration, accounts_max: usize) -> Self {
        Self { delay, accounts_max: accounts_max.max(1), logins: Mutex::default() }
    }

    /// What CAPA says: whole seconds, rounded up; `None` without a delay.
    pub(super) fn announced(&self) -> Option<u64> {
        let rounded_up = self.delay.as_secs() + u64::from(self.delay.subsec_nanos() > 0);
        (rounded_up > 0).then_some(rounded_up)
    }

    /// Whether the account must still wait.
    pub(super) fn holds_back(&self, account: AccountId, now: Instant) -> bool {
        let logins = self.logins.lock().unwrap_or_else(PoisonError::into_inner);
        logins.at.get(&account).is_some_and(|at| now.duration_since(*at) < self.delay)
    }

    /// Remembers that the account got in.
    pub(super) fn entered(&self, account: AccountId, now: Instant) {
        if self.delay.is_zero() {
            return;
        }
        let mut guard = self.logins.lock().unwrap_or_else(PoisonError::into_inner);
        let Logins { at, by_age } = &mut *guard;
        while let Some(oldest) = by_age.front() {
            let over = at.get(oldest).is_none_or(|at| now.duration_since(*at) >= self.delay);
            if !over && by_age.len() < self.accounts_max {
                break;
            }
            if let Some(oldest) = by_age.pop_front() {
                at.remove(&oldest);
            }
        }
        if at.insert(account, now).is_none() {
            by_age.push_back(account);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_waits_for_its_delay_and_memory_stays_bounded() {
        let delay = LoginDelay::new(Duration::from_millis(1_500), 3);
        assert_eq!(delay.announced(), Some(2));
        let start = Instant::now();
        let after = |millis| start + Duration::from_millis(millis);
        delay.entered(AccountId(1), start);
        assert!(delay.holds_back(AccountId(1), after(1_499)));
        assert!(!delay.holds_back(AccountId(1), after(1_500)));
        assert!(!delay.holds_back(AccountId(2), start));
        for account in 2..100 {
            delay.entered(AccountId(account), after(10));
            let logins = delay.logins.lock().unwrap();
            assert!(logins.at.len() <= 3 && logins.by_age.len() == logins.at.len());
        }
        assert!(delay.holds_back(AccountId(99), after(20)));
        delay.entered(AccountId(7), after(60_000));
        assert_eq!(delay.logins.lock().unwrap().at.len(), 1);
    }

    #[test]
    fn without_a_delay_nobody_is_remembered() {
        let none = LoginDelay::new(Duration::ZERO, 3);
        none.entered(AccountId(1), Instant::now());
        assert_eq!(none.announced(), None);
        assert!(!none.holds_back(AccountId(1), Instant::now()));
        assert!(none.logins.lock().unwrap().at.is_empty());
    }
}
