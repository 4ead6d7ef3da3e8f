//! A message on its way from the connection to its sink, by DATA (RFC 5321 §4.1.1.4) or in chunks
//! (RFC 3030).
//!
//! Invariants:
//!
//! * At most one piece of the input buffer is held at a time.
//! * After the first thing that is wrong the sink is dropped: a refused message holds nothing while
//!   the rest of it is read.
//!
//! Not here: what is wrong with octets (`data`), who may send when (`transaction`, `chunking`).

use tokio::time::Instant;

use super::{
    ServerSettings,
    data::{DataDecoder, DataLimits, Framing, Violation},
    session::{End, Session, ok},
};
use crate::{
    pace::Pace,
    smtp::{
        grammar::Reply,
        transport::{MessageSink, Peer, Refusal, Service, Taken},
        wire::INPUT_OCTETS_MAX,
    },
};

/// Octets read beyond the size limit before the end of a message is no longer waited for.
const EXCESS_OCTETS_MAX: u64 = 64 * 1024 * 1024;

fn pace_of(settings: &ServerSettings) -> Pace {
    Pace {
        grace: settings.message_grace,
        time_max: settings.message_time_max,
        octets_per_second_min: settings.message_octets_per_second_min,
    }
}

/// One message while it comes.
pub(super) struct Incoming {
    sink: Result<Box<dyn MessageSink>, Refusal>,
    decoder: DataDecoder,
    limits: DataLimits,
    pace: Pace,
    begun: Instant,
}

impl std::fmt::Debug for Incoming {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Incoming").field("decoder", &self.decoder).finish_non_exhaustive()
    }
}

impl Incoming {
    /// What is wrong with the message so far.
    pub(super) fn refusal(&self) -> Option<&Refusal> {
        self.sink.as_ref().err()
    }

    /// When more of the message must have come.
    pub(super) fn deadline(&self) -> Instant {
        self.pace.deadline(self.begun, self.decoder.octets())
    }

    /// Notes that `octets` more are announced.
    pub(super) fn announce(&mut self, octets: u64) {
        self.decoder.announce(octets);
        self.judge();
    }

    /// Takes `input` up to its end or the message's; returns how many octets were taken.
    async fn take(&mut self, input: &[u8], piece: &mut Vec<u8>) -> usize {
        piece.clear();
        let taken = self.decoder.decode(input, piece);
        self.hand_on(piece).await;
        taken
    }

    async fn hand_on(&mut self, piece: &[u8]) {
        self.judge();
        if let Ok(sink) = &mut self.sink
            && !piece.is_empty()
            && let Err(refusal) = sink.write(piece).await
        {
            self.sink = Err(refusal);
        }
    }

    fn judge(&mut self) {
        if let Some(violation) = self.decoder.violation()
            && self.sink.is_ok()
        {
            self.sink = Err(violated(violation, &self.limits));
        }
    }

    /// Ends a message in chunks and gives it to whoever takes it over.
    pub(super) async fn finish_chunks(mut self) -> Result<Taken, Refusal> {
        let mut rest = Vec::new();
        self.decoder.end_of_chunks(&mut rest);
        self.hand_on(&rest).await;
        self.finish().await
    }

    async fn finish(self) -> Result<Taken, Refusal> {
        self.sink?.finish().await
    }
}

