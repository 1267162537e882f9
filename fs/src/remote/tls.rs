//! Whom to trust over https, and as whom to appear: the system's authorities and certs.d.
//!
//! ```text
//! certs.d/HOST[:PORT]/*.crt          authorities for this server, beside the system's
//! certs.d/HOST[:PORT]/NAME.cert|key  our certificate and its key
//! ```
//!
//! certs.d was made for registries; here it holds for `https://` images of that server as well.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::error::RemoteError;
use super::options::Places;

/// The files of certs.d for one server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SiteFiles {
    authorities: Vec<PathBuf>,
    identity: Option<(PathBuf, PathBuf)>,
}

impl SiteFiles {
    /// Looks for files of `host:port`; `host` alone means port 443. The user's directory goes before
    /// the system's, and only one is used, as in all tools that read these.
    pub(super) fn find(places: &Places, host: &str, port: u16) -> Option<Self> {
        let mut names = vec![format!("{host}:{port}")];
        if port == 443 {
            names.push(host.to_owned());
        }
        let parents = places
            .user_containers
            .iter()
            .chain([&places.etc_containers, &places.etc_docker]);
        let mut directories = parents.flat_map(|parent| {
            names
                .iter()
                .map(move |name| parent.join("certs.d").join(name))
        });
        directories.find_map(|directory| Self::read(&directory))
    }

    fn read(directory: &Path) -> Option<Self> {
        let mut paths: Vec<PathBuf> = fs::read_dir(directory)
            .ok()?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .collect();
        paths.sort();
        let ends_in = |path: &Path, end: &str| path.extension().is_some_and(|it| it == end);
        let authorities = paths
            .iter()
            .filter(|path| ends_in(path, "crt"))
            .cloned()
            .collect();
        let identity = paths.iter().find(|path| ends_in(path, "cert")).map(|cert| {
            let key = cert.with_extension("key");
            (cert.clone(), key)
        });
        Some(Self {
            authorities,
            identity,
        })
    }
}

/// For connections without TLS: trusts nobody, and costs nothing to make.
pub(super) fn nobody() -> Result<ClientConfig, RemoteError> {
    Ok(builder()?
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth())
}

/// Trusts the system's authorities and the site's; `insecure` trusts everybody.
pub(super) fn config(
    places: &Places,
    site: Option<&SiteFiles>,
    insecure: bool,
) -> Result<ClientConfig, RemoteError> {
    let builder = builder()?;
    let builder = if insecure {
        builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anybody(ring::default_provider())))
    } else {
        builder.with_root_certificates(authorities(places, site)?)
    };
    let Some((cert, key)) = site.and_then(|site| site.identity.as_ref()) else {
        return Ok(builder.with_no_client_auth());
    };
    let chain = certificates(cert)?;
    let secret = PrivateKeyDer::from_pem_slice(&read(key)?)
        .map_err(|error| unusable(key, format!("no private key: {error}")))?;
    builder
        .with_client_auth_cert(chain, secret)
        .map_err(|error| unusable(cert, format!("not usable with its key: {error}")))
}

fn builder() -> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>, RemoteError> {
    ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| RemoteError::Configuration {
            file: "TLS".to_owned(),
            reason: error.to_string(),
        })
}

fn authorities(places: &Places, site: Option<&SiteFiles>) -> Result<RootCertStore, RemoteError> {
    let mut store = RootCertStore::empty();
    for path in site.iter().flat_map(|site| &site.authorities) {
        let (added, _) = store.add_parsable_certificates(certificates(path)?);
        if added == 0 {
            return Err(unusable(
                path,
                "no certificate in it can be used".to_owned(),
            ));
        }
    }
    let (file, directory) = (
        places.ssl_cert_file.as_deref(),
        places.ssl_cert_dir.as_deref(),
    );
    let native = if file.is_none() && directory.is_none() {
        rustls_native_certs::load_native_certs()
    } else {
        rustls_native_certs::load_certs_from_paths(file, directory)
    };
    store.add_parsable_certificates(native.certs);
    // Without any authority every https request would fail, each with a text about unknown issuers.
    if store.is_empty() {
        let why = native
            .errors
            .first()
            .map_or_else(String::new, |error| format!(": {error}"));
        return Err(RemoteError::Configuration {
            file: "TLS".to_owned(),
            reason: format!(
                "the system has no certificate authorities (package ca-certificates, or $SSL_CERT_FILE){why}"
            ),
        });
    }
    Ok(store)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, RemoteError> {
    CertificateDer::pem_slice_iter(&read(path)?)
        .collect::<Result<_, _>>()
        .map_err(|error| unusable(path, format!("not a PEM file of certificates: {error}")))
}

fn read(path: &Path) -> Result<Vec<u8>, RemoteError> {
    fs::read(path).map_err(|error: io::Error| unusable(path, error.to_string()))
}

fn unusable(path: &Path, reason: String) -> RemoteError {
    RemoteError::Configuration {
        file: path.display().to_string(),
        reason,
    }
}

/// Takes any certificate, for servers that the site's registries.conf calls insecure. The signatures
/// of the handshake are checked all the same.
#[derive(Debug)]
struct Anybody(CryptoProvider);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(
            message,
            cert,
            signed,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            cert,
            signed,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certs_d_is_searched_by_host_and_port() {
        let directory = tempfile::tempdir().unwrap();
        let places = Places {
            etc_containers: directory.path().join("containers"),
            etc_docker: directory.path().join("docker"),
            user_containers: Some(directory.path().join("user")),
            ..Places::default()
        };
        assert_eq!(SiteFiles::find(&places, "reg", 443), None);
        let docker = directory.path().join("docker/certs.d/reg");
        fs::create_dir_all(&docker).unwrap();
        for name in ["ca.crt", "me.cert", "me.key", "notes.txt"] {
            fs::write(docker.join(name), "").unwrap();
        }
        let found = SiteFiles::find(&places, "reg", 443).unwrap();
        assert_eq!(found.authorities, [docker.join("ca.crt")]);
        assert_eq!(
            found.identity,
            Some((docker.join("me.cert"), docker.join("me.key")))
        );
        assert_eq!(SiteFiles::find(&places, "reg", 5000), None);
        fs::create_dir_all(directory.path().join("user/certs.d/reg:443")).unwrap();
        assert_eq!(
            SiteFiles::find(&places, "reg", 443),
            Some(SiteFiles::default())
        );
    }

    #[test]
    fn an_unusable_file_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ca.crt");
        fs::write(&path, "not a certificate").unwrap();
        let site = SiteFiles {
            authorities: vec![path.clone()],
            identity: None,
        };
        let error = config(&Places::default(), Some(&site), false)
            .unwrap_err()
            .to_string();
        assert!(error.contains("ca.crt"), "{error}");
        assert!(config(&Places::default(), Some(&site), true).is_ok());
    }
}
