//! The rights that the chart gives the proxy, as `helm template` prints them: the tests run with no others.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::output;
use super::tool;

/// Where the chart is installed.
pub const NAMESPACE: &str = "capsule-system";
/// The release, and so the service account, of an ordinary installation.
pub const RELEASE: &str = "capsule-proxy";
/// A release that may speak for others.
pub const IMPERSONATING: &str = "capsule-proxy-impersonating";

/// A release whose reader may read [`KINDS`] too.
pub const WITH_RULES: &str = "capsule-proxy-with-rules";
/// Kinds that rules show parts of in tests.
const KINDS: &str = r#"[
    {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["clusterroles"]},
    {"apiGroups": ["it.example.com"], "resources": ["widgets"]}
]"#;

/// Service account and roles of `release`.
pub fn rights(release: &str) -> Vec<Value> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut helm = Command::new(tool("tests/tools/helm4"));
    helm.current_dir(root).env("KUBECONFIG", "/dev/null");
    helm.args([
        "template",
        release,
        "charts/kube-tenant-proxy",
        "-n",
        NAMESPACE,
    ]);
    helm.args([
        "-s",
        "templates/rbac.yaml",
        "-s",
        "templates/serviceaccount.yaml",
    ]);
    if release == IMPERSONATING {
        helm.args(["--set", "upstream.impersonate.enabled=true"]);
        helm.args(["--set", "upstream.impersonate.extraKeys={oid}"]);
        // Without one that uses them the chart gives no such rights.
        helm.args(["--set", "config.authentication.jwt[0].upstream=impersonate"]);
    }
    if release == WITH_RULES {
        let kinds = format!("rbac.reader.clusterResources={KINDS}");
        helm.args(["--set-json", &kinds]);
    }
    documents(&output(&mut helm))
}

/// The definitions of ProxySetting and GlobalProxySettings.
pub fn definitions() -> Vec<Value> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/kube-tenant-proxy/crds");
    let files = std::fs::read_dir(folder).unwrap();
    files
        .flat_map(|file| documents(&std::fs::read_to_string(file.unwrap().path()).unwrap()))
        .collect()
}

fn documents(yaml: &str) -> Vec<Value> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(yaml).unwrap();
    documents.into_iter().filter(Value::is_object).collect()
}

/// Where an object of the chart is created.
pub fn collection(object: &Value) -> String {
    match object["kind"].as_str().unwrap() {
        "Namespace" => "/api/v1/namespaces".to_owned(),
        "ServiceAccount" => format!("/api/v1/namespaces/{NAMESPACE}/serviceaccounts"),
        "ClusterRole" => "/apis/rbac.authorization.k8s.io/v1/clusterroles".to_owned(),
        "ClusterRoleBinding" => "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings".to_owned(),
        "CustomResourceDefinition" => {
            "/apis/apiextensions.k8s.io/v1/customresourcedefinitions".to_owned()
        }
        "GlobalProxySettings" => "/apis/capsule.clastix.io/v1beta1/globalproxysettings".to_owned(),
        "Node" => "/api/v1/nodes".to_owned(),
        "PersistentVolume" => "/api/v1/persistentvolumes".to_owned(),
        "StorageClass" => "/apis/storage.k8s.io/v1/storageclasses".to_owned(),
        "IngressClass" => "/apis/networking.k8s.io/v1/ingressclasses".to_owned(),
        "PriorityClass" => "/apis/scheduling.k8s.io/v1/priorityclasses".to_owned(),
        "RuntimeClass" => "/apis/node.k8s.io/v1/runtimeclasses".to_owned(),
        "Widget" => "/apis/it.example.com/v1/widgets".to_owned(),
        other => panic!("the tests do not know where a {other} belongs"),
    }
}
