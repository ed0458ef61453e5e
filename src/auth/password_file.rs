//! A password file, read and changed, as `mosquitto_passwd` and VerneMQ's tool write it: `user:hash` a line
//! (mqtt.md V-221). May import `password` and `limits`.

use std::collections::BTreeMap;

use super::password::{BadHash, PasswordHash};
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

/// A file as it is changed: comments, empty lines and the order of the others stay.
#[derive(Debug, Default)]
pub struct Lines(Vec<String>);

impl Lines {
    /// Of the text of a file.
    pub fn of(text: &str) -> Self {
        Self(text.lines().map(str::to_owned).collect())
    }

    /// Whether a name can stand in a file.
    pub fn is_name(name: &str) -> bool {
        (1..=NAME_BYTES_MAX).contains(&name.len())
            && !name.starts_with('#')
            && !name.contains(|c: char| c == ':' || c.is_control())
            && name.trim().len() == name.len()
    }

    /// The user has this line and no other; true: it was there before.
    pub fn set(&mut self, name: &str, hash: &str) -> bool {
        let line = format!("{name}:{hash}");
        let first = self.0.iter().position(|line| name_of(line) == Some(name));
        let Some(first) = first else {
            self.0.push(line);
            return false;
        };
        // Of several the last counts, so none may stay.
        let mut at = 0;
        self.0.retain_mut(|old| {
            let index = at;
            at += 1;
            if index == first {
                old.clone_from(&line);
            }
            index <= first || name_of(old) != Some(name)
        });
        true
    }

    /// Takes the lines of a user away; false: there was none.
    pub fn remove(&mut self, name: &str) -> bool {
        let before = self.0.len();
        self.0.retain(|line| name_of(line) != Some(name));
        self.0.len() < before
    }

    /// Replaces passwords that stand there as they are, and tells how many there were.
    ///
    /// # Errors
    /// The first line that is none, from 1, and why.
    pub fn hash_all(
        &mut self,
        mut hash: impl FnMut(&str) -> String,
    ) -> Result<usize, (usize, String)> {
        let mut count = 0;
        for (index, line) in self.0.iter_mut().enumerate() {
            let Some(name) = name_of(line) else { continue };
            let wrong = |reason: String| (index + 1, reason);
            let Some((_, kept)) = line.trim().split_once(':') else {
                return Err(wrong("not user:password".into()));
            };
            match PasswordHash::parse_crypt(kept) {
                Ok(_) => continue,
                Err(BadHash::NotHashed) if kept.is_empty() => {
                    return Err(wrong("an empty password".into()));
                }
                Err(BadHash::NotHashed) => {}
                // Hashed, and of no use: nobody means such a password.
                Err(bad) => return Err(wrong(bad.to_string())),
            }
            let line_then = format!("{name}:{}", hash(kept));
            *line = line_then;
            count += 1;
        }
        Ok(count)
    }
}

impl std::fmt::Display for Lines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

/// Whose line it is, if anybody's.
fn name_of(line: &str) -> Option<&str> {
    let line = line.trim();
    let is_entry = !line.is_empty() && !line.starts_with('#');
    is_entry.then(|| line.split_once(':').map_or(line, |(name, _)| name))
}

#[cfg(test)]
mod tests {
    use super::super::password::Kept;
    use super::*;

    #[test]
    fn what_is_written_is_read_in_every_way_it_may_be_kept() {
        for kept in [Kept::Pbkdf2, Kept::Sha512, Kept::Scram256] {
            let line = kept.line(b"secret", b"123456789012", 101);
            let hash = PasswordHash::parse_crypt(&line).unwrap();
            assert!(hash.verify(b"secret") && !hash.verify(b"Secret"), "{line}");
        }
    }

    #[test]
    fn a_change_leaves_all_other_lines_as_they_are() {
        let text = "# ours\n\nann:1\n  joe:2\nbob:3\njoe:4\n";
        let mut lines = Lines::of(text);
        assert_eq!(lines.to_string(), text);
        assert!(lines.set("joe", "5"));
        assert_eq!(lines.to_string(), "# ours\n\nann:1\njoe:5\nbob:3\n", "each name once");
        assert!(!lines.set("eve", "6"));
        assert!(lines.remove("ann") && !lines.remove("ann"));
        assert_eq!(lines.to_string(), "# ours\n\njoe:5\nbob:3\neve:6\n");
    }

    #[test]
    fn passwords_that_stand_there_are_hashed_and_hashes_are_not() {
        let text = format!("ann:{PBKDF2}\n# c\njoe:a:b $1\nold:{SHA512}\n");
        let mut lines = Lines::of(&text);
        assert_eq!(lines.hash_all(|password| format!("<{password}>")), Ok(1));
        assert_eq!(lines.to_string(), text.replace("a:b $1", "<a:b $1>"));
        for (text, line) in [("ann", 1), ("# \nann:", 2), ("ann:$6$AAAA", 1)] {
            assert_eq!(Lines::of(text).hash_all(str::to_owned).unwrap_err().0, line, "{text}");
        }
    }

    #[test]
    fn a_name_is_one_that_can_be_read_back() {
        for name in ["joe", "a b", "vhost/joe", "\u{fc}"] {
            assert!(Lines::is_name(name), "{name:?}");
        }
        for name in ["", "a:b", "#a", " a", "a ", "a\nb", "a\0"] {
            assert!(!Lines::is_name(name), "{name:?}");
        }
    }

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
