//! Annotations of mailboxes and of the server (RFC 5464), by transcripts.

mod account;

use account::{client::logged_in, memory::MemoryAccount};

#[tokio::test]
async fn annotations_are_set_told_and_removed_as_in_rfc_5464() {
    let account = MemoryAccount::new();
    let mut client = logged_in(&account).await;
    // §4.3: one value, several, none.
    client.send("a SETMETADATA INBOX (/private/comment {33}\r\n").await;
    assert!(client.line().await.starts_with("+ "));
    client.send("My new comment across\r\ntwo lines.)\r\n").await;
    assert_eq!(client.until("a").await, "a OK SETMETADATA\r\n");
    let answer = client
        .command("b SETMETADATA INBOX (/private/comment \"My new comment\" /shared/Comment \"This one is for you!\")")
        .await;
    assert_eq!(answer, "b OK SETMETADATA\r\n");
    // §4.2, with the two entries of §4.2.1; names are compared without case.
    let answer = client.command("c GETMETADATA inbox (/shared/comment /PRIVATE/comment)").await;
    assert_eq!(
        answer,
        "* METADATA INBOX (/shared/comment \"This one is for you!\" /private/comment \"My new comment\")\r\n\
         c OK GETMETADATA\r\n"
    );
    assert!(client.command("d SETMETADATA INBOX (/private/comment NIL)").await.starts_with("d OK"));
    assert_eq!(
        client.command("e GETMETADATA \"INBOX\" /private/comment").await,
        "* METADATA INBOX (/private/comment NIL)\r\ne OK GETMETADATA\r\n"
    );
    for command in ["GETMETADATA nowhere /private/a", "SETMETADATA nowhere (/private/a \"\")"] {
        let answer = client.command(&format!("f {command}")).await;
        assert!(answer.starts_with("f NO [NONEXISTENT]"), "{command}: {answer}");
    }
}

#[tokio::test]
async fn long_values_are_left_out_and_counted() {
    let account = MemoryAccount::new();
    let mut client = logged_in(&account).await;
    let long = "x".repeat(1_000);
    let set =
        format!("a SETMETADATA INBOX (/shared/comment \"{long}\" /private/comment \"short\")");
    assert!(client.command(&set).await.starts_with("a OK"));
    // §4.2.1
    assert_eq!(
        client
            .command("b GETMETADATA (MAXSIZE 999) INBOX (/shared/comment /private/comment)")
            .await,
        "* METADATA INBOX (/private/comment \"short\")\r\nb OK [METADATA LONGENTRIES 1000] GETMETADATA\r\n"
    );
    assert_eq!(
        client.command("c GETMETADATA (MAXSIZE 1) INBOX /shared/comment").await,
        "c OK [METADATA LONGENTRIES 1000] GETMETADATA\r\n"
    );
    let whole = client.command("d GETMETADATA (MAXSIZE 1000) INBOX /shared/comment").await;
    assert!(whole.contains(&long) && whole.ends_with("d OK GETMETADATA\r\n"));
}

#[tokio::test]
async fn depth_reaches_below_an_entry_as_in_rfc_5464_section_4_2_2() {
    let account = MemoryAccount::new();
    let mut client = logged_in(&account).await;
    let set = "a SETMETADATA INBOX (/private/filters/values/small \"SMALLER 5000\" \
               /private/filters/values/boss \"FROM boss\" /private/filters/values/boss/x \"y\" \
               /private/filters/valuesnot \"z\")";
    assert!(client.command(set).await.starts_with("a OK"));
    assert_eq!(
        client.command("b GETMETADATA \"INBOX\" (DEPTH 1) (/private/filters/values)").await,
        "* METADATA INBOX (/private/filters/values/boss \"FROM boss\" /private/filters/values/small \"SMALLER 5000\")\r\n\
         b OK GETMETADATA\r\n"
    );
    let all = client.command("c GETMETADATA (DEPTH infinity) INBOX /private/filters/values").await;
    assert!(
        all.contains("/private/filters/values/boss/x \"y\"") && !all.contains("valuesnot"),
        "{all}"
    );
    assert_eq!(
        client.command("d GETMETADATA (DEPTH 1) INBOX /private/no").await,
        "d OK GETMETADATA\r\n"
    );
}

