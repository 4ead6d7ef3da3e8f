//! The `ceralacca` command as people and scripts use it: the built program, its output, its exit codes.

use std::{
    io::Write as _,
    path::Path,
    process::{Command, Output, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

mod damages;
mod instants;
mod packaging;
mod progress;
mod queue;
mod service;
mod service_levels;
mod snapshots;
mod store;

const PASSWORD: &str = "tavolo lampada fiume";

struct Site {
    folder: TempDir,
}

impl Site {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(
            folder.path().join("ceralacca.toml"),
            "[data]\nfolder = \"data\"\n[provider]\npec_domains = [\"pec.example\"]\n",
        )
        .unwrap();
        Self { folder }
    }

    /// A site with one owner and one account.
    fn with_anna() -> Self {
        let site = Self::new();
        site.json(&[
            "owner",
            "add",
            "--name",
            "Anna",
            "--surname",
            "Rossi",
            "--codice-fiscale",
            "RSSMRA79B11C566R",
        ]);
        site.json(&["account", "add", "Anna@pec.example", "--owner", "1"]);
        site
    }

    fn run_with(&self, arguments: &[&str], input: &str) -> Output {
        run(self.folder.path(), arguments, input, "it_IT.UTF-8")
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.run_with(arguments, "")
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let output = self.run(&[arguments, &["--json"]].concat());
        assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// The exit code, and the kind of error in JSON.
    fn refusal(&self, arguments: &[&str]) -> (i32, String) {
        let output = self.run(&[arguments, &["--json"]].concat());
        let error: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(!error["error"]["message"].as_str().unwrap().is_empty());
        let kind = error["error"]["kind"].as_str().unwrap().to_owned();
        (output.status.code().unwrap(), kind)
    }
}

fn run(folder: &Path, arguments: &[&str], input: &str, language: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_ceralacca"))
        .args(arguments)
        .current_dir(folder)
        .env_clear()
        .env("LANG", language)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that refuses its arguments has gone before it reads.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn the_example_configuration_is_accepted_by_the_check() {
    let folder = tempfile::tempdir().unwrap();
    let example = run(folder.path(), &["config", "example"], "", "it_IT.UTF-8");
    std::fs::write(folder.path().join("ceralacca.toml"), &example.stdout).unwrap();
    let check = run(folder.path(), &["config", "check"], "", "it_IT.UTF-8");
    assert!(check.status.success(), "{}", stderr(&check));
    assert!(stderr(&check).contains("configurazione valida"));
}

#[test]
fn a_wrong_configuration_is_named_with_line_and_remedy_in_the_language_of_the_user() {
    let site = Site::new();
    let file = site.folder.path().join("wrong.toml");
    std::fs::write(&file, "[provider]\nnmae = \"x\"\n").unwrap();
    let wrong = ["config", "check", "--config", "wrong.toml"];
    let italian = site.run(&wrong);
    assert_eq!(italian.status.code(), Some(2));
    assert_eq!(
        stderr(&italian),
        "ceralacca: wrong.toml:2: chiave \"nmae\" sconosciuta: forse si intendeva \"name\"\n"
    );
    let english = run(site.folder.path(), &wrong, "", "en_GB.UTF-8");
    assert!(
        stderr(&english).contains("wrong.toml:2: unknown key \"nmae\": did you mean \"name\"?")
    );
}

#[test]
fn an_account_is_made_listed_changed_and_closed() {
    let site = Site::with_anna();
    let account = site.json(&["account", "show", "anna@pec.example"]);
    assert_eq!(account["address"], "anna@pec.example");
    assert_eq!(account["plan"], "base");
    assert_eq!(account["quota_octets"], 1 << 30);
    assert_eq!((&account["password_set"], &account["in_store"]), (&false.into(), &false.into()));

    let changed = site.json(&[
        "account",
        "set",
        "anna@pec.example",
        "--plan",
        "avanzata",
        "--add-space",
        "2",
    ]);
    assert_eq!(changed["quota_octets"], 8_u64 << 30);
    assert_eq!(changed["ordinary_mail"], "wrap");
    let set = ["account", "set", "anna@pec.example", "--ordinary-mail", "refuse"];
    assert_eq!(site.json(&set)["ordinary_mail"], "refuse");
    let blocked = site.json(&["account", "block", "anna@pec.example", "--reason", "prova"]);
    assert_eq!((&blocked["state"], &blocked["block_reason"]), (&"blocked".into(), &"prova".into()));
    assert_eq!(site.json(&["account", "list", "--state", "blocked"]).as_array().unwrap().len(), 1);
    assert_eq!(site.json(&["account", "unblock", "anna@pec.example"])["state"], "active");
    assert_eq!(site.json(&["owner", "show", "1"])["accounts"][0], "anna@pec.example");

    assert_eq!(site.refusal(&["account", "remove", "anna@pec.example"]), (2, "invalid".into()));
    assert_eq!(site.json(&["account", "remove", "anna@pec.example", "--yes"])["state"], "closed");
    assert_eq!(site.refusal(&["account", "unblock", "anna@pec.example"]), (4, "conflict".into()));
}

#[test]
fn tables_are_aligned_for_people() {
    let site = Site::with_anna();
    let list = stdout(&site.run(&["account", "list"]));
    assert_eq!(
        list,
        "N.  CASELLA           TITOLARE  TIPO  SPAZIO  STATO\n\
         1   anna@pec.example  1         base  1 GB    active\n"
    );
}

#[test]
fn exit_codes_say_what_to_do() {
    let site = Site::with_anna();
    let rows: [(&[&str], (i32, &str)); 6] = [
        (&["account", "show", "nobody@pec.example"], (3, "not_found")),
        (&["account", "show", "no address"], (2, "invalid")),
        (&["account", "add", "anna@pec.example", "--owner", "1"], (4, "conflict")),
        (&["account", "add", "x@other.example", "--owner", "1"], (2, "invalid")),
        (&["domain", "add", "pec.example"], (4, "conflict")),
        (&["owner", "add", "--name", "Anna", "--surname", "Rossi"], (2, "invalid")),
    ];
    for (arguments, (code, kind)) in rows {
        assert_eq!(site.refusal(arguments), (code, kind.to_owned()), "{arguments:?}");
    }
    assert_eq!(site.run(&["account", "sing"]).status.code(), Some(2));
    let bad = site.run(&["owner", "add", "--body", "X", "--codice-fiscale", "RSSMRA79B11C566S"]);
    assert_eq!(bad.status.code(), Some(2));
}

#[test]
fn passwords_come_from_standard_input_or_are_made_and_shown_once() {
    let site = Site::with_anna();
    let weak = site.run_with(&["account", "password", "anna@pec.example"], "corto\n");
    assert_eq!(weak.status.code(), Some(2));
    assert!(stderr(&weak).contains("almeno 12 caratteri"), "{}", stderr(&weak));
    let line = format!("{PASSWORD}\n");
    let set =
        site.run_with(&["account", "password", "anna@pec.example", "--password-stdin"], &line);
    assert!(set.status.success(), "{}", stderr(&set));
    assert!(!stdout(&set).contains(PASSWORD));
    assert_eq!(site.json(&["account", "show", "anna@pec.example"])["password_set"], true);

    let made = site.json(&["account", "password", "anna@pec.example", "--generate"]);
    assert_eq!(made["password"].as_str().unwrap().len(), 29);
    assert!(site.json(&["account", "show", "anna@pec.example"])["password"].is_null());
}

#[test]
fn help_teaches_with_examples_and_shells_get_completions() {
    let site = Site::new();
    let help = stdout(&site.run(&["account", "add", "--help"]));
    assert!(help.contains("ceralacca account add maria.rossi@pec.example --owner 1"), "{help}");
    let english = run(site.folder.path(), &["--help"], "", "en_US.UTF-8");
    assert!(stdout(&english).contains("Exit codes"), "{}", stdout(&english));
    for shell in ["bash", "zsh", "fish"] {
        assert!(stdout(&site.run(&["completions", shell])).contains("ceralacca"), "{shell}");
    }
}
