//! Summaries of the standards' examples, and of everything else.

use proptest::prelude::*;

use super::*;
use crate::mime::walker::{
    Walker,
    tests::{LIMITS, hostile},
};

fn summary(message: &[u8]) -> Summary {
    let mut walker = Walker::new(SummaryBuilder::default(), LIMITS);
    walker.push(message);
    walker.finish().finish()
}

fn text(octets: Option<&Vec<u8>>) -> String {
    octets.map_or("NIL".into(), |octets| String::from_utf8_lossy(octets).into_owned())
}

/// The message whose ENVELOPE and BODYSTRUCTURE are shown in RFC 3501 §8, its body shortened.
const CLAM: &str = "Date: Wed, 17 Jul 1996 02:23:25 -0700 (PDT)\r\n\
    From: Terry Gray <gray@cac.washington.edu>\r\n\
    Subject: IMAP4rev1 WG mtg summary and minutes\r\n\
    To: imap@cac.washington.edu\r\n\
    Cc: minutes@CNRI.Reston.VA.US, John Klensin <KLENSIN@MIT.EDU>\r\n\
    Message-Id: <B27397-0100000@cac.washington.edu>\r\n\
    MIME-Version: 1.0\r\n\
    Content-Type: TEXT/PLAIN; CHARSET=US-ASCII\r\n\r\n\
    Minutes\r\nof the meeting\r\n";

#[test]
fn the_envelope_of_the_standards_example() {
    let summary = summary(CLAM.as_bytes());
    let Envelope { date, subject, from, to, cc, message_id, in_reply_to, .. } = summary.envelope;
    assert_eq!(text(date.as_ref()), "Wed, 17 Jul 1996 02:23:25 -0700 (PDT)");
    assert_eq!(text(subject.as_ref()), "IMAP4rev1 WG mtg summary and minutes");
    assert_eq!(text(from[0].name.as_ref()), "Terry Gray");
    assert_eq!(text(to[0].mailbox.as_ref()), "imap");
    assert_eq!(text(cc[1].host.as_ref()), "MIT.EDU");
    assert_eq!(text(message_id.as_ref()), "<B27397-0100000@cac.washington.edu>");
    assert_eq!(in_reply_to, None);
    let body = summary.body;
    assert_eq!(
        (body.media_type.as_slice(), body.media_subtype.as_slice()),
        (&b"TEXT"[..], &b"PLAIN"[..])
    );
    assert_eq!(body.parameters, [(b"CHARSET".to_vec(), b"US-ASCII".to_vec())]);
    assert_eq!((body.body_octets, body.body_lines), (25, 2));
    assert_eq!(body.body_offset + body.body_octets, summary.size);
    assert_eq!(summary.preview, "Minutes of the meeting");
}

/// The tree that RFC 3501 §6.4.5 numbers.
const TREE: &str = "Subject: outer\n\
    Content-Type: multipart/mixed; boundary=outer\n\n\
    --outer\nContent-Type: text/plain\n\none\n\
    --outer\nContent-Type: application/octet-stream\n\
    Content-Disposition: attachment; filename=\"relazione.pdf\"\n\
    Content-ID: <2@example.test>\nContent-Description: report\nContent-MD5: md5\n\
    Content-Language: it, en\nContent-Location: here\n\
    Content-Transfer-Encoding: base64\n\nQUJD\n\
    --outer\nContent-Type: message/rfc822\n\n\
    Subject: inner\nFrom: \"Anna\" <anna@example.test>\n\
    Content-Type: multipart/alternative; boundary=inner\n\n\
    --inner\n\nplain\n--inner\nContent-Type: text/html\n\n<b>rich</b>\n--inner--\n\n\
    --outer--\n";

#[test]
fn a_comment_is_no_part_of_an_encoding() {
    // RFC 2045 §6.1.
    for (field, expected) in [
        ("BASE64 (as usual)", "BASE64"),
        ("(so) quoted-printable", "quoted-printable"),
        ("(nothing)", "NIL"),
    ] {
        let message = format!("Content-Transfer-Encoding: {field}\r\n\r\nQUJD\r\n");
        assert_eq!(text(summary(message.as_bytes()).body.encoding.as_ref()), expected, "{field}");
    }
}

