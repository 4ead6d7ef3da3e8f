//! Whatever arrives is rebuilt exactly.

use proptest::prelude::*;

use super::{dedup::base64_lines, *};
use crate::mime::walker::tests::hostile;

/// Long enough for a chunk of its own, almost always base64.
fn long_body() -> impl Strategy<Value = Vec<u8>> {
    let octets = (3_000_usize..9_000, any::<u64>()).prop_map(|(length, seed)| random(length, seed));
    let damage = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3);
    let ending = prop::sample::select(vec!["\r\n", "\n", "\r\n\r\n"]);
    (octets, 1_usize..100, ending, damage, 0_usize..4).prop_map(
        |(octets, line_length, ending, damage, cut)| {
            let mut text = base64_lines(&octets, line_length, ending).into_bytes();
            for (position, octet) in damage {
                let position = position.index(text.len());
                text[position] = octet;
            }
            text.truncate(text.len() - cut);
            text
        },
    )
}

fn message() -> impl Strategy<Value = Vec<u8>> {
    let types = prop::sample::select(vec![
        "application/pdf",
        "message/rfc822",
        "text/plain",
        "multipart/mixed",
    ]);
    (hostile(), types, long_body(), hostile(), long_body()).prop_map(
        |(before, media_type, body, inner, after)| {
            let head =
                format!("Content-Type: {media_type}\r\nContent-Transfer-Encoding: base64\r\n\r\n");
            [before.as_slice(), b"\r\n--b\r\n", head.as_bytes(), &body, &inner, &after].concat()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn every_message_is_rebuilt_exactly(
        octets in prop_oneof![1 => hostile(), 3 => message()],
        step in 1_usize..5_000,
        from in any::<prop::sample::Index>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let house = House::new(OctetStoreConfig::default()).await;
            let mut writer = house.store.writer();
            for part in octets.chunks(step) {
                writer.write(part).await.unwrap();
            }
            let staged = writer.finish().await.unwrap();
            let mut batch = Batch::default();
            staged.add_to(&mut batch);
            house.engine.commit(batch).await.unwrap();
            let message = StoredMessage::decode(&staged.stored().encode(), || "it".into()).unwrap();
            assert_eq!(house.read_all(&message).await.unwrap(), octets);
            let from = if octets.is_empty() { 0 } else { from.index(octets.len()) };
            let part = house.store.read(&message, from as u64..u64::MAX).await.unwrap();
            assert_eq!(part, octets[from..from + part.len()]);
        });
    }
}
