//! The serving certificate, from two files, exchanged while connections live. One that is over is not taken up: every client
//! would turn away, and the old one may still hold.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use std::time::SystemTime;

use rustls::ServerConfig;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use crate::body::BoxError;
use crate::metrics::Sheet;
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
pub struct TlsSource(Reload<Serving>);

/// What connections are accepted with.
#[derive(Debug)]
pub struct Serving {
    config: Arc<ServerConfig>,
    /// When the certificate ends.
    not_after: SystemTime,
}

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
                serving(certificate, key, SystemTime::now())
            },
        ))
    }

    /// A pair of PEM texts that does not change.
    pub fn fixed(certificate: String, key: String) -> Self {
        Self(Reload::open(
            "serving certificate",
            Vec::new(),
            move |_no_files| serving(certificate.as_bytes(), key.as_bytes(), SystemTime::now()),
        ))
    }

    /// The files behind it: what readiness waits for, what runs, what is counted.
    pub fn files(&self) -> &Reload<Serving> {
        &self.0
    }

    /// Writes down when the certificate in use ends.
    ///
    /// # Errors
    /// What the writer says.
    pub fn families(&self, sheet: &mut Sheet<'_>) -> fmt::Result {
        let ends = self.0.current().and_then(|serving| {
            let since_epoch = serving.not_after.duration_since(SystemTime::UNIX_EPOCH);
            since_epoch.ok()
        });
        sheet.gauge(
            "certificate_not_after_timestamp_seconds",
            "When the serving certificate in use ends, since the epoch",
            ends.map(|ends| ([], ends.as_secs())),
        )
    }

    /// What the next connection is accepted with; none if there has never been a usable pair.
    pub(super) fn current(&self) -> Option<Arc<ServerConfig>> {
        self.0.current().map(|serving| Arc::clone(&serving.config))
    }
}

/// TLS 1.2 and 1.3 with this certificate and this key, if it still holds at `now`.
fn serving(certificate: &[u8], key: &[u8], now: SystemTime) -> Result<Serving, BoxError> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(certificate)
        .collect::<Result<_, _>>()
        .map_err(|error| format!("the certificate file is not PEM: {error}"))?;
    let not_after = chain.first().map(not_after).transpose()?;
    let not_after = not_after.ok_or("the certificate file holds no certificate")?;
    if not_after <= now {
        return Err("the certificate has expired".into());
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
    Ok(Serving {
        config: Arc::new(config),
        not_after,
    })
}

/// When a certificate ends.
fn not_after(certificate: &CertificateDer<'_>) -> Result<SystemTime, BoxError> {
    let (_, certificate) = X509Certificate::from_der(certificate)
        .map_err(|_not_x509| "the certificate cannot be read")?;
    let seconds = certificate.validity().not_after.timestamp();
    // Before 1970: over.
    let seconds = u64::try_from(seconds).unwrap_or(0);
    Ok(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listen::self_signed;

    #[test]
    fn a_certificate_that_is_over_is_not_taken_up() {
        let made = self_signed::generate(&["localhost".to_owned()]).unwrap();
        let at = |now| serving(made.certificate.as_bytes(), made.key.as_bytes(), now);
        let not_after = at(SystemTime::now()).unwrap().not_after;
        assert!(at(not_after - Duration::from_secs(1)).is_ok());
        let refused = at(not_after).unwrap_err();
        assert_eq!(refused.to_string(), "the certificate has expired");
    }

    #[test]
    fn what_is_no_certificate_is_named() {
        let made = self_signed::generate(&["localhost".to_owned()]).unwrap();
        let nonsense = "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n";
        for (certificate, said) in [("", "holds no certificate"), (nonsense, "cannot be read")] {
            let refused = serving(
                certificate.as_bytes(),
                made.key.as_bytes(),
                SystemTime::now(),
            );
            let refused = refused.unwrap_err().to_string();
            assert!(refused.contains(said), "{refused}");
        }
    }
}
