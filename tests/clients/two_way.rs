//! mbsync and offlineimap keep a Maildir and an account the same, while both sides change between their runs; a run
//! that has nothing to do changes nothing on either side.
//!
//! Both keep lines that end in LF only. mbsync knows no keywords, and adds a field to what it copies; what
//! offlineimap changes is said at its test.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::{
    maildir::{Maildirs, Tree},
    provider::{ANNA, BRUNO, PASSWORD, Provider, run},
    samples::{Octets, View, name_of, replaced},
    support::wait_until,
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
    let first = first_time(one, seen, &samples);
    Synchroniser::stable(&begin, &first);
    let second = second_time(one, seen, &samples);
    Synchroniser::stable(&first, &second);
}

fn first_time(one: &Synchroniser<'_>, seen: &str, samples: &BTreeMap<String, Octets>) -> View {
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
    first
}

fn second_time(one: &Synchroniser<'_>, seen: &str, samples: &BTreeMap<String, Octets>) -> View {
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
    let kept = &seen[1..];
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
    second
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
pub(crate) fn without_tuid(octets: &Octets) -> Octets {
    let lines = octets.0.split_inclusive(|octet| *octet == b'\n');
    Octets(lines.filter(|line| !line.starts_with(b"X-TUID: ")).flatten().copied().collect())
}

/// A configuration of offlineimap with `more` for the server's side; its file.
fn offlineimaprc(provider: &Provider, more: &str) -> PathBuf {
    let folder = provider.folder.display();
    let configuration = format!(
        "[general]\naccounts = anna\nmetadata = {folder}/offlineimap\nui = basic\nsocktimeout = 20\n\n\
         [Account anna]\nlocalrepository = near\nremoterepository = far\nautorefresh = 10\n\n\
         [Repository near]\ntype = Maildir\nlocalfolders = {folder}/mail\ncustomflag_a = $Importante\n\n\
         [Repository far]\ntype = IMAP\nremotehost = localhost\nremoteport = {port}\nremoteuser = {ANNA}\n\
         remotepass = {PASSWORD}\nssl = yes\nsslcacertfile = {authority}\n{more}",
        port = provider.ports.imaps,
        authority = provider.own_authority().display(),
    );
    provider.file("offlineimaprc", &configuration)
}

#[test]
fn offlineimap_and_the_account_stay_the_same_while_both_change() {
    let provider = Provider::start();
    let file = offlineimaprc(&provider, "");
    let one = Synchroniser {
        provider: &provider,
        address: ANNA,
        maildirs: Maildirs { root: provider.folder.join("mail"), separator: "." },
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
    hears_of_new_mail(&one);
}

/// It refreshes every ten minutes; what comes sooner it has from IDLE. Whether it waits already nobody is told, so
/// that a message comes every two seconds until one is there.
fn hears_of_new_mail(one: &Synchroniser<'_>) {
    let samples = one.provider.samples();
    let more = "idlefolders = ['Archivio']\nkeepalive = 60\nholdconnectionopen = yes\n";
    let file = offlineimaprc(one.provider, more);
    let log = std::fs::File::create(one.provider.folder.join("offlineimap.log")).unwrap();
    let mut command = Command::new("offlineimap");
    command.arg("-c").arg(file).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    let _waiting = Ended(command.spawn().expect("offlineimap runs: run `scripts/bootstrap test`"));
    let mut next = samples.keys();
    let mut put = Instant::now();
    wait_until("offlineimap hears of new mail", || {
        if put.elapsed() > Duration::from_secs(2)
            && let Some(name) = next.next()
        {
            one.far(&[&format!("put Archivio {name}")]);
            put = Instant::now();
        }
        // Looked at once a message is whole: a file in `tmp` is not seen.
        let tree = one.maildirs.files();
        let inside = |path: &PathBuf| path.starts_with(one.maildirs.root.join("Archivio"));
        let mut heard =
            tree.iter().filter(|(path, _)| inside(path)).filter_map(|(_, octets)| octets.as_ref());
        heard.next().is_some_and(|octets| *octets == samples[&name_of(&octets.0)].with_lf())
    });
}

/// A process that ends with the test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// offlineimap takes messages apart and puts them together again: of all samples only the broken one changes, which gets
/// a space behind the name of an empty field and the boundary that ends its parts.
fn as_offlineimap_writes(octets: &Octets) -> Octets {
    let octets = replaced(&octets.0, b"X-Vuoto:\n", b"X-Vuoto: \n");
    let broken = octets.ends_with(b"!!!non base64===\n");
    let end: &[u8] = if broken { b"--=_mai--\n" } else { b"" };
    Octets([&octets, end].concat())
}
