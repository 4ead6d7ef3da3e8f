//! Two providers for all tests of this binary, and a ledger of what their mailboxes must hold.
//!
//! [`trial`] runs one test: it lets the test misbehave, then sends an honest message, then
//! compares every mailbox with the ledger. So each test proves that nothing was lost, nothing came
//! twice, nothing was smuggled in, and that memory stayed within [`MEMORY_OCTETS_MAX`].

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;

use crate::{
    support::{PASSWORD, Pair, Provider, list_from, mail_client, run, wait_until},
    wire::Wire,
};

/// What a provider may hold at most, whatever is done to it. Measured with a debug build: 70 MiB
/// at rest, 180 MiB with a message over the limit coming in, 290 MiB with the memory for messages
/// used up.
const MEMORY_OCTETS_MAX: u64 = 512 << 20;

/// Less than by default, so that a test can use it up.
const LIMITS: &str = "[limits]\nmessage_memory_octets_max = \"512 MB\"";

/// A receipt that should not be there would come with the honest one or soon after.
const LATE_TIME: Duration = Duration::from_millis(300);

/// The last byte of the source of those who do nothing wrong.
pub(crate) const HONEST: u8 = 1;

/// The three mailboxes that tests use.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum User {
    Mario,
    Anna,
    Bruno,
}

const USERS: [User; 3] = [User::Mario, User::Anna, User::Bruno];

/// What a mailbox holds: the UID after the last message read, and the messages in words.
#[derive(Debug, Default)]
struct Held {
    uid_next: u64,
    messages: Vec<String>,
}

/// The providers and the ledger.
pub(crate) struct World {
    pub(crate) pair: Pair,
    expected: BTreeMap<User, Vec<String>>,
    held: BTreeMap<User, Held>,
    honest: u32,
    /// Whether the last trial ended well, so that the ledger holds.
    settled: bool,
}

static SHARED: Mutex<Weak<Mutex<World>>> = Mutex::new(Weak::new());

/// The providers that run, or new ones. They stop when the last test that waits for them ends.
fn shared() -> Arc<Mutex<World>> {
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(world) = shared.upgrade() {
        return world;
    }
    let world = Arc::new(Mutex::new(World::new()));
    *shared = Arc::downgrade(&world);
    world
}

/// Runs one test; see the module.
pub(crate) fn trial(test: impl FnOnce(&mut World)) {
    let shared = shared();
    let mut world = shared.lock().unwrap_or_else(PoisonError::into_inner);
    if !world.settled {
        world.accept_what_is_there();
    }
    world.settled = false;
    let begin = std::time::Instant::now();
    for provider in [&world.pair.alfa, &world.pair.beta] {
        provider.forget_memory_peak();
    }
    test(&mut world);
    world.exchange_honestly();
    world.assert_memory(begin.elapsed());
    world.settled = true;
}

impl World {
    fn new() -> Self {
        let mut pair = Pair::new(LIMITS);
        // Many tests in a minute send with this account.
        pair.alfa.let_flood(&pair.alfa.address("mario"));
        pair.alfa.start();
        pair.beta.start();
        let (expected, held) = (BTreeMap::new(), BTreeMap::new());
        Self { pair, expected, held, honest: 0, settled: true }
    }

    /// Alfa, whose access point most tests annoy.
    pub(crate) fn alfa(&self) -> &Provider {
        &self.pair.alfa
    }

    /// Beta, whose incoming point they annoy.
    pub(crate) fn beta(&self) -> &Provider {
        &self.pair.beta
    }

    pub(crate) fn address(&self, user: User) -> String {
        match user {
            User::Mario => self.pair.alfa.address("mario"),
            User::Anna => self.pair.beta.address("anna"),
            User::Bruno => self.pair.beta.address("bruno"),
        }
    }

    fn provider(&self, user: User) -> &Provider {
        if user == User::Mario { &self.pair.alfa } else { &self.pair.beta }
    }

    /// A connection under TLS to a port of alfa.
    pub(crate) fn tls(&self, source: u8, port: u16) -> Wire {
        Wire::tls(source, port, &self.pair.authority)
    }

