//! Summaries of test messages, by a reader that knows just enough MIME for them.

use storage::summary::{Address, BodyPart, Disposition, Envelope, Parameter, Summary};

/// Summarises `octets`, which have CR LF line ends.
pub(crate) fn summarize(octets: &[u8]) -> Summary {
    let (body, envelope) = message(octets, 0, octets.len());
    Summary { size: octets.len() as u64, envelope, body, preview: String::new() }
}

type Fields = Vec<(String, String)>;

fn header(octets: &[u8], start: usize, end: usize) -> (Fields, usize) {
    let mut fields: Fields = Vec::new();
    let mut position = start;
    while position < end {
        let length = octets[position..end]
            .iter()
            .position(|&o| o == b'\n')
            .map_or(end - position, |at| at + 1);
        let line = String::from_utf8_lossy(&octets[position..position + length]).into_owned();
        position += length;
        let text = line.trim_end_matches(['\r', '\n']);
        if text.is_empty() {
            break;
        }
        if text.starts_with([' ', '\t']) {
            if let Some((_, value)) = fields.last_mut() {
                value.push_str(text);
            }
        } else if let Some((name, value)) = text.split_once(':') {
            fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    (fields, position)
}

fn field<'a>(fields: &'a Fields, name: &str) -> Option<&'a str> {
    fields.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str())
}

fn message(octets: &[u8], start: usize, end: usize) -> (BodyPart, Envelope) {
    let (fields, body) = header(octets, start, end);
    let value = |name| field(&fields, name).map(|value| value.as_bytes().to_vec());
    let list = |name| field(&fields, name).map(addresses).unwrap_or_default();
    let envelope = Envelope {
        date: value("date"),
        subject: value("subject"),
        from: list("from"),
        sender: list("sender"),
        reply_to: list("reply-to"),
        to: list("to"),
        cc: list("cc"),
        bcc: list("bcc"),
        in_reply_to: value("in-reply-to"),
        message_id: value("message-id"),
    };
    (part(octets, &fields, start, body, end), envelope)
}

fn addresses(value: &str) -> Vec<Address> {
    let octets = |text: &str| Some(text.trim().trim_matches('"').as_bytes().to_vec());
    value
        .split(',')
        .map(|address| {
            let (name, spec) = match address.split_once('<') {
                Some((name, rest)) => (octets(name).filter(|n| !n.is_empty()), rest),
                None => (None, address),
            };
            let spec = spec.trim().trim_end_matches('>');
            let (mailbox, host) = spec.split_once('@').unwrap_or((spec, ""));
            Address { name, route: None, mailbox: octets(mailbox), host: octets(host) }
        })
        .collect()
}

fn parameters(value: &str) -> (String, Vec<Parameter>) {
    let mut pieces = value.split(';');
    let first = pieces.next().unwrap_or_default().trim().to_owned();
    let rest = pieces
        .filter_map(|piece| piece.split_once('='))
        .map(|(name, value)| {
            let value = value.trim().trim_matches('"');
            (name.trim().as_bytes().to_vec(), value.as_bytes().to_vec())
        })
        .collect();
    (first, rest)
}

fn part(octets: &[u8], fields: &Fields, start: usize, body: usize, end: usize) -> BodyPart {
    let (media, params) = parameters(field(fields, "content-type").unwrap_or("text/plain"));
    let (media_type, media_subtype) = media.split_once('/').unwrap_or(("text", "plain"));
    let value = |name| field(fields, name).map(|value| value.as_bytes().to_vec());
    let mut part = BodyPart {
        header_offset: start as u64,
        body_offset: body as u64,
        body_octets: (end - body) as u64,
        body_lines: octets[body..end].split(|&o| o == b'\n').count() as u64 - 1,
        media_type: media_type.as_bytes().to_vec(),
        media_subtype: media_subtype.as_bytes().to_vec(),
        parameters: params,
        content_id: value("content-id"),
        description: value("content-description"),
        encoding: value("content-transfer-encoding"),
        disposition: field(fields, "content-disposition").map(|value| {
            let (kind, parameters) = parameters(value);
            Disposition { kind: kind.into_bytes(), parameters }
        }),
        ..BodyPart::default()
    };
    if media_type.eq_ignore_ascii_case("multipart") {
        let boundary = part
            .parameters
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(b"boundary"))
            .map(|(_, value)| String::from_utf8_lossy(value).into_owned())
            .unwrap_or_default();
        part.parts = multipart(octets, &boundary, body, end);
    } else if media.eq_ignore_ascii_case("message/rfc822") {
        let (inner, envelope) = message(octets, body, end);
        part.parts = vec![inner];
        part.embedded_envelope = Some(Box::new(envelope));
    }
    part
}

fn multipart(octets: &[u8], boundary: &str, body: usize, end: usize) -> Vec<BodyPart> {
    let delimiter = format!("--{boundary}");
    let mut parts = Vec::new();
    let mut open: Option<usize> = None;
    let mut position = body;
    while position < end {
        let length = octets[position..end]
            .iter()
            .position(|&o| o == b'\n')
            .map_or(end - position, |at| at + 1);
        if octets[position..end].starts_with(delimiter.as_bytes()) {
            if let Some(start) = open.take() {
                let finish = position - 2;
                let (fields, inner) = header(octets, start, finish.max(start));
                parts.push(part(octets, &fields, start, inner.min(finish), finish));
            }
            let closing = format!("{delimiter}--");
            if !octets[position..end].starts_with(closing.as_bytes()) {
                open = Some(position + length);
            }
        }
        position += length;
    }
    parts
}
