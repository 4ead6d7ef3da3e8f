//! Where mail of a domain goes: a configured route, else what DNS says (RFC 5321 §5.1).
//!
//! * A route in the configuration wins over DNS; its host is looked up as the operating system
//!   looks names up, since it may stand in `/etc/hosts` only.
//! * An address literal is its own server.
//! * MX records by preference, shuffled among equals; without any, the domain itself. Then the
//!   addresses of each host, both families in turn.
//! * Where this server stands among the MX, itself and what is no better are left out: mail would
//!   come back (RFC 5321 §5.1).
//! * A null MX (RFC 7505), a domain that does not exist and one that leads back to us are refusals
//!   for good; everything else that DNS does not answer is tried again.
//!
//! Not here: connections (`protocols::smtp::client`), what TLS is asked for ([`super::tls_policy`]),
//! which message goes when (`queue`).

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use futures::future::join_all;
use trust::random::RandomSource;

use super::lookups::{Answer, Exchange, Kind, Lookups, NamesError};

/// A server to try.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Target {
    /// Name or address.
    pub host: String,
    /// Port.
    pub port: u16,
}

/// Where the mail of a domain goes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Destination {
    /// What says so.
    pub kind: DestinationKind,
    /// The servers in the order in which to try them.
    pub servers: Vec<FoundServer>,
    /// Whether these are all: else one that is not known at present may take what these refuse.
    pub complete: bool,
}

/// What says where mail goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DestinationKind {
    /// The configuration, or an address literal: there is no policy in DNS for it.
    Fixed,
    /// DNS: MX records, or without any the domain's own addresses.
    Dns {
        /// Whether DNSSEC has validated the MX records, or there are none.
        secure: bool,
    },
}

/// A server with its addresses.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FoundServer {
    /// Its name.
    pub host: String,
    /// Where to connect, in order.
    pub addresses: Vec<SocketAddr>,
    /// Whether DNSSEC has validated them.
    pub secure: bool,
}

/// Why a domain takes no mail, for good.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Never {
    /// It does not exist.
    Unknown,
    /// Its null MX says so.
    NullMx,
    /// Its MX lead back to this server, which does not serve it.
    Loop,
}

/// Why no server is known.
#[derive(Debug, thiserror::Error)]
pub enum NoDestination {
    /// For good: nobody takes mail for this domain.
    #[error("the domain {domain} takes no mail")]
    Never {
        /// The domain.
        domain: String,
        /// Why.
        why: Never,
    },
    /// At present: DNS does not answer.
    #[error("it is not known where mail of {domain} goes")]
    NotNow {
        /// The domain.
        domain: String,
        /// The cause.
        #[source]
        source: NamesError,
    },
}

/// Servers of one domain that are tried at most in one attempt.
const SERVERS_MAX: usize = 8;

/// Addresses of one server that are tried at most in one attempt.
const ADDRESSES_MAX: usize = 6;

/// How long one question to DNS may take.
const DNS_TIME_MAX: Duration = Duration::from_secs(5);

/// The port of relay (RFC 5321 §4.5.4.2).
const SMTP_PORT: u16 = 25;

/// Finds destinations.
#[derive(Debug)]
pub struct Destinations {
    routes: BTreeMap<String, Target>,
    lookups: Arc<dyn Lookups>,
    own_name: String,
    random: Arc<dyn RandomSource>,
    port: u16,
}

impl Destinations {
    /// Takes the configured routes (domains in lower case), the look-ups, and the name by which MX
    /// records call this server.
    pub fn new(
        routes: BTreeMap<String, Target>,
        lookups: Arc<dyn Lookups>,
        own_name: &str,
        random: Arc<dyn RandomSource>,
    ) -> Self {
        Self { routes, lookups, own_name: own_name.to_ascii_lowercase(), random, port: SMTP_PORT }
    }

    /// The same, with another port for what DNS says: tests have no right to 25.
    #[must_use]
    pub fn with_port(self, port: u16) -> Self {
        Self { port, ..self }
    }

    /// What is looked up for one destination, [`Self::find`] and what follows, within one bound.
    pub fn lookups(&self) -> Arc<dyn Lookups> {
        Arc::clone(&self.lookups).for_one_destination()
    }

    /// Returns the servers of `domain`, found by `lookups`, in the order in which to try them; one at
    /// least, each with an address at least.
    ///
    /// # Errors
    ///
    /// [`NoDestination`].
    pub async fn find(
        &self,
        lookups: &dyn Lookups,
        domain: &str,
    ) -> Result<Destination, NoDestination> {
        if let Some(target) = self.routes.get(domain) {
            return routed(domain, target).await;
        }
        if let Some(address) = literal(domain) {
            let addresses = vec![SocketAddr::new(address, self.port)];
            let server = FoundServer { host: address.to_string(), addresses, secure: false };
            let (kind, servers) = (DestinationKind::Fixed, vec![server]);
            return Ok(Destination { kind, servers, complete: true });
        }
        let never = |why| NoDestination::Never { domain: domain.to_owned(), why };
        match lookups.mx(domain).await {
            Ok(answer) => self.by_exchanges(lookups, domain, answer).await,
            Err(NamesError::NoSuchName { .. }) => Err(never(Never::Unknown)),
            Err(NamesError::NoRecords { .. }) => self.by_itself(lookups, domain).await,
            Err(source) => Err(NoDestination::NotNow { domain: domain.to_owned(), source }),
        }
    }

