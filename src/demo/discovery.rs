//! Discovery, plain and aggregated (KEP-3352), and the little OpenAPI that kubectl needs to validate what it sends.
//! Its content is the same for every user.

use std::collections::BTreeMap;
use std::fmt::Write;

use aws_lc_rs::digest;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use super::kinds::Kind;

/// The content type of aggregated discovery.
pub(crate) const AGGREGATED: &str =
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// The version this server says it has.
pub(crate) fn version() -> Value {
    json!({
        "major": "1",
        "minor": "37",
        "emulationMajor": "1",
        "emulationMinor": "37",
        "minCompatibilityMajor": "1",
        "minCompatibilityMinor": "36",
        "gitVersion": "v1.37.0+demo",
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "",
        "compiler": "rustc",
        "platform": "linux/amd64",
    })
}

/// The document at `path`, in its plain form.
pub(crate) fn plain(kinds: &[Kind], path: &str) -> Option<Value> {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    match parts.as_slice() {
        ["api"] => Some(json!({
            "kind": "APIVersions",
            "versions": ["v1"],
            "serverAddressByClientCIDRs": [],
        })),
        ["apis"] => {
            let groups: Vec<Value> = groups(kinds)
                .iter()
                .filter(|(name, _)| !name.is_empty())
                .map(group)
                .collect();
            Some(json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}))
        }
        ["apis", name] => {
            let groups = groups(kinds);
            let found = groups.iter().find(|(group, _)| group == name)?;
            let mut document = group(found);
            let head = json!({"kind": "APIGroup", "apiVersion": "v1"});
            super::object::object_mut(&mut document)
                .extend(head.as_object().cloned().unwrap_or_default());
            Some(document)
        }
        ["api", version] => resources(kinds, "", version),
        ["apis", group, version] if !group.is_empty() => resources(kinds, group, version),
        _ => None,
    }
}

/// `/api` or `/apis` in the aggregated form.
pub(crate) fn aggregated(kinds: &[Kind], core: bool) -> Value {
    let groups = groups(kinds);
    let wanted = groups.iter().filter(|(name, _)| name.is_empty() == core);
    let items: Vec<Value> = wanted
        .map(|(name, versions)| {
            let versions: Vec<Value> = versions
                .iter()
                .map(|version| {
                    let of_version = kinds
                        .iter()
                        .filter(|kind| &*kind.resource.group == name && kind.version == *version);
                    let resources: Vec<Value> = of_version.map(aggregated_resource).collect();
                    json!({"version": version, "resources": resources, "freshness": "Current"})
                })
                .collect();
            let metadata = if name.is_empty() {
                json!({"creationTimestamp": null})
            } else {
                json!({"name": name, "creationTimestamp": null})
            };
            json!({"metadata": metadata, "versions": versions})
        })
        .collect();
    json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items})
}

/// A strong `ETag`: the quoted SHA-512 in upper-case hex.
pub(crate) fn etag(document: &str) -> String {
    let hash = digest::digest(&digest::SHA512, document.as_bytes());
    let hex = hash.as_ref().iter().fold(String::new(), |mut hex, byte| {
        let _infallible = write!(hex, "{byte:02X}");
        hex
    });
    format!("\"{hex}\"")
}

/// `/openapi/v3`: where the documents are.
pub(crate) fn openapi_root(kinds: &[Kind]) -> Value {
    let paths: Map<String, Value> = groups(kinds)
        .iter()
        .flat_map(|(group, versions)| versions.iter().map(move |version| root_of(group, version)))
        .map(|root| {
            let hash = etag(&openapi(kinds, &root).to_string());
            let url = format!("/openapi/v3/{root}?hash={}", hash.trim_matches('"'));
            (root, json!({"serverRelativeURL": url}))
        })
        .collect();
    json!({"paths": paths})
}

/// `/openapi/v3/{root}`: every kind as an object without further promises, and the parameter by which kubectl learns
/// that the server validates fields itself.
pub(crate) fn openapi(kinds: &[Kind], root: &str) -> Value {
    let mut paths = Map::new();
    let mut schemas = Map::new();
    let here = kinds
        .iter()
        .filter(|kind| root_of(&kind.resource.group, &kind.version) == root);
    for kind in here {
        let marker =
            json!({"group": &*kind.resource.group, "version": kind.version, "kind": kind.kind});
        let place = if kind.namespaced {
            "namespaces/{namespace}/"
        } else {
            ""
        };
        let parameters = json!([{"name": "fieldValidation", "in": "query", "schema": {"type": "string", "uniqueItems": true}}]);
        paths.insert(
            format!("/{root}/{place}{}/{{name}}", kind.resource.resource),
            json!({"patch": {"parameters": parameters, "x-kubernetes-action": "patch", "x-kubernetes-group-version-kind": marker}}),
        );
        let property = |text: &str| json!({"type": text});
        schemas.insert(
            format!(
                "demo.{}.{}.{}",
                kind.resource.group, kind.version, kind.kind
            ),
            json!({
                "type": "object",
                "description": format!("{} of the demo; its fields are not described.", kind.kind),
                "properties": {
                    "apiVersion": property("string"),
                    "kind": property("string"),
                    "metadata": property("object"),
                    "spec": property("object"),
                    "status": property("object"),
                },
                "x-kubernetes-group-version-kind": [marker],
            }),
        );
    }
    json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": "v1.37.0+demo"},
        "paths": paths,
        "components": {"schemas": schemas},
    })
}

