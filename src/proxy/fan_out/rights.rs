//! Whether somebody may still watch where he watches, and still not where he does not. The API server judges a watch only
//! when it begins, and whom a RoleBinding leaves goes on watching there; through the proxy he does not.
//!
//! Asked again, as himself, when something that names him has changed, and once a minute, since rights come also from what
//! nobody tells us (ClusterRoles, a webhook). That is the bound.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use tokio::time::Instant;
use tokio::time::Sleep;

use super::leg::Opener;

/// How often without a sign.
const EVERY: Duration = Duration::from_mins(1);

/// After a sign the API server may not have heard of the change yet itself: it is asked twice.
const SOON: Duration = Duration::from_millis(100);
const AGAIN: Duration = Duration::from_secs(2);

/// Questions under way at a time.
const AT_A_TIME: usize = 4;

/// What somebody may watch, asked again and again.
pub(in crate::proxy) struct Rights {
    opener: Arc<Opener>,
    /// Of each leg, whether it is watched.
    watched: Vec<bool>,
    due: Pin<Box<Sleep>>,
    /// When to ask once more after that.
    again: Option<Instant>,
    asking: Option<BoxFuture<'static, bool>>,
}

impl Rights {
    pub(super) fn new(opener: Arc<Opener>, watched: Vec<bool>) -> Self {
        Self {
            opener,
            watched,
            due: Box::pin(tokio::time::sleep(EVERY)),
            again: None,
            asking: None,
        }
    }

    /// Something that names him has changed.
    pub(in crate::proxy) fn stir(&mut self) {
        let now = Instant::now();
        // A storm of changes does not put it off.
        if self.again.is_none() {
            self.due.as_mut().reset(now + SOON);
        }
        self.again = Some(now + AGAIN);
    }

    /// Completes when he may watch less or more than he does. Cancel-safe.
    pub(in crate::proxy) async fn changed(&mut self) {
        loop {
            if let Some(asking) = &mut self.asking {
                let changed = asking.await;
                self.asking = None;
                let next = self.again.take().unwrap_or_else(|| Instant::now() + EVERY);
                self.due.as_mut().reset(next);
                if changed {
                    return;
                }
            }
            self.due.as_mut().await;
            let (opener, watched) = (Arc::clone(&self.opener), self.watched.clone());
            self.asking = Some(differs(opener, watched).boxed());
        }
    }
}

/// Whether some leg's answer is another than `watched` says. No answer is no difference.
async fn differs(opener: Arc<Opener>, watched: Vec<bool>) -> bool {
    let questions = watched.into_iter().enumerate().map(|(at, watched)| {
        let opener = Arc::clone(&opener);
        async move { opener.may(at).await.is_some_and(|may| may != watched) }
    });
    let mut answers = futures_util::stream::iter(questions).buffer_unordered(AT_A_TIME);
    while let Some(differs) = answers.next().await {
        if differs {
            return true;
        }
    }
    false
}
