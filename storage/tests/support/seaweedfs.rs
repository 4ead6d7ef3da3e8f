//! A real S3 cluster for tests: SeaweedFS as separate processes on loopback, one master, volume
//! servers that hold each octet twice, a filer, and the S3 gateway.
//!
//! Every server is the child of a shell that waits for the end of its standard input: when the
//! test process ends, however it ends, the pipe closes, the shell kills the server and removes its
//! folder. Nothing listens but on loopback, and nothing is told to anybody (telemetry is off).

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

/// The bucket, which the gateway makes at the first PUT.
pub(crate) const BUCKET: &str = "prova";
pub(crate) const ACCESS_KEY: &str = "chiave";
pub(crate) const SECRET_KEY: &str = "segreto-di-prova";

/// Longest wait for the cluster, on a busy machine.
const PATIENCE: Duration = Duration::from_mins(2);

const IDENTITIES: &str = r#"{"identities": [{"name": "ceralacca",
    "credentials": [{"accessKey": "chiave", "secretKey": "segreto-di-prova"}],
    "actions": ["Admin", "Read", "Write", "List", "Tagging"]}]}"#;

/// Runs a server, says its pid, and takes it and its folder away when the pipe closes.
const GUARD: &str = r#"folder=$1; shift
"$@" </dev/null >"$folder/log" 2>&1 &
echo $!
read -r _
kill -9 $! 2>/dev/null
wait
rm -rf "$folder"
rmdir "$(dirname "$folder")" 2>/dev/null"#;

/// One server.
#[derive(Debug)]
struct Server {
    shell: Child,
    pid: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}

/// A cluster; ends with the value, or with the process.
#[derive(Debug)]
pub(crate) struct Cluster {
    port: u16,
    volumes: Vec<Server>,
    _others: Vec<Server>,
}

impl Cluster {
    /// Starts a cluster with `volumes` volume servers, two or more, and waits until it takes
    /// octets.
    pub(crate) fn start(volumes: usize) -> Self {
        let root = tempfile::tempdir().expect("a temporary folder").keep();
        let ports = free_ports(6 + 2 * volumes);
        let [master, master_rpc, filer, filer_rpc, gateway, gateway_rpc, of_volumes @ ..] =
            &ports[..]
        else {
            panic!("six ports and more")
        };
        let run = |name: &str, arguments: &[String]| {
            let folder = root.join(name);
            std::fs::create_dir(&folder).expect("a folder");
            start(&folder, arguments)
        };
        let here = |options: &str| -> Vec<String> {
            options.split_whitespace().map(str::to_owned).collect()
        };
        let mut others = vec![run(
            "master",
            &here(&format!(
                "master -telemetry=false -peers=none -ip=127.0.0.1 -ip.bind=127.0.0.1 \
                 -port={master} -port.grpc={master_rpc} -defaultReplication=001 \
                 -volumeSizeLimitMB=64 -mdir={}",
                root.join("master").display()
            )),
        )];
        let volumes: Vec<Server> = of_volumes
            .chunks_exact(2)
            .enumerate()
            .map(|(number, ports)| {
                let name = format!("volume{number}");
                let options = format!(
                    "volume -ip=127.0.0.1 -ip.bind=127.0.0.1 -port={} -port.grpc={} \
                     -master=127.0.0.1:{master}.{master_rpc} -max=40 -minFreeSpace=1 -dir={}",
                    ports[0],
                    ports[1],
                    root.join(&name).display()
                );
                run(&name, &here(&options))
            })
            .collect();
        others.push(run(
            "filer",
            &here(&format!(
                "filer -ip=127.0.0.1 -ip.bind=127.0.0.1 -port={filer} -port.grpc={filer_rpc} \
                 -master=127.0.0.1:{master}.{master_rpc} -defaultStoreDir={}",
                root.join("filer").display()
            )),
        ));
        let identities = root.join("filer/identities.json");
        std::fs::write(&identities, IDENTITIES).expect("written");
        others.push(run(
            "gateway",
            &here(&format!(
                "s3 -ip.bind=127.0.0.1 -port={gateway} -port.grpc={gateway_rpc} \
                 -port.iceberg=0 -port.lance=0 -filer=127.0.0.1:{filer}.{filer_rpc} -config={}",
                identities.display()
            )),
        ));
        let cluster = Self { port: *gateway, volumes, _others: others };
        wait_for(*gateway, "/healthz", |answer| answer.starts_with("HTTP/1.1 200"));
        wait_for(*master, "/dir/status", |answer| {
            of_volumes
                .chunks_exact(2)
                .all(|ports| answer.contains(&format!("127.0.0.1:{}", ports[0])))
        });
        cluster
    }

    /// Where the gateway listens.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Kills a volume server as a power cut would.
    #[allow(dead_code, reason = "not every test that has a cluster kills a part of it")]
    pub(crate) fn kill_volume(&self, number: usize) {
        let killed = Command::new("kill").args(["-9", &self.volumes[number].pid]).status();
        assert!(killed.expect("kill runs").success());
    }
}

fn start(folder: &std::path::Path, arguments: &[String]) -> Server {
    let mut command = Command::new("sh");
    command.arg("-c").arg(GUARD).arg("sh").arg(folder).arg(weed()).arg("-logtostderr=true");
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut shell = command.spawn().expect("a shell");
    let mut pid = String::new();
    let mut said = BufReader::new(shell.stdout.take().expect("a pipe"));
    said.read_line(&mut pid).expect("the pid of the server");
    Server { shell, pid: pid.trim().to_owned() }
}

/// The program, installed by `scripts/bootstrap test`.
fn weed() -> PathBuf {
    let path = std::env::var_os("CERALACCA_WEED").map_or_else(
        || {
            let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
            let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_default());
            let cache = cache.unwrap_or_else(|| home().join(".cache"));
            cache.join("ceralacca/seaweedfs/bin/weed")
        },
        PathBuf::from,
    );
    assert!(path.exists(), "{} is missing: run `scripts/bootstrap test`", path.display());
    path
}

fn free_ports(count: usize) -> Vec<u16> {
    // All are held at once, so that they differ.
    let held: Vec<TcpListener> = (0..count)
        .map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port"))
        .collect();
    held.iter().map(|listener| listener.local_addr().expect("bound").port()).collect()
}

fn wait_for(port: u16, path: &str, ready: impl Fn(&str) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if ask(port, path).is_ok_and(|answer| ready(&answer)) {
            return;
        }
        sleep(Duration::from_millis(50));
    }
    panic!("SeaweedFS does not answer {path} on port {port}");
}

fn ask(port: u16, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
