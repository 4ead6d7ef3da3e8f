//! Name servers for tests: Debian's knot with zones of the test, signed by knot itself, below a root
//! zone of its own whose key is the trust anchor; Debian's unbound as a validating resolver in front
//! of it; and a server that is wrong on purpose.

use std::{
    fmt::Write as _,
    fs,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crate::ports;

/// What is done about DNSSEC in a zone.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Signing {
    /// Nothing; the root says so.
    Unsigned,
    /// Knot signs it, and the root vouches for its key.
    Signed,
    /// It was signed in 2025, for a day.
    Expired,
    /// As [`Signing::Signed`], with hashed names in its denials.
    Hashed,
    /// Signed, and then every `192.0.2.66` became `192.0.2.67`.
    Damaged,
    /// Not loaded: every question about it ends in SERVFAIL.
    Absent,
}

/// One zone: `a.test`, with records as they stand in a zone file behind `$ORIGIN`. SOA, NS and the
/// address of the name server are added.
#[derive(Clone, Debug)]
pub(crate) struct Zone {
    name: String,
    records: String,
    signing: Signing,
}

impl Zone {
    pub(crate) fn new(name: &str, signing: Signing, records: &str) -> Self {
        Self { name: name.to_owned(), records: records.to_owned(), signing }
    }

    fn text(&self) -> String {
        format!(
            "$ORIGIN {}.\n$TTL 300\n@ SOA ns hostmaster 1 3600 600 86400 30\n@ NS ns\nns A 127.0.0.1\n{}\n",
            self.name, self.records
        )
    }
}

/// A running knot.
#[derive(Debug)]
pub(crate) struct NameServer {
    /// Where it answers, over UDP and TCP.
    pub(crate) address: SocketAddr,
    /// DNSKEY of its root zone, for `dns.trust_anchor_file`.
    pub(crate) anchor: PathBuf,
    zones: Vec<String>,
    process: Child,
    folder: tempfile::TempDir,
}

/// How long a server may take to come up on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

const POLICY: &str = "    dnssec-signing: on\n    dnssec-policy: plain\n";
const HASHED_POLICY: &str = "    dnssec-signing: on\n    dnssec-policy: hashed\n";

impl NameServer {
    pub(crate) fn start(zones: &[Zone]) -> Self {
        let [port] = ports::free();
        Self::start_at(port, zones)
    }

    pub(crate) fn start_at(port: u16, zones: &[Zone]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let root = folder.path();
        for name in ["zones", "keys", "run"] {
            fs::create_dir(root.join(name)).expect("a folder");
        }
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let signing = root.join("signing.conf");
        fs::write(&signing, config(root, address, zones, |_| true)).expect("written");
        let mut delegations = String::new();
        for zone in zones {
            delegations.push_str(&prepare(root, &signing, zone));
        }
        keymgr(&signing, ".", &["generate", "algorithm=ECDSAP256SHA256", "ksk=yes", "zsk=yes"]);
        let soa = ". 300 SOA ns.test. hostmaster.test. 1 3600 600 86400 30\n. 300 NS ns.test.\n";
        let text = format!("{soa}ns.test. 300 A 127.0.0.1\n{delegations}");
        fs::write(root.join("zones/root.zone"), text).expect("written");
        let key = keymgr(&signing, ".", &["dnskey"]);
        let anchor = root.join("anchor.key");
        fs::write(&anchor, key.replace(" DNSKEY ", " IN DNSKEY ")).expect("written");

        let serving = root.join("knot.conf");
        let signs = |zone: &Zone| matches!(zone.signing, Signing::Signed | Signing::Hashed);
        fs::write(&serving, config(root, address, zones, signs)).expect("written");
        let log = fs::File::create(root.join("knot.log")).expect("a log file");
        let process = Command::new("knotd")
            .arg("-c")
            .arg(&serving)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a handle"))
            .stderr(log)
            .spawn()
            .expect("knotd of the package knot starts");
        let zones = zones.iter().map(|zone| zone.name.clone()).collect();
        let server = Self { address, anchor, zones, process, folder };
        // Zones are loaded and signed before.
        wait_for_line(&server.folder.path().join("knot.log"), "server started");
        server
    }

