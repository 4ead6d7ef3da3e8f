//! COMPRESS (RFC 4978), and what UNAUTHENTICATE makes of it (RFC 8437 §4.1).

mod account;
mod support;

use std::{process::Stdio, sync::Arc};

use account::{
    client::{Client, connect_to, connect_with, greeted, in_inbox, logged_in},
    memory::{ADDRESS, MemoryAccount, OneAccount, OneLogin, PASSWORD},
};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use protocols::imap::{ImapLimits, Server, ServerSettings};
use support::wire::door;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    process::Command,
};

const LOGIN: &str = "LOGIN anna.rossi@pec.example \"ceralacca \\\"1\\\"\"";

fn squeeze(compress: &mut Compress, octets: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let (mut taken, mut piece) = (0, vec![0; 65_536]);
    loop {
        let (before_in, before_out) = (compress.total_in(), compress.total_out());
        compress.compress(&octets[taken..], &mut piece, FlushCompress::Sync).unwrap();
        taken += usize::try_from(compress.total_in() - before_in).unwrap();
        let made = usize::try_from(compress.total_out() - before_out).unwrap();
        out.extend_from_slice(&piece[..made]);
        if taken == octets.len() && made < piece.len() {
            return out;
        }
    }
}

fn stretch(decompress: &mut Decompress, octets: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let (mut taken, mut piece) = (0, vec![0; 65_536]);
    loop {
        let (before_in, before_out) = (decompress.total_in(), decompress.total_out());
        decompress.decompress(&octets[taken..], &mut piece, FlushDecompress::None).unwrap();
        taken += usize::try_from(decompress.total_in() - before_in).unwrap();
        let made = usize::try_from(decompress.total_out() - before_out).unwrap();
        out.extend_from_slice(&piece[..made]);
        if taken == octets.len() && made < piece.len() {
            return out;
        }
    }
}

async fn compressed(mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
    let mut compress = Compress::new(Compression::default(), false);
    let mut octets = vec![0; 65_536];
    while let Ok(read @ 1..) = from.read(&mut octets).await {
        if to.write_all(&squeeze(&mut compress, &octets[..read])).await.is_err() {
            return;
        }
    }
}

async fn decompressed(came: Vec<u8>, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
    let mut decompress = Decompress::new(false);
    to.write_all(&stretch(&mut decompress, &came)).await.unwrap();
    let mut octets = vec![0; 65_536];
    while let Ok(read @ 1..) = from.read(&mut octets).await {
        if to.write_all(&stretch(&mut decompress, &octets[..read])).await.is_err() {
            return;
        }
    }
}

/// A client whose octets are compressed from here on.
async fn squeezed(client: Client) -> Client {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let inner = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (outer, _) = listener.accept().await.unwrap();
    let (client, server, came) = client.over(inner);
    let (from_server, to_server) = server.into_split();
    let (from_client, to_client) = outer.into_split();
    tokio::spawn(compressed(from_client, to_server));
    tokio::spawn(decompressed(came, from_server, to_client));
    client
}

async fn compressing(mut client: Client) -> Client {
    let answer = client.command("z COMPRESS DEFLATE").await;
    assert_eq!(answer, "z OK DEFLATE attivo / DEFLATE active\r\n");
    squeezed(client).await
}

/// Text that compresses like text.
fn message(lines: usize) -> Vec<u8> {
    let mut message = b"Subject: prova\r\n\r\n".to_vec();
    let mut number = 1_u32;
    for _ in 0..lines {
        number = number.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        message.extend_from_slice(format!("riga {number:x} {}\r\n", number % 97).as_bytes());
    }
    message
}

