use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// A message as the model knows it.
#[derive(Clone, Debug)]
struct Mail {
    id: Option<&'static str>,
    references: Vec<&'static str>,
    subject: &'static str,
    sent: i64,
    arrived: i64,
}

fn mail(id: &'static str, references: &[&'static str], subject: &'static str) -> Mail {
    Mail { id: Some(id), references: references.to_vec(), subject, sent: 0, arrived: 0 }
}

fn threads(mails: &[Mail], threading: Threading) -> String {
    let mut ids = Identifiers::default();
    let messages: Vec<Message> = (1..)
        .zip(mails)
        .map(|(number, mail)| Message {
            number,
            sent: mail.sent,
            arrived: mail.arrived,
            subject: BaseSubject::of(mail.subject),
            id: mail.id.map(|id| ids.number(id)),
            references: mail.references.iter().map(|id| ids.number(id)).collect(),
        })
        .collect();
    Forest::of(&messages, threading, ids.len()).written()
}

#[test]
fn references_make_trees() {
    let by_references = |mails: &[Mail]| threads(mails, Threading::References);
    let chain = [mail("a", &[], "x"), mail("b", &["a"], "x"), mail("c", &["a", "b"], "x")];
    assert_eq!(by_references(&chain), "(1 2 3)");
    let fork = [mail("a", &[], "x"), mail("b", &["a"], "x"), mail("c", &["a"], "x")];
    assert_eq!(by_references(&fork), "(1 (2)(3))");
    let lost = [mail("b", &["a"], "x"), mail("c", &["a"], "y")];
    assert_eq!(by_references(&lost), "((1)(2))");
    let lost_alone = [mail("c", &["z", "y", "a"], "y")];
    assert_eq!(by_references(&lost_alone), "(1)");
    let doubled = [mail("a", &[], "x"), mail("a", &[], "y"), mail("b", &["a"], "z")];
    assert_eq!(by_references(&doubled), "(1 3)(2)");
    let circle = [mail("a", &["b"], "x"), mail("b", &["a"], "y")];
    assert_eq!(by_references(&circle), "(2 1)");
    let self_made = [mail("a", &["a"], "x")];
    assert_eq!(by_references(&self_made), "(1)");
    assert_eq!(by_references(&[]), "");
}

#[test]
fn subjects_join_threads_as_step_5_says() {
    let by_references = |mails: &[Mail]| threads(mails, Threading::References);
    let answered = [mail("a", &[], "offerta"), mail("b", &[], "Re: offerta")];
    assert_eq!(by_references(&answered), "(1 2)");
    let backwards = [mail("a", &[], "Re: offerta"), mail("b", &[], "offerta")];
    assert_eq!(by_references(&backwards), "(2 1)");
    let equals = [mail("a", &[], "offerta"), mail("b", &[], "offerta")];
    assert_eq!(by_references(&equals), "((1)(2))");
    let three = [mail("a", &[], "x"), mail("b", &[], "x"), mail("c", &[], "Re: x")];
    assert_eq!(by_references(&three), "((1)(2)(3))");
    let places = [
        mail("a", &["l"], "x"),
        mail("b", &["l"], "y"),
        mail("c", &["m"], "x"),
        mail("d", &["m"], "z"),
    ];
    assert_eq!(by_references(&places), "((1)(2)(3)(4))");
    let into_place = [mail("a", &[], "x"), mail("b", &["l"], "x"), mail("c", &["l"], "y")];
    assert_eq!(by_references(&into_place), "((1)(2)(3))");
    let without = [mail("a", &[], ""), mail("b", &[], "Re:")];
    assert_eq!(by_references(&without), "(1)(2)", "an empty subject joins nothing");
    assert_eq!(threads(&answered, Threading::Refs), "(1)(2)", "REFS knows no subjects");
}

#[test]
fn ordered_subject_has_one_level() {
    let mut mails =
        [mail("a", &[], "x"), mail("b", &[], "y"), mail("c", &[], "Re: x"), mail("d", &[], "x")];
    mails[0].sent = 9;
    mails[1].sent = 4;
    mails[2].sent = 3;
    mails[3].sent = 5;
    assert_eq!(threads(&mails, Threading::OrderedSubject), "(3 (4)(1))(2)");
}

