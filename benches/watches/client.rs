//! HTTP over TLS as the measurements need it: a connection per watch, or one for many.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use http::Method;
use http::Request;
use http::Response;
use http::header;
use http_body_util::BodyExt;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::client::conn::http2;
use hyper_util::rt::TokioExecutor;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::ServerName;
use rustls_pki_types::pem::PemObject;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_util::task::TaskTracker;

/// How long anything but a watch may take: longer than a machine that is busy with ten thousand handshakes takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server.
#[derive(Clone)]
pub(crate) struct Server {
    address: String,
    name: ServerName<'static>,
    http1: TlsConnector,
    http2: TlsConnector,
    /// Owns the tasks that drive connections.
    tasks: TaskTracker,
}

/// Which HTTP a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    Http1,
    Http2,
}

/// A connection.
pub(crate) enum Connection {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

impl Connection {
    /// The same connection, if it carries more than one request at a time.
    pub(crate) fn share(&self) -> Option<Self> {
        match self {
            Self::Http1(_) => None,
            Self::Http2(sender) => Some(Self::Http2(sender.clone())),
        }
    }
}

impl Server {
    /// The one at `address`, `host:port`, which proves itself by one of these PEM certificates.
    pub(crate) fn new(address: &str, ca: &[u8]) -> anyhow::Result<Self> {
        let mut roots = RootCertStore::empty();
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(ca).collect();
        roots.add_parsable_certificates(certificates.context("the CA is not PEM")?);
        let roots = Arc::new(roots);
        let connector = |protocol: &[u8]| {
            let mut config = ClientConfig::builder()
                .with_root_certificates(Arc::clone(&roots))
                .with_no_client_auth();
            config.alpn_protocols = vec![protocol.to_vec()];
            TlsConnector::from(Arc::new(config))
        };
        let (host, _port) = address.rsplit_once(':').context("no port")?;
        Ok(Self {
            name: ServerName::try_from(host.to_owned())?,
            address: address.to_owned(),
            http1: connector(b"http/1.1"),
            http2: connector(b"h2"),
            tasks: TaskTracker::new(),
        })
    }

    pub(crate) async fn connect(&self, version: Version) -> anyhow::Result<Connection> {
        tokio::time::timeout(PATIENCE, self.connect_in_time(version)).await?
    }

    async fn connect_in_time(&self, version: Version) -> anyhow::Result<Connection> {
        let tcp = TcpStream::connect(&self.address).await?;
        tcp.set_nodelay(true)?;
        let tls = match version {
            Version::Http1 => &self.http1,
            Version::Http2 => &self.http2,
        };
        let io = TokioIo::new(tls.connect(self.name.clone(), tcp).await?);
        Ok(match version {
            Version::Http1 => {
                let (sender, connection) = http1::handshake(io).await?;
                self.tasks.spawn(connection);
                Connection::Http1(sender)
            }
            Version::Http2 => {
                let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await?;
                self.tasks.spawn(connection);
                Connection::Http2(sender)
            }
        })
    }

    /// Runs `task`, which is of a connection to this server.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }

    /// Sends `request` on `connection`; the answer, whose body streams, if it is a good one.
    pub(crate) async fn send(
        &self,
        connection: &mut Connection,
        request: &Call<'_>,
    ) -> anyhow::Result<Response<Incoming>> {
        let answer = async {
            match connection {
                Connection::Http1(sender) => {
                    let request = request.build(request.path, &self.address)?;
                    sender.ready().await?;
                    anyhow::Ok(sender.send_request(request).await?)
                }
                Connection::Http2(sender) => {
                    let target = format!("https://{}{}", self.address, request.path);
                    let request = request.build(&target, &self.address)?;
                    sender.ready().await?;
                    Ok(sender.send_request(request).await?)
                }
            }
        };
        let answer = tokio::time::timeout(PATIENCE, answer).await??;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let status = answer.status();
        let said = answer.into_body().collect().await?.to_bytes();
        anyhow::bail!(
            "{} {}: {status} {}",
            request.method,
            request.path,
            String::from_utf8_lossy(&said)
        )
    }
}

/// One request.
pub(crate) struct Call<'a> {
    pub(crate) method: Method,
    pub(crate) path: &'a str,
    pub(crate) token: &'a str,
    pub(crate) content_type: &'a str,
    pub(crate) body: String,
}

impl<'a> Call<'a> {
    pub(crate) fn get(path: &'a str, token: &'a str) -> Self {
        Self {
            method: Method::GET,
            path,
            token,
            content_type: "application/json",
            body: String::new(),
        }
    }

    fn build(&self, target: &str, host: &str) -> anyhow::Result<Request<Full<Bytes>>> {
        let mut request = Request::builder()
            .method(self.method.clone())
            .uri(target)
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token))
            .header(header::ACCEPT, "application/json")
            .header(header::CONTENT_TYPE, self.content_type);
        if !target.starts_with("https:") {
            request = request.header(header::HOST, host);
        }
        Ok(request.body(Full::new(Bytes::from(self.body.clone())))?)
    }
}
