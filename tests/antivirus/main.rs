//! Providers whose messages a real `clamd` looks at, over SMTP, as clients and operators see them.

#[allow(dead_code, reason = "each test binary uses its own part of the support")]
#[path = "../support/checkers.rs"]
mod checkers;
#[allow(dead_code, reason = "each test binary uses its own part of the support")]
#[path = "../support/mod.rs"]
mod support;

use std::{fmt::Write as _, os::unix::fs::PermissionsExt as _, path::Path};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use checkers::{Clamd, THREAT, VIRUS, shared};
use serde_json::Value;
use support::{PASSWORD, Pair, Provider, json, list, mail_client, metric, run, wait_until};

fn scanning(clamd: &Clamd) -> String {
    format!("[antivirus]\ncheck = \"clamd\"\naddress = \"{}\"\n", clamd.socket().display())
}

/// A message whose attachment has `filling` octets and ends in `end`.
fn with_attachment(from: &str, to: &str, filling: usize, end: &str) -> Vec<u8> {
    // No two lines alike, so that nothing is saved by keeping them once.
    let mut content = Vec::with_capacity(filling + end.len());
    let mut state: u64 = 1;
    while content.len() < filling {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        content.extend_from_slice(&state.to_be_bytes());
    }
    content.extend_from_slice(end.as_bytes());
    let mut message = format!(
        "From: {from}\r\nTo: {to}\r\nSubject: Fattura\r\nMessage-ID: <{filling}@client.example>\r\n\
         MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"b\"\r\n\r\n--b\r\n\
         Content-Type: text/plain\r\n\r\nIn allegato.\r\n--b\r\n\
         Content-Type: application/octet-stream; name=\"fattura.bin\"\r\n\
         Content-Transfer-Encoding: base64\r\n\r\n"
    );
    for line in STANDARD.encode(&content).as_bytes().chunks(76) {
        writeln!(message, "{}\r", std::str::from_utf8(line).expect("ASCII"))
            .expect("a string grows");
    }
    message.push_str("--b--\r\n");
    message.into_bytes()
}

/// Submits `message` as it is; code and text of the answer.
fn send(provider: &Provider, authority: &Path, from: &str, to: &str, message: &[u8]) -> String {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), message).expect("written");
    let (port, path) = (provider.ports.submissions.to_string(), file.path().to_string_lossy());
    let authority = authority.to_string_lossy();
    let arguments = ["send", "localhost", &port, &authority, from, &path, to];
    let output = run(mail_client(&arguments), PASSWORD);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// The messages in quarantine.
fn quarantined(provider: &Provider) -> Vec<Value> {
    let listed = json(provider, &["quarantine", "list"]);
    listed.as_array().expect("a list").clone()
}

/// Exports the message in quarantine called `id`; its octets.
fn exported(provider: &Provider, id: &str, name: &str) -> Vec<u8> {
    let path = provider.folder.join(name);
    let to = path.to_string_lossy();
    let arguments =
        ["quarantine", "export", id, "--to", &to, "--by", "Mario Rossi", "--why", "prova"];
    json(provider, &arguments);
    let mode = std::fs::metadata(&path).expect("the file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "for its owner alone");
    let again = provider.run(&arguments, "");
    assert!(!again.status.success(), "a file is never overwritten");
    std::fs::read(&path).expect("the file")
}

fn field<'a>(message: &'a Value, name: &str) -> &'a str {
    message["headers"][name].as_str().unwrap_or_default()
}

fn of_kind<'a>(messages: &'a [Value], kind: &str) -> Vec<&'a Value> {
    messages.iter().filter(|message| field(message, "X-Ricevuta") == kind).collect()
}

