//! What became of each ProxySetting and GlobalProxySettings, written into its status: the proxy's only writes. People and
//! GitOps tools wait for `Ready`, and the reason names what is wrong with a rule.
//!
//! Written as the service account, by server-side apply on the two `…/status` subresources, only where it differs, so
//! that any replica may do it. Nothing depends on it: whoever may not write says so once in the log.

mod verdict;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use kube::Api;
use kube::ResourceExt;
use kube::api::ApiResource;
use kube::api::DynamicObject;
use kube::api::ListParams;
use kube::api::Patch;
use kube::api::PatchParams;
use serde_json::Value;
use serde_json::json;
use tokio::time::Instant;

use self::verdict::Verdict;
use crate::catalog::Catalog;
use crate::tenancy::Tenancy;
use crate::tenancy::facts;
use crate::tenancy::facts::CAPSULE;

/// Who applies, in the fields' ownership.
const MANAGER: &str = "kube-tenant-proxy";

const VERSION: &str = "v1beta1";

/// How often it is looked without an event: what the reader may read changes without one.
const LOOK: Duration = Duration::from_mins(1);

/// Events within this time of a look wait for its end: a storm of rules is one look.
const PAUSE: Duration = Duration::from_secs(1);

/// The writer.
pub struct RuleStatus {
    /// Reads, as the reader.
    pub reader: kube::Client,
    /// Writes, as the service account.
    pub own: kube::Client,
    /// What the reader may read.
    pub catalog: Arc<ArcSwap<Catalog>>,
    /// Tells when a rule has changed, and which rules act.
    pub tenancy: Tenancy,
}

/// One of the two kinds of rules.
#[derive(Clone, Copy)]
enum Rules {
    Settings,
    Globals,
}

impl Rules {
    fn resource(self) -> ApiResource {
        let (kind, plural) = match self {
            Self::Settings => ("ProxySetting", "proxysettings"),
            Self::Globals => ("GlobalProxySettings", "globalproxysettings"),
        };
        ApiResource {
            group: CAPSULE.to_owned(),
            version: VERSION.to_owned(),
            api_version: format!("{CAPSULE}/{VERSION}"),
            kind: kind.to_owned(),
            plural: plural.to_owned(),
        }
    }
}

