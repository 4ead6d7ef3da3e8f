//! CAPA (RFC 2449 §5): what the server can do, and is tested to do. A test compares this list with
//! the transcripts that cover it.

use super::{
    reply::Reply,
    session::{Session, State},
    texts,
};
use crate::{lines::Stream, sasl::Mechanism};

/// RFC 2449 §6.1, §6.8, §6.6, §6.4, RFC 3206 §6, RFC 6856 §2, §3, in this order.
const ALWAYS: [&str; 7] =
    ["TOP", "UIDL", "PIPELINING", "RESP-CODES", "AUTH-RESP-CODE", "UTF8 USER", "LANG"];

impl<S: Stream> Session<S> {
    pub(super) fn capa(&self) -> Reply {
        let mut lines: Vec<String> = ALWAYS.iter().map(ToString::to_string).collect();
        let limits = &self.shared.limits;
        // RFC 2449 §6.7
        lines.push(
            limits
                .expire_days
                .map_or_else(|| "EXPIRE NEVER".into(), |days| format!("EXPIRE {days}")),
        );
        lines.extend(self.shared.login_delay.announced().map(|n| format!("LOGIN-DELAY {n}")));
        if self.beginning.tls.is_some() {
            lines.push("USER".to_owned());
            let names = self.mechanisms().into_iter().map(Mechanism::name);
            lines.push(names.fold("SASL".to_owned(), |line, name| line + " " + name));
        }
        // RFC 2595 §4: not once TLS runs, nor once somebody is logged in.
        if self.beginning.start_tls && matches!(self.state, State::Authorization { .. }) {
            lines.push("STLS".to_owned());
        }
        lines.push("IMPLEMENTATION Ceralacca".to_owned());
        Reply::Lines(texts::CAPABILITIES, lines)
    }

    /// The mechanisms of AUTH on this connection; none in the clear.
    pub(super) fn mechanisms(&self) -> Vec<Mechanism> {
        match &self.beginning.tls {
            Some(bindings) => Mechanism::offered(bindings, false, &*self.shared.authenticator),
            None => Vec::new(),
        }
    }
}
