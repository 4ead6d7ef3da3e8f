//! SELECT and EXAMINE (RFC 3501 §6.3.1, §6.3.2).

use storage::mailbox::flags::Keyword;

use crate::{
    imap::{
        completion::Completion,
        selected::SelectedMailbox,
        session::{Authenticated, Context, Done, Transition},
    },
    lines::Stream,
};

pub(crate) async fn select<S: Stream>(
    context: &mut Context<S>,
    state: &mut Authenticated,
    name: &str,
    examine: bool,
) -> Done {
    let view = state.account.open(name).await?;
    let mailbox = SelectedMailbox::open(view, examine).await?;
    let counters = mailbox.view.state().await?;
    let mut out = mailbox.flags_response();
    let mut line = |text: String| out.extend_from_slice(text.as_bytes());
    line(format!("* {} EXISTS\r\n", mailbox.rows().len()));
    line(format!("* {} RECENT\r\n", mailbox.recent_count()));
    if let Some(index) = mailbox.rows().iter().position(|row| !row.flags.seen) {
        line(format!("* OK [UNSEEN {}] Primo non letto / First unseen\r\n", index + 1));
    }
    line(if mailbox.writable {
        let mut permanent = vec!["\\Answered", "\\Flagged", "\\Deleted", "\\Seen", "\\Draft"];
        permanent.extend(mailbox.keywords().iter().map(Keyword::as_str));
        format!("* OK [PERMANENTFLAGS ({} \\*)] Flag\r\n", permanent.join(" "))
    } else {
        "* OK [PERMANENTFLAGS ()] Sola lettura / Read-only\r\n".to_owned()
    });
    if let Some(uid_next) = counters.uid_next {
        line(format!("* OK [UIDNEXT {uid_next}] Prossimo UID / Next UID\r\n"));
    }
    line(format!("* OK [UIDVALIDITY {}] UID validi / UIDs valid\r\n", counters.uid_validity));
    context.frame.put(&out).await?;
    let completion = if mailbox.writable {
        Completion::ok_with("READ-WRITE", "SELECT")
    } else {
        Completion::ok_with("READ-ONLY", if examine { "EXAMINE" } else { "SELECT" })
    };
    Ok((completion, Transition::Select(Box::new(mailbox))))
}
