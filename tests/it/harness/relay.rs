//! A chokepoint: TCP connections pass through it, and it can hold what comes back, cut them at any byte, and lead new ones
//! elsewhere. It knows nothing of TLS: what passes is what the two ends say to each other.

use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How many bytes a new connection may bring back before it is cut; `None`: as many as it likes.
type Budgets = Box<dyn FnMut() -> Option<usize> + Send>;

/// A listening chokepoint. Dropped, it takes no more connections.
pub struct Relay {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

struct Shared {
    target: Mutex<SocketAddr>,
    budgets: Mutex<Budgets>,
    held: watch::Sender<bool>,
    /// Says that connections made so far are to end.
    cut: watch::Sender<()>,
    cuts: AtomicUsize,
}

impl Relay {
    /// To the server at `url`.
    pub async fn to(url: &str) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            target: Mutex::new(address_of(url)),
            budgets: Mutex::new(Box::new(|| None)),
            held: watch::Sender::new(false),
            cut: watch::Sender::new(()),
            cuts: AtomicUsize::new(0),
        });
        let passing = Arc::clone(&shared);
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let passing = Arc::clone(&passing);
                tokio::spawn(async move { passing.carry(client).await });
            }
        });
        Self {
            address,
            shared,
            accepting,
        }
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// Leads new connections to the server at `url`.
    pub fn lead_to(&self, url: &str) {
        *self.shared.target.lock().unwrap() = address_of(url);
    }

    /// Ends all connections, in the middle of whatever they carry.
    pub fn cut(&self) {
        self.shared.cut.send_replace(());
    }

    /// Cuts new connections after as many bytes as these say.
    pub fn cut_after(&self, budgets: impl FnMut() -> Option<usize> + Send + 'static) {
        *self.shared.budgets.lock().unwrap() = Box::new(budgets);
    }

    /// Holds back what the server says, until [`Relay::release`].
    pub fn hold(&self) {
        self.shared.held.send_replace(true);
    }

    /// Lets pass what was held, and what follows.
    pub fn release(&self) {
        self.shared.held.send_replace(false);
    }

    /// How many connections were cut.
    pub fn cuts(&self) -> usize {
        self.shared.cuts.load(Ordering::Relaxed)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}

impl Shared {
    async fn carry(&self, mut client: TcpStream) {
        let mut cut = self.cut.subscribe();
        let budget = (self.budgets.lock().unwrap())();
        let target = *self.target.lock().unwrap();
        let Ok(mut server) = TcpStream::connect(target).await else {
            return;
        };
        let _nodelay = (client.set_nodelay(true), server.set_nodelay(true));
        let (mut from_client, to_client) = client.split();
        let (from_server, mut to_server) = server.split();
        tokio::select! {
            _ended = tokio::io::copy(&mut from_client, &mut to_server) => {}
            whole = self.bring_back(from_server, to_client, budget) => {
                if !whole {
                    self.cuts.fetch_add(1, Ordering::Relaxed);
                }
            }
            _cut = cut.changed() => {
                self.cuts.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Whether it came to its end before the budget did.
    async fn bring_back(
        &self,
        mut from: impl AsyncReadExt + Unpin,
        mut to: impl AsyncWriteExt + Unpin,
        mut budget: Option<usize>,
    ) -> bool {
        let mut held = self.held.subscribe();
        let mut buffer = vec![0; 16 << 10];
        loop {
            let Ok(read @ 1..) = from.read(&mut buffer).await else {
                return true;
            };
            if held.wait_for(|held| !held).await.is_err() {
                return true;
            }
            let passes = budget.map_or(read, |left| left.min(read));
            if to.write_all(&buffer[..passes]).await.is_err() {
                return true;
            }
            if let Some(left) = &mut budget {
                *left -= passes;
                if *left == 0 {
                    return false;
                }
            }
        }
    }
}

fn address_of(url: &str) -> SocketAddr {
    url.strip_prefix("https://").unwrap().parse().unwrap()
}
