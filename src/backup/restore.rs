//! Rebuilds a data folder from the object store alone.
//!
//! * The folder must be empty, or hold what an interrupted restore of the same checkpoint left: the
//!   file `restore.json` says so from the first moment to the last, and a server refuses a folder
//!   that has it.
//! * Files and packs that are there and right are not fetched again. The catalog is changed under
//!   another name and gets its own when everything is done; when that was cut short, it is fetched
//!   again, because its rules are applied once.
//! * What the node owed is held for an operator ([`super::held`]).
//! * The node that is made claims an epoch of its own, in the back-up and in the packs' own object store,
//!   once all files are there and before packs are looked at: from then on the lost node, and any that
//!   was restored before, is refused by both. A rehearsal claims nothing, and no server ever takes its
//!   folder.
//! * Packs that cannot be had whole do not keep the rest from coming back: they are named.
//!
//! Not here: what is raised, and why (`storage::backup::rules`), what a claim is (`storage::claim`).

use std::{
    ffi::OsString,
    io::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use storage::{
    backup::{
        BackupError, fetch,
        fetch::{FetchProgress, FetchedPacks, OnProgress},
        manifest::{CheckpointName, Manifest},
        repository::{ObjectStore, Pace, Repository, key_of_checkpoint, list_checkpoints},
        rules::{self, Succession},
    },
    catalog::{
        engine::Engine as _,
        rocksdb::{RocksConfig, RocksEngine},
    },
    claim::{ClaimToken, Claimant, claim_next},
    error::StoreError,
    pack::store::local_objects,
    store::Store,
};
use trust::{clock::Clock, random::RandomSource};

use super::{
    companions::{OUTSIDE, REGISTRY},
    held,
    target::{self, Secret},
};
use crate::{config::Config, pec::engine::EngineSettings, registry::Registry, texts::Text};

const MARKER: &str = "restore.json";
const MARKER_NEW: &str = "restore.json.new";
/// Says that the folder is a rehearsal's, for ever.
const REHEARSAL: &str = "rehearsal";
const CATALOG: &str = "catalog";
/// The catalog while it is changed.
const CATALOG_RESTORING: &str = "catalog.restoring";
/// What a folder may have before the marker: what a fresh file system has, and what a crash leaves
/// that came before the marker.
const OWN_FILES: [&str; 3] = ["lost+found", REHEARSAL, MARKER_NEW];

/// What is to be restored, and where.
#[derive(Debug)]
pub struct RestoreRequest {
    /// The back-up's object store.
    pub from: Arc<dyn ObjectStore>,
    /// What opens the data key.
    pub secret: Secret,
    /// The new data folder.
    pub into: PathBuf,
    /// The checkpoint; `None`: the newest.
    pub checkpoint: Option<CheckpointName>,
    /// Where packs go when they were copied; `None`: into the new data folder.
    pub packs_to: Option<Arc<dyn ObjectStore>>,
    /// Only tries whether it can be done: nothing outside of the folder is changed.
    pub rehearsal: bool,
}

/// What a restore did.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Restored {
    /// The checkpoint.
    pub checkpoint: String,
    /// Everything acknowledged before this instant is back, in ms since 1970.
    pub instant_millis: i64,
    /// The store's epoch from now on.
    pub epoch: u32,
    /// Accounts.
    pub accounts: u64,
    /// Packs copied.
    pub packs: u64,
    /// Packs that are missing or damaged, and how: messages in them cannot be read.
    pub damaged_packs: Vec<String>,
    /// Nothing but a rehearsal: no server takes the folder.
    pub rehearsal: bool,
    /// Duties held for an operator.
    pub held: u64,
    /// Files from outside of the data folder, now below it.
    pub outside: Vec<PathBuf>,
}

/// Why there was no restore.
#[derive(Debug)]
pub enum RestoreError {
    /// The request cannot be granted.
    Refused(Text),
    /// Something failed: start it again when that is mended.
    Failed(anyhow::Error),
}

