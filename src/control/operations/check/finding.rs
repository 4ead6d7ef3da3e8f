//! A violation as it travels and is shown: for programs a kind with its values, for people a line
//! in their language.

use ::snapshots::{
    check::{SnapshotFault, SnapshotViolation},
    keep::keys::SNAPSHOTS,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use storage::{check::Violation, ids::AccountId};

use crate::{
    archive::check::ArchiveFault,
    pec::{check::DutyFault, journal::verify::JournalFault},
    texts::{Language, Text, below, faults, snapshots},
};

/// Violations that are listed.
const LISTED_MAX: usize = 1_000;

/// Something that is not as it must be.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct ViolationView {
    /// The invariant's number.
    pub invariant: u8,
    /// The kind of fault: `miscounted`, `no_message`, `damaged`.
    #[serde(default)]
    pub kind: String,
    /// What it is about.
    pub object: String,
    /// What was found, in English.
    pub detail: String,
    /// The values of the kind, by name.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub fields: Map<String, Value>,
    /// Object and detail in one line, as people read it.
    #[serde(default)]
    pub text: Option<Text>,
}

/// What may be wrong above the store: with the engine's records, or between registry and catalog.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(super) enum Above {
    /// A record of the engine needs another that is missing.
    Needs { needed: String },
    /// A record of the engine cannot be read.
    Damaged { detail: String },
    /// Its account is not there.
    NoAccount,
    /// Signature or time stamp of a run of snapshots are not of its record.
    RunSeal { detail: Text },
    /// The journal is not as it was sealed.
    Journal { fault: JournalFault },
    /// The catalog has an account that the registry never made.
    NotInRegistry,
    /// The registry has an account that the catalog does not have.
    NotInCatalog,
    /// Both have the account and say different things.
    Differs {
        /// The versions in the registry and in the catalog.
        versions: Option<(u64, u64)>,
        /// The settings in which they differ.
        settings: Vec<Setting>,
        /// The account's address does not lead to it in the catalog.
        address_lost: bool,
    },
}

/// What both know of an account.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Setting {
    Address,
    State,
    Plan,
    Service,
    OrdinaryMail,
    Receipts,
    Limits,
}

impl Setting {
    fn text(self) -> Text {
        match self {
            Self::Address => Text::fixed(
                "l'indirizzo non è quello del registro",
                "address differs from the registry's",
            ),
            Self::State => Text::fixed(
                "lo stato non è quello del registro",
                "state differs from the registry's",
            ),
            Self::Plan => {
                Text::fixed("il tipo non è quello del registro", "plan differs from the registry's")
            }
            Self::Service => Text::fixed(
                "il servizio non è quello del registro",
                "service differs from the registry's",
            ),
            Self::OrdinaryMail => Text::fixed(
                "la posta ordinaria non è trattata come dice il registro",
                "ordinary mail is not treated as the registry says",
            ),
            Self::Receipts => Text::fixed(
                "le ricevute non sono archiviate come dice il registro",
                "receipts are not filed as the registry says",
            ),
            Self::Limits => Text::fixed(
                "i limiti non sono quelli del registro",
                "limits differs from the registry's",
            ),
        }
    }
}

impl Above {
    fn text(&self) -> Text {
        match self {
            Self::Needs { needed } => Text::filled(
                format!("ha bisogno di {needed}, che manca"),
                format!("it needs {needed}, which is missing"),
            ),
            Self::Damaged { detail } => below::detail(detail),
            Self::NoAccount => Text::fixed("non è di alcuna casella", "it is of no account"),
            Self::RunSeal { detail } => detail.clone(),
            Self::Journal { fault } => fault.text(),
            Self::NotInRegistry => Text::fixed(
                "il catalogo la ha, il registro no",
                "the catalog has it, the registry does not",
            ),
            Self::NotInCatalog => Text::fixed(
                "il registro la ha, il catalogo no",
                "the registry has it, the catalog does not",
            ),
            Self::Differs { versions, settings, address_lost } => {
                let versions = versions.iter().map(|(registry, catalog)| {
                    Text::filled(
                        format!("versione {registry} nel registro, {catalog} nel catalogo"),
                        format!("version {registry} in the registry, {catalog} in the catalog"),
                    )
                });
                let lost = address_lost.then_some(Text::fixed(
                    "nel catalogo il suo indirizzo non porta lì",
                    "its address does not lead to it in the catalog",
                ));
                let settings = settings.iter().map(|setting| setting.text());
                let parts: Vec<Text> = versions.chain(settings).chain(lost).collect();
                let joined = |language| {
                    parts.iter().map(|part| part.get(language)).collect::<Vec<_>>().join("; ")
                };
                Text::filled(joined(Language::Italian), joined(Language::English))
            }
        }
    }
}

impl From<ArchiveFault> for Above {
    fn from(fault: ArchiveFault) -> Self {
        match fault {
            ArchiveFault::Damaged(detail) => Self::Damaged { detail },
            ArchiveFault::NoAccount => Self::NoAccount,
        }
    }
}

impl From<DutyFault> for Above {
    fn from(fault: DutyFault) -> Self {
        match fault {
            DutyFault::Needs(needed) => Self::Needs { needed },
            DutyFault::Damaged(detail) => Self::Damaged { detail },
        }
    }
}

impl ViolationView {
    pub(super) fn of(violation: &Violation) -> Self {
        let Violation { invariant, object, fault } = violation;
        Self::new(invariant.number(), object.clone(), fault, &faults::fault(fault))
    }

