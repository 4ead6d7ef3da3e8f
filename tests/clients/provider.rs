//! A provider for one test: a process of its own on free loopback ports, set up by the command line,
//! with certificates of its own development authority.

use std::{
    fs::File,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use crate::ports;

/// Longest wait for a provider to answer.
const START_LIMIT: Duration = Duration::from_secs(30);

pub(crate) const PASSWORD: &str = "correct horse battery staple";
pub(crate) const ANNA: &str = "anna@pec.alfa.example";
pub(crate) const BRUNO: &str = "bruno@pec.alfa.example";

/// The ports of a provider.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ports {
    pub(crate) relay: u16,
    pub(crate) submission: u16,
    pub(crate) submissions: u16,
    pub(crate) imaps: u16,
    pub(crate) pop3s: u16,
    pub(crate) operations: u16,
}

/// A running provider with two accounts; ends with the test.
#[derive(Debug)]
pub(crate) struct Provider {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) ports: Ports,
    process: Child,
}

impl Provider {
    /// Starts a provider for `pec.alfa.example` with the accounts [`ANNA`] and [`BRUNO`].
    pub(crate) fn start() -> Self {
        Self::start_with("")
    }

    /// The same with more settings: lines of `[listen]`, then sections.
    pub(crate) fn start_with(more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ports = free_ports();
        let configuration = configuration(ports) + more;
        std::fs::write(folder.path().join("ceralacca.toml"), configuration).unwrap();
        let owner = add_owner(folder.path());
        for address in [ANNA, BRUNO] {
            add_account(folder.path(), address, &owner);
        }
        let process = serve(folder.path());
        let provider = Self { folder, ports, process };
        provider.wait_until_ready();
        provider
    }

    /// The certificate that clients must trust.
    pub(crate) fn authority(&self) -> PathBuf {
        self.folder.path().join("data/authority/authority.pem")
    }

    /// Puts ports, accounts and the authority into the environment of a script.
    pub(crate) fn tell(&self, command: &mut Command) {
        let Ports { submission, submissions, imaps, pop3s, .. } = self.ports;
        let ports = [
            ("SUBMISSION", submission),
            ("SUBMISSIONS", submissions),
            ("IMAPS", imaps),
            ("POP3S", pop3s),
        ];
        command.envs(ports.map(|(name, port)| (name, port.to_string())));
        command.env("SENDER", ANNA).env("RECIPIENT", BRUNO).env("PASSWORD", PASSWORD);
        command.env("AUTHORITY", self.authority());
    }

