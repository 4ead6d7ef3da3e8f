//! What TLS is asked for: the configuration, DANE (RFC 7672), MTA-STS (RFC 8461), in this order.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use ceralacca::pec::{
    destination::Destinations,
    directory::Directory,
    engine::EngineSettings,
    lookups::{Answer, Exchange, Kind, Lookups, NamesError, TlsaRecord},
    queue::IdleConnections,
    records::{DestinationRecord, OUTGOING_DESTINATIONS, OUTGOING_QUEUE, decode},
    relay::Relay,
    tls_policy::{ConfiguredTls, HttpsFetch, MtaSts, TlsPolicies},
};
use protocols::{
    net::{stream::ConnectionStream, tls::TlsContext},
    smtp::{client::ClientSettings, grammar::ClientName},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};
use trust::{
    authority::{DevelopmentAuthority, Issued},
    digest::Sha256Digest,
    random::SeededRandom,
};

use crate::{
    letter::{kinds, written},
    network::{self, ANNA, Foreign, authority, directory},
    peer::Peer,
    provider::{BRUNO, Provider, eventually},
};

const ALFA: &str = "pec.alfa.example";
const MX: &str = "mx.alfa.example";
const HOUR_MILLIS: i64 = 3_600_000;
const DAY_MILLIS: i64 = 24 * HOUR_MILLIS;

/// What DNS says; tests change it while they run.
#[derive(Clone, Debug, Default)]
struct Table {
    tlsa: Option<Vec<TlsaRecord>>,
    txt: Option<String>,
    secure: bool,
    silent: Vec<Kind>,
    /// What a bound of our own keeps from being asked: names that begin so.
    not_asked: Option<&'static str>,
}

#[derive(Debug, Default)]
struct Dns(Mutex<Table>);

impl Dns {
    fn new(table: Table) -> Arc<Self> {
        Arc::new(Self(Mutex::new(table)))
    }

    fn change(&self, change: impl FnOnce(&mut Table)) {
        change(&mut self.0.lock().expect("no panic before"));
    }

    fn answer<T>(&self, name: &str, kind: Kind, value: Option<T>) -> Result<Answer<T>, NamesError> {
        let table = self.0.lock().expect("no panic before");
        let name = name.to_owned();
        if table.silent.contains(&kind) {
            return Err(NamesError::Unreachable { name, kind, reason: "silent".to_owned() });
        }
        if table.not_asked.is_some_and(|prefix| name.starts_with(prefix)) {
            return Err(NamesError::NotAsked { name, kind, reason: "no turn".to_owned() });
        }
        let value = value.ok_or(NamesError::NoRecords { name, kind })?;
        Ok(Answer { value, secure: table.secure })
    }

    fn table(&self) -> Table {
        self.0.lock().expect("no panic before").clone()
    }
}

/// Outside the bound of a destination nothing is told.
#[async_trait::async_trait]
impl Lookups for Dns {
    fn for_one_destination(self: Arc<Self>) -> Arc<dyn Lookups> {
        Arc::new(OneDestination(self))
    }

    async fn mx(&self, domain: &str) -> Result<Answer<Vec<Exchange>>, NamesError> {
        outside(domain, Kind::Mx)
    }

    async fn addresses(&self, host: &str) -> Result<Answer<Vec<IpAddr>>, NamesError> {
        outside(host, Kind::Address)
    }

    async fn txt(&self, name: &str) -> Result<Answer<Vec<String>>, NamesError> {
        outside(name, Kind::Txt)
    }

    async fn tlsa(&self, host: &str, _port: u16) -> Result<Answer<Vec<TlsaRecord>>, NamesError> {
        outside(host, Kind::Tlsa)
    }
}

fn outside<T>(name: &str, kind: Kind) -> Result<Answer<T>, NamesError> {
    let reason = "asked outside the bound of a destination".to_owned();
    Err(NamesError::Unreachable { name: name.to_owned(), kind, reason })
}

/// What is asked for one destination.
#[derive(Debug)]
struct OneDestination(Arc<Dns>);

