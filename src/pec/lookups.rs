//! What the way to other servers asks of DNS: a trait, so that tests hand in tables.
//!
//! Invariant: an answer says whether DNSSEC has validated it; nothing that was not validated is
//! ever called secure.
//!
//! Not here: what is done with the answers ([`super::destination`], [`super::tls_policy`]).

use std::net::IpAddr;

pub use protocols::net::dane::TlsaRecord;

/// A look-up's value, and whether DNSSEC has validated it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Answer<T> {
    /// What the records say.
    pub value: T,
    /// Whether they, and all that leads to them, are signed and were verified.
    pub secure: bool,
}

/// One MX record.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Exchange {
    /// Lower is better (RFC 5321 §5.1).
    pub preference: u16,
    /// The server's name without a final dot; empty for the null MX (RFC 7505).
    pub host: String,
}

/// Why there is no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LookupError {
    /// The name does not exist.
    #[error("there is no {name} in DNS")]
    NoSuchName {
        /// The name.
        name: String,
    },
    /// The name exists, records of the kind do not.
    #[error("{name} has no such records in DNS")]
    NoRecords {
        /// The name.
        name: String,
    },
    /// DNS does not answer, or its answer must not be believed. Try again later.
    #[error("DNS does not answer for {name}: check the resolver ({detail}); it is asked again")]
    Unreachable {
        /// The name.
        name: String,
        /// The resolver's words.
        detail: String,
    },
}

impl LookupError {
    /// Whether DNS has said that there is nothing, which is an answer.
    pub fn is_absence(&self) -> bool {
        !matches!(self, Self::Unreachable { .. })
    }
}

/// Looks names up.
#[async_trait::async_trait]
pub trait Lookups: Send + Sync + std::fmt::Debug {
    /// The MX records of a domain, the best first.
    async fn mx(&self, domain: &str) -> Result<Answer<Vec<Exchange>>, LookupError>;

    /// The addresses of a host, of both families.
    async fn addresses(&self, host: &str) -> Result<Answer<Vec<IpAddr>>, LookupError>;

    /// The TXT records of a name, each as one text.
    async fn txt(&self, name: &str) -> Result<Answer<Vec<String>>, LookupError>;

    /// The TLSA records of the service at `port` of `host`.
    async fn tlsa(&self, host: &str, port: u16) -> Result<Answer<Vec<TlsaRecord>>, LookupError>;
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
        ) -> Result<Answer<Vec<T>>, LookupError> {
            let owned = name.to_owned();
            if self.unreachable.contains(name) {
                return Err(LookupError::Unreachable { name: owned, detail: "table".to_owned() });
            }
            match records.get(name) {
                Some(value) => {
                    Ok(Answer { value: value.clone(), secure: self.secure.contains(name) })
                }
                None if self.names.contains(name) => Err(LookupError::NoRecords { name: owned }),
                None => Err(LookupError::NoSuchName { name: owned }),
            }
        }
    }

    #[async_trait::async_trait]
    impl Lookups for Table {
        async fn mx(&self, domain: &str) -> Result<Answer<Vec<Exchange>>, LookupError> {
            self.answer(&self.mx, domain)
        }

        async fn addresses(&self, host: &str) -> Result<Answer<Vec<IpAddr>>, LookupError> {
            self.answer(&self.addresses, host)
        }

        async fn txt(&self, name: &str) -> Result<Answer<Vec<String>>, LookupError> {
            self.answer(&BTreeMap::new(), name)
        }

        async fn tlsa(
            &self,
            host: &str,
            port: u16,
        ) -> Result<Answer<Vec<TlsaRecord>>, LookupError> {
            self.answer(&BTreeMap::new(), &format!("_{port}._tcp.{host}"))
        }
    }
}
