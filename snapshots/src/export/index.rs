//! `index.csv` and `SHA256SUMS`, in temporary files until they are written out.

use std::{
    fs::File,
    io::{self, BufWriter, Seek as _, Write as _},
};

use storage::mailbox::view::MessageRow;
use trust::digest::{Sha256Digest, Sha256Hasher};

use super::{flag_names, instant};

pub(super) const README: &str = "LEGGIMI.txt";
pub(super) const FILE: &str = "index.csv";
pub(super) const SUMS: &str = "SHA256SUMS";

const HEAD: &str = "mailbox,uid,flags,internaldate,message_id,sha256,octets,file,missing\r\n";

pub(super) struct Index {
    lines: BufWriter<File>,
    octets: u64,
    hasher: Sha256Hasher,
    sums: BufWriter<File>,
    sum_octets: u64,
}

impl Index {
    pub(super) fn new() -> io::Result<Self> {
        let mut index = Self {
            lines: BufWriter::new(tempfile::tempfile()?),
            octets: 0,
            hasher: Sha256Hasher::default(),
            sums: BufWriter::new(tempfile::tempfile()?),
            sum_octets: 0,
        };
        index.write(HEAD)?;
        Ok(index)
    }

    fn write(&mut self, line: &str) -> io::Result<()> {
        self.octets += line.len() as u64;
        self.hasher.update(line.as_bytes());
        self.lines.write_all(line.as_bytes())
    }

    /// One message (RFC 4180).
    pub(super) fn line(
        &mut self,
        mailbox: &str,
        row: &MessageRow,
        message_id: &[u8],
        file: &str,
        missing: &str,
    ) -> io::Result<()> {
        let fields = [
            quoted(mailbox),
            row.uid.get().to_string(),
            quoted(&flag_names(&row.flags)),
            instant(row.internal_date),
            quoted(&String::from_utf8_lossy(message_id)),
            row.digest.to_string(),
            row.size.to_string(),
            quoted(file),
            quoted(missing),
        ];
        self.write(&format!("{}\r\n", fields.join(",")))
    }

    /// One file.
    pub(super) fn sum(&mut self, digest: Sha256Digest, file: &str) -> io::Result<()> {
        let line = format!("{digest}  {file}\n");
        self.sum_octets += line.len() as u64;
        self.sums.write_all(line.as_bytes())
    }

    /// The index from its start, its octets and their SHA-256.
    pub(super) fn lines(&mut self) -> io::Result<(File, u64, Sha256Digest)> {
        let hasher = std::mem::take(&mut self.hasher);
        Ok((rewound(&mut self.lines)?, self.octets, hasher.finish()))
    }

    /// The sums from their start, and their octets.
    pub(super) fn sums(&mut self) -> io::Result<(File, u64)> {
        Ok((rewound(&mut self.sums)?, self.sum_octets))
    }
}

fn rewound(written: &mut BufWriter<File>) -> io::Result<File> {
    written.flush()?;
    let mut file = written.get_ref().try_clone()?;
    file.rewind()?;
    Ok(file)
}

/// A field. One that a spreadsheet would run as a formula gets an apostrophe in front: names of mailboxes,
/// keywords and Message-IDs are as whoever sent or filed the message wrote them.
fn quoted(text: &str) -> String {
    let mark = if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { "'" } else { "" };
    if text.contains([',', '"', '\r', '\n']) {
        format!("\"{mark}{}\"", text.replace('"', "\"\""))
    } else {
        format!("{mark}{text}")
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use storage::{
        ids::{EmailNumber, ModSeq, Uid},
        mailbox::flags::{Flags, Keyword},
    };
    use trust::clock::UnixMillis;

    use super::*;
    use crate::golden::Golden;

    #[test]
    fn no_field_of_the_index_is_run_as_a_formula() {
        for (text, field) in [
            ("=HYPERLINK(\"http://x.example\",1)", "\"'=HYPERLINK(\"\"http://x.example\"\",1)\""),
            ("+39", "'+39"),
            ("-1", "'-1"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("\t=1", "'\t=1"),
            ("\r=1", "\"'\r=1\""),
            ("Clienti=2", "Clienti=2"),
            ("\\Seen", "\\Seen"),
            ("", ""),
        ] {
            assert_eq!(quoted(text), field);
        }
    }

    #[test]
    fn index_and_sums_of_an_export_stay_as_they_are() {
        let mut index = Index::new().expect("a file");
        let row = MessageRow {
            uid: Uid::new(7).expect("not zero"),
            email_number: EmailNumber(8),
            flags: Flags {
                seen: true,
                answered: true,
                flagged: true,
                deleted: true,
                draft: true,
                keywords: Keyword::new("pratica").into_iter().collect(),
            },
            mod_seq: ModSeq(9),
            internal_date: UnixMillis(1_795_867_200_123),
            save_date: UnixMillis(0),
            size: 10,
            charged_octets: 11,
            digest: Sha256Digest([5; 32]),
            origin: None,
        };
        index.line("Clienti, \"A\"", &row, b"<1@x>", "a/b.eml", "").expect("written");
        index.sum(Sha256Digest([6; 32]), "a/b.eml").expect("written");
        let mut sums = Vec::new();
        index.sums().expect("read").0.read_to_end(&mut sums).expect("read");
        Golden::of("export.index").is(text_of(&mut index));
        Golden::of("export.sums").is(sums);
        let mut index = Index::new().expect("a file");
        let whole =
            MessageRow { internal_date: UnixMillis(-1_000), flags: Flags::default(), ..row };
        let missing = "cancellato per un motivo che sta nel giornale, non si legge più: messaggio 8 della casella 7 / \
             message 8 of account 7 was erased for a reason that the journal names: it cannot be read any more";
        index.line("INBOX", &whole, b"", "", missing).expect("written");
        Golden::of("export.index").variant("missing").is(text_of(&mut index));
        let mut index = Index::new().expect("a file");
        let flagged =
            Flags { keywords: Keyword::new("-urgente").into_iter().collect(), ..Flags::default() };
        let formula = MessageRow { flags: flagged, ..whole };
        index.line("=SOMMA(A1,A2)", &formula, b"@x", "+39/7.eml", "").expect("written");
        Golden::of("export.index").variant("apostrophe").is(text_of(&mut index));
    }

    fn text_of(index: &mut Index) -> Vec<u8> {
        let (mut lines, octets, _) = index.lines().expect("read");
        let mut text = Vec::new();
        lines.read_to_end(&mut text).expect("read");
        assert_eq!(text.len() as u64, octets);
        text
    }
}
