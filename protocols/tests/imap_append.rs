//! APPEND of several messages (RFC 3502), from parts (RFC 4469), in UTF-8 (RFC 6855 §4), of binary
//! (RFC 3516 §4.4), and REPLACE (RFC 8508), by transcripts.

mod account;

use account::{
    client::{Client, in_inbox, logged_in},
    memory::MemoryAccount,
};
use protocols::imap::{ImapLimits, ServerSettings};

const ONE: &str = "Subject: uno\r\n\r\nuno\r\n";
const TWO: &str = "Subject: due\r\n\r\ndue\r\n";

/// The messages of `name`.
fn texts(account: &MemoryAccount, name: &str) -> Vec<String> {
    let messages = account.messages(name).into_iter();
    messages.map(|(_, _, octets)| String::from_utf8(octets.to_vec()).unwrap()).collect()
}

async fn asked(client: &mut Client) {
    assert!(client.line().await.starts_with("+ "), "the literal is asked for");
}

/// RFC 3502 §6: an example in its form.
#[tokio::test]
async fn several_messages_come_in_together() {
    let account = MemoryAccount::new();
    account.make("saved-messages");
    let mut client = logged_in(&account).await;
    client.send(format!("A003 APPEND saved-messages (\\Seen) {{{}}}\r\n", ONE.len())).await;
    asked(&mut client).await;
    client.send(format!("{ONE} () \" 7-Feb-1994 22:43:04 -0800\" {{{}}}\r\n", TWO.len())).await;
    asked(&mut client).await;
    assert_eq!(texts(&account, "saved-messages"), [""; 0], "none before all");
    client.send(format!("{TWO}\r\n")).await;
    let answer = client.until("A003").await;
    assert_eq!(answer, "A003 OK [APPENDUID 2 1:2] APPEND\r\n");
    assert_eq!(texts(&account, "saved-messages"), [ONE, TWO]);
    let messages = account.messages("saved-messages");
    assert!(messages[0].1.seen && !messages[1].1.seen);
    assert_eq!(account.internal_dates("saved-messages")[1].0, 760_689_784_000);
}

#[tokio::test]
async fn of_several_messages_all_come_in_or_none() {
    let account = MemoryAccount::new();
    account.set_limit(100);
    let mut client = logged_in(&account).await;
    // The second is refused before it is sent.
    client.send(format!("a APPEND INBOX {{{}}}\r\n", ONE.len())).await;
    asked(&mut client).await;
    client.send(format!("{ONE} {{101}}\r\n")).await;
    assert!(client.until("a").await.starts_with("a NO [OVERQUOTA]"));
    // The second is wrong, and all of it comes unasked; what follows is the next command.
    let command = format!(
        "b APPEND INBOX {{{0}+}}\r\n{ONE} (\\Recent) {{{0}+}}\r\n{ONE} {{3+}}\r\nabc\r\n",
        ONE.len()
    );
    client.send(command).await;
    assert!(client.until("b").await.starts_with("b BAD "));
    let command = format!("c APPEND INBOX {{{0}+}}\r\n{ONE} {{3+}}\r\na\0b", ONE.len());
    assert!(client.command(&command).await.starts_with("c NO [CANNOT]"));
    assert_eq!(texts(&account, "INBOX"), [""; 0]);
    assert!(client.command("d NOOP").await.starts_with("d OK"));
}

#[tokio::test]
async fn the_number_of_messages_in_one_command_is_bounded() {
    let account = MemoryAccount::new();
    let limits = ImapLimits { append_messages_max: 2, ..ImapLimits::default() };
    let settings = ServerSettings { limits, ..ServerSettings::default() };
    let mut client = account::client::connect_with(&account, settings).await;
    client.line().await;
    let login = "in LOGIN anna.rossi@pec.example \"ceralacca \\\"1\\\"\"";
    assert!(client.command(login).await.starts_with("in OK"));
    let answer = client.command("a APPEND INBOX {3+}\r\na:b {3+}\r\na:b {3+}\r\na:b").await;
    assert!(answer.starts_with("a NO [LIMIT]"), "{answer}");
    assert_eq!(texts(&account, "INBOX"), [""; 0]);
    let answer = client.command("b APPEND INBOX {3+}\r\na:b {3+}\r\nc:d").await;
    assert_eq!(answer, "b OK [APPENDUID 1 1:2] APPEND\r\n");
}

const LETTER: &str = "Subject: parti\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n\
                      --x\r\nContent-Type: text/plain\r\n\r\nprima\r\n--x\r\nContent-Type: text/html\r\n\r\nseconda\r\n--x--\r\n";

