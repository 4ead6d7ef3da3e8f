//! `snapshot export`: what the server puts out goes to a file or to standard output.

use std::{
    fs::OpenOptions,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use super::super::{failure::Failure, operation, output::Output, say};
use crate::{
    control::operations::snapshot::export::{ExportFormat, ExportOutcome, SnapshotExport},
    texts::Text,
};

#[derive(Debug, clap::Args)]
pub(crate) struct ExportArguments {
    #[arg(value_name = "ADDRESS", help = say("L'indirizzo della casella", "The account's address"))]
    account: String,
    #[arg(value_name = "INSTANT", help = say("Quale istantanea", "Which snapshot"))]
    instant: String,
    #[arg(long, value_name = "MAILBOX", help = say("Solo questa cartella, con quelle sotto", "This mailbox only, with those below it"))]
    mailbox: Option<String>,
    #[arg(long, value_name = "N", requires = "mailbox", help = say("Solo questo messaggio della cartella", "This message of the mailbox only"))]
    uid: Option<u32>,
    #[arg(long, value_enum, help = say("tar e zip di .eml, tar di un Maildir++, zip di mboxrd", "tar and zip of .eml, tar of a Maildir++, zip of mboxrd"))]
    format: ExportFormat,
    #[arg(long, value_name = "FILE", help = say("In quale file, che non deve esistere; - per lo standard output", "Into which file, which must not exist; - for standard output"))]
    out: PathBuf,
}

impl ExportArguments {
    pub(super) fn run(self, file: Option<&Path>, output: &Output) -> Result<(), Failure> {
        let Self { account, instant, mailbox, uid, format, out } = self;
        let request = SnapshotExport { account, instant, mailbox, uid, format };
        let is_standard = out.as_os_str() == "-";
        let mut target: Box<dyn Write + Send> =
            if is_standard { Box::new(io::stdout()) } else { Box::new(created(&out)?) };
        let write = move |octets: &[u8]| target.write_all(octets).and_then(|()| target.flush());
        let result = operation::stream(file, output, &request, write);
        let done = match result {
            Ok(done) => done,
            Err(failure) => {
                if !is_standard {
                    // The file is ours, and nothing whole is in it.
                    let _ = std::fs::remove_file(&out);
                }
                return Err(failure);
            }
        };
        tell(output, &done, is_standard);
        match done.unreadable {
            0 => Ok(()),
            unreadable => Err(Failure::failed(Text::filled(
                format!("{unreadable} messaggi non si leggono: index.csv dice perché"),
                format!("{unreadable} messages cannot be read: index.csv says why"),
            ))),
        }
    }
}

fn tell(output: &Output, done: &ExportOutcome, is_standard: bool) {
    output.notes(&done.note);
    if output.wants_json() && !is_standard {
        return Output::json(done);
    }
    let ExportOutcome { snapshot, messages, octets, .. } = done;
    output.note(&Text::filled(
        format!("{snapshot}: esportati {messages} messaggi, {octets} ottetti"),
        format!("{snapshot}: exported {messages} messages, {octets} octets"),
    ));
}

fn created(out: &Path) -> Result<std::fs::File, Failure> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(out);
    file.map_err(|error| {
        let text = Text::filled(
            format!("{} non si crea ({error})", out.display()),
            format!("{} cannot be created ({error})", out.display()),
        );
        match error.kind() {
            io::ErrorKind::AlreadyExists => Failure::conflict(text),
            _ => Failure::failed(text),
        }
    })
}
