//! A proxy between the client and the S3 server that does to requests what networks do.
//!
//! One request a connection. What is done to it is decided by its method and target.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

/// What happens to a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Fault {
    /// Nothing.
    Pass,
    /// The server says that it cannot now.
    Busy,
    /// The answer comes after a while.
    Slow(Duration),
    /// Half the body goes up, then the connection breaks on both sides.
    TornUpload,
    /// The server does it, and the answer is lost.
    LostAnswer,
    /// Half the answer comes down, then the connection breaks.
    TornAnswer,
    /// The connection breaks before anything is sent.
    Reset,
}

type Decide = Box<dyn FnMut(&str, &str) -> Fault + Send>;

/// A running proxy; ends with the runtime.
#[derive(Clone)]
pub(crate) struct Proxy {
    pub(crate) port: u16,
    decide: Arc<Mutex<Decide>>,
}

impl Proxy {
    /// Starts a proxy in front of `server` that lets everything pass.
    pub(crate) async fn start(server: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let decide: Arc<Mutex<Decide>> = Arc::new(Mutex::new(Box::new(|_, _| Fault::Pass)));
        let proxy = Self { port, decide: Arc::clone(&decide) };
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let decide = Arc::clone(&decide);
                // An error is a connection that broke, which is what this is for.
                tokio::spawn(async move { drop(serve(client, server, &decide).await) });
            }
        });
        proxy
    }

    /// What happens from here on.
    pub(crate) fn decide(&self, decide: impl FnMut(&str, &str) -> Fault + Send + 'static) {
        *self.decide.lock().unwrap() = Box::new(decide);
    }

    /// The first `times` requests of `method` whose target holds `part` meet `fault`.
    pub(crate) fn fail(
        &self,
        method: &'static str,
        part: &'static str,
        times: usize,
        fault: Fault,
    ) {
        let mut left = times;
        self.decide(move |seen, target| {
            if left > 0 && seen == method && target.contains(part) {
                left -= 1;
                return fault;
            }
            Fault::Pass
        });
    }
}

/// A request: its head with the line of the method, and its body.
struct Request {
    head: String,
    body: Vec<u8>,
}

async fn read_request(client: &mut TcpStream) -> std::io::Result<Request> {
    let mut octets = Vec::new();
    let end = loop {
        if let Some(at) = octets.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        let mut piece = [0; 4096];
        let read = client.read(&mut piece).await?;
        if read == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        octets.extend_from_slice(&piece[..read]);
    };
    let mut body = octets.split_off(end);
    let head = String::from_utf8(octets).unwrap();
    let length: usize = head
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .map_or(0, |(_, length)| length.trim().parse().unwrap());
    let missing = length - body.len();
    let mut rest = vec![0; missing];
    client.read_exact(&mut rest).await?;
    body.extend_from_slice(&rest);
    Ok(Request { head, body })
}

async fn serve(mut client: TcpStream, server: u16, decide: &Mutex<Decide>) -> std::io::Result<()> {
    let request = read_request(&mut client).await?;
    let mut words = request.head.split(' ');
    let (method, target) = (words.next().unwrap(), words.next().unwrap());
    let fault = (*decide.lock().unwrap())(method, target);
    match fault {
        Fault::Reset => return Ok(()),
        Fault::Busy => {
            let body = "<Error><Code>SlowDown</Code><Message>later</Message></Error>";
            let answer = format!(
                "HTTP/1.1 503 Slow Down\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
            return client.write_all(answer.as_bytes()).await;
        }
        Fault::Slow(pause) => tokio::time::sleep(pause).await,
        _ => {}
    }
    let mut upstream = TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, server))).await?;
    // The server closes behind its answer, so that the answer's end need not be looked for.
    let head = request.head.replacen("\r\n", "\r\nConnection: close\r\n", 1);
    upstream.write_all(head.as_bytes()).await?;
    if fault == Fault::TornUpload {
        return upstream.write_all(&request.body[..request.body.len() / 2]).await;
    }
    upstream.write_all(&request.body).await?;
    let mut answer = Vec::new();
    upstream.read_to_end(&mut answer).await?;
    match fault {
        Fault::LostAnswer => Ok(()),
        Fault::TornAnswer => client.write_all(&answer[..answer.len() - answer.len() / 4]).await,
        _ => client.write_all(&answer).await,
    }
}
