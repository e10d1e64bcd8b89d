//! A world made up by dice, and changed by dice: every list that anybody is shown is what Tenants, bindings and rules give
//! him, and nothing else. What that is says `oracle.rs`; it is the specification.
//!
//! `SEED=… cargo test --test it random` makes the same world again.

pub mod cluster;
pub mod dice;
mod invent;
pub mod lists;
pub mod making;
pub mod oracle;

use std::collections::BTreeSet;
use std::hash::BuildHasher;
use std::hash::RandomState;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;
use http::Method;
use serde_json::json;
use tokio::time::Instant;

use self::cluster::Cluster;
use self::cluster::KINDS;
use self::cluster::Kind;
use self::cluster::Person;
use self::dice::Dice;
use self::lists::Form;
use self::lists::Shown;
use self::making::AT_ONCE;
use self::making::RandomWorld;
use self::making::Size;
use self::oracle::Expected;
use self::oracle::Rights;
use self::oracle::Sight;
use crate::harness::eventually;
use crate::harness::http::Caller;
use crate::harness::world::World;

in_the_real_world!(every_list_of_a_random_world_shows_exactly_what_is_his,);

/// How long what differs may differ on, since informers lag and other tests change the same cluster.
const PATIENCE: Duration = Duration::from_secs(8);

async fn every_list_of_a_random_world_shows_exactly_what_is_his(world: &'static World) {
    let seed = seed();
    let mut random = RandomWorld::make(world, Dice::new(seed), Size::LARGE).await;
    let entries = Entries::of(world, seed).await;
    entries.catch_up(&mut random).await;
    let early = random.people.len() - Size::LARGE.latecomers;
    entries.compare(&random.people[..early], 1).await;
    random.delete_a_tenant().await;
    for _ in 0..random.inventor.dice.between(30, 50) {
        random.step().await;
    }
    entries.catch_up(&mut random).await;
    entries.compare(&random.people, 2).await;
}

/// What the dice begin with: what the environment says, or something new.
pub fn seed() -> u64 {
    let seed = match std::env::var("SEED") {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => RandomState::new().hash_one(()) % 1_000_000_007,
    };
    // Shown if the test fails, however it does.
    eprintln!("SEED={seed}");
    seed
}

/// Where people come in.
struct Entries {
    world: &'static World,
    /// The API server itself.
    direct: Caller,
    /// The proxy in which rules of the cluster do not act, and the one in which they do.
    proxies: [(bool, Caller); 2],
    seed: u64,
}

/// Lists that are still to be right.
struct Open<'a> {
    who: &'a Person,
    kinds: Vec<&'static Kind>,
    /// Throws the same whenever they are looked at.
    dice: Dice,
}

/// A list that somebody was shown, in all the ways he asked for it.
struct Look<'a> {
    who: &'a Person,
    kind: &'static Kind,
    rights: Rights,
    shown: Vec<Answer>,
}

struct Answer {
    rules: bool,
    form: Form,
    shown: Shown,
    /// What the API server answers himself in that form.
    own: Shown,
}

impl Entries {
    async fn of(world: &'static World, seed: u64) -> Self {
        let ruled = world.proxy_with_rules().await.anybody();
        let plain = world.proxy().await.anybody();
        let direct = Caller::new(&world.url, &world.ca);
        Self {
            world,
            direct: direct.keeping_a_connection().await,
            proxies: [
                (false, plain.keeping_a_connection().await),
                (true, ruled.keeping_a_connection().await),
            ],
            seed,
        }
    }

    /// Waits until both proxies know all that there is.
    async fn catch_up(&self, random: &mut RandomWorld) {
        random.settle().await;
        let marker = random.marker().await;
        let (name, namespace) = (&marker.name, &marker.namespace);
        for (rules, proxy) in &self.proxies {
            for (person, plural, expected) in [
                (0, "tenants", name),
                (0, "namespaces", namespace),
                (1, "namespaces", namespace),
                (2, "tenants", name),
                (3, "clusterroles", name),
            ] {
                if plural == "clusterroles" && !rules {
                    continue;
                }
                let caller = proxy.clone().bearing(&marker.people[person].token);
                eventually(|| async {
                    let shown = Form::Json.list(&caller, Kind::of(plural)).await;
                    let expected = Shown::These([expected.clone()].into());
                    (shown == expected)
                        .then_some(())
                        .ok_or_else(|| format!("{plural}: {shown:?}, not {expected:?}"))
                })
                .await;
            }
        }
    }

