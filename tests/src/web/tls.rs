//! A certificate authority of the tests' own, and certificates by it.

use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Somebody who signs certificates, whom nobody trusts unless told to.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its own certificate, PEM.
    pub certificate: String,
}

/// A certificate and its key, both PEM.
#[derive(Debug)]
pub struct Identity {
    /// The certificate.
    pub certificate: String,
    /// Its key.
    pub key: String,
}

impl Authority {
    /// A new one.
    ///
    /// # Panics
    /// When there is no randomness.
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        params
            .distinguished_name
            .push(DnType::CommonName, "skiff tests");
        let key = KeyPair::generate().expect("randomness");
        let certificate = params.self_signed(&key).expect("a good key").pem();
        Self {
            issuer: Issuer::new(params, key),
            certificate,
        }
    }

    /// A certificate for these names and addresses.
    ///
    /// # Panics
    /// When a name is none.
    pub fn identity(&self, names: &[&str]) -> Identity {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("names");
        params.use_authority_key_identifier_extension = true;
        params
            .distinguished_name
            .push(DnType::CommonName, "skiff tests, a server");
        let key = KeyPair::generate().expect("randomness");
        let certificate = params.signed_by(&key, &self.issuer).expect("a good key");
        Identity {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        }
    }

    /// What a server with these names talks TLS by.
    ///
    /// # Panics
    /// When a name is none.
    pub fn server(&self, names: &[&str]) -> Arc<ServerConfig> {
        let identity = self.identity(names);
        let certificate = CertificateDer::from_pem_slice(identity.certificate.as_bytes());
        let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes());
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring has them")
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.expect("just made")],
                key.expect("just made"),
            )
            .expect("they belong together");
        Arc::new(config)
    }

    /// Makes the user whose `containers` folder this is trust it when it speaks for `host`
    /// (`NAME:PORT`).
    ///
    /// # Panics
    /// When the folder cannot be written.
    pub fn trust(&self, containers: &Path, host: &str) {
        let folder = containers.join("certs.d").join(host);
        std::fs::create_dir_all(&folder).expect("the folder is ours");
        std::fs::write(folder.join("ca.crt"), &self.certificate).expect("room");
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}
