//! The central server: an authority, the key that signs the whole directory, and a foreign HTTPS server
//! that gives it out.

use std::{
    io::{BufRead as _, BufReader},
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use ceralacca::pec::directory::{Directory, ProviderRecord};
use trust::{
    authority::{DevelopmentAuthority, Issued},
    clock::SystemClock,
    random::SystemRandom,
};

/// Who signs the whole directory.
pub(crate) const AGENCY: &str = "Agenzia Esempio";

/// The file's name on the server.
pub(crate) const FILE: &str = "igpec.ldif.p7m";

/// The authority of everybody, in files.
pub(crate) struct World {
    folder: tempfile::TempDir,
    pub(crate) authority: DevelopmentAuthority,
    pub(crate) agency: Issued,
}

impl World {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let authority = DevelopmentAuthority::open(
            &folder.path().join("authority"),
            Arc::new(SystemClock),
            Arc::new(SystemRandom),
        )
        .expect("an authority");
        Self::of(folder, authority)
    }

    /// One whose authority is there already.
    pub(crate) fn of(folder: tempfile::TempDir, authority: DevelopmentAuthority) -> Self {
        let agency = authority.issue_provider(AGENCY, "igpec@agenzia.example").expect("issued");
        let world = Self { folder, authority, agency };
        let tls = world
            .authority
            .issue_tls(&["localhost"], &[IpAddr::V4(Ipv4Addr::LOCALHOST)])
            .expect("issued");
        world.write("tls", &tls);
        world.write("agency", &world.agency);
        let pem = world.authority.certificate().to_pem().expect("PEM");
        std::fs::write(world.path("authority.pem"), pem).expect("written");
        world
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a pair as `<name>.pem` and `<name>.key`.
    pub(crate) fn write(&self, name: &str, issued: &Issued) {
        let pem = issued.certificate.to_pem().expect("PEM");
        std::fs::write(self.path(&format!("{name}.pem")), pem).expect("written");
        let key = issued.key.to_pem().expect("PEM");
        std::fs::write(self.path(&format!("{name}.key")), key).expect("written");
    }

    pub(crate) fn issue(&self, name: &str) -> Issued {
        let address = format!("posta-certificata@{}.example", name.to_lowercase());
        self.authority.issue_provider(name, &address).expect("issued")
    }

    /// `openssl cms -sign` by the pair called `signer`.
    pub(crate) fn sign(&self, ldif: &[u8], signer: &str) -> Vec<u8> {
        self.sign_with(ldif, signer, &[])
    }

    /// The same without signed attributes, so without signingTime.
    pub(crate) fn sign_undated(&self, ldif: &[u8], signer: &str) -> Vec<u8> {
        self.sign_with(ldif, signer, &["-noattr"])
    }

    fn sign_with(&self, ldif: &[u8], signer: &str, further: &[&str]) -> Vec<u8> {
        let file = self.path("to-sign.ldif");
        std::fs::write(&file, ldif).expect("written");
        let mut command = Command::new("openssl");
        command.args(["cms", "-sign", "-binary", "-nodetach", "-outform", "DER", "-in"]).arg(&file);
        command.arg("-signer").arg(self.path(&format!("{signer}.pem")));
        command.arg("-inkey").arg(self.path(&format!("{signer}.key")));
        command.args(further);
        let output = command.output().expect("openssl runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    /// `openssl cms -verify` with the authority; the content.
    pub(crate) fn verify(&self, signed: &[u8], authority: &Path) -> Vec<u8> {
        let file = self.path("to-verify.p7m");
        std::fs::write(&file, signed).expect("written");
        let mut command = Command::new("openssl");
        command.args(["cms", "-verify", "-binary", "-inform", "DER", "-purpose", "any", "-in"]);
        command.arg(&file).arg("-CAfile").arg(authority);
        let output = command.output().expect("openssl runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }
}

/// A record of a provider with one certificate that nobody looks into.
pub(crate) fn record(name: &str, domains: &[String]) -> ProviderRecord {
    let service = format!("ricevute@{}.example", name.to_lowercase());
    let domains = domains.iter().map(|domain| domain.parse().expect("a domain")).collect();
    let certificate = vec![format!("certificate of {name}").into_bytes()];
    ProviderRecord::new(name, service.parse().expect("an address"), domains, certificate)
}

/// The LDIF of providers with these names; each has the domain of its name.
pub(crate) fn ldif(names: &[&str]) -> Vec<u8> {
    let records =
        names.iter().map(|name| record(name, &[format!("pec.{}.example", name.to_lowercase())]));
    Directory::new(records.collect()).expect("a directory").to_ldif()
}

/// The server while it runs.
pub(crate) struct Central {
    pub(crate) port: u16,
    folder: tempfile::TempDir,
    process: Child,
    seen: Arc<Mutex<Vec<serde_json::Value>>>,
}

impl Central {
    /// Starts it with `octets` to give out.
    pub(crate) fn start(world: &World, octets: &[u8]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join(FILE), octets).expect("written");
        std::fs::write(folder.path().join("mode"), "good").expect("written");
        let mut process = Command::new("python3")
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/directory/server.py"))
            .arg(folder.path())
            .args([world.path("tls.pem"), world.path("tls.key"), world.path("authority.pem")])
            .stdout(Stdio::piped())
            .spawn()
            .expect("python runs");
        let mut lines = BufReader::new(process.stdout.take().expect("piped")).lines();
        let port = lines.next().expect("a port").expect("text").parse().expect("a number");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&seen);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let value = serde_json::from_str(&line).expect("JSON");
                told.lock().expect("whole").push(value);
            }
        });
        Self { port, folder, process, seen }
    }

    pub(crate) fn url(&self) -> String {
        format!("https://127.0.0.1:{}/{FILE}", self.port)
    }

    pub(crate) fn give(&self, octets: &[u8]) {
        std::fs::write(self.folder.path().join(FILE), octets).expect("written");
    }

    pub(crate) fn mode(&self, mode: &str) {
        std::fs::write(self.folder.path().join("mode"), mode).expect("written");
    }

    /// The requests so far, at least `count`.
    pub(crate) fn seen(&self, count: usize) -> Vec<serde_json::Value> {
        let begun = Instant::now();
        loop {
            let seen = self.seen.lock().expect("whole").clone();
            if seen.len() >= count {
                return seen;
            }
            assert!(begun.elapsed() < Duration::from_secs(20), "{count} requests: {seen:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Central {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
