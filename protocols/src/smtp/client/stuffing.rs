//! Transparency on the way out (RFC 5321 §4.5.2).

/// A bare CR or LF: servers differ on whether it ends a line, and what differs can be used to
/// smuggle a message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct BareLineEnd;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum At {
    LineStart,
    Middle,
    Cr,
}

/// Doubles dots at the start of lines, over pieces of any size.
#[derive(Debug)]
pub(super) struct DotStuffing {
    at: At,
}

impl DotStuffing {
    pub(super) fn new() -> Self {
        Self { at: At::LineStart }
    }

    /// Appends `input` to `output`, at most twice as long.
    pub(super) fn stuff(&mut self, input: &[u8], output: &mut Vec<u8>) -> Result<(), BareLineEnd> {
        let mut rest = input;
        while let Some((octet, next)) = rest.split_first() {
            match (self.at, octet) {
                (At::Cr, b'\n') => {
                    output.push(b'\n');
                    self.at = At::LineStart;
                    rest = next;
                }
                (At::Cr, _) | (_, b'\n') => return Err(BareLineEnd),
                (_, b'\r') => {
                    output.push(b'\r');
                    self.at = At::Cr;
                    rest = next;
                }
                (At::LineStart | At::Middle, _) => {
                    if self.at == At::LineStart && *octet == b'.' {
                        output.push(b'.');
                    }
                    let end = memchr::memchr2(b'\r', b'\n', rest).unwrap_or(rest.len());
                    let (text, after) = rest.split_at_checked(end).unwrap_or((rest, &[]));
                    output.extend_from_slice(text);
                    self.at = At::Middle;
                    rest = after;
                }
            }
        }
        Ok(())
    }

    /// Appends what ends the data, after a CR LF where the last line has none.
    pub(super) fn finish(self, output: &mut Vec<u8>) -> Result<(), BareLineEnd> {
        match self.at {
            At::Cr => return Err(BareLineEnd),
            At::Middle => output.extend_from_slice(b"\r\n"),
            At::LineStart => {}
        }
        output.extend_from_slice(b".\r\n");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stuffed(message: &[u8], piece: usize) -> Result<Vec<u8>, BareLineEnd> {
        let mut stuffing = DotStuffing::new();
        let mut output = Vec::new();
        for piece in message.chunks(piece) {
            stuffing.stuff(piece, &mut output)?;
        }
        stuffing.finish(&mut output)?;
        Ok(output)
    }

    #[test]
    fn dots_are_doubled_at_the_start_of_lines_only() {
        let table: [(&[u8], &[u8]); 6] = [
            (b"", b".\r\n"),
            (b".", b"..\r\n.\r\n"),
            (b"a", b"a\r\n.\r\n"),
            (b"a.b\r\n.\r\n..\r\n", b"a.b\r\n..\r\n...\r\n.\r\n"),
            (b"\r\n", b"\r\n.\r\n"),
            (b".a\r\n.b", b"..a\r\n..b\r\n.\r\n"),
        ];
        for (message, expected) in table {
            for piece in [1, 2, 100] {
                assert_eq!(stuffed(message, piece).as_deref(), Ok(expected), "{message:?}");
            }
        }
    }

    #[test]
    fn a_bare_line_end_is_never_sent() {
        for message in [b"a\n".as_slice(), b"a\rb", b"a\r", b"a\n.\r\n", b"\n", b"a\r\r\n"] {
            for piece in [1, 2, 100] {
                assert_eq!(stuffed(message, piece), Err(BareLineEnd), "{message:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn the_end_of_data_comes_once_and_last(
            lines in prop::collection::vec("[.a]{0,4}", 0..20),
            piece in 1..20_usize,
        ) {
            let message = lines.iter().fold(String::new(), |text, line| text + line + "\r\n");
            let output = String::from_utf8(stuffed(message.as_bytes(), piece).unwrap()).unwrap();
            let framed = format!("\r\n{output}");
            prop_assert_eq!(framed.find("\r\n.\r\n"), Some(framed.len() - 5));
        }
    }
}
