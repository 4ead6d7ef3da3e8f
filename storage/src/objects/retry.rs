//! Tries a request again that may succeed later, and recognises its own write.
//!
//! * Tried again: no connection, a connection cut, a time-out, and answers by which a server says
//!   that it cannot now ([`is_temporary`]). Never: a refusal, missing rights, a wrong request.
//! * The pauses double from [`RetrySettings::pause_first`] to [`RetrySettings::pause_max`]; each is
//!   drawn at random between half and whole, so that many nodes do not come back together. Tries
//!   and total time are bounded, whichever ends first.
//! * A write that creates carries a random mark in the metadata of its object. After a try whose
//!   answer was lost, "exists already" may mean our own write: the mark is read back. Ours: the
//!   write succeeded. Another's: it exists already. Equal octets would not tell the two apart,
//!   and a mark costs no download.
//!
//! The client's own retries are off (`objects::s3`): they would hide the lost answer from this
//! wrapper, draw their jitter elsewhere and count nothing.
//!
//! Not here: what is sent.

use std::{fmt, fmt::Write as _, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::{StreamExt as _, TryStreamExt as _, stream::BoxStream};
use object_store::{
    Attribute, AttributeValue, Attributes, CopyMode, CopyOptions, Error, GetOptions, GetResult,
    ListResult, MultipartId, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt as _,
    PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
    client::{HttpError, HttpErrorKind},
    multipart::{MultipartStore, PartId},
    path::Path,
};
use tokio::time::Instant;
use trust::random::RandomSource;

use super::{
    RemoteObjects,
    metrics::{Operation, RequestObserver},
    parts::Upload,
    same_options,
};

/// The metadata that holds the mark of a write: `x-amz-meta-ceralacca-write` at an S3 server.
pub const WRITE_MARK: &str = "ceralacca-write";

/// What is tried again, and how often.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RetrySettings {
    /// Tries of one request, the first one counted. 6.
    pub tries_max: u32,
    /// No try begins later than this after the first. 60 s.
    pub total_max: Duration,
    /// Pause before the second try. 100 ms.
    pub pause_first: Duration,
    /// Longest pause. 5 s.
    pub pause_max: Duration,
}

impl Default for RetrySettings {
    fn default() -> Self {
        Self {
            tries_max: 6,
            total_max: Duration::from_mins(1),
            pause_first: Duration::from_millis(100),
            pause_max: Duration::from_secs(5),
        }
    }
}

/// Says whether the same request may succeed later.
///
/// Every such error has an [`HttpError`] in its chain: those of the connection, and answers that
/// `objects::s3` turns into one because they mean "not now".
#[must_use]
pub fn is_temporary(error: &Error) -> bool {
    let mut cause: &(dyn std::error::Error + 'static) = error;
    loop {
        if let Some(http) = cause.downcast_ref::<HttpError>() {
            return http.kind() != HttpErrorKind::Decode;
        }
        match cause.source() {
            Some(source) => cause = source,
            None => return false,
        }
    }
}

/// A write found no object where one had just existed: somebody deletes at the same time.
#[derive(Debug, thiserror::Error)]
#[error("the object existed and was gone a moment later")]
struct ComesAndGoes;

fn comes_and_goes() -> Error {
    let error = HttpError::new(HttpErrorKind::Interrupted, ComesAndGoes);
    Error::Generic { store: "remote", source: Box::new(error) }
}

/// A store that tries again.
#[derive(Debug)]
pub struct Retrying<T> {
    inner: Arc<T>,
    settings: RetrySettings,
    random: Arc<dyn RandomSource>,
    observer: Arc<dyn RequestObserver>,
}

impl<T> Clone for Retrying<T> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
            settings: self.settings,
            random: Arc::clone(&self.random),
            observer: Arc::clone(&self.observer),
        }
    }
}

/// The tries of one request.
#[derive(Debug)]
struct Tries {
    begun: Instant,
    made: u32,
    pause: Duration,
}

impl<T: RemoteObjects> Retrying<T> {
    /// Tries requests to `inner` again.
    pub fn new(
        inner: T,
        settings: RetrySettings,
        random: Arc<dyn RandomSource>,
        observer: Arc<dyn RequestObserver>,
    ) -> Self {
        Self { inner: Arc::new(inner), settings, random, observer }
    }

    fn tries(&self) -> Tries {
        Tries { begun: Instant::now(), made: 1, pause: self.settings.pause_first }
    }

