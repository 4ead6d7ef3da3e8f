//! Results of SEARCH: ESEARCH (RFC 4731), `$` (RFC 5182), parts (RFC 9394), and the keys of
//! extensions: WITHIN (RFC 5032), MODSEQ (RFC 7162), dates of saving (RFC 8514), identifiers (RFC 8474).

mod account;

use std::sync::Arc;

use account::{
    client::{Client, connect_with, in_inbox, logged_in},
    memory::{ADDRESS, MemoryAccount, NOW},
};
use protocols::imap::{ImapLimits, ServerSettings};
use storage::mailbox::flags::Flags;
use trust::clock::ManualClock;

fn message(subject: &str) -> Vec<u8> {
    format!("From: bruno@pec.example\r\nSubject: {subject}\r\n\r\nx\r\n").into_bytes()
}

/// An account with messages 1 to 6 in INBOX, of which 2, 4 and 5 are flagged.
fn six() -> Arc<MemoryAccount> {
    let account = MemoryAccount::new();
    for number in 1..=6 {
        account.deliver("INBOX", &message(&format!("numero {number}")));
    }
    for uid in [2, 4, 5] {
        account.flag("INBOX", uid, Flags { flagged: true, ..Flags::default() });
    }
    account
}

async fn selected_with(account: &Arc<MemoryAccount>, settings: ServerSettings) -> Client {
    let mut client = connect_with(account, settings).await;
    client.line().await;
    client.command(&format!("in LOGIN {ADDRESS} \"ceralacca \\\"1\\\"\"")).await;
    client.command("sel SELECT INBOX").await;
    client
}

async fn expect(client: &mut Client, command: &str, answer: &str) {
    let told = client.command(&format!("a {command}")).await;
    let word = command.trim_start_matches("UID ").split(' ').next().unwrap();
    assert_eq!(told, format!("{answer}a OK {word}\r\n"), "{command}");
}

#[tokio::test]
async fn results_are_told_as_rfc_4731_says() {
    let account = six();
    account.expunge("INBOX", 1);
    let mut client = in_inbox(&account).await;
    for (command, answer) in [
        ("SEARCH RETURN (MIN COUNT) FLAGGED", "MIN 1 COUNT 3"),
        ("SEARCH RETURN () FLAGGED", "ALL 1,3:4"),
        ("UID SEARCH RETURN (ALL) FLAGGED", "UID ALL 2,4:5"),
        ("UID SEARCH RETURN (MIN MAX) FLAGGED", "UID MIN 2 MAX 5"),
        ("SEARCH RETURN (MAX) SUBJECT numero", "MAX 5"),
        ("SEARCH RETURN (COUNT) SEEN", "COUNT 0"),
        ("SEARCH RETURN (MIN MAX ALL COUNT) SEEN", "COUNT 0"),
        ("SEARCH RETURN (CONTEXT COUNT) ALL", "COUNT 5"),
        ("SEARCH RETURN (COUNT) CHARSET UTF-8 SUBJECT NUMERO", "COUNT 5"),
    ] {
        expect(&mut client, command, &format!("* ESEARCH (TAG \"a\") {answer}\r\n")).await;
    }
    expect(&mut client, "SEARCH RETURN (ALL) SEEN", "* ESEARCH (TAG \"a\")\r\n").await;
    expect(&mut client, "UID SEARCH RETURN (MIN) SEEN", "* ESEARCH (TAG \"a\") UID\r\n").await;
    expect(&mut client, "SEARCH FLAGGED", "* SEARCH 1 3 4\r\n").await;
    for wrong in ["RETURN (X) ALL", "RETURN MIN ALL", "RETURN (ALL PARTIAL 1:2) ALL", "RETURN ()"] {
        assert!(
            client.command(&format!("a SEARCH {wrong}")).await.starts_with("a BAD "),
            "{wrong}"
        );
    }
}

#[tokio::test]
async fn imap4rev2_has_no_other_answer() {
    let mut client = logged_in(&six()).await;
    client.command("e ENABLE IMAP4rev2").await;
    client.command("s SELECT INBOX").await;
    expect(&mut client, "SEARCH FLAGGED", "* ESEARCH (TAG \"a\") ALL 2,4:5\r\n").await;
    expect(&mut client, "UID SEARCH SEEN", "* ESEARCH (TAG \"a\") UID\r\n").await;
}

