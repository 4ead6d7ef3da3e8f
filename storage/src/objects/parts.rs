//! Large objects go up in parts, several at once.
//!
//! * An object above [`PartSettings::object_octets_min`] that is created goes up in parts of
//!   [`PartSettings::part_octets`]; what replaces goes up whole.
//! * The last request makes the object, and is the one that creates and never replaces: until then
//!   nobody sees anything.
//! * An upload that fails is aborted. One that is cut off by the end of the process stays on the
//!   server as parts without a name; `objects::s3` aborts those when they are old.
//!
//! Not here: retries (`objects::retry`, which is inside, so that one part is tried again and not
//! the whole object).

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::{StreamExt as _, TryStreamExt as _, stream::BoxStream};
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartId, MultipartUpload,
    ObjectMeta, ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult,
    Result, UploadPart, multipart::PartId, path::Path,
};

use super::RemoteObjects;

/// Servers refuse smaller parts, but for the last.
pub const PART_OCTETS_MIN: usize = 5 << 20;

/// Which objects go up in parts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PartSettings {
    /// Objects of more octets go up in parts. 16 MiB.
    pub object_octets_min: usize,
    /// Octets of one part, at least [`PART_OCTETS_MIN`]. 8 MiB.
    pub part_octets: usize,
    /// Parts of one object that are sent at once. 4.
    pub parts_at_once: usize,
}

impl Default for PartSettings {
    fn default() -> Self {
        Self { object_octets_min: 16 << 20, part_octets: 8 << 20, parts_at_once: 4 }
    }
}

/// A store that takes large objects in parts.
#[derive(Debug)]
pub struct InParts<T> {
    inner: Arc<T>,
    settings: PartSettings,
}

impl<T: RemoteObjects> InParts<T> {
    /// Sends large objects to `inner` in parts.
    pub fn new(inner: T, settings: PartSettings) -> Self {
        let part_octets = settings.part_octets.max(PART_OCTETS_MIN);
        Self { inner: Arc::new(inner), settings: PartSettings { part_octets, ..settings } }
    }

    async fn create_in_parts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        let PutOptions { tags, attributes, extensions, .. } = options;
        let options = PutMultipartOptions { tags, attributes, extensions };
        let id = self.inner.create_multipart_opts(location, options).await?;
        let result = match self.send_parts(location, &id, payload).await {
            Ok(parts) => self.inner.complete_multipart(location, &id, parts).await,
            Err(error) => Err(error),
        };
        if result.is_err() {
            // The error of the upload is the one to tell; what an abort leaves is found by age.
            let _ = self.inner.abort_multipart(location, &id).await;
        }
        result
    }

    async fn send_parts(
        &self,
        location: &Path,
        id: &MultipartId,
        payload: PutPayload,
    ) -> Result<Vec<PartId>> {
        let octets = whole(&payload);
        let length = self.settings.part_octets;
        let count = octets.len().div_ceil(length).max(1);
        let sent = (0..count).map(|number| {
            let start = number * length;
            let part = octets.slice(start..octets.len().min(start + length));
            self.inner.put_part(location, id, number, part.into())
        });
        futures::stream::iter(sent).buffered(self.settings.parts_at_once.max(1)).try_collect().await
    }
}

/// The octets of a payload in one piece; copied only when they are in several.
fn whole(payload: &PutPayload) -> Bytes {
    let mut pieces = payload.iter();
    match (pieces.next(), pieces.next()) {
        (None, _) => Bytes::new(),
        (Some(one), None) => one.clone(),
        _ => {
            let mut all = BytesMut::with_capacity(payload.content_length());
            payload.iter().for_each(|piece| all.extend_from_slice(piece));
            all.freeze()
        }
    }
}

impl<T: RemoteObjects> fmt::Display for InParts<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(formatter)
    }
}

#[async_trait]
impl<T: RemoteObjects> ObjectStore for InParts<T> {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        let large = payload.content_length() > self.settings.object_octets_min;
        if large && matches!(options.mode, PutMode::Create) {
            return self.create_in_parts(location, payload, options).await;
        }
        self.inner.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
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
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

/// An upload in parts whose caller makes the parts. Each must have [`PART_OCTETS_MIN`] octets, but
/// for the last.
pub struct Upload<T> {
    store: Arc<T>,
    location: Path,
    id: MultipartId,
    given: usize,
    sent: Arc<Mutex<Vec<(usize, PartId)>>>,
}

impl<T> fmt::Debug for Upload<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Upload").field("location", &self.location).finish_non_exhaustive()
    }
}

impl<T: RemoteObjects> Upload<T> {
    /// Begins an upload through `store`.
    pub async fn begin(
        store: T,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let id = store.create_multipart_opts(location, options).await?;
        let (store, location) = (Arc::new(store), location.clone());
        Ok(Box::new(Self { store, location, id, given: 0, sent: Arc::default() }))
    }
}

#[async_trait]
impl<T: RemoteObjects> MultipartUpload for Upload<T> {
    fn put_part(&mut self, payload: PutPayload) -> UploadPart {
        let (store, sent) = (Arc::clone(&self.store), Arc::clone(&self.sent));
        let (location, id, number) = (self.location.clone(), self.id.clone(), self.given);
        self.given += 1;
        Box::pin(async move {
            let part = store.put_part(&location, &id, number, payload).await?;
            sent.lock().unwrap_or_else(PoisonError::into_inner).push((number, part));
            Ok(())
        })
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let mut parts =
            std::mem::take(&mut *self.sent.lock().unwrap_or_else(PoisonError::into_inner));
        parts.sort_unstable_by_key(|(number, _)| *number);
        if parts.len() != self.given {
            let lost = format!("{} of {} parts were sent", parts.len(), self.given);
            return Err(Error::Generic { store: "remote", source: lost.into() });
        }
        let parts = parts.into_iter().map(|(_, part)| part).collect();
        self.store.complete_multipart(&self.location, &self.id, parts).await
    }

    async fn abort(&mut self) -> Result<()> {
        self.store.abort_multipart(&self.location, &self.id).await
    }
}