/// RFC 4469 §5: the examples, on messages that are here.
#[tokio::test]
async fn a_message_is_put_together_from_parts_of_others() {
    let account = MemoryAccount::new();
    account.make("Bozze");
    account.deliver("Bozze", LETTER.as_bytes());
    let mut client = in_inbox(&account).await;
    let answer = client
        .command(
            "a APPEND INBOX (\\Draft) CATENATE (URL \"/Bozze;UIDVALIDITY=2/;UID=1/;section=HEADER\" \
             TEXT {7+}\r\n--y\r\n\r\n URL \"/Bozze/;UID=1/;SECTION=1\" TEXT {2+}\r\n\r\n URL {29+}\r\n/Bozze/;UID=1/;SECTION=2.MIME)",
        )
        .await;
    assert!(answer.contains("* 1 EXISTS") && answer.contains("a OK [APPENDUID 1 1]"), "{answer}");
    let (header, _) = LETTER.split_once("\r\n\r\n").unwrap();
    let expected = format!("{header}\r\n\r\n--y\r\n\r\nprima\r\nContent-Type: text/html\r\n\r\n");
    assert_eq!(texts(&account, "INBOX"), [expected]);
    // The whole command without a literal, relative to the selected mailbox, with PARTIAL.
    let answer = client.command("b APPEND Bozze CATENATE (URL \";UID=1/;PARTIAL=9.5\")").await;
    assert!(answer.starts_with("b OK [APPENDUID 2 2]"), "{answer}");
    assert_eq!(texts(&account, "Bozze")[1], "parti");
    // Two messages, one of parts and one whole (RFC 4469 §3).
    let answer = client
        .command("c APPEND Bozze CATENATE (URL \"/;UID=1/;PARTIAL=0.9\" TEXT {3+}\r\nx\r\n) (\\Seen) {4+}\r\nc: d")
        .await;
    assert!(answer.starts_with("c OK [APPENDUID 2 3:4]"), "{answer}");
    assert_eq!(texts(&account, "Bozze")[2..], ["Subject: x\r\n", "c: d"]);
}

#[tokio::test]
async fn a_url_that_names_nothing_is_told_and_nothing_comes_in() {
    let account = MemoryAccount::new();
    account.deliver("INBOX", LETTER.as_bytes());
    let mut client = logged_in(&account).await;
    for url in [
        "/INBOX/;UID=7",
        "/INBOX;UIDVALIDITY=9/;UID=1",
        "/INBOX/;UID=1/;SECTION=3",
        "/nowhere/;UID=1",
        "/;UID=1",
    ] {
        let command = format!("a APPEND INBOX CATENATE (TEXT {{3+}}\r\na:b URL \"{url}\")");
        let answer = client.command(&command).await;
        assert!(answer.starts_with(&format!("a NO [BADURL \"{url}\"]")), "{answer}");
    }
    let answer = client.command("b APPEND INBOX CATENATE (URL \"imap://x@y/INBOX/;UID=1\")").await;
    assert!(answer.starts_with("b NO [BADURL]"), "{answer}");
    assert_eq!(account.messages("INBOX").len(), 1);
}

#[tokio::test]
async fn a_message_put_together_is_no_larger_than_any_other() {
    let account = MemoryAccount::new();
    account.deliver("INBOX", LETTER.as_bytes());
    let limits = ImapLimits { append_octets_max: 300, ..ImapLimits::default() };
    let settings = ServerSettings { limits, ..ServerSettings::default() };
    let mut client = account::client::connect_with(&account, settings).await;
    client.line().await;
    let login = "in LOGIN anna.rossi@pec.example \"ceralacca \\\"1\\\"\"";
    assert!(client.command(login).await.starts_with("in OK"));
    let url = "URL \"/INBOX/;UID=1\"";
    let answer = client.command(&format!("a APPEND INBOX CATENATE ({url} {url})")).await;
    assert!(answer.starts_with("a NO [TOOBIG]"), "{answer}");
    assert_eq!(account.messages("INBOX").len(), 1);
}

#[tokio::test]
async fn binary_and_utf_8_messages_are_taken_but_none_with_nul() {
    let account = MemoryAccount::new();
    let mut client = logged_in(&account).await;
    let answer = client.command("a APPEND INBOX ~{5+}\r\na: \u{e9}").await;
    assert!(answer.starts_with("a OK [APPENDUID"), "{answer}");
    assert_eq!(texts(&account, "INBOX"), ["a: \u{e9}"]);
    let before = account.messages("INBOX").len();
    let answer = client.command("b APPEND INBOX ~{3+}\r\na\0b").await;
    assert!(answer.starts_with("b NO [UNKNOWN-CTE]"), "{answer}");
    let message = "Subject: perché\r\n\r\nsì\r\n";
    let command = |tag| format!("{tag} APPEND INBOX UTF8 (~{{{}+}}\r\n{message})", message.len());
    assert!(client.command(&command("c")).await.starts_with("c BAD "), "not enabled");
    client.command("d ENABLE UTF8=ACCEPT").await;
    let answer = client.command(&command("e")).await;
    assert!(answer.starts_with("e OK [APPENDUID"), "{answer}");
    assert_eq!(texts(&account, "INBOX")[before], message);
}

