//! mbsync and offlineimap keep a Maildir and an account the same, while both sides change between their runs; a run
//! that has nothing to do changes nothing on either side.
//!
//! Both keep lines that end in LF only. mbsync knows no keywords, and adds a field to what it copies; what
//! offlineimap changes is said at its test.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
};

use crate::{
    maildir::{Maildirs, Tree},
    provider::{ANNA, BRUNO, PASSWORD, Provider, run},
    samples::{Octets, View, replaced},
};

/// A program between an account and a Maildir.
struct Synchroniser<'a> {
    provider: &'a Provider,
    address: &'static str,
    maildirs: Maildirs,
    run: Box<dyn Fn() + 'a>,
    /// The letters of keywords that it knows.
    keywords: &'static [(&'static str, char)],
    /// Takes out what it puts into its copies.
    cleaned: fn(&Octets) -> Octets,
}

/// A message as both sides have it: letters, and octets with LF.
type Both = BTreeMap<String, BTreeMap<String, (BTreeSet<char>, Octets)>>;

impl Synchroniser<'_> {
    fn far(&self, changes: &[&str]) -> View {
        self.provider.view(self.address, changes)
    }

    fn of_far(&self, view: &View) -> Both {
        let mut both = Both::new();
        for (mailbox, content) in view {
            let messages = content.messages.iter().map(|(name, message)| {
                let letter = |flag: &String| match flag.as_str() {
                    "\\Seen" => Some('S'),
                    "\\Answered" => Some('R'),
                    "\\Flagged" => Some('F'),
                    "\\Draft" => Some('D'),
                    "\\Deleted" => Some('T'),
                    other => self.keywords.iter().find(|one| one.0 == other).map(|one| one.1),
                };
                let letters = message.flags.iter().filter_map(letter).collect();
                (name.clone(), (letters, (self.cleaned)(&message.octets.with_lf())))
            });
            both.insert(mailbox.clone(), messages.collect());
        }
        both
    }

    fn of_near(&self, tree: &Tree) -> Both {
        let mut both = Both::new();
        for (mailbox, content) in tree {
            let messages = content.iter().map(|(name, (letters, octets))| {
                (name.clone(), (letters.chars().collect(), (self.cleaned)(octets)))
            });
            both.insert(mailbox.clone(), messages.collect());
        }
        both
    }

    /// Runs it; both sides are the same then. Runs it again; nothing changes.
    fn settle(&self) -> View {
        (self.run)();
        let (far, near) = (self.far(&[]), self.maildirs.files());
        assert_eq!(self.of_far(&far), self.of_near(&self.maildirs.tree()));
        (self.run)();
        assert_eq!(self.far(&[]), far, "the account after a run without anything to do");
        assert_eq!(self.maildirs.files(), near, "the Maildir after such a run");
        far
    }

    /// What both sides have, without octets.
    fn letters(&self, view: &View, mailbox: &str) -> BTreeMap<String, String> {
        let content = self.of_far(view).remove(mailbox).expect(mailbox);
        content
            .into_iter()
            .map(|(name, (letters, _))| (name, letters.into_iter().collect()))
            .collect()
    }

    /// Nobody's UID or UIDVALIDITY changed, as far as the message is in both.
    fn stable(before: &View, after: &View) {
        for (mailbox, content) in before {
            let now = &after[mailbox];
            assert_eq!(now.uid_validity, content.uid_validity, "{mailbox}");
            for (name, message) in &content.messages {
                if let Some(same) = now.messages.get(name) {
                    assert_eq!(same.uid, message.uid, "{mailbox} {name}");
                    assert_eq!(same.octets, message.octets, "{mailbox} {name}");
                }
            }
        }
    }
}

fn names(expected: &[(&str, &str)]) -> BTreeMap<String, String> {
    expected.iter().map(|(name, letters)| ((*name).to_owned(), (*letters).to_owned())).collect()
}

