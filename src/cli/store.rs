//! `ceralacca store`.
//!
//! The store has one user at a time: these commands open it themselves, so the server must be
//! stopped.

use std::{path::Path, sync::Arc};

use clap::Subcommand;
use serde::Serialize;
use storage::{
    check::{CheckProgress, CheckReport, Invariant},
    store::Store,
};
use trust::{clock::SystemClock, random::SystemRandom};

use super::{failure::Failure, output::Output, runtime, say};
use crate::{
    config::Config,
    texts::{Language, Text},
};

#[derive(Debug, Subcommand)]
pub(super) enum StoreCommand {
    #[command(
        about = say(
            "Verifica gli invarianti di tutto l'archivio, oggetto per oggetto (a server fermo)",
            "Verifies the invariants of the whole store, object by object (server stopped)",
        ),
        after_help = say(
            "Esempio:\n  ceralacca store check --json\n\nEsce con 0 se tutto torna, con 1 se trova violazioni: ciascuna nomina l'oggetto.",
            "Example:\n  ceralacca store check --json\n\nExits with 0 when all is well, with 1 when there are violations: each names its object.",
        ),
    )]
    Check,
}

impl StoreCommand {
    pub(super) fn run(self, file: Option<&Path>, output: &Output) -> Result<(), Failure> {
        match self {
            Self::Check => with_store(file, async |store| check(store, output).await),
        }
    }
}

/// Opens the store of the configuration, runs `command`, and closes it.
pub(super) fn with_store(
    file: Option<&Path>,
    command: impl AsyncFnOnce(&Store) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let config = Config::load(file, std::env::vars()).map_err(Failure::from)?;
    runtime()?.block_on(async {
        let store =
            crate::serve::store::open(&config, Arc::new(SystemClock), Arc::new(SystemRandom))
                .await
                .map_err(|error| cannot_open(&error))?;
        let result = command(&store).await;
        store.close().await.map_err(|error| Failure::of_machine(&error))?;
        result
    })
}

fn cannot_open(error: &anyhow::Error) -> Failure {
    Failure::failed(Text::filled(
        format!("l'archivio non si apre: se il server è acceso, fermarlo prima ({error:#})"),
        format!("the store cannot be opened: when the server runs, stop it first ({error:#})"),
    ))
}

async fn check(store: &Store, output: &Output) -> Result<(), Failure> {
    let report = store
        .check(&|progress: &CheckProgress| show_progress(output, progress))
        .await
        .map_err(|error| Failure::of_machine(&error))?;
    let view = CheckView::of(&report);
    if output.wants_json() {
        Output::json(&view);
    } else {
        Output::raw(view.text(output.language()).as_bytes());
    }
    if report.is_clean() {
        return Ok(());
    }
    let violations = report.seen.violations;
    Err(Failure::failed(Text::filled(
        format!("{violations} violazioni: ripristinare gli oggetti nominati da un back-up"),
        format!("{violations} violations: restore the objects named from a back-up"),
    )))
}

/// One line that is written over, when a person watches.
fn show_progress(output: &Output, progress: &CheckProgress) {
    use std::io::{IsTerminal as _, Write as _};
    let mut stderr = std::io::stderr();
    if output.wants_json() || !stderr.is_terminal() {
        return;
    }
    let CheckProgress { accounts, messages, chunks, violations, .. } = progress;
    let line = match output.language() {
        Language::Italian => format!(
            "caselle {accounts}, messaggi {messages}, chunk {chunks}, violazioni {violations}"
        ),
        Language::English => format!(
            "accounts {accounts}, messages {messages}, chunks {chunks}, violations {violations}"
        ),
    };
    // A terminal that is gone is no reason to stop a check.
    let _ = write!(stderr, "\r{line}\x1b[K").and_then(|()| stderr.flush());
}

/// A report as printed.
#[derive(Debug, Serialize)]
struct CheckView {
    clean: bool,
    invariants: Vec<InvariantView>,
    accounts: u64,
    mailboxes: u64,
    rows: u64,
    messages: u64,
    octets: u64,
    chunks: u64,
    violations: u64,
    first_violations: Vec<ViolationView>,
    unnamed_objects: Vec<String>,
}

#[derive(Debug, Serialize)]
struct InvariantView {
    number: u8,
    text: &'static str,
}

#[derive(Debug, Serialize)]
struct ViolationView {
    invariant: u8,
    object: String,
    detail: String,
}

impl CheckView {
    fn of(report: &CheckReport) -> Self {
        let seen = &report.seen;
        Self {
            clean: report.is_clean(),
            invariants: Invariant::ALL
                .into_iter()
                .map(|invariant| InvariantView {
                    number: invariant.number(),
                    text: invariant.text(),
                })
                .collect(),
            accounts: seen.accounts,
            mailboxes: seen.mailboxes,
            rows: seen.rows,
            messages: seen.messages,
            octets: seen.octets,
            chunks: seen.chunks,
            violations: seen.violations,
            first_violations: report
                .violations
                .iter()
                .map(|violation| ViolationView {
                    invariant: violation.invariant.number(),
                    object: violation.object.clone(),
                    detail: violation.detail.clone(),
                })
                .collect(),
            unnamed_objects: report.unnamed_objects.clone(),
        }
    }

    fn text(&self, language: Language) -> String {
        let Self { accounts, mailboxes, rows, messages, octets, chunks, violations, .. } = self;
        let mut text = match language {
            Language::Italian => format!(
                "Caselle {accounts}, cartelle {mailboxes}, righe {rows}, messaggi ricostruiti {messages} \
                 ({octets} ottetti), chunk {chunks}\nViolazioni: {violations}\n"
            ),
            Language::English => format!(
                "Accounts {accounts}, mailboxes {mailboxes}, rows {rows}, messages rebuilt {messages} \
                 ({octets} octets), chunks {chunks}\nViolations: {violations}\n"
            ),
        };
        for violation in &self.first_violations {
            let ViolationView { invariant, object, detail } = violation;
            text.extend([format!("  [{invariant}] {object}: {detail}\n")]);
        }
        let unnamed = self.unnamed_objects.len();
        if unnamed > 0 {
            text.extend([match language {
                Language::Italian => {
                    format!("{unnamed} oggetti che il catalogo non nomina (scritture interrotte)\n")
                }
                Language::English => format!(
                    "{unnamed} objects that the catalog does not name (interrupted writes)\n"
                ),
            }]);
        }
        text
    }
}
