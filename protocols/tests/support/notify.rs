//! What transcripts of NOTIFY say and expect again and again.

use crate::account::client::Client;

/// Sends NOTIFY SET, which is taken and tells nothing.
pub(crate) async fn set(client: &mut Client, groups: &str) {
    let answer = client.command(&format!("set NOTIFY SET {groups}")).await;
    assert_eq!(answer, "set OK NOTIFY\r\n", "{groups}");
}

/// What NOOP tells, and whatever was told before it.
pub(crate) async fn news(client: &mut Client) -> Vec<String> {
    let told = client.command("n NOOP").await;
    let told = told.strip_suffix("n OK NOOP\r\n").unwrap_or_else(|| panic!("{told}"));
    told.lines().map(str::to_owned).collect()
}

/// Reads the lines that must come next.
pub(crate) async fn lines(client: &mut Client, expected: &[&str]) {
    for line in expected {
        assert_eq!(client.line().await, format!("{line}\r\n"));
    }
}
