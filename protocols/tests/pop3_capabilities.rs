//! What CAPA announces, capability by capability (RFC 2449 §6, RFC 2595 §4, RFC 3206, RFC 6856): each
//! is covered by a transcript, and none is announced that is not.

mod account;
#[path = "support/scram.rs"]
mod scram;
mod support;
#[path = "support/tokens.rs"]
mod tokens;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use account::{
    client::{Client, connect_pop3},
    memory::{ADDRESS, MemoryAccount, OneAccount, OneLogin, PASSWORD},
};
use protocols::pop3::{Pop3Limits, Server};
use support::wire::{Wire, clear_door};
use tokens::{BLOCKED_TOKEN, TOKEN, WithTokens, message, refusal};

const MAIL: &[u8] = b"Subject: uno\r\n\r\nuna riga\r\ndue\r\n";

/// Every capability, and the transcript that covers it.
const COVERED: [(&str, &str); 17] = [
    ("TOP", "top_shows_a_header_and_some_lines"),
    ("UIDL", "uidl_names_a_message_for_ever"),
    ("PIPELINING", "commands_sent_together_are_answered_in_their_order"),
    ("RESP-CODES", "a_held_maildrop_and_a_refused_login_have_codes"),
    ("AUTH-RESP-CODE", "a_held_maildrop_and_a_refused_login_have_codes"),
    ("UTF8 USER", "utf8_is_said_before_the_login_and_takes_logins_in_utf8"),
    ("LANG", "lang_chooses_the_language_of_answers"),
    ("EXPIRE NEVER", "messages_stay_until_they_are_deleted"),
    ("EXPIRE 30", "a_site_that_removes_messages_says_after_how_many_days"),
    ("LOGIN-DELAY 2", "a_login_too_early_is_told_so"),
    ("USER", "user_and_pass_log_in_under_tls_only"),
    ("SASL SCRAM-SHA-256-PLUS", "pop3_binds_a_login_to_its_connection"),
    ("SASL SCRAM-SHA-256", "auth_logs_in_by_every_mechanism_that_capa_names"),
    ("SASL OAUTHBEARER", "a_token_logs_in_and_a_refused_one_is_told_where_to_get_another"),
    ("SASL PLAIN", "auth_logs_in_by_every_mechanism_that_capa_names"),
    ("STLS", "stls_changes_what_is_offered_and_logins_are_taken"),
    ("IMPLEMENTATION Ceralacca", "what_is_announced_is_what_transcripts_cover"),
];

/// The files in which these transcripts stand.
const TRANSCRIPTS: [&str; 4] = [
    include_str!("pop3_capabilities.rs"),
    include_str!("pop3_session.rs"),
    include_str!("sasl_binding.rs"),
    include_str!("start_tls.rs"),
];

fn server_with(account: &Arc<MemoryAccount>, limits: Pop3Limits) -> Server {
    let mail = Arc::new(OneAccount(Arc::clone(account)));
    Server::new(limits, Arc::new(WithTokens(OneLogin)), mail, Arc::default())
}

fn server() -> Server {
    let account = MemoryAccount::new();
    account.deliver("INBOX", MAIL);
    server_with(&account, Pop3Limits::default())
}

async fn greeted(server: &Server) -> Client {
    let mut client = connect_pop3(server, true).await;
    assert_eq!(client.line().await, "+OK Ceralacca pronto / ready\r\n");
    client
}

async fn log_in(client: &mut Client) -> String {
    assert!(client.pop3(&format!("USER {ADDRESS}")).await.starts_with("+OK"));
    client.pop3(&format!("PASS {PASSWORD}")).await
}

async fn logged_in(server: &Server) -> Client {
    let mut client = greeted(server).await;
    let answer = log_in(&mut client).await;
    assert!(answer.starts_with("+OK "), "{answer}");
    client
}

/// The lines of CAPA, the mechanisms each as a line of its own.
fn split(lines: &[String]) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for line in lines {
        match line.strip_prefix("SASL ") {
            Some(names) => all.extend(names.split(' ').map(|name| format!("SASL {name}"))),
            None => drop(all.insert(line.clone())),
        }
    }
    all
}

