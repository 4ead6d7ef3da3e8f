//! The frame around evolvable records whose octets must be right or refused.
//!
//! ```text
//! octet 0        version of the record
//! octets 1..9    the first 8 octets of BLAKE3-256 over octet 0 and everything from octet 9
//! octets 9..     the record: protocol-buffers fields in ascending order
//! ```
//!
//! * A record of a newer version is [`StoreError::TooNew`], never guessed at.
//! * A record of which any octet changed is [`StoreError::Damaged`]: without the check a changed
//!   offset would read as other octets of the same message.
//!
//! Not here: what the fields mean (`octets::message`, `summary::record`, `pack::index`).

use prost::Message;

use crate::error::StoreError;

const CHECK_OCTETS: usize = 8;
const HEADER_OCTETS: usize = 1 + CHECK_OCTETS;

fn check(version: u8, fields: &[u8]) -> [u8; CHECK_OCTETS] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&[version]);
    hasher.update(fields);
    let mut check = [0; CHECK_OCTETS];
    hasher.finalize_xof().fill(&mut check);
    check
}

/// Encodes `fields` as a record of `version`.
pub(crate) fn encode(version: u8, fields: &impl Message) -> Vec<u8> {
    let mut octets = Vec::with_capacity(HEADER_OCTETS + fields.encoded_len());
    octets.resize(HEADER_OCTETS, 0);
    // Fails only for want of room, and a vector makes room.
    let _ = fields.encode(&mut octets);
    let check = check(version, &octets[HEADER_OCTETS..]);
    octets[0] = version;
    octets[1..HEADER_OCTETS].copy_from_slice(&check);
    octets
}

/// Any octets in the frame of a record, as a fuzzer needs them.
#[cfg(any(test, fuzzing))]
pub(crate) fn framed(version: u8, fields: &[u8]) -> Vec<u8> {
    [&[version], check(version, fields).as_slice(), fields].concat()
}

/// Decodes a record of at most version `known`; `object` names it in errors.
pub(crate) fn decode<M: Message + Default>(
    octets: &[u8],
    known: u8,
    object: impl FnOnce() -> String,
) -> Result<M, StoreError> {
    let damaged =
        |object: String, detail: &str| StoreError::Damaged { object, detail: detail.into() };
    let Some((&version, rest)) = octets.split_first() else {
        return Err(damaged(object(), "the record is empty"));
    };
    if version > known {
        let (found, known) = (u32::from(version), u32::from(known));
        return Err(StoreError::TooNew { object: object(), found, known });
    }
    let Some((stored_check, fields)) = rest.split_first_chunk::<CHECK_OCTETS>() else {
        return Err(damaged(object(), "the record is cut off"));
    };
    if version == 0 || *stored_check != check(version, fields) {
        return Err(damaged(object(), "the record does not match its check octets"));
    }
    M::decode(fields).map_err(|error| damaged(object(), &error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, PartialEq, Eq, Message)]
    struct Sample {
        #[prost(uint64, tag = "1")]
        number: u64,
    }

    fn decode_sample(octets: &[u8]) -> Result<Sample, StoreError> {
        decode(octets, 1, || "sample".into())
    }

    #[test]
    fn a_record_survives_and_every_changed_octet_is_noticed() {
        let octets = encode(1, &Sample { number: 300 });
        assert_eq!(decode_sample(&octets).unwrap(), Sample { number: 300 });
        for position in 0..octets.len() {
            for bit in 0..8 {
                let mut changed = octets.clone();
                changed[position] ^= 1 << bit;
                let error = decode_sample(&changed).unwrap_err();
                // A raised version octet reads as a newer record: refused just the same.
                assert!(
                    matches!(error, StoreError::Damaged { .. })
                        || position == 0 && matches!(error, StoreError::TooNew { .. })
                );
            }
        }
        for length in 0..octets.len() {
            assert!(decode_sample(&octets[..length]).is_err());
        }
    }

    #[test]
    fn a_newer_record_is_refused_by_version() {
        let octets = encode(2, &Sample { number: 1 });
        let error = decode_sample(&octets).unwrap_err();
        assert!(matches!(error, StoreError::TooNew { found: 2, known: 1, .. }));
    }
}