    /// A session on alfa's submission port, greeted.
    pub(crate) fn submission(&self, source: u8) -> Wire {
        let mut wire = self.tls(source, self.pair.alfa.ports.submissions);
        assert!(wire.reply().starts_with("220 "));
        assert!(wire.say("EHLO client.example").starts_with("250 "));
        wire
    }

    /// The same, logged in as Mario.
    pub(crate) fn logged_in(&self) -> Wire {
        let mut wire = self.submission(HONEST);
        let reply = wire.say(auth_plain(&self.address(User::Mario), PASSWORD));
        assert!(reply.starts_with("235 2.7.0 "), "{reply}");
        wire
    }

    /// A session on beta's relay port, greeted.
    pub(crate) fn relay(&self, source: u8) -> Wire {
        let mut wire = Wire::plain(source, self.pair.beta.ports.relay);
        assert!(wire.reply().starts_with("220 "));
        assert!(wire.say("EHLO mail.altrove.example").starts_with("250 "));
        wire
    }

    /// An IMAP session, logged in.
    pub(crate) fn imap(&self, user: User) -> Wire {
        let mut wire = self.tls(HONEST, self.provider(user).ports.imaps);
        assert!(wire.line().is_some_and(|line| line.starts_with("* OK ")));
        let lines = wire.imap(format!("LOGIN {} {PASSWORD}", self.address(user)));
        assert!(lines.last().is_some_and(|line| line.starts_with("zq7 OK ")), "{lines:?}");
        wire
    }

    /// A POP3 session, logged in.
    pub(crate) fn pop3(&self, user: User) -> Wire {
        let mut wire = self.tls(HONEST, self.provider(user).ports.pop3s);
        assert!(wire.reply().starts_with("+OK"));
        assert!(wire.say(format!("USER {}", self.address(user))).starts_with("+OK"));
        let reply = wire.say(format!("PASS {PASSWORD}"));
        assert!(reply.starts_with("+OK"), "{reply}");
        wire
    }

    /// A message of Mario to Anna: its header without the empty line.
    pub(crate) fn header(&self, id: &str) -> String {
        format!(
            "From: {}\r\nTo: {}\r\nSubject: {id}\r\nMessage-ID: <{id}@client.example>\r\n",
            self.address(User::Mario),
            self.address(User::Anna),
        )
    }

    /// Puts a message into the ledger: it must be in the mailbox of `user` once.
    pub(crate) fn expect(&mut self, user: User, message: String) {
        self.expected.entry(user).or_default().push(message);
    }

    /// What Mario and Anna must hold of a message that went all the way.
    pub(crate) fn expect_exchange(&mut self, id: &str) {
        let anna = self.address(User::Anna);
        self.expect(User::Mario, format!("accettazione - <{id}@client.example> -"));
        self.expect(User::Mario, format!("avvenuta-consegna - <{id}@client.example> {anna}"));
        self.expect(User::Anna, format!("posta-certificata - <{id}@client.example> -"));
    }

    /// Sends a message as everybody does, and sees it and everything else arrive.
    pub(crate) fn exchange_honestly(&mut self) {
        self.send_honestly();
        self.compare();
    }

    #[expect(clippy::print_stderr, reason = "the figures are worth reading, most with --nocapture")]
    fn assert_memory(&self, took: Duration) {
        let test = std::thread::current().name().unwrap_or_default().to_owned();
        for provider in [&self.pair.alfa, &self.pair.beta] {
            let peak = provider.memory_peak();
            eprintln!("{test} ({took:.1?}): {} {} MiB", provider.mail_domain, peak >> 20);
            assert!(peak <= MEMORY_OCTETS_MAX, "{}: {peak} octets", provider.mail_domain);
        }
    }

