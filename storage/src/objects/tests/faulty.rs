//! A store in memory whose requests fail as a test says.

use std::{
    fmt,
    ops::Range,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt as _, stream::BoxStream};
use object_store::{
    Attributes, CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartId,
    MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt as _, PutMode, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, Result,
    client::{HttpError, HttpErrorKind},
    memory::InMemory,
    multipart::{MultipartStore, PartId},
    path::Path,
};

/// How a request fails.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Fault {
    /// Nothing happens, and may succeed later.
    Before,
    /// It happens, and the answer is lost.
    After,
    /// Nothing happens, and never will.
    Permanent,
    /// No answer comes.
    Never,
}

/// What a create does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Creates {
    Once,
    Replaces,
    /// Looks whether there is one, then writes.
    LooksFirst,
}

#[derive(Debug)]
pub(super) struct Faulty {
    memory: Arc<InMemory>,
    operation: &'static str,
    fault: Fault,
    left: AtomicUsize,
    creates: Creates,
    slow: bool,
    /// A completed upload gets the attributes it was begun with, as at a server.
    marks: Option<Mutex<Attributes>>,
    aborted: Arc<Mutex<Vec<MultipartId>>>,
    now: AtomicUsize,
    most: Arc<Mutex<usize>>,
}

impl Faulty {
    pub(super) fn over(
        memory: Arc<InMemory>,
        operation: &'static str,
        times: usize,
        fault: Fault,
    ) -> Self {
        Self {
            memory,
            operation,
            fault,
            left: AtomicUsize::new(times),
            creates: Creates::Once,
            slow: false,
            marks: None,
            aborted: Arc::default(),
            now: AtomicUsize::new(0),
            most: Arc::default(),
        }
    }

    pub(super) fn failing_times(operation: &'static str, times: usize, fault: Fault) -> Self {
        Self::over(Arc::new(InMemory::new()), operation, times, fault)
    }

    pub(super) fn replacing() -> Self {
        Self { creates: Creates::Replaces, ..Self::failing_times("none", 0, Fault::Before) }
    }

    pub(super) fn looking_first() -> Self {
        Self { creates: Creates::LooksFirst, ..Self::failing_times("none", 0, Fault::Before) }
    }

    pub(super) fn slow() -> Self {
        Self { slow: true, ..Self::failing_times("none", 0, Fault::Before) }
    }

    pub(super) fn keeping_marks(self) -> Self {
        Self { marks: Some(Mutex::default()), ..self }
    }

    pub(super) fn aborted(&self) -> Arc<Mutex<Vec<MultipartId>>> {
        Arc::clone(&self.aborted)
    }

    pub(super) fn most_at_once(&self) -> Arc<Mutex<usize>> {
        Arc::clone(&self.most)
    }

    fn fault(&self, operation: &str) -> Option<Fault> {
        let hit = operation == self.operation
            && self
                .left
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1))
                .is_ok();
        hit.then_some(self.fault)
    }

    async fn run<R>(
        &self,
        operation: &str,
        request: impl Future<Output = Result<R>> + Send,
    ) -> Result<R> {
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        {
            let mut most = self.most.lock().unwrap();
            *most = (*most).max(now);
        }
        if self.slow {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let result = match self.fault(operation) {
            None => request.await,
            Some(Fault::Before) => Err(passing()),
            Some(Fault::After) => request.await.and(Err(passing())),
            Some(Fault::Permanent) => {
                Err(Error::Generic { store: "faulty", source: "never".into() })
            }
            Some(Fault::Never) => std::future::pending().await,
        };
        self.now.fetch_sub(1, Ordering::SeqCst);
        result
    }
}

fn passing() -> Error {
    let cut = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
    let source = HttpError::new(HttpErrorKind::Interrupted, cut);
    Error::Generic { store: "faulty", source: Box::new(source) }
}

impl fmt::Display for Faulty {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Faulty")
    }
}

#[async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        mut options: PutOptions,
    ) -> Result<PutResult> {
        if matches!(options.mode, PutMode::Create) {
            match self.creates {
                Creates::Once => {}
                Creates::Replaces => options.mode = PutMode::Overwrite,
                Creates::LooksFirst => {
                    let there = self.memory.head(location).await.is_ok();
                    tokio::task::yield_now().await;
                    options.mode = if there { PutMode::Create } else { PutMode::Overwrite };
                }
            }
        }
        self.run("put", self.memory.put_opts(location, payload, options)).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.memory.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.run("get", self.memory.get_opts(location, options)).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.memory.get_ranges(location, ranges).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.memory.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let listed = self.memory.list(prefix);
        match self.fault("list") {
            Some(_) => listed.take(3).chain(futures::stream::iter([Err(passing())])).boxed(),
            None => listed,
        }
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let listed = self.memory.list_with_offset(prefix, offset);
        match self.fault("list") {
            Some(_) => listed.take(3).chain(futures::stream::iter([Err(passing())])).boxed(),
            None => listed,
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.memory.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.memory.copy_opts(from, to, options).await
    }
}

#[async_trait]
impl MultipartStore for Faulty {
    async fn create_multipart(&self, path: &Path) -> Result<MultipartId> {
        self.memory.create_multipart(path).await
    }

    async fn create_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> Result<MultipartId> {
        if let Some(marks) = &self.marks {
            *marks.lock().unwrap() = options.attributes;
        }
        self.run("begin", self.memory.create_multipart(path)).await
    }

    async fn put_part(
        &self,
        path: &Path,
        id: &MultipartId,
        part: usize,
        payload: PutPayload,
    ) -> Result<PartId> {
        self.run("part", self.memory.put_part(path, id, part, payload)).await
    }

    async fn complete_multipart(
        &self,
        path: &Path,
        id: &MultipartId,
        parts: Vec<PartId>,
    ) -> Result<PutResult> {
        let complete = async {
            if self.marks.is_some() && self.memory.head(path).await.is_ok() {
                let source = "complete".into();
                return Err(Error::AlreadyExists { path: path.to_string(), source });
            }
            let result = self.memory.complete_multipart(path, id, parts).await?;
            if let Some(marks) = &self.marks {
                let octets = self.memory.get(path).await?.bytes().await?;
                let attributes = marks.lock().unwrap().clone();
                let options = PutOptions { attributes, ..PutOptions::default() };
                self.memory.put_opts(path, octets.into(), options).await?;
            }
            Ok(result)
        };
        self.run("complete", complete).await
    }

    async fn abort_multipart(&self, path: &Path, id: &MultipartId) -> Result<()> {
        self.aborted.lock().unwrap().push(id.clone());
        self.memory.abort_multipart(path, id).await
    }
}