#[tokio::test]
async fn compression_begins_behind_its_ok_and_is_offered_until_then() {
    let mut client = greeted(&MemoryAccount::new()).await;
    let strange = client.command("a CAPABILITY").await;
    assert!(!strange.contains("COMPRESS"), "{strange}");
    assert!(client.command("b COMPRESS DEFLATE").await.starts_with("b BAD "), "no login yet");
    let answer = client.command(&format!("c {LOGIN}")).await;
    assert!(answer.contains(" COMPRESS=DEFLATE]"), "{answer}");
    for wrong in ["COMPRESS", "COMPRESS GZIP", "COMPRESS DEFLATE 9", "UID COMPRESS DEFLATE"] {
        let answer = client.command(&format!("d {wrong}")).await;
        assert!(answer.starts_with("d BAD "), "{wrong}: {answer}");
    }
    let mut client = compressing(client).await;
    let answer = client.command("e CAPABILITY").await;
    assert!(answer.ends_with("e OK CAPABILITY\r\n") && !answer.contains("COMPRESS"), "{answer}");
    assert_eq!(
        client.command("f compress deflate").await,
        "f NO [COMPRESSIONACTIVE] DEFLATE e' gia' attivo / DEFLATE is active already\r\n"
    );
    assert!(client.command("g SELECT INBOX").await.contains("g OK [READ-WRITE]"));
    let answer = client.command("h LOGOUT").await;
    assert!(answer.starts_with("* BYE "), "{answer}");
    assert_eq!(client.rest().await, "");
}

#[tokio::test]
async fn compression_that_is_switched_off_is_not_offered() {
    let limits = ImapLimits { compress: false, ..ImapLimits::default() };
    let settings = ServerSettings { limits, ..ServerSettings::default() };
    let mut client = connect_with(&MemoryAccount::new(), settings).await;
    client.line().await;
    let answer = client.command(&format!("a {LOGIN}")).await;
    assert!(answer.contains("a OK") && !answer.contains("COMPRESS"), "{answer}");
    assert!(client.command("b COMPRESS DEFLATE").await.starts_with("b BAD "));
    assert_eq!(client.command("c NOOP").await, "c OK NOOP\r\n", "in the clear, as before");
}

#[tokio::test]
async fn sessions_beyond_the_bound_go_on_without_compression() {
    let limits = ImapLimits { compressed_sessions_max: 1, ..ImapLimits::default() };
    let settings = ServerSettings { limits, ..ServerSettings::default() };
    let server =
        Server::new(settings, Arc::new(OneLogin), Arc::new(OneAccount(MemoryAccount::new())));
    let mut clients = Vec::new();
    for _ in 0..2 {
        let mut client = connect_to(&server, true).await;
        client.line().await;
        assert!(client.command(&format!("a {LOGIN}")).await.contains("a OK"));
        clients.push(client);
    }
    let (mut second, first) = (clients.pop().unwrap(), clients.pop().unwrap());
    let mut first = compressing(first).await;
    let refused = "z NO [LIMIT] Troppe sessioni compresse: continuare senza / Too many compressed sessions: go on without\r\n";
    assert_eq!(second.command("z COMPRESS DEFLATE").await, refused);
    assert_eq!(second.command("b NOOP").await, "b OK NOOP\r\n", "in the clear, as before");
    // One that ends gives its place to another.
    assert!(first.command("c LOGOUT").await.contains("c OK"));
    first.rest().await;
    loop {
        let answer = second.command("z COMPRESS DEFLATE").await;
        if answer != refused {
            assert!(answer.starts_with("z OK "), "{answer}");
            break;
        }
    }
    let mut second = squeezed(second).await;
    assert_eq!(second.command("d NOOP").await, "d OK NOOP\r\n");
}

#[tokio::test]
async fn large_literals_stream_both_ways() {
    let account = MemoryAccount::new();
    let mut client = compressing(in_inbox(&account).await).await;
    let large = message(120_000);
    client.send(format!("a APPEND INBOX {{{}}}\r\n", large.len())).await;
    assert_eq!(client.line().await, "+ OK\r\n");
    client.send([&large[..], b"\r\n"].concat()).await;
    let answer = client.until("a").await;
    assert!(answer.contains("a OK [APPENDUID "), "{answer}");
    // Noise, which compression makes larger, and a literal that comes unasked.
    let noise: Vec<u8> = large
        .iter()
        .zip(1_u32..)
        .map(|(octet, place)| {
            let mixed = place.wrapping_mul(2_654_435_761) >> 7;
            1 + (octet.wrapping_add(mixed.to_le_bytes()[0]) % 250)
        })
        .collect();
    client.send(format!("b APPEND INBOX {{{}+}}\r\n", noise.len())).await;
    client.send([&noise[..], b"\r\n"].concat()).await;
    assert!(client.until("b").await.contains("b OK [APPENDUID "));
    assert_eq!(account.messages("INBOX").len(), 2);
    for (number, expected) in [(1, &large), (2, &noise)] {
        client.send(format!("c FETCH {number} BODY.PEEK[]\r\n")).await;
        let line = client.line().await;
        assert!(line.ends_with(&format!(" {{{}}}\r\n", expected.len())), "{line}");
        assert!(client.exactly(expected.len()).await == *expected, "message {number}");
        assert_eq!(client.until("c").await, ")\r\nc OK FETCH\r\n");
    }
}

