//! Real providers for the tests, two or one: processes of the program on loopback, each with its own
//! data folder, set up with the command line as an operator would, read by clients nobody here wrote.

pub(crate) mod load;
pub(crate) mod ports;
pub(crate) mod template;

use std::{
    fmt::Write as _,
    io::{Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use self::template::Template;
use trust::{
    authority::{DevelopmentAuthority, Issued},
    clock::SystemClock,
    random::SystemRandom,
};

/// The program under test.
const PROGRAM: &str = env!("CARGO_BIN_EXE_ceralacca");

/// The password of every account in the tests.
pub(crate) const PASSWORD: &str = "Prova-di-sicurezza-2026";

/// DNS where nothing listens: every question fails soon, and mail is taken all the same.
pub(crate) const NO_DNS: &str = "[dns]\nservers = [\"127.0.0.1:9\"]\ntimeout = \"50 ms\"\ntries = 1\n\
     [ordinary_mail]\ndmarc_reject = false\n";

/// No scanner: what has one says so with its own `[antivirus]`.
pub(crate) const UNCHECKED: &str = "[antivirus]\ncheck = \"none\"\n";

/// `text`, which says nothing of a scanner, with none.
fn unchecked(text: &str) -> &'static str {
    if text.contains("[antivirus]") { "" } else { UNCHECKED }
}

/// Longest wait for anything that should happen soon, on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_mins(2);

/// Ports of one provider.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ports {
    pub(crate) relay: u16,
    pub(crate) submission: u16,
    pub(crate) submissions: u16,
    pub(crate) imap: u16,
    pub(crate) imaps: u16,
    pub(crate) pop3: u16,
    pub(crate) pop3s: u16,
    pub(crate) operations: u16,
}

impl Ports {
    fn free() -> Self {
        let [relay, submission, submissions, imap, imaps, pop3, pop3s, operations] = ports::free();
        Self { relay, submission, submissions, imap, imaps, pop3, pop3s, operations }
    }
}

/// A provider: its folder, its ports, and its process while it runs.
#[derive(Debug)]
pub(crate) struct Provider {
    pub(crate) folder: PathBuf,
    pub(crate) ports: Ports,
    pub(crate) mail_domain: String,
    pub(crate) pec_domain: String,
    process: Option<Child>,
    /// The folder's owner, when no other provider lies beside it.
    own_folder: Option<tempfile::TempDir>,
}

/// Two providers that know each other, and the authority both trust.
#[derive(Debug)]
pub(crate) struct Pair {
    pub(crate) alfa: Provider,
    pub(crate) beta: Provider,
    pub(crate) authority: PathBuf,
    _folder: tempfile::TempDir,
}

static PAIR: Template = Template::new();
static ALONE: Template = Template::new();

impl Pair {
    /// Two with the accounts `mario@pec.alfa.example`, `anna@pec.beta.example` and
    /// `bruno@pec.beta.example`. `extra` is appended to both configurations.
    pub(crate) fn new(extra: &str) -> Self {
        let folder = PAIR.copy(Self::make);
        let root = folder.path();
        let (alfa, beta) = (Provider::new(root, "alfa"), Provider::new(root, "beta"));
        let shared = root.join("shared");
        alfa.configure(&beta, &shared, extra);
        beta.configure(&alfa, &shared, extra);
        Self { alfa, beta, authority: shared.join("authority.pem"), _folder: folder }
    }

    fn make(root: &Path) {
        let shared = root.join("shared");
        let authority =
            DevelopmentAuthority::open(&shared, Arc::new(SystemClock), Arc::new(SystemRandom))
                .expect("an authority");
        let (alfa, beta) = (Provider::new(root, "alfa"), Provider::new(root, "beta"));
        let mut ldif = String::new();
        for provider in [&alfa, &beta] {
            provider.make_credentials(&authority, &mut ldif);
        }
        std::fs::write(shared.join("gestori.ldif"), ldif).expect("written");
        alfa.configure(&beta, &shared, "");
        beta.configure(&alfa, &shared, "");
        alfa.add_accounts(&["mario"]);
        beta.add_accounts(&["anna", "bruno"]);
    }
}

impl Provider {
    /// One in the folder `name` of `root`; nothing of it is written yet.
    pub(crate) fn new(root: &Path, name: &str) -> Self {
        let folder = root.join(name);
        std::fs::create_dir_all(&folder).expect("a folder");
        Self {
            folder,
            ports: Ports::free(),
            mail_domain: format!("{name}.example"),
            pec_domain: format!("pec.{name}.example"),
            process: None,
            own_folder: None,
        }
    }

