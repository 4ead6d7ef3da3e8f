//! `quarantine list`, `show` and `export`.
//!
//! The octets travel sealed, piece by piece; the command opens them with the key of the data folder. That it
//! will is in the journal before the first piece.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use storage::catalog::engine::Batch;
use trust::clock::{Clock as _, SystemClock, UnixMillis};

use crate::{
    control::{Kind, Operation, OperationError, Run, Site},
    pec::{
        engine::EngineSettings,
        journal::{self, JournalEvent},
        quarantine::{self, QuarantineId, QuarantineRecord},
        records::JournalRecord,
    },
    texts::Text,
};

/// Sealed octets of one answer.
const PIECE_OCTETS: u64 = 16 << 20;

/// Asks what is in quarantine.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct QuarantineList {
    /// From this sender.
    #[serde(default)]
    pub sender: Option<String>,
    /// To this recipient, among others.
    #[serde(default)]
    pub recipient: Option<String>,
    /// How many at most.
    pub limit: usize,
}

/// What there is.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct QuarantineListed {
    /// The oldest first.
    pub messages: Vec<QuarantinedView>,
    /// Those beyond the limit.
    pub left_out: u64,
}

/// A message in quarantine.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct QuarantinedView {
    /// Names it in the other commands.
    pub id: String,
    /// When the virus was found, in ms since 1970.
    pub instant_millis: i64,
    /// When it is disposed of, in ms since 1970.
    pub ends_millis: i64,
    /// The name of the virus.
    pub threat: String,
    /// `access-point`, `incoming-point`, `malformed`.
    pub found_at: String,
    /// The reverse path.
    pub sender: String,
    /// The forward paths.
    pub recipients: Vec<String>,
    /// The subject.
    pub subject: String,
    /// The PEC msgid, when there is one.
    pub identifier: String,
    /// The Message-ID.
    pub message_id: String,
    /// The provider that sent it.
    pub provider: String,
    /// Octets of the message.
    pub octets: u64,
    /// SHA-256 of the message, in hexadecimal digits.
    pub sha256: String,
    /// The name of the key that it is sealed under.
    pub key: String,
}

impl QuarantinedView {
    fn of(id: QuarantineId, record: QuarantineRecord) -> Self {
        Self {
            id: id.to_string(),
            instant_millis: record.instant_millis,
            ends_millis: quarantine::ends(UnixMillis(record.instant_millis)).0,
            found_at: record.found_at().word().to_owned(),
            threat: record.threat,
            sender: record.sender,
            recipients: record.recipients,
            subject: record.subject,
            identifier: record.identifier,
            message_id: record.message_id,
            provider: record.provider,
            octets: record.octets,
            sha256: hex::encode(record.digest),
            key: hex::encode(record.key),
        }
    }
}

/// Reads an id as commands write it.
///
/// # Errors
///
/// When it is none.
pub fn quarantine_id(text: &str) -> Result<QuarantineId, OperationError> {
    let mut octets = [0; 16];
    hex::decode_to_slice(text, &mut octets).map(|()| QuarantineId(octets)).map_err(|_| {
        OperationError::new(
            Kind::Invalid,
            Text::filled(
                format!(
                    "\"{text}\" non è un messaggio in quarantena: 32 cifre, come in `quarantine list`"
                ),
                format!("\"{text}\" is no message in quarantine: 32 digits, as in `quarantine list`"),
            ),
        )
    })
}

async fn find(site: &Site, text: &str) -> Result<(QuarantineId, QuarantineRecord), OperationError> {
    let id = quarantine_id(text)?;
    let record = quarantine::find(&site.store, id).await?;
    record.map(|record| (id, record)).ok_or_else(|| {
        OperationError::new(
            Kind::NotFound,
            Text::filled(
                format!(
                    "{text} non è in quarantena: `ceralacca quarantine list` mostra ciò che c'è"
                ),
                format!("{text} is not in quarantine: `ceralacca quarantine list` shows what is"),
            ),
        )
    })
}

