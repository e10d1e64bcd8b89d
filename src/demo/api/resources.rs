//! Requests for objects and collections: from a classified request to the function that answers it.

use bytes::Bytes;
use http::HeaderMap;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use serde_json::Value;
use serde_json::json;

use super::Answer;
use super::Api;
use crate::demo::encode::Encoder;
use crate::demo::kinds;
use crate::demo::kinds::Kind;
use crate::demo::kinds::Nature;
use crate::demo::list;
use crate::demo::list::Selection;
use crate::demo::negotiate;
use crate::demo::object::text;
use crate::demo::options::ListOptions;
use crate::demo::patch::Style;
use crate::demo::protobuf;
use crate::demo::request::RequestInfo;
use crate::demo::request::ResourceInfo;
use crate::demo::review;
use crate::demo::status::Failure;
use crate::demo::status::FieldError;
use crate::demo::store::State;
use crate::demo::user::User;
use crate::demo::watch::Watch;
use crate::demo::watch::wait_for;
use crate::demo::write;
use crate::demo::write::Deleted;
use crate::demo::write::Target;

/// A request that may be carried out.
pub(super) struct Call<'a> {
    pub(super) info: &'a RequestInfo,
    pub(super) resource: &'a ResourceInfo,
    pub(super) user: &'a User,
    pub(super) headers: &'a HeaderMap,
    pub(super) body: Bytes,
}

impl Api {
    pub(super) async fn resource(&self, call: Call<'_>) -> Result<Answer, Failure> {
        let kind = self
            .store
            .read(|state| kinds::resolve(state, &call.resource.resource, &call.resource.version));
        let Some(kind) = kind else {
            return Err(self.store.read(|state| unserved(state, call.resource)));
        };
        check_place(&kind, &call)?;
        if kind.nature == Nature::Review {
            return self.review(&kind, &call);
        }
        let named = call.resource.name_in_path;
        match (call.info.verb.as_str(), call.resource.subresource.as_str()) {
            ("list", _) => self.list(&kind, &call).await,
            ("watch", _) => self.watch(&kind, &call),
            ("get", "" | "status") => self.get(&kind, &call),
            ("create", "token") => self.token(&kind, &call),
            (_, "attach" | "exec" | "log" | "portforward" | "proxy") | ("proxy", _) => {
                self.unreachable(&kind, &call)
            }
            ("create", "") if !named => self.write(&kind, &call),
            ("update", "" | "status" | "finalize") | ("patch", "" | "status") if named => {
                self.write(&kind, &call)
            }
            ("delete", "") => self.delete(&kind, &call),
            ("deletecollection", "") => self.delete_collection(&kind, &call),
            _ => Err(Failure::method_not_allowed()),
        }
    }

    async fn list(&self, kind: &Kind, call: &Call<'_>) -> Result<Answer, Failure> {
        let options = ListOptions::parse(&call.info.query, false)?;
        let selection = selection(kind, call, &options)?;
        let encoder = Encoder::new(
            kind.clone(),
            negotiate::form(call.headers, &call.info.query)?,
        );
        wait_for(
            &mut self.store.changes(),
            options.resource_version.unwrap_or(0),
        )
        .await?;
        let page = self
            .store
            .read(|state| list::list(state, &selection, &options))?;
        Ok(Answer::Json(
            StatusCode::OK,
            encoder.list(&page.metadata, &page.objects),
        ))
    }

    fn watch(&self, kind: &Kind, call: &Call<'_>) -> Result<Answer, Failure> {
        let options = ListOptions::parse(&call.info.query, true)?;
        let selection = selection(kind, call, &options)?;
        let encoder = Encoder::new(
            kind.clone(),
            negotiate::form(call.headers, &call.info.query)?,
        );
        let watch = Watch::new(
            &self.store,
            selection,
            encoder,
            &options,
            self.bookmarks_every,
            self.stop.clone(),
        );
        Ok(Answer::Watch(Box::new(watch)))
    }

