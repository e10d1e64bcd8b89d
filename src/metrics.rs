//! Counters of what was answered and why not. Labels come from enums, never from a request.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use http::StatusCode;

/// The status codes that fit into a response; beyond 599 they are the invention of somebody behind `…/proxy/…`.
const CODES: std::ops::Range<u16> = 100..1000;

/// The counters. A request answered is one addition without a lock; only refusals share one.
#[derive(Debug)]
pub struct Metrics {
    /// By plan, then by code.
    answered: BTreeMap<&'static str, Box<[AtomicU64]>>,
    refused: Mutex<BTreeMap<&'static str, u64>>,
}

impl Metrics {
    /// Zeros. `plans` are the names that [`Metrics::answered`] knows; the empty one, of what ended before it was
    /// decided, is always among them.
    pub fn new(plans: &[&'static str]) -> Self {
        let row = || CODES.map(|_| AtomicU64::new(0)).collect();
        let plans = plans.iter().copied().chain([""]);
        Self {
            answered: plans.map(|plan| (plan, row())).collect(),
            refused: Mutex::default(),
        }
    }

    /// A request was answered with `code` under `plan`.
    pub fn answered(&self, plan: &'static str, code: StatusCode) {
        let counter = usize::from(code.as_u16())
            .checked_sub(CODES.start.into())
            .and_then(|index| self.answered.get(plan)?.get(index));
        debug_assert!(counter.is_some(), "no counter for {plan} {code}");
        if let Some(counter) = counter {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A request got an answer of ours, for `reason`.
    pub fn refused(&self, reason: &'static str) {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        *refused.entry(reason).or_default() += 1;
    }

    /// All of them in Prometheus' text format.
    pub fn render(&self) -> String {
        let mut text = String::from("# TYPE kube_tenant_proxy_requests_total counter\n");
        for (plan, row) in &self.answered {
            for (code, counter) in CODES.zip(row) {
                let count = counter.load(Ordering::Relaxed);
                if count > 0 {
                    let _infallible = writeln!(
                        text,
                        "kube_tenant_proxy_requests_total{{plan=\"{plan}\",code=\"{code}\"}} {count}"
                    );
                }
            }
        }
        text.push_str("# TYPE kube_tenant_proxy_refusals_total counter\n");
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        for (reason, count) in &*refused {
            let _infallible = writeln!(
                text,
                "kube_tenant_proxy_refusals_total{{reason=\"{reason}\"}} {count}"
            );
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_is_told_and_nothing_else() {
        let metrics = Metrics::new(&["forward"]);
        for (plan, code) in [
            ("forward", 200),
            ("", 401),
            ("forward", 200),
            ("forward", 999),
        ] {
            metrics.answered(plan, StatusCode::from_u16(code).unwrap());
        }
        metrics.refused("unauthenticated");
        assert_eq!(
            metrics.render(),
            "# TYPE kube_tenant_proxy_requests_total counter\n\
             kube_tenant_proxy_requests_total{plan=\"\",code=\"401\"} 1\n\
             kube_tenant_proxy_requests_total{plan=\"forward\",code=\"200\"} 2\n\
             kube_tenant_proxy_requests_total{plan=\"forward\",code=\"999\"} 1\n\
             # TYPE kube_tenant_proxy_refusals_total counter\n\
             kube_tenant_proxy_refusals_total{reason=\"unauthenticated\"} 1\n"
        );
    }
}
