//! Turns answers of a server that mean "not now" into errors that say so.
//!
//! The client gives one kind of error for a request that is wrong and for a server that is busy.
//! Here, where the answer is seen, the two are still apart: busy becomes an [`HttpError`] with
//! [`Busy`] as its cause, which `objects::retry` tries again.
//!
//! Not here: the tries (`objects::retry`).

use async_trait::async_trait;
use futures::TryStreamExt as _;
use object_store::{
    ClientOptions, Result,
    client::{
        HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse,
        HttpResponseBody, HttpService, ReqwestConnector,
    },
};

/// Octets of an error's text that are looked at.
const ERROR_OCTETS_MAX: usize = 64 << 10;

/// Codes of errors that pass, whatever status they come with.
const PASSING_CODES: [&str; 8] = [
    "ConditionalRequestConflict",
    "InternalError",
    "OperationAborted",
    "RequestTimeout",
    "ServiceUnavailable",
    "SlowDown",
    "IncompleteBody",
    "BadDigest",
];

/// The server answers that it cannot now.
#[derive(Debug, thiserror::Error)]
#[error("the server answers {status} {code}: it cannot now")]
struct Busy {
    status: u16,
    code: String,
}

/// Connects the client's own HTTP stack, with the answers looked at.
pub(super) fn connect(options: &ClientOptions) -> Result<HttpClient> {
    let client = ReqwestConnector::default().connect(options)?;
    Ok(HttpClient::new(Answers(client)))
}

/// Gives one client, whose connections and certificates all share.
#[derive(Debug)]
pub(super) struct SharedConnector(pub(super) HttpClient);

impl HttpConnector for SharedConnector {
    fn connect(&self, _: &ClientOptions) -> Result<HttpClient> {
        Ok(self.0.clone())
    }
}

#[derive(Debug)]
struct Answers(HttpClient);

#[async_trait]
impl HttpService for Answers {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        // The answer to POST may be 200 with an error inside: the server begins it before the
        // parts are put together.
        let may_hide_error = request.method().as_str() == "POST";
        let answer = self.0.execute(request).await?;
        let status = answer.status();
        if status.is_success() && !may_hide_error {
            return Ok(answer);
        }
        let (parts, body) = answer.into_parts();
        let body = read(body).await?;
        let text = String::from_utf8_lossy(&body);
        let code = code(&text).unwrap_or_default();
        let passing = match status.as_u16() {
            200 => text.contains("<Error>") && PASSING_CODES.contains(&code),
            408 | 429 | 500 | 502 | 503 | 504 => true,
            _ => PASSING_CODES.contains(&code),
        };
        if passing {
            let busy = Busy { status: status.as_u16(), code: code.to_owned() };
            return Err(HttpError::new(HttpErrorKind::Request, busy));
        }
        Ok(HttpResponse::from_parts(parts, HttpResponseBody::from(body)))
    }
}

/// Reads a body that is a short text; what stands behind the bound is dropped.
async fn read(body: HttpResponseBody) -> Result<Vec<u8>, HttpError> {
    let mut text = Vec::new();
    let mut pieces = body.bytes_stream();
    while let Some(piece) = pieces.try_next().await? {
        text.extend_from_slice(&piece);
        if text.len() > ERROR_OCTETS_MAX {
            text.truncate(ERROR_OCTETS_MAX);
            break;
        }
    }
    Ok(text)
}

/// The code of an error's text.
fn code(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once("<Code>")?;
    rest.split_once("</Code>").map(|(code, _)| code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_of_an_error_is_found_in_its_text() {
        let text =
            "<?xml version=\"1.0\"?><Error><Code>SlowDown</Code><Message>x</Message></Error>";
        assert_eq!(code(text), Some("SlowDown"));
        for text in ["", "<Code>", "<Error/>"] {
            assert_eq!(code(text), None);
        }
    }
}
