//! What TLS is asked for towards which server.
//!
//! In this order, the first that says something:
//!
//! 1. what the configuration says of the domain;
//! 2. DANE (RFC 7672): TLSA records of the server, when DNSSEC has validated them, the server's
//!    addresses and the MX records that lead to it;
//! 3. MTA-STS (RFC 8461): the policy of the domain, when its mode is `enforce`;
//! 4. the directory: between providers TLS is required (RFC 6109 §5.3);
//! 5. what the configuration says of every domain: by default TLS wherever it is offered.
//!
//! Invariants:
//!
//! * A policy that is not satisfied keeps the message in the queue; nothing goes out in a way that a
//!   policy forbids. What forbids a server is told.
//! * Where the configuration names the server (`[routes]`), DNS has no say: neither 2 nor 3.
//! * Of 4 and 5 the stricter counts.
//! * DNS that does not answer for TLSA records of a server whose zone is signed makes that server
//!   unreachable: otherwise whoever silences DNS could do away with the policy (RFC 7672 §2.2).
//!
//! Files: `mta_sts` has the policies of domains and how long they hold, `fetch` gets them.
//!
//! Not here: the handshake and what certificates must look like (`protocols::net`).

mod fetch;
mod mta_sts;

use std::{collections::BTreeMap, sync::Arc};

use protocols::{
    net::{
        dane::DaneCheck,
        tls::{TlsClient, TlsError},
    },
    smtp::client::{Host, Server, TlsPolicy},
};
use trust::clock::UnixMillis;

pub use self::{
    fetch::{FetchError, HttpsFetch, PolicyFetch},
    mta_sts::{MtaSts, StsMode, StsPolicy},
};
use super::{
    address::Domain,
    destination::{Destination, DestinationKind, FoundServer},
    engine::PecEngine,
    lookups::Lookups,
    queue::Failure,
};

/// What the configuration may ask for.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum ConfiguredTls {
    /// TLS wherever it is offered, without knowing whom; in the clear where it is not.
    Opportunistic,
    /// TLS or no mail, without knowing whom.
    Require,
    /// TLS with a certificate for the server's name, or no mail.
    Verify,
}

/// What says which TLS is asked for: a label of a metric.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PolicySource {
    /// The configuration, for this domain.
    Configured,
    /// TLSA records.
    Dane,
    /// The policy of the domain.
    MtaSts,
    /// The directory of providers, which has the domain.
    Directory,
    /// The configuration, for every domain.
    Default,
}

impl PolicySource {
    /// The word for the metric.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Configured => "configured",
            Self::Dane => "dane",
            Self::MtaSts => "mta_sts",
            Self::Directory => "directory",
            Self::Default => "default",
        }
    }
}

/// The policies of this installation.
#[derive(Debug)]
pub struct TlsPolicies {
    domains: BTreeMap<String, ConfiguredTls>,
    every: ConfiguredTls,
    any: TlsClient,
    verified: TlsClient,
    dane: bool,
    mta_sts: Option<MtaSts>,
    between_providers: bool,
    never: bool,
}

/// How the servers of a destination may be talked to.
#[derive(Debug)]
pub(super) struct Decided {
    pub(super) servers: Vec<Server>,
    /// What has said so, for each of the servers.
    pub(super) sources: Vec<PolicySource>,
    /// Whether these are all the servers that there are.
    pub(super) complete: bool,
}

impl Decided {
    /// What has said how to talk to `host`.
    pub(super) fn source_of(&self, host: &Host) -> Option<PolicySource> {
        let at = self.servers.iter().position(|server| server.host == *host)?;
        self.sources.get(at).copied()
    }
}

impl TlsPolicies {
    /// Takes what the configuration says of domains (in lower case) and of every domain.
    /// `authorities_pem` are believed beside those of the operating system where a certificate is
    /// verified.
    ///
    /// # Errors
    ///
    /// When TLS cannot be set up, or `authorities_pem` cannot be read.
    pub fn new(
        domains: BTreeMap<String, ConfiguredTls>,
        every: ConfiguredTls,
        authorities_pem: &[u8],
    ) -> Result<Self, TlsError> {
        Ok(Self {
            domains,
            every,
            any: TlsClient::opportunistic()?,
            verified: TlsClient::verified_publicly(authorities_pem)?,
            dane: false,
            mta_sts: None,
            between_providers: false,
            never: false,
        })
    }

    /// No TLS whatever is offered: for routes on one machine.
    ///
    /// # Errors
    ///
    /// When TLS cannot be set up.
    pub fn in_the_clear() -> Result<Self, TlsError> {
        let policies = Self::new(BTreeMap::new(), ConfiguredTls::Opportunistic, b"")?;
        Ok(Self { never: true, ..policies })
    }

    /// The same, which asks DNS for TLSA records.
    #[must_use]
    pub fn with_dane(self) -> Self {
        Self { dane: true, ..self }
    }

    /// The same, which asks domains for their policies.
    #[must_use]
    pub fn with_mta_sts(self, mta_sts: MtaSts) -> Self {
        Self { mta_sts: Some(mta_sts), ..self }
    }

    /// The same, which goes to other providers by TLS alone (RFC 6109 §5.3).
    #[must_use]
    pub fn secure_between_providers(self) -> Self {
        Self { between_providers: true, ..self }
    }

    /// The client that verifies certificates.
    #[must_use]
    pub fn verified(&self) -> &TlsClient {
        &self.verified
    }

    fn policy(&self, asked: ConfiguredTls) -> TlsPolicy {
        match asked {
            _ if self.never => TlsPolicy::Never,
            ConfiguredTls::Opportunistic => TlsPolicy::Opportunistic(self.any.clone()),
            ConfiguredTls::Require => TlsPolicy::Required(self.any.clone()),
            ConfiguredTls::Verify => TlsPolicy::Required(self.verified.clone()),
        }
    }

