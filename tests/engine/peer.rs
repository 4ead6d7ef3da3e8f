//! Another server, played: it takes mail and answers as a test wants.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use protocols::net::{stream::ConnectionStream, tls::TlsContext};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpListener,
    task::JoinHandle,
};

/// What the server does about a command, or about the end of data.
#[derive(Clone, Debug)]
pub(crate) enum Manner {
    /// Answers, `CR LF` left out.
    Say(&'static str),
    /// Closes the connection without a word.
    Close,
    /// Says nothing, ever.
    Hang,
    /// Answers after a while.
    Late(Duration, &'static str),
}

/// Where a transaction stands when the server is asked.
#[derive(Clone, Debug, Default)]
pub(crate) struct Moment {
    /// The number of the connection, from 1.
    pub(crate) connection: usize,
    /// Messages taken by all connections so far.
    pub(crate) taken: usize,
    /// Recipients that were answered 250 in this transaction.
    pub(crate) recipients: Vec<String>,
}

/// A transaction that was answered 250, or whose answer was swallowed.
#[derive(Clone, Debug)]
pub(crate) struct Transaction {
    pub(crate) connection: usize,
    /// The MAIL line.
    pub(crate) mail: String,
    /// The RCPT lines that were answered 250.
    pub(crate) recipients: Vec<String>,
    pub(crate) octets: String,
    /// Whether the client saw the answer.
    pub(crate) answered: bool,
    /// Whether it came under TLS.
    pub(crate) tls: bool,
}

type Answer = dyn Fn(&str, &Moment) -> Option<Manner> + Send + Sync;

/// See the module.
pub(crate) struct Peer {
    pub(crate) port: u16,
    transactions: Arc<Mutex<Vec<Transaction>>>,
    connections: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Peer {
    /// A server that takes everything, but what `answer` says otherwise of a command line (`EHLO …`,
    /// `MAIL …`, `.` for the end of data, `` for the greeting).
    pub(crate) async fn start(
        answer: impl Fn(&str, &Moment) -> Option<Manner> + Send + Sync + 'static,
    ) -> Self {
        Self::start_with(None, answer).await
    }

    /// A server that takes everything, and offers STARTTLS.
    pub(crate) async fn with_tls(tls: Arc<TlsContext>) -> Self {
        Self::start_with(Some(tls), |_, _| None).await
    }

    async fn start_with(
        tls: Option<Arc<TlsContext>>,
        answer: impl Fn(&str, &Moment) -> Option<Manner> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("its address").port();
        let transactions = Arc::new(Mutex::new(Vec::new()));
        let connections = Arc::new(AtomicUsize::new(0));
        let answer: Arc<Answer> = Arc::new(answer);
        let (log, count) = (Arc::clone(&transactions), Arc::clone(&connections));
        let task = tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else { return };
                let number = count.fetch_add(1, Ordering::SeqCst) + 1;
                let moment = Moment { connection: number, ..Moment::default() };
                let stream = Some(BufReader::new(ConnectionStream::Plain(stream)));
                let (answer, tls) = (Arc::clone(&answer), tls.clone());
                let session = Session { stream, tls, answer, moment };
                tokio::spawn(session.run(Arc::clone(&log)));
            }
        });
        Self { port, transactions, connections, task }
    }

    /// A server that takes everything.
    pub(crate) async fn willing() -> Self {
        Self::start(|_, _| None).await
    }

