//! `ceralacca store check`.

use std::path::Path;

use crate::{
    cli::{failure::Failure, operation, output::Output},
    control::operations::check::{CheckOutcome, StoreCheck},
    texts::{Language, Text},
};

pub(super) fn run(file: Option<&Path>, output: &Output) -> Result<(), Failure> {
    let outcome = operation::run(file, output, &StoreCheck {})?;
    if output.wants_json() {
        Output::json(&outcome);
    } else {
        Output::raw(text(&outcome, output.language()).as_bytes());
    }
    if outcome.clean {
        return Ok(());
    }
    let violations = outcome.violations;
    Err(Failure::failed(Text::filled(
        format!("{violations} violazioni: ripristinare gli oggetti nominati da un back-up"),
        format!("{violations} violations: restore the objects named from a back-up"),
    )))
}

fn text(outcome: &CheckOutcome, language: Language) -> String {
    let CheckOutcome { accounts, mailboxes, rows, messages, octets, chunks, engine_rows, .. } =
        outcome;
    let CheckOutcome { snapshots, snapshot_pages, .. } = outcome;
    let (violations, orphans) = (outcome.violations, outcome.orphan_held_messages);
    let mut text = match language {
        Language::Italian => format!(
            "Caselle {accounts}, cartelle {mailboxes}, righe {rows}, messaggi ricostruiti {messages} \
             ({octets} ottetti), chunk {chunks}, righe del motore {engine_rows}, istantanee {snapshots} ({snapshot_pages} pagine)\n\
             Violazioni: {violations}\n"
        ),
        Language::English => format!(
            "Accounts {accounts}, mailboxes {mailboxes}, rows {rows}, messages rebuilt {messages} \
             ({octets} octets), chunks {chunks}, rows of the engine {engine_rows}, snapshots {snapshots} ({snapshot_pages} pages)\n\
             Violations: {violations}\n"
        ),
    };
    for violation in &outcome.first_violations {
        text.extend([format!("  [{}] {}\n", violation.invariant, violation.line(language))]);
    }
    let unnamed = outcome.unnamed_objects.len();
    let notes = [
        (
            outcome.snapshots_going,
            Text::fixed(
                "istantanee dimenticate a metà (lo sfoltimento le finisce)",
                "snapshots half forgotten (thinning out finishes them)",
            ),
        ),
        (
            unnamed as u64,
            Text::fixed(
                "oggetti che il catalogo non nomina (scritture interrotte)",
                "objects that the catalog does not name (interrupted writes)",
            ),
        ),
        (
            orphans,
            Text::fixed(
                "messaggi trattenuti che nessuna riga nomina (si conservano)",
                "held messages that no record names (they are kept)",
            ),
        ),
    ];
    for (count, note) in notes.iter().filter(|(count, _)| *count > 0) {
        text.extend([format!("{count} {}\n", note.get(language))]);
    }
    let head = Text::fixed("Non verificati", "Not checked");
    text.extend([format!("{}:\n", head.get(language))]);
    for invariant in &outcome.not_checked {
        let why = match (language, invariant.number) {
            (Language::Italian, 7) => {
                "le copie conservate restano fino al termine: il programma non conserva ancora"
            }
            _ => &invariant.text,
        };
        text.extend([format!("  [{}] {why}\n", invariant.number)]);
    }
    text
}