#[test]
fn refs_has_the_thread_last_in_which_something_arrived_last() {
    let mut mails = [mail("a", &[], "x"), mail("b", &[], "y"), mail("c", &["a"], "z")];
    mails[2].arrived = 7;
    assert_eq!(threads(&mails, Threading::Refs), "(2)(1 3)");
    assert_eq!(threads(&mails, Threading::References), "(1 3)(2)");
}

#[test]
fn a_thread_may_be_as_deep_and_as_wide_as_there_are_messages() {
    let count = 100_000_u32;
    let message = |number: u32, parent: Option<u32>| Message {
        number,
        id: Some(number),
        references: parent.into_iter().collect(),
        ..Message::default()
    };
    let ids = count as usize + 1;
    let deep: Vec<Message> = (1..=count).rev().map(|n| message(n, n.checked_sub(1))).collect();
    assert!(Forest::of(&deep, Threading::References, ids).written().starts_with("(1 2 3 4 "));
    let wide: Vec<Message> = (1..=count).map(|n| message(n, Some(0))).collect();
    assert!(Forest::of(&wide, Threading::References, ids).written().starts_with("((1)(2)(3)"));
    // Each of these asks whether the end of a long thread lies below it.
    let mut bottom: Vec<Message> = (1..=count / 2).map(|n| message(n, n.checked_sub(1))).collect();
    bottom.extend(
        (count / 2 + 1..count)
            .map(|n| Message { references: vec![count / 2, n + 1], ..message(n, None) }),
    );
    assert!(!Forest::of(&bottom, Threading::References, ids).written().is_empty());
}

/// The algorithm again, by the words of RFC 5256 §3 and without regard to time: trees of names.
mod model {
    use super::*;

    #[derive(Default)]
    pub(super) struct Model {
        mails: Vec<Mail>,
        parents: BTreeMap<String, String>,
        holds: BTreeMap<String, usize>,
        names: Vec<String>,
    }

    #[derive(Clone, Debug)]
    pub(super) struct Tree {
        mail: Option<usize>,
        below: Vec<Tree>,
    }

    impl Model {
        pub(super) fn new(mails: &[Mail]) -> Self {
            Self { mails: mails.to_vec(), ..Self::default() }
        }

        fn is_below(&self, name: &str, top: &str) -> bool {
            name == top || self.parents.get(name).is_some_and(|parent| self.is_below(parent, top))
        }

        fn link(&mut self, parent: &str, child: &str) {
            if !self.is_below(parent, child) {
                self.parents.insert(child.to_owned(), parent.to_owned());
            }
        }

        fn name(&mut self, name: &str) {
            if !self.names.iter().any(|known| known == name) {
                self.names.push(name.to_owned());
            }
        }

        fn tree(&self, name: &str) -> Tree {
            let children = self
                .names
                .iter()
                .filter(|child| self.parents.get(*child).is_some_and(|parent| parent == name));
            let below = children.map(|child| self.tree(child)).collect();
            Tree { mail: self.holds.get(name).copied(), below }
        }

        pub(super) fn threads(mut self, subjects: bool) -> String {
            for (index, mail) in self.mails.clone().into_iter().enumerate() {
                let own = match mail.id {
                    Some(id) if !self.holds.contains_key(id) => id.to_owned(),
                    _ => format!("unique {index}"),
                };
                self.name(&own);
                self.holds.insert(own.clone(), index);
                for id in &mail.references {
                    self.name(id);
                }
                for pair in mail.references.windows(2) {
                    if !self.parents.contains_key(pair[1]) {
                        self.link(pair[0], pair[1]);
                    }
                }
                self.parents.remove(&own);
                if let Some(last) = mail.references.last() {
                    self.link(last, &own);
                }
            }
            let tops = self.names.iter().filter(|name| !self.parents.contains_key(*name));
            let trees: Vec<Tree> = tops.map(|name| self.tree(name)).collect();
            let mut roots = Vec::new();
            for tree in trees {
                let mut pruned = prune(tree);
                match pruned.as_slice() {
                    [] => {}
                    [_] => roots.append(&mut pruned),
                    _ => roots.push(Tree { mail: None, below: pruned }),
                }
            }
            self.sort(&mut roots);
            if subjects {
                self.gather(&mut roots);
                self.sort(&mut roots);
            } else {
                roots.sort_by_key(|tree| self.latest(tree));
            }
            roots.iter().map(written).collect()
        }

