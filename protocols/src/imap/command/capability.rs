//! CAPABILITY (RFC 3501 §6.1.1): what the server can do, and is tested to do.

use crate::{
    imap::{
        completion::Completion,
        session::{Context, Done, Transition},
    },
    lines::Stream,
};

/// RFC 3501, RFC 4959, RFC 7888, RFC 2971, RFC 2177, RFC 2342, RFC 3348, RFC 6154, RFC 4315,
/// RFC 3691, RFC 6851, RFC 9208, RFC 8437, in this order.
const ALWAYS: &str = "IMAP4rev1 SASL-IR LITERAL+ ID IDLE NAMESPACE CHILDREN SPECIAL-USE UIDPLUS \
                      UNSELECT MOVE QUOTA QUOTA=RES-STORAGE QUOTA=RES-MESSAGE QUOTA=RES-MAILBOX \
                      UNAUTHENTICATE";

/// The capabilities at this point of a session. Without TLS nobody may log in
/// (RFC 3501 §6.2.3, §11.1).
pub(crate) fn list<S>(context: &Context<S>, authenticated: bool) -> String {
    let mut list = ALWAYS.to_owned();
    match (authenticated, context.encrypted) {
        (true, _) => {}
        (false, true) => {
            for mechanism in context.mechanisms() {
                list.extend([" AUTH=", mechanism.name()]);
            }
        }
        (false, false) => {
            if context.start_tls {
                list.push_str(" STARTTLS");
            }
            list.push_str(" LOGINDISABLED");
        }
    }
    list
}

pub(crate) async fn capability<S: Stream>(context: &mut Context<S>, authenticated: bool) -> Done {
    let line = format!("* CAPABILITY {}\r\n", list(context, authenticated));
    context.frame.put(line.as_bytes()).await?;
    Ok((Completion::ok("CAPABILITY"), Transition::Stay))
}
