//! SPF, DKIM, DMARC and ARC of messages that are signed here, with keys and policies in the zones of
//! a real name server.

#[path = "../support/name_server.rs"]
#[allow(dead_code, reason = "each test binary uses its own part of the support")]
mod name_server;
#[path = "../support/ports.rs"]
mod ports;

mod bounds;
mod keys;
mod policies;
mod slow;

use std::sync::{Arc, Mutex, PoisonError, Weak};

use ceralacca::{
    config::{Config, DnsSettings, OrdinaryMailSettings},
    names::Names,
    ordinary_mail::{Examined, OrdinaryMailChecks, Sender},
};
use keys::{Key, SIGNER};
use name_server::{NameServer, Signing, Zone};

/// The address that the zones allow.
const ALLOWED: &str = "192.0.2.1";
/// One that they do not.
const OTHER: &str = "192.0.2.99";

/// The name server that the checks ask.
struct World {
    names: Names,
    server: NameServer,
}

impl World {
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

    fn new() -> Self {
        let server = NameServer::start(&zones());
        let names =
            Names::open(&DnsSettings { servers: vec![server.address], ..Config::default().dns });
        Self { names: names.expect("names"), server }
    }

    /// Examines `message` of `from`, handed over by `address`, with the changes of `change`.
    async fn examine(
        &self,
        address: &str,
        from: &str,
        message: &[u8],
        change: impl FnOnce(&mut OrdinaryMailSettings),
    ) -> Examined {
        let mut settings = Config::default().ordinary_mail;
        change(&mut settings);
        let checks = OrdinaryMailChecks::new(&settings, &self.names, "mail.gestore.example");
        checks.examine(message.to_vec().into(), sender(address, from)).await
    }
}

fn sender(address: &str, from: &str) -> Sender {
    Sender {
        address: address.parse().expect("an address"),
        helo: "mx.pass.test".to_owned(),
        reverse_path: from.to_owned(),
    }
}

fn zones() -> Vec<Zone> {
    let record = SIGNER.record("sel");
    let spf = "@ TXT \"v=spf1 ip4:192.0.2.1 -all\"\nmx TXT \"v=spf1 ip4:192.0.2.1 -all\"\n";
    let policy = |policy| format!("{spf}_dmarc TXT \"v=DMARC1; p={policy}\"\n{record}");
    let soft = "@ TXT \"v=spf1 ~all\"\n_dmarc TXT \"v=DMARC1; p=quarantine\"\n";
    let vague = "@ TXT \"v=spf1 include:absent.test -all\"\n_dmarc TXT \"v=DMARC1; p=none\"\n";
    let broken = "@ TXT \"v=spf1 include:absent.test -all\"\n_dmarc TXT \"v=DMARC1; p=reject\"\n";
    vec![
        Zone::new("pass.test", Signing::Unsigned, &policy("reject")),
        Zone::new("other.test", Signing::Unsigned, &policy("none")),
        Zone::new("soft.test", Signing::Unsigned, soft),
        Zone::new("broken.test", Signing::Unsigned, broken),
        Zone::new("vague.test", Signing::Unsigned, vague),
        Zone::new("absent.test", Signing::Absent, ""),
        Zone::new("nothing.test", Signing::Unsigned, ""),
        Zone::new("list.test", Signing::Unsigned, &SIGNER.record("arc")),
        Zone::new("football.example.com", Signing::Unsigned, keys::RFC_8463_RECORDS),
    ]
}

/// A message from `from`.
fn letter(from: &str) -> Vec<u8> {
    format!(
        "From: Giulia Bianchi <{from}>\r\nTo: bruno@pec.beta.example\r\nSubject: Buongiorno\r\n\
         Date: Fri, 27 Nov 2026 10:00:00 +0100\r\nMessage-ID: <1@posta.example>\r\n\r\n\
         Una riga.\r\nUn'altra.\r\n"
    )
    .into_bytes()
}

/// `message` with the signature of `domain` on top.
fn signed(domain: &str, message: &[u8]) -> Vec<u8> {
    [Key::signature(domain, "sel", message).as_bytes(), message].concat()
}

/// `message` with one word of its body changed.
fn changed(message: &[u8]) -> Vec<u8> {
    let text = String::from_utf8(message.to_vec()).expect("UTF-8");
    assert!(text.contains("Una riga."));
    text.replace("Una riga.", "Due righe.").into_bytes()
}

/// The results, one method each, without line folds.
fn methods(examined: &Examined) -> Vec<String> {
    let text = examined.results.replace("\r\n\t", " ");
    let mut parts = text.split(';').map(|part| part.trim().to_owned());
    assert_eq!(parts.next().as_deref(), Some("mail.gestore.example"), "{text}");
    parts.collect()
}

/// Whether one of the results begins with `words`.
fn found(examined: &Examined, words: &str) -> bool {
    methods(examined).iter().any(|method| method.starts_with(words))
}

fn assert_found(examined: &Examined, words: &[&str]) {
    for word in words {
        assert!(found(examined, word), "{word}: {}", examined.results);
    }
}