impl<E: Into<anyhow::Error>> From<E> for RestoreError {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

#[derive(Clone, Debug, Deserialize, Serialize)]
struct Marker {
    checkpoint: String,
    /// The catalog was whole and is being changed.
    changing: bool,
    /// What the epoch is claimed with, in hexadecimal digits: the same one when it goes on.
    token: String,
    /// The epoch, once the catalog is changed for it; 0 before.
    epoch: u32,
    rehearsal: bool,
}

impl Marker {
    fn token(&self) -> anyhow::Result<ClaimToken> {
        let mut token = ClaimToken([0; 16]);
        hex::decode_to_slice(&self.token, &mut token.0).with_context(|| {
            format!("{MARKER} names no token: empty the folder and begin again")
        })?;
        Ok(token)
    }
}

/// Says when a data folder holds an unfinished restore.
///
/// # Errors
///
/// When it does.
pub fn refuse_unfinished(folder: &Path) -> anyhow::Result<()> {
    if folder.join(MARKER).exists() {
        anyhow::bail!(
            "{} holds a restore that has not ended: start the same `ceralacca restore` again",
            folder.display()
        );
    }
    Ok(())
}

/// Says when a data folder is a rehearsal's: it must never serve.
///
/// # Errors
///
/// When it is.
pub fn refuse_rehearsal(folder: &Path) -> anyhow::Result<()> {
    if folder.join(REHEARSAL).exists() {
        anyhow::bail!(
            "{} was restored with --rehearsal: it can be checked, and never serves. \
             Restore into another folder without it",
            folder.display()
        );
    }
    Ok(())
}

/// Restores, or goes on with a restore that was interrupted.
///
/// # Errors
///
/// [`RestoreError::Refused`] when folder, checkpoint or key are not right; nothing was changed.
pub async fn restore(
    request: RestoreRequest,
    clock: Arc<dyn Clock>,
    random: Arc<dyn RandomSource>,
    on_progress: OnProgress<'_>,
) -> Result<Restored, RestoreError> {
    let into = request.into.clone();
    std::fs::create_dir_all(&into).with_context(|| format!("making {}", into.display()))?;
    if let Some(above) = into.parent().filter(|above| !above.as_os_str().is_empty()) {
        sync(above)?;
    }
    let begun = read_marker(&into)?;
    let name = choose(&request, begun.as_ref()).await?;
    let id = key_of_checkpoint(&*request.from, name).await?;
    let key = match target::unseal(&*request.from, id, &request.secret).await {
        Ok(key) => key,
        Err(BackupError::Seal(_)) => return Err(RestoreError::Refused(wrong_secret())),
        Err(error) => return Err(error.into()),
    };
    let marker = begin(&request, name, begun, &*random)?;
    let repository = Repository::new(Arc::clone(&request.from), key, random, Pace::new(None));
    let manifest = repository.manifest(name).await?;
    let mut progress = fetch::beginning(&manifest);
    fetch_files(&request, &repository, &manifest, &mut progress, on_progress).await?;
    // With its own name the catalog has its epoch: everything was done but the end.
    let named = into.join(CATALOG).exists();
    let succession = if named { None } else { Some(claim(&request, &manifest, &marker).await?) };
    let claimed = match &succession {
        Some(Succession::Node { epoch, .. }) => *epoch,
        Some(Succession::Rehearsal) => name.epoch.saturating_add(1),
        None => marker.epoch,
    };
    let rest = Finish { request: &request, manifest: &manifest, marker, succession, claimed };
    let finished = rest.run(&repository, clock, &mut progress, on_progress).await;
    finished.map_err(|error| match error {
        RestoreError::Failed(error) if !request.rehearsal => RestoreError::Failed(error.context(format!(
            "epoch {claimed} is claimed, so the node of before is out: mend the cause and give the same command again, \
             or give the store back to that node with `ceralacca store take-over`"
        ))),
        error => error,
    })
}

/// What is left of a restore after the claim.
struct Finish<'f> {
    request: &'f RestoreRequest,
    manifest: &'f Manifest,
    marker: Marker,
    /// `None` when the catalog has its name already.
    succession: Option<Succession>,
    claimed: u32,
}

