//! Objects made up by dice: most of them mean something, some say it wrongly.

use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use super::cluster::KINDS;
use super::cluster::Kind;
use super::dice::Dice;

/// Marks what belongs to one world among what other tests make meanwhile.
const WORLD: &str = "it.example.com/world";
/// What the operator puts on volumes. On namespaces it is the operator's to read.
const TENANT: &str = "capsule.clastix.io/tenant";

/// Labels that objects carry and selectors ask for.
const LABELS: [(&str, &[&str]); 5] = [
    ("tier", &["gold", "silver", ""]),
    ("zone", &["a", "b", "c"]),
    ("disk", &["ssd", "hdd"]),
    ("it.example.com/team", &["red", "blue"]),
    // Cannot be forged on namespaces; elsewhere it is a label like any other.
    ("kubernetes.io/metadata.name", &["default", "kube-system"]),
];

/// What there is to speak of.
pub struct Inventor {
    pub dice: Dice,
    /// The beginning of all names.
    pub tag: String,
    pub users: Vec<String>,
    pub groups: Vec<String>,
    /// Namespace and name.
    pub accounts: Vec<(String, String)>,
    pub tenants: Vec<String>,
    /// Whether some RoleBindings name everybody.
    pub binds_everybody: bool,
}

impl Inventor {
    /// A name for an object of `kind`, unlike all with other numbers.
    pub fn name(&mut self, kind: &Kind, number: usize) -> String {
        let speed = self.dice.pick(&["fast", "mid", "slow"]);
        let plural = &kind.plural[..3];
        format!("{}-{speed}-{plural}-{number:02}", self.tag)
    }

    /// Somebody as Tenants and rules name him; some name nobody.
    pub fn subject(&mut self) -> Value {
        let (namespace, account) = self.dice.pick(&self.accounts);
        let account = format!("system:serviceaccount:{namespace}:{account}");
        let (user, group) = (self.dice.pick(&self.users), self.dice.pick(&self.groups));
        let (kind, name) = match self.dice.roll(20) {
            0..=10 => ("User", user),
            11..=13 => ("Group", group),
            14..=15 => ("ServiceAccount", account),
            16 => ("User", account),
            17 => ("Group", format!("system:serviceaccounts:{namespace}")),
            // A user is no group of the same name, nor the other way round (CVE-2023-46254).
            18 => ("Group", user),
            _ => ("User", group),
        };
        json!({"kind": kind, "name": name})
    }

    /// The same, or one that cannot be read.
    fn subject_or_not(&mut self) -> Value {
        match self.dice.roll(25) {
            0 => json!({"kind": "Robot", "name": self.dice.pick(&self.users)}),
            1 => json!({"kind": "ServiceAccount", "name": self.dice.pick(&self.users)}),
            2 => json!({"name": self.dice.pick(&self.users)}),
            3 => json!({"kind": "User", "name": ""}),
            4 => json!(7),
            _ => self.subject(),
        }
    }

    fn subjects(&mut self, least: usize, most: usize) -> Vec<Value> {
        let count = self.dice.between(least, most);
        (0..count).map(|_| self.subject_or_not()).collect()
    }

    /// Somebody as a RoleBinding names him.
    fn bound(&mut self) -> Value {
        let group = "rbac.authorization.k8s.io";
        let (namespace, account) = self.dice.pick(&self.accounts);
        let of = |kind: &str, name: &str| json!({"apiGroup": group, "kind": kind, "name": name});
        match self.dice.roll(20) {
            0..=11 => of("User", &self.dice.pick(&self.users)),
            12..=14 => of("Group", &self.dice.pick(&self.groups)),
            15..=16 => json!({"kind": "ServiceAccount", "namespace": namespace, "name": account}),
            17 => of(
                "User",
                &format!("system:serviceaccount:{namespace}:{account}"),
            ),
            18 if self.binds_everybody => of("Group", "system:authenticated"),
            _ => of("Group", &format!("system:serviceaccounts:{namespace}")),
        }
    }

    /// Labels of an object of `kind`.
    pub fn labels(&mut self, kind: &Kind) -> Value {
        let mut labels = Map::new();
        if self.dice.percent(90) {
            labels.insert(WORLD.to_owned(), json!(self.tag));
        }
        for (label, values) in LABELS {
            if self.dice.percent(70) {
                labels.insert(label.to_owned(), json!(self.dice.pick(values)));
            }
        }
        let chance = match kind.plural {
            "namespaces" => 0,
            "persistentvolumes" => 80,
            _ => 10,
        };
        if self.dice.percent(chance) {
            labels.insert(TENANT.to_owned(), json!(self.dice.pick(&self.tenants)));
        }
        Value::Object(labels)
    }