#[tokio::test]
async fn what_is_announced_is_what_transcripts_cover() {
    let limits = Pop3Limits {
        login_delay: Duration::from_secs(2),
        expire_days: Some(30),
        ..Pop3Limits::default()
    };
    let mut announced = BTreeSet::new();
    for limits in [Pop3Limits::default(), limits] {
        let server = server_with(&MemoryAccount::new(), limits);
        let door = clear_door(|start_tls| server.with_start_tls(start_tls)).await;
        let mut wire = Wire::clear(&door).await;
        wire.line().await;
        announced.extend(split(&wire.lines("CAPA").await));
        assert!(wire.say("STLS").await.starts_with("+OK"));
        let mut wire = wire.secured(&door).await;
        announced.extend(split(&wire.lines("CAPA").await));
        wire.say(&format!("USER {ADDRESS}")).await;
        assert!(wire.say(&format!("PASS {PASSWORD}")).await.starts_with("+OK"));
        announced.extend(split(&wire.lines("CAPA").await));
    }
    let covered: BTreeSet<String> = COVERED.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(announced, covered);
    for (capability, transcript) in COVERED {
        let test = format!("async fn {transcript}()");
        assert!(TRANSCRIPTS.iter().any(|text| text.contains(&test)), "{capability}: {transcript}");
    }
}

#[tokio::test]
async fn top_shows_a_header_and_some_lines() {
    let mut client = logged_in(&server()).await;
    let octets = MAIL.len();
    assert_eq!(
        client.pop3_lines("TOP 1 0").await,
        format!("+OK {octets} octets\r\nSubject: uno\r\n\r\n.\r\n")
    );
    assert_eq!(
        client.pop3_lines("TOP 1 1").await,
        format!("+OK {octets} octets\r\nSubject: uno\r\n\r\nuna riga\r\n.\r\n")
    );
    assert!(client.pop3_lines("TOP 1 99").await.ends_with("\r\ndue\r\n.\r\n"));
    assert!(client.pop3("TOP 1").await.starts_with("-ERR "));
    assert!(client.pop3("TOP 2 0").await.starts_with("-ERR "));
}

/// RFC 1939 §7: one to 70 octets from 0x21 to 0x7E, never given again.
#[tokio::test]
async fn uidl_names_a_message_for_ever() {
    let account = MemoryAccount::new();
    let server = server_with(&account, Pop3Limits::default());
    let mut seen = BTreeSet::new();
    for (round, made_again) in [(0, false), (1, false), (2, true), (3, true)] {
        if made_again {
            // A mailbox made again counts its UIDs from 1 again, under another UIDVALIDITY.
            account.make("INBOX");
        }
        account.deliver("INBOX", MAIL);
        account.deliver("INBOX", MAIL);
        let mut client = logged_in(&server).await;
        let listed = client.pop3_lines("UIDL").await;
        let names: Vec<String> = listed
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(' ').map(|(_, name)| name.to_owned()))
            .collect();
        assert_eq!(names.len(), 2, "{round}: {listed}");
        for name in &names {
            assert!((1..=70).contains(&name.len()), "{name}");
            assert!(name.bytes().all(|octet| (0x21..=0x7e).contains(&octet)), "{name}");
            assert!(seen.insert(name.clone()), "{name} named another message before");
        }
        assert_eq!(client.pop3("UIDL 2").await, format!("+OK 2 {}\r\n", names[1]));
        drop(client);
        // The same in another session, and when others before it are gone.
        let mut client = eventually_logged_in(&server).await;
        assert_eq!(client.pop3("UIDL 1").await, format!("+OK 1 {}\r\n", names[0]));
        client.pop3("DELE 1").await;
        client.pop3("QUIT").await;
        client.rest().await;
        let mut client = logged_in(&server).await;
        assert_eq!(client.pop3("UIDL 1").await, format!("+OK 1 {}\r\n", names[1]));
        client.pop3("DELE 1").await;
        client.pop3("QUIT").await;
        client.rest().await;
    }
}

