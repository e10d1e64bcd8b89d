//! A values file that was written for Capsule's proxy → what of it changes here, with its place.
//!
//! Which values those are is said once, in the chart (`files/incumbent.yaml`), whose notes after an install say the same;
//! which keys exist is said by the chart's schema. It changes no file.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde_json::Value as Json;

use crate::config::mistake::Mistakes;
use crate::config::mistake::Place;
use crate::config::tree;
use crate::config::tree::Node;
use crate::config::tree::Value;
use crate::config::walk::nearest;

const TABLE: &str = include_str!("../../charts/kube-tenant-proxy/files/incumbent.yaml");
const SCHEMA: &str = include_str!("../../charts/kube-tenant-proxy/values.schema.json");

/// One value that does something else here, or nothing.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    key: String,
    /// What it may be without a word; without this, whatever is empty, zero or false.
    defaults: Option<Vec<String>>,
    beside: Option<String>,
    note: String,
    /// A value that acts here, too; the chart's notes leave it out.
    only: Option<Only>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Only {
    Check,
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// The file is no set of fields.
    #[error("the values file cannot be read\n{0}")]
    File(Mistakes),
    /// What the program was built with is broken.
    #[error("the table of values that the program was built with cannot be read")]
    Built,
}

/// What is to be said of one value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Where it stands.
    pub at: Place,
    /// Its path and what changes.
    pub text: String,
}

/// What of a values file changes.
#[derive(Debug)]
pub struct Report {
    file: String,
    /// Accepted, and of another effect or none, by place.
    pub changed: Vec<Finding>,
    /// Refused by the chart, by place.
    pub unknown: Vec<Finding>,
    /// Values that keep name and meaning, counted by the section they stand in.
    pub kept: BTreeMap<String, usize>,
    /// The arguments in `options.extraArgs`, and where they stand: what they mean is the command line's business.
    pub extra_args: Vec<(Place, String)>,
}

impl Report {
    /// What becomes of the values file called `file`, whose content is `text`.
    ///
    /// # Errors
    /// [`Unreadable`].
    pub fn of(file: &str, text: &str) -> Result<Self, Unreadable> {
        let mut mistakes = Mistakes::new(file, text);
        let root = tree::read(text, &mut mistakes);
        let root = mistakes.or(root).map_err(Unreadable::File)?;
        let rows: Vec<Row> =
            serde_saphyr::from_str(TABLE).map_err(|_not_our_table| Unreadable::Built)?;
        let schema: Json =
            serde_json::from_str(SCHEMA).map_err(|_not_our_schema| Unreadable::Built)?;
        let mut report = Self {
            file: file.to_owned(),
            changed: Vec::new(),
            unknown: Vec::new(),
            kept: BTreeMap::new(),
            extra_args: Vec::new(),
        };
        let Some(root) = root else {
            return Ok(report);
        };
        match root.value {
            Value::Map(_) => {}
            Value::Null => return Ok(report),
            Value::Bool(_)
            | Value::Integer(_)
            | Value::Fraction
            | Value::Text(_)
            | Value::List(_) => {
                let mut mistakes = Mistakes::new(file, text);
                mistakes.add(root.at, "", "is no values file: there are no fields in it");
                return Err(Unreadable::File(mistakes));
            }
        }
        for row in rows.iter().filter(|row| row.applies(&root)) {
            if let Some(node) = at(&root, &row.key) {
                report.changed.push(Finding {
                    at: node.at,
                    text: row.sentence(&node.value),
                });
            }
        }
        let without_meaning = |row: &&Row| row.only.is_none() || row.applies(&root);
        let not_kept: Vec<&Row> = rows.iter().filter(without_meaning).collect();
        report.walk(&root, &schema, &mut Vec::new(), &not_kept);
        report.extra_args = extra_args(&root);
        report.changed.sort_by_key(|finding| finding.at);
        report.unknown.sort_by_key(|finding| finding.at);
        Ok(report)
    }

    /// `values.yaml:12:3: text`.
    pub fn line(&self, finding: &Finding) -> String {
        let Finding { at, text } = finding;
        format!("{}:{}:{}: {text}", self.file, at.line, at.column)
    }