#[async_trait::async_trait]
impl Lookups for OneDestination {
    fn for_one_destination(self: Arc<Self>) -> Arc<dyn Lookups> {
        self
    }

    async fn mx(&self, domain: &str) -> Result<Answer<Vec<Exchange>>, NamesError> {
        let mx = vec![Exchange { preference: 10, host: MX.to_owned() }];
        self.0.answer(domain, Kind::Mx, Some(mx))
    }

    async fn addresses(&self, host: &str) -> Result<Answer<Vec<IpAddr>>, NamesError> {
        self.0.answer(host, Kind::Address, Some(vec![IpAddr::from([127, 0, 0, 1])]))
    }

    async fn txt(&self, name: &str) -> Result<Answer<Vec<String>>, NamesError> {
        let txt = self.0.table().txt.map(|text| vec!["v=spf1 -all".to_owned(), text]);
        self.0.answer(name, Kind::Txt, txt)
    }

    async fn tlsa(&self, host: &str, _port: u16) -> Result<Answer<Vec<TlsaRecord>>, NamesError> {
        let tlsa = self.0.table().tlsa;
        self.0.answer(host, Kind::Tlsa, tlsa)
    }
}

/// An authority that the tests believe, with a certificate for the exchange, one for another name
/// and one for the server of policies.
struct Made {
    authority: DevelopmentAuthority,
    exchange: Issued,
    other: Issued,
    policies: Issued,
}

fn made() -> &'static Made {
    static MADE: OnceLock<Made> = OnceLock::new();
    MADE.get_or_init(|| {
        let authority = authority();
        let issue = |name: &str| authority.issue_tls(&[name], &[]).expect("a certificate");
        let (exchange, other) = (issue(MX), issue("mx.elsewhere.example"));
        let policies = issue(&format!("mta-sts.{ALFA}"));
        Made { authority, exchange, other, policies }
    })
}

fn context(issued: &Issued) -> Arc<TlsContext> {
    let chain = issued.certificate.to_pem().expect("PEM");
    TlsContext::from_pem(&chain, &issued.key.to_pem().expect("PEM")).expect("a context")
}

fn policies(configured: Option<ConfiguredTls>, every: ConfiguredTls) -> TlsPolicies {
    let domains = configured.map(|configured| (ALFA.to_owned(), configured));
    let authorities = made().authority.certificate().to_pem().expect("PEM");
    TlsPolicies::new(domains.into_iter().collect(), every, &authorities).expect("TLS")
}

fn settings() -> EngineSettings {
    EngineSettings {
        retry_first_millis: 60_000,
        retry_jitter_percent: 0,
        ..EngineSettings::default()
    }
}

/// A provider whose mail to Alfa goes where `dns` says, to `port`, by `tls`.
async fn provider(dns: &Arc<Dns>, port: u16, tls: TlsPolicies) -> Provider {
    let mut provider = Provider::start_with(settings()).await;
    run(&mut provider, dns, port, tls);
    provider
}

fn run(provider: &mut Provider, dns: &Arc<Dns>, port: u16, tls: TlsPolicies) {
    let random = Arc::new(SeededRandom::new(4));
    let lookups: Arc<dyn Lookups> = dns.clone();
    let destinations = Destinations::new(BTreeMap::new(), lookups, "mail.beta.example", random);
    let client_name = ClientName::parse("mail.beta.example").expect("a client name");
    provider.run_queue_with(Relay {
        destinations: destinations.with_port(port),
        client: Arc::new(ClientSettings::new(client_name)),
        tls,
        idle: IdleConnections::new(0, Duration::ZERO),
    });
}

async fn submit(provider: &Provider) {
    let message = written(BRUNO.address, ANNA, "", "ciao");
    provider.submit(BRUNO, &[ANNA], &message).await.expect("taken");
    provider.settle().await;
}

/// What the journal says of the relay: server, TLS, answer.
async fn relayed(provider: &Provider) -> String {
    eventually("an empty queue", async || {
        provider.entries(OUTGOING_QUEUE).await.is_empty().then_some(())
    })
    .await;
    let journal = provider.journal().await;
    let relayed = journal.into_iter().rev().find(|(_, record)| record.event == "relayed");
    relayed.expect("relayed").1.detail
}

