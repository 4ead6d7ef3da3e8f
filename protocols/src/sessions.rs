//! How many sessions of IMAP and POP3 are logged in: of one account, and from one source.
//!
//! Invariants: who is refused has proven who he is, so that the answer tells strangers nothing; a
//! place is given back whatever ends the session; the tables have never more entries than there are
//! sessions.
//!
//! Not here: connections, which are counted before anybody logs in ([`crate::net::limits`]).

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use storage::ids::AccountId;

use crate::net::limits::{Counts, Source};

/// The bounds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SessionLimitsSettings {
    /// Sessions of one account.
    pub per_account_max: usize,
    /// Sessions from one [`Source`], whatever their accounts.
    pub per_source_max: usize,
}

impl Default for SessionLimitsSettings {
    fn default() -> Self {
        Self { per_account_max: 64, per_source_max: 256 }
    }
}

/// Which bound one more session would exceed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum TooManySessions {
    /// [`SessionLimitsSettings::per_account_max`].
    #[error("the account has all the sessions that one account may have")]
    Account,
    /// [`SessionLimitsSettings::per_source_max`].
    #[error("this source has all the sessions that one source may have")]
    Source,
}

impl TooManySessions {
    /// What the peer reads, Italian and English.
    pub(crate) fn texts(self) -> (&'static str, &'static str) {
        match self {
            Self::Account => (
                "Troppe sessioni aperte su questa casella: chiuderne una",
                "Too many sessions of this account are open: close one",
            ),
            Self::Source => (
                "Troppe sessioni aperte da questo indirizzo: chiuderne una",
                "Too many sessions from this address are open: close one",
            ),
        }
    }
}

/// Counts sessions. One value serves several servers, which then share its bounds.
#[derive(Debug, Default)]
pub struct SessionLimits {
    settings: SessionLimitsSettings,
    open: Mutex<(Counts<AccountId>, Counts<Source>)>,
}

impl SessionLimits {
    /// Starts at zero sessions.
    #[must_use]
    pub fn new(settings: SessionLimitsSettings) -> Arc<Self> {
        Arc::new(Self { settings, open: Mutex::default() })
    }

    /// Counts one more session until the returned value is dropped.
    pub(crate) fn admit(
        self: &Arc<Self>,
        account: AccountId,
        peer: IpAddr,
    ) -> Result<OpenSession, TooManySessions> {
        let source = Source::from(peer);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let (of_account, of_source) = &mut *open;
        if of_account.of(&account) >= self.settings.per_account_max {
            return Err(TooManySessions::Account);
        }
        if of_source.of(&source) >= self.settings.per_source_max {
            return Err(TooManySessions::Source);
        }
        of_account.add(account);
        of_source.add(source);
        Ok(OpenSession { limits: Arc::clone(self), account, source })
    }
}

/// One counted session.
#[derive(Debug)]
pub(crate) struct OpenSession {
    limits: Arc<SessionLimits>,
    account: AccountId,
    source: Source,
}

impl Drop for OpenSession {
    fn drop(&mut self) {
        let mut open = self.limits.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.0.take(&self.account);
        open.1.take(&self.source);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_taken_by_account_and_by_source_and_given_back() {
        let limits =
            SessionLimits::new(SessionLimitsSettings { per_account_max: 2, per_source_max: 3 });
        let (here, there) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        let first = limits.admit(AccountId(1), here).unwrap();
        let _second = limits.admit(AccountId(1), there).unwrap();
        let refused = limits.admit(AccountId(1), there).unwrap_err();
        assert_eq!(refused, TooManySessions::Account);
        let _third = limits.admit(AccountId(2), here).unwrap();
        let _fourth = limits.admit(AccountId(2), here).unwrap();
        assert_eq!(limits.admit(AccountId(3), here).unwrap_err(), TooManySessions::Source);
        drop(first);
        drop(limits.admit(AccountId(1), here).unwrap());
        drop(limits.admit(AccountId(3), here).unwrap());
    }
}
