//! How fast bytes go through the scanners and the list filter, one core, as a table.
//! Ratios are the measure, such as the filter against `memcpy` and against parsing with `serde_json` in the same run.
//! Arguments choose rows by words in their names: `cargo bench --bench scanners -- nodes Table`.

#![allow(clippy::print_stdout, reason = "a benchmark prints its table")]
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
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
use kube_tenant_proxy::k8s::label_selector::LabelSelector;
use kube_tenant_proxy::k8s::media::Encoding;
use kube_tenant_proxy::k8s::media::Media;
use kube_tenant_proxy::k8s::media::Shape;
use kube_tenant_proxy::k8s::media::TableVersion;
use kube_tenant_proxy::k8s::names::Namespace;
use kube_tenant_proxy::k8s::names::ObjectName;
use kube_tenant_proxy::policy::Keep;
use kube_tenant_proxy::tenancy::grant::Objects;
use kube_tenant_proxy::wire::json::Scanner;
use kube_tenant_proxy::wire::protobuf;
use kube_tenant_proxy::wire::protobuf::field;
use serde_json::Value;
use serde_json::json;

/// What one read from a connection brings.
const CHUNK: usize = 16 << 10;
const ITEMS: usize = 5_000;
const JSON: Media = Media {
    encoding: Encoding::Json,
    shape: Shape::Object,
};
const TABLE: Media = Media {
    encoding: Encoding::Json,
    shape: Shape::Table(TableVersion::V1),
};
const PROTOBUF: Media = Media {
    encoding: Encoding::Protobuf,
    shape: Shape::Object,
};

fn main() {
    let (json, protobuf) = (json_list(), protobuf_list());
    println!("{:<52} {:>8} {:>8}", "work", "MB", "GB/s");
    row("copy (JSON)", &json, copy);
    row("serde_json to Value", &json, |input| {
        black_box(serde_json::from_slice::<Value>(input).expect("JSON"));
    });
    row("scan, outer level only", &json, scan);
    row("filter JSON, all kept", &json, |input| {
        filter(JSON, &Keep::Everything, input)
    });
    for (name, step) in [("none", ITEMS + 1), ("1 of 100", 100), ("all by name", 1)] {
        let keep = names(step);
        row(&format!("filter JSON, {name} kept"), &json, |input| {
            filter(JSON, &keep, input)
        });
        row(
            &format!("filter protobuf, {name} kept"),
            &protobuf,
            |input| filter(PROTOBUF, &keep, input),
        );
    }
    row("filter protobuf, all kept", &protobuf, |input| {
        filter(PROTOBUF, &Keep::Everything, input)
    });
    by_rules("nodes", &(0..2_000).map(node).collect::<Vec<_>>());
    by_rules(
        "storage classes",
        &(0..20_000).map(class).collect::<Vec<_>>(),
    );
}

/// Filtering by what rules say, names or labels. Every hundredth object is in `group=7`, all are of `kind=any`.
fn by_rules(kind: &str, objects: &[Value]) {
    let json = object_list(objects);
    row(
        &format!("{kind} ({} bytes each): copy", json.len() / objects.len()),
        &json,
        copy,
    );
    row(&format!("{kind}: serde_json to Value"), &json, |input| {
        black_box(serde_json::from_slice::<Value>(input).expect("JSON"));
    });
    for (form, media, list) in [
        ("JSON", JSON, json),
        ("Table", TABLE, table(objects)),
        ("protobuf", PROTOBUF, object_list_in_protobuf(objects)),
    ] {
        for (part, step, selector) in [("1 of 100", 100, "group=7"), ("all", 1, "kind=any")] {
            let names: BTreeSet<ObjectName> = objects
                .iter()
                .skip(7 % step)
                .step_by(step)
                .map(|object| ObjectName::parse(name_of(object)).expect("a name"))
                .collect();
            let selector = LabelSelector::parse(selector).expect("a selector");
            // One selector alone would be pushed down: it is what rules say besides that makes a list be filtered.
            let one = names.first().cloned().into_iter().collect();
            let by_label = [Objects::Named(one), Objects::Labelled(selector)];
            for (how, keep) in [
                ("name", Keep::Objects(Arc::new(names))),
                ("label", Keep::Any(by_label.into())),
            ] {
                row(
                    &format!("{kind}: {form}, by {how}, {part} kept"),
                    &list,
                    |input| filter(media, &keep, input),
                );
            }
        }
    }
}

/// The best of several runs: what the code can do, not what the neighbours leave.
fn row(name: &str, input: &[u8], work: impl Fn(&[u8])) {
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| word != "--bench")
        .collect();
    if !wanted.iter().all(|word| name.contains(word)) {
        return;
    }
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
        "{name:<52} {megabytes:>8.1} {:>8.2}",
        megabytes / 1e3 / best.as_secs_f64()
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

