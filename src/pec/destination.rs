//! Where mail of a domain goes: a configured route, else what DNS says (RFC 5321 §5.1).
//!
//! * A route in the configuration wins over DNS.
//! * MX records by preference; without any, the domain's own address records.
//! * A null MX (RFC 7505) and a domain that does not exist are refusals for good, everything else
//!   that DNS does not answer is tried again.
//!
//! Not here: connections (`protocols::smtp::client`), which message goes when (`queue`).

use std::{collections::BTreeMap, time::Duration};

use hickory_resolver::{TokioResolver, net::NetError, proto::rr::RData};

/// A server to try.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Target {
    /// Name or address.
    pub host: String,
    /// Port.
    pub port: u16,
}

/// Why no server is known.
#[derive(Debug, thiserror::Error)]
pub enum NoDestination {
    /// For good: nobody takes mail for this domain.
    #[error("the domain {0} takes no mail")]
    Never(String),
    /// For the moment: DNS does not answer.
    #[error("DNS does not say where mail of {domain} goes: check the resolver; it is asked again")]
    NotNow {
        /// The domain.
        domain: String,
        /// The cause.
        #[source]
        source: NetError,
    },
}

/// Servers of one domain that are tried at most in one attempt.
const TARGETS_MAX: usize = 8;

/// How long one question to DNS may take.
const DNS_TIME_MAX: Duration = Duration::from_secs(5);

/// Finds destinations.
#[derive(Debug)]
pub struct Destinations {
    routes: BTreeMap<String, Target>,
    resolver: TokioResolver,
}

impl Destinations {
    /// Takes the configured routes (domains in lower case) and the system's resolver.
    ///
    /// # Errors
    ///
    /// When the system's resolver configuration cannot be read.
    pub fn new(routes: BTreeMap<String, Target>) -> Result<Self, NetError> {
        let mut builder = TokioResolver::builder_tokio()?;
        builder.options_mut().timeout = DNS_TIME_MAX;
        Ok(Self { routes, resolver: builder.build()? })
    }

    /// Returns the servers of `domain` in the order in which to try them.
    ///
    /// # Errors
    ///
    /// [`NoDestination`].
    pub async fn find(&self, domain: &str) -> Result<Vec<Target>, NoDestination> {
        if let Some(target) = self.routes.get(domain) {
            return Ok(vec![target.clone()]);
        }
        // The final dot keeps the resolver from trying the machine's own search domains.
        let lookup = match self.resolver.mx_lookup(format!("{domain}.")).await {
            Ok(lookup) => lookup,
            Err(error) if error.is_nx_domain() => {
                return Err(NoDestination::Never(domain.to_owned()));
            }
            // No MX: the domain itself is the server (RFC 5321 §5.1).
            Err(error) if error.is_no_records_found() => return Ok(vec![smtp_at(domain)]),
            Err(source) => return Err(NoDestination::NotNow { domain: domain.to_owned(), source }),
        };
        let mut exchanges: Vec<(u16, String)> = lookup
            .answers()
            .iter()
            .filter_map(|record| match &record.data {
                RData::MX(mx) => Some((mx.preference, mx.exchange.to_utf8())),
                _ => None,
            })
            .collect();
        exchanges.sort();
        if exchanges.iter().all(|(_, exchange)| exchange == ".") && !exchanges.is_empty() {
            return Err(NoDestination::Never(domain.to_owned()));
        }
        let targets: Vec<Target> = exchanges
            .into_iter()
            .map(|(_, exchange)| smtp_at(exchange.trim_end_matches('.')))
            .filter(|target| !target.host.is_empty())
            .take(TARGETS_MAX)
            .collect();
        Ok(if targets.is_empty() { vec![smtp_at(domain)] } else { targets })
    }
}

fn smtp_at(host: &str) -> Target {
    Target { host: host.to_owned(), port: 25 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_route_wins_over_dns() {
        let target = Target { host: "127.0.0.1".to_owned(), port: 2525 };
        let routes = BTreeMap::from([("pec.beta.example".to_owned(), target.clone())]);
        let destinations = Destinations::new(routes).expect("a resolver");
        assert_eq!(destinations.find("pec.beta.example").await.expect("the route"), [target]);
    }
}
