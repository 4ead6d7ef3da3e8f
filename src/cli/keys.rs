//! `ceralacca keys`: the pairs that the provider signs with.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use trust::clock::UnixMillis;

use super::{
    failure::Failure,
    operation,
    output::{Output, Shown, instant},
    say,
};
use crate::{
    control::operations::keys::{KeyView, KeysAdd, KeysList, KeysRemove, KeysRoll},
    texts::{Language, Text},
};

#[derive(Debug, Subcommand)]
pub(super) enum KeysCommand {
    #[command(
        about = say(
            "Elenca le coppie di firma: quale firma, quale verrà, fino a quando valgono",
            "Lists the signing pairs: which one signs, which one will, until when they count",
        ),
        after_help = say("Esempio:\n  ceralacca keys list", "Example:\n  ceralacca keys list"),
    )]
    List,
    #[command(
        about = say(
            "Aggiunge una coppia: il certificato è pubblicato subito, non firma ancora",
            "Adds a pair: its certificate is published at once, it does not sign yet",
        ),
        after_help = say(
            "Esempi:\n  ceralacca keys add --certificate firma-2027.pem --key firma-2027.key\n  ceralacca keys add    (con l'autorità di sviluppo, che la crea)\n\nLa chiave è copiata nella cartella dei dati, leggibile solo dal server. Poi `keys roll`.",
            "Examples:\n  ceralacca keys add --certificate signing-2027.pem --key signing-2027.key\n  ceralacca keys add    (with the development authority, which makes it)\n\nThe key is copied into the data folder, readable by the server only. Then `keys roll`.",
        ),
    )]
    Add {
        #[arg(long, value_name = "FILE", requires = "key", help = say("PEM: il certificato, poi quelli fino alla radice", "PEM: the certificate, then those up to the root"))]
        certificate: Option<PathBuf>,
        #[arg(long, value_name = "FILE", requires = "certificate", help = say("PEM: la chiave, senza passphrase", "PEM: the key, without passphrase"))]
        key: Option<PathBuf>,
    },
    #[command(
        about = say(
            "Decide da quando firma una coppia; senza --at, appena gli altri gestori la conoscono",
            "Decides from when on a pair signs; without --at, as soon as the other providers know it",
        ),
        after_help = say(
            "Esempi:\n  ceralacca keys roll 3f786850\n  ceralacca keys roll 3f786850 --at 2026-12-01T06:00:00+01:00\n\nGli altri rileggono l'indice ogni giorno: prima di 48 ore dalla pubblicazione serve --force.",
            "Examples:\n  ceralacca keys roll 3f786850\n  ceralacca keys roll 3f786850 --at 2026-12-01T06:00:00+01:00\n\nThe others read the directory daily: within 48 hours after publication --force is needed.",
        ),
    )]
    Roll {
        #[arg(value_name = "SHA1", help = say("Quale, come in `keys list`; bastano le prime cifre", "Which, as in `keys list`; the first digits are enough"))]
        sha1: String,
        #[arg(long, value_name = say("ISTANTE", "INSTANT"), value_parser = moment, help = say("Da quando", "From when on"))]
        at: Option<UnixMillis>,
        #[arg(long, help = say("Anche se gli altri non la conoscono ancora; senza --at, subito", "Also when the others do not know it yet; without --at, at once"))]
        force: bool,
    },
    #[command(
        about = say(
            "Toglie una coppia che non firma: il certificato esce dalla voce, la chiave è cancellata",
            "Removes a pair that does not sign: its certificate leaves the entry, its key is deleted",
        ),
        after_help = say(
            "Esempio:\n  ceralacca keys remove 3f786850\n\nCiò che ha firmato ed è ancora in viaggio diventa un'anomalia: aspettare la scadenza, se la chiave non è compromessa.",
            "Example:\n  ceralacca keys remove 3f786850\n\nWhat it has signed and is still on its way becomes an anomaly: wait for its end, unless the key is compromised.",
        ),
    )]
    Remove {
        #[arg(value_name = "SHA1", help = say("Quale, come in `keys list`", "Which, as in `keys list`"))]
        sha1: String,
    },
}

fn moment(text: &str) -> Result<UnixMillis, &'static str> {
    let read: Result<jiff::Timestamp, _> = text.parse();
    read.map(|instant| UnixMillis(instant.as_millisecond())).map_err(|_| {
        say(
            "un istante con il fuso, come 2026-12-01T06:00:00+01:00",
            "an instant with its offset, such as 2026-12-01T06:00:00+01:00",
        )
    })
}

impl KeysCommand {
    pub(super) fn run(self, file: Option<&Path>, output: &Output) -> Result<(), Failure> {
        let pairs = match self {
            Self::List => operation::run(file, output, &KeysList {})?,
            Self::Add { certificate, key } => {
                let pair = match (certificate, key) {
                    (Some(certificate), Some(key)) => Some((read(&certificate)?, read(&key)?)),
                    _ => None,
                };
                operation::run(file, output, &KeysAdd { pair })?
            }
            Self::Roll { sha1, at, force } => {
                let at_millis = at.map(|at| at.0);
                operation::run(file, output, &KeysRoll { sha1, at_millis, force })?
            }
            Self::Remove { sha1 } => operation::run(file, output, &KeysRemove { sha1 })?,
        };
        output.list(&pairs);
        for pair in &pairs {
            for deviation in &pair.deviations {
                let sha1 = &pair.sha1;
                output.note(&Text::filled(
                    format!("{sha1}: non ha il profilo della RFC 6109 §5.5: {deviation}"),
                    format!("{sha1}: not of the profile of RFC 6109 §5.5: {deviation}"),
                ));
            }
        }
        Ok(())
    }
}

fn read(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path).map_err(|error| {
        let path = path.display();
        Failure::invalid(Text::filled(
            format!("{path} non si legge: {error}"),
            format!("{path} cannot be read: {error}"),
        ))
    })
}

fn state(word: &str) -> Text {
    match word {
        "signs" => Text::fixed("firma", "signs"),
        "next" => Text::fixed("firmerà", "will sign"),
        "waiting" => Text::fixed("pubblicata", "published"),
        "old" => Text::fixed("ha firmato", "has signed"),
        _ => Text::fixed("scaduta", "expired"),
    }
}

impl Shown for KeyView {
    fn columns() -> Vec<Text> {
        vec![
            Text::fixed("certificato (SHA-1)", "certificate (SHA-1)"),
            Text::fixed("stato", "state"),
            Text::fixed("firma dal", "signs from"),
            Text::fixed("vale dal", "valid from"),
            Text::fixed("al", "until"),
            Text::fixed("chiave", "key"),
        ]
    }

    fn row(&self) -> Vec<String> {
        let at = |millis: i64| instant(UnixMillis(millis));
        let key = match (self.has_key, self.configured) {
            (true, true) => Text::fixed("[signing]", "[signing]"),
            (true, false) => Text::fixed("nei dati", "in the data folder"),
            (false, _) => Text::fixed("non qui", "not here"),
        };
        vec![
            self.sha1.clone(),
            state(&self.state).get(Language::of_process()).to_owned(),
            self.signs_from_millis.filter(|from| *from > 0).map(at).unwrap_or_default(),
            at(self.not_before_millis),
            at(self.not_after_millis),
            key.get(Language::of_process()).to_owned(),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_needs_its_offset() {
        assert_eq!(moment("2026-12-01T06:00:00+01:00"), Ok(UnixMillis(1_796_101_200_000)));
        assert!(moment("2026-12-01T06:00:00").is_err());
        assert!(moment("domani").is_err());
    }
}
