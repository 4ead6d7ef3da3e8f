//! SELECT and EXAMINE (RFC 3501 §6.3.1, §6.3.2, RFC 9051 §6.3.2), with the resynchronisation of
//! QRESYNC (RFC 7162 §3.2.5).

use storage::{account::name::MailboxName, mailbox::flags::Keyword};

use crate::{
    imap::{
        completion::{Completion, Failure},
        grammar::{
            Select,
            select::{MatchData, Resync},
            sequence::SequenceSet,
            write,
        },
        object_id, resync,
        selected::{SelectedMailbox, Told},
        session::{Authenticated, Context, Done, Transition},
    },
    lines::Stream,
};

pub(crate) async fn select<S: Stream>(
    context: &mut Context<S>,
    state: &mut Authenticated,
    select: &Select,
) -> Done {
    let view = state.account.open(&select.mailbox).await?;
    // First, so that UIDNEXT is not ahead of the messages that are counted.
    let counters = view.state().await?;
    let mailbox = SelectedMailbox::open(view, &select.mailbox, select.read_only).await?;
    let rev2 = context.enabled.rev2;
    let mut out = mailbox.flags_response();
    let mut line = |text: String| out.extend_from_slice(text.as_bytes());
    line(format!("* {} EXISTS\r\n", mailbox.rows().len()));
    // IMAP4rev2 has neither \Recent nor the first unseen message (RFC 9051 §A).
    if !rev2 {
        line(format!("* {} RECENT\r\n", mailbox.recent_count()));
    }
    let unseen = mailbox.rows().iter().position(|row| !row.flags.seen);
    // A message number (RFC 9586 §3).
    if let Some(index) = unseen.filter(|_| !rev2 && !context.enabled.uid_only) {
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
    line(match mailbox.told() {
        Some(told) => format!("* OK [HIGHESTMODSEQ {told}] MODSEQ\r\n"),
        None => "* OK [NOMODSEQ] Senza MODSEQ / No MODSEQ kept\r\n".to_owned(),
    });
    let mailbox_id = object_id::mailbox_id(&*mailbox.view, counters.mailbox_id);
    line(format!("* OK [MAILBOXID ({mailbox_id})] Ok\r\n"));
    if rev2 {
        put_list(&mut out, &select.mailbox, context);
    }
    context.frame.put(&out).await?;
    if let Some(wanted) = &select.qresync
        && mailbox.keeps_mod_seq()
        && wanted.uid_validity == counters.uid_validity.0.get()
    {
        resynchronise(context, &mailbox, wanted).await?;
    }
    let completion = if mailbox.writable {
        Completion::ok_with("READ-WRITE", "SELECT")
    } else {
        Completion::ok_with("READ-ONLY", if select.read_only { "EXAMINE" } else { "SELECT" })
    };
    Ok((completion, Transition::Select(Box::new(mailbox))))
}

/// The LIST response with the name that the mailbox has, and the one that the client gave it
/// where they differ (RFC 9051 §6.3.2, §6.3.9.7).
fn put_list<S>(out: &mut Vec<u8>, asked: &str, context: &Context<S>) {
    let names = context.enabled.names();
    let name = MailboxName::new(asked).map_or_else(|_| asked.to_owned(), |name| name.to_string());
    out.extend_from_slice(b"* LIST () \"/\" ");
    write::mailbox(out, &name, names);
    if name != asked {
        out.extend_from_slice(b" (\"OLDNAME\" (");
        write::mailbox(out, asked, names);
        out.extend_from_slice(b"))");
    }
    out.extend_from_slice(b"\r\n");
}

/// Tells what is gone and what has changed since the client was here (RFC 7162 §3.2.5.1).
async fn resynchronise<S: Stream>(
    context: &mut Context<S>,
    mailbox: &SelectedMailbox,
    wanted: &Resync,
) -> Result<(), Failure> {
    let all = [1..=u32::MAX];
    let known = wanted.known_uids.as_ref().map(|set: &SequenceSet| set.resolve(0));
    let known = known.as_deref().unwrap_or(&all);
    let known_up_to = wanted
        .matched
        .as_ref()
        .map_or(0, |pairs: &MatchData| resync::known_up_to(mailbox.rows(), pairs));
    let gone = resync::vanished(mailbox, known, wanted.mod_seq, known_up_to).await?;
    if !gone.is_empty() {
        let line = format!("* VANISHED (EARLIER) {}\r\n", resync::set_of(&gone));
        context.frame.put(line.as_bytes()).await?;
    }
    let told = Told { uid: true, flags: true };
    for (index, row) in mailbox.rows().iter().enumerate() {
        let at = known.partition_point(|range| *range.end() < row.uid.get());
        let is_known = known.get(at).is_some_and(|range| range.contains(&row.uid.get()));
        if is_known && row.mod_seq > wanted.mod_seq {
            let line = mailbox.fetch_line(index, context.enabled, told);
            context.frame.put(&line).await?;
        }
    }
    Ok(())
}