#[tokio::test]
async fn parts_of_a_result_are_told_as_rfc_9394_says() {
    let mut client = in_inbox(&six()).await;
    for (part, told) in [
        ("1:2", "2,4"),
        ("3:2", "4:5"),
        ("-1:-2", "4:5"),
        ("3:100", "5"),
        ("4:100", "NIL"),
        ("-100:-3", "2"),
    ] {
        let answer = format!("* ESEARCH (TAG \"a\") UID PARTIAL ({part} {told})\r\n");
        let command = format!("UID SEARCH RETURN (PARTIAL {part}) FLAGGED");
        expect(&mut client, &command, &answer).await;
    }
    let answer = "* ESEARCH (TAG \"a\") COUNT 3 PARTIAL (1:1 2)\r\n";
    expect(&mut client, "SEARCH RETURN (PARTIAL 1:1 COUNT) FLAGGED", answer).await;
}

#[tokio::test]
async fn what_is_saved_stands_for_itself_until_it_is_expunged() {
    let account = six();
    let mut client = in_inbox(&account).await;
    expect(&mut client, "SEARCH $", "* SEARCH\r\n").await;
    expect(&mut client, "SEARCH RETURN (SAVE) FLAGGED", "").await;
    expect(&mut client, "UID SEARCH $", "* SEARCH 2 4 5\r\n").await;
    expect(&mut client, "SEARCH UID $ SUBJECT 4", "* SEARCH 4\r\n").await;
    expect(&mut client, "SEARCH NOT $", "* SEARCH 1 3 6\r\n").await;
    expect(&mut client, "UID SEARCH OR $ 6", "* SEARCH 2 4 5 6\r\n").await;
    account.make("Copie");
    let copied = client.command("c COPY $ Copie").await;
    assert!(copied.starts_with("c OK [COPYUID 2 2,4:5 1:3] "), "{copied}");
    account.expunge("INBOX", 4);
    client.command("n NOOP").await;
    expect(&mut client, "UID SEARCH $", "* SEARCH 2 5\r\n").await;
    // RFC 5182 §2.4: which of the options saves what.
    for (options, saved) in [
        ("SAVE MIN", "2"),
        ("SAVE MAX", "5"),
        ("SAVE MIN MAX", "2 5"),
        ("SAVE MIN COUNT", "2 5"),
        ("SAVE ALL", "2 5"),
        ("SAVE PARTIAL -1:-1", "5"),
    ] {
        client.command(&format!("s SEARCH RETURN ({options}) FLAGGED")).await;
        expect(&mut client, "UID SEARCH $", &format!("* SEARCH {saved}\r\n")).await;
    }
    client.command("s SEARCH RETURN (SAVE) SEEN").await;
    expect(&mut client, "UID SEARCH $", "* SEARCH\r\n").await;
}

/// RFC 5182 §2.1: `$` stands wherever a set of messages does.
#[tokio::test]
async fn what_is_saved_is_fetched_stored_copied_and_moved() {
    let account = six();
    account.make("Copie");
    let mut client = in_inbox(&account).await;
    client.command("s UID SEARCH RETURN (SAVE) FLAGGED").await;
    for command in ["FETCH $ UID", "UID FETCH $ UID"] {
        let answer = "* 2 FETCH (UID 2)\r\n* 4 FETCH (UID 4)\r\n* 5 FETCH (UID 5)\r\n";
        let told = client.command(&format!("a {command}")).await;
        assert_eq!(told, format!("{answer}a OK FETCH\r\n"), "{command}");
    }
    for (command, flag) in [("STORE", "Uno"), ("UID STORE", "Due")] {
        let told = client.command(&format!("a {command} $ +FLAGS.SILENT ({flag})")).await;
        assert!(told.ends_with("a OK STORE\r\n"), "{told}");
        expect(&mut client, &format!("SEARCH KEYWORD {flag}"), "* SEARCH 2 4 5\r\n").await;
    }
    let copied = client.command("c UID COPY $ Copie").await;
    assert!(copied.starts_with("c OK [COPYUID 2 2,4:5 1:3] "), "{copied}");
    let moved = client.command("m MOVE $ Copie").await;
    assert!(moved.starts_with("* OK [COPYUID 2 2,4:5 4:6] "), "{moved}");
    // Nothing is left that it could stand for, and that is no error.
    assert_eq!(client.command("f FETCH $ UID").await, "f OK FETCH\r\n");
    expect(&mut client, "SEARCH $", "* SEARCH\r\n").await;
}

