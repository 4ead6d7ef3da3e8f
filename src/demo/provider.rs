//! One provider of the demo: its folder, its configuration, its process.
//!
//! A black box: it is set up with the command line that an operator uses, and observed through its
//! ports. Its log goes to `ceralacca.log` in its folder.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::{
    process::{Child, Command},
    time::{Instant, sleep, timeout},
};

use super::{
    client::{Endpoints, Login},
    ports::Ports,
    tools::{ToolError, run},
};

/// Longest wait for a provider to answer after its start.
const START_LIMIT: Duration = Duration::from_secs(30);
/// Longest wait for a provider to end after it was asked to.
const STOP_LIMIT: Duration = Duration::from_secs(20);
/// Lines of the log shown when a provider does not start.
const LOG_LINES_SHOWN: usize = 12;

/// Why a provider is not there.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    /// A file of the provider cannot be written.
    #[error("cannot write {path}: check the folder", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
    /// The process ended, or never became ready.
    #[error("{name} does not become ready; its log ends:\n{log}")]
    NotReady {
        /// The provider.
        name: String,
        /// The last lines of its log.
        log: String,
    },
    /// The process did not stop when asked to, and was killed.
    #[error("{name} did not stop within {} s and was killed", STOP_LIMIT.as_secs())]
    NotStopped {
        /// The provider.
        name: String,
    },
}

/// Who a provider is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Identity {
    /// As in certificates and receipts.
    pub(super) name: &'static str,
    /// Its own domain.
    pub(super) mail_domain: &'static str,
    /// The domain of its holders.
    pub(super) pec_domain: &'static str,
    /// The folder's name.
    pub(super) folder: &'static str,
}

impl Identity {
    /// The address that signs (RFC 6109 §2.1).
    pub(super) fn service_address(&self) -> String {
        format!("posta-certificata@{}", self.mail_domain)
    }

    /// The name in the TLS certificate.
    pub(super) fn host(&self) -> String {
        format!("mail.{}", self.mail_domain)
    }
}

/// A provider, running or not.
#[derive(Debug)]
pub(super) struct Provider {
    pub(super) identity: Identity,
    pub(super) folder: PathBuf,
    pub(super) endpoints: Endpoints,
    pub(super) ports: Ports,
    program: PathBuf,
    process: Option<Child>,
}

impl Provider {
    /// A provider that keeps everything in `folder`, which exists.
    pub(super) fn new(
        identity: Identity,
        folder: PathBuf,
        ports: Ports,
        authority: PathBuf,
        program: PathBuf,
    ) -> Self {
        let endpoints = Endpoints {
            host: identity.host(),
            submission: ports.submissions,
            imap: ports.imaps,
            pop3: ports.pop3s,
            authority,
        };
        Self { identity, folder, endpoints, ports, program, process: None }
    }

