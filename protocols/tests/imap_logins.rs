//! Logging in by IMAP, and out again: AUTH=LOGIN, OAUTHBEARER (RFC 7628), UNAUTHENTICATE (RFC 8437),
//! and how many sessions there may be.

mod account;
mod support;
#[path = "support/tokens.rs"]
mod tokens;

use std::sync::Arc;

use account::{
    client::{Client, connect_with, logged_in},
    memory::{ADDRESS, MemoryAccount, OneAccount, OneLogin, PASSWORD},
};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use protocols::{
    imap::{Server, ServerSettings},
    pop3::{self, Pop3Limits},
    sessions::{SessionLimits, SessionLimitsSettings},
    smtp::server::SmtpServer,
};
use support::{
    post::{Post, PostOffice, settings},
    wire::{Wire, door},
};
use tokens::{BLOCKED_TOKEN, TOKEN, WithTokens, message, refusal};

fn account() -> Arc<MemoryAccount> {
    let account = MemoryAccount::new();
    account.deliver("INBOX", b"Subject: x\r\n\r\n");
    account.deliver("INBOX", b"Subject: y\r\n\r\n");
    account
}

fn server(account: &Arc<MemoryAccount>) -> Server {
    let mail = Arc::new(OneAccount(Arc::clone(account)));
    Server::new(ServerSettings::default(), Arc::new(WithTokens(OneLogin)), mail)
}

async fn log_in(client: &mut Client) -> String {
    client.command(&format!("in LOGIN {ADDRESS} \"ceralacca \\\"1\\\"\"")).await
}

#[tokio::test]
async fn auth_login_asks_for_name_and_password() {
    let door = door(server(&account())).await;
    let mut wire = Wire::to(&door).await;
    assert!(wire.command("a CAPABILITY").await.contains(" AUTH=LOGIN"));
    assert_eq!(wire.say("b AUTHENTICATE LOGIN").await, "+ VXNlcm5hbWU6");
    assert_eq!(wire.say(&BASE64.encode(ADDRESS)).await, "+ UGFzc3dvcmQ6");
    let wrong = wire.say(&BASE64.encode("wrong")).await;
    assert!(wrong.starts_with("b NO [AUTHENTICATIONFAILED] "), "{wrong}");
    assert_eq!(wire.say("c AUTHENTICATE LOGIN").await, "+ VXNlcm5hbWU6");
    assert!(wire.say("*").await.starts_with("c BAD "));
    // With an initial response (RFC 4959 §3), as some clients send the name.
    let first = format!("d authenticate login {}", BASE64.encode(ADDRESS));
    assert_eq!(wire.say(&first).await, "+ UGFzc3dvcmQ6");
    assert!(wire.say(&BASE64.encode(PASSWORD)).await.starts_with("d OK [CAPABILITY "));
}

#[tokio::test]
async fn a_token_logs_in_and_a_refused_one_is_told_where_to_get_another() {
    let door = door(server(&account())).await;
    let mut wire = Wire::to(&door).await;
    assert!(wire.command("a CAPABILITY").await.contains(" AUTH=OAUTHBEARER"));
    let refused = format!("+ {}", refusal());
    // RFC 7628 §4.3: the client's last word, and the refusal behind it.
    let other = message(ADDRESS, "other");
    assert_eq!(wire.say(&format!("b AUTHENTICATE OAUTHBEARER {other}")).await, refused);
    assert!(wire.say("AQ==").await.starts_with("b NO [AUTHENTICATIONFAILED] "));
    assert_eq!(wire.say("c AUTHENTICATE OAUTHBEARER").await, "+ ");
    let blocked = wire.say(&message("", BLOCKED_TOKEN)).await;
    assert!(blocked.starts_with("c NO [CONTACTADMIN] "), "{blocked}");
    let right = format!("d AUTHENTICATE OAUTHBEARER {}", message(ADDRESS, TOKEN));
    assert!(wire.say(&right).await.starts_with("d OK [CAPABILITY "));
    assert!(wire.command("e SELECT INBOX").await.contains("* 2 EXISTS"));
}

#[tokio::test]
async fn without_an_issuer_no_token_is_asked_for() {
    let mail = Arc::new(OneAccount(account()));
    let server = Server::new(ServerSettings::default(), Arc::new(OneLogin), mail);
    let mut wire = Wire::to(&door(server).await).await;
    assert!(!wire.command("a CAPABILITY").await.contains("OAUTHBEARER"));
    let refused = wire.say(&format!("b AUTHENTICATE OAUTHBEARER {}", message("", TOKEN))).await;
    assert!(refused.starts_with("b NO [CANNOT] "), "{refused}");
}

#[tokio::test]
async fn a_token_submits_like_a_password() {
    let post = Arc::new(Post { octets_max: 1_000, ..Post::default() });
    let transport = Arc::new(PostOffice(post));
    let authenticator = Arc::new(WithTokens(support::post::OneLogin));
    let server = SmtpServer::submission(settings(), transport, authenticator, None);
    let door = door(Shared(server)).await;
    let mut wire = Wire::to(&door).await;
    let mut offered = wire.say("EHLO client.example").await;
    while offered.as_bytes()[3] == b'-' && !offered.contains("AUTH ") {
        offered = wire.line().await;
    }
    let names = "AUTH SCRAM-SHA-256-PLUS SCRAM-SHA-256 OAUTHBEARER PLAIN LOGIN";
    assert_eq!(&offered[4..], names);
    while wire.line().await.as_bytes()[3] == b'-' {}
    let other = format!("AUTH OAUTHBEARER {}", message("", "other"));
    assert_eq!(wire.say(&other).await, format!("334 {}", refusal()));
    assert!(wire.say("AQ==").await.starts_with("535 5.7.8 "));
    let right = format!("AUTH OAUTHBEARER {}", message("", TOKEN));
    assert!(wire.say(&right).await.starts_with("235 2.7.0 "));
}

