//! Fetches an issuer's keys: discovery document, then JWKS; or a file.
//!
//! https only, redirects within the host only, everything bounded: an issuer that is slow, endless or taken over costs its
//! own users their new tokens, and nobody anything else. `HTTPS_PROXY` and `NO_PROXY` are not read yet.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http::StatusCode;
use http::Uri;
use http::header;
use http::uri::Scheme;
use http_body_util::BodyExt;
use http_body_util::Empty;
use http_body_util::LengthLimitError;
use http_body_util::Limited;
use hyper_rustls::HttpsConnector;
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::ClientConfig;
use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde::Deserialize;

use crate::authn::keys::KeySet;
use crate::authn::keys::KeySetError;
use crate::authn::keys::Owner;
use crate::authn::settings::Issuer;
use crate::authn::settings::KeySource;
use crate::body::BoxError;

/// What one fetch may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// To connect.
    pub connect: Duration,
    /// For document and keys together.
    pub total: Duration,
}

impl Limits {
    /// For an issuer across the network. A request waits for it at most this long.
    pub const DISCOVERY: Self = Self {
        connect: Duration::from_secs(5),
        total: Duration::from_secs(10),
    };
}

/// Largest document or key set.
const MAX_BODY: usize = 1024 * 1024;

/// Most redirects followed, all of them within the host.
const MAX_REDIRECTS: usize = 3;

