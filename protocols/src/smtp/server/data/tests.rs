use proptest::prelude::*;

use super::*;

const LIMITS: DataLimits = DataLimits { message: 2_000, header: 500, line: 100 };

/// Decodes `input` in pieces of `piece` octets: message, octets taken, violation.
fn decoded(input: &[u8], piece: usize) -> (Vec<u8>, Option<usize>, Option<Violation>) {
    let mut decoder = DataDecoder::new(Framing::Dots, LIMITS);
    let mut message = Vec::new();
    let mut taken = 0;
    for piece in input.chunks(piece) {
        taken += decoder.decode(piece, &mut message);
    }
    (message, decoder.ended().then_some(taken), decoder.violation())
}

#[test]
fn transparency_is_undone() {
    // RFC 5321 §4.5.2.
    let table: [(&[u8], &[u8]); 7] = [
        (b".\r\n", b""),
        (b"a\r\n.\r\n", b"a\r\n"),
        (b"..\r\n.\r\n", b".\r\n"),
        (b"...a\r\n.\r\n", b"..a\r\n"),
        (b".a\r\n.\r\n", b"a\r\n"),
        (b"a.\r\n.\r\n", b"a.\r\n"),
        (b"\r\n\r\n.\r\n", b"\r\n\r\n"),
    ];
    for (input, expected) in table {
        for piece in [1, 2, 1000] {
            let (message, taken, violation) = decoded(input, piece);
            assert_eq!((message.as_slice(), violation), (expected, None), "{input:?}");
            assert_eq!(taken, Some(input.len()), "{input:?}");
        }
    }
}

#[test]
fn only_the_strict_end_ends_the_data_and_every_variant_is_refused() {
    let variants: [&[u8]; 14] = [
        b"a\n.\n",
        b"a\n.\r\n",
        b"a\r\n.\n",
        b"a\r.\r",
        b"a\r\n.\r",
        b"a\r.\r\n",
        b"a\r\n.\rb\r\n",
        b"a\r\r\n.\r\r\n",
        b"a\n\r.\r\n",
        b"a\0\r\n",
        b"a\r\n.\0\r\n",
        b"a\r\n\0.\r\n",
        b"a\n\n.\r\n\r\n",
        b"a\r\n.\r\0\n",
    ];
    for variant in variants {
        for piece in [1, 3, 1000] {
            // A CR at the very end shows what it is only by what follows.
            let smuggled = [variant, b"MAIL FROM:<x@y.example>\r\n".as_slice()].concat();
            let (_, taken, violation) = decoded(&smuggled, piece);
            assert_eq!(taken, None, "{variant:?} ended the data");
            assert!(
                matches!(violation, Some(Violation::BareLineEnd | Violation::Nul)),
                "{variant:?} was taken"
            );
            let (_, taken, _) = decoded(&[&smuggled, b".\r\n".as_slice()].concat(), piece);
            assert_eq!(taken, Some(smuggled.len() + 3), "{variant:?}");
        }
    }
}

#[test]
fn limits_are_exact() {
    let header = |octets: usize| {
        let lines = octets / 50;
        [format!("{}\r\n", "h".repeat(48)).repeat(lines).into_bytes(), b"\r\n".to_vec()].concat()
    };
    let line =
        |octets: usize| [b"\r\n".to_vec(), vec![b'x'; octets - 2], b"\r\n".to_vec()].concat();
    let body = |octets: usize| {
        [b"\r\n".to_vec(), format!("{}\r\n", "b".repeat(48)).repeat(octets / 50).into_bytes()]
            .concat()
    };
    let table = [
        (line(100), None),
        (line(101), Some(Violation::LineTooLong)),
        (header(500), None),
        (header(550), Some(Violation::HeaderTooLarge)),
        (body(1_950), None),
        (body(2_000), Some(Violation::MessageTooLarge)),
    ];
    for (text, expected) in table {
        let (_, taken, violation) = decoded(&[text.as_slice(), b".\r\n"].concat(), 7);
        assert_eq!(violation, expected);
        assert_eq!(taken, Some(text.len() + 3), "the data is read to its end");
    }
}

#[test]
fn octets_without_end_are_counted_whatever_they_are() {
    for input in [b"\n", b"\r", b"\0", b"x"] {
        let (mut decoder, mut message) = (DataDecoder::new(Framing::Dots, LIMITS), Vec::new());
        decoder.decode(&input.repeat(10_000), &mut message);
        // A CR at the very end is held back.
        assert!(decoder.octets() >= 9_999, "{input:?}: {}", decoder.octets());
    }
}