impl Finish<'_> {
    async fn run(
        self,
        repository: &Repository,
        clock: Arc<dyn Clock>,
        progress: &mut FetchProgress,
        on_progress: OnProgress<'_>,
    ) -> Result<Restored, RestoreError> {
        let Self { request, manifest, marker, succession, claimed } = self;
        let (into, name) = (&request.into, manifest.name);
        let packs = fetch_packs(request, repository, manifest, progress, on_progress).await?;
        let mut restored = Restored {
            checkpoint: marker.checkpoint.clone(),
            instant_millis: name.instant.0,
            epoch: claimed,
            accounts: 0,
            packs: packs.fetched,
            damaged_packs: packs.faults,
            rehearsal: request.rehearsal,
            held: 0,
            outside: outside(manifest, into),
        };
        if let Some(succession) = succession {
            write_marker(into, &Marker { changing: true, epoch: claimed, ..marker })?;
            change_catalog(into, name, &succession, &*clock, &mut restored).await?;
            change_registry(into, claimed.saturating_sub(name.epoch), clock).await?;
            target::keep_data_key(&into.join("backup.key"), repository.key())?;
            std::fs::rename(into.join(CATALOG_RESTORING), into.join(CATALOG))
                .context("giving the catalog its name")?;
            sync(into)?;
        }
        std::fs::remove_file(into.join(MARKER)).context("ending the restore")?;
        sync(into)?;
        Ok(restored)
    }
}

/// Makes the folder that of this restore, and takes away what an interrupted try has half changed.
fn begin(
    request: &RestoreRequest,
    name: CheckpointName,
    begun: Option<Marker>,
    random: &dyn RandomSource,
) -> Result<Marker, RestoreError> {
    let into = &request.into;
    let marker = match begun {
        Some(begun) if begun.rehearsal != request.rehearsal => {
            return Err(RestoreError::Refused(other_purpose(&begun)));
        }
        Some(begun) => begun,
        None => Marker {
            checkpoint: name.to_string(),
            changing: false,
            token: hex::encode(ClaimToken::draw(random).0),
            epoch: 0,
            rehearsal: request.rehearsal,
        },
    };
    if into.join(CATALOG).exists() {
        return Ok(marker);
    }
    if marker.changing {
        // Its rules may be half applied.
        remove_folder(&into.join(CATALOG_RESTORING))?;
        for ending in ["", "-wal", "-shm"] {
            remove_file(&into.join(format!("{REGISTRY}{ending}")))?;
        }
    }
    if request.rehearsal {
        std::fs::write(into.join(REHEARSAL), "").context("marking the rehearsal")?;
    }
    let marker = Marker { changing: false, ..marker };
    write_marker(into, &marker)?;
    Ok(marker)
}

fn other_purpose(begun: &Marker) -> Text {
    if begun.rehearsal {
        Text::fixed(
            "in questa cartella è iniziata una prova: continuarla con --rehearsal, o indicare una cartella vuota",
            "in this folder a rehearsal was begun: go on with --rehearsal, or name an empty folder",
        )
    } else {
        Text::fixed(
            "in questa cartella è iniziato un ripristino: continuarlo senza --rehearsal, o indicare una cartella vuota",
            "in this folder a restore was begun: go on without --rehearsal, or name an empty folder",
        )
    }
}

