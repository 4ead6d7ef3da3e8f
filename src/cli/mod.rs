//! The command line.
//!
//! * What a command found or made goes to standard output: aligned for people, or one JSON value
//!   with `--json`, whose shape only grows. Everything else goes to standard error.
//! * Exit codes: 0 done, 1 failed, 2 wrong request or configuration, 3 no such thing, 4 in conflict
//!   with the present state, 75 try again later, 130 interrupted.
//! * A password is read from standard input or a prompt, never from the arguments, which every user
//!   of the machine can see.
//! * Commands on domains, owners and accounts work on the registry's file alone, so they may run
//!   beside the server, which takes changes over within a second.
//!
//! Not here: what the commands do (`registry`, `config`, `demo`).

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use clap::{CommandFactory as _, Parser, Subcommand};
use trust::{clock::SystemClock, random::SystemRandom};

use crate::{
    config::Config,
    registry::Registry,
    texts::{Language, Text},
};
use failure::Failure;
use output::Output;

mod account;
mod account_quota;
mod account_share;
mod archive;
mod backup;
mod config;
mod dates;
mod directory;
mod domain;
mod erase;
mod failure;
mod journal;
mod keys;
mod message;
mod operation;
mod output;
mod owner;
mod password;
mod quarantine;
mod queue;
mod restore;
mod service_levels;
mod snapshot;
mod store;
mod transmission;

/// Configuration files looked for when none is named, in this order.
const CONFIG_FILES: [&str; 2] = ["ceralacca.toml", "/etc/ceralacca/ceralacca.toml"];

/// Picks the text for the language of this process. Help is made once per process.
fn say(italian: &'static str, english: &'static str) -> &'static str {
    match Language::of_process() {
        Language::Italian => italian,
        Language::English => english,
    }
}

