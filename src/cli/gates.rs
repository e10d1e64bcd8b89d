//! `--feature-gates`: the incumbent's names, of which one has a meaning here.

/// What the gates say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Gates {
    /// `ProxyClusterScoped`: whether `clusterResources` and GlobalProxySettings act.
    pub(super) cluster_scoped: bool,
    /// Those given that have no effect.
    pub(super) without_effect: Vec<String>,
}

impl Gates {
    /// Reads `Name=true,…`. As in the component library of Kubernetes, a name alone is no gate, and `AllAlpha` stands for
    /// every alpha gate that is not named itself.
    pub(super) fn read(given: &[String]) -> Self {
        let mut gates = Self::default();
        let (mut cluster_scoped, mut all_alpha) = (None, false);
        for gate in given.iter().filter(|gate| !gate.is_empty()) {
            let (name, value) = gate.split_once('=').unwrap_or((gate, ""));
            match (name.trim(), truth(value)) {
                ("ProxyClusterScoped", Some(on)) => cluster_scoped = Some(on),
                ("AllAlpha", Some(on)) => all_alpha = on,
                (_, Some(false)) => {}
                _ => gates.without_effect.push(gate.clone()),
            }
        }
        gates.cluster_scoped = cluster_scoped.unwrap_or(all_alpha);
        gates
    }
}

/// `strconv.ParseBool`.
fn truth(text: &str) -> Option<bool> {
    match text.trim() {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_gate_has_a_meaning() {
        for (given, cluster_scoped, without_effect) in [
            ("", false, ""),
            ("ProxyClusterScoped=true", true, ""),
            (
                "ProxyClusterScoped=1,SkipImpersonationReview=true",
                true,
                "SkipImpersonationReview=true",
            ),
            ("ProxyClusterScoped=false,AllAlpha=true", false, ""),
            ("AllAlpha=true", true, ""),
            ("ProxyAllNamespaced=false", false, ""),
            ("ProxyClusterScoped", false, "ProxyClusterScoped"),
            ("ProxyClusterScoped=yes", false, "ProxyClusterScoped=yes"),
        ] {
            let given: Vec<String> = given.split(',').map(str::to_owned).collect();
            let gates = Gates::read(&given);
            assert_eq!(gates.cluster_scoped, cluster_scoped, "{given:?}");
            assert_eq!(gates.without_effect.join(","), without_effect, "{given:?}");
        }
    }
}
