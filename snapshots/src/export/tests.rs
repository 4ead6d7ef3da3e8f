//! Exports read back by the programs that will read them.

use std::{io::Write as _, path::Path, process::Command};

use storage::{
    account::erase::EraseRequest, catalog::engine::Batch, mailbox::flags::Flags,
    mailbox::view::MailboxView as _, octets::ErasureReason, summary::Envelope,
};

use super::{
    Asked, ExportError, Exported, Format, PIECE, Sink, ZIP_MESSAGES_MAX, container::Container,
    export, fits,
};
use crate::{
    error::SnapshotError,
    keep::{
        open::OpenSnapshot,
        tests::house::{ANNA, House, INBOX, MORNING, message, small, uid},
    },
    restore::job::Scope,
};

#[derive(Default)]
struct Octets(Vec<u8>);

#[async_trait::async_trait]
impl Sink for Octets {
    async fn write(&mut self, octets: Vec<u8>) -> std::io::Result<()> {
        assert!(octets.len() <= PIECE, "{} octets at once", octets.len());
        self.0.extend_from_slice(&octets);
        Ok(())
    }

    fn progress(&mut self, _done: u64, _total: u64) -> bool {
        true
    }
}

/// A name that is long in characters and longer in octets, of two levels.
fn long_name() -> String {
    format!("Società {}/{}", "è".repeat(100), "x".repeat(120))
}

/// Messages in three mailboxes, one of which is erased.
async fn house() -> (House, std::sync::Arc<OpenSnapshot>) {
    let (house, anna) = House::new(small()).await;
    let other = anna.create_mailbox("Società: dati/2026", None).await.expect("create");
    let long = anna.create_mailbox(&long_name(), None).await.expect("create");
    anna.create_mailbox("Vuota/Dentro", None).await.expect("create");
    house.fill(INBOX, 1..6).await;
    house.fill(other, 6..9).await;
    house.fill(long, 9..10).await;
    house.flag(INBOX, &[uid(2)], Flags { seen: true, answered: true, ..Flags::default() }).await;
    house.take().await;
    let open = house.snapshots.open(ANNA, 1).await.expect("open");
    let row = crate::restore::step_one(&open, INBOX, uid(3)).await;
    let request = EraseRequest {
        email_number: row.email_number,
        reason: ErasureReason::Other,
        envelope: Envelope::default(),
        also: Batch::default(),
    };
    anna.erase(request).await.expect("erase");
    (house, open)
}

async fn exported(scope: &Scope, format: Format, to: &Path) -> Result<Exported, ExportError> {
    let (house, open) = house().await;
    let readme = |done: &Exported| format!("Messaggi: {}\r\n", done.messages);
    let missing = |reason: &str| format!("manca: {reason}");
    let asked = Asked { scope, format, readme: &readme, missing: &missing };
    let mut octets = Octets::default();
    let done = export(&house.store, &open, asked, &mut octets).await;
    std::fs::write(to, &octets.0).expect("write");
    done
}

fn run(folder: &Path, program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).current_dir(folder).output();
    let output = output.expect(program);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{program}: {text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    text
}

async fn unpacked(format: Format, with: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let done = exported(&Scope::default(), format, &folder.path().join("out")).await;
    let done = done.expect("an export");
    assert_eq!((done.messages, done.unreadable, done.cut_short), (8, 1, false));
    let (mailbox, number, reason) = &done.first_unreadable[0];
    assert_eq!((mailbox.as_str(), *number, done.first_unreadable.len()), ("INBOX", uid(3), 1));
    assert!(reason.contains("was erased"), "{reason}");
    let unpack = match with {
        "tar" => ["tar", "xf", "out"].to_vec(),
        _ => ["python3", "-m", "zipfile", "-e", "out", "."].to_vec(),
    };
    if with == "zip" {
        run(folder.path(), "unzip", &["-tqq", "out"]);
    }
    run(folder.path(), unpack[0], &unpack[1..]);
    run(folder.path(), "sha256sum", &["-c", "--strict", "--quiet", "SHA256SUMS"]);
    let index = std::fs::read_to_string(folder.path().join("index.csv")).expect("the index");
    assert_eq!(index.lines().count(), 10, "{index}");
    let readme = std::fs::read_to_string(folder.path().join("LEGGIMI.txt")).expect("the text");
    assert_eq!(readme, "Messaggi: 8\r\n");
    let erased = index.lines().find(|line| line.starts_with("INBOX,3,")).expect("its line");
    assert!(erased.contains(",,manca: ") && erased.contains("was erased"), "{erased}");
    assert!(index.contains("INBOX,2,\\Seen \\Answered,2026-11-"), "{index}");
    folder
}

