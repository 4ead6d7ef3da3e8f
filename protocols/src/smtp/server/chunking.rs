//! BDAT (RFC 3030): a message in chunks whose sizes are told before them.
//!
//! ```text
//! C: BDAT 1000            C: BDAT 86 LAST
//! C: (1000 octets)        C: (86 octets)
//! S: 250 2.0.0 …          S: 250 2.0.0 taken as …
//! ```
//!
//! Invariants:
//!
//! * The octets of a chunk are read before its reply, also when it is refused: nothing of a message
//!   is ever taken for commands. Where that cannot be (no size, or one beyond all measure) the
//!   connection ends.
//! * A refused chunk ends the transaction; those that are in the pipeline behind it are dropped and
//!   answered with 503, without counting as errors.
//! * DATA and BDAT are not mixed in one message.
//!
//! BINARYMIME is not offered: lines end in CR LF here as everywhere.

use tokio::time::Instant;

use super::{
    data::Framing,
    incoming::Incoming,
    session::{End, Open, Ready, Session, State, bad_sequence},
    transaction::no_transaction,
};
use crate::smtp::{
    grammar::{Chunk, Reply},
    transport::Peer,
};

/// A message comes in chunks, and the last has not come.
#[derive(Debug)]
pub(super) struct Chunked {
    pub(super) peer: Peer,
    incoming: Incoming,
}

impl Chunked {
    /// When the whole message must have come.
    pub(super) fn deadline(&self) -> Instant {
        self.incoming.deadline()
    }
}

impl Session<'_> {
    pub(super) async fn bdat(&mut self, state: State, chunk: Chunk) -> Result<State, End> {
        let chunked = match state {
            State::Chunked(chunked) => chunked,
            // Without its first chunk a message would begin in its middle.
            State::Open(open) if open.peer.extended && self.chunks_refused => {
                let reply = bad_sequence("a chunk before it was refused: use RSET");
                return self.refuse_chunk(State::Open(open), chunk, &reply).await;
            }
            State::Open(Open { peer, envelope })
                if peer.extended && !envelope.forward_paths.is_empty() =>
            {
                match self.server.transport.data(&peer, &envelope).await {
                    Ok(sink) => {
                        let incoming = self.incoming(&peer, sink, Framing::Chunks);
                        Box::new(Chunked { peer, incoming })
                    }
                    Err(refusal) => {
                        self.drop_chunk(Some(&peer), chunk).await?;
                        self.refuse(&refusal).await?;
                        return Ok(State::Ready(Ready { peer }));
                    }
                }
            }
            State::Open(open) if open.peer.extended => {
                self.drop_chunk(Some(&open.peer), chunk).await?;
                return self.without_recipients(open).await;
            }
            State::Open(open) => {
                let reply = bad_sequence("chunks need EHLO: use DATA");
                return self.refuse_chunk(State::Open(open), chunk, &reply).await;
            }
            State::Connected(_) | State::Ready(_) => {
                let reply = no_transaction(&state);
                return self.refuse_chunk(state, chunk, &reply).await;
            }
        };
        self.take_chunk(chunked, chunk).await
    }

    async fn take_chunk(&mut self, mut chunked: Box<Chunked>, chunk: Chunk) -> Result<State, End> {
        chunked.incoming.announce(chunk.octets);
        if chunked.incoming.refusal().is_some() {
            self.drop_chunk(Some(&chunked.peer), chunk).await?;
        } else {
            self.receive_chunk(chunk.octets, Some(&mut chunked.incoming)).await?;
        }
        let Chunked { peer, incoming } = *chunked;
        if chunk.last || incoming.refusal().is_some() {
            self.chunks_refused = !chunk.last;
            let received = incoming.finish_chunks().await;
            self.conclude(peer.service, received).await?;
            return Ok(State::Ready(Ready { peer }));
        }
        let text = format!("{} octets received", chunk.octets);
        let state = State::Chunked(Box::new(Chunked { peer, incoming }));
        self.answered(&Reply::new(250, "2.0.0", &text), state).await
    }

    /// Drops a chunk that may not come now, and says why.
    async fn refuse_chunk(
        &mut self,
        state: State,
        chunk: Chunk,
        reply: &Reply,
    ) -> Result<State, End> {
        let in_pipeline = self.chunks_refused;
        self.drop_chunk(state.peer_known(), chunk).await?;
        if in_pipeline {
            self.wire.write(reply.octets()).await?;
        } else {
            self.reply(reply).await?;
        }
        Ok(state)
    }

    /// Reads the octets of a chunk that nobody wants (RFC 3030 §2).
    async fn drop_chunk(&mut self, peer: Option<&Peer>, chunk: Chunk) -> Result<(), End> {
        self.chunks_refused = !chunk.last;
        let octets_max = self.excess_octets_max(peer);
        if chunk.octets > octets_max {
            let text = "the chunk is too large to be read: closing the connection";
            return Err(End::GivenUp(Some(Reply::new(552, "5.3.4", text))));
        }
        self.receive_chunk(chunk.octets, None).await
    }
}
