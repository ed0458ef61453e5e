//! Certificates for one run: an authority, the broker's and one of a client that is guest.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair,
};

/// A folder with `ca.pem`, `server.pem`, `client.pem` and keys; it goes with this.
#[derive(Debug)]
pub(crate) struct Papers {
    /// The folder.
    pub(crate) directory: PathBuf,
}

impl Papers {
    /// Makes them.
    pub(crate) fn new() -> Self {
        let name = format!("papers-{}", std::process::id());
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&directory).expect("a folder under target/");
        let named = |name: &str, hosts: &[&str]| {
            let hosts: Vec<String> = hosts.iter().map(|host| (*host).into()).collect();
            let mut params = CertificateParams::new(hosts).expect("names of hosts");
            params.distinguished_name = DistinguishedName::new();
            params.distinguished_name.push(DnType::CommonName, name);
            // Python's ssl wants to know whose key an issuer's is.
            params.use_authority_key_identifier_extension = true;
            params
        };
        let key = || KeyPair::generate().expect("a key");
        let mut params = named("Authority", &[]);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = CertifiedIssuer::self_signed(params, key()).expect("a certificate");
        let write = |file: &str, text: String| {
            fs::write(directory.join(file), text).expect("a file under target/");
        };
        write("ca.pem", root.pem());
        for (file, params) in [
            ("server", named("server", &["localhost", "127.0.0.1"])),
            ("client", named("guest", &[])),
        ] {
            let key = key();
            let paper = params.signed_by(&key, &root).expect("a certificate");
            write(&format!("{file}.pem"), paper.pem());
            write(&format!("{file}.key"), key.serialize_pem());
        }
        Self { directory }
    }

    /// Settings of a broker that shows them.
    pub(crate) fn config(&self) -> String {
        let at = |file: &str| self.directory.join(file).display().to_string();
        format!(
            "tls_cert = {}\ntls_key = {}\ntls_ca_cert = {}\ntls_verify_peer = optional\n\
             [mgmt]\ntls_port = 0\n[amqp]\ntls_port = 0\n[mqtt]\ntls_port = 0\nuse_identity_as_username = on\n",
            at("server.pem"),
            at("server.key"),
            at("ca.pem")
        )
    }
}

impl Drop for Papers {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.directory));
    }
}
