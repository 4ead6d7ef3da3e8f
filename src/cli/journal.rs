//! `ceralacca journal`: the provider's log of operations.

use std::{
    collections::BTreeSet,
    io::{self, Write},
    path::{Path, PathBuf},
};

use clap::{Subcommand, ValueEnum};
use serde::Serialize;
use trust::clock::UnixMillis;

use super::{
    dates,
    failure::Failure,
    operation::{self, Asker},
    output::{Output, Shown, instant},
    say,
};
use crate::{
    control::{
        Kind, OperationError, Progress, Run,
        operations::journal::{
            JournalPage, JournalSearch, JournalVerified, JournalVerify, JournalView, PAGE_MAX,
            PieceView, SealView,
        },
    },
    texts::{Language, Text},
};

#[derive(Debug, Subcommand)]
pub(super) enum JournalCommand {
    #[command(
        about = say("Cerca nel giornale delle operazioni", "Searches the log of operations"),
        after_help = say(
            "Esempi:\n  ceralacca journal search --holder maria.rossi@pec.example --since 2026-11-01\n  ceralacca journal search --id \"<1@client.example>\" --json\n\nUn titolare si trova come mittente e come destinatario; --id vale per identificativi PEC e Message-ID, anche di ricevute.\nLe date sono giorni dell'ora legale italiana.",
            "Examples:\n  ceralacca journal search --holder maria.rossi@pec.example --since 2026-11-01\n  ceralacca journal search --id \"<1@client.example>\" --json\n\nA holder is found as sender and as recipient; --id is for PEC identifiers and Message-IDs, of receipts too.\nDates are days of Italian legal time.",
        ),
    )]
    Search {
        #[command(flatten)]
        filter: FilterArguments,
        #[arg(long, value_name = "N", default_value_t = 100, help = say("Quante al più", "How many at most"))]
        limit: usize,
        #[arg(long, value_name = "N", default_value_t = 0, help = say("Solo dopo la registrazione N", "Only behind record N"))]
        after: u64,
    },
    #[command(
        about = say(
            "Scrive le registrazioni in un file, con i sigilli che le provano",
            "Writes records to a file, with the seals that prove them",
        ),
        after_help = say(
            "Esempi:\n  ceralacca journal export --since 2026-11-01 --until 2026-11-30 --output novembre.jsonl\n  ceralacca journal export --holder maria.rossi@pec.example --format csv > maria.csv\n\nLe righe JSON contengono per ogni registrazione gli ottetti sigillati e la prova fino al sigillo, poi i sigilli e le\ngiornate firmate e marcate: docs/formats.md dice come verificarle senza questo programma. Il CSV non contiene prove.",
            "Examples:\n  ceralacca journal export --since 2026-11-01 --until 2026-11-30 --output november.jsonl\n  ceralacca journal export --holder maria.rossi@pec.example --format csv > maria.csv\n\nThe JSON lines have for each record the sealed octets and the proof up to its seal, and the seals and daily pieces,\nsigned and stamped: docs/formats.md says how to verify them without this program. The CSV has no proofs.",
        ),
    )]
    Export {
        #[command(flatten)]
        filter: FilterArguments,
        #[arg(long, value_enum, default_value_t = Format::Json, help = say("La forma", "The form"))]
        format: Format,
        #[arg(long, value_name = "FILE", help = say("Il file; se manca, l'uscita standard", "The file; when absent, standard output"))]
        output: Option<PathBuf>,
    },
    #[command(
        about = say(
            "Verifica registrazioni, sigilli, giornate, firme e marche temporali",
            "Verifies records, seals, daily pieces, signatures and time stamps",
        ),
        after_help = say(
            "Esempio:\n  ceralacca journal verify --files\n\nEsce con 1 se qualcosa fu cambiato, tolto, inserito o spostato, e dice che cosa.",
            "Example:\n  ceralacca journal verify --files\n\nEnds with 1 when something was changed, removed, inserted or moved, and says what.",
        ),
    )]
    Verify {
        #[arg(long, help = say("Legge anche i file delle giornate nell'archivio a oggetti", "Also reads the files of daily pieces in the object store"))]
        files: bool,
    },
}

