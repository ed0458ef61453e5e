//! TLS as the settings say it: of all listeners (`tls_*` in `[main]`), of names that clients ask for
//! (`[sni:host]`, LavinMQ's), of listeners with names (`listener.ssl.*`, `listener.wss.*`,
//! VerneMQ's). What is more specific comes first.
//!
//! May import `auth::certificate`, `config::value` and the choices of `ringmq_shards::tls`.

use std::path::PathBuf;
use std::sync::Arc;

use ringmq_shards::tls::{ClientCertificates, TlsCiphers, TlsGroups, TlsOptions, TlsVersions};

use super::value::{one_of, parse_bool, parse_number};
use crate::auth::certificate::{AlternativeKind, CertificateName};

/// How many hosts may have a section: a mistake in a generated file, not a need.
const HOSTS_MAX: usize = 1024;

/// TLS of one listener, with everything that was inherited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsListener {
    /// For clients that ask for nobody, or for nobody we know.
    pub usual: TlsOptions,
    /// By the name that clients ask for.
    pub hosts: Vec<(Box<str>, TlsOptions)>,
    /// Where the user's name stands in a client's certificate.
    pub login_from: CertificateName,
    /// Who shows a certificate is its user, whatever else it says (mqtt.md V-100).
    pub names_user: bool,
}

/// What one place says. `None`: nothing, so that a less specific one is asked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[expect(missing_docs, reason = "each is described once, by its declaration in SETTINGS")]
pub struct Tls {
    pub certificate: Option<PathBuf>,
    pub key: Option<PathBuf>,
    pub ciphers: Option<TlsCiphers>,
    pub versions: Option<TlsVersions>,
    pub groups: Option<TlsGroups>,
    pub clients: Option<ClientCertificates>,
    pub client_roots: Option<PathBuf>,
    pub depth: Option<usize>,
    pub revoked: Option<PathBuf>,
    pub key_log: Option<PathBuf>,
    pub names_user: Option<bool>,
}

/// Whom certificates name: of all listeners.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CertificateLogin {
    /// Which part of a certificate.
    pub from: LoginFrom,
    /// Of other names: which kind.
    pub san_type: AlternativeKind,
    /// Of other names: which of them.
    pub san_index: u16,
}

/// RabbitMQ's `ssl_cert_login_from`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LoginFrom {
    /// The common name.
    #[default]
    CommonName,
    /// The whole name.
    DistinguishedName,
    /// Another name.
    AlternativeName,
}

impl CertificateLogin {
    const fn name(self) -> CertificateName {
        match self.from {
            LoginFrom::CommonName => CertificateName::CommonName,
            LoginFrom::DistinguishedName => CertificateName::DistinguishedName,
            LoginFrom::AlternativeName => {
                CertificateName::AlternativeName(self.san_type, self.san_index)
            }
        }
    }
}

impl LoginFrom {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        one_of(
            text,
            &[
                ("common_name", Self::CommonName),
                ("distinguished_name", Self::DistinguishedName),
                ("subject_alternative_name", Self::AlternativeName),
                ("subject_alt_name", Self::AlternativeName),
            ],
        )
    }
}

pub(super) fn parse_alternative(text: &str) -> Result<AlternativeKind, String> {
    one_of(
        text,
        &[
            ("dns", AlternativeKind::Dns),
            ("ip", AlternativeKind::Ip),
            ("email", AlternativeKind::Email),
            ("uri", AlternativeKind::Uri),
        ],
    )
}

/// Reads whether clients are asked for certificates.
pub(super) fn parse_clients(text: &str) -> Result<ClientCertificates, String> {
    match text {
        "optional" => Ok(ClientCertificates::Optional),
        _ => match parse_bool(text) {
            Ok(true) => Ok(ClientCertificates::Required),
            Ok(false) => Ok(ClientCertificates::Ignored),
            Err(_) => Err(format!("'{text}' is none of false, optional, true")),
        },
    }
}

fn path(value: &str) -> Option<PathBuf> {
    (!value.is_empty()).then(|| value.into())
}

