//! `ceralacca archive …`: rules, dry run, run, way back and state of the archive.

use std::path::Path;

use clap::Subcommand;
use serde::Serialize;
use trust::clock::UnixMillis;

use super::{
    failure::Failure,
    operation,
    output::{Output, Shown, instant},
    say,
};
use crate::{
    archive::rules::{Rule, TARGET},
    config::units::Octets,
    control::operations::archive::{
        ArchiveRestore, ArchiveRules, ArchiveRun, ArchiveStatus, MovedMessages, RulesChange,
        RulesOutcome, RunOutcome, StatusOutcome,
    },
    texts::{Language, Text},
};

#[derive(Debug, Subcommand)]
pub(super) enum ArchiveCommand {
    #[command(
        subcommand,
        about = say("Le regole di una casella", "The rules of an account"),
    )]
    Rules(RulesCommand),
    #[command(
        about = say("Un giro su una casella, o cosa farebbe", "A run over an account, or what it would do"),
        after_help = say(
            "Esempi:\n  ceralacca archive run maria.rossi@pec.example --dry-run\n  ceralacca archive run maria.rossi@pec.example\n\nI messaggi scelti dalle regole passano nelle cartelle sotto Archivio. Interrotto, il giro riprende da dov'era.",
            "Examples:\n  ceralacca archive run maria.rossi@pec.example --dry-run\n  ceralacca archive run maria.rossi@pec.example\n\nMessages that the rules pick move to the mailboxes below Archivio. When it is interrupted, the next run goes on where it was.",
        ),
    )]
    Run(RunArguments),
    #[command(
        about = say("Riporta messaggi dall'archivio dov'erano, o dice cosa farebbe", "Takes messages back from the archive to where they were, or says what it would do"),
        after_help = say(
            "Esempi:\n  ceralacca archive restore maria.rossi@pec.example --dry-run\n  ceralacca archive restore maria.rossi@pec.example --mailbox Archivio/2024\n\nOgni messaggio torna nella cartella da cui era passato in archivio; se non si sa quale, in INBOX. Con --mailbox anche le cartelle sotto.\nL'età riparte da adesso: una regola lo archivia di nuovo solo dopo i suoi giorni, che con --older-than 0 è il prossimo giro. Ciò che non ha posto resta in archivio. Interrotto, ripetere il comando riporta il resto.",
            "Examples:\n  ceralacca archive restore maria.rossi@pec.example --dry-run\n  ceralacca archive restore maria.rossi@pec.example --mailbox Archivio/2024\n\nEach message goes back to the mailbox that it was archived from; when that is not known, to INBOX. With --mailbox the mailboxes below, too.\nIts age begins anew: a rule archives it again after its days only, which with --older-than 0 is the next run. What has no room stays in the archive. When it is interrupted, the command done again takes back the rest.",
        ),
    )]
    Restore(RestoreArguments),
    #[command(
        about = say("A che punto è l'archiviazione di tutte le caselle", "How far the archive of all accounts is"),
        after_help = say(
            "Esempi:\n  ceralacca archive status\n  ceralacca archive status --json",
            "Examples:\n  ceralacca archive status\n  ceralacca archive status --json",
        ),
    )]
    Status,
}

