//! One watch, read to its end by a task of its own, which says what it hears and when.

use std::time::Instant;

use bytes::BytesMut;
use http::Response;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::Deserialize;
use tokio::sync::mpsc::UnboundedSender;

/// What a watch heard.
#[derive(Debug)]
pub(crate) struct Heard {
    /// Its number.
    pub(crate) watch: usize,
    pub(crate) at: Instant,
    pub(crate) what: What,
}

#[derive(Debug)]
pub(crate) enum What {
    /// The API server, or the proxy, has taken it.
    Open,
    /// An object was added, changed or deleted.
    Object,
    /// It has to begin anew.
    Expired,
    /// There is no more.
    End,
}

/// Of an event, what counts here.
#[derive(Deserialize)]
struct Event {
    r#type: String,
}

/// Reads `answer`, the beginning of watch number `watch`, to its end.
pub(crate) async fn read(watch: usize, answer: Response<Incoming>, out: UnboundedSender<Heard>) {
    let tell = |what| {
        let at = Instant::now();
        // Nobody listens once the measurement is over.
        let _over = out.send(Heard { watch, at, what });
    };
    tell(What::Open);
    let (mut body, mut read) = (answer.into_body(), BytesMut::new());
    while let Some(Ok(frame)) = body.frame().await {
        let Ok(data) = frame.into_data() else {
            continue;
        };
        read.extend_from_slice(&data);
        while let Some(end) = read.iter().position(|byte| *byte == b'\n') {
            let line = read.split_to(end + 1);
            match serde_json::from_slice::<Event>(&line) {
                Ok(event) if event.r#type == "ERROR" => tell(What::Expired),
                // It says that there is nothing new.
                Ok(event) if event.r#type == "BOOKMARK" => {}
                Ok(_object) => tell(What::Object),
                Err(_not_an_event) => {}
            }
        }
        if read.is_empty() {
            // Thousands of idle watches keep no buffer on this side either.
            read = BytesMut::new();
        }
    }
    tell(What::End);
}