/// Logs in as soon as the session before has given its lock back.
async fn eventually_logged_in(server: &Server) -> Client {
    for _ in 0..200 {
        let mut client = greeted(server).await;
        let answer = log_in(&mut client).await;
        if answer.starts_with("+OK") {
            return client;
        }
        assert!(answer.starts_with("-ERR [IN-USE]"), "{answer}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the lock of a session that is gone is kept");
}

#[tokio::test]
async fn commands_sent_together_are_answered_in_their_order() {
    let mut client = greeted(&server()).await;
    client
        .send(format!("USER {ADDRESS}\r\nPASS {PASSWORD}\r\nSTAT\r\nXYZZY\r\nRETR 1\r\nQUIT\r\n"))
        .await;
    let octets = MAIL.len();
    let expected = format!(
        "+OK Password, prego / Password, please\r\n+OK 1 messaggi / messages ({octets})\r\n\
         +OK 1 {octets}\r\n-ERR Comando sconosciuto o errato / Unknown or wrong command\r\n\
         +OK {octets} octets\r\n{}.\r\n+OK Arrivederci / Goodbye\r\n",
        String::from_utf8_lossy(MAIL)
    );
    assert_eq!(client.rest().await, expected);
}

#[tokio::test]
async fn a_held_maildrop_and_a_refused_login_have_codes() {
    let account = MemoryAccount::new();
    account.deliver("INBOX", MAIL);
    let server = server_with(&account, Pop3Limits::default());
    let first = logged_in(&server).await;
    let mut client = greeted(&server).await;
    assert_eq!(
        log_in(&mut client).await,
        "-ERR [IN-USE] Un'altra sessione POP3 di questa casella e' aperta: chiuderla o attendere che finisca \
         / Another POP3 session of this account is open: close it or wait until it ends\r\n"
    );
    client.pop3(&format!("USER {ADDRESS}")).await;
    assert_eq!(
        client.pop3("PASS wrong").await,
        "-ERR [AUTH] Nome utente o password errati / Wrong user name or password\r\n"
    );
    client.pop3("USER bloccata@pec.example").await;
    assert!(client.pop3("PASS x").await.starts_with("-ERR [AUTH] Casella bloccata"));
    drop(first);
    let mut client = eventually_logged_in(&server).await;
    account.damage_from(0);
    assert!(client.pop3("RETR 1").await.starts_with("-ERR [SYS/PERM] Messaggio danneggiato"));
}

#[tokio::test]
async fn utf8_is_said_before_the_login_and_takes_logins_in_utf8() {
    let account = MemoryAccount::new();
    let mail = "Subject: perché\r\n\r\ncosì\r\n";
    account.deliver("INBOX", mail.as_bytes());
    let server = server_with(&account, Pop3Limits::default());
    let mut client = greeted(&server).await;
    assert_eq!(client.pop3("UTF8").await, "+OK UTF-8 attivo / UTF-8 is on\r\n");
    assert!(client.pop3("UTF8 now").await.starts_with("-ERR "));
    // Nobody has this login, and it is read as one.
    client.pop3("USER perché@pec.example").await;
    assert!(client.pop3("PASS città").await.starts_with("-ERR [AUTH] "));
    assert!(log_in(&mut client).await.starts_with("+OK 1 "));
    assert!(client.pop3("UTF8").await.starts_with("-ERR "));
    assert_eq!(client.pop3("STAT").await, format!("+OK 1 {}\r\n", mail.len()));
    assert_eq!(
        client.pop3_lines("RETR 1").await,
        format!("+OK {} octets\r\n{mail}.\r\n", mail.len())
    );
}

#[tokio::test]
async fn lang_chooses_the_language_of_answers() {
    let mut client = greeted(&server()).await;
    assert_eq!(
        client.pop3_lines("LANG").await,
        "+OK Lingue disponibili / Languages\r\nit Italiano\r\nen English\r\n\
         i-default Italiano ed English insieme / Italian and English together\r\n.\r\n"
    );
    assert_eq!(client.pop3("LANG en").await, "+OK en Language of answers\r\n");
    assert_eq!(client.pop3("PASS x").await, "-ERR USER first\r\n");
    assert_eq!(
        client.pop3("LANG fr").await,
        "-ERR No such language, see LANG\r\n",
        "the language stays"
    );
    assert_eq!(client.pop3("LANG *").await, "+OK it Lingua delle risposte\r\n");
    assert_eq!(client.pop3("PASS x").await, "-ERR Prima USER\r\n");
    let octets = MAIL.len();
    assert_eq!(log_in(&mut client).await, format!("+OK 1 messaggi ({octets})\r\n"));
    assert_eq!(client.pop3("LANG EN-gb").await, "+OK en Language of answers\r\n");
    assert_eq!(client.pop3("RETR 9").await, "-ERR No such message\r\n");
    assert_eq!(
        client.pop3("LANG i-default").await,
        "+OK i-default Lingua delle risposte / Language of answers\r\n"
    );
    assert_eq!(client.pop3("QUIT").await, "+OK Arrivederci / Goodbye\r\n");
}

#[tokio::test]
async fn messages_stay_until_they_are_deleted() {
    let account = MemoryAccount::new();
    account.deliver("INBOX", MAIL);
    let server = server_with(&account, Pop3Limits::default());
    for _ in 0..3 {
        let mut client = logged_in(&server).await;
        assert!(client.pop3_lines("CAPA").await.contains("\r\nEXPIRE NEVER\r\n"));
        client.pop3_lines("RETR 1").await;
        assert!(client.pop3("QUIT").await.starts_with("+OK"));
        client.rest().await;
    }
    assert_eq!(account.messages("INBOX").len(), 1);
}

#[tokio::test]
async fn a_site_that_removes_messages_says_after_how_many_days() {
    let limits = Pop3Limits { expire_days: Some(30), ..Pop3Limits::default() };
    let mut client = greeted(&server_with(&MemoryAccount::new(), limits)).await;
    let capabilities = client.pop3_lines("CAPA").await;
    assert!(capabilities.contains("\r\nEXPIRE 30\r\n"), "{capabilities}");
    assert!(!capabilities.contains("NEVER"), "{capabilities}");
}

#[tokio::test]
async fn a_login_too_early_is_told_so() {
    let delay = Duration::from_millis(1_500);
    let limits = Pop3Limits { login_delay: delay, ..Pop3Limits::default() };
    let server = server_with(&MemoryAccount::new(), limits);
    let mut client = greeted(&server).await;
    assert!(client.pop3_lines("CAPA").await.contains("\r\nLOGIN-DELAY 2\r\n"));
    // A wrong password is no login.
    client.pop3(&format!("USER {ADDRESS}")).await;
    assert!(client.pop3("PASS wrong").await.starts_with("-ERR [AUTH] "));
    assert!(log_in(&mut client).await.starts_with("+OK "));
    client.pop3("QUIT").await;
    client.rest().await;
    let mut client = greeted(&server).await;
    let early = log_in(&mut client).await;
    assert!(early.starts_with("-ERR [LOGIN-DELAY] L'ultimo accesso"), "{early}");
    tokio::time::sleep(delay).await;
    assert!(log_in(&mut client).await.starts_with("+OK "));
}

#[tokio::test]
async fn user_and_pass_log_in_under_tls_only() {
    let server = server();
    let mut clear = connect_pop3(&server, false).await;
    clear.line().await;
    let capabilities = clear.pop3_lines("CAPA").await;
    for word in ["USER", "SASL", "STLS"] {
        assert!(!capabilities.contains(&format!("\r\n{word}")), "{capabilities}");
    }
    for command in [format!("USER {ADDRESS}"), format!("PASS {PASSWORD}"), "AUTH PLAIN".into()] {
        assert_eq!(
            clear.pop3(&command).await,
            "-ERR Serve una connessione TLS / Use TLS first\r\n"
        );
    }
    let mut client = greeted(&server).await;
    assert!(client.pop3_lines("CAPA").await.contains("\r\nUSER\r\n"));
    assert!(log_in(&mut client).await.starts_with("+OK 1 "));
    assert!(client.pop3(&format!("USER {ADDRESS}")).await.starts_with("-ERR "));
}

#[tokio::test]
async fn a_token_logs_in_and_a_refused_one_is_told_where_to_get_another() {
    let server = server();
    let mut client = greeted(&server).await;
    let refused = format!("+ {}\r\n", refusal());
    assert_eq!(client.pop3(&format!("AUTH OAUTHBEARER {}", message("", "other"))).await, refused);
    assert!(client.pop3("AQ==").await.starts_with("-ERR [AUTH] "));
    let for_another = message("mario@pec.example", TOKEN);
    assert_eq!(client.pop3("AUTH OAUTHBEARER").await, "+ \r\n");
    assert_eq!(client.pop3(&for_another).await, refused);
    assert!(
        client.pop3("*").await.starts_with("-ERR [AUTH] "),
        "who cancels instead has failed too"
    );
    let blocked = message("", BLOCKED_TOKEN);
    let blocked = client.pop3(&format!("AUTH OAUTHBEARER {blocked}")).await;
    assert!(blocked.starts_with("-ERR [AUTH] Casella bloccata"), "{blocked}");
    assert!(!client.pop3("NOOP").await.starts_with("+OK"), "three failures end the session");
    let mut client = greeted(&server).await;
    let right = message(ADDRESS, TOKEN);
    assert!(client.pop3(&format!("AUTH oauthbearer {right}")).await.starts_with("+OK 1 "));
}

/// A token makes the longest line there is, and it may come along with AUTH (RFC 5034 §4).
#[tokio::test]
async fn an_initial_response_may_be_longer_than_other_lines() {
    let mut client = greeted(&server()).await;
    let long = message("", &"x".repeat(6_000));
    let answer = client.pop3(&format!("AUTH OAUTHBEARER {long}")).await;
    assert_eq!(answer, format!("+ {}\r\n", refusal()));
    assert!(client.pop3("AQ==").await.starts_with("-ERR [AUTH] "));
    client.send(format!("USER {}\r\n", "x".repeat(6_000))).await;
    assert_eq!(client.rest().await, "-ERR Riga troppo lunga / Line too long\r\n");
}
