//! A provider under test and the peer beside it.

use std::{
    fmt::Write as _,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use trust::{authority::DevelopmentAuthority, clock::SystemClock, random::SystemRandom};

use crate::support::{self, NO_DNS, PASSWORD, PATIENCE, Provider, UNCHECKED, template::Template};

pub(crate) const ANNA: &str = "anna@pec.alfa.example";
pub(crate) const BRUNO: &str = "bruno@pec.alfa.example";
/// Receives what providers tell each other (RFC 6109 §2.2.5).
pub(crate) const SERVICE: &str = "posta-certificata@alfa.example";
/// Users of the peer.
pub(crate) const ROSA: &str = "rosa@pec.foro.example";
pub(crate) const SARA: &str = "sara@pec.foro.example";
/// Has no mailbox at the peer.
pub(crate) const NOBODY: &str = "nessuno@pec.foro.example";
/// Has ordinary mail; the peer takes it.
pub(crate) const GUEST: &str = "ospite@posta.example";

/// The sorts of letters that `letters.py` writes.
pub(crate) const SORTS: [&str; 16] = [
    "plain",
    "empty",
    "eight_bits",
    "encoded_subject",
    "beyond_latin",
    "folded_subject",
    "specials_in_subject",
    "without_id",
    "without_subject",
    "long_lines",
    "html",
    "odd_names",
    "attached_message",
    "megabytes",
    "signed",
    "enveloped",
];

static ALFA: Template = Template::new();

/// Alfa, and the peer that its directory and its routes name.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) alfa: Provider,
    pub(crate) peer: Peer,
    _folder: tempfile::TempDir,
}

impl World {
    pub(crate) fn start() -> Self {
        let folder = ALFA.copy(Self::make);
        let root = folder.path();
        let mut peer = Peer::start(&root.join("peer"));
        let mut alfa = Provider::new(root, "alfa");
        let own = std::fs::read_to_string(root.join("own.ldif")).expect("read");
        let entry = std::fs::read_to_string(peer.told("entry")).expect("read");
        std::fs::write(root.join("gestori.ldif"), own + &entry).expect("written");
        alfa.write_config(&(alfa.configuration() + &Self::settings(root, Some(&peer))));
        alfa.start();
        alfa.administer(&["account", "password", SERVICE, "--password-stdin"], PASSWORD);
        let domains = [&alfa.mail_domain, &alfa.pec_domain];
        peer.order(
            "meet",
            json!({
                "name": "Gestore alfa.example", "service": SERVICE, "domain": alfa.mail_domain,
                "domains": domains, "authority": root.join("authority.pem"),
                "certificate": root.join("alfa/signing.pem"), "password": PASSWORD,
                "ports": {"relay": alfa.ports.relay, "submissions": alfa.ports.submissions,
                          "imaps": alfa.ports.imaps},
            }),
        );
        Self { alfa, peer, _folder: folder }
    }

    fn make(root: &Path) {
        // Its keys stay for the peers of all tests.
        drop(Peer::start(&root.join("peer")));
        let (clock, random) = (Arc::new(SystemClock), Arc::new(SystemRandom));
        let authority = DevelopmentAuthority::open(root, clock, random).expect("an authority");
        let alfa = Provider::new(root, "alfa");
        let mut own = String::new();
        alfa.make_credentials(&authority, &mut own);
        std::fs::write(root.join("own.ldif"), &own).expect("written");
        std::fs::write(root.join("gestori.ldif"), own).expect("written");
        alfa.write_config(&(alfa.configuration() + &Self::settings(root, None)));
        alfa.add_accounts(&["anna", "bruno"]);
    }

    fn settings(root: &Path, peer: Option<&Peer>) -> String {
        let root = root.display();
        let mut text = format!(
            "[tls]\ncertificate_file = \"tls.pem\"\nkey_file = \"tls.key\"\n\
             [signing]\ncertificate_file = \"signing.pem\"\nkey_file = \"signing.key\"\n\
             [directory]\nldif_file = \"{root}/gestori.ldif\"\n{NO_DNS}{UNCHECKED}\
             [outgoing]\nretry_first = \"100 ms\"\nretry_longest = \"200 ms\"\n"
        );
        if let Some(peer) = peer {
            let (port, authority) = (&peer.begin["port"], peer.told("authority"));
            write!(
                text,
                "[trust]\nauthority_files = [\"{root}/authority.pem\", \"{authority}\"]\n\
                 revocation_files = [\"{root}/authority.crl\", \"{}\"]\n[routes]\n",
                peer.told("revocations")
            )
            .expect("a string grows");
            for domain in ["foro.example", "pec.foro.example", "posta.example"] {
                writeln!(text, "\"{domain}\" = \"127.0.0.1:{port}\"").expect("a string grows");
            }
        }
        text
    }

    /// Waits until `user` has `count` messages more than were read of him, each without a fault in the
    /// peer's eyes. Returns what they are, as [`said`] puts it, sorted.
    pub(crate) fn new_messages(&mut self, user: &str, count: usize) -> Vec<String> {
        let mut said: Vec<String> = self.read(user, count).iter().map(said).collect();
        said.sort();
        said
    }