    /// Waits before the next try; gives the error back when there is none.
    async fn pause(&self, tries: &mut Tries, operation: Operation, error: Error) -> Result<()> {
        if !is_temporary(&error) || tries.made >= self.settings.tries_max {
            return Err(error);
        }
        let half = tries.pause / 2;
        let more = u64::try_from(half.as_nanos()).unwrap_or(u64::MAX).max(1);
        let pause = half + Duration::from_nanos(self.random.next_u64() % more);
        if tries.begun.elapsed() + pause > self.settings.total_max {
            return Err(error);
        }
        self.observer.retry(operation);
        tokio::time::sleep(pause).await;
        tries.made += 1;
        tries.pause = (tries.pause * 2).min(self.settings.pause_max);
        Ok(())
    }

    /// A request that may be made twice.
    async fn again<R, F>(&self, operation: Operation, mut request: impl FnMut() -> F) -> Result<R>
    where
        F: Future<Output = Result<R>> + Send,
    {
        let mut tries = self.tries();
        loop {
            match request().await {
                Ok(result) => return Ok(result),
                Err(error) => self.pause(&mut tries, operation, error).await?,
            }
        }
    }

    /// A write that creates and is known by `mark`. "Exists already" and "no such upload" after
    /// the first try may both come from an earlier try that succeeded.
    async fn create<F>(
        &self,
        operation: Operation,
        location: &Path,
        mark: &str,
        mut request: impl FnMut() -> F,
    ) -> Result<PutResult>
    where
        F: Future<Output = Result<PutResult>> + Send,
    {
        let mut tries = self.tries();
        loop {
            let error = match request().await {
                Ok(result) => return Ok(result),
                Err(error) => error,
            };
            let done_before = matches!(error, Error::AlreadyExists { .. } | Error::NotFound { .. });
            let error = if done_before && tries.made > 1 {
                match self.written_with(location, mark).await? {
                    Some(Written::Ours(result)) => return Ok(result),
                    Some(Written::Another) => return Err(already_exists(location, error)),
                    None if matches!(error, Error::AlreadyExists { .. }) => comes_and_goes(),
                    None => error,
                }
            } else {
                error
            };
            self.pause(&mut tries, operation, error).await?;
        }
    }

    /// Whose write the object is; `None` when there is no object.
    async fn written_with(&self, location: &Path, mark: &str) -> Result<Option<Written>> {
        let options = || GetOptions { head: true, ..GetOptions::default() };
        let found = self.again(Operation::Get, || self.inner.get_opts(location, options())).await;
        let found = match found {
            Ok(found) => found,
            Err(Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let name = Attribute::Metadata(WRITE_MARK.into());
        let ours = found.attributes.get(&name).is_some_and(|value| value.as_ref() == mark);
        let GetResult { meta: ObjectMeta { e_tag, version, .. }, extensions, .. } = found;
        Ok(Some(if ours {
            Written::Ours(PutResult { e_tag, version, extensions })
        } else {
            Written::Another
        }))
    }

    fn mark(&self) -> String {
        let mut octets = [0; 16];
        self.random.fill(&mut octets);
        octets.iter().fold(String::new(), |mut mark, octet| {
            let _ = write!(mark, "{octet:02x}");
            mark
        })
    }
}

/// Whose write an object is.
enum Written {
    Ours(PutResult),
    Another,
}

fn already_exists(location: &Path, error: Error) -> Error {
    match error {
        Error::AlreadyExists { .. } => error,
        other => Error::AlreadyExists { path: location.to_string(), source: Box::new(other) },
    }
}

fn marked(mut attributes: Attributes, mark: &str) -> Attributes {
    let value = AttributeValue::from(mark.to_owned());
    attributes.insert(Attribute::Metadata(WRITE_MARK.into()), value);
    attributes
}

impl<T: RemoteObjects> fmt::Display for Retrying<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(formatter)
    }
}

