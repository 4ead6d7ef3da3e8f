//! How each kind of setting is read from what was given, and printed back.

use std::{fmt, net::SocketAddr, path::PathBuf, str::FromStr};

use protocols::net::proxy::Network;

use super::{
    source::Raw,
    units::{Millis, Octets},
};
use crate::texts::Text;

/// A kind of setting.
pub(super) trait Setting: Sized {
    /// What people are told to write, with an example.
    fn expected() -> Text;

    /// Reads it; `None` when `raw` is not what [`Setting::expected`] says.
    fn from_raw(raw: &Raw) -> Option<Self>;

    /// Prints it as a TOML value which [`Setting::from_raw`] reads back.
    fn render(&self) -> String;
}

/// A host and a port.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct HostPort {
    /// A name or an address; IPv6 without brackets.
    pub host: String,
    /// The port; 0 lets the operating system choose one.
    pub port: u16,
}

impl HostPort {
    /// The port `port` of `host`.
    #[must_use]
    pub fn new(host: &str, port: u16) -> Self {
        Self { host: host.to_owned(), port }
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(formatter, "[{}]:{}", self.host, self.port)
        } else {
            write!(formatter, "{}:{}", self.host, self.port)
        }
    }
}

/// The text is not `host:port`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NotHostPort;

impl FromStr for HostPort {
    type Err = NotHostPort;

    fn from_str(text: &str) -> Result<Self, NotHostPort> {
        let (host, port) = text.rsplit_once(':').ok_or(NotHostPort)?;
        let host = match host.strip_prefix('[') {
            Some(inner) => {
                let inner = inner.strip_suffix(']').ok_or(NotHostPort)?;
                inner.parse::<std::net::Ipv6Addr>().map_err(|_| NotHostPort)?;
                inner
            }
            None if host.contains(':') => return Err(NotHostPort),
            None => host,
        };
        let plain = |octet: u8| octet.is_ascii_alphanumeric() || b"-._:".contains(&octet);
        if host.is_empty() || !host.bytes().all(plain) {
            return Err(NotHostPort);
        }
        Ok(Self { host: host.to_owned(), port: port.parse().map_err(|_| NotHostPort)? })
    }
}

/// A door that is open on an address, or off.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ListenAddress {
    /// Closed.
    Off,
    /// Open.
    At(HostPort),
}

impl ListenAddress {
    /// The address when the door is open.
    #[must_use]
    pub fn address(&self) -> Option<&HostPort> {
        match self {
            Self::Off => None,
            Self::At(address) => Some(address),
        }
    }
}

/// The domain part of an address in the form used everywhere inside: lower case ASCII, at least
/// two labels, each of 1 to 63 letters, digits and inner hyphens, 253 octets in all
/// (RFC 5321 §4.1.2, RFC 1035 §2.3.1). Internationalised names are given as A-labels.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct DomainName(String);