    fn get(&self, kind: &Kind, call: &Call<'_>) -> Result<Answer, Failure> {
        let encoder = Encoder::new(
            kind.clone(),
            negotiate::form(call.headers, &call.info.query)?,
        );
        let key = kind.key(&call.resource.namespace, &call.resource.name);
        let object = self.store.read(|state| state.get(&key).cloned());
        let object =
            object.ok_or_else(|| Failure::not_found(&kind.resource, &call.resource.name))?;
        Ok(Answer::Json(StatusCode::OK, encoder.object(&object.value)))
    }

    fn write(&self, kind: &Kind, call: &Call<'_>) -> Result<Answer, Failure> {
        let encoder = Encoder::new(
            kind.clone(),
            negotiate::form(call.headers, &call.info.query)?,
        );
        let target = target(kind, call, false)?;
        if call.info.verb == "patch" {
            let style = Style::of(content_type(call.headers)).ok_or_else(|| {
                let code = StatusCode::UNSUPPORTED_MEDIA_TYPE;
                Failure::new(code, "UnsupportedMediaType", "415: Unsupported Media Type")
                    .with_details(json!({}))
            })?;
            if style == Style::Apply && call.info.query.text("fieldManager").is_none() {
                let error = FieldError::required("fieldManager", "is required for apply patch");
                return Err(Failure::invalid(
                    "meta.k8s.io",
                    "PatchOptions",
                    "",
                    &[error],
                ));
            }
            let body = text_body(&call.body)?;
            let (object, made) = self.store.write(|state| -> Result<_, Failure> {
                let made = state
                    .get(&kind.key(target.namespace, target.name))
                    .is_none();
                Ok((write::apply_patch(state, &target, style, &body)?, made))
            })?;
            let status = if made {
                StatusCode::CREATED
            } else {
                StatusCode::OK
            };
            return Ok(Answer::Json(status, encoder.object(&object)));
        }
        let body = object_body(call)?;
        let creates = call.info.verb == "create";
        let object = self.store.write(|state| {
            if creates {
                write::create(state, &target, body)
            } else {
                write::update(state, &target, body)
            }
        })?;
        let status = if creates {
            StatusCode::CREATED
        } else {
            StatusCode::OK
        };
        Ok(Answer::Json(status, encoder.object(&object)))
    }

    fn delete(&self, kind: &Kind, call: &Call<'_>) -> Result<Answer, Failure> {
        let options = if call.body.is_empty() {
            Value::Null
        } else {
            object_body(call)?
        };
        let target = target(kind, call, is_dry(&options))?;
        let json = match self
            .store
            .write(|state| write::delete(state, &target, &options))?
        {
            Deleted::Terminating(object) => {
                Encoder::new(kind.clone(), negotiate::Form::Object).object(&object)
            }
            Deleted::Gone(details) => {
                let details = details.get("details").unwrap_or(&Value::Null);
                format!(
                    r#"{{"kind":"Status","apiVersion":"v1","metadata":{{}},"status":"Success","details":{details}}}"#
                )
            }
        };
        Ok(Answer::Json(StatusCode::OK, json))
    }

    fn delete_collection(&self, kind: &Kind, call: &Call<'_>) -> Result<Answer, Failure> {
        let options = ListOptions::parse(&call.info.query, false)?;
        let selection = selection(kind, call, &options)?;
        let delete_options = if call.body.is_empty() {
            Value::Null
        } else {
            object_body(call)?
        };
        let target = target(kind, call, is_dry(&delete_options))?;
        let (deleted, revision) = self.store.write(|state| -> Result<_, Failure> {
            let deleted = write::delete_collection(state, &target, &selection, &delete_options)?;
            Ok((deleted, state.revision()))
        })?;
        let encoder = Encoder::new(kind.clone(), negotiate::Form::Object);
        Ok(Answer::Json(
            StatusCode::OK,
            encoder.list(&json!({"resourceVersion": revision.to_string()}), &deleted),
        ))
    }

