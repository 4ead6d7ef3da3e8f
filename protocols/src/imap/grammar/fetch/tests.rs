use super::{super::mailbox_name::NameForm, *};

fn read_with(text: &str, uid: bool) -> Result<Fetch, ParseError> {
    let reader = Reader::new(text.as_bytes(), NameForm::ModifiedUtf7);
    parse(reader, uid, &ImapLimits { items_max: 5, ..ImapLimits::default() })
}

fn items_of(text: &str) -> Vec<FetchItem> {
    read_with(&format!(" 1 {text}\r\n"), false).unwrap().items
}

fn section(part: &[u32], text: SectionText) -> FetchItem {
    let section = Section { part: part.to_vec(), text };
    FetchItem::Section { section, partial: None, peek: false }
}

#[test]
fn items_are_read_alone_in_lists_and_as_macros() {
    use FetchItem::{Body, BodyStructure, Envelope, Flags, InternalDate, Rfc822Size, Uid};
    assert_eq!(items_of("fast"), [Flags, InternalDate, Rfc822Size]);
    assert_eq!(items_of("ALL"), [Flags, InternalDate, Rfc822Size, Envelope]);
    assert_eq!(items_of("FULL"), [Flags, InternalDate, Rfc822Size, Envelope, Body]);
    assert_eq!(items_of("(UID BodyStructure BODY UID)"), [Uid, BodyStructure, Body]);
    assert_eq!(
        items_of("(MODSEQ SAVEDATE EMAILID THREADID)"),
        [FetchItem::ModSeq, FetchItem::SaveDate, FetchItem::EmailId, FetchItem::ThreadId]
    );
}

#[test]
fn sections_are_read_with_their_parts_fields_and_octets() {
    assert_eq!(items_of("BODY[]"), [section(&[], SectionText::Whole)]);
    assert_eq!(items_of("BODY[4.2.3.TEXT]"), [section(&[4, 2, 3], SectionText::Text)]);
    assert_eq!(items_of("body[1.mime]"), [section(&[1], SectionText::Mime)]);
    assert_eq!(items_of("(BODY[HEADER])"), [section(&[], SectionText::Header)]);
    let names = vec![b"DATE".to_vec(), b"a b".to_vec()];
    assert_eq!(
        items_of("(BODY.PEEK[1.HEADER.FIELDS (DATE \"a b\")]<5.10> UID)"),
        [
            FetchItem::Section {
                section: Section { part: vec![1], text: SectionText::HeaderFields(names) },
                partial: NonZeroU64::new(10).map(|count| (5, count)),
                peek: true,
            },
            FetchItem::Uid,
        ]
    );
    assert_eq!(
        items_of("BODY[HEADER.FIELDS.NOT (x)]"),
        [section(&[], SectionText::HeaderFieldsNot(vec![b"x".to_vec()]))]
    );
}

#[test]
fn binary_and_preview_are_read() {
    let count = NonZeroU64::new(5_000_000_000);
    assert_eq!(
        items_of("(BINARY[1.2] BINARY.PEEK[]<6000000000.5000000000> BINARY.SIZE[3])"),
        [
            FetchItem::Binary { part: vec![1, 2], partial: None, peek: false },
            FetchItem::Binary {
                part: vec![],
                partial: count.map(|count| (6_000_000_000, count)),
                peek: true
            },
            FetchItem::BinarySize { part: vec![3] },
        ]
    );
    let preview = |lazy| FetchItem::Preview { lazy };
    assert_eq!(items_of("PREVIEW"), [preview(false)]);
    assert_eq!(items_of("(PREVIEW (LAZY) UID)"), [preview(true), FetchItem::Uid]);
    let both = read_with(" 1 PREVIEW (lazy) (CHANGEDSINCE 7)\r\n", false).unwrap();
    assert_eq!((both.items, both.changed_since), (vec![preview(true)], Some(ModSeq(7))));
    let modified = read_with(" 1 PREVIEW (CHANGEDSINCE 7)\r\n", false).unwrap();
    assert_eq!((modified.items, modified.changed_since), (vec![preview(false)], Some(ModSeq(7))));
}

#[test]
fn modifiers_stand_in_any_order() {
    for text in [
        " 1:* (UID) (CHANGEDSINCE 98305 VANISHED PARTIAL -1:-30)\r\n",
        " 1:* (UID) (partial -30:-1 vanished changedsince 98305)\r\n",
    ] {
        let fetch = read_with(text, true).unwrap();
        assert_eq!(fetch.changed_since, Some(ModSeq(98_305)));
        assert!(fetch.vanished && fetch.partial.is_some_and(|range| range.span() == 30));
    }
    for (text, uid) in [
        (" 1 UID (CHANGEDSINCE 1 VANISHED)\r\n", false),
        (" 1 UID (VANISHED)\r\n", true),
        (" 1 UID (PARTIAL 1:2)\r\n", false),
        (" 1 UID (CHANGEDSINCE 1 CHANGEDSINCE 1)\r\n", true),
        (" 1 UID (CHANGEDSINCE)\r\n", true),
        (" 1 UID ()\r\n", true),
        (" 1 UID (X)\r\n", true),
    ] {
        assert_eq!(read_with(text, uid), Err(SYNTAX), "{text}");
    }
}

#[test]
fn what_is_not_in_the_grammar_is_refused() {
    let deep = format!("BODY[{}1]", "1.".repeat(PART_LEVELS_MAX));
    for wrong in [
        "",
        "()",
        "X",
        "(ALL)",
        "(UID UID UID UID UID UID)",
        "BODY[",
        "BODY[1",
        "BODY[1.]",
        "BODY[0]",
        "BODY[01]",
        "BODY[4294967296]",
        "BODY[MIME]",
        "BODY[X]",
        "BODY[HEADER.FIELDS]",
        "BODY[HEADER.FIELDS ()]",
        "BODY[HEADER.FIELDS (a b c d e f)]",
        "BODY[HEADER (a)]",
        "BODY[]<1>",
        "BODY[]<1.0>",
        "BODY[]<-1.2>",
        "BODY[]<1.2",
        "BODY[]x",
        "BINARY[1.HEADER]",
        "BINARY[TEXT]",
        "BINARY.SIZE[1]<0.5>",
        "BINARY",
        "RFC822[]",
        "(UID  FLAGS)",
        "(PREVIEW (EAGER))",
        "UID FLAGS",
        &deep,
    ] {
        let answer = read_with(&format!(" 1 {wrong}\r\n"), false);
        assert_eq!(answer, Err(SYNTAX), "{wrong}");
    }
}