#[tokio::test]
async fn idle_tells_changes_under_compression() {
    let account = MemoryAccount::new();
    let mut client = compressing(in_inbox(&account).await).await;
    client.send("a IDLE\r\n").await;
    assert!(client.line().await.starts_with("+ "));
    for number in 1..=3 {
        account.deliver("INBOX", b"Subject: x\r\n\r\ny\r\n");
        assert_eq!(client.line().await, format!("* {number} EXISTS\r\n"));
        client.line().await;
    }
    client.send("DONE\r\n").await;
    assert_eq!(client.until("a").await, "a OK IDLE\r\n");
}

#[tokio::test]
async fn an_answer_that_fills_its_pieces_exactly_goes_out_to_its_end() {
    let account = MemoryAccount::new();
    // `* 1 FETCH (BODY[] {65486}CRLF`, the message, `)CRLF` and the completion: a piece has 65,536.
    let frame = "* 1 FETCH (BODY[] {65484}\r\n)\r\na OK FETCH\r\n".len();
    let mut octets = message(10_000);
    octets.truncate(65_536 - frame);
    account.deliver("INBOX", &octets);
    let mut client = compressing(in_inbox(&account).await).await;
    let answer = client.command("a FETCH 1 BODY.PEEK[]").await;
    assert_eq!(answer.len(), 65_536);
    assert!(answer.ends_with(")\r\na OK FETCH\r\n"));
}

#[tokio::test]
async fn octets_behind_the_command_count_as_compressed() {
    let account = MemoryAccount::new();
    account.deliver("INBOX", b"Subject: x\r\n\r\ny\r\n");
    // What somebody says in the clear is no command, also where it comes in the same segment.
    let mut client = logged_in(&account).await;
    client.send("a COMPRESS DEFLATE\r\nb CREATE Intrusa\r\n").await;
    assert!(client.line().await.starts_with("a OK "));
    let mut client = squeezed(client).await;
    assert_eq!(client.rest().await, "* BYE Compressione non valida / What came is not DEFLATE\r\n");
    let mut other = logged_in(&account).await;
    assert!(!other.command("a LIST \"\" *").await.contains("Intrusa"));
    // A client that waits for nothing but compresses is understood.
    let mut compress = Compress::new(Compression::default(), false);
    let behind = squeeze(&mut compress, b"b STATUS INBOX (MESSAGES)\r\nc LOGOUT\r\n");
    other.send([b"a COMPRESS DEFLATE\r\n", &behind[..]].concat()).await;
    assert!(other.line().await.starts_with("a OK "));
    let mut other = squeezed(other).await;
    let answer = other.rest().await;
    assert!(answer.starts_with("* STATUS INBOX (MESSAGES 1)\r\nb OK"), "{answer}");
    assert!(answer.contains("\r\nc OK"), "{answer}");
}

#[tokio::test]
async fn what_is_no_deflate_ends_the_connection_behind_what_came_before_it() {
    let mut client = logged_in(&MemoryAccount::new()).await;
    assert!(client.command("z COMPRESS DEFLATE").await.starts_with("z OK"));
    let mut compress = Compress::new(Compression::default(), false);
    let mut octets = squeeze(&mut compress, b"a NOOP\r\n");
    // A block of a kind that there is not (RFC 1951 §3.2.3).
    octets.extend_from_slice(&[0xff; 32]);
    client.send(octets).await;
    let mut client = squeezed(client).await;
    assert_eq!(
        client.rest().await,
        "a OK NOOP\r\n* BYE Compressione non valida / What came is not DEFLATE\r\n"
    );
}

