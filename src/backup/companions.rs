//! What goes with the catalog: registry, keys, certificates, configuration.
//!
//! * The registry is copied only when its files have changed since the last complete increment.
//! * A file outside of the data folder goes under its absolute path, below `restored/`, so that a
//!   restore never writes outside of its folder.
//! * A file that the configuration names and that is not there is passed over with a warning: mail
//!   is more urgent than it.
//!
//! Not here: how files are encrypted and shipped (`storage::backup`).

use std::{
    os::unix::fs::MetadataExt as _,
    path::{Component, Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use storage::backup::run::{Companion, Companions};

use crate::{config::Config, registry::Registry};

/// The registry's name in a checkpoint.
pub const REGISTRY: &str = "registry.sqlite";
/// Folders of the data folder that go along: the development authority and the signing pairs. The copy
/// of the directory is fetched again.
const FOLDERS: [&str; 2] = ["authority", "signing"];
/// The key of the quarantine in a checkpoint, and in the data folder.
pub const QUARANTINE_KEY: &str = "quarantine.key";
/// What names of files from outside of the data folder begin with.
pub const OUTSIDE: &str = "restored";

/// Length and time of change of the registry's files.
type Stamp = Vec<(u64, i64, i64)>;

/// The files of a provider.
#[derive(Debug)]
pub struct ProviderFiles {
    config: Arc<Config>,
    registry: Arc<Registry>,
    stamps: Mutex<Stamps>,
}

#[derive(Debug, Default)]
struct Stamps {
    /// Of the copy in the last complete increment.
    complete: Option<Stamp>,
    /// Of the copy that is on its way.
    prepared: Option<Stamp>,
}

impl ProviderFiles {
    /// The files of the provider of `config`.
    #[must_use]
    pub fn new(config: Arc<Config>, registry: Arc<Registry>) -> Self {
        Self { config, registry, stamps: Mutex::default() }
    }

    /// The increment that was prepared last is complete.
    pub fn confirm(&self) {
        let mut stamps = self.stamps.lock().unwrap_or_else(PoisonError::into_inner);
        stamps.complete = stamps.prepared.take();
    }

    fn stamp(&self) -> Stamp {
        let file = self.config.data.registry_file();
        let log = file.with_extension("sqlite-wal");
        [file, log]
            .iter()
            .map(|path| {
                std::fs::metadata(path)
                    .map_or((0, 0, 0), |meta| (meta.len(), meta.mtime(), meta.mtime_nsec()))
            })
            .collect()
    }

    async fn registry(
        &self,
        folder: &Path,
    ) -> Result<Companion, Box<dyn std::error::Error + Send + Sync>> {
        // Before the copy: a change in between makes the next copy a new one.
        let stamp = self.stamp();
        let path = folder.join(REGISTRY);
        self.registry.copy_to(&path).await?;
        let mut stamps = self.stamps.lock().unwrap_or_else(PoisonError::into_inner);
        let unchanged = stamps.complete.as_ref() == Some(&stamp);
        stamps.prepared = Some(stamp);
        Ok(Companion { name: REGISTRY.to_owned(), path, unchanged })
    }

    /// Every file that the configuration names, and the configuration.
    fn outside(&self) -> Vec<PathBuf> {
        let config = &self.config;
        let mut files: Vec<PathBuf> = config.file.iter().cloned().collect();
        for pair in [&config.tls, &config.signing].into_iter().flatten() {
            files.extend([pair.certificate_file.clone(), pair.key_file.clone()]);
        }
        let directory = &config.directory;
        files.extend(
            directory
                .fetch
                .client
                .iter()
                .flat_map(|pair| [pair.certificate_file.clone(), pair.key_file.clone()]),
        );
        let directory_files = [
            &directory.ldif_file,
            &directory.fetch.tls_authority_file,
            &directory.fetch.signer_certificate_file,
            &directory.publish.client_authority_file,
            &directory.publish.secondary_ldif_file,
        ];
        files.extend(directory_files.into_iter().flatten().cloned());
        files.extend(config.trust.authority_files.iter().cloned());
        files.extend(config.trust.revocation_files.iter().cloned());
        files.extend(config.journal.timestamp_authority_files.iter().cloned());
        files.extend(config.backup.recovery_certificate_file.clone());
        files.extend(config.backup.also_files.iter().cloned());
        files
    }

    /// Without it nothing in quarantine can be opened.
    fn quarantine_key(&self) -> Option<Companion> {
        let path = self.config.data.quarantine_key_file();
        let there = path.is_file();
        there.then(|| Companion { name: QUARANTINE_KEY.to_owned(), path, unchanged: false })
    }

    /// The files of a folder of the data folder that hold keys and certificates.
    fn inside(&self, name: &str) -> Vec<Companion> {
        let folder = self.config.data.folder.join(name);
        let Ok(entries) = std::fs::read_dir(&folder) else { return Vec::new() };
        let mut files: Vec<Companion> = entries
            .flatten()
            // A file on its way into another one's place is not there yet.
            .filter(|entry| {
                let path = entry.path();
                path.is_file() && path.extension().is_none_or(|end| end != "new")
            })
            .filter_map(|entry| {
                let name = format!("{name}/{}", entry.file_name().to_str()?);
                Some(Companion { name, path: entry.path(), unchanged: false })
            })
            .collect();
        files.sort_by(|left, right| left.name.cmp(&right.name));
        files
    }
}

/// The name of a file from outside: `restored/` and its absolute path.
fn name_of(path: &Path) -> Option<String> {
    let absolute = std::path::absolute(path).ok()?;
    let mut name = OUTSIDE.to_owned();
    for component in absolute.components() {
        match component {
            Component::RootDir => {}
            Component::Normal(part) => name.extend(["/", part.to_str()?]),
            _ => return None,
        }
    }
    Some(name)
}

#[async_trait::async_trait]
impl Companions for ProviderFiles {
    async fn prepare(
        &self,
        folder: &Path,
    ) -> Result<Vec<Companion>, Box<dyn std::error::Error + Send + Sync>> {
        let mut files = vec![self.registry(folder).await?];
        files.extend(self.quarantine_key());
        for name in FOLDERS {
            files.extend(self.inside(name));
        }
        for path in self.outside() {
            let name = name_of(&path).filter(|_| path.is_file());
            let Some(name) = name else {
                tracing::warn!(file = %path.display(), "the back-up goes without this file");
                continue;
            };
            if files.iter().all(|file| file.name != name) {
                files.push(Companion { name, path, unchanged: false });
            }
        }
        Ok(files)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_from_outside_keeps_its_absolute_path_below_one_folder() {
        let name = name_of(Path::new("/etc/ceralacca/signing.key"));
        assert_eq!(name.as_deref(), Some("restored/etc/ceralacca/signing.key"));
        assert_eq!(name_of(Path::new("/etc/../signing.key")), None);
        let relative = name_of(Path::new("signing.key")).expect("a name");
        assert!(
            relative.ends_with("/signing.key") && relative.len() > "restored/signing.key".len()
        );
    }
}
