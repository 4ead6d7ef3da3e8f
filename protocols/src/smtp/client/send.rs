//! One message over an open connection: MAIL, RCPT, DATA, and what becomes of each recipient.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::{
    Interrupted, MessageSource, OutgoingDsn, OutgoingMessage, SmtpConnection, replies::before,
    stuffing::DotStuffing,
};
use crate::smtp::{
    grammar::{Command, EnvelopeId, ForwardPath, OriginalRecipient, Parameter, ServerReply},
    transport::RecipientDsn,
    wire::INPUT_OCTETS_MAX,
};

/// Commands sent before their replies are read. More could fill both directions of the
/// connection, and each side would wait for the other (RFC 2920 §3.1).
const GROUP_COMMANDS_MAX: usize = 50;

/// How long a reply is looked for on a connection that takes no more data.
const EARLY_REFUSAL_TIME: Duration = Duration::from_secs(2);

/// What became of one recipient.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// The server has taken the message for him.
    Taken(ServerReply),
    /// Refused for good: by the server, or by us in its place when it said that it cannot take
    /// such a message (552 5.3.4, 554 5.6.3, 553 5.6.7) or nobody should (554 5.6.0).
    Refused(ServerReply),
    /// Refused by the server at present: try again later.
    PutOff(ServerReply),
    /// The connection failed before the message was whole: try again; it cannot double.
    NotSent(Interrupted),
    /// The connection failed between the end of data and the reply: the server may have taken
    /// the message. Try again, with the same octets; the receiver recognises a double.
    Unknown(Interrupted),
}

impl Outcome {
    /// Whether the recipient is settled, one way or the other.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Taken(_) | Self::Refused(_))
    }

    fn of_refusal(reply: ServerReply) -> Self {
        if reply.is_permanent() { Self::Refused(reply) } else { Self::PutOff(reply) }
    }
}

fn our_reply(code: u16, enhanced: &str, text: String) -> Outcome {
    let enhanced = Some(enhanced.to_owned());
    Outcome::Refused(ServerReply { code, enhanced, lines: vec![text] })
}

/// The state of a recipient while the transaction goes on: `None` = the server said yes to RCPT.
type Pending = Option<Outcome>;

impl SmtpConnection {
    /// Sends one message and returns an outcome for each recipient, in their order.
    ///
    /// Afterwards the connection may carry another message if [`Self::is_usable`].
    pub async fn send(
        &mut self,
        message: &OutgoingMessage,
        source: &mut dyn MessageSource,
    ) -> Vec<Outcome> {
        let count = message.forward_paths.len();
        // A server that has said something unasked is out of step: its words would be taken for replies
        // to this message.
        if !self.unusable && self.wire.has_more().await {
            self.unusable = true;
        }
        if let Some(outcome) = self.cannot_take(message) {
            return vec![outcome; count];
        }
        let mut pending: Vec<Pending> = vec![None; count];
        let time = self.settings.time_for(message.octets, count);
        self.message_end = Instant::now().checked_add(time);
        let outcome = match self.envelope(message, &mut pending).await {
            Err(outcome) => Some(outcome),
            Ok(()) if pending.iter().all(Option::is_some) => {
                self.needs_reset = true;
                None
            }
            Ok(()) => {
                let (Ok(outcome) | Err(outcome)) = self.data(source).await;
                Some(outcome)
            }
        };
        self.message_end = None;
        match outcome {
            Some(outcome) => settled(pending, &outcome),
            None => pending.into_iter().flatten().collect(),
        }
    }

    /// What the server has told us that it cannot take (RFC 1870 §5, RFC 6152 §3, RFC 6531 §3.2).
    /// Certified mail is signed, so that a conversion to 7 bits is not ours to make.
    fn cannot_take(&self, message: &OutgoingMessage) -> Option<Outcome> {
        if self.unusable {
            return Some(Outcome::NotSent(Interrupted::Closed { during: "an earlier message" }));
        }
        match self.extensions.size {
            Some(limit) if limit > 0 && message.octets > limit => {
                let (octets, host) = (message.octets, &self.host);
                let text = format!("{octets} octets; {host} takes messages of {limit}");
                return Some(our_reply(552, "5.3.4", text));
            }
            _ => {}
        }
        if message.eight_bit && !self.extensions.eight_bit {
            let text = format!("{} takes no messages of 8 bits", self.host);
            return Some(our_reply(554, "5.6.3", text));
        }
        if message.needs_smtp_utf8() && !self.extensions.smtp_utf8 {
            let text = format!("{} takes no addresses outside ASCII", self.host);
            return Some(our_reply(553, "5.6.7", text));
        }
        None
    }

