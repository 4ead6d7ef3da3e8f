//! IMAP and POP3 under TLS through the accept loop, with clients nobody here wrote: Python's
//! imaplib and poplib do real work and compare octets.

mod account;
mod support;

use std::{net::SocketAddr, process::Stdio, sync::Arc};

use account::memory::{ADDRESS, MemoryAccount, OneAccount, OneLogin, PASSWORD};
use protocols::{
    imap, net,
    net::{
        Listener, SessionHandler,
        limits::{ConnectionLimits, ConnectionLimitsSettings},
        tls::TlsContext,
    },
    pop3,
};
use support::certificates;
use tokio::{net::TcpListener, process::Command};
use tokio_util::sync::CancellationToken;

/// Arguments: IMAP port, POP3 port, authority, login, password.
const SCRIPT: &str = r#"
import imaplib, poplib, ssl, sys
imap_port, pop3_port, authority, login, password = sys.argv[1:]
tls = ssl.create_default_context(cafile=authority)
message = b"Subject: prova\r\nFrom: a@pec.example\r\n\r\n" + b".riga con punto\r\n" * 20000

m = imaplib.IMAP4_SSL("localhost", int(imap_port), ssl_context=tls)
assert "IMAP4REV1" in m.capabilities and "AUTH=PLAIN" in m.capabilities, m.capabilities
assert m.authenticate("PLAIN", lambda _: b"\0%s\0%s" % (login.encode(), password.encode()))[0] == "OK"
def ok(answer):
    assert answer[0] == "OK", answer
    return answer[1]
ok(m.create("Attivit&AOA-"))
ok(m.append("Attivit&AOA-", r"(\Flagged)", '"17-Jul-1996 02:44:25 -0700"', message))
ok(m.append("INBOX", None, None, message))
assert ok(m.list()) == [b'(\\HasNoChildren) "/" Attivit&AOA-', b'(\\HasNoChildren) "/" INBOX']
assert ok(m.status("INBOX", "(MESSAGES UNSEEN)")) == [b"INBOX (MESSAGES 1 UNSEEN 1)"]
assert ok(m.select("Attivit&AOA-")) == [b"1"]
assert ok(m.fetch("1", "(RFC822)"))[0][1] == message
assert ok(m.fetch("1", "(BODY.PEEK[TEXT]<0.5>)"))[0][1] == b".riga"
assert ok(m.search(None, "FLAGGED", "SUBJECT", '"PROVA"')) == [b"1"]
assert ok(m.uid("COPY", "1", "INBOX")) is not None
assert ok(m.store("1", "+FLAGS", r"(\Deleted)"))[0].startswith(b"1 (FLAGS (")
assert ok(m.expunge()) == [b"1"]
assert ok(m.select("INBOX")) == [b"2"]
ok(m.close())
assert m.logout()[0] == "BYE"

p = poplib.POP3_SSL("localhost", int(pop3_port), context=tls)
assert "UIDL" in p.capa() and "TOP" in p.capa()
p.user(login); p.pass_(password)
assert p.stat() == (2, 2 * len(message))
assert b"\r\n".join(p.retr(1)[1]) + b"\r\n" == message
assert p.top(1, 1)[1][-1] == b".riga con punto"
assert p.uidl()[1] == [b"1 1.1", b"2 1.2"]
p.dele(2)
assert p.quit().startswith(b"+OK")
"#;

async fn start<H: SessionHandler>(
    handler: H,
    tls: Arc<TlsContext>,
    shutdown: CancellationToken,
) -> SocketAddr {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let limits = ConnectionLimits::new(ConnectionLimitsSettings::default());
    let listener = Listener::new(socket, Some(tls));
    tokio::spawn(net::serve(listener, limits, shutdown, Arc::new(handler)));
    address
}

#[tokio::test]
async fn imaplib_and_poplib_do_real_work_under_tls() {
    let account = MemoryAccount::new();
    let made = certificates();
    let tls = TlsContext::from_pem(&made.chain, &made.key).unwrap();
    let authority = std::env::temp_dir().join(format!("authority-{}.pem", std::process::id()));
    std::fs::write(&authority, &made.authority).unwrap();
    let shutdown = CancellationToken::new();
    let mail = Arc::new(OneAccount(Arc::clone(&account)));
    let settings = imap::ServerSettings::default();
    let imap = imap::Server::new(settings, Arc::new(OneLogin), mail.clone());
    let pop3 =
        pop3::Server::new(pop3::Pop3Limits::default(), Arc::new(OneLogin), mail, Arc::default());
    let imap = start(imap, Arc::clone(&tls), shutdown.clone()).await;
    let pop3 = start(pop3, tls, shutdown.clone()).await;
    let output = Command::new("python3")
        .args(["-c", SCRIPT, &imap.port().to_string(), &pop3.port().to_string()])
        .arg(&authority)
        .args([ADDRESS, PASSWORD])
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    std::fs::remove_file(&authority).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(account.messages("INBOX").len(), 1);
    shutdown.cancel();
}