    pub(crate) fn read(&mut self, user: &str, count: usize) -> Vec<Value> {
        let mut found = Vec::new();
        until(&format!("{user} has {count} messages"), || {
            let read = self.peer.order("read", json!({"user": user}));
            found.extend(read["messages"].as_array().expect("a list").iter().cloned());
            (found.len() >= count).then_some(())
        });
        assert_eq!(found.len(), count, "{found:#?}");
        faultless(&found);
        found
    }

    /// Waits until the peer has taken `count` messages more, none with a fault in its eyes. It answers
    /// them as a provider does.
    pub(crate) fn taken(&mut self, count: usize) -> Vec<Value> {
        self.taken_with(count, &json!({}))
    }

    /// As [`World::taken`], but nothing is answered.
    pub(crate) fn taken_silently(&mut self, count: usize) -> Vec<Value> {
        self.taken_with(count, &json!({"answer": false}))
    }

    pub(crate) fn taken_with(&mut self, count: usize, how: &Value) -> Vec<Value> {
        let mut found = Vec::new();
        until(&format!("the peer has taken {count} messages"), || {
            let work = self.peer.order("work", how.clone());
            found.extend(work["taken"].as_array().expect("a list").iter().cloned());
            (found.len() >= count).then_some(())
        });
        assert_eq!(found.len(), count, "{found:#?}");
        faultless(&found);
        found
    }

    /// `sender`, of Alfa, submits a letter; its number.
    pub(crate) fn submit(&mut self, sort: &str, to: &[&str], cc: &[&str], wish: &str) -> u64 {
        let wish = (!wish.is_empty()).then_some(wish);
        let order = json!({"sort": sort, "sender": ANNA, "to": to, "cc": cc, "wish": wish});
        self.peer.order("submit", order)["letter"].as_u64().expect("a number")
    }

    /// The peer's Rosa sends a letter, with further arguments of `Peer.send`; what was replied.
    pub(crate) fn send(&mut self, sort: &str, to: &[&str], more: &Value) -> Sent {
        let mut order = json!({"sort": sort, "sender": ROSA, "to": to});
        order
            .as_object_mut()
            .expect("an object")
            .extend(more.as_object().expect("an object").clone());
        Sent(self.peer.order("send", order))
    }

    /// What still is in the queue of Alfa.
    pub(crate) fn queue_empties(&self) {
        support::wait_until("the queue is empty", || {
            support::json(&self.alfa, &["queue", "list"]).as_array().is_some_and(Vec::is_empty)
        });
    }
}

/// What came of a message that the peer handed over.
#[derive(Debug)]
pub(crate) struct Sent(pub(crate) Value);

impl Sent {
    pub(crate) fn number(&self) -> u64 {
        self.0["sent"].as_u64().expect("a number")
    }

    /// It was taken, for all recipients.
    pub(crate) fn accepted(self) -> Self {
        assert_eq!(self.0["reply"][0], 250, "{:?}", self.0);
        assert_eq!(self.0["refused"], json!({}), "{:?}", self.0);
        self
    }
}

/// Tries until there is something, or fails the test.
fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begin.elapsed() < PATIENCE, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

pub(crate) fn faultless(messages: &[Value]) {
    let faulty: Vec<&Value> =
        messages.iter().filter(|message| message["faults"] != json!([])).collect();
    assert!(faulty.is_empty(), "{faulty:#?}");
}

/// A message in a few words: kind, letter, and what else tells it apart.
pub(crate) fn said(message: &Value) -> String {
    let mut words = vec![message["kind"].as_str().expect("a kind").to_owned()];
    for name in ["letter", "recipient", "receipt", "sent", "inside"] {
        match &message[name] {
            Value::Null => {}
            Value::String(text) => words.push(text.clone()),
            other => words.push(format!("{name} {other}")),
        }
    }
    if !matches!(message["error"].as_str(), None | Some("nessuno")) {
        words.push(message["error"].as_str().expect("text").to_owned());
    }
    words.join(" ")
}

/// The process of the peer; ends with the test.
#[derive(Debug)]
pub(crate) struct Peer {
    begin: Value,
    process: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Peer {
    fn start(folder: &Path) -> Self {
        let mut process = Command::new("python3")
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/foreign_peer/peer.py"))
            .arg(folder)
            // What is compiled would lie among the sources.
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 runs");
        let orders = process.stdin.take().expect("piped");
        let answers = BufReader::new(process.stdout.take().expect("piped"));
        let mut peer = Self { begin: Value::Null, process, orders, answers };
        peer.begin = peer.answer();
        peer
    }

    fn told(&self, name: &str) -> &str {
        self.begin[name].as_str().expect("text")
    }

    /// Gives an order of `peer.py`; its answer.
    pub(crate) fn order(&mut self, what: &str, mut arguments: Value) -> Value {
        arguments["do"] = what.into();
        writeln!(self.orders, "{arguments}").expect("the peer runs");
        let answer = self.answer();
        assert!(
            answer["broken"].is_null(),
            "{arguments}: {}",
            answer["broken"].as_str().unwrap_or("")
        );
        answer
    }

    fn answer(&mut self) -> Value {
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("the peer answers");
        serde_json::from_str(&line).expect("JSON")
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