impl Session<'_> {
    /// Begins to take a message for `sink`.
    pub(super) fn incoming(
        &self,
        peer: &Peer,
        sink: Box<dyn MessageSink>,
        framing: Framing,
    ) -> Incoming {
        let settings = &self.server.settings;
        let limits = DataLimits {
            message: self.server.transport.message_octets_max(peer),
            header: settings.header_octets_max,
            line: settings.data_line_octets_max,
        };
        Incoming {
            sink: Ok(sink),
            decoder: DataDecoder::new(framing, limits),
            limits,
            pace: pace_of(settings),
            begun: Instant::now(),
        }
    }

    /// Reads the data to its end.
    pub(super) async fn receive(
        &mut self,
        mut incoming: Incoming,
    ) -> Result<Result<Taken, Refusal>, End> {
        let limit = incoming.limits.message;
        let mut piece = Vec::with_capacity(INPUT_OCTETS_MAX + 2);
        while !incoming.decoder.ended() {
            self.more(incoming.deadline()).await?;
            let taken = incoming.take(self.wire.buffered(), &mut piece).await;
            self.wire.consume(taken);
            if incoming.decoder.octets() > limit.saturating_add(EXCESS_OCTETS_MAX) {
                return Err(End::GivenUp(Some(Reply::from(&too_large(limit)))));
            }
        }
        drop(piece);
        Ok(incoming.finish().await)
    }

    /// Reads the octets of one chunk into `incoming`, or drops them.
    pub(super) async fn receive_chunk(
        &mut self,
        mut octets: u64,
        mut incoming: Option<&mut Incoming>,
    ) -> Result<(), End> {
        let (pace, begun, mut dropped) = (pace_of(&self.server.settings), Instant::now(), 0);
        if octets == 0 {
            return Ok(());
        }
        self.wire.make_room(false);
        let mut piece = Vec::with_capacity(INPUT_OCTETS_MAX + 2);
        while octets > 0 {
            let deadline =
                incoming.as_ref().map_or(pace.deadline(begun, dropped), |one| one.deadline());
            self.more(deadline).await?;
            let buffered = self.wire.buffered();
            let length = buffered.len().min(usize::try_from(octets).unwrap_or(usize::MAX));
            if let Some(incoming) = &mut incoming {
                incoming.take(buffered.get(..length).unwrap_or_default(), &mut piece).await;
            }
            self.wire.consume(length);
            dropped += length as u64;
            octets -= length as u64;
        }
        self.wire.make_room(true);
        Ok(())
    }

    /// Waits until at least one octet is there.
    async fn more(&mut self, deadline: Instant) -> Result<(), End> {
        if self.wire.buffered().is_empty() {
            let block = Instant::now() + self.server.settings.data_block_time_max;
            self.wire.fill(block.min(deadline)).await?;
        }
        Ok(())
    }

    /// The most octets that are read only to be dropped.
    pub(super) fn excess_octets_max(&self, peer: Option<&Peer>) -> u64 {
        let message = peer.map_or(0, |peer| self.server.transport.message_octets_max(peer));
        message.saturating_add(EXCESS_OCTETS_MAX)
    }

    /// Answers for a message that has come to its end.
    pub(super) async fn conclude(
        &mut self,
        service: Service,
        received: Result<Taken, Refusal>,
    ) -> Result<(), End> {
        let service = match service {
            Service::Submission => "submission",
            Service::Relay => "relay",
        };
        match received {
            Ok(taken) => {
                self.errors = 0;
                self.recipients_refused = 0;
                metrics::counter!("ceralacca_smtp_messages_taken_total", "service" => service)
                    .increment(1);
                tracing::info!(peer = %self.peer_address, identifier = %taken.identifier, "taken");
                self.reply(&ok(&format!("taken as {}", taken.identifier))).await
            }
            Err(refusal) => {
                metrics::counter!("ceralacca_smtp_messages_refused_total", "service" => service)
                    .increment(1);
                tracing::info!(peer = %self.peer_address, %refusal, "message refused");
                self.refuse(&refusal).await
            }
        }
    }
}

/// RFC 1870 §6.1: what is larger than the limit is refused, also when it is only declared so.
pub(super) fn too_large(octets_max: u64) -> Refusal {
    let text = format!(
        "Messaggio oltre {octets_max} ottetti: ridurre gli allegati / A message may have {octets_max} octets: reduce attachments"
    );
    Refusal::new(552, "5.3.4", text)
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
        Violation::MessageTooLarge => too_large(limits.message),
    }
}
