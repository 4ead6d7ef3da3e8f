//! The octets of a [`Proof`], as `docs/formats.md` has them.

use storage::ids::{MailboxId, Uid};
use trust::digest::Sha256Digest;

use super::{
    Asked, Attested, Disclosed, Evidence, Proof,
    listing::{Listed, Listing},
    path::Path,
};
use crate::{
    error::SnapshotError,
    octets::{Cursor, put_counted},
    record::{RECORD_OCTETS, SnapshotRecord},
};

const VERSION: u8 = 1;
const PRESENT: u8 = 1;
const ABSENT: u8 = 2;
const NO_MAILBOX: u8 = 3;
const BY_UID: u8 = 1;
const BY_DIGEST: u8 = 2;

impl Proof {
    /// Returns the proof's octets.
    ///
    /// # Errors
    ///
    /// [`SnapshotError::LimitExceeded`] when a part is longer than its count can say.
    pub fn encode(&self) -> Result<Vec<u8>, SnapshotError> {
        let limit = SnapshotError::LimitExceeded {
            what: "the length of a proof",
            limit: u64::from(u32::MAX),
            remedy: "ask about a mailbox with fewer messages",
        };
        self.try_encode().ok_or(limit)
    }

    fn try_encode(&self) -> Option<Vec<u8>> {
        let mut out = vec![VERSION];
        put_counted(self.name.as_bytes(), &mut out)?;
        match &self.asked {
            Asked::Uid(uid) => {
                out.push(BY_UID);
                out.extend_from_slice(&uid.get().to_be_bytes());
            }
            Asked::Digest(digest) => {
                out.push(BY_DIGEST);
                out.extend_from_slice(&digest.0);
            }
        }
        self.evidence.put(&mut out)?;
        put_long(&self.state, &mut out)?;
        out.extend_from_slice(&u32::try_from(self.mailboxes.len()).ok()?.to_be_bytes());
        for disclosed in &self.mailboxes {
            out.extend_from_slice(&disclosed.mailbox.0.to_be_bytes());
            out.extend_from_slice(&disclosed.salt.0);
            put_long(&disclosed.attributes, &mut out)?;
        }
        let Attested { records, address, path } = &self.attested;
        out.extend_from_slice(&u16::try_from(records.len()).ok()?.to_be_bytes());
        for record in records {
            out.extend_from_slice(&record.encode());
        }
        put_counted(address.as_bytes(), &mut out)?;
        path.put(&mut out)?;
        Some(out)
    }

    /// Reads a proof; `None` when the octets follow no known layout.
    pub fn decode(octets: &[u8]) -> Option<Self> {
        let mut cursor = Cursor(octets);
        cursor.u8().filter(|version| *version == VERSION)?;
        let name = text(&mut cursor)?;
        let asked = match cursor.u8()? {
            BY_UID => Asked::Uid(Uid::new(cursor.u32()?)?),
            BY_DIGEST => Asked::Digest(cursor.digest()?),
            _ => return None,
        };
        let evidence = Evidence::take(&mut cursor)?;
        let state = long(&mut cursor)?;
        let mut mailboxes = Vec::new();
        for _ in 0..cursor.u32()? {
            let (mailbox, salt) = (MailboxId(cursor.u64()?), cursor.digest()?);
            mailboxes.push(Disclosed { mailbox, salt, attributes: long(&mut cursor)? });
        }
        let mut records = Vec::new();
        for _ in 0..cursor.u16()? {
            records.push(SnapshotRecord::decode(cursor.take(RECORD_OCTETS)?)?);
        }
        let address = text(&mut cursor)?;
        let path = Path::take(&mut cursor)?;
        cursor.end()?;
        let attested = Attested { records, address, path };
        Some(Self { name, asked, evidence, state, mailboxes, attested })
    }
}

