//! Real servers on real sockets for tests: an identity provider over TLS, an API server that answers TokenReviews.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use http::Request;
use http::Response;
use http_body_util::BodyExt;
use http_body_util::StreamBody;
use hyper::body::Frame;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls_pki_types::PrivatePkcs8KeyDer;
use serde_json::Value;
use serde_json::json;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::AbortOnDropHandle;
use tokio_util::task::TaskTracker;

use crate::authn::settings::Issuer;
use crate::authn::settings::KeySource;
use crate::authn::testing;
use crate::authn::testing::KeyPair;
use crate::body;
use crate::body::Body;

/// What a path answers.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    Json(Value),
    Text(String),
    Status(u16),
    Redirect(String),
    /// A body that goes on for ever.
    Endless,
    /// No answer, ever.
    Silence,
}

/// Serves until dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    _accepting: AbortOnDropHandle<()>,
}

impl Server {
    async fn start<A, F>(tls: Option<TlsAcceptor>, answer: A) -> Self
    where
        A: Fn(String, Bytes) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Reply> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let tracker = TaskTracker::new();
        let connections = tracker.clone();
        let accepting = tracker.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(connection(stream, tls.clone(), answer.clone()));
            }
        });
        Self {
            address,
            _accepting: AbortOnDropHandle::new(accepting),
        }
    }
}

async fn connection<A, F>(stream: TcpStream, tls: Option<TlsAcceptor>, answer: A)
where
    A: Fn(String, Bytes) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Reply> + Send + 'static,
{
    match tls {
        None => serve(stream, answer).await,
        Some(tls) => {
            if let Ok(stream) = tls.accept(stream).await {
                serve(stream, answer).await;
            }
        }
    }
}

async fn serve<S, A, F>(stream: S, answer: A)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    A: Fn(String, Bytes) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Reply> + Send + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let answer = answer.clone();
        async move {
            let path = request.uri().path().to_owned();
            let body = request
                .into_body()
                .collect()
                .await
                .map(|body| body.to_bytes())
                .unwrap_or_default();
            Ok::<_, Infallible>(response(answer(path, body).await).await)
        }
    });
    // Clients that give up are part of the tests.
    let _ = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn response(reply: Reply) -> Response<Body> {
    let (status, body) = match reply {
        Reply::Json(value) => (200, body::full(value.to_string())),
        Reply::Text(text) => (200, body::full(text)),
        Reply::Status(status) => (status, body::full("{}")),
        Reply::Redirect(to) => {
            let answer = Response::builder().status(302).header("location", to);
            return answer.body(body::empty()).unwrap();
        }
        Reply::Endless => {
            let blanks = futures_util::stream::repeat_with(|| {
                Ok(Frame::data(Bytes::from_static(&[b' '; 512])))
            });
            (200, BodyExt::boxed_unsync(StreamBody::new(blanks)))
        }
        Reply::Silence => std::future::pending().await,
    };
    let answer = Response::builder()
        .status(status)
        .header("content-type", "application/json");
    answer.body(body).unwrap()
}

/// An identity provider: a discovery document, a key set, and whatever else a test puts there.
pub(crate) struct Idp {
    server: Server,
    certificate: String,
    script: Arc<Script>,
}

#[derive(Default)]
struct Script {
    replies: Mutex<HashMap<String, Reply>>,
    key_fetches: AtomicU32,
}

pub(crate) const DOCUMENT: &str = "/.well-known/openid-configuration";
pub(crate) const KEYS: &str = "/keys";

impl Idp {
    /// One whose document is right and whose keys are these.
    pub(crate) async fn start(keys: &[&KeyPair]) -> Self {
        let pair = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let key = PrivatePkcs8KeyDer::from(pair.signing_key.serialize_der());
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![pair.cert.der().clone()], key.into())
            .unwrap();
        let script = Arc::new(Script::default());
        let played = script.clone();
        let server = Server::start(Some(TlsAcceptor::from(Arc::new(tls))), move |path, _| {
            if path == KEYS {
                played.key_fetches.fetch_add(1, Ordering::SeqCst);
            }
            let reply = played.replies.lock().unwrap().get(&path).cloned();
            std::future::ready(reply.unwrap_or(Reply::Status(404)))
        })
        .await;
        let idp = Self {
            server,
            certificate: pair.cert.pem(),
            script,
        };
        idp.play(DOCUMENT, Reply::Json(idp.document()));
        idp.rotate(keys);
        idp
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.server.address)
    }

    /// As Entra's: the issuer's host is not the document's.
    pub(crate) fn document(&self) -> Value {
        json!({"issuer": &*testing::issuer().url, "jwks_uri": self.url(KEYS)})
    }

    pub(crate) fn play(&self, path: &str, reply: Reply) {
        self.script
            .replies
            .lock()
            .unwrap()
            .insert(path.to_owned(), reply);
    }

    pub(crate) fn rotate(&self, keys: &[&KeyPair]) {
        self.play(KEYS, Reply::Json(testing::jwks(keys)));
    }

    pub(crate) fn key_fetches(&self) -> u32 {
        self.script.key_fetches.load(Ordering::SeqCst)
    }

    /// The tests' issuer with its keys here.
    pub(crate) fn issuer(&self) -> Issuer {
        Issuer {
            keys: KeySource::Discovery(self.url(DOCUMENT).parse().unwrap()),
            certificate_authority: Some(self.certificate.as_str().into()),
            ..testing::issuer()
        }
    }
}

/// An API server that knows TokenReview and nothing else.
pub(crate) struct ApiServer {
    server: Server,
    script: Arc<Mutex<Reviews>>,
    calls: Arc<AtomicU32>,
}

type Reviews = Box<dyn Fn(&str) -> Reply + Send>;

impl ApiServer {
    /// One that answers a review of a token so.
    pub(crate) async fn start(answer: impl Fn(&str) -> Reply + Send + 'static) -> Self {
        let script: Arc<Mutex<Reviews>> = Arc::new(Mutex::new(Box::new(answer)));
        let calls = Arc::new(AtomicU32::new(0));
        let (played, counted) = (script.clone(), calls.clone());
        let server = Server::start(None, move |path, body| {
            counted.fetch_add(1, Ordering::SeqCst);
            let review: Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(path, "/apis/authentication.k8s.io/v1/tokenreviews");
            assert_eq!(review["kind"], "TokenReview");
            std::future::ready(played.lock().unwrap()(
                review["spec"]["token"].as_str().unwrap(),
            ))
        })
        .await;
        Self {
            server,
            script,
            calls,
        }
    }

    pub(crate) fn play(&self, answer: impl Fn(&str) -> Reply + Send + 'static) {
        *self.script.lock().unwrap() = Box::new(answer);
    }

    pub(crate) fn calls(&self) -> u32 {
        self.calls.load(Ordering::SeqCst)
    }

    /// The proxy's own client, as it would be made from its service account.
    pub(crate) fn client(&self) -> kube::Client {
        let url = format!("http://{}", self.server.address).parse().unwrap();
        kube::Client::try_from(kube::Config::new(url)).unwrap()
    }
}

/// A review's answer with this status.
pub(crate) fn review(status: &Value) -> Reply {
    Reply::Json(json!({
        "kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1", "metadata": {}, "spec": {}, "status": status,
    }))
}

/// The answer "it is `user`".
pub(crate) fn accepted(user: &str) -> Reply {
    review(
        &json!({"authenticated": true, "user": {"username": user, "groups": ["system:authenticated", "oil"]}}),
    )
}

/// The answer "I know no such token".
pub(crate) fn refused() -> Reply {
    review(&json!({"authenticated": false, "error": "invalid bearer token"}))
}
