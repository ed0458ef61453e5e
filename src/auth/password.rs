//! Password hashes as RabbitMQ and LavinMQ export them and as Mosquitto and VerneMQ write them, and
//! how a password is compared with one.
//!
//! RabbitMQ's are base64 of a 4-octet salt followed by SHA-256, SHA-512 or MD5 of salt and password
//! (R59, L59). Mosquitto's are `$6$salt$hash`, SHA-512 of password and salt, and
//! `$7$iterations$salt$hash`, PBKDF2 with SHA-512 (mqtt.md V-221). Either may be a verifier of SCRAM
//! instead, whose user may log in both ways.
//! May import `scram`, `md5`, `sha2`, `pbkdf2` and `base64` only: no users, no files.

use std::hint::black_box;

use argon2::password_hash::SaltString;
use argon2::{Argon2, PasswordHasher as _, PasswordVerifier as _};
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
pub const ITERATIONS_MAX: u32 = 20_000;

/// How the text of an argon2 hash begins, and what definitions files call the algorithm.
const ARGON2: &str = "$argon2id$";
const ARGON2_NAME: &str = "argon2id";

/// What a hash may cost that comes from elsewhere (arbitrary: some 100 ms).
const ARGON2_KIB_MAX: u32 = 65_536;
const ARGON2_ROUNDS_MAX: u32 = 10;
const ARGON2_LANES_MAX: u32 = 4;

/// Octets of the salt of a new hash (RFC 9106, 3.1).
const ARGON2_SALT_BYTES: usize = 16;

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
    /// A hash of argon2 with damage, of another kind, or one that costs more than a login may.
    #[error(
        "a hash of argon2 is $argon2id$v=19$m=KiB,t=rounds,p=lanes$salt$hash with at most \
         {ARGON2_KIB_MAX} KiB, {ARGON2_ROUNDS_MAX} rounds and {ARGON2_LANES_MAX} lanes"
    )]
    NotArgon2,
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
    /// As its text, which says what it costs.
    Argon2(Box<str>),
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
        if text.starts_with(ARGON2) {
            return match algorithm {
                None | Some("" | ARGON2_NAME) => Self::of_argon2(text),
                Some(_) => Err(BadHash::NotArgon2),
            };
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

    /// A new hash: argon2id with the least cost that OWASP advises (19 MiB, 2 rounds, 1 lane), which
    /// are also the defaults of the crate. `None`: there are no random numbers.
    pub fn of_password(password: &[u8]) -> Option<(Box<str>, Self)> {
        let mut salt = [0; ARGON2_SALT_BYTES];
        getrandom::fill(&mut salt).ok()?;
        let salt = SaltString::encode_b64(&salt).ok()?;
        let text = Argon2::default().hash_password(password, &salt).ok()?.to_string();
        let hash = Self::of_argon2(&text).ok()?;
        Some((text.into(), hash))
    }

    fn of_argon2(text: &str) -> Result<Self, BadHash> {
        let parsed = argon2::PasswordHash::new(text).map_err(|_| BadHash::NotArgon2)?;
        let params = argon2::Params::try_from(&parsed).map_err(|_| BadHash::NotArgon2)?;
        let is_bearable = params.m_cost() <= ARGON2_KIB_MAX
            && params.t_cost() <= ARGON2_ROUNDS_MAX
            && params.p_cost() <= ARGON2_LANES_MAX;
        if !is_bearable || parsed.hash.is_none() || parsed.salt.is_none() {
            return Err(BadHash::NotArgon2);
        }
        Ok(Self { salt: [0; SALT_BYTES], sum: Sum::Argon2(text.into()) })
    }

    /// Whether a comparison takes too long for a shard.
    pub const fn is_costly(&self) -> bool {
        match &self.sum {
            Sum::Argon2(_) => true,
            Sum::Md5(_)
            | Sum::Sha256(_)
            | Sum::Sha512(_)
            | Sum::Sha512SaltLast(..)
            | Sum::Pbkdf2(..)
            | Sum::Scram(_) => false,
        }
    }

    /// Takes as long as a comparison with a new hash.
    pub fn burn_costly(password: &[u8]) {
        let mut out = [0; SHA256_BYTES];
        let hashed =
            Argon2::default().hash_password_into(password, &[0; ARGON2_SALT_BYTES], &mut out);
        black_box((hashed.is_ok(), out));
    }

    /// The same as a password hash.
    pub fn of_verifier(verifier: Verifier) -> Self {
        Self { salt: [0; SALT_BYTES], sum: Sum::Scram(Box::new(verifier)) }
    }

    /// What a proof is checked with. `None`: what is kept of the password does not allow that.
    /// PBKDF2 with SHA-512 is what that variant of SCRAM begins with.
    pub fn verifier(&self, mechanism: Mechanism) -> Option<Verifier> {
        match &self.sum {
            Sum::Md5(_)
            | Sum::Sha256(_)
            | Sum::Sha512(_)
            | Sum::Sha512SaltLast(..)
            | Sum::Argon2(_) => None,
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
            Sum::Md5(_)
            | Sum::Sha256(_)
            | Sum::Sha512(_)
            | Sum::Sha512SaltLast(..)
            | Sum::Argon2(_) => 0,
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
            Sum::Argon2(_) => ARGON2_NAME,
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
            Sum::Argon2(text) => argon2::PasswordHash::new(text)
                .is_ok_and(|hash| Argon2::default().verify_password(password, &hash).is_ok()),
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
            Sum::Argon2(_) => "PasswordHash(argon2id)",
        })
    }
}

