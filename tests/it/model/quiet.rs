//! Quiet points: nothing changes, and every store must come to equal what the administrator lists and the oracle lets
//! through. It is the only judge of what somebody may see, and shares no code with the proxy.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use serde_json::Value;
use serde_json::json;

use super::Model;
use super::store::Objects;
use super::store::difference;
use crate::harness::world::World;
use crate::random::cluster::Cluster;
use crate::random::cluster::Kind;
use crate::random::cluster::key;
use crate::random::may;
use crate::random::oracle::Expected;
use crate::random::oracle::Sight;
use crate::random::rights;

/// By person and kind, what may be held.
type Right = BTreeMap<(usize, &'static str), Expectation>;

/// What clients of one person who follow one kind may hold.
enum Expectation {
    /// A list of it is refused, and who holds something keeps it, as behind the API server itself. Or: he saw all himself,
    /// and no longer may. The API server judges a watch when it begins, and nothing tells of ClusterRoleBindings: what is
    /// open goes on.
    Anything,
    This(Objects),
}

impl Expectation {
    /// How `held` differs from it, if it does.
    fn difference(&self, held: &Objects) -> Option<String> {
        match self {
            Self::Anything => None,
            Self::This(objects) => difference(held, objects),
        }
    }

    /// Something that is held in any case.
    fn first(&self) -> Option<&String> {
        match self {
            Self::Anything => None,
            Self::This(objects) => objects.keys().next(),
        }
    }
}

/// How the world is now.
struct Now {
    right: Right,
    /// By person, the namespaces that scopes should show; none of whom the proxy leaves alone.
    sights: BTreeMap<usize, BTreeSet<String>>,
}

impl Model {
    /// Everything that differs from what it should be now.
    pub(super) async fn differences(&self) -> Vec<String> {
        let now = self.now().await;
        let mut differences = Vec::new();
        for follower in &self.followers {
            let right = &now.right[&(follower.person, follower.kind.plural)];
            if let Some(difference) = right.difference(&follower.store.objects()) {
                differences.push(format!("{}: {difference}", follower.name));
            }
            self.ledger.comparisons.one_more();
        }
        for (person, sight) in &now.sights {
            let shown = self.people[*person].sights.namespaces();
            for (replica, shown) in shown
                .iter()
                .enumerate()
                .filter(|(_, shown)| *shown != sight)
            {
                let name = &self.people[*person].who.name;
                differences.push(format!(
                    "replica {replica} shows {name} {shown:?}, not {sight:?}"
                ));
            }
        }
        differences
    }

    /// Changes one object that clients should hold of each kind of each person: what they are still to be told comes
    /// before that.
    pub(super) async fn mark(&self) {
        let now = self.now().await;
        let mut marked = BTreeSet::new();
        for ((_, plural), right) in &now.right {
            marked.extend(right.first().map(|key| path_of(Kind::of(plural), key)));
        }
        let patch = note("quiet", self.turn);
        for path in marked {
            // A namespace may just be going away.
            let _gone = self.world.try_merge(&path, &patch).await;
        }
    }

    async fn now(&self) -> Now {
        let cluster = Cluster::now(self.world).await;
        let (mut right, mut sights) = (Right::new(), BTreeMap::new());
        for follower in &self.followers {
            let (person, kind) = (follower.person, follower.kind);
            if right.contains_key(&(person, kind.plural)) {
                continue;
            }
            let expected = self.expected(&cluster, person, kind).await;
            right.insert((person, kind.plural), expected);
        }
        for (person, watched) in self.people.iter().enumerate() {
            let sight = Sight::of(&cluster, &watched.who, true);
            if !sight.is_left_alone() {
                sights.insert(person, sight.namespaces);
            }
        }
        Now { right, sights }
    }

    async fn expected(&self, cluster: &Cluster, person: usize, kind: &Kind) -> Expectation {
        let who = &self.people[person].who;
        let lists = may(self.world, who, "list", kind, "").await;
        let rights = rights(self.world, who, kind, lists, cluster).await;
        let all = || cluster.all(kind.plural).iter();
        let these = |keys: BTreeSet<String>| -> Objects {
            let shown = all().filter(|object| keys.contains(&key(object)));
            shown.map(with_version).collect()
        };
        let sight = Sight::of(cluster, who, true);
        let key = (person, kind.plural);
        let mut saw_all = self.saw_all.lock().unwrap();
        if rights.lists && rights.watches {
            saw_all.insert(key);
        } else if saw_all.contains(&key) {
            return Expectation::Anything;
        }
        drop(saw_all);
        match sight.expects(kind, &rights) {
            Expected::These(keys) => Expectation::This(these(keys)),
            Expected::HisOwn if rights.lists && rights.watches => {
                Expectation::This(all().map(with_version).collect())
            }
            Expected::HisOwn => Expectation::Anything,
        }
    }
}

fn with_version(object: &Value) -> (String, String) {
    let version = object["metadata"]["resourceVersion"].as_str().unwrap();
    (key(object), version.to_owned())
}

/// Where the object of this key is.
pub(super) fn path_of(kind: &Kind, key: &str) -> String {
    match key.split_once('/') {
        Some((namespace, name)) => {
            format!("/api/v1/namespaces/{namespace}/{}/{name}", kind.plural)
        }
        None => format!("{}/{key}", kind.path()),
    }
}

/// A patch that changes nothing that counts.
pub(super) fn note(what: &str, number: usize) -> Value {
    json!({"metadata": {"annotations": {format!("it.example.com/{what}"): number.to_string()}}})
}

/// Whether somebody sees all of `kind` himself, so that no scope of his says what he may be given.
pub(super) async fn sees_all(
    world: &'static World,
    who: &crate::random::cluster::Person,
    kind: &Kind,
) -> bool {
    may(world, who, "list", kind, "").await && may(world, who, "watch", kind, "").await
}
