//! What an operator may choose of TLS: versions, cipher suites, groups. Names are those of OpenSSL and of the standard; what
//! this machine does not offer is passed over as long as something is left. Imports rustls.

use rustls::crypto::SupportedKxGroup;
use rustls::crypto::ring::{cipher_suite, kx_group};
use rustls::version::{TLS12, TLS13};
use rustls::{ProtocolVersion, SupportedCipherSuite, SupportedProtocolVersion};

/// Name of the standard, OpenSSL's name, what it is; in the order of preference.
const SUITES: [(&str, &str, SupportedCipherSuite); 9] = [
    ("TLS_AES_256_GCM_SHA384", "TLS_AES_256_GCM_SHA384", cipher_suite::TLS13_AES_256_GCM_SHA384),
    ("TLS_AES_128_GCM_SHA256", "TLS_AES_128_GCM_SHA256", cipher_suite::TLS13_AES_128_GCM_SHA256),
    (
        "TLS_CHACHA20_POLY1305_SHA256",
        "TLS_CHACHA20_POLY1305_SHA256",
        cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
    ),
    (
        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    ),
    (
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    ),
    (
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
    (
        "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
        "ECDHE-RSA-AES256-GCM-SHA384",
        cipher_suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    ),
    (
        "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        "ECDHE-RSA-AES128-GCM-SHA256",
        cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    ),
    (
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        "ECDHE-RSA-CHACHA20-POLY1305",
        cipher_suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
];

/// Names of the same group, and what it is.
const GROUPS: [(&[&str], &dyn SupportedKxGroup); 3] = [
    (&["x25519"], kx_group::X25519),
    (&["secp256r1", "prime256v1", "p-256"], kx_group::SECP256R1),
    (&["secp384r1", "p-384"], kx_group::SECP384R1),
];

/// Words of OpenSSL that mean many suites, ours among them.
const MANY: [&str; 8] =
    ["DEFAULT", "ALL", "HIGH", "ECDHE", "EECDH", "AESGCM", "TLSv1.2", "CHACHA20"];

/// The words of a list, however it is written.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let is_between = |c: char| c.is_whitespace() || matches!(c, ':' | ',' | ';' | '[' | ']');
    text.split(is_between).filter(|word| !word.is_empty())
}

/// Cipher suites, as places in the table.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TlsCiphers(Option<Vec<usize>>);

impl TlsCiphers {
    /// Reads OpenSSL's list or one of the standard's names; empty: all. Those of TLS 1.3 are always there unless some of them
    /// are named, as with OpenSSL.
    ///
    /// # Errors
    /// Nothing of it is offered.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (mut named, mut removed) = (Vec::new(), Vec::new());
        let mut means_many = false;
        for word in words(text) {
            let bare = word.trim_start_matches(['!', '-', '+']);
            let is_out = word.starts_with(['!', '-']);
            match SUITES.iter().position(|(name, openssl, _)| *name == bare || *openssl == bare) {
                Some(place) if is_out => removed.push(place),
                Some(place) if !named.contains(&place) => named.push(place),
                Some(_) => {}
                None => {
                    let part = |part: &str| MANY.iter().any(|many| part.starts_with(many));
                    means_many |= !is_out && (bare.starts_with('@') || bare.split('+').any(part));
                }
            }
        }
        if words(text).next().is_none() {
            return Ok(Self(None));
        }
        if means_many {
            for place in 0..SUITES.len() {
                if !named.contains(&place) {
                    named.push(place);
                }
            }
        } else if !named.is_empty() && !named.iter().any(|place| is_13(*place)) {
            named.splice(0..0, (0..SUITES.len()).filter(|place| is_13(*place)));
        }
        named.retain(|place| !removed.contains(place));
        if named.is_empty() {
            let offered: Vec<&str> = SUITES.iter().map(|(_, openssl, _)| *openssl).collect();
            return Err(format!("'{text}' has none of {}", offered.join(", ")));
        }
        Ok(Self(Some(named)))
    }

    /// For rustls.
    pub(super) fn suites(&self) -> Vec<SupportedCipherSuite> {
        let all = || SUITES.iter().map(|(_, _, suite)| *suite);
        match &self.0 {
            None => all().collect(),
            Some(places) => places.iter().filter_map(|place| all().nth(*place)).collect(),
        }
    }
}

fn is_13(place: usize) -> bool {
    let suite = SUITES.get(place).map(|(_, _, suite)| suite.version().version);
    suite == Some(ProtocolVersion::TLSv1_3)
}

/// Versions of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TlsVersions {
    has_12: bool,
    has_13: bool,
}

impl Default for TlsVersions {
    fn default() -> Self {
        Self { has_12: true, has_13: true }
    }
}

impl TlsVersions {
    /// Reads the lowest version. 1.0 and 1.1, which nobody should speak any more, mean 1.2.
    ///
    /// # Errors
    /// It is no version.
    pub fn parse_min(text: &str) -> Result<Self, String> {
        match text {
            "" | "1.0" | "1.1" | "1.2" => Ok(Self::default()),
            "1.3" => Ok(Self { has_12: false, has_13: true }),
            _ => Err(format!("'{text}' is none of 1.0, 1.1, 1.2, 1.3")),
        }
    }

