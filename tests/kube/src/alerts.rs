//! Alerts and dashboards of the chart: cases by promtool, metrics that are documented, a page for each alert.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::house::{rendered, root};
use crate::plane::Plane;
use crate::tools;

/// Cases beside the rules that the chart renders: each alert fires in one and is silent in another.
pub async fn every_alert_fires_when_it_should_and_is_silent_when_it_should_not(_: Arc<Plane>) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut rules = rules(&[]);
    let mut alerts = BTreeSet::new();
    for alert in alerts_of(&mut rules) {
        alerts.insert(alert["alert"].as_str().expect("a name").to_owned());
        // Its page is looked at by another test.
        alert["annotations"].as_object_mut().expect("annotations").remove("runbook_url");
    }
    // JSON is YAML.
    fs::write(folder.path().join("rules.yaml"), rules.to_string()).expect("written");
    let (mut firing, mut silent) = (BTreeSet::new(), BTreeSet::new());
    let mut files = Vec::new();
    for entry in fs::read_dir(root().join("tests/kube/alerts")).expect("the cases") {
        let path = entry.expect("a file").path();
        let text = fs::read_to_string(&path).expect("text");
        let cases: Value = serde_saphyr::from_str(&text).expect("YAML");
        for case in cases["tests"].as_array().expect("cases") {
            for test in case["alert_rule_test"].as_array().expect("alerts") {
                let wanted = test["exp_alerts"].as_array().is_some_and(|alerts| !alerts.is_empty());
                let name = test["alertname"].as_str().expect("a name").to_owned();
                if wanted { &mut firing } else { &mut silent }.insert(name);
            }
        }
        let copy = folder.path().join(path.file_name().expect("a name"));
        fs::write(&copy, text).expect("written");
        files.push(copy);
    }
    assert_eq!(firing, alerts, "an alert without a case in which it fires, or a case of no alert");
    assert_eq!(silent, alerts, "an alert without a case in which it is silent, or a case of no alert");
    let said = tools::run_well(tools::command("promtool").args(["test", "rules"]).args(&files));
    assert_eq!(said.matches("SUCCESS").count(), files.len(), "{said}");
}

/// What the values say of alerts.
pub async fn alerts_can_be_left_out_and_given_labels(_: Arc<Plane>) {
    let all = alerts_of(&mut rules(&[])).count();
    let mut chosen =
        rules(&["--set", "metrics.rules.disabled={TomboloLinkBacklog},metrics.rules.alertLabels.team=mqtt"]);
    let chosen: Vec<_> = alerts_of(&mut chosen).collect();
    assert_eq!(chosen.len(), all - 1);
    assert!(chosen.iter().all(|alert| alert["alert"] != "TomboloLinkBacklog"));
    assert!(chosen.iter().all(|alert| alert["labels"]["team"] == "mqtt" && alert["labels"]["severity"].is_string()));
}

/// Every metric is documented, every alert has its page, every page its alert.
pub async fn alerts_rest_on_documented_metrics_and_have_a_page(_: Arc<Plane>) {
    let documented = documented();
    let mut rules = rules(&[]);
    let mut pages = BTreeSet::new();
    for alert in alerts_of(&mut rules) {
        let (name, expression) =
            (alert["alert"].as_str().expect("a name"), alert["expr"].as_str().expect("an expression"));
        let unknown: Vec<_> = metrics(expression).into_iter().filter(|metric| !documented.contains(metric)).collect();
        assert!(unknown.is_empty(), "{name}: {unknown:?} are not documented");
        let page = fs::read_to_string(root().join(format!("docs/runbooks/{name}.md"))).unwrap_or_default();
        assert!(page.starts_with(&format!("# {name}: ")), "{name} has no page");
        for part in ["**What it means.**", "**Look.**", "**Mend.**"] {
            assert!(page.contains(part), "the page of {name} has no {part}");
        }
        let url = alert["annotations"]["runbook_url"].as_str().expect("a page");
        assert!(url.starts_with("https://") && url.ends_with(&format!("/{name}.md")), "{url}");
        pages.insert(format!("{name}.md"));
    }
    let found = fs::read_dir(root().join("docs/runbooks")).expect("the pages");
    let found = found.map(|entry| entry.expect("a file").file_name().into_string().expect("text")).collect();
    assert_eq!(pages, found, "a page that no alert leads to");
}

