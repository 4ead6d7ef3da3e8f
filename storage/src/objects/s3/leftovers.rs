//! Uploads in parts that nobody completed: found by their age, and aborted.
//!
//! A process that dies between the first part and the last request leaves parts that cost space
//! and have no name. A rule of the bucket can remove them; where the server knows no such rules,
//! this does. An upload younger than the age asked for may be somebody's: it is left alone.
//!
//! Not here: uploads that fail while their process lives, which it aborts (`objects::parts`).

use std::time::Duration;

use futures::TryStreamExt as _;
use object_store::{
    Error, Result,
    client::{HttpRequest, HttpRequestBody},
    multipart::MultipartStore as _,
    path::Path,
    signer::{SignedUrlOptions, Signer as _},
};
use quick_xml::events::Event;
use trust::clock::UnixMillis;

use super::S3Objects;

/// Pages of 1,000 uploads that one call looks at.
const PAGES_MAX: usize = 100;
/// How long a signature holds.
const SIGNED_FOR: Duration = Duration::from_mins(5);

/// An upload that was begun and neither completed nor aborted.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LeftoverUpload {
    /// The object it would make.
    pub key: String,
    /// Its id.
    pub id: String,
    /// When it was begun, as the server says it.
    pub begun: UnixMillis,
}

impl S3Objects {
    /// Aborts uploads under `prefix` that were begun before `before`, and returns how many.
    pub async fn abort_leftovers(&self, prefix: &str, before: UnixMillis) -> Result<usize> {
        let mut aborted = 0;
        for upload in self.leftovers(prefix).await? {
            if upload.begun >= before || !upload.key.starts_with(prefix) {
                continue;
            }
            match self.abort_multipart(&Path::parse(&upload.key)?, &upload.id).await {
                Ok(()) => aborted += 1,
                // Completed or aborted meanwhile.
                Err(Error::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(aborted)
    }

    /// Every upload under `prefix` that is open.
    pub async fn leftovers(&self, prefix: &str) -> Result<Vec<LeftoverUpload>> {
        let mut found = Vec::new();
        let mut markers = None;
        for _ in 0..PAGES_MAX {
            let mut query = vec![("uploads", String::new()), ("prefix", prefix.to_owned())];
            if let Some((key, id)) = markers.take() {
                query.push(("key-marker", key));
                query.push(("upload-id-marker", id));
            }
            let text = self.signed_get(query).await?;
            let page = read_page(&text).map_err(|error| wrong(Box::new(error)))?;
            found.extend(page.uploads);
            match page.next {
                Some(next) => markers = Some(next),
                None => break,
            }
        }
        Ok(found)
    }

    /// Sends a request on the bucket itself that the client has no call for.
    async fn signed_get(&self, query: Vec<(&'static str, String)>) -> Result<String> {
        let mut request = HttpRequest::new(HttpRequestBody::empty());
        let options = SignedUrlOptions::new().with_query(query);
        let method = request.method().clone();
        let bucket = Path::default();
        let url = self.plain.signed_url_opts(method, &bucket, SIGNED_FOR, &options).await?;
        *request.uri_mut() = url.as_str().parse().map_err(|error| wrong(Box::new(error)))?;
        let answer = self.http.execute(request).await.map_err(|error| wrong(Box::new(error)))?;
        let status = answer.status();
        let body: Vec<bytes::Bytes> = answer
            .into_body()
            .bytes_stream()
            .try_collect()
            .await
            .map_err(|error| wrong(Box::new(error)))?;
        let text = String::from_utf8_lossy(&body.concat()).into_owned();
        if status.is_success() {
            return Ok(text);
        }
        Err(wrong(format!("the server answers {status} to a list of uploads").into()))
    }
}

fn wrong(source: Box<dyn std::error::Error + Send + Sync>) -> Error {
    Error::Generic { store: "S3", source }
}

impl Default for LeftoverUpload {
    fn default() -> Self {
        Self { key: String::new(), id: String::new(), begun: UnixMillis(i64::MAX) }
    }
}

#[derive(Debug, Default, Eq, PartialEq)]
struct Page {
    uploads: Vec<LeftoverUpload>,
    next: Option<(String, String)>,
}

/// Reads `ListMultipartUploadsResult`. An upload without a time that can be read counts as begun
/// in the far future, so that it is left alone.
fn read_page(text: &str) -> Result<Page, quick_xml::Error> {
    let mut reader = quick_xml::Reader::from_str(text);
    let (mut page, mut inside, mut content) = (Page::default(), Vec::new(), String::new());
    let (mut truncated, mut markers) = (false, (String::new(), String::new()));
    let mut upload = LeftoverUpload::default();
    loop {
        match reader.read_event()? {
            Event::Start(start) => {
                inside.push(start.local_name().as_ref().to_owned());
                content.clear();
            }
            Event::Text(text) => content.push_str(&text.xml10_content()),
            Event::GeneralRef(reference) => {
                let character = reference.resolve_char_ref()?.map(String::from);
                let named = quick_xml::escape::resolve_predefined_entity(&reference);
                content.push_str(&character.or(named.map(str::to_owned)).unwrap_or_default());
            }
            Event::End(_) => {
                let name = inside.pop().unwrap_or_default();
                let in_upload = inside.last().is_some_and(|parent| parent == "Upload");
                let content = std::mem::take(&mut content);
                match name.as_str() {
                    "Key" if in_upload => upload.key = content,
                    "UploadId" if in_upload => upload.id = content,
                    "Initiated" if in_upload => upload.begun = instant(&content),
                    "Upload" => page.uploads.push(std::mem::take(&mut upload)),
                    "IsTruncated" => truncated = content == "true",
                    "NextKeyMarker" => markers.0 = content,
                    "NextUploadIdMarker" => markers.1 = content,
                    _ => {}
                }
            }
            Event::Eof => break,
            _ => {}
        }
    }
    page.next = (truncated && !markers.0.is_empty()).then_some(markers);
    Ok(page)
}

fn instant(text: &str) -> UnixMillis {
    let read = chrono::DateTime::parse_from_rfc3339(text.trim());
    read.map_or(UnixMillis(i64::MAX), |instant| UnixMillis(instant.timestamp_millis()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_uploads_is_read_with_where_the_next_begins() {
        let text = "<?xml version=\"1.0\"?><ListMultipartUploadsResult>\
            <Bucket>b</Bucket><KeyMarker></KeyMarker><NextKeyMarker>packs/b</NextKeyMarker>\
            <NextUploadIdMarker>2</NextUploadIdMarker><IsTruncated>true</IsTruncated>\
            <Upload><Key>packs/a</Key><UploadId>1</UploadId><Owner><ID>x</ID></Owner>\
            <Initiated>2026-11-21T06:00:00.000Z</Initiated></Upload>\
            <Upload><Key>packs/b</Key><UploadId>2</UploadId></Upload>\
            </ListMultipartUploadsResult>";
        let upload = |key: &str, id: &str, begun| LeftoverUpload {
            key: key.to_owned(),
            id: id.to_owned(),
            begun: UnixMillis(begun),
        };
        let page = read_page(text).unwrap();
        let uploads =
            vec![upload("packs/a", "1", 1_795_240_800_000), upload("packs/b", "2", i64::MAX)];
        assert_eq!(page.uploads, uploads);
        assert_eq!(page.next, Some(("packs/b".to_owned(), "2".to_owned())));
        assert_eq!(read_page("<x/>").unwrap(), Page::default());
    }
}
