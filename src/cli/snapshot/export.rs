//! `snapshot export`: what the server puts out goes to a file, into a folder or to standard output.
//!
//! * A file or folder gets its name when it is whole and on the disk. Until then it has another one beside
//!   it, `.ceralacca-….part`; what is cut short is removed, and a command that is killed leaves only that.
//! * Nothing is replaced: a file or folder that is there already refuses the export.

use std::{
    io::{self, Write},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use tempfile::NamedTempFile;
use trust::digest::Sha256Hasher;

use super::{
    super::{failure::Failure, operation, output::Output, say},
    folder::Unpacking,
};
use crate::{
    control::operations::snapshot::export::{ExportFormat, ExportOutcome, SnapshotExport},
    texts::{Text, snapshots},
};

#[derive(Debug, clap::Args)]
pub(crate) struct ExportArguments {
    #[arg(value_name = "ADDRESS", help = say("L'indirizzo della casella", "The account's address"))]
    account: String,
    #[arg(value_name = "INSTANT", help = say("Quale istantanea", "Which snapshot"))]
    instant: String,
    #[arg(long, value_name = "MAILBOX", help = say("Solo questa cartella, con quelle sotto", "This mailbox only, with those below it"))]
    mailbox: Option<String>,
    #[arg(long, requires = "mailbox", help = say("Senza le cartelle sotto; con mbox esce un solo file .mbox", "Without the mailboxes below; with mbox one .mbox file comes out"))]
    only: bool,
    #[arg(long, value_name = "N", requires = "mailbox", help = say("Solo questo messaggio della cartella", "This message of the mailbox only"))]
    uid: Option<u32>,
    #[arg(long, value_enum, help = say("tar e zip di .eml, tar di un Maildir++, zip di mboxrd", "tar and zip of .eml, tar of a Maildir++, zip of mboxrd"))]
    format: ExportFormat,
    #[arg(long, value_name = "FILE", required_unless_present = "to", help = say("In quale file, che non deve esistere; - per lo standard output", "Into which file, which must not exist; - for standard output"))]
    out: Option<PathBuf>,
    #[arg(long, value_name = "FOLDER", conflicts_with = "out", help = say("In quale cartella, nuova o vuota, invece che in un file: maildir e tar", "Into which folder, new or empty, instead of a file: maildir and tar"))]
    to: Option<PathBuf>,
}

impl ExportArguments {
    pub(super) fn run(self, file: Option<&Path>, output: &Output) -> Result<(), Failure> {
        let Self { account, instant, mailbox, only, uid, format, out, to } = self;
        let request = SnapshotExport { account, instant, mailbox, only, uid, format };
        let target = Target::chosen(&request, out, to)?;
        let is_standard = matches!(target, Target::Standard);
        let (mut done, digest) = match target {
            Target::Standard => {
                let mut standard = io::stdout();
                let write =
                    move |octets: &[u8]| standard.write_all(octets).and_then(|()| standard.flush());
                (operation::stream(file, output, &request, write)?, None)
            }
            Target::File(path) => into_file(file, output, &request, &path)?,
            Target::Folder(path) => {
                let (unpacking, mut feed) = Unpacking::begin(&path)?;
                let write = move |octets: &[u8]| feed.write_all(octets);
                let done = operation::stream(file, output, &request, write);
                (unpacking.end(done)?, None)
            }
        };
        done.sha256 = digest;
        tell(output, &done, is_standard);
        refuse_unreadable(output, &request, &done)
    }
}

/// Where an export goes.
enum Target {
    Standard,
    File(PathBuf),
    Folder(PathBuf),
}

impl Target {
    fn chosen(
        request: &SnapshotExport,
        out: Option<PathBuf>,
        to: Option<PathBuf>,
    ) -> Result<Self, Failure> {
        if let Some(to) = to {
            return match request.format {
                ExportFormat::Maildir | ExportFormat::Tar => Ok(Self::Folder(to)),
                ExportFormat::Mbox | ExportFormat::Zip => Err(Failure::invalid(Text::fixed(
                    "--to vale con --format maildir o tar: per un altro formato usare --out",
                    "--to goes with --format maildir or tar: for another format use --out",
                ))),
            };
        }
        let out = out.unwrap_or_default();
        if out.as_os_str() == "-" {
            return Ok(Self::Standard);
        }
        let is_mbox = out.extension().is_some_and(|one| one.eq_ignore_ascii_case("mbox"));
        if is_mbox && !request.is_one_mbox() {
            return Err(Failure::invalid(Text::fixed(
                "un solo file .mbox è di una sola cartella: --format mbox --mailbox CARTELLA --only; altrimenti esce uno zip",
                "one .mbox file is of one mailbox: --format mbox --mailbox MAILBOX --only; otherwise a zip comes out",
            )));
        }
        Ok(Self::File(out))
    }
}

/// Writes a file beside its place and gives it its name at the end. Returns its SHA-256 as well.
fn into_file(
    file: Option<&Path>,
    output: &Output,
    request: &SnapshotExport,
    path: &Path,
) -> Result<(ExportOutcome, Option<String>), Failure> {
    if path.symlink_metadata().is_ok() {
        return Err(taken(path));
    }
    let beside = part().tempfile_in(parent(path)).map_err(|error| not_made(path, &error))?;
    let mut target = beside.as_file().try_clone().map_err(|error| not_made(path, &error))?;
    let hasher = Arc::new(Mutex::new(Sha256Hasher::default()));
    let of_writer = Arc::clone(&hasher);
    let write = move |octets: &[u8]| {
        of_writer.lock().unwrap_or_else(PoisonError::into_inner).update(octets);
        target.write_all(octets)
    };
    let done = operation::stream(file, output, request, write)?;
    named(beside, path)?;
    let hasher = std::mem::take(&mut *hasher.lock().unwrap_or_else(PoisonError::into_inner));
    Ok((done, Some(hasher.finish().to_string())))
}

/// Writes a file that is not there yet, whole or not at all.
pub(super) fn into_new_file(path: &Path, octets: &[u8]) -> Result<(), Failure> {
    let mut part = part();
    // Proofs are for others to read, as far as the process allows.
    part.permissions(std::fs::Permissions::from_mode(0o644));
    let mut beside = part.tempfile_in(parent(path)).map_err(|error| not_made(path, &error))?;
    beside.write_all(octets).map_err(|error| not_made(path, &error))?;
    named(beside, path)
}

/// Gives a file that is whole its name.
fn named(beside: NamedTempFile, path: &Path) -> Result<(), Failure> {
    beside.as_file().sync_all().map_err(|error| not_made(path, &error))?;
    beside.persist_noclobber(path).map_err(|error| match error.error.kind() {
        io::ErrorKind::AlreadyExists => taken(path),
        _ => not_made(path, &error.error),
    })?;
    synced(parent(path)).map_err(|error| not_made(path, &error))
}

/// Makes the names in a folder durable.
pub(super) fn synced(folder: &Path) -> io::Result<()> {
    std::fs::File::open(folder)?.sync_all()
}

/// What has the name until the export is whole.
pub(super) fn part() -> tempfile::Builder<'static, 'static> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".ceralacca-").suffix(".part");
    builder
}

