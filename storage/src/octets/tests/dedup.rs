//! What is stored once: an attachment in a message, in the envelope around it, in the receipt
//! around that.

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::*;

/// Base64 in lines, the last one ended, too.
pub(super) fn base64_lines(octets: &[u8], line_length: usize, ending: &str) -> String {
    let characters = STANDARD.encode(octets);
    let lines = characters.as_bytes().chunks(line_length);
    let text = lines.flat_map(|line| line.iter().chain(ending.as_bytes())).copied().collect();
    String::from_utf8(text).unwrap()
}

fn original(pdf: &str) -> String {
    format!(
        "From: \"Anna Bianchi\" <anna@pec.example>\r\nTo: bruno@pec.test\r\nSubject: relazione\r\n\
         Message-ID: <1@pec.example>\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/mixed; boundary=\"original\"\r\n\r\n\
         --original\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nIn allegato la relazione.\r\n\
         --original\r\nContent-Type: application/pdf; name=relazione.pdf\r\n\
         Content-Disposition: attachment; filename=relazione.pdf\r\n\
         Content-Transfer-Encoding: base64\r\n\r\n{pdf}\r\n--original--\r\n"
    )
}

fn signed(subject: &str, embedded: &str) -> String {
    let signature = base64_lines(&random(3_500, 77), 64, "\r\n");
    format!(
        "From: \"Per conto di: anna@pec.example\" <posta-certificata@pec.example>\r\n\
         Subject: {subject}\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/signed; protocol=\"application/pkcs7-signature\"; micalg=sha-256;\r\n\
         \tboundary=\"signed\"\r\n\r\nThis is an S/MIME signed message\r\n\r\n\
         --signed\r\nContent-Type: multipart/mixed; boundary=\"mixed\"\r\n\r\n\
         --mixed\r\nContent-Type: text/plain\r\n\r\nIl messaggio originale e' allegato.\r\n\
         --mixed\r\nContent-Type: message/rfc822; name=\"postacert.eml\"\r\n\
         Content-Disposition: inline; filename=\"postacert.eml\"\r\n\r\n{embedded}\r\n\
         --mixed--\r\n\r\n\
         --signed\r\nContent-Type: application/pkcs7-signature; name=\"smime.p7s\"\r\n\
         Content-Transfer-Encoding: base64\r\n\r\n{signature}\r\n--signed--\r\n"
    )
}

#[tokio::test]
async fn an_attachment_is_stored_once_for_message_envelope_and_receipt() {
    let pdf = random(1 << 20, 42);
    let house = House::new(uncached()).await;
    let message = original(&base64_lines(&pdf, 76, "\r\n"));
    let envelope = signed("POSTA CERTIFICATA: relazione", &message);
    let receipt = signed("CONSEGNA: relazione", &message);
    let first = house.add(message.as_bytes()).await;
    let after_first = house.stored_octets().await;
    assert!(after_first < pdf.len() as u64 * 105 / 100, "{after_first} octets for the message");
    let mut before = after_first;
    for copy in [envelope, receipt] {
        let stored = house.add(copy.as_bytes()).await;
        assert_eq!(house.read_all(&stored).await.unwrap(), copy.as_bytes());
        let now = house.stored_octets().await;
        let new = now - before;
        assert!(new < pdf.len() as u64 / 20, "{new} new octets for a copy");
        before = now;
    }
    assert_eq!(house.read_all(&first).await.unwrap(), message.as_bytes());
}

#[tokio::test]
async fn the_shape_of_the_base64_does_not_matter() {
    for (size, seed) in [(1 << 20, 43), (3_000_001, 44)] {
        let pdf = random(size, seed);
        let house = House::new(uncached()).await;
        house.add(original(&base64_lines(&pdf, 76, "\r\n")).as_bytes()).await;
        let mut before = house.stored_octets().await;
        let unpadded = base64_lines(&pdf, 72, "\r\n").trim_end().trim_end_matches('=').to_owned();
        let shapes = [
            base64_lines(&pdf, 64, "\r\n"),
            base64_lines(&pdf, 73, "\n"),
            base64_lines(&pdf, usize::MAX, "\r\n"),
            unpadded,
            format!("\r\n{}junk at the end!\r\n", base64_lines(&pdf, 60, "\r\n")),
        ];
        for (number, shape) in shapes.iter().enumerate() {
            let octets = original(shape).into_bytes();
            let message = house.add(&octets).await;
            assert_eq!(house.read_all(&message).await.unwrap(), octets);
            let now = house.stored_octets().await;
            let new = now - before;
            assert!(new < size as u64 / 20, "{new} new octets for shape {number} of {size}");
            before = now;
        }
    }
}

#[tokio::test]
async fn a_message_that_is_itself_base64_shares_its_attachment() {
    let pdf = random(1 << 20, 45);
    let house = House::new(uncached()).await;
    let message = original(&base64_lines(&pdf, 76, "\r\n"));
    house.add(message.as_bytes()).await;
    let before = house.stored_octets().await;
    let mut forwarded = message;
    // One more level than base64 is looked into: the last one is kept as it is.
    for level in 1..=5 {
        forwarded = format!(
            "Subject: level {level}\r\nContent-Type: message/rfc822\r\n\
             Content-Transfer-Encoding: base64\r\n\r\n{}",
            base64_lines(forwarded.as_bytes(), 76, "\r\n")
        );
        let stored = house.add(forwarded.as_bytes()).await;
        assert_eq!(house.read_all(&stored).await.unwrap(), forwarded.as_bytes());
        let new = house.stored_octets().await - before;
        assert!(level > 3 || new < pdf.len() as u64 / 20, "{new} new octets at level {level}");
        let decoded = StoredMessage::decode(&stored.encode(), || "it".into()).unwrap();
        assert_eq!(decoded, stored);
    }
}

#[tokio::test]
async fn an_irregular_octet_in_the_middle_costs_only_what_follows() {
    let pdf = random(900_000, 46);
    let house = House::new(uncached()).await;
    let mut text = base64_lines(&pdf, 76, "\r\n");
    text.insert(600_000, ' ');
    let octets = original(&text).into_bytes();
    let message = house.add(&octets).await;
    assert_eq!(house.read_all(&message).await.unwrap(), octets);
    let recipe = message.recipe();
    assert!(
        recipe.segments.iter().any(|segment| matches!(segment, recipe::Segment::Base64 { .. }))
    );
}
