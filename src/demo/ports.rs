//! Chooses loopback ports: the well-known number with a prefix digit when it is free, so that what
//! the demo prints is easy to remember, otherwise any free one.

use std::net::{Ipv4Addr, TcpListener};

use crate::texts::Text;

/// The ports of one provider.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Ports {
    pub(super) smtp_relay: u16,
    pub(super) submission: u16,
    pub(super) submissions: u16,
    pub(super) imaps: u16,
    pub(super) pop3s: u16,
    pub(super) operations: u16,
}

impl Ports {
    /// Chooses ports from `base` on (10,000: 10025, 10465, …). Returns what to tell about those that
    /// were taken.
    pub(super) fn choose(base: u16) -> Result<(Self, Vec<Text>), std::io::Error> {
        let mut told = Vec::new();
        // Held until all are chosen, so that none is chosen twice.
        let mut held = Vec::new();
        let mut next = |offset: u16| {
            let wanted = base.saturating_add(offset);
            let listener = match listen(wanted) {
                Ok(listener) => listener,
                Err(error) => {
                    let listener = listen(0)?;
                    told.push(taken(wanted, listener.local_addr()?.port(), &error));
                    listener
                }
            };
            let port = listener.local_addr()?.port();
            held.push(listener);
            Ok::<u16, std::io::Error>(port)
        };
        let ports = Self {
            smtp_relay: next(25)?,
            submission: next(587)?,
            submissions: next(465)?,
            imaps: next(993)?,
            pop3s: next(995)?,
            operations: next(102)?,
        };
        Ok((ports, told))
    }
}

fn listen(port: u16) -> std::io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port))
}

fn taken(wanted: u16, chosen: u16, error: &std::io::Error) -> Text {
    Text::filled(
        format!("la porta {wanted} non è libera ({error}): uso la {chosen}"),
        format!("port {wanted} is not free ({error}): using {chosen}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_replaced_and_told() {
        // Any base whose relay port this test holds.
        let held = listen(0).unwrap();
        let Some(base) = held.local_addr().unwrap().port().checked_sub(25) else { return };
        let (ports, told) = Ports::choose(base).unwrap();
        assert_ne!(ports.smtp_relay, base + 25);
        assert!(
            told.iter()
                .any(|text| text.get(crate::texts::Language::Italian).contains("non è libera"))
        );
    }
}