    fn of_snapshot(
        invariant: u8,
        violation: &SnapshotViolation,
        remedy: impl FnOnce(Text) -> Text,
    ) -> Self {
        let SnapshotViolation { object, fault } = violation;
        let (kind, values) = kind_of(fault);
        let fields = match values {
            Value::Object(fields) => fields,
            _ => Map::new(),
        };
        Self::shown(
            invariant,
            object.clone(),
            kind.to_owned(),
            fields,
            &remedy(snapshots::fault(fault)),
        )
    }

    /// `fault` serialises to an object with its kind in `kind`.
    fn new(invariant: u8, object: String, fault: &impl Serialize, detail: &Text) -> Self {
        let mut fields = match serde_json::to_value(fault) {
            Ok(Value::Object(fields)) => fields,
            _ => Map::new(),
        };
        let kind = fields.remove("kind");
        fields.remove("detail");
        let kind = kind.and_then(|kind| kind.as_str().map(str::to_owned)).unwrap_or_default();
        Self::shown(invariant, object, kind, fields, detail)
    }

    fn shown(
        invariant: u8,
        object: String,
        kind: String,
        fields: Map<String, Value>,
        detail: &Text,
    ) -> Self {
        let name = below::object(&object);
        let line = |language| format!("{}: {}", name.get(language), detail.get(language));
        let text = Text::filled(line(Language::Italian), line(Language::English));
        Self {
            invariant,
            kind,
            object,
            detail: detail.get(Language::English).to_owned(),
            fields,
            text: Some(text),
        }
    }

    /// The line that people read.
    #[must_use]
    pub fn line(&self, language: Language) -> String {
        match &self.text {
            Some(text) => text.get(language).to_owned(),
            // A server of another version.
            None => format!("{}: {}", self.object, self.detail),
        }
    }
}

/// The kind of a fault of snapshots, and its values.
fn kind_of(fault: &SnapshotFault) -> (&'static str, Value) {
    match fault {
        SnapshotFault::Damaged { .. } => ("snapshot_damaged", Value::Null),
        SnapshotFault::NoAccount => ("snapshot_of_no_account", Value::Null),
        SnapshotFault::NoSecret => ("snapshot_without_secret", Value::Null),
        SnapshotFault::NotLater => ("snapshot_not_later", Value::Null),
        SnapshotFault::ChainBroken => ("snapshot_chain_broken", Value::Null),
        SnapshotFault::Miscounted => ("snapshot_miscounted", Value::Null),
        SnapshotFault::PageLost { page, .. } => {
            ("snapshot_page_lost", json!({ "page": page.to_string() }))
        }
        SnapshotFault::RowsMiscounted { counted, found } => {
            ("snapshot_rows_miscounted", json!({ "counted": counted, "found": found }))
        }
        SnapshotFault::MessageLost { message, uid } => {
            ("snapshot_message_lost", json!({ "message": message, "uid": uid }))
        }
        SnapshotFault::NotListed => ("snapshot_page_not_listed", Value::Null),
        SnapshotFault::ListedWrongly => ("snapshot_page_listed_wrongly", Value::Null),
        SnapshotFault::ListedUnderNone => ("snapshot_listed_under_none", Value::Null),
        SnapshotFault::Leftover => ("snapshot_page_leftover", Value::Null),
        SnapshotFault::RunChainBroken => ("snapshot_run_chain_broken", Value::Null),
        SnapshotFault::RunsMiscounted => ("snapshot_runs_miscounted", Value::Null),
        SnapshotFault::ListedUnderNoRun => ("snapshot_listed_under_no_run", Value::Null),
        SnapshotFault::LeftoverOfRuns => ("snapshot_run_page_leftover", Value::Null),
    }
}

/// Account and number of the snapshot whose record the violation is about, when that cannot be read.
pub(super) fn unreadable_snapshot(violation: &SnapshotViolation) -> Option<(AccountId, u64)> {
    let SnapshotFault::Damaged { .. } = violation.fault else { return None };
    let key = violation.object.strip_prefix(SNAPSHOTS.0)?.strip_prefix('/')?;
    let (account, number) = key.split_at_checked(16)?;
    let number = u64::from_str_radix(number, 16).ok()?;
    Some((AccountId(u64::from_str_radix(account, 16).ok()?), number))
}

/// What to do about a snapshot whose record cannot be read, beside its fault.
pub(super) fn forgettable(fault: &Text, address: &str, number: u64) -> Text {
    let command = format!("`ceralacca snapshot forget {address} --number {number}`");
    let (italian, english) = (fault.get(Language::Italian), fault.get(Language::English));
    Text::filled(
        format!("{italian}; se nessun back-up la ha, toglierla con {command}"),
        format!("{english}; when no back-up has it, take it out with {command}"),
    )
}

/// Violations as they are found: the first are listed, all are counted.
pub(super) struct Findings {
    pub(super) count: u64,
    pub(super) list: Vec<ViolationView>,
}

impl Findings {
    /// `remedy` says with a fault what to do about it.
    pub(super) fn add_snapshot(
        &mut self,
        invariant: u8,
        violation: &SnapshotViolation,
        remedy: impl FnOnce(Text) -> Text,
    ) {
        self.count += 1;
        if self.list.len() < LISTED_MAX {
            self.list.push(ViolationView::of_snapshot(invariant, violation, remedy));
        }
    }

    pub(super) fn add(&mut self, invariant: u8, object: String, fault: &Above) {
        self.count += 1;
        if self.list.len() < LISTED_MAX {
            self.list.push(ViolationView::new(invariant, object, fault, &fault.text()));
        }
    }
}