    /// Compares every list of these people with what they should be shown. The world must rest meanwhile; what other
    /// tests change in it may be shown as it was or as it is.
    async fn compare(&self, people: &[Person], round: usize) {
        let all = people.iter().enumerate().map(|(number, who)| {
            let dice = Dice::new(self.seed ^ u64::try_from(round * 10_000 + number).unwrap());
            let kinds = KINDS.iter().collect();
            Open { who, kinds, dice }
        });
        let mut open: Vec<Open<'_>> = all.collect();
        let (mut until, mut narrowed) = (None, 0);
        loop {
            let before = Cluster::now(self.world).await;
            let looks = stream::iter(&open).map(|open| self.look(open, &before));
            let looks: Vec<Vec<Look<'_>>> = looks.buffered(AT_ONCE).collect().await;
            let after = Cluster::now(self.world).await;
            let mut failures = Vec::new();
            for (open, looks) in open.iter_mut().zip(looks) {
                let judged = judge(&looks, [&before, &after]);
                narrowed += judged.narrowed;
                open.kinds = judged.wrong;
                failures.extend(judged.failures);
            }
            open.retain(|open| !open.kinds.is_empty());
            if open.is_empty() {
                break;
            }
            let until = *until.get_or_insert_with(|| Instant::now() + PATIENCE);
            if Instant::now() >= until {
                let count = failures.len();
                failures.truncate(30);
                panic!(
                    "SEED={}: {count} lists differ:\n{}",
                    self.seed,
                    failures.join("\n")
                );
            }
        }
        assert!(narrowed > 500, "a dull world: {narrowed} lists show a part");
    }

    /// What somebody is shown of what is open.
    async fn look<'a>(&self, open: &Open<'a>, cluster: &Cluster) -> Vec<Look<'a>> {
        let who = open.who;
        let direct = self.direct.clone().bearing(&who.token);
        let proxies = self.proxies.clone();
        let proxies = proxies.map(|(rules, proxy)| (rules, proxy.bearing(&who.token)));
        let mut looks = Vec::new();
        for kind in KINDS.iter() {
            // The same for each kind, whichever are open.
            let mut dice = open.dice.branch(kind.plural);
            // Nobody is shown a part of this one.
            let is_dull = kind.plural == "clusterrolebindings" && !dice.percent(20);
            if is_dull || !open.kinds.contains(&kind) {
                continue;
            }
            let own = Form::Json.list(&direct, kind).await;
            let mut shown = Vec::new();
            let mut count = 0;
            for (rules, proxy) in &proxies {
                let plain = Form::Json.list(proxy, kind).await;
                if let Shown::These(keys) = &plain {
                    count = keys.len();
                }
                shown.push(Answer {
                    rules: *rules,
                    form: Form::Json,
                    shown: plain,
                    own: own.clone(),
                });
            }
            // In small steps where there is little, so that it takes not too many.
            let pages = Form::Pages(1 + count / 6);
            let form = dice.pick(&[Form::Table, Form::Metadata, Form::Protobuf, pages]);
            let (rules, proxy) = &proxies[dice.roll(2)];
            if dice.percent(50) {
                let own_in_form = match (form, &own) {
                    (Form::Protobuf, Shown::Refused(_)) => form.list(&direct, kind).await,
                    _ => own.clone(),
                };
                shown.push(Answer {
                    rules: *rules,
                    form,
                    shown: form.list(proxy, kind).await,
                    own: own_in_form,
                });
            }
            looks.push(Look {
                who,
                kind,
                rights: rights(
                    self.world,
                    who,
                    kind,
                    matches!(own, Shown::These(_)),
                    cluster,
                )
                .await,
                shown,
            });
        }
        looks
    }
}

