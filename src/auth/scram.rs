//! SCRAM (RFC 5802, RFC 7677): a client proves that it knows a password, and the server that it knows
//! the client, without either saying so. What is kept of the password is a [`Verifier`], written
//! `SCRAM-SHA-256$iterations:salt$stored key:server key` as in PostgreSQL. No channel binding.
//!
//! Pure: two messages in, two out; the nonce is an argument. Proving costs the client the iterations
//! and the server a few microseconds. May import `user` and `password`, and of crates `hmac`,
//! `sha2`, `pbkdf2` and `base64`.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, Mac as _};
use pbkdf2::pbkdf2_hmac;
use sha2::{Digest, Sha256, Sha512};

use super::password::{BadHash, ITERATIONS_MAX, SALT_BYTES_MAX, same_octets};
use super::user::LoginReason;
use crate::limits::NAME_BYTES_MAX;

/// Octets of a client's message: a name of 255, each of them escaped, and a nonce.
const MESSAGE_BYTES_MAX: usize = 2048;

/// Letters of a client's nonce (arbitrary; libraries have 16 to 64).
const NONCE_BYTES_MAX: usize = 512;

/// What a user that does not exist is said to have (RFC 7677: at least 4096).
const ITERATIONS_USUAL: u32 = 4096;

/// A variant of the mechanism.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mechanism {
    /// `SCRAM-SHA-256`.
    Sha256,
    /// `SCRAM-SHA-512`.
    Sha512,
}

impl Mechanism {
    /// All.
    pub const ALL: [Self; 2] = [Self::Sha256, Self::Sha512];

    /// Its registered name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "SCRAM-SHA-256",
            Self::Sha512 => "SCRAM-SHA-512",
        }
    }

    /// The one with that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mechanism| mechanism.name() == name)
    }

    const fn key_bytes(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }

    fn hash(self, octets: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha256 => Sha256::digest(octets).to_vec(),
            Self::Sha512 => Sha512::digest(octets).to_vec(),
        }
    }

    /// Nothing at all where there can be none, which equals no key.
    fn sign(self, key: &[u8], octets: &[u8]) -> Vec<u8> {
        let signed = match self {
            Self::Sha256 => Hmac::<Sha256>::new_from_slice(key)
                .map(|mac| mac.chain_update(octets).finalize().into_bytes().to_vec()),
            Self::Sha512 => Hmac::<Sha512>::new_from_slice(key)
                .map(|mac| mac.chain_update(octets).finalize().into_bytes().to_vec()),
        };
        signed.unwrap_or_default()
    }

    fn salted(self, password: &[u8], salt: &[u8], iterations: u32) -> Vec<u8> {
        let mut sum = vec![0; self.key_bytes()];
        match self {
            Self::Sha256 => pbkdf2_hmac::<Sha256>(password, salt, iterations, &mut sum),
            Self::Sha512 => pbkdf2_hmac::<Sha512>(password, salt, iterations, &mut sum),
        }
        sum
    }
}

/// What is kept of a password: enough to check a proof, too little to make one.
#[derive(Clone, PartialEq, Eq)]
pub struct Verifier {
    mechanism: Mechanism,
    salt: Box<[u8]>,
    iterations: u32,
    stored_key: Vec<u8>,
    server_key: Vec<u8>,
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.mechanism.name())
    }
}

impl Verifier {
    /// Reads one. `None`: the text does not begin like one.
    ///
    /// # Errors
    /// What is wrong with it; says nothing of the text.
    pub fn parse(text: &str) -> Option<Result<Self, BadHash>> {
        let (name, rest) = text.split_once('$')?;
        let mechanism = Mechanism::named(name)?;
        Some(Self::parse_rest(mechanism, rest))
    }

    fn parse_rest(mechanism: Mechanism, rest: &str) -> Result<Self, BadHash> {
        let parts = rest.split_once('$').and_then(|(cost, keys)| {
            let (iterations, salt) = cost.split_once(':')?;
            let (stored, server) = keys.split_once(':')?;
            Some((iterations, salt, stored, server))
        });
        let (iterations, salt, stored, server) = parts.ok_or(BadHash::NotScram)?;
        let iterations = iterations.parse().ok();
        let iterations = iterations.filter(|n| (1..=ITERATIONS_MAX).contains(n));
        let iterations = iterations.ok_or(BadHash::Iterations)?;
        let octets = |text| BASE64.decode(text).map_err(|_| BadHash::NotScram);
        let (salt, stored_key, server_key) = (octets(salt)?, octets(stored)?, octets(server)?);
        let fits = (1..=SALT_BYTES_MAX).contains(&salt.len())
            && [&stored_key, &server_key].iter().all(|key| key.len() == mechanism.key_bytes());
        let all = Self { mechanism, salt: salt.into(), iterations, stored_key, server_key };
        fits.then_some(all).ok_or(BadHash::NotScram)
    }

