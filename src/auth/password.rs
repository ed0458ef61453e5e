//! Password hashes as RabbitMQ and LavinMQ export them and as Mosquitto and VerneMQ write them, and
//! how a password is compared with one.
//!
//! RabbitMQ's are base64 of a 4-octet salt followed by SHA-256, SHA-512 or MD5 of salt and password
//! (R59, L59). Mosquitto's are `$6$salt$hash`, SHA-512 of password and salt, and
//! `$7$iterations$salt$hash`, PBKDF2 with SHA-512 (mqtt.md V-221). Either may be a verifier of SCRAM
//! instead, whose user may log in both ways.
//! May import `scram`, `md5`, `sha2`, `pbkdf2` and `base64` only: no users, no files.

use std::hint::black_box;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use md5::Md5;
use pbkdf2::pbkdf2_hmac;
use sha2::{Digest, Sha256, Sha512};

use super::scram::{Mechanism, Verifier};

const SALT_BYTES: usize = 4;
const MD5_BYTES: usize = 16;
const SHA256_BYTES: usize = 32;
const SHA512_BYTES: usize = 64;

/// Iterations of PBKDF2 that a login may cost. It is made on a shard, whose other connections wait:
/// 1,000, which `mosquitto_passwd` asks for, take about a millisecond.
pub(super) const ITERATIONS_MAX: u32 = 20_000;

/// The longest salt of a file; Mosquitto's have 12 octets, later 64.
pub(super) const SALT_BYTES_MAX: usize = 256;

/// Why the text of a hash is not one that we can compare with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadHash {
    /// Not base64.
    #[error("the password hash is not base64")]
    NotBase64,
    /// The length after decoding belongs to no algorithm, or to another than the one named.
    #[error(
        "the password hash has {have} octets; \
         a 4-octet salt with SHA-256 has 36, with SHA-512 has 68, with MD5 has 20"
    )]
    Length {
        /// Octets after decoding.
        have: usize,
    },
    /// An algorithm we do not compare with.
    #[error("password hashes of '{0}' are not supported; set the password again as SHA-256")]
    Algorithm(Box<str>),
    /// A line of a password file with something else, perhaps the password itself.
    #[error(
        "the password is not hashed as $6$ or $7$ (mosquitto_passwd -U does it) or SCRAM-SHA-256$"
    )]
    NotHashed,
    /// A line of a password file with damage.
    #[error("a hash is $6$salt$hash or $7$iterations$salt$hash, both base64")]
    NotCrypt,
    /// A verifier with damage.
    #[error(
        "a verifier is SCRAM-SHA-256$iterations:salt$stored key:server key, the last three base64"
    )]
    NotScram,
    /// None, or so many that each login would hold up a shard.
    #[error("iterations are a number from 1 to {ITERATIONS_MAX}")]
    Iterations,
}

#[derive(Clone, PartialEq, Eq)]
enum Sum {
    Md5([u8; MD5_BYTES]),
    Sha256([u8; SHA256_BYTES]),
    Sha512([u8; SHA512_BYTES]),
    /// Of a password file: SHA-512 with the salt last.
    Sha512SaltLast(Box<[u8]>, [u8; SHA512_BYTES]),
    /// Of a password file, with the number of iterations.
    Pbkdf2(Box<[u8]>, u32, [u8; SHA512_BYTES]),
    Scram(Box<Verifier>),
}

/// A salted hash. `Debug` shows the algorithm only: hashes stay out of logs.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash {
    salt: [u8; SALT_BYTES],
    sum: Sum,
}

impl PasswordHash {
    /// Nobody's hash: what an unknown user's password is compared with, so that it takes as long
    /// as a known user's.
    pub(crate) const NOBODY: Self =
        Self { salt: [0; SALT_BYTES], sum: Sum::Sha256([0; SHA256_BYTES]) };

    /// Reads a hash. `algorithm` is what a definitions file calls it; without it the prefix
    /// (`$5$`, `$6$`) or else the length decides, as in LavinMQ.
    ///
    /// # Errors
    /// When the text is no such hash or its algorithm is not one of the two.
    pub fn parse(text: &str, algorithm: Option<&str>) -> Result<Self, BadHash> {
        if let Some(verifier) = Verifier::parse(text) {
            return verifier.map(Self::of_verifier);
        }
        let bytes_expected = match algorithm {
            None | Some("") => None,
            Some("rabbit_password_hashing_md5") => Some(SALT_BYTES + MD5_BYTES),
            Some("rabbit_password_hashing_sha256") => Some(SALT_BYTES + SHA256_BYTES),
            Some("rabbit_password_hashing_sha512") => Some(SALT_BYTES + SHA512_BYTES),
            Some(other) => return Err(BadHash::Algorithm(other.into())),
        };
        if text.starts_with("$2") {
            return Err(BadHash::Algorithm("bcrypt".into()));
        }
        let encoded = Self::without_prefix(text);
        let octets = BASE64.decode(encoded).map_err(|_| BadHash::NotBase64)?;
        if bytes_expected.is_some_and(|n| n != octets.len()) {
            return Err(BadHash::Length { have: octets.len() });
        }
        let wrong = BadHash::Length { have: octets.len() };
        let Some((salt, sum)) = octets.split_first_chunk::<SALT_BYTES>() else {
            return Err(wrong);
        };
        let sum = if let Ok(sum) = <[u8; SHA256_BYTES]>::try_from(sum) {
            Sum::Sha256(sum)
        } else if let Ok(sum) = <[u8; SHA512_BYTES]>::try_from(sum) {
            Sum::Sha512(sum)
        } else if let Ok(sum) = <[u8; MD5_BYTES]>::try_from(sum) {
            Sum::Md5(sum)
        } else {
            return Err(wrong);
        };
        Ok(Self { salt: *salt, sum })
    }

