//! One transaction: MAIL, RCPT and DATA (RFC 5321 §3.3).
//!
//! Not here: the order of commands (`session`), BDAT (`chunking`), the octets of the message
//! (`incoming`, `data`).

use super::{
    data::Framing,
    incoming::too_large,
    session::{End, Open, Ready, Session, State, bad_sequence},
};
use crate::smtp::{
    grammar::{
        EnvelopeId, ForwardPath, Notify, OriginalRecipient, Parameter, Reply, Ret, ReversePath,
    },
    transport::{Envelope, Peer, RecipientDsn, Service},
};

impl Session<'_> {
    pub(super) async fn mail(
        &mut self,
        state: State,
        reverse_path: &ReversePath,
        parameters: &[Parameter],
    ) -> Result<State, End> {
        self.recipient_was_refused = false;
        let peer = match state {
            State::Ready(Ready { peer }) => peer,
            State::Connected(_) => {
                return self.answered(&bad_sequence("say EHLO first"), state).await;
            }
            State::Open(_) | State::Chunked(_) => {
                return self
                    .answered(&bad_sequence("a transaction is open: use RSET"), state)
                    .await;
            }
        };
        self.chunks_refused = false;
        if self.transactions >= self.server.settings.transactions_max {
            // RFC 9422 §4.1: the client goes on over another connection.
            let text = "no more messages on this connection: open a new one";
            return Err(End::GivenUp(Some(Reply::new(421, "4.7.0", text))));
        }
        if let Some(reply) = not_logged_in(&peer) {
            return self.answered(&reply, State::Ready(Ready { peer })).await;
        }
        let mut envelope =
            Envelope { reverse_path: reverse_path.to_string(), ..Envelope::default() };
        if let Err(reply) = read_parameters(&peer, parameters, &mut envelope) {
            return self.answered(&reply, State::Ready(Ready { peer })).await;
        }
        if !reverse_path.is_ascii() && !envelope.smtp_utf8 {
            let reply = ascii_only(peer.service);
            return self.answered(&reply, State::Ready(Ready { peer })).await;
        }
        let octets_max = self.server.transport.message_octets_max(&peer);
        if envelope.declared_size.is_some_and(|octets| octets > octets_max) {
            let reply = Reply::from(&too_large(octets_max));
            return self.answered(&reply, State::Ready(Ready { peer })).await;
        }
        match self.server.transport.mail(&peer, &envelope).await {
            Ok(()) => {
                self.transactions += 1;
                let reply = Reply::new(250, "2.1.0", "sender ok");
                self.answered(&reply, State::Open(Open { peer, envelope })).await
            }
            Err(refusal) => {
                self.refuse(&refusal).await?;
                Ok(State::Ready(Ready { peer }))
            }
        }
    }

    pub(super) async fn recipient(
        &mut self,
        state: State,
        forward_path: &ForwardPath,
        parameters: &[Parameter],
    ) -> Result<State, End> {
        let State::Open(mut open) = state else {
            return self.answered(&no_transaction(&state), state).await;
        };
        let recipients_max = self.server.transport.recipients_max(&open.peer);
        let asked = match read_recipient_parameters(&open, parameters) {
            Ok(asked) => asked,
            Err(reply) => return self.answered(&reply, State::Open(open)).await,
        };
        let reply = if open.envelope.forward_paths.len() >= recipients_max {
            // RFC 5321 §4.5.3.1.10: the client sends the rest in a transaction of its own.
            let text = format!(
                "Al massimo {recipients_max} destinatari: gli altri in un altro messaggio / At most {recipients_max} recipients: send the rest in another message"
            );
            Reply::new(452, "4.5.3", &text)
        } else if !forward_path.is_ascii() && !open.envelope.smtp_utf8 {
            ascii_only(open.peer.service)
        } else {
            let path = forward_path.to_string();
            match self.server.transport.recipient(&open.peer, &open.envelope, &path).await {
                Ok(()) => {
                    open.envelope.forward_paths.push(path);
                    open.envelope.dsn.recipients.push(asked);
                    Reply::new(250, "2.1.5", "recipient ok")
                }
                Err(refusal) => {
                    self.refuse_recipient(&open, &refusal).await?;
                    return Ok(State::Open(open));
                }
            }
        };
        self.answered(&reply, State::Open(open)).await
    }

    pub(super) async fn data(&mut self, state: State) -> Result<State, End> {
        let State::Open(Open { peer, envelope }) = state else {
            return self.answered(&no_transaction(&state), state).await;
        };
        if envelope.forward_paths.is_empty() {
            return self.without_recipients(Open { peer, envelope }).await;
        }
        let sink = match self.server.transport.data(&peer, &envelope).await {
            Ok(sink) => sink,
            Err(refusal) => {
                self.refuse(&refusal).await?;
                return Ok(State::Ready(Ready { peer }));
            }
        };
        self.reply(&Reply::bare(354, "send the message, end with a line of one dot")).await?;
        let incoming = self.incoming(&peer, sink, Framing::Dots);
        self.wire.make_room(false);
        let received = self.receive(incoming).await;
        self.wire.make_room(true);
        self.conclude(peer.service, received?).await?;
        Ok(State::Ready(Ready { peer }))
    }

    /// Answers the data of a message that has no recipients. A client that sends its commands in
    /// groups has sent it before it knew (RFC 2920 §3.1): after refused recipients it is no error.
    pub(super) async fn without_recipients(&mut self, open: Open) -> Result<State, End> {
        let reply = Reply::new(554, "5.5.1", "no valid recipients");
        if std::mem::take(&mut self.recipient_was_refused) {
            self.wire.write(reply.octets()).await?;
        } else {
            self.reply(&reply).await?;
        }
        Ok(State::Open(open))
    }
}

