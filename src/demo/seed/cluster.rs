//! The objects every cluster of the demo has: system namespaces, the API server's default roles as far as they
//! matter, Capsule's definitions and configuration, and the roles that the proxy's chart installs.

use serde_json::Value;
use serde_json::json;

use super::PROXY_ACCOUNT;
use super::PROXY_NAMESPACE;
use super::Seed;
use crate::demo::capsule::GROUP;
use crate::demo::user::AUTHENTICATED;
use crate::demo::user::MASTERS;
use crate::demo::user::UNAUTHENTICATED;
use crate::reader;

const ROLES: &str = "rbac.authorization.k8s.io/clusterroles/v1";
const BINDINGS: &str = "rbac.authorization.k8s.io/clusterrolebindings/v1";
const DEFINITIONS: &str = "apiextensions.k8s.io/customresourcedefinitions/v1";

/// Each with the kind it is stored as.
pub(super) fn objects(seed: &Seed) -> Vec<(&'static str, Value)> {
    let mut objects = Vec::new();
    for name in [
        "default",
        "kube-node-lease",
        "kube-public",
        "kube-system",
        PROXY_NAMESPACE,
    ] {
        objects.push(("/namespaces/v1", json!({"metadata": {"name": name}})));
    }
    let account = json!({"metadata": {"name": PROXY_ACCOUNT, "namespace": PROXY_NAMESPACE}});
    objects.push(("/serviceaccounts/v1", account));
    objects.extend(default_roles());
    objects.extend(groups_bound(
        "cluster-admin",
        "cluster-admins",
        &seed.admin_groups,
    ));
    objects.extend(capsule(seed));
    objects.extend(proxy());
    objects
}

fn role(name: &str, rules: Value) -> (&'static str, Value) {
    (ROLES, json!({"metadata": {"name": name}, "rules": rules}))
}

fn bound(role: &str, name: &str, subjects: Vec<Value>) -> (&'static str, Value) {
    let reference =
        json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role});
    (
        BINDINGS,
        json!({"metadata": {"name": name}, "roleRef": reference, "subjects": subjects}),
    )
}

fn group(name: &str) -> Value {
    json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": name})
}

fn groups_bound(role: &str, name: &str, groups: &[String]) -> Option<(&'static str, Value)> {
    let subjects: Vec<Value> = groups.iter().map(|name| group(name)).collect();
    (!subjects.is_empty()).then(|| bound(role, name, subjects))
}