    /// A merge patch that leaves exactly such labels of ours.
    pub fn relabelling(&mut self, kind: &Kind) -> Value {
        let mut labels: Map<String, Value> = LABELS
            .iter()
            .map(|(label, _)| ((*label).to_owned(), Value::Null))
            .collect();
        labels.insert(WORLD.to_owned(), Value::Null);
        if kind.plural != "namespaces" {
            labels.insert(TENANT.to_owned(), Value::Null);
        }
        let Value::Object(new) = self.labels(kind) else {
            panic!("labels are a map")
        };
        labels.extend(new);
        json!({"metadata": {"labels": labels}})
    }

    fn equalities(&mut self, most: usize) -> Map<String, Value> {
        let count = self.dice.between(0, most);
        let chosen = self.dice.picks(count, &LABELS);
        let value = |(label, values): &(&str, &[&str])| {
            ((*label).to_owned(), json!(self.dice.pick(values)))
        };
        chosen.iter().map(value).collect()
    }

    fn expression(&mut self) -> Value {
        let (label, values) = self.dice.pick(&LABELS);
        let count = self.dice.between(1, 2);
        let values = self.dice.picks(count, values);
        match self.dice.roll(12) {
            0..=3 => json!({"key": label, "operator": "In", "values": values}),
            4..=5 => json!({"key": label, "operator": "NotIn", "values": values}),
            6..=7 => json!({"key": label, "operator": "Exists"}),
            8 => json!({"key": label, "operator": "DoesNotExist", "values": []}),
            9 => {
                json!({"key": TENANT, "operator": "In", "values": self.dice.picks(2, &self.tenants)})
            }
            10 => json!({"key": TENANT, "operator": "Exists"}),
            _ => json!({"key": "never-there", "operator": "DoesNotExist"}),
        }
    }

    /// A LabelSelector. Few see beyond this world, since there it is large; some are wrong, or say nothing.
    fn selector(&mut self) -> Value {
        let mut labels = self.equalities(2);
        if self.dice.percent(80) {
            labels.insert(WORLD.to_owned(), json!(self.tag));
        }
        let count = self.dice.between(0, 3) / 2;
        let mut expressions: Vec<Value> = (0..count).map(|_| self.expression()).collect();
        match self.dice.roll(40) {
            0 => return json!({}),
            1 => return json!([labels]),
            2 => return json!({"matchLabels": labels, "matchExpressions": {"key": "tier"}}),
            3 => return json!({"matchLabels": labels, "matchLabel": labels}),
            4 => drop(labels.insert("tier".to_owned(), json!("not a value"))),
            5 => drop(labels.insert("not a key".to_owned(), json!("x"))),
            6 => drop(labels.insert("tier".to_owned(), json!(1))),
            7 => expressions.push(json!({"key": "tier", "operator": "Is", "values": ["gold"]})),
            8 => expressions.push(json!({"key": "tier", "operator": "In", "values": []})),
            9 => expressions.push(json!({"key": "tier", "operator": "Exists", "values": ["a"]})),
            _ => {}
        }
        match self.dice.roll(3) {
            0 if expressions.is_empty() => json!({"matchLabels": labels}),
            1 if labels.is_empty() => json!({"matchExpressions": expressions}),
            _ => json!({"matchLabels": labels, "matchExpressions": expressions}),
        }
    }

    /// What a Tenant says about classes of `kind`, which are called `names`.
    fn classes(&mut self, names: &[String]) -> Value {
        let mut said = Map::new();
        if self.dice.percent(60) {
            let count = self.dice.between(0, 3);
            let allowed: Vec<Value> = self
                .dice
                .picks(count, names)
                .into_iter()
                .map(Value::from)
                .collect();
            let allowed = match self.dice.roll(12) {
                0 => json!({"name": allowed}),
                1 => json!([allowed, 7, "a/b", "..", ""]),
                2 => json!([self.dice.pick(names), 7, "a/b", "..", ""]),
                _ => json!(allowed),
            };
            said.insert("allowed".to_owned(), allowed);
        }
        if self.dice.percent(40) {
            let tag = &self.tag;
            let patterns = [
                format!("^{tag}-fast"),
                format!("{tag}-(mid|slow)-...-0[0-4]$"),
                format!("{tag}.*[13579]$"),
                "^no-such".to_owned(),
                "(".to_owned(),
                String::new(),
            ];
            said.insert("allowedRegex".to_owned(), json!(self.dice.pick(&patterns)));
        }
        if self.dice.percent(30) {
            let default = match self.dice.roll(6) {
                0 => json!(7),
                1 => json!("a/b"),
                2 => json!(""),
                _ => json!(self.dice.pick(names)),
            };
            said.insert("default".to_owned(), default);
        }
        if self.dice.percent(40)
            && let Value::Object(selector) = self.selector()
        {
            said.extend(selector);
        }
        match self.dice.roll(30) {
            0 => json!([said]),
            1 => Value::Null,
            _ => Value::Object(said),
        }
    }