    /// Goes through the fields of `node`, which `schema` describes and `path` leads to.
    fn walk<'a>(
        &mut self,
        node: &'a Node,
        schema: &Json,
        path: &mut Vec<&'a str>,
        not_kept: &[&Row],
    ) {
        let Value::Map(fields) = &node.value else {
            return self.keep(path, not_kept);
        };
        if fields.is_empty() {
            return self.keep(path, not_kept);
        }
        let properties = schema.get("properties").and_then(Json::as_object);
        for (key, value) in fields {
            path.push(&key.name);
            match properties.and_then(|known| known.get(&key.name)) {
                Some(schema) => self.walk(value, schema, path, not_kept),
                None if schema.get("additionalProperties") == Some(&Json::Bool(false)) => {
                    let known: Vec<&str> = properties
                        .into_iter()
                        .flat_map(|known| known.keys().map(String::as_str))
                        .collect();
                    let meant = match nearest(&key.name, &known) {
                        Some(meant) => format!(", did you mean `{meant}`?"),
                        None => ": leave it out".to_owned(),
                    };
                    self.unknown.push(Finding {
                        at: key.at,
                        text: format!(
                            "{}: no key of the chart, which refuses it{meant}",
                            path.join(".")
                        ),
                    });
                }
                // Whatever is in it is Kubernetes' own, or the admin's.
                None => self.keep(path, not_kept),
            }
            path.pop();
        }
    }

    fn keep(&mut self, path: &[&str], not_kept: &[&Row]) {
        let full = path.join(".");
        let is_changed = not_kept.iter().any(|row| {
            full == row.key
                || full
                    .strip_prefix(&row.key)
                    .is_some_and(|rest| rest.starts_with('.'))
        });
        if let (false, Some(section)) = (is_changed, path.first()) {
            *self.kept.entry((*section).to_owned()).or_default() += 1;
        }
    }
}

impl Row {
    /// Whether a file has a word said about this value.
    fn applies(&self, root: &Node) -> bool {
        let beside = self.beside.as_ref();
        let is_beside =
            beside.is_none_or(|key| at(root, key).is_some_and(|node| is_set(&node.value)));
        let Some(node) = at(root, &self.key) else {
            return false;
        };
        is_beside
            && match (&self.defaults, scalar(&node.value)) {
                (None, _) => is_set(&node.value),
                (Some(defaults), Some(text)) => !defaults.contains(&text),
                (Some(_), None) => !matches!(node.value, Value::Null),
            }
    }

    fn sentence(&self, value: &Value) -> String {
        let shown = scalar(value).map(|text| format!("={text}"));
        format!("{}{} {}", self.key, shown.unwrap_or_default(), self.note)
    }
}

/// The value at a path.
fn at<'a>(root: &'a Node, path: &str) -> Option<&'a Node> {
    path.split('.')
        .try_fold(root, |node, name| match &node.value {
            Value::Map(fields) => fields
                .iter()
                .find(|(key, _)| key.name == name)
                .map(|(_, value)| value),
            Value::Null
            | Value::Bool(_)
            | Value::Integer(_)
            | Value::Fraction
            | Value::Text(_)
            | Value::List(_) => None,
        })
}

/// A value as text, if it is one, or a number or boolean.
fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Text(text) => Some(text.clone()),
        Value::Null | Value::Fraction | Value::List(_) | Value::Map(_) => None,
    }
}

/// Whether Helm's templates would take it for true.
fn is_set(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(flag) => *flag,
        Value::Integer(number) => *number != 0,
        Value::Fraction => true,
        Value::Text(text) => !text.is_empty(),
        Value::List(items) => !items.is_empty(),
        Value::Map(fields) => !fields.is_empty(),
    }
}

