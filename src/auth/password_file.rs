//! A password file as `mosquitto_passwd` and VerneMQ's tool write it: `user:hash` a line
//! (mqtt.md V-221). May import `password` and `limits`.

use std::collections::BTreeMap;

use super::password::PasswordHash;
use crate::limits::NAME_BYTES_MAX;

/// Reads a file; of a name that stands twice the later line counts (mqtt.md V-009).
///
/// # Errors
/// The first line that is none, from 1, and why. Never a password or a hash.
pub(super) fn parse(text: &str) -> Result<BTreeMap<Box<str>, PasswordHash>, (usize, String)> {
    let mut users = BTreeMap::new();
    for (index, line) in text.lines().enumerate() {
        let wrong = |reason: String| (index + 1, reason);
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, hash) = line.split_once(':').ok_or_else(|| wrong("not user:hash".into()))?;
        if !(1..=NAME_BYTES_MAX).contains(&name.len()) {
            return Err(wrong("a user name has 1 to 255 bytes".into()));
        }
        let hash = PasswordHash::parse_crypt(hash).map_err(|e| wrong(e.to_string()))?;
        users.insert(name.into(), hash);
    }
    Ok(users)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_hashes_and_comments_are_read() {
        let file = format!("# users\n\n joe:{SHA512}\nann:{PBKDF2}\n");
        let users = parse(&file).unwrap();
        assert_eq!(users.len(), 2);
        assert!(users["joe"].verify(b"secret") && users["ann"].verify(b"secret"));
        assert!(!users["joe"].verify(b"Secret") && !users["ann"].verify(b""));
    }

    #[test]
    fn of_a_name_that_stands_twice_the_later_line_counts() {
        let file = format!("joe:{PBKDF2}\njoe:{OTHER}\n");
        assert!(parse(&file).unwrap()["joe"].verify(b"other"));
    }

    #[test]
    fn a_line_that_is_none_is_named_with_its_number_and_without_its_secret() {
        for (file, line, reason) in [
            ("joe", 1, "not user:hash"),
            ("\n:x", 2, "a user name has 1 to 255 bytes"),
            (
                "a:swordfish",
                1,
                "the password is not hashed as $6$ or $7$ (mosquitto_passwd -U does it) or SCRAM-SHA-256$",
            ),
            ("a:$6$AAAA", 1, "a hash is $6$salt$hash or $7$iterations$salt$hash, both base64"),
            ("a:$6$AAAA$AAAA", 1, "a hash is $6$salt$hash or $7$iterations$salt$hash, both base64"),
            ("a:$6$!$AAAA", 1, "a hash is $6$salt$hash or $7$iterations$salt$hash, both base64"),
            ("a:$7$x$AAAA$AAAA", 1, "iterations are a number from 1 to 20000"),
            ("a:$7$0$AAAA$AAAA", 1, "iterations are a number from 1 to 20000"),
            ("a:$7$20001$AAAA$AAAA", 1, "iterations are a number from 1 to 20000"),
            (
                "a:$argon2id$v=19$m=1,t=1$AAAA$AAAA",
                1,
                "password hashes of 'argon2' are not supported; set the password again as SHA-256",
            ),
        ] {
            assert_eq!(parse(file).unwrap_err(), (line, reason.into()), "{file}");
        }
        let long = format!("{}:x", "n".repeat(256));
        assert_eq!(parse(&long).unwrap_err().1, "a user name has 1 to 255 bytes");
    }

    // Written by mosquitto_passwd 2.0 for "secret", "secret" and, with -I 1000, "other".
    const SHA512: &str = "$6$fjg1uNsCppUILwaG$/CDwOWA9FgsNNt9xN4xTaswzJ8waOJ2NGwlu2yizITK94oeG5nt2tAHBwW9IpCoDReAtj7b46niGlhI9J3pZkw==";
    const PBKDF2: &str = "$7$101$fB31yVlG8PY2Mao2$w7MjZ1NWqRngeioMJBOjoRYUsHUiGA561l5NgxgSmKOh9pwje8So8SRivSSVpiagWjx7Yg1cod5JdD7XJ15XeA==";
    const OTHER: &str = "$7$1000$yb8iVjQNTu6yqdO9$bi7fvDwiRUsvvt9pnHH3Cb58QM2RW9775ZMkguAN6GLygZl4/7QvZPhMowD2BnbfMKn+TTY3Y9G/ilIRqbLinw==";
}
