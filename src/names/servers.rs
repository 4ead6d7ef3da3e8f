//! The servers that are asked: one question goes to one after the other until one answers.
//!
//! * An answer is a message that speaks about the name: records, an alias, or, with the SOA of a zone
//!   as its witness, that there are none. A time-out, a refusal, SERVFAIL, a referral (the server does
//!   not know the zone), records of other names only and signatures that do not hold are none: the
//!   next server is asked.
//! * NOERROR with nothing in it (the third kind of NODATA, RFC 2308 §2.2) is how a server answers
//!   that has been told of a zone and does not have it, and how some forwarders repeat a true "there
//!   is none". The next server is asked. When all say so it counts for addresses, which only narrow a
//!   choice down; for MX, TLSA and TXT it is no answer: on that word mail would go elsewhere, or
//!   without the TLS that the domain asks for.
//! * The AD bit is believed only from servers on this machine or named in `[dns] servers`: on any
//!   other way somebody could set it (RFC 4035 §4.9.3).
//! * A truncated answer is asked for again over TCP (RFC 7766 §5).
//!
//! Not here: aliases ([`super::chain`]), what is remembered ([`super::memory`]).

use std::{net::SocketAddr, sync::Arc};

use hickory_resolver::{
    NameServerPool, PoolContext, TlsConfig, TokioResolver,
    config::{
        ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
        ServerOrderingStrategy,
    },
    net::{
        DnsError, NetError, NoRecords,
        dnssec::DnssecDnsHandle,
        runtime::TokioRuntimeProvider,
        xfer::{DnsHandle, FirstAnswer as _},
    },
    proto::{
        dnssec::{Proof, TrustAnchors},
        op::{DnsRequestOptions, DnsResponse, Query, ResponseCode},
        rr::{Name, RData, Record, RecordType},
    },
};

use super::{
    OpenError,
    budget::Budget,
    error::{Failure, Reason},
    wildcard,
};
use crate::config::{DnsSettings, Dnssec};

type Plain = NameServerPool<TokioRuntimeProvider>;

/// One server.
#[derive(Clone)]
enum Server {
    Plain(Plain),
    /// Signatures are validated here.
    Validating(DnssecDnsHandle<Plain>),
}

/// All of them.
pub(super) struct Servers {
    in_order: Vec<Server>,
    tries: u32,
    dnssec: Dnssec,
    /// Whether the AD bit is believed.
    believed: bool,
    options: DnsRequestOptions,
    /// The same servers behind a resolver of the library, for those that want one.
    resolver: TokioResolver,
}

/// What a server said about a name.
pub(super) enum Said {
    /// Records or an alias; those that are about other names may be among them.
    Records(Vec<Record>),
    /// The name has no records of this kind, or there is no such name (`exists` is false).
    Nothing {
        exists: bool,
        /// How long that holds, in seconds (RFC 2308 §5).
        lifetime: Option<u32>,
    },
}

/// What a server said, and whether the AD bit says that it is secure.
pub(super) struct Answer {
    pub(super) said: Said,
    pub(super) authentic: bool,
}

impl Answer {
    /// Whether it says that there is nothing, and nothing of who says so.
    fn is_blank(&self) -> bool {
        matches!(self.said, Said::Nothing { exists: true, lifetime: None })
    }
}

