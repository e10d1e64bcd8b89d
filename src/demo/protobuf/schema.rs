//! Which fields the messages have: numbers from the API's `generated.proto` files, names from its JSON.

use self::Type::Bool;
use self::Type::BytesMap;
use self::Type::ExtraMap;
use self::Type::Message;
use self::Type::Messages;
use self::Type::Number;
use self::Type::Text;
use self::Type::TextMap;
use self::Type::Texts;
use self::Type::Time;

/// One field of a message: its number, its JSON name, how its bytes read.
pub(super) type Schema = &'static [(u64, &'static str, Type)];

#[derive(Clone, Copy)]
pub(super) enum Type {
    Text,
    Number,
    Bool,
    Time,
    Message(Schema),
    /// `map<string, …>`, whose values are of the type at hand.
    TextMap,
    BytesMap,
    /// `map<string, ExtraValue>`.
    ExtraMap,
    Texts,
    Messages(Schema),
}

pub(super) const KINDS: &[(&str, Schema)] = &[
    (
        "Namespace",
        &[
            (1, "metadata", Message(METADATA)),
            (2, "spec", Message(&[(1, "finalizers", Texts)])),
            (3, "status", Message(&[(1, "phase", Text)])),
        ],
    ),
    (
        "ConfigMap",
        &[
            (1, "metadata", Message(METADATA)),
            (2, "data", TextMap),
            (3, "binaryData", BytesMap),
            (4, "immutable", Bool),
        ],
    ),
    (
        "Secret",
        &[
            (1, "metadata", Message(METADATA)),
            (2, "data", BytesMap),
            (3, "type", Text),
            (4, "stringData", TextMap),
            (5, "immutable", Bool),
        ],
    ),
    (
        "ServiceAccount",
        &[
            (1, "metadata", Message(METADATA)),
            (4, "automountServiceAccountToken", Bool),
        ],
    ),
    ("RoleBinding", BINDING),
    ("ClusterRoleBinding", BINDING),
    ("Role", ROLE),
    ("ClusterRole", ROLE),
    (
        "SelfSubjectAccessReview",
        &[
            (1, "metadata", Message(METADATA)),
            (2, "spec", Message(ACCESS)),
        ],
    ),
    (
        "SubjectAccessReview",
        &[
            (1, "metadata", Message(METADATA)),
            (2, "spec", Message(ACCESS)),
        ],
    ),
    (
        "LocalSubjectAccessReview",
        &[
            (1, "metadata", Message(METADATA)),
            (2, "spec", Message(ACCESS)),
        ],
    ),
    (
        "SelfSubjectRulesReview",
        &[
            (1, "metadata", Message(METADATA)),
            (2, "spec", Message(&[(1, "namespace", Text)])),
        ],
    ),
    ("SelfSubjectReview", &[(1, "metadata", Message(METADATA))]),
    (
        "TokenReview",
        &[
            (1, "metadata", Message(METADATA)),
            (
                2,
                "spec",
                Message(&[(1, "token", Text), (2, "audiences", Texts)]),
            ),
        ],
    ),
    (
        "TokenRequest",
        &[
            (1, "metadata", Message(METADATA)),
            (
                2,
                "spec",
                Message(&[(1, "audiences", Texts), (4, "expirationSeconds", Number)]),
            ),
        ],
    ),
    (
        "Deployment",
        &[
            (1, "metadata", Message(METADATA)),
            (2, "spec", Message(DEPLOYMENT)),
        ],
    ),
    (
        "DeleteOptions",
        &[
            (1, "gracePeriodSeconds", Number),
            (
                2,
                "preconditions",
                Message(&[(1, "uid", Text), (2, "resourceVersion", Text)]),
            ),
            (4, "propagationPolicy", Text),
            (5, "dryRun", Texts),
        ],
    ),
];

const METADATA: Schema = &[
    (1, "name", Text),
    (2, "generateName", Text),
    (3, "namespace", Text),
    (5, "uid", Text),
    (6, "resourceVersion", Text),
    (7, "generation", Number),
    (8, "creationTimestamp", Time),
    (9, "deletionTimestamp", Time),
    (10, "deletionGracePeriodSeconds", Number),
    (11, "labels", TextMap),
    (12, "annotations", TextMap),
    (13, "ownerReferences", Messages(OWNER_REFERENCE)),
    (14, "finalizers", Texts),
];

/// What `kubectl create deployment` fills in.
const DEPLOYMENT: Schema = &[
    (1, "replicas", Number),
    (2, "selector", Message(&[(1, "matchLabels", TextMap)])),
    (
        3,
        "template",
        Message(&[
            (1, "metadata", Message(METADATA)),
            (2, "spec", Message(POD)),
        ]),
    ),
];

const POD: Schema = &[(
    2,
    "containers",
    Messages(&[
        (1, "name", Text),
        (2, "image", Text),
        (3, "command", Texts),
        (4, "args", Texts),
    ]),
)];

const OWNER_REFERENCE: Schema = &[
    (1, "kind", Text),
    (3, "name", Text),
    (4, "uid", Text),
    (5, "apiVersion", Text),
    (6, "controller", Bool),
    (7, "blockOwnerDeletion", Bool),
];

const BINDING: Schema = &[
    (1, "metadata", Message(METADATA)),
    (
        2,
        "subjects",
        Messages(&[
            (1, "kind", Text),
            (2, "apiGroup", Text),
            (3, "name", Text),
            (4, "namespace", Text),
        ]),
    ),
    (
        3,
        "roleRef",
        Message(&[(1, "apiGroup", Text), (2, "kind", Text), (3, "name", Text)]),
    ),
];

const ROLE: Schema = &[
    (1, "metadata", Message(METADATA)),
    (
        2,
        "rules",
        Messages(&[
            (1, "verbs", Texts),
            (2, "apiGroups", Texts),
            (3, "resources", Texts),
            (4, "resourceNames", Texts),
            (5, "nonResourceURLs", Texts),
        ]),
    ),
];

/// The specs of all access reviews; the self reviews simply lack a user.
const ACCESS: Schema = &[
    (
        1,
        "resourceAttributes",
        Message(&[
            (1, "namespace", Text),
            (2, "verb", Text),
            (3, "group", Text),
            (4, "version", Text),
            (5, "resource", Text),
            (6, "subresource", Text),
            (7, "name", Text),
        ]),
    ),
    (
        2,
        "nonResourceAttributes",
        Message(&[(1, "path", Text), (2, "verb", Text)]),
    ),
    (3, "user", Text),
    (4, "groups", Texts),
    (5, "extra", ExtraMap),
    (6, "uid", Text),
];
