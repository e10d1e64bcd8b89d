//! Watches over WebSocket.

use http::StatusCode;
use serde_json::Value;
use tokio_tungstenite::tungstenite::Message;

use crate::harness::eventually;
use crate::harness::world::World;
use crate::lists::settled;

const NAMESPACES: &str = "/api/v1/namespaces";

in_the_real_world!(the_api_server_itself_sends_one_event_a_message);

async fn the_api_server_itself_sends_one_event_a_message(world: &'static World) {
    let tenant = settled(world, &["dev"]).await;
    world.bind(&tenant.owner, "view").await;
    let caller = world.direct(&tenant.owner);
    eventually(|| async {
        let direct = caller.get(NAMESPACES).await;
        let may = direct.status == StatusCode::OK;
        may.then_some(()).ok_or_else(|| direct.text())
    })
    .await;
    let path =
        format!("{NAMESPACES}?watch=1&timeoutSeconds=1&fieldSelector=metadata.name%3Ddefault");
    let mut watch = caller.watch_over_websocket(&path).await;
    assert_eq!(watch.protocol, None);
    watch.say(Message::Ping("still there?".into())).await;
    let is_default = |event: &Value| event["object"]["metadata"]["name"] == "default";
    assert_eq!(watch.until(is_default).await.len(), 1);
    let pong = watch.next_of_any_kind().await;
    assert_eq!(pong, Some(Message::Pong("still there?".into())));
    assert!(watch.rest().await.is_empty());
    assert!(watch.text_to_the_end().await.ends_with("}\n"));
    assert_eq!(u16::from(watch.closed.take().unwrap().code), 1000);
}
