//! `ceralacca account share` and `unshare`, beside the other commands on accounts.

use std::path::Path;

use super::{failure::Failure, operation, output::Output, say};
use crate::{
    control::operations::share::{AccountShare, ShareOutcome},
    registry::address::AccountAddress,
    texts::Language,
};

#[derive(Debug, clap::Args)]
pub(super) struct ShareArguments {
    #[arg(value_name = "ADDRESS", help = say("La casella di servizio", "The service account"))]
    account: AccountAddress,
    #[arg(long, value_name = "ADDRESS", help = say("La casella dell'operatore che la legge", "The account of the operator who reads it"))]
    with: AccountAddress,
}

pub(super) fn run(
    file: Option<&Path>,
    output: &Output,
    arguments: &ShareArguments,
    granted: bool,
) -> Result<(), Failure> {
    let ShareArguments { account, with } = arguments;
    let request = AccountShare { account: account.to_string(), with: with.to_string(), granted };
    let outcome = operation::run(file, output, &request)?;
    if output.wants_json() {
        Output::json(&outcome);
    } else {
        Output::raw(text(&outcome, output.language()).as_bytes());
    }
    Ok(())
}

fn text(outcome: &ShareOutcome, language: Language) -> String {
    let ShareOutcome { account, with, granted, changed } = outcome;
    let already = match (changed, language) {
        (true, _) => "",
        (false, Language::Italian) => " (come prima)",
        (false, Language::English) => " (as before)",
    };
    match (granted, language) {
        (true, Language::Italian) => {
            format!("{with} legge {account} sotto \"Altri utenti/{account}\"{already}\n")
        }
        (true, Language::English) => {
            format!("{with} reads {account} below \"Altri utenti/{account}\"{already}\n")
        }
        (false, Language::Italian) => format!("{with} non legge {account}{already}\n"),
        (false, Language::English) => format!("{with} does not read {account}{already}\n"),
    }
}
