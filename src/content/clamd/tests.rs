//! Answers as they come: whole, in pieces, and as nobody should send them. The daemon itself is asked in
//! `tests/antivirus`.

use std::path::PathBuf;

use tokio::net::UnixListener;

use super::*;

#[test]
fn an_answer_says_what_was_found_and_nothing_else_is_clean() {
    let found = |name: &str| Answer::Found(name.to_owned());
    let other = |text: &str| Answer::Other(text.to_owned());
    for (answer, said) in [
        (&b"stream: OK"[..], Answer::Clean),
        (b"stream: OK\n", Answer::Clean),
        (b"stream: Win.Test.EICAR_HDB-1 FOUND", found("Win.Test.EICAR_HDB-1")),
        (b"stream: Con spazi FOUND", found("Con spazi")),
        (b"stream: A\xff\x07B FOUND", found("A??B")),
        (
            b"stream: Heuristics.Limits.Exceeded.MaxScanSize FOUND",
            Answer::NotWhole("Heuristics.Limits.Exceeded.MaxScanSize".to_owned()),
        ),
        (b"INSTREAM size limit exceeded. ERROR", Answer::TooLarge),
        (b"stream: Can't allocate memory ERROR", other("stream: Can't allocate memory")),
        (b"UNKNOWN COMMAND", other("UNKNOWN COMMAND")),
        (b"stream: ok", other("stream: ok")),
        (b"stream: OK trailing", other("stream: OK trailing")),
        (b"stream:  FOUND", other("stream:  FOUND")),
        (b"OK", other("OK")),
        (b"", other("")),
    ] {
        assert_eq!(parse(answer), said, "{}", String::from_utf8_lossy(answer));
    }
}

#[test]
fn the_age_of_the_signatures_is_read_when_it_is_told() {
    let told = parse_version(b"ClamAV 1.4.3/27500/Mon Nov 23 09:24:15 2026");
    assert_eq!(told.version, "ClamAV 1.4.3");
    assert_eq!(told.signatures, Some(UnixMillis(1_795_425_855_000)));
    let padded = parse_version(b"ClamAV 0.103.8/26833/Fri Mar  3 09:24:15 2023");
    assert_eq!(padded.signatures, Some(UnixMillis(1_677_835_455_000)));
    for silent in [&b"ClamAV 1.4.3"[..], b"ClamAV 1.4.3/27500/ieri", b"", b"//", b"\xff/\xff/\xff"]
    {
        assert_eq!(parse_version(silent).signatures, None);
    }
}

/// A peer that reads until it has `after` octets and answers with `pieces`, one write each.
fn answering(after: usize, pieces: &[&[u8]]) -> (Clamd, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let path: PathBuf = folder.path().join("socket");
    let listener = UnixListener::bind(&path).expect("a socket");
    let pieces: Vec<Vec<u8>> = pieces.iter().map(|piece| piece.to_vec()).collect();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut seen = vec![0; after];
            if stream.read_exact(&mut seen).await.is_err() {
                continue;
            }
            for piece in &pieces {
                if stream.write_all(piece).await.is_err() {
                    break;
                }
                tokio::task::yield_now().await;
            }
        }
    });
    let address = ClamdAddress::Socket(path);
    (Clamd::new(address, Duration::from_secs(5), Duration::from_secs(5)), folder)
}

fn passage() -> Passage {
    Passage {
        address: [127, 0, 0, 1].into(),
        helo: String::new(),
        reverse_path: String::new(),
        recipients: Vec::new(),
    }
}

async fn check(clamd: &Clamd, octets: usize) -> Result<Verdict, CheckError> {
    clamd.check(Content::Memory(vec![b'x'; octets].into()), &passage()).await
}

/// Command, length, ten octets, length 0.
const TEN: usize = 10 + 4 + 10 + 4;

#[tokio::test]
async fn an_answer_in_pieces_is_one_answer() {
    for pieces in [&[&b"str"[..], b"eam: O", b"K", b"\0"][..], &[b"stream: OK\0stream: X FOUND\0"]]
    {
        let (clamd, _folder) = answering(TEN, pieces);
        assert_eq!(check(&clamd, 10).await.expect("a verdict"), Verdict::Clean);
    }
    let (clamd, _folder) = answering(TEN, &[b"stream: X FO", b"UND"]);
    let verdict = check(&clamd, 10).await.expect("the end of the connection ends the answer");
    assert_eq!(verdict, Verdict::Found("X".to_owned()));
}

#[tokio::test]
async fn what_was_not_sent_whole_or_not_answered_whole_is_not_clean() {
    let (clamd, _folder) = answering(TEN, &[b"stream: OK"]);
    assert!(matches!(check(&clamd, 10).await, Err(CheckError::Broken { .. })));
    let (clamd, _folder) = answering(20, &[b"stream: OK\0"]);
    assert!(matches!(check(&clamd, 8 << 20).await, Err(CheckError::Broken { .. })));
    let (clamd, _folder) = answering(20, &[b"stream: X FOUND\0"]);
    assert_eq!(check(&clamd, 8 << 20).await.expect("heard"), Verdict::Found("X".to_owned()));
}

#[tokio::test]
async fn a_refusal_before_the_end_of_a_large_message_is_heard() {
    let (clamd, _folder) = answering(20, &[b"INSTREAM size limit exceeded. ERROR\0"]);
    let refused = check(&clamd, 8 << 20).await.expect_err("too large");
    assert!(matches!(refused, CheckError::TooLarge { .. }), "{refused}");
}

#[tokio::test]
async fn garbage_silence_and_an_endless_answer_are_errors() {
    let (clamd, _folder) = answering(TEN, &[b"\xff\xfe\0"]);
    assert!(matches!(check(&clamd, 10).await, Err(CheckError::NoVerdict { .. })));
    let (clamd, _folder) = answering(TEN, &[]);
    assert!(matches!(check(&clamd, 10).await, Err(CheckError::Broken { .. })));
    let (clamd, _folder) = answering(TEN, &[&[b'x'; 2 * ANSWER_OCTETS_MAX]]);
    assert!(matches!(check(&clamd, 10).await, Err(CheckError::Broken { .. })));
    let (mut clamd, _folder) = answering(1 << 20, &[]);
    clamd.answer_time_max = Duration::from_millis(50);
    assert!(matches!(check(&clamd, 10).await, Err(CheckError::TimeOut { .. })));
    let gone = ClamdAddress::Socket("/nonexistent/socket".into());
    let gone = Clamd::new(gone, Duration::from_secs(5), Duration::from_secs(5));
    let error = check(&gone, 10).await.expect_err("nobody is there");
    assert!(error.to_string().contains("/nonexistent/socket"), "{error}");
}

proptest::proptest! {
    #[test]
    fn whatever_comes_is_read_and_only_ok_is_clean(
        octets in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..100),
        head in proptest::option::of("stream: |stream: OK|INSTREAM |ClamAV 1/1/"),
        tail in proptest::option::of(" FOUND| ERROR| OK|/Mon Nov 23 09:24:15 2026"),
    ) {
        let octets =
            [head.unwrap_or_default().as_bytes(), &octets, tail.unwrap_or_default().as_bytes()].concat();
        let is_clean = parse(&octets) == Answer::Clean;
        proptest::prop_assert_eq!(is_clean, octets.trim_ascii_end() == b"stream: OK");
        let health = parse_version(&octets);
        proptest::prop_assert!(health.version.len() <= 128 && health.version.is_ascii());
    }
}
