//! Lists as clients ask for them, and what came back.

use std::collections::BTreeSet;

use bytes::Bytes;
use http::StatusCode;
use http::header;

use super::cluster::Kind;
use super::cluster::entries;
use super::cluster::key;
use crate::harness::http::Answer;
use crate::harness::http::Caller;
use crate::harness::http::PROTOBUF;

/// How a list is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Json,
    Table,
    Metadata,
    /// As client-go's typed clients do; what has no protobuf comes as JSON.
    Protobuf,
    /// In pages of so many, to the end.
    Pages(usize),
}

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shown {
    These(BTreeSet<String>),
    /// A 403, to the byte.
    Refused(Bytes),
    /// What no list of ours should be.
    Wrong(String),
}

impl Form {
    fn accept(self) -> String {
        const LIST: &str = "g=meta.k8s.io;v=v1,application/json";
        match self {
            Self::Json | Self::Pages(_) => "application/json".to_owned(),
            Self::Table => format!("application/json;as=Table;{LIST}"),
            Self::Metadata => format!("application/json;as=PartialObjectMetadataList;{LIST}"),
            Self::Protobuf => format!("{PROTOBUF},application/json"),
        }
    }

    /// What `caller` is shown of `kind`.
    pub async fn list(self, caller: &Caller, kind: &Kind) -> Shown {
        let caller = caller.clone().accepting(&self.accept());
        let (mut keys, mut token) = (Vec::new(), String::new());
        loop {
            let mut path = kind.path();
            if let Self::Pages(limit) = self {
                path = format!("{path}?limit={limit}");
                if !token.is_empty() {
                    path = format!("{path}&continue={token}");
                }
            }
            let answer = caller.get(&path).await;
            match answer.status {
                StatusCode::OK => {}
                StatusCode::FORBIDDEN if token.is_empty() => return Shown::Refused(answer.body),
                status => return Shown::Wrong(format!("{status}: {}", answer.text())),
            }
            match page(&answer, &mut keys) {
                None => return Shown::Wrong(answer.text()),
                Some(next) if next.is_empty() => break,
                Some(next) => token = next,
            }
        }
        let set: BTreeSet<String> = keys.iter().cloned().collect();
        if set.len() == keys.len() {
            Shown::These(set)
        } else {
            Shown::Wrong(format!("something came twice: {keys:?}"))
        }
    }
}

/// Adds the keys of a page; the token of the next one, empty at the end.
fn page(answer: &Answer, keys: &mut Vec<String>) -> Option<String> {
    if answer.headers[header::CONTENT_TYPE] == PROTOBUF {
        keys.extend(protobuf_keys(&answer.body)?);
        return Some(String::new());
    }
    let list = answer.json();
    let (items, rows) = (list.get("items"), list.get("rows"));
    match (items, rows) {
        // An empty list of metadata says `null`.
        (Some(items), None) => keys.extend(entries(items).iter().map(key)),
        (None, Some(rows)) => keys.extend(entries(rows).iter().map(|row| key(&row["object"]))),
        _ => return None,
    }
    let token = list["metadata"]["continue"].as_str();
    Some(token.unwrap_or_default().to_owned())
}

/// Keys of a typed list: `k8s\0`, then an `Unknown` whose field 2 is the list, whose field 2 are the items, whose field 1
/// is the metadata with name (1) and namespace (3).
fn protobuf_keys(body: &[u8]) -> Option<Vec<String>> {
    let list = fields(body.strip_prefix(b"k8s\0")?, 2)?;
    let items = fields(list.first()?, 2)?;
    let key = |item: &&[u8]| {
        let metadata = fields(item, 1)?.first().copied()?;
        let text = |number| {
            let field = fields(metadata, number)?.first().copied();
            String::from_utf8(field.unwrap_or_default().to_vec()).ok()
        };
        let (name, namespace) = (text(1)?, text(3)?);
        Some(if namespace.is_empty() {
            name
        } else {
            format!("{namespace}/{name}")
        })
    };
    items.iter().map(key).collect()
}

/// The contents of the fields of this number, which are all of variable length.
fn fields(mut message: &[u8], wanted: u64) -> Option<Vec<&[u8]>> {
    let mut found = Vec::new();
    while !message.is_empty() {
        let tag = varint(&mut message)?;
        match tag & 7 {
            0 => drop(varint(&mut message)?),
            2 => {
                let length = usize::try_from(varint(&mut message)?).ok()?;
                let (field, rest) = message.split_at_checked(length)?;
                message = rest;
                if tag >> 3 == wanted {
                    found.push(field);
                }
            }
            _ => return None,
        }
    }
    Some(found)
}

fn varint(message: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = message.split_first()?;
        *message = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}