    /// From what the iterations have made of a password.
    pub fn of_salted(mechanism: Mechanism, salt: &[u8], iterations: u32, salted: &[u8]) -> Self {
        let client_key = mechanism.sign(salted, b"Client Key");
        Self {
            mechanism,
            salt: salt.into(),
            iterations,
            stored_key: mechanism.hash(&client_key),
            server_key: mechanism.sign(salted, b"Server Key"),
        }
    }

    /// Of a password that is new.
    pub fn of_password(
        mechanism: Mechanism,
        password: &[u8],
        salt: &[u8],
        iterations: u32,
    ) -> Self {
        let salted = mechanism.salted(password, salt, iterations);
        Self::of_salted(mechanism, salt, iterations, &salted)
    }

    /// As [`Self::parse`] reads it.
    pub fn line(&self) -> String {
        let octets = |octets: &[u8]| BASE64.encode(octets);
        let (stored, server) = (octets(&self.stored_key), octets(&self.server_key));
        let (name, salt) = (self.mechanism.name(), octets(&self.salt));
        format!("{name}${}:{salt}${stored}:{server}", self.iterations)
    }

    /// A user that does not exist has one too, always the same, which no proof fits: the exchange
    /// does not tell who exists.
    pub(super) fn of_nobody(mechanism: Mechanism, name: &str, secret: &[u8]) -> Self {
        let mut salt = mechanism.sign(secret, name.as_bytes());
        salt.truncate(16);
        let stored_key = mechanism.sign(secret, &salt);
        let server_key = mechanism.sign(secret, &stored_key);
        let iterations = ITERATIONS_USUAL;
        Self { mechanism, salt: salt.into(), iterations, stored_key, server_key }
    }

    /// For which variant it is.
    pub const fn mechanism(&self) -> Mechanism {
        self.mechanism
    }

    /// What a comparison with a password costs.
    pub const fn iterations(&self) -> u32 {
        self.iterations
    }

    /// Whether it is that of `password`.
    pub fn verify(&self, password: &[u8]) -> bool {
        let own = Self::of_password(self.mechanism, password, &self.salt, self.iterations);
        same_octets(&own.stored_key, &self.stored_key)
    }
}

/// The parts of a client's first message.
struct First<'a> {
    /// `n,,` or `y,,`: what the second message repeats.
    header: &'a str,
    bare: &'a str,
    user: Cow<'a, str>,
    nonce: &'a str,
}

/// `None`: it is none, asks for a channel binding or to act for somebody else.
fn first(message: &[u8]) -> Option<First<'_>> {
    let text = std::str::from_utf8(message).ok()?;
    if text.len() > MESSAGE_BYTES_MAX {
        return None;
    }
    let header = ["n,,", "y,,"].into_iter().find(|header| text.starts_with(header))?;
    let bare = text.strip_prefix(header)?;
    let (user, rest) = bare.strip_prefix("n=")?.split_once(',')?;
    let user = name(user)?;
    let nonce = rest.strip_prefix("r=")?;
    let nonce = nonce.split_once(',').map_or(nonce, |(nonce, _)| nonce);
    let is_nonce = (1..=NONCE_BYTES_MAX).contains(&nonce.len())
        && nonce.bytes().all(|octet| octet.is_ascii_graphic());
    is_nonce.then_some(First { header, bare, user, nonce })
}

/// A name in which a comma is `=2C` and an equals sign `=3D`.
fn name(text: &str) -> Option<Cow<'_, str>> {
    let name = if text.contains('=') {
        let plain = text.replace("=2C", ",").replace("=3D", "=");
        // Nothing else is behind an equals sign.
        let escapes = text.matches("=2C").count() + text.matches("=3D").count();
        if escapes != text.matches('=').count() {
            return None;
        }
        Cow::Owned(plain)
    } else {
        Cow::Borrowed(text)
    };
    (1..=NAME_BYTES_MAX).contains(&name.len()).then_some(name)
}

/// The name in a client's first message, if it is one.
pub fn user_in(message: &[u8]) -> Option<Cow<'_, str>> {
    first(message).map(|first| first.user)
}

