//! `ceralacca account quota`, beside the other commands on accounts.

use std::path::Path;

use clap::Subcommand;

use super::{
    account::AccountCommand, account_share::ShareArguments, failure::Failure, operation,
    output::Output, say,
};
use crate::{
    config::units::Octets,
    control::operations::quota::{AccountQuota, QuotaOutcome},
    texts::Language,
};

#[derive(Debug, Subcommand)]
pub(super) enum AccountCommands {
    #[command(flatten)]
    Account(AccountCommand),
    #[command(
        about = say("Spazio usato e limiti di una casella; aggiunge spazio", "Space used and limits of an account; adds space"),
        after_help = say(
            "Esempi:\n  ceralacca account quota maria.rossi@pec.example\n  ceralacca account quota maria.rossi@pec.example --add-gb 2\n\nLo spazio aggiunto vale subito, anche a server acceso. Gli incrementi ammessi dipendono dal tipo.",
            "Examples:\n  ceralacca account quota maria.rossi@pec.example\n  ceralacca account quota maria.rossi@pec.example --add-gb 2\n\nAdded space counts at once, with the server running too. The plan says how many increments there may be.",
        ),
    )]
    Quota(QuotaArguments),
    #[command(
        about = say("Lascia leggere una casella di servizio a un operatore", "Lets an operator read a service account"),
        after_help = say(
            "Esempio:\n  ceralacca account share posta-certificata@pec.example --with operatore@pec.example\n\nL'operatore la trova via IMAP sotto \"Altri utenti\", in sola lettura. Resta scritto nel giornale.",
            "Example:\n  ceralacca account share posta-certificata@pec.example --with operatore@pec.example\n\nThe operator finds it by IMAP below \"Altri utenti\", read-only. It is noted in the journal.",
        ),
    )]
    Share(ShareArguments),
    #[command(about = say("Toglie a un operatore una casella di servizio", "Takes a service account away from an operator"))]
    Unshare(ShareArguments),
}

#[derive(Debug, clap::Args)]
pub(super) struct QuotaArguments {
    #[arg(value_name = "ADDRESS", help = say("L'indirizzo della casella", "The account's address"))]
    account: String,
    #[arg(long, value_name = "N", default_value_t = 0, help = say("Incrementi da 1 GB da aggiungere", "Increments of 1 GB to add"))]
    add_gb: u32,
    #[arg(long, value_name = "N", default_value_t = 0, help = say("Incrementi da 1 GB da aggiungere all'archivio", "Increments of 1 GB to add to the archive"))]
    add_archive_gb: u32,
}

pub(super) fn run(
    file: Option<&Path>,
    output: &Output,
    arguments: &QuotaArguments,
) -> Result<(), Failure> {
    let QuotaArguments { account, add_gb, add_archive_gb } = arguments;
    let (add_gb, add_archive_gb) = (*add_gb, *add_archive_gb);
    let request = AccountQuota { account: account.clone(), add_gb, add_archive_gb };
    let outcome = operation::run(file, output, &request)?;
    if output.wants_json() {
        Output::json(&outcome);
    } else {
        Output::raw(text(&outcome, output.language()).as_bytes());
    }
    Ok(())
}

fn text(outcome: &QuotaOutcome, language: Language) -> String {
    let unlimited = match language {
        Language::Italian => "illimitato",
        Language::English => "unlimited",
    };
    let limit = |limit: Option<u64>| limit.map_or(unlimited.to_owned(), |limit| limit.to_string());
    let share = |used: u64, limit: Option<u64>| {
        limit.map_or(unlimited.to_owned(), |limit| {
            let per_cent = u128::from(used) * 100 / u128::from(limit.max(1));
            format!("{} ({per_cent} %)", Octets(limit).text().get(language))
        })
    };
    let space = share(outcome.used_octets, outcome.limit_octets);
    let archive = share(outcome.archive_used_octets, outcome.archive_limit_octets);
    let (archived, kept) =
        (Octets(outcome.archive_used_octets).text(), outcome.archive_used_messages);
    let archived = archived.get(language);
    let more = outcome.archive_increments_gb;
    let QuotaOutcome { account, plan, increments_gb, used_octets, .. } = outcome;
    let QuotaOutcome { used_messages, limit_messages, used_mailboxes, limit_mailboxes, .. } =
        outcome;
    let (used, messages) = (Octets(*used_octets).text(), limit(*limit_messages));
    let used = used.get(language);
    match language {
        Language::Italian => format!(
            "{account} ({plan}, {increments_gb} GB aggiunti, {more} GB all'archivio)\nSpazio     {used} / {space}\nMessaggi   {used_messages} / {messages}\nArchivio   {archived} / {archive}, messaggi {kept}\nCartelle   {used_mailboxes} / {limit_mailboxes}\n"
        ),
        Language::English => format!(
            "{account} ({plan}, {increments_gb} GB added, {more} GB to the archive)\nSpace      {used} / {space}\nMessages   {used_messages} / {messages}\nArchive    {archived} / {archive}, messages {kept}\nMailboxes  {used_mailboxes} / {limit_mailboxes}\n"
        ),
    }
}
