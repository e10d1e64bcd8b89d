//! Tests of `watch::machine`.

mod labels;

use std::collections::BTreeSet;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::k8s::media::Encoding;
use crate::k8s::media::Shape;
use crate::k8s::media::TableVersion;
use crate::k8s::names::Namespace;
use crate::watch::outbox::Behind;
use crate::wire::protobuf::MAGIC;
use crate::wire::protobuf::put;

/// The forms in which every behaviour is played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Json,
    Metadata,
    Table,
    Protobuf,
}

const FORMS: [Form; 4] = [Form::Json, Form::Metadata, Form::Table, Form::Protobuf];

impl Form {
    fn media(self) -> Media {
        let (encoding, shape) = match self {
            Self::Json => (Encoding::Json, Shape::Object),
            Self::Metadata => (Encoding::Json, Shape::PartialObjectMetadata),
            Self::Table => (Encoding::Json, Shape::Table(TableVersion::V1)),
            Self::Protobuf => (Encoding::Protobuf, Shape::Object),
        };
        Media { encoding, shape }
    }

    /// One event as the API server frames it.
    fn event(self, kind: &str, name: &str, at: u64) -> Vec<u8> {
        let object = match self {
            Self::Json => format!(
                r#"{{"kind":"Namespace","apiVersion":"v1","metadata":{{"name":"{name}","resourceVersion":"{at}"}}}}"#
            ),
            Self::Metadata => format!(
                r#"{{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":{{"name":"{name}","resourceVersion":"{at}"}}}}"#
            ),
            Self::Table => table(name, at, "null"),
            Self::Protobuf => {
                let metadata = message(&[(1, name.as_bytes()), (6, at.to_string().as_bytes())]);
                let envelope = [
                    MAGIC,
                    &message(&[(1, b"\x12\x09Namespace"), (2, &message(&[(1, &metadata)]))]),
                ]
                .concat();
                let document = message(&[(1, kind.as_bytes()), (2, &message(&[(1, &envelope)]))]);
                return [
                    &u32::try_from(document.len()).unwrap().to_be_bytes()[..],
                    &document,
                ]
                .concat();
            }
        };
        format!("{{\"type\":\"{kind}\",\"object\":{object}}}\n").into_bytes()
    }

    /// The end of the initial events.
    fn initial_events_end(self, at: u64) -> Vec<u8> {
        let annotated = format!(
            r#""metadata":{{"resourceVersion":"{at}","annotations":{{"k8s.io/initial-events-end":"true"}}}}"#
        );
        match self {
            Self::Json | Self::Metadata => format!("{{\"type\":\"BOOKMARK\",\"object\":{{{annotated}}}}}\n").into_bytes(),
            Self::Table => format!("{{\"type\":\"BOOKMARK\",\"object\":{{\"kind\":\"Table\",\"metadata\":{{\"resourceVersion\":\"{at}\"}},\"columnDefinitions\":null,\"rows\":[{{\"cells\":[\"\"],\"object\":{{{annotated}}}}}]}}}}\n").into_bytes(),
            Self::Protobuf => {
                let entry = message(&[(1, b"k8s.io/initial-events-end"), (2, b"true")]);
                let metadata = message(&[(6, at.to_string().as_bytes()), (12, &entry)]);
                let envelope = [MAGIC, &message(&[(2, &message(&[(1, &metadata)]))])].concat();
                let document = message(&[(1, b"BOOKMARK"), (2, &message(&[(1, &envelope)]))]);
                [&u32::try_from(document.len()).unwrap().to_be_bytes()[..], &document].concat()
            }
        }
    }

    fn expiry(self) -> Vec<u8> {
        expired_frame(self.media()).unwrap().bytes().to_vec()
    }
}

fn message(fields: &[(u32, &[u8])]) -> Vec<u8> {
    let mut message = Vec::new();
    for (number, content) in fields {
        put(*number, content, &mut message);
    }
    message
}

fn table(name: &str, at: u64, columns: &str) -> String {
    format!(
        r#"{{"kind":"Table","apiVersion":"meta.k8s.io/v1","metadata":{{"resourceVersion":"{at}"}},"columnDefinitions":{columns},"rows":[{{"cells":["{name}"],"object":{{"kind":"PartialObjectMetadata","metadata":{{"name":"{name}","resourceVersion":"{at}"}}}}}}]}}"#
    )
}

/// A watch, its outbox, and what its client got.
struct Session {
    watch: Watch,
    outbox: Outbox,
    got: Vec<u8>,
    positions: Vec<u128>,
    /// Where it was given something, and not all before.
    parts: Vec<u128>,
}

impl Session {
    fn open(form: Form, names: &[&str], start: Start) -> Self {
        Self::with(form, names, start, RowObjects::Keep)
    }