/// RFC 8508 §3.5: the example.
#[tokio::test]
async fn a_message_takes_the_place_of_another() {
    let account = MemoryAccount::new();
    account.make("Bozze");
    account.deliver("INBOX", ONE.as_bytes());
    account.deliver("INBOX", TWO.as_bytes());
    let mut client = in_inbox(&account).await;
    let command = format!("a REPLACE 1 INBOX (\\Seen \\Draft) {{{}+}}\r\n{TWO}", TWO.len());
    let answer = client.command(&command).await;
    let told = answer.find("* OK [APPENDUID 1 3]").expect("where it is");
    let gone = answer.find("* 1 EXPUNGE").expect("the old one");
    assert!(told < gone && answer.ends_with("a OK REPLACE\r\n"), "{answer}");
    assert_eq!(texts(&account, "INBOX"), [TWO, TWO]);
    // Into another mailbox, by UID, asked for.
    client.send(format!("b UID REPLACE 3 Bozze {{{}}}\r\n", ONE.len())).await;
    asked(&mut client).await;
    client.send(format!("{ONE}\r\n")).await;
    let answer = client.until("b").await;
    assert!(answer.contains("* OK [APPENDUID 2 1]") && answer.contains("EXPUNGE"), "{answer}");
    assert_eq!(texts(&account, "INBOX"), [TWO]);
    assert_eq!(texts(&account, "Bozze"), [ONE]);
    // Without a literal it is another path to the same end.
    let answer = client.command("c REPLACE 1 Bozze CATENATE (URL \"/INBOX/;UID=2\")").await;
    assert!(answer.contains("* 1 EXPUNGE\r\n") && answer.ends_with("c OK REPLACE\r\n"), "{answer}");
    assert_eq!(texts(&account, "Bozze"), [ONE, TWO]);
}

#[tokio::test]
async fn what_cannot_be_replaced_stays() {
    let account = MemoryAccount::new();
    account.deliver("INBOX", ONE.as_bytes());
    account.deliver("INBOX", TWO.as_bytes());
    let mut client = in_inbox(&account).await;
    for (command, start) in [
        ("a REPLACE 1:2 INBOX {3+}\r\na:b", "a BAD "),
        ("a REPLACE 3 INBOX {3+}\r\na:b", "a BAD "),
        ("a UID REPLACE 9 INBOX {3+}\r\na:b", "a NO [EXPUNGEISSUED]"),
        ("a REPLACE 1 nowhere {3+}\r\na:b", "a NO [TRYCREATE]"),
        ("a REPLACE 1 INBOX {3+}\r\na:b {3+}\r\na:b", "a BAD "),
        ("a REPLACE 1 INBOX {3+}\r\na\0b", "a NO [CANNOT]"),
    ] {
        let answer = client.command(command).await;
        assert!(answer.starts_with(start), "{command}: {answer}");
    }
    client.command("b EXAMINE INBOX").await;
    let answer = client.command("c REPLACE 1 INBOX {3+}\r\na:b").await;
    assert!(answer.starts_with("c NO [READ-ONLY]"), "{answer}");
    client.command("d UNSELECT").await;
    assert!(client.command("e REPLACE 1 INBOX {3+}\r\na:b").await.starts_with("e BAD "));
    assert_eq!(texts(&account, "INBOX"), [ONE, TWO]);
}

#[tokio::test]
async fn with_uid_only_replace_takes_no_message_number() {
    let account = MemoryAccount::new();
    account.deliver("INBOX", ONE.as_bytes());
    let mut client = logged_in(&account).await;
    client.command("e ENABLE UIDONLY QRESYNC").await;
    client.command("s SELECT INBOX").await;
    // Refused before the message is asked for, or with all that comes unasked.
    for command in [
        "a REPLACE 1 INBOX {20}",
        "a REPLACE 1 INBOX {3+}\r\na:b",
        "a REPLACE 1 INBOX CATENATE (TEXT {3+}\r\na:b TEXT {1+}\r\nc)",
        "a REPLACE 1 INBOX CATENATE (URL \"/INBOX/;UID=1\")",
        "a ESEARCH IN (selected) 1:2",
    ] {
        let answer = client.command(command).await;
        assert!(answer.starts_with("a BAD [UIDREQUIRED] "), "{command}: {answer}");
    }
    assert_eq!(texts(&account, "INBOX"), [ONE]);
    let command = format!("b UID REPLACE 1 INBOX {{{}+}}\r\n{TWO}", TWO.len());
    let answer = client.command(&command).await;
    assert!(answer.contains("* VANISHED 1\r\n"), "{answer}");
    assert!(answer.contains("\r\nb OK [HIGHESTMODSEQ "), "{answer}");
    assert_eq!(texts(&account, "INBOX"), [TWO]);
}