    fn send_honestly(&mut self) {
        self.honest += 1;
        let (number, port) = (self.honest.to_string(), self.pair.alfa.ports.submissions);
        let (mario, anna) = (self.address(User::Mario), self.address(User::Anna));
        let (port, authority) = (port.to_string(), self.pair.authority.to_string_lossy());
        let arguments = ["submit", "localhost", &port, &authority, &mario, &number, "1", &anna];
        let output = run(mail_client(&arguments), PASSWORD);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        self.expect_exchange(&format!("prova.{number}"));
    }

    /// Waits for what the ledger says, and for nothing else.
    fn compare(&mut self) {
        wait_until("everything expected is there", || {
            USERS
                .into_iter()
                .all(|user| self.count(user) >= self.expected.get(&user).map_or(0, Vec::len))
        });
        std::thread::sleep(LATE_TIME);
        self.read_mailboxes();
        for user in USERS {
            let mut expected = self.expected.get(&user).cloned().unwrap_or_default();
            let mut held = self.held.remove(&user).unwrap_or_default();
            expected.sort();
            held.messages.sort();
            let only = |these: &[String], those: &[String]| -> Vec<String> {
                these.iter().filter(|message| !those.contains(message)).cloned().collect()
            };
            assert!(
                expected == held.messages,
                "{user:?}: missing {:?}, not expected {:?}, {} expected and {} held",
                only(&expected, &held.messages),
                only(&held.messages, &expected),
                expected.len(),
                held.messages.len(),
            );
            self.held.insert(user, held);
        }
    }

    /// After a trial that failed the ledger begins anew.
    fn accept_what_is_there(&mut self) {
        self.held.clear();
        self.read_mailboxes();
        self.expected =
            self.held.iter().map(|(user, held)| (*user, held.messages.clone())).collect();
    }

    fn read_mailboxes(&mut self) {
        for user in USERS {
            let known = self.held.get(&user);
            if self.count(user) == known.map_or(0, |held| held.messages.len()) {
                continue;
            }
            let first = known.map_or(1, |held| held.uid_next);
            let messages = self.messages(user, first);
            let held = self.held.entry(user).or_insert(Held { uid_next: 1, messages: Vec::new() });
            for message in messages {
                held.uid_next = message["uid"].as_u64().expect("a UID") + 1;
                held.messages.push(in_words(&message));
            }
        }
    }

    /// How many messages a mailbox has.
    pub(crate) fn count(&self, user: User) -> usize {
        let lines = self.imap(user).imap("STATUS INBOX (MESSAGES)");
        lines
            .first()
            .and_then(|line| line.rsplit_once("(MESSAGES ")?.1.strip_suffix(')')?.parse().ok())
            .unwrap_or_else(|| panic!("{lines:?}"))
    }

    /// The messages of a mailbox from UID `first` on.
    pub(crate) fn messages(&self, user: User, first: u64) -> Vec<Value> {
        let address = self.address(user);
        list_from(self.provider(user), &self.pair.authority, &address, "INBOX", first)
    }
}

/// After everything the providers stop as they should, and their stores are sound.
impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        for provider in [&mut self.pair.alfa, &mut self.pair.beta] {
            assert!(provider.stop(), "{}", provider.log());
            provider.administer(&["store", "check", "--json"], "");
        }
    }
}

/// The AUTH command for a login.
pub(crate) fn auth_plain(login: &str, password: &str) -> String {
    format!("AUTH PLAIN {}", STANDARD.encode(format!("\0{login}\0{password}")))
}

/// A message as the ledger names it: `tipo errore msgid consegna` of certified mail, the subject
/// of what is not.
fn in_words(message: &Value) -> String {
    let (data, headers) = (&message["daticert"], &message["headers"]);
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    // An anomaly envelope certifies nothing, though what it wraps may look as if it did.
    if data.is_null() || headers["X-Trasporto"] == "errore" {
        return format!(
            "X-Trasporto: {} {}",
            text(&headers["X-Trasporto"]),
            text(&headers["Subject"])
        );
    }
    let error = match data["errore"].as_str() {
        None | Some("nessuno") => "-",
        Some(error) => error,
    };
    format!("{} {error} {} {}", text(&data["tipo"]), text(&data["msgid"]), text(&data["consegna"]))
}