/// An exchange whose first half is over.
#[derive(Debug)]
pub struct Exchange {
    verifier: Verifier,
    /// What the client has to repeat as the beginning of its second message.
    repeats: String,
    /// What both have said so far, for the signatures.
    said: String,
}

impl Exchange {
    /// Answers the client's first message. `nonce` is ours: letters and digits that nobody can
    /// guess.
    ///
    /// # Errors
    /// It is no such message.
    pub fn begin(
        verifier: Verifier,
        message: &[u8],
        nonce: &str,
    ) -> Result<(Self, String), LoginReason> {
        let First { header, bare, nonce: theirs, .. } =
            first(message).ok_or(LoginReason::BadExchange)?;
        let (salt, iterations) = (BASE64.encode(&verifier.salt), verifier.iterations);
        let answer = format!("r={theirs}{nonce},s={salt},i={iterations}");
        let repeats = format!("c={},r={theirs}{nonce}", BASE64.encode(header));
        let said = format!("{bare},{answer}");
        Ok((Self { verifier, repeats, said }, answer))
    }

    /// Checks the proof in the client's second message and answers with ours.
    ///
    /// # Errors
    /// It is no such message, or proves nothing.
    pub fn finish(&self, message: &[u8]) -> Result<String, LoginReason> {
        let wrong = LoginReason::BadExchange;
        let text = std::str::from_utf8(message).map_err(|_| wrong)?;
        if text.len() > MESSAGE_BYTES_MAX {
            return Err(wrong);
        }
        let (front, proof) = text.rsplit_once(",p=").ok_or(wrong)?;
        let rest = front.strip_prefix(&self.repeats).ok_or(wrong)?;
        if !(rest.is_empty() || rest.starts_with(',')) {
            return Err(wrong);
        }
        let proof = BASE64.decode(proof).map_err(|_| wrong)?;
        let Verifier { mechanism, stored_key, server_key, .. } = &self.verifier;
        let said = format!("{},{front}", self.said);
        let signature = mechanism.sign(stored_key, said.as_bytes());
        if proof.len() != signature.len() {
            return Err(LoginReason::WrongPassword);
        }
        let key: Vec<u8> = proof.iter().zip(&signature).map(|(a, b)| a ^ b).collect();
        if !same_octets(&mechanism.hash(&key), stored_key) {
            return Err(LoginReason::WrongPassword);
        }
        Ok(format!("v={}", BASE64.encode(mechanism.sign(server_key, said.as_bytes()))))
    }
}

/// What a client does, for tests of all who talk to one.
#[cfg(test)]
pub(crate) mod client {
    use super::*;

    /// Its first message.
    pub(crate) fn first(user: &str, nonce: &str) -> String {
        let user = user.replace('=', "=3D").replace(',', "=2C");
        format!("n,,n={user},r={nonce}")
    }

    /// Its second message, and what the server has to prove.
    pub(crate) fn last(
        mechanism: Mechanism,
        password: &str,
        first: &str,
        answer: &str,
    ) -> (String, String) {
        let part = |name: &str| answer.split(',').find_map(|part| part.strip_prefix(name)).unwrap();
        let salt = BASE64.decode(part("s=")).unwrap();
        let salted = mechanism.salted(password.as_bytes(), &salt, part("i=").parse().unwrap());
        let client_key = mechanism.sign(&salted, b"Client Key");
        let front = format!("c=biws,r={}", part("r="));
        let said = format!("{},{answer},{front}", first.strip_prefix("n,,").unwrap());
        let signature = mechanism.sign(&mechanism.hash(&client_key), said.as_bytes());
        let proof: Vec<u8> = client_key.iter().zip(signature).map(|(a, b)| a ^ b).collect();
        let server_key = mechanism.sign(&salted, b"Server Key");
        let theirs = BASE64.encode(mechanism.sign(&server_key, said.as_bytes()));
        (format!("{front},p={}", BASE64.encode(proof)), format!("v={theirs}"))
    }

