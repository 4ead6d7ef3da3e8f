//! The tree's promises, held over random rows and histories.

use std::collections::HashMap;

use proptest::prelude::*;
use storage::{
    ids::{EmailNumber, MailboxId, Uid},
    mailbox::flags::{Flags, Keyword},
};
use trust::{clock::UnixMillis, digest::Sha256Digest};

use super::{
    page::PageId,
    read::rows,
    row::{ContentRow, FlagsRow, Row},
    update::{TreeUpdate, update},
    *,
};
use crate::hash::{Salts, SnapshotSecret};

/// Pages in memory.
#[derive(Default)]
pub(crate) struct Pages(HashMap<PageRef, Bytes>);

impl Pages {
    pub(crate) fn store(&mut self, pages: Vec<(PageRef, Bytes)>) {
        self.0.extend(pages);
    }
}

#[async_trait::async_trait]
impl PageStore for Pages {
    async fn page(&self, page: PageRef) -> Result<Bytes, SnapshotError> {
        self.0.get(&page).cloned().ok_or(SnapshotError::PageMissing(page.id))
    }
}

fn salts() -> Salts {
    Salts::new(SnapshotSecret([7; 32]), MailboxId(3))
}

fn content(uid: u32, seed: u64) -> ContentRow {
    ContentRow {
        uid: Uid::new(uid).expect("not zero"),
        digest: Sha256Digest::of(&[&uid.to_be_bytes()[..], &seed.to_be_bytes()].concat()),
        email_number: EmailNumber(seed),
        internal_date: UnixMillis(-5),
        save_date: UnixMillis(6),
        size: 20_000,
        charged_octets: 20_000,
    }
}

type Changes<R> = std::collections::BTreeMap<u64, Option<R>>;

fn all(uids: impl IntoIterator<Item = u32>) -> Changes<ContentRow> {
    uids.into_iter().map(|uid| (u64::from(uid), Some(content(uid, 0)))).collect()
}

async fn apply<R: Row>(pages: &mut Pages, root: TreeRoot, changes: Changes<R>) -> TreeUpdate {
    let made = update(pages, 1, root, &salts(), changes).await.expect("an update");
    pages.store(made.new_pages.clone());
    made
}

#[tokio::test]
async fn one_change_of_ten_thousand_rows_touches_few_pages() {
    let mut pages = Pages::default();
    let full = apply(&mut pages, TreeRoot::empty(), all(1..=10_000)).await;
    let count = full.new_pages.len();
    assert!((600..800).contains(&count), "{count} pages");
    for (what, change) in [
        ("append", (10_001, Some(content(10_001, 0)))),
        ("change", (5_000, Some(content(5_000, 1)))),
        ("remove", (7_777, None)),
        ("remove the first", (1, None)),
        ("remove the last", (10_000, None)),
    ] {
        let made = apply(&mut pages, full.root, [change].into()).await;
        assert!(made.new_pages.len() <= 9, "{what}: {} pages", made.new_pages.len());
        assert_ne!(made.root, full.root);
    }
    let same = apply(&mut pages, full.root, all([5_000])).await;
    assert_eq!((same.root, same.new_pages.len()), (full.root, 0));
    let same = apply::<ContentRow>(&mut pages, full.root, [(20_000, None)].into()).await;
    assert_eq!((same.root, same.new_pages.len()), (full.root, 0));
}

#[tokio::test]
async fn removing_everything_leads_back_to_the_empty_tree() {
    let mut pages = Pages::default();
    let full = apply(&mut pages, TreeRoot::empty(), all(1..=3_000)).await;
    let none = (1..=3_000).map(|uid| (uid, None)).collect();
    let made = apply::<ContentRow>(&mut pages, full.root, none).await;
    assert_eq!(made.root, TreeRoot::empty());
    assert!(rows::<ContentRow>(&pages, made.root, &salts(), 0, 9).await.expect("rows").is_empty());
}

