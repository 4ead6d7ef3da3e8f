//! Asks a bucket whether it keeps what it is told to keep.
//!
//! Object lock is a header on a PUT, and some servers take the header and forget it. The probe
//! writes an object that may not be deleted before an instant, and tries to delete that version:
//! a bucket that lets it go keeps nothing. Only conservation needs this; ordinary packs are
//! deleted when nothing refers to them.
//!
//! The object of the probe stays until its instant has passed: that it does is the proof.
//!
//! Not here: the other questions to a store (`objects::probe`).

use std::time::Duration;

use object_store::{
    Error, HeaderValue, ObjectStore as _, ObjectStoreExt as _, PutMode, PutOptions,
    client::{HttpRequest, HttpRequestBody},
    path::Path,
    signer::{SignedUrlOptions, Signer as _},
};
use trust::clock::UnixMillis;

use super::{S3Error, S3Objects, client, headers};

const SIGNED_FOR: Duration = Duration::from_mins(5);

/// Why a bucket cannot be trusted with what must be kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RetentionError {
    /// The bucket has no versions, so nothing in it can be locked.
    #[error("the bucket gives no version to an object: turn on versioning and object lock")]
    NoVersions,
    /// A locked version was deleted.
    #[error("the bucket deletes a locked object: its object lock is off or only pretended")]
    Deleted,
    /// The settings cannot be used.
    #[error(transparent)]
    Settings(#[from] S3Error),
    /// The server did not answer the question.
    #[error("the server does not answer whether it keeps a locked object")]
    Unanswered(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl S3Objects {
    /// Writes an object at `location` that is locked until `until`, and tries to delete it.
    pub async fn probe_retention(
        &self,
        location: &Path,
        until: UnixMillis,
    ) -> Result<(), RetentionError> {
        let until = chrono::DateTime::from_timestamp_millis(until.0)
            .map(|until| until.to_rfc3339_opts(chrono::SecondsFormat::Secs, true))
            .and_then(|until| HeaderValue::from_str(&until).ok())
            .ok_or_else(|| unanswered("the instant cannot be written"))?;
        let locking = [
            ("x-amz-object-lock-mode", HeaderValue::from_static("COMPLIANCE")),
            ("x-amz-object-lock-retain-until-date", until),
        ];
        let locking = client(&self.settings, &self.options, &self.http, headers(locking))?;
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        let written = locking.put_opts(location, "retention".into(), options).await;
        let written = written.map_err(unanswered)?;
        let version = written.version.ok_or(RetentionError::NoVersions)?;
        if self.deletes_version(location, version).await? {
            return Err(RetentionError::Deleted);
        }
        self.plain.head(location).await.map_err(|error| match error {
            Error::NotFound { .. } => RetentionError::Deleted,
            error => unanswered(error),
        })?;
        Ok(())
    }

    async fn deletes_version(
        &self,
        location: &Path,
        version: String,
    ) -> Result<bool, RetentionError> {
        let mut request = HttpRequest::new(HttpRequestBody::empty());
        *request.method_mut() = "DELETE".parse().map_err(unanswered)?;
        let options = SignedUrlOptions::new().with_query([("versionId", version)]);
        let method = request.method().clone();
        let url = self.plain.signed_url_opts(method, location, SIGNED_FOR, &options).await;
        *request.uri_mut() = url.map_err(unanswered)?.as_str().parse().map_err(unanswered)?;
        let answer = self.http.execute(request).await.map_err(unanswered)?;
        match answer.status().as_u16() {
            200..=299 => Ok(true),
            // What a locked version is answered with, and what some servers say instead.
            400 | 403 | 405 | 409 => Ok(false),
            status => Err(unanswered(format!("the server answers {status} to a deletion"))),
        }
    }
}

fn unanswered(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> RetentionError {
    RetentionError::Unanswered(error.into())
}
