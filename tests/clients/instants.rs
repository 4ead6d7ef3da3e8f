//! Snapshots of an account in mail programs: seen where they are asked for, read octet for octet, copied out of, and the
//! same after every attempt to change them.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
};

use crate::{
    maildir::Maildirs,
    neomutt::{neomutt, without_own_fields},
    provider::{BRUNO, PASSWORD, Provider, run},
    reading::python_script,
    samples::Octets,
    two_way::without_tuid,
};

/// Bruno's INBOX had every sample when the snapshot of that instant was taken; it is empty now.
fn emptied() -> (Provider, BTreeMap<String, Octets>, String) {
    let mut provider = Provider::start();
    let samples = provider.samples();
    provider.put_samples(BRUNO, "INBOX", "$Importante");
    let instant = provider.snapshot(BRUNO);
    let gone: Vec<String> = samples.keys().map(|name| format!("delete INBOX {name}")).collect();
    let now = provider.view(BRUNO, &gone.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(now["INBOX"].messages.is_empty());
    assert!(!now.keys().any(|name| name.starts_with("Snapshot")), "nobody is shown it unasked");
    (provider, samples, instant)
}

#[test]
fn imaplib_reads_a_snapshot_cannot_change_it_and_restores_from_it() {
    let (provider, samples, instant) = emptied();
    let mut command = python_script(&provider, "instants.py");
    command.args([BRUNO, &instant]);
    let done = run(command);
    assert_eq!(done.status, 0, "{}{}", done.text, done.complaint);
    let names: BTreeSet<&str> = done.text.lines().collect();
    assert_eq!(names, samples.keys().map(String::as_str).collect());
    assert_eq!(provider.view(BRUNO, &[])["Ripristinata"].octets(), samples);
}

#[test]
fn curl_lists_reads_and_restores() {
    let (provider, samples, instant) = emptied();
    let root = format!("imaps://localhost:{}/", provider.ports.imaps);
    let mailbox = format!("{root}Snapshot%2F{}%2FINBOX", instant.replace(':', "%3A"));
    let ask = |url: &str, request: &str| {
        let done = provider.curl(BRUNO, PASSWORD, &["--url", url, "--request", request]);
        assert_eq!(done.status, 0, "{request}: {}", done.complaint);
        done.text
    };
    assert!(!ask(&root, "LIST \"\" *").contains("Snapshot"));
    assert!(ask(&root, "LIST \"\" Snapshot/%").contains(&format!("Snapshot/{instant}\r\n")));
    let file = provider.folder.join("read.eml");
    let mut read = BTreeMap::new();
    for uid in 1..=samples.len() {
        let url = format!("{mailbox};UID={uid}");
        let arguments = ["--url", &url, "--output", file.to_str().unwrap()];
        let done = provider.curl(BRUNO, PASSWORD, &arguments);
        assert_eq!(done.status, 0, "{}", done.complaint);
        let octets = std::fs::read(&file).unwrap();
        read.insert(crate::samples::name_of(&octets), Octets(octets));
    }
    assert_eq!(read, samples);
    let arguments = ["--url", &mailbox, "--request", "STORE 1 +FLAGS (\\Deleted)"];
    assert_ne!(provider.curl(BRUNO, PASSWORD, &arguments).status, 0);
    ask(&mailbox, "UID COPY 1:* INBOX");
    let now = provider.view(BRUNO, &[]);
    assert_eq!(now["INBOX"].octets(), samples);
    for message in now["INBOX"].messages.values() {
        assert!(message.flags.contains("$Importante"), "flags come back: {:?}", message.flags);
    }
}

#[test]
fn mbsync_pulls_a_snapshot_into_maildirs_and_has_nothing_to_do_the_second_time() {
    let (provider, samples, instant) = emptied();
    let folder = provider.folder.display();
    let configuration = format!(
        "IMAPAccount bruno\nHost localhost\nPort {port}\nUser {BRUNO}\nPass \"{PASSWORD}\"\nSSLType IMAPS\n\
         CertificateFile {authority}\n\nIMAPStore far\nAccount bruno\nPath Snapshot/\nUseNamespace no\n\n\
         MaildirStore near\nPath {folder}/mail/\nInbox {folder}/mail/own\nSubFolders Verbatim\n\n\
         Channel past\nFar :far:\nNear :near:\nPatterns {instant}/*\nSync Pull\nCreate Near\nCopyArrivalDate yes\nSyncState *\n",
        port = provider.ports.imaps,
        authority = provider.own_authority().display(),
    );
    let maildirs = Maildirs { root: provider.folder.join("mail"), separator: "/" };
    std::fs::create_dir(&maildirs.root).unwrap();
    let file = provider.file("mbsyncrc", &configuration);
    let pull = || {
        let mut command = Command::new("mbsync");
        command.arg("-c").arg(&file).arg("--all");
        let synced = run(command);
        assert_eq!(synced.status, 0, "{}{}", synced.text, synced.complaint);
    };
    pull();
    let (pulled, files) = (maildirs.tree(), maildirs.files());
    let inbox: BTreeMap<String, Octets> = pulled[&format!("{instant}/INBOX")]
        .iter()
        .map(|(name, (_, octets))| (name.clone(), without_tuid(octets)))
        .collect();
    let expected = samples.iter().map(|(name, octets)| (name.clone(), octets.with_lf())).collect();
    assert_eq!(inbox, expected);
    assert!(pulled.contains_key(&format!("{instant}/Inviati")), "{:?}", pulled.keys());
    pull();
    assert_eq!(maildirs.files(), files, "a second run changes nothing");
}

#[test]
fn neomutt_opens_a_snapshot_and_copies_out_of_it() {
    let (provider, samples, instant) = emptied();
    let imaps = format!("imaps://localhost:{}/", provider.ports.imaps);
    let piped = provider.folder.join("piped");
    // It knows that the mailbox is read-only: a key that deletes would end the rest.
    let keys = format!(
        "<limit>~i semplice@<enter><pipe-message>cat > {}<enter><display-message><exit>\
         <limit>all<enter><tag-pattern>~A<enter><tag-prefix><copy-message>=INBOX<enter><quit>",
        piped.display()
    );
    neomutt(&provider, &imaps, &format!("+Snapshot/{instant}/INBOX"), &keys);
    let read = Octets(std::fs::read(&piped).unwrap());
    assert_eq!(without_own_fields(&read), samples["semplice"].with_lf());
    let now = provider.view(BRUNO, &[]);
    assert_eq!(now["INBOX"].octets(), samples);
}