/// Claims the epoch of the new node, in every object store that it will change.
async fn claim(
    request: &RestoreRequest,
    manifest: &Manifest,
    marker: &Marker,
) -> Result<Succession, RestoreError> {
    if request.rehearsal {
        return Ok(Succession::Rehearsal);
    }
    let claimant = Claimant { token: marker.token()?, lineage: manifest.lineage };
    let names = list_checkpoints(&*request.from).await?;
    let newest = names.iter().map(|name| name.epoch).max().unwrap_or(manifest.name.epoch);
    let mut stores: Vec<&dyn ObjectStore> = vec![&*request.from];
    if let Some(packs) = request.packs_to.as_ref().filter(|_| !manifest.packs_in_place) {
        stores.push(&**packs);
    }
    let epoch = match claim_next(&stores, claimant, newest.saturating_add(1)).await {
        Ok(epoch) => epoch,
        Err(StoreError::ForeignObjects) => return Err(RestoreError::Refused(foreign())),
        Err(error) => return Err(RestoreError::Failed(anyhow::Error::new(error).context(
            "claiming an epoch for the new node: the back-up must be writable; to look at a copy of it, use --rehearsal",
        ))),
    };
    // What the node of before completed or removed in the moment before the claim.
    let names = list_checkpoints(&*request.from).await?;
    if !names.contains(&manifest.name) {
        return Err(RestoreError::Refused(Text::fixed(
            "la copia è appena scaduta ed è stata rimossa: svuotare la cartella e sceglierne un'altra",
            "the checkpoint has just been over its time and was removed: empty the folder and choose another one",
        )));
    }
    let pinned = if manifest.packs_in_place { names } else { Vec::new() };
    Ok(Succession::Node { epoch, token: claimant.token, pinned })
}

fn foreign() -> Text {
    Text::fixed(
        "l'archivio a oggetti indicato appartiene a un'altra installazione: controllare [objects] e --from",
        "the object store named belongs to another installation: check [objects] and --from",
    )
}

fn wrong_secret() -> Text {
    Text::fixed(
        "la chiave di recupero o la frase segreta non apre questa copia: provarne un'altra",
        "the recovery key or pass phrase does not open this back-up: try another one",
    )
}

fn read_marker(into: &Path) -> Result<Option<Marker>, RestoreError> {
    match std::fs::read(into.join(MARKER)) {
        Ok(octets) => Ok(Some(
            serde_json::from_slice(&octets)
                .context("restore.json is not this program's: empty the folder and begin again")?,
        )),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let mut entries =
                std::fs::read_dir(into).with_context(|| format!("reading {}", into.display()))?;
            let stranger = entries.find_map(|entry| {
                let known = |name: &OsString| OWN_FILES.iter().any(|own| name == own);
                entry.ok().map(|entry| entry.file_name()).filter(|name| !known(name))
            });
            let Some(stranger) = stranger else { return Ok(None) };
            let (folder, stranger) = (into.display(), stranger.to_string_lossy());
            Err(RestoreError::Refused(Text::filled(
                format!(
                    "{folder} non è vuota ({stranger}): indicare una cartella nuova o vuota, o spostare quella che c'è"
                ),
                format!(
                    "{folder} is not empty ({stranger}): name a new or empty folder, or move away the one that is there"
                ),
            )))
        }
        Err(error) => Err(error.into()),
    }
}

fn write_marker(into: &Path, marker: &Marker) -> anyhow::Result<()> {
    let new = into.join(MARKER_NEW);
    let write = || -> anyhow::Result<()> {
        let mut file = std::fs::File::create(&new)?;
        file.write_all(&serde_json::to_vec(marker)?)?;
        file.sync_all()?;
        std::fs::rename(&new, into.join(MARKER))?;
        Ok(())
    };
    write().context("writing restore.json")?;
    sync(into)
}

fn sync(folder: &Path) -> anyhow::Result<()> {
    std::fs::File::open(folder)
        .and_then(|folder| folder.sync_all())
        .with_context(|| format!("syncing {}", folder.display()))
}

fn remove_folder(folder: &Path) -> anyhow::Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", folder.display()))
        }
        _ => Ok(()),
    }
}

fn remove_file(file: &Path) -> anyhow::Result<()> {
    match std::fs::remove_file(file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", file.display()))
        }
        _ => Ok(()),
    }
}