    /// Reads a hash of a password file.
    ///
    /// # Errors
    /// When the text is no such hash. Says nothing of the text.
    pub fn parse_crypt(text: &str) -> Result<Self, BadHash> {
        if let Some(verifier) = Verifier::parse(text) {
            return verifier.map(Self::of_verifier);
        }
        let parts: Vec<&str> = text.split('$').collect();
        let sum = match parts.as_slice() {
            ["", "6", salt, sum] => Sum::Sha512SaltLast(file_salt(salt)?, file_sum(sum)?),
            ["", "7", iterations, salt, sum] => {
                let iterations = iterations.parse().ok();
                let iterations = iterations.filter(|n| (1..=ITERATIONS_MAX).contains(n));
                let iterations = iterations.ok_or(BadHash::Iterations)?;
                Sum::Pbkdf2(file_salt(salt)?, iterations, file_sum(sum)?)
            }
            ["", "6" | "7", ..] => return Err(BadHash::NotCrypt),
            ["", kind, ..] if kind.starts_with("argon2") => {
                return Err(BadHash::Algorithm("argon2".into()));
            }
            _ => return Err(BadHash::NotHashed),
        };
        Ok(Self { salt: [0; SALT_BYTES], sum })
    }

    /// The same as a password hash.
    pub fn of_verifier(verifier: Verifier) -> Self {
        Self { salt: [0; SALT_BYTES], sum: Sum::Scram(Box::new(verifier)) }
    }

    /// What a proof is checked with. `None`: what is kept of the password does not allow that.
    /// PBKDF2 with SHA-512 is what that variant of SCRAM begins with.
    pub fn verifier(&self, mechanism: Mechanism) -> Option<Verifier> {
        match &self.sum {
            Sum::Md5(_) | Sum::Sha256(_) | Sum::Sha512(_) | Sum::Sha512SaltLast(..) => None,
            Sum::Pbkdf2(salt, iterations, sum) => (mechanism == Mechanism::Sha512)
                .then(|| Verifier::of_salted(mechanism, salt, *iterations, sum)),
            Sum::Scram(verifier) => {
                (verifier.mechanism() == mechanism).then(|| (**verifier).clone())
            }
        }
    }

    /// What a comparison costs beyond the usual, in iterations of PBKDF2.
    pub fn iterations(&self) -> u32 {
        match &self.sum {
            Sum::Md5(_) | Sum::Sha256(_) | Sum::Sha512(_) | Sum::Sha512SaltLast(..) => 0,
            Sum::Pbkdf2(_, iterations, _) => *iterations,
            Sum::Scram(verifier) => verifier.iterations(),
        }
    }

    /// Takes as long as so many iterations.
    pub fn burn(iterations: u32, password: &[u8]) {
        if iterations > 0 {
            black_box(pbkdf2(password, &[0; SALT_BYTES], iterations));
        }
    }

    /// The text of a hash without what LavinMQ may put before it to name the algorithm.
    pub fn without_prefix(text: &str) -> &str {
        let stripped = ["$1$", "$5$", "$6$"].iter().find_map(|prefix| text.strip_prefix(prefix));
        stripped.unwrap_or(text)
    }

    /// What definitions files call the algorithm.
    pub const fn algorithm(&self) -> &'static str {
        match &self.sum {
            Sum::Md5(_) => "rabbit_password_hashing_md5",
            Sum::Sha256(_) => "rabbit_password_hashing_sha256",
            Sum::Sha512(_) => "rabbit_password_hashing_sha512",
            // Known by their text.
            Sum::Sha512SaltLast(..) | Sum::Pbkdf2(..) | Sum::Scram(_) => "",
        }
    }

    /// Whether this is the hash of `password`. Always computes all three sums and compares all
    /// octets, so that neither the algorithm nor the first wrong octet shows in the time taken
    /// (about a microsecond: cheap enough for a shard, unlike argon2 or bcrypt).
    pub fn verify(&self, password: &[u8]) -> bool {
        let short = Sha256::new().chain_update(self.salt).chain_update(password).finalize();
        let long = Sha512::new().chain_update(self.salt).chain_update(password).finalize();
        let shortest = Md5::new().chain_update(self.salt).chain_update(password).finalize();
        let (shortest, short, long) = (black_box(shortest), black_box(short), black_box(long));
        match &self.sum {
            Sum::Md5(sum) => same_octets(sum, &shortest),
            Sum::Sha256(sum) => same_octets(sum, &short),
            Sum::Sha512(sum) => same_octets(sum, &long),
            Sum::Sha512SaltLast(salt, sum) => {
                let found = Sha512::new().chain_update(password).chain_update(salt).finalize();
                same_octets(sum, &found)
            }
            Sum::Pbkdf2(salt, iterations, sum) => {
                same_octets(sum, &pbkdf2(password, salt, *iterations))
            }
            Sum::Scram(verifier) => verifier.verify(password),
        }
    }
}

