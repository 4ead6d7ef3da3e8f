//! Exports read back by the programs that will read them.

use std::{io::Write as _, path::Path, process::Command};

use storage::{
    account::erase::EraseRequest, catalog::engine::Batch, mailbox::flags::Flags,
    octets::ErasureReason, summary::Envelope,
};

use super::{Exported, Format, Sink, export};
use crate::{
    keep::tests::house::{ANNA, House, INBOX, small, uid},
    restore::job::Scope,
};

#[derive(Default)]
struct Octets(Vec<u8>);

#[async_trait::async_trait]
impl Sink for Octets {
    async fn write(&mut self, octets: Vec<u8>) -> std::io::Result<()> {
        self.0.extend_from_slice(&octets);
        Ok(())
    }

    fn progress(&mut self, _done: u64, _total: u64) -> bool {
        true
    }
}

/// Messages in two mailboxes, one of which is erased.
async fn exported(format: Format, to: &Path) -> Exported {
    let (house, anna) = House::new(small()).await;
    let other = anna.create_mailbox("Società: dati/2026", None).await.expect("create");
    house.fill(INBOX, 1..6).await;
    house.fill(other, 6..9).await;
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
    let mut octets = Octets::default();
    let done = export(&house.store, &open, &Scope::default(), format, &mut octets).await;
    std::fs::File::create(to).and_then(|mut file| file.write_all(&octets.0)).expect("write");
    done.expect("an export")
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
    let done = exported(format, &folder.path().join("out")).await;
    assert_eq!((done.messages, done.unreadable, done.cut_short), (7, 1, false));
    let unpack = match with {
        "tar" => ["tar", "xf", "out"].to_vec(),
        _ => ["python3", "-m", "zipfile", "-e", "out", "."].to_vec(),
    };
    run(folder.path(), unpack[0], &unpack[1..]);
    run(folder.path(), "sha256sum", &["-c", "--strict", "--quiet", "SHA256SUMS"]);
    let index = std::fs::read_to_string(folder.path().join("index.csv")).expect("the index");
    assert_eq!(index.lines().count(), 9, "{index}");
    let erased = index.lines().find(|line| line.starts_with("INBOX,3,")).expect("its line");
    assert!(erased.contains("was erased"), "{erased}");
    assert!(index.contains("INBOX,2,\\Seen \\Answered,2026-11-"), "{index}");
    folder
}

#[tokio::test]
async fn a_tar_and_a_zip_unpack_and_their_sums_are_right() {
    for (format, with) in [(Format::Tar, "tar"), (Format::Zip, "zip")] {
        let folder = unpacked(format, with).await;
        let eml = folder.path().join("Società_ dati/2026/0000000002.eml");
        let eml = std::fs::read(eml).expect("the message");
        assert_eq!(eml, crate::keep::tests::house::message(7), "{format:?}");
        assert!(!folder.path().join("INBOX/0000000003.eml").exists());
    }
}

#[tokio::test]
async fn python_reads_the_maildir_and_the_mboxes() {
    let folder = unpacked(Format::Maildir, "tar").await;
    let script = "import mailbox\nbox=mailbox.Maildir('.',create=False)\n\
        print(len(box), sorted(m.get_flags() for m in box)[-1], \
        {f: len(box.get_folder(f)) for f in sorted(box.list_folders()) if len(box.get_folder(f))})";
    let read = run(folder.path(), "python3", &["-c", script]);
    assert_eq!(read.trim(), "4 RS {'Società_ dati.2026': 3}");
    let folder = unpacked(Format::Mbox, "zip").await;
    let script = "import mailbox\nbox=mailbox.mbox('INBOX.mbox',create=False)\n\
        print(len(box), box[3]['Subject'], len(mailbox.mbox('Società_ dati/2026.mbox')))";
    assert_eq!(run(folder.path(), "python3", &["-c", script]).trim(), "4 numero 5 3");
}