    fn with(form: Form, names: &[&str], start: Start, rows: RowObjects) -> Self {
        let names: BTreeSet<_> = names
            .iter()
            .map(|name| Namespace::parse(name).unwrap())
            .collect();
        let view = View {
            media: form.media(),
            keep: Keep::Names(Arc::new(names)),
            rows,
            kind: ObjectKind {
                api_version: "v1".to_owned(),
                kind: "Namespace".to_owned(),
            },
        };
        Self {
            watch: Watch::open(view, start, Memory::default()).unwrap(),
            outbox: Outbox::new(),
            got: Vec::new(),
            positions: Vec::new(),
            parts: Vec::new(),
        }
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        self.watch.on_bytes(bytes, &mut self.outbox)
    }

    fn drain(&mut self) {
        while let Some(outgoing) = self.outbox.pop() {
            self.got.extend_from_slice(outgoing.frame.bytes());
            match outgoing.behind {
                Behind::Whole(at) => self.positions.push(at.0),
                Behind::Part(at) => self.parts.push(at.0),
                Behind::Nothing => {}
            }
        }
    }

    fn expect(&mut self, frames: &[Vec<u8>], positions: &[u128]) {
        self.drain();
        let expected = frames.concat();
        assert_eq!(
            String::from_utf8_lossy(&self.got),
            String::from_utf8_lossy(&expected)
        );
        assert_eq!(self.got, expected);
        assert_eq!(self.positions, positions);
    }
}

#[test]
fn events_of_what_may_be_seen_pass_byte_for_byte_and_give_positions() {
    for form in FORMS {
        let (mine, other) = (
            form.event("ADDED", "oil-dev", 41),
            form.event("MODIFIED", "gas-dev", 42),
        );
        let (gone, mark) = (
            form.event("DELETED", "oil-dev", 43),
            form.event("BOOKMARK", "", 44),
        );
        let stream = [&mine[..], &other, &gone, &mark].concat();
        for size in [1, 7, stream.len()] {
            let mut client = Session::open(form, &["oil-dev"], Start::Changes);
            for chunk in stream.chunks(size) {
                client.bytes(chunk).unwrap();
            }
            client.expect(&[mine.clone(), gone.clone(), mark.clone()], &[41, 43, 44]);
            assert!(!client.outbox.is_over());
        }
    }
}

#[test]
fn the_end_of_the_initial_events_and_errors_pass_even_if_nothing_is_visible() {
    for form in FORMS {
        let error = match form {
            Form::Protobuf => form.expiry(),
            Form::Json | Form::Metadata | Form::Table => {
                b"{\"type\":\"ERROR\",\"object\":{\"kind\":\"Status\",\"metadata\":{},\"code\":410}}\n".to_vec()
            }
        };
        let mut client = Session::open(form, &[], Start::State);
        let stream = [
            &form.event("ADDED", "gas-dev", 41)[..],
            &form.initial_events_end(44),
            &error,
        ]
        .concat();
        client.bytes(&stream).unwrap();
        client.expect(&[form.initial_events_end(44), error], &[44]);
    }
}

#[test]
fn while_the_present_state_is_sent_its_events_are_no_positions() {
    for form in FORMS {
        for settling in ["BOOKMARK", "MODIFIED", "DELETED"] {
            let mut client = Session::open(form, &["a", "b"], Start::State);
            // In the order of keys: whoever resumed at 41 would never see b.
            let state = [form.event("ADDED", "a", 41), form.event("ADDED", "b", 12)];
            let later = [form.event(settling, "a", 50), form.event("ADDED", "b", 51)];
            client
                .bytes(&[state.concat(), later.concat()].concat())
                .unwrap();
            client.expect(&[state, later].concat(), &[50, 51]);
            assert_eq!(client.parts, [41, 12]);
        }
    }
}

#[test]
fn an_event_held_back_still_ends_the_present_state() {
    let mut client = Session::open(Form::Json, &["a"], Start::State);
    client
        .bytes(&Form::Json.event("MODIFIED", "gas", 50))
        .unwrap();
    client.bytes(&Form::Json.event("ADDED", "a", 51)).unwrap();
    client.expect(&[Form::Json.event("ADDED", "a", 51)], &[51]);
}

