//! What the walk reports, on the examples of the standards and on everything they forbid.

use proptest::prelude::*;

use super::*;

/// Writes down what a walk reports.
#[derive(Debug, Default, Eq, PartialEq)]
pub(crate) struct Notes {
    octets: Vec<u8>,
    leaf: Vec<u8>,
    events: Vec<String>,
    open: Vec<(u64, u64)>,
}

impl Visitor for Notes {
    fn part(&mut self, header_offset: u64) {
        assert_eq!(header_offset, self.octets.len() as u64);
        self.open.push((header_offset, 0));
        self.events.push(format!("part {header_offset}"));
    }

    fn header(&mut self, header: &HeaderEnd<'_>) {
        assert_eq!(header.body_offset, self.octets.len() as u64);
        if let Some(open) = self.open.last_mut() {
            open.1 = header.body_offset;
        }
        self.events.push(format!("{:?} {}", header.kind, header.body_offset));
    }

    fn leaf(&mut self, octets: &[u8]) {
        self.octets.extend_from_slice(octets);
        self.leaf.extend_from_slice(octets);
    }

    fn structure(&mut self, octets: &[u8]) {
        self.octets.extend_from_slice(octets);
    }

    fn end(&mut self, end: PartEnd) {
        let (_, body) = self.open.pop().unwrap();
        assert_eq!(body + end.body_octets, self.octets.len() as u64);
        let leaf = String::from_utf8_lossy(&self.leaf).into_owned();
        self.leaf.clear();
        self.events.push(format!("end {} {} {leaf:?}", end.body_octets, end.body_lines));
    }
}

pub(crate) const LIMITS: WalkLimits =
    WalkLimits { header_octets_max: 1 << 20, depth_max: 32, parts_max: 10_000 };

fn walk(message: &[u8], step: usize, limits: WalkLimits) -> Notes {
    let mut walker = Walker::new(Notes::default(), limits);
    for part in message.chunks(step.max(1)) {
        walker.push(part);
    }
    walker.finish()
}

fn leaves(message: &str) -> Vec<String> {
    let notes = walk(message.as_bytes(), usize::MAX, LIMITS);
    assert_eq!(notes.octets, message.as_bytes());
    for step in [1, 2, 3, 7] {
        assert_eq!(walk(message.as_bytes(), step, LIMITS), notes, "in steps of {step}");
    }
    notes.events.iter().filter(|event| event.starts_with("end")).cloned().collect()
}

/// RFC 2046 §5.1.1.
const MIXED: &str = "From: Nathaniel Borenstein <nsb@bellcore.example>\r\n\
    Subject: Sample message\r\nMIME-Version: 1.0\r\n\
    Content-type: multipart/mixed; boundary=\"simple boundary\"\r\n\r\n\
    This is the preamble.\r\n\r\n\
    --simple boundary\r\n\r\n\
    This is implicitly typed plain US-ASCII text.\r\nIt does NOT end with a linebreak.\r\n\
    --simple boundary\r\nContent-type: text/plain; charset=us-ascii\r\n\r\n\
    This DOES end with a linebreak.\r\n\r\n\
    --simple boundary--\r\n\r\nThis is the epilogue.\r\n";

#[test]
fn the_line_end_before_a_delimiter_does_not_belong_to_the_body() {
    assert_eq!(
        leaves(MIXED)[..2],
        [
            "end 80 1 \"This is implicitly typed plain US-ASCII text.\\r\\nIt does NOT end with a linebreak.\"",
            "end 33 1 \"This DOES end with a linebreak.\\r\\n\"",
        ]
    );
}

