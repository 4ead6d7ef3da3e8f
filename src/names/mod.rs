//! Names: what DNS says about the domains and hosts of other servers.
//!
//! ```text
//! Names ── memory (bounded) ── chain (aliases) ── servers (one after the other, UDP then TCP)
//! ```
//!
//! * At most `dns.questions_max` questions are asked at a time. Further ones wait for their turn, for
//!   `dns.waiting_time_max` at most; from its turn on a question ends within `dns.question_time_max`. Not
//!   to get a turn says nothing about a name, and is not remembered.
//! * What is asked for one destination is bounded (`dns.questions_per_destination_max`): a zone may
//!   name many servers, and lead from each to many names.
//! * "There is none" and "nobody answers" never look alike: on the first a message is given back
//!   to its sender, on the second it waits.
//! * An answer is secure only when DNSSEC says so for every record that led to it
//!   (`dns.dnssec`); without DNSSEC no answer is.
//! * Names go over the wire as A-labels (RFC 5891), and come back in lower case without final dot.
//!
//! Not here: which server mail of a domain goes to (`pec::destination`), what a policy says; both ask
//! through `pec::lookups`.

mod budget;
mod chain;
mod error;
mod lookups;
mod memory;
mod servers;
mod wildcard;

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

pub use error::NamesError;
use hickory_resolver::{
    Hosts, TokioResolver,
    proto::{
        op::Query,
        rr::{Name, RData, RecordType},
    },
};
pub use protocols::net::dane::TlsaRecord;
use tokio::{sync::Semaphore, time::timeout};

use self::{
    budget::Budget,
    error::{Failure, Reason},
    memory::{Answered, Memory, Outcome},
    servers::Servers,
};
use crate::{
    config::DnsSettings,
    metrics_names::{DNS_CACHE_HITS, DNS_QUESTION_SECONDS, DNS_QUESTIONS},
};

/// What is asked about a name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// Mail exchanges.
    Mx,
    /// Addresses of both families.
    Address,
    /// Texts.
    Txt,
    /// Certificates by DANE (RFC 6698).
    Tlsa,
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Mx => "MX",
            Self::Address => "address",
            Self::Txt => "TXT",
            Self::Tlsa => "TLSA",
        })
    }
}

/// An answer, and whether DNSSEC vouches for it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Answer<T> {
    /// What was asked for; never an empty list.
    pub value: T,
    /// DNSSEC proves it, as far as `dns.dnssec` has it proven.
    pub secure: bool,
}

impl<T> Answer<T> {
    fn map<U>(self, change: impl FnOnce(T) -> U) -> Answer<U> {
        Answer { value: change(self.value), secure: self.secure }
    }
}

/// A server that takes mail for a domain (RFC 5321 §5.1).
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Exchange {
    /// The lowest is tried first.
    pub preference: u16,
    /// Its name; `.` in a null MX (RFC 7505).
    pub host: String,
}

/// Why names cannot be asked for at all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The system says of no server.
    #[error(
        "/etc/resolv.conf names no DNS server that can be used ({0}): set dns.servers in the configuration"
    )]
    System(String),
    /// The trust anchor cannot be read.
    #[error(
        "the trust anchor {} cannot be read ({detail}): put DNSKEY records there, one a line, such as `. 3600 IN DNSKEY 257 3 8 …`",
        file.display()
    )]
    TrustAnchor {
        /// dns.trust_anchor_file.
        file: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// The library refuses.
    #[error(
        "the DNS resolver cannot be made ({0}): check that the package ca-certificates is installed"
    )]
    Library(String),
}

/// Asks about names. Clones share servers and memory.
#[derive(Clone)]
pub struct Names {
    shared: Arc<Shared>,
    budget: Budget,
}

struct Shared {
    servers: Servers,
    hosts: Hosts,
    memory: Mutex<Memory>,
    questions: Semaphore,
    settings: DnsSettings,
}

impl fmt::Debug for Names {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Names")
            .field("settings", &self.shared.settings)
            .finish_non_exhaustive()
    }
}

impl Names {
    /// Takes the servers of `settings` into use. Nothing is asked yet.
    ///
    /// # Errors
    ///
    /// [`OpenError`].
    pub fn open(settings: &DnsSettings) -> Result<Self, OpenError> {
        // The file of the system is a convenience: without it only DNS answers.
        let hosts = Hosts::from_system().unwrap_or_default();
        Ok(Self {
            shared: Arc::new(Shared {
                servers: Servers::open(settings)?,
                hosts,
                memory: Mutex::new(Memory::new(settings)),
                questions: Semaphore::new(settings.questions_max.min(Semaphore::MAX_PERMITS)),
                settings: settings.clone(),
            }),
            budget: Budget::endless(),
        })
    }

    /// The same, for `dns.questions_per_destination_max` questions to servers: each try at each server
    /// counts, what is remembered does not. Clones share them.
    #[must_use]
    pub fn with_budget(&self) -> Self {
        let budget = Budget::of(self.shared.settings.questions_per_destination_max);
        Self { shared: Arc::clone(&self.shared), budget }
    }

