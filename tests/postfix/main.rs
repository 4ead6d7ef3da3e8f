//! The program and Debian's postfix send mail to each other, over TLS, with delays and bounces.
//!
//! Postfix runs from a folder of the test, on loopback ports. Its master process wants root: as
//! another user the tests start it with `sudo -n`, and fail when that is not allowed.

#[path = "../support/name_server.rs"]
#[allow(dead_code, reason = "each test binary uses its own part of the support")]
mod name_server;
mod server;
#[path = "../support/mod.rs"]
#[allow(dead_code, reason = "each test binary uses its own part of the support")]
mod support;

use std::{
    process::Command,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use name_server::{NameServer, Signing, Zone};
use server::Postfix;
use support::{NO_DNS, PASSWORD, Pair, Provider, list, mail_client, ports, run, wait_until};

/// Alfa, Beta whose DNS does not answer, and postfix that sends mail to both.
struct World {
    pair: Pair,
    postfix: Postfix,
    /// Where Beta asks for names.
    names_port: u16,
}

impl World {
    fn new() -> Self {
        let [port, names_port] = ports::free();
        let mut pair = Pair::new(&format!("\"posta.example\" = \"127.0.0.1:{port}\""));
        let file = pair.beta.folder.join("ceralacca.toml");
        let dns = format!(
            "[dns]\nservers = [\"127.0.0.1:{names_port}\"]\ntimeout = \"2 s\"\nlifetime_min = \"0 s\"\n\
             [ordinary_mail]\ndefer_on_dns_failure = true\n"
        );
        let text = std::fs::read_to_string(&file).expect("a configuration");
        std::fs::write(&file, text.replace(NO_DNS, &dns)).expect("written");
        let postfix = Postfix::start(port, &pair);
        pair.alfa.start();
        pair.beta.start();
        Self { pair, postfix, names_port }
    }

    /// One for all tests that run at the same time.
    fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<World>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let world = Arc::new(Self::new());
            *shared = Arc::downgrade(&world);
            world
        })
    }

    /// Mario of Alfa writes to `to`; `number` stands in the subject.
    fn submit(&self, number: u32, to: &str) {
        let (port, number) = (self.pair.alfa.ports.submissions.to_string(), number.to_string());
        let authority = self.pair.authority.to_string_lossy();
        let user = self.pair.alfa.address("mario");
        let arguments = ["submit", "localhost", &port, &authority, &user, &number, "1", to];
        let output = run(mail_client(&arguments), PASSWORD);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Waits for a message of `user` whose subject contains all `words`, and returns it whole.
    fn wait_for(&self, provider: &Provider, user: &str, words: &[&str]) -> String {
        let address = provider.address(user);
        let mut found = None;
        wait_until(&words.join(", "), || {
            let messages = list(provider, &self.pair.authority, &address, "INBOX");
            let subject = |message: &serde_json::Value| {
                let subject = message["headers"]["Subject"].as_str().unwrap_or_default();
                words.iter().all(|word| subject.contains(word))
            };
            found = messages.iter().find(|message| subject(message)).map(|one| one["uid"].clone());
            found.is_some()
        });
        self.fetch(provider, &address, &found.expect("found").to_string())
    }

    fn fetch(&self, provider: &Provider, address: &str, uid: &str) -> String {
        let url = format!("imaps://localhost:{}/INBOX;UID={uid}", provider.ports.imaps);
        let mut command = Command::new("curl");
        command.args(["--silent", "--show-error", "--max-time", "60", "--cacert"]);
        command.arg(&self.pair.authority).args(["--user", &format!("{address}:{PASSWORD}"), &url]);
        let output = run(command, "");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

/// A message handed to postfix by its submission port.
fn hand_to_postfix(postfix: &Postfix, from: &str, to: &str, subject: &str) {
    let mut command = Command::new("swaks");
    command.args(["--server", "127.0.0.1", "--port", &postfix.port.to_string(), "--timeout", "20"]);
    command.args(["--ehlo", "client.example", "--tls", "--from", from, "--to", to]);
    command.args(["--h-From", from, "--h-Subject", subject, "--body", "Buongiorno."]);
    let output = run(command, "");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn a_signed_envelope_reaches_a_mailbox_of_postfix_over_tls_unharmed() {
    let world = World::shared();
    world.submit(1, "giulia@posta.example");
    let message = world.postfix.wait_for_mail("giulia", "numero 1");
    let text = String::from_utf8_lossy(&message);
    assert!(text.contains("X-Trasporto: posta-certificata"), "{text}");
    assert!(text.contains("(using TLSv1.3") && text.contains("with ESMTPS"), "{text}");
    let file = world.pair.alfa.folder.join("delivered.eml");
    std::fs::write(&file, &message).expect("written");
    let mut verify = Command::new("openssl");
    verify.args(["cms", "-verify", "-purpose", "any", "-out", "/dev/null", "-in"]).arg(&file);
    let output = run(
        {
            verify.arg("-CAfile").arg(&world.pair.authority);
            verify
        },
        "",
    );
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn who_postfix_does_not_know_is_told_to_the_sender() {
    let world = World::shared();
    world.submit(2, "nessuno@posta.example");
    let words = ["Rapporto di mancato recapito", "numero 2"];
    let report = world.wait_for(&world.pair.alfa, "mario", &words);
    for part in ["multipart/report", "Action: failed", "Status: 5.1.1", "nessuno@posta.example"] {
        assert!(report.contains(part), "{part}: {report}");
    }
    world.postfix.assert_logged("550 5.1.1");
}

#[test]
fn mail_of_postfix_comes_over_tls_that_it_has_verified() {
    let world = World::shared();
    let mario = world.pair.alfa.address("mario");
    hand_to_postfix(&world.postfix, "giulia@posta.example", &mario, "da postfix");
    let message = world.wait_for(&world.pair.alfa, "mario", &["ANOMALIA MESSAGGIO: da postfix"]);
    assert!(message.contains("with ESMTPS"), "{message}");
    assert!(message.starts_with("Authentication-Results: mail.alfa.example;"), "{message}");
    world.postfix.assert_logged("Verified TLS connection established to 127.0.0.1");
}

#[test]
fn a_bounce_of_postfix_reaches_the_sender_as_ordinary_mail() {
    let world = World::shared();
    world.submit(4, "pieno@posta.example");
    let words = "ANOMALIA MESSAGGIO: Undelivered Mail Returned to Sender";
    let bounce = world.wait_for(&world.pair.alfa, "mario", &[words]);
    for part in ["multipart/report", "Action: failed", "Status: 5.2.2", "pieno@posta.example"] {
        assert!(bounce.contains(part), "{part}: {bounce}");
    }
}

#[test]
fn postfix_comes_again_after_it_was_put_off_and_its_mail_arrives_once() {
    let world = World::shared();
    let beta = &world.pair.beta;
    let anna = beta.address("anna");
    hand_to_postfix(&world.postfix, "giulia@posta.example", &anna, "con pazienza");
    wait_until("postfix was put off", || world.postfix.has_logged("451 4.4.3"));
    assert!(list(beta, &world.pair.authority, &anna, "INBOX").is_empty());
    let _names = NameServer::start_at(
        world.names_port,
        &[Zone::new("posta.example", Signing::Unsigned, "")],
    );
    world.wait_for(beta, "anna", &["ANOMALIA MESSAGGIO: con pazienza"]);
    wait_until("postfix is done", || world.postfix.is_empty());
    assert_eq!(list(beta, &world.pair.authority, &anna, "INBOX").len(), 1);
}
