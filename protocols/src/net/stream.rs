//! One connection: octets in the clear or under TLS.
//!
//! Not here: buffering and framing. Each protocol frames for itself, because what may stand in a
//! buffer when TLS starts is its own affair (RFC 3207 §6, RFC 9051 §6.2.1).

use std::{
    io,
    os::fd::AsRawFd as _,
    pin::Pin,
    task::{Context, Poll},
};

use nix::{
    errno::Errno,
    sys::socket::{MsgFlags, recv},
};
use openssl::ssl::{SslRef, SslVersion};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_openssl::SslStream;

/// What a login can be bound to, so that whoever stands between two TLS connections cannot pass it
/// on (RFC 5056).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ChannelBindings {
    /// `tls-exporter`: TLS 1.3 (RFC 9266 §2).
    pub exporter: Option<Vec<u8>>,
    /// `tls-unique`: TLS 1.2 with the extended master secret (RFC 5929 §3, RFC 7627 §5.4).
    pub unique: Option<Vec<u8>>,
}

impl ChannelBindings {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.exporter.is_none() && self.unique.is_none()
    }

    /// The binding called `name`.
    pub fn of_name(&self, name: &str) -> Option<&[u8]> {
        match name {
            "tls-exporter" => self.exporter.as_deref(),
            "tls-unique" => self.unique.as_deref(),
            _ => None,
        }
    }

    /// Those of a finished handshake, seen from the server.
    fn of_server(ssl: &SslRef) -> Self {
        match ssl.version2() {
            Some(SslVersion::TLS1_3) => {
                let mut octets = vec![0; 32];
                let label = "EXPORTER-Channel-Binding";
                let exported = ssl.export_keying_material(&mut octets, label, Some(&[]));
                Self { exporter: exported.is_ok().then_some(octets), unique: None }
            }
            // Without the extended master secret two connections can be made to have one binding.
            Some(SslVersion::TLS1_2) if ssl.extms_support() == Some(true) => {
                let mut octets = vec![0; 64];
                // The first Finished message: the client's, or the server's in a session that is
                // taken up again.
                let length = if ssl.session_reused() {
                    ssl.finished(&mut octets)
                } else {
                    ssl.peer_finished(&mut octets)
                };
                let fits = (1..=octets.len()).contains(&length);
                octets.truncate(length);
                Self { exporter: None, unique: fits.then_some(octets) }
            }
            _ => Self::default(),
        }
    }
}

/// A connection over TCP.
#[derive(Debug)]
pub enum ConnectionStream {
    /// In the clear.
    Plain(TcpStream),
    /// Under TLS.
    Tls(Box<SslStream<TcpStream>>),
}

impl ConnectionStream {
    /// Returns whether TLS protects the connection.
    pub fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// Whether octets of the peer wait to be read, or the end of its octets; under TLS they may be
    /// records without any of the peer's words. Asks the system, and waits for nothing.
    pub fn has_arrived(&self) -> bool {
        let socket = match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) if stream.ssl().pending() > 0 => return true,
            Self::Tls(stream) => stream.get_ref(),
        };
        let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
        let found = recv(socket.as_raw_fd(), &mut [0], flags);
        !matches!(found, Err(Errno::EAGAIN | Errno::EINTR))
    }

    /// Describes TLS by version and cipher, such as `TLSv1.3 TLS_AES_256_GCM_SHA384`.
    pub fn tls_description(&self) -> Option<String> {
        let Self::Tls(stream) = self else { return None };
        let ssl = stream.ssl();
        let cipher = ssl.current_cipher().map_or("unknown", |cipher| cipher.name());
        Some(format!("{} {cipher}", ssl.version_str()))
    }

    /// What a login on this connection, which a client has opened, can be bound to; nothing in the
    /// clear.
    pub fn channel_bindings(&self) -> ChannelBindings {
        match self {
            Self::Plain(_) => ChannelBindings::default(),
            Self::Tls(stream) => ChannelBindings::of_server(stream.ssl()),
        }
    }
}

impl AsyncRead for ConnectionStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for ConnectionStream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, octets),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_write(context, octets),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_shutdown(context),
        }
    }
}