/// RFC 6109 §3.2.3, §3.2.4: the sender's provider looks for nothing.
#[test]
fn a_virus_that_only_the_recipients_provider_finds_is_told_from_provider_to_provider_to_the_sender()
{
    let mut pair = Pair::new("");
    pair.beta.scan_with(&scanning(shared()));
    let service = format!("posta-certificata@{}", pair.alfa.mail_domain);
    pair.alfa.start();
    pair.beta.start();
    // The first start has made the service account.
    pair.alfa.administer(&["account", "password", &service, "--password-stdin"], PASSWORD);
    assert!(pair.alfa.log().contains("NOT checked for viruses"), "{}", pair.alfa.log());
    let (mario, anna) = (pair.alfa.address("mario"), pair.beta.address("anna"));
    let message = with_attachment(&mario, &anna, 20_000, VIRUS);
    let answer = send(&pair.alfa, &pair.authority, &mario, &anna, &message);
    assert!(answer.starts_with("250 "), "{answer}");
    let mut read = Vec::new();
    wait_until("the sender is told", || {
        read = list(&pair.alfa, &pair.authority, &mario, "INBOX");
        read.len() >= 2
    });
    let told = of_kind(&read, "errore-consegna");
    assert_eq!((read.len(), told.len()), (2, 1), "{read:#?}");
    assert_eq!(field(told[0], "Subject"), "AVVISO DI MANCATA CONSEGNA PER VIRUS: Fattura");
    assert_eq!(field(told[0], "X-VerificaSicurezza"), "errore");
    assert_eq!(told[0]["daticert"]["errore"], "virus");
    assert_eq!(told[0]["daticert"]["consegna"], anna.as_str());
    let filed = list(&pair.alfa, &pair.authority, &service, "INBOX");
    assert_eq!(of_kind(&filed, "presa-in-carico").len(), 1, "{filed:#?}");
    let detected = of_kind(&filed, "rilevazione-virus");
    assert_eq!(detected.len(), 1, "{filed:#?}");
    assert_eq!(field(detected[0], "X-Mittente"), mario);
    assert_eq!(field(detected[0], "Subject"), "PROBLEMA DI SICUREZZA: Fattura");
    assert!(list(&pair.beta, &pair.authority, &anna, "INBOX").is_empty());

    let [caught] = &quarantined(&pair.beta)[..] else { panic!("one message") };
    assert_eq!(
        (&caught["threat"], &caught["found_at"]),
        (&THREAT.into(), &"incoming-point".into())
    );
    assert_eq!(caught["sender"], mario.as_str());
    assert!(pair.beta.stop(), "{}", pair.beta.log());
    let id = caught["id"].as_str().expect("an id");
    let octets = exported(&pair.beta, id, "busta.eml");
    let text = String::from_utf8_lossy(&octets);
    assert!(
        text.contains("X-Trasporto: posta-certificata"),
        "the envelope, with the server stopped"
    );
    let report = json(&pair.beta, &["store", "check"]);
    assert_eq!(report["clean"], true, "{report:#}");
}

/// RFC 6109 §3.1.3, §2.2.4; and the sizes that operators are told to set.
#[test]
fn a_virus_at_the_end_of_a_large_message_is_found_and_kept_and_without_the_scanner_nothing_is_taken()
 {
    let mut clamd = Clamd::start();
    let backup = "[backup]\ntarget = \"backup\"\npassphrase_file = \"phrase\"\n";
    let mut provider = Provider::alone_with(&(scanning(&clamd) + backup));
    std::fs::create_dir(provider.folder.join("backup")).expect("a folder");
    std::fs::write(provider.folder.join("phrase"), "una frase per le copie\n").expect("written");
    provider.start();
    let authority = provider.own_authority();
    let (anna, bruno) = (provider.address("anna"), provider.address("bruno"));
    // Base64 makes 4 octets of 3, and each line has a line end: within 50 MB of 2^20.
    let large = with_attachment(&anna, &bruno, 38_000_000, VIRUS);
    assert!((49_000_000..50 << 20).contains(&large.len()), "{}", large.len());
    let answer = send(&provider, &authority, &anna, &bruno, &large);
    assert!(answer.starts_with("250 "), "{answer}");
    let mut read = Vec::new();
    wait_until("the sender is told", || {
        read = list(&provider, &authority, &anna, "INBOX");
        !read.is_empty()
    });
    assert_eq!(field(&read[0], "X-Ricevuta"), "non-accettazione");
    assert_eq!(field(&read[0], "X-VerificaSicurezza"), "errore");
    assert_eq!(read[0]["daticert"]["errore"], "virus");
    assert!(list(&provider, &authority, &bruno, "INBOX").is_empty());
    let small = with_attachment(&anna, &bruno, 10_000, VIRUS);
    let answer = send(&provider, &authority, &anna, &bruno, &small);
    assert!(answer.starts_with("250 "), "{answer}");
    let ids: Vec<String> = quarantined(&provider)
        .iter()
        .map(|caught| caught["id"].as_str().expect("an id").to_owned())
        .collect();
    let [large_id, small_id] = &ids[..] else { panic!("two messages: {ids:?}") };
    let octets = exported(&provider, large_id, "grande.eml");
    assert!(octets == large, "as it was submitted");
    let found = "ceralacca_content_checks_total{check=\"clamd\",outcome=\"found\"}";
    assert_eq!(metric(&provider, found), 2);
    wait_until("the sender is told again", || {
        list(&provider, &authority, &anna, "INBOX").len() == 2
    });
    assert_eq!(metric(&provider, "ceralacca_content_check_up{check=\"clamd\"}"), 1);

    clamd.kill();
    let clean = with_attachment(&anna, &bruno, 1_000, "niente");
    let answer = send(&provider, &authority, &anna, &bruno, &clean);
    assert!(answer.starts_with("451 4.7.0 "), "{answer}");
    assert_eq!(list(&provider, &authority, &anna, "INBOX").len(), 2, "nothing new");
    assert_eq!(quarantined(&provider).len(), 2);
    clamd.start_again();
    let answer = send(&provider, &authority, &anna, &bruno, &clean);
    assert!(answer.starts_with("250 "), "{answer}");
    wait_until("it arrives", || !list(&provider, &authority, &bruno, "INBOX").is_empty());

    json(&provider, &["backup", "now"]);
    assert!(provider.stop(), "{}", provider.log());
    std::fs::remove_dir_all(provider.folder.join("data")).expect("lost");
    let path = |name: &str| provider.folder.join(name).to_string_lossy().into_owned();
    let (from, into, phrase) = (path("backup"), path("data"), path("phrase"));
    let arguments = ["restore", "--from", &from, "--into", &into, "--passphrase-file", &phrase];
    provider.administer(&[&arguments[..], &["--replace"]].concat(), "");
    for (id, sent, name) in
        [(small_id, &small, "ripristinata.eml"), (large_id, &large, "ripristinata-grande.eml")]
    {
        let octets = exported(&provider, id, name);
        assert!(octets == *sent, "a restored node opens all {} octets too", sent.len());
    }
}

