//! What is found out about mail that no provider has signed: SPF (RFC 7208), DKIM (RFC 6376), DMARC
//! (RFC 9989), ARC (RFC 8617).
//!
//! * The octets of the message are read, never changed: what was found goes into the header of the
//!   anomaly envelope, as Authentication-Results (RFC 8601). Fields of that name inside the message
//!   are the sender's word, whatever name they give themselves.
//! * Everything is bounded: time, octets that are hashed, signatures that are looked at, checks at
//!   the same time. What is beyond a bound is not known, and not known is never refused for good.
//! * A fault of the library ends the check, not the session.
//! * Certified mail never comes here: its provider's signature says more.
//!
//! Not here: what follows for the message by the configuration ([`verdict`]), SMTP
//! (`pec::incoming_point`), questions to DNS ([`crate::names`]).

mod results;
mod sealed_results;
pub mod verdict;

use std::{net::IpAddr, sync::Arc};

use bytes::Bytes;
use mail_auth::{
    AuthenticatedMessage, DmarcOutput, MessageAuthenticator, SpfOutput,
    dmarc::verify::DmarcParameters, spf::verify::SpfParameters,
};
use tokio::{sync::Semaphore, task::spawn_blocking};
use tokio_util::task::AbortOnDropHandle;

use self::{
    results::{Found, Signatures},
    verdict::Verdict,
};
use crate::{config::OrdinaryMailSettings, metrics_names::ORDINARY_CHECKS, names::Names};

/// Names of fields that one signature may cover, and fields of a header that is looked at: the library
/// compares each of the ones with each of the others.
const SIGNED_FIELDS_MAX: usize = 256;
const HEADER_FIELDS_MAX: usize = 1_000;

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
        })
    }

    /// Examines `message` as it came, our own trace fields not included.
    pub async fn examine(self: &Arc<Self>, message: Bytes, mut sender: Sender) -> Examined {
        sender.bound();
        let (checks, from) = (Arc::clone(self), sender.clone());
        // A task of its own: a fault of the library stays in it.
        let task = AbortOnDropHandle::new(tokio::spawn(async move {
            let _running = checks.running.acquire().await;
            checks.check(&message, &from).await
        }));
        let examined =
            match tokio::time::timeout(self.settings.check_time_max.duration(), task).await {
                Ok(Ok(examined)) => examined,
                Ok(Err(error)) => {
                    tracing::error!(%error, "ordinary mail could not be checked");
                    self.unknown(&sender)
                }
                Err(_) => {
                    tracing::warn!(peer = %sender.address, "checks of ordinary mail took too long");
                    self.unknown(&sender)
                }
            };
        metrics::counter!(ORDINARY_CHECKS, "verdict" => examined.verdict.word()).increment(1);
        examined
    }

    fn unknown(&self, sender: &Sender) -> Examined {
        Examined {
            results: results::unknown(&self.host_name, sender),
            verdict: verdict::when_unknown(&self.settings),
        }
    }

    async fn check(&self, octets: &Bytes, sender: &Sender) -> Examined {
        let spf = self.spf(sender).await;
        let header = octets.slice(..header_end(octets));
        let hashed = self.body_hashes(octets).await;
        let mut message = AuthenticatedMessage::parse(&header).unwrap_or_default();
        let complete = self.bound(&mut message, hashed.is_some());
        message.body_hashes = hashed.unwrap_or_default();
        let dkim = self.authenticator.verify_dkim(&message).await;
        let arc = self.authenticator.verify_arc(&message).await;
        let dmarc = self.dmarc(&message, &dkim, &spf, sender).await;
        let found =
            Found { spf, dmarc, signatures: Signatures { dkim: &dkim, arc: &arc, complete } };
        found.count();
        Examined {
            results: found.field(&self.host_name, sender),
            verdict: verdict::of(&self.settings, &found),
        }
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
        self.authenticator.verify_spf(parameters).await
    }

    /// The digests of the body that the signatures speak of; `None` when it is too large. Large
    /// bodies take their time, so the digests are made apart from the sessions.
    async fn body_hashes(&self, octets: &Bytes) -> Option<results::BodyHashes> {
        if octets.len() as u64 > self.settings.check_octets_max.0 {
            return None;
        }
        let octets = octets.clone();
        let parse = move || AuthenticatedMessage::parse(&octets).map(|message| message.body_hashes);
        spawn_blocking(parse).await.ok().map(Option::unwrap_or_default)
    }

    /// Leaves what is looked at: no more signatures than the limit, none with names that no DNS
    /// name can be or over more fields than a header has, and none at all when the body was not hashed
    /// or the header has too many fields. Returns whether that was all there was.
    fn bound(&self, message: &mut AuthenticatedMessage<'_>, hashed: bool) -> bool {
        let looked_at = hashed && message.headers.len() <= HEADER_FIELDS_MAX;
        let signatures = message.dkim_headers.len();
        let sealed = !message.as_headers.is_empty() || !message.ams_headers.is_empty();
        message.dkim_headers.retain(|field| {
            let signature = &field.header;
            looked_at
                && signature.h.len() <= SIGNED_FIELDS_MAX
                && signature.d.len() <= DOMAIN_OCTETS_MAX
                && signature.s.len() <= DOMAIN_OCTETS_MAX
                && signature.i.len() <= ADDRESS_OCTETS_MAX
        });
        message.dkim_headers.truncate(self.settings.signatures_max);
        message.errors.truncate(self.settings.signatures_max);
        let long = |field: &mail_auth::common::headers::Header<'_, mail_auth::arc::Signature>| {
            field.header.h.len() > SIGNED_FIELDS_MAX
        };
        let unseal = !looked_at
            || message.as_headers.len() > self.settings.signatures_max
            || message.ams_headers.iter().any(long);
        if unseal {
            message.ams_headers.clear();
            message.as_headers.clear();
            message.aar_headers.clear();
        }
        message.from.retain(|address| address.len() <= ADDRESS_OCTETS_MAX);
        looked_at && message.dkim_headers.len() == signatures && !(unseal && sealed)
    }

    async fn dmarc(
        &self,
        message: &AuthenticatedMessage<'_>,
        dkim: &[mail_auth::DkimOutput<'_>],
        spf: &SpfOutput,
        sender: &Sender,
    ) -> DmarcOutput {
        let reverse_path = sender.reverse_path.as_str();
        let domain =
            reverse_path.rsplit_once('@').map_or(sender.helo.as_str(), |(_, domain)| domain);
        let parameters = DmarcParameters {
            message,
            dkim_output: dkim,
            dkim2_output: None,
            rfc5321_mail_from_domain: domain,
            spf_output: spf,
        };
        self.authenticator.verify_dmarc(parameters).await
    }
}

/// Where the body begins.
fn header_end(octets: &[u8]) -> usize {
    if octets.starts_with(b"\r\n") {
        return 2;
    }
    let end = memchr::memmem::find(octets, b"\r\n\r\n");
    end.map_or(octets.len(), |end| end + 4)
}