/// The checkpoint that was begun, else the one asked for, else the newest.
async fn choose(
    request: &RestoreRequest,
    marker: Option<&Marker>,
) -> Result<CheckpointName, RestoreError> {
    let names = list_checkpoints(&*request.from).await?;
    let begun = marker.map(|marker| marker.checkpoint.as_str());
    let asked = request.checkpoint.map(|name| name.to_string());
    if let (Some(begun), Some(asked)) = (begun, &asked)
        && begun != asked
    {
        return Err(RestoreError::Refused(Text::filled(
            format!(
                "in questa cartella è iniziato il ripristino di {begun}: continuare con quello, o svuotarla"
            ),
            format!(
                "in this folder the restore of {begun} was begun: go on with that one, or empty the folder"
            ),
        )));
    }
    let wanted = begun.map(str::to_owned).or(asked);
    let found = match &wanted {
        None => names.last(),
        Some(wanted) => names.iter().find(|name| name.to_string() == *wanted),
    };
    found.copied().ok_or_else(|| {
        let wanted = wanted.unwrap_or_default();
        RestoreError::Refused(Text::filled(
            format!("non c'è nessuna copia {wanted}: `ceralacca backup list` le elenca, controllare --from"),
            format!("there is no checkpoint {wanted}: `ceralacca backup list` shows them, check --from"),
        ))
    })
}

async fn fetch_files(
    request: &RestoreRequest,
    repository: &Repository,
    manifest: &Manifest,
    progress: &mut FetchProgress,
    on_progress: OnProgress<'_>,
) -> Result<(), RestoreError> {
    let into = &request.into;
    let named = into.join(CATALOG).exists();
    let place = |name: &str| match name.strip_prefix("catalog/") {
        // It has its own name already: everything was done but the end.
        Some(_) if named => None,
        Some(file) => Some(Path::new(CATALOG_RESTORING).join(file)),
        // The registry is changed too; it comes anew with the catalog.
        None if name == REGISTRY && named => None,
        None => Some(PathBuf::from(name)),
    };
    Ok(fetch::fetch_files(repository, manifest, into, place, progress, on_progress).await?)
}

async fn fetch_packs(
    request: &RestoreRequest,
    repository: &Repository,
    manifest: &Manifest,
    progress: &mut FetchProgress,
    on_progress: OnProgress<'_>,
) -> Result<FetchedPacks, RestoreError> {
    if manifest.packs_in_place {
        return Ok(fetch::look_at_packs(repository, manifest).await?);
    }
    let packs_to: Arc<dyn ObjectStore> = match &request.packs_to {
        Some(objects) if !request.rehearsal => Arc::clone(objects),
        _ => local_objects(&request.into.join("objects"))?,
    };
    Ok(fetch::fetch_packs(repository, manifest, &*packs_to, progress, on_progress).await?)
}

fn outside(manifest: &Manifest, into: &Path) -> Vec<PathBuf> {
    let prefix = format!("{OUTSIDE}/");
    let outside = manifest.files.iter().filter(|file| file.name.starts_with(&prefix));
    outside.map(|file| into.join(&file.name)).collect()
}

async fn change_catalog(
    into: &Path,
    name: CheckpointName,
    succession: &Succession,
    clock: &dyn Clock,
    restored: &mut Restored,
) -> anyhow::Result<()> {
    let families = Store::families(&crate::serve::store::families());
    let folder = into.join(CATALOG_RESTORING);
    let engine = RocksEngine::open(&folder, &families, &RocksConfig::default())
        .await
        .context("opening the restored catalog")?;
    let applied =
        rules::apply(&*engine, succession).await.context("raising the catalog's numbers")?;
    let now = clock.now();
    restored.epoch = applied.epoch;
    restored.accounts = applied.accounts;
    restored.held = held::hold_all(&*engine, name, now).await.context("holding duties")?;
    let (epoch, duties) = (applied.epoch, restored.held);
    let detail = format!("checkpoint {name}, epoch {epoch} from now on, {duties} duties held");
    held::note_restore(&*engine, EngineSettings::default().node, now, detail)
        .await
        .context("writing the journal")?;
    engine.close().await.context("closing the restored catalog")
}

async fn change_registry(into: &Path, epochs: u32, clock: Arc<dyn Clock>) -> anyhow::Result<()> {
    // Limits of plans that the provider has changed are told again when the server starts.
    let settings = Config::default();
    let file = into.join(REGISTRY);
    let registry = Registry::open(&file, &settings.registry, settings.plans, clock).await?;
    registry.raise_numbers(epochs).await?;
    registry.tell_all_accounts().await?;
    registry.close().await;
    Ok(())
}
