//! fetchmail over IMAP and POP3: what it keeps, what it remembers, what it deletes, and every octet that it hands on.
//!
//! It hands lines on with LF only, ends the last one, and breaks a line above 8,191 octets, where two octets of its
//! own memory slip in.

use std::{collections::BTreeMap, os::unix::fs::PermissionsExt as _, process::Command};

use crate::{
    provider::{ANNA, BRUNO, PASSWORD, Printed, Provider, run},
    samples::{Octets, name_of},
};

/// A line that is longer is broken here.
const LINE_MAX: usize = 8_191;

/// One poll of fetchmail: `server` stands before the user's settings, `user` among them.
fn fetchmail(provider: &Provider, address: &str, server: &str, user: &str, out: &str) -> Printed {
    let folder = provider.folder.join(out);
    std::fs::create_dir_all(&folder).unwrap();
    let configuration = format!(
        "poll localhost {server} auth password user \"{address}\" password \"{PASSWORD}\" {user} \
         sslcertck sslcertfile \"{authority}\" mda \"cat > $(mktemp {folder}/XXXXXX)\"\n",
        authority = provider.own_authority().display(),
        folder = folder.display(),
    );
    let file = provider.file("fetchmailrc", &configuration);
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let mut command = Command::new("fetchmail");
    command.args(["--nosyslog", "--nodetach", "--norewrite", "--invisible"]);
    command.arg("--idfile").arg(provider.folder.join("seen")).arg("-f").arg(file);
    // Root's would be one for the whole machine.
    command.arg("--pidfile").arg(provider.folder.join("fetchmail.pid"));
    command.env("FETCHMAILHOME", &provider.folder);
    run(command)
}

/// What the polls into `out` handed on so far, by the names of samples.
fn fetched(provider: &Provider, out: &str) -> BTreeMap<String, Octets> {
    let mut messages = BTreeMap::new();
    for entry in std::fs::read_dir(provider.folder.join(out)).unwrap() {
        let octets = std::fs::read(entry.unwrap().path()).unwrap();
        let name = name_of(&octets);
        assert!(messages.insert(name.clone(), Octets(octets)).is_none(), "{name} twice in {out}");
    }
    // The two octets of its memory are nobody's message.
    if let Some(long) = messages.get_mut("righe-lunghe") {
        let begin = long.0.windows(2).position(|pair| pair == b"\n\n").expect("a body") + 2;
        assert_eq!(long.0[begin + LINE_MAX + 2], b'\n');
        long.0.drain(begin + LINE_MAX..begin + LINE_MAX + 3);
    }
    messages
}

fn as_fetchmail_writes(samples: &BTreeMap<String, Octets>) -> BTreeMap<String, Octets> {
    let written = samples.iter().map(|(name, octets)| {
        let mut octets = octets.with_lf();
        if octets.0.last() != Some(&b'\n') {
            octets.0.push(b'\n');
        }
        (name.clone(), octets)
    });
    written.collect()
}

/// Over IMAP what is kept becomes \Seen, and what is \Seen is not fetched again.
#[test]
fn fetchmail_over_imap_keeps_what_it_marks_and_deletes_what_it_takes() {
    let provider = Provider::start();
    let before = provider.put_samples(BRUNO, "INBOX", "$Importante");
    let expected = as_fetchmail_writes(&provider.samples());
    let imaps = format!("protocol imap port {}", provider.ports.imaps);
    let kept = fetchmail(&provider, BRUNO, &imaps, "ssl keep", "kept");
    assert_eq!(kept.status, 0, "{}{}", kept.text, kept.complaint);
    assert_eq!(fetched(&provider, "kept"), expected);
    let again = fetchmail(&provider, BRUNO, &imaps, "ssl keep", "kept");
    // PS_NOMAIL
    assert_eq!(again.status, 1, "{}{}", again.text, again.complaint);
    assert_eq!(fetched(&provider, "kept"), expected);
    let mut marked = before;
    for message in marked.get_mut("INBOX").unwrap().messages.values_mut() {
        message.flags.insert("\\Seen".into());
    }
    assert_eq!(provider.view(BRUNO, &[]), marked);

    // STARTTLS; only what is new, which then goes.
    provider.view(BRUNO, &["delete INBOX punti", "put INBOX punti"]);
    let imap = format!("protocol imap port {}", provider.ports.imap);
    let new = fetchmail(&provider, BRUNO, &imap, "sslproto \"TLS1.2+\"", "new");
    assert_eq!(new.status, 0, "{}{}", new.text, new.complaint);
    let punti = BTreeMap::from([("punti".to_owned(), expected["punti"].clone())]);
    assert_eq!(fetched(&provider, "new"), punti);
    marked.get_mut("INBOX").unwrap().messages.remove("punti");
    assert_eq!(provider.view(BRUNO, &[]), marked, "the others stay");
    let all = fetchmail(&provider, BRUNO, &imap, "sslproto \"TLS1.2+\" fetchall", "all");
    assert_eq!(all.status, 0, "{}{}", all.text, all.complaint);
    let mut others = expected;
    others.remove("punti");
    assert_eq!(fetched(&provider, "all"), others);
    assert!(provider.view(BRUNO, &[])["INBOX"].messages.is_empty());
}

/// Over POP3 it remembers names (UIDL): through another door, and after a deletion, they are the same.
#[test]
fn fetchmail_over_pop3_fetches_only_what_it_has_not_seen() {
    let provider = Provider::start();
    provider.put_samples(ANNA, "INBOX", "");
    let expected = as_fetchmail_writes(&provider.samples());
    let pop3s = format!("protocol pop3 port {} uidl", provider.ports.pop3s);
    let pop3 = format!("protocol pop3 port {} uidl", provider.ports.pop3);
    let kept = fetchmail(&provider, ANNA, &pop3s, "ssl keep", "kept");
    assert_eq!(kept.status, 0, "{}{}", kept.text, kept.complaint);
    assert_eq!(fetched(&provider, "kept"), expected);

    provider.view(ANNA, &["delete INBOX semplice", "delete INBOX otto-bit", "put INBOX semplice"]);
    let new = fetchmail(&provider, ANNA, &pop3, "sslproto \"TLS1.2+\" keep", "new");
    assert_eq!(new.status, 0, "{}{}", new.text, new.complaint);
    let semplice = BTreeMap::from([("semplice".to_owned(), expected["semplice"].clone())]);
    assert_eq!(fetched(&provider, "new"), semplice);
    let again = fetchmail(&provider, ANNA, &pop3s, "ssl keep", "new");
    assert_eq!(again.status, 1, "{}{}", again.text, again.complaint);

    let all = fetchmail(&provider, ANNA, &pop3, "sslproto \"TLS1.2+\" fetchall", "all");
    assert_eq!(all.status, 0, "{}{}", all.text, all.complaint);
    let mut others = expected;
    others.remove("otto-bit");
    assert_eq!(fetched(&provider, "all"), others);
    assert!(provider.view(ANNA, &[])["INBOX"].messages.is_empty());
}
