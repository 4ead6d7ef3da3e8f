//! `ceralacca restore`: a node from the object store alone.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::Args;
use storage::backup::manifest::CheckpointName;
use trust::{
    clock::{SystemClock, UnixMillis},
    random::SystemRandom,
};

use super::{
    backup::{machine, so_far},
    failure::Failure,
    operation::Bar,
    output::{Output, Shown, instant},
    runtime, say,
};
use crate::{
    backup::{
        restore::{RestoreError, RestoreRequest, Restored, restore},
        target::{self, Secret},
    },
    config::Config,
    texts::Text,
};

#[derive(Debug, Args)]
pub(super) struct RestoreArguments {
    #[arg(long, value_name = "FOLDER", help = say(
        "La cartella della copia; se manca, backup.target della configurazione",
        "The back-up's folder; when absent, backup.target of the configuration",
    ))]
    from: Option<PathBuf>,
    #[arg(long, value_name = "FOLDER", help = say(
        "La nuova cartella dei dati: vuota, o quella di un ripristino interrotto",
        "The new data folder: empty, or that of an interrupted restore",
    ))]
    into: PathBuf,
    #[arg(long, value_name = "FILE", required_unless_present = "passphrase_file", help = say(
        "La chiave di recupero (PEM)",
        "The recovery key (PEM)",
    ))]
    recovery_key: Option<PathBuf>,
    #[arg(long, value_name = "FILE", conflicts_with = "recovery_key", help = say(
        "Un file con la frase segreta nella prima riga",
        "A file with the pass phrase in its first line",
    ))]
    passphrase_file: Option<PathBuf>,
    #[arg(long, value_name = "CHECKPOINT", help = say(
        "Quale copia; se manca, l'ultima",
        "Which checkpoint; when absent, the newest",
    ))]
    checkpoint: Option<CheckpointName>,
    #[command(flatten)]
    purpose: Purpose,
}

/// What for: one of the two must be said.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Purpose {
    #[arg(long, help = say(
        "Il nodo di prima è perso: questo ne prende il posto, e quello non può più servire",
        "The node of before is lost: this one takes its place, and that one cannot serve any more",
    ))]
    replace: bool,
    #[arg(long, help = say(
        "Prova soltanto: non prende il posto di nessuno; la cartella si può verificare, ma non servirà mai",
        "Only tries: takes nobody's place; the folder can be checked and will never serve",
    ))]
    rehearsal: bool,
}

impl RestoreArguments {
    pub(super) fn run(self, file: Option<&Path>, output: &Output) -> Result<(), Failure> {
        let secret = match (&self.recovery_key, &self.passphrase_file) {
            (Some(key), _) => Secret::recovery(key).map_err(machine)?,
            (None, Some(phrase)) => Secret::passphrase(phrase).map_err(machine)?,
            (None, None) => return Err(no_source()),
        };
        let (from, packs_to) = self.stores(file)?;
        let request = RestoreRequest {
            from,
            secret,
            into: self.into,
            checkpoint: self.checkpoint,
            packs_to,
            rehearsal: self.purpose.rehearsal,
        };
        let bar = Bar::new(output);
        let what = Text::fixed("ripristino, ottetti", "restoring, octets");
        let restored = runtime()?.block_on(restore(
            request,
            Arc::new(SystemClock),
            Arc::new(SystemRandom),
            &|progress| {
                bar.draw(&so_far(what.clone(), progress));
            },
        ));
        bar.clear();
        let restored = restored.map_err(|error| match error {
            RestoreError::Refused(text) => Failure::invalid(text),
            RestoreError::Failed(error) => machine(error),
        })?;
        output.one(&restored);
        output.note(&if restored.rehearsal { after_rehearsal() } else { next_steps() });
        match restored.damaged_packs.len() {
            0 => Ok(()),
            packs => Err(damaged(packs)),
        }
    }

    /// The back-up's object store, and the packs' own where that is not the data folder.
    fn stores(&self, file: Option<&Path>) -> Result<Stores, Failure> {
        match &self.from {
            Some(folder) if file.is_none() => {
                Ok((target::open_folder(folder).map_err(machine)?, None))
            }
            from => {
                let config = Config::load(file, std::env::vars()).map_err(Failure::from)?;
                let packs_to = crate::serve::store::remote_objects(&config).map_err(machine)?;
                let from = match from {
                    Some(folder) => target::open_folder(folder).map_err(machine)?,
                    None => target::open(&config).map_err(machine)?.ok_or_else(no_source)?.objects,
                };
                Ok((from, packs_to))
            }
        }
    }
}

type Stores = (
    Arc<dyn storage::backup::repository::ObjectStore>,
    Option<Arc<dyn storage::backup::repository::ObjectStore>>,
);

fn no_source() -> Failure {
    Failure::invalid(Text::fixed(
        "da dove? Indicare --from, o una configurazione con backup.target",
        "from where? Give --from, or a configuration with backup.target",
    ))
}

fn next_steps() -> Text {
    Text::fixed(
        "Poi: rimettere a posto i file di restored/ (configurazione, chiavi), `ceralacca store check`, avviare il server,\n\
         `ceralacca transmission held` e, deciso per ciascuna, `ceralacca transmission release`.",
        "Next: put the files of restored/ in their places (configuration, keys), `ceralacca store check`, start the server,\n\
         `ceralacca transmission held` and, decided for each, `ceralacca transmission release`.",
    )
}

fn after_rehearsal() -> Text {
    Text::fixed(
        "Prova riuscita. Verificare con `ceralacca store check` e una configurazione con questa data.folder; poi rimuovere la cartella.",
        "The rehearsal is done. Check it by `ceralacca store check` with a configuration of this data.folder; then remove the folder.",
    )
}

fn damaged(packs: usize) -> Failure {
    Failure::failed(Text::filled(
        format!(
            "tutto è ripristinato tranne {packs} pack perduti o guasti, elencati sopra: `ceralacca store scrub` dice quali messaggi \
             non si leggono; una copia precedente o un'altra copia dell'archivio a oggetti può averli"
        ),
        format!(
            "everything is restored but {packs} packs that are lost or damaged, listed above: `ceralacca store scrub` says which \
             messages cannot be read; an earlier checkpoint or another copy of the object store may have them"
        ),
    ))
}

impl Shown for Restored {
    fn details(&self) -> Vec<(Text, String)> {
        let outside: Vec<String> =
            self.outside.iter().map(|file| file.display().to_string()).collect();
        vec![
            (Text::fixed("copia", "checkpoint"), self.checkpoint.clone()),
            (
                Text::fixed("c'è tutto fino a", "everything is there until"),
                instant(UnixMillis(self.instant_millis)),
            ),
            (Text::fixed("epoca", "epoch"), self.epoch.to_string()),
            (Text::fixed("caselle", "accounts"), self.accounts.to_string()),
            (Text::fixed("pack copiati", "packs copied"), self.packs.to_string()),
            (
                Text::fixed("pack perduti o guasti", "packs lost or damaged"),
                self.damaged_packs.join("\n"),
            ),
            (Text::fixed("obblighi trattenuti", "duties held"), self.held.to_string()),
            (Text::fixed("file esterni", "files from outside"), outside.join(" ")),
        ]
    }
}
