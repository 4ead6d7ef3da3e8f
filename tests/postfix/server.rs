//! Postfix with a folder, ports and mailboxes of its own.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::Command,
    sync::Arc,
};

use trust::{authority::DevelopmentAuthority, clock::SystemClock, random::SystemRandom};

use crate::support::{Pair, run, wait_until};

/// `nobody` of Debian: owns the mailboxes.
const MAILBOX_USER: u32 = 65_534;

/// A running postfix.
pub(crate) struct Postfix {
    /// Where it takes mail.
    pub(crate) port: u16,
    folder: tempfile::TempDir,
}

impl Postfix {
    /// Starts it on `port`. It knows the addresses `giulia` and `pieno` of `posta.example`; what it
    /// has taken for the second it cannot deliver. Mail for the domains of `pair` it sends to their
    /// relay ports.
    pub(crate) fn start(port: u16, pair: &Pair) -> Self {
        assert!(
            is_root() || as_root("true").status().is_ok_and(|status| status.success()),
            "postfix wants root: run the tests as root, or allow `sudo -n`"
        );
        let folder = tempfile::tempdir().expect("a temporary folder");
        let root = folder.path();
        // Postfix's own users pass through it.
        fs::set_permissions(root, fs::Permissions::from_mode(0o755)).expect("a mode");
        for name in ["etc", "spool", "data", "mail"] {
            fs::create_dir(root.join(name)).expect("a folder");
        }
        let postfix = Self { port, folder };
        postfix.own();
        postfix.make_certificate(pair);
        fs::write(postfix.path("etc/main.cf"), postfix.main(pair)).expect("written");
        fs::write(postfix.path("etc/master.cf"), master(port)).expect("written");
        postfix.command("start");
        wait_until("postfix listens", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
        postfix
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    /// Gives the data folder to postfix and the mailboxes to their user.
    fn own(&self) {
        let mut command = as_root("chown");
        output(command.arg("postfix").arg(self.path("data")));
        let mut command = as_root("chown");
        output(command.arg(MAILBOX_USER.to_string()).arg(self.path("mail")));
    }

    fn make_certificate(&self, pair: &Pair) {
        let shared = pair.authority.parent().expect("the folder of the authority");
        let authority =
            DevelopmentAuthority::open(shared, Arc::new(SystemClock), Arc::new(SystemRandom))
                .expect("an authority");
        let loopback = [IpAddr::V4(Ipv4Addr::LOCALHOST)];
        let issued = authority.issue_tls(&["posta.example"], &loopback).expect("a certificate");
        fs::write(self.path("tls.pem"), issued.certificate.to_pem().expect("PEM"))
            .expect("written");
        issued.key.write(&self.path("tls.key")).expect("written");
    }

    fn main(&self, pair: &Pair) -> String {
        let root = self.folder.path().display();
        let to = |port: u16| format!("[127.0.0.1]:{port}");
        let (alfa, beta) = (to(pair.alfa.ports.relay), to(pair.beta.ports.relay));
        format!(
            "compatibility_level = 3.6\nqueue_directory = {root}/spool\ndata_directory = {root}/data\n\
             command_directory = /usr/sbin\ndaemon_directory = /usr/lib/postfix/sbin\nmail_owner = postfix\n\
             setgid_group = postdrop\nmyhostname = posta.example\nmydestination =\ninet_interfaces = 127.0.0.1\n\
             inet_protocols = ipv4\nmynetworks = 127.0.0.0/8\nmaillog_file = {root}/log\n\
             maillog_file_prefixes = {root}\nalias_maps =\ndisable_dns_lookups = yes\n\
             virtual_mailbox_domains = posta.example\nvirtual_mailbox_base = {root}/mail\n\
             virtual_mailbox_maps = inline:{{ {{ giulia@posta.example = giulia/ }} }}\n\
             virtual_alias_maps = inline:{{ {{ pieno@posta.example = pieno@piena.example }} }}\n\
             virtual_uid_maps = static:{MAILBOX_USER}\nvirtual_gid_maps = static:{MAILBOX_USER}\n\
             transport_maps = inline:{{ {{ piena.example = error:5.2.2 casella piena }}, \
             {{ pec.alfa.example = smtp:{alfa} }}, {{ pec.beta.example = smtp:{beta} }} }}\n\
             smtpd_tls_security_level = encrypt\nsmtpd_tls_cert_file = {root}/tls.pem\nsmtpd_tls_key_file = {root}/tls.key\n\
             smtpd_tls_received_header = yes\nsmtp_tls_CAfile = {authority}\nsmtp_tls_loglevel = 1\n\
             smtp_tls_security_level = encrypt\nsmtp_tls_policy_maps = inline:{{ {{ {alfa} = secure match=mail.alfa.example }}, \
             {{ {beta} = secure match=mail.beta.example }} }}\n\
             queue_run_delay = 1s\nminimal_backoff_time = 1s\nmaximal_backoff_time = 1s\n",
            authority = pair.authority.display(),
        )
    }

    fn command(&self, word: &str) -> std::process::Output {
        let mut command = as_root("postfix");
        command.arg("-c").arg(self.path("etc")).arg(word);
        run(command, "")
    }

    /// Waits for a message in the mailbox of `user` that contains `words`.
    pub(crate) fn wait_for_mail(&self, user: &str, words: &str) -> Vec<u8> {
        let folder = self.path("mail").join(user).join("new");
        let mut found = None;
        wait_until(words, || {
            found = messages(&folder)
                .into_iter()
                .find(|message| String::from_utf8_lossy(message).contains(words));
            found.is_some()
        });
        found.expect("found")
    }

    pub(crate) fn has_logged(&self, words: &str) -> bool {
        fs::read_to_string(self.path("log")).unwrap_or_default().contains(words)
    }

    pub(crate) fn assert_logged(&self, words: &str) {
        let log = fs::read_to_string(self.path("log")).unwrap_or_default();
        assert!(log.contains(words), "no \"{words}\" in the log of postfix:\n{log}");
    }

    /// Whether its queue holds nothing.
    pub(crate) fn is_empty(&self) -> bool {
        let mut command = as_root("postqueue");
        command.arg("-c").arg(self.path("etc")).arg("-j");
        run(command, "").stdout.is_empty()
    }
}

impl Drop for Postfix {
    fn drop(&mut self) {
        self.command("abort");
        // What its users own goes with the folder only when root removes it.
        let _ = as_root("rm").arg("-rf").arg(self.path("spool")).arg(self.path("mail")).status();
    }
}

fn messages(folder: &Path) -> Vec<Vec<u8>> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    entries.filter_map(|entry| fs::read(entry.ok()?.path()).ok()).collect()
}

fn is_root() -> bool {
    nix::unistd::Uid::effective().is_root()
}

fn as_root(program: &str) -> Command {
    if is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("sudo");
    command.arg("-n").arg(program);
    command
}

fn output(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Every service unjailed: no files need to be copied into the spool.
fn master(port: u16) -> String {
    let mut text = format!("{port} inet n - n - - smtpd\n");
    for line in [
        "pickup unix n - n 60 1 pickup",
        "cleanup unix n - n - 0 cleanup",
        "qmgr unix n - n 300 1 qmgr",
        "tlsmgr unix - - n 1000? 1 tlsmgr",
        "rewrite unix - - n - - trivial-rewrite",
        "bounce unix - - n - 0 bounce",
        "defer unix - - n - 0 bounce",
        "trace unix - - n - 0 bounce",
        "verify unix - - n - 1 verify",
        "flush unix n - n 1000? 0 flush",
        "proxymap unix - - n - - proxymap",
        "smtp unix - - n - - smtp",
        "relay unix - - n - - smtp",
        "showq unix n - n - - showq",
        "error unix - - n - - error",
        "retry unix - - n - - error",
        "discard unix - - n - - discard",
        "virtual unix - n n - - virtual",
        "anvil unix - - n - 1 anvil",
        "scache unix - - n - 1 scache",
        "postlog unix-dgram n - n - 1 postlogd",
    ] {
        text.push_str(line);
        text.push('\n');
    }
    text
}
