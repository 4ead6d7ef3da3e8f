//! LIST extended (RFC 5258, RFC 9051 §6.3.9), with what is told beside it, special uses (RFC 6154)
//! and name spaces (RFC 2342), by transcripts.

mod account;

use std::sync::Arc;

use account::{
    client::{Client, connect_with, logged_in},
    memory::{ADDRESS, MemoryAccount},
};
use protocols::imap::{ImapLimits, ServerSettings};

/// The tree of RFC 5258 §5, without what this server has none of: remote mailboxes.
async fn fruit() -> (Arc<MemoryAccount>, Client) {
    let account = MemoryAccount::new();
    for name in ["Fruit", "Fruit/Apple", "Fruit/Banana", "Tofu", "Vegetable", "Vegetable/Broccoli"]
    {
        account.make(name);
    }
    let mut client = logged_in(&account).await;
    for name in ["INBOX", "Fruit/Banana", "Fruit/Peach", "Vegetable", "Vegetable/Broccoli"] {
        assert!(client.command(&format!("s SUBSCRIBE {name}")).await.starts_with("s OK"));
    }
    (account, client)
}

/// The untagged lines of the answer to `command`, which must be OK.
async fn lines(client: &mut Client, command: &str) -> Vec<String> {
    let answer = client.command(&format!("a {command}")).await;
    let (lines, tagged) = answer.trim_end().rsplit_once("\r\n").unwrap_or(("", answer.trim_end()));
    assert!(tagged.starts_with("a OK"), "{command}: {answer}");
    lines.split("\r\n").filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

#[tokio::test]
async fn subscribed_mailboxes_are_selected_as_in_rfc_5258_section_5() {
    let (_account, mut client) = fruit().await;
    let expected = [
        "* LIST (\\Subscribed) \"/\" Fruit/Banana",
        "* LIST (\\NonExistent \\Subscribed) \"/\" Fruit/Peach",
        "* LIST (\\Subscribed) \"/\" INBOX",
        "* LIST (\\Subscribed) \"/\" Vegetable",
        "* LIST (\\Subscribed) \"/\" Vegetable/Broccoli",
    ];
    assert_eq!(lines(&mut client, "LIST (SUBSCRIBED) \"\" \"*\"").await, expected);
    // No mailbox is remote: asking for them too adds nothing.
    assert_eq!(lines(&mut client, "LIST (REMOTE SUBSCRIBED) \"\" \"*\"").await, expected);
}

#[tokio::test]
async fn children_and_subscriptions_are_told_when_asked_for() {
    let (_account, mut client) = fruit().await;
    assert_eq!(
        lines(&mut client, "LIST () \"\" \"%\" RETURN (CHILDREN)").await,
        [
            "* LIST (\\HasChildren) \"/\" Fruit",
            "* LIST (\\HasNoChildren) \"/\" INBOX",
            "* LIST (\\HasNoChildren) \"/\" Tofu",
            "* LIST (\\HasChildren) \"/\" Vegetable",
        ]
    );
    assert_eq!(
        lines(&mut client, "LIST \"\" \"*\" RETURN (SUBSCRIBED)").await,
        [
            "* LIST () \"/\" Fruit",
            "* LIST () \"/\" Fruit/Apple",
            "* LIST (\\Subscribed) \"/\" Fruit/Banana",
            "* LIST (\\Subscribed) \"/\" INBOX",
            "* LIST () \"/\" Tofu",
            "* LIST (\\Subscribed) \"/\" Vegetable",
            "* LIST (\\Subscribed) \"/\" Vegetable/Broccoli",
        ]
    );
}

#[tokio::test]
async fn several_patterns_list_each_name_once() {
    let (_account, mut client) = fruit().await;
    assert_eq!(
        lines(&mut client, "LIST \"\" (\"INBOX\" \"Tofu\" \"T%\" \"Vegetable/%\")").await,
        ["* LIST () \"/\" INBOX", "* LIST () \"/\" Tofu", "* LIST () \"/\" Vegetable/Broccoli",]
    );
    assert_eq!(lines(&mut client, "LIST Fruit/ (A% inbox)").await, ["* LIST () \"/\" Fruit/Apple"]);
    // An empty pattern means nothing in the extended form.
    assert_eq!(lines(&mut client, "LIST \"\" (\"\")").await, [""; 0]);
}

#[tokio::test]
async fn parents_of_selected_mailboxes_are_told_with_childinfo() {
    let account = MemoryAccount::new();
    for name in ["foo2", "foo2/bar1", "foo2/bar2", "baz2/bar22", "eps2", "eps2/mamba", "qux2/bar2"]
    {
        account.make(name);
    }
    let mut client = logged_in(&account).await;
    for name in ["foo2/bar1", "foo2/bar2", "baz2/bar22", "eps2", "eps2/mamba", "zeta/gone"] {
        assert!(client.command(&format!("s SUBSCRIBE {name}")).await.starts_with("s OK"));
    }
    // RFC 5258 §5, examples 8 and 9.
    assert_eq!(
        lines(&mut client, "LIST (RECURSIVEMATCH SUBSCRIBED) \"\" \"%\"").await,
        [
            "* LIST (\\NonExistent) \"/\" baz2 (\"CHILDINFO\" (\"SUBSCRIBED\"))",
            "* LIST (\\Subscribed) \"/\" eps2 (\"CHILDINFO\" (\"SUBSCRIBED\"))",
            "* LIST () \"/\" foo2 (\"CHILDINFO\" (\"SUBSCRIBED\"))",
            "* LIST (\\NonExistent) \"/\" zeta (\"CHILDINFO\" (\"SUBSCRIBED\"))",
        ]
    );
    assert_eq!(
        lines(&mut client, "LIST (SUBSCRIBED RECURSIVEMATCH) \"\" \"*2\"").await,
        [
            "* LIST (\\NonExistent) \"/\" baz2 (\"CHILDINFO\" (\"SUBSCRIBED\"))",
            "* LIST (\\Subscribed) \"/\" baz2/bar22",
            "* LIST (\\Subscribed) \"/\" eps2 (\"CHILDINFO\" (\"SUBSCRIBED\"))",
            "* LIST () \"/\" foo2 (\"CHILDINFO\" (\"SUBSCRIBED\"))",
            "* LIST (\\Subscribed) \"/\" foo2/bar2",
        ]
        .into_iter()
        .filter(|line| !line.contains(" baz2 "))
        .collect::<Vec<_>>()
    );
    // When every child is listed itself, its parents are not.
    let all = lines(&mut client, "LIST (SUBSCRIBED RECURSIVEMATCH) \"\" *").await;
    assert!(all.iter().all(|line| line.contains("\\Subscribed") && !line.contains("CHILDINFO")));
    for wrong in ["(RECURSIVEMATCH)", "(REMOTE RECURSIVEMATCH)", "(NEW)"] {
        let answer = client.command(&format!("a LIST {wrong} \"\" *")).await;
        assert!(answer.starts_with("a BAD"), "{wrong}: {answer}");
    }
}

#[tokio::test]
async fn names_without_a_mailbox_are_nonexistent_in_the_extended_form() {
    let account = MemoryAccount::new();
    account.make("a/b");
    let mut client = logged_in(&account).await;
    let plain = lines(&mut client, "LIST \"\" a").await;
    assert_eq!(plain, ["* LIST (\\Noselect \\HasChildren) \"/\" a"]);
    let extended = lines(&mut client, "LIST \"\" a RETURN (CHILDREN)").await;
    assert_eq!(extended, ["* LIST (\\NonExistent \\HasChildren) \"/\" a"]);
    assert!(client.command("e ENABLE IMAP4rev2").await.contains("e OK"));
    let rev2 = lines(&mut client, "LIST \"\" a").await;
    assert_eq!(rev2, ["* LIST (\\NonExistent \\HasChildren) \"/\" a"]);
}

#[tokio::test]
async fn counters_and_rights_come_beside_the_list() {
    let account = MemoryAccount::new();
    account.make("a/b");
    account.deliver("INBOX", b"Subject: x\r\n\r\ny\r\n");
    let mut client = logged_in(&account).await;
    // RFC 5819 §3: nothing for what cannot be selected.
    assert_eq!(
        lines(&mut client, "LIST \"\" % RETURN (STATUS (MESSAGES UNSEEN))").await,
        [
            "* LIST () \"/\" INBOX",
            "* STATUS INBOX (MESSAGES 1 UNSEEN 1)",
            "* LIST (\\NonExistent) \"/\" a",
        ]
    );
    // RFC 8440 §3.
    account.make_read_only("a/b");
    assert_eq!(
        lines(&mut client, "LIST \"\" * RETURN (MYRIGHTS)").await,
        [
            "* LIST () \"/\" INBOX",
            "* MYRIGHTS INBOX lrswipkxteacd",
            "* LIST (\\NonExistent) \"/\" a",
            "* LIST () \"/\" a/b",
            "* MYRIGHTS a/b lra",
        ]
    );
}

#[tokio::test]
async fn annotations_come_beside_the_list_as_in_rfc_9590() {
    let account = MemoryAccount::new();
    account.make("foo");
    let mut client = logged_in(&account).await;
    let set = "s SETMETADATA INBOX (/shared/vendor/cmu/cyrus-imapd/color \"#b71c1c\")";
    assert!(client.command(set).await.starts_with("s OK"));
    let command = "LIST \"\" % RETURN (METADATA (\"/shared/vendor/cmu/cyrus-imapd/color\"))";
    assert_eq!(
        lines(&mut client, command).await,
        [
            "* LIST () \"/\" INBOX",
            "* METADATA INBOX (/shared/vendor/cmu/cyrus-imapd/color \"#b71c1c\")",
            "* LIST () \"/\" foo",
            "* METADATA foo (/shared/vendor/cmu/cyrus-imapd/color NIL)",
        ]
    );
    let answer = client
        .command("a LIST \"\" INBOX RETURN (METADATA (MAXSIZE 3) (/shared/vendor/cmu/cyrus-imapd/color))")
        .await;
    assert_eq!(answer, "* LIST () \"/\" INBOX\r\na OK [METADATA LONGENTRIES 7] LIST\r\n");
}

#[tokio::test]
async fn special_uses_are_listed_selected_and_chosen_at_creation() {
    let account = MemoryAccount::new();
    account.make("Inviati");
    account.make("a/b");
    let mut client = logged_in(&account).await;
    // RFC 6154 §5.3 and §3.
    let answer = client.command("a CREATE MySpecial (USE (\\Drafts))").await;
    assert_eq!(answer, "a OK [MAILBOXID (F4)] CREATE\r\n");
    let expected = ["* LIST (\\Sent) \"/\" Inviati", "* LIST (\\Drafts) \"/\" MySpecial"];
    assert_eq!(lines(&mut client, "LIST (SPECIAL-USE) \"\" *").await, expected);
    let told = lines(&mut client, "LIST \"\" M* RETURN (SPECIAL-USE)").await;
    assert_eq!(told, expected[1..]);
    for taken in ["(USE (\\Sent))", "(USE (\\All))", "(USE (\\Archive \\Junk))"] {
        let answer = client.command(&format!("a CREATE Other {taken}")).await;
        assert!(answer.starts_with("a NO [USEATTR] "), "{taken}: {answer}");
    }
    assert!(client.command("a CREATE Other (QUOTA 3)").await.starts_with("a BAD"));
    assert!(client.command("a CREATE Other (USE ())").await.starts_with("a OK"));
    assert!(client.command("a LIST (SPECIAL-USE RECURSIVEMATCH) \"\" %").await.contains("a OK"));
}

#[tokio::test]
async fn a_name_that_was_normalised_is_told_with_its_old_name() {
    let account = MemoryAccount::new();
    let mut client = logged_in(&account).await;
    let decomposed = "Perche\u{301}";
    assert!(client.command("e ENABLE IMAP4rev2").await.contains("e OK"));
    let answer = client.command(&format!("a CREATE \"{decomposed}\"")).await;
    assert_eq!(
        answer,
        format!(
            "* LIST () \"/\" \"Perché\" (\"OLDNAME\" (\"{decomposed}\"))\r\na OK [MAILBOXID (F2)] CREATE\r\n"
        )
    );
    assert_eq!(account.names(), ["INBOX", "Perché"]);
    let answer = client.command("a RENAME \"Perché\" Altro").await;
    assert_eq!(answer, "a OK RENAME\r\n");
    let answer = client.command(&format!("a RENAME Altro \"x{decomposed}\"")).await;
    assert!(answer.starts_with("* LIST () \"/\" \"xPerché\" (\"OLDNAME\" ("), "{answer}");
    // A pattern is compared in the same form.
    let answer = client.command(&format!("a LIST \"\" \"x{decomposed}%\"")).await;
    assert!(answer.contains("\"xPerché\"\r\n"), "{answer}");
}

#[tokio::test]
async fn what_others_share_has_a_name_space_and_nothing_can_be_made_there() {
    let account = MemoryAccount::new();
    let mut client = logged_in(&account).await;
    let none = client.command("a NAMESPACE").await;
    assert_eq!(none, "* NAMESPACE ((\"\" \"/\")) NIL NIL\r\na OK NAMESPACE\r\n");
    let shared = "Altri utenti/posta@pec.example/INBOX";
    account.make(shared);
    account.make_read_only(shared);
    // RFC 2342 §5.
    assert_eq!(
        client.command("a NAMESPACE").await,
        "* NAMESPACE ((\"\" \"/\")) ((\"Altri utenti/\" \"/\")) NIL\r\na OK NAMESPACE\r\n"
    );
    let answer = client.command(&format!("a SELECT \"{shared}\"")).await;
    assert!(answer.contains("a OK [READ-ONLY]"), "{answer}");
    for command in [
        "CREATE \"Altri utenti\"",
        "CREATE \"Altri utenti/posta@pec.example/Nuova\"",
        "DELETE \"Altri utenti/posta@pec.example/INBOX\"",
        "RENAME \"Altri utenti/posta@pec.example/INBOX\" Mia",
        "RENAME INBOX \"Altri utenti/mia\"",
    ] {
        let answer = client.command(&format!("a {command}")).await;
        assert!(answer.starts_with("a NO [NOPERM] "), "{command}: {answer}");
    }
    assert!(client.command("a CREATE \"Altri utenti2\"").await.starts_with("a OK"));
    account.deliver("INBOX", b"x");
    assert!(client.command("a SELECT INBOX").await.contains("a OK"));
    for command in ["COPY", "MOVE"] {
        let answer = client.command(&format!("a {command} 1 \"{shared}\"")).await;
        assert!(answer.starts_with("a NO [CANNOT]"), "{command}: {answer}");
    }
}

#[tokio::test]
async fn hostile_lists_are_refused_or_answered_in_bounded_work() {
    let account = MemoryAccount::new();
    for number in 0..200 {
        account.make(&format!("{}{number}", "a".repeat(200)));
    }
    let limits = ImapLimits { list_patterns_max: 4, ..ImapLimits::default() };
    let settings = ServerSettings { limits, ..ServerSettings::default() };
    let mut client = connect_with(&account, settings).await;
    client.line().await;
    let login = format!("in LOGIN {ADDRESS} \"ceralacca \\\"1\\\"\"");
    assert!(client.command(&login).await.starts_with("in OK"));
    let pattern = "*a".repeat(1_500);
    assert_eq!(client.command(&format!("a LIST \"\" \"{pattern}\"")).await, "a OK LIST\r\n");
    let pattern = "*a".repeat(3_000);
    for command in [format!("LIST \"\" \"{pattern}\""), format!("LSUB \"{pattern}\" %")] {
        let answer = client.command(&format!("a {command}")).await;
        assert!(answer.starts_with("a NO [LIMIT] "), "{answer}");
    }
    assert!(client.command("a LIST \"\" (a b c d e)").await.starts_with("a BAD"));
    let many = ["CHILDREN"; 33].join(" ");
    assert!(client.command(&format!("a LIST \"\" a RETURN ({many})")).await.starts_with("a BAD"));
    let name = "x".repeat(5_000);
    let answer = client.command(&format!("a LIST \"\" \"{name}\"")).await;
    assert!(answer.starts_with("a NO [LIMIT] "), "{answer}");
}