    /// The section `[dns]` of a configuration that asks this server and validates its signatures.
    pub(crate) fn section(&self) -> String {
        format!(
            "[dns]\nservers = [\"{}\"]\ndnssec = \"validate\"\ntrust_anchor_file = \"{}\"\n",
            self.address,
            self.anchor.display()
        )
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The configuration of knot; `signs` says which zones it signs, besides the root.
fn config(
    root: &Path,
    address: SocketAddr,
    zones: &[Zone],
    signs: impl Fn(&Zone) -> bool,
) -> String {
    let (ip, port, root) = (address.ip(), address.port(), root.display());
    let policy = |name: &str, hashed: &str| {
        format!(
            "  - id: {name}\n    algorithm: ECDSAP256SHA256\n    single-type-signing: on\n    ksk-lifetime: 0\n    \
             rrsig-lifetime: 1d\n    nsec3: {hashed}\n    nsec3-iterations: 0\n"
        )
    };
    let policies = policy("plain", "off") + &policy("hashed", "on");
    let mut text = format!(
        "server:\n    listen: {ip}@{port}\n    rundir: {root}/run\n    udp-workers: 1\n    tcp-workers: 1\n    \
         background-workers: 1\nlog:\n  - target: stderr\n    any: info\ndatabase:\n    storage: {root}/keys\n\
         policy:\n{policies}template:\n  - id: default\n    storage: {root}/zones\n    file: \"%s.zone\"\n    \
         zonefile-sync: -1\n    zonefile-load: whole\n    journal-content: none\nzone:\n  - domain: .\n    \
         file: root.zone\n{POLICY}"
    );
    for zone in zones {
        let _ = writeln!(text, "  - domain: {}", zone.name);
        match zone.signing {
            Signing::Unsigned | Signing::Absent => {}
            Signing::Hashed => text.push_str(HASHED_POLICY),
            _ if signs(zone) => text.push_str(POLICY),
            _ => {}
        }
    }
    text
}

/// Writes the zone's file and makes its keys. Returns what the root says about it.
fn prepare(root: &Path, signing: &Path, zone: &Zone) -> String {
    let file = root.join(format!("zones/{}.zone", zone.name));
    fs::write(&file, zone.text()).expect("written");
    let mut delegation = format!("{0}. 300 NS ns.{0}.\nns.{0}. 300 A 127.0.0.1\n", zone.name);
    let generate = ["generate", "algorithm=ECDSAP256SHA256", "ksk=yes", "zsk=yes"];
    let long_ago =
        ["created", "publish", "ready", "active"].map(|at| format!("{at}=20240101000000"));
    match zone.signing {
        Signing::Unsigned => return delegation,
        Signing::Absent => {
            fs::remove_file(&file).expect("removed");
            return delegation;
        }
        Signing::Signed | Signing::Hashed | Signing::Damaged => {
            drop(keymgr(signing, &zone.name, &generate));
        }
        Signing::Expired => {
            let arguments: Vec<&str> =
                generate.into_iter().chain(long_ago.iter().map(String::as_str)).collect();
            keymgr(signing, &zone.name, &arguments);
        }
    }
    delegation.push_str(&keymgr(signing, &zone.name, &["ds"]));
    if matches!(zone.signing, Signing::Expired | Signing::Damaged) {
        let mut sign = Command::new("kzonesign");
        sign.arg("-c").arg(signing).arg("-o").arg(root.join("zones"));
        if zone.signing == Signing::Expired {
            // 1 January 2025.
            sign.args(["-t", "1735689600"]);
        }
        output(sign.arg(&zone.name));
        let text = fs::read_to_string(&file).expect("the signed zone");
        fs::write(&file, text.replace("192.0.2.66", "192.0.2.67")).expect("written");
    }
    delegation
}

fn keymgr(config: &Path, zone: &str, arguments: &[&str]) -> String {
    output(Command::new("keymgr").arg("-c").arg(config).arg(zone).args(arguments))
}

fn output(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn wait_for_line(log: &Path, words: &str) {
    let begin = Instant::now();
    loop {
        let text = fs::read_to_string(log).unwrap_or_default();
        if text.contains(words) {
            return;
        }
        assert!(begin.elapsed() < PATIENCE, "no \"{words}\" in {}:\n{text}", log.display());
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A running unbound: a resolver that validates, in front of a [`NameServer`].
#[derive(Debug)]
pub(crate) struct ValidatingResolver {
    pub(crate) address: SocketAddr,
    process: Child,
    _folder: tempfile::TempDir,
}

impl ValidatingResolver {
    pub(crate) fn start(behind: &NameServer) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let [port] = ports::free();
        let root = folder.path().display();
        let mut text = format!(
            "server:\n  interface: 127.0.0.1@{port}\n  port: {port}\n  do-daemonize: no\n  username: \"\"\n  \
             chroot: \"\"\n  directory: \"{root}\"\n  pidfile: \"\"\n  use-syslog: no\n  logfile: \"\"\n  verbosity: 1\n  \
             do-ip6: no\n  num-threads: 1\n  do-not-query-localhost: no\n  module-config: \"validator iterator\"\n  \
             local-zone: \"test.\" nodefault\n  trust-anchor-file: \"{}\"\n",
            behind.anchor.display()
        );
        let (ip, port_behind) = (behind.address.ip(), behind.address.port());
        for zone in [".".to_owned()].iter().chain(&behind.zones) {
            let _ = write!(
                text,
                "stub-zone:\n  name: \"{zone}\"\n  stub-addr: {ip}@{port_behind}\n  stub-prime: no\n"
            );
        }
        let config = folder.path().join("unbound.conf");
        fs::write(&config, text).expect("written");
        let log = folder.path().join("unbound.log");
        let process = Command::new("unbound")
            .arg("-d")
            .arg("-c")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(&log).expect("a log file"))
            .spawn()
            .expect("unbound of the package unbound starts");
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let resolver = Self { address, process, _folder: folder };
        wait_for_line(&log, "start of service");
        resolver
    }
}

impl Drop for ValidatingResolver {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// How a server is wrong.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Wrong {
    /// REFUSED.
    Refuses,
    /// SERVFAIL.
    Fails,
    /// A response code that nobody has given a meaning.
    Babbles,
    /// Names other servers for every zone.
    Refers,
    /// NOERROR, and nothing else: no SOA either.
    Blank,
    /// Says where the root is, whatever was asked for.
    Strays,
    /// Takes the question and says nothing.
    Silent,
}

/// A server that is wrong about everything; it ends with the test.
#[derive(Debug)]
pub(crate) struct WrongServer {
    pub(crate) address: SocketAddr,
    questions: Arc<AtomicU64>,
}

impl WrongServer {
    pub(crate) fn start(wrong: Wrong) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
        let address = socket.local_addr().expect("its address");
        let questions = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&questions);
        std::thread::spawn(move || {
            let mut query = [0; 1500];
            while let Ok((length, peer)) = socket.recv_from(&mut query) {
                counted.fetch_add(1, Ordering::Relaxed);
                if let Some(answer) = wrong_answer(wrong, &query[..length]) {
                    let _ = socket.send_to(&answer, peer);
                }
            }
        });
        Self { address, questions }
    }

    /// A server that has the answers of `behind`, and none about names with `silent` in them.
    pub(crate) fn start_before(behind: &NameServer, silent: &'static str) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
        let asking = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
        asking.connect(behind.address).expect("connected");
        asking.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        let address = socket.local_addr().expect("its address");
        let questions = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&questions);
        std::thread::spawn(move || {
            let mut message = [0; 4096];
            while let Ok((length, peer)) = socket.recv_from(&mut message) {
                counted.fetch_add(1, Ordering::Relaxed);
                let query = &message[..length];
                if query.windows(silent.len()).any(|octets| octets == silent.as_bytes()) {
                    continue;
                }
                // One at a time: an answer is that of the question before it.
                let answered = asking.send(query).and_then(|_| asking.recv(&mut message));
                let Ok(length) = answered else { return };
                let _ = socket.send_to(&message[..length], peer);
            }
        });
        Self { address, questions }
    }