/// What the API server says about somebody's own rights to the list of `kind`, which he `lists` or not.
pub async fn rights(
    world: &'static World,
    who: &Person,
    kind: &Kind,
    lists: bool,
    cluster: &Cluster,
) -> Rights {
    let mut rights = Rights {
        lists,
        watches: lists && may(world, who, "watch", kind, "").await,
        lists_in: BTreeSet::new(),
    };
    if kind.plural == "configmaps" && !(rights.lists && rights.watches) {
        for namespace in Sight::of(cluster, who, true).namespaces {
            if may(world, who, "list", kind, &namespace).await {
                rights.lists_in.insert(namespace);
            }
        }
    }
    rights
}

/// Whether the API server would let him, in `namespace` or everywhere.
pub async fn may(
    world: &'static World,
    who: &Person,
    verb: &str,
    kind: &Kind,
    namespace: &str,
) -> bool {
    let path = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
    let review = json!({
        "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
        "spec": {"user": who.name, "groups": who.groups, "resourceAttributes": {
            "verb": verb, "group": kind.group, "resource": kind.plural, "namespace": namespace,
        }},
    });
    let review = world.admin(Method::POST, path, Some(&review)).await;
    review.unwrap()["status"]["allowed"] == true
}

/// What became of somebody's lists.
#[derive(Default)]
struct Judged {
    /// How many of them show something that is not his own right.
    narrowed: usize,
    /// Which are not what they should be.
    wrong: Vec<&'static Kind>,
    /// Why.
    failures: Vec<String>,
}

fn judge(looks: &[Look<'_>], clusters: [&Cluster; 2]) -> Judged {
    let mut judged = Judged::default();
    let Some(Look { who, .. }) = looks.first() else {
        return judged;
    };
    let sights = [false, true].map(|rules| clusters.map(|cluster| Sight::of(cluster, who, rules)));
    for look in looks {
        let all = clusters.map(|cluster| cluster.keys(look.kind.plural));
        let mut wrong = Vec::new();
        for answer in &look.shown {
            let sights = sights[usize::from(answer.rules)].each_ref();
            let expected = sights.map(|sight| sight.expects(look.kind, &look.rights));
            if let Err(why) = fits(answer, &expected, &all) {
                let rules = if answer.rules { "with" } else { "without" };
                wrong.push(format!("{:?} {rules} rules: {why}", answer.form));
            }
            let [Expected::These(keys), _] = expected else {
                continue;
            };
            judged.narrowed += usize::from(!keys.is_empty());
        }
        if !wrong.is_empty() {
            judged.wrong.push(look.kind);
            judged.failures.push(format!(
                "{} of {} in {:?}, who may list {}:\n    {}",
                look.kind.plural,
                who.name,
                who.groups,
                if look.rights.lists { "all" } else { "nothing" },
                wrong.join("\n    ")
            ));
        }
    }
    judged
}

/// Whether what was shown is what was expected, before or after; whatever was the same both times must be right.
fn fits(
    answer: &Answer,
    expected: &[Expected; 2],
    all: &[BTreeSet<String>; 2],
) -> Result<(), String> {
    let Answer { own, shown, .. } = answer;
    let [before, after] = match expected {
        [Expected::These(before), Expected::These(after)] => [before, after],
        [Expected::HisOwn, Expected::HisOwn] => match (own, shown) {
            (Shown::Refused(own), Shown::Refused(shown)) if own == shown => return Ok(()),
            (Shown::These(_), Shown::These(_)) => [&all[0], &all[1]],
            _ => return Err(format!("{shown:?} is not his own {own:?}")),
        },
        _ => return Err("what is expected has changed meanwhile".to_owned()),
    };
    let Shown::These(shown) = shown else {
        return Err(format!("{shown:?} is not {before:?}"));
    };
    let missing: Vec<_> = before
        .intersection(after)
        .filter(|key| !shown.contains(*key))
        .collect();
    let surplus: Vec<_> = shown
        .iter()
        .filter(|key| !before.contains(*key) && !after.contains(*key))
        .collect();
    if missing.is_empty() && surplus.is_empty() {
        return Ok(());
    }
    Err(format!("missing {missing:?}, surplus {surplus:?}"))
}