fn extra_args(root: &Node) -> Vec<(Place, String)> {
    match at(root, "options.extraArgs").map(|node| &node.value) {
        Some(Value::List(items)) => items
            .iter()
            .filter_map(|item| Some((item.at, scalar(&item.value)?)))
            .collect(),
        Some(_) | None => Vec::new(),
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in self.unknown.iter().chain(&self.changed) {
            writeln!(f, "{}", self.line(finding))?;
        }
        let kept: usize = self.kept.values().sum();
        if kept > 0 {
            let sections: Vec<String> = self
                .kept
                .iter()
                .map(|(section, count)| match count {
                    1 => section.clone(),
                    _ => format!("{section} ({count})"),
                })
                .collect();
            let keep = if kept == 1 {
                "value keeps"
            } else {
                "values keep"
            };
            writeln!(f, "{kept} {keep} name and meaning: {}", sections.join(", "))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        let report = Report::of("values.yaml", text).unwrap();
        report.to_string().lines().map(str::to_owned).collect()
    }

    #[test]
    fn what_changes_is_said_with_its_place() {
        let text = "options:\n  leaderElection: true\n  pprof: false\n  listeningPort: 9001\n\
                    rbac:\n  clusterRole: cluster-admin\n\
                    serviceMonitor:\n  serviceAccount: {name: prometheus}\n";
        assert_eq!(
            lines(text),
            [
                "values.yaml:2:19: options.leaderElection=true has no effect: every replica serves, and none leads",
                "values.yaml:6:16: rbac.clusterRole=cluster-admin is not bound: the proxy's ServiceAccount must be able to list nothing itself. Kinds that rules show are named in rbac.reader.clusterResources",
                "1 value keeps name and meaning: options",
            ]
        );
    }

    #[test]
    fn what_acts_only_beside_another_value_is_said_beside_it() {
        let text = "serviceMonitor:\n  enabled: true\n  serviceAccount: {name: prometheus}\n";
        let said = lines(text);
        assert!(
            said[0].contains("serviceMonitor.serviceAccount.name=prometheus has no effect"),
            "{said:?}"
        );
    }

    #[test]
    fn the_image_of_another_proxy_is_told() {
        let said = lines(
            "image: {registry: ghcr.io, repository: projectcapsule/capsule-proxy, tag: v0.13.0}\n",
        );
        for (line, key) in said.iter().zip([
            "image.registry=ghcr.io is where",
            "image.repository=projectcapsule/capsule-proxy is what",
            "image.tag=v0.13.0 is a tag",
        ]) {
            assert!(line.contains(key), "{said:?}");
        }
        assert_eq!(said.len(), 3);
        let ours = "image: {registry: \"\", repository: kube-tenant-proxy, tag: \"\"}\n";
        assert_eq!(lines(ours), ["3 values keep name and meaning: image (3)"]);
    }

    #[test]
    fn an_unknown_key_is_told_with_the_one_that_was_meant() {
        assert_eq!(
            lines("opitons: {}\nservice:\n  portt: 443\n  annotations: {what.ever: x}\n"),
            [
                "values.yaml:1:1: opitons: no key of the chart, which refuses it, did you mean `options`?",
                "values.yaml:3:3: service.portt: no key of the chart, which refuses it, did you mean `port`?",
                "1 value keeps name and meaning: service",
            ]
        );
    }

    #[test]
    fn arguments_are_handed_on_with_their_places() {
        let report = Report::of("v", "options:\n  extraArgs:\n  - --webhooks=x\n").unwrap();
        assert_eq!(report.extra_args[0].1, "--webhooks=x");
        assert_eq!(report.extra_args[0].0.line, 3);
    }

    #[test]
    fn what_is_no_values_file_is_refused() {
        for text in ["[1]", "text", "a: b: c"] {
            assert!(
                matches!(Report::of("v", text), Err(Unreadable::File(_))),
                "{text}"
            );
        }
        assert_eq!(lines(""), Vec::<String>::new());
    }

    #[test]
    fn every_row_is_about_a_key_that_the_chart_takes() {
        let rows: Vec<Row> = serde_saphyr::from_str(TABLE).unwrap();
        let schema: Json = serde_json::from_str(SCHEMA).unwrap();
        for row in rows {
            let mut schema = &schema;
            for name in row.key.split('.') {
                let known = schema.get("properties").and_then(|known| known.get(name));
                let open = schema.get("additionalProperties") != Some(&Json::Bool(false));
                assert!(known.is_some() || open, "{}", row.key);
                schema = known.unwrap_or(&Json::Null);
            }
        }
    }
}