#[tokio::test]
async fn a_message_that_does_not_come_to_its_end_is_not_stored() {
    let account = MemoryAccount::new();
    let begun = [&b"a APPEND INBOX {1000+}\r\nSubject: x\r\n\r\n"[..], &[b'y'; 500]].concat();
    let deflated = |flush| {
        let mut out = Vec::with_capacity(2_000);
        Compress::new(Compression::default(), false).compress_vec(&begun, &mut out, flush).unwrap();
        out
    };
    // The connection, or only the compressed stream, ends in the middle of it.
    let mut cut = bare(&account).await;
    cut.send(deflated(FlushCompress::Sync)).await;
    drop(cut);
    let mut ended = bare(&account).await;
    ended.send(deflated(FlushCompress::Finish)).await;
    ended.send([b'y'; 1_000]).await;
    let mut ended = squeezed(ended).await;
    assert_eq!(ended.rest().await, "");
    let mut other = logged_in(&account).await;
    let answer = other.command("b STATUS INBOX (MESSAGES)").await;
    assert!(answer.contains("(MESSAGES 0)"), "{answer}");
}

#[tokio::test]
async fn bounds_hold_for_what_was_decompressed() {
    let account = MemoryAccount::new();
    let mut client = compressing(logged_in(&account).await).await;
    // The server closes before it has read them all.
    let _ = client.stream.write_all(&vec![b'x'; 32 * 1024 * 1024]).await;
    let answer = client.rest().await;
    assert!(answer.starts_with("* BAD ") && answer.contains("\r\n* BYE Riga troppo"), "{answer}");
    // A message of one octet and a half million, from a thousand: within what a message may have.
    let mut client = compressing(logged_in(&account).await).await;
    client.send("a APPEND INBOX {1500000+}\r\n").await;
    client.send([vec![b'x'; 1_500_000], b"\r\n".to_vec()].concat()).await;
    assert!(client.until("a").await.contains("a OK [APPENDUID "));
}

/// Reads a line that the server compressed anew.
async fn stretched_line(client: &mut Client, decompress: &mut Decompress) -> String {
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        let mut octet = [0];
        client.stream.read_exact(&mut octet).await.unwrap();
        line.extend(stretch(decompress, &octet));
    }
    String::from_utf8(line).unwrap()
}

/// A client in INBOX whose octets, but not those it sends itself, are compressed.
async fn bare(account: &Arc<MemoryAccount>) -> Client {
    let mut client = in_inbox(account).await;
    assert!(client.command("z COMPRESS DEFLATE").await.starts_with("z OK"));
    client
}

/// The end of the flush with which the server's compression ends.
async fn flush_ends(client: &mut Client) {
    let mut last = Vec::new();
    while !last.ends_with(&[0, 0, 0xff, 0xff]) {
        last.push(client.stream.read_u8().await.unwrap());
        assert!(last.len() <= 8, "{last:?}");
    }
}

#[tokio::test]
async fn unauthenticate_ends_compression_wherever_its_flush_is_cut() {
    let account = MemoryAccount::new();
    let deflated = |flush| {
        let (mut out, mut compress) =
            (Vec::with_capacity(1_000), Compress::new(Compression::default(), false));
        compress.compress_vec(b"a UNAUTHENTICATE\r\n", &mut out, flush).unwrap();
        out
    };
    for command in [deflated(FlushCompress::Sync), deflated(FlushCompress::Finish)] {
        for cut in 1..command.len() {
            let mut client = bare(&account).await;
            client.send(&command[..cut]).await;
            client.stream.flush().await.unwrap();
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            // What follows is in the clear, and waits for no answer (RFC 8437 §3, §4.1).
            let rest = [&command[cut..], format!("b {LOGIN}\r\n").as_bytes()].concat();
            client.send(rest).await;
            let answer = stretched_line(&mut client, &mut Decompress::new(false)).await;
            assert!(answer.starts_with("a OK [CAPABILITY "), "{cut}: {answer}");
            assert!(!answer.contains("COMPRESS"), "{answer}");
            flush_ends(&mut client).await;
            let answer = client.until("b").await;
            assert!(
                answer.starts_with("b OK") && answer.contains(" COMPRESS=DEFLATE]"),
                "{answer}"
            );
            if cut == 1 {
                let mut client = compressing(client).await;
                assert_eq!(client.command("c NOOP").await, "c OK NOOP\r\n");
            }
        }
    }
}

