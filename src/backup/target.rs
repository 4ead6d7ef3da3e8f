//! Where the back-up lies, its data key and the seals of that.
//!
//! * The data key lies in the data folder, beside everything it protects; in the back-up it is
//!   sealed. The recovery key's private half is on no node.
//! * A folder as target must exist already: an unmounted disk must not become a folder of the
//!   system's disk.

use std::{io::Write as _, os::unix::fs::OpenOptionsExt as _, path::Path, sync::Arc};

use anyhow::{Context as _, bail};
use storage::{
    backup::{
        BackupError,
        repository::{ObjectStore, Pace, Repository, seals},
    },
    error::StoreError,
    objects::local::{existing_objects, local_objects},
};
use trust::{
    certificate::Certificate,
    digest::Sha256Digest,
    key::PrivateKey,
    random::RandomSource,
    seal::{DataKey, DataKeyId, SealError},
};

use crate::config::{BackupTarget, Config};

/// The back-up's object store.
#[derive(Clone, Debug)]
pub struct Target {
    /// The objects.
    pub objects: Arc<dyn ObjectStore>,
    /// The packs of the store lie in it.
    pub packs_in_place: bool,
}

/// Opens the target of the configuration; `None` when there is none.
///
/// # Errors
///
/// When a folder is missing, lies in the data folder, or cannot be written.
pub fn open(config: &Config) -> anyhow::Result<Option<Target>> {
    open_by(config, local_objects)
}

/// As [`open`], only to look: makes no folders.
///
/// # Errors
///
/// As [`open`].
pub fn open_to_look(config: &Config) -> anyhow::Result<Option<Target>> {
    open_by(config, existing_objects)
}

type OpenFolder = fn(&Path) -> Result<Arc<dyn ObjectStore>, StoreError>;

fn open_by(config: &Config, open: OpenFolder) -> anyhow::Result<Option<Target>> {
    match &config.backup.target {
        None => Ok(None),
        Some(BackupTarget::Folder(folder)) => {
            let below = |folder: &Path| folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
            if below(folder).starts_with(below(&config.data.folder)) {
                bail!(
                    "backup.target {} is in the data folder and would be lost with it: choose another disk",
                    folder.display()
                );
            }
            Ok(Some(Target { objects: open_folder_by(folder, open)?, packs_in_place: false }))
        }
        Some(BackupTarget::Objects) => {
            let objects = crate::serve::store::remote_objects(config)?;
            let objects = objects.context(
                "backup.target \"objects\": the packs are in the data folder and would be lost with it; \
                 give a folder of another disk, or keep the packs in a bucket",
            )?;
            Ok(Some(Target { objects, packs_in_place: true }))
        }
    }
}

/// Opens a folder that exists as a back-up's object store, to read from; makes no folders.
///
/// # Errors
///
/// When it does not exist.
pub fn open_folder(folder: &Path) -> anyhow::Result<Arc<dyn ObjectStore>> {
    open_folder_by(folder, existing_objects)
}

fn open_folder_by(folder: &Path, open: OpenFolder) -> anyhow::Result<Arc<dyn ObjectStore>> {
    if !folder.is_dir() {
        bail!("the back-up's folder {} does not exist: is the disk mounted?", folder.display());
    }
    open(folder).with_context(|| format!("opening {}", folder.display()))
}

/// The data key of this node; `None` before the first back-up.
///
/// # Errors
///
/// When the file cannot be read or holds no key.
pub fn data_key(config: &Config) -> anyhow::Result<Option<DataKey>> {
    let file = config.data.backup_key_file();
    match std::fs::read(&file) {
        Ok(octets) => Ok(Some(DataKey::from_octets(&octets).with_context(|| {
            format!("{} holds no data key: remove it, and the next back-up ships everything under a new one", file.display())
        })?)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("reading {}", file.display())),
    }
}

/// Keeps `key` as the data key of the node in `file`, mode 0600, durably.
///
/// # Errors
///
/// When the file cannot be written.
pub fn keep_data_key(file: &Path, key: &DataKey) -> anyhow::Result<()> {
    let new = file.with_extension("key-new");
    let write = || -> std::io::Result<()> {
        // One that was left over may have another mode, which opening it would keep.
        match std::fs::remove_file(&new) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut options = std::fs::OpenOptions::new();
        let mut opened = options.write(true).create_new(true).mode(0o600).open(&new)?;
        opened.write_all(key.expose())?;
        opened.sync_all()?;
        std::fs::rename(&new, file)?;
        file.parent().map_or(Ok(()), |folder| std::fs::File::open(folder)?.sync_all())
    };
    write().with_context(|| format!("writing {}", file.display()))
}

