//! `ceralacca account`.

use clap::Subcommand;
use serde::Serialize;
use storage::ids::AccountId;

use super::{
    Site,
    failure::Failure,
    output::{Output, Shown, instant},
    password::PasswordSource,
    say,
};
use crate::{
    config::{DomainName, units::Octets},
    registry::{
        account::{AccountFilter, AccountState, NewAccount, RegisteredAccount},
        address::AccountAddress,
        owner::OwnerId,
        plan::{Plan, PlanLimits},
        receipts::ReceiptsPlace,
    },
    texts::{Language, Text},
};

#[derive(Debug, Subcommand)]
pub(super) enum AccountCommand {
    #[command(
        about = say("Crea una casella", "Creates an account"),
        after_help = say(
            "Esempi:\n  ceralacca account add maria.rossi@pec.example --owner 1 --generate\n  ceralacca account add ufficio@pec.example --owner 2 --plan massiva-base --password-stdin < password.txt\n\nSenza password la casella riceve, e vi si entra solo con un token di [oauth], finché non si usa `account password`.",
            "Examples:\n  ceralacca account add maria.rossi@pec.example --owner 1 --generate\n  ceralacca account add ufficio@pec.example --owner 2 --plan massiva-base --password-stdin < password.txt\n\nWithout a password the account receives, and only a token of [oauth] lets its holder in until `account password` is used.",
        ),
    )]
    Add {
        #[command(flatten)]
        account: Addressed,
        #[arg(long, value_name = "ID", help = say("Il numero del titolare", "The owner's number"))]
        owner: i64,
        #[arg(long, default_value_t = Plan::Base, help = say("Il tipo: base, avanzata, massiva-base, massiva-avanzata", "The plan: base, avanzata, massiva-base, massiva-avanzata"))]
        plan: Plan,
        #[arg(long, value_name = "GB", default_value_t = 0, help = say("Incrementi da 1 GB", "Increments of 1 GB"))]
        space: u32,
        #[command(flatten)]
        password: PasswordSource,
    },
    #[command(
        about = say("Elenca le caselle", "Lists accounts"),
        after_help = say("Esempio:\n  ceralacca account list --plan base --state blocked", "Example:\n  ceralacca account list --plan base --state blocked"),
    )]
    List(ListArguments),
    #[command(about = say("Mostra una casella con i suoi limiti", "Shows an account with its limits"))]
    Show(Addressed),
    #[command(
        about = say(
            "Cambia tipo o spazio di una casella, se riceve posta ordinaria, dove vanno le ricevute",
            "Changes plan or space of an account, whether it takes ordinary mail, where receipts go",
        ),
        after_help = say(
            "Esempi:\n  ceralacca account set maria.rossi@pec.example --plan avanzata\n  ceralacca account set maria.rossi@pec.example --add-space 2\n  ceralacca account set maria.rossi@pec.example --ordinary-mail refuse\n  ceralacca account set maria.rossi@pec.example --receipts ricevute\n\nCon refuse la casella riceve solo posta certificata, ricevute, avvisi e i rapporti di mancata consegna di ciò che ha inviato; chi le scrive posta ordinaria è avvertito.",
            "Examples:\n  ceralacca account set maria.rossi@pec.example --plan avanzata\n  ceralacca account set maria.rossi@pec.example --add-space 2\n  ceralacca account set maria.rossi@pec.example --ordinary-mail refuse\n  ceralacca account set maria.rossi@pec.example --receipts ricevute\n\nWith refuse the account takes certified mail, receipts, notices and the failure reports of what it has sent only; who sends it ordinary mail is told.",
        ),
    )]
    Set(SetArguments),
    #[command(
        about = say("Blocca una casella: nessuno vi entra, niente parte", "Blocks an account: nobody gets in, nothing is sent"),
        after_help = say("Esempio:\n  ceralacca account block maria.rossi@pec.example --reason \"credenziali sospette\"", "Example:\n  ceralacca account block maria.rossi@pec.example --reason \"suspicious logins\""),
    )]
    Block {
        #[command(flatten)]
        account: Addressed,
        #[arg(long, help = say("Il motivo, che resta scritto", "The reason, which is kept"))]
        reason: String,
    },
    #[command(about = say("Toglie il blocco", "Ends the block"))]
    Unblock(Addressed),
    #[command(about = say("Chiude una casella per sempre; il suo indirizzo non si riassegna", "Closes an account for ever; its address is not given again"))]
    Remove {
        #[command(flatten)]
        account: Addressed,
        #[arg(long, help = say("Conferma la chiusura", "Confirms the closing"))]
        yes: bool,
    },
    #[command(
        about = say("Imposta la password di una casella", "Sets the password of an account"),
        after_help = say(
            "Esempi:\n  ceralacca account password maria.rossi@pec.example              (la chiede)\n  ceralacca account password maria.rossi@pec.example --generate",
            "Examples:\n  ceralacca account password maria.rossi@pec.example              (asks for it)\n  ceralacca account password maria.rossi@pec.example --generate",
        ),
    )]
    Password {
        #[command(flatten)]
        account: Addressed,
        #[command(flatten)]
        password: PasswordSource,
    },
}