#[tokio::test]
async fn no_message_of_several_is_empty() {
    let account = MemoryAccount::new();
    let mut client = logged_in(&account).await;
    for command in [
        "a APPEND INBOX CATENATE (TEXT {0+}\r\n) {5+}\r\nhello",
        "a APPEND INBOX {5+}\r\nhello CATENATE (TEXT {0+}\r\n)",
        "a APPEND INBOX {5+}\r\nhello {0+}\r\n",
    ] {
        let answer = client.command(command).await;
        assert!(answer.starts_with("a NO [CANNOT] "), "{command}: {answer}");
    }
    assert_eq!(texts(&account, "INBOX"), [""; 0]);
}

#[tokio::test]
async fn before_login_no_literal_of_append_holds_the_connection() {
    let account = MemoryAccount::new();
    let mut client = account::client::connect_with(&account, ServerSettings::default()).await;
    client.line().await;
    let answer = client.command("a APPEND INBOX {5+}\r\nhello").await;
    assert!(answer.starts_with("a BAD "), "{answer}");
    // Larger than the literals of other commands: the end.
    client.send("b APPEND INBOX {75497472+}\r\n").await;
    let answer = client.line().await;
    assert!(answer.starts_with("b BAD [TOOBIG] "), "{answer}");
    assert!(client.line().await.starts_with("* BYE "));

    let limits = ImapLimits {
        login_time_max: std::time::Duration::from_millis(300),
        ..ImapLimits::default()
    };
    let settings = ServerSettings { limits, ..ServerSettings::default() };
    let mut client = account::client::connect_with(&account, settings).await;
    client.line().await;
    client.send("c APPEND INBOX {5+}\r\nhel").await;
    let answer = client.line().await;
    assert!(answer.starts_with("* BYE Accesso non effettuato in tempo"), "{answer}");
}

#[tokio::test]
async fn parts_are_counted_before_they_are_copied() {
    let account = MemoryAccount::new();
    account.deliver("INBOX", LETTER.as_bytes());
    let mut client = in_inbox(&account).await;
    let urls = |count: usize| vec!["URL \"/INBOX/;UID=1/;PARTIAL=0.1\""; count].join(" ");
    let answer = client.command(&format!("a APPEND INBOX CATENATE ({})", urls(100))).await;
    assert!(answer.contains("\r\na OK [APPENDUID 1 2]"), "{answer}");
    assert_eq!(texts(&account, "INBOX")[1], "S".repeat(100));
    let answer = client.command(&format!("b APPEND INBOX CATENATE ({})", urls(101))).await;
    assert!(answer.starts_with("b BAD "), "{answer}");
    // A full account copies nothing.
    account.set_limit(10);
    let before = account.appended_octets.load(std::sync::atomic::Ordering::SeqCst);
    for part in ["URL \"/INBOX/;UID=1\"", "TEXT {11+}\r\nSubject: x\n"] {
        let answer = client.command(&format!("c APPEND INBOX CATENATE ({part})")).await;
        assert!(answer.starts_with("c NO [OVERQUOTA]"), "{part}: {answer}");
    }
    assert_eq!(account.appended_octets.load(std::sync::atomic::Ordering::SeqCst), before);
    // What replaces a message needs no space beside it.
    let answer = client.command("d REPLACE 1 INBOX CATENATE (URL \"/INBOX/;UID=1\")").await;
    assert!(answer.contains("\r\nd OK REPLACE\r\n"), "{answer}");
}

#[tokio::test]
async fn a_url_names_mailboxes_in_utf_8() {
    let account = MemoryAccount::new();
    for (name, text) in [("A&-B", ONE), ("A&B", TWO), ("Perché", TWO)] {
        account.make(name);
        account.deliver(name, text.as_bytes());
    }
    let mut client = logged_in(&account).await;
    for (url, text) in [
        ("/A&-B/;UID=1", ONE),
        ("/A&B/;UID=1", TWO),
        ("/Perch%C3%A9/;UID=1", TWO),
        // As commands name it, where no mailbox is called so.
        ("/Perch&AOk-/;UID=1", TWO),
    ] {
        let answer = client.command(&format!("a APPEND INBOX CATENATE (URL \"{url}\")")).await;
        assert!(answer.starts_with("a OK [APPENDUID "), "{url}: {answer}");
        assert_eq!(texts(&account, "INBOX").last().unwrap(), text, "{url}");
    }
}