#[test]
fn losing_a_namespace_stops_its_frames_already_read() {
    for form in FORMS {
        let mut client = Session::open(form, &["oil-dev", "oil-prod"], Start::Changes);
        let first = form.event("ADDED", "oil-dev", 40);
        client.bytes(&first).unwrap();
        client.drain();
        let half = form.event("ADDED", "oil-prod", 42);
        client.bytes(&form.event("ADDED", "oil-prod", 41)).unwrap();
        client.bytes(&half[..half.len() / 2]).unwrap();
        client.watch.on_scope_change(&mut client.outbox);
        client.bytes(&half[half.len() / 2..]).unwrap();
        client.bytes(&form.event("BOOKMARK", "", 43)).unwrap();
        client.watch.on_scope_change(&mut client.outbox);
        client.watch.on_end(End::Upstream, &mut client.outbox);
        assert!(
            !client.outbox.is_over(),
            "{form:?}: the expiry was not handed out yet"
        );
        client.expect(&[first, form.expiry()], &[40]);
        assert!(client.outbox.is_over());
    }
}

#[test]
fn every_other_end_is_clean_and_at_a_frame() {
    for form in FORMS {
        let (whole, half) = (
            form.event("ADDED", "oil-dev", 41),
            form.event("ADDED", "oil-dev", 42),
        );
        for (why, passes) in [
            (End::Upstream, true),
            (End::Drain, true),
            (End::Credential, false),
            (End::Broken, false),
        ] {
            let mut client = Session::open(form, &["oil-dev"], Start::Changes);
            client
                .bytes(&[&whole[..], &half[..half.len() - 2]].concat())
                .unwrap();
            client.watch.on_end(why, &mut client.outbox);
            client.bytes(&half[half.len() - 2..]).unwrap();
            if passes {
                client.expect(std::slice::from_ref(&whole), &[41]);
            } else {
                client.expect(&[], &[]);
            }
            assert!(client.outbox.is_over(), "{form:?} {why:?}");
        }
    }
}

#[test]
fn a_last_document_without_its_newline_is_whole() {
    let event = Form::Json.event("ADDED", "oil-dev", 41);
    for (name, got) in [("oil-dev", true), ("gas-dev", false)] {
        let mut client = Session::open(Form::Json, &[name], Start::Changes);
        client.bytes(&event[..event.len() - 1]).unwrap();
        client.watch.on_end(End::Upstream, &mut client.outbox);
        client.drain();
        assert_eq!(!client.got.is_empty(), got);
        assert!(client.outbox.is_over());
    }
}

#[test]
fn what_cannot_be_read_ends_the_watch_behind_the_last_good_frame() {
    for form in FORMS {
        let good = form.event("ADDED", "oil-dev", 41);
        let bad: &[u8] = match form {
            Form::Protobuf => b"\0\0\0\x02\x0a\x09",
            Form::Json | Form::Metadata | Form::Table => {
                b"{\"type\":\"ADDED\",\"type\":\"BOOKMARK\",\"object\":{}}\n"
            }
        };
        let mut client = Session::open(form, &["oil-dev"], Start::Changes);
        assert!(client.bytes(&[&good[..], bad, &good].concat()).is_err());
        client.bytes(&good).unwrap();
        client.expect(&[good], &[41]);
        assert!(client.outbox.is_over());
    }
}

#[test]
fn a_resource_version_that_is_no_number_is_no_position() {
    let event = String::from_utf8(Form::Json.event("ADDED", "oil-dev", 41)).unwrap();
    for other in ["", "0", "041", "4-1", "abc", "-41"] {
        let event = event.replace("\"41\"", &format!("{other:?}")).into_bytes();
        let mut client = Session::open(Form::Json, &["oil-dev"], Start::Changes);
        client.bytes(&event).unwrap();
        client.expect(&[event], &[]);
    }
}

mod tables {
    use super::*;

    const COLUMNS: &str = r#"[{"name":"Name"}]"#;

    fn event(name: &str, at: u64, columns: &str) -> Vec<u8> {
        format!(
            "{{\"type\":\"ADDED\",\"object\":{}}}\n",
            table(name, at, columns)
        )
        .into_bytes()
    }

    #[test]
    fn a_header_held_back_goes_into_the_first_event_that_passes_and_only_there() {
        let mut client = Session::open(Form::Table, &["oil-dev"], Start::Changes);
        let stream = [
            event("gas-dev", 41, COLUMNS),
            event("oil-dev", 42, "null"),
            event("oil-dev", 43, "null"),
        ];
        client.bytes(&stream.concat()).unwrap();
        client.expect(
            &[event("oil-dev", 42, COLUMNS), event("oil-dev", 43, "null")],
            &[42, 43],
        );
    }

    #[test]
    fn a_header_that_passes_is_left_where_it_is() {
        let mut client = Session::open(Form::Table, &["oil-dev"], Start::Changes);
        let stream = [event("oil-dev", 42, COLUMNS), event("oil-dev", 43, "null")];
        client.bytes(&stream.concat()).unwrap();
        client.expect(&stream, &[42, 43]);
        // Held back, then sent natively with another event: once is enough.
        let mut client = Session::open(Form::Table, &["oil-dev"], Start::Changes);
        client.bytes(&event("gas-dev", 41, COLUMNS)).unwrap();
        client.bytes(&stream.concat()).unwrap();
        client.expect(&stream, &[42, 43]);
    }