/// Why the destination is put off.
async fn put_off(provider: &Provider) -> DestinationRecord {
    let record = eventually("a failing destination", async || {
        let rows = provider.entries(OUTGOING_DESTINATIONS).await;
        let (key, value) = rows.first()?;
        Some(decode::<DestinationRecord>(OUTGOING_DESTINATIONS, key, value).expect("a record"))
    })
    .await;
    assert_eq!(provider.entries(OUTGOING_QUEUE).await.len(), 1, "the message stays in the queue");
    record
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_is_taken_where_it_is_offered_and_asked_for_as_the_configuration_says() {
    use ConfiguredTls::{Opportunistic, Require, Verify};
    let dns = Dns::new(Table::default());
    for (configured, offered, said) in [
        (None, None, Ok("clear")),
        (None, Some(&made().other), Ok("(any)")),
        (Some(Opportunistic), None, Ok("clear")),
        (Some(Require), None, Err("does not offer TLS, which is required")),
        (Some(Require), Some(&made().other), Ok("(any)")),
        (Some(Verify), None, Err("does not offer TLS, which is required")),
        (Some(Verify), Some(&made().other), Err("TLS with mx.alfa.example")),
        (Some(Verify), Some(&made().exchange), Ok("(name)")),
    ] {
        let peer = match offered {
            Some(issued) => Peer::with_tls(context(issued)).await,
            None => Peer::willing().await,
        };
        let provider = provider(&dns, peer.port, policies(configured, Opportunistic)).await;
        submit(&provider).await;
        match said {
            Ok(tls) => {
                let detail = relayed(&provider).await;
                assert!(detail.contains(tls), "{configured:?}: {detail}");
                assert_eq!(peer.transactions()[0].tls, tls != "clear");
            }
            Err(reason) => {
                let record = put_off(&provider).await;
                assert!(record.policy && record.last_error.contains(reason), "{record:?}");
                assert!(peer.transactions().is_empty());
            }
        }
        provider.stop().await;
    }
}

/// RFC 6109 §5.3. Without the directory, as the cases above show, mail would go in the clear.
#[tokio::test(flavor = "multi_thread")]
async fn between_providers_there_is_tls_or_no_mail_unless_the_configuration_says_otherwise() {
    use ConfiguredTls::Opportunistic;
    let dns = Dns::new(Table::default());
    for (configured, offered, said) in [
        (None, None, Err("does not offer TLS, which is required")),
        (None, Some(&made().other), Ok("(any)")),
        (Some(Opportunistic), None, Ok("clear")),
    ] {
        let peer = match offered {
            Some(issued) => Peer::with_tls(context(issued)).await,
            None => Peer::willing().await,
        };
        let tls = policies(configured, Opportunistic).secure_between_providers();
        let provider = provider(&dns, peer.port, tls).await;
        submit(&provider).await;
        match said {
            Ok(tls) => {
                let detail = relayed(&provider).await;
                assert!(detail.contains(tls), "{configured:?}: {detail}");
            }
            Err(reason) => {
                let record = put_off(&provider).await;
                assert!(record.policy && record.last_error.contains(reason), "{record:?}");
                assert!(peer.transactions().is_empty());
            }
        }
        provider.stop().await;
    }
}

/// An entry may write a service mailbox whose domain it does not manage (RFC 6109 §4.5): take-charge receipts go
/// there, with sender, recipients and subject of certified mail.
#[tokio::test(flavor = "multi_thread")]
async fn the_domain_of_a_service_mailbox_is_a_providers_though_no_entry_manages_it() {
    let dns = Dns::new(Table::default());
    let peer = Peer::willing().await;
    let tls = policies(None, ConfiguredTls::Opportunistic).secure_between_providers();
    let provider = provider(&dns, peer.port, tls).await;
    let mut records = directory().records().to_vec();
    records[0].service_mailbox = "ricevute@servizi.example".parse().expect("an address");
    provider.engine.replace_directory(Arc::new(Directory::new(records).expect("a directory")));
    let envelope = Foreign::alfa().envelope(&[BRUNO.address], "ciao");
    provider
        .relay(&network::ALFA.service_address(), &[BRUNO.address], &envelope)
        .await
        .expect("taken");
    provider.settle().await;
    let record = eventually("the destination is left alone", async || {
        let rows = provider.entries(OUTGOING_DESTINATIONS).await;
        let read = |(key, value): &(bytes::Bytes, bytes::Bytes)| {
            decode::<DestinationRecord>(OUTGOING_DESTINATIONS, key, value).expect("a record")
        };
        rows.iter().map(read).find(|record| record.domain == "servizi.example")
    })
    .await;
    assert!(record.policy && record.last_error.contains("which is required"), "{record:?}");
    assert!(peer.transactions().is_empty());
    provider.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_stays_unsatisfied_ends_with_the_notice_of_the_time() {
    let dns = Dns::new(Table::default());
    let peer = Peer::willing().await;
    let provider = provider(&dns, peer.port, policies(None, ConfiguredTls::Require)).await;
    submit(&provider).await;
    assert!(put_off(&provider).await.policy);
    provider.clock.advance(DAY_MILLIS);
    eventually("an empty queue", async || {
        provider.entries(OUTGOING_QUEUE).await.is_empty().then_some(())
    })
    .await;
    assert_eq!(kinds(&provider.inbox(BRUNO).await), ["accettazione", "preavviso-errore-consegna"]);
    assert!(peer.transactions().is_empty());
    provider.stop().await;
}

fn tlsa(usage: u8, issued: &Issued) -> TlsaRecord {
    let data = Sha256Digest::of(issued.certificate.to_der()).0.to_vec();
    TlsaRecord { usage, selector: 0, matching: 1, data }
}

/// RFC 7672 §2.2.
#[tokio::test(flavor = "multi_thread")]
async fn tlsa_records_count_when_dnssec_has_validated_all_that_leads_to_them() {
    let (right, wrong) = (tlsa(3, &made().other), tlsa(3, &made().exchange));
    let unusable = TlsaRecord { usage: 1, ..right.clone() };
    let table = |tlsa: Option<Vec<TlsaRecord>>, secure| Table { tlsa, secure, ..Table::default() };
    let silent = Table { silent: vec![Kind::Tlsa], ..table(None, true) };
    let no_match = "no TLSA record names a certificate";
    for (name, table, offered, said) in [
        ("right", table(Some(vec![right.clone()]), true), true, Ok("(dane)")),
        ("one right", table(Some(vec![wrong.clone(), right]), true), true, Ok("(dane)")),
        ("wrong", table(Some(vec![wrong.clone()]), true), true, Err(no_match)),
        ("no TLS", table(Some(vec![wrong.clone()]), true), false, Err("does not offer TLS")),
        ("not validated", table(Some(vec![wrong]), false), true, Ok("(any)")),
        ("unusable", table(Some(vec![unusable.clone()]), true), true, Ok("(any)")),
        ("unusable, no TLS", table(Some(vec![unusable]), true), false, Err("does not offer TLS")),
        ("none", table(None, true), false, Ok("clear")),
        ("silent", silent, true, Err("DNS does not say which TLSA records")),
    ] {
        let peer = if offered {
            Peer::with_tls(context(&made().other)).await
        } else {
            Peer::willing().await
        };
        let tls = policies(None, ConfiguredTls::Opportunistic).with_dane();
        let provider = provider(&Dns::new(table), peer.port, tls).await;
        submit(&provider).await;
        match said {
            Ok(tls) => {
                let detail = relayed(&provider).await;
                assert!(detail.contains(tls), "{name}: {detail}");
            }
            Err(reason) => {
                let record = put_off(&provider).await;
                assert!(record.policy && record.last_error.contains(reason), "{name}: {record:?}");
            }
        }
        provider.stop().await;
    }
}

/// An HTTPS server of policies: what it says, and how often it was asked.
#[derive(Clone)]
struct PolicyServer {
    port: u16,
    text: Arc<Mutex<Option<String>>>,
    asked: Arc<AtomicUsize>,
}

impl PolicyServer {
    async fn start(issued: &Issued, text: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let server = Self {
            port: listener.local_addr().expect("its address").port(),
            text: Arc::new(Mutex::new(Some(text.to_owned()))),
            asked: Arc::default(),
        };
        let (tls, this) = (context(issued), server.clone());
        tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else { return };
                let stream = ConnectionStream::Plain(stream);
                let Ok(stream) = tls.accept(stream, Duration::from_secs(5)).await else { continue };
                this.answer(stream).await;
            }
        });
        server
    }

    async fn answer(&self, mut stream: ConnectionStream) {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let Ok(octet) = stream.read_u8().await else { return };
            request.push(octet);
        }
        let request = String::from_utf8(request).expect("ASCII");
        assert!(request.starts_with("GET /.well-known/mta-sts.txt HTTP/1.1\r\n"), "{request}");
        assert!(request.contains(&format!("host: mta-sts.{ALFA}\r\n")), "{request}");
        self.asked.fetch_add(1, Ordering::SeqCst);
        let answer = match self.text.lock().expect("no panic before").clone() {
            Some(text) => format!(
                "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\n\
                 Content-Length: {}\r\nConnection: close\r\n\r\n{text}",
                text.len()
            ),
            None => "HTTP/1.1 301 Moved\r\nLocation: https://elsewhere.example/\r\n\
                     Content-Length: 0\r\nConnection: close\r\n\r\n"
                .to_owned(),
        };
        // Who goes away has read enough.
        let _ = stream.write_all(answer.as_bytes()).await;
        let _ = stream.shutdown().await;
    }

    fn says(&self, text: Option<&str>) {
        *self.text.lock().expect("no panic before") = text.map(str::to_owned);
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    fn policies(&self, configured: Option<ConfiguredTls>) -> TlsPolicies {
        let policies = policies(configured, ConfiguredTls::Opportunistic);
        let fetch = HttpsFetch::new(policies.verified().clone(), Duration::from_secs(5));
        let mta_sts = MtaSts::new(Arc::new(fetch.with_port(self.port)), 10);
        policies.with_mta_sts(mta_sts)
    }
}