/// The SMTP server comes in an `Arc`.
struct Shared(Arc<SmtpServer>);

#[async_trait::async_trait]
impl protocols::net::SessionHandler for Shared {
    fn protocol(&self) -> protocols::access::Protocol {
        self.0.protocol()
    }

    fn refusal_line(&self) -> &[u8] {
        self.0.refusal_line()
    }

    async fn session(&self, connection: protocols::net::Connection) {
        self.0.session(connection).await;
    }
}

/// RFC 8437 §3: the account, the mailbox and what was enabled end; the connection goes on.
#[tokio::test]
async fn unauthenticate_goes_back_to_where_the_connection_was_before_its_login() {
    let account = account();
    let mut client = logged_in(&account).await;
    let early = client.command("a CAPABILITY").await;
    assert!(early.contains(" UNAUTHENTICATE"), "{early}");
    assert!(client.command("b SELECT INBOX").await.contains("* 2 EXISTS"));
    assert!(client.command("c STORE 1 +FLAGS (\\Deleted)").await.contains("c OK "));
    assert!(client.command("d UNAUTHENTICATE now").await.starts_with("d BAD "));
    let answer = client.command("e unauthenticate").await;
    assert!(answer.starts_with("e OK [CAPABILITY ") && answer.contains(" AUTH=PLAIN"), "{answer}");
    for command in ["SELECT INBOX", "FETCH 1 FLAGS", "LIST \"\" *", "UNAUTHENTICATE", "CLOSE"] {
        let answer = client.command(&format!("f {command}")).await;
        assert!(answer.starts_with("f BAD "), "{command}: {answer}");
    }
    // Nothing was expunged, and what others do meanwhile is not told.
    account.deliver("INBOX", b"Subject: z\r\n\r\n");
    assert_eq!(client.command("g NOOP").await, "g OK NOOP\r\n");
    assert!(log_in(&mut client).await.starts_with("in OK "));
    assert!(client.command("h FETCH 1 FLAGS").await.starts_with("h BAD "), "nothing is selected");
    assert!(client.command("i SELECT INBOX").await.contains("* 3 EXISTS"));
    // Commands behind it in the same segment belong to the state after it.
    client.send("j UNAUTHENTICATE\r\nk NOOP\r\nl SELECT INBOX\r\n").await;
    assert!(client.until("j").await.starts_with("j OK "));
    assert!(client.until("k").await.starts_with("k OK "));
    assert!(client.until("l").await.starts_with("l BAD "));
    assert!(client.command("m LOGOUT").await.contains("m OK "));
}

#[tokio::test]
async fn sessions_are_counted_by_account_and_by_address_over_both_protocols() {
    let account = account();
    let sessions =
        SessionLimits::new(SessionLimitsSettings { per_account_max: 2, per_source_max: 9 });
    let with = || ServerSettings { sessions: Arc::clone(&sessions), ..ServerSettings::default() };
    let mut clients = Vec::new();
    for _ in 0..2 {
        let mut client = connect_with(&account, with()).await;
        client.line().await;
        assert!(log_in(&mut client).await.starts_with("in OK "));
        clients.push(client);
    }
    let mut third = connect_with(&account, with()).await;
    third.line().await;
    let expected = "in NO [LIMIT] Troppe sessioni aperte su questa casella: chiuderne una / Too many \
                    sessions of this account are open: close one\r\n";
    assert_eq!(log_in(&mut third).await, expected);
    let mail = Arc::new(OneAccount(Arc::clone(&account)));
    let limits = Pop3Limits::default();
    let pop3 = pop3::Server::new(limits, Arc::new(OneLogin), mail, Arc::clone(&sessions));
    let mut reader = account::client::connect_pop3(&pop3, true).await;
    reader.line().await;
    reader.pop3(&format!("USER {ADDRESS}")).await;
    let answer = reader.pop3(&format!("PASS {PASSWORD}")).await;
    assert!(answer.starts_with("-ERR [IN-USE] Troppe sessioni"), "{answer}");
    // UNAUTHENTICATE gives a place back like the end of a session.
    assert!(clients[0].command("u UNAUTHENTICATE").await.starts_with("u OK "));
    assert!(log_in(&mut third).await.starts_with("in OK "));
    assert_eq!(log_in(&mut clients[0]).await, expected);
    let address =
        SessionLimits::new(SessionLimitsSettings { per_account_max: 9, per_source_max: 0 });
    let settings = ServerSettings { sessions: address, ..ServerSettings::default() };
    let mut client = connect_with(&account, settings).await;
    client.line().await;
    let answer = log_in(&mut client).await;
    assert!(answer.starts_with("in NO [LIMIT] Troppe sessioni aperte da questo"), "{answer}");
}