    fn review(&self, kind: &Kind, call: &Call<'_>) -> Result<Answer, Failure> {
        if call.info.verb != "create" {
            return Err(Failure::method_not_allowed());
        }
        let encoder = Encoder::new(
            kind.clone(),
            negotiate::form(call.headers, &call.info.query)?,
        );
        let review = crate::demo::admission::open(kind, object_body(call)?)?;
        let namespace = &call.resource.namespace;
        let answer = self.store.read(|state| {
            review::answer(
                state,
                &self.authenticator,
                call.user,
                kind,
                namespace,
                review,
            )
        })?;
        Ok(Answer::Json(StatusCode::CREATED, encoder.object(&answer)))
    }

    /// `serviceaccounts/{name}/token`: a TokenRequest.
    fn token(&self, kind: &Kind, call: &Call<'_>) -> Result<Answer, Failure> {
        let (namespace, name) = (&call.resource.namespace, &call.resource.name);
        let account = self
            .store
            .read(|state: &State| state.get(&kind.key(namespace, name)).cloned());
        let account = account.ok_or_else(|| Failure::not_found(&kind.resource, name))?;
        let body = if call.body.is_empty() {
            Value::Null
        } else {
            object_body(call)?
        };
        let seconds = body
            .pointer("/spec/expirationSeconds")
            .and_then(Value::as_i64)
            .unwrap_or(3_600);
        let token =
            self.authenticator
                .service_account_token(namespace, name, account.uid(), seconds);
        let last = jiff::Timestamp::from_second(jiff::Timestamp::now().as_second() + seconds)
            .unwrap_or_default();
        let request = json!({
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"audiences": [crate::demo::authn::API_AUDIENCE], "expirationSeconds": seconds},
            "status": {"token": token, "expirationTimestamp": last.to_string()},
        });
        Ok(Answer::Json(StatusCode::CREATED, request.to_string()))
    }

    /// There are no nodes, so nothing runs that could be reached: what the API server says of a pending pod.
    fn unreachable(&self, kind: &Kind, call: &Call<'_>) -> Result<Answer, Failure> {
        let name = &call.resource.name;
        let key = kind.key(&call.resource.namespace, name);
        if self.store.read(|state| state.get(&key).is_none()) {
            return Err(Failure::not_found(&kind.resource, name));
        }
        Err(Failure::bad_request(format!(
            "{} {name} does not have a host assigned",
            kind.singular
        )))
    }
}

/// A path below a version that has built-in kinds is answered by their server, any other by none.
fn unserved(state: &State, resource: &ResourceInfo) -> Failure {
    let kinds = kinds::all(state);
    let mut here = kinds
        .iter()
        .filter(|kind| kind.resource.group == resource.resource.group && !kind.is_custom());
    // All of `/api` is one server's.
    if here.any(|kind| resource.resource.group.is_empty() || kind.version == resource.version) {
        Failure::no_such_resource()
    } else {
        Failure::page_not_found()
    }
}

/// Refuses what no route answers: the wrong scope, writes over all namespaces, an unknown subresource.
fn check_place(kind: &Kind, call: &Call<'_>) -> Result<(), Failure> {
    let resource = call.resource;
    let in_namespace = !resource.namespace.is_empty() && kind.resource != kinds::namespaces();
    let collection = matches!(call.info.verb.as_str(), "list" | "watch");
    if in_namespace && !kind.namespaced || !kind.serves(&resource.subresource) {
        return Err(if kind.is_custom() {
            Failure::page_not_found()
        } else {
            Failure::no_such_resource()
        });
    }
    if kind.nature == Nature::Review && resource.name_in_path {
        return Err(Failure::no_such_resource());
    }
    if kind.namespaced && !in_namespace && resource.name_in_path {
        return Err(Failure::no_such_resource());
    }
    if kind.namespaced && !in_namespace && !collection {
        return Err(Failure::method_not_allowed());
    }
    Ok(())
}