    /// RSET where needed, MAIL and every RCPT. An error is the outcome of whoever has none.
    async fn envelope(
        &mut self,
        message: &OutgoingMessage,
        pending: &mut [Pending],
    ) -> Result<(), Outcome> {
        if self.needs_reset {
            self.write("RSET", &Command::Rset.encode()).await.map_err(Outcome::NotSent)?;
            let time_max = self.settings.reply_time_max;
            let reply = self.reply("RSET", time_max).await.map_err(Outcome::NotSent)?;
            if !reply.is_positive() {
                self.unusable = true;
                return Err(Outcome::PutOff(reply));
            }
            self.needs_reset = false;
        }
        let mail = Command::Mail {
            reverse_path: message.reverse_path.clone(),
            parameters: self.mail_parameters(message),
        };
        let group_max = if self.settings.pipelining && self.extensions.pipelining {
            GROUP_COMMANDS_MAX
        } else {
            1
        };
        let parameters = self.recipient_parameters(message);
        let recipients: Vec<_> = message.forward_paths.iter().zip(parameters).collect();
        let mut recipients = recipients.as_slice();
        let mut pending = pending.iter_mut();
        // The first group has MAIL in front.
        self.write("MAIL", &mail.encode()).await.map_err(Outcome::NotSent)?;
        let mut mail_answered = false;
        loop {
            let room = group_max - usize::from(!mail_answered);
            let (group, rest) = recipients.split_at_checked(room).unwrap_or((recipients, &[]));
            self.write_recipients(group).await?;
            if !mail_answered {
                self.mail_reply(group.len()).await?;
                mail_answered = true;
            }
            for slot in pending.by_ref().take(group.len()) {
                *slot = self.recipient_reply().await?;
            }
            if rest.is_empty() {
                return Ok(());
            }
            recipients = rest;
        }
    }

    fn mail_parameters(&self, message: &OutgoingMessage) -> Vec<Parameter> {
        let size = self.extensions.size.map(|_| message.octets.to_string());
        let size = size.and_then(|size| Parameter::new("SIZE", Some(&size)));
        let body = message.eight_bit.then(|| Parameter::new("BODY", Some("8BITMIME"))).flatten();
        let dsn = self.dsn(message);
        let ret = dsn.and_then(|dsn| dsn.ret).map(|ret| ret.to_string());
        let ret = ret.and_then(|ret| Parameter::new("RET", Some(&ret)));
        let id = dsn.and_then(|dsn| dsn.envelope_id.as_ref()).map(EnvelopeId::value);
        let id = id.and_then(|id| Parameter::new("ENVID", Some(&id)));
        let utf8 = message.needs_smtp_utf8().then(|| Parameter::new("SMTPUTF8", None)).flatten();
        size.into_iter().chain(body).chain(utf8).chain(ret).chain(id).collect()
    }