/// Opens the repository of `target` with this node's data key, which is made when there is none.
///
/// # Errors
///
/// When the key cannot be read or kept.
pub fn repository(
    config: &Config,
    target: &Target,
    random: Arc<dyn RandomSource>,
) -> anyhow::Result<Arc<Repository>> {
    let key = if let Some(key) = data_key(config)? {
        key
    } else {
        let key = DataKey::draw(&*random);
        keep_data_key(&config.data.backup_key_file(), &key)?;
        key
    };
    let pace = Pace::new(Some(config.backup.timing.octets_per_second.0));
    Ok(Arc::new(Repository::new(Arc::clone(&target.objects), key, random, pace)))
}

/// Puts the data key into the back-up, sealed as the configuration says.
///
/// # Errors
///
/// When certificate or pass phrase cannot be read, or the object store does not answer.
pub async fn seal(
    config: &Config,
    repository: &Repository,
    random: &dyn RandomSource,
) -> anyhow::Result<()> {
    let settings = &config.backup;
    if let Some(file) = &settings.recovery_certificate_file {
        let certificate = Certificate::read_all(file)?.into_iter().next();
        let certificate = certificate
            .with_context(|| format!("{} holds no certificate in PEM", file.display()))?;
        let name = format!("{}.cms", short(certificate.to_der()));
        if !repository.has_seal(&name).await? {
            let sealed = repository.key().seal_to(&certificate).with_context(|| {
                format!("sealing to {}: its key must be an RSA key", file.display())
            })?;
            repository.put_seal(&name, sealed).await?;
        }
    }
    if let Some(file) = &settings.passphrase_file {
        let passphrase = passphrase(file)?;
        // The name must tell nothing of the phrase: it is derived with the data key.
        let mut mark = repository.key().derive("ceralacca pass phrase mark").to_vec();
        mark.extend_from_slice(&passphrase);
        let name = format!("{}.passphrase", short(&mark));
        if !repository.has_seal(&name).await? {
            let sealed = repository.key().seal_under(&passphrase, random)?;
            repository.put_seal(&name, sealed).await?;
        }
    }
    Ok(())
}

fn short(octets: &[u8]) -> String {
    hex::encode(&Sha256Digest::of(octets).0[..8])
}

/// The first line of a file.
fn passphrase(file: &Path) -> anyhow::Result<Vec<u8>> {
    let text = std::fs::read(file)
        .with_context(|| format!("reading the pass phrase in {}", file.display()))?;
    let line = text.split(|octet| b"\r\n".contains(octet)).next().unwrap_or_default();
    if line.len() < PASSPHRASE_OCTETS_MIN {
        bail!("the pass phrase in {} has less than {PASSPHRASE_OCTETS_MIN} octets", file.display());
    }
    Ok(line.to_vec())
}

/// Shorter ones are guessed.
const PASSPHRASE_OCTETS_MIN: usize = 12;

/// What opens the seal of a data key.
#[derive(Debug)]
pub enum Secret {
    /// The recovery key.
    Recovery(PrivateKey),
    /// The pass phrase.
    Passphrase(Vec<u8>),
}

impl Secret {
    /// Reads a recovery key, in PEM.
    ///
    /// # Errors
    ///
    /// When the file holds none.
    pub fn recovery(file: &Path) -> anyhow::Result<Self> {
        Ok(Self::Recovery(PrivateKey::read(file)?))
    }

    /// Reads a pass phrase: the first line of the file.
    ///
    /// # Errors
    ///
    /// When the file cannot be read or the phrase is too short to have been accepted.
    pub fn passphrase(file: &Path) -> anyhow::Result<Self> {
        passphrase(file).map(Self::Passphrase)
    }
}

/// Opens the data key called `id`.
///
/// # Errors
///
/// [`BackupError::Seal`] when no seal opens with `secret`.
pub async fn unseal(
    objects: &dyn ObjectStore,
    id: DataKeyId,
    secret: &Secret,
) -> Result<DataKey, BackupError> {
    for seal in seals(objects, id).await? {
        let kind = seal.path.rsplit_once('.').map(|(_, kind)| kind);
        let opened = match secret {
            Secret::Recovery(key) if kind == Some("cms") => {
                DataKey::open_with(&seal.octets, id, key)
            }
            Secret::Passphrase(phrase) if kind == Some("passphrase") => {
                DataKey::open_under(&seal.octets, id, phrase)
            }
            _ => continue,
        };
        match opened {
            Ok(key) => return Ok(key),
            // Another recovery key's, or an older pass phrase's.
            Err(SealError::NotOpened) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(SealError::NotOpened.into())
}
