//! The doors in the clear, where TLS begins in the middle (STARTTLS, STLS), and POP3 by clients of
//! others: what they read is what IMAP has, octet for octet.

use std::{os::unix::fs::PermissionsExt as _, process::Command};

use crate::{
    provider::{ANNA, BRUNO, PASSWORD, Printed, Provider, run},
    reading::{curl_reads, python_script, with_an_envelope},
};

impl Provider {
    /// curl with an address of its own and further arguments.
    fn curl_at(&self, url: &str, more: &[&str]) -> Printed {
        self.curl(BRUNO, PASSWORD, &[&["--url", url], more].concat())
    }
}

#[test]
fn curl_reads_the_same_octets_through_every_door() {
    let provider = with_an_envelope();
    let expected = curl_reads(&provider);
    let ports = provider.ports;
    let urls = [
        format!("imap://localhost:{}/INBOX/;UID=1", ports.imap),
        format!("pop3://localhost:{}/1", ports.pop3),
        format!("pop3s://localhost:{}/1", ports.pop3s),
    ];
    for url in &urls {
        let read = provider.curl_at(url, &["--ssl-reqd"]);
        assert_eq!(read.status, 0, "{url}: {}", read.complaint);
        assert_eq!(read.text, expected, "{url}");
        for mechanism in ["PLAIN", "SCRAM-SHA-256"] {
            let options = format!("AUTH={mechanism}");
            let read = provider.curl_at(url, &["--ssl-reqd", "--login-options", &options]);
            // curl without GNU SASL has no SCRAM, and says so itself.
            if read.status == 0 {
                assert_eq!(read.text, expected, "{url} {mechanism}");
            } else {
                assert_eq!((mechanism, read.status), ("SCRAM-SHA-256", 67), "{}", read.complaint);
            }
        }
    }
    let all = format!("pop3://localhost:{}/", ports.pop3);
    let listed = provider.curl_at(&all, &["--ssl-reqd"]);
    assert_eq!(listed.text, format!("1 {}\r\n", expected.len()));
    let unique = provider.curl_at(&all, &["--ssl-reqd", "--request", "UIDL"]);
    let again =
        provider.curl_at(&format!("pop3s://localhost:{}/", ports.pop3s), &["--request", "UIDL"]);
    assert!(unique.text.starts_with("1 ") && unique.text.len() > 4, "{}", unique.text);
    assert_eq!(unique.text, again.text);
    let top = provider.curl_at(&all, &["--ssl-reqd", "--request", "TOP 1 0"]);
    let header = expected.split_inclusive("\r\n\r\n").next().unwrap();
    assert_eq!(top.text, header);
}

#[test]
fn nobody_logs_in_in_the_clear() {
    let provider = Provider::start();
    let ports = provider.ports;
    for url in [
        format!("imap://localhost:{}/INBOX", ports.imap),
        format!("pop3://localhost:{}/", ports.pop3),
    ] {
        let refused = provider.curl_at(&url, &[]);
        // CURLE_LOGIN_DENIED
        assert_eq!(refused.status, 67, "{url}: {}{}", refused.text, refused.complaint);
        assert_eq!(provider.curl_at(&url, &["--ssl-reqd"]).status, 0, "{url}");
    }
}

#[test]
fn pythons_poplib_and_imaplib_work_through_every_door() {
    let provider = with_an_envelope();
    let done = run(python_script(&provider, "doors.py"));
    assert_eq!(done.status, 0, "{}", done.complaint);
    assert_eq!(provider.wait_for_messages(BRUNO, 0), 0, "poplib deletes the last one");
}

fn fetchmail(provider: &Provider, server: &str, file: &str, more: &[&str]) -> Printed {
    let configuration = format!(
        "poll localhost protocol pop3 {server} auth password user \"{ANNA}\" password \"{PASSWORD}\" \
         sslproto \"TLS1.2+\" sslcertck sslcertfile \"{authority}\" mda \"cat >> {folder}/{file}\"\n",
        authority = provider.own_authority().display(),
        folder = provider.folder.display(),
    );
    let file = provider.file(&format!("{file}.rc"), &configuration);
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let mut command = Command::new("fetchmail");
    command.args(["--nosyslog", "--nodetach", "--norewrite", "--invisible", "--nosoftbounce"]);
    command.args(more).arg("--idfile").arg(provider.folder.join("fetched-before"));
    command.arg("--pidfile").arg(provider.folder.join("fetchmail.pid"));
    command.arg("-f").arg(file);
    command.env("FETCHMAILHOME", &provider.folder);
    run(command)
}

/// Anna has two receipts. fetchmail keeps them, by UIDL takes none a second time, and deletes them
/// at last, over STLS and under TLS from the first octet.
#[test]
fn fetchmail_keeps_remembers_and_deletes_over_stls_and_under_tls() {
    let provider = with_an_envelope();
    let expected: Vec<String> = (1..=2)
        .map(|uid| {
            let url = format!("imaps://localhost:{}/INBOX/;UID={uid}", provider.ports.imaps);
            let read = provider.curl(ANNA, PASSWORD, &["--url", &url]);
            assert_eq!(read.status, 0, "{}", read.complaint);
            // fetchmail hands lines to its delivery agent with LF only.
            read.text.replace("\r\n", "\n")
        })
        .collect();
    let stls = format!("port {} uidl", provider.ports.pop3);
    let tls = format!("port {} uidl", provider.ports.pop3s);
    for (server, ssl, file) in [(&stls, None, "over-stls"), (&tls, Some("--ssl"), "under-tls")] {
        let arguments: Vec<&str> = ["--keep"].into_iter().chain(ssl).collect();
        let fetched = fetchmail(&provider, server, file, &arguments);
        assert_eq!(fetched.status, 0, "{file}: {}{}", fetched.text, fetched.complaint);
        let found = std::fs::read_to_string(provider.folder.join(file)).unwrap();
        for message in &expected {
            assert!(found.contains(message.trim_end()), "{file}");
        }
        let again = fetchmail(&provider, server, file, &arguments);
        // PS_NOMAIL: what was seen is not fetched again.
        assert_eq!(again.status, 1, "{file}: {}{}", again.text, again.complaint);
        assert_eq!(std::fs::read_to_string(provider.folder.join(file)).unwrap(), found);
        std::fs::remove_file(provider.folder.join("fetched-before")).unwrap();
    }
    let taken = fetchmail(&provider, &stls, "taken", &["--all"]);
    assert_eq!(taken.status, 0, "{}{}", taken.text, taken.complaint);
    let found = std::fs::read_to_string(provider.folder.join("taken")).unwrap();
    assert!(expected.iter().all(|message| found.contains(message.trim_end())));
    assert_eq!(provider.wait_for_messages(ANNA, 0), 0, "fetched messages are deleted");
}
