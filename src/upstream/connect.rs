//! A new connection to the API server: name, address, TCP, TLS. It never shows a client certificate: one would
//! authenticate users' requests as the proxy.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;

use http::Uri;
use http::uri::Authority;
use http::uri::Scheme;
use rustls::ClientConfig;
use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::ServerName;
use rustls_pki_types::pem::PemObject;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::ReadBuf;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::Cause;
use crate::socket;

/// How long one address may take before the next is tried.
const ADDRESS_TIMEOUT: Duration = Duration::from_secs(3);

/// Where the API server is, and whom to believe that it is the one.
#[derive(Clone, Debug)]
pub struct Target {
    scheme: Scheme,
    authority: Authority,
    host: String,
    port: u16,
    roots: Arc<RootCertStore>,
}

/// Why there is no connecting to a target.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum BadTarget {
    #[error("the API server's address must be https://host[:port], with no path")]
    Address,
    #[error("the CA bundle of the API server is not PEM")]
    NotPem(#[source] rustls_pki_types::pem::Error),
    #[error("the CA bundle of the API server holds no certificate that can be used")]
    NoRoots,
}

impl Target {
    /// The API server at `base`, to be verified against the PEM certificates of `ca`. `http` is for tests and for
    /// `kubectl proxy`; there is no way to leave out the verification of `https`.
    ///
    /// # Errors
    /// [`BadTarget`].
    pub fn new(base: &Uri, ca: &[u8]) -> Result<Self, BadTarget> {
        let (Some(scheme), Some(authority), "" | "/") =
            (base.scheme(), base.authority(), base.path())
        else {
            return Err(BadTarget::Address);
        };
        let port = match (
            authority.port_u16(),
            scheme == &Scheme::HTTPS,
            scheme == &Scheme::HTTP,
        ) {
            (Some(port), true, _) | (Some(port), _, true) => port,
            (None, true, _) => 443,
            (None, _, true) => 80,
            (_, false, false) => return Err(BadTarget::Address),
        };
        let mut roots = RootCertStore::empty();
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(ca).collect();
        roots.add_parsable_certificates(certificates.map_err(BadTarget::NotPem)?);
        if roots.is_empty() && scheme == &Scheme::HTTPS {
            return Err(BadTarget::NoRoots);
        }
        Ok(Self {
            scheme: scheme.clone(),
            authority: authority.clone(),
            host: authority
                .host()
                .trim_start_matches('[')
                .trim_end_matches(']')
                .to_owned(),
            port,
            roots: Arc::new(roots),
        })
    }

    pub(super) fn scheme(&self) -> &Scheme {
        &self.scheme
    }

    pub(super) fn authority(&self) -> &Authority {
        &self.authority
    }
}

/// Which protocols a connection offers.
#[derive(Clone, Copy, Debug)]
pub(super) enum Offer {
    /// HTTP/1.1 only: what may become a tunnel must.
    Http1,
    /// HTTP/2, or HTTP/1.1 where the API server has it switched off (`--disable-http2-serving`).
    Http2,
}

/// Opens connections to one target.
pub(super) struct Connector {
    host: String,
    port: u16,
    tls: Option<Tls>,
    timeout: Duration,
    /// Counts connections, so that they spread over the addresses of the name.
    turn: AtomicUsize,
}

struct Tls {
    name: ServerName<'static>,
    http1: TlsConnector,
    http2: TlsConnector,
}

impl Connector {
    pub(super) fn new(target: &Target, timeout: Duration) -> Result<Self, BadTarget> {
        let tls = if target.scheme == Scheme::HTTPS {
            Some(Tls {
                name: ServerName::try_from(target.host.clone())
                    .map_err(|_not_a_name| BadTarget::Address)?,
                http1: tls(&target.roots, &[b"http/1.1"]),
                http2: tls(&target.roots, &[b"h2", b"http/1.1"]),
            })
        } else {
            None
        };
        Ok(Self {
            host: target.host.clone(),
            port: target.port,
            tls,
            timeout,
            turn: AtomicUsize::new(0),
        })
    }

    /// A connection that is ready for its first request. The name is resolved anew each time: API servers come and
    /// go. Cancel-safe.
    pub(super) async fn connect(&self, offer: Offer) -> Result<Io, Cause> {
        timeout(self.timeout, self.connect_in_time(offer))
            .await
            .map_err(|_elapsed| Cause::ConnectTimeout)?
    }

    async fn connect_in_time(&self, offer: Offer) -> Result<Io, Cause> {
        let tcp = self.connect_tcp().await?;
        let Some(tls) = &self.tls else {
            return Ok(Io::Plain(tcp));
        };
        let connector = match offer {
            Offer::Http1 => &tls.http1,
            Offer::Http2 => &tls.http2,
        };
        let stream = connector
            .connect(tls.name.clone(), tcp)
            .await
            .map_err(Cause::Tls)?;
        Ok(Io::Tls(Box::new(stream)))
    }

    async fn connect_tcp(&self) -> Result<TcpStream, Cause> {
        let resolved = tokio::net::lookup_host((self.host.as_str(), self.port)).await;
        let mut addresses: Vec<SocketAddr> = resolved.map_err(Cause::Resolve)?.collect();
        if !addresses.is_empty() {
            let turn = self.turn.fetch_add(1, Ordering::Relaxed) % addresses.len();
            addresses.rotate_left(turn);
        }
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in addresses {
            match timeout(ADDRESS_TIMEOUT, TcpStream::connect(address)).await {
                Ok(Ok(tcp)) => {
                    socket::tune(&tcp).map_err(Cause::Connect)?;
                    return Ok(tcp);
                }
                Ok(Err(error)) => last = error,
                Err(elapsed) => last = elapsed.into(),
            }
        }
        Err(Cause::Connect(last))
    }
}

fn tls(roots: &Arc<RootCertStore>, protocols: &[&[u8]]) -> TlsConnector {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    #[expect(
        clippy::expect_used,
        reason = "the provider's own suites fit the versions it is asked for"
    )]
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("aws-lc-rs knows TLS 1.2 and 1.3")
        .with_root_certificates(Arc::clone(roots))
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    TlsConnector::from(Arc::new(config))
}

/// The bytes of a connection, with or without TLS.
pub(super) enum Io {
    Plain(TcpStream),
    /// Boxed: the state of a TLS session is a kilobyte.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Io {
    /// Whether the API server chose HTTP/2.
    pub(super) fn is_http2(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(stream) => stream.get_ref().1.alpn_protocol() == Some(b"h2"),
        }
    }
}

impl AsyncRead for Io {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
