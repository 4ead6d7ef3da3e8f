//! CAPABILITY (RFC 3501 §6.1.1): what the server can do, and is tested to do.

use crate::{
    imap::{
        completion::Completion,
        session::{Context, Done, Transition},
    },
    lines::Stream,
};

/// RFC 3501, RFC 9051, RFC 5161, RFC 4959, RFC 7888, RFC 2971, RFC 2177, RFC 2342, RFC 3348, RFC 6154, RFC 4315,
/// RFC 3691, RFC 6851, RFC 3502, RFC 4469, RFC 5550, RFC 8508, RFC 9208, RFC 7162, RFC 8970, RFC 9586,
/// RFC 10022, RFC 8437, RFC 3516, RFC 8474, RFC 8514, RFC 9394, RFC 6855, RFC 5465, RFC 9585, in this order. LITERAL-
/// would take back what LITERAL+ allows (RFC 7888 §5).
const ALWAYS: &str = "IMAP4rev1 IMAP4rev2 ENABLE SASL-IR LITERAL+ ID IDLE NAMESPACE CHILDREN SPECIAL-USE UIDPLUS \
                      UNSELECT MOVE MULTIAPPEND CATENATE URL-PARTIAL REPLACE QUOTA \
                      QUOTA=RES-STORAGE QUOTA=RES-MESSAGE QUOTA=RES-MAILBOX CONDSTORE QRESYNC \
                      PREVIEW UIDONLY UIDBATCHES UNAUTHENTICATE BINARY OBJECTID SAVEDATE PARTIAL \
                      UTF8=ACCEPT NOTIFY INPROGRESS";

/// RFC 4731, RFC 5182, RFC 5032, RFC 5256, RFC 5957, RFC 5267, RFC 7377, RFC 5255; THREAD=REFS is of
/// the Internet-Draft draft-ietf-morg-inthread.
const SEARCHES: &str = "ESEARCH SEARCHRES WITHIN SORT SORT=DISPLAY ESORT THREAD=ORDEREDSUBJECT \
                        THREAD=REFERENCES THREAD=REFS CONTEXT=SEARCH CONTEXT=SORT MULTISEARCH \
                        I18NLEVEL=1";

/// The tree of mailboxes and what is noted about it: RFC 5258, RFC 5819, RFC 8440, RFC 9590,
/// RFC 6154, RFC 8438, RFC 4314, RFC 5464, RFC 9208, in this order. APPENDLIMIT (RFC 7889) has its
/// value behind it.
const TREE: &str = " LIST-EXTENDED LIST-STATUS LIST-MYRIGHTS LIST-METADATA CREATE-SPECIAL-USE \
                    STATUS=SIZE ACL RIGHTS=texk METADATA QUOTASET APPENDLIMIT=";

/// The capabilities at this point of a session. Without TLS nobody may log in
/// (RFC 3501 §6.2.3, §11.1).
pub(crate) fn list<S: Stream>(context: &Context<S>, authenticated: bool) -> String {
    let limits = &context.server.settings.limits;
    let mut list = format!("{ALWAYS} {SEARCHES}{TREE}{}", limits.append_octets_max);
    // One or the other (RFC 9738 §3).
    match limits.message_limit {
        Some(limit) => list.extend([" MESSAGELIMIT=", &limit.to_string()]),
        None => list.extend([" SAVELIMIT=", &limits.save_limit.to_string()]),
    }
    match (authenticated, context.encrypted) {
        // Not where it is active already: a second COMPRESS would be refused.
        (true, _) if limits.compress && !context.frame.is_compressed() => {
            list.push_str(" COMPRESS=DEFLATE");
        }
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