#[derive(Debug, Subcommand)]
pub(super) enum RulesCommand {
    #[command(
        about = say("Mostra le regole: della casella o del suo tipo", "Shows the rules: the account's or its plan's"),
        after_help = say(
            "Esempio:\n  ceralacca archive rules show maria.rossi@pec.example",
            "Example:\n  ceralacca archive rules show maria.rossi@pec.example",
        ),
    )]
    Show(Addressed),
    #[command(
        about = say("Dà alla casella regole sue", "Gives the account rules of its own"),
        after_help = say(
            "Esempi:\n  ceralacca archive rules set maria.rossi@pec.example --older-than 180\n  ceralacca archive rules set maria.rossi@pec.example --older-than 30 --mailbox 'Lavori/*' --larger-than '5 MB' --add\n  ceralacca archive rules set maria.rossi@pec.example --none\n\nUna regola prende il posto delle altre; con --add viene dopo di esse.\nCon --mailbox 'Nome/*' anche le cartelle sotto Nome. Bozze, Posta indesiderata e Cestino restano fuori se non sono nominate.\nNella destinazione {year} è l'anno del messaggio e {mailbox} la sua cartella.",
            "Examples:\n  ceralacca archive rules set maria.rossi@pec.example --older-than 180\n  ceralacca archive rules set maria.rossi@pec.example --older-than 30 --mailbox 'Lavori/*' --larger-than '5 MB' --add\n  ceralacca archive rules set maria.rossi@pec.example --none\n\nA rule takes the place of the others; with --add it comes behind them.\nWith --mailbox 'Name/*' the mailboxes below Name, too. Drafts, junk and trash are left out unless they are named.\nIn the target {year} is the message's year and {mailbox} its mailbox.",
        ),
    )]
    Set(RuleArguments),
    #[command(
        about = say("Ridà alla casella le regole del suo tipo", "Gives the account its plan's rules again"),
        after_help = say(
            "Esempio:\n  ceralacca archive rules reset maria.rossi@pec.example\n\nLe regole sue vanno perse: `archive rules show` le mostra prima.",
            "Example:\n  ceralacca archive rules reset maria.rossi@pec.example\n\nIts own rules are lost: `archive rules show` shows them first.",
        ),
    )]
    Reset(Addressed),
}

#[derive(Debug, clap::Args)]
pub(super) struct Addressed {
    #[arg(value_name = "ADDRESS", help = say("L'indirizzo della casella", "The account's address"))]
    account: String,
}

