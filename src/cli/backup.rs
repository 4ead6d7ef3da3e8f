//! `ceralacca backup`.
//!
//! `now` needs the store: the running server takes it. The others read the back-up itself, with the
//! data key of this node.

use std::{path::Path, sync::Arc};

use clap::Subcommand;
use serde::Serialize;
use storage::backup::{
    fetch::{self, FetchProgress},
    manifest::CheckpointName,
    repository::Repository,
};
use trust::{
    clock::{Clock as _, SystemClock, UnixMillis},
    random::SystemRandom,
};

use super::{
    failure::Failure,
    operation::{self, Bar},
    output::{Output, Shown, instant},
    runtime, say,
};
use crate::{
    backup::target,
    config::Config,
    control::Progress,
    control::operations::backup::{BackupNow, IncrementView},
    texts::Text,
};

#[derive(Debug, Subcommand)]
pub(super) enum BackupCommand {
    #[command(
        about = say("Fa subito un incremento, anche a server acceso", "Takes an increment now, also while the server runs"),
        after_help = say("Esempio:\n  ceralacca backup now", "Example:\n  ceralacca backup now"),
    )]
    Now {
        #[arg(long, help = say("Riscrive ogni oggetto, anche quelli che ci sono: ripara una copia guasta", "Writes every object again, also those that are there: mends a damaged back-up"))]
        full: bool,
    },
    #[command(
        about = say("Quanto è vecchio l'ultimo incremento completo", "How old the last complete increment is"),
        after_help = say(
            "Esce con 1 se è più vecchio di backup.window_max, o se non ce n'è nessuno.",
            "Exits with 1 when it is older than backup.window_max, or when there is none.",
        ),
    )]
    Status,
    #[command(about = say("Elenca le copie, dalla più vecchia", "Lists the checkpoints, oldest first"))]
    List,
    #[command(
        about = say("Legge tutta una copia e verifica ogni ottetto", "Reads a whole checkpoint and verifies every octet"),
        after_help = say(
            "Esempio:\n  ceralacca backup verify\n\nEsce con 0 se la copia è integra, con 1 se no: ogni oggetto guasto è nominato.",
            "Example:\n  ceralacca backup verify\n\nExits with 0 when the checkpoint is whole, else with 1: each damaged object is named.",
        ),
    )]
    Verify {
        #[arg(value_name = "CHECKPOINT", help = say("Quale; se manca, l'ultima", "Which one; when absent, the newest"))]
        checkpoint: Option<CheckpointName>,
    },
}

impl BackupCommand {
    pub(super) fn run(self, file: Option<&Path>, output: &Output) -> Result<(), Failure> {
        match self {
            Self::Now { full } => {
                let taken = operation::run(file, output, &BackupNow { full })?;
                output.one(&taken);
                unsound(&taken)
            }
            Self::Status => with_repository(file, async |config, repository| {
                status(config, repository, output).await
            }),
            Self::List => {
                with_repository(file, async |_, repository| list(repository, output).await)
            }
            Self::Verify { checkpoint } => with_repository(file, async |_, repository| {
                verify(repository, checkpoint, output).await
            }),
        }
    }
}

/// An increment is complete, and still not all that it should be.
fn unsound(taken: &IncrementView) -> Result<(), Failure> {
    let packs = taken.lost_packs + taken.damaged_packs;
    if packs == 0 {
        return Ok(());
    }
    Err(Failure::failed(Text::filled(
        format!(
            "di {packs} pack non c'è una copia integra, perché anche nell'archivio sono perduti o guasti: \
             `ceralacca store scrub` dice di quali messaggi si tratta"
        ),
        format!(
            "of {packs} packs there is no sound copy, because they are lost or damaged in the store too: \
             `ceralacca store scrub` says which messages they concern"
        ),
    )))
}

pub(super) fn machine(error: anyhow::Error) -> Failure {
    Failure::of_machine(&*Box::<dyn std::error::Error + Send + Sync>::from(error))
}

/// How far a verification or restore is, for the line that a person watches.
pub(super) fn so_far(what: Text, progress: FetchProgress) -> Progress {
    Progress::new(what, progress.octets, Some(progress.octets_all))
}

fn with_repository(
    file: Option<&Path>,
    command: impl AsyncFnOnce(&Config, &Repository) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let config = Config::load(file, std::env::vars()).map_err(Failure::from)?;
    runtime()?.block_on(async {
        let target = target::open(&config).map_err(machine)?.ok_or_else(|| {
            Failure::invalid(Text::fixed(
                "backup.target non è impostato: `ceralacca config example` mostra la sezione [backup]",
                "backup.target is not set: `ceralacca config example` shows the section [backup]",
            ))
        })?;
        if target::data_key(&config).map_err(machine)?.is_none() {
            return Err(none_yet());
        }
        let repository = target::repository(&config, &target, Arc::new(SystemRandom));
        let repository = repository.map_err(machine)?;
        command(&config, &repository).await
    })
}

fn none_yet() -> Failure {
    Failure::failed(Text::fixed(
        "nessuna copia è completa: avviare il server, o `ceralacca backup now`",
        "no checkpoint is complete: start the server, or `ceralacca backup now`",
    ))
}

async fn names(repository: &Repository) -> Result<Vec<CheckpointName>, Failure> {
    repository.checkpoints().await.map_err(|error| Failure::of_machine(&error))
}

#[derive(Debug, Serialize)]
struct StatusView {
    checkpoint: String,
    instant_millis: i64,
    age_seconds: i64,
    window_max_seconds: u64,
    late: bool,
    checkpoints: usize,
}