proptest! {
    #[test]
    fn a_stuffed_message_comes_out_as_it_went_in(
        lines in prop::collection::vec("[.a-c ]{0,6}", 0..20),
        piece in 1..40_usize,
    ) {
        let (mut message, mut stuffed) = (String::new(), String::new());
        for line in &lines {
            let dot = if line.starts_with('.') { "." } else { "" };
            message.extend([line, "\r\n"]);
            stuffed.extend([dot, line, "\r\n"]);
        }
        let (read, taken, violation) = decoded(format!("{stuffed}.\r\nX").as_bytes(), piece);
        prop_assert_eq!(read, message.into_bytes());
        prop_assert_eq!((taken, violation), (Some(stuffed.len() + 3), None));
    }

    #[test]
    fn whatever_is_handed_on_has_only_true_line_ends(
        input in prop::collection::vec(prop::sample::select(b"\r\n.\0a".as_slice()), 0..60),
        piece in 1..10_usize,
    ) {
        let (message, taken, violation) = decoded(&input, piece);
        if violation.is_none() && taken.is_some() {
            let text = String::from_utf8(message).unwrap().replace("\r\n", "");
            prop_assert!(!text.contains(['\r', '\n', '\0']));
        }
    }
}

/// Takes `input` as chunks of `piece` octets: message and violation.
fn in_chunks(input: &[u8], piece: usize) -> (Vec<u8>, Option<Violation>) {
    let mut decoder = DataDecoder::new(Framing::Chunks, LIMITS);
    let mut message = Vec::new();
    for piece in input.chunks(piece) {
        assert_eq!(decoder.decode(piece, &mut message), piece.len(), "nothing ends a chunk early");
    }
    decoder.end_of_chunks(&mut message);
    (message, decoder.violation())
}

#[test]
fn dots_mean_nothing_in_chunks_and_the_last_line_is_completed() {
    let table: [(&[u8], &[u8]); 7] = [
        (b"", b""),
        (b"\r\n", b"\r\n"),
        (b".\r\n", b".\r\n"),
        (b"a\r\n.\r\nb\r\n", b"a\r\n.\r\nb\r\n"),
        (b"..a\r\n", b"..a\r\n"),
        (b"a", b"a\r\n"),
        (b"a\r\n.", b"a\r\n.\r\n"),
    ];
    for (input, expected) in table {
        for piece in [1, 2, 1000] {
            assert_eq!(in_chunks(input, piece), (expected.to_vec(), None), "{input:?}");
        }
    }
}

#[test]
fn chunks_are_held_to_the_same_line_ends_and_limits() {
    use Violation::{BareLineEnd, HeaderTooLarge, LineTooLong, MessageTooLarge, Nul};
    let long_line = [b"\r\n".to_vec(), vec![b'x'; 99]].concat();
    let table: [(Vec<u8>, Violation); 9] = [
        (b"a\nb\r\n".to_vec(), BareLineEnd),
        (b"a\rb\r\n".to_vec(), BareLineEnd),
        (b"a\r".to_vec(), BareLineEnd),
        (b"\r".to_vec(), BareLineEnd),
        (b"a\r\r\n".to_vec(), BareLineEnd),
        (b"a\0\r\n".to_vec(), Nul),
        (long_line, LineTooLong),
        (b"x\r\n".repeat(200), HeaderTooLarge),
        ([b"\r\n".to_vec(), b"x\r\n".repeat(700)].concat(), MessageTooLarge),
    ];
    for (input, expected) in table {
        for piece in [1, 2, 1000] {
            assert_eq!(
                in_chunks(&input, piece).1,
                Some(expected),
                "{:?}",
                &input[..4.min(input.len())]
            );
        }
    }
    let mut decoder = DataDecoder::new(Framing::Chunks, LIMITS);
    decoder.announce(LIMITS.message);
    assert_eq!(decoder.violation(), None);
    decoder.announce(u64::MAX);
    assert_eq!(decoder.violation(), Some(MessageTooLarge));
}

proptest! {
    #[test]
    fn a_message_is_the_same_by_data_and_in_chunks(
        lines in prop::collection::vec("[.a-c ]{0,6}", 0..20),
        piece in 1..40_usize,
    ) {
        let (mut message, mut stuffed) = (String::new(), String::new());
        for line in &lines {
            let dot = if line.starts_with('.') { "." } else { "" };
            message.extend([line, "\r\n"]);
            stuffed.extend([dot, line, "\r\n"]);
        }
        let (by_data, _, _) = decoded(format!("{stuffed}.\r\n").as_bytes(), piece);
        prop_assert_eq!(in_chunks(message.as_bytes(), piece), (by_data, None));
    }
}
