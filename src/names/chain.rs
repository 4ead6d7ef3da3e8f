//! From a name to its records, by way of aliases (CNAME, RFC 1034 §3.6.2).
//!
//! A chain is secure when each alias in it and the records at its end are. A chain that is too
//! long, or that bites its tail, has no end: whoever asked comes back later, for somebody will
//! mend it.

use std::time::Duration;

use hickory_resolver::proto::{
    op::Query,
    rr::{Name, RData, Record, RecordType},
};

use super::{
    budget::Budget,
    error::Failure,
    memory::{Answered, Outcome},
    servers::{Answer, Said, Servers},
};

/// Aliases that are followed.
const ALIASES_MAX: usize = 8;

/// A walk along the aliases.
struct Walk {
    at: Name,
    aliases: usize,
    secure: bool,
    /// The shortest lifetime on the way, in seconds.
    lifetime: u32,
}

/// Follows `name` to its records of `kind`, for as many questions as `budget` has.
pub(super) async fn follow(
    servers: &Servers,
    name: &Name,
    kind: RecordType,
    budget: &Budget,
) -> Answered {
    let mut walk = Walk { at: name.clone(), aliases: 0, secure: true, lifetime: u32::MAX };
    let end = walk.walk(servers, kind, budget).await;
    let seconds = |seconds: u32| Some(Duration::from_secs(seconds.into()));
    match end {
        Ok(End::Records(records)) => Answered {
            outcome: Outcome::Found { records, secure: walk.secure },
            lifetime: seconds(walk.lifetime),
        },
        Ok(End::Nothing { exists, lifetime }) => Answered {
            outcome: Outcome::Failed(if exists { Failure::NoRecords } else { Failure::NoSuchName }),
            lifetime: lifetime.and_then(|lifetime| seconds(lifetime.min(walk.lifetime))),
        },
        Err(failure) => Answered { outcome: Outcome::Failed(failure), lifetime: None },
    }
}

enum End {
    Records(Vec<RData>),
    Nothing { exists: bool, lifetime: Option<u32> },
}

impl Walk {
    async fn walk(
        &mut self,
        servers: &Servers,
        kind: RecordType,
        budget: &Budget,
    ) -> Result<End, Failure> {
        loop {
            let Answer { said, authentic } =
                servers.ask(&Query::query(self.at.clone(), kind), budget).await?;
            let answers = match said {
                Said::Records(answers) => answers,
                Said::Nothing { exists, lifetime } => {
                    return Ok(End::Nothing { exists, lifetime });
                }
            };
            let asked = self.at.clone();
            // One message often holds the whole chain.
            while let Some(alias) = of(&answers, &self.at, RecordType::CNAME).first() {
                self.step(servers, alias, authentic)?;
            }
            let mut records = Vec::new();
            for record in of(&answers, &self.at, kind) {
                self.take(servers, record, authentic)?;
                records.push(record.data.clone());
            }
            if !records.is_empty() {
                return Ok(End::Records(records));
            }
            if self.at == asked {
                // Servers that answer about other names only have been passed over.
                return Err(Failure::silence("the answer is about other names"));
            }
        }
    }

    fn step(&mut self, servers: &Servers, alias: &Record, authentic: bool) -> Result<(), Failure> {
        self.aliases += 1;
        if self.aliases > ALIASES_MAX {
            return Err(Failure::silence("its aliases have no end"));
        }
        self.take(servers, alias, authentic)?;
        if let RData::CNAME(target) = &alias.data {
            self.at = target.0.clone();
        }
        Ok(())
    }

    fn take(&mut self, servers: &Servers, record: &Record, authentic: bool) -> Result<(), Failure> {
        self.secure &= servers.is_secure(record, authentic)?;
        self.lifetime = self.lifetime.min(record.ttl);
        Ok(())
    }
}

fn of<'a>(answers: &'a [Record], name: &Name, kind: RecordType) -> Vec<&'a Record> {
    answers.iter().filter(|record| record.record_type() == kind && record.name == *name).collect()
}
