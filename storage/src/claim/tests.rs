//! Nodes over one object store in memory.

use std::sync::Arc;

use object_store::memory::InMemory;
use trust::random::SeededRandom;

use super::*;
use crate::{
    backup::epoch::EPOCH_KEY, catalog::simulated::SimulatedEngine, golden::Golden,
    octets::store::secret_of, tests::meanwhile::Meanwhile,
};

struct Node {
    engine: Arc<dyn Engine>,
    random: SeededRandom,
}

/// The octets of a secret's row.
fn secret(of: u8) -> Vec<u8> {
    [&[1], [of; 32].as_slice()].concat()
}

impl Node {
    /// A node of the store whose secret is made of `store`.
    async fn new(epoch: u32, seed: u64, store: u8) -> Self {
        let engine = SimulatedEngine::new(&Store::families(&[]));
        let mut batch = Batch::default();
        batch.put(STORE_IDENTITY, EPOCH_KEY, epoch::encode(epoch));
        batch.put(STORE_IDENTITY, b"secret".as_slice(), secret(store));
        engine.commit(batch).await.unwrap();
        Self { engine, random: SeededRandom::new(seed) }
    }

    async fn confirm(&self, objects: &dyn ObjectStore) -> Result<(), StoreError> {
        confirm(&*self.engine, &self.random, objects).await
    }

    async fn claimant(&self, token: u8) -> Claimant {
        let lineage = Lineage::of(&*self.engine).await.unwrap();
        Claimant { token: ClaimToken([token; 16]), lineage }
    }
}

fn superseded_by(result: &Result<(), StoreError>) -> Option<(u32, u32)> {
    match result {
        Err(StoreError::Superseded { ours, found }) => Some((*ours, *found)),
        _ => None,
    }
}

#[tokio::test]
async fn an_object_store_is_the_first_nodes_until_a_higher_epoch_is_claimed() {
    let objects = InMemory::new();
    let (first, twin) = (Node::new(1, 1, 1).await, Node::new(1, 2, 1).await);
    look(&*first.engine, &objects).await.unwrap();
    assert_eq!(highest(&objects).await.unwrap(), None, "who looks claims nothing");
    first.confirm(&objects).await.unwrap();
    first.confirm(&objects).await.unwrap();
    assert_eq!(superseded_by(&twin.confirm(&objects).await), Some((1, 1)));
    assert_eq!(superseded_by(&look(&*twin.engine, &objects).await), Some((1, 1)));
    let restored = claim_next(&[&objects], first.claimant(7).await, 2).await.unwrap();
    assert_eq!(restored, 2);
    assert_eq!(superseded_by(&look(&*first.engine, &objects).await), Some((1, 2)));
    assert_eq!(superseded_by(&first.confirm(&objects).await), Some((1, 2)));
}

#[tokio::test]
async fn a_node_that_was_superseded_knows_it_without_asking_anybody() {
    let (objects, empty) = (InMemory::new(), InMemory::new());
    let node = Node::new(1, 1, 1).await;
    node.confirm(&objects).await.unwrap();
    claim_next(&[&objects], node.claimant(7).await, 2).await.unwrap();
    node.confirm(&objects).await.unwrap_err();
    assert_eq!(superseded_by(&node.confirm(&empty).await), Some((1, 2)));
    assert_eq!(superseded_by(&look(&*node.engine, &empty).await), Some((1, 2)));
    assert_eq!(highest(&empty).await.unwrap(), None);
}

#[tokio::test]
async fn every_restore_gets_an_epoch_of_its_own_and_the_same_one_when_it_is_tried_again() {
    let (packs, backup) = (InMemory::new(), InMemory::new());
    let stores: [&dyn ObjectStore; 2] = [&packs, &backup];
    let node = Node::new(1, 1, 1).await;
    let (one, other) = (node.claimant(1).await, node.claimant(2).await);
    assert_eq!(claim_next(&stores[..1], one, 2).await.unwrap(), 2);
    assert_eq!(claim_next(&stores, one, 2).await.unwrap(), 2, "it goes on where it was");
    assert_eq!(claim_next(&stores, other, 2).await.unwrap(), 3);
    assert_eq!(claim_next(&stores, one, 2).await.unwrap(), 4, "another came in between");
    let claimants =
        (0..16_u8).map(|number| Claimant { token: ClaimToken([number + 10; 16]), ..one });
    let racing = claimants.map(|claimant| async move { claim_next(&stores, claimant, 2).await });
    let mut epochs: Vec<u32> =
        futures::future::join_all(racing).await.into_iter().map(Result::unwrap).collect();
    epochs.sort_unstable();
    epochs.dedup();
    assert_eq!(epochs.len(), 16, "{epochs:?}");
}

