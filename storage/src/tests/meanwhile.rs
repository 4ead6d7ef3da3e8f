//! An object store in which something happens right before a request, as when another node does it at
//! that moment.

use std::{
    fmt,
    sync::{Arc, Mutex},
};

use futures::{
    StreamExt as _, TryStreamExt as _,
    future::BoxFuture,
    stream::{BoxStream, once},
};
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, path::Path,
};

/// What happens, once, before the first `operation` on a path that begins with `path`.
struct Event {
    operation: &'static str,
    path: &'static str,
    happens: BoxFuture<'static, ()>,
}

/// The object store; `put`, `list` and `delete` are operations before which something may happen.
pub(crate) struct Meanwhile {
    objects: Arc<dyn ObjectStore>,
    event: Arc<Mutex<Option<Event>>>,
}

impl Meanwhile {
    pub(crate) fn new(objects: Arc<dyn ObjectStore>) -> Self {
        Self { objects, event: Arc::default() }
    }

    /// Lets `happens` happen before the next such request.
    pub(crate) fn before(
        &self,
        operation: &'static str,
        path: &'static str,
        happens: impl Future<Output = ()> + Send + 'static,
    ) {
        let event = Event { operation, path, happens: Box::pin(happens) };
        *self.event.lock().expect("no panic") = Some(event);
    }
}

async fn reached(event: &Mutex<Option<Event>>, operation: &str, path: &str) {
    let happens = {
        let mut event = event.lock().expect("no panic");
        event.take_if(|event| event.operation == operation && path.starts_with(event.path))
    };
    if let Some(event) = happens {
        event.happens.await;
    }
}

impl fmt::Debug for Meanwhile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Meanwhile")
    }
}

impl fmt::Display for Meanwhile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object store that others change meanwhile")
    }
}

#[async_trait::async_trait]
impl ObjectStore for Meanwhile {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        reached(&self.event, "put", location.as_ref()).await;
        self.objects.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.objects.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.objects.get_opts(location, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let event = Arc::clone(&self.event);
        let locations = locations.and_then(move |location| {
            let event = Arc::clone(&event);
            async move {
                reached(&event, "delete", location.as_ref()).await;
                Ok(location)
            }
        });
        self.objects.delete_stream(locations.boxed())
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (event, objects) = (Arc::clone(&self.event), Arc::clone(&self.objects));
        let prefix = prefix.cloned();
        let listed = async move {
            reached(&event, "list", prefix.as_ref().map_or("", |prefix| prefix.as_ref())).await;
            objects.list(prefix.as_ref())
        };
        once(listed).flatten().boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.objects.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.objects.copy_opts(from, to, options).await
    }
}
