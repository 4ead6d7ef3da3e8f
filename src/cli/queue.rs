//! `ceralacca queue`: what waits to be sent to other servers.

use std::path::Path;

use clap::Subcommand;
use trust::clock::{Clock as _, SystemClock, UnixMillis};

use super::{
    failure::Failure,
    operation,
    output::{Output, Shown, instant},
    say,
};
use crate::{
    config::units::Millis,
    control::operations::queue::{
        QueueChange, QueueChanged, QueueFilter, QueueList, QueueListed, QueueOrder, QueueShow,
        QueuedDetails, QueuedView,
    },
    texts::{Language, Text},
};

#[derive(Debug, Subcommand)]
pub(super) enum QueueCommand {
    #[command(
        about = say(
            "Elenca ciò che attende, dal più vecchio",
            "Lists what waits, the oldest first",
        ),
        after_help = say(
            "Esempi:\n  ceralacca queue list --domain pec.beta.example\n  ceralacca queue list --state unreachable --older-than \"4 h\" --json\n\nStati: sending in corso, ready al suo turno, waiting in attesa del prossimo tentativo, unreachable la destinazione non risponde,\nheld trattenuto, dropped rinunciato.",
            "Examples:\n  ceralacca queue list --domain pec.beta.example\n  ceralacca queue list --state unreachable --older-than \"4 h\" --json\n\nStates: sending, ready for its turn, waiting for its next attempt, unreachable destination, held, dropped.",
        ),
    )]
    List {
        #[command(flatten)]
        filter: FilterArguments,
        #[arg(long, value_name = "N", default_value_t = 1_000, help = say("Quanti al più", "How many at most"))]
        limit: usize,
    },
    #[command(
        about = say(
            "Tutto su un messaggio: ultima risposta, tentativi, prossimo tentativo, TLS",
            "Everything about one message: last answer, attempts, next attempt, TLS",
        ),
        after_help = say(
            "Esempio:\n  ceralacca queue show 0193617f2a4088e1d2c3b4a596877869",
            "Example:\n  ceralacca queue show 0193617f2a4088e1d2c3b4a596877869",
        ),
    )]
    Show {
        #[arg(value_name = "ID", help = say("Quale, come in `queue list`", "Which, as in `queue list`"))]
        id: String,
    },
    #[command(
        about = say("Riprova subito", "Tries again at once"),
        after_help = say(
            "Esempi:\n  ceralacca queue retry --domain pec.beta.example\n  ceralacca queue retry --all\n\nRiprova subito anche la destinazione che non rispondeva. I messaggi trattenuti restano: `queue release`.",
            "Examples:\n  ceralacca queue retry --domain pec.beta.example\n  ceralacca queue retry --all\n\nAlso tries a destination that did not answer at once. Held messages stay: `queue release`.",
        ),
    )]
    Retry(SelectionArguments),
    #[command(
        about = say(
            "Trattiene: non partono finché non sono rilasciati, anche dopo un riavvio",
            "Holds: they do not leave until they are released, also after a restart",
        ),
        after_help = say(
            "Esempio:\n  ceralacca queue hold --sender maria.rossi@pec.example --why \"casella compromessa\"\n\nIl tempo massimo in coda corre comunque: allo scadere il mittente riceve l'avviso.",
            "Example:\n  ceralacca queue hold --sender maria.rossi@pec.example --why \"account taken over\"\n\nThe longest time in the queue runs all the same: at its end the sender gets the notice.",
        ),
    )]
    Hold {
        #[command(flatten)]
        selection: SelectionArguments,
        #[arg(long, default_value = "", help = say("Il motivo, che resta nel giornale", "The reason, which stays in the journal"))]
        why: String,
    },
    #[command(
        about = say("Rilascia ciò che è trattenuto", "Releases what is held"),
        after_help = say(
            "Esempio:\n  ceralacca queue release --sender maria.rossi@pec.example",
            "Example:\n  ceralacca queue release --sender maria.rossi@pec.example",
        ),
    )]
    Release(SelectionArguments),
    #[command(
        about = say(
            "Rinuncia all'invio: il mittente riceve l'avviso di mancata consegna",
            "Gives the sending up: the sender gets the notice of a failure",
        ),
        after_help = say(
            "Esempio:\n  ceralacca queue drop 0193617f2a4088e1d2c3b4a596877869 --why \"richiesta del titolare 12/2026\"\n\nNon si torna indietro. Il motivo resta nel giornale; a server fermo l'avviso parte alla prossima accensione.",
            "Example:\n  ceralacca queue drop 0193617f2a4088e1d2c3b4a596877869 --why \"request of the holder 12/2026\"\n\nThere is no way back. The reason stays in the journal; with the server stopped the notice leaves at its next start.",
        ),
    )]
    Drop {
        #[command(flatten)]
        selection: SelectionArguments,
        #[arg(long, help = say("Il motivo, che resta nel giornale", "The reason, which stays in the journal"))]
        why: String,
    },
}