#[async_trait::async_trait]
impl Operation for QuarantineList {
    const NAME: &'static str = "quarantine/list";

    type Outcome = QuarantineListed;

    async fn run(&self, site: &Site, run: &Run) -> Result<QuarantineListed, OperationError> {
        let wanted = |record: &QuarantineRecord| {
            let same = |one: &str, other: &String| one.eq_ignore_ascii_case(other);
            self.sender.as_ref().is_none_or(|sender| same(&record.sender, sender))
                && self
                    .recipient
                    .as_ref()
                    .is_none_or(|wanted| record.recipients.iter().any(|one| same(one, wanted)))
        };
        let listed = quarantine::list(&site.store, wanted, self.limit);
        let (rows, left_out) = run.reading(listed).await??;
        let messages = rows.into_iter().map(|(id, row)| QuarantinedView::of(id, row)).collect();
        Ok(QuarantineListed { messages, left_out })
    }
}

/// Asks for one message.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct QuarantineShow {
    /// Which.
    pub id: String,
}

#[async_trait::async_trait]
impl Operation for QuarantineShow {
    const NAME: &'static str = "quarantine/show";

    type Outcome = QuarantinedView;

    async fn run(&self, site: &Site, _run: &Run) -> Result<QuarantinedView, OperationError> {
        let (id, record) = find(site, &self.id).await?;
        Ok(QuarantinedView::of(id, record))
    }
}

/// Says that a message is going to be opened.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct QuarantineOpen {
    /// Which.
    pub id: String,
    /// Who opens it.
    pub actor: String,
    /// Why, for the journal.
    pub why: String,
}

#[async_trait::async_trait]
impl Operation for QuarantineOpen {
    const NAME: &'static str = "quarantine/open";

    type Outcome = QuarantinedView;

    async fn run(&self, site: &Site, _run: &Run) -> Result<QuarantinedView, OperationError> {
        let (id, record) = find(site, &self.id).await?;
        let detail = format!("quarantine {id}: {}; by {}", self.why, self.actor);
        let mut batch = Batch::default();
        let (node, now) = (EngineSettings::default().node, SystemClock.now());
        let journal = JournalRecord { detail, ..quarantine::about(&record) };
        journal::write(&mut batch, node, now, JournalEvent::QuarantineOpened, journal);
        site.store.commit(batch).await?;
        Ok(QuarantinedView::of(id, record))
    }
}

/// Asks for sealed octets of a message.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct QuarantineRead {
    /// Which.
    pub id: String,
    /// From which sealed octet on.
    pub start: u64,
}

/// Sealed octets.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct QuarantinePiece {
    /// In base64; empty at the end.
    pub octets: String,
    /// How many there are in all.
    pub total: u64,
}

#[async_trait::async_trait]
impl Operation for QuarantineRead {
    const NAME: &'static str = "quarantine/read";

    type Outcome = QuarantinePiece;

    async fn run(&self, site: &Site, run: &Run) -> Result<QuarantinePiece, OperationError> {
        let (id, record) = find(site, &self.id).await?;
        let held = match quarantine::held_id(&record) {
            Some(held) => run.reading(site.store.held(held)).await??,
            None => None,
        };
        let held = held.ok_or_else(|| {
            OperationError::new(
                Kind::Failed,
                Text::filled(
                    format!("gli ottetti di {id} mancano: `ceralacca store check`"),
                    format!("the octets of {id} are missing: `ceralacca store check`"),
                ),
            )
        })?;
        let total = held.size();
        let end = self.start.saturating_add(PIECE_OCTETS).min(total);
        let mut octets = Vec::new();
        while self.start + (octets.len() as u64) < end {
            let next = self.start + octets.len() as u64..end;
            let piece = run.reading(site.store.octets().read(held.stored(), next)).await??;
            if piece.is_empty() {
                break;
            }
            octets.extend_from_slice(&piece);
        }
        Ok(QuarantinePiece { octets: STANDARD.encode(octets), total })
    }
}
