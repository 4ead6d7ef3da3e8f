//! The judge itself: a message without faults has none, and each fault is found.

use std::process::Command;

use serde_json::{Value, json};

#[test]
fn the_judge_finds_every_fault_that_is_made_on_purpose() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = Command::new("python3")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/foreign_peer/trial.py"))
        .arg(folder.path().join("peer"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .expect("python3 runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let told = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(told.lines().count() > 30, "{told}");
    for line in told.lines() {
        let trial: Value = serde_json::from_str(line).expect("JSON");
        assert_eq!(trial["fault"].is_null(), trial["said"] == json!([]), "{trial}");
    }
}
