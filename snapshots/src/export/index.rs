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

fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\r', '\n']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}