#[tokio::test]
async fn a_search_that_is_refused_saves_nothing_and_a_wrong_one_changes_nothing() {
    let account = six();
    let limits = ImapLimits { search_saved_max: 3, ..ImapLimits::default() };
    let settings = ServerSettings { limits, ..ServerSettings::default() };
    let mut client = selected_with(&account, settings).await;
    client.command("s SEARCH RETURN (SAVE) FLAGGED").await;
    assert!(client.command("w SEARCH RETURN (SAVE) NOSUCHKEY").await.starts_with("w BAD "));
    expect(&mut client, "UID SEARCH $", "* SEARCH 2 4 5\r\n").await;
    let refused = client.command("r SEARCH RETURN (SAVE COUNT) ALL").await;
    assert!(refused.starts_with("r NO [NOTSAVED] "), "{refused}");
    expect(&mut client, "UID SEARCH $", "* SEARCH\r\n").await;
    client.command("s SEARCH RETURN (SAVE) FLAGGED").await;
    account.damage_from(0);
    let failed = client.command("r SEARCH RETURN (SAVE) BODY x").await;
    assert!(failed.starts_with("r NO [CORRUPTION] "), "{failed}");
    expect(&mut client, "UID SEARCH $", "* SEARCH\r\n").await;
    client.command("s SEARCH RETURN (SAVE) FLAGGED").await;
    client.command("s SELECT INBOX").await;
    expect(&mut client, "UID SEARCH $", "* SEARCH\r\n").await;
}

#[tokio::test]
async fn ages_are_counted_from_the_clock() {
    let account = six();
    let clock = Arc::new(ManualClock::new(NOW));
    let settings = ServerSettings { clock: Arc::clone(&clock) as _, ..ServerSettings::default() };
    let mut client = selected_with(&account, settings).await;
    clock.advance(100_000);
    expect(&mut client, "SEARCH YOUNGER 100", "* SEARCH 1 2 3 4 5 6\r\n").await;
    expect(&mut client, "SEARCH OLDER 100 FLAGGED", "* SEARCH 2 4 5\r\n").await;
    expect(&mut client, "SEARCH YOUNGER 99", "* SEARCH\r\n").await;
    expect(&mut client, "SEARCH OLDER 101", "* SEARCH\r\n").await;
}

#[tokio::test]
async fn mod_seqs_are_searched_for_and_told() {
    let account = six();
    let mut client = in_inbox(&account).await;
    // Flags were changed as the 8th, 9th and 10th change of the account. Who asks is told where the
    // mailbox stands.
    let told = "* OK [HIGHESTMODSEQ 10] MODSEQ\r\n* SEARCH 2 4 5 (MODSEQ 10)\r\n";
    expect(&mut client, "SEARCH MODSEQ 8", told).await;
    let entry = "SEARCH MODSEQ \"/flags/\\\\draft\" all 9";
    expect(&mut client, entry, "* SEARCH 4 5 (MODSEQ 10)\r\n").await;
    expect(&mut client, "SEARCH MODSEQ 11", "* SEARCH\r\n").await;
    for (options, told) in [
        ("ALL", "ALL 2,4:6 MODSEQ 10"),
        ("MIN", "MIN 2 MODSEQ 8"),
        ("MAX", "MAX 6 MODSEQ 7"),
        ("MIN MAX", "MIN 2 MAX 6 MODSEQ 8"),
        ("MIN COUNT", "MIN 2 COUNT 4 MODSEQ 10"),
        ("PARTIAL 1:2", "PARTIAL (1:2 2,4) MODSEQ 9"),
    ] {
        let command = format!("SEARCH RETURN ({options}) MODSEQ 7");
        expect(&mut client, &command, &format!("* ESEARCH (TAG \"a\") {told}\r\n")).await;
    }
    let none = "* ESEARCH (TAG \"a\") COUNT 0\r\n";
    expect(&mut client, "SEARCH RETURN (COUNT) MODSEQ 11", none).await;
    let sorted = "* SORT 5 4 2 (MODSEQ 10)\r\n";
    expect(&mut client, "SORT (REVERSE SUBJECT) UTF-8 MODSEQ 8", sorted).await;
    let mut client = in_inbox(&account).await;
    client.command("a SEARCH RETURN (SAVE) MODSEQ 8").await;
    expect(&mut client, "SEARCH $", "* SEARCH 2 4 5\r\n").await;
}