impl RuleStatus {
    /// Keeps every status true, for ever. Cancel-safe.
    pub async fn keep_current(self) {
        let mut changed = self.tenancy.rule_changes();
        let mut failing = false;
        loop {
            let looked = self.look().await;
            match looked {
                Ok(()) => failing = false,
                Err(error) if !failing => {
                    failing = true;
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "the status of rules cannot be written; the rules act all the same"
                    );
                }
                Err(_) => {}
            }
            let next = Instant::now() + PAUSE;
            tokio::select! {
                Ok(()) = changed.changed() => {}
                () = tokio::time::sleep(LOOK) => {}
            }
            tokio::time::sleep_until(next).await;
        }
    }

    async fn look(&self) -> kube::Result<()> {
        for rules in [Rules::Settings, Rules::Globals] {
            let resource = rules.resource();
            let all: Api<DynamicObject> = Api::all_with(self.reader.clone(), &resource);
            let listed = match all.list(&ListParams::default()).await {
                Ok(listed) => listed,
                // Without its definition there are no such rules.
                Err(kube::Error::Api(status)) if status.code == 404 => continue,
                Err(error) => return Err(error),
            };
            for object in &listed.items {
                self.tell(rules, &resource, object).await?;
            }
        }
        Ok(())
    }

    async fn tell(
        &self,
        rules: Rules,
        resource: &ApiResource,
        object: &DynamicObject,
    ) -> kube::Result<()> {
        let catalog = self.catalog.load();
        let (readable, acts) = (catalog.readable(), self.tenancy.rules().cluster_scoped);
        let verdict = match rules {
            Rules::Settings => Verdict::of_setting(&facts::setting(object), readable, acts),
            Rules::Globals => Verdict::of_global(&facts::global(object), readable, acts),
        };
        let Some(status) = changed_status(object, &verdict) else {
            return Ok(());
        };
        let name = object.name_any();
        let objects: Api<DynamicObject> = match object.namespace() {
            Some(namespace) => Api::namespaced_with(self.own.clone(), &namespace, resource),
            None => Api::all_with(self.own.clone(), resource),
        };
        let patch = json!({
            "apiVersion": resource.api_version, "kind": resource.kind,
            "metadata": {"name": name}, "status": status,
        });
        let parameters = PatchParams::apply(MANAGER).force();
        match objects
            .patch_status(&name, &parameters, &Patch::Apply(&patch))
            .await
        {
            Ok(_) => {
                tracing::info!(
                    kind = resource.kind,
                    namespace = object.namespace().unwrap_or_default(),
                    name,
                    acts = verdict.ready,
                    reason = verdict.reason,
                    message = verdict.message,
                    "the status of a rule is written"
                );
                Ok(())
            }
            // It was deleted meanwhile.
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// The status that `verdict` asks for, if the object does not have it.
fn changed_status(object: &DynamicObject, verdict: &Verdict) -> Option<Value> {
    let generation = object.metadata.generation.unwrap_or_default();
    let conditions = object.data.pointer("/status/conditions");
    let mut conditions = conditions.and_then(Value::as_array).into_iter().flatten();
    let says = |condition: &Value, key, text: &str| {
        condition.get(key).and_then(Value::as_str) == Some(text)
    };
    let word = if verdict.ready { "True" } else { "False" };
    let same_word = conditions
        .find(|condition| says(condition, "type", "Ready"))
        .filter(|condition| says(condition, "status", word));
    let told = same_word.is_some_and(|condition| {
        says(condition, "reason", verdict.reason) && says(condition, "message", &verdict.message)
    });
    let observed = object.data.pointer("/status/observedGeneration");
    if told && observed.and_then(Value::as_i64) == Some(generation) {
        return None;
    }
    let since = same_word.and_then(|condition| condition.get("lastTransitionTime")?.as_str());
    let since = since.map_or_else(now, str::to_owned);
    Some(json!({
        "observedGeneration": generation,
        "conditions": [{
            "type": "Ready", "status": word, "reason": verdict.reason, "message": verdict.message,
            "observedGeneration": generation, "lastTransitionTime": since,
        }],
    }))
}

/// Now, as Kubernetes writes times: whole seconds, UTC.
fn now() -> String {
    jiff::Timestamp::now()
        .strftime("%Y-%m-%dT%H:%M:%SZ")
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(status: &Value) -> DynamicObject {
        let object = json!({"metadata": {"name": "g", "generation": 3}, "status": status});
        serde_json::from_value(object).unwrap()
    }

    fn verdict(ready: bool, message: &str) -> Verdict {
        Verdict {
            ready,
            reason: "Ready",
            message: message.to_owned(),
        }
    }

    #[test]
    fn what_is_told_already_is_not_written_again() {
        let first = changed_status(&object(&Value::Null), &verdict(true, "m")).unwrap();
        assert_eq!(first["conditions"][0]["status"], "True");
        assert_eq!(changed_status(&object(&first), &verdict(true, "m")), None);
        for (key, other) in [("observedGeneration", json!(2)), ("conditions", json!([]))] {
            let mut old = first.clone();
            old[key] = other;
            assert!(
                changed_status(&object(&old), &verdict(true, "m")).is_some(),
                "{key}"
            );
        }
    }

    #[test]
    fn the_time_is_that_of_the_last_change_of_the_word() {
        let mut old = changed_status(&object(&Value::Null), &verdict(true, "m")).unwrap();
        old["conditions"][0]["lastTransitionTime"] = "2026-01-02T03:04:05Z".into();
        let same = changed_status(&object(&old), &verdict(true, "other")).unwrap();
        assert_eq!(
            same["conditions"][0]["lastTransitionTime"],
            "2026-01-02T03:04:05Z"
        );
        let turned = changed_status(&object(&old), &verdict(false, "m")).unwrap();
        assert_ne!(
            turned["conditions"][0]["lastTransitionTime"],
            "2026-01-02T03:04:05Z"
        );
    }
}
