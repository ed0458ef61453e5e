//! How many connections the HTTP server has, in all and from one address (abuse row 88).
//!
//! May import nothing.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;

/// Connections.
const CONNECTIONS_MAX: usize = 1_000;
/// Connections from one address.
const CONNECTIONS_PER_ADDRESS_MAX: usize = 64;

/// Connections that are open, by address.
#[derive(Debug, Default)]
pub(super) struct Guests {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// One of them. Leaves by itself.
#[derive(Debug)]
pub(super) struct Guest {
    guests: Rc<RefCell<Guests>>,
    address: IpAddr,
    /// `address` is that of a proxy, which brings many.
    is_proxy: bool,
}

impl Guest {
    /// `None`: there are too many. Who comes from this machine counts only among all: behind a
    /// proxy that is everybody.
    pub(super) fn enter(
        guests: &Rc<RefCell<Guests>>,
        address: IpAddr,
        is_proxy: bool,
    ) -> Option<Self> {
        let mut known = guests.borrow_mut();
        let here = known.by_address.get(&address).copied().unwrap_or(0);
        let is_full = !is_proxy && !address.is_loopback() && here >= CONNECTIONS_PER_ADDRESS_MAX;
        if is_full || known.all >= CONNECTIONS_MAX {
            return None;
        }
        known.all += 1;
        if !is_proxy {
            known.by_address.insert(address, here + 1);
        }
        drop(known);
        Some(Self { guests: guests.clone(), address, is_proxy })
    }

    /// The same one, now that it has said where it comes from.
    pub(super) fn come_from(self, address: IpAddr) -> Option<Self> {
        let guests = self.guests.clone();
        drop(self);
        Self::enter(&guests, address, false)
    }

    /// Where it comes from.
    pub(super) const fn address(&self) -> IpAddr {
        self.address
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let mut known = self.guests.borrow_mut();
        known.all = known.all.saturating_sub(1);
        if self.is_proxy {
            return;
        }
        if let Some(here) = known.by_address.get_mut(&self.address) {
            *here = here.saturating_sub(1);
            if *here == 0 {
                known.by_address.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// reliability.md row 88
    #[test]
    fn an_address_has_a_share_and_a_proxy_brings_those_of_many() {
        let guests = Rc::new(RefCell::new(Guests::default()));
        let far: IpAddr = "192.0.2.1".parse().unwrap();
        let some: Vec<_> = (0..100).map_while(|_| Guest::enter(&guests, far, false)).collect();
        assert_eq!(some.len(), CONNECTIONS_PER_ADDRESS_MAX);
        let through_proxy = Guest::enter(&guests, far, true).unwrap();
        let other = through_proxy.come_from("192.0.2.2".parse().unwrap()).unwrap();
        assert_eq!(guests.borrow().all, CONNECTIONS_PER_ADDRESS_MAX + 1);
        assert!(Guest::enter(&guests, far, true).unwrap().come_from(far).is_none());
        drop((some, other));
        assert!(guests.borrow().all == 0 && guests.borrow().by_address.is_empty());
    }
}