    /// A provider by itself, with the certificates that the program made when it first started:
    /// `pec.alfa.example` with the accounts `anna` and `bruno`.
    pub(crate) fn alone() -> Self {
        Self::alone_with("")
    }

    /// The same with more settings: lines of `[listen]`, then sections.
    pub(crate) fn alone_with(more: &str) -> Self {
        let folder = ALONE.copy(|folder| {
            let mut provider = Self::new(folder, "alfa");
            provider.write_config(&(provider.configuration() + NO_DNS + UNCHECKED));
            provider.add_accounts(&["anna", "bruno"]);
            provider.start();
            assert!(provider.stop(), "{}", provider.log());
        });
        let mut provider = Self::new(folder.path(), "alfa");
        provider.write_config(&(provider.configuration() + more + NO_DNS + unchecked(more)));
        provider.own_folder = Some(folder);
        provider
    }

    /// The certificate that clients of a provider by itself must trust.
    pub(crate) fn own_authority(&self) -> PathBuf {
        self.folder.join("data/authority/authority.pem")
    }

    /// Its certificates, and its record in `ldif`.
    pub(crate) fn make_credentials(&self, authority: &DevelopmentAuthority, ldif: &mut String) {
        use base64::Engine as _;
        let name = format!("Gestore {}", self.mail_domain);
        let service = format!("posta-certificata@{}", self.mail_domain);
        let host = format!("mail.{}", self.mail_domain);
        let signing = authority.issue_provider(&name, &service).expect("a certificate");
        let tls = authority
            .issue_tls(&[&host, "localhost"], &[IpAddr::V4(Ipv4Addr::LOCALHOST)])
            .expect("a certificate");
        for (file, Issued { certificate, key }) in [("signing", &signing), ("tls", &tls)] {
            let mut pem = certificate.to_pem().expect("PEM");
            pem.extend(authority.certificate().to_pem().expect("PEM"));
            std::fs::write(self.folder.join(format!("{file}.pem")), pem).expect("written");
            key.write(&self.folder.join(format!("{file}.key"))).expect("written");
        }
        let der = base64::engine::general_purpose::STANDARD.encode(signing.certificate.to_der());
        write!(
            ldif,
            "dn: providerName={name},o=postacert\nobjectClass: top\nobjectClass: provider\nproviderName: {name}\n\
             mailReceipt: {service}\nmanagedDomains: {}\nmanagedDomains: {}\n\
             providerCertificateHash: {}\nproviderCertificate;binary:: {der}\n\n",
            self.pec_domain,
            self.mail_domain,
            signing.certificate.sha1_hex(),
        )
        .expect("a string grows");
    }

    /// The settings of every provider.
    pub(crate) fn configuration(&self) -> String {
        let Ports { relay, submission, submissions, imap, imaps, pop3, pop3s, operations } =
            self.ports;
        format!(
            "[provider]\nname = \"Gestore {mail}\"\nmail_domain = \"{mail}\"\nhost_name = \"mail.{mail}\"\n\
             pec_domains = [\"{pec}\"]\n\
             [data]\nfolder = \"data\"\n\
             [listen]\nsmtp_relay = \"127.0.0.1:{relay}\"\nsubmission = \"127.0.0.1:{submission}\"\n\
             submissions = \"127.0.0.1:{submissions}\"\nimaps = \"127.0.0.1:{imaps}\"\n\
             imap = \"127.0.0.1:{imap}\"\npop3 = \"127.0.0.1:{pop3}\"\n\
             pop3s = \"127.0.0.1:{pop3s}\"\noperations = \"127.0.0.1:{operations}\"\n",
            mail = self.mail_domain,
            pec = self.pec_domain,
        )
    }

    /// Those of one that knows `other`, with `extra`.
    fn configure(&self, other: &Self, shared: &Path, extra: &str) {
        let common = self.configuration();
        // No name of a test is asked of the machine's own servers.
        let dns = if extra.contains("[dns]") { "" } else { NO_DNS };
        let text = format!(
            "{common}[tls]\ncertificate_file = \"tls.pem\"\nkey_file = \"tls.key\"\n\
             [signing]\ncertificate_file = \"signing.pem\"\nkey_file = \"signing.key\"\n\
             [directory]\nldif_file = \"{shared}/gestori.ldif\"\n\
             [trust]\nauthority_files = [\"{shared}/authority.pem\"]\nrevocation_files = [\"{shared}/authority.crl\"]\n\
             [routes]\n\"{other_pec}\" = \"127.0.0.1:{other_relay}\"\n\"{other_mail}\" = \"127.0.0.1:{other_relay}\"\n\
             {extra}\n{dns}\n{unchecked}",
            shared = shared.display(),
            other_pec = other.pec_domain,
            other_mail = other.mail_domain,
            other_relay = other.ports.relay,
            unchecked = unchecked(extra),
        );
        self.write_config(&text);
    }

