//! What EHLO offers (RFC 5321 §4.1.1.1): only what is kept to.
//!
//! Submission offers neither BINARYMIME nor SMTPUTF8, relay no BINARYMIME: whoever asks for them all
//! the same is told what to do instead.

use smtp_codec::types::{AuthMechanism, Capability};

use super::session::Session;
use crate::{
    sasl::Mechanism,
    smtp::transport::{Announced, Peer, Service},
};

impl Session<'_> {
    pub(super) async fn capabilities(&self, peer: &Peer) -> Vec<Capability> {
        let announced = self.server.transport.announced(peer).await;
        let mut capabilities = vec![
            Capability::Pipelining,
            size(announced.octets_max),
            Capability::EightBitMIME,
            Capability::EnhancedStatusCodes,
            Capability::DSN,
            Capability::Chunking,
        ];
        if peer.service == Service::Relay {
            capabilities.push(Capability::SMTPUTF8);
        }
        if peer.tls.is_none() && self.server.start_tls.is_some() {
            capabilities.push(Capability::StartTLS);
        }
        let mechanisms = self.mechanisms(peer);
        if !mechanisms.is_empty() {
            let mechanisms = mechanisms.into_iter().map(Mechanism::name);
            let mechanisms = mechanisms.map(|name| AuthMechanism::Other(name.to_owned()));
            capabilities.push(Capability::Auth(mechanisms.collect()));
        }
        capabilities.push(self.limits(&announced));
        capabilities.push(Capability::Help);
        capabilities
    }

    /// RFC 9422 §3. Where somebody has still to log in, recipients are not told: they depend on who
    /// he is.
    fn limits(&self, announced: &Announced) -> Capability {
        let mut params = vec![format!("MAILMAX={}", self.server.settings.transactions_max)];
        params.extend(announced.recipients_max.map(|most| format!("RCPTMAX={most}")));
        Capability::Other { keyword: "LIMITS".into(), params }
    }
}

/// smtp-codec knows limits below 4 GiB only.
fn size(octets_max: u64) -> Capability {
    u32::try_from(octets_max).map_or_else(
        |_| Capability::Other { keyword: "SIZE".into(), params: vec![octets_max.to_string()] },
        Capability::Size,
    )
}
