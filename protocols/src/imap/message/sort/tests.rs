use proptest::prelude::*;
use storage::{
    ids::{EmailNumber, ModSeq, Uid},
    mailbox::flags::Flags,
    summary::{Address, Summary},
    text::fold,
};
use trust::clock::UnixMillis;

use super::*;

fn row(number: u32, arrived: i64, size: u64) -> ListedMessage {
    ListedMessage {
        uid: Uid::new(number).unwrap(),
        email_number: EmailNumber(number.into()),
        flags: Flags::default(),
        mod_seq: ModSeq(1),
        internal_date: UnixMillis(arrived),
        save_date: UnixMillis(0),
        size,
    }
}

fn octets_of(text: &str) -> Vec<u8> {
    text.as_bytes().to_vec()
}

fn address(name: Option<&str>, mailbox: &str, host: Option<&str>) -> Address {
    Address {
        name: name.map(octets_of),
        route: None,
        mailbox: Some(octets_of(mailbox)),
        host: host.map(octets_of),
    }
}

fn headers(from: Vec<Address>, subject: &str) -> MessageHeaders {
    let mut summary = Summary::default();
    summary.envelope.from = from;
    summary.envelope.subject = Some(octets_of(subject));
    MessageHeaders::of(EmailNumber(1), &summary)
}

fn text(by: SortBy, headers: &MessageHeaders) -> String {
    match value(by, &row(1, 0, 0), Some(headers)) {
        Value::Text(text) => text.into(),
        Value::Number(number) => number.to_string(),
    }
}

#[test]
fn addresses_are_sorted_by_mailbox_and_displayed_by_name() {
    let named = headers(
        vec![address(Some("Rossi, Anna"), "zeta", Some("pec.example")), Address::default()],
        "",
    );
    assert_eq!(text(SortBy::From, &named), "ZETA");
    assert_eq!(text(SortBy::DisplayFrom, &named), "ROSSI, ANNA");
    let bare = headers(vec![address(None, "zeta", Some("pec.example"))], "");
    assert_eq!(text(SortBy::From, &bare), "ZETA");
    assert_eq!(text(SortBy::DisplayFrom, &bare), "ZETA@PEC.EXAMPLE");
    let blank = headers(vec![address(Some("  "), "z", Some("x.example"))], "");
    assert_eq!(text(SortBy::DisplayFrom, &blank), "Z@X.EXAMPLE");
    let group = headers(vec![address(None, "soci", None)], "");
    assert_eq!(text(SortBy::From, &group), "SOCI");
    assert_eq!(text(SortBy::DisplayFrom, &group), "SOCI");
    let none = headers(vec![], "");
    assert_eq!(text(SortBy::From, &none), "");
    assert_eq!(text(SortBy::To, &none), "");
}

#[test]
fn texts_are_compared_without_case_and_letters_before_the_signs_between_the_cases() {
    let collated = |text: &str| collated(&fold(text));
    assert_eq!(collated("PERCHÉ"), collated("perche\u{301}"));
    assert!(collated("a") < collated("_"), "as their capitals are");
    assert!(collated("Z") < collated("_"));
    assert_eq!(&*collated("straße"), "STRAßE");
}

#[test]
fn a_message_without_a_date_stands_where_it_arrived() {
    let mut summary = Summary::default();
    summary.envelope.date = Some(octets_of("Wed, 17 Jul 1996 02:23:25 -0700"));
    let dated = MessageHeaders::of(EmailNumber(1), &summary);
    assert_eq!(sent(&row(1, 5_000, 0), Some(&dated)), 837_595_405);
    assert_eq!(sent(&row(1, 5_000, 0), Some(&headers(vec![], ""))), 5);
    assert_eq!(sent(&row(1, 5_000, 0), None), 5);
}

/// One message of the model.
#[derive(Clone, Debug)]
struct Message {
    arrived: i64,
    size: u64,
    from: Option<String>,
    subject: String,
}

fn messages() -> impl Strategy<Value = Vec<Message>> {
    let from = prop::option::of("[a-cA-C_]{1,2}");
    let message = (0_i64..3, 0_u64..3, from, "(Re: )?[a-cA-Cè]{0,2}");
    prop::collection::vec(
        message.prop_map(|(arrived, size, from, subject)| Message { arrived, size, from, subject }),
        0..12,
    )
}

fn criteria() -> impl Strategy<Value = Vec<Criterion>> {
    let by = prop::sample::select(vec![
        SortBy::Arrival,
        SortBy::Size,
        SortBy::From,
        SortBy::Subject,
        SortBy::Date,
        SortBy::DisplayFrom,
    ]);
    let criterion = (by, any::<bool>()).prop_map(|(by, reverse)| Criterion { by, reverse });
    prop::collection::vec(criterion, 1..4)
}

/// How the model compares two messages by one criterion.
fn model(by: SortBy, one: &Message, other: &Message) -> Ordering {
    let capitals = |text: &str| text.to_uppercase().replace('È', "E\u{300}");
    let from = |message: &Message| message.from.as_deref().map(capitals);
    let display = |message: &Message| from(message).map(|from| format!("{from}@H"));
    let base = |message: &Message| capitals(message.subject.trim_start_matches("Re: "));
    match by {
        SortBy::Arrival => one.arrived.cmp(&other.arrived),
        SortBy::Date => (one.arrived / 1_000).cmp(&(other.arrived / 1_000)),
        SortBy::Size => one.size.cmp(&other.size),
        SortBy::Subject => base(one).cmp(&base(other)),
        SortBy::DisplayFrom => display(one).cmp(&display(other)),
        _ => from(one).cmp(&from(other)),
    }
}

proptest! {
    #[test]
    fn the_order_is_that_of_stable_sorts_from_the_last_criterion_to_the_first(
        messages in messages(),
        criteria in criteria(),
    ) {
        let keys: Vec<SortKey> = messages
            .iter()
            .map(|message| {
                let from = message.from.as_deref().map(|from| address(None, from, Some("h")));
                let headers = headers(from.into_iter().collect(), &message.subject);
                key(&criteria, &row(1, message.arrived, message.size), Some(&headers))
            })
            .collect();
        let mut sorted: Vec<usize> = (0..messages.len()).collect();
        sorted.sort_unstable_by(|one, other| {
            compare(&criteria, &keys[*one], &keys[*other]).then(one.cmp(other))
        });
        let mut expected: Vec<usize> = (0..messages.len()).collect();
        for criterion in criteria.iter().rev() {
            expected.sort_by(|one, other| {
                let order = model(criterion.by, &messages[*one], &messages[*other]);
                if criterion.reverse { order.reverse() } else { order }
            });
        }
        prop_assert_eq!(sorted, expected);
    }
}
