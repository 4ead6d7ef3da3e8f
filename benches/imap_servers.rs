//! Servers of IMAP as processes of their own: this program, and Debian's Dovecot for comparison. Both
//! have the same accounts and passwords and the same TLS key, on the same disk.
//!
//! Dovecot is Debian's, with its own defaults but for what the comparison needs: Maildir, the accounts in
//! a file with the scheme that its own `doveadm pw` chooses, and its cache of logins switched on, as this
//! program remembers them too. By default it starts a process for each login (`service_count = 1`);
//! [`LoginProcesses::Kept`] is what its manual advises for speed. The bounds of this program on connections are raised: all of them come
//! from one address.

use std::{
    fmt::Write as _,
    io::Write as _,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    thread::sleep,
    time::{Duration, Instant},
};

use trust::{authority::DevelopmentAuthority, clock::SystemClock, random::SystemRandom};

use crate::Failure;

const PASSWORD: &str = "Prova-di-velocita-2026";
const START_TIME_MAX: Duration = Duration::from_mins(1);
const STOP_TIME_MAX: Duration = Duration::from_mins(1);

/// A running server; it is told to end when this is dropped.
pub(crate) struct ImapServer {
    pub(crate) name: &'static str,
    pub(crate) address: SocketAddr,
    command: Command,
    process: Child,
}

/// How Dovecot lets people in.
#[derive(Clone, Copy)]
pub(crate) enum LoginProcesses {
    /// A process for each connection, as it is by default.
    OfOneLogin,
    /// One process for each processor, for all connections.
    Kept,
}

impl ImapServer {
    /// This program with `accounts` accounts, in `folder`.
    pub(crate) fn program(folder: &Path, accounts: usize) -> Result<Self, Failure> {
        let address = free_address()?;
        write_tls(folder)?;
        let config = folder.join("ceralacca.toml");
        std::fs::write(&config, program_config(address))?;
        let program = || {
            let mut command = Command::new(env!("CARGO_BIN_EXE_ceralacca"));
            command.arg("--config").arg(&config);
            command
        };
        let owner = ["--json", "owner", "add", "--name", "Mario", "--surname", "Rossi"];
        let owner = told(program().args(owner).args(["--codice-fiscale", "RSSMRA79B11C566R"]))?;
        let owner: serde_json::Value = serde_json::from_str(&owner)?;
        let owner = owner["id"].to_string();
        for account in 0..accounts {
            let mut add = program();
            add.args(["account", "add", &login(account), "--owner", &owner, "--plan", "base"]);
            told(add.arg("--password-stdin"))?;
        }
        let log = std::fs::File::create(folder.join("ceralacca.log"))?;
        let mut command = program();
        command.arg("serve").stdout(log.try_clone()?).stderr(log);
        Self::start("ceralacca", address, command)
    }

    /// Dovecot with `accounts` accounts, in `folder`, which everybody may look into: its processes change
    /// to users of their own, so this one is root's.
    pub(crate) fn dovecot(
        folder: &Path,
        accounts: usize,
        processes: LoginProcesses,
    ) -> Result<Self, Failure> {
        let address = free_address()?;
        write_tls(folder)?;
        let mail = folder.join("mail");
        std::fs::create_dir(&mail)?;
        std::fs::set_permissions(&mail, std::fs::Permissions::from_mode(0o777))?;
        let hash = told(Command::new("doveadm").args(["pw", "-p", PASSWORD]))
            .map_err(|error| format!("{error}: make bench installs dovecot-imapd"))?;
        let mut users = String::new();
        for account in 0..accounts {
            writeln!(users, "{}:{}", login(account), hash.trim())?;
        }
        std::fs::write(folder.join("users"), users)?;
        let config = folder.join("dovecot.conf");
        std::fs::write(&config, dovecot_config(folder, address, processes)?)?;
        let mut command = Command::new("dovecot");
        command.arg("-F").arg("-c").arg(&config);
        let name = match processes {
            LoginProcesses::OfOneLogin => "dovecot",
            LoginProcesses::Kept => "dovecot with login processes that are kept",
        };
        Self::start(name, address, command)
    }

    fn start(
        name: &'static str,
        address: SocketAddr,
        mut command: Command,
    ) -> Result<Self, Failure> {
        let process = command.stdin(Stdio::null()).spawn()?;
        let server = Self { name, address, command, process };
        server.wait()?;
        Ok(server)
    }

    /// Ends the process and starts another on what it left.
    pub(crate) fn restart(&mut self) -> Result<(), Failure> {
        self.stop();
        self.process = self.command.spawn()?;
        self.wait()
    }

