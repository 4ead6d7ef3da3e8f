//! A small HTTP server that speaks enough S3 to store objects, and does not look at
//! `If-None-Match`, as servers in use do.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    net::Ipv4Addr,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

type Objects = Arc<Mutex<BTreeMap<String, Vec<u8>>>>;

/// Starts one on a free port of loopback.
pub(crate) async fn start() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let objects = Objects::default();
    tokio::spawn(async move {
        loop {
            let (client, _) = listener.accept().await.unwrap();
            let objects = Arc::clone(&objects);
            tokio::spawn(async move { drop(serve(client, &objects).await) });
        }
    });
    port
}

async fn serve(mut client: TcpStream, objects: &Objects) -> std::io::Result<()> {
    let mut octets = Vec::new();
    let (head, body) = loop {
        let mut piece = [0; 4096];
        let read = client.read(&mut piece).await?;
        octets.extend_from_slice(&piece[..read]);
        let Some(end) = octets.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&octets[..end]).to_ascii_lowercase();
        let length = field(&head, "content-length").map_or(0, |length| length.parse().unwrap());
        if read == 0 || octets.len() >= end + 4 + length {
            break (head, octets[end + 4..].to_vec());
        }
    };
    let mut words = head.split(' ');
    let (method, target) = (words.next().unwrap(), words.next().unwrap());
    let (key, query) = target.split_once('?').unwrap_or((target, ""));
    let key = key.trim_start_matches("/prova/").to_owned();
    let (status, fields, body) = answer(method, &key, query, &head, body, objects);
    let mut answer = format!("HTTP/1.1 {status}\r\nConnection: close\r\n{fields}");
    let _ = write!(answer, "ETag: \"x\"\r\nLast-Modified: Sat, 21 Nov 2026 06:00:00 GMT\r\n\r\n");
    client.write_all(answer.as_bytes()).await?;
    client.write_all(&body).await
}

fn answer(
    method: &str,
    key: &str,
    query: &str,
    head: &str,
    body: Vec<u8>,
    objects: &Objects,
) -> (&'static str, String, Vec<u8>) {
    let mut objects = objects.lock().unwrap();
    let length = |octets: usize| format!("Content-Length: {octets}\r\n");
    if query.contains("list-type=2") {
        let mut text = String::from("<ListBucketResult><IsTruncated>false</IsTruncated>");
        for (key, octets) in &*objects {
            let _ = write!(
                text,
                "<Contents><Key>{key}</Key><Size>{}</Size>\
                 <LastModified>2026-11-21T06:00:00Z</LastModified></Contents>",
                octets.len()
            );
        }
        text.push_str("</ListBucketResult>");
        return ("200 OK", length(text.len()), text.into_bytes());
    }
    match method {
        "put" => {
            objects.insert(key.to_owned(), body);
            ("200 OK", length(0), Vec::new())
        }
        "delete" => {
            objects.remove(key);
            ("204 No Content", String::new(), Vec::new())
        }
        _ => {
            let Some(octets) = objects.get(key).cloned() else {
                return ("404 Not Found", length(0), Vec::new());
            };
            let range = field(head, "range").and_then(|range| {
                let (from, to) = range.strip_prefix("bytes=")?.split_once('-')?;
                Some((from.parse::<usize>().ok()?, to.parse::<usize>().ok()?))
            });
            match (method, range) {
                ("head", _) => ("200 OK", length(octets.len()), Vec::new()),
                (_, Some((from, to))) => {
                    let fields = format!("Content-Range: bytes {from}-{to}/{}\r\n", octets.len());
                    let part = octets[from..=to].to_vec();
                    ("206 Partial Content", fields + &length(part.len()), part)
                }
                _ => ("200 OK", length(octets.len()), octets),
            }
        }
    }
}

fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines()
        .filter_map(|line| line.split_once(':'))
        .find_map(|(found, value)| (found == name).then(|| value.trim()))
}