#[derive(Debug, clap::Args)]
pub(super) struct RunArguments {
    #[command(flatten)]
    addressed: Addressed,
    #[arg(long, help = say("Dice solo cosa farebbe", "Only says what it would do"))]
    dry_run: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct RestoreArguments {
    #[command(flatten)]
    addressed: Addressed,
    #[arg(long, value_name = "NAME", help = say("Solo da questa cartella dell'archivio e da quelle sotto", "From this mailbox of the archive only, and those below it"))]
    mailbox: Option<String>,
    #[arg(long, help = say("Dice solo cosa farebbe", "Only says what it would do"))]
    dry_run: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct RuleArguments {
    #[command(flatten)]
    addressed: Addressed,
    #[arg(long, value_name = "DAYS", required_unless_present = "none", help = say("Ricevuti tanti giorni fa o prima: da 0 a 36500", "Received so many days ago or earlier: 0 to 36500"))]
    older_than: Option<u32>,
    #[arg(long = "mailbox", value_name = "NAME", help = say("Solo in questa cartella; si può ripetere", "In this mailbox only; may be repeated"))]
    mailboxes: Vec<String>,
    #[arg(long, value_name = "SIZE", default_value = "0 octets", value_parser = octets, help = say("Solo più grandi di così, come '5 MB'", "Larger than this only, such as '5 MB'"))]
    larger_than: Octets,
    #[arg(long, help = say("Solo i messaggi letti", "Read messages only"))]
    only_read: bool,
    #[arg(long, help = say("Anche i messaggi contrassegnati", "Flagged messages, too"))]
    flagged_too: bool,
    #[arg(long, value_name = "NAME", default_value = TARGET, help = say("La cartella di destinazione", "The mailbox they go to"))]
    target: String,
    #[command(flatten)]
    place: Place,
}

/// What becomes of the rules that there are.
#[derive(Debug, clap::Args)]
struct Place {
    #[arg(long, help = say("In aggiunta alle regole che ci sono", "Behind the rules that there are"))]
    add: bool,
    #[arg(long, conflicts_with_all = ["older_than", "add"], help = say("Nessuna regola: non si archivia nulla da solo", "No rule: nothing is archived by itself"))]
    none: bool,
}

fn octets(text: &str) -> Result<Octets, &'static str> {
    text.parse().map_err(|_| say("una dimensione come 5 MB", "a size such as 5 MB"))
}

impl ArchiveCommand {
    pub(super) fn run(self, file: Option<&Path>, output: &Output) -> Result<(), Failure> {
        match self {
            Self::Rules(command) => command.run(file, output),
            Self::Run(arguments) => {
                let RunArguments { addressed: Addressed { account }, dry_run } = arguments;
                let outcome = operation::run(file, output, &ArchiveRun { account, dry_run })?;
                show(output, &outcome, run_text);
                Ok(())
            }
            Self::Restore(arguments) => {
                let RestoreArguments { addressed: Addressed { account }, mailbox, dry_run } =
                    arguments;
                let request = ArchiveRestore { account, mailbox, dry_run };
                show(output, &operation::run(file, output, &request)?, back_text);
                Ok(())
            }
            Self::Status => {
                let outcome = operation::run(file, output, &ArchiveStatus {})?;
                output.one(&outcome);
                Ok(())
            }
        }
    }
}

impl RulesCommand {
    fn run(self, file: Option<&Path>, output: &Output) -> Result<(), Failure> {
        let (account, change) = match self {
            Self::Show(Addressed { account }) => (account, RulesChange::Keep),
            Self::Reset(Addressed { account }) => (account, RulesChange::Reset),
            Self::Set(arguments) => arguments.change(),
        };
        let outcome = operation::run(file, output, &ArchiveRules { account, change })?;
        if output.wants_json() {
            Output::json(&outcome);
            return Ok(());
        }
        Output::raw(rules_text(&outcome).get(output.language()).as_bytes());
        let rows: Vec<RuleView> = outcome.rules.into_iter().map(RuleView).collect();
        if !rows.is_empty() {
            output.list(&rows);
        }
        Ok(())
    }
}

impl RuleArguments {
    fn change(self) -> (String, RulesChange) {
        let account = self.addressed.account;
        if self.place.none {
            return (account, RulesChange::Set(Vec::new()));
        }
        let rule = Rule {
            older_than_days: self.older_than.unwrap_or(crate::archive::rules::DAYS_MAX),
            mailboxes: self.mailboxes,
            larger_than_octets: self.larger_than.0,
            only_read: self.only_read,
            except_flagged: !self.flagged_too,
            target: self.target,
        };
        let change =
            if self.place.add { RulesChange::Add(rule) } else { RulesChange::Set(vec![rule]) };
        (account, change)
    }
}

fn show(output: &Output, outcome: &RunOutcome, text: impl Fn(&RunOutcome) -> Text) {
    if output.wants_json() {
        return Output::json(outcome);
    }
    if !outcome.mailboxes.is_empty() {
        output.list(&outcome.mailboxes);
    }
    Output::raw(text(outcome).get(output.language()).as_bytes());
}

fn rules_text(outcome: &RulesOutcome) -> Text {
    let RulesOutcome { account, plan, .. } = outcome;
    let (italian, english) = match (outcome.own, outcome.rules.is_empty()) {
        (true, false) => ("regole sue".to_owned(), "rules of its own".to_owned()),
        (true, true) => (
            "regole sue: non si archivia nulla da solo".to_owned(),
            "rules of its own: nothing is archived by itself".to_owned(),
        ),
        (false, false) => (format!("regole del tipo {plan}"), format!("rules of the plan {plan}")),
        (false, true) => {
            ("non si archivia nulla da solo".to_owned(), "nothing is archived by itself".to_owned())
        }
    };
    Text::filled(format!("{account}: {italian}\n"), format!("{account}: {english}\n"))
}

fn run_text(outcome: &RunOutcome) -> Text {
    let (messages, octets) = (outcome.messages, Octets(outcome.octets).text());
    let [italian, english] = [Language::Italian, Language::English].map(|one| octets.get(one));
    let mut text = if outcome.dry_run {
        Text::filled(
            format!("Passerebbero in archivio {messages} messaggi, {italian}.\n"),
            format!("{messages} messages would move into the archive, {english}.\n"),
        )
    } else {
        Text::filled(
            format!("Passati in archivio {messages} messaggi, {italian}.\n"),
            format!("{messages} messages moved into the archive, {english}.\n"),
        )
    };
    let mut more = |italian: &str, english: &str| {
        let (before, after) = (text.get(Language::Italian), text.get(Language::English));
        text = Text::filled(format!("{before}{italian}\n"), format!("{after}{english}\n"));
    };
    if let Some(full) = &outcome.full {
        let full = no_room(full, &outcome.account);
        more(full.get(Language::Italian), full.get(Language::English));
    }
    if !outcome.unreadable.is_empty() {
        let names = outcome.unreadable.join(", ");
        more(
            &format!(
                "Cartelle danneggiate, lasciate come sono: {names}. Controllare con `ceralacca store check`."
            ),
            &format!(
                "Damaged mailboxes, left as they are: {names}. Check with `ceralacca store check`."
            ),
        );
    }
    if outcome.overtaken {
        more(
            "Un altro giro sulla stessa casella va avanti al posto di questo.",
            "Another run over the same account goes on in place of this one.",
        );
    }
    text
}

/// Why the rest stays outside of the archive, and what to do about it.
fn no_room(full: &str, account: &str) -> Text {
    match full {
        "mailboxes" => Text::fixed(
            "Per gli altri servono cartelle nuove, e la casella ne ha già quante può averne: restano dove sono. Eliminarne alcune, o dare alle regole una destinazione che ne vuole meno (archive rules set --target).",
            "The others need new mailboxes, and the account has as many as it may have: they stay where they are. Delete some, or give the rules a target that needs fewer (archive rules set --target).",
        ),
        "archive messages" => Text::fixed(
            "Per gli altri l'archivio non ha posto, ha già quanti messaggi può avere: restano dove sono. Eliminarne alcuni dall'archivio.",
            "The archive has no room for the others, it has as many messages as it may have: they stay where they are. Delete some from the archive.",
        ),
        _ => Text::filled(
            format!(
                "Per gli altri l'archivio non ha posto: restano dove sono. Per dargliene: ceralacca account quota {account} --add-archive-gb N"
            ),
            format!(
                "The archive has no room for the others: they stay where they are. To give it more: ceralacca account quota {account} --add-archive-gb N"
            ),
        ),
    }
}

fn back_text(outcome: &RunOutcome) -> Text {
    let (messages, octets) = (outcome.messages, Octets(outcome.octets).text());
    let [italian, english] = [Language::Italian, Language::English].map(|one| octets.get(one));
    let (did, has) = if outcome.dry_run {
        ("Tornerebbero dall'archivio", "would go back from the archive")
    } else {
        ("Tornati dall'archivio", "went back from the archive")
    };
    let (rest, left) = match outcome.full.as_deref() {
        Some("octets") => (
            format!(
                "Per gli altri la casella non ha posto: restano in archivio. Per dargliene: ceralacca account quota {} --add-gb N\n",
                outcome.account
            ),
            format!(
                "The account has no room for the others: they stay in the archive. To give it more: ceralacca account quota {} --add-gb N\n",
                outcome.account
            ),
        ),
        Some(_) => (
            "Per gli altri la casella non ha posto, ha già quanti messaggi può avere: restano in archivio.\n".to_owned(),
            "The account has no room for the others, it has as many messages as it may have: they stay in the archive.\n".to_owned(),
        ),
        None => (String::new(), String::new()),
    };
    Text::filled(
        format!("{did} {messages} messaggi, {italian}.\n{rest}"),
        format!("{messages} messages {has}, {english}.\n{left}"),
    )
}

impl Shown for MovedMessages {
    fn columns() -> Vec<Text> {
        vec![
            Text::fixed("CARTELLA", "MAILBOX"),
            Text::fixed("MESSAGGI", "MESSAGES"),
            Text::fixed("OTTETTI", "OCTETS"),
        ]
    }

