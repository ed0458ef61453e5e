//! Addresses and blocks of addresses, of both families (S10).
//!
//! Pure functions from text. May import nothing.

use std::net::IpAddr;

/// From whom something is taken; empty: from everybody.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sources(Vec<Block>);

/// All addresses that begin like this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Block {
    start: IpAddr,
    /// How many bits of it count.
    bits: u32,
}

impl Sources {
    /// Reads `10.0.0.1, 192.168.0.0/24, 2001:db8::/32`.
    ///
    /// # Errors
    /// The first entry that is neither an address nor a block.
    pub fn parse(text: &str) -> Result<Self, String> {
        let entries = text.split(',').map(str::trim);
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        entries.map(Block::parse).collect::<Result<_, _>>().map(Self)
    }

    /// Whether nobody is named.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `source` is named. An IPv4 peer is the same one when it comes through a listener of
    /// both families.
    pub fn contains(&self, source: IpAddr) -> bool {
        let source = source.to_canonical();
        self.0.iter().any(|block| block.contains(source))
    }
}

impl Block {
    fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("'{text}' is neither an address nor a block such as 10.0.0.0/8");
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let written: IpAddr = address.parse().map_err(|_| wrong())?;
        let width: u32 = if written.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => width,
            Some(bits) if bits.bytes().all(|b| b.is_ascii_digit()) => {
                bits.parse().ok().filter(|bits| *bits <= width).ok_or_else(wrong)?
            }
            Some(_) => return Err(wrong()),
        };
        let start = written.to_canonical();
        let mapped = if start.is_ipv4() && written.is_ipv6() { 96 } else { 0 };
        // A block of mapped addresses that reaches beyond them is one of IPv6.
        match bits.checked_sub(mapped) {
            Some(bits) => Ok(Self { start, bits }),
            None => Ok(Self { start: written, bits }),
        }
    }

    const fn contains(self, address: IpAddr) -> bool {
        match (self.start, address) {
            (IpAddr::V4(start), IpAddr::V4(address)) => {
                let differing = (start.to_bits() ^ address.to_bits()) as u128;
                is_zero_at_the_top(differing, 32, self.bits)
            }
            (IpAddr::V6(start), IpAddr::V6(address)) => {
                is_zero_at_the_top(start.to_bits() ^ address.to_bits(), 128, self.bits)
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

/// Whether the highest `bits` of a number of `width` bits are zero.
const fn is_zero_at_the_top(number: u128, width: u32, bits: u32) -> bool {
    match number.checked_shr(width - bits) {
        Some(top) => top == 0,
        // No bit counts.
        None => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(sources: &str, source: &str) -> bool {
        Sources::parse(sources).unwrap().contains(source.parse().unwrap())
    }

    /// S10
    #[test]
    fn addresses_and_blocks_of_both_families_are_found() {
        let all = "10.0.0.1, 192.168.0.0/24 ,2001:db8::/32,::1";
        for (source, expected) in [
            ("10.0.0.1", true),
            ("10.0.0.2", false),
            ("192.168.0.0", true),
            ("192.168.0.255", true),
            ("192.168.1.0", false),
            ("2001:db8::1", true),
            ("2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", true),
            ("2001:db9::", false),
            ("::1", true),
            ("::2", false),
            ("0.0.0.1", false),
        ] {
            assert_eq!(names(all, source), expected, "{source}");
        }
        assert!(names("0.0.0.0/0", "255.1.2.3") && !names("0.0.0.0/0", "::1"));
        assert!(names("::/0", "2001::1") && !names("::/0", "10.0.0.1"));
        assert!(names("10.1.2.3/8", "10.255.0.0"), "bits that do not count may be there");
        assert!(names("10.0.0.0/31", "10.0.0.1") && !names("10.0.0.0/31", "10.0.0.2"));
    }

    /// S10: the same peer by its IPv4 and by its mapped address.
    #[test]
    fn a_mapped_address_is_the_ipv4_address_within() {
        assert!(names("10.0.0.0/8", "::ffff:10.1.2.3"));
        assert!(names("::ffff:10.0.0.0/104", "10.1.2.3"));
        assert!(names("::ffff:10.0.0.1", "10.0.0.1") && !names("::ffff:10.0.0.1", "10.0.0.2"));
        assert!(!names("::/64", "10.0.0.1"));
    }

    /// S10
    #[test]
    fn an_entry_that_is_none_is_refused() {
        assert!(Sources::parse(" ").unwrap().is_empty());
        for text in [
            "proxy.example",
            "10.0.0",
            "10.0.0.1/33",
            "::1/129",
            "10.0.0.1/",
            "10.0.0.1/+8",
            "10.0.0.1,",
            ",10.0.0.1",
            "10.0.0.1 10.0.0.2",
            "10.0.0.1/8/8",
            "[::1]",
        ] {
            assert!(Sources::parse(text).is_err(), "{text}");
        }
    }
}
