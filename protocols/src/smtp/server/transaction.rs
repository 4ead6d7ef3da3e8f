//! One transaction: MAIL, RCPT and DATA (RFC 5321 §3.3).
//!
//! Not here: the order of commands (`session`), transparency (`data`).

use tokio::time::Instant;

use super::{
    data::{DataDecoder, DataLimits, Violation},
    session::{End, Open, Ready, Session, State, bad_sequence, ok},
};
use crate::smtp::{
    grammar::{
        EnvelopeId, ForwardPath, Notify, OriginalRecipient, Parameter, Reply, Ret, ReversePath,
    },
    transport::{Envelope, MessageSink, Peer, RecipientDsn, Refusal, Service, Taken},
    wire::INPUT_OCTETS_MAX,
};

/// Octets read beyond the size limit before the end of data is no longer waited for.
const EXCESS_OCTETS_MAX: u64 = 64 * 1024 * 1024;

impl Session<'_> {
    pub(super) async fn mail(
        &mut self,
        state: State,
        reverse_path: &ReversePath,
        parameters: &[Parameter],
    ) -> Result<State, End> {
        let peer = match state {
            State::Ready(Ready { peer }) => peer,
            State::Connected(_) => {
                return self.answered(&bad_sequence("say EHLO first"), state).await;
            }
            State::Open(_) => {
                return self
                    .answered(&bad_sequence("a transaction is open: use RSET"), state)
                    .await;
            }
        };
        if let Some(reply) = not_logged_in(&peer) {
            return self.answered(&reply, State::Ready(Ready { peer })).await;
        }
        let mut envelope =
            Envelope { reverse_path: reverse_path.to_string(), ..Envelope::default() };
        if let Err(reply) = read_parameters(&peer, parameters, &mut envelope) {
            return self.answered(&reply, State::Ready(Ready { peer })).await;
        }
        let octets_max = self.server.transport.message_octets_max(&peer);
        if envelope.declared_size.is_some_and(|octets| octets > octets_max) {
            return self.answered(&too_large(octets_max), State::Ready(Ready { peer })).await;
        }
        match self.server.transport.mail(&peer, &envelope).await {
            Ok(()) => {
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
        let asked = match read_recipient_parameters(&open.peer, parameters) {
            Ok(asked) => asked,
            Err(reply) => return self.answered(&reply, State::Open(open)).await,
        };
        let reply = if open.envelope.forward_paths.len() >= recipients_max {
            // RFC 5321 §4.5.3.1.10: the client sends the rest in a transaction of its own.
            let text = format!("no more than {recipients_max} recipients in one message");
            Reply::new(452, "4.5.3", &text)
        } else {
            let path = forward_path.to_string();
            match self.server.transport.recipient(&open.peer, &open.envelope, &path).await {
                Ok(()) => {
                    open.envelope.forward_paths.push(path);
                    open.envelope.dsn.recipients.push(asked);
                    Reply::new(250, "2.1.5", "recipient ok")
                }
                Err(refusal) => {
                    self.refuse(&refusal).await?;
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
            let reply = Reply::new(554, "5.5.1", "no valid recipients");
            return self.answered(&reply, State::Open(Open { peer, envelope })).await;
        }
        let sink = match self.server.transport.data(&peer, &envelope).await {
            Ok(sink) => sink,
            Err(refusal) => {
                self.refuse(&refusal).await?;
                return Ok(State::Ready(Ready { peer }));
            }
        };
        self.reply(&Reply::bare(354, "send the message, end with a line of one dot")).await?;
        let limits = DataLimits {
            message: self.server.transport.message_octets_max(&peer),
            header: self.server.settings.header_octets_max,
            line: self.server.settings.data_line_octets_max,
        };
        self.wire.make_room(false);
        let received = self.receive(sink, limits).await;
        self.wire.make_room(true);
        let service = service_name(peer.service);
        match received? {
            Ok(taken) => {
                self.errors = 0;
                metrics::counter!("ceralacca_smtp_messages_taken_total", "service" => service)
                    .increment(1);
                tracing::info!(peer = %self.peer_address, identifier = %taken.identifier, "taken");
                self.reply(&ok(&format!("taken as {}", taken.identifier))).await?;
            }
            Err(refusal) => {
                metrics::counter!("ceralacca_smtp_messages_refused_total", "service" => service)
                    .increment(1);
                tracing::info!(peer = %self.peer_address, %refusal, "message refused");
                self.refuse(&refusal).await?;
            }
        }
        Ok(State::Ready(Ready { peer }))
    }

    /// Reads the data to its end and gives it to `sink`.
    async fn receive(
        &mut self,
        sink: Box<dyn MessageSink>,
        limits: DataLimits,
    ) -> Result<Result<Taken, Refusal>, End> {
        let message_deadline = Instant::now() + self.server.settings.message_time_max;
        let mut decoder = DataDecoder::new(limits);
        let mut message = Vec::with_capacity(INPUT_OCTETS_MAX + 2);
        let mut sink = Ok(sink);
        while !decoder.ended() {
            if self.wire.buffered().is_empty() {
                let deadline = Instant::now() + self.server.settings.data_block_time_max;
                self.wire.fill(deadline.min(message_deadline)).await?;
            }
            message.clear();
            let taken = decoder.decode(self.wire.buffered(), &mut message);
            self.wire.consume(taken);
            if let Some(violation) = decoder.violation() {
                // Dropped here, so that a refused message holds nothing while it is read on.
                sink = Err(violated(violation, &limits));
            }
            if let Ok(open) = &mut sink
                && !message.is_empty()
                && let Err(refusal) = open.write(&message).await
            {
                sink = Err(refusal);
            }
            if decoder.octets() > limits.message.saturating_add(EXCESS_OCTETS_MAX) {
                return Err(End::GivenUp(Some(too_large(limits.message))));
            }
        }
        drop(message);
        Ok(match sink {
            Ok(sink) => sink.finish().await,
            Err(refusal) => Err(refusal),
        })
    }
}

fn service_name(service: Service) -> &'static str {
    match service {
        Service::Submission => "submission",
        Service::Relay => "relay",
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

fn no_transaction(state: &State) -> Reply {
    match state {
        State::Connected(_) => bad_sequence("say EHLO first"),
        State::Ready(Ready { peer }) => {
            not_logged_in(peer).unwrap_or_else(|| bad_sequence("say MAIL first"))
        }
        State::Open(_) => bad_sequence("not now"),
    }
}

fn too_large(octets_max: u64) -> Reply {
    Reply::new(552, "5.3.4", &format!("a message may have {octets_max} octets"))
}

/// Reads the parameters of MAIL that we announce: SIZE (RFC 1870 §4), BODY (RFC 6152 §2), RET and
/// ENVID (RFC 3461 §4.3, §4.4) and, where one can log in, AUTH (RFC 4954 §5), which is taken and
/// not believed.
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
            ("BODY", _) => {
                return Err(Reply::new(504, "5.5.4", "BODY is 7BIT or 8BITMIME"));
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
            ("AUTH", Some(_)) if peer.service == Service::Submission => {}
            (keyword, _) => return Err(not_offered(keyword)),
        }
    }
    Ok(())
}

/// Reads the parameters of RCPT that we announce: NOTIFY and ORCPT (RFC 3461 §4.1, §4.2).
fn read_recipient_parameters(peer: &Peer, parameters: &[Parameter]) -> Result<RecipientDsn, Reply> {
    let mut asked = RecipientDsn::default();
    for parameter in parameters {
        match (parameter.keyword(), parameter.value()) {
            _ if !peer.extended => {
                return Err(Reply::new(555, "5.5.4", "parameters need EHLO"));
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

fn not_offered(keyword: &str) -> Reply {
    Reply::new(555, "5.5.4", &format!("parameter {keyword} is not offered"))
}

fn violated(violation: Violation, limits: &DataLimits) -> Refusal {
    match violation {
        Violation::BareLineEnd => {
            let text = "the message has a bare CR or LF: lines must end with CR LF";
            Refusal::new(554, "5.6.0", text)
        }
        Violation::Nul => Refusal::new(554, "5.6.0", "the message has a NUL octet"),
        Violation::LineTooLong => {
            let octets_max = limits.line;
            Refusal::new(500, "5.6.0", format!("a line may have {octets_max} octets with CR LF"))
        }
        Violation::HeaderTooLarge => {
            let octets_max = limits.header;
            Refusal::new(552, "5.3.4", format!("a header may have {octets_max} octets"))
        }
        Violation::MessageTooLarge => {
            let octets_max = limits.message;
            Refusal::new(552, "5.3.4", format!("a message may have {octets_max} octets"))
        }
    }
}