/// RFC 3207 §4 and RFC 4954 §6: what must come before MAIL.
fn not_logged_in(peer: &Peer) -> Option<Reply> {
    if peer.service != Service::Submission || peer.identity.is_some() {
        return None;
    }
    Some(match peer.tls {
        None => Reply::new(530, "5.7.0", "say STARTTLS first"),
        Some(_) => Reply::new(530, "5.7.0", "authentication required: log in with AUTH"),
    })
}

pub(super) fn no_transaction(state: &State) -> Reply {
    match state {
        State::Chunked(_) => bad_sequence("the message comes by BDAT: end it with BDAT LAST"),
        State::Connected(_) => bad_sequence("say EHLO first"),
        State::Ready(Ready { peer }) => {
            not_logged_in(peer).unwrap_or_else(|| bad_sequence("say MAIL first"))
        }
        State::Open(_) => bad_sequence("not now"),
    }
}

/// RFC 6531 §3.5: an address outside ASCII needs the parameter SMTPUTF8, and a server that offers it.
fn ascii_only(service: Service) -> Reply {
    match service {
        Service::Relay => Reply::new(553, "5.6.7", "an address outside ASCII needs SMTPUTF8"),
        Service::Submission => no_smtp_utf8(553),
    }
}

fn no_smtp_utf8(code: u16) -> Reply {
    let text = "Indirizzi solo ASCII: inviare senza SMTPUTF8, il testo resta in UTF-8 / ASCII addresses only: send without SMTPUTF8, text may stay UTF-8";
    Reply::new(code, "5.6.7", text)
}

