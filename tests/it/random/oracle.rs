//! The specification: what somebody is shown of a list, by what the administrator lists, as plainly as it can be said.
//! It must share no code with the proxy.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use jiff::SignedDuration;
use jiff::Timestamp;
use regex::Regex;
use serde_json::Value;
use serde_json::json;

use super::cluster::Cluster;
use super::cluster::Kind;
use super::cluster::Person;
use super::cluster::entries;
use super::cluster::key;
use super::cluster::name;
use super::cluster::namespace;
use super::cluster::uid;

/// For how long a reference alone makes a namespace a Tenant's (CVE-2024-39690).
const YOUNG: SignedDuration = SignedDuration::from_mins(5);

/// What the API server says about somebody's own rights to a list.
pub struct Rights {
    pub lists: bool,
    pub watches: bool,
    /// For a list over all namespaces: where he may list it.
    pub lists_in: BTreeSet<String>,
}

/// What a list shows.
#[derive(Debug, PartialEq, Eq)]
pub enum Expected {
    /// What the API server answers himself, to the byte where it refuses.
    HisOwn,
    /// Objects of these keys, and no other.
    These(BTreeSet<String>),
}

/// Some of the objects of a kind.
type Shows<'a> = Box<dyn Fn(&Value) -> bool + 'a>;

/// Some objects of some kinds.
struct Clause<'a> {
    is_about: Box<dyn Fn(&Kind) -> bool + 'a>,
    shows: Shows<'a>,
}

/// What Tenants, bindings and rules show somebody.
pub struct Sight<'a> {
    cluster: &'a Cluster,
    is_ignored: bool,
    is_capsule_user: bool,
    tenants: BTreeSet<&'a str>,
    pub namespaces: BTreeSet<String>,
    clauses: Vec<Clause<'a>>,
}

impl<'a> Sight<'a> {
    /// Whether he is forwarded untouched.
    pub fn is_left_alone(&self) -> bool {
        self.is_ignored
    }

    /// What a list of `kind` shows him.
    pub fn expects(&self, kind: &Kind, rights: &Rights) -> Expected {
        // Never less than without the proxy.
        if self.is_ignored || (rights.lists && rights.watches) {
            return Expected::HisOwn;
        }
        match kind.plural {
            "namespaces" => self.of_namespaces(kind),
            "configmaps" => self.over_all_namespaces(kind, rights),
            "clusterrolebindings" => Expected::HisOwn,
            _ => self.of_objects(kind),
        }
    }

    /// Capsule users, and whoever is named by a Tenant or by a rule about namespaces, are told that there are none for
    /// them; anybody else has the API server's refusal.
    fn of_namespaces(&self, kind: &Kind) -> Expected {
        let is_named = !self.namespaces.is_empty()
            || !self.tenants.is_empty()
            || self.clauses.iter().any(|it| (it.is_about)(kind));
        if !is_named && !self.is_capsule_user {
            return Expected::HisOwn;
        }
        Expected::These(self.namespaces.clone())
    }

    /// Of a namespaced kind: what RBAC lets him list, in the namespaces that he sees.
    fn over_all_namespaces(&self, kind: &Kind, rights: &Rights) -> Expected {
        let his: BTreeSet<&String> = self.namespaces.intersection(&rights.lists_in).collect();
        if his.is_empty() {
            return Expected::HisOwn;
        }
        let all = self.cluster.all(kind.plural).iter();
        let shown = all.filter(|object| his.iter().any(|it| *it == namespace(object)));
        Expected::These(shown.map(key).collect())
    }

    /// What any rule about the kind shows, and his Tenants; without either, no list is made for him.
    fn of_objects(&self, kind: &Kind) -> Expected {
        let clauses = self.clauses.iter();
        let clauses: Vec<_> = clauses.filter(|it| (it.is_about)(kind)).collect();
        let owned = match kind.plural {
            "tenants" => self.tenants.clone(),
            _ => BTreeSet::new(),
        };
        if owned.is_empty() && clauses.is_empty() {
            return Expected::HisOwn;
        }
        let all = self.cluster.all(kind.plural).iter();
        let shown = all.filter(|object| {
            owned.contains(name(object)) || clauses.iter().any(|it| (it.shows)(object))
        });
        Expected::These(shown.map(key).collect())
    }