impl Servers {
    pub(super) fn open(settings: &DnsSettings) -> Result<Self, OpenError> {
        let addresses = addresses(settings)?;
        let believed = is_believed(!settings.servers.is_empty(), &addresses);
        let configs: Vec<NameServerConfig> =
            addresses.iter().map(|address| name_server(*address)).collect();
        let options = options(settings);
        let anchors = match (&settings.trust_anchor_file, settings.dnssec) {
            (Some(file), Dnssec::Validate) => TrustAnchors::from_file(file).map_err(|error| {
                OpenError::TrustAnchor { file: file.clone(), detail: error.to_string() }
            })?,
            _ => TrustAnchors::default(),
        };
        let anchors = Arc::new(anchors);
        let library = |error: NetError| OpenError::Library(error.to_string());
        let mut in_order = Vec::with_capacity(configs.len());
        for config in &configs {
            let tls = TlsConfig::new().map_err(library)?;
            let context = Arc::new(PoolContext::new(options.clone(), tls));
            let pool = NameServerPool::from_config(
                [config.clone()],
                context,
                TokioRuntimeProvider::default(),
            );
            in_order.push(match settings.dnssec {
                Dnssec::Validate => Server::Validating(
                    DnssecDnsHandle::with_trust_anchor(pool, Arc::clone(&anchors))
                        .validation_cache_size(settings.cache_entries_max),
                ),
                Dnssec::Off | Dnssec::Trust => Server::Plain(pool),
            });
        }
        let resolver = TokioResolver::builder_with_config(
            ResolverConfig::from_name_servers(configs),
            TokioRuntimeProvider::default(),
        );
        let resolver = resolver.with_options(options).build().map_err(library)?;
        let mut options = DnsRequestOptions::default();
        // Without it a server sets no AD bit (RFC 6840 §5.7).
        options.edns_set_dnssec_ok = settings.dnssec != Dnssec::Off;
        Ok(Self {
            in_order,
            tries: settings.tries,
            dnssec: settings.dnssec,
            believed,
            options,
            resolver,
        })
    }

    /// A resolver of the library over the same servers, with the same bounds.
    pub(super) fn resolver(&self) -> TokioResolver {
        self.resolver.clone()
    }

    /// Whether `record` counts as secure in an answer whose AD bit says `authentic`.
    pub(super) fn is_secure(&self, record: &Record, authentic: bool) -> Result<bool, Failure> {
        match self.dnssec {
            Dnssec::Off => Ok(false),
            Dnssec::Trust => Ok(self.believed && authentic),
            Dnssec::Validate => match record.proof {
                Proof::Secure => Ok(true),
                Proof::Insecure => Ok(false),
                // Not to know is not to know that it is unsigned.
                Proof::Bogus | Proof::Indeterminate => Err(Failure::Unreachable(Reason::Bogus)),
            },
        }
    }

    /// Asks one server after the other, for as many questions as `budget` has.
    pub(super) async fn ask(&self, query: &Query, budget: &Budget) -> Result<Answer, Failure> {
        let mut worst = None;
        let mut blank = None;
        for _ in 0..self.tries {
            for server in &self.in_order {
                budget.take()?;
                let response = server.ask(query.clone(), self.options).await;
                match self.read(query, response) {
                    Ok(answer) if answer.is_blank() => blank = Some(answer),
                    Ok(answer) => return Ok(answer),
                    // What one server says about signatures is said, whatever the others do.
                    Err(_) if worst == Some(Failure::Unreachable(Reason::Bogus)) => {}
                    Err(failure) => worst = Some(failure),
                }
            }
        }
        match (worst, blank) {
            (Some(failure), _) => Err(failure),
            (None, Some(blank)) if counts_blank(query.query_type()) => Ok(blank),
            (None, Some(_)) => Err(Failure::silence("the server answers with nothing at all")),
            (None, None) => Err(Failure::silence("there is no server to ask")),
        }
    }

    /// What an answer of the library means for `query`.
    fn read(
        &self,
        query: &Query,
        response: Result<DnsResponse, NetError>,
    ) -> Result<Answer, Failure> {
        if self.dnssec == Dnssec::Validate && denies_in_anothers_name(query, &response) {
            return Err(Failure::Unreachable(Reason::Bogus));
        }
        let answer = read(response)?;
        match &answer.said {
            Said::Records(records) if !records.iter().any(|record| speaks_of(query, record)) => {
                Err(Failure::silence("the server answers about other names"))
            }
            _ => Ok(answer),
        }
    }
}

/// Whether a question for `kind` is answered by NOERROR with nothing in it, when every server says so.
///
/// Forwarders that answer from memory leave the SOA out (RFC 2308 §2.2), mostly for addresses. There it
/// is safe to believe: a host without addresses is passed over, and of one family the other is enough.
fn counts_blank(kind: RecordType) -> bool {
    matches!(kind, RecordType::A | RecordType::AAAA)
}

/// Whether `record` answers `query`, or leads on.
fn speaks_of(query: &Query, record: &Record) -> bool {
    let kind = record.record_type();
    record.name == *query.name() && (kind == query.query_type() || kind == RecordType::CNAME)
}

