//! What a fuzzer tries of message octets; see `crate::fuzz`.

use super::{DataDecoder, DataLimits, Framing, Violation};

const LIMITS: DataLimits = DataLimits { message: 3_000, header: 1_000, line: 200 };

/// What became of a message: its octets as far as they were handed on, how much of the input was taken
/// when its end was seen, and what was wrong.
type Decoded = (Vec<u8>, Option<usize>, Option<Violation>);

fn decoded(framing: Framing, input: &[u8], step: usize) -> Decoded {
    let mut decoder = DataDecoder::new(framing, LIMITS);
    let (mut message, mut taken) = (Vec::new(), 0);
    for piece in input.chunks(step.max(1)) {
        let before = message.len();
        taken += decoder.decode(piece, &mut message);
        assert!(message.len() <= before + piece.len() + 2, "no more than two octets are held back");
        if decoder.ended() {
            break;
        }
    }
    if framing == Framing::Chunks {
        decoder.end_of_chunks(&mut message);
    }
    (message, decoder.ended().then_some(taken), decoder.violation())
}

/// However the input is cut: end and violation are the same, and so is the message when nothing is
/// wrong with it. (Of one that is refused more or less may have been handed on.)
fn assert_same(one: &Decoded, other: &Decoded) {
    assert_eq!((one.1, one.2), (other.1, other.2));
    assert!(one.2.is_some() || one.0 == other.0);
}

fn assert_clean(message: &[u8]) {
    assert!(message.is_empty() || message.ends_with(b"\r\n"));
    assert!(message.len() as u64 <= LIMITS.message);
    for line in message.split(|octet| *octet == b'\n') {
        let text = line.strip_suffix(b"\r").unwrap_or(line);
        assert!(!text.contains(&b'\r') && !text.contains(&0), "{line:?}");
        assert!(line.len() < LIMITS.line);
    }
    let line_feeds = memchr::memchr_iter(b'\n', message).count();
    assert_eq!(message.windows(2).filter(|two| two == b"\r\n").count(), line_feeds);
}

/// Data end at the first CR LF . CR LF whatever else is in them, do not depend on how the input is cut,
/// and are handed on clean.
///
/// # Panics
///
/// When that is not so.
pub fn data(input: &[u8]) {
    let (step, input) = input.split_first().unwrap_or((&0, &[]));
    let whole = decoded(Framing::Dots, input, input.len());
    assert_same(&decoded(Framing::Dots, input, usize::from(*step) + 1), &whole);
    let (message, end, violation) = whole;
    // The CR LF of the DATA line counts.
    let framed = [b"\r\n", input].concat();
    let first = framed.windows(5).position(|five| five == b"\r\n.\r\n");
    assert_eq!(end, first.map(|at| at + 3));
    if let (Some(end), None) = (end, violation) {
        assert_clean(&message);
        let before = input.get(..end - 3).expect("what stands before the end");
        let mut unstuffed = Vec::new();
        for line in before.split_inclusive(|octet| *octet == b'\n') {
            unstuffed.extend_from_slice(line.strip_prefix(b".").unwrap_or(line));
        }
        assert_eq!(message, unstuffed);
    }
}

fn stuffed(message: &[u8]) -> Vec<u8> {
    let mut octets = Vec::new();
    for line in message.split_inclusive(|octet| *octet == b'\n') {
        if line.starts_with(b".") {
            octets.push(b'.');
        }
        octets.extend_from_slice(line);
    }
    octets
}

/// A message in chunks is the same however it is cut, handed on as it is but for the end of its last
/// line, and refused when DATA would refuse it.
///
/// # Panics
///
/// When that is not so.
pub fn chunks(input: &[u8]) {
    let (step, input) = input.split_first().unwrap_or((&0, &[]));
    let whole = decoded(Framing::Chunks, input, input.len());
    assert_same(&decoded(Framing::Chunks, input, usize::from(*step) + 1), &whole);
    let (message, end, violation) = whole;
    assert_eq!(end, Some(input.len()), "chunks end where their sizes say");
    let completed = if input.is_empty() || input.ends_with(b"\r\n") {
        input.to_vec()
    } else {
        [input, b"\r\n"].concat()
    };
    if violation.is_none() {
        assert_clean(&message);
        assert_eq!(message, completed);
        let by_data = [stuffed(&message), b".\r\n".to_vec()].concat();
        let (by_data, end, violation) = decoded(Framing::Dots, &by_data, 1);
        assert_eq!((by_data, end.is_some(), violation), (message, true, None));
    }
}