#[derive(Debug, Parser)]
#[command(
    name = "ceralacca",
    version,
    about = say("Un gestore di posta elettronica certificata (PEC)", "A certified-mail (PEC) provider"),
    after_help = say(
        "Esempi:\n  ceralacca config example > ceralacca.toml\n  ceralacca domain add pec.example\n  ceralacca owner add --name Maria --surname Rossi --codice-fiscale RSSMRA79B11C566R\n  ceralacca account add maria.rossi@pec.example --owner 1 --generate\n\nCodici di uscita: 0 fatto, 1 errore, 2 richiesta o configurazione errata, 3 non esiste,\n4 in conflitto con lo stato presente, 75 riprovare più tardi, 130 interrotto.\nLingua: italiano, o inglese con LANG=en (CERALACCA_LANG prevale).",
        "Examples:\n  ceralacca config example > ceralacca.toml\n  ceralacca domain add pec.example\n  ceralacca owner add --name Maria --surname Rossi --codice-fiscale RSSMRA79B11C566R\n  ceralacca account add maria.rossi@pec.example --owner 1 --generate\n\nExit codes: 0 done, 1 failed, 2 wrong request or configuration, 3 no such thing,\n4 in conflict with the present state, 75 try again later, 130 interrupted.\nLanguage: Italian, or English with LANG=en (CERALACCA_LANG overrides).",
    ),
    subcommand_required = true,
    arg_required_else_help = true,
)]
struct Cli {
    #[arg(
        long,
        global = true,
        env = "CERALACCA_CONFIG",
        value_name = "FILE",
        help = say(
            "Il file di configurazione; se manca, ./ceralacca.toml o /etc/ceralacca/ceralacca.toml",
            "The configuration file; when absent, ./ceralacca.toml or /etc/ceralacca/ceralacca.toml",
        ),
    )]
    config: Option<PathBuf>,
    #[arg(
        long,
        global = true,
        help = say("Un valore JSON al posto del testo", "One JSON value instead of text"),
    )]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(
        about = say("Il gestore: tutte le porte, fino a SIGTERM o Ctrl-C", "The provider: all ports, until SIGTERM or Ctrl-C"),
        after_help = say(
            "Esempio:\n  ceralacca --config /etc/ceralacca/ceralacca.toml serve",
            "Example:\n  ceralacca --config /etc/ceralacca/ceralacca.toml serve",
        ),
    )]
    Serve,
    #[command(about = say(
        "Due gestori su questa macchina si scambiano un messaggio, verificato passo per passo",
        "Two providers on this machine exchange a message, checked step by step",
    ))]
    Demo(DemoArguments),
    #[command(
        subcommand,
        about = say("La configurazione: esempio commentato, controllo", "The configuration: commented example, check"),
    )]
    Config(config::ConfigCommand),
    #[command(subcommand, about = say("I domini PEC", "PEC domains"))]
    Domain(domain::DomainCommand),
    #[command(subcommand, about = say("I titolari", "Owners of accounts"))]
    Owner(owner::OwnerCommand),
    #[command(subcommand, about = say("Le caselle", "Accounts"))]
    Account(account_quota::AccountCommands),
    #[command(subcommand, about = say("L'archivio dei messaggi", "The message store"))]
    Store(store::StoreCommand),
    #[command(subcommand, about = say("Un messaggio nell'archivio", "A message in the store"))]
    Message(message::MessageCommand),
    #[command(
        subcommand,
        about = say("I messaggi vecchi passano in Archivio: regole, prova, giro, ritorno", "Old messages move to Archivio: rules, dry run, run, way back"),
    )]
    Archive(archive::ArchiveCommand),
    #[command(
        subcommand,
        about = say("Le copie fuori da questa macchina", "Copies outside of this machine"),
    )]
    Backup(backup::BackupCommand),
    #[command(
        about = say("Ricostruisce la cartella dei dati da una copia", "Rebuilds the data folder from a back-up"),
        after_help = say(
            "Esempio:\n  ceralacca restore --from /mnt/backup/ceralacca --into /var/lib/ceralacca --recovery-key recovery.key --replace\n\nCon --replace il nodo di prima, se è ancora acceso, smette di servire entro un minuto e non riparte più. Per provare: --rehearsal.\nSe si interrompe, ripetere lo stesso comando: riprende da dove era.",
            "Example:\n  ceralacca restore --from /mnt/backup/ceralacca --into /var/lib/ceralacca --recovery-key recovery.key --replace\n\nWith --replace the node of before, when it still runs, stops serving within a minute and does not start again. To try: --rehearsal.\nWhen it is interrupted, give the same command again: it goes on where it was.",
        ),
    )]
    Restore(restore::RestoreArguments),
    #[command(
        subcommand,
        about = say("Le trasmissioni, e gli obblighi trattenuti da un ripristino", "Transmissions, and duties held by a restore"),
    )]
    Transmission(transmission::TransmissionCommand),
    #[command(
        subcommand,
        about = say("La coda verso gli altri gestori", "The queue to other servers"),
    )]
    Queue(queue::QueueCommand),
    #[command(
        name = "service-levels",
        about = say("I livelli di servizio di un quadrimestre", "The service levels of a period of four months"),
        after_help = say(
            "Esempio:\n  ceralacca service-levels --period 2026-3 --json\n\nDisponibilità per minuti, fermo più lungo (decreto 2 novembre 2005, art. 12), tempi delle ricevute per dominio: di accettazione\nsecondo il dominio del mittente, di consegna secondo quello del destinatario. I tempi sono per eccesso, di un ottavo al più.",
            "Example:\n  ceralacca service-levels --period 2026-3 --json\n\nAvailability by minutes, longest outage (DM 2 November 2005, art. 12), delays of receipts by domain: of acceptance by the\nsender's domain, of delivery by the recipient's. Times are rounded up, by an eighth at most.",
        ),
    )]
    ServiceLevels(service_levels::ServiceLevelsArguments),
    #[command(
        subcommand,
        about = say("L'indice dei gestori", "The directory of providers"),
    )]
    Directory(directory::DirectoryCommand),
    #[command(
        subcommand,
        about = say("Le coppie con cui il gestore firma", "The pairs that the provider signs with"),
    )]
    Keys(keys::KeysCommand),
    #[command(
        subcommand,
        about = say("Il giornale delle operazioni", "The log of operations"),
    )]
    Journal(journal::JournalCommand),
    #[command(
        subcommand,
        about = say("I messaggi con virus, sigillati per 30 mesi", "Messages with viruses, sealed for 30 months"),
    )]
    Quarantine(quarantine::QuarantineCommand),
    #[command(
        subcommand,
        about = say("Le istantanee delle caselle, e le loro prove", "Snapshots of accounts, and their proofs"),
    )]
    Snapshot(snapshot::SnapshotCommand),
    #[command(
        about = say("Completamento per la shell", "Completions for a shell"),
        after_help = say(
            "Esempio:\n  ceralacca completions bash > ~/.local/share/bash-completion/completions/ceralacca",
            "Example:\n  ceralacca completions bash > ~/.local/share/bash-completion/completions/ceralacca",
        ),
    )]
    Completions {
        #[arg(value_enum, help = say("La shell", "The shell"))]
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, clap::Args)]
struct DemoArguments {
    #[arg(long, help = say("Finisce dopo le verifiche: 0 se tutte riuscite, 1 altrimenti", "Ends after the checks: 0 when all passed, else 1"))]
    once: bool,
    #[arg(long, value_name = "FOLDER", help = say("Dove tenere tutto; se manca, una cartella temporanea", "Where everything is kept; when absent, a temporary folder"))]
    folder: Option<PathBuf>,
}