    /// What `who` sees, where rules of the cluster act or not.
    pub fn of(cluster: &'a Cluster, who: &Person, rules: bool) -> Self {
        let mut sight = Self {
            cluster,
            is_ignored: cluster.ignores(who),
            is_capsule_user: cluster.is_capsule_user(who),
            tenants: BTreeSet::new(),
            namespaces: BTreeSet::new(),
            clauses: Vec::new(),
        };
        let named = |entries: &'a [Value]| -> Vec<&'a Value> {
            let named = entries.iter().filter(|entry| who.is_named_by(entry));
            named.collect()
        };
        // An owner sees his Tenant, and what it offers of the kinds that his entries in the spec list.
        for tenant in cluster.all("tenants") {
            if owners(tenant).any(|owner| who.is_named_by(owner)) {
                sight.tenants.insert(name(tenant));
                for owner in named(entries(&tenant["spec"]["owners"])) {
                    sight.offered(tenant, owner);
                }
            }
        }
        // Whom a ProxySetting names sees the Tenants that own its namespace; where none does, it does not act.
        for setting in cluster.all("proxysettings") {
            let tenants = cluster.owning(namespace(setting));
            for subject in named(entries(&setting["spec"]["subjects"])) {
                for tenant in tenants.clone() {
                    sight.tenants.insert(name(tenant));
                    sight.offered(tenant, subject);
                }
                if rules && tenants.clone().next().is_some() {
                    // Of namespaces and Tenants it shows those of its own Tenant alone.
                    sight.ruled(subject, |kind| {
                        !matches!(kind.plural, "namespaces" | "tenants")
                    });
                }
            }
        }
        let globals = cluster.all("globalproxysettings").iter();
        let global_rules = globals.flat_map(|global| entries(&global["spec"]["rules"]));
        for rule in global_rules.filter(|_| rules) {
            if !named(entries(&rule["subjects"])).is_empty() {
                sight.ruled(rule, |_| true);
            }
        }
        sight.namespaces = sight.namespaces_for(who);
        sight
    }

    /// The namespaces of his Tenants, those where a RoleBinding names him, and those that rules show.
    fn namespaces_for(&self, who: &Person) -> BTreeSet<String> {
        let cluster = self.cluster;
        let bindings = cluster.all("rolebindings").iter();
        let bound: BTreeSet<&str> = bindings
            .filter(|binding| {
                let mut subjects = entries(&binding["subjects"]).iter();
                subjects.any(|subject| who.is_bound_by(subject))
            })
            .map(namespace)
            .collect();
        let kind = Kind::of("namespaces");
        let sees = |object: &&Value| {
            let mut tenants = cluster.owning(name(object));
            let mut clauses = self.clauses.iter();
            bound.contains(name(object))
                || tenants.any(|tenant| self.tenants.contains(name(tenant)))
                || clauses.any(|clause| (clause.is_about)(kind) && (clause.shows)(object))
        };
        let all = cluster.all("namespaces").iter();
        all.filter(sees).map(key).collect()
    }

    /// Adds what `tenant` offers of the kinds that `entry` (an owner, or a subject of a ProxySetting) may list.
    fn offered(&mut self, tenant: &'a Value, entry: &'a Value) {
        for setting in entries(&entry["proxySettings"]) {
            let lists = entries(&setting["operations"])
                .iter()
                .any(|it| it == "List");
            let Some(kind) = setting["kind"].as_str().filter(|_| lists) else {
                continue;
            };
            for shows in offers(tenant, kind) {
                self.clauses.push(Clause {
                    is_about: Box::new(move |asked| asked.setting == Some(kind)),
                    shows,
                });
            }
        }
    }

    /// Adds what the `clusterResources` of `entry` show in lists, of the kinds that are `allowed`.
    fn ruled(&mut self, entry: &'a Value, allowed: fn(&Kind) -> bool) {
        for rule in entries(&entry["clusterResources"]) {
            let (Some(groups), Some(resources)) =
                (texts(&rule["apiGroups"]), texts(&rule["resources"]))
            else {
                continue;
            };
            let selector = &rule["selector"];
            if selects(selector, &json!({})).is_none() {
                continue;
            }
            let operations = &rule["operations"];
            let says = |word: &str| entries(operations).iter().any(|it| it == word);
            let both = operations.is_null() || operations == &json!([]);
            if !both && !says("List") {
                continue;
            }
            self.clauses.push(Clause {
                is_about: Box::new(move |kind| {
                    let group_version = format!("{}/{}", kind.group, kind.version);
                    allowed(kind)
                        && resources.iter().any(|it| *it == "*" || *it == kind.plural)
                        && groups.iter().any(|pattern| {
                            let whole = if pattern.contains('/') {
                                &group_version
                            } else {
                                kind.group
                            };
                            glob(pattern.as_bytes(), whole.as_bytes())
                        })
                }),
                shows: Box::new(move |object| selects(selector, labels(object)) == Some(true)),
            });
        }
    }
}

