//! The programs that messages are checked by, each with a folder, an address and rules of its own: `clamd`,
//! `rspamd`. Neither needs the network, nor rules of its makers: what the tests call a virus, or unwanted, is
//! text that they made up.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
    time::{Duration, Instant},
};

/// What stands for a virus.
pub(crate) const VIRUS: &str = "CERALACCA-PROVA-VIRUS-NON-NOCIVO";
/// What `clamd` calls it.
pub(crate) const THREAT: &str = "Prova.Ceralacca.UNOFFICIAL";

/// Sizes above those that the program takes by default (`docs/operations.md`).
const LARGE: &str = "StreamMaxLength 80M\nMaxFileSize 80M\nMaxScanSize 400M\n";

/// Commands, and the signals that end them.
const CLAMD: (&str, &str) = ("clamd --config-file=\"$0\"", "KILL");
/// Its workers outlive a main process that is killed.
const RSPAMD: (&str, &str) = ("rspamd --no-fork --insecure --config=\"$0\"", "TERM");

const PATIENCE: Duration = Duration::from_mins(1);

/// A program that ends with the test, however that ends: the shell that holds it waits for the end of its
/// input.
#[derive(Debug)]
struct Held(Child);

impl Held {
    fn start((command, signal): (&str, &str), configuration: &Path) -> Self {
        let script = format!("{command} >/dev/null 2>&1 & read -r _; kill -{signal} $!; wait");
        let mut shell = Command::new("sh");
        let shell = shell.args(["-c", &script]).arg(configuration).stdin(Stdio::piped());
        Self(shell.spawn().expect("sh runs"))
    }

    fn kill(&mut self) {
        if let Some(mut input) = self.0.stdin.take() {
            // A shell that is gone has killed it.
            let _ = input.write_all(b"\n");
        }
        self.0.wait().expect("the shell ends");
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.kill();
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Clamd {
    process: Held,
    folder: tempfile::TempDir,
}

impl Clamd {
    /// Starts one with the sizes that operators are told to set.
    pub(crate) fn start() -> Self {
        Self::start_with(LARGE)
    }

    /// Starts one with these lines in its configuration.
    pub(crate) fn start_with(more: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path();
        let signatures = root.join("signatures");
        std::fs::create_dir(&signatures).expect("a folder");
        let line = format!("Prova.Ceralacca:0:*:{}\n", hex::encode(VIRUS));
        std::fs::write(signatures.join("prova.ndb"), line).expect("written");
        let text = format!(
            "Foreground yes\nDatabaseDirectory {}\nLocalSocket {}\nTemporaryDirectory {}\n\
             LogFile {}\nAlertExceedsMax yes\nMaxThreads 4\n{more}",
            signatures.display(),
            root.join("socket").display(),
            root.display(),
            root.join("log").display(),
        );
        std::fs::write(root.join("clamd.conf"), text).expect("written");
        let process = Held::start(CLAMD, &root.join("clamd.conf"));
        let clamd = Self { process, folder };
        clamd.wait();
        clamd
    }

    fn wait(&self) {
        let begin = Instant::now();
        while std::os::unix::net::UnixStream::connect(self.socket()).is_err() {
            let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            assert!(begin.elapsed() < PATIENCE, "clamd does not listen: is it installed? {log}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Where it listens.
    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    /// Teaches it another virus, which it knows after [`Clamd::kill`] and [`Clamd::start_again`].
    pub(crate) fn learn(&self, virus: &str) {
        let line = format!("Prova.Nuovo:0:*:{}\n", hex::encode(virus));
        std::fs::write(self.folder.path().join("signatures/nuovo.ndb"), line).expect("written");
    }

    /// Kills it.
    pub(crate) fn kill(&mut self) {
        self.process.kill();
        // What was killed leaves its socket.
        let _ = std::fs::remove_file(self.socket());
    }

    /// Starts it again after [`Clamd::kill`].
    pub(crate) fn start_again(&mut self) {
        self.process = Held::start(CLAMD, &self.folder.path().join("clamd.conf"));
        self.wait();
    }
}

/// One for all tests of a binary that do not harm it.
pub(crate) fn shared() -> &'static Clamd {
    static SHARED: OnceLock<Clamd> = OnceLock::new();
    SHARED.get_or_init(Clamd::start)
}

/// An `rspamd` with three rules: a body with `prova-rifiuto` is refused, one with `prova-attesa` comes again,
/// one with `prova-segno` is marked.
#[derive(Debug)]
pub(crate) struct Rspamd {
    process: Held,
    /// Where it listens.
    pub(crate) port: u16,
    _folder: tempfile::TempDir,
}

impl Rspamd {
    /// Starts it on `port`.
    pub(crate) fn start(port: u16) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().display();
        let text = format!(
            "options {{\n pidfile = \"{root}/pid\"; tempdir = \"{root}\"; url_tld = \"{root}/tld\";\n \
             filters = \"regexp\"; cache_file = \"{root}/cache\"; history_file = \"{root}/history\";\n \
             dynamic_conf = \"{root}/dynamic\"; control_socket = \"{root}/control mode=0600\";\n \
             dns {{ nameserver = [\"127.0.0.1:9\"]; timeout = 0.1s; retransmits = 1; }}\n}}\n\
             logging {{ type = \"file\"; filename = \"{root}/log\"; level = \"warning\"; }}\n\
             worker \"normal\" {{ bind_socket = \"127.0.0.1:{port}\"; count = 1; }}\n\
             actions {{ reject = 15; add_header = 6; greylist = 4; }}\n\
             regexp {{\n PROVA_RIFIUTO {{ re = \"/prova-rifiuto/P\"; score = 20; }}\n \
             PROVA_SEGNO {{ re = \"/prova-segno/P\"; score = 7; }}\n \
             PROVA_ATTESA {{ re = \"/prova-attesa/P\"; score = 5; }}\n}}\n"
        );
        let configuration = folder.path().join("rspamd.conf");
        std::fs::write(&configuration, text).expect("written");
        // The list of top-level domains that comes with it takes long to read.
        std::fs::write(folder.path().join("tld"), "example\ntest\n").expect("written");
        let process = Held::start(RSPAMD, &configuration);
        let begin = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(begin.elapsed() < PATIENCE, "rspamd does not listen: is it installed?");
            std::thread::sleep(Duration::from_millis(20));
        }
        Self { process, port, _folder: folder }
    }

    /// Kills it.
    pub(crate) fn kill(&mut self) {
        self.process.kill();
    }
}
