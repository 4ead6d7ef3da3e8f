//! curl as a mail program: it uploads, reads, searches and gives commands of its own, in the clear with STARTTLS or STLS
//! and under TLS.

use std::collections::BTreeMap;

use crate::{
    provider::{ANNA, PASSWORD, Provider},
    samples::Octets,
};

impl Provider {
    /// One run of curl as Anna with TLS required; it must succeed. What it printed.
    fn transfer(&self, arguments: &[&str]) -> String {
        let done = self.curl(ANNA, PASSWORD, &[&["--ssl-reqd"], arguments].concat());
        assert_eq!(done.status, 0, "{arguments:?}: {}", done.complaint);
        done.text
    }

    /// Reads the addresses in one session; their octets.
    fn read_all(&self, urls: impl Iterator<Item = String>) -> Vec<Octets> {
        let folder = self.folder.join("read");
        std::fs::create_dir_all(&folder).unwrap();
        let (mut arguments, mut files) = (Vec::new(), Vec::new());
        for (number, url) in urls.enumerate() {
            files.push(folder.join(number.to_string()));
            arguments.extend(["--url".to_owned(), url, "--output".to_owned()]);
            arguments.push(files[number].display().to_string());
        }
        self.transfer(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        files.iter().map(|file| Octets(std::fs::read(file).unwrap())).collect()
    }
}

#[test]
fn curl_uploads_reads_searches_and_commands_through_every_door() {
    let provider = Provider::start();
    let samples = provider.samples();
    upload(&provider, &samples);
    read(&provider, &samples);
    search(&provider, &samples);
    command(&provider, &samples);
}

/// Half of the samples go up through each door, into a mailbox whose name curl is given in modified UTF-7.
fn upload(provider: &Provider, samples: &BTreeMap<String, Octets>) {
    provider.view(ANNA, &["make Pratiche/Città"]);
    let ports = provider.ports;
    let doors =
        [format!("imap://localhost:{}", ports.imap), format!("imaps://localhost:{}", ports.imaps)];
    for (number, name) in samples.keys().enumerate() {
        let file = provider.folder.join(format!("samples/{name}.eml")).display().to_string();
        for mailbox in ["INBOX", "Pratiche%2FCitt%26AOA-"] {
            let url = format!("{}/{mailbox}", doors[number % 2]);
            provider.transfer(&["--url", &url, "--upload-file", &file]);
        }
    }
    let view = provider.view(ANNA, &[]);
    for mailbox in ["INBOX", "Pratiche/Città"] {
        assert_eq!(&view[mailbox].octets(), samples, "{mailbox}");
        for message in view[mailbox].messages.values() {
            // curl gives this flag to what it uploads.
            assert!(message.flags.iter().eq(["\\Seen"]), "{:?}", message.flags);
        }
    }
}

fn read(provider: &Provider, samples: &BTreeMap<String, Octets>) {
    let ports = provider.ports;
    let numbers = || 1..=samples.len();
    let mailboxes = ["INBOX", "Pratiche%2FCitt%26AOA-"];
    for (door, mailbox) in [("imap", ports.imap), ("imaps", ports.imaps)].into_iter().zip(mailboxes)
    {
        let (scheme, port) = door;
        let urls = numbers().map(|uid| format!("{scheme}://localhost:{port}/{mailbox}/;UID={uid}"));
        assert!(provider.read_all(urls).iter().eq(samples.values()), "{scheme} {mailbox}");
    }
    for (scheme, port) in [("pop3", ports.pop3), ("pop3s", ports.pop3s)] {
        let urls = numbers().map(|number| format!("{scheme}://localhost:{port}/{number}"));
        for (read, (name, sample)) in provider.read_all(urls).iter().zip(samples) {
            // POP3 knows whole lines only (RFC 1939 §3).
            let end: &[u8] = if sample.0.ends_with(b"\r\n") { b"" } else { b"\r\n" };
            assert_eq!(read, &Octets([&sample.0, end].concat()), "{scheme} {name}");
        }
    }
    let sections =
        ["1;SECTION=HEADER.FIELDS%20(SUBJECT)", "2;SECTION=2.1.2", "1;SECTION=2;PARTIAL=76.10"];
    let urls =
        sections.iter().map(|uid| format!("imaps://localhost:{}/INBOX/;UID={uid}", ports.imaps));
    let [subject, inner, part] = provider.read_all(urls).try_into().unwrap();
    assert_eq!(subject.0, b"Subject: =?utf-8?q?Con_allegato_pi=C3=B9_grande?=\r\n\r\n");
    assert_eq!(inner.0, b"Due.\r\n", "a part of the message inside the message inside");
    assert_eq!((part.0.len(), &part.0[..2]), (10, &b"\r\n"[..]), "after the first line of base64");
}

/// The search in the address (RFC 5092 §6.2), and one as a command.
fn search(provider: &Provider, samples: &BTreeMap<String, Octets>) {
    let inbox = format!("imaps://localhost:{}/INBOX", provider.ports.imaps);
    let number = |name: &str| samples.keys().position(|key| key == name).unwrap() + 1;
    for (query, names) in [
        ("SUBJECT%20%22Senza%20fine%22", &["senza-fine"][..]),
        ("LARGER%20100000", &["allegato"]),
        ("CHARSET%20UTF-8%20SUBJECT%20%22pi%C3%B9%22", &["allegato", "otto-bit"]),
        ("BODY%20%22non%20base64%22", &[]),
        ("TEXT%20%22From%20qui%22", &["punti"]),
        ("HEADER%20X-Vuoto%20%22%22", &["rotto"]),
    ] {
        let found = provider.transfer(&["--url", &format!("{inbox}?{query}")]);
        let mut expected = vec!["* SEARCH".to_owned()];
        expected.extend(names.iter().map(|name| number(name).to_string()));
        assert_eq!(found.trim_end(), expected.join(" "), "{query}");
    }
}

fn command(provider: &Provider, samples: &BTreeMap<String, Octets>) {
    let imaps = format!("imaps://localhost:{}", provider.ports.imaps);
    let inbox = format!("{imaps}/INBOX");
    let say = |url: &str, request: &str| provider.transfer(&["--url", url, "--request", request]);
    let status = say(&imaps, "STATUS \"Pratiche/Citt&AOA-\" (MESSAGES UIDNEXT)");
    let count = samples.len();
    assert_eq!(
        status,
        format!("* STATUS Pratiche/Citt&AOA- (MESSAGES {count} UIDNEXT {})\r\n", count + 1)
    );
    let stored = say(&inbox, "UID STORE 3 -FLAGS.SILENT (\\Seen)");
    assert_eq!(stored, "");
    assert_eq!(say(&inbox, "UID SEARCH UNSEEN"), "* SEARCH 3\r\n");
    say(&inbox, "UID STORE 2,4 +FLAGS (\\Deleted $Importante)");
    let expunged = say(&inbox, "UID EXPUNGE 4");
    assert_eq!(expunged, "* 4 EXPUNGE\r\n");
    let copied = say(&inbox, "UID MOVE 2 Archivio");
    assert!(copied.contains("* 2 EXPUNGE\r\n"), "{copied}");
    let view = provider.view(ANNA, &[]);
    assert_eq!(view["INBOX"].messages.len(), count - 2);
    let moved = view["Archivio"].messages.values().next().unwrap();
    assert!(moved.flags.iter().eq(["$Importante", "\\Deleted", "\\Seen"]), "{:?}", moved.flags);
    assert_eq!(moved.octets, samples["annidato"]);
}