    /// Reads `tlsv1.2 tlsv1.3`.
    ///
    /// # Errors
    /// Neither of them is there, or something that is no version.
    pub fn parse_list(text: &str) -> Result<Self, String> {
        let mut versions = Self { has_12: false, has_13: false };
        for word in words(text) {
            match word.trim_matches('\'').to_ascii_lowercase().as_str() {
                "tlsv1.2" => versions.has_12 = true,
                "tlsv1.3" => versions.has_13 = true,
                "tlsv1" | "tlsv1.0" | "tlsv1.1" | "sslv3" => {}
                _ => return Err(format!("'{word}' is neither tlsv1.2 nor tlsv1.3")),
            }
        }
        if versions.has_12 || versions.has_13 {
            return Ok(versions);
        }
        Err(format!("'{text}' is too old; there are tlsv1.2 and tlsv1.3"))
    }

    /// For rustls.
    pub(super) fn versions(self) -> Vec<&'static SupportedProtocolVersion> {
        let (has_13, has_12) = (self.has_13.then_some(&TLS13), self.has_12.then_some(&TLS12));
        [has_13, has_12].into_iter().flatten().collect()
    }
}

/// Groups of the key exchange, as places in the table.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TlsGroups(Option<Vec<usize>>);

impl TlsGroups {
    /// Reads a list of curves; empty: all.
    ///
    /// # Errors
    /// Nothing of it is offered.
    pub fn parse(text: &str) -> Result<Self, String> {
        let place = |word: &str| {
            let word = word.to_ascii_lowercase();
            GROUPS.iter().position(|(names, _)| names.contains(&word.as_str()))
        };
        let places: Vec<usize> = words(text).filter_map(place).collect();
        match (words(text).next(), places.is_empty()) {
            (None, _) => Ok(Self(None)),
            (Some(_), true) => Err(format!("'{text}' has none of x25519, secp256r1, secp384r1")),
            (Some(_), false) => Ok(Self(Some(places))),
        }
    }

    /// For rustls.
    pub(super) fn groups(&self) -> Vec<&'static dyn SupportedKxGroup> {
        let all = || GROUPS.iter().map(|(_, group)| *group);
        match &self.0 {
            None => all().collect(),
            Some(places) => places.iter().filter_map(|place| all().nth(*place)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<&'static str> {
        let suites = TlsCiphers::parse(text).unwrap().suites();
        let name = |s: &SupportedCipherSuite| SUITES.iter().find(|(_, _, suite)| suite == s);
        suites.iter().map(|suite| name(suite).unwrap().1).collect()
    }

    #[test]
    fn suites_are_named_as_in_openssl_or_in_the_standard() {
        assert_eq!(names("").len(), SUITES.len());
        let own = names("ECDHE-RSA-AES128-GCM-SHA256:DHE-RSA-AES128-SHA:!aNULL");
        assert_eq!(own.len(), 4, "{own:?}");
        assert_eq!(own[3], "ECDHE-RSA-AES128-GCM-SHA256");
        assert_eq!(names("TLS_AES_128_GCM_SHA256"), ["TLS_AES_128_GCM_SHA256"]);
        assert_eq!(
            names("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, TLS_AES_256_GCM_SHA384"),
            ["ECDHE-RSA-AES256-GCM-SHA384", "TLS_AES_256_GCM_SHA384"]
        );
        assert_eq!(names("HIGH:!aNULL:!MD5").len(), SUITES.len());
        assert_eq!(names("ALL:!ECDHE-RSA-AES256-GCM-SHA384").len(), SUITES.len() - 1);
    }

    #[test]
    fn a_list_of_which_nothing_is_offered_is_refused() {
        for text in ["RC4-SHA", "!ECDHE-RSA-AES128-GCM-SHA256", "x"] {
            assert!(
                TlsCiphers::parse(text).unwrap_err().contains("has none of TLS_AES_256"),
                "{text}"
            );
        }
        assert!(TlsGroups::parse("brainpoolP384r1").is_err());
        assert!(TlsVersions::parse_list("tlsv1.1").unwrap_err().contains("too old"));
        assert!(TlsVersions::parse_list("ssl").is_err() && TlsVersions::parse_min("2").is_err());
    }

    #[test]
    fn versions_and_groups_are_named_as_in_the_guides() {
        let count = |versions: TlsVersions| versions.versions().len();
        assert_eq!(TlsVersions::parse_min("1.0").map(count), Ok(2));
        assert_eq!(TlsVersions::parse_min("1.3").map(count), Ok(1));
        assert_eq!(TlsVersions::parse_list("tlsv1.2").map(count), Ok(1));
        assert_eq!(TlsVersions::parse_list("['tlsv1.1', 'tlsv1.2', 'tlsv1.3']").map(count), Ok(2));
        let groups = TlsGroups::parse("[brainpoolP384r1, secp384r1, secp256r1]").unwrap();
        assert_eq!(groups.groups().len(), 2);
    }
}