impl Cluster {
    /// Whether he is forwarded untouched, whatever else there is about him.
    fn ignores(&self, who: &Person) -> bool {
        let configurations = self.all("capsuleconfigurations").iter();
        let configured = configurations.flat_map(|it| entries(&it["spec"]["ignoreUserWithGroups"]));
        let mut ignored = configured
            .filter_map(Value::as_str)
            .chain(self.ignored.iter().map(String::as_str));
        ignored.any(|group| who.groups.iter().any(|his| his == group))
    }

    fn is_capsule_user(&self, who: &Person) -> bool {
        let mut configurations = self.all("capsuleconfigurations").iter();
        configurations.any(|it| {
            let mut users = entries(&it["status"]["users"]).iter();
            users.any(|user| who.is_named_by(user))
        })
    }
}

/// The Tenants among these that own `namespace`.
///
/// A reference to another Tenant beats any status, and two references beat each other. A status that knows the UID
/// decides; a bare name counts where none does. A reference alone counts while the namespace is young.
pub fn tenants_of<'a>(namespace: &Value, tenants: &'a [Value], now: Timestamp) -> Vec<&'a Value> {
    let references = entries(&namespace["metadata"]["ownerReferences"]).iter();
    let referred: BTreeSet<&str> = references
        .filter(|it| it["kind"] == "Tenant")
        .filter(|it| group_of(it) == "capsule.clastix.io")
        .map(|it| it["uid"].as_str().unwrap())
        .collect();
    if referred.len() > 1 {
        return Vec::new();
    }
    let is_referred = |tenant: &&Value| referred.contains(uid(tenant));
    let may_be = |tenant: &&Value| referred.is_empty() || is_referred(tenant);
    let is_it = |entry: &&Value| entry["name"] == name(namespace);
    let spaces = |tenant: &'a Value| entries(&tenant["status"]["spaces"]).iter().filter(is_it);
    let by_uid = |tenant: &&'a Value| spaces(tenant).any(|it| it["uid"] == uid(namespace));
    let by_name = |tenant: &&'a Value| {
        let mut names = entries(&tenant["status"]["namespaces"]).iter();
        let has_no_uid = |it: &Value| it["uid"].is_null() || it["uid"] == "";
        spaces(tenant).all(has_no_uid)
            && (spaces(tenant).next().is_some() || names.any(|it| it == name(namespace)))
    };
    if tenants.iter().any(|tenant| by_uid(&tenant)) {
        return tenants.iter().filter(by_uid).filter(may_be).collect();
    }
    let named: Vec<&Value> = tenants.iter().filter(by_name).filter(may_be).collect();
    if !named.is_empty() {
        return named;
    }
    let created = namespace["metadata"]["creationTimestamp"].as_str().unwrap();
    let created: Timestamp = created.parse().unwrap();
    let is_young = now.duration_since(created) < YOUNG;
    let tenants = tenants.iter().filter(|_| is_young);
    tenants.filter(is_referred).collect()
}

fn group_of(reference: &Value) -> &str {
    let version = reference["apiVersion"].as_str().unwrap();
    version.split_once('/').map_or("", |(group, _)| group)
}

/// Those of the spec, and those of the status once it has caught up with the spec.
fn owners(tenant: &Value) -> impl Iterator<Item = &Value> {
    let (seen, now) = (
        tenant["status"]["observedGeneration"].as_i64(),
        tenant["metadata"]["generation"].as_i64(),
    );
    let caught_up = seen.is_some_and(|seen| seen >= now.unwrap());
    let status = entries(&tenant["status"]["owners"]).iter();
    entries(&tenant["spec"]["owners"])
        .iter()
        .chain(status.filter(move |_| caught_up))
}

/// What a Tenant offers of what `proxySettings` call `kind`: an OR.
fn offers<'a>(tenant: &'a Value, kind: &str) -> Vec<Shows<'a>> {
    let spec = &tenant["spec"];
    match kind {
        "Nodes" => nodes(&spec["nodeSelector"]),
        "PersistentVolumes" => {
            let tenant = name(tenant);
            vec![Box::new(move |volume| {
                labels(volume)["capsule.clastix.io/tenant"] == tenant
            })]
        }
        "StorageClasses" => classes(&spec["storageClasses"]),
        "PriorityClasses" => classes(&spec["priorityClasses"]),
        "RuntimeClasses" => classes(&spec["runtimeClasses"]),
        "IngressClasses" => classes(&spec["ingressOptions"]["allowedClasses"]),
        _ => Vec::new(),
    }
}

