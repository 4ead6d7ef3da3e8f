//! How many questions may be asked for one destination.
//!
//! A zone may name many servers, and lead from each by aliases to many names; who sends mail to it
//! chooses what its DNS makes us ask, and of whom. So all that is asked for one destination is counted:
//! each try at each server, answered or not.
//!
//! Not here: how long a question may take, how many are asked at a time ([`super::Names`]).

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use super::error::Failure;

/// Questions that are left. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct Budget {
    /// `None`: without end.
    left: Option<Arc<AtomicUsize>>,
}

impl Budget {
    pub(super) fn endless() -> Self {
        Self { left: None }
    }

    pub(super) fn of(questions: usize) -> Self {
        Self { left: Some(Arc::new(AtomicUsize::new(questions))) }
    }

    /// Takes one question.
    pub(super) fn take(&self) -> Result<(), Failure> {
        let Some(left) = &self.left else { return Ok(()) };
        left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
            .map(drop)
            .map_err(|_| Failure::not_asked("dns.questions_per_destination_max have been asked"))
    }
}
