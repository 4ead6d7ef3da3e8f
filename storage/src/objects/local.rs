//! Objects in a local folder, which survive a crash of the machine.
//!
//! * Each object is synced before it gets its name, and its folder after. The folders that packs
//!   go to are made and synced when the folder is opened, once: two first writers of one folder
//!   could otherwise acknowledge a pack whose folder's own name is not on disk yet.
//! * A name that replaces, moves or copies is synced by the client ([`LocalFileSystem`] with fsync),
//!   in both folders. Deletion is not, so it is done here: an object whose deletion was reported,
//!   such as the last copy of something erased, must not come back after a power cut.
//! * A crash leaves files `<name>#<number>` of uploads that never got their name. No listing shows
//!   them; [`remove_torn_uploads`] takes them away.
//!
//! Not here: what is in the objects.

use std::{
    fmt,
    ops::Range,
    path::{Path as FolderPath, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt as _, stream::BoxStream};
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt as _, PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions,
    Result, local::LocalFileSystem, path::Path,
};

use crate::error::StoreError;

/// Deletions that one call has under way.
const DELETIONS_MAX: usize = 8;

/// Opens a folder as an object store whose objects survive a crash.
pub fn local_objects(folder: &FolderPath) -> Result<Arc<dyn ObjectStore>, StoreError> {
    make_folders(folder).map_err(|source| failed(folder, source))?;
    existing_objects(folder)
}

/// As [`local_objects`], for a folder in which packs may only be read: changes nothing by itself.
pub fn existing_objects(folder: &FolderPath) -> Result<Arc<dyn ObjectStore>, StoreError> {
    let files =
        LocalFileSystem::new_with_prefix(folder).map_err(|source| failed(folder, source))?;
    Ok(Arc::new(LocalObjects { files: Arc::new(files.with_fsync(true)) }))
}

fn failed(
    folder: &FolderPath,
    source: impl std::error::Error + Send + Sync + 'static,
) -> StoreError {
    StoreError::Objects {
        operation: "open the folder",
        object: folder.display().to_string(),
        source: Box::new(source),
    }
}

fn make_folders(folder: &FolderPath) -> std::io::Result<()> {
    let packs = folder.join("packs");
    let cold = packs.join("cold");
    std::fs::create_dir_all(&cold)?;
    for (packs, first) in
        [&packs, &cold].into_iter().flat_map(|it| (0..=u8::MAX).map(move |n| (it, n)))
    {
        match std::fs::create_dir(packs.join(format!("{first:02x}"))) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    }
    sync_folder(&cold)?;
    sync_folder(&packs)?;
    sync_folder(folder)?;
    match folder.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) => sync_folder(parent),
        None => Ok(()),
    }
}

fn sync_folder(folder: &FolderPath) -> std::io::Result<()> {
    std::fs::File::open(folder)?.sync_all()
}

/// Removes what uploads left that a crash cut short, and returns how many. Only for the process
/// that owns the store: the uploads of another would be torn.
pub fn remove_torn_uploads(folder: &FolderPath) -> Result<usize, StoreError> {
    let mut removed = 0;
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        removed +=
            remove_torn_uploads_in(&next, &mut folders).map_err(|source| failed(&next, source))?;
    }
    Ok(removed)
}

fn remove_torn_uploads_in(
    folder: &FolderPath,
    folders: &mut Vec<PathBuf>,
) -> std::io::Result<usize> {
    let mut removed = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            folders.push(entry.path());
            continue;
        }
        let name = entry.file_name();
        let torn =
            name.to_str().and_then(|name| name.rsplit_once('#')).is_some_and(|(name, number)| {
                !name.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit())
            });
        if torn {
            std::fs::remove_file(entry.path())?;
            removed += 1;
        }
    }
    Ok(removed)
}

/// [`LocalFileSystem`] whose deletions are synced too.
#[derive(Debug)]
struct LocalObjects {
    files: Arc<LocalFileSystem>,
}

impl LocalObjects {
    async fn delete_synced(files: &LocalFileSystem, location: Path) -> Result<Path> {
        files.delete(&location).await?;
        let path = files.path_to_filesystem(&location)?;
        let synced = tokio::task::spawn_blocking(move || path.parent().map_or(Ok(()), sync_folder));
        synced.await?.map_err(|error| object_store::Error::Generic {
            store: "LocalFileSystem",
            source: Box::new(error),
        })?;
        Ok(location)
    }
}

impl fmt::Display for LocalObjects {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.files.fmt(formatter)
    }
}

#[async_trait]
impl ObjectStore for LocalObjects {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        self.files.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.files.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.files.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.files.get_ranges(location, ranges).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let files = Arc::clone(&self.files);
        locations
            .map(move |location| {
                let files = Arc::clone(&files);
                async move { Self::delete_synced(&files, location?).await }
            })
            .buffered(DELETIONS_MAX)
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.files.list(prefix)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.files.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.files.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.files.copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.files.rename_opts(from, to, options).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_a_crash_left_of_an_upload_goes_and_objects_stay() {
        let folder = tempfile::tempdir().unwrap();
        let objects = local_objects(folder.path()).unwrap();
        let path = Path::from("packs/ab/one.pack");
        objects.put(&path, "octets".into()).await.unwrap();
        let torn = folder.path().join("packs/ab/two.pack#1");
        std::fs::write(&torn, "half").unwrap();
        assert_eq!(remove_torn_uploads(folder.path()).unwrap(), 1);
        assert!(!torn.exists());
        assert_eq!(objects.get(&path).await.unwrap().bytes().await.unwrap(), "octets");
        objects.delete(&path).await.unwrap();
        assert!(matches!(objects.head(&path).await, Err(object_store::Error::NotFound { .. })));
        assert!(objects.delete(&path).await.is_err(), "as the client says it");
    }
}