#[tokio::test]
async fn rows_are_read_in_order_from_anywhere() {
    let mut pages = Pages::default();
    let full = apply(&mut pages, TreeRoot::empty(), all((2..=2_000).step_by(2))).await;
    let read: Vec<ContentRow> = rows(&pages, full.root, &salts(), 0, 5_000).await.expect("rows");
    assert_eq!(read.len(), 1_000);
    assert!(read.is_sorted_by_key(Row::key));
    let some: Vec<ContentRow> = rows(&pages, full.root, &salts(), 999, 3).await.expect("rows");
    assert_eq!(some.iter().map(Row::key).collect::<Vec<_>>(), [1_000, 1_002, 1_004]);
    let beyond: Vec<ContentRow> = rows(&pages, full.root, &salts(), 2_001, 3).await.expect("rows");
    assert!(beyond.is_empty());
    let one: Option<ContentRow> = read::row(&pages, full.root, &salts(), 7).await.expect("read");
    assert_eq!(one, None);
}

#[tokio::test]
async fn a_changed_octet_of_any_page_is_found() {
    let mut pages = Pages::default();
    let full = apply(&mut pages, TreeRoot::empty(), all(1..=60)).await;
    for (id, octets) in full.new_pages {
        for at in 0..octets.len() {
            let mut changed = octets.to_vec();
            changed[at] ^= 1;
            pages.0.insert(id, changed.into());
            let read = rows::<ContentRow>(&pages, full.root, &salts(), 0, 100).await;
            // A birth is not hashed: a wrong one names a page that is not there.
            let is_found =
                matches!(read, Err(SnapshotError::Damaged { .. } | SnapshotError::PageMissing(_)));
            assert!(is_found, "octet {at} of {id:?}");
        }
        pages.0.insert(id, octets);
    }
}

#[tokio::test]
async fn flags_read_back_and_equal_flags_make_equal_trees() {
    let keyword = |text: &str| Keyword::new(text).expect("an atom");
    let flags = |seen, keywords: &[&str]| Flags {
        seen,
        draft: !seen,
        keywords: keywords.iter().map(|text| keyword(text)).collect(),
        ..Flags::default()
    };
    let row = |uid, flags| FlagsRow { uid: Uid::new(uid).expect("not zero"), flags };
    let mut pages = Pages::default();
    let changes: Changes<FlagsRow> = (1..=100)
        .map(|uid| (u64::from(uid), Some(row(uid, flags(uid % 2 == 0, &["$Forwarded", "a"])))))
        .collect();
    let first = apply(&mut pages, TreeRoot::empty(), changes.clone()).await;
    let read: Vec<FlagsRow> = rows(&pages, first.root, &salts(), 0, 200).await.expect("rows");
    assert_eq!(read, changes.into_values().flatten().collect::<Vec<_>>());
    let there = [(50, Some(row(50, flags(false, &["b"]))))].into();
    let there = apply(&mut pages, first.root, there).await;
    assert_ne!(there.root, first.root);
    let back = [(50, Some(row(50, flags(true, &["a", "$Forwarded"]))))].into();
    assert_eq!(apply(&mut pages, there.root, back).await.root, first.root);
}

/// The state after a history, and the history: lists of changes, each an UID with a seed, or gone.
fn histories() -> impl Strategy<Value = Vec<Vec<(u32, Option<u64>)>>> {
    let change = (1_u32..1_500, proptest::option::weighted(0.7, 0_u64..3));
    proptest::collection::vec(proptest::collection::vec(change, 1..300), 1..8)
}

/// What `TreeDiff` finds, and how many pages it reads.
async fn differences(
    pages: &Pages,
    before: TreeRoot,
    after: TreeRoot,
) -> (Vec<diff::Difference<ContentRow>>, usize) {
    struct Counted<'a>(&'a Pages, std::sync::atomic::AtomicUsize);

    #[async_trait::async_trait]
    impl PageStore for Counted<'_> {
        async fn page(&self, page: PageRef) -> Result<Bytes, SnapshotError> {
            self.1.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            self.0.page(page).await
        }
    }

    let (counted, salts) = (Counted(pages, 0.into()), salts());
    let mut walk = diff::TreeDiff::new(&counted, &salts, before, after);
    let mut found = Vec::new();
    while let Some(difference) = walk.next().await.expect("a page") {
        found.push(difference);
    }
    drop(walk);
    (found, counted.1.into_inner())
}