#[tokio::test]
async fn clear_text_behind_unauthenticate_waits_for_commands_before_it() {
    let account = MemoryAccount::new();
    let mut client = bare(&account).await;
    let mut compress = Compress::new(Compression::default(), false);
    let mut octets = squeeze(&mut compress, b"a SELECT INBOX\r\nb NOOP\r\n");
    octets.extend(squeeze(&mut compress, b"c ESEARCH IN (personal) ALL\r\nd UNAUTHENTICATE\r\n"));
    octets.extend_from_slice(format!("e {LOGIN}\r\n").as_bytes());
    client.send(octets).await;
    let mut decompress = Decompress::new(false);
    let mut line = String::new();
    while !line.starts_with("d OK") {
        line = stretched_line(&mut client, &mut decompress).await;
        assert!(!line.contains("BYE"), "{line}");
    }
    flush_ends(&mut client).await;
    assert!(client.until("e").await.starts_with("e OK"));
}

#[tokio::test]
async fn what_is_compressed_behind_unauthenticate_ends_the_connection() {
    let mut client = compressing(in_inbox(&MemoryAccount::new()).await).await;
    client.send("d UNAUTHENTICATE\r\ne NOOP\r\n").await;
    let answer = client.until("d").await;
    assert!(answer.starts_with("d OK"), "{answer}");
    let answer = client.rest().await;
    assert!(answer.contains("* BYE Fine della compressione non riconosciuta"), "{answer}");
}

/// Python's zlib compresses and decompresses: port, authority, login, password.
const SCRIPT: &str = r#"
import imaplib, ssl, sys, zlib
port, authority, login, password = sys.argv[1:]
tls = ssl.create_default_context(cafile=authority)
message = b"Subject: prova\r\n\r\n" + b"".join(b"riga %x\r\n" % (n * 2654435761) for n in range(60000))

class Squeezed(imaplib.IMAP4_SSL):
    def compress(self):
        assert "COMPRESS=DEFLATE" in self.capability()[1][0].decode()
        imaplib.Commands["COMPRESS"] = ("AUTH", "SELECTED")
        assert self._simple_command("COMPRESS", "DEFLATE")[0] == "OK"
        self.squeeze = zlib.compressobj(6, zlib.DEFLATED, -15)
        self.stretch = zlib.decompressobj(-15)
        self.came, self.wire = b"", 0
        self.read, self.readline, self.send = self.read_, self.readline_, self.send_
    def send_(self, data):
        self.sock.sendall(self.squeeze.compress(data) + self.squeeze.flush(zlib.Z_SYNC_FLUSH))
    def more(self):
        data = self.sock.recv(65536)
        assert data, "the stream ended"
        self.wire += len(data)
        self.came += self.stretch.decompress(data)
    def take(self, count):
        taken, self.came = self.came[:count], self.came[count:]
        return taken
    def read_(self, size):
        while len(self.came) < size: self.more()
        return self.take(size)
    def readline_(self):
        while b"\n" not in self.came: self.more()
        return self.take(self.came.index(b"\n") + 1)

m = Squeezed("localhost", int(port), ssl_context=tls)
def ok(answer):
    assert answer[0] == "OK", answer
    return answer[1]
ok(m.login(login, password))
m.compress()
ok(m.append("INBOX", None, None, message))
assert ok(m.select("INBOX")) == [b"1"]
before = m.wire
assert ok(m.fetch("1", "(RFC822)"))[0][1] == message
assert m.wire - before < len(message) * 3 // 4, (m.wire - before, len(message))
# Answers of one connection share their words.
before = m.wire
for _ in range(100): assert ok(m.fetch("1", "(UID FLAGS INTERNALDATE RFC822.SIZE)"))
assert m.wire - before < 100 * 60, m.wire - before
assert ok(m.search(None, "SUBJECT", "prova")) == [b"1"]
assert m.logout()[0] == "BYE"
"#;

#[tokio::test]
async fn python_compresses_and_decompresses_under_tls() {
    let account = MemoryAccount::new();
    let mail = Arc::new(OneAccount(Arc::clone(&account)));
    let server = Server::new(ServerSettings::default(), Arc::new(OneLogin), mail);
    let door = door(server).await;
    let authority = std::env::temp_dir().join(format!("compress-{}.pem", std::process::id()));
    std::fs::write(&authority, &door.authority).unwrap();
    let output = Command::new("python3")
        .args(["-c", SCRIPT, &door.address.port().to_string()])
        .arg(&authority)
        .args([ADDRESS, PASSWORD])
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    std::fs::remove_file(&authority).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(account.messages("INBOX").len(), 1);
}
