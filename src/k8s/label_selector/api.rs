//! Selectors as objects write them: `metav1.LabelSelector`, its parts joined by AND (`apimachinery
//! pkg/apis/meta/v1/helpers.go`, `LabelSelectorAsSelector`).

use serde_json::Map;
use serde_json::Value;

use super::BadSelector;
use super::LabelSelector;
use super::Requirement;
use super::Test;
use super::validate;

impl LabelSelector {
    /// The selector that `object`, a `LabelSelector` of the API, says. One that says nothing selects everything: callers
    /// for whom it should select nothing ask [`Self::is_everything`].
    ///
    /// # Errors
    /// What is wrong with it. Nothing of a wrong selector is taken: half of an AND selects more.
    pub fn of_object(object: &Value) -> Result<Self, BadSelector> {
        let Value::Object(parts) = object else {
            return Err(wrong("is no object"));
        };
        if let Some(part) = parts
            .keys()
            .find(|part| !matches!(part.as_str(), "matchLabels" | "matchExpressions"))
        {
            return Err(BadSelector(format!("has an unknown part {part:?}")));
        }
        let mut requirements = Vec::new();
        match parts.get("matchLabels") {
            None | Some(Value::Null) => {}
            Some(Value::Object(labels)) => equalities(labels, &mut requirements)?,
            Some(_) => return Err(wrong("has matchLabels that are no map")),
        }
        match parts.get("matchExpressions") {
            None | Some(Value::Null) => {}
            Some(Value::Array(expressions)) => {
                for entry in expressions {
                    requirements.push(expression(entry)?);
                }
            }
            Some(_) => return Err(wrong("has matchExpressions that are no list")),
        }
        Ok(Self::of(requirements))
    }

    /// The selector of all objects that carry these labels, as `nodeSelector` writes it.
    ///
    /// # Errors
    /// As [`Self::of_object`].
    pub fn of_labels(labels: &Map<String, Value>) -> Result<Self, BadSelector> {
        let mut requirements = Vec::new();
        equalities(labels, &mut requirements)?;
        Ok(Self::of(requirements))
    }
}

fn equalities(
    labels: &Map<String, Value>,
    requirements: &mut Vec<Requirement>,
) -> Result<(), BadSelector> {
    for (key, value) in labels {
        let value = value
            .as_str()
            .ok_or_else(|| wrong("has a label that is no string"))?;
        requirements.push(Requirement {
            key: valid_key(key)?,
            test: Test::In(vec![valid_value(value)?]),
        });
    }
    Ok(())
}

fn expression(entry: &Value) -> Result<Requirement, BadSelector> {
    let text = |name| entry.get(name).and_then(Value::as_str);
    let key = valid_key(text("key").unwrap_or_default())?;
    let values = match entry.get("values") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(values)) => {
            let text = |value: &Value| match value.as_str() {
                Some(value) => valid_value(value),
                None => Err(wrong("has a value that is no string")),
            };
            let mut values: Vec<String> = values.iter().map(text).collect::<Result<_, _>>()?;
            values.sort_unstable();
            values.dedup();
            values
        }
        Some(_) => return Err(wrong("has values that are no list")),
    };
    let test = match (text("operator"), values.is_empty()) {
        (Some("In"), false) => Test::In(values),
        (Some("NotIn"), false) => Test::NotIn(values),
        (Some("Exists"), true) => Test::Exists,
        (Some("DoesNotExist"), true) => Test::Absent,
        (Some("In" | "NotIn"), true) => return Err(wrong("has an operator without its values")),
        (Some("Exists" | "DoesNotExist"), false) => {
            return Err(wrong("has values for an operator that takes none"));
        }
        _ => return Err(wrong("has an unknown operator")),
    };
    Ok(Requirement { key, test })
}

fn valid_key(key: &str) -> Result<String, BadSelector> {
    match validate::label_key(key) {
        Ok(()) => Ok(key.to_owned()),
        Err(reasons) => Err(BadSelector(format!(
            "has a bad key: {}",
            reasons.join("; ")
        ))),
    }
}

fn valid_value(value: &str) -> Result<String, BadSelector> {
    match validate::label_value(value) {
        Ok(()) => Ok(value.to_owned()),
        Err(reasons) => Err(BadSelector(format!(
            "has a bad value: {}",
            reasons.join("; ")
        ))),
    }
}

fn wrong(what: &str) -> BadSelector {
    BadSelector(what.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn printed(object: Value) -> String {
        match LabelSelector::of_object(&object) {
            Ok(selector) => selector.print(),
            Err(BadSelector(why)) => format!("! {why}"),
        }
    }

    #[test]
    fn parts_are_joined_by_and() {
        assert_eq!(
            printed(json!({
                "matchLabels": {"tier": "gold", "empty": ""},
                "matchExpressions": [
                    {"key": "zone", "operator": "In", "values": ["b", "a", "b"]},
                    {"key": "old", "operator": "DoesNotExist"},
                    {"key": "disk", "operator": "Exists", "values": []},
                    {"key": "gpu", "operator": "NotIn", "values": ["no"]},
                ],
            })),
            "disk,empty=,gpu!=no,!old,tier=gold,zone in (a,b)"
        );
        assert_eq!(printed(json!({})), "");
        assert_eq!(
            printed(json!({"matchLabels": null, "matchExpressions": null})),
            ""
        );
    }

    #[test]
    fn nothing_of_a_wrong_selector_is_taken() {
        for object in [
            json!(null),
            json!("a=b"),
            json!({"matchLabel": {"a": "b"}}),
            json!({"matchLabels": ["a"]}),
            json!({"matchLabels": {"a": 1}}),
            json!({"matchLabels": {"a b": "c"}}),
            json!({"matchLabels": {"a": "c d"}}),
            json!({"matchExpressions": {"key": "a"}}),
            json!({"matchExpressions": [{"key": "a", "operator": "In"}]}),
            json!({"matchExpressions": [{"key": "a", "operator": "In", "values": []}]}),
            json!({"matchExpressions": [{"key": "a", "operator": "In", "values": "b"}]}),
            json!({"matchExpressions": [{"key": "a", "operator": "Exists", "values": ["b"]}]}),
            json!({"matchExpressions": [{"key": "a", "operator": "Gt", "values": ["1"]}]}),
            json!({"matchExpressions": [{"operator": "Exists"}]}),
            json!({"matchExpressions": ["a"]}),
        ] {
            assert!(printed(object.clone()).starts_with('!'), "{object}");
        }
    }
}
