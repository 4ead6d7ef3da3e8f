//! Objects in a bucket of a server that speaks S3.
//!
//! * Retries and time-outs of the client itself are off, but for the time to connect: the wrappers
//!   of `objects` have both, count them and know which write was whose.
//! * An upload in parts is completed with `If-None-Match: *`, like a whole one is put: it creates
//!   and never replaces. The client has no call for that, so a second client that sends this
//!   header with everything makes the completing request, and only that.
//! * Deletions go one by one: not every server has the request that deletes many.
//! * Keys are never in an error or a log line.
//!
//! Not here: what is in the objects, the wrappers (`objects`), buckets (the operator makes them).

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::stream::BoxStream;
use object_store::{
    Certificate, ClientOptions, CopyOptions, Error, GetOptions, GetResult, HeaderMap, HeaderValue,
    ListResult, MultipartId, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, Result, RetryConfig,
    aws::{AmazonS3, AmazonS3Builder, S3ConditionalPut},
    client::HttpClient,
    multipart::{MultipartStore, PartId},
    path::Path,
};

use self::answers::SharedConnector;
use super::parts::Upload;

mod answers;
mod leftovers;
mod retention;

pub use leftovers::LeftoverUpload;
pub use retention::RetentionError;

/// Where a bucket is, and who we are there.
#[derive(Clone, Eq, PartialEq)]
pub struct S3Settings {
    /// The server's address, `https://…`. `None`: Amazon's own for the region.
    pub endpoint: Option<String>,
    /// The bucket. It exists already.
    pub bucket: String,
    /// The region that requests are signed for.
    pub region: String,
    /// The key's public part.
    pub access_key: String,
    /// The key's secret part.
    pub secret_key: String,
    /// Lets the address begin with `http://`: octets and signatures go in clear.
    pub allow_http: bool,
    /// The bucket is part of the host name, not of the path.
    pub virtual_hosted: bool,
    /// PEM of the authority that signed the server's certificate, beside the system's own.
    pub authority_pem: Option<Vec<u8>>,
}

impl fmt::Debug for S3Settings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("S3Settings")
            .field("endpoint", &self.endpoint)
            .field("bucket", &self.bucket)
            .field("region", &self.region)
            .field("allow_http", &self.allow_http)
            .field("virtual_hosted", &self.virtual_hosted)
            .finish_non_exhaustive()
    }
}

/// The settings of a bucket cannot be used. Nothing was sent.
#[derive(Debug, thiserror::Error)]
#[error("the settings of the S3 bucket cannot be used: correct [objects]")]
pub struct S3Error(#[source] Error);

/// A bucket.
#[derive(Clone)]
pub struct S3Objects {
    plain: AmazonS3,
    /// Sends `If-None-Match: *` with everything.
    creating: AmazonS3,
    http: HttpClient,
    settings: Arc<S3Settings>,
    options: ClientOptions,
}

impl fmt::Debug for S3Objects {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("S3Objects").field(&self.settings).finish()
    }
}

impl S3Objects {
    /// Opens a bucket. Sends nothing; a connection may take `connect_max` to stand.
    pub fn open(settings: &S3Settings, connect_max: Duration) -> Result<Self, S3Error> {
        let creating = [("if-none-match", HeaderValue::from_static("*"))];
        let options = options(settings, connect_max)?;
        let http = answers::connect(&options).map_err(S3Error)?;
        Ok(Self {
            plain: client(settings, &options, &http, HeaderMap::new())?,
            creating: client(settings, &options, &http, headers(creating))?,
            http,
            settings: Arc::new(settings.clone()),
            options,
        })
    }
}

fn headers<const N: usize>(headers: [(&'static str, HeaderValue); N]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.insert(name, value);
    }
    map
}

fn options(settings: &S3Settings, connect_max: Duration) -> Result<ClientOptions, S3Error> {
    let mut options = ClientOptions::new()
        .with_allow_http(settings.allow_http)
        .with_connect_timeout(connect_max)
        .with_timeout_disabled()
        .with_default_content_type("application/octet-stream");
    if settings.endpoint.as_ref().is_some_and(|endpoint| endpoint.starts_with("http://")) {
        // Nobody's certificate is looked at, and reading those of the system takes its time.
        options = options.with_no_system_certificates(true);
    }
    if let Some(pem) = &settings.authority_pem {
        let authorities = Certificate::from_pem_bundle(pem).map_err(S3Error)?;
        options = authorities.into_iter().fold(options, ClientOptions::with_root_certificate);
    }
    Ok(options)
}

/// A client that sends `headers` with everything, signed.
fn client(
    settings: &S3Settings,
    options: &ClientOptions,
    http: &HttpClient,
    headers: HeaderMap,
) -> Result<AmazonS3, S3Error> {
    let retry = RetryConfig { max_retries: 0, ..RetryConfig::default() };
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(&settings.bucket)
        .with_region(&settings.region)
        .with_access_key_id(&settings.access_key)
        .with_secret_access_key(&settings.secret_key)
        .with_allow_http(settings.allow_http)
        .with_virtual_hosted_style_request(settings.virtual_hosted)
        .with_conditional_put(S3ConditionalPut::ETagMatch)
        .with_disable_bulk_delete(true)
        .with_client_options(options.clone().with_default_headers(headers))
        .with_http_connector(SharedConnector(http.clone()))
        .with_retry(retry);
    if let Some(endpoint) = &settings.endpoint {
        builder = builder.with_endpoint(endpoint.trim_end_matches('/'));
    }
    builder.build().map_err(S3Error)
}

impl fmt::Display for S3Objects {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "S3 bucket {}", self.settings.bucket)
    }
}

#[async_trait]
impl ObjectStore for S3Objects {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        self.plain.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        Upload::begin(self.clone(), location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.plain.get_opts(location, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.plain.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.plain.list(prefix)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.plain.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.plain.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.plain.copy_opts(from, to, options).await
    }
}

#[async_trait]
impl MultipartStore for S3Objects {
    async fn create_multipart(&self, path: &Path) -> Result<MultipartId> {
        self.plain.create_multipart(path).await
    }

    async fn create_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> Result<MultipartId> {
        self.plain.create_multipart_opts(path, options).await
    }

    async fn put_part(
        &self,
        path: &Path,
        id: &MultipartId,
        part: usize,
        payload: PutPayload,
    ) -> Result<PartId> {
        self.plain.put_part(path, id, part, payload).await
    }

    async fn complete_multipart(
        &self,
        path: &Path,
        id: &MultipartId,
        parts: Vec<PartId>,
    ) -> Result<PutResult> {
        match self.creating.complete_multipart(path, id, parts).await {
            Err(error @ (Error::Precondition { .. } | Error::NotModified { .. })) => {
                Err(Error::AlreadyExists { path: path.to_string(), source: Box::new(error) })
            }
            result => result,
        }
    }

    async fn abort_multipart(&self, path: &Path, id: &MultipartId) -> Result<()> {
        self.plain.abort_multipart(path, id).await
    }
}