    /// The folder of catalog, packs and registry.
    pub(super) fn data_folder(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Writes the configuration: certificates of the shared authority, the other provider's domains
    /// routed to its relay port.
    pub(super) fn configure(&self, other: &Self, shared: &Path) -> Result<(), ProviderError> {
        let path = self.config_file();
        let text = configuration(self, other, shared);
        std::fs::write(&path, text).map_err(|source| ProviderError::File { path, source })
    }

    /// Runs a command of the command line on this provider; returns what it printed.
    pub(super) async fn administer(
        &self,
        arguments: &[&str],
        input: &[u8],
    ) -> Result<Vec<u8>, ToolError> {
        let config = self.config_file();
        let mut all = vec!["--config".as_ref(), config.as_os_str()];
        all.extend(arguments.iter().map(|argument| std::ffi::OsStr::new(*argument)));
        run(&self.program, all, input).await
    }

    /// Adds an owner and an account; returns its login.
    pub(super) async fn add_account(
        &self,
        local_part: &str,
        (given_name, family_name, codice_fiscale): (&str, &str, &str),
        password: String,
    ) -> Result<Login, ToolError> {
        let address = format!("{local_part}@{}", self.identity.pec_domain);
        let owner = [
            "owner",
            "add",
            "--name",
            given_name,
            "--surname",
            family_name,
            "--codice-fiscale",
            codice_fiscale,
            "--json",
        ];
        let printed = self.administer(&owner, &[]).await?;
        let owner = serde_json::from_slice::<serde_json::Value>(&printed)
            .ok()
            .and_then(|object| object["id"].as_u64())
            .unwrap_or_default()
            .to_string();
        let account =
            ["account", "add", &address, "--owner", &owner, "--plan", "base", "--password-stdin"];
        self.administer(&account, password.as_bytes()).await?;
        Ok(Login { address, password })
    }

    /// Starts the process and waits until it is ready.
    pub(super) async fn start(&mut self) -> Result<(), ProviderError> {
        let log = self.log_file();
        let file = |source| ProviderError::File { path: log.clone(), source };
        let out = File::options().create(true).append(true).open(&log).map_err(file)?;
        let err = out.try_clone().map_err(file)?;
        let mut command = Command::new(&self.program);
        command.arg("--config").arg(self.config_file()).arg("serve").kill_on_drop(true);
        // Ctrl-C goes to the demo, which then stops its providers in order.
        command.process_group(0).stdin(Stdio::null()).stdout(out).stderr(err);
        self.process = Some(command.spawn().map_err(file)?);
        self.wait_until_ready().await
    }

    async fn wait_until_ready(&mut self) -> Result<(), ProviderError> {
        let url = format!("http://127.0.0.1:{}/readyz", self.ports.operations);
        let deadline = Instant::now() + START_LIMIT;
        while Instant::now() < deadline {
            if run("curl", ["--silent", "--fail", "--max-time", "2", &url], &[]).await.is_ok() {
                return Ok(());
            }
            let ended =
                self.process.as_mut().is_none_or(|child| !matches!(child.try_wait(), Ok(None)));
            if ended {
                break;
            }
            sleep(Duration::from_millis(50)).await;
        }
        let name = self.identity.name.to_owned();
        Err(ProviderError::NotReady { name, log: last_lines(&self.log_file()) })
    }

    /// Asks the process to stop and waits for its end.
    pub(super) async fn stop(&mut self) -> Result<(), ProviderError> {
        let Some(mut child) = self.process.take() else { return Ok(()) };
        if let Some(id) = child.id().and_then(|id| i32::try_from(id).ok()) {
            // An error means that it has ended by itself, which the wait then sees.
            let _ = nix::sys::signal::kill(
                nix::unistd::Pid::from_raw(id),
                nix::sys::signal::Signal::SIGTERM,
            );
        }
        if timeout(STOP_LIMIT, child.wait()).await.is_ok() {
            return Ok(());
        }
        let _ = child.kill().await;
        Err(ProviderError::NotStopped { name: self.identity.name.to_owned() })
    }

    fn config_file(&self) -> PathBuf {
        self.folder.join("ceralacca.toml")
    }

    /// Where the process writes its log.
    pub(super) fn log_file(&self) -> PathBuf {
        self.folder.join("ceralacca.log")
    }
}

fn configuration(own: &Provider, other: &Provider, shared: &Path) -> String {
    let Identity { name, mail_domain, pec_domain, .. } = own.identity;
    let host = own.identity.host();
    let at = |port: u16| format!("\"127.0.0.1:{port}\"");
    let quoted =
        |path: PathBuf| toml::Value::String(path.to_string_lossy().into_owned()).to_string();
    let route = at(other.ports.smtp_relay);
    format!(
        "[provider]\nname = \"{name}\"\nmail_domain = \"{mail_domain}\"\nhost_name = \"{host}\"\n\
         pec_domains = [\"{pec_domain}\"]\n\n\
         [data]\nfolder = {data}\n\n\
         [listen]\nsmtp_relay = {relay}\nsubmission = {submission}\nsubmissions = {submissions}\n\
         imaps = {imaps}\npop3s = {pop3s}\noperations = {operations}\n\n\
         [tls]\ncertificate_file = \"tls.pem\"\nkey_file = \"tls.key\"\n\n\
         [signing]\ncertificate_file = \"signing.pem\"\nkey_file = \"signing.key\"\n\n\
         [directory]\nldif_file = {ldif}\n\n\
         [trust]\nauthority_files = [{authority}]\nrevocation_files = [{revocation}]\n\n\
         [antivirus]\ncheck = \"none\"\n\n\
         [routes]\n\"{other_pec}\" = {route}\n\"{other_mail}\" = {route}\n",
        data = quoted(own.data_folder()),
        relay = at(own.ports.smtp_relay),
        submission = at(own.ports.submission),
        submissions = at(own.ports.submissions),
        imaps = at(own.ports.imaps),
        pop3s = at(own.ports.pop3s),
        operations = at(own.ports.operations),
        ldif = quoted(shared.join("gestori.ldif")),
        authority = quoted(shared.join("authority.pem")),
        revocation = quoted(shared.join("authority.crl")),
        other_pec = other.identity.pec_domain,
        other_mail = other.identity.mail_domain,
    )
}

fn last_lines(file: &Path) -> String {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join("\n")
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    use super::*;

    const ALFA: Identity = Identity {
        name: "Alfa PEC",
        mail_domain: "alfa.example",
        pec_domain: "pec.alfa.example",
        folder: "alfa",
    };
    const BETA: Identity = Identity {
        name: "Beta PEC",
        mail_domain: "beta.example",
        pec_domain: "pec.beta.example",
        folder: "beta",
    };

    #[test]
    fn the_configuration_is_one_that_the_program_accepts() {
        let folder = tempfile::tempdir().unwrap();
        let provider = |identity, base| {
            let ports = Ports {
                smtp_relay: base,
                submission: base + 1,
                submissions: base + 2,
                imaps: base + 3,
                pop3s: base + 4,
                operations: base + 5,
            };
            let authority = folder.path().join("authority.pem");
            Provider::new(identity, folder.path().into(), ports, authority, "ceralacca".into())
        };
        let (alfa, beta) = (provider(ALFA, 10_000), provider(BETA, 20_000));
        alfa.configure(&beta, folder.path()).unwrap();
        let config = Config::load(Some(&alfa.config_file()), []).unwrap();
        assert_eq!(config.provider.service_address, ALFA.service_address());
        assert_eq!(config.routes.len(), 2);
        assert!(config.tls.is_some() && config.signing.is_some());
    }
}
