//! Bounds the requests that are on the wire at once.
//!
//! A request waits for its turn without a bound on time of its own: callers are bounded by the
//! sessions and workers there are. Listing takes no turn: it runs page by page beside what its
//! reader does with the names, which would otherwise wait for itself.
//!
//! Not here: the time of a request (`objects::timeout`).

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use futures::{StreamExt as _, stream::BoxStream};
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartId, MultipartUpload, ObjectMeta,
    ObjectStore, ObjectStoreExt as _, PutMultipartOptions, PutOptions, PutPayload, PutResult,
    Result,
    multipart::{MultipartStore, PartId},
    path::Path,
};
use tokio::sync::Semaphore;

use super::{RemoteObjects, parts::Upload};

/// Deletions that one call has under way.
const DELETIONS_MAX: usize = 8;

/// A store with a bounded number of requests at once.
#[derive(Debug)]
pub struct Limited<T> {
    inner: Arc<T>,
    turns: Arc<Semaphore>,
}

impl<T> Clone for Limited<T> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner), turns: Arc::clone(&self.turns) }
    }
}

impl<T: RemoteObjects> Limited<T> {
    /// Lets at most `requests_max` requests go to `inner` at once, at least one.
    pub fn new(inner: T, requests_max: usize) -> Self {
        let turns = Semaphore::new(requests_max.clamp(1, Semaphore::MAX_PERMITS));
        Self { inner: Arc::new(inner), turns: Arc::new(turns) }
    }

    async fn in_turn<R>(&self, request: impl Future<Output = Result<R>> + Send) -> Result<R> {
        // The semaphore is never closed; were it, there would be no bound, not no store.
        let _turn = self.turns.acquire().await.ok();
        request.await
    }
}

impl<T: RemoteObjects> fmt::Display for Limited<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(formatter)
    }
}

#[async_trait]
impl<T: RemoteObjects> ObjectStore for Limited<T> {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        self.in_turn(self.inner.put_opts(location, payload, options)).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        Upload::begin(self.clone(), location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.in_turn(self.inner.get_opts(location, options)).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let limited = self.clone();
        locations
            .map(move |location| {
                let limited = limited.clone();
                async move {
                    let location = location?;
                    limited.in_turn(limited.inner.delete(&location)).await?;
                    Ok(location)
                }
            })
            .buffered(DELETIONS_MAX)
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.in_turn(self.inner.list_with_delimiter(prefix)).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.in_turn(self.inner.copy_opts(from, to, options)).await
    }
}

#[async_trait]
impl<T: RemoteObjects> MultipartStore for Limited<T> {
    async fn create_multipart(&self, path: &Path) -> Result<MultipartId> {
        self.in_turn(self.inner.create_multipart(path)).await
    }

    async fn create_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> Result<MultipartId> {
        self.in_turn(self.inner.create_multipart_opts(path, options)).await
    }

    async fn put_part(
        &self,
        path: &Path,
        id: &MultipartId,
        part: usize,
        payload: PutPayload,
    ) -> Result<PartId> {
        self.in_turn(self.inner.put_part(path, id, part, payload)).await
    }

    async fn complete_multipart(
        &self,
        path: &Path,
        id: &MultipartId,
        parts: Vec<PartId>,
    ) -> Result<PutResult> {
        self.in_turn(self.inner.complete_multipart(path, id, parts)).await
    }

    async fn abort_multipart(&self, path: &Path, id: &MultipartId) -> Result<()> {
        self.in_turn(self.inner.abort_multipart(path, id)).await
    }
}