/// Which messages, by what they are.
#[derive(Debug, clap::Args)]
pub(super) struct FilterArguments {
    #[arg(long, help = say("Verso questo dominio", "To this domain"))]
    domain: Option<String>,
    #[arg(long, value_name = "ADDRESS", help = say("Di questo mittente", "From this sender"))]
    sender: Option<String>,
    #[arg(
        long,
        value_name = say("STATO", "STATE"),
        help = say(
            "sending, ready, waiting, unreachable, held, dropped",
            "sending, ready, waiting, unreachable, held, dropped",
        ),
    )]
    state: Option<String>,
    #[arg(
        long,
        value_name = say("TEMPO", "TIME"),
        value_parser = time,
        help = say("In coda da almeno tanto, come \"4 h\"", "In the queue for so long at least, such as \"4 h\""),
    )]
    older_than: Option<Millis>,
}

/// Which messages, named or by what they are.
#[derive(Debug, clap::Args)]
pub(super) struct SelectionArguments {
    #[arg(value_name = "ID", help = say("Quali, come in `queue list`", "Which, as in `queue list`"))]
    ids: Vec<String>,
    #[arg(long, conflicts_with = "ids", help = say("Tutti", "All of them"))]
    all: bool,
    #[command(flatten)]
    filter: FilterArguments,
}

fn time(text: &str) -> Result<Millis, &'static str> {
    let expected = say("un tempo con unità, come \"4 h\"", "a time with its unit, such as \"4 h\"");
    text.parse().map_err(|_| expected)
}

impl FilterArguments {
    fn filter(self, ids: Option<Vec<String>>) -> QueueFilter {
        let Self { domain, sender, state, older_than } = self;
        let age_millis = older_than.map(|time| i64::try_from(time.0).unwrap_or(i64::MAX));
        QueueFilter { ids, domain, sender, state, age_millis }
    }

    fn is_empty(&self) -> bool {
        let Self { domain, sender, state, older_than } = self;
        domain.is_none() && sender.is_none() && state.is_none() && older_than.is_none()
    }
}

impl SelectionArguments {
    fn filter(self) -> Result<QueueFilter, Failure> {
        if self.ids.is_empty() && !self.all && self.filter.is_empty() {
            return Err(Failure::invalid(Text::fixed(
                "dire quali messaggi: i loro ID, --domain, --sender, --state, --older-than, oppure --all",
                "say which messages: their IDs, --domain, --sender, --state, --older-than, or --all",
            )));
        }
        let ids = (!self.ids.is_empty()).then_some(self.ids);
        Ok(self.filter.filter(ids))
    }
}

impl QueueCommand {
    pub(super) fn run(self, file: Option<&Path>, output: &Output) -> Result<(), Failure> {
        match self {
            Self::List { filter, limit } => list(file, output, filter.filter(None), limit),
            Self::Show { id } => {
                output.one(&operation::run(file, output, &QueueShow { id })?);
                Ok(())
            }
            Self::Retry(selection) => change(file, output, selection, QueueOrder::Retry),
            Self::Hold { selection, why } => {
                change(file, output, selection, QueueOrder::Hold { why })
            }
            Self::Release(selection) => change(file, output, selection, QueueOrder::Release),
            Self::Drop { why, .. } if why.trim().is_empty() => Err(Failure::invalid(Text::fixed(
                "--why non può essere vuoto: il motivo resta nel giornale",
                "--why must not be empty: the reason stays in the journal",
            ))),
            Self::Drop { selection, why } => {
                change(file, output, selection, QueueOrder::Drop { why })
            }
        }
    }
}

fn list(
    file: Option<&Path>,
    output: &Output,
    filter: QueueFilter,
    limit: usize,
) -> Result<(), Failure> {
    let QueueListed { messages, left_out } =
        operation::run(file, output, &QueueList { filter, limit })?;
    output.list(&messages);
    if left_out > 0 {
        output.note(&Text::filled(
            format!("altri {left_out} non mostrati: --limit"),
            format!("{left_out} more are not shown: --limit"),
        ));
    }
    Ok(())
}