/// Whether `response` says that there is nothing, and no zone of the name says so. The library calls a
/// denial insecure when its records are, whosever they are: anybody on the way could deny the records of a
/// signed zone with those of an unsigned one.
fn denies_in_anothers_name(query: &Query, response: &Result<DnsResponse, NetError>) -> bool {
    let speaks = |owner: &Name, answers: &[Record]| {
        let aliases = answers.iter().filter_map(|record| match &record.data {
            RData::CNAME(target) => Some(&target.0),
            _ => None,
        });
        std::iter::once(query.name()).chain(aliases).any(|name| owner.zone_of(name))
    };
    let spoken = |message: &DnsResponse| {
        let mut authorities = message.authorities.iter();
        authorities.any(|record| {
            record.record_type() == RecordType::SOA && speaks(&record.name, &message.answers)
        })
    };
    match response {
        // Answers that say no more than an alias leave the name at its end to the next question.
        Ok(message) => {
            let nothing =
                message.response_code == ResponseCode::NXDomain || message.answers.is_empty();
            nothing && !spoken(message)
        }
        Err(NetError::Dns(DnsError::NoRecordsFound(none))) => match &none.soa {
            Some(soa) => !speaks(&soa.name, &[]),
            // With name servers it is a referral, which is no answer either.
            None => none.ns.is_none(),
        },
        Err(NetError::Dns(DnsError::Nsec { response, proof: Proof::Insecure, .. })) => {
            !spoken(response)
        }
        Err(_) => false,
    }
}

impl Server {
    async fn ask(&self, query: Query, options: DnsRequestOptions) -> Result<DnsResponse, NetError> {
        match self {
            Self::Plain(handle) => handle.lookup(query, options).first_answer().await,
            Self::Validating(handle) => handle.lookup(query, options).first_answer().await,
        }
    }
}

/// What an answer of the library means.
fn read(response: Result<DnsResponse, NetError>) -> Result<Answer, Failure> {
    // The handle that validates turns an error into a message again.
    let response = response.and_then(|response| Ok(DnsError::from_response(response)?));
    let nothing = |code: ResponseCode, lifetime| Answer {
        said: Said::Nothing { exists: code != ResponseCode::NXDomain, lifetime },
        authentic: false,
    };
    match response {
        // An alias that leads nowhere (RFC 6604 §3).
        Ok(response) if response.response_code == ResponseCode::NXDomain => {
            Ok(nothing(ResponseCode::NXDomain, response.negative_ttl()))
        }
        Ok(response) if response.response_code != ResponseCode::NoError => {
            Err(Failure::silence(format!("the server answers {}", response.response_code)))
        }
        Ok(response) => Ok(Answer {
            authentic: response.authentic_data,
            said: Said::Records(response.into_message().answers),
        }),
        Err(NetError::Dns(DnsError::NoRecordsFound(NoRecords {
            soa: None, ns: Some(_), ..
        }))) => Err(Failure::silence("the server does not know the zone")),
        Err(NetError::Dns(DnsError::NoRecordsFound(none))) => {
            Ok(nothing(none.response_code, none.negative_ttl))
        }
        Err(NetError::Dns(DnsError::Nsec { response, proof: Proof::Insecure, .. })) => {
            Ok(nothing(response.response_code, response.negative_ttl()))
        }
        Err(NetError::Dns(DnsError::Nsec { response, .. })) if wildcard::is_proven(&response) => {
            Ok(Answer { authentic: false, said: Said::Records(response.into_message().answers) })
        }
        Err(NetError::Dns(DnsError::Nsec { .. } | DnsError::DnssecBogus)) => {
            Err(Failure::Unreachable(Reason::Bogus))
        }
        Err(error) => Err(Failure::silence(error.to_string())),
    }
}

