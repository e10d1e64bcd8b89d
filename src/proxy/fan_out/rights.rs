//! Whether somebody may still watch where he watches, and still not where he does not. The API server judges a watch only
//! when it begins, and whom a RoleBinding leaves goes on watching there; through the proxy he does not.
//!
//! Asked again, as himself, when something that names him has changed, and once a minute, since rights come also from what
//! nobody tells us (ClusterRoles, a webhook). That is the bound. Where he was refused at the beginning it is sooner at first,
//! since an API server that has just started refuses for a moment what it allows.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use tokio::time::Instant;
use tokio::time::Sleep;

use super::leg::Opener;
use crate::clock::jitter;

/// How often without a sign, give or take a fifth.
const EVERY: Duration = Duration::from_mins(1);

/// After a sign the API server may not have heard of the change yet itself: it is asked twice.
const SOON: Duration = Duration::from_millis(100);
const AGAIN: Duration = Duration::from_secs(2);

/// How far questions are apart at least, however many signs there are.
const APART: Duration = Duration::from_millis(500);

/// After a refusal at the beginning: so soon, then each time `LONGER`, up to `EVERY`.
const DOUBTFUL: Duration = Duration::from_secs(2);
const LONGER: u32 = 4;

/// Questions under way at a time.
const AT_A_TIME: usize = 4;

/// What somebody may watch, asked again and again.
pub(in crate::proxy) struct Rights {
    opener: Arc<Opener>,
    /// Of each leg, whether it is watched.
    watched: Vec<bool>,
    due: Pin<Box<Sleep>>,
    /// When it was last asked.
    asked: Option<Instant>,
    /// When to ask once more after that, where there was a sign.
    again: Option<Instant>,
    /// How long not to ask without one.
    rest: Duration,
    asking: Option<BoxFuture<'static, bool>>,
}

impl Rights {
    pub(super) fn new(opener: Arc<Opener>, watched: Vec<bool>) -> Self {
        let was_refused = watched.contains(&false);
        let rest = if was_refused { DOUBTFUL } else { EVERY };
        Self {
            opener,
            watched,
            due: Box::pin(tokio::time::sleep(about(rest))),
            asked: None,
            again: None,
            rest,
            asking: None,
        }
    }

    /// Something that names him has changed.
    pub(in crate::proxy) fn stir(&mut self) {
        let now = Instant::now();
        // A storm of changes does not put it off, and costs no more than a question each time.
        if self.again.is_none() {
            let soon = now + SOON;
            let next = self.asked.map_or(soon, |asked| soon.max(asked + APART));
            self.due.as_mut().reset(next);
        }
        self.again = Some(now + AGAIN);
    }

    fn rest_until_next(&mut self) {
        let next = self.again.take().unwrap_or_else(|| {
            self.rest = EVERY.min(self.rest * LONGER);
            Instant::now() + about(self.rest)
        });
        self.due.as_mut().reset(next);
    }

    /// Completes when he may watch less or more than he does. Cancel-safe.
    pub(in crate::proxy) async fn changed(&mut self) {
        loop {
            if let Some(asking) = &mut self.asking {
                let changed = asking.await;
                self.asking = None;
                self.rest_until_next();
                if changed {
                    return;
                }
            }
            self.due.as_mut().await;
            self.asked = Some(Instant::now());
            let (opener, watched) = (Arc::clone(&self.opener), self.watched.clone());
            self.asking = Some(differs(opener, watched).boxed());
        }
    }
}

/// Watches that were opened together do not ask together for ever.
fn about(rest: Duration) -> Duration {
    rest.mul_f64(0.8 + 0.4 * jitter())
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
