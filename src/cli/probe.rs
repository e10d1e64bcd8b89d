//! `probe`: whether a proxy answers and is ready, asked from where its clients are. The chart's test runs it.
//!
//! It trusts one certificate, the one that it is given, and shows no credential to anybody.

use std::fmt::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use anyhow::bail;
use clap::Args;
use http::Uri;
use rustls::ClientConfig;
use rustls::DigitallySignedStruct;
use rustls::SignatureScheme;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::client::danger::ServerCertVerified;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::ServerName;
use rustls_pki_types::UnixTime;
use rustls_pki_types::pem::PemObject;
use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

/// Asked without a credential, as a load balancer does.
const PATH: &str = "/_readyz";

/// For one answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Between two questions.
const PAUSE: Duration = Duration::from_secs(1);

/// Largest answer: a line per thing that is missing.
const MAX_ANSWER: u64 = 64 * 1024;

/// Whom to ask.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The proxy's address, e.g. https://capsule-proxy.capsule-system.svc:9001
    #[arg(long, value_name = "URL")]
    url: Uri,

    /// PEM certificate that it must show, this one and no other; needed for https
    #[arg(long, value_name = "FILE")]
    certificate: Option<PathBuf>,

    /// Seconds to go on asking until it is ready
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    timeout: u64,
}

/// Asks until it is ready.
pub(super) async fn run(arguments: Arguments) -> anyhow::Result<String> {
    let address = Address::of(&arguments)?;
    let deadline = Instant::now() + Duration::from_secs(arguments.timeout);
    loop {
        let asked = tokio::time::timeout(PATIENCE, address.ask()).await;
        let asked = asked.unwrap_or_else(|_elapsed| bail!("no answer within {PATIENCE:?}"));
        match asked {
            Ok(()) => return Ok(format!("{} is ready\n", arguments.url)),
            Err(why) if Instant::now() >= deadline => {
                return Err(why.context(format!("{} is not ready", arguments.url)));
            }
            Err(_not_yet) => tokio::time::sleep(PAUSE).await,
        }
    }
}

struct Address {
    host: String,
    port: u16,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl Address {
    fn of(arguments: &Arguments) -> anyhow::Result<Self> {
        let url = &arguments.url;
        let host = url.host().context("the URL names no host")?;
        // Of an IPv6 address, what is between the brackets.
        let host = host.trim_matches(['[', ']']).to_owned();
        let (tls, usual) = match (url.scheme_str(), &arguments.certificate) {
            (Some("http"), _) => (None, 80),
            (Some("https"), None) => {
                bail!("which certificate it must show is not said: --certificate FILE")
            }
            (Some("https"), Some(path)) => {
                let name = path.display();
                let certificate = CertificateDer::from_pem_file(path)
                    .with_context(|| format!("{name} holds no certificate in PEM"))?;
                let server = ServerName::try_from(host.clone())
                    .with_context(|| format!("{host} is no name of a host"))?;
                (Some((connector(certificate)?, server)), 443)
            }
            (Some(_) | None, _) => bail!("the URL must begin with https:// or http://"),
        };
        Ok(Self {
            host,
            port: url.port_u16().unwrap_or(usual),
            tls,
        })
    }

    async fn ask(&self) -> anyhow::Result<()> {
        let (host, port) = (self.host.as_str(), self.port);
        let tcp = TcpStream::connect((host, port)).await;
        let tcp = tcp.with_context(|| format!("cannot connect to {host}:{port}"))?;
        match &self.tls {
            None => self.ask_on(tcp).await,
            Some((connector, server)) => {
                let tls = connector.connect(server.clone(), tcp).await;
                self.ask_on(tls.context("no TLS")?).await
            }
        }
    }

    /// One request by hand: a client library would want a task for the connection.
    async fn ask_on(&self, mut stream: impl AsyncRead + AsyncWrite + Unpin) -> anyhow::Result<()> {
        let mut request = format!("GET {PATH} HTTP/1.1\r\n");
        write!(request, "Host: {}\r\nConnection: close\r\n\r\n", self.host)?;
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        let read = stream.take(MAX_ANSWER).read_to_end(&mut answer).await;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        // Some servers hang up without the end of TLS; what they said before counts.
        let Some((head, body)) = answer.split_once("\r\n\r\n") else {
            read.context("the answer broke off")?;
            bail!("the answer is not HTTP");
        };
        let status = head.split(' ').nth(1).unwrap_or_default();
        if status == "200" {
            return Ok(());
        }
        let told: Vec<&str> = body.lines().filter(|line| line.starts_with("- ")).collect();
        bail!("it answers with {status} {}", told.join(" "))
    }
}

/// TLS with whoever shows this certificate.
fn connector(certificate: CertificateDer<'static>) -> anyhow::Result<TlsConnector> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let pinned = Pinned {
        certificate,
        provider: Arc::clone(&provider),
    };
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(pinned))
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Accepts one certificate, whatever it is good for, from whoever has its key: a stricter rule than a chain and a name.
#[derive(Debug)]
struct Pinned {
    certificate: CertificateDer<'static>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        _chain: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if shown.as_ref() == self.certificate.as_ref() {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(rustls::Error::General(
                "it shows another certificate".to_owned(),
            ))
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
