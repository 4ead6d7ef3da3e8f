//! Transmissions and journal as an operator sees them, verified by nobody but public tools.

use std::{path::Path, process::Command};

use serde_json::Value;

use crate::{
    provider::{ANNA, BRUNO, Printed, Provider, run},
    reading::with_an_envelope,
};

fn json(printed: &Printed) -> Value {
    assert_eq!(printed.status, 0, "{} {}", printed.text, printed.complaint);
    serde_json::from_str(&printed.text).unwrap()
}

fn in_folder(folder: &Path, line: &str) -> Printed {
    let mut command = Command::new("sh");
    command.args(["-ec", line]).current_dir(folder);
    run(command)
}

/// The commands of `VERIFICA.txt`: those of the Italian half, which the English one repeats.
fn commands(guide: &str) -> Vec<String> {
    let (italian, english) = guide.split_once("VERIFYING THE TRANSMISSION").unwrap();
    let of = |text: &str| {
        let commands = text.lines().filter_map(|line| line.strip_prefix("    "));
        commands.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(of(italian), of(english));
    of(italian)
}

#[test]
fn a_transmission_is_listed_shown_and_exported_with_commands_that_verify_it() {
    let provider = with_an_envelope();
    let listed = json(&provider.command(&["transmission", "list", "--sender", ANNA]));
    assert_eq!(listed.as_array().unwrap().len(), 1, "{listed}");
    let one = &listed[0];
    assert_eq!(
        (&one["recipients"][0]["address"], &one["recipients"][0]["state"]),
        (&BRUNO.into(), &"delivered".into())
    );
    let none = json(&provider.command(&["transmission", "list", "--recipient", ANNA]));
    assert_eq!(none, serde_json::json!([]));
    for name in ["id", "identifier", "message_id"] {
        let shown = json(&provider.command(&["transmission", "show", one[name].as_str().unwrap()]));
        assert_eq!(shown["identifier"], one["identifier"]);
        assert_eq!(shown["plan"], "base");
        let kinds: Vec<&str> = shown["artefacts"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["kind"].as_str().unwrap())
            .collect();
        assert_eq!(
            kinds,
            ["original", "transport-envelope", "acceptance-receipt", "delivery-receipt"]
        );
    }
    assert_eq!(provider.command(&["transmission", "show", "nessuna"]).status, 3);
    assert_eq!(provider.command(&["transmission", "list", "--state", "lost"]).status, 2);
    let people = provider.run(&["transmission", "show", one["id"].as_str().unwrap()], "");
    assert!(String::from_utf8_lossy(&people.stdout).contains("ricevuta di avvenuta consegna"));

    let export = |file: &str| {
        let path = provider.folder.join(file);
        let identifier = one["identifier"].as_str().unwrap();
        let exported = json(&provider.command(&[
            "transmission",
            "export",
            identifier,
            "--output",
            path.to_str().unwrap(),
        ]));
        assert_eq!((&exported["messages"], &exported["left_out"]), (&4.into(), &0.into()));
        std::fs::read(path).unwrap()
    };
    assert_eq!(export("una.zip"), export("altra.zip"), "the same state, the same octets");
    let folder = provider.folder.join("estratto");
    let unpacked = in_folder(&provider.folder, "unzip -q una.zip -d estratto");
    assert_eq!(unpacked.status, 0, "{}", unpacked.complaint);
    let guide = std::fs::read_to_string(folder.join("VERIFICA.txt")).unwrap();
    let commands = commands(&guide);
    let of = |tool: &str| commands.iter().filter(|line| line.starts_with(tool)).count();
    assert_eq!((of("sha256sum"), of("openssl"), of("xmllint")), (1, 3, 3), "{commands:?}");
    for command in &commands {
        let printed = in_folder(&folder, command);
        assert_eq!(printed.status, 0, "{command}: {}", printed.complaint);
    }
    let report: Value =
        serde_json::from_slice(&std::fs::read(folder.join("verifica.json")).unwrap()).unwrap();
    for message in &report["messages"].as_array().unwrap()[1..] {
        assert_eq!(message["found"]["signature_valid"], true, "{message}");
        assert_eq!(message["found"]["daticert"]["identifier"], one["identifier"], "{message}");
    }
    each_command_notices_what_it_is_there_for(&folder, &commands);
    let check = json(&provider.command(&["store", "check"]));
    assert_eq!(check["clean"], true, "{check}");
}

fn each_command_notices_what_it_is_there_for(folder: &Path, commands: &[String]) {
    let envelope = std::fs::read(folder.join("busta-di-trasporto.eml")).unwrap();
    let changed = String::from_utf8(envelope).unwrap().replace("Il giorno", "In giorno");
    std::fs::write(folder.join("busta-di-trasporto.eml"), changed).unwrap();
    let file = folder.join("daticert/avvenuta-consegna.xml");
    let data = std::fs::read_to_string(&file).unwrap().replace("<identificativo>", "<altro>");
    std::fs::write(&file, data.replace("</identificativo>", "</altro>")).unwrap();
    let wrong = commands.iter().filter(|command| in_folder(folder, command).status != 0);
    let wrong: Vec<&str> = wrong.map(|command| command.split(' ').next().unwrap()).collect();
    assert_eq!(wrong, ["sha256sum", "openssl", "xmllint"]);
}

/// The journal of a provider that seals every second.
fn quick() -> Provider {
    let provider = Provider::start_with("[journal]\nseal_interval = \"1 s\"\n");
    let sent = crate::reading::python(&provider, "send");
    assert_eq!(sent.status, 0, "{}", sent.complaint);
    assert_eq!(provider.wait_for_messages(ANNA, 2), 2);
    crate::support::wait_until("everything is sealed", || {
        let verified = json(&provider.command(&["journal", "verify"]));
        verified["records"] == 5 && verified["unsealed"] == 0
    });
    provider
}

#[test]
fn the_journal_is_searched_exported_and_verified_beside_the_server_and_without_it() {
    let mut provider = quick();
    let found = json(&provider.command(&["journal", "search", "--holder", BRUNO]));
    let events: Vec<&str> =
        found.as_array().unwrap().iter().map(|one| one["event"].as_str().unwrap()).collect();
    let expected =
        ["submission", "acceptance-receipt", "transport-envelope", "delivery", "delivery-receipt"];
    assert_eq!(events, expected);
    let identifier = found[0]["identifier"].as_str().unwrap();
    let one = json(&provider.command(&[
        "journal",
        "search",
        "--id",
        identifier,
        "--event",
        "delivery-receipt",
    ]));
    assert_eq!(one.as_array().unwrap().len(), 1);
    assert_eq!(provider.command(&["journal", "search", "--event", "altro"]).status, 2);
    assert_eq!(provider.command(&["journal", "search", "--since", "ieri"]).status, 2);
    let limited = provider.run(&["journal", "search", "--limit", "2"], "");
    assert!(String::from_utf8_lossy(&limited.stderr).contains("--after 2"), "{limited:?}");

    let file = provider.folder.join("giornale.jsonl");
    let exported = provider.command(&["journal", "export", "--output", file.to_str().unwrap()]);
    assert_eq!(exported.status, 0, "{}", exported.complaint);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/verify_export.py");
    let mut command = Command::new("python3");
    command.arg(&script).arg(&file);
    let proven = run(command);
    assert_eq!(
        (proven.status, proven.text.trim()),
        (0, "5 records proven"),
        "{}",
        proven.complaint
    );
    let changed = std::fs::read_to_string(&file).unwrap().replacen("\"index\":2", "\"index\":3", 1);
    std::fs::write(&file, changed).unwrap();
    let mut command = Command::new("python3");
    command.arg(&script).arg(&file);
    assert_ne!(run(command).status, 0);
    let csv = provider.run(&["journal", "export", "--format", "csv"], "");
    assert_eq!(String::from_utf8_lossy(&csv.stdout).lines().count(), 6);
    assert!(crate::support::metric(&provider, "ceralacca_journal_sealed_records_total") >= 5);

    assert!(provider.stop(), "{}", provider.log());
    let verified = json(&provider.command(&["journal", "verify", "--files"]));
    assert_eq!((&verified["whole"], &verified["records"]), (&true.into(), &5.into()));
    damage(&provider);
    let damaged = provider.run(&["journal", "verify"], "");
    assert_eq!(damaged.status.code(), Some(1));
    assert!(
        String::from_utf8_lossy(&damaged.stderr)
            .contains("registrazione 3: non è quella sigillata"),
        "{damaged:?}"
    );
    let check = provider.command(&["store", "check"]);
    assert_eq!(check.status, 1);
    assert!(check.text.contains("record 3: not the one that was sealed"), "{}", check.text);
}

/// Puts another record in the place of the third.
fn damage(provider: &Provider) {
    use storage::catalog::{
        engine::{Batch, Engine as _},
        rocksdb::{RocksConfig, RocksEngine},
    };
    let families = storage::store::Store::families(&ceralacca::serve::store::families());
    let folder = provider.folder.join("data/catalog");
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let engine = RocksEngine::open(&folder, &families, &RocksConfig::default()).await.unwrap();
        let key = [1_u64.to_be_bytes(), 3_u64.to_be_bytes()].concat();
        let record = ceralacca::pec::records::JournalRecord::default();
        let mut batch = Batch::default();
        let value = ceralacca::pec::records::encode(&record);
        batch.put(ceralacca::pec::records::JOURNAL, key, value);
        engine.commit(batch).await.unwrap();
        engine.close().await.unwrap();
    });
}