#[tokio::test]
async fn a_tar_and_a_zip_unpack_and_their_sums_are_right() {
    for (format, with) in [(Format::Tar, "tar"), (Format::Zip, "zip")] {
        let folder = unpacked(format, with).await;
        let eml = folder.path().join("Società_ dati/2026/0000000002.eml");
        let eml = std::fs::read(eml).expect("the message");
        assert_eq!(eml, message(7), "{format:?}");
        assert!(!folder.path().join("INBOX/0000000003.eml").exists());
        assert!(folder.path().join("Vuota/Dentro").is_dir(), "an empty mailbox has a folder");
        let long = format!("Società {}/{}/0000000001.eml", "è".repeat(72), "x".repeat(80));
        let eml = std::fs::read(folder.path().join(long)).expect("the message");
        assert_eq!(eml, message(9), "{format:?}");
    }
}

#[tokio::test]
async fn python_reads_the_maildir_and_the_mboxes() {
    let folder = unpacked(Format::Maildir, "tar").await;
    let script = "import mailbox\nbox=mailbox.Maildir('.',create=False)\n\
        print(len(box), sorted(m.get_flags() for m in box)[-1], \
        {f: len(box.get_folder(f)) for f in sorted(box.list_folders()) if len(box.get_folder(f))})";
    let read = run(folder.path(), "python3", &["-c", script]);
    // The mailbox above it has the same beginning.
    let long = format!("Società {}~2", "è".repeat(55));
    assert_eq!(read.trim(), format!("4 RS {{'{long}': 1, 'Società_ dati.2026': 3}}"));
    assert!(folder.path().join(".Società_ dati.2026/maildirfolder").exists());
    let folder = unpacked(Format::Mbox, "zip").await;
    let script = "import mailbox\nbox=mailbox.mbox('INBOX.mbox',create=False)\n\
        print(len(box), box[3]['Subject'], len(mailbox.mbox('Società_ dati/2026.mbox')))";
    assert_eq!(run(folder.path(), "python3", &["-c", script]).trim(), "4 numero 5 3");
}

#[tokio::test]
async fn one_mailbox_is_one_mbox_that_python_reads() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("INBOX.mbox");
    let scope = Scope { mailbox: Some(INBOX), ..Scope::default() };
    let done = exported(&scope, Format::OneMbox, &path).await.expect("an export");
    assert_eq!((done.messages, done.unreadable), (4, 1));
    let script = "import mailbox\nbox=mailbox.mbox('INBOX.mbox',create=False)\n\
        print([m['Subject'] for m in box], box[3].get_payload())";
    let read = run(folder.path(), "python3", &["-c", script]);
    assert_eq!(
        read.trim(),
        "['numero 1', 'numero 2', 'numero 4', 'numero 5'] Testo del messaggio 5."
    );
    let one = Scope { uid: Some(uid(5)), ..scope };
    exported(&one, Format::OneMbox, &path).await.expect("an export");
    let script = "import mailbox\nprint(len(mailbox.mbox('INBOX.mbox',create=False)))";
    assert_eq!(run(folder.path(), "python3", &["-c", script]).trim(), "1");
    let absent = Scope { uid: Some(uid(999)), ..one };
    for format in [Format::OneMbox, Format::Tar, Format::Zip, Format::Maildir] {
        let refused = exported(&absent, format, &path).await;
        let refused = refused.expect_err("there is no such message");
        assert!(matches!(refused, ExportError::Snapshot(SnapshotError::NotPresent)), "{refused:?}");
        assert_eq!(std::fs::read(&path).expect("the file"), b"", "nothing was written");
    }
    let many = exported(&Scope::default(), Format::OneMbox, &path).await;
    assert!(many.is_err(), "several mailboxes are not one mbox");
}

#[tokio::test]
async fn mbsync_takes_the_maildir_over() {
    let folder = unpacked(Format::Maildir, "tar").await;
    let at = folder.path().display();
    let config = format!(
        "MaildirStore from\nInbox {at}\nSubFolders Maildir++\n\n\
         MaildirStore to\nPath {at}/to/\nInbox {at}/to/INBOX\nSubFolders Verbatim\n\n\
         Channel all\nFar :from:\nNear :to:\nPatterns *\nCreate Near\nSync Pull New\nSyncState {at}/state/\n"
    );
    std::fs::create_dir_all(folder.path().join("to")).expect("a folder");
    std::fs::create_dir_all(folder.path().join("state")).expect("a folder");
    std::fs::write(folder.path().join("mbsyncrc"), config).expect("written");
    run(folder.path(), "mbsync", &["-c", "mbsyncrc", "all"]);
    let count = |path: &str| {
        let entries = std::fs::read_dir(folder.path().join("to").join(path)).expect(path);
        entries.count()
    };
    let both = |path: &str| count(&format!("{path}/cur")) + count(&format!("{path}/new"));
    assert_eq!((both("INBOX"), both("Società_ dati/2026")), (4, 3));
    // Flags come with the names.
    let seen = std::fs::read_dir(folder.path().join("to/INBOX/cur")).expect("cur");
    let names = seen.map(|one| one.expect("one").file_name().to_string_lossy().into_owned());
    assert_eq!(names.filter(|name| name.ends_with(":2,RS")).count(), 1);
}

