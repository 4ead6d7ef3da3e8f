//! `ceralacca store check`.

use std::path::Path;

use crate::{
    cli::{failure::Failure, operation, output::Output},
    control::operations::check::{CheckOutcome, StoreCheck, ViolationView},
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
    let CheckOutcome { accounts, mailboxes, rows, messages, octets, chunks, violations, .. } =
        outcome;
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
    for violation in &outcome.first_violations {
        let ViolationView { invariant, object, detail } = violation;
        text.extend([format!("  [{invariant}] {object}: {detail}\n")]);
    }
    let unnamed = outcome.unnamed_objects.len();
    if unnamed > 0 {
        text.extend([match language {
            Language::Italian => {
                format!("{unnamed} oggetti che il catalogo non nomina (scritture interrotte)\n")
            }
            Language::English => {
                format!("{unnamed} objects that the catalog does not name (interrupted writes)\n")
            }
        }]);
    }
    text
}