impl DomainName {
    /// A name that stands in this program's text.
    pub(super) fn known(name: &'static str) -> Self {
        Self(name.to_owned())
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DomainName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// The text is not a domain name with at least two labels.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a domain name: write it in ASCII with at least one dot, such as pec.example")]
pub struct NotADomainName;

impl FromStr for DomainName {
    type Err = NotADomainName;

    fn from_str(text: &str) -> Result<Self, NotADomainName> {
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        if text.len() > 253 || !text.contains('.') || !text.split('.').all(label) {
            return Err(NotADomainName);
        }
        Ok(Self(text.to_ascii_lowercase()))
    }
}

/// Prints a TOML basic string.
pub(super) fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

fn text(raw: &Raw) -> Option<&str> {
    match raw {
        Raw::Text(text) | Raw::Variable(text) => Some(text),
        _ => None,
    }
}

macro_rules! textual {
    ($kind:ty, $italian:literal, $english:literal) => {
        impl Setting for $kind {
            fn expected() -> Text {
                Text::fixed($italian, $english)
            }

            fn from_raw(raw: &Raw) -> Option<Self> {
                text(raw)?.parse().ok()
            }

            fn render(&self) -> String {
                quoted(&self.to_string())
            }
        }
    };
}

textual!(
    Octets,
    "una quantità con unità, come \"50 MB\"",
    "a quantity with its unit, such as \"50 MB\""
);
textual!(
    Millis,
    "una durata con unità (ms, s, min, h, days), come \"30 s\"",
    "a length of time with its unit (ms, s, min, h, days), such as \"30 s\""
);
textual!(
    HostPort,
    "\"host:porta\", come \"127.0.0.1:2525\" o \"[::1]:2525\"",
    "\"host:port\", such as \"127.0.0.1:2525\" or \"[::1]:2525\""
);
textual!(
    SocketAddr,
    "\"indirizzo:porta\", come \"127.0.0.1:53\" o \"[::1]:53\"",
    "\"address:port\", such as \"127.0.0.1:53\" or \"[::1]:53\""
);
textual!(DomainName, "un dominio, come \"pec.example\"", "a domain, such as \"pec.example\"");

impl Setting for String {
    fn expected() -> Text {
        Text::fixed("un testo tra virgolette, non vuoto", "a quoted text, not empty")
    }

    fn from_raw(raw: &Raw) -> Option<Self> {
        text(raw).filter(|text| !text.trim().is_empty()).map(str::to_owned)
    }

    fn render(&self) -> String {
        quoted(self)
    }
}

impl Setting for PathBuf {
    fn expected() -> Text {
        Text::fixed("un percorso tra virgolette", "a quoted path")
    }

    fn from_raw(raw: &Raw) -> Option<Self> {
        String::from_raw(raw).map(Self::from)
    }

    fn render(&self) -> String {
        quoted(&self.to_string_lossy())
    }
}

impl Setting for ListenAddress {
    fn expected() -> Text {
        Text::fixed(
            "\"host:porta\", come \"127.0.0.1:25\", oppure \"off\"",
            "\"host:port\", such as \"127.0.0.1:25\", or \"off\"",
        )
    }

    fn from_raw(raw: &Raw) -> Option<Self> {
        match text(raw)? {
            "off" => Some(Self::Off),
            address => address.parse().ok().map(Self::At),
        }
    }

    fn render(&self) -> String {
        self.address().map_or_else(|| quoted("off"), Setting::render)
    }
}

impl Setting for Network {
    fn expected() -> Text {
        Text::fixed(
            "una rete, come \"10.0.0.0/8\", o un indirizzo",
            "a network, such as \"10.0.0.0/8\", or an address",
        )
    }

    fn from_raw(raw: &Raw) -> Option<Self> {
        text(raw)?.parse().ok()
    }

    fn render(&self) -> String {
        quoted(&self.to_string())
    }
}

impl Setting for bool {
    fn expected() -> Text {
        Text::fixed("true oppure false, senza virgolette", "true or false, without quotes")
    }

    fn from_raw(raw: &Raw) -> Option<Self> {
        match raw {
            Raw::Boolean(truth) => Some(*truth),
            Raw::Variable(text) => text.parse().ok(),
            _ => None,
        }
    }

    fn render(&self) -> String {
        self.to_string()
    }
}

macro_rules! whole_number {
    ($($kind:ty),*) => {$(
        impl Setting for $kind {
            fn expected() -> Text {
                Text::fixed(
                    "un numero intero senza virgolette, come 50",
                    "a whole number without quotes, such as 50",
                )
            }

            fn from_raw(raw: &Raw) -> Option<Self> {
                match raw {
                    Raw::Integer(number) => (*number).try_into().ok(),
                    Raw::Variable(text) => text.trim().parse().ok(),
                    _ => None,
                }
            }

            fn render(&self) -> String {
                self.to_string()
            }
        }
    )*};
}

whole_number!(u8, u32, u64, usize);

impl<T: Setting> Setting for Vec<T> {
    fn expected() -> Text {
        let item = T::expected();
        Text::filled(
            format!(
                "una lista tra parentesi quadre, dove ogni elemento è {}",
                item.get(crate::texts::Language::Italian)
            ),
            format!(
                "a list in square brackets, each item {}",
                item.get(crate::texts::Language::English)
            ),
        )
    }

    fn from_raw(raw: &Raw) -> Option<Self> {
        match raw {
            Raw::List(items) => items.iter().map(T::from_raw).collect(),
            Raw::Variable(text) => text
                .split(',')
                .map(str::trim)
                .filter(|item| !item.is_empty())
                .map(|item| T::from_raw(&Raw::Variable(item.to_owned())))
                .collect(),
            _ => None,
        }
    }

    fn render(&self) -> String {
        format!("[{}]", self.iter().map(Setting::render).collect::<Vec<_>>().join(", "))
    }
}