    fn row(&self) -> Vec<String> {
        vec![self.mailbox.clone(), self.messages.to_string(), self.octets.to_string()]
    }
}

/// A size as printed.
fn said(octets: Octets) -> String {
    octets.text().get(Language::of_process()).to_owned()
}

/// A rule as printed.
#[derive(Debug, Serialize)]
#[serde(transparent)]
struct RuleView(Rule);

impl Shown for RuleView {
    fn columns() -> Vec<Text> {
        vec![
            Text::fixed("GIORNI", "DAYS"),
            Text::fixed("CARTELLE", "MAILBOXES"),
            Text::fixed("PIÙ GRANDI DI", "LARGER THAN"),
            Text::fixed("SOLO LETTI", "ONLY READ"),
            Text::fixed("CONTRASSEGNATI", "FLAGGED"),
            Text::fixed("DESTINAZIONE", "TARGET"),
        ]
    }

    fn row(&self) -> Vec<String> {
        let Rule { mailboxes, larger_than_octets, only_read, except_flagged, target, .. } = &self.0;
        let yes = |truth: bool| if truth { say("sì", "yes") } else { say("no", "no") }.to_owned();
        let mailboxes = match mailboxes.as_slice() {
            [] => say("tutte", "all").to_owned(),
            names => names.join(", "),
        };
        vec![
            self.0.older_than_days.to_string(),
            mailboxes,
            said(Octets(*larger_than_octets)),
            yes(*only_read),
            yes(!except_flagged),
            target.clone(),
        ]
    }
}

impl Shown for StatusOutcome {
    fn columns() -> Vec<Text> {
        vec![
            Text::fixed("GIRI DA SOLI", "RUNS BY THEMSELVES"),
            Text::fixed("CASELLE GUARDATE", "ACCOUNTS LOOKED AT"),
            Text::fixed("CON REGOLE PROPRIE", "WITH RULES OF THEIR OWN"),
            Text::fixed("GIRI IN CORSO O INTERROTTI", "RUNS UNDER WAY OR CUT OFF"),
            Text::fixed("DA GUARDARE", "DUE"),
            Text::fixed("ARCHIVI PIENI", "FULL ARCHIVES"),
            Text::fixed("MESSAGGI DELL'ULTIMO GIRO", "MESSAGES OF THE LAST RUN"),
            Text::fixed("OTTETTI DELL'ULTIMO GIRO", "OCTETS OF THE LAST RUN"),
            Text::fixed("REGISTRAZIONI ILLEGGIBILI", "UNREADABLE RECORDS"),
            Text::fixed("GIRO FINITO PER PRIMO", "RUN THAT ENDED FIRST"),
            Text::fixed("GIRO FINITO PER ULTIMO", "RUN THAT ENDED LAST"),
        ]
    }

