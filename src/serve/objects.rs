//! Opens the object store of a configuration, asks it whether it can be trusted, counts what is
//! asked of it, and takes away what cut-off uploads left.
//!
//! Not here: the object stores (`storage::objects`), packs.

use std::{error::Error, fmt, path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context as _;
use storage::{
    objects::{
        ObjectStore, PrefixedObjects,
        local::{local_objects, remove_torn_uploads},
        metrics::{Operation, Outcome, RequestObserver},
        open_s3,
        probe::{ProbeError, probe},
        s3::{S3Objects, S3Settings},
    },
    pack::disk_cache::DiskCacheConfig,
};
use tokio_util::sync::CancellationToken;
use trust::{
    clock::Clock,
    random::{RandomSource, SystemRandom},
};

use crate::{
    config::{BucketSettings, Config, ObjectSettings},
    metrics_names::{OBJECT_OCTETS, OBJECT_REQUESTS, OBJECT_RETRIES, OBJECT_SECONDS},
    texts::{Language, Text},
};

/// Octets of a file with a secret key.
const SECRET_OCTETS_MAX: usize = 4096;
/// How often uploads that were cut off are looked for.
const LEFTOVERS_INTERVAL: Duration = Duration::from_hours(24);

/// The object store is refused: what it does is not what it says, or the configuration cannot
/// reach it.
#[derive(Debug)]
pub struct ObjectsRefused {
    text: Text,
}

impl ObjectsRefused {
    /// What is wrong, and what to do.
    #[must_use]
    pub fn text(&self) -> &Text {
        &self.text
    }
}

impl fmt::Display for ObjectsRefused {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.text.get(Language::English))
    }
}

impl Error for ObjectsRefused {}

/// Opens the object store; asks it nothing.
///
/// # Errors
///
/// When the folder, the settings of the bucket or the file of its key cannot be used.
pub fn open(
    config: &Config,
    random: Arc<dyn RandomSource>,
) -> anyhow::Result<Arc<dyn ObjectStore>> {
    match &config.objects {
        ObjectSettings::Folder(_) => {
            let folder = folder(config);
            Ok(local_objects(&folder)
                .with_context(|| format!("opening the packs in {}", folder.display()))?)
        }
        ObjectSettings::Bucket(bucket) => {
            let settings = s3_settings(bucket)?;
            let store = open_s3(&settings, &bucket.remote, random, Arc::new(RequestMetrics))
                .with_context(|| format!("opening the bucket {}", bucket.bucket))?;
            Ok(match &bucket.prefix {
                Some(prefix) => Arc::new(PrefixedObjects::new(store, prefix.as_str())),
                None => store,
            })
        }
    }
}

/// The disk cache for chunks of a bucket. Commands that look into the store have it too.
pub fn disk_cache(config: &Config) -> Option<DiskCacheConfig> {
    let ObjectSettings::Bucket(bucket) = &config.objects else { return None };
    let folder = bucket.cache_folder.clone().unwrap_or_else(|| config.data.object_cache_folder());
    let octets_max = bucket.cache_octets_max.0;
    (octets_max > 0).then_some(DiskCacheConfig { folder, octets_max })
}

/// The folder of packs.
fn folder(config: &Config) -> PathBuf {
    match &config.objects {
        ObjectSettings::Folder(Some(folder)) => folder.clone(),
        _ => config.data.objects_folder(),
    }
}

fn s3_settings(bucket: &BucketSettings) -> anyhow::Result<S3Settings> {
    let file = &bucket.secret_key_file;
    let refused = |italian: &str, english: &str| ObjectsRefused {
        text: Text::filled(
            format!("objects.secret_key_file: {}: {italian}", file.display()),
            format!("objects.secret_key_file: {}: {english}", file.display()),
        ),
    };
    let secret = std::fs::read_to_string(file).map_err(|error| {
        refused(&format!("non si legge ({error})"), &format!("cannot be read ({error})"))
    })?;
    let secret_key = secret.trim();
    if secret_key.is_empty() || secret_key.len() > SECRET_OCTETS_MAX || secret_key.contains('\n') {
        let (italian, english) =
            ("deve contenere la chiave su una riga", "must hold the key on one line");
        return Err(refused(italian, english).into());
    }
    let authority_pem = match &bucket.authority_file {
        Some(file) => Some(
            std::fs::read(file)
                .with_context(|| format!("reading objects.authority_file {}", file.display()))?,
        ),
        None => None,
    };
    Ok(S3Settings {
        endpoint: bucket.endpoint.clone(),
        bucket: bucket.bucket.clone(),
        region: bucket.region.clone(),
        access_key: bucket.access_key.clone(),
        secret_key: secret_key.to_owned(),
        allow_http: bucket.allow_http,
        virtual_hosted: bucket.virtual_hosted,
        authority_pem,
    })
}

/// Puts the store to the test, before anything is entrusted to it.
///
/// # Errors
///
/// [`ObjectsRefused`] when the store pretends, or does not answer.
pub async fn prove(config: &Config, objects: &dyn ObjectStore) -> Result<(), ObjectsRefused> {
    let remote = matches!(config.objects, ObjectSettings::Bucket(_));
    let result = probe(objects, &SystemRandom, remote).await;
    let error = match result {
        Ok(()) => return Ok(()),
        Err(error) => error,
    };
    if !error.is_pretence() {
        tracing::error!(error = &error as &dyn Error, "the object store does not answer");
    }
    Err(ObjectsRefused { text: refusal(&error) })
}

