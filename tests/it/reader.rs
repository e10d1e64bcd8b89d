//! The proxy's own account by itself may read nothing, and nothing but the reader whole may read what is narrowed: a lost
//! header is a refusal.

use http::StatusCode;
use kube_tenant_proxy::reader;

use crate::harness::chart;
use crate::harness::http::Caller;
use crate::harness::world::World;

const NAMESPACES: &str = "/api/v1/namespaces";

in_both_worlds!(
    without_one_of_its_headers_the_reader_reads_nothing,
    the_whole_reader_reads_what_is_narrowed_and_no_more,
);

const USER: &str = "impersonate-user";
const GROUP: &str = "impersonate-group";

/// The proxy's account at the API server, as it would be with these headers.
async fn account(world: &'static World, headers: &[(&str, &str)]) -> Caller {
    let token = world.install(chart::RELEASE).await;
    let caller = Caller::new(&world.url, &world.ca).bearing(&token);
    headers
        .iter()
        .fold(caller, |caller, (name, value)| caller.saying(name, value))
}

async fn without_one_of_its_headers_the_reader_reads_nothing(world: &'static World) {
    for (headers, refused) in [
        (&[][..], StatusCode::FORBIDDEN),
        (&[(USER, reader::USER)], StatusCode::FORBIDDEN),
        (&[(USER, "alice")], StatusCode::FORBIDDEN),
        (
            &[(USER, "admin"), (GROUP, reader::GROUP)],
            StatusCode::FORBIDDEN,
        ),
        (
            &[(USER, reader::USER), (GROUP, "system:masters")],
            StatusCode::FORBIDDEN,
        ),
        (
            &[
                (USER, reader::USER),
                (GROUP, reader::GROUP),
                (GROUP, "system:masters"),
            ],
            StatusCode::FORBIDDEN,
        ),
        (
            &[
                (USER, reader::USER),
                (GROUP, reader::GROUP),
                ("impersonate-extra-oid", "1"),
            ],
            StatusCode::FORBIDDEN,
        ),
        // A group, or an extra, of nobody.
        (&[(GROUP, reader::GROUP)], StatusCode::BAD_REQUEST),
        (
            &[(USER, ""), (GROUP, reader::GROUP)],
            StatusCode::BAD_REQUEST,
        ),
        // An empty user and nothing else is no impersonation at all.
        (&[(USER, "")], StatusCode::FORBIDDEN),
    ] {
        let caller = account(world, headers).await;
        for path in [NAMESPACES, "/api/v1/namespaces/default", "/api/v1/secrets"] {
            let answer = caller.get(path).await;
            assert_eq!(
                answer.status,
                refused,
                "{headers:?} {path}: {}",
                answer.text()
            );
            assert_eq!(answer.json()["kind"], "Status", "{headers:?} {path}");
        }
    }
}

async fn the_whole_reader_reads_what_is_narrowed_and_no_more(world: &'static World) {
    let whole = [(USER, reader::USER), (GROUP, reader::GROUP)];
    let caller = account(world, &whole).await;
    let names = caller.get(NAMESPACES).await.names();
    assert!(names.contains(&"kube-system".to_owned()), "{names:?}");
    for path in ["/api/v1/nodes", "/apis/storage.k8s.io/v1/storageclasses"] {
        let answer = caller.get(path).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.text());
    }
    for path in [
        "/api/v1/secrets",
        "/api/v1/pods",
        "/api/v1/nodes/testbed-node/proxy/metrics",
        "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
        "/api/v1/namespaces/default/configmaps",
    ] {
        let answer = caller.get(path).await;
        assert_eq!(
            answer.status,
            StatusCode::FORBIDDEN,
            "{path}: {}",
            answer.text()
        );
    }
}
