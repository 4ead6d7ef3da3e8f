//! The grammar of STORE and UID STORE (RFC 9051 §9 `store`), with UNCHANGEDSINCE
//! (RFC 7162 §7 `store-modifier`).

use storage::{
    ids::ModSeq,
    mailbox::flags::{FlagChange, Flags},
};

use super::{
    ParseError, flag,
    reader::{Reader, SYNTAX},
    sequence::SequenceSet,
};
use crate::imap::limits::ImapLimits;

/// STORE and UID STORE (RFC 9051 §6.4.6).
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Store {
    pub(crate) set: SequenceSet,
    pub(crate) change: FlagChange,
    pub(crate) flags: Flags,
    pub(crate) silent: bool,
    pub(crate) uid: bool,
    /// Messages that were changed later are left alone.
    pub(crate) unchanged_since: Option<ModSeq>,
}

/// Parses what follows the word STORE.
pub(super) fn parse(
    mut reader: Reader<'_>,
    uid: bool,
    limits: &ImapLimits,
) -> Result<Store, ParseError> {
    reader.expect_space()?;
    let set = reader.sequence_set()?;
    reader.expect_space()?;
    let mut unchanged_since = None;
    if reader.take(b'(') {
        if !reader.take_keyword(b"UNCHANGEDSINCE") {
            return Err(SYNTAX);
        }
        reader.expect_space()?;
        unchanged_since = Some(reader.mod_seq()?);
        reader.expect(b')')?;
        reader.expect_space()?;
    }
    let (change, silent) = match reader.keyword()?.as_slice() {
        b"FLAGS" => (FlagChange::Replace, false),
        b"+FLAGS" => (FlagChange::Add, false),
        b"-FLAGS" => (FlagChange::Remove, false),
        b"FLAGS.SILENT" => (FlagChange::Replace, true),
        b"+FLAGS.SILENT" => (FlagChange::Add, true),
        b"-FLAGS.SILENT" => (FlagChange::Remove, true),
        _ => return Err(SYNTAX),
    };
    reader.expect_space()?;
    let flags = flag::flags(&mut reader, limits.items_max)?;
    reader.end()?;
    Ok(Store { set, change, flags, silent, uid, unchanged_since })
}

#[cfg(test)]
mod tests {
    use super::{super::mailbox_name::NameForm, *};

    fn read(text: &str) -> Result<Store, ParseError> {
        let reader = Reader::new(text.as_bytes(), NameForm::ModifiedUtf7);
        parse(reader, true, &ImapLimits::default())
    }

    #[test]
    fn the_examples_of_rfc_7162_section_3_1_3() {
        let store = read(" 6,4,8 (UNCHANGEDSINCE 12121230045) +FLAGS.SILENT (\\Deleted)\r\n");
        let store = store.unwrap();
        assert_eq!(store.unchanged_since, Some(ModSeq(12_121_230_045)));
        assert!(store.silent && store.flags.deleted && store.change == FlagChange::Add);
        let store = read(" $ (unchangedsince 0) -flags $MDNSent \\Seen\r\n").unwrap();
        assert_eq!((store.set, store.change), (SequenceSet::Saved, FlagChange::Remove));
        assert!(store.flags.seen && !store.silent);
    }

    #[test]
    fn what_is_not_in_the_grammar_is_refused() {
        for wrong in [
            " 1 FLAGS\r\n",
            " 1 FLAGS \r\n",
            " 1 FLAGS ( \\Seen)\r\n",
            " 1 FLAGS (\\Seen) \r\n",
            " 1 (UNCHANGEDSINCE) FLAGS ()\r\n",
            " 1 (UNCHANGEDSINCE 9223372036854775808) FLAGS ()\r\n",
            " 1 (CHANGEDSINCE 1) FLAGS ()\r\n",
            " 1 () FLAGS ()\r\n",
            " 0 FLAGS ()\r\n",
            " 1 FLAGS.LOUD ()\r\n",
        ] {
            assert_eq!(read(wrong), Err(SYNTAX), "{wrong}");
        }
    }
}
