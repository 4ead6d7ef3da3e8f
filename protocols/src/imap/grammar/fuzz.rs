//! What a fuzzer tries of commands; see `crate::fuzz`.

use super::{encode::encode, mailbox_name::NameForm, parse};
use crate::imap::limits::ImapLimits;

/// A command of any octets, names in either form, is refused or stays within the limits; one of our
/// grammars writes as octets that read as the same command.
///
/// # Panics
///
/// When that is not so.
pub fn imap_command(octets: &[u8]) {
    let limits = ImapLimits { items_max: 20, sequence_ranges_max: 50, ..ImapLimits::default() };
    for names in [NameForm::ModifiedUtf7, NameForm::Utf8] {
        let Ok(command) = parse(octets, names, &limits) else { continue };
        assert!(command.ranges() <= limits.sequence_ranges_max);
        let Some(written) = encode(&command, names) else { continue };
        assert_eq!(
            parse(&written, names, &limits).as_ref(),
            Ok(&command),
            "{}",
            written.escape_ascii()
        );
    }
}
