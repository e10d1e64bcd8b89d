//! The serving certificate, from two files, exchanged while connections live.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;

use crate::body::BoxError;
use crate::reload::Reload;

/// The protocols offered: HTTP/2 first, HTTP/1.1 for upgrades.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Where certificate and key are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// PEM: the certificate, then its chain.
    pub certificate: PathBuf,
    /// PEM: PKCS#8, PKCS#1 or SEC1.
    pub key: PathBuf,
}

/// The TLS configuration in force. A connection keeps the one it began with; a pair of files that does not fit, as
/// between the two writes of a careless admin, keeps the old one.
#[derive(Debug)]
pub struct TlsSource(Reload<ServerConfig>);

impl TlsSource {
    /// Reads the files once. That they are missing is no failure: [`Self::files`] says what is wrong and waits.
    pub fn open(files: TlsFiles) -> Self {
        Self(Reload::open(
            "serving certificate",
            vec![files.certificate, files.key],
            |contents| {
                let [certificate, key] = contents else {
                    return Err("certificate and key are two files".into());
                };
                configuration(certificate, key)
            },
        ))
    }

    /// A pair of PEM texts that does not change.
    pub fn fixed(certificate: String, key: String) -> Self {
        Self(Reload::open(
            "serving certificate",
            Vec::new(),
            move |_no_files| configuration(certificate.as_bytes(), key.as_bytes()),
        ))
    }

    /// The files behind it: what readiness waits for, what runs, what is counted.
    pub fn files(&self) -> &Reload<ServerConfig> {
        &self.0
    }

    /// What the next connection is accepted with; none if there has never been a usable pair.
    pub(super) fn current(&self) -> Option<Arc<ServerConfig>> {
        self.0.current()
    }
}

/// TLS 1.2 and 1.3 with this certificate and this key.
fn configuration(certificate: &[u8], key: &[u8]) -> Result<ServerConfig, BoxError> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(certificate)
        .collect::<Result<_, _>>()
        .map_err(|error| format!("the certificate file is not PEM: {error}"))?;
    if chain.is_empty() {
        return Err("the certificate file holds no certificate".into());
    }
    // The error of a bad key could quote it.
    let key = PrivateKeyDer::from_pem_slice(key)
        .map_err(|_may_quote_the_key| "the key file holds no private key in PEM")?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| format!("certificate and key cannot be used together: {error}"))?;
    config.alpn_protocols = PROTOCOLS.iter().map(|name| name.to_vec()).collect();
    Ok(config)
}
