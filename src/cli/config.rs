//! `ceralacca config`.

use std::path::Path;

use clap::Subcommand;

use super::{failure::Failure, output::Output, say};
use crate::{config::Config, texts::Text};

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    #[command(
        about = say("Stampa un file commentato con ogni valore predefinito", "Prints a commented file with every default"),
        after_help = say("Esempio:\n  ceralacca config example > ceralacca.toml", "Example:\n  ceralacca config example > ceralacca.toml"),
    )]
    Example,
    #[command(
        about = say("Controlla file e ambiente, e dice riga per riga che cosa non va", "Checks file and environment, and says line by line what is wrong"),
        after_help = say("Esempio:\n  ceralacca config check --config ceralacca.toml", "Example:\n  ceralacca config check --config ceralacca.toml"),
    )]
    Check,
}

impl ConfigCommand {
    pub(super) fn run(self, file: Option<&Path>, output: &Output) -> Result<(), Failure> {
        match self {
            Self::Example => Output::raw(Config::example(output.language()).as_bytes()),
            Self::Check => {
                Config::load(file, std::env::vars())?;
                let file = file.map(|file| file.display().to_string());
                if output.wants_json() {
                    Output::json(&serde_json::json!({ "valid": true, "file": file }));
                    return Ok(());
                }
                output.note(&match file {
                    Some(file) => Text::filled(
                        format!("{file}: configurazione valida"),
                        format!("{file}: the configuration is valid"),
                    ),
                    None => Text::fixed(
                        "nessun file: valgono i valori predefiniti e l'ambiente, e sono validi",
                        "no file: defaults and environment apply, and are valid",
                    ),
                });
            }
        }
        Ok(())
    }
}
