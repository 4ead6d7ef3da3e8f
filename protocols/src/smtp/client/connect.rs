//! From a list of servers to one that has answered EHLO, under TLS as the policy wants it.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    net::TcpStream,
    time::{Instant, timeout},
};

use super::{
    ClientSettings, Host, Server, SmtpConnection, TlsPolicy,
    replies::{Interrupted, read_reply},
};
use crate::{
    net::{
        stream::ConnectionStream,
        tls::{TlsClient, TlsError},
    },
    smtp::{
        grammar::{Command, Extensions, ServerReply},
        wire::Wire,
    },
};

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// Correct the route: it leads nowhere.
    #[error("there is no host to connect to")]
    NoHost,
    /// The address does not answer. Try again later.
    #[error("{host} cannot be reached")]
    Unreachable {
        /// The host.
        host: Host,
        /// The operating system's reason.
        #[source]
        cause: io::Error,
    },
    /// The server does not want to talk to us.
    #[error("{host} refuses: {reply}")]
    Refused {
        /// The host.
        host: Host,
        /// Its greeting, or its reply to EHLO and HELO.
        reply: ServerReply,
    },
    /// The connection failed while greeting. Try again later.
    #[error("{host}: {cause}")]
    Interrupted {
        /// The host.
        host: Host,
        /// What happened.
        cause: Interrupted,
    },
    /// The server does not want to talk to us, or not under TLS, which is required; anybody on the way may
    /// have said so in its place. Try again later.
    #[error("{host} refuses before TLS, which is required: {reply}")]
    RefusedInTheClear {
        /// The host.
        host: Host,
        /// Its greeting, or its reply to EHLO, HELO or STARTTLS.
        reply: ServerReply,
    },
    /// TLS is required and not offered.
    #[error("{host} does not offer TLS, which is required")]
    TlsNotOffered {
        /// The host.
        host: Host,
    },
    /// TLS does not work, or the certificate is not the one required.
    #[error("TLS with {host} failed")]
    Tls {
        /// The host.
        host: Host,
        /// The reason.
        #[source]
        cause: TlsError,
    },
}

impl ConnectError {
    /// Whether trying again is pointless: the server refused for good.
    pub fn is_permanent(&self) -> bool {
        matches!(self, Self::Refused { reply, .. } if reply.is_permanent())
    }

    /// Whether the server was there and the [`TlsPolicy`] was not satisfied.
    pub fn is_policy(&self) -> bool {
        matches!(
            self,
            Self::TlsNotOffered { .. } | Self::Tls { .. } | Self::RefusedInTheClear { .. }
        )
    }
}

/// The part of the time until `end` that one of `count` has.
fn share(end: Instant, count: usize) -> Duration {
    let left = end.saturating_duration_since(Instant::now());
    left / u32::try_from(count.max(1)).unwrap_or(u32::MAX)
}

impl SmtpConnection {
    /// Connects to the first of `servers` that serves us, trying all its addresses, within
    /// [`ClientSettings::servers_time_max`]: those that are left share what is left of it, so that one
    /// that accepts and says nothing keeps nobody from the next.
    ///
    /// # Errors
    ///
    /// That of the last server. A refusal for good only when every server refuses for good:
    /// another may serve us next time.
    pub async fn connect(
        settings: &Arc<ClientSettings>,
        servers: &[Server],
    ) -> Result<Self, ConnectError> {
        let mut last = ConnectError::NoHost;
        let mut hope = None;
        let end = Instant::now() + settings.servers_time_max;
        for (position, Server { host, addresses, tls }) in servers.iter().enumerate() {
            let servers_left = servers.len() - position;
            let own_end = Instant::now() + share(end, servers_left);
            for (position, address) in addresses.iter().enumerate() {
                let time_max = share(own_end, addresses.len() - position);
                let time_max = time_max.min(settings.address_time_max);
                let greeted = timeout(time_max, Self::greeted(settings, host, *address, tls)).await;
                let silent = |_| ConnectError::Unreachable {
                    host: host.clone(),
                    cause: io::ErrorKind::TimedOut.into(),
                };
                match greeted.unwrap_or_else(|elapsed| Err(silent(elapsed))) {
                    Ok(connection) => return Ok(connection),
                    Err(error) => {
                        tracing::debug!(%host, %address, %error, "no connection");
                        if error.is_permanent() {
                            last = error;
                        } else {
                            hope = Some(error);
                        }
                    }
                }
            }
        }
        Err(hope.unwrap_or(last))
    }

