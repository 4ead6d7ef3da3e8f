//! The line that a measure prints.

use std::fmt;

/// What the ratio of a measure must be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Goal {
    /// At least this: the measure is a speed.
    AtLeast(f64),
    /// At most this: the measure is a cost.
    AtMost(f64),
}

/// A figure beside its limit, both in the same unit.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) value: f64,
    pub(crate) limit: f64,
    pub(crate) goal: Goal,
}

impl fmt::Display for Line {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, unit, value, limit, goal } = self;
        let ratio = value / limit;
        write!(
            formatter,
            "BENCH name={name} value={value:.1} unit={unit} limit={limit:.1} ratio={ratio:.3} "
        )?;
        match goal {
            Goal::AtLeast(goal) => write!(formatter, "goal={goal:.2}"),
            Goal::AtMost(goal) => write!(formatter, "goal={goal:.2} better=lower"),
        }
    }
}