    /// Questions that it has seen.
    pub(crate) fn questions(&self) -> u64 {
        self.questions.load(Ordering::Relaxed)
    }
}

/// The message of RFC 1035 §4.1 with the question, and at most one record.
fn wrong_answer(wrong: Wrong, query: &[u8]) -> Option<Vec<u8>> {
    let labels = query.get(12..)?.iter().position(|octet| *octet == 0)?;
    let mut answer = query.get(..12 + labels + 5)?.to_vec();
    let (code, records): (u8, &[u8]) = match wrong {
        Wrong::Silent => return None,
        Wrong::Refuses => (5, &[]),
        Wrong::Fails => (2, &[]),
        Wrong::Babbles => (12, &[]),
        Wrong::Blank => (0, &[]),
        // A: 192.0.2.1, of the root.
        Wrong::Strays => (0, &[0, 0, 1, 0, 1, 0, 0, 1, 0, 0, 4, 192, 0, 2, 1]),
        // NS: the very name that was asked for.
        Wrong::Refers => (0, &[0xc0, 12, 0, 2, 0, 1, 0, 0, 1, 0, 0, 2, 0xc0, 12]),
    };
    answer[2] = 0x81;
    answer[3] = code;
    answer[6..12].fill(0);
    if !records.is_empty() {
        // ANCOUNT or NSCOUNT.
        answer[if wrong == Wrong::Strays { 7 } else { 9 }] = 1;
    }
    answer.extend_from_slice(records);
    Some(answer)
}
