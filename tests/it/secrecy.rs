//! A namespace that is somebody else's looks, to the byte, like one that does not exist.

use http::HeaderMap;
use http::Method;
use http::StatusCode;
use http::header;
use serde_json::Value;
use serde_json::json;

use crate::harness::http::Answer;
use crate::harness::proxy::Mode;
use crate::harness::world::World;
use crate::lists::settled;
use crate::lists::until_he_sees;

const NAMESPACES: &str = "/api/v1/namespaces";

in_both_worlds!(
    anothers_namespace_answers_as_one_that_does_not_exist,
    anothers_namespace_answers_so_in_impersonate_mode,
);

async fn anothers_namespace_answers_as_one_that_does_not_exist(world: &'static World) {
    answers_alike(world, Mode::Token).await;
}

async fn anothers_namespace_answers_so_in_impersonate_mode(world: &'static World) {
    answers_alike(world, Mode::Impersonate).await;
}

async fn answers_alike(world: &'static World, mode: Mode) {
    let (tenant, other) = (
        settled(world, &["dev"]).await,
        settled(world, &["dev"]).await,
    );
    let caller = world.proxy_in(mode).await.caller(&tenant.owner);
    until_he_sees(&caller, &tenant.namespaces).await;
    let foreign = other.namespaces[0].as_str();
    // Of the same length, so that nothing that is counted tells them apart.
    let absent = format!("{}z", &foreign[..foreign.len() - 1]);

    let label = "labelSelector=kubernetes.io/metadata.name";
    let named =
        |name: &str| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    for (method, path, body) in [
        (Method::GET, "/NAME", None),
        (Method::HEAD, "/NAME", None),
        (Method::GET, "/NAME/status", None),
        (Method::GET, "/NAME/pods", None),
        (Method::GET, "/NAME/pods?watch=1", None),
        (Method::GET, "/NAME/serviceaccounts/default", None),
        (Method::GET, "?fieldSelector=metadata.name=NAME", None),
        (Method::GET, &format!("?{label}=NAME"), None),
        (
            Method::GET,
            &format!("?{label}=NAME&watch=1&timeoutSeconds=1"),
            None,
        ),
        (
            Method::GET,
            "?fieldSelector=metadata.name=NAME&watch=1&timeoutSeconds=1",
            None,
        ),
        (Method::DELETE, "/NAME", None),
        (Method::PUT, "/NAME", Some(named("NAME"))),
        (Method::POST, "", Some(named("NAME"))),
        (Method::POST, "?dryRun=All", Some(named("NAME"))),
    ] {
        let asked = |name: &str| {
            let body = body
                .as_ref()
                .map(|body| body.to_string().replace("NAME", name));
            let body = body.map(|text| serde_json::from_str::<Value>(&text).unwrap());
            (format!("{NAMESPACES}{}", path.replace("NAME", name)), body)
        };
        let ((one, its_body), (two, other_body)) = (asked(foreign), asked(&absent));
        let there = caller.call(method.clone(), &one, its_body.as_ref()).await;
        let nowhere = caller.call(method.clone(), &two, other_body.as_ref()).await;
        assert_eq!(
            told(&there, foreign),
            told(&nowhere, &absent),
            "{method} {path}"
        );
    }
}

/// All that an answer says, but for the name that was asked for, the time, and how far the cluster has moved.
fn told(answer: &Answer, name: &str) -> (StatusCode, HeaderMap, String) {
    let mut headers = answer.headers.clone();
    headers.remove(header::DATE);
    headers.remove("audit-id");
    let mut text = answer.text().replace(name, "NAME");
    if let Ok(mut list) = serde_json::from_str::<Value>(&text)
        && list["metadata"]["resourceVersion"].is_string()
    {
        list["metadata"]["resourceVersion"] = "moving".into();
        text = list.to_string();
        // A version more may be a digit more.
        headers.remove(header::CONTENT_LENGTH);
    }
    (answer.status, headers, text)
}