fn filter(media: Media, keep: &Keep, input: &[u8]) {
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
    let items = (0..ITEMS).map(|index| {
        let managed = [b'x'; 500];
        let meta = message(&[
            (1, name(index).as_bytes()),
            (5, b"8c2a0a2e"),
            (6, b"41"),
            (17, &managed),
        ]);
        message(&[(1, &meta), (2, b"spec"), (3, b"status")])
    });
    in_protobuf(b"NamespaceList", items)
}

/// A list with an envelope, as the API server sends it.
fn in_protobuf(kind: &[u8], items: impl Iterator<Item = Vec<u8>>) -> Vec<u8> {
    let mut content = message(&[(1, &message(&[(2, b"41")]))]);
    for item in items {
        protobuf::put(field::list::ITEMS, &item, &mut content);
    }
    let type_meta = message(&[(1, b"v1"), (2, kind)]);
    [
        protobuf::MAGIC,
        &message(&[(1, &type_meta), (2, &content), (3, b""), (4, b"")]),
    ]
    .concat()
}

fn message(fields: &[(u32, &[u8])]) -> Vec<u8> {
    let mut message = Vec::new();
    for (number, content) in fields {
        protobuf::put(*number, content, &mut message);
    }
    message
}

/// A node as its kubelet writes it: conditions, images, managed fields and all.
fn node(index: usize) -> Value {
    let name = format!("aks-pool{}-28473921-vmss{index:06}", index % 100);
    let time = "2025-06-01T10:00:00Z";
    let condition = |kind: &str, status: &str, reason: &str, message: &str| {
        json!({
            "type": kind, "status": status, "lastHeartbeatTime": time, "lastTransitionTime": time,
            "reason": reason, "message": message,
        })
    };
    let images: Vec<Value> = (0..20)
        .map(|image| {
            let path = format!("registry.example.com/team-{}/service-{image}", index % 7);
            json!({
                "names": [format!("{path}@sha256:{index:032x}{image:032x}"), format!("{path}:v1.{image}.0")],
                "sizeBytes": 71_234_567 + image * 1_000,
            })
        })
        .collect();
    let resources = json!({
        "cpu": "7820m", "ephemeral-storage": "119703055367", "hugepages-1Gi": "0", "hugepages-2Mi": "0",
        "memory": "27583500Ki", "pods": "110",
    });
    let status = json!({
        "addresses": [{"type": "InternalIP", "address": "10.224.0.4"}, {"type": "Hostname", "address": name}],
        "allocatable": resources, "capacity": resources,
        "conditions": [
            condition("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
            condition("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
            condition("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
            condition("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
        ],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
        "images": images,
        "nodeInfo": {
            "architecture": "amd64", "bootID": "d1b0b6f2-6f3e-4f0e-9d5c-0d9c7e0b2a11",
            "containerRuntimeVersion": "containerd://1.7.27-1", "kernelVersion": "5.15.0-1090-azure",
            "kubeProxyVersion": "v1.37.0", "kubeletVersion": "v1.37.0", "machineID": "2c8f1e8f2a3b4c5d6e7f8091a2b3c4d5",
            "operatingSystem": "linux", "osImage": "Ubuntu 22.04.5 LTS", "systemUUID": "7a1e8a9b-2c3d-4e5f-8a9b-0c1d2e3f4a5b",
        },
    });
    let metadata = json!({
        "name": name, "uid": format!("8c2a0a2e-7d0f-4a55-9f8c-{index:012}"), "resourceVersion": "184467",
        "creationTimestamp": time,
        "labels": {
            "agentpool": "pool", "beta.kubernetes.io/arch": "amd64", "beta.kubernetes.io/os": "linux",
            "failure-domain.beta.kubernetes.io/region": "westeurope", "group": format!("{}", index % 100), "kind": "any",
            "kubernetes.azure.com/agentpool": "pool", "kubernetes.azure.com/cluster": "MC_group_cluster_westeurope",
            "kubernetes.azure.com/mode": "user", "kubernetes.azure.com/node-image-version": "AKSUbuntu-2204gen2containerd-202506.01.0",
            "kubernetes.azure.com/os-sku": "Ubuntu", "kubernetes.azure.com/role": "agent", "kubernetes.io/arch": "amd64",
            "kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "node.kubernetes.io/instance-type": "Standard_D8s_v5",
            "topology.kubernetes.io/region": "westeurope", "topology.kubernetes.io/zone": "westeurope-1",
        },
        "annotations": {
            "csi.volume.kubernetes.io/nodeid": format!("{{\"disk.csi.azure.com\":\"{name}\",\"file.csi.azure.com\":\"{name}\"}}"),
            "node.alpha.kubernetes.io/ttl": "0", "volumes.kubernetes.io/controller-managed-attach-detach": "true",
        },
    });
    let spec = json!({
        "podCIDR": "10.244.7.0/24", "podCIDRs": ["10.244.7.0/24"],
        "providerID": format!("azure:///subscriptions/6f1c/resourceGroups/mc_group/providers/Microsoft.Compute/virtualMachineScaleSets/pool/virtualMachines/{index}"),
    });
    let parts = json!({"spec": spec, "status": status});
    object(metadata, parts)
}

/// A StorageClass, which is little more than its metadata.
fn class(index: usize) -> Value {
    let metadata = json!({
        "name": format!("disk-{index}"), "uid": format!("8c2a0a2e-7d0f-4a55-9f8c-{index:012}"), "resourceVersion": "184467",
        "creationTimestamp": "2025-06-01T10:00:00Z",
        "labels": {"group": format!("{}", index % 100), "kind": "any"},
    });
    object(
        metadata,
        json!({"provisioner": "disk.csi.azure.com", "volumeBindingMode": "WaitForFirstConsumer"}),
    )
}

/// An object of these parts, whose managed fields name all of them.
fn object(mut metadata: Value, parts: Value) -> Value {
    let mut fields = managed(&parts);
    fields["f:metadata"] = json!({
        "f:labels": managed(&metadata["labels"]), "f:annotations": managed(&metadata["annotations"]),
    });
    metadata["managedFields"] = json!([{
        "manager": "kubelet", "operation": "Update", "apiVersion": "v1", "time": "2025-06-01T10:00:00Z",
        "fieldsType": "FieldsV1", "fieldsV1": fields,
    }]);
    let mut object = parts;
    object["metadata"] = metadata;
    object
}

/// `fieldsV1` of a value.
fn managed(value: &Value) -> Value {
    match value {
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| (format!("f:{name}"), managed(value)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        Value::Array(items) => items
            .iter()
            .filter_map(|item| {
                Some((
                    format!("k:{{\"type\":{}}}", item.get("type")?),
                    managed(item),
                ))
            })
            .collect::<serde_json::Map<_, _>>()
            .into(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => json!({}),
    }
}

fn name_of(object: &Value) -> &str {
    object["metadata"]["name"].as_str().expect("a name")
}

fn object_list(objects: &[Value]) -> Vec<u8> {
    in_json(r#""kind":"List","apiVersion":"v1""#, "items", objects)
}

/// Rows with cells as kubectl shows them, and the metadata of each object.
fn table(objects: &[Value]) -> Vec<u8> {
    let rows: Vec<Value> = objects
        .iter()
        .map(|object| {
            let metadata = &object["metadata"];
            json!({
                "cells": [metadata["name"], "Ready", "<none>", "12d", "v1.37.0", "10.224.0.4", "Ubuntu 22.04.5 LTS"],
                "object": {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata},
            })
        })
        .collect();
    in_json(
        r#""kind":"Table","apiVersion":"meta.k8s.io/v1","columnDefinitions":[]"#,
        "rows",
        &rows,
    )
}

/// A list whose members stand in the order of the API server's.
fn in_json(head: &str, member: &str, items: &[Value]) -> Vec<u8> {
    let items: Vec<String> = items.iter().map(Value::to_string).collect();
    let items = items.join(",");
    format!(r#"{{{head},"metadata":{{"resourceVersion":"41"}},"{member}":[{items}]}}"#).into_bytes()
}

/// The same objects, of the same order of size. What the filter does not read is there as the bytes of its JSON.
fn object_list_in_protobuf(objects: &[Value]) -> Vec<u8> {
    let items = objects.iter().map(|object| {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let metadata = &object["metadata"];
        let mut meta = message(&[
            (field::object_meta::NAME, text(&metadata["name"]).as_bytes()),
            (field::object_meta::UID, text(&metadata["uid"]).as_bytes()),
            (field::object_meta::RESOURCE_VERSION, b"184467"),
        ]);
        for (number, map) in [
            (field::object_meta::LABELS, "labels"),
            (field::object_meta::ANNOTATIONS, "annotations"),
        ] {
            for (key, value) in metadata[map].as_object().into_iter().flatten() {
                let entry = message(&[(1, key.as_bytes()), (2, text(value).as_bytes())]);
                protobuf::put(number, &entry, &mut meta);
            }
        }
        protobuf::put(
            17,
            metadata["managedFields"].to_string().as_bytes(),
            &mut meta,
        );
        let part = |name| object[name].to_string();
        message(&[
            (field::object::METADATA, &meta),
            (2, part("spec").as_bytes()),
            (3, part("status").as_bytes()),
        ])
    });
    in_protobuf(b"NodeList", items)
}
