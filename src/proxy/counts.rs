//! What the pipeline counts: requests by plan and code and how long they took, refusals by reason, watches that are open. A
//! request that is answered costs three additions, without a lock.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::RwLock;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::StatusCode;

use crate::metrics::Sheet;
use crate::metrics::Spread;
use crate::policy::Plan;

/// The status codes that fit into a response; beyond 599 they are the invention of somebody behind `…/proxy/…`.
const CODES: std::ops::Range<u16> = 100..1000;

/// Upper bounds of what is measured in seconds: a warm list takes milliseconds, the API server ends a request after a minute.
const SECONDS: [f64; 11] = [
    0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0,
];

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
    /// By the first of [`SECONDS`] that is no less, and one more for the rest.
    took: [AtomicU64; SECONDS.len() + 1],
    took_microseconds: AtomicU64,
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
            took: Default::default(),
            took_microseconds: AtomicU64::new(0),
            watches: Arc::default(),
        }
    }
}

impl OfPlan {
    fn spread(&self) -> Spread {
        let bounds = SECONDS.into_iter().chain([f64::INFINITY]);
        let counts = self.took.iter().map(|count| count.load(Ordering::Relaxed));
        let microseconds = self.took_microseconds.load(Ordering::Relaxed);
        Spread {
            sum: Duration::from_micros(microseconds).as_secs_f64(),
            buckets: bounds.zip(counts).collect(),
        }
    }
}

impl Counts {
    /// A request was answered with `code` under `plan`; its head went out after so long.
    pub(super) fn answered(&self, plan: &'static str, code: StatusCode, after: Duration) {
        let of_plan = self.by_plan.get(plan);
        let answered = usize::from(code.as_u16())
            .checked_sub(CODES.start.into())
            .and_then(|index| of_plan?.answered.get(index));
        debug_assert!(answered.is_some(), "no counter for {plan} {code}");
        let (Some(of_plan), Some(answered)) = (of_plan, answered) else {
            return;
        };
        answered.fetch_add(1, Ordering::Relaxed);
        let bucket = SECONDS.partition_point(|bound| *bound < after.as_secs_f64());
        if let Some(bucket) = of_plan.took.get(bucket) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        let microseconds = u64::try_from(after.as_micros()).unwrap_or(u64::MAX);
        let sum = &of_plan.took_microseconds;
        sum.fetch_add(microseconds, Ordering::Relaxed);
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
        let took = self
            .by_plan
            .iter()
            .map(|(plan, of_plan)| ([("plan", label(plan))], of_plan.spread()));
        sheet.histogram(
            "request_duration_seconds",
            "Time until the head of an answer went out, the API server's own included",
            took,
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
        let counted = |line: &&str| !line.ends_with(" 0") && !line.contains("duration");
        samples.filter(counted).map(str::to_owned).collect()
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
            let code = StatusCode::from_u16(code).unwrap();
            counts.answered(plan, code, Duration::from_millis(30));
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

    #[test]
    fn times_lie_in_the_first_bucket_that_is_no_less() {
        let counts = Counts::default();
        for milliseconds in [1, 10, 11, 60_000] {
            let after = Duration::from_millis(milliseconds);
            counts.answered("forward", StatusCode::OK, after);
        }
        let spread = counts.by_plan["forward"].spread();
        let some: Vec<_> = spread
            .buckets
            .iter()
            .filter(|(_, count)| *count > 0)
            .collect();
        assert_eq!(
            some,
            [&(0.0025, 1), &(0.01, 1), &(0.025, 1), &(f64::INFINITY, 1)]
        );
        assert!((spread.sum - 60.022).abs() < 1e-9, "{}", spread.sum);
    }
}