/// How a password is kept in a file that is written now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Kept {
    /// `$7$`: PBKDF2 with SHA-512. Serves logins with a password and SCRAM-SHA-512.
    #[default]
    Pbkdf2,
    /// `$6$`: SHA-512, as Mosquitto before 1.7 wrote it. Whoever gets the file tries billions a second.
    Sha512,
    /// A verifier of SCRAM-SHA-256, which serves logins with a password as well.
    Scram256,
}

impl Kept {
    /// What stands behind the user's name. Iterations do not count where there are none.
    pub fn line(self, password: &[u8], salt: &[u8], iterations: u32) -> String {
        let encoded = BASE64.encode(salt);
        match self {
            Self::Pbkdf2 => {
                let sum = BASE64.encode(pbkdf2(password, salt, iterations));
                format!("$7${iterations}${encoded}${sum}")
            }
            Self::Sha512 => {
                let sum = Sha512::new().chain_update(password).chain_update(salt).finalize();
                format!("$6${encoded}${}", BASE64.encode(sum))
            }
            Self::Scram256 => {
                Verifier::of_password(Mechanism::Sha256, password, salt, iterations).line()
            }
        }
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
    fn a_new_hash_is_argon2id_and_verifies_its_password_only() {
        let (text, hash) = PasswordHash::of_password(b"secret").unwrap();
        assert!(text.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{text}");
        assert!(hash.is_costly() && hash.algorithm() == "argon2id");
        for name in [None, Some(""), Some("argon2id")] {
            let read = PasswordHash::parse(&text, name).unwrap();
            assert!(read == hash && read.verify(b"secret") && !read.verify(b"secreT"));
        }
        let (other, _) = PasswordHash::of_password(b"secret").unwrap();
        assert_ne!(other, text, "the salt is new");
    }

    #[test]
    fn a_hash_of_argon2_that_is_damaged_or_costs_too_much_is_refused() {
        let (text, _) = PasswordHash::of_password(b"x").unwrap();
        for bad in [
            text.replace("m=19456", "m=1000000"),
            text.replace("t=2", "t=11"),
            text.replace("p=1", "p=5"),
            text.replace("$argon2id$", "$argon2i$"),
            "$argon2id$".into(),
            text.chars().take(40).collect(),
        ] {
            assert!(PasswordHash::parse(&bad, None).is_err(), "{bad}");
        }
        let sha256 = Some("rabbit_password_hashing_sha256");
        assert_eq!(PasswordHash::parse(&text, sha256), Err(BadHash::NotArgon2));
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