impl Tls {
    /// Takes an option of a listener of VerneMQ's; false: it has no such.
    pub(super) fn set_of_listener(&mut self, option: &str, value: &str) -> Result<bool, String> {
        match option {
            "certfile" => self.certificate = path(value),
            "keyfile" => self.key = path(value),
            "cafile" => self.client_roots = path(value),
            "crlfile" => self.revoked = path(value),
            "depth" => {
                let depth = parse_number(value)?;
                self.depth = Some(usize::try_from(depth).unwrap_or(usize::MAX));
            }
            "ciphers" => self.ciphers = Some(TlsCiphers::parse(value)?),
            "eccs" => self.groups = Some(TlsGroups::parse(value)?),
            "tls_version" => self.versions = Some(TlsVersions::parse_list(value)?),
            "require_certificate" => self.clients = Some(parse_clients(value)?),
            "use_identity_as_username" | "use_cn_as_username" => {
                self.names_user = Some(parse_bool(value)?);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Takes a key of a `[sni:host]` section; false: it has no such.
    fn set_of_host(&mut self, key: &str, value: &str) -> Result<bool, String> {
        match key {
            "tls_cert" => self.certificate = path(value),
            "tls_key" => self.key = path(value),
            "tls_ciphers" => self.ciphers = Some(TlsCiphers::parse(value)?),
            "tls_min_version" => self.versions = Some(TlsVersions::parse_min(value)?),
            "tls_verify_peer" => self.clients = Some(parse_clients(value)?),
            "tls_ca_cert" => self.client_roots = path(value),
            "tls_keylog_file" => self.key_log = path(value),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// This, and where it says nothing the other. A key goes with its certificate.
    pub(super) fn or(self, other: &Self) -> Self {
        let key = if self.certificate.is_some() {
            self.key.or_else(|| self.certificate.clone())
        } else {
            self.key.or_else(|| other.key.clone())
        };
        Self {
            key,
            certificate: self.certificate.or_else(|| other.certificate.clone()),
            ciphers: self.ciphers.or_else(|| other.ciphers.clone()),
            versions: self.versions.or(other.versions),
            groups: self.groups.or_else(|| other.groups.clone()),
            clients: self.clients.or(other.clients),
            client_roots: self.client_roots.or_else(|| other.client_roots.clone()),
            depth: self.depth.or(other.depth),
            revoked: self.revoked.or_else(|| other.revoked.clone()),
            key_log: self.key_log.or_else(|| other.key_log.clone()),
            names_user: self.names_user.or(other.names_user),
        }
    }

    /// For the machine; `None`: there is no certificate, so there is no TLS.
    fn options(self) -> Option<TlsOptions> {
        let certificate = self.certificate?;
        let names_user = self.names_user.unwrap_or(false);
        // Who is to be known by a certificate has to be asked for one.
        let asked =
            if names_user { ClientCertificates::Optional } else { ClientCertificates::Ignored };
        let clients = match self.clients.unwrap_or_default() {
            ClientCertificates::Ignored if self.client_roots.is_some() => asked,
            clients @ (ClientCertificates::Ignored
            | ClientCertificates::Optional
            | ClientCertificates::Required) => clients,
        };
        Some(TlsOptions {
            key: self.key.unwrap_or_else(|| certificate.clone()),
            certificate,
            versions: self.versions.unwrap_or_default(),
            ciphers: self.ciphers.unwrap_or_default(),
            groups: self.groups.unwrap_or_default(),
            clients,
            client_roots: self.client_roots,
            depth: self.depth,
            revoked: self.revoked,
            key_log: self.key_log,
        })
    }
}

/// Which listeners a setting is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum For {
    Amqp,
    Mqtt,
    Http,
}

impl Host {
    const fn part(&self, whom: For) -> &Tls {
        match whom {
            For::Amqp => &self.amqp,
            For::Mqtt => &self.mqtt,
            For::Http => &self.http,
        }
    }
}

/// What the `[sni:host]` sections say.
#[derive(Debug, Default)]
pub(super) struct Hosts(Vec<Host>);

#[derive(Debug)]
struct Host {
    name: Box<str>,
    all: Tls,
    amqp: Tls,
    mqtt: Tls,
    http: Tls,
}

impl Hosts {
    /// Takes a key of a section `sni:name`; false: there is no such key.
    pub(super) fn take(&mut self, name: &str, key: &str, value: &str) -> Result<bool, String> {
        let name = name.trim().to_ascii_lowercase();
        if name.is_empty() {
            return Err("a section [sni:host] names a host".into());
        }
        let known = self.0.iter().position(|host| *host.name == *name);
        let place = known.unwrap_or(self.0.len());
        if known.is_none() {
            if place == HOSTS_MAX {
                return Err(format!("more than {HOSTS_MAX} sections [sni:host]"));
            }
            let nothing = Tls::default;
            let (all, amqp, mqtt, http) = (nothing(), nothing(), nothing(), nothing());
            self.0.push(Host { name: name.into(), all, amqp, mqtt, http });
        }
        let Some(host) = self.0.get_mut(place) else { return Ok(false) };
        let (part, key) = match key.split_once('_') {
            Some(("amqp", key)) => (&mut host.amqp, key),
            Some(("mqtt", key)) => (&mut host.mqtt, key),
            Some(("http", key)) => (&mut host.http, key),
            Some(_) | None => (&mut host.all, key),
        };
        part.set_of_host(key, value)
    }

    fn options(&self, main: &Tls, whom: For) -> Result<Vec<(Box<str>, TlsOptions)>, String> {
        // Certificates of clients are a matter of each host: as with LavinMQ, `[main]` has no say.
        let general = Tls {
            ciphers: main.ciphers.clone(),
            versions: main.versions,
            key_log: main.key_log.clone(),
            ..Tls::default()
        };
        // A host that has a certificate for another protocol only is the usual server for this one.
        let is_served = |host: &&Host| {
            let has = |tls: &Tls| tls.certificate.is_some();
            let has_any = [&host.all, &host.amqp, &host.mqtt, &host.http].into_iter().any(has);
            has(host.part(whom)) || has(&host.all) || !has_any
        };
        let resolve = |host: &Host| {
            let tls = host.part(whom).clone().or(&host.all).or(&general);
            tls.options()
                .map(|options| (host.name.clone(), options))
                .ok_or_else(|| format!("[sni:{}] has no tls_cert", host.name))
        };
        self.0.iter().filter(is_served).map(resolve).collect()
    }

    /// What a listener has that says this much itself; `None`: no certificate, no TLS.
    pub(super) fn listener(
        &self,
        own: Tls,
        main: &Tls,
        login: CertificateLogin,
        whom: For,
    ) -> Result<Option<Arc<TlsListener>>, String> {
        // A listener with a certificate of its own is another server; hosts are names of the usual.
        let hosts = match &own.certificate {
            None => self.options(main, whom)?,
            Some(_) => Vec::new(),
        };
        let tls = own.or(main);
        let names_user = tls.names_user.unwrap_or(false);
        let login_from = login.name();
        let listener = |usual| Arc::new(TlsListener { usual, hosts, login_from, names_user });
        Ok(tls.options().map(listener))
    }
}

#[cfg(test)]
#[path = "tls_tests.rs"]
mod tests;
