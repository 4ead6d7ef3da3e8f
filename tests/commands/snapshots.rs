//! `ceralacca snapshot`: runs of a server, and what outlives it.

use std::{
    fs,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{
    run,
    service::{serve, site, wait_for_socket},
    stderr, stdout,
};

const PATIENCE: Duration = Duration::from_mins(1);

/// Makes a proof that no message had UID 1, as soon as a stamped run behind `run` shows it.
fn prove(folder: &Path, address: &str, behind: u64) -> Value {
    let begun = Instant::now();
    loop {
        // Nothing is replaced.
        let _ = fs::remove_file(folder.join("proof.tar"));
        let arguments =
            ["snapshot", "prove", address, "latest", "INBOX", "--uid", "1", "--out", "proof.tar"];
        let proved = run(folder, &[&arguments[..], &["--json"]].concat(), "", "en");
        let value: Value = serde_json::from_str(&stdout(&proved)).expect("JSON");
        if proved.status.success()
            && value["stamped"] == true
            && value["run"].as_u64() > Some(behind)
        {
            return value;
        }
        assert!(begun.elapsed() < PATIENCE, "{value} {}", stderr(&proved));
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn runs_go_on_after_a_kill_and_a_proof_outlives_the_store() {
    let folder = site();
    let folder = folder.path();
    let every_second =
        [("CERALACCA_SNAPSHOTS_INTERVAL", "1 s"), ("CERALACCA_SNAPSHOTS_EVERY", "1 s")];
    let mut server = serve(folder, &every_second);
    wait_for_socket(folder);
    let listed = run(folder, &["account", "list", "--json"], "", "en");
    let listed: Value = serde_json::from_str(&stdout(&listed)).expect("JSON");
    let address = listed[0]["address"].as_str().expect("the service account").to_owned();
    let taken = run(folder, &["snapshot", "take", &address], "", "it_IT.UTF-8");
    assert!(taken.status.success(), "{}", stderr(&taken));
    assert!(stdout(&taken).contains("0 messaggi"), "{}", stdout(&taken));
    prove(folder, &address, 0);
    // At any instant, in the middle of a run too.
    server.kill().expect("it runs");
    server.wait().expect("it ends");
    fs::remove_file(folder.join("data/control.socket")).expect("left behind");
    server = serve(folder, &every_second);
    wait_for_socket(folder);
    let hold = run(folder, &["snapshot", "hold", &address, "--reason", "causa 12"], "", "en");
    assert!(hold.status.success() && stdout(&hold).contains("causa 12"), "{}", stdout(&hold));
    let settings = ["snapshot", "settings", &address, "--monthly-months", "60", "--json"];
    let settings = run(folder, &settings, "", "en");
    let settings: Value = serde_json::from_str(&stdout(&settings)).expect("JSON");
    assert_eq!((&settings["monthly_months"], &settings["held"]), (&60.into(), &"causa 12".into()));
    let again =
        ["snapshot", "prove", &address, "latest", "INBOX", "--uid", "1", "--out", "proof.tar"];
    let refused = run(folder, &again, "", "en");
    assert_eq!(refused.status.code(), Some(4), "{}", stderr(&refused));
    assert!(stderr(&refused).contains("is there already"), "{}", stderr(&refused));
    let missing = [
        "snapshot",
        "prove",
        &address,
        "latest",
        "INBOX",
        "--message-id",
        "<1@x.example>",
        "--out",
        "x",
    ];
    assert_eq!(run(folder, &missing, "", "en").status.code(), Some(3));
    prove(folder, &address, 0);
    server.kill().expect("it runs");
    server.wait().expect("it ends");
    let authority = folder.join("authority.pem");
    fs::copy(folder.join("data/authority/authority.pem"), &authority).expect("an authority");
    fs::remove_dir_all(folder.join("data")).expect("the store is gone");
    let verify = ["snapshot", "verify", "proof.tar", "--ca", "authority.pem"];
    let verified = run(folder, &verify, "", "it_IT.UTF-8");
    assert!(verified.status.success(), "{}", stderr(&verified));
    assert!(stdout(&verified).contains("non c'era alcun messaggio con UID 1"));
    assert!(stdout(&verified).contains("Marca temporale (RFC 3161)"), "{}", stdout(&verified));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/verify_proof.py");
    let mut python = Command::new("python3");
    let output =
        python.arg(script).arg(folder.join("proof.tar")).arg("--ca").arg(&authority).output();
    let output = output.expect("python3 runs");
    assert!(output.status.success(), "{}", stderr(&output));
    let mut changed = fs::read(folder.join("proof.tar")).expect("a file");
    changed[1_000] ^= 1;
    fs::write(folder.join("proof.tar"), changed).expect("written");
    assert_eq!(run(folder, &verify, "", "en").status.code(), Some(1));
}
