//! What is shipped for Grafana and Prometheus, taken apart: the dashboard's queries and the alert rules' conditions.
#![allow(dead_code, missing_docs, unreachable_pub)]

use std::collections::BTreeMap;

use serde_json::Value;

use crate::prometheus::Labels;

pub const DASHBOARD: &str = include_str!("../../grafana/dashboards/kaval.json");

/// The dashboard.
pub fn dashboard() -> Value {
    serde_json::from_str(DASHBOARD).unwrap()
}

/// Something that Grafana asks Prometheus, and what it calls each series of the answer.
#[derive(Debug, Clone)]
pub struct Query {
    pub of: String,
    pub expr: String,
    pub legend: String,
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

/// The panels that show something, rows left out.
pub fn panels(dashboard: &Value) -> Vec<&Value> {
    dashboard["panels"].as_array().unwrap().iter().filter(|panel| panel["type"] != "row").collect()
}

/// Every query of panels and annotations, in order.
pub fn queries(dashboard: &Value) -> Vec<Query> {
    let target = |of: &Value, target: &Value, legend: &str| Query {
        of: text(of),
        expr: text(&target["expr"]),
        legend: text(&target[legend]),
    };
    let of_panel = |panel: &Value| -> Vec<Query> {
        let targets = panel["targets"].as_array().unwrap();
        targets.iter().map(|it| target(&panel["title"], it, "legendFormat")).collect()
    };
    let annotations = dashboard["annotations"]["list"].as_array().unwrap().iter().filter(|it| it["builtIn"] != 1);
    let of_annotations =
        annotations.map(|it| target(&Value::from(format!("annotation {}", text(&it["name"]))), it, "titleFormat"));
    panels(dashboard).into_iter().flat_map(of_panel).chain(of_annotations).collect()
}

/// A variable's question for the values of a label, as a query: `label_values(metric, label)`.
pub fn variables(dashboard: &Value) -> BTreeMap<String, (String, String)> {
    let list = dashboard["templating"]["list"].as_array().unwrap();
    let asked = |variable: &Value| {
        let query = text(&variable["query"]["query"]);
        let inner = query.strip_prefix("label_values(").unwrap().strip_suffix(')').unwrap();
        let (metric, label) = inner.rsplit_once(", ").unwrap();
        (text(&variable["name"]), (format!("group by ({label}) ({metric})"), label.to_owned()))
    };
    list.iter().filter(|variable| variable["type"] == "query").map(asked).collect()
}

/// A query with the variables' values in their places.
pub fn filled(expr: &str, values: &[(&str, &str)]) -> String {
    let mut values = values.to_vec();
    values.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
    let filled = values.iter().fold(expr.to_owned(), |expr, (name, value)| expr.replace(&format!("${name}"), value));
    let unknown = filled.match_indices('$').any(|(at, _)| !filled[at + 1..].starts_with(|c: char| c.is_ascii_digit()));
    assert!(!unknown, "a variable that is not known: {filled}");
    filled
}

/// What Grafana writes for a series: `{{label}}` is the label's value.
pub fn called(legend: &str, labels: &Labels) -> String {
    let (mut called, mut rest) = (String::new(), legend);
    while let Some((before, after)) = rest.split_once("{{") {
        let (label, after) = after.split_once("}}").unwrap();
        called.push_str(before);
        called.push_str(labels.get(label.trim()).unwrap_or_else(|| panic!("{legend}: no {label} in {labels:?}")));
        rest = after;
    }
    called + rest
}

/// What an alert compares: each part of `left OP right and left OP right`, without the comparison.
pub fn compared(condition: &str) -> Vec<&str> {
    let operators = [" == ", " < ", " > "];
    let part = |part| -> &str {
        let end = operators.iter().filter_map(|operator| str::rfind(part, operator)).max().expect("a comparison");
        &part[..end]
    };
    condition.split(" and ").map(str::trim).map(part).collect()
}

/// The names of the metrics that a query asks for, as the contract names them.
pub fn metrics(expr: &str) -> Vec<String> {
    let words = expr.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let metric = |word: &&str| word.starts_with("kaval_") || word.starts_with("process_");
    words.filter(metric).map(|word| word.trim_end_matches("_bucket").to_owned()).collect()
}
