//! Builds the summary of a message while it is walked.
//!
//! Bounds beside those of the walk: [`ADDRESSES_MAX`] addresses and [`PARAMETERS_MAX`] parameters
//! over the whole message; what stands behind is not in the summary, and always in the message.
//!
//! Not here: how IMAP writes it down (`protocols`).

use super::{
    address,
    content::{self, ContentType},
    header::{FieldName, PartHeader},
    parameter,
    preview::Source,
    visitor::{BodyKind, HeaderEnd, PartEnd, Visitor},
};
use crate::summary::{Address, BodyPart, Disposition, Envelope, Parameter, Summary};

/// Addresses of one message that are read.
pub const ADDRESSES_MAX: usize = 10_000;
/// Parameters of one message that are read.
pub const PARAMETERS_MAX: usize = 10_000;
/// Languages of one part that are read.
const LANGUAGES_MAX: usize = 64;

/// Builds one summary.
#[derive(Debug)]
pub struct SummaryBuilder {
    open: Vec<Open>,
    root: Option<(Envelope, BodyPart)>,
    references: Option<Vec<u8>>,
    size: u64,
    addresses_left: usize,
    parameters_left: usize,
    preview: Option<Source>,
    /// The innermost open leaf is the one the preview is taken from.
    previewing: bool,
}

#[derive(Debug)]
struct Open {
    part: BodyPart,
    kind: BodyKind,
    envelope: Option<Envelope>,
}

impl Default for SummaryBuilder {
    fn default() -> Self {
        Self {
            open: Vec::new(),
            root: None,
            references: None,
            size: 0,
            addresses_left: ADDRESSES_MAX,
            parameters_left: PARAMETERS_MAX,
            preview: None,
            previewing: false,
        }
    }
}

impl SummaryBuilder {
    /// The summary, once the walk has ended.
    #[must_use]
    pub fn finish(self) -> Summary {
        let (envelope, body) = self.root.unwrap_or_default();
        let preview = self.preview.map(|source| source.preview()).unwrap_or_default();
        let references = self.references;
        Summary { size: self.size, envelope, body, references, preview, erased: false }
    }

    fn parameters(&mut self, mut parameters: Vec<Parameter>) -> Vec<Parameter> {
        parameters.truncate(self.parameters_left);
        self.parameters_left -= parameters.len();
        parameters
    }

    fn addresses(&mut self, header: &PartHeader, name: FieldName) -> Vec<Address> {
        let value = header.get(name).unwrap_or_default();
        let addresses = address::parse(value, self.addresses_left);
        self.addresses_left = self.addresses_left.saturating_sub(addresses.len());
        addresses
    }

    fn envelope(&mut self, header: &PartHeader) -> Envelope {
        let text = |name| header.get(name).map(<[u8]>::to_vec);
        Envelope {
            date: text(FieldName::Date),
            subject: text(FieldName::Subject),
            from: self.addresses(header, FieldName::From),
            sender: self.addresses(header, FieldName::Sender),
            reply_to: self.addresses(header, FieldName::ReplyTo),
            to: self.addresses(header, FieldName::To),
            cc: self.addresses(header, FieldName::Cc),
            bcc: self.addresses(header, FieldName::Bcc),
            in_reply_to: text(FieldName::InReplyTo),
            message_id: text(FieldName::MessageId),
        }
    }

    fn describe(&mut self, part: &mut BodyPart, header: &PartHeader, content: ContentType) {
        let text = |name| header.get(name).map(<[u8]>::to_vec);
        part.media_type = content.media_type;
        part.media_subtype = content.media_subtype;
        part.parameters = self.parameters(content.parameters);
        part.content_id = text(FieldName::ContentId);
        part.description = text(FieldName::ContentDescription);
        part.encoding = content::encoding(header);
        part.md5 = text(FieldName::ContentMd5);
        part.location = text(FieldName::ContentLocation);
        part.languages = languages(header);
        let disposition = header.get(FieldName::ContentDisposition).map(parameter::parse);
        part.disposition =
            disposition.filter(|(kind, _)| !kind.is_empty()).map(|(kind, parameters)| {
                Disposition { kind, parameters: self.parameters(parameters) }
            });
    }

    /// Whether a leaf is the text that the preview is taken from: the first plain one, or an HTML
    /// one until there is a plain one.
    fn begin_preview(&mut self, part: &BodyPart) {
        let is_html = part.media_subtype.eq_ignore_ascii_case(b"html");
        let is_plain = part.media_subtype.eq_ignore_ascii_case(b"plain");
        let attached = part
            .disposition
            .as_ref()
            .is_some_and(|disposition| disposition.kind.eq_ignore_ascii_case(b"attachment"));
        let better = match &self.preview {
            None => is_html || is_plain,
            Some(before) => is_plain && (before.html || before.octets.is_empty()),
        };
        self.previewing = better && !attached && part.media_type.eq_ignore_ascii_case(b"text");
        if self.previewing {
            self.preview = Some(Source {
                html: is_html,
                encoding: part.encoding.clone().unwrap_or_default(),
                charset: parameter::value_of(&part.parameters, "charset").unwrap_or_default(),
                octets: Vec::new(),
            });
        }
    }
}

fn languages(header: &PartHeader) -> Vec<Vec<u8>> {
    let value = header.get(FieldName::ContentLanguage).unwrap_or_default();
    value
        .split(|&octet| octet == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|language| !language.is_empty())
        .take(LANGUAGES_MAX)
        .map(<[u8]>::to_vec)
        .collect()
}

impl Visitor for SummaryBuilder {
    fn part(&mut self, header_offset: u64) {
        let part = BodyPart { header_offset, ..BodyPart::default() };
        self.open.push(Open { part, kind: BodyKind::Leaf, envelope: None });
    }

    fn header(&mut self, end: &HeaderEnd<'_>) {
        let Some(mut open) = self.open.pop() else { return };
        let is_message = self.open.last().is_none_or(|parent| parent.kind == BodyKind::Message);
        if self.open.is_empty() {
            self.references = end.header.get(FieldName::References).map(<[u8]>::to_vec);
        }
        if is_message {
            open.envelope = Some(self.envelope(end.header));
        }
        open.kind = end.kind;
        open.part.body_offset = end.body_offset;
        let content = ContentType::of(end.header, end.default_is_message);
        self.describe(&mut open.part, end.header, content);
        self.previewing = false;
        if end.kind == BodyKind::Leaf {
            self.begin_preview(&open.part);
        }
        self.open.push(open);
    }

    fn leaf(&mut self, octets: &[u8]) {
        self.size += octets.len() as u64;
        if self.previewing
            && let Some(source) = &mut self.preview
        {
            source.keep(octets);
        }
    }

    fn structure(&mut self, octets: &[u8]) {
        self.size += octets.len() as u64;
    }

    fn end(&mut self, end: PartEnd) {
        self.previewing = false;
        let Some(Open { mut part, envelope, .. }) = self.open.pop() else { return };
        part.body_octets = end.body_octets;
        part.body_lines = end.body_lines;
        match self.open.last_mut() {
            None => self.root = Some((envelope.unwrap_or_default(), part)),
            Some(parent) => {
                if parent.kind == BodyKind::Message {
                    parent.part.embedded_envelope = envelope.map(Box::new);
                }
                parent.part.parts.push(part);
            }
        }
    }
}

#[cfg(test)]
mod tests;