/// How many records of the journal of a provider, running or not, tell of `event`.
fn told(provider: &Provider, event: &str) -> usize {
    let found = json(provider, &["journal", "search", "--event", event, "--limit", "1000"]);
    found.as_array().expect("a list").len()
}

/// Kills that may fall too late.
const KILLS_MAX: usize = 5;

/// The provider dies after it has taken an envelope with a virus, and before it has told of it.
#[test]
fn a_provider_that_dies_with_an_infected_envelope_taken_tells_of_it_once_after_its_start() {
    let mut pair = Pair::new("");
    pair.beta.scan_with(&scanning(shared()));
    let service = format!("posta-certificata@{}", pair.alfa.mail_domain);
    pair.alfa.start();
    pair.beta.start();
    pair.alfa.administer(&["account", "password", &service, "--password-stdin"], PASSWORD);
    let (mario, anna) = (pair.alfa.address("mario"), pair.beta.address("anna"));
    let mut interrupted = false;
    let mut sent = 0;
    while !interrupted && sent < KILLS_MAX {
        sent += 1;
        // Large, so that opening it again takes a while.
        let message = with_attachment(&mario, &anna, 20_000_000 + sent, VIRUS);
        let answer = send(&pair.alfa, &pair.authority, &mario, &anna, &message);
        assert!(answer.starts_with("250 "), "{answer}");
        let begin = std::time::Instant::now();
        while quarantined(&pair.beta).len() < sent {
            assert!(begin.elapsed().as_secs() < 120, "it never came: {}", pair.beta.log());
        }
        pair.beta.kill();
        assert_eq!(quarantined(&pair.beta).len(), sent);
        interrupted = told(&pair.beta, "virus-detection-notice") < sent;
        pair.beta.start();
        wait_until("the sender's provider is told", || {
            let filed = list(&pair.alfa, &pair.authority, &service, "INBOX");
            of_kind(&filed, "rilevazione-virus").len() >= sent
        });
    }
    assert!(interrupted, "no kill in {sent} fell before the notice");
    wait_until("the sender is told", || {
        let read = list(&pair.alfa, &pair.authority, &mario, "INBOX");
        of_kind(&read, "errore-consegna").len() == sent
    });
    assert_eq!(quarantined(&pair.beta).len(), sent);
    for event in ["quarantined", "take-charge-receipt", "virus-detection-notice"] {
        assert_eq!(told(&pair.beta, event), sent, "{event}");
    }
    let filed = list(&pair.alfa, &pair.authority, &service, "INBOX");
    for kind in ["presa-in-carico", "rilevazione-virus"] {
        assert_eq!(of_kind(&filed, kind).len(), sent, "{kind}: {filed:#?}");
    }
    assert!(list(&pair.beta, &pair.authority, &anna, "INBOX").is_empty());
}
