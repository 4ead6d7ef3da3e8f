//! `ceralacca message`: how one message lies in the store.

use std::path::Path;

use clap::Subcommand;
use serde::Serialize;
use storage::{
    error::StoreError,
    ids::EmailNumber,
    octets::{
        StoredMessage,
        recipe::Segment,
        store::{ChunkPlace, ChunkUse},
    },
    store::Store,
};
use trust::digest::Sha256Hasher;

use super::{failure::Failure, operation::with_store, output::Output, say};
use crate::{
    registry::address::AccountAddress,
    texts::{Language, Text},
};

#[derive(Debug, Subcommand)]
pub(super) enum MessageCommand {
    #[command(
        about = say(
            "Ricostruisce un messaggio e mostra ricetta, chunk, ottetti logici e fisici (a server fermo)",
            "Rebuilds a message and shows recipe, chunks, logical and physical octets (server stopped)",
        ),
        after_help = say(
            "Esempi:\n  ceralacca message show maria.rossi@pec.example 1\n  ceralacca message show maria.rossi@pec.example 1 --octets > messaggio.eml",
            "Examples:\n  ceralacca message show maria.rossi@pec.example 1\n  ceralacca message show maria.rossi@pec.example 1 --octets > message.eml",
        ),
    )]
    Show {
        #[arg(value_name = "ACCOUNT", help = say("L'indirizzo della casella", "The account's address"))]
        account: AccountAddress,
        #[arg(value_name = "ID", help = say("Il numero del messaggio nella casella, da 1", "The message's number in the account, from 1"))]
        id: u64,
        #[arg(long, help = say("Scrive il messaggio stesso, ottetto per ottetto", "Writes the message itself, octet for octet"))]
        octets: bool,
    },
    #[command(
        about = say(
            "Cancella gli ottetti di un messaggio; restano il suo posto, l'impronta e il motivo nel giornale",
            "Erases the octets of a message; its place, digest and the reason in the journal stay",
        ),
        after_help = say(
            "Esempi:\n  ceralacca message erase maria.rossi@pec.example 7 --reason \"ordinanza 12/2026\" --category authority --by \"resp. Bianchi\" --everywhere --dry-run\n  ceralacca message erase maria.rossi@pec.example 7 --reason \"ordinanza 12/2026\" --category authority --by \"resp. Bianchi\" --everywhere --yes\n\nI chunk che nessun altro messaggio usa spariscono con la raccolta successiva.",
            "Examples:\n  ceralacca message erase maria.rossi@pec.example 7 --reason \"order 12/2026\" --category authority --by \"officer Bianchi\" --everywhere --dry-run\n  ceralacca message erase maria.rossi@pec.example 7 --reason \"order 12/2026\" --category authority --by \"officer Bianchi\" --everywhere --yes\n\nChunks that no other message uses go with the next collection.",
        ),
    )]
    Erase(super::erase::EraseArguments),
}

impl MessageCommand {
    pub(super) fn run(self, file: Option<&Path>, output: &Output) -> Result<(), Failure> {
        let (account, id, octets) = match self {
            Self::Show { account, id, octets } => (account, id, octets),
            Self::Erase(arguments) => return super::erase::run(file, output, arguments),
        };
        with_store(file, async |store| {
            let message = find(store, &account, EmailNumber(id)).await?;
            if octets {
                write_octets(store, &message).await
            } else {
                show(store, &message, output).await
            }
        })
    }
}

async fn find(
    store: &Store,
    address: &AccountAddress,
    id: EmailNumber,
) -> Result<StoredMessage, Failure> {
    let found = store
        .account_by_address(&address.to_string())
        .await
        .map_err(|error| Failure::of_machine(&error))?;
    let (account_id, _) = found.ok_or_else(|| {
        Failure::not_found(Text::filled(
            format!("nessuna casella {address} nell'archivio: controllare l'indirizzo con `ceralacca account list`"),
            format!("no account {address} in the store: check the address with `ceralacca account list`"),
        ))
    })?;
    let account = store.account(account_id).await.map_err(|error| Failure::of_machine(&error))?;
    account.stored(id).await.map_err(|error| match error {
        StoreError::NoSuchMessage { .. } => Failure::not_found(Text::filled(
            format!("la casella {address} non ha un messaggio {id}"),
            format!("account {address} has no message {id}"),
        )),
        StoreError::Erased { .. } => Failure::not_found(Text::filled(
            format!("il messaggio {id} di {address} è stato cancellato: il giornale dice perché"),
            format!("message {id} of {address} was erased: the journal says why"),
        )),
        other => Failure::of_machine(&other),
    })
}

/// Reads the whole message, piece by piece.
async fn rebuild(
    store: &Store,
    message: &StoredMessage,
    mut take: impl FnMut(&[u8]),
) -> Result<(), Failure> {
    let mut position = 0;
    while position < message.size() {
        let read = store.octets().read(message, position..message.size()).await;
        let octets = read.map_err(|error| Failure::of_machine(&error))?;
        if octets.is_empty() {
            break;
        }
        position += octets.len() as u64;
        take(&octets);
    }
    Ok(())
}