fn change(
    file: Option<&Path>,
    output: &Output,
    selection: SelectionArguments,
    order: QueueOrder,
) -> Result<(), Failure> {
    let filter = selection.filter()?;
    let changed = operation::run(file, output, &QueueChange { filter, order })?;
    output.one(&changed);
    if changed.unknown == 0 {
        return Ok(());
    }
    let unknown = changed.unknown;
    Err(Failure::not_found(Text::filled(
        format!("{unknown} non erano in coda: `ceralacca queue list` mostra ciò che attende"),
        format!("{unknown} were not in the queue: `ceralacca queue list` shows what waits"),
    )))
}

fn state_text(word: &str) -> Text {
    match word {
        "sending" => Text::fixed("in corso", "sending"),
        "ready" => Text::fixed("al suo turno", "ready"),
        "waiting" => Text::fixed("attende", "waiting"),
        "unreachable" => Text::fixed("non risponde", "unreachable"),
        "held" => Text::fixed("trattenuto", "held"),
        _ => Text::fixed("rinunciato", "dropped"),
    }
}

/// How long something has lasted, in its largest unit.
fn age(since: i64) -> String {
    let seconds = SystemClock.now().0.saturating_sub(since).max(0) / 1_000;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        _ => format!("{} h", seconds / 3_600),
    }
}

fn at(millis: Option<i64>) -> String {
    millis.map(|millis| instant(UnixMillis(millis))).unwrap_or_default()
}

impl Shown for QueuedView {
    fn columns() -> Vec<Text> {
        vec![
            Text::fixed("id", "id"),
            Text::fixed("stato", "state"),
            Text::fixed("da", "for"),
            Text::fixed("mittente", "sender"),
            Text::fixed("destinatari", "recipients"),
            Text::fixed("tentativi", "attempts"),
            Text::fixed("prossimo", "next"),
            Text::fixed("ultima risposta", "last answer"),
        ]
    }

    fn row(&self) -> Vec<String> {
        vec![
            self.id.clone(),
            state_text(&self.state).get(Language::of_process()).to_owned(),
            age(self.queued_millis),
            if self.sender.is_empty() { "<>".to_owned() } else { self.sender.clone() },
            self.recipients.join(","),
            self.attempts.to_string(),
            at(self.next_attempt_millis),
            self.last_answer.clone(),
        ]
    }
}

impl Shown for QueuedDetails {
    fn columns() -> Vec<Text> {
        QueuedView::columns()
    }

    fn row(&self) -> Vec<String> {
        self.message.row()
    }

    fn details(&self) -> Vec<(Text, String)> {
        let mut details = self.message.details();
        let mut add = |italian, english, value: String| {
            details.push((Text::fixed(italian, english), value));
        };
        add("server", "server", self.message.last_server.clone());
        add("TLS", "TLS", self.message.tls.clone());
        add("perché trattenuto", "why held", self.message.held_why.clone());
        add("identificativo", "identifier", self.identifier.clone().unwrap_or_default());
        add("oggetto", "subject", self.subject.clone().unwrap_or_default());
        let octets = self.octets.map(|octets| octets.to_string()).unwrap_or_default();
        add("ottetti", "octets", octets);
        add("ENVID", "ENVID", self.envelope_id.clone().unwrap_or_default());
        let asked: Vec<String> = self
            .recipients_asked
            .iter()
            .filter_map(|one| Some(format!("{} {}", one.address, one.notify.as_ref()?)))
            .collect();
        add("NOTIFY", "NOTIFY", asked.join(", "));
        if self.destination_failures > 0 {
            let since = at(self.destination_since_millis);
            let value = format!("{} ({since})", self.destination_failures);
            add("la destinazione non risponde", "destination fails", value);
        }
        details
    }
}

impl Shown for QueueChanged {
    fn details(&self) -> Vec<(Text, String)> {
        let mut details = vec![(Text::fixed("cambiati", "changed"), self.changed.to_string())];
        if self.unchanged > 0 {
            details.push((
                Text::fixed("già così o non possibile", "so already, or not possible"),
                self.unchanged.to_string(),
            ));
        }
        if self.sending > 0 {
            details.push((
                Text::fixed("in corso di invio: ripetere", "being sent: repeat"),
                self.sending.to_string(),
            ));
        }
        details
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_changed_because_it_is_being_sent_is_told_of() {
        let changed = QueueChanged { changed: 2, sending: 1, ..QueueChanged::default() };
        let details = changed.details();
        let [_, (label, count)] = &details[..] else { panic!("{details:?}") };
        assert_eq!(label.get(Language::Italian), "in corso di invio: ripetere");
        assert_eq!((label.get(Language::English), count.as_str()), ("being sent: repeat", "1"));
        let json = serde_json::to_value(changed).expect("JSON");
        assert_eq!(json["sending"], 1);
    }
}
