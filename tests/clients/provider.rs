//! A provider by itself, as mail clients meet it.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::Arc,
    thread::sleep,
    time::{Duration, Instant},
};

use ceralacca::{config::Config, serve::store};
use snapshots::keep::{SnapshotLimits, Snapshots, snapshot::SnapshotKind, take::Taken};
use trust::{
    clock::{Clock as _, SystemClock},
    random::SystemRandom,
};

pub(crate) use crate::support::PASSWORD;
use crate::support::{self, Ports};

pub(crate) const ANNA: &str = "anna@pec.alfa.example";
pub(crate) const BRUNO: &str = "bruno@pec.alfa.example";

/// A running provider with two accounts; ends with the test.
#[derive(Debug)]
pub(crate) struct Provider(support::Provider);

impl std::ops::Deref for Provider {
    type Target = support::Provider;

    fn deref(&self) -> &support::Provider {
        &self.0
    }
}

impl Provider {
    /// Stops it; says whether it ended well.
    pub(crate) fn stop(&mut self) -> bool {
        self.0.stop()
    }

    /// Starts it again.
    pub(crate) fn start_again(&mut self) {
        self.0.start();
    }

    /// Starts a provider for `pec.alfa.example` with the accounts [`ANNA`] and [`BRUNO`].
    pub(crate) fn start() -> Self {
        Self::start_with("")
    }

    /// The same with more settings: lines of `[listen]`, then sections.
    pub(crate) fn start_with(more: &str) -> Self {
        let mut provider = support::Provider::alone_with(more);
        provider.start();
        Self(provider)
    }

    /// Stops it, takes a snapshot of an account, starts it again; the name of the snapshot.
    pub(crate) fn snapshot(&mut self, address: &str) -> String {
        assert!(self.stop(), "{}", self.log());
        let mut config = Config::default();
        config.data.folder = self.folder.join("data");
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let name = runtime.block_on(async {
            let (clock, random) = (Arc::new(SystemClock), Arc::new(SystemRandom));
            let store = store::open(&config, clock, random.clone()).await.unwrap();
            let snapshots = Snapshots::new(Arc::clone(&store), random, SnapshotLimits::default());
            let (account, _) = store.account_by_address(address).await.unwrap().unwrap();
            let now = SystemClock.now();
            let taken = snapshots.take(account, SnapshotKind::OnDemand, now).await.unwrap();
            drop(snapshots);
            store.close().await.unwrap();
            match taken {
                Taken::New(snapshot) => snapshot.name(),
                Taken::Unchanged(_) => panic!("something changed"),
            }
        });
        self.start_again();
        name
    }

    /// Puts ports, accounts and the authority into the environment of a script.
    pub(crate) fn tell(&self, command: &mut Command) {
        let Ports { submission, submissions, imap, imaps, pop3, pop3s, .. } = self.ports;
        let ports = [
            ("SUBMISSION", submission),
            ("SUBMISSIONS", submissions),
            ("IMAP", imap),
            ("IMAPS", imaps),
            ("POP3", pop3),
            ("POP3S", pop3s),
        ];
        command.envs(ports.map(|(name, port)| (name, port.to_string())));
        command.env("SENDER", ANNA).env("RECIPIENT", BRUNO).env("PASSWORD", PASSWORD);
        command.env("AUTHORITY", self.own_authority());
        command.env("SAMPLES", self.folder.join("samples"));
    }

    /// A file in the test's folder.
    pub(crate) fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.join(name);
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
        let mut plain = String::new();
        for (number, part) in self.0.log().split("\u{1b}[").enumerate() {
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
        let mut command = Command::new("curl");
        command.args(["--silent", "--show-error", "--max-time", "30", "--cacert"]);
        command.arg(self.own_authority());
        command.args(["--user", &format!("{address}:{password}")]).args(arguments);
        run(command)
    }

    /// Runs a command of the program beside the running server.
    pub(crate) fn command(&self, arguments: &[&str]) -> Printed {
        Printed::of(&self.run(&[&["--json"], arguments].concat(), ""))
    }
}

/// What a tool left.
#[derive(Debug)]
pub(crate) struct Printed {
    pub(crate) status: i32,
    pub(crate) text: String,
    pub(crate) complaint: String,
}

impl Printed {
    fn of(output: &Output) -> Self {
        Self {
            status: output.status.code().unwrap_or(-1),
            text: String::from_utf8_lossy(&output.stdout).into_owned(),
            complaint: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
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
    Printed::of(
        &output.unwrap_or_else(|error| panic!("{name}: {error}: run `scripts/bootstrap test`")),
    )
}
