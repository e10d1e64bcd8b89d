//! What the pipeline counts: requests by plan and code, refusals by reason, watches that are open. A request that is
//! answered costs one addition, without a lock.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::RwLock;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use http::StatusCode;

use crate::metrics::Sheet;
use crate::policy::Plan;

/// The status codes that fit into a response; beyond 599 they are the invention of somebody behind `…/proxy/…`.
const CODES: std::ops::Range<u16> = 100..1000;

/// What a request ended under that was never decided.
const UNDECIDED: &str = "";

/// The counters.
#[derive(Debug)]
pub struct Counts {
    by_plan: BTreeMap<&'static str, OfPlan>,
    /// By reason, which are constants of [`super::reject::Reject`]: written to once for each of them.
    refused: RwLock<BTreeMap<&'static str, AtomicU64>>,
}

#[derive(Debug)]
struct OfPlan {
    /// In the order of [`CODES`].
    answered: Box<[AtomicU64]>,
    watches: Arc<AtomicU64>,
}

impl Default for Counts {
    fn default() -> Self {
        let plans = Plan::NAMES.into_iter().chain([UNDECIDED]);
        Self {
            by_plan: plans.map(|plan| (plan, OfPlan::default())).collect(),
            refused: RwLock::default(),
        }
    }
}

impl Default for OfPlan {
    fn default() -> Self {
        Self {
            answered: CODES.map(|_| AtomicU64::new(0)).collect(),
            watches: Arc::default(),
        }
    }
}

impl Counts {
    /// A request was answered with `code` under `plan`.
    pub(super) fn answered(&self, plan: &'static str, code: StatusCode) {
        let counter = usize::from(code.as_u16())
            .checked_sub(CODES.start.into())
            .and_then(|index| self.by_plan.get(plan)?.answered.get(index));
        debug_assert!(counter.is_some(), "no counter for {plan} {code}");
        if let Some(counter) = counter {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A request got an answer of ours, for `reason`.
    pub(super) fn refused(&self, reason: &'static str) {
        let known = self.refused.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(counter) = known.get(reason) {
            counter.fetch_add(1, Ordering::Relaxed);
            return;
        }
        drop(known);
        let mut known = self.refused.write().unwrap_or_else(PoisonError::into_inner);
        *known.entry(reason).or_default().get_mut() += 1;
    }

    /// A watch under `plan` is open for as long as the answer lives.
    pub(super) fn watch(&self, plan: &'static str) -> Option<OpenWatch> {
        let watches = &self.by_plan.get(plan)?.watches;
        watches.fetch_add(1, Ordering::Relaxed);
        Some(OpenWatch(Arc::clone(watches)))
    }

    /// Writes them down.
    ///
    /// # Errors
    /// What the writer says.
    pub fn families(&self, sheet: &mut Sheet<'_>) -> fmt::Result {
        let codes: Vec<String> = CODES.map(|code| code.to_string()).collect();
        let answers = self.by_plan.iter().flat_map(|(plan, of_plan)| {
            let counts = codes.iter().zip(&of_plan.answered);
            counts.filter_map(|(code, counter)| {
                let count = counter.load(Ordering::Relaxed);
                (count > 0).then_some(([("plan", label(plan)), ("code", code.as_str())], count))
            })
        });
        sheet.counter(
            "requests",
            "Requests answered, by what was decided and the answer's status code",
            answers,
        )?;
        let refused = self.refused.read().unwrap_or_else(PoisonError::into_inner);
        let reasons = refused
            .iter()
            .map(|(reason, counter)| ([("reason", *reason)], counter.load(Ordering::Relaxed)));
        sheet.counter(
            "refusals",
            "Requests that got an answer of the proxy's own instead of the API server's",
            reasons,
        )?;
        let watches = self.by_plan.iter().map(|(plan, of_plan)| {
            let open = of_plan.watches.load(Ordering::Relaxed);
            ([("plan", label(plan))], open)
        });
        sheet.gauge("watches_open", "Watches that clients have open", watches)
    }
}

/// An empty label value would be no label.
fn label(plan: &'static str) -> &'static str {
    if plan == UNDECIDED { "undecided" } else { plan }
}

/// Counts one watch while it lives.
#[derive(Debug)]
#[must_use = "counts only while it lives"]
pub(super) struct OpenWatch(Arc<AtomicU64>);

impl Drop for OpenWatch {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    fn told(counts: &Arc<Counts>) -> Vec<String> {
        let (mut metrics, counts) = (Metrics::default(), Arc::clone(counts));
        metrics.add(move |sheet| counts.families(sheet));
        let text = metrics.render();
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        let zero = |line: &&str| !line.ends_with(" 0");
        samples.filter(zero).map(str::to_owned).collect()
    }

    #[test]
    fn what_was_counted_is_told() {
        let counts = Arc::new(Counts::default());
        for (plan, code) in [
            ("forward", 200),
            ("", 401),
            ("forward", 200),
            ("forward", 999),
        ] {
            counts.answered(plan, StatusCode::from_u16(code).unwrap());
        }
        counts.refused("missing");
        counts.refused("missing");
        let watch = counts.watch("narrow-watch").unwrap();
        assert_eq!(
            told(&counts),
            [
                "kube_tenant_proxy_requests_total{plan=\"undecided\",code=\"401\"} 1",
                "kube_tenant_proxy_requests_total{plan=\"forward\",code=\"200\"} 2",
                "kube_tenant_proxy_requests_total{plan=\"forward\",code=\"999\"} 1",
                "kube_tenant_proxy_refusals_total{reason=\"missing\"} 2",
                "kube_tenant_proxy_watches_open{plan=\"narrow-watch\"} 1",
            ]
        );
        drop(watch);
        assert_eq!(told(&counts).len(), 4);
    }
}