/// Without a selector all of them; with a wrong one, none.
fn nodes(selector: &Value) -> Vec<Shows<'_>> {
    if selector.is_null() || selector == &json!({}) {
        return vec![Box::new(|_| true)];
    }
    let selects = move |labels: &Value| selects(&json!({"matchLabels": selector}), labels);
    if !selector.is_object() || selects(&json!({})).is_none() {
        return Vec::new();
    }
    vec![Box::new(move |node| selects(labels(node)) == Some(true))]
}

/// By name, as the default, by pattern, by labels: each part that can be read.
fn classes(said: &Value) -> Vec<Shows<'_>> {
    let mut shown: Vec<Shows<'_>> = Vec::new();
    let is_a_name = |text: &&str| !text.is_empty() && !text.contains('/') && *text != "..";
    let allowed = entries(&said["allowed"]).iter().filter_map(Value::as_str);
    let names = allowed.chain(said["default"].as_str()).filter(is_a_name);
    let names: Vec<&str> = names.collect();
    if !names.is_empty() {
        shown.push(Box::new(move |class| names.contains(&name(class))));
    }
    let pattern = said["allowedRegex"].as_str().filter(|it| !it.is_empty());
    if let Some(Ok(pattern)) = pattern.map(Regex::new) {
        shown.push(Box::new(move |class| pattern.is_match(name(class))));
    }
    let selector = json!({
        "matchLabels": said["matchLabels"], "matchExpressions": said["matchExpressions"],
    });
    if selects(&selector, &json!({})).is_some() {
        shown.push(Box::new(move |class| {
            selects(&selector, labels(class)) == Some(true)
        }));
    }
    shown
}

fn labels(object: &Value) -> &Value {
    &object["metadata"]["labels"]
}

/// All entries of a list of texts.
fn texts(list: &Value) -> Option<Vec<&str>> {
    list.as_array()?.iter().map(Value::as_str).collect()
}

/// Whether a LabelSelector selects these labels. `None`: something of it is wrong, or it says nothing; such a one shows
/// nothing.
fn selects(selector: &Value, labels: &Value) -> Option<bool> {
    let parts = selector.as_object()?;
    let known = |part: &String| part == "matchLabels" || part == "matchExpressions";
    if !parts.keys().all(known) {
        return None;
    }
    let mut results = Vec::new();
    let equalities = &selector["matchLabels"];
    if !equalities.is_null() {
        for (label, value) in equalities.as_object()? {
            let value = valid(&VALUE, value.as_str()?)?;
            results.push(labels[valid(&KEY, label)?] == value);
        }
    }
    let expressions = &selector["matchExpressions"];
    if !expressions.is_null() {
        for expression in expressions.as_array()? {
            results.push(meets(expression, labels)?);
        }
    }
    (!results.is_empty()).then(|| results.into_iter().all(|result| result))
}

fn meets(expression: &Value, labels: &Value) -> Option<bool> {
    let label = &labels[valid(&KEY, expression["key"].as_str()?)?];
    let values = &expression["values"];
    let values = if values.is_null() {
        Vec::new()
    } else {
        texts(values)?
    };
    for value in &values {
        valid(&VALUE, value)?;
    }
    let is_one = label.as_str().is_some_and(|it| values.contains(&it));
    match (expression["operator"].as_str()?, values.is_empty()) {
        ("In", false) => Some(is_one),
        ("NotIn", false) => Some(!is_one),
        ("Exists", true) => Some(label.is_string()),
        ("DoesNotExist", true) => Some(!label.is_string()),
        _ => None,
    }
}

static KEY: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new("^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$")
        .unwrap()
});
static VALUE: LazyLock<Regex> =
    LazyLock::new(|| Regex::new("^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$").unwrap());

fn valid<'a>(form: &Regex, text: &'a str) -> Option<&'a str> {
    form.is_match(text).then_some(text)
}

/// Whether the whole of `text` matches, where `*` is any run of bytes.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    match pattern {
        [] => text.is_empty(),
        [b'*', rest @ ..] => (0..=text.len()).any(|start| glob(rest, &text[start..])),
        [byte, rest @ ..] => text.first() == Some(byte) && glob(rest, &text[1..]),
    }
}