fn root_of(group: &str, version: &str) -> String {
    if group.is_empty() {
        format!("api/{version}")
    } else {
        format!("apis/{group}/{version}")
    }
}

/// Groups with their versions, in the order they were named first.
fn groups(kinds: &[Kind]) -> Vec<(String, Vec<String>)> {
    let mut order: Vec<(String, Vec<String>)> = Vec::new();
    let mut place = BTreeMap::new();
    for kind in kinds {
        let at = *place
            .entry(kind.resource.group.to_string())
            .or_insert_with(|| {
                order.push((kind.resource.group.to_string(), Vec::new()));
                order.len() - 1
            });
        if let Some((_, versions)) = order.get_mut(at)
            && !versions.contains(&kind.version)
        {
            versions.push(kind.version.clone());
        }
    }
    order
}

fn group((name, versions): &(String, Vec<String>)) -> Value {
    let named =
        |version: &String| json!({"groupVersion": format!("{name}/{version}"), "version": version});
    let all: Vec<Value> = versions.iter().map(named).collect();
    json!({"name": name, "versions": all, "preferredVersion": all.first()})
}

fn resources(kinds: &[Kind], group: &str, version: &str) -> Option<Value> {
    let here: Vec<&Kind> = kinds
        .iter()
        .filter(|kind| &*kind.resource.group == group && kind.version == version)
        .collect();
    let first = here.first()?;
    let mut resources = Vec::new();
    for kind in &here {
        let mut resource = json!({
            "name": &*kind.resource.resource,
            "singularName": kind.singular,
            "namespaced": kind.namespaced,
            "kind": kind.kind,
            "verbs": kind.verbs(),
        });
        add_names(&mut resource, kind);
        resources.push(resource);
        for subresource in &kind.subresources {
            resources.push(json!({
                "name": format!("{}/{subresource}", kind.resource.resource),
                "singularName": "",
                "namespaced": kind.namespaced,
                "kind": kind.kind,
                "verbs": subresource_verbs(subresource),
            }));
        }
    }
    Some(json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": first.api_version(),
        "resources": resources,
    }))
}

fn add_names(resource: &mut Value, kind: &Kind) {
    let fields = super::object::object_mut(resource);
    for (key, names) in [
        ("shortNames", &kind.short_names),
        ("categories", &kind.categories),
    ] {
        if !names.is_empty() {
            fields.insert(key.to_owned(), json!(names));
        }
    }
}

fn aggregated_resource(kind: &Kind) -> Value {
    let response_kind =
        json!({"group": &*kind.resource.group, "version": kind.version, "kind": kind.kind});
    let subresources: Vec<Value> = kind
        .subresources
        .iter()
        .map(|subresource| {
            json!({"subresource": subresource, "responseKind": response_kind, "verbs": subresource_verbs(subresource)})
        })
        .collect();
    let mut resource = json!({
        "resource": &*kind.resource.resource,
        "responseKind": response_kind,
        "scope": if kind.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": kind.singular,
        "verbs": kind.verbs(),
    });
    add_names(&mut resource, kind);
    if !subresources.is_empty() {
        super::object::object_mut(&mut resource)
            .insert("subresources".to_owned(), subresources.into());
    }
    resource
}

fn subresource_verbs(subresource: &str) -> &'static [&'static str] {
    match subresource {
        "finalize" => &["update"],
        "log" => &["get"],
        "token" => &["create"],
        "attach" | "exec" | "portforward" => &["create", "get"],
        "proxy" => &["create", "delete", "get", "patch", "update"],
        _ => &["get", "patch", "update"],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::kinds;
    use crate::demo::store::Store;

    #[test]
    fn both_forms_name_the_same_kinds() {
        let kinds = Store::new().read(kinds::all);
        let mut plain_names = Vec::new();
        for root in [
            "api/v1",
            "apis/rbac.authorization.k8s.io/v1",
            "apis/authorization.k8s.io/v1",
        ] {
            let list = plain(&kinds, root).unwrap();
            for resource in list["resources"].as_array().unwrap() {
                plain_names.push(resource["name"].as_str().unwrap().to_owned());
            }
        }
        for name in [
            "namespaces",
            "namespaces/finalize",
            "rolebindings",
            "selfsubjectaccessreviews",
        ] {
            assert!(plain_names.contains(&name.to_owned()), "{name}");
        }
        let core = aggregated(&kinds, true);
        let resources = core["items"][0]["versions"][0]["resources"]
            .as_array()
            .unwrap();
        let namespaces = resources
            .iter()
            .find(|resource| resource["resource"] == "namespaces")
            .unwrap();
        assert_eq!(
            (&namespaces["scope"], &namespaces["shortNames"]),
            (&json!("Cluster"), &json!(["ns"]))
        );
        assert_eq!(plain(&kinds, "/apis/none.example.org/v1"), None);
        assert_eq!(
            plain(&kinds, "/apis/apps").unwrap()["preferredVersion"]["groupVersion"],
            "apps/v1"
        );
    }

    #[test]
    fn an_etag_is_a_quoted_sha_512() {
        let etag = etag("x");
        assert_eq!(etag.len(), 130);
        assert!(etag.starts_with("\"A4ABD4448C49"), "{etag}");
    }
}
