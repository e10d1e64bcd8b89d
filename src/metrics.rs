//! Counters of what was answered and why not. Labels come from enums, never from a request.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Mutex;
use std::sync::PoisonError;

use http::StatusCode;

/// The counters. One small lock: a request touches it once, for two additions.
#[derive(Debug, Default)]
pub struct Metrics {
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    answered: BTreeMap<(&'static str, u16), u64>,
    refused: BTreeMap<&'static str, u64>,
}

impl Metrics {
    /// A request was answered with `code` under `plan`.
    pub fn answered(&self, plan: &'static str, code: StatusCode) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.answered.entry((plan, code.as_u16())).or_default() += 1;
    }

    /// A request got an answer of ours, for `reason`.
    pub fn refused(&self, reason: &'static str) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.refused.entry(reason).or_default() += 1;
    }

    /// All of them in Prometheus' text format.
    pub fn render(&self) -> String {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::from("# TYPE kube_tenant_proxy_requests_total counter\n");
        for ((plan, code), count) in &counts.answered {
            let _infallible = writeln!(
                text,
                "kube_tenant_proxy_requests_total{{plan=\"{plan}\",code=\"{code}\"}} {count}"
            );
        }
        text.push_str("# TYPE kube_tenant_proxy_refusals_total counter\n");
        for (reason, count) in &counts.refused {
            let _infallible = writeln!(
                text,
                "kube_tenant_proxy_refusals_total{{reason=\"{reason}\"}} {count}"
            );
        }
        text
    }
}