    /// What the sender asks to be told, when the server offers to tell it.
    fn dsn<'a>(&self, message: &'a OutgoingMessage) -> Option<&'a OutgoingDsn> {
        message.dsn.as_ref().filter(|_| self.extensions.dsn)
    }

    /// NOTIFY and ORCPT of each recipient; nothing where nothing is to be said.
    fn recipient_parameters(&self, message: &OutgoingMessage) -> Vec<Vec<Parameter>> {
        let asked = self.dsn(message).map(|dsn| dsn.recipients.as_slice()).unwrap_or_default();
        let parameters = |asked: &RecipientDsn| {
            let notify = asked.notify.value();
            let notify = notify.and_then(|notify| Parameter::new("NOTIFY", Some(&notify)));
            let original = asked.original.as_ref().map(OriginalRecipient::value);
            let original = original.and_then(|original| Parameter::new("ORCPT", Some(&original)));
            notify.into_iter().chain(original).collect()
        };
        let mut all: Vec<Vec<Parameter>> = asked.iter().map(parameters).collect();
        all.resize(message.forward_paths.len(), Vec::new());
        all
    }

    async fn write_recipients(
        &mut self,
        group: &[(&ForwardPath, Vec<Parameter>)],
    ) -> Result<(), Outcome> {
        for (forward_path, parameters) in group {
            let command = Command::Rcpt {
                forward_path: (*forward_path).clone(),
                parameters: parameters.clone(),
            };
            self.write("RCPT", &command.encode()).await.map_err(Outcome::NotSent)?;
        }
        Ok(())
    }

    /// Reads the reply to MAIL; after a refusal also the replies to the RCPTs of its group.
    async fn mail_reply(&mut self, group: usize) -> Result<(), Outcome> {
        let time_max = self.settings.reply_time_max;
        let reply = self.reply("MAIL", time_max).await.map_err(Outcome::NotSent)?;
        if reply.is_positive() {
            return Ok(());
        }
        for _ in 0..group {
            if self.unusable {
                break;
            }
            // What the server thinks of recipients without a sender does not matter.
            let _ = self.reply("RCPT", time_max).await;
        }
        self.needs_reset = true;
        Err(Outcome::of_refusal(reply))
    }

    async fn recipient_reply(&mut self) -> Result<Pending, Outcome> {
        let time_max = self.settings.reply_time_max;
        let reply = self.reply("RCPT", time_max).await.map_err(Outcome::NotSent)?;
        Ok(match reply.code {
            200..=299 => None,
            421 => return Err(Outcome::PutOff(reply)),
            // Too many recipients, as old servers say it (RFC 5321 §4.5.3.1.10).
            552 => Some(Outcome::PutOff(reply)),
            _ => Some(Outcome::of_refusal(reply)),
        })
    }

    /// DATA and the octets: the outcome of every recipient that the server said yes to. The error
    /// case is an outcome too, reached early.
    async fn data(&mut self, source: &mut dyn MessageSource) -> Result<Outcome, Outcome> {
        self.write("DATA", &Command::Data.encode()).await.map_err(Outcome::NotSent)?;
        let time_max = self.settings.data_time_max;
        let reply = self.reply("DATA", time_max).await.map_err(Outcome::NotSent)?;
        if reply.code != 354 {
            self.needs_reset = true;
            if reply.is_positive() {
                self.unusable = true;
                return Err(Outcome::NotSent(Interrupted::BadReply { during: "DATA" }));
            }
            return Err(Outcome::of_refusal(reply));
        }
        let mut stuffing = DotStuffing::new();
        let mut stuffed = Vec::new();
        loop {
            let octets = before(self.message_end, "the data", next(source)).await;
            let octets = octets.map_err(|interrupted| {
                // Only a closed connection leaves a begun message unsent.
                self.unusable = true;
                Outcome::NotSent(interrupted)
            })?;
            if octets.is_empty() {
                break;
            }
            for piece in octets.chunks(INPUT_OCTETS_MAX) {
                stuffed.clear();
                stuffing.stuff(piece, &mut stuffed).map_err(|_| self.bare_line_end())?;
                if let Err(interrupted) = self.write("the data", &stuffed).await {
                    return Err(self.early_refusal(interrupted).await);
                }
            }
        }
        stuffed.clear();
        stuffing.finish(&mut stuffed).map_err(|_| self.bare_line_end())?;
        // A reply before the end belongs to no command; the one to the end would stay behind it.
        if self.wire.has_more().await {
            self.unusable = true;
            let early = Interrupted::BadReply { during: "the data" };
            return Err(self.early_refusal(early).await);
        }
        // From the first octet of the end on, the server may have taken the message: now it has all the
        // time that an answer may need.
        self.message_end = None;
        self.write("the end of the data", &stuffed).await.map_err(Outcome::Unknown)?;
        let time_max = self.settings.data_end_time_max;
        let reply = self.reply("the end of the data", time_max).await.map_err(Outcome::Unknown)?;
        Ok(if reply.is_positive() { Outcome::Taken(reply) } else { Outcome::of_refusal(reply) })
    }

    /// A server that closes in the middle of the data may have said why; then trying again is
    /// pointless, or not, as it says.
    async fn early_refusal(&mut self, interrupted: Interrupted) -> Outcome {
        self.message_end = None;
        let time_max = self.settings.data_time_max.min(EARLY_REFUSAL_TIME);
        match self.reply("the data", time_max).await {
            Ok(reply) if !reply.is_positive() => Outcome::of_refusal(reply),
            _ => Outcome::NotSent(interrupted),
        }
    }

    fn bare_line_end(&mut self) -> Outcome {
        self.unusable = true;
        our_reply(554, "5.6.0", "the message has a bare CR or LF and cannot be sent".to_owned())
    }
}

async fn next(source: &mut dyn MessageSource) -> Result<Bytes, Interrupted> {
    source.next().await.map_err(|error| Interrupted::Source { cause: error.to_string() })
}

fn settled(pending: Vec<Pending>, outcome: &Outcome) -> Vec<Outcome> {
    pending.into_iter().map(|own| own.unwrap_or_else(|| outcome.clone())).collect()
}
