//! Requests that try to be more than they are.

use http::StatusCode;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;

use crate::harness::world::World;
use crate::lists::settled;

const NAMESPACES: &str = "/api/v1/namespaces";

in_both_worlds!(
    nobody_speaks_for_another,
    a_path_with_two_readings_is_refused,
    a_watch_by_any_spelling_stays_narrow,
);

async fn nobody_speaks_for_another(world: &'static World) {
    let tenant = settled(world, &["dev"]).await;
    for h2 in [false, true] {
        for (headers, allowed_in_h2) in [
            (vec![("impersonate-user", "admin")], true),
            (
                vec![
                    ("impersonate-user", "admin"),
                    ("impersonate-user", "kube-tenant-proxy:reader"),
                ],
                true,
            ),
            (vec![("impersonate-group", "system:masters")], true),
            (vec![("impersonate-uid", "1")], true),
            (vec![("impersonate-extra-oid", "1")], true),
            (vec![("impersonate_user", "admin")], true),
            (vec![("impersonate_group", "system:masters")], true),
            (
                vec![
                    ("x-remote-user", "admin"),
                    ("x-remote-group", "system:masters"),
                ],
                true,
            ),
            (vec![("connection", "impersonate-user")], false),
            (vec![("connection", "close , Impersonate-Group")], false),
            (vec![("connection", "authorization")], false),
        ] {
            if h2 && !allowed_in_h2 {
                continue;
            }
            let mut caller = world.proxy().await.caller(&tenant.owner);
            for (name, value) in &headers {
                caller = caller.saying(name, value);
            }
            if h2 {
                caller = caller.over_h2();
            }
            let mark = world.mark();
            let answer = caller.get(NAMESPACES).await;
            // Refused, or as if it had not been there.
            if answer.status == StatusCode::OK {
                assert_eq!(answer.names(), tenant.namespaces, "{headers:?}, h2: {h2}");
            } else {
                assert!(
                    answer.status.is_client_error(),
                    "{headers:?}, h2: {h2}: {}",
                    answer.text()
                );
                let seen = world.audit(mark, &tenant.owner.name).await;
                assert!(seen.is_empty(), "{headers:?}, h2: {h2}: {seen:?}");
            }
            let secrets = caller.get("/api/v1/namespaces/kube-system/secrets").await;
            assert!(
                secrets.status.is_client_error(),
                "{headers:?}, h2: {h2}: {}",
                secrets.text()
            );
        }
    }
}

/// Sends a request line as it stands, which no HTTP library would; the answer's status and the rest.
pub(crate) async fn raw(world: &'static World, token: &str, line: &str) -> (u16, String) {
    let proxy = world.proxy().await;
    let mut stream = proxy.anybody().connect().await;
    let request = format!(
        "{line} HTTP/1.1\r\nHost: it\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // A connection that is cut is an answer too.
    let _cut = stream.read_to_end(&mut answer).await;
    let text = String::from_utf8_lossy(&answer).into_owned();
    let status = text
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .unwrap_or(0);
    (status, text)
}

async fn a_path_with_two_readings_is_refused(world: &'static World) {
    let (tenant, other) = (
        settled(world, &["dev"]).await,
        settled(world, &["dev"]).await,
    );
    let token = &tenant.owner.token;
    let mark = world.mark();
    for line in [
        "GET /api/v1/namespaces;x".to_owned(),
        "GET /api/v1/namespaces?limit=1;watch=1".to_owned(),
        "GET /api/v1/namespaces%2Fdefault".to_owned(),
        "GET /api/v1/namespaces/%2e%2e/namespaces".to_owned(),
        "GET /api/v1/namespaces/../namespaces".to_owned(),
        "GET /api/v1/./namespaces".to_owned(),
        "GET //api/v1/namespaces".to_owned(),
        "GET /api//v1/namespaces".to_owned(),
        "GET /api/v1/namespaces/%00".to_owned(),
        "GET /api/v1/namespaces?labelSelector=%zz".to_owned(),
        "GET /api/v1/n%61mespaces;".to_owned(),
        "GET api/v1/namespaces".to_owned(),
        "BREW /api/v1/namespaces".to_owned(),
    ] {
        let (status, text) = raw(world, token, &line).await;
        assert!((400..500).contains(&status), "{line}: {text}");
        assert!(
            !text.contains(&other.name) && !text.contains("kube-system"),
            "{line}: {text}"
        );
    }
    let seen = world.audit(mark, &tenant.owner.name).await;
    assert!(seen.iter().all(|entry| entry.acting.is_none()), "{seen:#?}");
}

async fn a_watch_by_any_spelling_stays_narrow(world: &'static World) {
    let (tenant, other) = (
        settled(world, &["dev"]).await,
        settled(world, &["dev"]).await,
    );
    for path in [
        "/api/v1/namespaces?watch",
        "/api/v1/namespaces?watch=",
        "/api/v1/namespaces?watch=true",
        "/api/v1/namespaces?watch=yes",
        "/api/v1/namespaces?watch=0",
        "/api/v1/namespaces?watch=0&watch=1",
        "/api/v1/namespaces?watch=1&watch=0",
        "/api/v1/watch/namespaces",
        "/api/v1/watch/namespaces/",
        "/api/v1/n%61mespaces",
        "/api/v1/namespaces/",
    ] {
        let path = format!(
            "{path}{}timeoutSeconds=1",
            if path.contains('?') { '&' } else { '?' }
        );
        let answer = world.proxy().await.caller(&tenant.owner).get(&path).await;
        let text = answer.text();
        for hidden in [other.name.as_str(), "kube-system"] {
            assert!(!text.contains(hidden), "{path} shows {hidden}: {text}");
        }
        if answer.status.is_success() {
            assert!(text.contains(&tenant.namespaces[0]), "{path}: {text}");
        }
    }
}