#[test]
fn structures_that_no_rule_allows_are_read_the_way_that_loses_least() {
    let head = "Content-Type: multipart/mixed; boundary=b\n\n";
    let inner = "Content-Type: multipart/mixed; boundary=bb\n\n";
    let cases: [(&str, String, &[&str]); 12] = [
        ("no multipart at all", "\nbody\n".into(), &["end 5 1 \"body\\n\""]),
        ("no blank line", "Subject: x".into(), &["end 0 0 \"\""]),
        ("nothing", String::new(), &["end 0 0 \"\""]),
        ("no close delimiter", format!("{head}--b\n\nx"), &["end 1 0 \"x\"", "end 6 2 \"\""]),
        ("no part", format!("{head}text\n"), &["end 5 1 \"\""]),
        ("delimiter without a line end", format!("{head}--b"), &["end 3 0 \"\""]),
        (
            "delimiter in a header",
            format!("{head}--b\nSubject: x\n--b\n\ny\n--b--"),
            &["end 0 0 \"\"", "end 1 0 \"y\"", "end 27 5 \"\""],
        ),
        (
            "an inner multipart left open",
            format!("{head}--b\n{inner}--bb\n\nx\n--b--\n"),
            &["end 1 0 \"x\"", "end 7 2 \"\"", "end 62 7 \"\""],
        ),
        (
            "the longest boundary counts",
            format!("{head}--b\n{inner}--bb\n\nx\n--bb--\n--b--\n"),
            &["end 1 0 \"x\"", "end 14 3 \"\"", "end 69 8 \"\""],
        ),
        (
            "no part behind the close delimiter",
            format!("{head}--b\n\nx\n--b--\n--b\n\ny"),
            &["end 1 0 \"x\"", "end 19 6 \"\""],
        ),
        (
            "a boundary that is too long",
            format!("Content-Type: multipart/x; boundary={}\n\nx", "y".repeat(300)),
            &["end 1 0 \"x\""],
        ),
        (
            "a prefix of a delimiter",
            format!("{head}--b\n\n-\n--\n--c\r\r\n--b--"),
            &["end 9 2 \"-\\n--\\n--c\\r\"", "end 21 5 \"\""],
        ),
    ];
    for (case, message, ends) in cases {
        assert_eq!(leaves(&message), ends, "{case}");
    }
}

#[test]
fn messages_inside_messages_and_digests_are_walked() {
    let message = "Content-Type: multipart/digest; boundary=d\n\n\
        --d\n\nSubject: one\n\nfirst\n--d\nContent-Type: text/plain\n\nsecond\n--d--\n";
    assert_eq!(
        leaves(message),
        ["end 5 0 \"first\"", "end 19 2 \"\"", "end 6 0 \"second\"", "end 68 10 \"\""]
    );
    let encoded = "Content-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\nQQ==";
    assert_eq!(leaves(encoded), ["end 4 0 \"QQ==\""]);
}

#[test]
fn depth_and_number_of_parts_are_bounded() {
    let deep = "Content-Type: message/rfc822\n\n".repeat(1_000);
    let notes = walk(deep.as_bytes(), 64 << 10, LIMITS);
    assert_eq!(notes.octets, deep.as_bytes());
    let parts =
        |notes: &Notes| notes.events.iter().filter(|event| event.starts_with("part")).count();
    assert_eq!(parts(&notes), 33);
    let wide = format!("Content-Type: multipart/mixed; boundary=b\n\n{}", "--b\n\n".repeat(50));
    let notes = walk(wide.as_bytes(), 64 << 10, WalkLimits { parts_max: 20, ..LIMITS });
    assert_eq!(parts(&notes), 20);
    assert_eq!(notes.octets, wide.as_bytes());
}

#[test]
fn an_endless_header_line_is_passed_through_without_being_kept() {
    let limits = WalkLimits { header_octets_max: 100, ..LIMITS };
    let mut walker = Walker::new(Notes::default(), limits);
    walker.push(b"Subject: ");
    for _ in 0..1_000 {
        walker.push(&[b'x'; 1_000]);
    }
    assert_eq!(walker.finish().octets.len(), 1_000_009);
}

/// Pieces of MIME that meet in every order.
pub(crate) fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop::sample::select(vec![
        "Content-Type: multipart/mixed; boundary=b",
        "Content-Type: multipart/digest; boundary=\"b\"",
        "Content-Type: multipart/signed; boundary=bb",
        "Content-Type: message/rfc822",
        "Content-Transfer-Encoding: base64",
        "From: a@b.test, (",
        "Subject:",
        "\r\n",
        "\r\n",
        "\r\n\r\n",
        "\n",
        "\n\n",
        "\r",
        "--b",
        "--b",
        "--b--",
        "--bb",
        "--bb--",
        "--",
        "-",
        " ",
        "\0",
        "UXVlc3Rv",
        "UXVl\r\nc3Rv\r\n",
        "=",
        "text",
        "Content-Type: text/html; charset=utf-16",
    ]);
    let random = prop::collection::vec(any::<u8>(), 0..20);
    prop::collection::vec(
        prop_oneof![8 => piece.prop_map(|text| text.as_bytes().to_vec()), 1 => random],
        0..60,
    )
    .prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn every_octet_is_reported_once_and_the_cut_of_the_input_changes_nothing(
        message in hostile(),
        step in 1_usize..20,
    ) {
        let whole = walk(&message, usize::MAX, LIMITS);
        prop_assert_eq!(&whole.octets, &message);
        prop_assert!(whole.open.is_empty());
        prop_assert_eq!(walk(&message, step, LIMITS), whole);
    }
}