    async fn greeted(
        settings: &Arc<ClientSettings>,
        host: &Host,
        address: SocketAddr,
        policy: &TlsPolicy,
    ) -> Result<Self, ConnectError> {
        let clear = Self::introduced(settings, host, address).await;
        let clear = match (clear, policy) {
            (Err(ConnectError::Refused { host, reply }), TlsPolicy::Required(_)) => {
                return Err(ConnectError::RefusedInTheClear { host, reply });
            }
            (clear, _) => clear?,
        };
        let tls = match policy {
            TlsPolicy::Never => return Ok(clear),
            TlsPolicy::Opportunistic(_) if !clear.extensions.start_tls => return Ok(clear),
            TlsPolicy::Required(_) if !clear.extensions.start_tls => {
                return Err(ConnectError::TlsNotOffered { host: host.clone() });
            }
            TlsPolicy::Opportunistic(tls) | TlsPolicy::Required(tls) => tls,
        };
        match (clear.start_tls(tls).await, policy) {
            (Ok(secured), _) => Ok(secured),
            (Err(error), TlsPolicy::Opportunistic(_)) => {
                // Broken TLS must not be worse than none (RFC 7435 §3). The connection is spent.
                tracing::info!(%host, %error, "TLS does not work: going on in the clear");
                Self::introduced(settings, host, address).await
            }
            (Err(error), _) => Err(error),
        }
    }

    /// Connects, reads the greeting and introduces ourselves.
    async fn introduced(
        settings: &Arc<ClientSettings>,
        host: &Host,
        address: SocketAddr,
    ) -> Result<Self, ConnectError> {
        let unreachable = |cause| ConnectError::Unreachable { host: host.clone(), cause };
        let stream = timeout(settings.connect_time_max, TcpStream::connect(address))
            .await
            .map_err(|_| unreachable(io::ErrorKind::TimedOut.into()))?
            .map_err(unreachable)?;
        stream.set_nodelay(true).map_err(unreachable)?;
        let mut wire = Wire::new(ConnectionStream::Plain(stream), settings.data_block_time_max);
        let greeting = read_reply(&mut wire, "the greeting", settings.reply_time_max)
            .await
            .map_err(|cause| ConnectError::Interrupted { host: host.clone(), cause })?;
        if !greeting.is_positive() {
            return Err(ConnectError::Refused { host: host.clone(), reply: greeting });
        }
        Self::introduce(settings, host, wire, None).await
    }

    /// Says EHLO, or HELO to servers that do not know it (RFC 5321 §3.2).
    async fn introduce(
        settings: &Arc<ClientSettings>,
        host: &Host,
        wire: Wire,
        assurance: Option<&'static str>,
    ) -> Result<Self, ConnectError> {
        let mut connection = Self {
            wire,
            settings: Arc::clone(settings),
            host: host.clone(),
            assurance,
            extensions: Extensions::default(),
            message_end: None,
            needs_reset: false,
            unusable: false,
        };
        let name = settings.client_name.clone();
        let reply = connection.ask(&Command::Ehlo(name.clone()), "EHLO").await?;
        if reply.is_positive() {
            let lines = reply.lines.iter().skip(1).map(String::as_str);
            connection.extensions = Extensions::of_lines(lines);
            return Ok(connection);
        }
        let reply = match reply.code {
            500..=504 => connection.ask(&Command::Helo(name), "HELO").await?,
            _ => reply,
        };
        if reply.is_positive() {
            Ok(connection)
        } else {
            Err(ConnectError::Refused { host: host.clone(), reply })
        }
    }

    async fn start_tls(mut self, tls: &TlsClient) -> Result<Self, ConnectError> {
        let reply = self.ask(&Command::StartTls, "STARTTLS").await?;
        if !reply.is_positive() {
            return Err(ConnectError::RefusedInTheClear { host: self.host, reply });
        }
        let Self { wire, settings, host, .. } = self;
        let tls_failed = |cause| ConnectError::Tls { host: host.clone(), cause };
        let (ConnectionStream::Plain(stream), false) = wire.into_stream() else {
            // Octets behind the 220 came in the clear, and would seem to come under TLS.
            return Err(ConnectError::Interrupted {
                host,
                cause: Interrupted::BadReply { during: "STARTTLS" },
            });
        };
        let stream = tls
            .connect(&host.name, stream, settings.handshake_time_max)
            .await
            .map_err(tls_failed)?;
        let wire = Wire::new(stream, settings.data_block_time_max);
        // What was offered in the clear is forgotten (RFC 3207 §4.2).
        Self::introduce(&settings, &host, wire, Some(tls.assurance())).await
    }

    async fn ask(
        &mut self,
        command: &Command,
        during: &'static str,
    ) -> Result<ServerReply, ConnectError> {
        let interrupted = |cause| ConnectError::Interrupted { host: self.host.clone(), cause };
        if let Err(cause) = self.wire.write(&command.encode()).await {
            return Err(interrupted(Interrupted::during(during)(cause)));
        }
        read_reply(&mut self.wire, during, self.settings.reply_time_max).await.map_err(interrupted)
    }

    /// Says goodbye and closes. The reply is not waited for beyond some seconds.
    pub async fn quit(mut self) {
        if !self.unusable && self.wire.write(&Command::Quit.encode()).await.is_ok() {
            let brief = self.settings.reply_time_max.min(Duration::from_secs(5));
            let _ = read_reply(&mut self.wire, "QUIT", brief).await;
        }
        // TLS wants its end announced; nobody is waited for.
        self.wire.shut().await;
    }
}