    /// A file in the test's folder.
    pub(crate) fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Reads an account until it has `count` messages, over IMAP with curl; returns how many it has.
    pub(crate) fn wait_for_messages(&self, address: &str, count: usize) -> usize {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let found = self.messages(address);
            if found >= count || Instant::now() > deadline {
                return found;
            }
            sleep(Duration::from_millis(100));
        }
    }

    /// Counts messages whose header `name` holds `value`, as the server's search finds them.
    pub(crate) fn with_header(&self, address: &str, name: &str, value: &str) -> usize {
        self.search(address, &format!("HEADER {name} {value}"))
    }

    /// What the server has logged, without colours.
    pub(crate) fn log(&self) -> String {
        let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        let mut plain = String::new();
        for (number, part) in log.split("\u{1b}[").enumerate() {
            plain.push_str(if number == 0 {
                part
            } else {
                part.split_once('m').map_or("", |(_, rest)| rest)
            });
        }
        plain
    }

    fn messages(&self, address: &str) -> usize {
        self.search(address, "ALL")
    }

    fn search(&self, address: &str, key: &str) -> usize {
        let url = format!("imaps://localhost:{}/INBOX", self.ports.imaps);
        let request = format!("UID SEARCH {key}");
        let printed = self.curl(address, PASSWORD, &["--url", &url, "--request", &request]);
        assert_eq!(printed.status, 0, "{}", printed.complaint);
        printed
            .text
            .lines()
            .filter_map(|line| line.strip_prefix("* SEARCH"))
            .flat_map(str::split_whitespace)
            .count()
    }

    /// Runs curl as `address`.
    pub(crate) fn curl(&self, address: &str, password: &str, arguments: &[&str]) -> Printed {
        let authority = self.authority();
        let mut command = Command::new("curl");
        command.args(["--silent", "--show-error", "--max-time", "30", "--cacert"]).arg(authority);
        command.args(["--user", &format!("{address}:{password}")]).args(arguments);
        run(command)
    }

    /// Runs a command of the program beside the running server.
    pub(crate) fn command(&self, arguments: &[&str]) -> Printed {
        let mut command = ceralacca(self.folder.path());
        command.arg("--json").args(arguments);
        run(command)
    }

    fn wait_until_ready(&self) {
        let url = format!("http://127.0.0.1:{}/readyz", self.ports.operations);
        let deadline = Instant::now() + START_LIMIT;
        while Instant::now() < deadline {
            let mut command = Command::new("curl");
            command.args(["--silent", "--fail", "--max-time", "2", &url]);
            if run(command).status == 0 {
                return;
            }
            sleep(Duration::from_millis(50));
        }
        let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        panic!("the provider is not ready; its log:\n{log}");
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What a tool left.
#[derive(Debug)]
pub(crate) struct Printed {
    pub(crate) status: i32,
    pub(crate) text: String,
    pub(crate) complaint: String,
}

/// Runs a tool to its end. An absent tool fails the test with the remedy.
pub(crate) fn run(mut command: Command) -> Printed {
    command.stdin(Stdio::null());
    run_as_it_is(command)
}

/// The same with a file as its standard input.
pub(crate) fn run_with_input(mut command: Command, file: &Path) -> Printed {
    command.stdin(File::open(file).unwrap());
    run_as_it_is(command)
}

fn run_as_it_is(mut command: Command) -> Printed {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output();
    let output =
        output.unwrap_or_else(|error| panic!("{name}: {error}: run `scripts/bootstrap test`"));
    Printed {
        status: output.status.code().unwrap_or(-1),
        text: String::from_utf8_lossy(&output.stdout).into_owned(),
        complaint: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

fn ceralacca(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ceralacca"));
    command.arg("--config").arg(folder.join("ceralacca.toml"));
    command
}

/// Adds an invented owner, as an operator would; returns its number.
fn add_owner(folder: &Path) -> String {
    let mut command = ceralacca(folder);
    command.args(["--json", "owner", "add", "--body", "Studio Prova"]);
    command.args(["--partita-iva", "02046570426"]);
    let printed = run(command);
    assert_eq!(printed.status, 0, "{}", printed.complaint);
    let owner: serde_json::Value = serde_json::from_str(&printed.text).unwrap();
    owner["id"].to_string()
}

/// Adds an account with [`PASSWORD`].
fn add_account(folder: &Path, address: &str, owner: &str) {
    let mut command = ceralacca(folder);
    command.args(["account", "add", address, "--owner", owner, "--password-stdin"]);
    command.stdin(Stdio::piped()).stdout(Stdio::null());
    let mut child = command.spawn().unwrap();
    writeln!(child.stdin.take().unwrap(), "{PASSWORD}").unwrap();
    assert!(child.wait().unwrap().success(), "adding {address}");
}

fn serve(folder: &Path) -> Child {
    let log = File::create(folder.join("log")).unwrap();
    let mut command = ceralacca(folder);
    command.arg("serve").stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    command.spawn().unwrap()
}

fn free_ports() -> Ports {
    let [relay, submission, submissions, imaps, pop3s, operations] = ports::free();
    Ports { relay, submission, submissions, imaps, pop3s, operations }
}

fn configuration(ports: Ports) -> String {
    let Ports { relay, submission, submissions, imaps, pop3s, operations } = ports;
    format!(
        "[provider]\nname = \"Alfa PEC\"\nmail_domain = \"alfa.example\"\n\
         pec_domains = [\"pec.alfa.example\"]\n\n[data]\nfolder = \"data\"\n\n\
         [listen]\nsmtp_relay = \"127.0.0.1:{relay}\"\nsubmission = \"127.0.0.1:{submission}\"\n\
         submissions = \"127.0.0.1:{submissions}\"\nimaps = \"127.0.0.1:{imaps}\"\n\
         pop3s = \"127.0.0.1:{pop3s}\"\noperations = \"127.0.0.1:{operations}\"\n"
    )
}
