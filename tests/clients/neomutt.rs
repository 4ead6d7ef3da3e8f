//! neomutt, driven by keys on a terminal: it reads, copies, saves, marks, deletes, and uploads from a Maildir.

use std::collections::BTreeMap;

use crate::{
    maildir::Maildirs,
    provider::{BRUNO, PASSWORD, Provider, run},
    reading::python_script,
    samples::{Octets, View},
};

/// Fields that neomutt puts into what it copies to and from files, flags, figures and keywords; into what it pipes,
/// keywords alone.
const OWN_FIELDS: [&[u8]; 5] =
    [b"Status: ", b"X-Status: ", b"Content-Length: ", b"Lines: ", b"Tags: "];

pub(crate) fn without_own_fields(octets: &Octets) -> Octets {
    let end = octets.0.windows(2).position(|pair| pair == b"\n\n").expect("a body") + 1;
    let (header, rest) = octets.0.split_at(end);
    let lines = header.split_inclusive(|octet| *octet == b'\n');
    let lines = lines.filter(|line| !OWN_FIELDS.iter().any(|field| line.starts_with(field)));
    Octets([&lines.flatten().copied().collect::<Vec<_>>(), rest].concat())
}

/// Runs neomutt on a mailbox and presses `keys`; no caches, no questions.
pub(crate) fn neomutt(provider: &Provider, server: &str, mailbox: &str, keys: &str) {
    let configuration = format!(
        "set imap_user = {BRUNO}\nset imap_pass = \"{PASSWORD}\"\nset folder = {server}\nset spoolfile = {mailbox}\n\
         set ssl_force_tls = yes\nset ssl_starttls = yes\nset ssl_ca_certificates_file = {authority}\n\
         set certificate_file = {authority}\nset header_cache = \"\"\nset message_cachedir = \"\"\n\
         set mbox_type = Maildir\nset charset = utf-8\nset pipe_decode = no\nset delete = yes\nset quit = yes\n\
         set move = no\nset mark_old = no\nset wait_key = no\nunset confirm_append confirm_create\n\
         push \"{keys}\"\n",
        authority = provider.own_authority().display(),
    );
    let file = provider.file("neomuttrc", &configuration);
    let mut command = python_script(provider, "terminal.py");
    command.args(["60", "neomutt", "-n", "-F"]).arg(file);
    command.env("TERM", "xterm").env("LANG", "C.UTF-8").env("HOME", &provider.folder);
    let done = run(command);
    assert_eq!(done.status, 0, "{}{}", done.text, done.complaint);
}

fn flags(view: &View, mailbox: &str, name: &str) -> Vec<String> {
    view[mailbox].messages[name].flags.iter().cloned().collect()
}

#[test]
fn neomutt_reads_copies_saves_marks_and_deletes_and_uploads_a_maildir() {
    let provider = Provider::start();
    let samples = provider.samples();
    provider.view(BRUNO, &["make Pratiche/Città"]);
    let before = provider.put_samples(BRUNO, "INBOX", "$Importante");
    let imaps = format!("imaps://localhost:{}/", provider.ports.imaps);
    let read = |name: &str| provider.folder.join(format!("piped-{name}"));
    let copied = Maildirs { root: provider.folder.join("copied"), separator: "/" };

    // A name here is in no other Message-ID.
    let mut keys = vec![
        "<tag-pattern>~i 'punti@|otto-bit@'<enter><tag-prefix><copy-message>=Pratiche/Città<enter>"
            .to_owned(),
    ];
    for name in samples.keys() {
        let pipe = format!("<pipe-message>cat > {}<enter>", read(name).display());
        let copy = format!("<copy-message>{}/all<enter>", copied.root.display());
        keys.push(format!("<limit>~i {name}@<enter>{pipe}{copy}"));
    }
    for (name, key) in [
        ("senza-fine", "<save-message>=Archivio<enter>"),
        ("rotto", "<delete-message>"),
        ("otto-bit", "<flag-message>"),
        ("annidato", "<set-flag>r"),
        ("semplice", "<display-message><exit>"),
    ] {
        keys.push(format!("<limit>~i {name}@<enter>{key}"));
    }
    keys.push("<limit>all<enter><sync-mailbox><quit>".to_owned());
    std::fs::create_dir(&copied.root).unwrap();
    neomutt(&provider, &imaps, "+INBOX", &keys.concat());
    for (name, sample) in &samples {
        let piped = Octets(std::fs::read(read(name)).unwrap());
        assert_eq!(without_own_fields(&piped), sample.with_lf(), "{name}");
        let (_, copy) = &copied.tree()["all"][name];
        assert_eq!(without_own_fields(copy), sample.with_lf(), "{name}");
    }
    let view = provider.view(BRUNO, &[]);
    changed_as_the_keys_said(&before, &view);
    uploads(&provider, &samples);
}

fn changed_as_the_keys_said(before: &View, view: &View) {
    let mut left = before["INBOX"].octets();
    let (saved, _) = (left.remove("senza-fine").unwrap(), left.remove("rotto").unwrap());
    assert_eq!(view["INBOX"].octets(), left);
    assert_eq!(view["Archivio"].octets(), BTreeMap::from([("senza-fine".to_owned(), saved)]));
    left.retain(|name, _| name == "punti" || name == "otto-bit");
    assert_eq!(view["Pratiche/Città"].octets(), left);
    assert_eq!(flags(view, "INBOX", "otto-bit"), ["$Importante", "\\Flagged"]);
    assert_eq!(flags(view, "INBOX", "annidato"), ["$Importante", "\\Answered", "\\Seen"]);
    assert_eq!(flags(view, "INBOX", "semplice"), ["$Importante", "\\Seen"]);
    assert_eq!(flags(view, "INBOX", "punti"), ["$Importante"], "what is only piped is not read");
    assert_eq!(flags(view, "Archivio", "senza-fine"), ["$Importante"]);
}

/// From a Maildir, after STARTTLS.
fn uploads(provider: &Provider, samples: &BTreeMap<String, Octets>) {
    let local = Maildirs { root: provider.folder.join("local"), separator: "/" };
    local.make("all");
    for sample in samples.values() {
        local.put("all", sample, "FS");
    }
    let imap = format!("imap://localhost:{}/", provider.ports.imap);
    let keys = "<tag-pattern>~A<enter><tag-prefix><copy-message>=Bozze<enter><quit>";
    neomutt(provider, &imap, &local.root.join("all").display().to_string(), keys);
    let view = provider.view(BRUNO, &[]);
    assert_eq!(view["Bozze"].messages.len(), samples.len());
    for (name, message) in &view["Bozze"].messages {
        assert_eq!(
            without_own_fields(&message.octets.with_lf()),
            samples[name].with_lf(),
            "{name}"
        );
        assert_eq!(flags(&view, "Bozze", name), ["\\Flagged", "\\Seen"]);
    }
}
