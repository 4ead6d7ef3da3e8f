//! The message that the deliveries of one source have in common: read, verified and parsed once for
//! all that are under way at the same time, since a message to 250 recipients would otherwise be
//! parsed 250 times.
//!
//! Invariant: a parsed envelope lives as long as an answer that is made from it, which has reserved
//! memory for it; nothing here holds memory that nobody has reserved.
//!
//! Not here: the deliveries (`delivery_point`), the answers (`notices`).

use std::sync::{Arc, Weak};

use bytes::Bytes;
use storage::held::HeldMessage;
use tokio::sync::{Mutex, OnceCell};

use super::{
    classify::{PecMessage, ReceivedEnvelope},
    distribution::classify_again,
    engine::{PecEngine, PecError},
    records::DeliveryRecord,
};

/// A transport envelope, and its signed entity.
#[derive(Debug)]
pub(super) struct ParsedEnvelope {
    pub(super) envelope: ReceivedEnvelope,
    pub(super) entity: Bytes,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct SharedMessage {
    held: OnceCell<(Vec<u8>, HeldMessage)>,
    parsed: Mutex<Weak<ParsedEnvelope>>,
}

impl SharedMessage {
    /// The held message that `record` delivers.
    pub(super) async fn held(
        &self,
        engine: &PecEngine,
        record: &DeliveryRecord,
    ) -> Result<HeldMessage, PecError> {
        let read = async || {
            let held = engine.held(&record.message, &record.recipient).await?;
            Ok::<_, PecError>((record.message.clone(), held))
        };
        let (id, held) = self.held.get_or_try_init(read).await?;
        // The deliveries of a source have one message; should one have another, it is read for itself.
        if *id == record.message {
            return Ok(held.clone());
        }
        engine.held(&record.message, &record.recipient).await
    }

    /// The envelope that `record` delivers, parsed. The caller has reserved memory for the message.
    pub(super) async fn envelope(
        &self,
        engine: &Arc<PecEngine>,
        record: &DeliveryRecord,
        held: &HeldMessage,
    ) -> Result<Arc<ParsedEnvelope>, PecError> {
        if self.held.get().is_none_or(|(id, _)| *id != record.message) {
            return parse(engine, record, held).await.map(Arc::new);
        }
        let mut parsed = self.parsed.lock().await;
        if let Some(envelope) = parsed.upgrade() {
            return Ok(envelope);
        }
        let envelope = Arc::new(parse(engine, record, held).await?);
        *parsed = Arc::downgrade(&envelope);
        Ok(envelope)
    }
}

async fn parse(
    engine: &Arc<PecEngine>,
    record: &DeliveryRecord,
    held: &HeldMessage,
) -> Result<ParsedEnvelope, PecError> {
    let octets = engine.read_held(held).await?;
    match classify_again(engine, octets).await? {
        (PecMessage::TransportEnvelope(envelope), entity) => {
            Ok(ParsedEnvelope { envelope: *envelope, entity })
        }
        _ => Err(PecError::Inconsistent {
            object: format!("the envelope for {}", record.recipient),
            detail: "it is no transport envelope".to_owned(),
        }),
    }
}