/// Which records.
#[derive(Debug, clap::Args)]
pub(super) struct FilterArguments {
    #[arg(long, value_name = say("INDIRIZZO", "ADDRESS"), help = say("Di questo mittente o destinatario", "Of this sender or recipient"))]
    holder: Option<String>,
    #[arg(long = "id", value_name = "ID", help = say("Identificativo PEC o Message-ID", "PEC identifier or Message-ID"))]
    identifier: Option<String>,
    #[arg(long, value_name = say("EVENTO", "EVENT"), help = say("Di questo evento, come submission o delivery-receipt", "Of this event, such as submission or delivery-receipt"))]
    event: Option<String>,
    #[arg(long, value_name = say("DATA", "DATE"), value_parser = dates::since, help = say("Da questa data", "From this date on"))]
    since: Option<i64>,
    #[arg(long, value_name = say("DATA", "DATE"), value_parser = dates::until, help = say("Fino a questa data compresa", "Up to this date, with it"))]
    until: Option<i64>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Format {
    Json,
    Csv,
}

impl FilterArguments {
    fn search(self) -> JournalSearch {
        let Self { holder, identifier, event, since, until } = self;
        JournalSearch {
            holder,
            identifier,
            event,
            since_millis: since,
            until_millis: until,
            limit: PAGE_MAX,
            ..JournalSearch::default()
        }
    }
}

impl JournalCommand {
    pub(super) fn run(self, file: Option<&Path>, output: &Output) -> Result<(), Failure> {
        match self {
            Self::Search { filter, limit, after } => {
                let search = JournalSearch { after, ..filter.search() };
                find(file, output, &search, limit)
            }
            Self::Export { filter, format, output: to } => {
                export(file, output, filter.search(), format, to.as_deref())
            }
            Self::Verify { files } => verify(file, output, files),
        }
    }
}

fn find(
    file: Option<&Path>,
    output: &Output,
    search: &JournalSearch,
    limit: usize,
) -> Result<(), Failure> {
    let (mut records, mut rest) = (Vec::new(), None);
    operation::several(file, output, async |asker, run| {
        rest = Some(search.after);
        while let Some(after) = rest
            && records.len() < limit
        {
            let page_limit = (limit - records.len()).min(PAGE_MAX);
            let search = JournalSearch { after, limit: page_limit, ..search.clone() };
            let page: JournalPage = asker.ask(&search, run).await?;
            records.extend(page.records);
            rest = page.cursor;
        }
        Ok(())
    })?;
    output.list(&records);
    if let Some(after) = rest {
        output.note(&Text::filled(
            format!("forse ve ne sono altre: --after {after}"),
            format!("there may be more: --after {after}"),
        ));
    }
    Ok(())
}

/// One line of an export.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum ExportLine<'l> {
    Piece(&'l PieceView),
    Seal(&'l SealView),
    Record(&'l JournalView),
}

fn export(
    file: Option<&Path>,
    output: &Output,
    search: JournalSearch,
    format: Format,
    to: Option<&Path>,
) -> Result<(), Failure> {
    let mut writer: Box<dyn Write> = match to {
        None => Box::new(io::BufWriter::new(io::stdout())),
        Some(path) => {
            let opened = std::fs::File::create(path).map_err(|error| unwritable(path, &error))?;
            Box::new(io::BufWriter::new(opened))
        }
    };
    let search = JournalSearch { proofs: matches!(format, Format::Json), ..search };
    let written = operation::several(file, output, async |asker, run| {
        pour(asker, run, search, format, &mut *writer).await
    })?;
    if let (Some(path), false) = (to, output.wants_json()) {
        let path = path.display();
        output.note(&Text::filled(
            format!("{written} registrazioni in {path}"),
            format!("{written} records in {path}"),
        ));
    }
    Ok(())
}

fn unwritable(path: &Path, error: &io::Error) -> Failure {
    Failure::invalid(Text::filled(
        format!("{} non si scrive ({error}): indicare un altro file", path.display()),
        format!("{} cannot be written ({error}): name another file", path.display()),
    ))
}

/// Writes page after page; returns how many records.
async fn pour(
    asker: &Asker,
    run: &Run,
    search: JournalSearch,
    format: Format,
    to: &mut dyn Write,
) -> Result<u64, OperationError> {
    let failed = |error: io::Error| OperationError::of_machine(&error);
    let (mut written, mut after) = (0, Some(search.after));
    let (mut seals, mut pieces) = (BTreeSet::new(), BTreeSet::new());
    if matches!(format, Format::Csv) {
        writeln!(to, "{CSV_HEAD}\r").map_err(failed)?;
    }
    while let Some(from) = after {
        run.go_on()?;
        let page: JournalPage =
            asker.ask(&JournalSearch { after: from, ..search.clone() }, run).await?;
        // Pages come in the order of numbers: what was named once is not named again.
        for piece in page.pieces.iter().filter(|piece| pieces.insert(piece.number)) {
            line(to, &ExportLine::Piece(piece)).map_err(failed)?;
        }
        for seal in page.seals.iter().filter(|seal| seals.insert(seal.number)) {
            line(to, &ExportLine::Seal(seal)).map_err(failed)?;
        }
        keep_last(&mut seals);
        keep_last(&mut pieces);
        for record in &page.records {
            match format {
                Format::Json => line(to, &ExportLine::Record(record)).map_err(failed)?,
                Format::Csv => writeln!(to, "{}\r", csv(record)).map_err(failed)?,
            }
            written += 1;
        }
        let what = Text::fixed("registrazioni scritte", "records written");
        run.tell(Progress::new(what, written, None));
        after = page.cursor;
    }
    to.flush().map_err(failed)?;
    Ok(written)
}

/// Forgets all but the highest number: numbers only rise.
fn keep_last(numbers: &mut BTreeSet<u64>) {
    if let Some(last) = numbers.last().copied() {
        *numbers = BTreeSet::from([last]);
    }
}

fn line(to: &mut dyn Write, line: &ExportLine<'_>) -> io::Result<()> {
    serde_json::to_writer(&mut *to, line)?;
    to.write_all(b"\n")
}

const CSV_HEAD: &str = "sequence,instant,event,identifier,message_id,sender,recipients,subject,related,provider,detail";

/// A record as a line of CSV. What a spreadsheet would take for a formula is kept from being one.
fn csv(record: &JournalView) -> String {
    let fields = [
        record.sequence.to_string(),
        instant(UnixMillis(record.instant_millis)),
        record.event.clone(),
        record.identifier.clone(),
        record.message_id.clone(),
        record.sender.clone(),
        record.recipients.join(" "),
        record.subject.clone(),
        record.related.join(" "),
        record.provider.clone(),
        record.detail.clone(),
    ];
    let quoted = fields.map(|field| {
        let guard = if field.starts_with(['=', '+', '-', '@', '\t', '\r']) { "'" } else { "" };
        format!("\"{guard}{}\"", field.replace('"', "\"\""))
    });
    quoted.join(",")
}

fn verify(file: Option<&Path>, output: &Output, files: bool) -> Result<(), Failure> {
    let verified = operation::run(file, output, &JournalVerify { files })?;
    output.one(&verified);
    if verified.whole {
        return Ok(());
    }
    if !output.wants_json() {
        for fault in &verified.first_faults {
            output.note(&fault.text);
        }
    }
    let faults = verified.faults;
    Err(OperationError::new(
        Kind::Failed,
        Text::filled(
            format!("il giornale non è integro: {faults} difformità. Conservare l'archivio com'è; le giornate nell'archivio a oggetti dicono com'era"),
            format!("the journal is not whole: {faults} faults. Keep the store as it is; the daily pieces in the object store say what was"),
        ),
    )
    .into())
}

impl Shown for JournalView {
    fn columns() -> Vec<Text> {
        vec![
            Text::fixed("n.", "no."),
            Text::fixed("istante", "instant"),
            Text::fixed("evento", "event"),
            Text::fixed("mittente", "sender"),
            Text::fixed("destinatari", "recipients"),
            Text::fixed("identificativo", "identifier"),
            Text::fixed("oggetto", "subject"),
            Text::fixed("nota", "detail"),
        ]
    }

    fn row(&self) -> Vec<String> {
        let identifier =
            if self.identifier.is_empty() { &self.message_id } else { &self.identifier };
        vec![
            self.sequence.to_string(),
            instant(UnixMillis(self.instant_millis)),
            self.event.clone(),
            self.sender.clone(),
            self.recipients.join(","),
            identifier.clone(),
            self.subject.clone(),
            self.detail.clone(),
        ]
    }
}

impl Shown for JournalVerified {
    fn details(&self) -> Vec<(Text, String)> {
        let lost: Vec<String> =
            self.lost_time.iter().map(|(first, last)| format!("{first}–{last}")).collect();
        let yes = Text::fixed("sì", "yes");
        let no = Text::fixed("no", "no");
        let whole = if self.whole { yes } else { no };
        let late: Vec<String> = self.stamped_late.iter().map(u64::to_string).collect();
        let optional = |count: u64| if count == 0 { String::new() } else { count.to_string() };
        vec![
            (Text::fixed("integro", "whole"), whole.get(Language::of_process()).to_owned()),
            (Text::fixed("registrazioni sigillate", "sealed records"), self.records.to_string()),
            (Text::fixed("in attesa di sigillo", "waiting for a seal"), self.unsealed.to_string()),
            (Text::fixed("sigilli", "seals"), self.seals.to_string()),
            (Text::fixed("giornate", "daily pieces"), self.pieces.to_string()),
            (Text::fixed("oggetti letti", "objects read"), self.objects.to_string()),
            (
                Text::fixed(
                    "tempo perso, spiegato da un ripristino",
                    "lost time, explained by a restore",
                ),
                lost.join(", "),
            ),
            (
                Text::fixed("giornate del tempo perso", "daily pieces of lost time"),
                optional(self.lost_pieces),
            ),
            (
                Text::fixed(
                    "giornate marcate oltre 48 ore dopo la loro fine",
                    "daily pieces stamped more than 48 hours after their end",
                ),
                late.join(", "),
            ),
            (
                Text::fixed(
                    "giornate di cui non si sono visti gli oggetti",
                    "daily pieces whose objects were not looked at",
                ),
                optional(self.objects_unseen),
            ),
            (Text::fixed("difformità", "faults"), self.faults.to_string()),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_csv_keeps_quotes_and_makes_no_formula() {
        let record = JournalView {
            sequence: 7,
            subject: "Offerta \"urgente\", n. 3".to_owned(),
            detail: "=1+1".to_owned(),
            ..JournalView::default()
        };
        let line = csv(&record);
        assert!(line.contains(",\"Offerta \"\"urgente\"\", n. 3\","), "{line}");
        assert!(line.ends_with(",\"'=1+1\""), "{line}");
        assert_eq!(line.split("\",\"").count(), CSV_HEAD.split(',').count());
    }
}