#[derive(Debug, clap::Args)]
pub(super) struct Addressed {
    #[arg(value_name = "ADDRESS", help = say("L'indirizzo della casella", "The account's address"))]
    address: String,
}

impl Addressed {
    fn parse(&self) -> Result<AccountAddress, Failure> {
        Ok(self.address.parse()?)
    }
}

#[derive(Debug, clap::Args)]
pub(super) struct ListArguments {
    #[arg(long, help = say("In questo dominio", "In this domain"))]
    domain: Option<DomainName>,
    #[arg(long, value_name = "ID", help = say("Di questo titolare", "Of this owner"))]
    owner: Option<i64>,
    #[arg(long, help = say("Di questo tipo", "On this plan"))]
    plan: Option<Plan>,
    #[arg(long, value_enum, help = say("In questo stato", "In this state"))]
    state: Option<StateArgument>,
    #[arg(long, value_name = "TEXT", help = say("Con questo nell'indirizzo", "With this in the address"))]
    contains: Option<String>,
    #[arg(long, value_name = "ID", help = say("Solo dopo questo numero", "Only after this number"))]
    after: Option<u64>,
    #[arg(long, help = say("Al più tante", "At most so many"))]
    limit: Option<u32>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum StateArgument {
    Active,
    Blocked,
    Closed,
}

impl From<StateArgument> for AccountState {
    fn from(state: StateArgument) -> Self {
        match state {
            StateArgument::Active => Self::Active,
            StateArgument::Blocked => Self::Blocked,
            StateArgument::Closed => Self::Closed,
        }
    }
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = true)]
pub(super) struct Changes {
    #[arg(long, help = say("Il nuovo tipo", "The new plan"))]
    plan: Option<Plan>,
    #[arg(long, value_name = "GB", conflicts_with = "add_space", help = say("Incrementi da 1 GB in tutto", "Increments of 1 GB in all"))]
    space: Option<u32>,
    #[arg(long, value_name = "GB", help = say("Incrementi da 1 GB in più", "Increments of 1 GB more"))]
    add_space: Option<u32>,
    #[arg(long, value_enum, help = say("Posta ordinaria: wrap in busta di anomalia, refuse rifiutata", "Ordinary mail: wrap in an anomaly envelope, or refuse"))]
    ordinary_mail: Option<OrdinaryMailArgument>,
    #[arg(long, value_enum, help = say("Ricevute: inbox, sent accanto al messaggio inviato, ricevute nella cartella Ricevute", "Receipts: inbox, sent beside the message sent, ricevute in the mailbox Ricevute"))]
    receipts: Option<ReceiptsPlace>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
enum OrdinaryMailArgument {
    Wrap,
    Refuse,
}

#[derive(Debug, clap::Args)]
pub(super) struct SetArguments {
    #[command(flatten)]
    account: Addressed,
    #[command(flatten)]
    changes: Changes,
}

impl AccountCommand {
    pub(super) async fn run(self, site: &Site<'_>, output: &Output) -> Result<(), Failure> {
        let registry = site.registry;
        let mut shown_once = None;
        let account = match self {
            Self::List(arguments) => return list(arguments, site, output).await,
            Self::Add { account, owner, plan, space, password } => {
                let address = account.parse()?;
                let mut credential = None;
                if password.is_given() {
                    let taken = password.take(site, &address, output).await?;
                    credential = Some(taken.0);
                    shown_once = taken.1;
                }
                let owner = Some(OwnerId(owner));
                let new = NewAccount { address, owner, plan, increments: space, credential };
                registry.add_account(new).await?
            }
            Self::Show(account) => registry.account(&account.parse()?).await?,
            Self::Set(arguments) => set(arguments, site).await?,
            Self::Block { account, reason } => registry.block(&account.parse()?, &reason).await?,
            Self::Unblock(account) => registry.unblock(&account.parse()?).await?,
            Self::Remove { account, yes } => {
                let address = account.parse()?;
                if !yes {
                    return Err(Failure::invalid(Text::filled(
                        format!("la chiusura di {address} è per sempre: ripetere con --yes"),
                        format!("closing {address} is for ever: repeat with --yes"),
                    )));
                }
                registry.close_account(&address).await?
            }
            Self::Password { account, password } => {
                let address = account.parse()?;
                registry.account(&address).await?;
                let (credential, text) = password.take(site, &address, output).await?;
                shown_once = text;
                registry.set_credential(&address, &credential).await?
            }
        };
        let mut view = AccountView::new(account, site);
        view.password = shown_once;
        output.one(&view);
        Ok(())
    }
}

async fn list(arguments: ListArguments, site: &Site<'_>, output: &Output) -> Result<(), Failure> {
    let filter = AccountFilter {
        domain: arguments.domain,
        owner: arguments.owner.map(OwnerId),
        plan: arguments.plan,
        state: arguments.state.map(AccountState::from),
        address_part: arguments.contains,
        after: arguments.after.map(AccountId),
        limit: arguments.limit,
    };
    let accounts = site.registry.accounts(&filter).await?;
    let views: Vec<AccountView> =
        accounts.into_iter().map(|account| AccountView::new(account, site)).collect();
    output.list(&views);
    Ok(())
}

async fn set(arguments: SetArguments, site: &Site<'_>) -> Result<RegisteredAccount, Failure> {
    let address = arguments.account.parse()?;
    let registry = site.registry;
    let changes = arguments.changes;
    let mut account = registry.account(&address).await?;
    if let Some(plan) = changes.plan {
        account = registry.set_plan(&address, plan).await?;
    }
    if let Some(space) = changes.space {
        account = registry.set_increments(&address, space).await?;
    }
    if let Some(more) = changes.add_space {
        account = registry.add_increments(&address, more).await?;
    }
    if let Some(argument) = changes.ordinary_mail {
        let only = argument == OrdinaryMailArgument::Refuse;
        account = registry.set_certified_mail_only(&address, only).await?;
    }
    if let Some(receipts) = changes.receipts {
        account = registry.set_receipts(&address, receipts).await?;
    }
    Ok(account)
}

/// An account as printed.
#[derive(Debug, Serialize)]
struct AccountView {
    id: u64,
    address: String,
    owner: Option<i64>,
    plan: &'static str,
    state: &'static str,
    block_reason: Option<String>,
    increments_gb: u32,
    quota_octets: Option<u64>,
    archive_quota_octets: Option<u64>,
    message_octets_max: u64,
    recipients_max: u32,
    messages_per_day_max: u32,
    messages_per_minute_max: u32,
    password_set: bool,
    /// `wrap` or `refuse`.
    ordinary_mail: &'static str,
    /// `inbox`, `sent` or `ricevute`.
    receipts: &'static str,
    /// Whether the store has the last change; false until the server has taken it over.
    in_store: bool,
    version: u64,
    created_at: String,
    changed_at: String,
    closed_at: Option<String>,
    /// Only right after it was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    password: Option<String>,
}

impl AccountView {
    fn new(account: RegisteredAccount, site: &Site<'_>) -> Self {
        let limits: PlanLimits = site.registry.plans().limits(account.plan);
        Self {
            id: account.id.0,
            address: account.address.to_string(),
            owner: account.owner.map(|owner| owner.0),
            plan: account.plan.name(),
            state: account.state.name(),
            block_reason: account.block_reason,
            increments_gb: account.increments,
            quota_octets: limits.quota(account.increments).map(|quota| quota.0),
            archive_quota_octets: limits
                .archive_quota(account.archive_increments)
                .map(|quota| quota.0),
            message_octets_max: limits.message_octets_max.0,
            recipients_max: limits.recipients_max,
            messages_per_day_max: limits.messages_per_day_max,
            messages_per_minute_max: limits.messages_per_minute_max,
            password_set: account.has_password,
            ordinary_mail: if account.certified_mail_only { "refuse" } else { "wrap" },
            receipts: account.receipts.name(),
            in_store: account.applied_version == account.version,
            version: account.version,
            created_at: instant(account.created_at),
            changed_at: instant(account.changed_at),
            closed_at: account.closed_at.map(instant),
            password: None,
        }
    }

