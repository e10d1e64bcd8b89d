//! Tests of `wire::frames`.

use proptest::prelude::*;

use super::*;

/// All frames of `stream`, fed in chunks of `size`, and what is left at its end.
fn cut(framing: Framing, stream: &[u8], size: usize) -> Result<Vec<Frame>, Broken> {
    let mut frames = Frames::with_limit(framing, 64);
    let mut all = Vec::new();
    for chunk in stream.chunks(size) {
        frames.push(chunk);
        while let Some(frame) = frames.take_next()? {
            all.push(frame);
        }
    }
    all.extend(frames.finish());
    Ok(all)
}

fn texts(stream: &str, size: usize) -> Result<Vec<String>, Broken> {
    let frames = cut(Framing::Json, stream.as_bytes(), size)?;
    Ok(frames
        .iter()
        .map(|frame| String::from_utf8_lossy(frame.bytes()).into_owned())
        .collect())
}

#[test]
fn a_json_frame_ends_with_its_document_and_keeps_its_newline() {
    for (stream, expected) in [
        ("{}\n{\"a\":1}\n", vec!["{}\n", "{\"a\":1}\n"]),
        (
            "{\"a\":\"}\\n{\"}\r\n{}\n",
            vec!["{\"a\":\"}\\n{\"}\r\n", "{}\n"],
        ),
        ("{}{}\n\n{}", vec!["{}", "{}\n", "\n{}"]),
        (
            "{\n \"pretty\": [\n{}\n]}\n",
            vec!["{\n \"pretty\": [\n{}\n]}\n"],
        ),
        ("{}\n{\"half\":", vec!["{}\n"]),
        ("", vec![]),
    ] {
        for size in 1..=stream.len().max(1) {
            let expected: Vec<String> = expected.iter().map(|text| (*text).to_owned()).collect();
            assert_eq!(
                texts(stream, size),
                Ok(expected),
                "{stream:?} in chunks of {size}"
            );
        }
    }
}

#[test]
fn a_whole_line_is_a_frame_at_once() {
    let mut frames = Frames::new(Framing::Json);
    frames.push(b"{\"a\":1}");
    assert_eq!(
        frames.take_next(),
        Ok(None),
        "its newline may be on the way"
    );
    frames.push(b"\n");
    assert_eq!(frames.take_next().unwrap().unwrap().document(), "{\"a\":1}");
    assert_eq!(frames.take_next(), Ok(None));
}

#[test]
fn what_is_no_document_is_broken() {
    for stream in ["[]\n", "x", "{}\nx", "{}\x01", "{\"a\":}\n"] {
        assert!(texts(stream, 3).is_err(), "{stream}");
    }
}

#[test]
fn a_frame_over_the_limit_is_broken_before_it_is_whole() {
    let open = format!("{{\"a\":\"{}", "x".repeat(64));
    assert!(matches!(texts(&open, 8), Err(Broken::TooLarge { .. })));
    let prefixed = cut(Framing::LengthPrefixed, &[0, 0, 0, 65], 4);
    assert!(matches!(prefixed, Err(Broken::TooLarge { .. })));
    assert_eq!(
        texts(&"{\"a\":1}\n".repeat(50), 999).unwrap().len(),
        50,
        "many frames at once are not one"
    );
}

#[test]
fn a_frame_we_make_is_the_frame_we_read() {
    for (framing, bytes) in [
        (Framing::Json, &b"{}\n"[..]),
        (Framing::LengthPrefixed, b"\0\0\0\x02{}"),
    ] {
        let made = Frame::new(framing, b"{}");
        assert_eq!(made.bytes(), bytes);
        assert_eq!(cut(framing, bytes, 1), Ok(vec![made]));
    }
}

proptest! {
    #[test]
    fn prefixed_frames_are_cut_where_they_were_joined(
        documents in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..8),
        size in 1_usize..50,
    ) {
        let frames: Vec<Frame> = documents.iter().map(|document| Frame::new(Framing::LengthPrefixed, document)).collect();
        let stream: Vec<u8> = frames.iter().flat_map(|frame| frame.bytes().to_vec()).collect();
        prop_assert_eq!(cut(Framing::LengthPrefixed, &stream, size).unwrap(), frames);
    }
}

proptest! {
    #[test]
    fn a_seam_is_where_frames_meet_however_they_are_cut(
        documents in prop::collection::vec("[a-z]{0,9}", 1..5),
        cuts in prop::collection::vec(1..7usize, 1..40),
    ) {
        for framing in [Framing::Json, Framing::LengthPrefixed] {
            let (mut stream, mut ends) = (Vec::new(), vec![0]);
            for document in &documents {
                let document = format!(r#"{{"a":"{document}"}}"#);
                stream.extend_from_slice(Frame::new(framing, document.as_bytes()).bytes());
                ends.push(stream.len());
            }
            let (mut seam, mut at) = (Seam::new(framing), 0);
            prop_assert!(seam.is_between());
            for cut in cuts.iter().cycle() {
                let to = stream.len().min(at + cut);
                seam.pass(&stream[at..to]);
                at = to;
                prop_assert_eq!(seam.is_between(), ends.contains(&at), "{} of {:?}", at, &ends);
                if at == stream.len() {
                    break;
                }
            }
        }
    }
}
