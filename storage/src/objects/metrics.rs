//! Tells an observer of every request: what it was, how it ended, its octets and its time.
//!
//! This floor has no metrics of its own: the program hands in a [`RequestObserver`] and shows what
//! it hears.
//!
//! Not here: names of metrics (the program's), tries that were not made (`objects::retry` tells of
//! each retry).

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::{StreamExt as _, TryStreamExt as _, stream::BoxStream};
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartId, MultipartUpload,
    ObjectMeta, ObjectStore, ObjectStoreExt as _, PutMultipartOptions, PutOptions, PutPayload,
    PutResult, Result,
    multipart::{MultipartStore, PartId},
    path::Path,
};
use tokio::time::Instant;

use super::{RemoteObjects, parts::Upload, retry::is_temporary};

/// What a request is for.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Operation {
    /// A whole object goes up.
    Put,
    /// An object or a part of it comes down, or only its size.
    Get,
    /// Names.
    List,
    /// An object goes away.
    Delete,
    /// An object is copied inside the store.
    Copy,
    /// An upload in parts begins.
    UploadBegin,
    /// A part goes up.
    UploadPart,
    /// The parts become an object.
    UploadComplete,
    /// The parts are thrown away.
    UploadAbort,
}

impl Operation {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Put,
        Self::Get,
        Self::List,
        Self::Delete,
        Self::Copy,
        Self::UploadBegin,
        Self::UploadPart,
        Self::UploadComplete,
        Self::UploadAbort,
    ];

    /// Its name in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Get => "get",
            Self::List => "list",
            Self::Delete => "delete",
            Self::Copy => "copy",
            Self::UploadBegin => "upload_begin",
            Self::UploadPart => "upload_part",
            Self::UploadComplete => "upload_complete",
            Self::UploadAbort => "upload_abort",
        }
    }
}

/// How a request ended.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Outcome {
    /// As wished.
    Done,
    /// The object is not there, or is there already: an answer, not a failure.
    Refused,
    /// It may succeed later.
    Temporary,
    /// It cannot succeed like this.
    Permanent,
}

impl Outcome {
    /// Its name in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Refused => "refused",
            Self::Temporary => "temporary",
            Self::Permanent => "permanent",
        }
    }

    fn of<R>(result: &Result<R>) -> Self {
        match result {
            Ok(_) => Self::Done,
            Err(
                Error::NotFound { .. }
                | Error::AlreadyExists { .. }
                | Error::Precondition { .. }
                | Error::NotModified { .. },
            ) => Self::Refused,
            Err(error) if is_temporary(error) => Self::Temporary,
            Err(_) => Self::Permanent,
        }
    }
}

/// Hears of every request. Called on the request's own task: it must not block.
pub trait RequestObserver: fmt::Debug + Send + Sync + 'static {
    /// A request has ended. `octets` are those of its body, sent or received.
    fn request(&self, operation: Operation, outcome: Outcome, octets: u64, elapsed: Duration);

    /// A request is about to be tried again.
    fn retry(&self, operation: Operation);
}

/// Nobody listens.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoObserver;

impl RequestObserver for NoObserver {
    fn request(&self, _: Operation, _: Outcome, _: u64, _: Duration) {}

    fn retry(&self, _: Operation) {}
}

/// A store whose requests are told to an observer.
#[derive(Debug)]
pub struct Metered<T> {
    inner: Arc<T>,
    observer: Arc<dyn RequestObserver>,
}

impl<T> Clone for Metered<T> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner), observer: Arc::clone(&self.observer) }
    }
}

impl<T: RemoteObjects> Metered<T> {
    /// Tells `observer` of the requests to `inner`.
    pub fn new(inner: T, observer: Arc<dyn RequestObserver>) -> Self {
        Self { inner: Arc::new(inner), observer }
    }

    async fn told<R>(
        &self,
        operation: Operation,
        octets: u64,
        request: impl Future<Output = Result<R>> + Send,
    ) -> Result<R> {
        let begun = Instant::now();
        let result = request.await;
        let octets = if result.is_ok() { octets } else { 0 };
        self.observer.request(operation, Outcome::of(&result), octets, begun.elapsed());
        result
    }

    fn told_list(
        &self,
        listed: BoxStream<'static, Result<ObjectMeta>>,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let observer = Arc::clone(&self.observer);
        let begun = Instant::now();
        // Told at the first name, which needed a request, and again when a later page fails.
        let state = (listed, observer, Some(begun));
        futures::stream::unfold(state, |(mut listed, observer, mut first)| async move {
            let next = listed.next().await;
            let elapsed = first.take().map(|begun| begun.elapsed());
            let outcome = next.as_ref().map_or(Outcome::Done, Outcome::of);
            if elapsed.is_some() || outcome != Outcome::Done {
                observer.request(Operation::List, outcome, 0, elapsed.unwrap_or_default());
            }
            next.map(|item| (item, (listed, observer, first)))
        })
        .boxed()
    }
}

impl<T: RemoteObjects> fmt::Display for Metered<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(formatter)
    }
}

#[async_trait]
impl<T: RemoteObjects> ObjectStore for Metered<T> {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        let octets = payload.content_length() as u64;
        self.told(Operation::Put, octets, self.inner.put_opts(location, payload, options)).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        Upload::begin(self.clone(), location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let head = options.head;
        let begun = Instant::now();
        let result = self.inner.get_opts(location, options).await;
        let octets = match &result {
            Ok(got) if !head => got.range.end.saturating_sub(got.range.start),
            _ => 0,
        };
        self.observer.request(Operation::Get, Outcome::of(&result), octets, begun.elapsed());
        result
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let metered = self.clone();
        locations
            .and_then(move |location| {
                let metered = metered.clone();
                async move {
                    let deleted = metered.inner.delete(&location);
                    metered.told(Operation::Delete, 0, deleted).await?;
                    Ok(location)
                }
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.told_list(self.inner.list(prefix))
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.told_list(self.inner.list_with_offset(prefix, offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.told(Operation::List, 0, self.inner.list_with_delimiter(prefix)).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.told(Operation::Copy, 0, self.inner.copy_opts(from, to, options)).await
    }
}

#[async_trait]
impl<T: RemoteObjects> MultipartStore for Metered<T> {
    async fn create_multipart(&self, path: &Path) -> Result<MultipartId> {
        self.told(Operation::UploadBegin, 0, self.inner.create_multipart(path)).await
    }

    async fn create_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> Result<MultipartId> {
        let begun = self.inner.create_multipart_opts(path, options);
        self.told(Operation::UploadBegin, 0, begun).await
    }

    async fn put_part(
        &self,
        path: &Path,
        id: &MultipartId,
        part: usize,
        payload: PutPayload,
    ) -> Result<PartId> {
        let octets = payload.content_length() as u64;
        let sent = self.inner.put_part(path, id, part, payload);
        self.told(Operation::UploadPart, octets, sent).await
    }

    async fn complete_multipart(
        &self,
        path: &Path,
        id: &MultipartId,
        parts: Vec<PartId>,
    ) -> Result<PutResult> {
        let completed = self.inner.complete_multipart(path, id, parts);
        self.told(Operation::UploadComplete, 0, completed).await
    }

    async fn abort_multipart(&self, path: &Path, id: &MultipartId) -> Result<()> {
        self.told(Operation::UploadAbort, 0, self.inner.abort_multipart(path, id)).await
    }
}