/// Runs the command that the arguments of this process name.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    let output = Output::new(cli.json, Language::of_process());
    match execute(cli, &output) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output.failure(&failure);
            ExitCode::from(failure.code())
        }
    }
}

fn execute(cli: Cli, output: &Output) -> Result<(), Failure> {
    let file = config_file(cli.config);
    match cli.command {
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "ceralacca", &mut script);
            Output::raw(&script);
            Ok(())
        }
        Command::Config(command) => command.run(file.as_deref(), output),
        Command::Serve => serve(file.as_deref()),
        Command::Demo(arguments) => demo(arguments, output),
        Command::Domain(command) => {
            with_registry(file.as_deref(), async |site| command.run(site, output).await)
        }
        Command::Owner(command) => {
            with_registry(file.as_deref(), async |site| command.run(site, output).await)
        }
        Command::Store(command) => command.run(file.as_deref(), output),
        Command::Message(command) => command.run(file.as_deref(), output),
        Command::Archive(command) => command.run(file.as_deref(), output),
        Command::Backup(command) => command.run(file.as_deref(), output),
        Command::Restore(arguments) => arguments.run(file.as_deref(), output),
        Command::Transmission(command) => command.run(file.as_deref(), output),
        Command::Queue(command) => command.run(file.as_deref(), output),
        Command::ServiceLevels(arguments) => arguments.run(file.as_deref(), output),
        Command::Directory(command) => command.run(file.as_deref(), output),
        Command::Keys(command) => command.run(file.as_deref(), output),
        Command::Journal(command) => command.run(file.as_deref(), output),
        Command::Quarantine(command) => command.run(file.as_deref(), output),
        Command::Snapshot(command) => command.run(file.as_deref(), output),
        Command::Account(account_quota::AccountCommands::Quota(arguments)) => {
            account_quota::run(file.as_deref(), output, &arguments)
        }
        Command::Account(account_quota::AccountCommands::Share(arguments)) => {
            account_share::run(file.as_deref(), output, &arguments, true)
        }
        Command::Account(account_quota::AccountCommands::Unshare(arguments)) => {
            account_share::run(file.as_deref(), output, &arguments, false)
        }
        Command::Account(account_quota::AccountCommands::Account(command)) => {
            with_registry(file.as_deref(), async |site| command.run(site, output).await)
        }
    }
}

/// The file named, or the first usual one that exists.
fn config_file(named: Option<PathBuf>) -> Option<PathBuf> {
    named.or_else(|| CONFIG_FILES.iter().map(PathBuf::from).find(|file| file.exists()))
}

/// What commands on the registry work with.
struct Site<'a> {
    config: &'a Config,
    registry: &'a Registry,
}