    pub(crate) fn transactions(&self) -> Vec<Transaction> {
        self.transactions.lock().expect("no panic before").clone()
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

struct Session {
    /// `None` only while TLS begins.
    stream: Option<BufReader<ConnectionStream>>,
    tls: Option<Arc<TlsContext>>,
    answer: Arc<Answer>,
    moment: Moment,
}

impl Session {
    async fn run(mut self, log: Arc<Mutex<Vec<Transaction>>>) {
        // The end of a session needs no reason here.
        let _ = serve(&mut self, &log).await;
    }

    fn is_tls(&self) -> bool {
        self.stream.as_ref().is_some_and(|stream| stream.get_ref().is_tls())
    }

    async fn say(&mut self, reply: &str) -> Option<bool> {
        let line = format!("{reply}\r\n");
        self.stream.as_mut()?.write_all(line.as_bytes()).await.ok()?;
        Some(reply.starts_with(['2', '3']))
    }

    async fn start_tls(&mut self) -> Option<()> {
        let tls = Arc::clone(self.tls.as_ref()?);
        self.say("220 2.0.0 go on").await?;
        let stream = self.stream.take()?.into_inner();
        let secured = tls.accept(stream, Duration::from_secs(10)).await.ok()?;
        self.stream = Some(BufReader::new(secured));
        Some(())
    }

    /// Answers `line`, by `otherwise` when the test says nothing. Says whether the answer was
    /// positive; `None` ends the session.
    async fn answer(&mut self, line: &str, otherwise: &'static str) -> Option<bool> {
        let manner = (self.answer)(line, &self.moment).unwrap_or(Manner::Say(otherwise));
        self.act(manner).await
    }

    async fn act(&mut self, manner: Manner) -> Option<bool> {
        match manner {
            Manner::Say(reply) => self.say(reply).await,
            Manner::Late(time, reply) => {
                tokio::time::sleep(time).await;
                self.say(reply).await
            }
            Manner::Close => None,
            Manner::Hang => {
                std::future::pending::<()>().await;
                None
            }
        }
    }

    async fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = self.stream.as_mut()?.read_line(&mut line).await.ok()?;
        (read > 0).then(|| line.trim_end_matches("\r\n").to_owned())
    }
}

async fn serve(session: &mut Session, log: &Mutex<Vec<Transaction>>) -> Option<()> {
    session.answer("", "220 peer.example ESMTP").await?;
    let mut mail = String::new();
    loop {
        let line = session.line().await?;
        session.moment.taken = log.lock().expect("no panic before").len();
        let verb = line.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
        match verb.as_str() {
            "EHLO" if session.tls.is_some() && !session.is_tls() => {
                session.answer(&line, "250-peer.example\r\n250-8BITMIME\r\n250 STARTTLS").await?;
            }
            "EHLO" => {
                session.answer(&line, "250-peer.example\r\n250-PIPELINING\r\n250 8BITMIME").await?;
            }
            "STARTTLS" => session.start_tls().await?,
            "MAIL" => {
                if session.answer(&line, "250 2.1.0 ok").await? {
                    mail = line;
                }
                session.moment.recipients.clear();
            }
            "RCPT" => {
                if session.answer(&line, "250 2.1.5 ok").await? {
                    session.moment.recipients.push(line);
                }
            }
            "DATA" => {
                if session.answer(&line, "354 go on").await? {
                    take(session, &mail, log).await?;
                }
            }
            "QUIT" => {
                session.answer(&line, "221 2.0.0 bye").await?;
                return None;
            }
            _ => {
                session.answer(&line, "250 2.0.0 ok").await?;
            }
        }
    }
}

async fn take(session: &mut Session, mail: &str, log: &Mutex<Vec<Transaction>>) -> Option<()> {
    let mut octets = String::new();
    loop {
        let line = session.line().await?;
        if line == "." {
            break;
        }
        octets.push_str(line.strip_prefix('.').unwrap_or(&line));
        octets.push_str("\r\n");
    }
    let transaction = |answered| Transaction {
        connection: session.moment.connection,
        mail: mail.to_owned(),
        recipients: session.moment.recipients.clone(),
        octets: octets.clone(),
        answered,
        tls: session.is_tls(),
    };
    let (seen, swallowed) = (transaction(true), transaction(false));
    let manner = (session.answer)(".", &session.moment);
    let manner = manner.unwrap_or(Manner::Say("250 2.0.0 taken"));
    let kept = match &manner {
        Manner::Say(reply) | Manner::Late(_, reply) => reply.starts_with('2').then_some(seen),
        Manner::Close | Manner::Hang => Some(swallowed),
    };
    log.lock().expect("no panic before").extend(kept);
    session.moment.recipients.clear();
    session.act(manner).await.map(drop)
}