    fn wait(&self) -> Result<(), Failure> {
        let began = Instant::now();
        while TcpStream::connect(self.address).is_err() {
            if began.elapsed() > START_TIME_MAX {
                return Err(format!("{} does not listen", self.name).into());
            }
            sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    fn stop(&mut self) {
        let id = self.process.id().to_string();
        // A process that has ended already needs no signal.
        let _ = Command::new("kill").args(["-TERM", &id]).status();
        let began = Instant::now();
        while matches!(self.process.try_wait(), Ok(None)) && began.elapsed() < STOP_TIME_MAX {
            sleep(Duration::from_millis(50));
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    /// KiB of memory that the process has of its own, files not counted.
    pub(crate) fn memory_kib(&self) -> Result<u64, Failure> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line = status.lines().find(|line| line.starts_with("RssAnon"));
        let line = line.ok_or("the kernel does not say RssAnon")?;
        Ok(line.split_ascii_whitespace().nth(1).ok_or("no figure")?.parse()?)
    }
}

impl Drop for ImapServer {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The name by which an account logs in.
pub(crate) fn login(account: usize) -> String {
    format!("utente{account}@pec.alfa.example")
}

/// The command by which it does.
pub(crate) fn login_command(account: usize) -> String {
    format!("LOGIN {} {PASSWORD}", login(account))
}

/// A port that was free a moment ago.
fn free_address() -> Result<SocketAddr, Failure> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

fn write_tls(folder: &Path) -> Result<(), Failure> {
    let (clock, random) = (Arc::new(SystemClock), Arc::new(SystemRandom));
    let authority = DevelopmentAuthority::open(&folder.join("authority"), clock, random)?;
    let issued = authority.issue_tls(&["localhost"], &[])?;
    std::fs::write(folder.join("tls.pem"), issued.certificate.to_pem()?)?;
    issued.key.write(&folder.join("tls.key"))?;
    Ok(())
}

fn program_config(address: SocketAddr) -> String {
    let off = ["smtp_relay", "submission", "submissions", "imap", "pop3", "pop3s", "operations"];
    let off = off.map(|door| format!("{door} = \"off\"\n")).concat();
    format!(
        "[provider]\nmail_domain = \"alfa.example\"\npec_domains = [\"pec.alfa.example\"]\n\
         [data]\nfolder = \"data\"\n[listen]\n{off}imaps = \"{address}\"\n\
         [tls]\ncertificate_file = \"tls.pem\"\nkey_file = \"tls.key\"\n\
         [antivirus]\ncheck = \"none\"\n[dns]\nservers = [\"127.0.0.1:9\"]\n\
         [limits]\nconnections_max = 20000\nconnections_per_port_percent_max = 100\n\
         connections_per_address_max = 20000\nconnections_per_network_max = 20000\n\
         connections_per_minute_per_address_max = 1000000\n\
         connections_per_minute_per_network_max = 1000000\n\
         sessions_per_account_max = 1000\nsessions_per_address_max = 19000\n"
    )
}

fn dovecot_config(
    folder: &Path,
    address: SocketAddr,
    processes: LoginProcesses,
) -> Result<String, Failure> {
    let folder = folder.display();
    let processes = match processes {
        LoginProcesses::OfOneLogin => String::new(),
        LoginProcesses::Kept => {
            let processors = std::thread::available_parallelism()?;
            format!("  service_count = 0\n  process_min_avail = {processors}\n")
        }
    };
    Ok(format!(
        "protocols = imap\nlisten = {ip}\nbase_dir = {folder}/run\nstate_dir = {folder}/state\n\
         log_path = {folder}/dovecot.log\nssl = required\nssl_cert = <{folder}/tls.pem\n\
         ssl_key = <{folder}/tls.key\nmail_location = maildir:{folder}/mail/%u\n\
         first_valid_uid = 1\nfirst_valid_gid = 1\nauth_cache_size = 10 M\n\
         passdb {{\n  driver = passwd-file\n  args = {folder}/users\n}}\n\
         userdb {{\n  driver = static\n  args = uid=mail gid=mail home={folder}/mail/%u\n}}\n\
         service imap-login {{\n{processes}  inet_listener imap {{\n    port = 0\n  }}\n\
           inet_listener imaps {{\n    port = {port}\n    ssl = yes\n  }}\n}}\n",
        ip = address.ip(),
        port = address.port(),
    ))
}

/// What a command printed; it has the password to read.
fn told(command: &mut Command) -> Result<String, Failure> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let name = command.get_program().to_string_lossy().into_owned();
    let mut process = command.spawn().map_err(|error| format!("{name}: {error}"))?;
    if let Some(mut input) = process.stdin.take() {
        // Who does not ask for the password has closed its input.
        let _ = writeln!(input, "{PASSWORD}");
    }
    let output = process.wait_with_output()?;
    if !output.status.success() {
        return Err(format!("{name}: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok(String::from_utf8(output.stdout)?)
}
