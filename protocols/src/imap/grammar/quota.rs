//! The grammar of SETQUOTA (RFC 9208 §7).

use super::{ParseError, reader::Reader};

/// Resources that one command may name.
const RESOURCES_MAX: usize = 16;

/// SETQUOTA: the root, and names in capitals with their limits.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct SetQuota {
    pub(crate) root: Vec<u8>,
    pub(crate) limits: Vec<(Vec<u8>, u64)>,
}

/// Parses what follows the word SETQUOTA.
pub(super) fn parse(mut reader: Reader<'_>) -> Result<SetQuota, ParseError> {
    reader.expect_space()?;
    let root = reader.astring()?.into_owned();
    reader.expect_space()?;
    let limits = reader.list(RESOURCES_MAX, true, |reader| {
        let name = reader.keyword()?;
        reader.expect_space()?;
        Ok((name, reader.number()?))
    })?;
    reader.end()?;
    Ok(SetQuota { root, limits })
}

#[cfg(test)]
mod tests {
    use super::{super::mailbox_name::NameForm, *};

    #[test]
    fn limits_are_read_by_resource() {
        let parsed = |text: &str| parse(Reader::new(text.as_bytes(), NameForm::ModifiedUtf7));
        let limits = |limits: &[(&[u8], u64)]| -> Vec<(Vec<u8>, u64)> {
            limits.iter().map(|(name, limit)| (name.to_vec(), *limit)).collect()
        };
        let set = parsed(" \"\" (STORAGE 512 message 3)\r\n").unwrap();
        assert_eq!(set.limits, limits(&[(b"STORAGE", 512), (b"MESSAGE", 3)]));
        assert_eq!(parsed(" x ()\r\n").unwrap().limits, []);
        for wrong in [" x\r\n", " x STORAGE 1\r\n", " x (STORAGE)\r\n", " x (STORAGE -1)\r\n"] {
            assert!(parsed(wrong).is_err(), "{wrong}");
        }
    }
}
