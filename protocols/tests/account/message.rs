//! Summaries of test messages, made as the store makes them.

use storage::{
    mime::{
        summary::SummaryBuilder,
        walker::{WalkLimits, Walker},
    },
    summary::Summary,
};

/// Summarises `octets`.
pub(crate) fn summarize(octets: &[u8]) -> Summary {
    let limits = WalkLimits { header_octets_max: 1 << 20, depth_max: 100, parts_max: 10_000 };
    let mut walker = Walker::new(SummaryBuilder::default(), limits);
    walker.push(octets);
    walker.finish().finish()
}