    fn space(&self) -> String {
        space(self.quota_octets)
    }
}

fn said(octets: u64) -> String {
    Octets(octets).text().get(Language::of_process()).to_owned()
}

fn space(octets: Option<u64>) -> String {
    octets.map_or_else(|| "∞".to_owned(), said)
}

impl Shown for AccountView {
    fn columns() -> Vec<Text> {
        vec![
            Text::fixed("N.", "ID"),
            Text::fixed("CASELLA", "ACCOUNT"),
            Text::fixed("TITOLARE", "OWNER"),
            Text::fixed("TIPO", "PLAN"),
            Text::fixed("SPAZIO", "SPACE"),
            Text::fixed("STATO", "STATE"),
        ]
    }

    fn row(&self) -> Vec<String> {
        vec![
            self.id.to_string(),
            self.address.clone(),
            self.owner.map(|owner| owner.to_string()).unwrap_or_default(),
            self.plan.to_owned(),
            self.space(),
            self.state.to_owned(),
        ]
    }

    fn details(&self) -> Vec<(Text, String)> {
        let yes = |truth: bool| if truth { say("sì", "yes") } else { say("no", "no") }.to_owned();
        let mut details: Vec<_> = Self::columns().into_iter().zip(self.row()).collect();
        let day = format!("{} / {}", self.messages_per_day_max, self.messages_per_minute_max);
        details.extend([
            (Text::fixed("ARCHIVIO", "ARCHIVE"), space(self.archive_quota_octets)),
            (
                Text::fixed("MOTIVO DEL BLOCCO", "BLOCKED FOR"),
                self.block_reason.clone().unwrap_or_default(),
            ),
            (Text::fixed("MESSAGGIO FINO A", "MESSAGE UP TO"), said(self.message_octets_max)),
            (Text::fixed("DESTINATARI", "RECIPIENTS"), self.recipients_max.to_string()),
            (Text::fixed("INVII AL GIORNO / AL MINUTO", "MESSAGES A DAY / A MINUTE"), day),
            (Text::fixed("PASSWORD IMPOSTATA", "PASSWORD SET"), yes(self.password_set)),
            (Text::fixed("POSTA ORDINARIA", "ORDINARY MAIL"), self.ordinary_mail.to_owned()),
            (Text::fixed("RICEVUTE", "RECEIPTS"), self.receipts.to_owned()),
            (Text::fixed("RECEPITA DAL SERVER", "TAKEN OVER BY THE SERVER"), yes(self.in_store)),
            (Text::fixed("CREATA", "CREATED"), self.created_at.clone()),
            (Text::fixed("CHIUSA", "CLOSED"), self.closed_at.clone().unwrap_or_default()),
            (
                Text::fixed("PASSWORD (mostrata solo ora)", "PASSWORD (shown only now)"),
                self.password.clone().unwrap_or_default(),
            ),
        ]);
        details
    }
}
