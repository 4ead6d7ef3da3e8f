//! One connection: octets in the clear or under TLS.
//!
//! Not here: buffering and framing. Each protocol frames for itself, because what may stand in a
//! buffer when TLS starts is its own affair (RFC 3207 §6, RFC 9051 §6.2.1).

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_openssl::SslStream;

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

    /// Describes TLS by version and cipher, such as `TLSv1.3 TLS_AES_256_GCM_SHA384`.
    pub fn tls_description(&self) -> Option<String> {
        let Self::Tls(stream) = self else { return None };
        let ssl = stream.ssl();
        let cipher = ssl.current_cipher().map_or("unknown", |cipher| cipher.name());
        Some(format!("{} {cipher}", ssl.version_str()))
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
