//! What a proxy's metrics listener says, read as Prometheus reads it.

use std::net::SocketAddr;

use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::DEADLINE;

/// The whole answer of the plain listener at `address`.
pub async fn ask(address: SocketAddr, path: &str) -> String {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: it\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    let answer = tokio::time::timeout(DEADLINE, exchange).await;
    answer.expect("no answer").unwrap()
}

/// One scrape.
pub struct Scrape {
    /// The answer's head, in lower case.
    pub head: String,
    pub text: String,
}

impl Scrape {
    /// Of the listener at `address`.
    pub async fn of(address: SocketAddr) -> Self {
        let answer = ask(address, "/metrics").await;
        let (head, text) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200"), "{answer}");
        Self {
            head: head.to_lowercase(),
            text: text.to_owned(),
        }
    }

    /// The lines with numbers: name and labels, and the number.
    pub fn samples(&self) -> impl Iterator<Item = (&str, f64)> {
        let samples = self.text.lines().filter(|line| !line.starts_with('#'));
        samples.map(|line| {
            let (series, value) = line.rsplit_once(' ').unwrap();
            (series, value.parse().unwrap())
        })
    }

    /// The sum over the series of the family `name` (without our prefix) that have `label`; zero where there is none.
    pub fn sum(&self, name: &str, label: &str) -> f64 {
        let name = format!("kube_tenant_proxy_{name}");
        let of_family = self.samples().filter(|(series, _)| {
            let rest = series.strip_prefix(&name);
            rest.is_some_and(|rest| {
                rest.is_empty() || rest.starts_with('{') && rest.contains(label)
            })
        });
        of_family.map(|(_, value)| value).sum()
    }
}
