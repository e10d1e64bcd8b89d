//! What Prometheus is told, in OpenMetrics text. Every module counts for itself, in atomics, and writes its families on a
//! [`Sheet`] when somebody asks.
//!
//! Labels come from enums and from the order of a configuration, never from a request: no user, group, namespace, object
//! or path may stand here, since whoever scrapes is no tenant's friend, and a label per user has no bound.

use std::fmt;
use std::fmt::Debug;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::encoding::EncodeCounterValue;
use prometheus_client::encoding::EncodeGaugeValue;
use prometheus_client::encoding::EncodeMetric;
use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

/// The media type of [`Metrics::render`]. Prometheus 3 reads nothing that does not say what it is.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What our names begin with.
const PREFIX: &str = "kube_tenant_proxy";

/// All families there are.
#[derive(Debug)]
pub struct Metrics(Registry);

impl Default for Metrics {
    fn default() -> Self {
        Self(Registry::with_prefix(PREFIX))
    }
}

impl Metrics {
    /// Adds the families that `families` writes, at each scrape anew.
    pub fn add(
        &mut self,
        families: impl Fn(&mut Sheet<'_>) -> fmt::Result + Send + Sync + 'static,
    ) {
        self.0.register_collector(Box::new(Families(families)));
    }

    /// All of them, as text of the type [`CONTENT_TYPE`].
    pub fn render(&self) -> String {
        let mut text = String::new();
        // Writing into a string cannot fail.
        let _infallible = text::encode(&mut text, &self.0);
        text
    }
}

/// A closure as prometheus-client wants it.
struct Families<F>(F);

impl<F> Debug for Families<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Families")
    }
}

impl<F> Collector for Families<F>
where
    F: Fn(&mut Sheet<'_>) -> fmt::Result + Send + Sync + 'static,
{
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        (self.0)(&mut Sheet(encoder))
    }
}

/// Labels of one sample: names and values.
pub type Labels<'a, const N: usize> = [(&'static str, &'a str); N];

/// What families are written on. Their names lack the prefix, and of counters `_total`, which is added here.
#[derive(Debug)]
pub struct Sheet<'a>(DescriptorEncoder<'a>);

impl Sheet<'_> {
    /// A number that only grows.
    ///
    /// # Errors
    /// What the writer says.
    pub fn counter<'v, V: EncodeCounterValue, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels<'v, N>, V)>,
    ) -> fmt::Result
    where
        ConstCounter<V>: EncodeMetric,
    {
        let samples = samples.into_iter();
        self.family(
            name,
            help,
            samples.map(|(labels, value)| (labels, ConstCounter::new(value))),
        )
    }

    /// A number that comes and goes.
    ///
    /// # Errors
    /// What the writer says.
    pub fn gauge<'v, V: EncodeGaugeValue, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels<'v, N>, V)>,
    ) -> fmt::Result
    where
        ConstGauge<V>: EncodeMetric,
    {
        let samples = samples.into_iter();
        self.family(
            name,
            help,
            samples.map(|(labels, value)| (labels, ConstGauge::new(value))),
        )
    }

    /// Texts that do not change while the process runs; `_info` is added to the name.
    ///
    /// # Errors
    /// What the writer says.
    pub fn info<const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        labels: Labels<'_, N>,
    ) -> fmt::Result {
        let info = Info::new(labels.map(|(name, value)| (name, value.to_owned())));
        let metric = self
            .0
            .encode_descriptor(name, help, None, info.metric_type())?;
        info.encode(metric)
    }

    fn family<'v, M: EncodeMetric, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl Iterator<Item = (Labels<'v, N>, M)>,
    ) -> fmt::Result {
        let mut samples = samples.peekable();
        // A family without samples is left out: a type alone tells nobody anything.
        let Some((_, first)) = samples.peek() else {
            return Ok(());
        };
        let kind = first.metric_type();
        let mut family = self.0.encode_descriptor(name, help, None, kind)?;
        for (labels, metric) in samples {
            if N == 0 {
                metric.encode(family)?;
                return Ok(());
            }
            metric.encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_is_told_and_nothing_else() {
        let mut metrics = Metrics::default();
        metrics.add(|sheet| {
            sheet.counter(
                "answers",
                "Requests answered",
                [([("code", "200")], 2_u64), ([("code", "404")], 0)],
            )?;
            sheet.gauge("age_seconds", "How old it is", [([], 1.5)])?;
            sheet.counter(
                "nothing",
                "Never counted",
                Vec::<(Labels<'_, 1>, u64)>::new(),
            )?;
            sheet.info("build", "What runs", [("version", "1.2.3")])
        });
        assert_eq!(
            metrics.render(),
            "# HELP kube_tenant_proxy_answers Requests answered.\n\
             # TYPE kube_tenant_proxy_answers counter\n\
             kube_tenant_proxy_answers_total{code=\"200\"} 2\n\
             kube_tenant_proxy_answers_total{code=\"404\"} 0\n\
             # HELP kube_tenant_proxy_age_seconds How old it is.\n\
             # TYPE kube_tenant_proxy_age_seconds gauge\n\
             kube_tenant_proxy_age_seconds 1.5\n\
             # HELP kube_tenant_proxy_build What runs.\n\
             # TYPE kube_tenant_proxy_build info\n\
             kube_tenant_proxy_build_info{version=\"1.2.3\"} 1\n\
             # EOF\n"
        );
    }
}
