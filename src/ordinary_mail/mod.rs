//! What is found out about mail that no provider has signed: SPF (RFC 7208), DKIM (RFC 6376), DMARC
//! (RFC 9989), ARC (RFC 8617).
//!
//! * The octets of the message are read, never changed: what was found goes into the header of the
//!   anomaly envelope, as Authentication-Results (RFC 8601). Fields of that name inside the message
//!   are the sender's word, whatever name they give themselves.
//! * Everything is bounded: the time of each part, octets that are hashed, signatures that are looked
//!   at, checks at the same time and the wait for one, of which a network has a share. What is beyond
//!   a bound is not known, and not known is never refused for good. Only signatures beyond their number
//!   count as if they were not there.
//! * What the sender's own DNS can do is to keep his own identifiers from being known. It keeps nobody
//!   from knowing the policy of the domain of From, nor takes time from a signature of that domain; and
//!   while it is not known whether a domain with `p=reject` disowns a message, the message waits.
//! * A fault of the library ends the check, not the session.
//! * Certified mail never comes here: its provider's signature says more.
//!
//! Not here: what follows for the message by the configuration ([`verdict`]), SMTP
//! (`pec::incoming_point`), questions to DNS ([`crate::names`]).

mod authors;
mod results;
mod sealed_results;
pub mod verdict;

use std::{net::IpAddr, sync::Arc};

use bytes::Bytes;
use futures::future::join_all;
use mail_auth::{
    ArcOutput, AuthenticatedMessage, DkimOutput, DkimResult, DmarcOutput, DmarcResult, DnsError,
    Error, MessageAuthenticator, SpfOutput, SpfResult,
    common::headers::Header,
    dkim,
    dmarc::{Policy, verify::DmarcParameters},
    spf::verify::SpfParameters,
};
use tokio::{sync::Semaphore, task::spawn_blocking, time::timeout};
use tokio_util::task::AbortOnDropHandle;

use self::{
    authors::Authors,
    results::{Author, Body, Found, LeftOut, Signatures},
    verdict::Verdict,
};
use crate::{
    config::OrdinaryMailSettings,
    metrics_names::ORDINARY_CHECKS,
    names::Names,
    sources::{Shares, Source},
};

/// Names of fields that one signature may cover, and fields of a header that is looked at: the library
/// compares each of the ones with each of the others.
const SIGNED_FIELDS_MAX: usize = 256;
const HEADER_FIELDS_MAX: usize = 1_000;

/// The share of the checks at the same time that one network may have: one in so many.
const NETWORKS: usize = 8;

/// The most sets of an ARC chain: a longer one is broken (RFC 8617 §4.2.1).
const ARC_SETS_MAX: usize = 50;

/// The most octets of a domain name in text (RFC 1035 §3.1).
const DOMAIN_OCTETS_MAX: usize = 253;
/// The most octets of an address (RFC 5321 §4.5.3.1).
const ADDRESS_OCTETS_MAX: usize = 64 + 1 + DOMAIN_OCTETS_MAX;

/// Checks ordinary mail.
pub struct OrdinaryMailChecks {
    authenticator: MessageAuthenticator,
    settings: OrdinaryMailSettings,
    /// What the results call this server.
    host_name: String,
    running: Semaphore,
    /// Turns of each network among them.
    shares: Shares<Source>,
    share: usize,
}

impl std::fmt::Debug for OrdinaryMailChecks {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("OrdinaryMailChecks")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

/// Who hands the message over.
#[derive(Clone, Debug)]
pub struct Sender {
    /// The address of the connection.
    pub address: IpAddr,
    /// What it said in HELO or EHLO.
    pub helo: String,
    /// The reverse path; empty for `<>`.
    pub reverse_path: String,
}

impl Sender {
    /// Cuts what is longer than any name or address: it is none, and must fit a line.
    fn bound(&mut self) {
        for (text, octets_max) in
            [(&mut self.helo, DOMAIN_OCTETS_MAX), (&mut self.reverse_path, ADDRESS_OCTETS_MAX)]
        {
            text.truncate(text.floor_char_boundary(octets_max));
        }
    }
}

/// What was found, and what follows.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Examined {
    /// The value of the Authentication-Results field, folded.
    pub results: String,
    /// What is done with the message.
    pub verdict: Verdict,
}