    /// What a Tenant offers, by field of its spec. `names` are those of a kind of classes.
    pub fn offers(&mut self, names: impl Fn(&str) -> Vec<String>) -> Map<String, Value> {
        let mut offers = Map::new();
        let selector = match self.dice.roll(12) {
            0..=3 => Value::Null,
            4 => json!({}),
            5 => json!(["tier"]),
            6 => json!({"tier": 1}),
            7 => json!({"tier": "not a value"}),
            _ => Value::Object(self.equalities(2)),
        };
        offers.insert("nodeSelector".to_owned(), selector);
        for (field, plural) in [
            ("storageClasses", "storageclasses"),
            ("priorityClasses", "priorityclasses"),
            ("runtimeClasses", "runtimeclasses"),
            ("ingressOptions", "ingressclasses"),
        ] {
            let mut said = Value::Null;
            if self.dice.percent(70) {
                said = self.classes(&names(plural));
                if field == "ingressOptions" {
                    said = json!({"allowedClasses": said});
                }
            }
            offers.insert(field.to_owned(), said);
        }
        offers
    }

    /// Kinds that an owner or a subject may list, and mistakes.
    pub fn proxy_settings(&mut self) -> Value {
        let count = self.dice.between(0, 4);
        let mut settings = Vec::new();
        for _ in 0..count {
            let kinds: Vec<&str> = KINDS.iter().filter_map(|kind| kind.setting).collect();
            let kind = self.dice.pick(&kinds);
            settings.push(match self.dice.roll(20) {
                0 => json!({"kind": kind, "operations": ["Update", "Delete"]}),
                1 => json!({"kind": kind}),
                2 => json!({"kind": kind, "operations": "List"}),
                3 => json!({"kind": "Secrets", "operations": ["List"]}),
                4 => json!({"kind": kind.to_lowercase(), "operations": ["List"]}),
                5 => json!(kind),
                _ => json!({"kind": kind, "operations": ["List"]}),
            });
        }
        match self.dice.roll(30) {
            0 => json!({"settings": settings}),
            _ => json!(settings),
        }
    }

    /// `spec.owners`. With `readable`, as an operator must find them to do its work.
    pub fn owners(&mut self, readable: bool) -> Value {
        let mut owners = if readable {
            let count = self.dice.between(0, 3);
            (0..count).map(|_| self.subject()).collect()
        } else {
            self.subjects(0, 3)
        };
        for owner in owners.iter_mut().filter(|owner| owner.is_object()) {
            if self.dice.percent(70) {
                owner["proxySettings"] = self.proxy_settings();
            }
            if self.dice.percent(30) {
                let tag = &self.tag;
                let roles = [
                    "view".to_owned(),
                    format!("{tag}-getter"),
                    format!("{tag}-lister"),
                ];
                owner["clusterRoles"] = json!([self.dice.pick(&roles)]);
            }
        }
        match self.dice.roll(12) {
            0 if !readable => json!({"owner": owners}),
            _ => json!(owners),
        }
    }

    fn api_groups(&mut self) -> Value {
        let known = [
            "*",
            "",
            "/v1",
            "*/v1",
            "v1",
            "*.k8s.io",
            "storage.k8s.io",
            "storage.k8s.io/*",
            "storage.k8s.io/v1beta1",
            "n*.k8s.io/v1",
            "scheduling.*",
            "rbac.authorization.k8s.io",
            "capsule.*",
            "capsule.clastix.io/v1beta2",
            "capsule.clastix.io/v1beta1",
            "example.com",
        ];
        let count = self.dice.between(1, 3);
        let chosen = self.dice.picks(count, &known);
        match self.dice.roll(30) {
            0 => Value::Null,
            1 => json!(["*", 7]),
            2 => json!("*"),
            3 => json!([]),
            _ => json!(chosen),
        }
    }

