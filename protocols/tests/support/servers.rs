//! What tests of the SMTP client share: a quick client, messages, and servers that play a list of steps.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use protocols::smtp::{
    client::{
        ClientSettings, Host, MessageSource, Outcome, OutgoingMessage, Server, TlsPolicy,
        WholeMessage,
    },
    grammar::{ClientName, ForwardPath, ReversePath},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
};

pub const SOON: Duration = Duration::from_secs(20);

pub fn client() -> Arc<ClientSettings> {
    // Long enough for a busy machine; three tests wait it out.
    let quick = Duration::from_secs(2);
    let name = ClientName::parse("mail.two.example").unwrap();
    Arc::new(ClientSettings {
        reply_time_max: quick,
        data_time_max: quick,
        data_block_time_max: quick,
        data_end_time_max: quick,
        ..ClientSettings::new(name)
    })
}

pub fn server(port: u16, tls: &TlsPolicy) -> Server {
    Server {
        host: Host { name: "127.0.0.1".to_owned(), port },
        addresses: vec![SocketAddr::from(([127, 0, 0, 1], port))],
        tls: tls.clone(),
    }
}

pub fn message(from: &str, to: &[&str], octets: &[u8]) -> (OutgoingMessage, WholeMessage) {
    let outgoing = OutgoingMessage {
        reverse_path: ReversePath::parse(from).unwrap(),
        forward_paths: to.iter().map(|path| ForwardPath::parse(path).unwrap()).collect(),
        octets: octets.len() as u64,
        eight_bit: octets.iter().any(|octet| *octet > 127),
        dsn: None,
    };
    (outgoing, WholeMessage(Bytes::copy_from_slice(octets)))
}

pub fn codes(outcomes: &[Outcome]) -> Vec<String> {
    outcomes
        .iter()
        .map(|outcome| match outcome {
            Outcome::Taken(reply) => format!("taken {}", reply.code),
            Outcome::Refused(reply) => format!("refused {}", reply.code),
            Outcome::PutOff(reply) => format!("put off {}", reply.code),
            Outcome::NotSent(_) => "not sent".to_owned(),
            Outcome::Unknown(_) => "unknown".to_owned(),
        })
        .collect()
}

/// Pieces of 65,000 octets, dots in lines of 1,000.
pub struct Pieces {
    pub left: usize,
    pub fails: bool,
}

#[async_trait::async_trait]
impl MessageSource for Pieces {
    async fn next(&mut self) -> Result<Bytes, Box<dyn std::error::Error + Send + Sync>> {
        if self.left == 0 {
            return if self.fails { Err("the store is away".into()) } else { Ok(Bytes::new()) };
        }
        self.left -= 1;
        Ok(Bytes::from([vec![b'.'; 998], b"\r\n".to_vec()].concat().repeat(65)))
    }
}

/// What a fake server does.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// Sends a line.
    Say(&'static str),
    /// Reads a line that must start so.
    Hear(&'static str),
    /// Reads to the end of data.
    HearData,
    /// Closes; what follows happens on the next connection.
    Close,
    /// Takes its time, less than any step may take.
    Dawdle,
    /// Reads a little, and a little more.
    Drip,
    /// Says nothing more.
    Sleep,
}
pub use Step::{Close, Dawdle, Drip, Hear, HearData, Say, Sleep};

/// Plays `steps` and returns the port.
pub async fn fake(steps: &'static [Step]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        for steps in steps.split(|step| matches!(step, Close)) {
            let (stream, _) = listener.accept().await.unwrap();
            play(stream, steps).await;
        }
    });
    port
}

pub async fn play(stream: TcpStream, steps: &[Step]) {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    for step in steps {
        match step {
            Say(text) => stream.write_all(format!("{text}\r\n").as_bytes()).await.unwrap(),
            Hear(start) => {
                line.clear();
                stream.read_line(&mut line).await.unwrap();
                assert!(line.starts_with(start), "{line:?} instead of {start:?}");
            }
            HearData => {
                while line != ".\r\n" {
                    line.clear();
                    stream.read_line(&mut line).await.unwrap();
                }
            }
            Dawdle => tokio::time::sleep(Duration::from_millis(1_700)).await,
            Drip => {
                let mut octets = vec![0; 16 * 1024];
                while stream.read(&mut octets).await.is_ok_and(|read| read > 0) {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
            Sleep => tokio::time::sleep(SOON).await,
            Close => {}
        }
    }
}

/// A greeting without extensions, up to the reply to DATA.
#[macro_export]
macro_rules! until_data {
    ($($step:expr),* $(,)?) => {
        &[Say("220 x"), Hear("EHLO"), Say("250 x"), Hear("MAIL FROM:<x@two.example>"),
          Say("250 ok"), Hear("RCPT"), Say("250 ok"), Hear("DATA"), $($step),*]
    };
}