impl OrdinaryMailChecks {
    /// Checks by `settings`, with the servers of `names`; results carry `host_name`.
    pub fn new(settings: &OrdinaryMailSettings, names: &Names, host_name: &str) -> Arc<Self> {
        Arc::new(Self {
            authenticator: MessageAuthenticator(names.resolver()),
            settings: settings.clone(),
            host_name: host_name.to_owned(),
            running: Semaphore::new(settings.checks_max.min(Semaphore::MAX_PERMITS)),
            shares: Shares::default(),
            share: (settings.checks_max / NETWORKS).max(1),
        })
    }

    /// Examines `message` as it came, our own trace fields not included.
    pub async fn examine(self: &Arc<Self>, message: Bytes, mut sender: Sender) -> Examined {
        sender.bound();
        let waiting_time_max = self.settings.waiting_time_max.duration();
        // The network's own turn first: whose DNS is slow keeps only its neighbours waiting.
        let share = self.shares.of(Source::at(sender.address), self.share);
        let turn = timeout(waiting_time_max, async {
            Some((share.acquire().await.ok()?, self.running.acquire().await.ok()?))
        });
        let turn = turn.await.ok().flatten();
        let examined = if turn.is_some() {
            self.examine_in_turn(message, sender).await
        } else {
            tracing::warn!(peer = %sender.address, "no turn to check ordinary mail: raise checks_max");
            self.unknown(&sender)
        };
        drop(turn);
        metrics::counter!(ORDINARY_CHECKS, "verdict" => examined.verdict.word()).increment(1);
        examined
    }

    async fn examine_in_turn(self: &Arc<Self>, message: Bytes, sender: Sender) -> Examined {
        let (checks, from) = (Arc::clone(self), sender.clone());
        // A task of its own: a fault of the library stays in it.
        let task = tokio::spawn(async move { checks.check(&message, &from).await });
        AbortOnDropHandle::new(task).await.unwrap_or_else(|error| {
            tracing::error!(%error, "ordinary mail could not be checked");
            self.unknown(&sender)
        })
    }

    fn unknown(&self, sender: &Sender) -> Examined {
        Examined {
            results: results::unknown(&self.host_name, sender),
            verdict: verdict::when_unknown(&self.settings),
        }
    }

