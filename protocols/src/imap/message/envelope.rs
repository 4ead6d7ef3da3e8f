//! ENVELOPE (RFC 3501 §7.4.2). To a client that reads no UTF-8 subjects and names are told in encoded
//! words; an address of more than ASCII, which has no other form, is a literal.

use storage::summary::{Address, Envelope};

use crate::imap::grammar::write::{self, Strings};

/// Writes `envelope`. Sender and Reply-To default to From, as the rule says.
pub(crate) fn write_envelope(out: &mut Vec<u8>, envelope: &Envelope, strings: Strings) {
    out.push(b'(');
    write::ntext(out, envelope.date.as_deref(), strings);
    out.push(b' ');
    write::nphrase(out, envelope.subject.as_deref(), strings);
    let sender = if envelope.sender.is_empty() { &envelope.from } else { &envelope.sender };
    let reply_to = if envelope.reply_to.is_empty() { &envelope.from } else { &envelope.reply_to };
    for list in [&envelope.from, sender, reply_to, &envelope.to, &envelope.cc, &envelope.bcc] {
        out.push(b' ');
        write_addresses(out, list, strings);
    }
    out.push(b' ');
    write::ntext(out, envelope.in_reply_to.as_deref(), strings);
    out.push(b' ');
    write::ntext(out, envelope.message_id.as_deref(), strings);
    out.push(b')');
}

fn write_addresses(out: &mut Vec<u8>, addresses: &[Address], strings: Strings) {
    if addresses.is_empty() {
        out.extend_from_slice(b"NIL");
        return;
    }
    out.push(b'(');
    for address in addresses {
        out.push(b'(');
        write::nphrase(out, address.name.as_deref(), strings);
        for part in [&address.route, &address.mailbox, &address.host] {
            out.push(b' ');
            write::ntext(out, part.as_deref(), strings);
        }
        out.push(b')');
    }
    out.push(b')');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(name: Option<&str>, mailbox: Option<&str>, host: Option<&str>) -> Address {
        let octets = |text: Option<&str>| text.map(|text| text.as_bytes().to_vec());
        Address { name: octets(name), route: None, mailbox: octets(mailbox), host: octets(host) }
    }

    #[test]
    fn the_example_of_rfc_3501_section_8() {
        let envelope = Envelope {
            date: Some(b"Wed, 17 Jul 1996 02:23:25 -0700 (PDT)".to_vec()),
            subject: Some(b"IMAP4rev1 WG mtg summary and minutes".to_vec()),
            from: vec![address(Some("Terry Gray"), Some("gray"), Some("cac.washington.example"))],
            to: vec![address(None, Some("imap"), Some("cac.washington.example"))],
            cc: vec![
                address(None, Some("minutes"), Some("CNRI.Reston.example")),
                address(Some("John Klensin"), Some("KLENSIN"), Some("MIT.example")),
            ],
            message_id: Some(b"<B27397-0100000@cac.washington.example>".to_vec()),
            ..Envelope::default()
        };
        let mut out = Vec::new();
        write_envelope(&mut out, &envelope, Strings::Ascii);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "(\"Wed, 17 Jul 1996 02:23:25 -0700 (PDT)\" \
             \"IMAP4rev1 WG mtg summary and minutes\" \
             ((\"Terry Gray\" NIL \"gray\" \"cac.washington.example\")) \
             ((\"Terry Gray\" NIL \"gray\" \"cac.washington.example\")) \
             ((\"Terry Gray\" NIL \"gray\" \"cac.washington.example\")) \
             ((NIL NIL \"imap\" \"cac.washington.example\")) \
             ((NIL NIL \"minutes\" \"CNRI.Reston.example\")\
             (\"John Klensin\" NIL \"KLENSIN\" \"MIT.example\")) NIL NIL \
             \"<B27397-0100000@cac.washington.example>\")"
        );
    }
}