#[async_trait]
impl<T: RemoteObjects> ObjectStore for Retrying<T> {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        let put = |options| self.inner.put_opts(location, payload.clone(), options);
        match options.mode {
            PutMode::Overwrite => self.again(Operation::Put, || put(options.clone())).await,
            PutMode::Create => {
                let mark = self.mark();
                let attributes = marked(options.attributes.clone(), &mark);
                let options = PutOptions { attributes, ..options };
                self.create(Operation::Put, location, &mark, || put(options.clone())).await
            }
            // An update whose answer was lost may have happened: only its caller can tell.
            PutMode::Update(_) => put(options).await,
        }
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        Upload::begin(self.clone(), location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.again(Operation::Get, || self.inner.get_opts(location, options.clone())).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        const AT_ONCE: usize = 8;
        let retrying = self.clone();
        locations
            .map(move |location| {
                let retrying = retrying.clone();
                async move {
                    let location = location?;
                    let delete = || retrying.inner.delete(&location);
                    retrying.again(Operation::Delete, delete).await?;
                    Ok(location)
                }
            })
            .buffered(AT_ONCE)
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.listing(prefix.cloned(), None)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.listing(prefix.cloned(), Some(offset.clone()))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.again(Operation::List, || self.inner.list_with_delimiter(prefix)).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        match options.mode {
            CopyMode::Overwrite => {
                let copy = || self.inner.copy_opts(from, to, options.clone());
                self.again(Operation::Copy, copy).await
            }
            // A copy has the mark of its source: a lost answer cannot be told from another's copy.
            CopyMode::Create => self.inner.copy_opts(from, to, options).await,
        }
    }
}

impl<T: RemoteObjects> Retrying<T> {
    /// Names in ascending order, as S3 gives them: after an error the listing goes on behind the
    /// last name.
    fn listing(
        &self,
        prefix: Option<Path>,
        after: Option<Path>,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let open = |retrying: &Self, prefix: &Option<Path>, after: &Option<Path>| match after {
            Some(after) => retrying.inner.list_with_offset(prefix.as_ref(), after),
            None => retrying.inner.list(prefix.as_ref()),
        };
        let listed = open(self, &prefix, &after);
        let state = (self.clone(), prefix, after, listed, self.tries());
        futures::stream::try_unfold(
            state,
            move |(retrying, prefix, mut after, mut listed, mut tries)| async move {
                loop {
                    match listed.try_next().await {
                        Ok(None) => return Ok(None),
                        Ok(Some(meta)) => {
                            after = Some(meta.location.clone());
                            tries = retrying.tries();
                            return Ok(Some((meta, (retrying, prefix, after, listed, tries))));
                        }
                        Err(error) => {
                            retrying.pause(&mut tries, Operation::List, error).await?;
                            listed = open(&retrying, &prefix, &after);
                        }
                    }
                }
            },
        )
        .boxed()
    }
}

/// The id of an upload that this wrapper hands out: the mark, then the id of the store below.
fn with_mark(mark: &str, id: &str) -> MultipartId {
    format!("{mark}:{id}")
}

fn without_mark(id: &MultipartId) -> (&str, MultipartId) {
    let (mark, id) = id.split_once(':').unwrap_or(("", id));
    (mark, id.to_owned())
}

#[async_trait]
impl<T: RemoteObjects> MultipartStore for Retrying<T> {
    async fn create_multipart(&self, path: &Path) -> Result<MultipartId> {
        self.create_multipart_opts(path, PutMultipartOptions::default()).await
    }

    /// A lost answer leaves an upload that nobody completes; `objects::s3` finds it by its age.
    async fn create_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> Result<MultipartId> {
        let mark = self.mark();
        let attributes = marked(options.attributes.clone(), &mark);
        let options = PutMultipartOptions { attributes, ..options };
        let begin = || self.inner.create_multipart_opts(path, same_options(&options));
        let id = self.again(Operation::UploadBegin, begin).await?;
        Ok(with_mark(&mark, &id))
    }

    async fn put_part(
        &self,
        path: &Path,
        id: &MultipartId,
        part: usize,
        payload: PutPayload,
    ) -> Result<PartId> {
        let (_, id) = without_mark(id);
        let put = || self.inner.put_part(path, &id, part, payload.clone());
        self.again(Operation::UploadPart, put).await
    }

    async fn complete_multipart(
        &self,
        path: &Path,
        id: &MultipartId,
        parts: Vec<PartId>,
    ) -> Result<PutResult> {
        let (mark, id) = without_mark(id);
        let complete = || self.inner.complete_multipart(path, &id, parts.clone());
        self.create(Operation::UploadComplete, path, mark, complete).await
    }

    async fn abort_multipart(&self, path: &Path, id: &MultipartId) -> Result<()> {
        let (_, id) = without_mark(id);
        let abort = || self.inner.abort_multipart(path, &id);
        match self.again(Operation::UploadAbort, abort).await {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}
