//! What a session tells at the end of a command beside its answer.

use storage::ids::ModSeq;

use super::{Session, State};
use crate::{
    imap::{
        completion::{Completion, Condition},
        grammar::Tag,
        news,
        notify::When,
        progress::Progress,
    },
    lines::{Disconnect, Stream},
};

impl<S: Stream> Session<S> {
    /// A command begins.
    pub(super) fn begin(&mut self, tag: &Tag) {
        tag.as_str().clone_into(&mut self.context.tag);
        self.context.progress =
            Progress::begun(self.context.server.settings.limits.progress_period);
    }

    /// Tells what has changed by the end of a command. One that `expunges` says where the mailbox
    /// stands then; `told` is where the client stood before.
    pub(super) async fn settled(
        &mut self,
        mut completion: Completion,
        numbers_may_change: bool,
        expunges: bool,
        told: Option<ModSeq>,
    ) -> Result<Completion, Disconnect> {
        self.context.progress = Progress::default();
        self.report(numbers_may_change, expunges).await?;
        if expunges && self.context.enabled.qresync && completion.condition == Condition::Ok {
            // What the client has been told by now (RFC 7162 §3.2.7, §3.2.9).
            let now = self.told().filter(|now| Some(*now) > told && completion.code.is_none());
            completion.code =
                now.map(|now| format!("HIGHESTMODSEQ {now}").into()).or(completion.code);
        }
        Ok(completion)
    }

    /// The modification sequence up to which the client knows the selected mailbox.
    pub(super) fn told(&self) -> Option<ModSeq> {
        match &self.state {
            State::Selected(selected) => selected.mailbox.told(),
            _ => None,
        }
    }

    /// Begins to tell modification sequences, and where the selected mailbox stands
    /// (RFC 7162 §3.1).
    pub(super) async fn enable_condstore(&mut self) -> Result<(), Disconnect> {
        if std::mem::replace(&mut self.context.enabled.condstore, true) {
            return Ok(());
        }
        let Some(told) = self.told() else { return Ok(()) };
        let line = format!("* OK [HIGHESTMODSEQ {told}] MODSEQ\r\n");
        self.context.frame.put(line.as_bytes()).await
    }

    /// Tells the client what others have changed. After a change of its own, `changed`,
    /// the mailbox is asked even if nobody has announced that yet.
    async fn report(&mut self, numbers_may_change: bool, changed: bool) -> Result<(), Disconnect> {
        let when = When::Command { numbers_may_change };
        match self.state.opened() {
            Some((state, mailbox)) => {
                news::tell(&mut self.context, state, mailbox, when, changed).await
            }
            None => Ok(()),
        }
    }
}