#[tokio::test]
async fn nothing_is_claimed_in_the_object_store_of_another_installation() {
    let objects = InMemory::new();
    let (here, elsewhere) = (Node::new(1, 1, 1).await, Node::new(1, 2, 2).await);
    elsewhere.confirm(&objects).await.unwrap();
    for outcome in [here.confirm(&objects).await, look(&*here.engine, &objects).await] {
        assert!(matches!(outcome, Err(StoreError::ForeignObjects)), "{outcome:?}");
    }
    // A higher epoch gives no right to it, and nothing that was refused is remembered.
    let later = Node::new(5, 3, 1).await;
    assert!(matches!(later.confirm(&objects).await, Err(StoreError::ForeignObjects)));
    let claimed = claim_next(&[&objects], here.claimant(7).await, 9).await;
    assert!(matches!(claimed, Err(StoreError::ForeignObjects)), "{claimed:?}");
    assert_eq!(highest(&objects).await.unwrap(), Some(1));
    elsewhere.confirm(&objects).await.unwrap();
    here.confirm(&InMemory::new()).await.unwrap();
}

#[tokio::test]
async fn a_claim_that_is_ours_and_not_carried_out_asks_for_the_take_over_again() {
    let objects = InMemory::new();
    let node = Node::new(1, 1, 1).await;
    node.confirm(&objects).await.unwrap();
    let Some(Standing::Node(token)) = Standing::read(&*node.engine).await.unwrap() else {
        panic!("it has a token");
    };
    let claimant = Claimant { token, ..node.claimant(0).await };
    assert_eq!(claim_next(&[&objects], claimant, 2).await.unwrap(), 2);
    let outcome = node.confirm(&objects).await;
    assert!(matches!(outcome, Err(StoreError::TakeOverUnfinished(2))), "{outcome:?}");
}

#[tokio::test]
async fn a_rehearsal_claims_nothing_and_a_damaged_claim_lets_nobody_pass_but_a_restore() {
    let objects = InMemory::new();
    let rehearsal = Node::new(2, 1, 1).await;
    let mut batch = Batch::default();
    batch.put(STORE_IDENTITY, CLAIM_KEY, Standing::Rehearsal.encode());
    rehearsal.engine.commit(batch).await.unwrap();
    assert!(matches!(rehearsal.confirm(&objects).await, Err(StoreError::Rehearsal)));
    assert!(matches!(look(&*rehearsal.engine, &objects).await, Err(StoreError::Rehearsal)));
    assert_eq!(highest(&objects).await.unwrap(), None);

    let node = Node::new(1, 2, 1).await;
    for octets in [b"".as_slice(), b"short", &[0; OBJECT_OCTETS], &[0; 1 << 10]] {
        let payload = PutPayload::from(octets.to_vec());
        objects.put(&Path::from(path(1)), payload).await.unwrap();
        let found = node.confirm(&objects).await;
        assert!(matches!(found, Err(StoreError::Damaged { .. })), "{found:?}");
    }
    assert_eq!(claim_next(&[&objects], node.claimant(7).await, 1).await.unwrap(), 2);
}

#[test]
fn an_epoch_has_one_path_and_a_standing_comes_back() {
    assert_eq!(path(26), "claims/0000001a.claim");
    assert_eq!(epoch_of("claims/0000001a.claim"), Some(26));
    for object in ["claims/1a.claim", "claims/0000001A.claim", "claims/0000001a", "claims/x"] {
        assert_eq!(epoch_of(object), None, "{object}");
    }
    let token = ClaimToken([7; 16]);
    for standing in [Standing::Node(token), Standing::Rehearsal, Standing::Superseded(token, 9)] {
        let octets = standing.encode();
        assert_eq!(Standing::decode(&octets).unwrap(), standing);
        assert!(Standing::decode(&octets[..octets.len() - 1]).is_err());
        assert!(Standing::decode(&[octets.as_ref(), &[0]].concat()).is_err());
    }
}

