//! A chunk that several messages share is damaged: they are named, every one, and no other.

use std::collections::HashSet;

use object_store::{ObjectStoreExt as _, path::Path};

use super::{
    figures::letter,
    house::{ANNA, House, request},
};
use crate::{
    account::Account,
    catalog::engine::Batch,
    concerned::Concerned,
    held::HeldId,
    ids::{AccountId, EmailNumber, MailboxId, StoredId},
    octets::{ChunkPlace, StagedMessage},
};

const INBOX: MailboxId = MailboxId(1);
const BRUNO: AccountId = AccountId(8);
const CARLA: AccountId = AccountId(9);

async fn append(house: &House, account: &Account, octets: &[u8]) -> (EmailNumber, StagedMessage) {
    let staged = house.stage(octets).await;
    (account.append(request(INBOX, &staged)).await.expect("append").email_number, staged)
}

async fn hold(house: &House, id: HeldId, octets: &[u8]) {
    let staged = house.stage(octets).await;
    let mut batch = Batch::default();
    house.store.hold(id, &staged, &mut batch);
    house.store.commit(batch).await.expect("commit");
}

/// Changes one octet of the stored form of `chunk`, which `message` needs.
async fn damage(house: &House, message: &StagedMessage, chunk: StoredId) {
    let uses = house.store.octets().physical(message.stored()).await.expect("its chunks");
    let found = uses.iter().find(|found| found.stored == chunk).expect("the chunk");
    let ChunkPlace::Pack { path, offset } = &found.place else { panic!("packed") };
    let path = Path::from(path.as_str());
    let whole = house.objects.get(&path).await.expect("get").bytes().await.expect("read");
    let mut changed = whole.to_vec();
    changed[usize::try_from(*offset).expect("small") + 20] ^= 0x40;
    house.objects.put(&path, changed.into()).await.expect("put");
}

#[tokio::test]
async fn exactly_the_messages_that_share_a_damaged_chunk_are_named_held_ones_too() {
    let (house, anna) = House::with_anna().await;
    let bruno = house.create(BRUNO, "bruno@pec.example", None).await;
    let carla = house.create(CARLA, "carla@pec.example", None).await;
    // One attachment under three subjects, twice in Anna's mailbox, and another attachment.
    let (first, sent) = append(&house, &anna, &letter("uno", 1)).await;
    append(&house, &anna, &letter("due", 2)).await;
    let (third, _) = append(&house, &anna, &letter("tre", 1)).await;
    let (of_bruno, received) = append(&house, &bruno, &letter("quattro", 1)).await;
    append(&house, &carla, &letter("due", 2)).await;
    hold(&house, HeldId([1; 16]), &letter("cinque", 1)).await;
    hold(&house, HeldId([2; 16]), &letter("sei", 2)).await;
    while house.store.octets().staged_chunks(1).await.expect("count") > 0 {
        house.store.octets().pack_once().await.expect("pack");
    }
    let ids = |message: &StagedMessage| message.stored().stored_ids().collect::<HashSet<_>>();
    let shared: HashSet<_> = ids(&sent).intersection(&ids(&received)).copied().collect();
    assert_eq!(shared.len(), 1, "the attachment");
    let found = async |limit| {
        let octets = house.store.octets();
        while !octets.scrub_step(0).await.expect("scrub").ended {}
        let damaged = octets.damaged_chunks(10).await.expect("damaged").into_iter().collect();
        house.store.concerned(&damaged, limit).await.expect("concerned")
    };
    assert_eq!(found(10).await, Concerned::default());

    let chunk = *shared.iter().next().expect("one");
    damage(&house, &sent, chunk).await;
    let expected = Concerned {
        messages: vec![(ANNA, first), (ANNA, third), (BRUNO, of_bruno)],
        held: vec![format!("held_messages/{}", "01".repeat(16))],
        left_out: 0,
    };
    let all = found(10).await;
    assert_eq!(all, expected);
    let names = ["message 1 of account 7", "message 3 of account 7", "message 1 of account 8"];
    assert_eq!(all.names()[..3], names);
    assert_eq!(all.names()[3], expected.held[0]);
    let two = found(2).await;
    assert_eq!(
        (two.messages, two.held, two.left_out),
        (expected.messages[..2].to_vec(), expected.held, 1)
    );

    // The header of one message: its message alone.
    let own: HashSet<_> = ids(&sent).difference(&shared).copied().collect();
    let alone = house.store.concerned(&own, 10).await.expect("concerned");
    assert_eq!((alone.messages, alone.held), (vec![(ANNA, first)], Vec::new()));
}
