//! One feed per source, as the reader, into one writer. What objects mean is `facts`' business, whom they concern the
//! registry's.
//!
//! kube's own `watcher` is not used: it swallows bookmarks and quiet restarts, which are the only signs of life of a
//! source in which nothing happens.

mod feed;
mod log;

use std::fmt::Debug;

use futures_util::future::BoxFuture;
use futures_util::future::FutureExt;
use futures_util::future::join_all;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::Api;
use kube::Resource;
use kube::api::ApiResource;
use kube::api::DynamicObject;
use kube::core::PartialObjectMeta;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

use self::feed::Feed;
use self::feed::Message;
use super::event::Source;
use super::facts;
use super::facts::Fact;
use super::facts::Key;
use super::facts::Reading;
use super::registry::Tenancy;
use crate::ready::ReadyHandle;

/// Messages waiting for the writer. When it is full, the feeds wait, and their watches are held by flow control.
const WAITING: usize = 1024;

/// Follows the sources that `handles` name, for ever.
pub(super) async fn follow(
    tenancy: &Tenancy,
    client: kube::Client,
    handles: Vec<(Source, ReadyHandle)>,
) {
    let (out, inbox) = mpsc::channel(WAITING);
    let feeds = handles
        .into_iter()
        .map(|(source, ready)| feed(tenancy, client.clone(), source, ready, out.clone()));
    let feeds: Vec<BoxFuture<'_, ()>> = feeds.collect();
    drop(out);
    futures_util::join!(join_all(feeds), write(tenancy, inbox));
}

/// The one writer: takes whatever is waiting as one step, so that a storm of events is matched against the identities
/// present once per batch, however many groups somebody's RoleBindings name.
async fn write(tenancy: &Tenancy, mut inbox: mpsc::Receiver<Message>) {
    let mut batch = Vec::new();
    while inbox.recv_many(&mut batch, WAITING).await > 0 {
        let (events, ready): (Vec<_>, Vec<_>) = batch
            .drain(..)
            .map(|message| (message.event, message.ready))
            .unzip();
        tenancy.apply(events);
        drop(ready);
    }
}

/// How the objects of a source are had and read.
struct Kind<K> {
    /// In the versions that may be served, the preferred one first.
    apis: Vec<Api<K>>,
    fields: Option<String>,
    read: fn(&K) -> Reading<Fact>,
    key: fn(&K) -> Option<Key>,
}

fn feed<'a>(
    tenancy: &'a Tenancy,
    client: kube::Client,
    source: Source,
    ready: ReadyHandle,
    out: mpsc::Sender<Message>,
) -> BoxFuture<'a, ()> {
    fn of<'a, K>(
        kind: Kind<K>,
        tenancy: &'a Tenancy,
        source: Source,
        ready: ReadyHandle,
        out: mpsc::Sender<Message>,
    ) -> BoxFuture<'a, ()>
    where
        K: Resource + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
    {
        let feed = Feed {
            source,
            apis: kind.apis,
            fields: kind.fields,
            read: kind.read,
            key: kind.key,
            sources: tenancy.sources(),
            pulse: tenancy.settings().pulse,
            out,
        };
        feed.run(ready).boxed()
    }
    match source {
        Source::Tenants => {
            let kind = Kind {
                // v1beta2 is stored; v1beta1 is what an older operator serves.
                apis: ["v1beta2", "v1beta1"]
                    .map(|version| capsule(&client, version, "Tenant", "tenants"))
                    .into(),
                fields: None,
                read: |object| facts::tenant(object).map(Fact::Tenant),
                key: facts::tenant_key,
            };
            of(kind, tenancy, source, ready, out)
        }
        Source::Namespaces => {
            let kind = Kind {
                apis: vec![Api::<PartialObjectMeta<Namespace>>::all(client)],
                fields: None,
                read: |object| facts::namespace(object).map(Fact::Namespace),
                key: facts::namespace_key,
            };
            of(kind, tenancy, source, ready, out)
        }
        Source::RoleBindings => {
            let kind = Kind {
                apis: vec![Api::<RoleBinding>::all(client)],
                fields: None,
                read: |object| facts::binding(object).map(Fact::Binding),
                key: facts::binding_key,
            };
            of(kind, tenancy, source, ready, out)
        }
        Source::Configuration => {
            let (name, plural) = ("CapsuleConfiguration", "capsuleconfigurations");
            let followed = &tenancy.settings().configuration_name;
            let kind = Kind {
                apis: vec![capsule(&client, "v1beta2", name, plural)],
                fields: Some(format!("metadata.name={followed}")),
                read: |object| facts::configuration(object).map(Fact::Configuration),
                key: |_| Some(Key::Configuration),
            };
            of(kind, tenancy, source, ready, out)
        }
        Source::Settings => {
            let kind = Kind {
                apis: vec![capsule(&client, "v1beta1", "ProxySetting", "proxysettings")],
                fields: None,
                read: |object| facts::setting(object).map(Fact::Setting),
                key: facts::setting_key,
            };
            of(kind, tenancy, source, ready, out)
        }
        Source::Globals => {
            let (name, plural) = ("GlobalProxySettings", "globalproxysettings");
            let kind = Kind {
                apis: vec![capsule(&client, "v1beta1", name, plural)],
                fields: None,
                read: |object| facts::global(object).map(Fact::Global),
                key: facts::global_key,
            };
            of(kind, tenancy, source, ready, out)
        }
    }
}

fn capsule(client: &kube::Client, version: &str, kind: &str, plural: &str) -> Api<DynamicObject> {
    let resource = ApiResource {
        group: facts::CAPSULE.to_owned(),
        version: version.to_owned(),
        api_version: format!("{}/{version}", facts::CAPSULE),
        kind: kind.to_owned(),
        plural: plural.to_owned(),
    };
    Api::all_with(client.clone(), &resource)
}

#[cfg(test)]
mod tests;