const ENFORCE: &str = "version: STSv1\nmode: enforce\nmx: *.alfa.example\nmax_age: 7200\n";

fn announced(id: &str) -> Table {
    Table { txt: Some(format!("v=STSv1; id={id};")), ..Table::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_policy_of_a_domain_asks_for_its_servers_by_name() {
    let other = ENFORCE.replace("*.alfa", "mail.alfa");
    let testing = other.replace("enforce", "testing");
    let none = ENFORCE.replace("enforce", "none");
    let not_named = "mx.alfa.example: the policy of pec.alfa.example does not name it";
    for (name, text, issued, offered, configured, said) in [
        ("right", ENFORCE, &made().policies, &made().exchange, None, Ok("(name)")),
        ("wrong name", ENFORCE, &made().policies, &made().other, None, Err("TLS with")),
        ("other server", other.as_str(), &made().policies, &made().exchange, None, Err(not_named)),
        ("testing", &testing, &made().policies, &made().other, None, Ok("(any)")),
        ("none", &none, &made().policies, &made().other, None, Ok("(any)")),
        ("no policy", "<html>", &made().policies, &made().other, None, Ok("(any)")),
        ("not to be trusted", ENFORCE, &made().other, &made().other, None, Ok("(any)")),
        (
            "configured",
            other.as_str(),
            &made().policies,
            &made().other,
            Some(ConfiguredTls::Opportunistic),
            Ok("(any)"),
        ),
    ] {
        let server = PolicyServer::start(issued, text).await;
        let peer = Peer::with_tls(context(offered)).await;
        let dns = Dns::new(announced("1"));
        let provider = provider(&dns, peer.port, server.policies(configured)).await;
        submit(&provider).await;
        match said {
            Ok(tls) => {
                let detail = relayed(&provider).await;
                assert!(detail.contains(tls), "{name}: {detail}");
            }
            Err(reason) => {
                let record = put_off(&provider).await;
                assert!(record.policy && record.last_error.contains(reason), "{name}: {record:?}");
            }
        }
        provider.stop().await;
    }
}

/// RFC 8461 §5.1: who silences DNS or the server of policies cannot do away with a policy.
#[tokio::test(flavor = "multi_thread")]
async fn a_policy_holds_to_its_end_whatever_dns_says_and_over_a_restart() {
    let server = PolicyServer::start(&made().policies, ENFORCE).await;
    let peer = Peer::with_tls(context(&made().exchange)).await;
    let dns = Dns::new(announced("1"));
    let mut provider = provider(&dns, peer.port, server.policies(None)).await;
    submit(&provider).await;
    assert!(relayed(&provider).await.contains("(name)"));
    submit(&provider).await;
    assert!(relayed(&provider).await.contains("(name)"));
    assert_eq!(server.asked(), 1, "the id is the same");
    // Neither DNS nor the server says anything; the program starts anew.
    dns.change(|table| table.txt = None);
    server.says(None);
    provider.stop_queue().await;
    run(&mut provider, &dns, peer.port, server.policies(None));
    submit(&provider).await;
    assert!(relayed(&provider).await.contains("(name)"));
    dns.change(|table| table.silent = vec![Kind::Txt]);
    submit(&provider).await;
    assert!(relayed(&provider).await.contains("(name)"));
    // A new id cannot be fetched: the old policy goes on, and nobody is asked again at once.
    dns.change(|table| *table = announced("2"));
    for _ in 0..2 {
        submit(&provider).await;
        assert!(relayed(&provider).await.contains("(name)"));
    }
    assert_eq!(server.asked(), 2);
    // Its two hours are over.
    dns.change(|table| table.txt = None);
    provider.clock.advance(2 * HOUR_MILLIS);
    submit(&provider).await;
    assert!(relayed(&provider).await.contains("(any)"));
    provider.stop().await;
}

/// RFC 8461 §3.3: for want of a policy nobody holds mail back. What we did not ask says nothing.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_policy_mail_goes_when_dns_is_silent_and_waits_when_it_was_not_asked() {
    let server = PolicyServer::start(&made().policies, ENFORCE).await;
    let peer = Peer::with_tls(context(&made().exchange)).await;
    let dns = Dns::new(Table { silent: vec![Kind::Txt], ..announced("1") });
    let provider = provider(&dns, peer.port, server.policies(None)).await;
    submit(&provider).await;
    assert!(relayed(&provider).await.contains("(any)"));
    provider.stop().await;
    for not_asked in ["_mta-sts.", "mta-sts."] {
        dns.change(|table| *table = Table { not_asked: Some(not_asked), ..announced("1") });
        let provider = self::provider(&dns, peer.port, server.policies(None)).await;
        submit(&provider).await;
        let record = put_off(&provider).await;
        assert!(!record.policy && record.last_error.contains("no turn"), "{record:?}");
        dns.change(|table| table.not_asked = None);
        provider.clock.advance(HOUR_MILLIS);
        assert!(relayed(&provider).await.contains("(name)"));
        // A policy that is known needs no question.
        dns.change(|table| *table = Table { not_asked: Some(not_asked), ..announced("2") });
        submit(&provider).await;
        assert!(relayed(&provider).await.contains("(name)"));
        provider.stop().await;
    }
}

/// RFC 8461 §2: MTA-STS never overrides a DANE that fails, and needs nothing where DANE holds.
#[tokio::test(flavor = "multi_thread")]
async fn dane_comes_before_the_policy_of_the_domain() {
    let server = PolicyServer::start(&made().policies, ENFORCE).await;
    for (issued, said) in [(&made().other, true), (&made().exchange, false)] {
        let peer = Peer::with_tls(context(issued)).await;
        let tlsa = Some(vec![tlsa(3, &made().other)]);
        let dns = Dns::new(Table { tlsa, secure: true, ..announced("1") });
        let tls = server.policies(None).with_dane();
        let provider = provider(&dns, peer.port, tls).await;
        submit(&provider).await;
        if said {
            assert!(relayed(&provider).await.contains("(dane)"));
        } else {
            assert!(put_off(&provider).await.policy, "its name alone is not enough");
        }
        provider.stop().await;
    }
}