#[tokio::test]
async fn dates_of_saving_and_identifiers_are_searched_for() {
    let mut client = in_inbox(&six()).await;
    for (keys, found) in [
        ("SAVEDON 17-Jul-1996", " 1 2 3 4 5 6"),
        ("SAVEDSINCE 18-Jul-1996", ""),
        ("SAVEDBEFORE 18-Jul-1996 2", " 2"),
        ("SAVEDATESUPPORTED 1", " 1"),
        ("NOT SAVEDATESUPPORTED", ""),
        ("EMAILID M3", " 3"),
        ("EMAILID M99", ""),
        ("EMAILID m3", ""),
        ("EMAILID M03", ""),
        ("THREADID T1", ""),
    ] {
        expect(&mut client, &format!("SEARCH {keys}"), &format!("* SEARCH{found}\r\n")).await;
    }
}

#[tokio::test]
async fn a_client_that_goes_away_ends_its_search() {
    let account = MemoryAccount::new();
    for _ in 0..6_000 {
        account.deliver("INBOX", b"From: x@pec.example\r\n\r\nx\r\n");
    }
    let mut client = in_inbox(&account).await;
    let searched = account.summaries.load(std::sync::atomic::Ordering::SeqCst);
    client.send("a SEARCH BODY nothing\r\n").await;
    drop(client);
    let mut before = searched;
    loop {
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        let now = account.summaries.load(std::sync::atomic::Ordering::SeqCst);
        if now == before {
            break;
        }
        before = now;
    }
    assert!(before - searched < 6_000, "{before}");
}

/// RFC 6855 §3, erratum 4029; RFC 5256 §5, where SORT and THREAD have no form without a charset.
#[tokio::test]
async fn a_search_names_no_charset_once_utf8_is_enabled() {
    let account = MemoryAccount::new();
    account.deliver("INBOX", "Subject: perché\r\n\r\ny\r\n".as_bytes());
    let mut client = logged_in(&account).await;
    client.command("a ENABLE UTF8=ACCEPT").await;
    client.command("b SELECT INBOX").await;
    for refused in [
        "SEARCH CHARSET UTF-8 ALL",
        "UID SEARCH RETURN (COUNT) charset US-ASCII ALL",
        "ESEARCH IN (selected) CHARSET UTF-8 ALL",
        // Not unknown, but wrong: the answer must not ask for UTF-8.
        "SEARCH CHARSET ISO-8859-1 SUBJECT x",
        "ESEARCH IN (selected) CHARSET KOI8-R ALL",
        "SORT (SUBJECT) ISO-8859-1 ALL",
        "SORT (SUBJECT) US-ASCII ALL",
        "UID THREAD REFERENCES us-ascii ALL",
    ] {
        let answer = client.command(&format!("c {refused}")).await;
        assert!(answer.starts_with("c BAD Dopo UTF8=ACCEPT "), "{refused}: {answer}");
    }
    for (taken, found) in [
        ("SEARCH SUBJECT \"perché\"", "* SEARCH 1"),
        ("SORT (SUBJECT) UTF-8 SUBJECT \"perché\"", "* SORT 1"),
        ("THREAD REFERENCES UTF-8 SUBJECT \"perché\"", "* THREAD (1)"),
    ] {
        let answer = client.command(&format!("d {taken}")).await;
        assert!(answer.starts_with(&format!("{found}\r\nd OK ")), "{taken}: {answer}");
    }
}