/// Where the servers are.
fn addresses(settings: &DnsSettings) -> Result<Vec<SocketAddr>, OpenError> {
    if !settings.servers.is_empty() {
        return Ok(settings.servers.clone());
    }
    let (config, _) = hickory_resolver::system_conf::read_system_conf()
        .map_err(|error| OpenError::System(error.to_string()))?;
    // Each is listed once for each of its transports.
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for server in config.name_servers() {
        let address = SocketAddr::new(server.ip, PORT);
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    Ok(addresses)
}

/// Whether nobody can set the AD bit on the way: the operator has named the servers, or they are
/// here.
fn is_believed(named: bool, addresses: &[SocketAddr]) -> bool {
    named || addresses.iter().all(|address| address.ip().is_loopback())
}

/// The port of the system's servers.
const PORT: u16 = 53;

fn name_server(address: SocketAddr) -> NameServerConfig {
    let at = |mut connection: ConnectionConfig| {
        connection.port = address.port();
        connection
    };
    let connections = vec![at(ConnectionConfig::udp()), at(ConnectionConfig::tcp())];
    NameServerConfig::new(address.ip(), true, connections)
}

fn options(settings: &DnsSettings) -> ResolverOpts {
    let mut options = ResolverOpts::default();
    options.timeout = settings.timeout.duration();
    // Repetitions, for those who ask through the library's resolver.
    options.attempts = settings.tries.saturating_sub(1) as usize;
    options.cache_size = settings.cache_entries_max as u64;
    options.positive_min_ttl = Some(settings.lifetime_min.duration());
    options.positive_max_ttl = Some(settings.lifetime_max.duration());
    options.negative_max_ttl = Some(settings.negative_lifetime_max.duration());
    options.use_hosts_file = ResolveHosts::Never;
    options.server_ordering_strategy = ServerOrderingStrategy::UserProvidedOrder;
    options.max_active_requests = settings.questions_max.max(32);
    options
}

#[cfg(test)]
mod tests {
    use hickory_resolver::proto::{
        op::{Message, OpCode},
        rr::rdata::{CNAME, SOA},
    };

    use super::*;

    fn name(text: &str) -> Name {
        Name::from_ascii(text).expect("a name")
    }

    /// A denial of `mx.signed.test` by the zone `owner`.
    fn denial(code: ResponseCode, owner: &str, alias: Option<&str>) -> DnsResponse {
        let soa = SOA::new(name("ns.test."), name("root.test."), 1, 2, 3, 4, 5);
        let mut message = Message::response(0, OpCode::Query);
        message.metadata.response_code = code;
        message.add_authorities([Record::from_rdata(name(owner), 300, RData::SOA(soa))]);
        let alias = alias.map(|target| RData::CNAME(CNAME(name(target))));
        message.add_answers(alias.map(|to| Record::from_rdata(name("mx.signed.test."), 300, to)));
        DnsResponse::from_message(message).expect("a message")
    }

    #[test]
    fn only_a_zone_of_the_name_or_of_its_alias_can_deny_it() {
        let query = Query::query(name("mx.signed.test."), RecordType::TLSA);
        let anothers = |response| denies_in_anothers_name(&query, &Ok(response));
        for code in [ResponseCode::NoError, ResponseCode::NXDomain] {
            assert!(!anothers(denial(code, "signed.test.", None)), "{code}");
            assert!(!anothers(denial(code, "test.", None)), "{code}");
            assert!(anothers(denial(code, "unsigned.test.", None)), "{code}");
        }
        let gone = |owner| denial(ResponseCode::NXDomain, owner, Some("x.unsigned.test."));
        assert!(!anothers(gone("unsigned.test.")));
        assert!(anothers(gone("other.test.")));
        let alias = denial(ResponseCode::NoError, "other.test.", Some("x.unsigned.test."));
        assert!(!anothers(alias), "the next question is about its end");
    }

    #[test]
    fn the_word_of_a_server_elsewhere_that_nobody_named_is_not_taken() {
        let addresses = |texts: &[&str]| -> Vec<SocketAddr> {
            texts.iter().map(|text| text.parse().expect("an address")).collect()
        };
        let (here, elsewhere) = (["127.0.0.53:53", "[::1]:53"], ["127.0.0.1:53", "192.0.2.1:53"]);
        assert!(is_believed(false, &addresses(&here)));
        assert!(!is_believed(false, &addresses(&elsewhere)));
        assert!(is_believed(true, &addresses(&elsewhere)));
    }
}
