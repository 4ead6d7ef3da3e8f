//! What a read touches, and what the verification of a message can tell.

use std::sync::Mutex;

use super::{dedup::base64_lines, *};
use crate::{
    ids::StoredId,
    octets::{
        recipe::ChunkRef,
        store::{ChunkSource, read_window, verify},
    },
};

/// Chunks of a store, with a list of those that were asked for.
struct Counting<'s> {
    store: &'s OctetStore,
    asked: Mutex<Vec<StoredId>>,
}

#[async_trait::async_trait]
impl ChunkSource for Counting<'_> {
    async fn plain(&self, chunk: &ChunkRef) -> Result<Bytes, StoreError> {
        self.asked.lock().unwrap().push(chunk.stored);
        self.store.plain(chunk).await
    }
}

fn message_of_parts(parts: &[Vec<u8>]) -> Vec<u8> {
    let mut message = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n".to_vec();
    for part in parts {
        message.extend_from_slice(b"--b\r\nContent-Transfer-Encoding: base64\r\n\r\n");
        message.extend_from_slice(base64_lines(part, 76, "\r\n").as_bytes());
    }
    message.extend_from_slice(b"--b--\r\n");
    message
}

#[tokio::test]
async fn a_range_asks_for_the_chunks_that_it_touches_and_for_no_other() {
    let house = House::new(uncached()).await;
    let parts: Vec<_> = (0..4).map(|seed| random(300_000, 60 + seed)).collect();
    let octets = message_of_parts(&parts);
    let message = house.add(&octets).await;
    // One inline chunk, and one for each part.
    assert_eq!(message.recipe().chunks.len(), 5);
    let of_part = |number: usize| {
        let chunk = crate::pack::stored::chunk_id(&parts[number]);
        message.recipe().chunks.iter().find(|known| known.chunk == chunk).unwrap().stored
    };
    let inline = message.recipe().chunks[0].stored;
    let start = |number: usize| {
        let text = base64_lines(&parts[number], 76, "\r\n");
        octets.windows(80).position(|window| window == &text.as_bytes()[..80]).unwrap() as u64
    };
    let header = start(0);
    let cases = [
        (0..header, vec![inline]),
        (start(1) + 1_000..start(1) + 1_001, vec![of_part(1)]),
        (start(2) + 200_000..start(2) + 230_000, vec![of_part(2)]),
        (start(3) - 200..start(3) + 10, vec![inline, of_part(2), of_part(3)]),
    ];
    for (range, mut expected) in cases {
        let source = Counting { store: &house.store, asked: Mutex::default() };
        let read = read_window(message.recipe(), message.size(), range.clone(), &source).await;
        let from = usize::try_from(range.start).unwrap();
        let to = usize::try_from(range.end).unwrap();
        assert_eq!(read.unwrap(), octets[from..to]);
        let mut asked = source.asked.into_inner().unwrap();
        asked.sort_unstable();
        expected.sort_unstable();
        assert_eq!(asked, expected, "octets {range:?}");
    }
}

#[tokio::test]
async fn a_verification_reads_each_large_chunk_once() {
    let house = House::new(uncached()).await;
    let parts: Vec<_> = (0..3).map(|seed| random(900_000, 70 + seed)).collect();
    let message = house.add(&message_of_parts(&parts)).await;
    let source = Counting { store: &house.store, asked: Mutex::default() };
    verify(&message, &source, None).await.unwrap();
    let asked = source.asked.into_inner().unwrap();
    for part in &parts {
        let stored = house.store.secret.stored_id(crate::pack::stored::chunk_id(part));
        assert_eq!(asked.iter().filter(|asked| **asked == stored).count(), 1);
    }
}

#[tokio::test]
async fn a_message_whose_chunks_rebuild_other_octets_is_refused() {
    let house = House::new(uncached()).await;
    let octets = message_of_parts(&[random(10_000, 80)]);
    let message = house.add(&octets).await;
    verify(&message, &*house.store, Some(&octets)).await.unwrap();
    let mut others = vec![octets.clone(), octets[..octets.len() - 1].to_vec(), octets.clone()];
    others[0][octets.len() / 2] ^= 1;
    others[2].push(b' ');
    for other in others {
        let verified = verify(&message, &*house.store, Some(&other)).await;
        assert!(matches!(verified, Err(StoreError::Damaged { .. })));
    }
    let wrong = StoredMessage::new(
        message.size(),
        Sha256Digest::of(b"other octets"),
        message.recipe().clone(),
    );
    let verified = verify(&wrong, &*house.store, None).await;
    assert!(matches!(verified, Err(StoreError::Damaged { .. })));
}