    /// One part of the checks, within its time.
    async fn part<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        timeout(self.settings.check_time_max.duration(), work).await.ok()
    }

    /// First what the domains of From ask for, which no sender can keep from us; then the signatures, each
    /// with its own time.
    async fn check(&self, octets: &Bytes, sender: &Sender) -> Examined {
        let header = octets.slice(..header_end(octets));
        let mut message = AuthenticatedMessage::parse(&header).unwrap_or_default();
        let authors = Authors::of(&message);
        if authors.unclear && self.settings.dmarc_reject {
            let results = results::unknown(&self.host_name, sender);
            return Examined { results, verdict: Verdict::RefuseAuthors };
        }
        let (policies, spf, (body, hashes)) =
            tokio::join!(self.policies(&authors), self.spf(sender), self.body_hashes(octets),);
        let sealer = message.as_headers.last().map(|field| field.header.d.clone());
        let left_out = self.bound(&mut message, &authors, body == Body::Hashed);
        message.body_hashes = hashes;
        let parts = one_by_one(&message);
        let (dkim, arc) =
            tokio::join!(self.dkim(&parts), self.part(self.authenticator.verify_arc(&message)));
        let arc = arc
            .unwrap_or_else(|| ArcOutput::default().with_result(DkimResult::TempError(too_late())));
        let authors = self.dmarc(policies, &dkim, &spf, sender).await;
        let signatures = Signatures { dkim: &dkim, arc: &arc, sealer, body, left_out };
        let found = Found { spf, authors, signatures };
        found.count();
        Examined {
            results: found.field(&self.host_name, sender),
            verdict: verdict::of(&self.settings, &found),
        }
    }

    /// What each of `authors` asks for; one without a name when there is none.
    async fn policies(&self, authors: &Authors) -> Vec<Author> {
        let mut domains = authors.domains.clone();
        if domains.is_empty() {
            domains.push(String::new());
        }
        let nothing = SpfOutput::new(String::new());
        let policy = async |domain: String| {
            let found = self.part(self.dmarc_of(&domain, &[], &nothing, "")).await;
            let output = found.unwrap_or_else(|| unknown_dmarc(&domain));
            Author { domain, policy: policy_of(&output), output }
        };
        join_all(domains.into_iter().map(policy)).await
    }

    /// The signatures of `parts`, all at a time: a slow one takes no time from another.
    async fn dkim<'a>(&self, parts: &'a [AuthenticatedMessage<'a>]) -> Vec<DkimOutput<'a>> {
        let verified = parts.iter().map(async |part| {
            let outputs = self.part(self.authenticator.verify_dkim(part)).await;
            outputs.unwrap_or_else(|| {
                let late = |field: &'a Header<'a, dkim::Signature>| {
                    DkimOutput::temp_err(too_late()).with_signature(&field.header)
                };
                part.dkim_headers.iter().map(late).collect()
            })
        });
        join_all(verified).await.concat()
    }

    /// RFC 7208 §2.4: the reverse path, or the client's own name for a null one.
    async fn spf(&self, sender: &Sender) -> SpfOutput {
        let Sender { address, helo, reverse_path } = sender;
        let (address, host_name) = (address.to_canonical(), self.host_name.as_str());
        let parameters = if reverse_path.is_empty() {
            SpfParameters::verify_ehlo(address, helo, host_name)
        } else {
            SpfParameters::verify_mail_from(address, helo, host_name, reverse_path)
        };
        let found = self.part(self.authenticator.verify_spf(parameters)).await;
        found.unwrap_or_else(|| {
            let domain = reverse_path.rsplit_once('@').map_or(helo.as_str(), |(_, domain)| domain);
            SpfOutput::new(domain.to_owned()).with_result(SpfResult::TempError)
        })
    }

    /// The digests of the body that the signatures speak of; none when it is too large. Large bodies take
    /// their time, so the digests are made apart from the sessions.
    async fn body_hashes(&self, octets: &Bytes) -> (Body, results::BodyHashes) {
        if octets.len() as u64 > self.settings.check_octets_max.0 {
            return (Body::TooLarge, Vec::new());
        }
        let octets = octets.clone();
        let parse = move || AuthenticatedMessage::parse(&octets).map(|message| message.body_hashes);
        match self.part(spawn_blocking(parse)).await {
            Some(Ok(hashes)) => (Body::Hashed, hashes.unwrap_or_default()),
            Some(Err(_)) | None => (Body::NotHashed, Vec::new()),
        }
    }

    /// Leaves what is looked at: no more signatures than the limit, those nearest to `authors` first, none
    /// with names that no DNS name can be or over more fields than a header has, and none at all when the
    /// body was not hashed or the header has too many fields.
    fn bound(
        &self,
        message: &mut AuthenticatedMessage<'_>,
        authors: &Authors,
        hashed: bool,
    ) -> LeftOut {
        let few_fields = message.headers.len() <= HEADER_FIELDS_MAX;
        let signatures = message.dkim_headers.len();
        message.dkim_headers.retain(|field| {
            field.header.d.len() <= DOMAIN_OCTETS_MAX && field.header.s.len() <= DOMAIN_OCTETS_MAX
        });
        let named = message.dkim_headers.len();
        message.dkim_headers.retain(|field| {
            few_fields
                && field.header.h.len() <= SIGNED_FIELDS_MAX
                && field.header.i.len() <= ADDRESS_OCTETS_MAX
        });
        let header = message.dkim_headers.len() < named;
        authors.nearest_first(&mut message.dkim_headers);
        message.dkim_headers.truncate(if hashed { self.settings.signatures_max } else { 0 });
        message.errors.truncate(self.settings.signatures_max);
        let further = message.dkim_headers.len() < signatures;
        let chain = self.unseal(message, hashed && few_fields);
        message.from = authors.domains.iter().map(|domain| format!("x@{domain}")).collect();
        LeftOut { header, further, chain }
    }

    /// Leaves out a chain that is not looked at, and returns whether there was one.
    fn unseal(&self, message: &mut AuthenticatedMessage<'_>, looked_at: bool) -> bool {
        let sets = message.as_headers.len();
        let long = |field: &Header<'_, mail_auth::arc::Signature>| {
            field.header.h.len() > SIGNED_FIELDS_MAX
        };
        let unsealed = !looked_at
            || (sets > self.settings.signatures_max && sets <= ARC_SETS_MAX)
            || message.ams_headers.iter().any(long);
        let sealed = sets > 0 || !message.ams_headers.is_empty();
        if unsealed {
            message.ams_headers.clear();
            message.as_headers.clear();
            message.aar_headers.clear();
        }
        unsealed && sealed
    }

    /// What speaks for the message in the name of each author. Where that is not found out in time, the
    /// policy that was found before still stands.
    async fn dmarc(
        &self,
        policies: Vec<Author>,
        dkim: &[DkimOutput<'_>],
        spf: &SpfOutput,
        sender: &Sender,
    ) -> Vec<Author> {
        let reverse_path = sender.reverse_path.as_str();
        let from = reverse_path.rsplit_once('@').map_or(sender.helo.as_str(), |(_, domain)| domain);
        let examined = policies.into_iter().map(async |author| {
            let found = self.part(self.dmarc_of(&author.domain, dkim, spf, from)).await;
            let output = found.unwrap_or_else(|| unknown_dmarc(&author.domain));
            let policy = policy_of(&output).or(author.policy);
            Author { policy, output, ..author }
        });
        join_all(examined).await
    }

    /// DMARC for the author's `domain` alone.
    async fn dmarc_of(
        &self,
        domain: &str,
        dkim: &[DkimOutput<'_>],
        spf: &SpfOutput,
        from: &str,
    ) -> DmarcOutput {
        let from_field = (!domain.is_empty()).then(|| format!("x@{domain}"));
        let message =
            AuthenticatedMessage { from: from_field.into_iter().collect(), ..Default::default() };
        let parameters = DmarcParameters {
            message: &message,
            dkim_output: dkim,
            dkim2_output: None,
            rfc5321_mail_from_domain: from,
            spf_output: spf,
        };
        self.authenticator.verify_dmarc(parameters).await
    }
}

/// `message` in pieces that can be verified apart: its malformed signatures, then each of the others.
fn one_by_one<'a>(message: &AuthenticatedMessage<'a>) -> Vec<AuthenticatedMessage<'a>> {
    let part = || AuthenticatedMessage {
        headers: message.headers.clone(),
        from: message.from.clone(),
        raw_message: message.raw_message,
        body_offset: message.body_offset,
        body_hashes: message.body_hashes.clone(),
        ..Default::default()
    };
    let malformed = AuthenticatedMessage { errors: message.errors.clone(), ..Default::default() };
    let one = |field: &Header<'a, dkim::Signature>| AuthenticatedMessage {
        dkim_headers: vec![field.clone()],
        ..part()
    };
    std::iter::once(malformed).chain(message.dkim_headers.iter().map(one)).collect()
}

/// The error of what did not end in time, as the library says that DNS does not answer.
fn too_late() -> Error {
    Error::Dns(DnsError::Resolver("the time is over".to_owned()))
}

fn unknown_dmarc(domain: &str) -> DmarcOutput {
    let result = DmarcResult::TempError(too_late());
    let output = DmarcOutput::default().with_domain(domain).with_spf_result(result.clone());
    output.with_dkim_result(result)
}

/// The policy in `output`; `None` when it is not known.
fn policy_of(output: &DmarcOutput) -> Option<Policy> {
    let known =
        output.dmarc_record().is_some() || !matches!(output.result(), DmarcResult::TempError(_));
    known.then(|| output.policy())
}

/// Where the body begins.
fn header_end(octets: &[u8]) -> usize {
    if octets.starts_with(b"\r\n") {
        return 2;
    }
    let end = memchr::memmem::find(octets, b"\r\n\r\n");
    end.map_or(octets.len(), |end| end + 4)
}