#[tokio::test]
async fn few_changes_among_many_rows_are_found_without_reading_the_rest() {
    let mut pages = Pages::default();
    let full = apply(&mut pages, TreeRoot::empty(), all(1..=20_000)).await.root;
    let mut changes: Changes<ContentRow> = (1_u64..=20)
        .map(|at| (at * 900, Some(content(u32::try_from(at).expect("small") * 900, 1))))
        .collect();
    changes.extend((1_u64..=20).map(|at| (at * 900 + 400, None)));
    changes.extend(
        (20_001_u64..=20_010).map(|at| (at, Some(content(u32::try_from(at).expect("small"), 0)))),
    );
    let later = apply(&mut pages, full, changes.clone()).await.root;
    let (found, read) = differences(&pages, full, later).await;
    assert_eq!(found.len(), changes.len());
    assert!(read < 700, "{read} pages");
    let keys: Vec<u64> =
        found.iter().map(|(was, is)| was.as_ref().or(is.as_ref()).expect("a row").key()).collect();
    assert_eq!(keys, changes.into_keys().collect::<Vec<_>>(), "in the order of their keys");
    assert_eq!(differences(&pages, full, full).await, (Vec::new(), 0));
    assert_eq!(differences(&pages, TreeRoot::empty(), full).await.0.len(), 20_000);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_root_depends_on_the_rows_and_not_on_their_history(history in histories()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            let mut pages = Pages::default();
            let mut root = TreeRoot::empty();
            let mut rows_now: Changes<ContentRow> = Changes::new();
            for step in history {
                let changes: Changes<ContentRow> = step
                    .into_iter()
                    .map(|(uid, seed)| (u64::from(uid), seed.map(|seed| content(uid, seed))))
                    .collect();
                root = apply(&mut pages, root, changes.clone()).await.root;
                rows_now.extend(changes);
                rows_now.retain(|_, row| row.is_some());
                let mut fresh = Pages::default();
                let built = apply(&mut fresh, TreeRoot::empty(), rows_now.clone()).await;
                assert_eq!(built.root, root);
                assert_eq!(root.rows, rows_now.len() as u64);
            }
            let read: Vec<ContentRow> =
                rows(&pages, root, &salts(), 0, usize::MAX).await.expect("rows");
            assert_eq!(read, rows_now.into_values().flatten().collect::<Vec<_>>());
        });
    }

    #[test]
    fn two_states_of_any_history_differ_by_what_differs(history in histories()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            let mut pages = Pages::default();
            let mut states = vec![(TreeRoot::empty(), Changes::new())];
            for step in history {
                let changes: Changes<ContentRow> = step
                    .into_iter()
                    .map(|(uid, seed)| (u64::from(uid), seed.map(|seed| content(uid, seed))))
                    .collect();
                let (root, mut rows) = states.last().expect("one").clone();
                let root = apply(&mut pages, root, changes.clone()).await.root;
                rows.extend(changes);
                rows.retain(|_, row| row.is_some());
                states.push((root, rows));
            }
            for (before, was) in &states {
                for (after, is) in &states {
                    let keys: std::collections::BTreeSet<u64> =
                        was.keys().chain(is.keys()).copied().collect();
                    let wanted: Vec<_> = keys
                        .iter()
                        .map(|key| (was.get(key).cloned().flatten(), is.get(key).cloned().flatten()))
                        .filter(|(was, is)| was != is)
                        .collect();
                    assert_eq!(differences(&pages, *before, *after).await.0, wanted);
                }
            }
        });
    }

    #[test]
    fn hostile_pages_are_refused_without_a_panic(octets in proptest::collection::vec(any::<u8>(), 0..200)) {
        let id = PageId(Sha256Digest::of(&octets));
        prop_assert!(page::Page::<ContentRow>::decode(id, &octets, &salts()).is_err());
        prop_assert!(page::Page::<FlagsRow>::decode(id, &octets, &salts()).is_err());
        let run = crate::run::record::RunRecord::decode(&[1; crate::run::record::RUN_RECORD_OCTETS]);
        let proof = crate::proof::Proof::decode(&octets);
        let holds = proof.zip(run).is_some_and(|(proof, run)| proof.verify(&run).is_ok());
        prop_assert!(!holds);
    }
}
