//! Decides which octets of a message go into which chunk.
//!
//! Not here: how octets become chunks (`octets::assembler`).

use super::{
    assembler::{Assembler, ClosedChunk, Run},
    recipe::Segment,
};

/// Splits one message.
#[derive(Debug, Default)]
pub struct Splitter {
    assembler: Assembler,
    run: Run,
}

impl Splitter {
    /// Takes in the next octets.
    pub fn push(&mut self, octets: &[u8]) {
        self.run.push(octets, &mut self.assembler);
    }

    /// Hands over the chunks closed since the last call.
    pub fn take_closed(&mut self) -> Vec<ClosedChunk> {
        self.assembler.take_closed()
    }

    /// Ends the message: the last chunks, and the segments.
    #[must_use]
    pub fn finish(mut self) -> (Vec<ClosedChunk>, Vec<Segment>) {
        let segments = self.run.finish(&mut self.assembler);
        self.assembler.finish();
        (self.assembler.take_closed(), segments)
    }
}