    /// What is asked where neither the domain nor DNS says anything.
    fn otherwise(&self, engine: &PecEngine, domain: &str) -> (PolicySource, TlsPolicy) {
        let of_a_provider = self.between_providers
            && self.every < ConfiguredTls::Require
            && Domain::parse(domain).is_ok_and(|domain| engine.directory().is_a_providers(&domain));
        if of_a_provider {
            (PolicySource::Directory, self.policy(ConfiguredTls::Require))
        } else {
            (PolicySource::Default, self.policy(self.every))
        }
    }

    /// Decides for the servers of `domain`; one at least is left.
    ///
    /// # Errors
    ///
    /// When policies forbid every server, or a bound of our own kept the domain's from being asked for.
    pub(super) async fn decide(
        &self,
        engine: &PecEngine,
        lookups: &Arc<dyn Lookups>,
        domain: &str,
        destination: Destination,
    ) -> Result<Decided, Failure> {
        let complete = destination.complete;
        let mut decided = Decided { servers: Vec::new(), sources: Vec::new(), complete };
        let mut forbidden = Vec::new();
        let configured = self.domains.get(domain).copied();
        let sts = match (configured, destination.kind, &self.mta_sts) {
            (None, DestinationKind::Dns { .. }, Some(mta_sts)) => {
                let found = mta_sts.policy_of(engine, lookups, domain).await;
                found.map_err(|error| Failure { reason: error.to_string(), policy: false })?
            }
            _ => None,
        };
        let otherwise = self.otherwise(engine, domain);
        let kind = destination.kind;
        let asked = Asked { domain, kind, configured, sts, otherwise, now: engine.now() };
        for found in destination.servers {
            match self.for_server(lookups, &asked, &found).await {
                Ok((source, tls)) => {
                    let port = found.addresses.first().map_or(0, std::net::SocketAddr::port);
                    let host = Host { name: found.host, port };
                    decided.servers.push(Server { host, addresses: found.addresses, tls });
                    decided.sources.push(source);
                }
                Err(reason) => forbidden.push(format!("{}: {reason}", found.host)),
            }
        }
        if decided.servers.is_empty() {
            return Err(Failure { reason: forbidden.join("; "), policy: true });
        }
        decided.complete &= forbidden.is_empty();
        Ok(decided)
    }

    /// What is asked of one server, or why mail must not go to it.
    async fn for_server(
        &self,
        lookups: &Arc<dyn Lookups>,
        asked: &Asked<'_>,
        found: &FoundServer,
    ) -> Result<(PolicySource, TlsPolicy), String> {
        if let Some(configured) = asked.configured {
            return Ok((PolicySource::Configured, self.policy(configured)));
        }
        let DestinationKind::Dns { secure } = asked.kind else {
            return Ok(asked.otherwise.clone());
        };
        let records = if self.dane && secure && found.secure {
            self.by_dane(lookups, asked, found).await?
        } else {
            Dane::None
        };
        match (records, &asked.sts) {
            (Dane::Usable(policy), _) => return Ok((PolicySource::Dane, policy)),
            // TLS, without knowing whom (RFC 7672 §2.2), unless the domain's own policy asks for more.
            (Dane::Unusable, sts)
                if sts.as_ref().is_none_or(|sts| sts.mode != StsMode::Enforce) =>
            {
                return Ok((PolicySource::Dane, TlsPolicy::Required(self.any.clone())));
            }
            _ => {}
        }
        match &asked.sts {
            Some(sts) if sts.mode == StsMode::Enforce && sts.names(&found.host) => {
                Ok((PolicySource::MtaSts, self.policy(ConfiguredTls::Verify)))
            }
            Some(sts) if sts.mode == StsMode::Enforce => {
                Err(format!("the policy of {} does not name it", asked.domain))
            }
            Some(sts) if sts.mode == StsMode::Testing && !sts.names(&found.host) => {
                let (domain, host) = (asked.domain, &found.host);
                tracing::info!(domain, host, "the domain's policy, in testing, does not name it");
                Ok(asked.otherwise.clone())
            }
            _ => Ok(asked.otherwise.clone()),
        }
    }

    /// What TLSA records ask for.
    async fn by_dane(
        &self,
        lookups: &Arc<dyn Lookups>,
        asked: &Asked<'_>,
        found: &FoundServer,
    ) -> Result<Dane, String> {
        let port = found.addresses.first().map_or(0, std::net::SocketAddr::port);
        let records = match lookups.tlsa(&found.host, port).await {
            Ok(answer) if answer.secure && !answer.value.is_empty() => answer.value,
            Ok(_) => return Ok(Dane::None),
            Err(error) if !error.is_temporary() => return Ok(Dane::None),
            Err(error) => return Err(error.to_string()),
        };
        let names = vec![found.host.clone(), asked.domain.to_owned()];
        Ok(match DaneCheck::new(records, names, asked.now) {
            Some(check) => Dane::Usable(TlsPolicy::Required(self.any.with_dane(check))),
            None => Dane::Unusable,
        })
    }
}

/// What a server's TLSA records are good for.
enum Dane {
    /// There are none that may be believed.
    None,
    /// There are, and none of them can be used.
    Unusable,
    Usable(TlsPolicy),
}

/// What is known of the domain when its servers are looked at.
struct Asked<'a> {
    domain: &'a str,
    kind: DestinationKind,
    configured: Option<ConfiguredTls>,
    sts: Option<StsPolicy>,
    otherwise: (PolicySource, TlsPolicy),
    now: UnixMillis,
}
