//! A mail client made of `curl`: submits over SMTPS, reads over IMAPS and POP3S.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

use super::tools::{ToolError, curl, curl_quoted};

/// Where a provider serves its holders, and whom to trust for it.
#[derive(Clone, Debug)]
pub(super) struct Endpoints {
    /// The name in the TLS certificate.
    pub(super) host: String,
    pub(super) submission: u16,
    pub(super) imap: u16,
    pub(super) pop3: u16,
    /// The authority's certificate, PEM.
    pub(super) authority: PathBuf,
}

/// An account as a client knows it.
#[derive(Clone, Debug)]
pub(super) struct Login {
    pub(super) address: String,
    pub(super) password: String,
}

/// A session's server and account.
#[derive(Clone, Copy, Debug)]
pub(super) struct Client<'c> {
    pub(super) endpoints: &'c Endpoints,
    pub(super) login: &'c Login,
}

impl Client<'_> {
    /// Submits the message in `file` to `recipients`.
    pub(super) async fn submit(&self, file: &Path, recipients: &[&str]) -> Result<(), ToolError> {
        let mut options = self.options();
        let url = format!("smtps://{}:{}", self.endpoints.host, self.endpoints.submission);
        let _ = writeln!(options, "url = {}", curl_quoted(&url));
        let _ = writeln!(options, "mail-from = {}", curl_quoted(&self.login.address));
        for recipient in recipients {
            let _ = writeln!(options, "mail-rcpt = {}", curl_quoted(recipient));
        }
        let _ = writeln!(options, "upload-file = {}", curl_quoted(&file.to_string_lossy()));
        curl(&options).await.map(drop)
    }

    /// The UIDs in INBOX.
    pub(super) async fn imap_uids(&self) -> Result<Vec<u32>, ToolError> {
        let mut options = self.options();
        let _ = writeln!(options, "url = {}", curl_quoted(&format!("{}/INBOX", self.imap())));
        let _ = writeln!(options, "request = \"UID SEARCH ALL\"");
        let answer = curl(&options).await?;
        Ok(parse_search(&String::from_utf8_lossy(&answer)))
    }

    /// Reads the messages with these UIDs into `folder`; returns the files in the same order.
    pub(super) async fn imap_fetch(
        &self,
        uids: &[u32],
        folder: &Path,
    ) -> Result<Vec<PathBuf>, ToolError> {
        let urls = uids.iter().map(|uid| format!("{}/INBOX/;UID={uid}", self.imap()));
        self.fetch(urls, folder, "imap").await
    }

    /// The message numbers of the POP3 maildrop.
    pub(super) async fn pop3_numbers(&self) -> Result<Vec<u32>, ToolError> {
        let mut options = self.options();
        let _ = writeln!(options, "url = {}", curl_quoted(&format!("{}/", self.pop3())));
        let answer = curl(&options).await?;
        Ok(parse_scan_listing(&String::from_utf8_lossy(&answer)))
    }

    /// Retrieves these messages into `folder`; returns the files in the same order.
    pub(super) async fn pop3_retrieve(
        &self,
        numbers: &[u32],
        folder: &Path,
    ) -> Result<Vec<PathBuf>, ToolError> {
        let urls = numbers.iter().map(|number| format!("{}/{number}", self.pop3()));
        self.fetch(urls, folder, "pop3").await
    }

    /// Fetches each URL into a file of its own over one connection.
    async fn fetch(
        &self,
        urls: impl Iterator<Item = String>,
        folder: &Path,
        prefix: &str,
    ) -> Result<Vec<PathBuf>, ToolError> {
        let mut options = self.options();
        let mut files = Vec::new();
        for (index, url) in urls.enumerate() {
            let file = folder.join(format!("{prefix}-{}.eml", index + 1));
            let _ = writeln!(options, "url = {}", curl_quoted(&url));
            let _ = writeln!(options, "output = {}", curl_quoted(&file.to_string_lossy()));
            files.push(file);
        }
        if !files.is_empty() {
            curl(&options).await?;
        }
        Ok(files)
    }

    fn imap(&self) -> String {
        format!("imaps://{}:{}", self.endpoints.host, self.endpoints.imap)
    }

    fn pop3(&self) -> String {
        format!("pop3s://{}:{}", self.endpoints.host, self.endpoints.pop3)
    }

    /// What every run needs: whom to trust, who asks, and that the name leads to this machine.
    fn options(&self) -> String {
        let authority = curl_quoted(&self.endpoints.authority.to_string_lossy());
        let user = curl_quoted(&format!("{}:{}", self.login.address, self.login.password));
        format!("cacert = {authority}\nuser = {user}\nconnect-to = \"::127.0.0.1:\"\n")
    }
}

/// The numbers of an IMAP `* SEARCH` answer (RFC 3501 §7.2.5).
fn parse_search(answer: &str) -> Vec<u32> {
    answer
        .lines()
        .filter_map(|line| line.strip_prefix("* SEARCH"))
        .flat_map(str::split_whitespace)
        .filter_map(|number| number.parse().ok())
        .collect()
}

/// The numbers of a POP3 scan listing (RFC 1939 §5).
fn parse_scan_listing(answer: &str) -> Vec<u32> {
    answer.lines().filter_map(|line| line.split_whitespace().next()?.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_answer_gives_its_numbers_and_other_lines_none() {
        assert_eq!(parse_search("* SEARCH 2 84 882\r\n"), [2, 84, 882]);
        assert_eq!(parse_search("* SEARCH\r\n* 3 EXISTS\r\n"), [0u32; 0]);
    }

    #[test]
    fn a_scan_listing_gives_message_numbers_not_sizes() {
        assert_eq!(parse_scan_listing("1 120\r\n2 200\r\n"), [1, 2]);
        assert_eq!(parse_scan_listing(""), [0u32; 0]);
    }
}