    fn row(&self) -> Vec<String> {
        let enabled = if self.enabled { say("sì", "yes") } else { say("no", "no") };
        let when = |at: Option<i64>| at.map(|at| instant(UnixMillis(at))).unwrap_or_default();
        vec![
            enabled.to_owned(),
            self.accounts.to_string(),
            self.own_rules.to_string(),
            self.under_way.to_string(),
            self.due.to_string(),
            self.full.to_string(),
            self.messages.to_string(),
            said(Octets(self.octets)),
            self.unreadable.to_string(),
            when(self.oldest_millis),
            when(self.latest_millis),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::rules::DAYS_MAX;

    fn outcome(full: &str) -> RunOutcome {
        RunOutcome {
            account: "maria.rossi@pec.example".to_owned(),
            dry_run: false,
            mailboxes: Vec::new(),
            messages: 3,
            octets: 40,
            full: Some(full.to_owned()).filter(|full| !full.is_empty()),
            overtaken: false,
            unreadable: Vec::new(),
        }
    }

    #[test]
    fn what_is_full_says_what_to_do() {
        let space = "ceralacca account quota maria.rossi@pec.example --add-archive-gb N";
        let more = "ceralacca account quota maria.rossi@pec.example --add-gb N";
        for (full, run, back) in [
            ("archive octets", Some(space), None),
            ("archive messages", Some("messag"), None),
            ("mailboxes", Some("--target"), None),
            ("octets", None, Some(more)),
            ("messages", None, Some("messag")),
            ("", None, None),
        ] {
            for (text, wanted) in
                [(run_text(&outcome(full)), run), (back_text(&outcome(full)), back)]
            {
                for language in [Language::Italian, Language::English] {
                    let said = text.get(language);
                    // The first line says how many, of whatever is full.
                    let advice = said.lines().nth(1).unwrap_or_default();
                    assert!(wanted.is_none_or(|wanted| advice.contains(wanted)), "{full}: {said}");
                    assert!(!advice.contains("--add-gb") || full == "octets", "{full}: {said}");
                    let names = said.contains("--add-archive-gb");
                    assert!(!names || full == "archive octets" || wanted.is_none(), "{said}");
                    assert!(!full.is_empty() || said.lines().count() == 1, "{said}");
                }
            }
        }
    }

    #[test]
    fn the_help_names_the_longest_age_of_a_rule() {
        use clap::CommandFactory as _;
        let mut command = super::super::Cli::command();
        let set = ["archive", "rules", "set"].into_iter().fold(&mut command, |command, name| {
            command.find_subcommand_mut(name).expect("a command")
        });
        assert!(set.render_long_help().to_string().contains(&DAYS_MAX.to_string()));
    }
}