#[tokio::test]
async fn the_list_at_the_end_of_a_zip_goes_out_in_pieces_and_one_that_is_too_long_is_refused() {
    let (house, anna) = House::new(small()).await;
    house.append(INBOX, 1).await;
    let inbox = anna.mailbox(INBOX).await.expect("INBOX");
    for count in (0..12).map(|power| 1 << power) {
        let uids: Vec<_> = (1..=count).map(uid).collect();
        inbox.copy(&uids, INBOX).await.expect("copy");
    }
    house.take().await;
    let open = house.snapshots.open(ANNA, 1).await.expect("open");
    let (readme, mut octets) = (|_: &Exported| String::new(), Octets::default());
    let missing = str::to_owned;
    let (scope, format) = (&Scope::default(), Format::Zip);
    let asked = Asked { scope, format, readme: &readme, missing: &missing };
    let done = export(&house.store, &open, asked, &mut octets).await.expect("an export");
    assert_eq!(done.messages, 4_096);
    assert!(octets.0.len() > 2 * PIECE);
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("out.zip"), &octets.0).expect("write");
    run(folder.path(), "unzip", &["-tqq", "out.zip"]);

    let refused = fits(Format::Zip, ZIP_MESSAGES_MAX + 1);
    assert!(matches!(refused, Err(ExportError::TooManyForZip(500_001))), "{refused:?}");
    fits(Format::Zip, ZIP_MESSAGES_MAX).expect("as many as fit");
    fits(Format::Tar, ZIP_MESSAGES_MAX + 1).expect("a tar has no list");
}

/// Writes what the container has so far.
fn drained(container: &mut Container, file: &mut std::fs::File) {
    file.write_all(&container.take()).expect("written");
}

/// What Python prints of `out.zip`, as `z`; unzip finds it whole, too.
fn read_back(folder: &Path, printed: &str) -> String {
    let script = format!("import zipfile\nz=zipfile.ZipFile('out.zip')\nprint({printed})");
    let read = run(folder, "python3", &["-c", &script]);
    run(folder, "unzip", &["-tqq", "out.zip"]);
    read.trim().to_owned()
}

#[test]
fn a_zip_of_more_files_than_65_535_is_read_by_python_and_unzip() {
    const FILES: usize = 65_540;
    let folder = tempfile::tempdir().expect("a folder");
    let mut file = std::fs::File::create(folder.path().join("out.zip")).expect("a file");
    let mut container = Container::zip();
    for number in 0..FILES {
        let octets = number.to_string();
        let path = format!("INBOX/{number:010}.eml");
        container.begin(&path, Some(octets.len() as u64), MORNING).expect("begin");
        container.put(octets.as_bytes()).expect("put");
        container.end();
        if number % 1_000 == 0 {
            drained(&mut container, &mut file);
        }
    }
    container.finish().expect("finish");
    drained(&mut container, &mut file);
    let printed = "len(z.namelist()), z.testzip(), z.read(z.namelist()[-1]).decode()";
    assert_eq!(read_back(folder.path(), printed), format!("{FILES} None {}", FILES - 1));
}

#[test]
fn a_file_beyond_4_gib_in_a_zip_is_read_by_python_and_unzip() {
    const PIECES: u64 = 4_200;
    let folder = tempfile::tempdir().expect("a folder");
    let mut file = std::fs::File::create(folder.path().join("out.zip")).expect("a file");
    let mut container = Container::zip();
    let piece = vec![b'x'; 1 << 20];
    container.begin("INBOX.mbox", None, MORNING).expect("begin");
    for _ in 0..PIECES {
        container.put(&piece).expect("put");
        drained(&mut container, &mut file);
    }
    container.end();
    container.finish().expect("finish");
    drained(&mut container, &mut file);
    let read = read_back(folder.path(), "z.infolist()[0].file_size >> 20, z.testzip()");
    assert_eq!(read, format!("{PIECES} None"));
}

#[test]
#[ignore = "writes a file of 4.5 GB"]
fn a_zip_beyond_4_gib_is_read_by_python_and_unzip() {
    const FILES: u64 = 45;
    const MEGABYTES: u64 = 100;
    let folder = tempfile::tempdir().expect("a folder");
    let mut file = std::fs::File::create(folder.path().join("out.zip")).expect("a file");
    let mut container = Container::zip();
    // Deflate looks back 32 KiB: to it this never repeats, nor can it be made smaller.
    let mut state = 88_172_645_463_325_252_u64;
    let piece: Vec<u8> = (0..1 << 17)
        .flat_map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        })
        .collect();
    for number in 0..FILES {
        let octets = (piece.len() as u64) * MEGABYTES;
        container.begin(&format!("{number}.eml"), Some(octets), MORNING).expect("begin");
        for _ in 0..MEGABYTES {
            container.put(&piece).expect("put");
            drained(&mut container, &mut file);
        }
        container.end();
    }
    container.finish().expect("finish");
    drained(&mut container, &mut file);
    let printed = "len(z.infolist()), z.infolist()[-1].header_offset > 1 << 32, z.testzip()";
    assert_eq!(read_back(folder.path(), printed), "45 True None");
}
