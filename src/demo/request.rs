//! What a request asks for, in the words RBAC judges by: `RequestInfo`, as
//! `apiserver pkg/endpoints/request/requestinfo.go` reads it.
//!
//! Not the proxy's own parser, for the reason given in [`super::selector`].

use http::Method;

use super::query::Query;
use super::query::percent_decode;
use super::selector::Fields;
use super::status::Failure;
use crate::k8s::names::GroupResource;

/// A classified request.
#[derive(Clone, Debug)]
pub(crate) struct RequestInfo {
    pub(crate) verb: String,
    /// The decoded path.
    pub(crate) path: String,
    /// `None`: discovery, OpenAPI, `/version`, probes and the like.
    pub(crate) resource: Option<ResourceInfo>,
    pub(crate) query: Query,
}

/// The part of a path below `/api/{version}` or `/apis/{group}/{version}`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ResourceInfo {
    pub(crate) resource: GroupResource,
    pub(crate) version: String,
    pub(crate) subresource: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
    /// Whether [`Self::name`] stood in the path, not in a field selector.
    pub(crate) name_in_path: bool,
    /// Whether the path was one of the old `…/watch/…` kind.
    pub(crate) legacy_watch: bool,
}

impl RequestInfo {
    /// # Errors
    /// 400 for a path that cannot be decoded, 500 for a special verb with nothing behind it.
    pub(crate) fn parse(method: &Method, path: &str, query: &str) -> Result<Self, Failure> {
        let path = percent_decode(path)
            .ok_or_else(|| Failure::bad_request("the path holds a bad percent escape"))?;
        let query = Query::parse(query);
        let (verb, resource) = match resource_path(&path) {
            None => (method.as_str().to_ascii_lowercase(), None),
            Some(parts) => {
                let (verb, info) = resource_info(method, &path, parts, &query)?;
                (verb, Some(info))
            }
        };
        Ok(Self {
            verb,
            path,
            resource,
            query,
        })
    }
}

struct ResourcePath<'a> {
    group: &'a str,
    version: &'a str,
    rest: Vec<&'a str>,
}

/// Fewer than three parts, or another root, is no resource: `/apis/{group}/{version}` is discovery.
fn resource_path(path: &str) -> Option<ResourcePath<'_>> {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    match parts.as_slice() {
        ["api", version, rest @ ..] if !rest.is_empty() => Some(ResourcePath {
            group: "",
            version,
            rest: rest.to_vec(),
        }),
        ["apis", group, version, rest @ ..] if !rest.is_empty() => Some(ResourcePath {
            group,
            version,
            rest: rest.to_vec(),
        }),
        _ => None,
    }
}

fn resource_info(
    method: &Method,
    decoded: &str,
    path: ResourcePath<'_>,
    query: &Query,
) -> Result<(String, ResourceInfo), Failure> {
    let mut rest = path.rest.as_slice();
    let mut special = None;
    if let ["watch" | "proxy", behind @ ..] = rest {
        if behind.is_empty() {
            let why =
                "failed to create RequestInfo: unable to determine kind and namespace from url";
            return Err(Failure::internal(format!(
                "Internal Server Error: {decoded:?}: {why}, {decoded}\n"
            )));
        }
        special = rest.first().copied();
        rest = behind;
    }
    let mut namespace = "";
    if let ["namespaces", first, behind @ ..] = rest {
        namespace = first;
        if let [resource, ..] = behind
            && !matches!(*resource, "status" | "finalize")
        {
            rest = behind;
        }
    }
    let (resource, name, subresource) = match rest {
        [resource] => (*resource, "", ""),
        [resource, name] => (*resource, *name, ""),
        [resource, name, subresource, ..] => (*resource, *name, *subresource),
        [] => ("", "", ""),
    };
    let mut info = ResourceInfo {
        resource: GroupResource::new(path.group, resource),
        version: path.version.to_owned(),
        subresource: subresource.to_owned(),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        name_in_path: !name.is_empty(),
        legacy_watch: special == Some("watch"),
    };
    let verb = match special {
        Some(verb) => verb,
        None => verb_of(method, info.name_in_path, query),
    };
    if matches!(verb, "list" | "watch" | "deletecollection") && !info.name_in_path {
        let fields = query.first("fieldSelector").map(Fields::parse);
        if let Some(name) = fields
            .as_ref()
            .and_then(|fields| fields.as_ref().ok()?.exact("metadata.name"))
        {
            info.name = name.to_owned();
        }
    }
    Ok((verb.to_owned(), info))
}

fn verb_of(method: &Method, named: bool, query: &Query) -> &'static str {
    match method.as_str() {
        "POST" => "create",
        "PUT" => "update",
        "PATCH" => "patch",
        "DELETE" if named => "delete",
        "DELETE" => "deletecollection",
        "GET" | "HEAD" if named => "get",
        "GET" | "HEAD" if query.boolean("watch") == Some(true) => "watch",
        "GET" | "HEAD" => "list",
        _ => "",
    }
}

#[cfg(test)]
mod tests;