/// Reads the parameters of MAIL that we announce: SIZE (RFC 1870 §4), BODY (RFC 6152 §2), RET and
/// ENVID (RFC 3461 §4.3, §4.4), on relay SMTPUTF8 (RFC 6531 §3.4) and, where one can log in, AUTH
/// (RFC 4954 §5), which is taken and not believed.
fn read_parameters(
    peer: &Peer,
    parameters: &[Parameter],
    envelope: &mut Envelope,
) -> Result<(), Reply> {
    for parameter in parameters {
        match (parameter.keyword(), parameter.value()) {
            _ if !peer.extended => {
                return Err(Reply::new(555, "5.5.4", "parameters need EHLO"));
            }
            (keyword, Some(value)) if !value.is_ascii() => return Err(not_ascii(keyword)),
            ("SIZE", value) => {
                let digits = value.filter(|value| {
                    value.len() <= 20 && value.bytes().all(|octet| octet.is_ascii_digit())
                });
                let Some(digits) = digits else {
                    return Err(Reply::new(501, "5.5.4", "SIZE is a number of octets"));
                };
                envelope.declared_size = Some(digits.parse().unwrap_or(u64::MAX));
            }
            ("BODY", Some(value)) if value.eq_ignore_ascii_case("7BIT") => {}
            ("BODY", Some(value)) if value.eq_ignore_ascii_case("8BITMIME") => {
                envelope.eight_bit = true;
            }
            ("BODY", Some(value)) if value.eq_ignore_ascii_case("BINARYMIME") => {
                let text = "BINARYMIME non ammesso: codificare in base64 / BINARYMIME is not taken: encode as base64";
                return Err(Reply::new(555, "5.6.1", text));
            }
            ("BODY", _) => {
                return Err(Reply::new(555, "5.5.4", "BODY is 7BIT or 8BITMIME"));
            }
            ("RET", value) => {
                envelope.dsn.ret = Some(
                    value
                        .and_then(Ret::parse)
                        .ok_or_else(|| Reply::new(501, "5.5.4", "RET is FULL or HDRS"))?,
                );
            }
            ("ENVID", value) => {
                envelope.dsn.envelope_id =
                    Some(value.and_then(EnvelopeId::parse).ok_or_else(|| {
                        Reply::new(501, "5.5.4", "ENVID is up to 100 octets of xtext")
                    })?);
            }
            ("SMTPUTF8", None) if peer.service == Service::Relay => envelope.smtp_utf8 = true,
            ("SMTPUTF8", None) => return Err(no_smtp_utf8(555)),
            ("AUTH", Some(_)) if peer.service == Service::Submission => {}
            (keyword, _) => return Err(not_offered(keyword)),
        }
    }
    Ok(())
}

/// Reads the parameters of RCPT that we announce: NOTIFY and ORCPT (RFC 3461 §4.1, §4.2), which with
/// SMTPUTF8 may be outside ASCII (RFC 6533 §3).
fn read_recipient_parameters(open: &Open, parameters: &[Parameter]) -> Result<RecipientDsn, Reply> {
    let mut asked = RecipientDsn::default();
    for parameter in parameters {
        match (parameter.keyword(), parameter.value()) {
            _ if !open.peer.extended => {
                return Err(Reply::new(555, "5.5.4", "parameters need EHLO"));
            }
            (keyword, Some(value)) if !value.is_ascii() && !open.envelope.smtp_utf8 => {
                return Err(not_ascii(keyword));
            }
            ("NOTIFY", value) => {
                asked.notify = value.and_then(Notify::parse).ok_or_else(|| {
                    Reply::new(501, "5.5.4", "NOTIFY is NEVER, or of SUCCESS,FAILURE,DELAY")
                })?;
            }
            ("ORCPT", value) => {
                asked.original =
                    Some(value.and_then(OriginalRecipient::parse).ok_or_else(|| {
                        Reply::new(501, "5.5.4", "ORCPT is type;address in xtext, up to 500 octets")
                    })?);
            }
            (keyword, _) => return Err(not_offered(keyword)),
        }
    }
    Ok(asked)
}

fn not_ascii(keyword: &str) -> Reply {
    Reply::new(501, "5.5.4", &format!("the value of {keyword} is outside ASCII"))
}

fn not_offered(keyword: &str) -> Reply {
    Reply::new(555, "5.5.4", &format!("parameter {keyword} is not offered"))
}