#[test]
fn the_tree_has_every_part_with_its_place_and_its_fields() {
    let summary = summary(TREE.as_bytes());
    let at = |part: &BodyPart| {
        let start = usize::try_from(part.body_offset).unwrap();
        TREE[start..start + usize::try_from(part.body_octets).unwrap()].to_owned()
    };
    let parts = &summary.body.parts;
    assert_eq!(parts.len(), 3);
    assert_eq!(at(&parts[0]), "one");
    assert_eq!(at(&parts[1]), "QUJD");
    assert_eq!(text(parts[1].encoding.as_ref()), "base64");
    assert_eq!(text(parts[1].content_id.as_ref()), "<2@example.test>");
    assert_eq!(text(parts[1].description.as_ref()), "report");
    assert_eq!(text(parts[1].md5.as_ref()), "md5");
    assert_eq!(text(parts[1].location.as_ref()), "here");
    assert_eq!(parts[1].languages, [b"it".to_vec(), b"en".to_vec()]);
    let disposition = parts[1].disposition.as_ref().unwrap();
    assert_eq!(disposition.kind, b"attachment");
    assert_eq!(disposition.parameters, [(b"filename".to_vec(), b"relazione.pdf".to_vec())]);
    let embedded = parts[2].embedded_envelope.as_ref().unwrap();
    assert_eq!(text(embedded.subject.as_ref()), "inner");
    assert_eq!(text(embedded.from[0].name.as_ref()), "Anna");
    let message = &parts[2].parts[0];
    assert_eq!(message.header_offset, parts[2].body_offset);
    assert_eq!(message.parts.iter().map(at).collect::<Vec<_>>(), ["plain", "<b>rich</b>"]);
    assert_eq!(message.media_subtype, b"alternative");
    assert_eq!(summary.preview, "one");
}

#[test]
fn the_preview_prefers_plain_text_and_passes_attachments_over() {
    let message = b"Content-Type: multipart/mixed; boundary=b\n\n\
        --b\nContent-Type: text/html\n\n<p>rich</p>\n\
        --b\nContent-Type: text/plain\nContent-Disposition: attachment\n\nattached\n\
        --b\nContent-Type: text/plain; charset=iso-8859-1\nContent-Transfer-Encoding: quoted-printable\n\n\
        =E8 arrivata\n--b--\n";
    assert_eq!(summary(message).preview, "è arrivata");
    assert_eq!(summary(b"Content-Type: text/html\n\n<p>rich</p>").preview, "rich");
    assert_eq!(summary(b"Content-Type: image/png\n\npng").preview, "");
}

#[test]
fn broken_types_count_as_plain_text() {
    for message in ["Content-Type: nonsense\n\nx", "Content-Type:\n\nx", "\nx", ""] {
        let body = summary(message.as_bytes()).body;
        assert_eq!(body.media_type, b"text", "{message:?}");
        assert_eq!(body.media_subtype, b"plain");
    }
}

#[test]
fn a_header_of_many_addresses_is_read_up_to_the_bound() {
    let message = format!("To: {}\n\n", "a@b.test,".repeat(50_000));
    assert_eq!(summary(message.as_bytes()).envelope.to.len(), ADDRESSES_MAX);
}

/// Every part lies inside its parent, behind its predecessor.
fn check_places(part: &BodyPart, from: u64, to: u64) {
    assert!(from <= part.header_offset && part.header_offset <= part.body_offset);
    assert!(part.body_offset + part.body_octets <= to);
    assert!(part.body_lines <= part.body_octets);
    let mut from = part.body_offset;
    for child in &part.parts {
        check_places(child, from, part.body_offset + part.body_octets);
        from = child.body_offset + child.body_octets;
    }
}

proptest! {
    #[test]
    fn parts_of_any_message_lie_inside_each_other(message in hostile()) {
        let summary = summary(&message);
        prop_assert_eq!(summary.size, message.len() as u64);
        check_places(&summary.body, 0, summary.size);
        prop_assert_eq!(Summary::decode(&summary.encode(), String::new).unwrap(), summary);
    }
}