impl Shown for StatusView {
    fn details(&self) -> Vec<(Text, String)> {
        vec![
            (Text::fixed("ultima copia", "last checkpoint"), self.checkpoint.clone()),
            (
                Text::fixed("contiene tutto fino a", "has everything until"),
                instant(UnixMillis(self.instant_millis)),
            ),
            (Text::fixed("età in secondi", "age in seconds"), self.age_seconds.to_string()),
            (Text::fixed("allarme oltre", "alarm above"), self.window_max_seconds.to_string()),
            (Text::fixed("copie tenute", "checkpoints kept"), self.checkpoints.to_string()),
        ]
    }
}

async fn status(config: &Config, repository: &Repository, output: &Output) -> Result<(), Failure> {
    let names = names(repository).await?;
    let last = names.last().ok_or_else(none_yet)?;
    let age_seconds = (SystemClock.now().0 - last.instant.0).max(0) / 1_000;
    let window_max_seconds = config.backup.timing.window_max.0 / 1_000;
    let late = age_seconds.unsigned_abs() > window_max_seconds;
    output.one(&StatusView {
        checkpoint: last.to_string(),
        instant_millis: last.instant.0,
        age_seconds,
        window_max_seconds,
        late,
        checkpoints: names.len(),
    });
    if !late {
        return Ok(());
    }
    Err(Failure::failed(Text::filled(
        format!(
            "l'ultima copia ha {age_seconds} secondi: il server è acceso? Il registro dice perché non ne fa"
        ),
        format!(
            "the last checkpoint is {age_seconds} seconds old: does the server run? Its log says why there is none"
        ),
    )))
}

#[derive(Debug, Serialize)]
struct CheckpointView {
    checkpoint: String,
    epoch: u32,
    instant_millis: i64,
}

impl Shown for CheckpointView {
    fn columns() -> Vec<Text> {
        vec![
            Text::fixed("copia", "checkpoint"),
            Text::fixed("epoca", "epoch"),
            Text::fixed("istante", "instant"),
        ]
    }

    fn row(&self) -> Vec<String> {
        let at = instant(UnixMillis(self.instant_millis));
        vec![self.checkpoint.clone(), self.epoch.to_string(), at]
    }
}

async fn list(repository: &Repository, output: &Output) -> Result<(), Failure> {
    let views: Vec<CheckpointView> = names(repository)
        .await?
        .into_iter()
        .map(|name| CheckpointView {
            checkpoint: name.to_string(),
            epoch: name.epoch,
            instant_millis: name.instant.0,
        })
        .collect();
    output.list(&views);
    Ok(())
}

#[derive(Debug, Serialize)]
struct VerifiedView {
    checkpoint: String,
    whole: bool,
    files: u64,
    pieces: u64,
    packs: u64,
    octets: u64,
    faults: Vec<String>,
}

impl Shown for VerifiedView {
    fn details(&self) -> Vec<(Text, String)> {
        vec![
            (Text::fixed("copia", "checkpoint"), self.checkpoint.clone()),
            (Text::fixed("file", "files"), self.files.to_string()),
            (Text::fixed("pezzi", "pieces"), self.pieces.to_string()),
            (Text::fixed("pack", "packs"), self.packs.to_string()),
            (Text::fixed("ottetti", "octets"), self.octets.to_string()),
            (Text::fixed("guasti", "faults"), self.faults.join("\n")),
        ]
    }
}

async fn verify(
    repository: &Repository,
    checkpoint: Option<CheckpointName>,
    output: &Output,
) -> Result<(), Failure> {
    let name = match checkpoint {
        Some(name) => name,
        None => *names(repository).await?.last().ok_or_else(none_yet)?,
    };
    let manifest = repository.manifest(name).await.map_err(|error| Failure::of_machine(&error))?;
    let bar = Bar::new(output);
    let what = Text::fixed("verifica, ottetti", "verifying, octets");
    let told = |progress| bar.draw(&so_far(what.clone(), progress));
    let verified = fetch::verify(repository, &manifest, &told).await;
    bar.clear();
    let verified = verified.map_err(|error| Failure::of_machine(&error))?;
    let faults = verified.faults.len();
    output.one(&VerifiedView {
        checkpoint: name.to_string(),
        whole: faults == 0,
        files: verified.files,
        pieces: verified.pieces,
        packs: verified.packs,
        octets: verified.octets,
        faults: verified.faults,
    });
    if faults == 0 {
        return Ok(());
    }
    Err(Failure::failed(Text::filled(
        format!(
            "{faults} oggetti guasti: ne serve un'altra copia, o riscrivere tutto con `ceralacca backup now --full`"
        ),
        format!(
            "{faults} damaged objects: take another checkpoint, or write all again with `ceralacca backup now --full`"
        ),
    )))
}

impl Shown for IncrementView {
    fn details(&self) -> Vec<(Text, String)> {
        vec![
            (Text::fixed("copia completa", "complete checkpoint"), self.checkpoint.clone()),
            (
                Text::fixed("contiene tutto fino a", "has everything until"),
                instant(UnixMillis(self.instant_millis)),
            ),
            (Text::fixed("ottetti dei file", "octets of files"), self.file_octets.to_string()),
            (Text::fixed("inviati", "sent"), self.sent_octets.to_string()),
            (Text::fixed("pack", "packs"), self.packs.to_string()),
            (Text::fixed("pack copiati", "packs copied"), self.copied_packs.to_string()),
            (Text::fixed("loro ottetti", "their octets"), self.copied_octets.to_string()),
            (Text::fixed("pack perduti", "packs lost"), self.lost_packs.to_string()),
            (Text::fixed("pack guasti", "packs damaged"), self.damaged_packs.to_string()),
            (
                Text::fixed("copie scadute rimosse", "expired checkpoints removed"),
                self.removed_checkpoints.to_string(),
            ),
        ]
    }
}