#[tokio::test]
async fn any_octets_are_kept_as_they_came() {
    let account = MemoryAccount::new();
    let mut client = logged_in(&account).await;
    client.send(b"a SETMETADATA INBOX (/private/x ~{6+}\r\n\0\xff\r\n)\x01 /private/y {2+}\r\n\xc3\xa0)\r\n").await;
    assert_eq!(client.until("a").await, "a OK SETMETADATA\r\n");
    client.send(b"b GETMETADATA INBOX (/private/y /private/x)\r\n").await;
    let answer = client.until("b").await;
    assert!(answer.contains("/private/y {2}\r\n\u{e0} /private/x ~{6}\r\n\0"), "{answer:?}");
}

#[tokio::test]
async fn the_server_has_private_annotations_of_each_account() {
    let account = MemoryAccount::new();
    let mut client = logged_in(&account).await;
    assert!(
        client.command("a SETMETADATA \"\" (/private/comment \"mine\")").await.starts_with("a OK")
    );
    assert_eq!(
        client.command("b GETMETADATA \"\" (/private/comment /shared/admin)").await,
        "* METADATA \"\" (/private/comment \"mine\" /shared/admin NIL)\r\nb OK GETMETADATA\r\n"
    );
    let answer = client.command("c SETMETADATA \"\" (/shared/admin \"me\")").await;
    assert!(answer.starts_with("c NO [NOPERM] "), "{answer}");
    assert!(client.command("d GETMETADATA INBOX /private/comment").await.contains(" NIL)"));
}

#[tokio::test]
async fn what_another_account_shares_cannot_be_annotated() {
    let account = MemoryAccount::new();
    let shared = "Altri utenti/posta@pec.example/INBOX";
    account.make(shared);
    account.make_read_only(shared);
    let mut client = logged_in(&account).await;
    for (entry, code) in [("/private/comment", "METADATA NOPRIVATE"), ("/shared/comment", "NOPERM")]
    {
        let answer = client.command(&format!("a SETMETADATA \"{shared}\" ({entry} \"x\")")).await;
        assert!(answer.starts_with(&format!("a NO [{code}] ")), "{entry}: {answer}");
    }
    let answer = client.command(&format!("b GETMETADATA \"{shared}\" /shared/comment")).await;
    assert!(answer.contains(" NIL)\r\nb OK"), "{answer}");
}

#[tokio::test]
async fn annotations_are_bounded_and_refused_as_a_whole() {
    let account = MemoryAccount::new();
    let mut client = logged_in(&account).await;
    let long = "x".repeat(1_025);
    let answer = client
        .command(&format!("a SETMETADATA INBOX (/shared/a \"1\" /shared/b \"{long}\")"))
        .await;
    assert!(answer.starts_with("a NO [METADATA MAXSIZE 1024] "), "{answer}");
    let eleven: Vec<_> = (0..11).map(|number| format!("/shared/{number} \"\"")).collect();
    let answer = client.command(&format!("b SETMETADATA INBOX ({})", eleven.join(" "))).await;
    assert!(answer.starts_with("b NO [METADATA TOOMANY] "), "{answer}");
    let answer = client.command("c GETMETADATA (DEPTH infinity) INBOX (/shared/a /shared/0)").await;
    assert_eq!(answer, "c OK GETMETADATA\r\n");
    let too_many = ["/shared/a"; 101].join(" ");
    for wrong in [
        format!("GETMETADATA INBOX ({too_many})"),
        format!("GETMETADATA INBOX /private/{}", "x".repeat(1_000)),
        "GETMETADATA INBOX /private/*".to_owned(),
        "GETMETADATA INBOX /other/a".to_owned(),
        "GETMETADATA INBOX ()".to_owned(),
        "GETMETADATA (DEPTH 2) INBOX /private/a".to_owned(),
        "SETMETADATA INBOX ()".to_owned(),
        "SETMETADATA INBOX (/private/a)".to_owned(),
        "SETMETADATA INBOX (/private//a \"\")".to_owned(),
    ] {
        let answer = client.command(&format!("d {wrong}")).await;
        assert!(answer.starts_with("d BAD "), "{wrong}: {answer}");
    }
}
