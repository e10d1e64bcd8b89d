//! Sessions over a pipe: what the client hears, and what becomes of the watch when he stalls, closes or goes.

use bytes::Bytes;
use http_body::Frame;
use http_body_util::StreamBody;
use tokio::io::DuplexStream;
use tokio::sync::mpsc;

use super::*;
use crate::body::Body;
use crate::proxy::websocket::messages::Kind;

/// What the API server says: bytes, or that it breaks off. Closed when nobody listens any more.
type Watch = mpsc::Sender<Result<&'static str, &'static str>>;

/// The client's end.
type Client = WebSocketStream<DuplexStream>;

/// Runs a session over a pipe that holds so many bytes each way, beside what the two sides do.
async fn play<F: Future<Output = ()>>(room: usize, sides: impl FnOnce(Watch, Client) -> F) {
    let (watch, said) = mpsc::channel(1);
    let said = futures_util::stream::unfold(said, |mut said| async {
        let next: Result<&'static str, &'static str> = said.recv().await?;
        let frame = next.map(|text| Frame::data(Bytes::from_static(text.as_bytes())));
        Some((frame.map_err(BoxError::from), said))
    });
    let messages = Messages::new(Body::new(StreamBody::new(said)), Kind::Text);
    let (ours, theirs) = tokio::io::duplex(room);
    let client = WebSocketStream::from_raw_socket(theirs, Role::Client, None).await;
    tokio::join!(run(ours, messages), sides(watch, client));
}

/// Everything the client hears up to the end.
async fn rest(client: &mut Client) -> Vec<Result<Message, Error>> {
    client.collect().await
}

fn closed(code: CloseCode) -> Message {
    let reason = Utf8Bytes::from_static("");
    Message::Close(Some(CloseFrame { code, reason }))
}

#[tokio::test]
async fn the_end_of_a_watch_is_a_normal_closing_behind_its_last_event() {
    play(64, |watch, mut client| async move {
        watch.send(Ok("{\"a\":1}\n{\"b\":2}\n")).await.unwrap();
        drop(watch);
        let heard: Vec<_> = rest(&mut client)
            .await
            .into_iter()
            .map(Result::unwrap)
            .collect();
        let text = |text: &str| Message::text(text);
        assert_eq!(
            heard,
            [
                text("{\"a\":1}\n"),
                text("{\"b\":2}\n"),
                closed(CloseCode::Normal)
            ]
        );
    })
    .await;
}

#[tokio::test]
async fn a_watch_that_breaks_off_does_not_look_closed() {
    play(64, |watch, mut client| async move {
        watch.send(Ok("{\"a\":1}\n{")).await.unwrap();
        watch.send(Err("broken")).await.unwrap();
        let heard = rest(&mut client).await;
        assert!(matches!(
            heard.as_slice(),
            [Ok(Message::Text(_)), Err(Error::Protocol(_))]
        ));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn silence_is_broken_by_pings_and_none_is_made_while_there_are_events() {
    play(64, |watch, mut client| async move {
        let begun = tokio::time::Instant::now();
        for _ in 0..2 {
            assert_eq!(
                client.next().await.unwrap().unwrap(),
                Message::Ping(Bytes::new())
            );
        }
        assert_eq!(begun.elapsed(), 2 * PING_AFTER);
        for _ in 0..4 {
            tokio::time::sleep(PING_AFTER / 2).await;
            watch.send(Ok("{}\n")).await.unwrap();
            assert_eq!(client.next().await.unwrap().unwrap(), Message::text("{}\n"));
        }
    })
    .await;
}

#[tokio::test]
async fn a_client_that_pings_is_answered_and_what_he_says_is_forgotten() {
    play(1024, |watch, mut client| async move {
        client.send(Message::text("resume, please")).await.unwrap();
        client.send(Message::binary(vec![7; 4096])).await.unwrap();
        client.send(Message::Ping("there?".into())).await.unwrap();
        assert_eq!(
            client.next().await.unwrap().unwrap(),
            Message::Pong("there?".into())
        );
        watch.send(Ok("{}\n")).await.unwrap();
        assert_eq!(client.next().await.unwrap().unwrap(), Message::text("{}\n"));
    })
    .await;
}

#[tokio::test]
async fn a_client_that_closes_ends_the_watch_and_is_answered() {
    play(64, |watch, mut client| async move {
        client.send(closed(CloseCode::Away)).await.unwrap();
        watch.closed().await;
        let heard = rest(&mut client).await;
        assert!(matches!(heard.as_slice(), [Ok(close)] if *close == closed(CloseCode::Away)));
    })
    .await;
}

#[tokio::test]
async fn a_client_that_goes_away_ends_the_watch_though_nothing_is_said() {
    play(64, |watch, client| async move {
        drop(client);
        watch.closed().await;
    })
    .await;
}

#[tokio::test]
async fn a_client_that_says_too_much_at_once_is_closed() {
    play(64, |watch, mut client| async move {
        // Not taken to its end.
        let _cut = client.send(Message::binary(vec![7; LONGEST + 1])).await;
        watch.closed().await;
    })
    .await;
    play(2 * LONGEST, |watch, mut client| async move {
        client
            .send(Message::binary(vec![7; LONGEST + 1]))
            .await
            .unwrap();
        watch.closed().await;
        let first = client.next().await.unwrap().unwrap();
        assert_eq!(first, closed(CloseCode::Size));
    })
    .await;
}

#[tokio::test]
async fn a_client_that_does_not_read_stops_the_watch_and_goes_on_where_it_was() {
    const EVENT: &str = concat!(
        "{\"a\":\"",
        "0123456789abcdef0123456789abcdef0123456789abcdef",
        "\"}\n"
    );
    play(256, |watch, mut client| async move {
        let mut taken = 0;
        // Nobody reads: what can be taken is taken at once, and then nothing more.
        loop {
            let mut idle = 0;
            while idle < 100 && watch.capacity() == 0 {
                tokio::task::yield_now().await;
                idle += 1;
            }
            if watch.try_send(Ok(EVENT)).is_err() {
                break;
            }
            taken += 1;
        }
        let most = (WRITE_BUFFER + 256) / EVENT.len() + 4;
        assert!(taken <= most, "{taken} events of {most} that fit");
        for _ in 0..taken {
            assert_eq!(client.next().await.unwrap().unwrap(), Message::text(EVENT));
        }
        watch.send(Ok(EVENT)).await.unwrap();
        assert_eq!(client.next().await.unwrap().unwrap(), Message::text(EVENT));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_answer_the_closing_is_not_waited_for() {
    play(1024, |watch, client| async move {
        let begun = tokio::time::Instant::now();
        drop(watch);
        tokio::time::sleep(2 * GOODBYE).await;
        assert_eq!(begun.elapsed(), 2 * GOODBYE);
        // Held until now, and the session is over: its end of the pipe is gone.
        let mut pipe = client.into_inner();
        let mut heard = Vec::new();
        tokio::io::AsyncReadExt::read_to_end(&mut pipe, &mut heard)
            .await
            .unwrap();
        assert_eq!(heard, [0x88, 2, 0x03, 0xe8]);
    })
    .await;
}