/// New mail on both sides, flags of one message on both sides, a flag on one side of what the other deletes (in
/// both directions), new mailboxes on both: twice over.
fn both_sides_change_twice(one: &Synchroniser<'_>, seen: &str) {
    let samples = one.provider.samples();
    let known =
        ["annidato", "punti", "righe-lunghe", "rotto", "semplice", "senza-corpo", "senza-fine"];
    let mut put =
        vec!["make Pratiche/Città".to_owned(), "put Pratiche/Città punti \\Flagged".into()];
    put.extend(known.iter().map(|name| format!("put INBOX {name} \\Seen $Importante")));
    one.far(&put.iter().map(String::as_str).collect::<Vec<_>>());
    let begin = one.settle();
    for name in known {
        assert_eq!(begin["INBOX"].messages[name].octets, samples[name], "{name}");
    }

    one.far(&[
        "put INBOX otto-bit \\Seen",
        "flag INBOX semplice + \\Flagged",
        "delete INBOX punti",
        "flag INBOX senza-corpo + \\Flagged",
        "flag INBOX righe-lunghe - \\Seen",
        "make Ricerca&Sviluppo",
        "put Ricerca&Sviluppo annidato",
    ]);
    one.maildirs.put("INBOX", &samples["allegato"], "FS");
    one.maildirs.mark("INBOX", "semplice", &format!("R{seen}"));
    one.maildirs.mark("INBOX", "punti", &format!("F{seen}"));
    one.maildirs.delete("INBOX", "senza-corpo");
    one.maildirs.mark("INBOX", "righe-lunghe", &format!("F{seen}"));
    // The server makes the mailbox above a new one, too.
    one.maildirs.make("Già");
    one.maildirs.make("Già/Nuova");
    one.maildirs.put("Già/Nuova", &samples["otto-bit"], "");
    let first = one.settle();
    Synchroniser::stable(&begin, &first);
    let kept = &seen[1..];
    let inbox = [
        ("allegato", "FS".to_owned()),
        ("annidato", seen.to_owned()),
        ("otto-bit", "S".to_owned()),
        ("righe-lunghe", format!("F{kept}")),
        ("rotto", seen.to_owned()),
        ("semplice", format!("FR{seen}")),
        ("senza-fine", seen.to_owned()),
    ];
    let inbox: Vec<(&str, &str)> =
        inbox.iter().map(|(name, letters)| (*name, &**letters)).collect();
    assert_eq!(one.letters(&first, "INBOX"), names(&inbox));
    assert!(first["INBOX"].messages["semplice"].flags.contains("$Importante"));
    assert_eq!(one.letters(&first, "Ricerca&Sviluppo"), names(&[("annidato", "")]));
    assert_eq!(one.letters(&first, "Già/Nuova"), names(&[("otto-bit", "")]));
    // What went up has every octet, 8-bit ones too.
    for (mailbox, name) in [("INBOX", "allegato"), ("Già/Nuova", "otto-bit")] {
        let came = (one.cleaned)(&first[mailbox].messages[name].octets.with_lf());
        assert_eq!(came, samples[name].with_lf(), "{name}");
    }

    one.far(&[
        "put INBOX senza-corpo",
        "flag INBOX semplice - \\Flagged",
        "flag INBOX annidato + \\Answered",
        "delete INBOX senza-fine",
        "delete Pratiche/Città punti",
        "make Ricerca&Sviluppo/Là",
    ]);
    one.maildirs.put("INBOX", &samples["punti"], "R");
    one.maildirs.mark("INBOX", "semplice", &format!("DFR{seen}"));
    one.maildirs.delete("INBOX", "annidato");
    one.maildirs.mark("INBOX", "senza-fine", &format!("F{seen}"));
    one.maildirs.mark("Pratiche/Città", "punti", "FS");
    one.maildirs.make("Pratiche/Metà");
    let second = one.settle();
    Synchroniser::stable(&first, &second);
    let inbox = [
        ("allegato", "FS".to_owned()),
        ("otto-bit", "S".to_owned()),
        ("punti", "R".to_owned()),
        ("righe-lunghe", format!("F{kept}")),
        ("rotto", seen.to_owned()),
        ("semplice", format!("DR{seen}")),
        ("senza-corpo", String::new()),
    ];
    let inbox: Vec<(&str, &str)> =
        inbox.iter().map(|(name, letters)| (*name, &**letters)).collect();
    assert_eq!(one.letters(&second, "INBOX"), names(&inbox));
    assert_eq!(one.letters(&second, "Pratiche/Città"), names(&[]));
    assert!(second.contains_key("Pratiche/Metà"));
}