    #[test]
    fn a_header_is_put_in_where_the_member_is_missing() {
        let without = String::from_utf8(event("oil-dev", 42, "null"))
            .unwrap()
            .replace(r#""columnDefinitions":null,"#, "");
        let mut client = Session::open(Form::Table, &["oil-dev"], Start::Changes);
        client
            .bytes(&[event("gas-dev", 41, COLUMNS), without.clone().into_bytes()].concat())
            .unwrap();
        let with = without.replace(
            r#"{"kind":"Table""#,
            &format!(r#"{{"columnDefinitions":{COLUMNS},"kind":"Table""#),
        );
        client.expect(&[with.into_bytes()], &[42]);
    }

    #[test]
    fn row_objects_are_stripped_but_for_the_end_of_the_initial_events() {
        let stripped = |event: &[u8]| {
            let text = String::from_utf8(event.to_vec()).unwrap();
            let (before, _) = text.rsplit_once(r#""object":{"#).unwrap();
            format!("{before}\"object\":null}}]}}}}\n").into_bytes()
        };
        let mut client = Session::with(Form::Table, &["oil-dev"], Start::State, RowObjects::Strip);
        let end = Form::Table.initial_events_end(44);
        let mark = Form::Table.event("BOOKMARK", "", 45);
        client
            .bytes(
                &[
                    event("gas-dev", 41, COLUMNS),
                    event("oil-dev", 42, "null"),
                    end.clone(),
                    mark.clone(),
                ]
                .concat(),
            )
            .unwrap();
        client.expect(
            &[
                stripped(&event("oil-dev", 42, COLUMNS)),
                end,
                stripped(&mark),
            ],
            &[44, 45],
        );
    }

    #[test]
    fn a_row_without_object_is_nobodys() {
        let mut client = Session::open(Form::Table, &["oil-dev"], Start::Changes);
        client
            .bytes(b"{\"type\":\"ADDED\",\"object\":{\"kind\":\"Table\",\"rows\":[{\"cells\":[\"oil-dev\"],\"object\":null}]}}\n")
            .unwrap();
        client.expect(&[], &[]);
    }
}

#[derive(Clone, Debug)]
enum Happening {
    Event(usize, usize),
    Handed,
    ScopeChange,
    Ended(usize),
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        8 => (0_usize..5, 0_usize..3).prop_map(|(kind, name)| Happening::Event(kind, name)),
        3 => Just(Happening::Handed),
        1 => Just(Happening::ScopeChange),
        1 => (0_usize..3).prop_map(Happening::Ended),
    ]
}

proptest! {
    /// Against the trivial model: a client has what was visible and handed out before the end, and then the expiry or
    /// nothing, whatever else is pushed.
    #[test]
    fn a_client_gets_whole_visible_frames_up_to_the_end(
        happenings in prop::collection::vec(happening(), 0..30),
        form in prop::sample::select(&FORMS[..]),
        size in 1_usize..200,
    ) {
        let mut client = Session::open(form, &["a", "b"], Start::Changes);
        let (mut handed, mut waiting, mut over) = (Vec::new(), Vec::new(), false);
        for (at, happening) in (100..).zip(happenings) {
            match happening {
                Happening::Event(kind, name) => {
                    let kind = ["ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ADDED"][kind];
                    let name = ["a", "b", "gas"][name];
                    let event = form.event(kind, name, at);
                    for chunk in event.chunks(size) {
                        client.bytes(chunk).unwrap();
                    }
                    if !over && (name != "gas" || kind == "BOOKMARK") {
                        waiting.push(event);
                    }
                }
                Happening::Handed => {
                    client.drain();
                    handed.append(&mut waiting);
                }
                Happening::ScopeChange => {
                    client.watch.on_scope_change(&mut client.outbox);
                    // What waits before a clean end does not leave either.
                    if !std::mem::replace(&mut over, true) || !waiting.is_empty() {
                        waiting = vec![form.expiry()];
                    }
                }
                Happening::Ended(why) => {
                    let why = [End::Upstream, End::Drain, End::Credential][why];
                    client.watch.on_end(why, &mut client.outbox);
                    over = true;
                    // Not even what was left of a watch that had ended.
                    if why == End::Credential {
                        waiting.clear();
                    }
                }
            }
        }
        client.drain();
        handed.append(&mut waiting);
        prop_assert_eq!(client.got, handed.concat());
        prop_assert_eq!(client.outbox.is_over(), over);
    }
}