impl Evidence {
    fn put(&self, out: &mut Vec<u8>) -> Option<()> {
        match self {
            Self::Present { uid, digest, rest, path } => {
                out.push(PRESENT);
                put_row(*uid, *digest, *rest, out);
                path.put(out)?;
            }
            Self::Absent(listing) => {
                out.push(ABSENT);
                listing.put(out)?;
            }
            Self::NoMailbox => out.push(NO_MAILBOX),
        }
        Some(())
    }

    fn take(cursor: &mut Cursor<'_>) -> Option<Self> {
        Some(match cursor.u8()? {
            PRESENT => {
                let (uid, digest, rest) = take_row(cursor)?;
                Self::Present { uid, digest, rest, path: Path::take(cursor)? }
            }
            ABSENT => Self::Absent(Listing::take(cursor)?),
            NO_MAILBOX => Self::NoMailbox,
            _ => return None,
        })
    }
}

impl Listing {
    fn put(&self, out: &mut Vec<u8>) -> Option<()> {
        out.extend_from_slice(&u32::try_from(self.leaves.len()).ok()?.to_be_bytes());
        for rows in &self.leaves {
            out.extend_from_slice(&u16::try_from(rows.len()).ok()?.to_be_bytes());
            for row in rows {
                put_row(row.uid, row.digest, row.rest, out);
            }
        }
        out.push(u8::try_from(self.above.len()).ok()?);
        for counts in &self.above {
            out.extend_from_slice(&u32::try_from(counts.len()).ok()?.to_be_bytes());
            for count in counts {
                out.extend_from_slice(&count.to_be_bytes());
            }
        }
        Some(())
    }

    fn take(cursor: &mut Cursor<'_>) -> Option<Self> {
        let mut listing = Self::default();
        for _ in 0..cursor.u32()? {
            let mut rows = Vec::new();
            for _ in 0..cursor.u16()? {
                let (uid, digest, rest) = take_row(cursor)?;
                rows.push(Listed { uid, digest, rest });
            }
            listing.leaves.push(rows);
        }
        for _ in 0..cursor.u8()? {
            let mut counts = Vec::new();
            for _ in 0..cursor.u32()? {
                counts.push(cursor.u16()?);
            }
            listing.above.push(counts);
        }
        Some(listing)
    }
}

impl Path {
    fn put(&self, out: &mut Vec<u8>) -> Option<()> {
        out.push(u8::try_from(self.0.len()).ok()?);
        self.0.iter().try_for_each(|outline| put_long(outline, out))
    }

    fn take(cursor: &mut Cursor<'_>) -> Option<Self> {
        let mut outlines = Vec::new();
        for _ in 0..cursor.u8()? {
            outlines.push(long(cursor)?);
        }
        Some(Self(outlines))
    }
}

fn put_row(uid: u32, digest: Sha256Digest, rest: Sha256Digest, out: &mut Vec<u8>) {
    out.extend_from_slice(&uid.to_be_bytes());
    out.extend_from_slice(&digest.0);
    out.extend_from_slice(&rest.0);
}

/// Reads a row; `None` for the UID 0, which no message has (RFC 9051 §2.3.1.1).
fn take_row(cursor: &mut Cursor<'_>) -> Option<(u32, Sha256Digest, Sha256Digest)> {
    let uid = cursor.u32().filter(|uid| *uid > 0)?;
    Some((uid, cursor.digest()?, cursor.digest()?))
}

/// Writes octets behind their count in 32 bits; `None` when they are too many.
fn put_long(octets: &[u8], out: &mut Vec<u8>) -> Option<()> {
    out.extend_from_slice(&u32::try_from(octets.len()).ok()?.to_be_bytes());
    out.extend_from_slice(octets);
    Some(())
}

fn long(cursor: &mut Cursor<'_>) -> Option<Vec<u8>> {
    let length = usize::try_from(cursor.u32()?).ok()?;
    cursor.take(length).map(<[u8]>::to_vec)
}

fn text(cursor: &mut Cursor<'_>) -> Option<String> {
    String::from_utf8(cursor.counted()?.to_vec()).ok()
}