/// Why a fetch brought no keys. Hosts and documents stay in the log.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each variant's message says it")]
pub enum FetchError {
    #[error("it took too long")]
    TooSlow,
    #[error("the request could not be sent")]
    Request(#[source] hyper_util::client::legacy::Error),
    #[error("the answer broke off")]
    Body(#[source] BoxError),
    #[error("the answer is larger than {MAX_BODY} bytes")]
    TooLarge,
    #[error("the answer is HTTP {0}")]
    Status(StatusCode),
    #[error("it redirects elsewhere, to plain http, or too often")]
    Redirect,
    #[error("the discovery document is not readable")]
    Document(#[source] serde_json::Error),
    #[error("the discovery document is another issuer's")]
    WrongIssuer,
    #[error("the discovery document's jwks_uri is no https URL")]
    JwksUri,
    #[error("the key set {0}")]
    Keys(KeySetError),
    #[error("the key file cannot be read")]
    File(#[source] std::io::Error),
}

/// Why no connection to an issuer can be prepared.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each variant's message says it")]
pub enum ClientError {
    #[error("certificateAuthority has no readable PEM certificate")]
    Pem,
    #[error("certificateAuthority has a certificate that cannot be used")]
    Certificate(#[source] rustls::Error),
    #[error("TLS cannot be set up")]
    Tls(#[source] rustls::Error),
}

/// Fetches the keys of one issuer.
pub struct Fetcher {
    issuer: Arc<str>,
    tenant: Option<String>,
    source: Source,
}

enum Source {
    Discovery {
        client: Box<HttpClient>,
        url: Uri,
        limits: Limits,
    },
    File(PathBuf),
}

type HttpClient = Client<HttpsConnector<HttpConnector>, Empty<Bytes>>;

/// The members of a discovery document that are read (OpenID Connect Discovery §3).
#[derive(Deserialize)]
struct Document {
    issuer: String,
    jwks_uri: String,
    cloud_instance_name: Option<String>,
}

impl Fetcher {
    /// Prepares for `issuer`. Nothing is sent yet.
    ///
    /// # Errors
    /// [`ClientError`] if its certificate authority is no use.
    pub fn new(issuer: &Issuer, limits: Limits) -> Result<Self, ClientError> {
        let source = match &issuer.keys {
            KeySource::File(path) => Source::File(path.clone()),
            KeySource::Discovery(url) => Source::Discovery {
                client: Box::new(client(issuer.certificate_authority.as_deref(), limits)?),
                url: url.clone(),
                limits,
            },
        };
        Ok(Self {
            issuer: issuer.url.clone(),
            tenant: issuer.entra.as_ref().map(|entra| entra.tenant.clone()),
            source,
        })
    }

    /// The issuer's keys at this moment.
    ///
    /// # Errors
    /// [`FetchError`]; the keys in force stay.
    pub async fn fetch(&self) -> Result<KeySet, FetchError> {
        match &self.source {
            Source::File(path) => {
                let jwks = tokio::fs::read(path).await.map_err(FetchError::File)?;
                self.parse(&jwks, None)
            }
            Source::Discovery {
                client,
                url,
                limits,
            } => match tokio::time::timeout(limits.total, self.discover(client, url)).await {
                Ok(fetched) => fetched,
                Err(_) => Err(FetchError::TooSlow),
            },
        }
    }

    async fn discover(&self, client: &HttpClient, url: &Uri) -> Result<KeySet, FetchError> {
        let document = get(client, url.clone()).await?;
        let document: Document = serde_json::from_slice(&document).map_err(FetchError::Document)?;
        if document.issuer != *self.issuer {
            return Err(FetchError::WrongIssuer);
        }
        let jwks_uri = match document.jwks_uri.parse::<Uri>() {
            Ok(uri) if is_https(&uri) => uri,
            Ok(_) | Err(_) => return Err(FetchError::JwksUri),
        };
        let jwks = get(client, jwks_uri).await?;
        self.parse(&jwks, document.cloud_instance_name.as_deref())
    }

    fn parse(&self, jwks: &[u8], cloud: Option<&str>) -> Result<KeySet, FetchError> {
        let owner = Owner {
            issuer: &self.issuer,
            tenant: self.tenant.as_deref(),
            cloud,
        };
        KeySet::parse(jwks, owner).map_err(FetchError::Keys)
    }
}

fn is_https(uri: &Uri) -> bool {
    uri.scheme() == Some(&Scheme::HTTPS) && uri.host().is_some_and(|host| !host.is_empty())
}

/// One GET, with redirects within scheme, host and port. Content-Type is not looked at: issuers disagree about it.
async fn get(client: &HttpClient, mut uri: Uri) -> Result<Bytes, FetchError> {
    for _ in 0..=MAX_REDIRECTS {
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = uri.clone();
        request.headers_mut().insert(
            header::ACCEPT,
            header::HeaderValue::from_static("application/json"),
        );
        let answer = client.request(request).await.map_err(FetchError::Request)?;
        if answer.status().is_redirection() {
            let location = answer
                .headers()
                .get(header::LOCATION)
                .and_then(|value| value.to_str().ok());
            uri = location
                .and_then(|location| within(&uri, location))
                .ok_or(FetchError::Redirect)?;
            continue;
        }
        if answer.status() != StatusCode::OK {
            return Err(FetchError::Status(answer.status()));
        }
        return match Limited::new(answer.into_body(), MAX_BODY).collect().await {
            Ok(body) => Ok(body.to_bytes()),
            Err(error) if error.is::<LengthLimitError>() => Err(FetchError::TooLarge),
            Err(error) => Err(FetchError::Body(error)),
        };
    }
    Err(FetchError::Redirect)
}

/// Where `location` leads from `from`, if that is the same host: an absolute path, or a URL with the same beginning.
fn within(from: &Uri, location: &str) -> Option<Uri> {
    let target: Uri = location.parse().ok()?;
    let mut parts = from.clone().into_parts();
    parts.path_and_query = Some(target.path_and_query()?.clone());
    let same_host =
        target.authority().is_none() && location.starts_with('/') && !location.starts_with("//")
            || target.scheme() == from.scheme() && target.authority() == from.authority();
    if same_host {
        Uri::from_parts(parts).ok()
    } else {
        None
    }
}

/// A client that trusts the system's roots and the issuer's own, and speaks https only.
fn client(certificate_authority: Option<&str>, limits: Limits) -> Result<HttpClient, ClientError> {
    let mut roots = RootCertStore::empty();
    // An image without system roots is fine where the issuer brings its own; elsewhere every fetch fails and says so.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(pem) = certificate_authority {
        let certificates: Vec<_> = match CertificateDer::pem_slice_iter(pem.as_bytes()).collect() {
            Ok(certificates) => certificates,
            Err(_) => return Err(ClientError::Pem),
        };
        if certificates.is_empty() {
            return Err(ClientError::Pem);
        }
        for certificate in certificates {
            roots.add(certificate).map_err(ClientError::Certificate)?;
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(ClientError::Tls)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_connect_timeout(Some(limits.connect));
    tcp.set_nodelay(true);
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_only()
        .enable_http1()
        .wrap_connector(tcp);
    // A fetch an hour keeps no connection worth having: a pooled one would be dead by then.
    Ok(Client::builder(TokioExecutor::new())
        .pool_max_idle_per_host(0)
        .build(connector))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_stay_within_scheme_host_and_port() {
        let from: Uri = "https://login.example/t/.well-known/openid-configuration"
            .parse()
            .unwrap();
        for (location, to) in [
            (
                "/elsewhere?x=1",
                Some("https://login.example/elsewhere?x=1"),
            ),
            ("https://login.example/x", Some("https://login.example/x")),
            ("http://login.example/x", None),
            ("https://login.example:8443/x", None),
            ("https://login.example.evil/x", None),
            ("https://user@login.example/x", None),
            ("//evil.example/x", None),
            ("x", None),
            ("", None),
        ] {
            let expected = to.map(|to| to.parse::<Uri>().unwrap());
            assert_eq!(within(&from, location), expected, "{location}");
        }
    }

    #[test]
    fn a_certificate_authority_that_is_none_is_refused_at_once() {
        let limits = Limits::DISCOVERY;
        assert!(matches!(
            client(Some("no PEM"), limits),
            Err(ClientError::Pem)
        ));
        let broken = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
        assert!(matches!(
            client(Some(broken), limits),
            Err(ClientError::Certificate(_))
        ));
        assert!(client(None, limits).is_ok());
    }
}
