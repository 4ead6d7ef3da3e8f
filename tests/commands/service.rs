//! The server under a service manager, and commands beside it.

use std::{
    os::unix::net::UnixDatagram,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{run, stderr, stdout};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_mins(1);

pub(super) fn site() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let ports = ["smtp_relay", "submission", "submissions", "imaps", "pop3s", "operations"];
    let off = ports.map(|port| format!("{port} = \"off\"")).join("\n");
    let config = format!(
        "[data]\nfolder = \"data\"\n[provider]\npec_domains = [\"pec.example\"]\n[listen]\n{off}\n"
    );
    std::fs::write(folder.path().join("ceralacca.toml"), config).unwrap();
    folder
}

pub(super) fn serve(folder: &Path, variables: &[(&str, &str)]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_ceralacca"))
        .arg("serve")
        .current_dir(folder)
        .env_clear()
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .stderr(std::fs::File::create(folder.join("log")).unwrap())
        .spawn()
        .unwrap()
}

/// Waits until commands reach the server.
pub(super) fn wait_for_socket(folder: &Path) {
    let begun = Instant::now();
    while !folder.join("data/control.socket").exists() {
        assert!(begun.elapsed() < PATIENCE, "the server listens to commands");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn heard(socket: &UnixDatagram) -> String {
    let mut octets = [0; 512];
    let length = socket.recv(&mut octets).expect("the server says something in time");
    String::from_utf8_lossy(&octets[..length]).trim().to_owned()
}

#[test]
fn systemd_hears_when_the_server_is_ready_well_and_stopping_and_commands_work_beside_it() {
    let folder = site();
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let path = path.to_str().unwrap();
    let mut server = serve(folder.path(), &[("NOTIFY_SOCKET", path), ("WATCHDOG_USEC", "2000000")]);
    let started = Instant::now();
    // Beats may begin a moment before the ports are announced.
    let mut words = vec![heard(&socket), heard(&socket)];
    words.sort();
    assert_eq!(words, ["READY=1", "WATCHDOG=1"]);
    for _ in 0..3 {
        assert_eq!(heard(&socket), "WATCHDOG=1");
    }
    assert!(started.elapsed() > Duration::from_secs(1), "a beat is no torrent");

    let beside = run(folder.path(), &["store", "check", "--json"], "", "it_IT.UTF-8");
    assert!(beside.status.success(), "{}", stderr(&beside));
    let italian = run(folder.path(), &["store", "check"], "", "it_IT.UTF-8");
    assert!(stdout(&italian).contains("Violazioni: 0"), "{}", stdout(&italian));
    for arguments in [&["store", "scrub"][..], &["store", "stats", "--json"]] {
        let output = run(folder.path(), arguments, "", "it_IT.UTF-8");
        assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
    }
    let nobody = ["store", "stats", "--account", "nessuno@pec.example"];
    assert_eq!(run(folder.path(), &nobody, "", "it_IT.UTF-8").status.code(), Some(3));
    for arguments in [
        &["message", "show", "a@pec.example", "1"][..],
        &["store", "repair"],
        &["store", "rebuild-index"],
    ] {
        let needs_it = run(folder.path(), arguments, "", "en_GB");
        assert_eq!(needs_it.status.code(), Some(1), "{arguments:?}");
        assert!(stderr(&needs_it).contains("stop it first"), "{}", stderr(&needs_it));
    }

    kill(Pid::from_raw(i32::try_from(server.id()).unwrap()), Signal::SIGTERM).unwrap();
    let stopping = (0..100).map(|_| heard(&socket)).find(|word| word != "WATCHDOG=1");
    assert_eq!(stopping.as_deref(), Some("STOPPING=1"));
    assert!(server.wait().unwrap().success());
    assert!(!folder.path().join("data/control.socket").exists());

    let alone = run(folder.path(), &["store", "check", "--json"], "", "it_IT.UTF-8");
    let json = |octets: &[u8]| serde_json::from_slice::<serde_json::Value>(octets).unwrap();
    assert_eq!(json(&alone.stdout), json(&beside.stdout));
    for (arguments, says) in [
        (&["store", "scrub"][..], "Pack letti 0"),
        (&["store", "stats"], "Ottetti logici"),
        (&["store", "rebuild-index"], "Righe aggiunte 0"),
        (&["store", "repair"], "Modifiche 0,"),
        (&["store", "repair", "--apply"], "Verifica: nessuna violazione."),
    ] {
        let output = run(folder.path(), arguments, "", "it_IT.UTF-8");
        assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
        assert!(stdout(&output).contains(says), "{arguments:?}: {}", stdout(&output));
    }
}

#[test]
fn a_command_on_a_store_that_is_not_there_makes_none() {
    let folder = site();
    let output = run(folder.path(), &["store", "check"], "", "en_GB.UTF-8");
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    assert!(stderr(&output).contains("there is no store in"), "{}", stderr(&output));
    assert!(!folder.path().join("data").exists());
}