#[test]
fn mbsync_and_the_account_stay_the_same_while_both_change() {
    let provider = Provider::start();
    let folder = provider.folder.display();
    let configuration = format!(
        "IMAPAccount bruno\nHost localhost\nPort {port}\nUser {BRUNO}\nPass \"{PASSWORD}\"\nSSLType IMAPS\n\
         CertificateFile {authority}\n\nIMAPStore far\nAccount bruno\n\nMaildirStore near\nPath {folder}/mail/\n\
         Inbox {folder}/mail/INBOX\nSubFolders Verbatim\n\nChannel bruno\nFar :far:\nNear :near:\nPatterns *\n\
         Create Both\nRemove Both\nExpunge Both\nCopyArrivalDate yes\nSyncState *\n",
        port = provider.ports.imaps,
        authority = provider.own_authority().display(),
    );
    let root = provider.folder.join("mail");
    std::fs::create_dir(&root).unwrap();
    let file = provider.file("mbsyncrc", &configuration);
    let one = Synchroniser {
        provider: &provider,
        address: BRUNO,
        maildirs: Maildirs { root, separator: "/" },
        run: Box::new(move || {
            let mut command = Command::new("mbsync");
            command.arg("-c").arg(&file).arg("--all");
            let synced = run(command);
            assert_eq!(synced.status, 0, "{}{}", synced.text, synced.complaint);
        }),
        keywords: &[],
        cleaned: without_tuid,
    };
    both_sides_change_twice(&one, "S");
}

/// mbsync finds its copies again by a field that it adds.
fn without_tuid(octets: &Octets) -> Octets {
    let lines = octets.0.split_inclusive(|octet| *octet == b'\n');
    Octets(lines.filter(|line| !line.starts_with(b"X-TUID: ")).flatten().copied().collect())
}

#[test]
fn offlineimap_and_the_account_stay_the_same_while_both_change() {
    let provider = Provider::start();
    let folder = provider.folder.display();
    let configuration = format!(
        "[general]\naccounts = anna\nmetadata = {folder}/offlineimap\nui = basic\nsocktimeout = 20\n\n\
         [Account anna]\nlocalrepository = near\nremoterepository = far\n\n\
         [Repository near]\ntype = Maildir\nlocalfolders = {folder}/mail\ncustomflag_a = $Importante\n\n\
         [Repository far]\ntype = IMAP\nremotehost = localhost\nremoteport = {port}\nremoteuser = {ANNA}\n\
         remotepass = {PASSWORD}\nssl = yes\nsslcacertfile = {authority}\n",
        port = provider.ports.imaps,
        authority = provider.own_authority().display(),
    );
    let file = provider.file("offlineimaprc", &configuration);
    let root = provider.folder.join("mail");
    let one = Synchroniser {
        provider: &provider,
        address: ANNA,
        maildirs: Maildirs { root, separator: "." },
        run: Box::new(move || {
            let mut command = Command::new("offlineimap");
            command.arg("-c").arg(&file).arg("-o");
            let synced = run(command);
            assert_eq!(synced.status, 0, "{}{}", synced.text, synced.complaint);
        }),
        keywords: &[("$Importante", 'a')],
        cleaned: as_offlineimap_writes,
    };
    both_sides_change_twice(&one, "Sa");
}

/// offlineimap takes messages apart and puts them together again: of all samples only the broken one changes, which gets
/// a space behind the name of an empty field and the boundary that ends its parts.
fn as_offlineimap_writes(octets: &Octets) -> Octets {
    let octets = replaced(&octets.0, b"X-Vuoto:\n", b"X-Vuoto: \n");
    let broken = octets.ends_with(b"!!!non base64===\n");
    let end: &[u8] = if broken { b"--=_mai--\n" } else { b"" };
    Octets([&octets, end].concat())
}
