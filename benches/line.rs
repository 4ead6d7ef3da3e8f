//! The line that a measure prints.

use std::fmt;

/// A figure beside its limit, both in the same unit.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) value: f64,
    pub(crate) limit: f64,
    /// What the ratio must reach.
    pub(crate) goal: f64,
}

impl fmt::Display for Line {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, unit, value, limit, goal } = self;
        let ratio = value / limit;
        write!(
            formatter,
            "BENCH name={name} value={value:.1} unit={unit} limit={limit:.1} ratio={ratio:.3} goal={goal:.2}"
        )
    }
}
