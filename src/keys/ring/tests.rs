use trust::{
    authority::{DevelopmentAuthority, Issued},
    clock::ManualClock,
    random::SystemRandom,
};

use super::*;
use crate::golden::Golden;

const DAY: i64 = 86_400_000;
/// 28 November 2026.
const NOW: UnixMillis = UnixMillis(1_795_867_200_000);

struct World {
    folder: tempfile::TempDir,
    authority: DevelopmentAuthority,
    clock: Arc<ManualClock>,
    first: Issued,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let clock = Arc::new(ManualClock::new(NOW));
        let place = folder.path().join("authority");
        let authority = DevelopmentAuthority::open(&place, clock.clone(), Arc::new(SystemRandom))
            .expect("an authority");
        let first = issue(&authority);
        Self { folder, authority, clock, first }
    }

    fn open_with(&self, issued: &Issued) -> SigningRing {
        let Issued { certificate, key } = issued.clone();
        let chain = vec![self.authority.certificate().clone()];
        let folder = self.folder.path().join("signing");
        SigningRing::open(&folder, (certificate, chain, key), self.clock.clone()).expect("a ring")
    }

    fn add(&self, ring: &SigningRing) -> Certificate {
        let Issued { certificate, key } = issue(&self.authority);
        ring.add(&certificate, &[self.authority.certificate().clone()], &key).expect("added");
        certificate
    }
}

fn issue(authority: &DevelopmentAuthority) -> Issued {
    authority.issue_provider("Alfa PEC", "posta-certificata@alfa.example").expect("issued")
}

fn signs(ring: &SigningRing) -> Certificate {
    ring.signer().expect("a signer").certificate().clone()
}

#[test]
fn a_new_pair_is_listed_at_once_and_signs_from_its_instant_also_after_a_restart() {
    let world = World::new();
    let ring = world.open_with(&world.first);
    let old = world.first.certificate.clone();
    assert_eq!((signs(&ring), ring.listed()), (old.clone(), vec![old.clone()]));
    let new = world.add(&ring);
    assert_eq!((signs(&ring), ring.listed()), (old.clone(), vec![old.clone(), new.clone()]));

    let early = ring.roll(&new.sha1_hex(), Some(NOW.plus_millis(DAY)), false);
    assert!(
        matches!(early, Err(RingError::TooEarly { earliest, .. }) if earliest == NOW.plus_millis(2 * DAY))
    );
    assert_eq!(
        ring.roll(&new.sha1_hex()[..8], None, false).expect("decided"),
        NOW.plus_millis(2 * DAY)
    );
    assert_eq!(ring.next_change(), Some(NOW.plus_millis(2 * DAY)));

    let ring = world.open_with(&world.first);
    assert_eq!(signs(&ring), old);
    world.clock.advance(2 * DAY);
    assert_eq!((signs(&ring), ring.listed()), (new.clone(), vec![new.clone(), old.clone()]));
    // What the old one signed is still on its way: it is listed until its end, and no longer.
    world.clock.advance(3 * 365 * DAY - 2 * DAY + 1);
    assert_eq!(ring.listed(), vec![new]);
}

#[test]
fn another_certificate_in_the_configuration_signs_from_the_start_on_and_the_old_one_stays_listed() {
    let world = World::new();
    drop(world.open_with(&world.first));
    world.clock.advance(DAY);
    let second = issue(&world.authority);
    let ring = world.open_with(&second);
    let expected = vec![second.certificate.clone(), world.first.certificate.clone()];
    assert_eq!((signs(&ring), ring.listed()), (second.certificate.clone(), expected));
    let refused = ring.roll(&world.first.certificate.sha1_hex(), None, true);
    assert!(matches!(refused, Err(RingError::NoKey(_))), "{refused:?}");
}

#[test]
fn an_expired_certificate_signs_nothing_and_another_valid_one_takes_its_place() {
    let world = World::new();
    let ring = world.open_with(&world.first);
    world.clock.advance(3 * 365 * DAY - DAY);
    let new = world.add(&ring);
    ring.roll(&new.sha1_hex(), None, true).expect("at once");
    assert!(ring.can_sign());
    world.clock.advance(2 * DAY);
    assert_eq!(signs(&ring), new);
    world.clock.advance(3 * 365 * DAY);
    assert!(!ring.can_sign());
    let refused = ring.signer().expect("a signer").sign_entity(b"a");
    assert!(matches!(refused, Err(SignError::OutsideValidity(_))), "{refused:?}");
}

#[test]
fn a_pair_that_was_listed_long_enough_stands_in_for_an_expired_one() {
    let world = World::new();
    let ring = world.open_with(&world.first);
    world.clock.advance(3 * 365 * DAY - DAY);
    let new = world.add(&ring);
    world.clock.advance(2 * DAY - 1);
    // Nobody can know it yet: what is to be signed waits.
    assert_eq!((signs(&ring), ring.can_sign()), (world.first.certificate.clone(), false));
    assert_eq!(ring.next_change(), Some(ring.clock.now().plus_millis(1)));
    world.clock.advance(1);
    assert_eq!((signs(&ring), ring.can_sign()), (new, true));
}

#[test]
fn the_pair_of_the_configuration_is_removed_once_another_one_is_named_there() {
    let world = World::new();
    let ring = world.open_with(&world.first);
    let (new, old) = (world.add(&ring).sha1_hex(), world.first.certificate.sha1_hex());
    ring.roll(&new, None, true).expect("rolled");
    let refused = ring.remove(&old).expect_err("the next start would take it in again");
    assert!(matches!(refused, RingError::Configured(_)), "{refused}");
    assert!(refused.to_string().contains("[signing]"), "{refused}");
    assert_eq!(ring.pairs().len(), 2, "nothing changed");
    let second = issue(&world.authority);
    world.clock.advance(1);
    let ring = world.open_with(&second);
    ring.remove(&old).expect("removed");
    let left = |ring: &SigningRing| ring.pairs().iter().any(|pair| pair.sha1 == old);
    assert!(!left(&ring) && !left(&world.open_with(&second)));
}

#[test]
fn what_signs_is_not_removed_and_what_is_removed_leaves_no_key() {
    let world = World::new();
    let ring = world.open_with(&world.first);
    let (new, old) = (world.add(&ring).sha1_hex(), world.first.certificate.sha1_hex());
    let Issued { key, .. } = issue(&world.authority);
    let wrong = ring.add(&world.first.certificate, &[], &key);
    assert!(matches!(wrong, Err(RingError::Pair(SignError::KeyMismatch(_)))), "{wrong:?}");
    assert!(matches!(ring.remove(&old), Err(RingError::InUse(_))));
    assert!(matches!(ring.remove("0123456789"), Err(RingError::Unknown(_))));
    let key = world.folder.path().join("signing").join(format!("{new}.key"));
    assert!(key.exists());
    ring.remove(&new).expect("removed");
    assert!(!key.exists());
    assert_eq!(world.open_with(&world.first).pairs().len(), 1);
}

#[test]
fn the_list_of_pairs_stays_as_it_is() {
    let pair = |signs_from| PairRecord { sha1: "ab".repeat(20), signs_from, listed_from: 5 };
    let pairs = vec![pair(None), pair(Some(1_795_867_200_123))];
    Golden::of("ring.json").holds(
        &pairs,
        |pairs| serde_json::to_vec_pretty(pairs).expect("JSON"),
        |octets| serde_json::from_slice(octets).expect("JSON"),
    );
}