fn with_registry(
    file: Option<&Path>,
    command: impl AsyncFnOnce(&Site<'_>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let config = Config::load(file, std::env::vars()).map_err(Failure::from)?;
    runtime()?.block_on(async {
        let registry = Registry::open(
            &config.data.registry_file(),
            &config.registry,
            config.plans.clone(),
            Arc::new(SystemClock),
        )
        .await?;
        registry.ensure_domains(&config.provider.pec_domains).await?;
        let result = command(&Site { config: &config, registry: &registry }).await;
        registry.close().await;
        result
    })
}

fn serve(file: Option<&Path>) -> Result<(), Failure> {
    let config = Config::load(file, std::env::vars()).map_err(Failure::from)?;
    crate::logging::start(&config.log).map_err(|error| Failure::of_machine(&error))?;
    runtime()?.block_on(crate::serve::run(config)).map_err(|error| {
        if let Some(refused) = error.downcast_ref::<crate::serve::objects::ObjectsRefused>() {
            return Failure::invalid(refused.text().clone());
        }
        if let Some(refused) = error.downcast_ref::<crate::serve::claims::NodeRefused>() {
            return Failure::conflict(refused.text().clone());
        }
        Failure::of_machine(&*Box::<dyn std::error::Error + Send + Sync>::from(error))
    })
}

fn demo(arguments: DemoArguments, output: &Output) -> Result<(), Failure> {
    let program = std::env::current_exe().map_err(|error| Failure::of_machine(&error))?;
    let options = crate::demo::DemoOptions {
        once: arguments.once,
        folder: arguments.folder,
        language: output.language(),
        program,
    };
    let outcome = runtime()?
        .block_on(crate::demo::run(&options, Arc::new(SystemClock), Arc::new(SystemRandom)))
        .map_err(|error| Failure::of_machine(&error))?;
    if outcome.failures.is_empty() {
        return Ok(());
    }
    let (failed, checks) = (outcome.failures.len(), outcome.checks);
    Err(Failure::failed(Text::filled(
        format!("{failed} verifiche su {checks} non riuscite"),
        format!("{failed} checks of {checks} failed"),
    )))
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::of_machine(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_declared_without_contradiction() {
        Cli::command().debug_assert();
    }

    /// What stands behind the help of a command.
    fn after_help(path: &[&str]) -> String {
        let mut command = &Cli::command();
        for name in path {
            command = command.find_subcommand(name).expect("a command");
        }
        command.get_after_help().map(ToString::to_string).unwrap_or_default()
    }

    #[test]
    fn the_help_of_snapshots_and_archive_has_examples() {
        fn leaves(command: &clap::Command, found: &mut Vec<(String, String)>) {
            if command.has_subcommands() {
                command.get_subcommands().for_each(|command| leaves(command, found));
            } else {
                let help = command.get_after_help().map(ToString::to_string);
                found.push((command.get_name().to_owned(), help.unwrap_or_default()));
            }
        }
        let (command, mut found) = (Cli::command(), Vec::new());
        for name in ["snapshot", "archive"] {
            leaves(command.find_subcommand(name).expect("a command"), &mut found);
        }
        assert!(found.len() > 15, "{found:?}");
        for (name, help) in found {
            let first = help.lines().nth(1).unwrap_or_default();
            assert!(first.starts_with("  ceralacca "), "{name} has no example: {help:?}");
        }
    }

    #[test]
    fn the_help_says_with_what_proofs_restores_and_exports_end() {
        for name in ["prove", "restore", "export"] {
            let help = after_help(&["snapshot", name]);
            let ends = help.lines().find(|line| line.starts_with(say("Esce con ", "Ends with ")));
            let ends = ends.unwrap_or_else(|| panic!("{name}: {help}"));
            let codes = ["3", "4", "75"];
            assert!(codes.iter().all(|code| ends.contains(&say_code(code))), "{name}: {ends}");
        }
    }

    fn say_code(code: &str) -> String {
        format!("{} {code} ", say("con", "with"))
    }

    #[test]
    fn the_help_of_prove_lists_no_instant_that_it_refuses() {
        assert!(after_help(&["snapshot", "browse"]).contains("  2026-11-21T06  "));
        let help = after_help(&["snapshot", "prove"]);
        assert!(help.contains("  2026-11-21T06:00:17Z  ") && !help.contains("2026-11-21T06  "));
        assert!(!after_help(&["snapshot", "hold"]).contains("prove"));
    }

    #[test]
    fn a_password_cannot_be_an_argument() {
        fn options(command: &clap::Command, found: &mut Vec<String>) {
            for argument in command.get_arguments() {
                if argument.get_action().takes_values() {
                    found.push(argument.get_id().to_string());
                }
            }
            command.get_subcommands().for_each(|command| options(command, found));
        }
        let mut found = Vec::new();
        options(&Cli::command(), &mut found);
        assert!(found.contains(&"owner".to_owned()));
        assert!(!found.iter().any(|name| name.contains("password")), "{found:?}");
    }
}