    fn cluster_resources(&mut self) -> Value {
        let mut rules: Vec<Value> = Vec::new();
        let count = self.dice.between(1, 3);
        for _ in 0..count {
            if self.dice.percent(20) {
                rules.extend(self.siblings());
                continue;
            }
            let kind = &KINDS[self.dice.roll(KINDS.len())];
            let mut rule = json!({"apiGroups": self.api_groups(), "resources": [kind.plural]});
            if self.dice.percent(50) {
                rule["apiGroups"] = json!([kind.group, "example.com"]);
            }
            match self.dice.roll(10) {
                0..=2 => rule["resources"] = json!(["*"]),
                3 => {
                    rule["resources"] =
                        json!([kind.plural, KINDS[self.dice.roll(KINDS.len())].plural])
                }
                4 => rule["resources"] = json!([kind.kind]),
                _ => {}
            }
            if self.dice.percent(95) {
                rule["selector"] = self.selector();
            }
            match self.dice.roll(14) {
                0 => rule["operations"] = json!(["List"]),
                1 => rule["operations"] = json!(["List", "Get"]),
                2 => rule["operations"] = json!(["Delete", "List"]),
                3 | 4 => rule["operations"] = json!(["Get"]),
                5 => rule["operations"] = json!(["Update"]),
                6 => rule["operations"] = json!([]),
                7 => rule["operations"] = json!("List"),
                _ => {}
            }
            rules.push(rule);
        }
        match self.dice.roll(30) {
            0 => json!({"rules": rules}),
            _ => json!(rules),
        }
    }

    /// Two rules of one kind about the same two labels: one selector for both shows too much where both values differ.
    fn siblings(&mut self) -> [Value; 2] {
        let kind = &KINDS[self.dice.roll(KINDS.len())];
        let chosen = [self.dice.roll(2), 2 + self.dice.roll(2)].map(|place| LABELS[place]);
        [(); 2].map(|()| {
            let value = |(label, values): (&str, &[&str])| {
                (label.to_owned(), json!(self.dice.pick(values)))
            };
            let labels: Map<String, Value> = chosen.map(value).into_iter().collect();
            json!({"apiGroups": [kind.group], "resources": [kind.plural],
                "selector": {"matchLabels": labels}})
        })
    }

    /// The spec of a ProxySetting.
    pub fn setting(&mut self) -> Value {
        let mut subjects = self.subjects(1, 3);
        for subject in subjects.iter_mut().filter(|subject| subject.is_object()) {
            if self.dice.percent(60) {
                subject["proxySettings"] = self.proxy_settings();
            }
            if self.dice.percent(60) {
                subject["clusterResources"] = self.cluster_resources();
            }
        }
        json!({ "subjects": subjects })
    }

    /// The spec of a GlobalProxySettings.
    pub fn global(&mut self) -> Value {
        let count = self.dice.between(1, 3);
        let rule = |_| {
            let subjects = match self.dice.roll(30) {
                0 => json!({"kind": "User"}),
                _ => json!(self.subjects(0, 4)),
            };
            json!({"subjects": subjects, "clusterResources": self.cluster_resources()})
        };
        json!({"rules": (0..count).map(rule).collect::<Vec<_>>()})
    }

    /// A RoleBinding called `name`, of its own role for each name.
    pub fn binding(&mut self, namespace: &str, name: &str) -> Value {
        let tag = &self.tag;
        let roles = [
            "view".to_owned(),
            "edit".to_owned(),
            format!("{tag}-lister"),
            format!("{tag}-getter"),
            format!("{tag}-secrets"),
            format!("{tag}-missing"),
        ];
        let group = "rbac.authorization.k8s.io";
        json!({
            "apiVersion": format!("{group}/v1"), "kind": "RoleBinding",
            "metadata": {"name": name, "namespace": namespace},
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": self.dice.pick(&roles)},
            "subjects": self.bound_ones(),
        })
    }

    /// Subjects of a RoleBinding.
    pub fn bound_ones(&mut self) -> Vec<Value> {
        let count = self.dice.between(1, 2);
        (0..count).map(|_| self.bound()).collect()
    }

    /// An object of a cluster-scoped kind.
    pub fn object(&mut self, kind: &Kind, name: &str) -> Value {
        let rest = match kind.kind {
            "StorageClass" => json!({"provisioner": "it.example.com/none"}),
            "IngressClass" => json!({"spec": {"controller": "it.example.com/none"}}),
            "PriorityClass" => json!({"value": 7}),
            "RuntimeClass" => json!({"handler": "none"}),
            "ClusterRole" => json!({"rules": []}),
            "PersistentVolume" => json!({"spec": {
                "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"],
                "hostPath": {"path": "/tmp/it"}, "storageClassName": "it-none",
            }}),
            _ => json!({}),
        };
        let mut object = json!({
            "apiVersion": kind.api_version(), "kind": kind.kind,
            "metadata": {"name": name, "labels": self.labels(kind)},
        });
        for (part, value) in rest.as_object().unwrap() {
            object[part] = value.clone();
        }
        object
    }
}
