//! Plans: the types of account, and what each may use.
//!
//! The figures here are the contract's minima; the configuration may raise them, never lower
//! them. 1 GB = 2^30 octets, 1 MB = 2^20. Invariant: the limits of an account follow from its plan
//! and its increments alone.
//!
//! Not here: the limits as enforced (`storage`, from what the outbox hands over).

use std::{collections::BTreeMap, fmt, str::FromStr};

use crate::config::units::{Millis, Octets};

/// A type of account.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Plan {
    /// "BASE": 1 GB, one user.
    Base,
    /// "AVANZATA": 6 GB, one user.
    Avanzata,
    /// "MASSIVA BASE": 15 GB, for mass mailings.
    MassivaBase,
    /// "MASSIVA AVANZATA": 50 GB, used by an application.
    MassivaAvanzata,
    /// The provider's own service account, which sends receipts and notices. Not sold.
    Service,
}

impl Plan {
    /// Every plan, in the order of the price list.
    pub const ALL: [Self; 5] =
        [Self::Base, Self::Avanzata, Self::MassivaBase, Self::MassivaAvanzata, Self::Service];

    /// The plan's name in commands, tables and the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::Avanzata => "avanzata",
            Self::MassivaBase => "massiva-base",
            Self::MassivaAvanzata => "massiva-avanzata",
            Self::Service => "service",
        }
    }

    /// What the contract guarantees.
    #[must_use]
    pub const fn minima(self) -> PlanLimits {
        let (space, increments, recipients_max, per_day_max, per_minute_max) = match self {
            Self::Base => (Some(1), Some(5), 50, 500, 50),
            Self::Avanzata => (Some(6), None, 250, 500, 50),
            Self::MassivaBase => (Some(15), Some(5), 250, 5_000, 1_200),
            Self::MassivaAvanzata => (Some(50), None, 250, 25_000, 2_500),
            Self::Service => (None, Some(0), 250, 25_000, 2_500),
        };
        let archive = match self {
            Self::Base => Some(Octets::gigabytes(3)),
            Self::Avanzata => Some(Octets::gigabytes(7)),
            Self::MassivaBase => Some(Octets::gigabytes(15)),
            Self::MassivaAvanzata => Some(Octets::gigabytes(50)),
            Self::Service => None,
        };
        PlanLimits {
            space: match space {
                Some(gigabytes) => Some(Octets::gigabytes(gigabytes)),
                None => None,
            },
            increments_max: increments,
            message_octets_max: Octets::megabytes(50),
            recipients_max,
            messages_per_day_max: per_day_max,
            messages_per_minute_max: per_minute_max,
            archive_space: archive,
            archive_older_than: Millis::hours(24 * 365),
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// No plan has that name.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("no such plan: use base, avanzata, massiva-base or massiva-avanzata")]
pub struct NoSuchPlan;

impl FromStr for Plan {
    type Err = NoSuchPlan;

    fn from_str(name: &str) -> Result<Self, NoSuchPlan> {
        Self::ALL.into_iter().find(|plan| plan.name() == name).ok_or(NoSuchPlan)
    }
}

/// What an account of one plan may use.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PlanLimits {
    /// Space for messages before increments; `None` = unlimited.
    pub space: Option<Octets>,
    /// How many increments of 1 GB may be bought; `None` = any number.
    pub increments_max: Option<u32>,
    /// Octets of a message as submitted.
    pub message_octets_max: Octets,
    /// Recipients of one message.
    pub recipients_max: u32,
    /// Messages sent in a day.
    pub messages_per_day_max: u32,
    /// Messages sent in a minute.
    pub messages_per_minute_max: u32,
    /// Space of the archive before increments; `None` = unlimited.
    pub archive_space: Option<Octets>,
    /// Age at which messages go into the archive by themselves; 0 = never. Accounts may have rules of
    /// their own instead.
    pub archive_older_than: Millis,
}

impl PlanLimits {
    /// Space with `increments` bought; `None` = unlimited.
    #[must_use]
    pub fn quota(&self, increments: u32) -> Option<Octets> {
        self.space.map(|space| raised(space, increments))
    }

    /// Space of the archive with `increments` bought; `None` = unlimited.
    #[must_use]
    pub fn archive_quota(&self, increments: u32) -> Option<Octets> {
        self.archive_space.map(|space| raised(space, increments))
    }
}

fn raised(space: Octets, increments: u32) -> Octets {
    Octets(space.0.saturating_add(Octets::gigabytes(u64::from(increments)).0))
}

/// The limits of every plan, as this provider grants them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Plans(BTreeMap<Plan, PlanLimits>);

impl Default for Plans {
    fn default() -> Self {
        Self(Plan::ALL.into_iter().map(|plan| (plan, plan.minima())).collect())
    }
}

impl Plans {
    /// Grants `limits` to accounts of `plan`.
    pub fn grant(&mut self, plan: Plan, limits: PlanLimits) {
        self.0.insert(plan, limits);
    }

    /// What accounts of `plan` may use.
    #[must_use]
    pub fn limits(&self, plan: Plan) -> PlanLimits {
        self.0.get(&plan).copied().unwrap_or(plan.minima())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The contract's table, row by row.
    #[test]
    fn plans_grant_what_the_contract_asks_for() {
        let rows = [
            ("base", 1, Some(5), 50, 500, 50),
            ("avanzata", 6, None, 250, 500, 50),
            ("massiva-base", 15, Some(5), 250, 5_000, 1_200),
            ("massiva-avanzata", 50, None, 250, 25_000, 2_500),
        ];
        for (name, gigabytes, increments_max, recipients, day, minute) in rows {
            let Ok(plan) = name.parse::<Plan>() else { panic!("{name} is no plan") };
            let limits = Plans::default().limits(plan);
            assert_eq!(limits.space, Some(Octets::gigabytes(gigabytes)), "{name}");
            assert_eq!(limits.increments_max, increments_max, "{name}");
            assert_eq!(limits.message_octets_max, Octets(52_428_800), "{name}");
            assert_eq!(limits.recipients_max, recipients, "{name}");
            assert_eq!(limits.messages_per_day_max, day, "{name}");
            assert_eq!(limits.messages_per_minute_max, minute, "{name}");
        }
    }

    #[test]
    fn every_increment_adds_two_to_the_thirty_octets() {
        let limits = Plan::Base.minima();
        assert_eq!(limits.quota(0), Some(Octets(1 << 30)));
        assert_eq!(limits.quota(5), Some(Octets(6 << 30)));
        assert_eq!(Plan::Service.minima().quota(0), None);
        assert_eq!(limits.archive_quota(0), Some(Octets(3 << 30)));
        assert_eq!(limits.archive_quota(2), Some(Octets(5 << 30)));
        assert_eq!(Plan::Service.minima().archive_quota(9), None);
    }

    #[test]
    fn names_of_plans_parse_back() {
        for plan in Plan::ALL {
            assert_eq!(plan.name().parse(), Ok(plan));
        }
        assert_eq!("Base".parse::<Plan>(), Err(NoSuchPlan));
    }
}