        fn key(&self, tree: &Tree) -> (i64, usize) {
            match tree.mail {
                Some(mail) => (self.mails[mail].sent, mail),
                None => self.key(&tree.below[0]),
            }
        }

        fn latest(&self, tree: &Tree) -> (i64, usize) {
            let own = tree.mail.map_or((i64::MIN, 0), |mail| (self.mails[mail].arrived, mail));
            tree.below.iter().map(|child| self.latest(child)).fold(own, Ord::max)
        }

        fn sort(&self, trees: &mut [Tree]) {
            for tree in trees.iter_mut() {
                self.sort(&mut tree.below);
            }
            trees.sort_by_key(|tree| self.key(tree));
        }

        fn subject(&self, tree: &Tree) -> BaseSubject {
            let mail = tree.mail.or_else(|| tree.below[0].mail).unwrap();
            BaseSubject::of(self.mails[mail].subject)
        }

        fn is_reply(&self, tree: &Tree) -> bool {
            tree.mail.is_some_and(|mail| BaseSubject::of(self.mails[mail].subject).is_reply)
        }

        fn gather(&self, roots: &mut Vec<Tree>) {
            let mut subjects: Vec<String> = Vec::new();
            for root in roots.iter() {
                let subject = self.subject(root).text;
                if !subject.is_empty() && !subjects.contains(&subject) {
                    subjects.push(subject);
                }
            }
            for subject in subjects {
                let of_it = |tree: &Tree| self.subject(tree).text == subject;
                let (mut same, mut kept): (Vec<_>, Vec<_>) = roots.drain(..).partition(of_it);
                let first = |test: &dyn Fn(&Tree) -> bool| same.iter().position(test);
                let best = first(&|tree| tree.mail.is_none())
                    .or_else(|| first(&|tree| !self.is_reply(tree)))
                    .unwrap_or(0);
                let mut table = same.remove(best);
                for tree in same {
                    match (table.mail, tree.mail) {
                        (None, None) => table.below.extend(tree.below),
                        (None, Some(_)) => table.below.push(tree),
                        _ if self.is_reply(&tree) && !self.is_reply(&table) => {
                            table.below.push(tree);
                        }
                        _ => table = Tree { mail: None, below: vec![table, tree] },
                    }
                }
                kept.push(table);
                *roots = kept;
            }
        }
    }

    fn prune(tree: Tree) -> Vec<Tree> {
        let below: Vec<Tree> = tree.below.into_iter().flat_map(prune).collect();
        match tree.mail {
            None => below,
            mail => vec![Tree { mail, below }],
        }
    }

    fn written(tree: &Tree) -> String {
        format!("({})", inside(tree))
    }

    fn inside(tree: &Tree) -> String {
        let number = tree.mail.map(|mail| (mail + 1).to_string()).unwrap_or_default();
        match (tree.mail, tree.below.as_slice()) {
            (_, []) => number,
            (Some(_), [only]) => format!("{number} {}", inside(only)),
            (Some(_), several) => {
                format!("{number} {}", several.iter().map(written).collect::<String>())
            }
            (None, several) => several.iter().map(written).collect(),
        }
    }
}

fn mails() -> impl Strategy<Value = Vec<Mail>> {
    let name = || prop::sample::select(vec!["a", "b", "c", "d", "e", "f", "g"]);
    let subject = prop::sample::select(vec!["", "x", "Re: x", "y", "Re: y", "z"]);
    let references = prop::collection::vec(name(), 0..4);
    let mail = (prop::option::of(name()), references, subject, 0_i64..4, 0_i64..4);
    let mail = mail.prop_map(|(id, references, subject, sent, arrived)| Mail {
        id,
        references,
        subject,
        sent,
        arrived,
    });
    prop::collection::vec(mail, 0..9)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]
    #[test]
    fn threads_are_those_of_the_model(mails in mails()) {
        let model = || model::Model::new(&mails);
        prop_assert_eq!(threads(&mails, Threading::References), model().threads(true));
        prop_assert_eq!(threads(&mails, Threading::Refs), model().threads(false));
    }
}
