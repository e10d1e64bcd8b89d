//! A plain HTTPS client, one connection per request unless it is told to keep one: what is sent is exactly what a test
//! says.

use std::fmt::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use bytes::BytesMut;
use http::HeaderMap;
use http::HeaderName;
use http::HeaderValue;
use http::Method;
use http::Request;
use http::StatusCode;
use http::Uri;
use http::header;
use http_body_util::BodyExt;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::TokioExecutor;
use hyper_util::rt::TokioIo;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::ServerName;
use rustls_pki_types::pem::PemObject;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::DEADLINE;

/// Protobuf, as client-go's typed clients ask for it.
pub const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

/// Somebody who calls a server: the proxy, or the API server itself.
#[derive(Clone)]
pub struct Caller {
    base: Uri,
    roots: Arc<rustls::RootCertStore>,
    headers: HeaderMap,
    version: http::Version,
    kept: Option<SendRequest<Full<Bytes>>>,
}

impl Caller {
    /// Of the server at `url`, whose certificate `ca` signed; without a credential.
    pub fn new(url: &str, ca: &str) -> Self {
        let mut roots = rustls::RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(ca.as_bytes()) {
            roots.add(certificate.unwrap()).unwrap();
        }
        Self {
            base: url.parse().unwrap(),
            roots: Arc::new(roots),
            headers: HeaderMap::new(),
            version: http::Version::HTTP_11,
            kept: None,
        }
    }

    /// With a bearer token.
    pub fn bearing(self, token: &str) -> Self {
        self.saying("authorization", &format!("Bearer {token}"))
    }

    /// With one more header, also of a name that is there already.
    pub fn saying(mut self, name: &str, value: &str) -> Self {
        self.headers.append(
            HeaderName::try_from(name).unwrap(),
            HeaderValue::try_from(value).unwrap(),
        );
        self
    }

    /// Asking for this media type.
    pub fn accepting(self, media: &str) -> Self {
        self.saying("accept", media)
    }

    /// Over HTTP/2.
    pub fn over_h2(mut self) -> Self {
        self.version = http::Version::HTTP_2;
        self
    }

    /// Over one HTTP/2 connection, which its clones share whatever their credentials: for thousands of requests.
    pub async fn keeping_a_connection(self) -> Self {
        let over_h2 = self.over_h2();
        let kept = connection(over_h2.connect().await).await;
        Self {
            kept: Some(kept),
            ..over_h2
        }
    }

    /// The answer to a GET.
    pub async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path, None).await
    }

    /// The answer to a POST of JSON.
    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.call(Method::POST, path, Some(body)).await
    }

    /// The whole answer to a request.
    pub async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Answer {
        let response = self.open(method, path, body).await;
        Answer::whole(response).await
    }

    /// The whole answer to a GET, if the server takes a connection for it. Once it has, it must answer.
    pub async fn get_if_connected(&self, path: &str) -> Option<Answer> {
        let stream = self.try_connect().await.ok()?;
        let response = self.open_on(stream, Method::GET, path, None).await;
        Some(Answer::whole(response).await)
    }

    /// The stream that a watch answers with.
    pub async fn watch(&self, path: &str) -> Stream {
        let (head, body) = self.open(Method::GET, path, None).await.into_parts();
        Stream {
            status: head.status,
            body,
            seen: BytesMut::new(),
            read: 0,
        }
    }

    /// An answer whose body is still to come.
    pub async fn open(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> http::Response<Incoming> {
        if let Some(kept) = &self.kept {
            let request = self.request(method, path, body);
            let mut kept = kept.clone();
            return answered(kept.send_request(request)).await;
        }
        let stream = self.connect().await;
        self.open_on(stream, method, path, body).await
    }

    /// An answer whose body is still to come, if the server is there and gives one. The connection may go over to another
    /// protocol.
    pub async fn try_open(&self, path: &str) -> Option<http::Response<Incoming>> {
        let stream = TokioIo::new(self.try_connect().await.ok()?);
        let (mut send, connection) = hyper::client::conn::http1::handshake(stream).await.ok()?;
        tokio::spawn(connection.with_upgrades());
        let request = self.request(Method::GET, path, None);
        send.send_request(request).await.ok()
    }

    async fn open_on(
        &self,
        stream: TlsStream<TcpStream>,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> http::Response<Incoming> {
        let request = self.request(method, path, body);
        let answer = Box::pin(async {
            if self.version == http::Version::HTTP_2 {
                connection(stream).await.send_request(request).await
            } else {
                let (mut send, connection) =
                    hyper::client::conn::http1::handshake(TokioIo::new(stream))
                        .await
                        .unwrap();
                tokio::spawn(connection.with_upgrades());
                send.send_request(request).await
            }
        });
        answered(answer).await
    }

    fn request(&self, method: Method, path: &str, body: Option<&Value>) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(
            body.map_or_else(Bytes::new, |json| json.to_string().into()),
        ));
        *request.method_mut() = method;
        *request.version_mut() = self.version;
        *request.headers_mut() = self.headers.clone();
        if body.is_some() {
            request
                .headers_mut()
                .entry(header::CONTENT_TYPE)
                .or_insert(HeaderValue::from_static("application/json"));
        }
        let authority = self.base.authority().unwrap();
        if self.version == http::Version::HTTP_2 {
            *request.uri_mut() = self.url(path).parse().unwrap();
        } else {
            *request.uri_mut() = path.parse().unwrap();
            request
                .headers_mut()
                .insert(header::HOST, authority.as_str().parse().unwrap());
        }
        request
    }

    /// The whole address of `path`.
    pub fn url(&self, path: &str) -> String {
        let authority = self.base.authority().unwrap();
        format!("https://{authority}{path}")
    }

    /// A connection, for what is not HTTP as a library writes it.
    pub async fn connect(&self) -> TlsStream<TcpStream> {
        self.try_connect().await.unwrap()
    }

    /// A connection, if the server takes it and its certificate is good.
    pub async fn try_connect(&self) -> std::io::Result<TlsStream<TcpStream>> {
        let mut config = rustls::ClientConfig::builder()
            .with_root_certificates(Arc::clone(&self.roots))
            .with_no_client_auth();
        config.alpn_protocols = match self.version {
            http::Version::HTTP_2 => vec![b"h2".to_vec()],
            _ => vec![b"http/1.1".to_vec()],
        };
        let (host, port) = (
            self.base.host().unwrap().to_owned(),
            self.base.port_u16().unwrap(),
        );
        let tcp = TcpStream::connect((host.as_str(), port)).await?;
        tcp.set_nodelay(true)?;
        let name = ServerName::try_from(host).unwrap();
        TlsConnector::from(Arc::new(config))
            .connect(name, tcp)
            .await
    }
}

