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
        other => panic!("the tests do not know where a {other} belongs"),
    }
}
