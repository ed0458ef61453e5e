//! Names of topics with a number in them, as devices have. Imports std.

/// Octets of a number in a topic: three levels of three digits.
pub(crate) const NUMBER_BYTES: usize = 11;

/// The number as levels: 1234567 is `001/234/567`.
pub(crate) fn levels(number: u64) -> [u8; NUMBER_BYTES] {
    let mut octets = *b"000/000/000";
    let mut rest = number;
    for octet in octets.iter_mut().rev().filter(|octet| **octet != b'/') {
        // A digit is under 10.
        *octet = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
    }
    octets
}

/// `base` and the number below it.
pub(crate) fn numbered(base: &str, number: u64) -> String {
    format!("{base}/{}", String::from_utf8_lossy(&levels(number)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_three_levels() {
        assert_eq!(numbered("a", 1_234_567), "a/001/234/567");
        assert_eq!(numbered("a", 999_999_999), "a/999/999/999");
        assert_eq!(numbered("a", 0).len(), 2 + NUMBER_BYTES);
    }
}