fn refusal(error: &ProbeError) -> Text {
    let remedy = Text::fixed(
        "L'archivio a oggetti non è affidabile e i messaggi si perderebbero: usare un server che rispetta If-None-Match anche in concorrenza (docs/operations.md, \"Object store\"), o [objects] kind = \"folder\"",
        "The object store cannot be trusted and messages would be lost: use a server that honours If-None-Match under concurrency too (docs/operations.md, \"Object store\"), or [objects] kind = \"folder\"",
    );
    let found = match error {
        ProbeError::Unanswered { operation, source } => {
            let operation = *operation;
            return Text::filled(
                format!(
                    "L'archivio a oggetti non risponde alla prova d'avvio ({operation}): controllare [objects] endpoint, bucket, chiavi e permessi, e che il server sia raggiungibile. Causa: {source}"
                ),
                format!(
                    "The object store does not answer the probe at start ({operation}): check [objects] endpoint, bucket, keys and permissions, and that the server can be reached. Cause: {source}"
                ),
            );
        }
        ProbeError::Replaces => Text::fixed(
            "accetta di creare un oggetto che esiste già",
            "it creates an object that exists already",
        ),
        ProbeError::RaceWon { winners } => Text::filled(
            format!(
                "di più creazioni contemporanee dello stesso oggetto ne sono riuscite {winners}, non una"
            ),
            format!(
                "of several creations of one object at the same time {winners} succeeded, not one"
            ),
        ),
        ProbeError::OtherOctets(_) => {
            Text::fixed("restituisce ottetti diversi", "it gives other octets back")
        }
        ProbeError::NotListed => Text::fixed(
            "non elenca un oggetto appena scritto",
            "it does not list an object just put",
        ),
        _ => Text::fixed("conserva un oggetto appena eliminato", "it keeps an object just deleted"),
    };
    let sentence = |language| format!("{}: {}.", remedy.get(language), found.get(language));
    Text::filled(sentence(Language::Italian), sentence(Language::English))
}

/// Takes away what cut-off uploads left: in a folder once, in a bucket daily. Only for the
/// process that has the store open.
pub async fn take_leftovers_away(
    config: Arc<Config>,
    clock: Arc<dyn Clock>,
    stopping: CancellationToken,
) {
    let bucket = match &config.objects {
        ObjectSettings::Folder(_) => {
            let folder = folder(&config);
            let removed = tokio::task::spawn_blocking(move || remove_torn_uploads(&folder)).await;
            match removed {
                Ok(Ok(0)) | Err(_) => {}
                Ok(Ok(files)) => tracing::info!(files, "files of torn uploads removed"),
                Ok(Err(error)) => {
                    tracing::warn!(error = &error as &dyn Error, "torn uploads were not removed");
                }
            }
            return;
        }
        ObjectSettings::Bucket(bucket) => bucket,
    };
    loop {
        match abort_leftovers(bucket, &*clock).await {
            Ok(0) => {}
            Ok(uploads) => tracing::info!(uploads, "uploads that were cut off are aborted"),
            // A server without the request to list them: a rule of the bucket does the same.
            Err(error) => {
                tracing::warn!(error = %format_args!("{error:#}"), "uploads that were cut off could not be looked for");
            }
        }
        tokio::select! {
            () = stopping.cancelled() => return,
            () = tokio::time::sleep(LEFTOVERS_INTERVAL) => {}
        }
    }
}

async fn abort_leftovers(bucket: &BucketSettings, clock: &dyn Clock) -> anyhow::Result<usize> {
    let objects = S3Objects::open(&s3_settings(bucket)?, bucket.remote.time.connect_max)?;
    let prefix = bucket.prefix.as_ref().map_or_else(String::new, |prefix| format!("{prefix}/"));
    let age = i64::try_from(bucket.leftover_age.0).unwrap_or(i64::MAX);
    let before = clock.now().plus_millis(age.saturating_neg());
    let mut aborted = 0;
    // Only what this program puts in parts: the bucket may be shared with others.
    for folder in ["packs/", "backup/", "probe/"] {
        aborted += objects.abort_leftovers(&format!("{prefix}{folder}"), before).await?;
    }
    Ok(aborted)
}

/// Shows requests at `/metrics`.
#[derive(Debug)]
struct RequestMetrics;

impl RequestObserver for RequestMetrics {
    fn request(&self, operation: Operation, outcome: Outcome, octets: u64, elapsed: Duration) {
        let (operation, outcome) = (operation.name(), outcome.name());
        metrics::counter!(OBJECT_REQUESTS, "operation" => operation, "outcome" => outcome)
            .increment(1);
        metrics::counter!(OBJECT_OCTETS, "operation" => operation).increment(octets);
        metrics::histogram!(OBJECT_SECONDS, "operation" => operation).record(elapsed.as_secs_f64());
    }

    fn retry(&self, operation: Operation) {
        metrics::counter!(OBJECT_RETRIES, "operation" => operation.name()).increment(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_in_both_languages_what_was_seen_and_what_to_do() {
        for error in [
            ProbeError::Replaces,
            ProbeError::RaceWon { winners: 3 },
            ProbeError::OtherOctets("whole"),
            ProbeError::NotListed,
            ProbeError::NotDeleted,
        ] {
            let text = refusal(&error);
            for (language, remedy) in
                [(Language::Italian, "usare un server"), (Language::English, "use a server")]
            {
                assert!(text.get(language).contains(remedy), "{error}");
            }
        }
    }
}
