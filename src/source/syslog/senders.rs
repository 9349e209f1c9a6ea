//! Who may send.

use std::net::IpAddr;
use std::os::fd::OwnedFd;

use ipnet::IpNet;

use super::ReceptionError;
use super::bind::{self, Kind};
use crate::config::{Listen, SyslogSource};

/// The addresses whose messages are taken, as ranges that do not meet, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Senders {
    /// Whoever gets there: on a unix socket those whom the folder lets in, with certificates those
    /// who have one.
    All,
    /// These.
    Listed(Vec<(IpAddr, IpAddr)>),
}

impl Senders {
    /// Of a source on a listener of this kind.
    pub(super) fn of(source: &SyslogSource, kind: Kind) -> Self {
        match (&source.allow, kind) {
            (_, Kind::UnixDatagram | Kind::UnixStream) => Self::All,
            (Some(networks), _) => Self::listed(networks),
            (None, _) if asks_for_certificates(source, kind) => Self::All,
            (None, _) => Self::listed(&this_machine()),
        }
    }

    fn listed(networks: &[IpNet]) -> Self {
        let networks = IpNet::aggregate(&networks.to_vec());
        let mut ranges: Vec<_> = networks
            .iter()
            .map(|network| (network.network(), network.broadcast()))
            .collect();
        ranges.sort_unstable();
        Self::Listed(ranges)
    }

    /// Whether a sender's messages are taken. `None`: it has no address.
    pub(super) fn take(&self, sender: Option<IpAddr>) -> bool {
        let (ranges, sender) = match (self, sender) {
            (Self::All, _) => return true,
            (_, None) => return false,
            (Self::Listed(ranges), Some(sender)) => (ranges, sender),
        };
        let behind = ranges.partition_point(|(first, _)| *first <= sender);
        behind
            .checked_sub(1)
            .and_then(|at| ranges.get(at))
            .is_some_and(|(_, last)| sender <= *last)
    }
}

/// What the config refuses where it can know the address.
pub(super) fn refuse_unguarded(
    listen: &Listen,
    kind: Kind,
    socket: &OwnedFd,
    sources: &[&SyslogSource],
) -> Result<(), ReceptionError> {
    let Some(address) = bind::address(socket).filter(|address| !address.ip().is_loopback()) else {
        return Ok(());
    };
    let mut sources = sources.iter();
    match sources.find(|source| source.allow.is_none() && !asks_for_certificates(source, kind)) {
        None => Ok(()),
        Some(source) => {
            let message = format!(
                "{listen} is {address}, which can be reached from elsewhere, and the source {:?} \
                 does not say who may send",
                source.name
            );
            let help = "add allow = [\"192.0.2.0/24\"] with the addresses of the senders";
            Err(ReceptionError::new(message, help))
        }
    }
}

fn asks_for_certificates(source: &SyslogSource, kind: Kind) -> bool {
    let tls = source.tls.as_ref();
    kind == Kind::Tls && tls.is_some_and(|tls| tls.client_ca.is_some())
}

fn this_machine() -> [IpNet; 2] {
    use std::net::{Ipv4Addr, Ipv6Addr};
    let v4 = ipnet::Ipv4Net::new(Ipv4Addr::new(127, 0, 0, 0), 8).unwrap_or_default();
    [v4.into(), IpNet::from(IpAddr::from(Ipv6Addr::LOCALHOST))]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn senders_are_found_in_their_networks() {
        let networks: Vec<IpNet> = ["192.0.2.0/24", "10.0.0.0/8", "10.1.0.0/16", "2001:db8::/32"]
            .iter()
            .map(|text| text.parse().expect("a network"))
            .collect();
        let senders = Senders::listed(&networks);
        for (address, expected) in [
            ("192.0.2.0", true),
            ("192.0.2.255", true),
            ("192.0.3.0", false),
            ("192.0.1.255", false),
            ("10.255.255.255", true),
            ("11.0.0.0", false),
            ("2001:db8::1", true),
            ("2001:db9::", false),
            ("::1", false),
            ("0.0.0.0", false),
        ] {
            let taken = senders.take(Some(address.parse().expect("an address")));
            assert_eq!(taken, expected, "{address}");
        }
        assert!(!senders.take(None));
        assert!(Senders::All.take(None));
        let local = Senders::listed(&this_machine());
        assert!(local.take(Some(IpAddr::from([127, 0, 0, 53]))));
        assert!(local.take(Some("::1".parse().expect("an address"))));
        assert!(!local.take(Some(IpAddr::from([192, 0, 2, 1]))));
    }
}