    /// The verifier of a password.
    pub(crate) fn verifier(mechanism: Mechanism, password: &str) -> Verifier {
        let salted = mechanism.salted(password.as_bytes(), b"salt", 2);
        Verifier::of_salted(mechanism, b"salt", 2, &salted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The exchange that RFC 7677 shows in its section 3, byte for byte.
    #[test]
    fn the_example_of_rfc_7677_is_answered_as_there() {
        let salt = BASE64.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let salted = Mechanism::Sha256.salted(b"pencil", &salt, 4096);
        let verifier = Verifier::of_salted(Mechanism::Sha256, &salt, 4096, &salted);
        let nonce = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let hello = b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
        let (exchange, answer) = Exchange::begin(verifier, hello, nonce).unwrap();
        assert_eq!(
            answer,
            "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
        );
        let last = b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                     p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
        assert_eq!(
            exchange.finish(last),
            Ok("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=".into())
        );
    }

    #[test]
    fn both_variants_let_in_who_knows_the_password_and_nobody_else() {
        for mechanism in Mechanism::ALL {
            let verifier = client::verifier(mechanism, "secret");
            assert!(verifier.verify(b"secret") && !verifier.verify(b"Secret"));
            for (password, is_right) in [("secret", true), ("Secret", false)] {
                let first = client::first("a,b=c", "x");
                assert_eq!(user_in(first.as_bytes()).unwrap(), "a,b=c");
                let (exchange, answer) =
                    Exchange::begin(verifier.clone(), first.as_bytes(), "y").unwrap();
                let (last, proof) = client::last(mechanism, password, &first, &answer);
                let expected = if is_right { Ok(proof) } else { Err(LoginReason::WrongPassword) };
                assert_eq!(exchange.finish(last.as_bytes()), expected);
            }
        }
    }

    #[test]
    fn messages_that_break_the_rules_are_refused() {
        let long = format!("n,,n=u,r={}", "x".repeat(NONCE_BYTES_MAX + 1));
        for bad in [
            "",
            "n",
            "n,,",
            "n,,n=u",
            "n,,n=,r=x",
            "n,,n=u,r=",
            "n,,m=x,n=u,r=x",
            "x,,n=u,r=x",
            "p=tls-unique,,n=u,r=x",
            "n,a=other,n=u,r=x",
            "n,,n=a=b,r=x",
            "n,,n=u,r=a b",
            &long,
        ] {
            assert!(user_in(bad.as_bytes()).is_none(), "{bad}");
        }
        assert!(user_in(b"n,,n=\xFF,r=x").is_none());
        let verifier = client::verifier(Mechanism::Sha256, "p");
        let first = client::first("u", "x");
        let (exchange, answer) = Exchange::begin(verifier, first.as_bytes(), "y").unwrap();
        let (last, _) = client::last(Mechanism::Sha256, "p", &first, &answer);
        for bad in [
            last.replace("c=biws", "c=eSws"),
            last.replace("r=xy", "r=xyz"),
            last.replace(",p=", ",q="),
            format!("{last}!"),
            String::new(),
        ] {
            assert_eq!(exchange.finish(bad.as_bytes()), Err(LoginReason::BadExchange), "{bad}");
        }
        let other = last.replace(",p=", ",x=1,p=");
        assert_eq!(exchange.finish(other.as_bytes()), Err(LoginReason::WrongPassword));
        assert_eq!(exchange.finish(b"c=biws,r=xy,p=AAAA"), Err(LoginReason::WrongPassword));
    }

    #[test]
    fn a_verifier_is_written_as_postgresql_writes_it() {
        let text = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$\
                    WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:\
                    wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";
        let verifier = Verifier::parse(text).unwrap().unwrap();
        assert!(verifier.verify(b"pencil") && !verifier.verify(b"Pencil"));
        assert_eq!(format!("{verifier:?}"), "SCRAM-SHA-256");
        assert!(Verifier::parse("$7$101$AAAA$AAAA").is_none());
        for (bad, why) in [
            (text.replace("4096", "0"), BadHash::Iterations),
            (text.replace("4096", "99999999"), BadHash::Iterations),
            (text.replace("W22ZaJ0SNY7soEsUEjb6gQ==", ""), BadHash::NotScram),
            (text.replace("WG5d", ""), BadHash::NotScram),
            (text.replace("SHA-256", "SHA-512"), BadHash::NotScram),
            ("SCRAM-SHA-256$".into(), BadHash::NotScram),
        ] {
            assert_eq!(Verifier::parse(&bad), Some(Err(why)), "{bad}");
        }
    }

    #[test]
    fn nobody_has_a_verifier_that_stays_the_same() {
        let nobody = |name, secret| Verifier::of_nobody(Mechanism::Sha256, name, secret);
        assert_eq!(nobody("a", b"s"), nobody("a", b"s"));
        assert!(nobody("a", b"s").salt != nobody("b", b"s").salt);
        assert!(nobody("a", b"s").salt != nobody("a", b"t").salt);
    }
}