/// `kubernetes plugin/pkg/auth/authorizer/rbac/bootstrappolicy`, reduced to the kinds served here.
fn default_roles() -> Vec<(&'static str, Value)> {
    const READ: [&str; 3] = ["get", "list", "watch"];
    const WRITE: [&str; 5] = ["create", "delete", "deletecollection", "patch", "update"];
    let rule = |verbs: &[&str], group: &str, resources: &[&str]| json!({"verbs": verbs, "apiGroups": [group], "resources": resources});
    let discovery = [
        "/api",
        "/api/*",
        "/apis",
        "/apis/*",
        "/healthz",
        "/livez",
        "/openapi",
        "/openapi/*",
        "/readyz",
        "/version",
        "/version/",
    ];
    let public = ["/healthz", "/livez", "/readyz", "/version", "/version/"];
    let plain = [
        "configmaps",
        "events",
        "limitranges",
        "namespaces",
        "persistentvolumeclaims",
        "pods",
        "pods/log",
        "pods/status",
        "resourcequotas",
        "serviceaccounts",
        "services",
    ];
    let written = [
        "configmaps",
        "persistentvolumeclaims",
        "pods",
        "pods/attach",
        "pods/exec",
        "pods/portforward",
        "secrets",
        "serviceaccounts",
        "services",
    ];
    let view = vec![
        rule(&READ, "", &plain),
        rule(&READ, "apps", &["deployments"]),
        rule(&READ, "networking.k8s.io", &["networkpolicies"]),
    ];
    let mut edit = view.clone();
    edit.extend([
        rule(
            &READ,
            "",
            &["pods/attach", "pods/exec", "pods/portforward", "secrets"],
        ),
        rule(&WRITE, "", &written),
        rule(&WRITE, "apps", &["deployments"]),
        rule(&WRITE, "networking.k8s.io", &["networkpolicies"]),
    ]);
    let mut admin = edit.clone();
    let both = [READ.as_slice(), WRITE.as_slice()].concat();
    admin.extend([
        rule(
            &both,
            "rbac.authorization.k8s.io",
            &["rolebindings", "roles"],
        ),
        rule(
            &["create"],
            "authorization.k8s.io",
            &["localsubjectaccessreviews"],
        ),
        rule(&["create"], "", &["serviceaccounts/token"]),
    ]);
    vec![
        role(
            "cluster-admin",
            json!([
                {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]},
                {"verbs": ["*"], "nonResourceURLs": ["*"]},
            ]),
        ),
        bound("cluster-admin", "cluster-admin", vec![group(MASTERS)]),
        role("view", view.into()),
        role("edit", edit.into()),
        role("admin", admin.into()),
        role(
            "system:discovery",
            json!([{"verbs": ["get"], "nonResourceURLs": discovery}]),
        ),
        bound(
            "system:discovery",
            "system:discovery",
            vec![group(AUTHENTICATED)],
        ),
        role(
            "system:public-info-viewer",
            json!([{"verbs": ["get"], "nonResourceURLs": public}]),
        ),
        bound(
            "system:public-info-viewer",
            "system:public-info-viewer",
            vec![group(AUTHENTICATED), group(UNAUTHENTICATED)],
        ),
        role(
            "system:basic-user",
            json!([
                rule(
                    &["create"],
                    "authorization.k8s.io",
                    &["selfsubjectaccessreviews", "selfsubjectrulesreviews"]
                ),
                rule(
                    &["create"],
                    "authentication.k8s.io",
                    &["selfsubjectreviews"]
                ),
            ]),
        ),
        bound(
            "system:basic-user",
            "system:basic-user",
            vec![group(AUTHENTICATED)],
        ),
    ]
}

/// The operator's definitions, roles and configuration.
fn capsule(seed: &Seed) -> Vec<(&'static str, Value)> {
    let column =
        |name: &str, kind: &str, path: &str| json!({"name": name, "type": kind, "jsonPath": path});
    let tenant_columns = json!([
        column("State", "string", ".status.state"),
        column("Namespace quota", "integer", ".spec.namespaceOptions.quota"),
        column("Namespace count", "integer", ".status.size"),
        column("Node selector", "string", ".spec.nodeSelector"),
        column("Age", "date", ".metadata.creationTimestamp"),
    ]);
    let age = json!([column("Age", "date", ".metadata.creationTimestamp")]);
    let users: Vec<Value> = seed
        .capsule_groups
        .iter()
        .map(|name| json!({"kind": "Group", "name": name}))
        .collect();
    let configuration = json!({
        "metadata": {"name": "default"},
        "spec": {"userGroups": seed.capsule_groups, "forceTenantPrefix": seed.force_tenant_prefix},
        "status": {"users": users},
    });
    let mut objects = vec![
        definition(
            "tenants",
            "Tenant",
            &["tnt"],
            "Cluster",
            &["v1beta2", "v1beta1"],
            &tenant_columns,
        ),
        definition(
            "capsuleconfigurations",
            "CapsuleConfiguration",
            &[],
            "Cluster",
            &["v1beta2"],
            &age,
        ),
        definition(
            "proxysettings",
            "ProxySetting",
            &[],
            "Namespaced",
            &["v1beta1"],
            &age,
        ),
        definition(
            "globalproxysettings",
            "GlobalProxySettings",
            &[],
            "Cluster",
            &["v1beta1"],
            &age,
        ),
        (
            "capsule.clastix.io/capsuleconfigurations/v1beta2",
            configuration,
        ),
        role(
            "capsule-namespace-provisioner",
            json!([{"verbs": ["create"], "apiGroups": [""], "resources": ["namespaces"]}]),
        ),
        role(
            "capsule-namespace-deleter",
            json!([{"verbs": ["delete"], "apiGroups": [""], "resources": ["namespaces"]}]),
        ),
    ];
    objects.extend(groups_bound(
        "capsule-namespace-provisioner",
        "capsule-namespace-provisioner",
        &seed.capsule_groups,
    ));
    objects
}