async fn write_octets(store: &Store, message: &StoredMessage) -> Result<(), Failure> {
    rebuild(store, message, Output::raw).await
}

async fn show(store: &Store, message: &StoredMessage, output: &Output) -> Result<(), Failure> {
    let mut hasher = Sha256Hasher::default();
    rebuild(store, message, |octets| hasher.update(octets)).await?;
    let intact = hasher.finish() == message.digest();
    let chunks =
        store.octets().physical(message).await.map_err(|error| Failure::of_machine(&error))?;
    let view = MessageView::of(message, &chunks, intact);
    if output.wants_json() {
        Output::json(&view);
    } else {
        Output::raw(view.text(output.language()).as_bytes());
    }
    if intact {
        return Ok(());
    }
    Err(Failure::failed(Text::fixed(
        "gli ottetti ricostruiti non sono quelli ricevuti: `ceralacca store check`, poi il back-up",
        "the rebuilt octets are not those received: `ceralacca store check`, then the back-up",
    )))
}

/// A message as printed.
#[derive(Debug, Serialize)]
struct MessageView {
    logical_octets: u64,
    physical_octets: u64,
    sha256: String,
    intact: bool,
    recipe: Vec<SegmentView>,
    chunks: Vec<ChunkView>,
}

#[derive(Debug, Serialize)]
struct SegmentView {
    kind: &'static str,
    /// How deep in base64 it stands; 0 = in the message itself.
    depth: usize,
    octets: u64,
    chunk: Option<u32>,
    chunk_offset: Option<u32>,
    line_characters: Option<u32>,
}

#[derive(Debug, Serialize)]
struct ChunkView {
    stored_id: String,
    plain_octets: u32,
    stored_octets: u32,
    /// `catalog`, or the pack's path.
    place: String,
    offset: Option<u64>,
}

impl MessageView {
    fn of(message: &StoredMessage, chunks: &[ChunkUse], intact: bool) -> Self {
        let mut recipe = Vec::new();
        add_segments(&message.recipe().segments, 0, &mut recipe);
        Self {
            logical_octets: message.size(),
            physical_octets: chunks.iter().map(|chunk| u64::from(chunk.stored_octets)).sum(),
            sha256: message.digest().to_string(),
            intact,
            recipe,
            chunks: chunks.iter().map(ChunkView::of).collect(),
        }
    }

    fn text(&self, language: Language) -> String {
        let Self { logical_octets, physical_octets, sha256, .. } = self;
        let mut text = match language {
            Language::Italian => format!(
                "SHA-256           {sha256}\nOttetti logici    {logical_octets}\nOttetti fisici    {physical_octets}\n\nRicetta\n"
            ),
            Language::English => format!(
                "SHA-256           {sha256}\nLogical octets    {logical_octets}\nPhysical octets   {physical_octets}\n\nRecipe\n"
            ),
        };
        for segment in &self.recipe {
            let indent = "  ".repeat(segment.depth + 1);
            let SegmentView { kind, octets, .. } = segment;
            text.extend([match (segment.chunk, segment.chunk_offset) {
                (Some(chunk), Some(offset)) => {
                    format!("{indent}{kind}  {octets}  chunk {chunk} @ {offset}\n")
                }
                _ => format!("{indent}{kind}  {octets}\n"),
            }]);
        }
        text.push_str("\nChunk\n");
        for (index, chunk) in self.chunks.iter().enumerate() {
            let ChunkView { stored_id, plain_octets, stored_octets, place, .. } = chunk;
            let offset = chunk.offset.map(|offset| format!(" @ {offset}")).unwrap_or_default();
            text.extend([format!(
                "  {index}  {stored_id}  {plain_octets} -> {stored_octets}  {place}{offset}\n"
            )]);
        }
        text
    }
}

fn add_segments(segments: &[Segment], depth: usize, into: &mut Vec<SegmentView>) {
    for segment in segments {
        let octets = segment.octets();
        match segment {
            Segment::Raw(piece) => into.push(SegmentView {
                kind: "raw",
                depth,
                octets,
                chunk: Some(piece.chunk),
                chunk_offset: Some(piece.offset),
                line_characters: None,
            }),
            Segment::Base64 { form, plain, .. } => {
                let line_characters = Some(form.line_length);
                into.push(SegmentView {
                    kind: "base64",
                    depth,
                    octets,
                    chunk: None,
                    chunk_offset: None,
                    line_characters,
                });
                add_segments(plain, depth + 1, into);
            }
        }
    }
}

impl ChunkView {
    fn of(chunk: &ChunkUse) -> Self {
        let (place, offset) = match &chunk.place {
            ChunkPlace::Staged => ("catalog".to_owned(), None),
            ChunkPlace::Pack { path, offset } => (path.clone(), Some(*offset)),
        };
        Self {
            stored_id: chunk.stored.to_string(),
            plain_octets: chunk.plain_octets,
            stored_octets: chunk.stored_octets,
            place,
            offset,
        }
    }
}