    /// Gives the provider the section `antivirus` in place of none.
    pub(crate) fn scan_with(&self, antivirus: &str) {
        let text = std::fs::read_to_string(self.config()).expect("a configuration");
        self.write_config(&text.replace(UNCHECKED, antivirus));
    }

    pub(crate) fn write_config(&self, text: &str) {
        std::fs::write(self.config(), text).expect("written");
    }

    fn config(&self) -> PathBuf {
        self.folder.join("ceralacca.toml")
    }

    /// The address of one of this provider's accounts.
    pub(crate) fn address(&self, local_part: &str) -> String {
        format!("{local_part}@{}", self.pec_domain)
    }

    /// A command of the program on this provider, not yet run.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command.arg("--config").arg(self.config()).args(arguments);
        command
    }

    /// Runs a command of the program on this provider.
    pub(crate) fn run(&self, arguments: &[&str], input: &str) -> Output {
        run(self.command(arguments), input)
    }

    /// As [`Provider::run`], with settings that variables of the environment change.
    pub(crate) fn run_with(&self, variables: &[(&str, &str)], arguments: &[&str]) -> Output {
        let mut command = Command::new(PROGRAM);
        command.arg("--config").arg(self.config()).args(arguments);
        command.envs(variables.iter().copied());
        run(command, "")
    }

    /// As [`Provider::run`], and it must succeed.
    pub(crate) fn administer(&self, arguments: &[&str], input: &str) -> String {
        let output = self.run(arguments, input);
        assert!(
            output.status.success(),
            "{arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    /// Accounts of one owner on the plan that accounts are made on.
    pub(crate) fn add_accounts(&self, local_parts: &[&str]) {
        let person = ["--name", "Mario", "--surname", "Rossi"];
        let code = ["--codice-fiscale", "RSSMRA79B11C566R"];
        let owner = json(self, &[&["owner", "add"][..], &person, &code].concat())["id"].to_string();
        for local_part in local_parts {
            let address = self.address(local_part);
            let plan = ["--owner", &owner, "--plan", "base", "--password-stdin"];
            self.administer(&[&["account", "add", &address][..], &plan].concat(), PASSWORD);
        }
    }

    /// Puts an account on the plan that may send most, 2,500 messages in a minute: the one that
    /// accounts are made on lets people send 50.
    pub(crate) fn let_flood(&self, address: &str) {
        self.administer(&["account", "set", address, "--plan", "massiva-avanzata"], "");
    }

    /// Starts the process and waits until it is ready.
    pub(crate) fn start(&mut self) {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.folder.join("ceralacca.log"))
            .expect("a log file");
        let child = Command::new(PROGRAM)
            .arg("--config")
            .arg(self.config())
            .arg("serve")
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a handle"))
            .stderr(log)
            .spawn()
            .expect("the program starts");
        self.process = Some(child);
        let ports = self.ports;
        wait_until("the provider is ready", || {
            http_status(ports.operations, "/readyz") == Some(200)
        });
    }

    /// SIGKILL: no farewell of any kind.
    pub(crate) fn kill(&mut self) {
        let mut process = self.process.take().expect("a running provider");
        process.kill().expect("killed");
        process.wait().expect("gone");
    }

    /// SIGTERM, and waits for the end. Returns whether it ended well.
    pub(crate) fn stop(&mut self) -> bool {
        let mut process = self.process.take().expect("a running provider");
        let id = i32::try_from(process.id()).expect("a process id");
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(id), nix::sys::signal::Signal::SIGTERM)
            .expect("told");
        process.wait().expect("gone").success()
    }

    /// Waits until the process ends by itself; its exit code.
    pub(crate) fn ended(&mut self) -> Option<i32> {
        let mut process = self.process.take().expect("a running provider");
        let mut status = None;
        wait_until("the provider ends by itself", || {
            status = process.try_wait().expect("asked");
            status.is_some()
        });
        status.and_then(|status| status.code())
    }

    /// Begins to measure the most memory anew.
    pub(crate) fn forget_memory_peak(&self) {
        // Where the kernel does not offer it the peak is that of the whole run: stricter.
        let _ = std::fs::write(format!("/proc/{}/clear_refs", self.process_id()), "5");
    }

    /// The most memory that the process has had, in octets (`VmHWM` of proc_pid_status(5)).
    pub(crate) fn memory_peak(&self) -> u64 {
        let path = format!("/proc/{}/status", self.process_id());
        let status = std::fs::read_to_string(path).expect("the provider runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
        let kibibytes: u64 = line.trim_end_matches("kB").trim().parse().expect("a number");
        kibibytes << 10
    }

    fn process_id(&self) -> u32 {
        self.process.as_ref().expect("a running provider").id()
    }

    /// The log, for messages of failing tests.
    pub(crate) fn log(&self) -> String {
        let mut text = String::new();
        if let Ok(mut file) = std::fs::File::open(self.folder.join("ceralacca.log")) {
            // What cannot be read of a log only makes the message of a failing test shorter.
            let _ = file.read_to_string(&mut text);
        }
        text
    }
}

