//! How fast bytes go through the scanners and the list filter, one core, as a table.
//! Ratios are the measure, such as the filter against `memcpy` and against parsing with `serde_json` in the same run.

#![allow(clippy::print_stdout, reason = "a benchmark prints its table")]
#![allow(
    clippy::expect_used,
    reason = "a benchmark stops where its input is wrong"
)]

use std::collections::BTreeSet;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use bytes::BytesMut;
use kube_tenant_proxy::filter::ListFilter;
use kube_tenant_proxy::filter::RowObjects;
use kube_tenant_proxy::k8s::media::Encoding;
use kube_tenant_proxy::k8s::media::Media;
use kube_tenant_proxy::k8s::media::Shape;
use kube_tenant_proxy::k8s::names::Namespace;
use kube_tenant_proxy::policy::Keep;
use kube_tenant_proxy::wire::json::Scanner;
use kube_tenant_proxy::wire::protobuf;

/// What one read from a connection brings.
const CHUNK: usize = 16 << 10;
const ITEMS: usize = 5_000;

fn main() {
    let (json, protobuf) = (json_list(), protobuf_list());
    println!("{:<44} {:>8} {:>10}", "work", "MB", "MB/s");
    row("copy (JSON)", &json, copy);
    row("serde_json to Value", &json, |input| {
        black_box(serde_json::from_slice::<serde_json::Value>(input).expect("JSON"));
    });
    row("scan, outer level only", &json, scan);
    row("filter JSON, all kept", &json, |input| {
        filter(Encoding::Json, &Keep::Everything, input)
    });
    for (name, step) in [("none", ITEMS + 1), ("1 of 100", 100), ("all by name", 1)] {
        let keep = names(step);
        row(&format!("filter JSON, {name} kept"), &json, |input| {
            filter(Encoding::Json, &keep, input)
        });
        row(
            &format!("filter protobuf, {name} kept"),
            &protobuf,
            |input| filter(Encoding::Protobuf, &keep, input),
        );
    }
    row("filter protobuf, all kept", &protobuf, |input| {
        filter(Encoding::Protobuf, &Keep::Everything, input)
    });
}

/// The best of several runs: what the code can do, not what the neighbours leave.
fn row(name: &str, input: &[u8], work: impl Fn(&[u8])) {
    let best = (0..15)
        .map(|_| {
            let start = Instant::now();
            work(black_box(input));
            start.elapsed()
        })
        .min()
        .unwrap_or(Duration::MAX);
    let megabytes = input.len() as f64 / 1e6;
    println!(
        "{name:<44} {megabytes:>8.1} {:>10.0}",
        megabytes / best.as_secs_f64()
    );
}

fn copy(input: &[u8]) {
    let mut out = BytesMut::new();
    for chunk in input.chunks(CHUNK) {
        out.clear();
        out.extend_from_slice(chunk);
        black_box(&out);
    }
}

fn scan(input: &[u8]) {
    let mut scanner = Scanner::new();
    for mut chunk in input.chunks(CHUNK) {
        while scanner.step(&mut chunk).expect("JSON").token.is_some() {}
    }
    assert!(scanner.is_done(), "the list is whole");
}

fn filter(encoding: Encoding, keep: &Keep, input: &[u8]) {
    let media = Media {
        encoding,
        shape: Shape::Object,
    };
    let mut filter =
        ListFilter::new(media, keep.clone(), RowObjects::Keep).expect("an encoding we read");
    let mut out = BytesMut::new();
    for chunk in input.chunks(CHUNK) {
        filter.push(chunk, &mut out).expect("a list");
        black_box(&out);
        out.clear();
    }
    black_box(filter.finish(&mut out).expect("a whole list"));
}

fn name(index: usize) -> String {
    format!("tenant-{}-namespace-{index}", index / 10)
}

fn names(step: usize) -> Keep {
    let names: BTreeSet<_> = (step / 2..ITEMS)
        .step_by(step)
        .filter_map(|index| Namespace::parse(&name(index)).ok())
        .collect();
    Keep::Names(Arc::new(names))
}

/// Namespaces as the API server prints them, managed fields and all.
fn json_list() -> Vec<u8> {
    let items: Vec<String> = (0..ITEMS)
        .map(|index| {
            let name = name(index);
            format!(
                concat!(
                    r#"{{"metadata":{{"name":"{name}","uid":"8c2a0a2e-7d0f-4a55-9f8c-{index:012}","resourceVersion":"{index}","creationTimestamp":"2025-06-01T10:00:00Z","#,
                    r#""labels":{{"capsule.clastix.io/tenant":"tenant-{tenant}","kubernetes.io/metadata.name":"{name}","name":"{name}"}},"#,
                    r#""annotations":{{"kubectl.kubernetes.io/last-applied-configuration":"{{\"apiVersion\":\"v1\",\"kind\":\"Namespace\",\"metadata\":{{\"annotations\":{{}},\"name\":\"{name}\"}}}}\n"}},"#,
                    r#""ownerReferences":[{{"apiVersion":"capsule.clastix.io/v1beta2","kind":"Tenant","name":"tenant-{tenant}","uid":"1f0d"}}],"#,
                    r#""managedFields":[{{"manager":"kubectl","operation":"Update","apiVersion":"v1","time":"2025-06-01T10:00:00Z","fieldsType":"FieldsV1","#,
                    r#""fieldsV1":{{"f:metadata":{{"f:labels":{{".":{{}},"f:kubernetes.io/metadata.name":{{}},"f:name":{{}}}},"f:ownerReferences":{{".":{{}},"k:{{\"uid\":\"1f0d\"}}":{{}}}}}}}}}}]}},"#,
                    r#""spec":{{"finalizers":["kubernetes"]}},"status":{{"phase":"Active"}}}}"#
                ),
                name = name,
                index = index,
                tenant = index / 10
            )
        })
        .collect();
    let list = format!(
        r#"{{"kind":"NamespaceList","apiVersion":"v1","metadata":{{"resourceVersion":"41"}},"items":[{}]}}"#,
        items.join(",")
    );
    list.into_bytes()
}

fn protobuf_list() -> Vec<u8> {
    let message = |fields: &[(u32, &[u8])]| {
        let mut message = Vec::new();
        for (number, content) in fields {
            protobuf::put(*number, content, &mut message);
        }
        message
    };
    let mut content = message(&[(1, &message(&[(2, b"41")]))]);
    for index in 0..ITEMS {
        let managed = [b'x'; 500];
        let meta = message(&[
            (1, name(index).as_bytes()),
            (5, b"8c2a0a2e"),
            (6, b"41"),
            (17, &managed),
        ]);
        protobuf::put(
            2,
            &message(&[(1, &meta), (2, b"spec"), (3, b"status")]),
            &mut content,
        );
    }
    let type_meta = message(&[(1, b"v1"), (2, b"NamespaceList")]);
    [
        protobuf::MAGIC,
        &message(&[(1, &type_meta), (2, &content), (3, b""), (4, b"")]),
    ]
    .concat()
}
