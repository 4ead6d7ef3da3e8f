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

/// Makes a proof that no message had UID 1, as soon as a run after `behind` shows it that is stamped, or
/// is not.
fn prove(folder: &Path, address: &str, behind: u64, stamped: bool) -> Value {
    let begun = Instant::now();
    loop {
        // Nothing is replaced.
        let _ = fs::remove_file(folder.join("proof.tar"));
        let arguments =
            ["snapshot", "prove", address, "latest", "INBOX", "--uid", "1", "--out", "proof.tar"];
        let proved = run(folder, &[&arguments[..], &["--json"]].concat(), "", "en");
        let value: Value = serde_json::from_str(&stdout(&proved)).expect("JSON");
        if proved.status.success()
            && value["stamped"] == stamped
            && value["run"].as_u64() > Some(behind)
        {
            return value;
        }
        assert!(begun.elapsed() < PATIENCE, "{value} {}", stderr(&proved));
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Verifies a stamped proof with what a reader may demand of it.
fn only_who_signed_it_counts(folder: &Path, verify: &[&str]) {
    let demand = |more: &[&str]| run(folder, &[verify, more].concat(), "", "en");
    let stamped = demand(&["--require-stamp", "--json"]);
    assert!(stamped.status.success(), "{}", stderr(&stamped));
    let said: Value = serde_json::from_str(&stdout(&stamped)).expect("JSON");
    assert_eq!((&said["holds"], &said["trusted"]), (&true.into(), &true.into()), "{said}");
    assert!(said["stamped_millis"].is_i64(), "{said}");
    let signer = said["signer_sha256"].as_str().expect("a fingerprint");
    assert!(demand(&["--signer", signer]).status.success());
    let authority = said["stamp_signer_sha256"].as_str().expect("a fingerprint");
    assert_ne!(signer, authority);
    for other in [authority, &"0".repeat(64)] {
        let refused = demand(&["--signer", other]);
        assert_eq!(refused.status.code(), Some(1), "{}", stdout(&refused));
        assert!(stderr(&refused).contains(signer), "it says who signed: {}", stderr(&refused));
    }
    assert_eq!(demand(&["--signer", "abc"]).status.code(), Some(2));
}

#[test]
fn a_proof_without_a_time_stamp_holds_unless_one_is_demanded() {
    let folder = site();
    let folder = folder.path();
    let mut server = serve(folder, &[]);
    wait_for_socket(folder);
    server.kill().expect("it runs");
    server.wait().expect("it ends");
    fs::remove_file(folder.join("data/control.socket")).expect("left behind");
    fs::copy(folder.join("data/authority/authority.pem"), folder.join("authority.pem"))
        .expect("an authority");
    let mut config = fs::read_to_string(folder.join("ceralacca.toml")).expect("a configuration");
    // Nobody listens there.
    config += "[journal]\ntimestamp_url = \"http://127.0.0.1:1/tsr\"\n\
               timestamp_authority_files = [\"authority.pem\"]\n";
    fs::write(folder.join("ceralacca.toml"), config).expect("written");
    let every_second =
        [("CERALACCA_SNAPSHOTS_INTERVAL", "1 s"), ("CERALACCA_SNAPSHOTS_EVERY", "1 s")];
    let mut server = serve(folder, &every_second);
    wait_for_socket(folder);
    let listed = run(folder, &["account", "list", "--json"], "", "en");
    let listed: Value = serde_json::from_str(&stdout(&listed)).expect("JSON");
    let address = listed[0]["address"].as_str().expect("the service account").to_owned();
    assert!(run(folder, &["snapshot", "take", &address], "", "en").status.success());
    prove(folder, &address, 0, false);
    server.kill().expect("it runs");
    server.wait().expect("it ends");
    let verify = ["snapshot", "verify", "proof.tar", "--ca", "authority.pem"];
    let verified = run(folder, &[&verify[..], &["--json"]].concat(), "", "en");
    assert!(verified.status.success(), "{}", stderr(&verified));
    let said: Value = serde_json::from_str(&stdout(&verified)).expect("JSON");
    assert_eq!((&said["holds"], &said["stamped_millis"]), (&true.into(), &Value::Null), "{said}");
    let demanded = run(folder, &[&verify[..], &["--require-stamp"]].concat(), "", "en");
    assert_eq!(demanded.status.code(), Some(1), "{}", stdout(&demanded));
}

/// The journal has each proof that was handed out, with what it is about.
fn proofs_are_noted(folder: &Path) {
    let noted =
        run(folder, &["journal", "search", "--event", "snapshot-proved", "--json"], "", "en");
    let noted: Value = serde_json::from_str(&stdout(&noted)).expect("JSON");
    let about = |record: &Value| record["detail"].to_string().ends_with(": UID 1 of INBOX\"");
    let noted = noted.as_array().or_else(|| noted["records"].as_array()).expect("records");
    assert!(noted.len() >= 2 && noted.iter().all(about), "{noted:?}");
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
    prove(folder, &address, 0, true);
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
    prove(folder, &address, 0, true);
    proofs_are_noted(folder);
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
    only_who_signed_it_counts(folder, &verify);
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