/// Every panel says what it shows, and shows what exists.
pub async fn dashboards_rest_on_documented_metrics_and_every_panel_is_described(_: Arc<Plane>) {
    let objects = rendered(&["--set", "dashboards.enabled=true,dashboards.labels.grafana_dashboard=yes"]);
    let maps: Vec<_> = objects.iter().filter(|object| object["kind"] == "ConfigMap").collect();
    assert_eq!(maps.len(), 2);
    let documented = documented();
    let folder = tempfile::tempdir().expect("a folder");
    let mut uids = BTreeSet::new();
    for map in maps {
        assert_eq!(map["metadata"]["labels"]["grafana_dashboard"], "yes");
        let data = map["data"].as_object().expect("files");
        assert_eq!(data.len(), 1);
        let (file, text) = data.iter().next().expect("a file");
        let dashboard: Value = serde_json::from_str(text.as_str().expect("text")).expect("JSON");
        assert!(uids.insert(dashboard["uid"].as_str().expect("an id of its own").to_owned()));
        let panels = dashboard["panels"].as_array().expect("panels");
        let mut queries = Vec::new();
        for panel in panels.iter().filter(|panel| panel["type"] != "row") {
            let title = panel["title"].as_str().expect("a title");
            assert!(panel["description"].as_str().is_some_and(|text| text.len() > 20), "{file}: {title} says nothing");
            assert_eq!(panel["datasource"]["uid"], "${datasource}", "{file}: {title} is of one installation alone");
            let targets = panel["targets"].as_array().expect("queries");
            assert!(!targets.is_empty(), "{file}: {title} shows nothing");
            for target in targets {
                let query = target["expr"].as_str().expect("a query");
                let used = metrics(query);
                assert!(!used.is_empty(), "{file}: {title} has no metric of ours");
                let unknown: Vec<_> = used.into_iter().filter(|metric| !documented.contains(metric)).collect();
                assert!(unknown.is_empty(), "{file}: {title}: {unknown:?} are not documented");
                queries.push(query.replace("$__rate_interval", "5m"));
            }
        }
        assert!(overlaps(panels).is_empty(), "{file}: {:?} lie upon each other", overlaps(panels));
        check_queries(folder.path(), file, &queries);
    }
}

/// Prometheus must be able to read them.
fn check_queries(folder: &Path, file: &str, queries: &[String]) {
    let rules: Vec<_> = queries
        .iter()
        .enumerate()
        .map(|(number, query)| json!({"record": format!("query:{number}"), "expr": query}))
        .collect();
    let path = folder.join(file);
    fs::write(&path, json!({"groups": [{"name": file, "rules": rules}]}).to_string()).expect("written");
    tools::run_well(tools::command("promtool").args(["check", "rules", "--lint=none"]).arg(path));
}

/// Titles of panels that share a place.
fn overlaps(panels: &[Value]) -> Vec<(&Value, &Value)> {
    let place = |panel: &Value| ["x", "y", "w", "h"].map(|key| panel["gridPos"][key].as_u64().expect("a place"));
    let mut found = Vec::new();
    for (at, panel) in panels.iter().enumerate() {
        let [x, y, w, h] = place(panel);
        assert!(x + w <= 24, "{} is wider than the page", panel["title"]);
        for other in &panels[at + 1..] {
            let [u, v, b, t] = place(other);
            if x < u + b && u < x + w && y < v + t && v < y + h {
                found.push((&panel["title"], &other["title"]));
            }
        }
    }
    found
}

/// The `spec` of the PrometheusRule.
fn rules(arguments: &[&str]) -> Value {
    let enabled = ["--set", "metrics.rules.enabled=true"];
    let objects = rendered(&[&enabled, arguments].concat());
    let rules: Vec<_> = objects.into_iter().filter(|object| object["kind"] == "PrometheusRule").collect();
    assert_eq!(rules.len(), 1);
    rules[0]["spec"].clone()
}

fn alerts_of(rules: &mut Value) -> impl Iterator<Item = &mut Value> {
    let groups = rules["groups"].as_array_mut().expect("groups").iter_mut();
    groups.flat_map(|group| group["rules"].as_array_mut().expect("rules").iter_mut())
}

/// The metrics of ours that an expression names; of a histogram, its name.
fn metrics(expression: &str) -> BTreeSet<String> {
    let words = expression.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let ours = words.filter(|word| word.starts_with("tombolo_"));
    ours.map(|word| word.strip_suffix("_bucket").unwrap_or(word).to_owned()).collect()
}

/// The metrics that the documents name.
fn documented() -> BTreeSet<String> {
    let read = |file: &str| fs::read_to_string(root().join("docs").join(file)).expect("a document");
    metrics(&(read("metrics.md") + &read("operator.md")))
}
