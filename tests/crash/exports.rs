//! Exports of snapshots into files and folders, compared with what a mail client read; one is cut off.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use serde_json::Value;

use crate::{
    restores::House,
    support::{run, wait_until},
};

/// What Python's `mailbox` finds in a Maildir: for each folder Message-ID, SHA-256, letters of flags and date.
const READ: &str = r#"
import email, hashlib, json, mailbox, os, sys, time
def rows(box):
    found = []
    for key in box.iterkeys():
        octets = box.get_bytes(key)
        message = box.get_message(key)
        stamp = time.strftime("%d-%b-%Y %H:%M:%S +0000", time.gmtime(message.get_date()))
        found.append([message["Message-ID"], hashlib.sha256(octets).hexdigest(), message.get_flags(), stamp])
    return sorted(found)
box = mailbox.Maildir(sys.argv[1], create=False)
print(json.dumps({"INBOX": rows(box), **{name: rows(box.get_folder(name)) for name in box.list_folders()}}))
"#;

fn python(script: &str, argument: &Path) -> String {
    let mut command = Command::new("python3");
    command.args(["-c", script]).arg(argument);
    let output = run(command, "");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// The flags of IMAP as the letters of a Maildir.
fn letters(flags: &str) -> String {
    let names = [("\\Flagged", 'F'), ("$Forwarded", 'P'), ("\\Answered", 'R'), ("\\Seen", 'S')];
    let set = names.iter().filter(|(name, _)| flags.split(' ').any(|flag| flag == *name));
    set.map(|(_, letter)| *letter).collect()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("a folder");
    let mut names: Vec<String> =
        entries.map(|one| one.expect("one").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn sums_are_right(folder: &Path) {
    let mut command = Command::new("sha256sum");
    command.args(["-c", "--strict", "--quiet", "SHA256SUMS"]).current_dir(folder);
    let output = run(command, "");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn an_export_into_a_folder_or_a_file_is_what_the_client_reads() {
    let house = House::new("[snapshots]\nenabled = false\n");
    house.client(&["fill", "INBOX", "0", "24"]);
    house.client(&["fill", "Clienti", "24", "10"]);
    house.client(&["fill", "Clienti/Rossi", "34", "6"]);
    house.snapshot(&["take"]);
    let shown = house.shown();
    let place = tempfile::tempdir().expect("a folder");
    let path = |name: &str| place.path().join(name).to_str().expect("UTF-8").to_owned();
    let export = |words: &[&str]| house.snapshot(&[&["export", "latest"][..], words].concat());

    let done = export(&["--format", "maildir", "--to", &path("Maildir")]);
    assert_eq!((&done["messages"], &done["unreadable"]), (&40.into(), &0.into()), "{done}");
    sums_are_right(&place.path().join("Maildir"));
    let read: Value =
        serde_json::from_str(&python(READ, &place.path().join("Maildir"))).expect("JSON");
    for (mailbox, folder) in
        [("INBOX", "INBOX"), ("Clienti", "Clienti"), ("Clienti/Rossi", "Clienti.Rossi")]
    {
        let wanted: Vec<_> = shown[mailbox]
            .iter()
            .map(|row| [row[0].clone(), row[1].clone(), letters(&row[2]), row[3].clone()])
            .collect();
        assert_eq!(read[folder], serde_json::to_value(wanted).expect("JSON"), "{mailbox}");
    }
    let readme = std::fs::read_to_string(place.path().join("Maildir/LEGGIMI.txt")).expect("a text");
    assert!(readme.starts_with("ESPORTAZIONE") && readme.contains(&house.anna), "{readme}");

    let done = export(&["--format", "zip", "--out", &path("casella.zip")]);
    let sum = std::fs::read(place.path().join("casella.zip")).expect("the file");
    let digest = trust::digest::Sha256Digest::of(&sum).to_string();
    assert_eq!(done["sha256"], digest.as_str());
    let one =
        ["--mailbox", "Clienti", "--only", "--format", "mbox", "--out", &path("Clienti.mbox")];
    assert_eq!(export(&one)["messages"], 10);
    let count = "import mailbox, sys; print(len(mailbox.mbox(sys.argv[1], create=False)))";
    assert_eq!(python(count, &place.path().join("Clienti.mbox")).trim(), "10");

    // Nothing is replaced, and what makes no sense is refused before anything is read.
    for (words, code) in [
        (&["--format", "zip", "--out", &path("casella.zip")][..], 4),
        (&["--format", "maildir", "--to", &path("Maildir")], 4),
        (&["--format", "zip", "--to", &path("altro")], 2),
        (&["--format", "mbox", "--out", &path("tutto.mbox")], 2),
        (&["--format", "zip"], 2),
    ] {
        let words = [&["snapshot", "export", &house.anna, "latest"][..], words].concat();
        assert_eq!(house.provider.run(&words, "").status.code(), Some(code), "{words:?}");
    }
    assert_eq!(names(place.path()), ["Clienti.mbox", "Maildir", "casella.zip"]);
    house.end_soundly();
}

#[test]
fn an_export_whose_server_is_killed_leaves_nothing_that_looks_whole() {
    let mut house = House::new("[snapshots]\nenabled = false\n");
    house.client(&["large", "Allegati", "4000000", "100"]);
    house.snapshot(&["take"]);
    for (format, target, name) in [("tar", "--out", "casella.tar"), ("maildir", "--to", "Maildir")]
    {
        let place = tempfile::tempdir().expect("a folder");
        let path = place.path().join(name);
        let mut command = house.provider.command(&["snapshot", "export", &house.anna, "latest"]);
        command.args(["--format", format, target]).arg(&path);
        let mut export =
            command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it starts");
        wait_until("the export has begun", || octets(place.path()) > 8 << 20);
        house.provider.kill();
        let status = export.wait().expect("it ends");
        assert_eq!(status.code(), Some(75), "the server is gone: try again");
        assert_eq!(names(place.path()), [""; 0], "{format}");
        house.provider.start();
    }
    house.end_soundly();
}

/// Octets of everything in a folder.
fn octets(folder: &Path) -> u64 {
    let mut total = 0;
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    for entry in entries.flatten() {
        // What is looked at may be gone already.
        total += match entry.metadata() {
            Ok(about) if about.is_dir() => octets(&entry.path()),
            Ok(about) => about.len(),
            Err(_) => 0,
        };
    }
    total
}