    /// A resolver of the library over the same servers and bounds, for parts that bring their own
    /// questions. It has a memory of its own, of the same size, and validates nothing itself.
    #[must_use]
    pub fn resolver(&self) -> TokioResolver {
        self.shared.servers.resolver()
    }

    /// The servers that take mail for `domain`, by preference and then by name. A null MX is the
    /// one exchange `.`.
    ///
    /// # Errors
    ///
    /// [`NamesError`]; without MX records [`NamesError::NoRecords`], and the domain itself may be
    /// the server (RFC 5321 §5.1).
    pub async fn mx(&self, domain: &str) -> Result<Answer<Vec<Exchange>>, NamesError> {
        let (records, secure) = self.ask(domain, RecordType::MX, Kind::Mx).await?;
        let mut exchanges: Vec<Exchange> = records
            .iter()
            .filter_map(|record| match record {
                RData::MX(mx) => {
                    Some(Exchange { preference: mx.preference, host: plain(&mx.exchange) })
                }
                _ => None,
            })
            .collect();
        exchanges.sort();
        exchanges.dedup();
        Ok(Answer { value: exchanges, secure })
    }

    /// The addresses of `host`, those of IPv4 first: a server whose IPv6 is broken is reached
    /// without waiting for it. An address as `host` is its own answer; the file of the system
    /// (`/etc/hosts`) comes before DNS.
    ///
    /// # Errors
    ///
    /// [`NamesError`]. An answer for one of the two families is an answer.
    pub async fn addresses(&self, host: &str) -> Result<Answer<Vec<IpAddr>>, NamesError> {
        if let Some(value) = self.known_addresses(host) {
            return Ok(Answer { value, secure: false });
        }
        let (four, six) = tokio::join!(
            self.ask(host, RecordType::A, Kind::Address),
            self.ask(host, RecordType::AAAA, Kind::Address),
        );
        let (records, secure) = match (four, six) {
            (Ok((mut records, secure)), Ok((more, secure_too))) => {
                records.extend(more);
                (records, secure && secure_too)
            }
            (Ok(found), Err(_)) | (Err(_), Ok(found)) => found,
            // What is known for the moment only counts for more than what is known for good.
            (Err(error), Err(other)) => {
                let temporary = other.is_temporary() && !error.is_temporary();
                return Err(if temporary { other } else { error });
            }
        };
        let addresses = records.iter().filter_map(RData::ip_addr).collect();
        Ok(Answer { value: addresses, secure })
    }

    /// The texts of `name`, the pieces of each joined (RFC 7208 §3.3).
    ///
    /// # Errors
    ///
    /// [`NamesError`].
    pub async fn txt(&self, name: &str) -> Result<Answer<Vec<String>>, NamesError> {
        let (records, secure) = self.ask(name, RecordType::TXT, Kind::Txt).await?;
        let text = |record: &RData| match record {
            RData::TXT(text) => Some(String::from_utf8_lossy(&text.txt_data.concat()).into_owned()),
            _ => None,
        };
        Ok(Answer { value: records, secure }
            .map(|records| records.iter().filter_map(text).collect()))
    }

    /// The TLSA records of the TCP port `port` of `host` (RFC 6698 §3).
    ///
    /// # Errors
    ///
    /// [`NamesError`].
    pub async fn tlsa(&self, host: &str, port: u16) -> Result<Answer<Vec<TlsaRecord>>, NamesError> {
        let name = format!("_{port}._tcp.{host}");
        let (records, secure) = self.ask(&name, RecordType::TLSA, Kind::Tlsa).await?;
        let record = |record: &RData| match record {
            RData::TLSA(tlsa) => Some(TlsaRecord {
                usage: tlsa.cert_usage.into(),
                selector: tlsa.selector.into(),
                matching: tlsa.matching.into(),
                data: tlsa.cert_data.clone(),
            }),
            _ => None,
        };
        let mut value: Vec<TlsaRecord> = records.iter().filter_map(record).collect();
        value.sort_by(|one, other| order(one).cmp(&order(other)));
        Ok(Answer { value, secure })
    }

