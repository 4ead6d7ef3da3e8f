//! The archive as a mail program sees it: one tree, found by search, and back by MOVE.

use serde_json::{Value, json};

use crate::provider::{BRUNO, PASSWORD, Provider};

fn say(provider: &Provider, mailbox: &str, request: &str) -> String {
    let url = format!("imaps://localhost:{}/{mailbox}", provider.ports.imaps);
    let printed = provider.curl(BRUNO, PASSWORD, &["--url", &url, "--request", request]);
    assert_eq!(printed.status, 0, "{request}: {}", printed.complaint);
    printed.text
}

fn command(provider: &Provider, arguments: &[&str]) -> Value {
    let printed = provider.command(arguments);
    assert_eq!(printed.status, 0, "{}", printed.complaint);
    serde_json::from_str(&printed.text).expect("JSON")
}

#[test]
fn curl_finds_archived_messages_below_archivio_and_moves_them_back() {
    let provider = Provider::start();
    let inbox = format!("imaps://localhost:{}/INBOX", provider.ports.imaps);
    for name in ["uno", "due", "tre"] {
        let file = provider.file(&format!("{name}.eml"), &format!("Subject: {name}\r\n\r\nx\r\n"));
        let upload = ["--url", &inbox, "--upload-file", file.to_str().expect("a path")];
        assert_eq!(provider.curl(BRUNO, PASSWORD, &upload).status, 0);
    }
    say(&provider, "INBOX", "UID STORE 2 +FLAGS (\\Flagged)");
    let shown = command(&provider, &["archive", "rules", "show", BRUNO]);
    assert_eq!(
        (shown["own"].clone(), shown["rules"][0]["older_than_days"].clone()),
        (json!(false), json!(365))
    );
    let target = "Archivio/{mailbox}";
    let set = ["archive", "rules", "set", BRUNO, "--older-than", "0", "--target", target];
    assert_eq!(command(&provider, &set)["own"], true);

    let foreseen = command(&provider, &["archive", "run", BRUNO, "--dry-run"]);
    assert_eq!(say(&provider, "INBOX", "UID SEARCH ALL"), "* SEARCH 1 2 3\r\n");
    let mut done = command(&provider, &["archive", "run", BRUNO]);
    assert_eq!(
        (done["messages"].clone(), done["mailboxes"][0]["mailbox"].clone()),
        (json!(2), json!("INBOX"))
    );
    done["dry_run"] = json!(true);
    assert_eq!(done, foreseen);
    assert_eq!(command(&provider, &["archive", "status"])["messages"], 2);

    let listed = say(&provider, "", "LIST \"\" Archivio*");
    assert!(listed.contains("Archivio/INBOX\r\n"), "{listed}");
    assert_eq!(
        say(&provider, "INBOX", "UID SEARCH ALL"),
        "* SEARCH 2\r\n",
        "the flagged one stays"
    );
    let root = say(&provider, "", "GETQUOTAROOT Archivio/INBOX");
    assert!(
        root.starts_with("* QUOTAROOT Archivio/INBOX Archivio\r\n* QUOTA Archivio (STORAGE 1 ")
    );
    let found = say(&provider, "INBOX", "ESEARCH IN (mailboxes INBOX subtree Archivio) SUBJECT e");
    assert!(found.contains("MAILBOX INBOX UIDVALIDITY"), "{found}");
    assert!(found.contains("MAILBOX Archivio/INBOX UIDVALIDITY"), "{found}");

    let moved = say(&provider, "Archivio%2FINBOX", "UID MOVE 2 INBOX");
    assert!(moved.contains("* 2 EXPUNGE\r\n"), "{moved}");
    assert_eq!(say(&provider, "INBOX", "UID SEARCH SUBJECT tre"), "* SEARCH 4\r\n");
    assert_eq!(say(&provider, "Archivio%2FINBOX", "UID SEARCH ALL"), "* SEARCH 1\r\n");
    let quota = command(&provider, &["account", "quota", BRUNO, "--add-archive-gb", "1"]);
    assert_eq!(quota["archive_limit_octets"], 4_u64 << 30, "3 GB of plan base, and one");
    assert_eq!(
        (quota["archive_used_messages"].clone(), quota["used_messages"].clone()),
        (json!(1), json!(2))
    );
    assert_eq!(command(&provider, &["archive", "rules", "reset", BRUNO])["own"], false);
}