impl std::fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.sum {
            Sum::Md5(_) => "PasswordHash(MD5)",
            Sum::Sha256(_) => "PasswordHash(SHA-256)",
            Sum::Sha512(_) | Sum::Sha512SaltLast(..) => "PasswordHash(SHA-512)",
            Sum::Pbkdf2(..) => "PasswordHash(PBKDF2)",
            Sum::Scram(_) => "PasswordHash(SCRAM)",
        })
    }
}

fn file_salt(text: &str) -> Result<Box<[u8]>, BadHash> {
    let salt = BASE64.decode(text).map_err(|_| BadHash::NotCrypt)?;
    let is_salt = (1..=SALT_BYTES_MAX).contains(&salt.len());
    is_salt.then(|| salt.into()).ok_or(BadHash::NotCrypt)
}

fn file_sum(text: &str) -> Result<[u8; SHA512_BYTES], BadHash> {
    let sum = BASE64.decode(text).map_err(|_| BadHash::NotCrypt)?;
    sum.try_into().map_err(|_| BadHash::NotCrypt)
}

fn pbkdf2(password: &[u8], salt: &[u8], iterations: u32) -> [u8; SHA512_BYTES] {
    let mut sum = [0; SHA512_BYTES];
    pbkdf2_hmac::<Sha512>(password, salt, iterations, &mut sum);
    sum
}

pub(super) fn same_octets(a: &[u8], b: &[u8]) -> bool {
    let differing = a.iter().zip(b).fold(0, |sum, (x, y)| black_box(sum | (x ^ y)));
    a.len() == b.len() && differing == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RabbitMQ's documentation: salt 908DC60A, password "test12".
    const TEST12: &str = "kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR";
    const SECRET_SHA512: &str = "UmluZ32Z5+y4K4mA07y2bKQonE5aVjFmdjea9vE+I24cGINXsxW+\
                                 ah3RdxVyKA1y61wkI6WDc5Upu88N8CDOWTHtxKU=";

    #[test]
    fn the_example_of_rabbitmqs_documentation_verifies() {
        let hash = PasswordHash::parse(TEST12, Some("rabbit_password_hashing_sha256")).unwrap();
        assert!(hash.verify(b"test12"));
        assert!(!hash.verify(b"test13"));
        assert!(!hash.verify(b""));
    }

    #[test]
    fn sha_512_is_recognised_by_its_length_and_its_prefix() {
        for text in [SECRET_SHA512.to_owned(), format!("$6${SECRET_SHA512}")] {
            let hash = PasswordHash::parse(&text, None).unwrap();
            assert!(hash.verify(b"secret"));
            assert!(!hash.verify(b"secret "));
        }
    }

    #[test]
    fn a_hash_of_another_length_than_its_algorithm_is_refused() {
        let sha512 = Some("rabbit_password_hashing_sha512");
        assert_eq!(PasswordHash::parse(TEST12, sha512), Err(BadHash::Length { have: 36 }));
        assert_eq!(PasswordHash::parse("AAAA", None), Err(BadHash::Length { have: 3 }));
        assert_eq!(PasswordHash::parse("", None), Err(BadHash::Length { have: 0 }));
    }

    #[test]
    fn md5_is_read_and_verified() {
        let (salt, secret) = (b"Ring", b"secret");
        let sum = Md5::new().chain_update(salt).chain_update(secret).finalize();
        let text = BASE64.encode([&salt[..], &sum[..]].concat());
        for (text, name) in
            [(text.clone(), Some("rabbit_password_hashing_md5")), (format!("$1${text}"), None)]
        {
            let hash = PasswordHash::parse(&text, name).unwrap();
            assert!(hash.verify(b"secret") && !hash.verify(b"secreT"));
            assert_eq!(hash.algorithm(), "rabbit_password_hashing_md5");
        }
    }

    #[test]
    fn bcrypt_and_plain_passwords_are_refused() {
        let bcrypt = PasswordHash::parse("$2a$10$abcd", None);
        assert!(matches!(bcrypt, Err(BadHash::Algorithm(_))));
        assert_eq!(PasswordHash::parse("my password!", None), Err(BadHash::NotBase64));
    }

    #[test]
    fn debug_output_shows_neither_salt_nor_sum() {
        let hash = PasswordHash::parse(TEST12, None).unwrap();
        assert_eq!(format!("{hash:?}"), "PasswordHash(SHA-256)");
    }
}
