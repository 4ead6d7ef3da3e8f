//! ENABLE (RFC 5161 §3.1, RFC 9051 §6.3.1).

use crate::{
    imap::{
        completion::{CommandResult, Completion},
        grammar::enable::Extension,
        session::Context,
    },
    lines::Stream,
};

/// Enables what is known of `extensions` and names it; what is unknown is passed over.
pub(crate) async fn enable<S: Stream>(
    context: &mut Context<S>,
    extensions: &[Extension],
) -> CommandResult {
    let mut line = String::from("* ENABLED");
    for extension in extensions {
        let switch = match extension {
            Extension::CondStore => &mut context.enabled.condstore,
            Extension::QResync => &mut context.enabled.qresync,
            Extension::UidOnly => &mut context.enabled.uid_only,
            Extension::Imap4Rev2 => &mut context.enabled.rev2,
            Extension::Utf8Accept => &mut context.enabled.utf8_accept,
        };
        if !std::mem::replace(switch, true) {
            line.extend([" ", extension.name()]);
        }
    }
    // RFC 7162 §3.2.3.
    context.enabled.condstore |= context.enabled.qresync;
    line.push_str("\r\n");
    context.frame.set_enabled(context.enabled);
    context.frame.put(line.as_bytes()).await?;
    Ok(Completion::ok("ENABLE"))
}