/// The folder that a path is in.
pub(super) fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."))
}

pub(super) fn not_made(path: &Path, error: &io::Error) -> Failure {
    Failure::failed(Text::filled(
        format!("{} non si scrive ({error})", path.display()),
        format!("{} cannot be written ({error})", path.display()),
    ))
}

pub(super) fn taken(path: &Path) -> Failure {
    Failure::conflict(Text::filled(
        format!("{} c'è già: scegliere un altro nome", path.display()),
        format!("{} is there already: choose another name", path.display()),
    ))
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
    if let Some(digest) = &done.sha256 {
        output.note(&Text::filled(
            format!("SHA-256 del file: {digest}"),
            format!("SHA-256 of the file: {digest}"),
        ));
    }
}

/// Fails when messages are missing in what was exported.
fn refuse_unreadable(
    output: &Output,
    request: &SnapshotExport,
    done: &ExportOutcome,
) -> Result<(), Failure> {
    let unreadable = done.unreadable;
    if unreadable == 0 {
        return Ok(());
    }
    if !request.is_one_mbox() {
        return Err(Failure::failed(Text::filled(
            format!("{unreadable} messaggi non si leggono: index.csv dice perché"),
            format!("{unreadable} messages cannot be read: index.csv says why"),
        )));
    }
    for one in &done.first_unreadable {
        let (why, language) = (snapshots::trouble(&one.reason), output.language());
        output.note(&Text::filled(
            format!("{} UID {}: {}", one.mailbox, one.uid, why.get(language)),
            format!("{} UID {}: {}", one.mailbox, one.uid, one.reason),
        ));
    }
    Err(Failure::failed(Text::filled(
        format!("{unreadable} messaggi non si leggono e mancano nel file"),
        format!("{unreadable} messages cannot be read and are missing in the file"),
    )))
}