fn definition(
    plural: &str,
    kind: &str,
    short: &[&str],
    scope: &str,
    versions: &[&str],
    columns: &Value,
) -> (&'static str, Value) {
    let versions: Vec<Value> = versions
        .iter()
        .enumerate()
        .map(|(index, version)| {
            json!({
                "name": version,
                "served": true,
                "storage": index == 0,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
                "subresources": {"status": {}},
                "additionalPrinterColumns": columns,
            })
        })
        .collect();
    let names = json!({"plural": plural, "singular": kind.to_lowercase(), "kind": kind, "listKind": format!("{kind}List"), "shortNames": short});
    let spec = json!({"group": GROUP, "names": names, "scope": scope, "versions": versions, "conversion": {"strategy": "None"}});
    (
        DEFINITIONS,
        json!({"metadata": {"name": format!("{plural}.{GROUP}")}, "spec": spec}),
    )
}

/// What the chart installs: the service account may become the reader and ask whose a token is; the reader may read
/// the few kinds that are narrowed or followed.
fn proxy() -> Vec<(&'static str, Value)> {
    let read = |group: &str, resources: &[&str]| json!({"verbs": ["get", "list", "watch"], "apiGroups": [group], "resources": resources});
    let extra = format!("userextras/{}", reader::EXTRA_KEY);
    let account =
        json!({"kind": "ServiceAccount", "name": PROXY_ACCOUNT, "namespace": PROXY_NAMESPACE});
    vec![
        role(
            "capsule-proxy",
            json!([
                {"verbs": ["impersonate"], "apiGroups": [""], "resources": ["users"], "resourceNames": [reader::USER]},
                {"verbs": ["impersonate"], "apiGroups": [""], "resources": ["groups"], "resourceNames": [reader::GROUP]},
                {"verbs": ["impersonate"], "apiGroups": ["authentication.k8s.io"], "resources": [extra]},
                {"verbs": ["create"], "apiGroups": ["authentication.k8s.io"], "resources": ["tokenreviews"]},
                {"verbs": ["patch"], "apiGroups": [GROUP], "resources": ["globalproxysettings/status", "proxysettings/status"]},
            ]),
        ),
        bound("capsule-proxy", "capsule-proxy", vec![account]),
        role(
            "capsule-proxy-reader",
            json!([
                read("", &["namespaces"]),
                read(
                    GROUP,
                    &[
                        "capsuleconfigurations",
                        "globalproxysettings",
                        "proxysettings",
                        "tenants"
                    ]
                ),
                read("rbac.authorization.k8s.io", &["rolebindings"]),
                read("", &["nodes", "persistentvolumes"]),
                read("storage.k8s.io", &["storageclasses"]),
                read("networking.k8s.io", &["ingressclasses"]),
                read("scheduling.k8s.io", &["priorityclasses"]),
                read("node.k8s.io", &["runtimeclasses"]),
                read("apiextensions.k8s.io", &["customresourcedefinitions"]),
                read("apiregistration.k8s.io", &["apiservices"]),
            ]),
        ),
        bound(
            "capsule-proxy-reader",
            "capsule-proxy-reader",
            vec![group(reader::GROUP)],
        ),
    ]
}