#[tokio::test]
async fn a_claim_that_is_listed_and_gone_supersedes_nobody() {
    let objects = InMemory::new();
    let node = Node::new(1, 1, 1).await;
    node.confirm(&objects).await.unwrap();
    let claimant = node.claimant(1).await;
    let outcome = judge(&InMemory::new(), Some(1), 1, claimant).await;
    assert!(matches!(outcome, Err(StoreError::Objects { .. })), "{outcome:?}");
    node.confirm(&objects).await.unwrap();
}

/// An object store in which `claimant` claims `epoch` between the look and the PUT of whoever is next.
fn claimed_meanwhile(epoch: u32, claimant: Claimant) -> (Arc<InMemory>, Meanwhile) {
    let memory = Arc::new(InMemory::new());
    let objects = Meanwhile::new(memory.clone());
    let there = Arc::clone(&memory);
    objects.before("put", PREFIX, async move { create(&*there, epoch, claimant).await.unwrap() });
    (memory, objects)
}

#[tokio::test]
async fn a_claim_that_came_between_look_and_put_stays_and_the_late_one_gets_the_next_epoch() {
    let node = Node::new(1, 1, 1).await;
    let (one, late) = (node.claimant(1).await, node.claimant(2).await);
    let (memory, objects) = claimed_meanwhile(2, one);
    assert_eq!(claim_next(&[&objects], late, 2).await.unwrap(), 3);
    assert_eq!(read(&*memory, 2).await.unwrap(), Some(one));
    assert_eq!(read(&*memory, 3).await.unwrap(), Some(late));
}

#[tokio::test]
async fn a_node_whose_epoch_or_a_later_one_is_claimed_while_it_claims_is_superseded() {
    for epoch in [1, 2] {
        let node = Node::new(1, 1, 1).await;
        let other = node.claimant(7).await;
        let (memory, objects) = claimed_meanwhile(epoch, other);
        assert_eq!(superseded_by(&node.confirm(&objects).await), Some((1, epoch)));
        assert_eq!(read(&*memory, epoch).await.unwrap(), Some(other), "the claim is untouched");
    }
}

#[tokio::test]
async fn an_epoch_is_claimed_above_that_of_the_newest_checkpoint_where_no_claim_says_so() {
    let node = Node::new(1, 1, 1).await;
    let claimant = node.claimant(1).await;
    assert_eq!(claim_next(&[&InMemory::new()], claimant, 5).await.unwrap(), 5);
}

#[tokio::test]
async fn what_names_a_store_and_its_node_stays_as_it_is() {
    let token = ClaimToken([0x5a; 16]);
    for (name, standing) in [
        ("node", Standing::Node(token)),
        ("rehearsal", Standing::Rehearsal),
        ("superseded", Standing::Superseded(token, 258)),
    ] {
        let golden = Golden::of("store_identity").variant(name).key(CLAIM_KEY);
        golden.holds(
            &standing,
            |standing| standing.encode(),
            |octets| Standing::decode(octets).expect("a standing"),
        );
    }
    let claimant = Claimant { token, lineage: Lineage([7; 16]) };
    let objects = InMemory::new();
    create(&objects, 258, claimant).await.expect("claimed");
    let golden = Golden::of("claim").key(path(258));
    let now = objects.get(&path(258).into()).await.expect("there").bytes().await.expect("read");
    let then = golden.clone().written(&now);
    objects.put(&path(259).into(), then.into()).await.expect("put");
    assert_eq!(read(&objects, 259).await.expect("a claim"), Some(claimant));
    assert_eq!(epoch_of(&path(259)), Some(259));
    golden.is(now);
    let node = Node::new(1, 1, 9).await;
    let row = node.engine.get(STORE_IDENTITY, b"secret").await.expect("read").expect("a row");
    Golden::of("store_identity").variant("secret").key("secret").is(row);
    let secret = secret_of(&*node.engine).await.expect("read").expect("a secret");
    assert_eq!(Lineage::of(&*node.engine).await.expect("read"), Lineage(secret.lineage()));
}