    /// Without MX records the domain itself is the server (RFC 5321 §5.1).
    async fn by_itself(
        &self,
        lookups: &dyn Lookups,
        domain: &str,
    ) -> Result<Destination, NoDestination> {
        match self.server(lookups, domain).await {
            // Its addresses are in the zone that denies the MX: what is secure of the one is of
            // the other.
            Ok(server) => Ok(Destination {
                kind: DestinationKind::Dns { secure: server.secure },
                servers: vec![server],
                complete: true,
            }),
            Err(error) if !error.is_temporary() => {
                Err(NoDestination::Never { domain: domain.to_owned(), why: Never::Unknown })
            }
            Err(source) => Err(NoDestination::NotNow { domain: domain.to_owned(), source }),
        }
    }

    async fn by_exchanges(
        &self,
        lookups: &dyn Lookups,
        domain: &str,
        answer: Answer<Vec<Exchange>>,
    ) -> Result<Destination, NoDestination> {
        let never = |why| NoDestination::Never { domain: domain.to_owned(), why };
        let Answer { value: exchanges, secure } = answer;
        if exchanges.iter().all(is_null) {
            return Err(never(Never::NullMx));
        }
        let mut hosts = self.in_order(exchanges).ok_or_else(|| never(Never::Loop))?;
        let more = hosts.len() > SERVERS_MAX;
        hosts.truncate(SERVERS_MAX);
        let found = join_all(hosts.iter().map(|host| self.server(lookups, host))).await;
        let mut servers = Vec::with_capacity(found.len());
        let mut failure = None;
        for result in found {
            match result {
                Ok(server) => servers.push(server),
                // One that DNS may name later says more than one that it does not know.
                Err(error) if !error.is_temporary() => failure = failure.or(Some(error)),
                Err(error) => failure = Some(error),
            }
        }
        match failure {
            // The owner of the domain may mend what he wrote: a day is waited for it.
            Some(source) if servers.is_empty() => {
                Err(NoDestination::NotNow { domain: domain.to_owned(), source })
            }
            failure => Ok(Destination {
                kind: DestinationKind::Dns { secure },
                servers,
                complete: failure.is_none() && !more,
            }),
        }
    }

    /// The hosts by preference, equals in an order of chance, without this server and what is no
    /// better than it; `None` when nothing is left.
    fn in_order(&self, exchanges: Vec<Exchange>) -> Option<Vec<String>> {
        let named = |exchange: &Exchange| {
            exchange.host.trim_end_matches('.').eq_ignore_ascii_case(&self.own_name)
        };
        let own = exchanges.iter().filter(|exchange| named(exchange));
        let own = own.map(|exchange| exchange.preference).min();
        let mut drawn: Vec<(u16, u64, String)> = exchanges
            .into_iter()
            .filter(|exchange| !is_null(exchange))
            .filter(|exchange| own.is_none_or(|own| exchange.preference < own))
            .map(|exchange| (exchange.preference, self.random.next_u64(), exchange.host))
            .collect();
        drawn.sort();
        (!drawn.is_empty()).then(|| drawn.into_iter().map(|(_, _, host)| host).collect())
    }

    async fn server(&self, lookups: &dyn Lookups, host: &str) -> Result<FoundServer, NamesError> {
        let host = host.trim_end_matches('.');
        let Answer { value, secure } = lookups.addresses(host).await?;
        let mut addresses = in_turn(value);
        addresses.truncate(ADDRESSES_MAX);
        if addresses.is_empty() {
            return Err(NamesError::NoRecords { name: host.to_owned(), kind: Kind::Address });
        }
        let addresses =
            addresses.into_iter().map(|address| SocketAddr::new(address, self.port)).collect();
        Ok(FoundServer { host: host.to_owned(), addresses, secure })
    }
}

/// The null MX (RFC 7505 §3).
fn is_null(exchange: &Exchange) -> bool {
    exchange.host.trim_end_matches('.').is_empty()
}

/// The families in turn, IPv6 first, each in its own order: where one does not work the other is
/// not far.
fn in_turn(addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    let (six, four): (Vec<IpAddr>, Vec<IpAddr>) = addresses.into_iter().partition(IpAddr::is_ipv6);
    let mut ordered = Vec::with_capacity(six.len() + four.len());
    let (mut six, mut four) = (six.into_iter(), four.into_iter());
    loop {
        let before = ordered.len();
        ordered.extend(six.next());
        ordered.extend(four.next());
        if ordered.len() == before {
            return ordered;
        }
    }
}

/// The address that a domain such as `[192.0.2.1]` is (RFC 5321 §4.1.3).
fn literal(domain: &str) -> Option<IpAddr> {
    let inner = domain.strip_prefix('[')?.strip_suffix(']')?;
    match inner.split_at_checked(5) {
        Some((tag, address)) if tag.eq_ignore_ascii_case("IPv6:") => {
            address.parse::<Ipv6Addr>().ok().map(IpAddr::V6)
        }
        _ => inner.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
    }
}

async fn routed(domain: &str, target: &Target) -> Result<Destination, NoDestination> {
    let not_now = |detail: String| NoDestination::NotNow {
        domain: domain.to_owned(),
        source: NamesError::Unreachable {
            name: target.host.clone(),
            kind: Kind::Address,
            reason: detail,
        },
    };
    let looked_up = tokio::net::lookup_host((target.host.as_str(), target.port));
    let addresses: Vec<SocketAddr> = match tokio::time::timeout(DNS_TIME_MAX, looked_up).await {
        Ok(Ok(addresses)) => addresses.take(ADDRESSES_MAX).collect(),
        Ok(Err(error)) => return Err(not_now(error.to_string())),
        Err(elapsed) => return Err(not_now(elapsed.to_string())),
    };
    if addresses.is_empty() {
        return Err(not_now("it has no address".to_owned()));
    }
    let server = FoundServer { host: target.host.clone(), addresses, secure: false };
    Ok(Destination { kind: DestinationKind::Fixed, servers: vec![server], complete: true })
}

#[cfg(test)]
mod tests;