fn selection(kind: &Kind, call: &Call<'_>, options: &ListOptions) -> Result<Selection, Failure> {
    let mut fields = options.fields.clone();
    let common = ["metadata.name", "metadata.namespace"];
    let (more, unknown_says_which): (&[&str], bool) =
        match (&*kind.resource.group, &*kind.resource.resource) {
            ("", "namespaces") => (&["status.phase"], false),
            ("", "pods") => (
                &[
                    "spec.nodeName",
                    "spec.restartPolicy",
                    "spec.schedulerName",
                    "spec.serviceAccountName",
                    "status.phase",
                    "status.podIP",
                ],
                false,
            ),
            ("", "secrets") => (&["type"], false),
            ("", "events") => (
                &[
                    "involvedObject.kind",
                    "involvedObject.name",
                    "involvedObject.namespace",
                    "involvedObject.uid",
                    "reason",
                    "type",
                ],
                false,
            ),
            _ => (&[], !kind.is_custom()),
        };
    let known: Vec<&str> = common.iter().chain(more).copied().collect();
    if let Some(field) = fields.unknown(&known) {
        return Err(Failure::bad_request(if unknown_says_which {
            format!(
                r#"{field:?} is not a known field selector: only "metadata.name", "metadata.namespace""#
            )
        } else {
            format!("field label not supported: {field}")
        }));
    }
    if call.resource.legacy_watch && call.resource.name_in_path {
        fields.require("metadata.name", &call.resource.name);
    }
    Ok(Selection {
        resource: kind.resource.clone(),
        namespace: if kind.namespaced {
            call.resource.namespace.clone()
        } else {
            String::new()
        },
        labels: options.labels.clone(),
        fields,
    })
}

fn target<'a>(kind: &'a Kind, call: &Call<'a>, dry_in_body: bool) -> Result<Target<'a>, Failure> {
    let dry: Vec<&str> = call
        .info
        .query
        .all("dryRun")
        .filter(|value| !value.is_empty())
        .collect();
    if dry.iter().any(|value| *value != "All") {
        let error = FieldError::unsupported("dryRun", &format!("{dry:?}"), r#""All""#);
        let options = match call.info.verb.as_str() {
            "create" => "CreateOptions",
            "patch" => "PatchOptions",
            "update" => "UpdateOptions",
            _ => "DeleteOptions",
        };
        return Err(Failure::invalid("meta.k8s.io", options, "", &[error]));
    }
    Ok(Target {
        kind,
        user: call.user,
        namespace: if kind.namespaced {
            &call.resource.namespace
        } else {
            ""
        },
        name: if call.resource.name_in_path {
            &call.resource.name
        } else {
            ""
        },
        subresource: &call.resource.subresource,
        dry_run: dry_in_body || !dry.is_empty(),
    })
}

fn is_dry(options: &Value) -> bool {
    options.pointer("/dryRun/0").is_some() || text(options, "/dryRun") == "All"
}

fn content_type(headers: &HeaderMap) -> &str {
    let value = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or("");
    value.split(';').next().unwrap_or("").trim()
}

/// The body as JSON, whatever it was sent as.
fn object_body(call: &Call<'_>) -> Result<Value, Failure> {
    let accepted = "application/json, application/yaml";
    match content_type(call.headers) {
        "" | "application/json" | "application/yaml" => text_body(&call.body),
        "application/vnd.kubernetes.protobuf" => {
            protobuf::to_json(&call.body).ok_or_else(|| Failure::unsupported_media_type(accepted))
        }
        _ => Err(Failure::unsupported_media_type(accepted)),
    }
}

fn text_body(body: &[u8]) -> Result<Value, Failure> {
    if let Ok(json) = serde_json::from_slice(body) {
        return Ok(json);
    }
    let text =
        std::str::from_utf8(body).map_err(|error| Failure::bad_request(error.to_string()))?;
    serde_saphyr::from_str(text).map_err(|error| {
        Failure::bad_request(format!("the body is neither JSON nor YAML: {error}"))
    })
}