async fn answered(
    answer: impl Future<Output = hyper::Result<http::Response<Incoming>>>,
) -> http::Response<Incoming> {
    tokio::time::timeout(DEADLINE, answer)
        .await
        .expect("no answer")
        .expect("the connection broke")
}

async fn connection(stream: TlsStream<TcpStream>) -> SendRequest<Full<Bytes>> {
    let stream = TokioIo::new(stream);
    let (send, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream)
        .await
        .unwrap();
    tokio::spawn(connection);
    send
}

/// A whole answer.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    async fn whole(response: http::Response<Incoming>) -> Self {
        let (head, body) = response.into_parts();
        let body = tokio::time::timeout(DEADLINE, body.collect())
            .await
            .expect("the answer did not end");
        Self {
            status: head.status,
            headers: head.headers,
            body: body.expect("the answer broke off").to_bytes(),
        }
    }

    /// Its body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|why| panic!("{why}: {}", self.text()))
    }

    /// Its body as text, for messages and for looking for what must not be there.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The names of the objects of a list, in order.
    pub fn names(&self) -> Vec<String> {
        let list = self.json();
        let items = list["items"]
            .as_array()
            .unwrap_or_else(|| panic!("{} is no list: {list}", self.status));
        items
            .iter()
            .map(|item| item["metadata"]["name"].as_str().unwrap().to_owned())
            .collect()
    }

    /// The list's position.
    pub fn position(&self) -> String {
        self.json()["metadata"]["resourceVersion"]
            .as_str()
            .unwrap()
            .to_owned()
    }
}

/// A watch under way in JSON, whatever carries its events.
pub trait Events {
    /// The next event; `None` at the end of the watch.
    async fn next(&mut self) -> Option<Value>;

    /// Every byte so far.
    fn text(&self) -> String;

    /// Events up to and with the first that `wanted` is true of.
    async fn until(&mut self, mut wanted: impl FnMut(&Value) -> bool) -> Vec<Value> {
        let mut events = Vec::new();
        loop {
            let event = self
                .next()
                .await
                .unwrap_or_else(|| panic!("the watch ended with {}", self.text()));
            let found = wanted(&event);
            events.push(event);
            if found {
                return events;
            }
        }
    }

    /// Everything up to the end.
    async fn rest(&mut self) -> Vec<Value> {
        let mut events = Vec::new();
        while let Some(event) = self.next().await {
            events.push(event);
        }
        events
    }
}

/// One whose events are the lines of an answer.
pub struct Stream {
    pub status: StatusCode,
    body: Incoming,
    seen: BytesMut,
    read: usize,
}

impl Stream {
    /// Every byte up to the end, of a stream in any encoding.
    pub async fn text_to_the_end(&mut self) -> String {
        loop {
            let frame = tokio::time::timeout(DEADLINE, self.body.frame())
                .await
                .expect("the watch goes on");
            match frame {
                Some(frame) => self
                    .seen
                    .extend_from_slice(frame.expect("the watch broke off").data_ref().unwrap()),
                None => return self.text(),
            }
        }
    }
}

impl Events for Stream {
    async fn next(&mut self) -> Option<Value> {
        loop {
            let unread = &self.seen[self.read..];
            if let Some(end) = unread.iter().position(|&byte| byte == b'\n') {
                let event = serde_json::from_slice(&unread[..end]).unwrap();
                self.read += end + 1;
                return Some(event);
            }
            let frame = tokio::time::timeout(DEADLINE, self.body.frame()).await;
            match frame.unwrap_or_else(|_| panic!("nothing more after {}", self.text())) {
                Some(frame) => self
                    .seen
                    .extend_from_slice(frame.expect("the watch broke off").data_ref().unwrap()),
                None => return None,
            }
        }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.seen).into_owned()
    }
}

/// `type name` of an event, for comparison in one glance.
pub fn told(event: &Value) -> String {
    let mut text = event["type"].as_str().unwrap().to_owned();
    if let Some(name) = event["object"]["metadata"]["name"].as_str() {
        write!(text, " {name}").unwrap();
    }
    text
}

/// Whether an event tells the client to list again.
pub fn is_expired(event: &Value) -> bool {
    event["type"] == "ERROR"
        && event["object"]["code"] == 410
        && event["object"]["reason"] == "Expired"
}
