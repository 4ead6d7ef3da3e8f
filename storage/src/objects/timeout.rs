//! Bounds the time of every request: until the answer begins, and for the octets of its body.
//!
//! * A request may take [`TimeSettings::answer_max`], and as long again as its body needs at
//!   [`TimeSettings::octets_per_second_min`]: a large pack on a slow line is no error, a server
//!   that stands still is.
//! * The body of an answer is read here, whole: a connection that breaks in the middle is an error
//!   of the request, which the wrapper outside can try again. An object is a pack or a part of a
//!   back-up, so its size is bounded by the memory that its writer had.
//!
//! The time to connect is bounded by the client itself (`objects::s3`).
//!
//! Not here: what happens after a time-out (`objects::retry`).

use std::{fmt, ops::Range, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, future::BoxFuture, stream::BoxStream};
use object_store::{
    CopyOptions, GetOptions, GetResult, GetResultPayload, ListResult, MultipartId, MultipartUpload,
    ObjectMeta, ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
    client::{HttpError, HttpErrorKind},
    multipart::{MultipartStore, PartId},
    path::Path,
};
use tokio::time::timeout;

use super::{RemoteObjects, parts::Upload, transfer_time};

/// How long a request may take.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TimeSettings {
    /// Until a connection stands, TLS included. 5 s.
    pub connect_max: Duration,
    /// Until the server answers, beside the time for the octets sent. 30 s.
    pub answer_max: Duration,
    /// A body that moves slower than this is given up. 64 KiB a second.
    pub octets_per_second_min: u64,
}

impl Default for TimeSettings {
    fn default() -> Self {
        Self {
            connect_max: Duration::from_secs(5),
            answer_max: Duration::from_secs(30),
            octets_per_second_min: 64 << 10,
        }
    }
}

/// A request took longer than it may.
#[derive(Debug, thiserror::Error)]
#[error("no end of the request after {0:?}")]
struct TookTooLong(Duration);

/// A store whose requests end in time.
#[derive(Debug)]
pub struct Timed<T> {
    inner: Arc<T>,
    settings: TimeSettings,
}

impl<T> Clone for Timed<T> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner), settings: self.settings }
    }
}

impl<T: RemoteObjects> Timed<T> {
    /// Bounds the requests to `inner`.
    pub fn new(inner: T, settings: TimeSettings) -> Self {
        Self { inner: Arc::new(inner), settings }
    }

    async fn within<R>(
        &self,
        octets: u64,
        request: impl Future<Output = Result<R>> + Send,
    ) -> Result<R> {
        let bound =
            self.settings.answer_max + transfer_time(octets, self.settings.octets_per_second_min);
        within(bound, request).await
    }

    async fn read_body(&self, result: GetResult) -> Result<GetResult> {
        let GetResult { payload, meta, range, attributes, extensions } = result;
        let payload = match payload {
            GetResultPayload::Stream(stream) => {
                let octets = range.end.saturating_sub(range.start);
                let body = self.within(octets, collect(stream, octets)).await?;
                let whole = futures::stream::once(futures::future::ready(Ok(body)));
                GetResultPayload::Stream(whole.boxed())
            }
            file @ GetResultPayload::File(..) => file,
        };
        Ok(GetResult { payload, meta, range, attributes, extensions })
    }
}

async fn within<R>(bound: Duration, request: impl Future<Output = Result<R>>) -> Result<R> {
    timeout(bound, request).await.unwrap_or_else(|_| {
        let error = HttpError::new(HttpErrorKind::Timeout, TookTooLong(bound));
        Err(object_store::Error::Generic { store: "remote", source: Box::new(error) })
    })
}

/// Reads a body of exactly `octets`: a shorter one was cut off, whatever the connection says.
async fn collect(mut stream: BoxStream<'static, Result<Bytes>>, octets: u64) -> Result<Bytes> {
    let first = stream.try_next().await?.unwrap_or_default();
    let mut next = stream.try_next().await?;
    let body = if next.is_none() {
        first
    } else {
        let mut whole = Vec::with_capacity(usize::try_from(octets).unwrap_or(0));
        whole.extend_from_slice(&first);
        while let Some(piece) = next {
            whole.extend_from_slice(&piece);
            next = stream.try_next().await?;
        }
        Bytes::from(whole)
    };
    if body.len() as u64 == octets {
        return Ok(body);
    }
    let cut = std::io::Error::new(
        std::io::ErrorKind::UnexpectedEof,
        format!("the body has {} octets of {octets}", body.len()),
    );
    let error = HttpError::new(HttpErrorKind::Interrupted, cut);
    Err(object_store::Error::Generic { store: "remote", source: Box::new(error) })
}

impl<T: RemoteObjects> fmt::Display for Timed<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(formatter)
    }
}

#[async_trait]
impl<T: RemoteObjects> ObjectStore for Timed<T> {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        let octets = payload.content_length() as u64;
        self.within(octets, self.inner.put_opts(location, payload, options)).await
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
        let result = self.within(0, self.inner.get_opts(location, options)).await?;
        if head { Ok(result) } else { self.read_body(result).await }
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        each_in_time(self.inner.delete_stream(locations), self.settings.answer_max)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        each_in_time(self.inner.list(prefix), self.settings.answer_max)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        each_in_time(self.inner.list_with_offset(prefix, offset), self.settings.answer_max)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.within(0, self.inner.list_with_delimiter(prefix)).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.within(0, self.inner.copy_opts(from, to, options)).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let octets = ranges.iter().map(|range| range.end.saturating_sub(range.start)).sum();
        self.within(octets, self.inner.get_ranges(location, ranges)).await
    }
}

/// Ends a stream with an error when one item is not there in time.
fn each_in_time<I: Send + 'static>(
    items: BoxStream<'static, Result<I>>,
    bound: Duration,
) -> BoxStream<'static, Result<I>> {
    let next = move |mut items: BoxStream<'static, Result<I>>| -> BoxFuture<'static, _> {
        Box::pin(async move {
            let item = within(bound, items.try_next()).await?;
            Ok(item.map(|item| (item, items)))
        })
    };
    futures::stream::try_unfold(items, next).boxed()
}

#[async_trait]
impl<T: RemoteObjects> MultipartStore for Timed<T> {
    async fn create_multipart(&self, path: &Path) -> Result<MultipartId> {
        self.within(0, self.inner.create_multipart(path)).await
    }

    async fn create_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> Result<MultipartId> {
        self.within(0, self.inner.create_multipart_opts(path, options)).await
    }

    async fn put_part(
        &self,
        path: &Path,
        id: &MultipartId,
        part: usize,
        payload: PutPayload,
    ) -> Result<PartId> {
        let octets = payload.content_length() as u64;
        self.within(octets, self.inner.put_part(path, id, part, payload)).await
    }

    async fn complete_multipart(
        &self,
        path: &Path,
        id: &MultipartId,
        parts: Vec<PartId>,
    ) -> Result<PutResult> {
        self.within(0, self.inner.complete_multipart(path, id, parts)).await
    }

    async fn abort_multipart(&self, path: &Path, id: &MultipartId) -> Result<()> {
        self.within(0, self.inner.abort_multipart(path, id)).await
    }
}