impl Drop for Provider {
    #[expect(clippy::print_stderr, reason = "a failing test shows what the provider logged")]
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            let _ = process.kill();
            let _ = process.wait();
        }
        if std::thread::panicking() {
            eprintln!("log of {}:\n{}", self.mail_domain, self.log());
        }
    }
}

/// A mailbox from which nothing is removed, read piece by piece while it fills.
#[derive(Debug, Default)]
pub(crate) struct Filling(Vec<serde_json::Value>);

impl Filling {
    /// Reads what came since the last time; everything that is there.
    pub(crate) fn read(
        &mut self,
        provider: &Provider,
        authority: &Path,
        user: &str,
        mailbox: &str,
    ) -> &[serde_json::Value] {
        let next = self.0.last().map_or(1, |last| last["uid"].as_u64().expect("a UID") + 1);
        self.0.extend(list_from(provider, authority, user, mailbox, next));
        &self.0
    }
}

/// What a command prints with `--json`; it must succeed.
pub(crate) fn json(provider: &Provider, arguments: &[&str]) -> serde_json::Value {
    let arguments = [arguments, &["--json"]].concat();
    serde_json::from_str(&provider.administer(&arguments, "")).expect("JSON")
}

/// The value of a metric at `/metrics`, by its name and labels; 0 when it was never counted.
pub(crate) fn metric(provider: &Provider, name: &str) -> u64 {
    let answer = http_get(provider.ports.operations, "/metrics").expect("the operations port");
    let mut lines = answer.lines();
    let found = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    found.map_or(0, |value| value.trim().parse().expect("a number"))
}

/// Runs a command with `input` on its standard input.
pub(crate) fn run(mut command: Command, input: &str) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    child
        .stdin
        .take()
        .expect("piped")
        .write_all(format!("{input}\n").as_bytes())
        .expect("read by the command");
    child.wait_with_output().expect("it ends")
}

/// Python's mail clients; see `mail.py` for the words.
pub(crate) fn mail_client(arguments: &[&str]) -> Command {
    let mut command = Command::new("python3");
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/mail.py")).args(arguments);
    command
}

/// Everything in a mailbox, as `mail.py list` prints it.
pub(crate) fn list(
    provider: &Provider,
    authority: &Path,
    user: &str,
    mailbox: &str,
) -> Vec<serde_json::Value> {
    list_from(provider, authority, user, mailbox, 1)
}

/// As [`list`], from UID `first` on.
pub(crate) fn list_from(
    provider: &Provider,
    authority: &Path,
    user: &str,
    mailbox: &str,
    first: u64,
) -> Vec<serde_json::Value> {
    let (port, first) = (provider.ports.imaps.to_string(), first.to_string());
    let authority = authority.to_string_lossy();
    let arguments = ["list", "localhost", &port, &authority, user, mailbox, &first];
    let output = run(mail_client(&arguments), PASSWORD);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout)
        .expect("UTF-8")
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

/// The status of an HTTP answer, `None` without one.
pub(crate) fn http_status(port: u16, path: &str) -> Option<u16> {
    http_get(port, path)?.split_whitespace().nth(1)?.parse().ok()
}

/// What an HTTP answer says.
pub(crate) fn http_body(port: u16, path: &str) -> String {
    let answer = http_get(port, path).expect("an answer");
    answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default()
}

fn http_get(port: u16, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    Some(String::from_utf8_lossy(&answer).into_owned())
}

/// Waits until `condition` holds, or fails the test. One that takes long to look at is looked at less
/// often, so that looking does not take the machine from what is waited for.
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let begin = Instant::now();
    loop {
        let look = Instant::now();
        if condition() {
            return;
        }
        assert!(begin.elapsed() < PATIENCE, "waited {PATIENCE:?} in vain until {what}");
        std::thread::sleep(look.elapsed().max(Duration::from_millis(50)));
    }
}