    /// Addresses that need no question.
    fn known_addresses(&self, host: &str) -> Option<Vec<IpAddr>> {
        if let Ok(address) = host.parse::<IpAddr>() {
            return Some(vec![address]);
        }
        let name = wire_name(host)?;
        if name.is_localhost() {
            // RFC 6761 §6.3.
            return Some(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
        }
        let listed = |kind| self.shared.hosts.lookup_static_host(&Query::query(name.clone(), kind));
        let addresses: Vec<IpAddr> = [listed(RecordType::A), listed(RecordType::AAAA)]
            .iter()
            .flatten()
            .flat_map(|found| found.answers().iter().filter_map(|record| record.data.ip_addr()))
            .collect();
        (!addresses.is_empty()).then_some(addresses)
    }

    async fn ask(
        &self,
        text: &str,
        record_type: RecordType,
        kind: Kind,
    ) -> Result<(Vec<RData>, bool), NamesError> {
        let Some(name) = wire_name(text) else {
            return Err(NamesError::NoSuchName { name: text.to_owned() });
        };
        match self.outcome(name, record_type).await {
            Outcome::Found { records, secure } => Ok((records, secure)),
            Outcome::Failed(failure) => {
                let error = failure.about(text, kind);
                if error.is_temporary() {
                    tracing::info!(%error, "a name was not found out");
                }
                Err(error)
            }
        }
    }

    async fn outcome(&self, name: Name, record_type: RecordType) -> Outcome {
        let label = label(record_type);
        let key = (name, record_type);
        let remembered = self.memory().recall(&key, Instant::now());
        if let Some(outcome) = remembered {
            metrics::counter!(DNS_CACHE_HITS, "type" => label).increment(1);
            return outcome;
        }
        let begin = Instant::now();
        let answered = self.ask_servers(&key.0, record_type).await;
        let outcome = answered.outcome.clone();
        metrics::histogram!(DNS_QUESTION_SECONDS, "type" => label)
            .record(begin.elapsed().as_secs_f64());
        metrics::counter!(DNS_QUESTIONS, "type" => label, "outcome" => word(&outcome)).increment(1);
        // What was not asked says nothing to the next who asks.
        if !matches!(outcome, Outcome::Failed(Failure::Unreachable(Reason::NotAsked(_)))) {
            self.memory().keep(key, &answered, Instant::now());
        }
        outcome
    }

    async fn ask_servers(&self, name: &Name, record_type: RecordType) -> Answered {
        let (shared, settings) = (&self.shared, &self.shared.settings);
        let failed = |failure| Answered { outcome: Outcome::Failed(failure), lifetime: None };
        // The semaphore is never closed.
        let waiting_time_max = settings.waiting_time_max.duration();
        let Ok(_turn) = timeout(waiting_time_max, shared.questions.acquire()).await else {
            let reason = format!("no turn within {waiting_time_max:?}: raise dns.questions_max");
            return failed(Failure::not_asked(reason));
        };
        let asked = chain::follow(&shared.servers, name, record_type, &self.budget);
        let time_max = settings.question_time_max.duration();
        let silence = || failed(Failure::silence(format!("no answer within {time_max:?}")));
        timeout(time_max, asked).await.unwrap_or_else(|_| silence())
    }

    fn memory(&self) -> std::sync::MutexGuard<'_, Memory> {
        self.shared.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What TLSA records are sorted by: the same answer is always the same list.
fn order(record: &TlsaRecord) -> (u8, u8, u8, &[u8]) {
    (record.usage, record.selector, record.matching, &record.data)
}

/// `text` as it goes over the wire: A-labels, absolute. `None` when no name is written so.
pub(crate) fn wire_name(text: &str) -> Option<Name> {
    let text = text.strip_suffix('.').unwrap_or(text);
    // A backslash would be read as an escape of the zone file.
    if text.is_empty() || text.starts_with('.') || text.contains('\\') {
        return None;
    }
    let parsed = if text.is_ascii() { Name::from_ascii(text) } else { Name::from_utf8(text) };
    let mut name = parsed.ok()?;
    name.set_fqdn(true);
    Some(name)
}

/// `name` as the rest of the program writes it.
fn plain(name: &Name) -> String {
    let text = name.to_ascii().to_ascii_lowercase();
    match text.strip_suffix('.') {
        Some("") | None => text,
        Some(text) => text.to_owned(),
    }
}

fn label(record_type: RecordType) -> &'static str {
    match record_type {
        RecordType::MX => "mx",
        RecordType::A => "a",
        RecordType::AAAA => "aaaa",
        RecordType::TLSA => "tlsa",
        _ => "txt",
    }
}

fn word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Found { secure: true, .. } => "secure",
        Outcome::Found { .. } => "answered",
        Outcome::Failed(Failure::NoSuchName) => "no_such_name",
        Outcome::Failed(Failure::NoRecords) => "no_records",
        Outcome::Failed(Failure::Unreachable(Reason::Bogus)) => "bogus",
        Outcome::Failed(Failure::Unreachable(Reason::Silence(_))) => "unreachable",
        Outcome::Failed(Failure::Unreachable(Reason::NotAsked(_))) => "not_asked",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_goes_over_the_wire_as_a_labels() {
        let table = [
            ("posta.example", "posta.example."),
            ("posta.example.", "posta.example."),
            ("città.example", "xn--citt-3na.example."),
            ("CITTÀ.example", "xn--citt-3na.example."),
            ("_25._tcp.mx.example", "_25._tcp.mx.example."),
            ("under_score.example", "under_score.example."),
        ];
        for (text, wire) in table {
            let name = wire_name(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(name.to_ascii().to_ascii_lowercase(), wire, "{text}");
        }
        let (label, name) = ("a".repeat(64), "a.".repeat(128));
        for text in ["", ".", "..", "a..b", "a b.example", "a\\.b.example", &label, &name] {
            assert!(wire_name(text).is_none(), "{text}");
        }
    }

    #[test]
    fn only_the_root_keeps_its_dot() {
        assert_eq!(plain(&Name::root()), ".");
        assert_eq!(plain(&Name::from_ascii("MX.Example.").expect("a name")), "mx.example");
    }
}
