//! Reading: every client gets the same messages, octet for octet.

use std::{path::Path, process::Command};

use crate::provider::{ANNA, BRUNO, PASSWORD, Printed, Provider, run};

/// A provider in which Bruno has one transport envelope from Anna, sent by Python's smtplib.
pub(crate) fn with_an_envelope() -> Provider {
    let provider = Provider::start();
    let sent = python(&provider, "send");
    assert_eq!(sent.status, 0, "{}", sent.complaint);
    assert_eq!(provider.wait_for_messages(BRUNO, 1), 1);
    assert_eq!(provider.wait_for_messages(ANNA, 2), 2);
    provider
}

/// Runs `clients.py` in the environment that the bootstrap made.
pub(crate) fn python(provider: &Provider, what: &str) -> Printed {
    let mut command = python_script(provider, "clients.py");
    command.arg(what);
    run(command)
}

/// A script of this folder, with ports and accounts in its environment.
pub(crate) fn python_script(provider: &Provider, script: &str) -> Command {
    let python = std::env::var("CERALACCA_PYTHON").unwrap_or_else(|_| {
        let cache = std::env::var("XDG_CACHE_HOME")
            .unwrap_or_else(|_| format!("{}/.cache", std::env::var("HOME").unwrap_or_default()));
        format!("{cache}/ceralacca/python/bin/python3")
    });
    let mut command = Command::new(python);
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(script));
    provider.tell(&mut command);
    command
}

pub(crate) fn curl_reads(provider: &Provider) -> String {
    let url = format!("imaps://localhost:{}/INBOX/;UID=1", provider.ports.imaps);
    let read = provider.curl(BRUNO, PASSWORD, &["--url", &url]);
    assert_eq!(read.status, 0, "{}", read.complaint);
    assert!(read.text.contains("X-Trasporto: posta-certificata\r\n"));
    read.text
}

#[test]
fn curl_reads_the_same_octets_over_imap_and_pop3() {
    let provider = with_an_envelope();
    let url = format!("pop3s://localhost:{}/1", provider.ports.pop3s);
    let read = provider.curl(BRUNO, PASSWORD, &["--url", &url]);
    assert_eq!(read.text, curl_reads(&provider));
}

#[test]
fn pythons_libraries_list_search_flag_and_read() {
    let provider = with_an_envelope();
    let read = python(&provider, "read");
    assert_eq!(read.status, 0, "{}", read.complaint);
}

#[test]
fn fetchmail_fetches_over_pop3_and_deletes() {
    let provider = with_an_envelope();
    let expected = curl_reads(&provider);
    let folder = provider.folder.display();
    let configuration = format!(
        "poll localhost protocol pop3 port {port} auth password user \"{BRUNO}\" password \"{PASSWORD}\" \
         ssl sslcertck sslcertfile \"{authority}\" mda \"cat > {folder}/fetched\"\n",
        port = provider.ports.pop3s,
        authority = provider.own_authority().display(),
    );
    let file = provider.file("fetchmailrc", &configuration);
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let mut command = Command::new("fetchmail");
    command
        .args(["--nosyslog", "--nodetach", "--norewrite", "--invisible", "--all", "-f"])
        .arg(file);
    command.arg("--pidfile").arg(provider.folder.join("fetchmail.pid"));
    command.env("FETCHMAILHOME", &provider.folder);
    let fetched = run(command);
    assert_eq!(fetched.status, 0, "{}{}", fetched.text, fetched.complaint);
    let found = std::fs::read_to_string(provider.folder.join("fetched")).unwrap();
    // fetchmail hands lines to its delivery agent with LF only.
    assert!(found.trim_end().ends_with(expected.replace("\r\n", "\n").trim_end()));
    assert_eq!(provider.wait_for_messages(BRUNO, 0), 0, "fetched messages are deleted");
}

#[test]
fn mbsync_copies_a_mailbox_into_a_maildir() {
    let provider = with_an_envelope();
    let expected = curl_reads(&provider);
    let folder = provider.folder.display();
    let configuration = format!(
        "IMAPAccount bruno\nHost localhost\nPort {port}\nUser {BRUNO}\nPass \"{PASSWORD}\"\nSSLType IMAPS\n\
         CertificateFile {authority}\n\nIMAPStore far\nAccount bruno\n\nMaildirStore near\nPath {folder}/mail/\n\
         Inbox {folder}/mail/INBOX\n\nChannel bruno\nFar :far:\nNear :near:\nPatterns INBOX\nCreate Near\nSyncState *\n",
        port = provider.ports.imaps,
        authority = provider.own_authority().display(),
    );
    std::fs::create_dir(provider.folder.join("mail")).unwrap();
    let file = provider.file("mbsyncrc", &configuration);
    let mut command = Command::new("mbsync");
    command.arg("-c").arg(file).arg("--all");
    let synced = run(command);
    assert_eq!(synced.status, 0, "{}{}", synced.text, synced.complaint);
    let mut found = Vec::new();
    for part in ["new", "cur"] {
        let entries = std::fs::read_dir(provider.folder.join("mail/INBOX").join(part));
        found.extend(entries.unwrap().map(|entry| entry.unwrap().path()));
    }
    assert_eq!(found.len(), 1);
    let text = std::fs::read_to_string(&found[0]).unwrap();
    // mbsync keeps lines with LF only, and adds one field by which it finds its copy again.
    let copied: Vec<&str> = text.lines().filter(|line| !line.starts_with("X-TUID: ")).collect();
    assert_eq!(copied, expected.lines().collect::<Vec<_>>());
}
