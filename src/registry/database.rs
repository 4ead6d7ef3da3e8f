//! Opens the registry's file and hands out transactions.
//!
//! SQLite in WAL mode, every commit synced, foreign keys on. Migrations run at opening, one process
//! at a time, under a lock file beside the database.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use sqlx::{
    Sqlite, SqlitePool, Transaction,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use trust::clock::{Clock, UnixMillis};

use super::{error::RegistryError, plan::Plans};
use crate::config::RegistrySettings;

/// Connections of one process. SQLite has one writer at a time; the others read.
const CONNECTIONS_MAX: u32 = 4;

/// The open registry. Cheap to share.
#[derive(Debug)]
pub struct Registry {
    pub(super) pool: SqlitePool,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) plans: Plans,
    pub(super) one_account_per_codice_fiscale: bool,
    /// Wakes whoever applies the outbox when a change is made in this process.
    pub(super) changed: tokio::sync::Notify,
}

impl Registry {
    /// Opens `file`, makes it when absent (readable by its owner only), and brings its tables to
    /// the form of this program.
    pub async fn open(
        file: &Path,
        settings: &RegistrySettings,
        plans: Plans,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<Self>, RegistryError> {
        let lock = lock_beside(file.to_path_buf()).await?;
        let options = SqliteConnectOptions::new()
            .filename(file)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(settings.busy_timeout.duration());
        let pool = SqlitePoolOptions::new()
            .max_connections(CONNECTIONS_MAX)
            .acquire_timeout(settings.busy_timeout.duration())
            .connect_with(options)
            .await
            .map_err(RegistryError::database("open"))?;
        sqlx::migrate!("src/registry/migrations").run(&pool).await.map_err(|error| {
            RegistryError::Database { operation: "migrate", source: Box::new(error) }
        })?;
        drop(lock);
        Ok(Arc::new(Self {
            pool,
            clock,
            plans,
            one_account_per_codice_fiscale: settings.one_account_per_codice_fiscale,
            changed: tokio::sync::Notify::new(),
        }))
    }

    /// Says whether the database answers, for `/readyz`.
    pub async fn ping(&self) -> Result<(), RegistryError> {
        sqlx::query("SELECT 1")
            .execute(&self.pool)
            .await
            .map(drop)
            .map_err(RegistryError::database("read"))
    }

    /// Waits for running statements and closes the file.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    /// The plans as this provider grants them.
    #[must_use]
    pub fn plans(&self) -> &Plans {
        &self.plans
    }

    pub(super) fn now(&self) -> UnixMillis {
        self.clock.now()
    }

    /// Begins a transaction that writes. It takes the writer's turn at once, so that it cannot fail
    /// halfway because another process wrote in between.
    pub(super) async fn begin(&self) -> Result<Transaction<'static, Sqlite>, RegistryError> {
        self.pool
            .begin_with("BEGIN IMMEDIATE")
            .await
            .map_err(RegistryError::database("begin a change"))
    }
}

/// Locks `<file>.lock` for this process, and makes `file` with access for its owner only: SQLite
/// gives its side files the same permissions.
async fn lock_beside(file: PathBuf) -> Result<File, RegistryError> {
    let locked = tokio::task::spawn_blocking(move || -> io::Result<File> {
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder)?;
        }
        let private =
            |path: &Path| OpenOptions::new().create(true).append(true).mode(0o600).open(path);
        let lock = private(&file.with_extension("lock"))?;
        lock.lock()?;
        private(&file)?;
        Ok(lock)
    })
    .await;
    let failed = |source: Box<dyn std::error::Error + Send + Sync>| RegistryError::Database {
        operation: "create the file",
        source,
    };
    match locked {
        Ok(Ok(lock)) => Ok(lock),
        Ok(Err(error)) => Err(failed(Box::new(error))),
        Err(error) => Err(failed(Box::new(error))),
    }
}
