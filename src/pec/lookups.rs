//! What the way to other servers asks of DNS: a trait, so that tests hand in tables.
//!
//! Invariants:
//!
//! * What one destination costs is bounded: all that is asked for it goes by way of
//!   [`Lookups::for_one_destination`].
//! * An answer says whether DNSSEC has validated it; nothing that was not validated is ever called
//!   secure.
//!
//! Not here: DNS itself (`crate::names`), what is done with the answers ([`super::destination`], [`super::tls_policy`]).

use std::{net::IpAddr, sync::Arc};

pub use crate::names::{Answer, Exchange, Kind, NamesError, TlsaRecord};

/// Looks names up.
#[async_trait::async_trait]
pub trait Lookups: Send + Sync + std::fmt::Debug {
    /// The same, for what is asked to find the servers of one destination and how to talk to them: with
    /// a bound on it all, whatever its zone leads to. Beyond it nothing is found out
    /// ([`NamesError::NotAsked`]).
    fn for_one_destination(self: Arc<Self>) -> Arc<dyn Lookups>;

    /// The MX records of a domain, the best first.
    async fn mx(&self, domain: &str) -> Result<Answer<Vec<Exchange>>, NamesError>;

    /// The addresses of a host, of both families.
    async fn addresses(&self, host: &str) -> Result<Answer<Vec<IpAddr>>, NamesError>;

    /// The TXT records of a name, each as one text.
    async fn txt(&self, name: &str) -> Result<Answer<Vec<String>>, NamesError>;

    /// The TLSA records of the service at `port` of `host`.
    async fn tlsa(&self, host: &str, port: u16) -> Result<Answer<Vec<TlsaRecord>>, NamesError>;
}

/// A table in place of DNS.
#[cfg(test)]
pub(crate) mod table {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    /// What DNS says. A name that is not in it does not exist.
    #[derive(Clone, Debug, Default)]
    pub(crate) struct Table {
        mx: BTreeMap<String, Vec<Exchange>>,
        addresses: BTreeMap<String, Vec<IpAddr>>,
        names: BTreeSet<String>,
        secure: BTreeSet<String>,
        unreachable: BTreeSet<String>,
    }

    impl Table {
        pub(crate) fn mx(mut self, domain: &str, exchanges: &[(u16, &str)]) -> Self {
            let exchange = |(preference, host): &(u16, &str)| Exchange {
                preference: *preference,
                host: (*host).to_owned(),
            };
            self.mx.insert(domain.to_owned(), exchanges.iter().map(exchange).collect());
            self.exists(domain)
        }

        pub(crate) fn addresses(mut self, host: &str, addresses: &[&str]) -> Self {
            let addresses = addresses.iter().map(|text| text.parse().unwrap()).collect();
            self.addresses.insert(host.to_owned(), addresses);
            self.exists(host)
        }

        pub(crate) fn exists(mut self, name: &str) -> Self {
            self.names.insert(name.to_owned());
            self
        }

        /// What is said of `name` was validated.
        pub(crate) fn secure(mut self, name: &str) -> Self {
            self.secure.insert(name.to_owned());
            self
        }

        pub(crate) fn unreachable(mut self, name: &str) -> Self {
            self.unreachable.insert(name.to_owned());
            self
        }

        fn answer<T: Clone>(
            &self,
            records: &BTreeMap<String, Vec<T>>,
            name: &str,
            kind: Kind,
        ) -> Result<Answer<Vec<T>>, NamesError> {
            let owned = name.to_owned();
            if self.unreachable.contains(name) {
                return Err(NamesError::Unreachable {
                    name: owned,
                    kind,
                    reason: "table".to_owned(),
                });
            }
            match records.get(name) {
                Some(value) => {
                    Ok(Answer { value: value.clone(), secure: self.secure.contains(name) })
                }
                None if self.names.contains(name) => {
                    Err(NamesError::NoRecords { name: owned, kind })
                }
                None => Err(NamesError::NoSuchName { name: owned }),
            }
        }
    }

    #[async_trait::async_trait]
    impl Lookups for Table {
        fn for_one_destination(self: Arc<Self>) -> Arc<dyn Lookups> {
            self
        }

        async fn mx(&self, domain: &str) -> Result<Answer<Vec<Exchange>>, NamesError> {
            self.answer(&self.mx, domain, Kind::Mx)
        }

        async fn addresses(&self, host: &str) -> Result<Answer<Vec<IpAddr>>, NamesError> {
            self.answer(&self.addresses, host, Kind::Address)
        }

        async fn txt(&self, name: &str) -> Result<Answer<Vec<String>>, NamesError> {
            self.answer(&BTreeMap::new(), name, Kind::Txt)
        }

        async fn tlsa(&self, host: &str, port: u16) -> Result<Answer<Vec<TlsaRecord>>, NamesError> {
            self.answer(&BTreeMap::new(), &format!("_{port}._tcp.{host}"), Kind::Tlsa)
        }
    }
}
