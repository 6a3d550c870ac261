//! Helm, and the manifests that it makes of the chart's values files (`ci/*-values.yaml`).

use std::fs;
use std::process::Command;
use std::sync::OnceLock;

use serde_json::Value;

use crate::tools::{attempt, repository, run, run_with, tool, yaml, yaml_documents};

/// Where the chart is, from the top of the repository.
pub const CHART: &str = "helm/fhircast-hub";
/// The oldest Kubernetes that the chart is for, and the newest whose schemas are at hand.
pub const KUBERNETES: [&str; 2] = ["1.27", "1.37"];
/// Begins what was made of one file, in a text with all of it.
const BEGIN: &str = "begin:";

/// What helm makes of one values file for one version of Kubernetes.
pub struct Rendered {
    /// The file, as `sentinel`.
    pub values: String,
    /// The version, as `1.27`.
    pub kubernetes: &'static str,
    pub manifests: Vec<Value>,
}

impl Rendered {
    /// To say where something is wrong.
    pub fn name(&self) -> String {
        format!("{} for Kubernetes {}", self.values, self.kubernetes)
    }

    /// The manifests of a kind.
    pub fn of<'a>(&'a self, kind: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
        let kind = kind.to_owned();
        self.manifests.iter().filter(move |manifest| manifest["kind"] == *kind)
    }

    /// The one manifest of a kind whose name ends so.
    pub fn one(&self, kind: &str, ending: &str) -> &Value {
        let mut found = self.of(kind).filter(|manifest| name_of(manifest).ends_with(ending));
        let one = found.next().unwrap_or_else(|| panic!("{}: there is no {kind} …{ending}", self.name()));
        assert!(found.next().is_none(), "{}: there are two {kind} …{ending}", self.name());
        one
    }

    /// The file with the settings.
    pub fn settings(&self) -> &str {
        text(&self.one("ConfigMap", "-config")["data"]["fhircast.toml"])
    }

    /// Every pod that is made, by the name of what makes it: its labels and its spec.
    pub fn pods(&self) -> Vec<(String, &Value, &Value)> {
        let templates =
            ["Deployment", "StatefulSet"].into_iter().flat_map(|kind| self.of(kind)).map(|owner| {
                let template = &owner["spec"]["template"];
                (name_of(owner), &template["metadata"]["labels"], &template["spec"])
            });
        let alone = self.of("Pod").map(|pod| (name_of(pod), &pod["metadata"]["labels"], &pod["spec"]));
        templates.chain(alone).map(|(name, labels, spec)| (name.to_owned(), labels, spec)).collect()
    }
}

/// The name of a manifest.
pub fn name_of(manifest: &Value) -> &str {
    text(&manifest["metadata"]["name"])
}

/// A text that must be one.
pub fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

/// A list; none where there is nothing.
pub fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// Whether all that a selector asks for is among these labels.
pub fn selects(selector: &Value, labels: &Value) -> bool {
    let selector = selector.as_object().unwrap_or_else(|| panic!("{selector} is no selector"));
    !selector.is_empty() && selector.iter().all(|(name, value)| labels.get(name) == Some(value))
}

/// The files, by their names without an ending: `ci/sentinel-values.yaml` is `sentinel`.
pub fn value_files() -> Vec<String> {
    let files = fs::read_dir(repository().join(CHART).join("ci")).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> =
        names.filter_map(|name| name.strip_suffix("-values.yaml").map(str::to_owned)).collect();
    names.sort();
    names
}

/// Where a file is, from the top of the repository.
pub fn path_of(values: &str) -> String {
    format!("{CHART}/ci/{values}-values.yaml")
}

/// `helm template` for a version of Kubernetes.
pub fn template(kubernetes: &str) -> Command {
    let mut command = Command::new(tool("helm"));
    command.args(["template", "hub", CHART, "--namespace", "fhir", "--kube-version"]);
    command.arg(format!("{kubernetes}.0"));
    command
}

/// What it makes of these values, beside those of a file; or what it says.
pub fn try_template(values: &str, more: &str) -> Result<Vec<Value>, String> {
    let mut command = template(KUBERNETES[1]);
    command.args(["-f", &path_of(values), "-f", "-"]);
    match attempt(&mut command, more) {
        (true, made) => {
            Ok(yaml_documents(&made).into_iter().filter(|manifest| !manifest.is_null()).collect())
        }
        (false, said) => Err(said),
    }
}

/// What is made of all files for both versions, once for all tests.
pub fn rendered() -> &'static [Rendered] {
    static RENDERED: OnceLock<Vec<Rendered>> = OnceLock::new();
    RENDERED.get_or_init(|| {
        let mut all = String::new();
        for values in value_files() {
            for kubernetes in KUBERNETES {
                let made = run(template(kubernetes).args(["-f", &path_of(&values)]));
                all.push_str(&format!("---\n{BEGIN} [{values}, \"{kubernetes}\"]\n{made}\n"));
            }
        }
        let mut rendered: Vec<Rendered> = Vec::new();
        for document in yaml_documents(&all) {
            if let Some(begin) = document.get("begin") {
                let kubernetes = KUBERNETES.into_iter().find(|version| *version == text(&begin[1])).unwrap();
                rendered.push(Rendered {
                    values: text(&begin[0]).to_owned(),
                    kubernetes,
                    manifests: Vec::new(),
                });
            } else if !document.is_null() {
                rendered.last_mut().unwrap().manifests.push(document);
            }
        }
        rendered
    })
}

#[test]
fn every_values_file_passes_helm_lint() {
    let files = value_files();
    assert!(files.len() >= 6, "{files:?}");
    for values in files {
        run(Command::new(tool("helm")).args(["lint", "--strict", CHART, "-f", &path_of(&values)]));
    }
}

#[test]
fn no_key_is_there_twice_and_every_label_is_a_text_whatever_releases_and_labels_are_called() {
    let labels = "{commonLabels: {a: common, app.kubernetes.io/name: common}, podLabels: {a: pods, b: pods}, \
                  hub: {podLabels: {b: hub, app.kubernetes.io/instance: hub}}, \
                  monitoring: {serviceMonitor: {labels: {a: \"1\"}}, prometheusRule: {labels: {a: \"2\"}}}}";
    let mut command = Command::new(tool("helm"));
    command.args([
        "template",
        "1234",
        CHART,
        "--kube-version",
        "1.37.0",
        "-f",
        &path_of("monitoring"),
        "-f",
        "-",
    ]);
    let (success, made) = attempt(&mut command, labels);
    assert!(success, "{made}");
    let mut lint = Command::new(tool("yamllint"));
    assert_eq!(run_with(lint.args(["-d", "{rules: {key-duplicates: enable}}", "-"]), &made), "");
    let mut pods = 0;
    for manifest in yaml_documents(&made).into_iter().filter(|manifest| !manifest.is_null()) {
        let template = &manifest["spec"]["template"]["metadata"]["labels"];
        for labels in [&manifest["metadata"]["labels"], template] {
            for (name, value) in labels.as_object().into_iter().flatten() {
                assert!(value.is_string(), "{}: {name}: {value}", manifest["kind"]);
            }
        }
        assert!(manifest["metadata"]["name"].is_string(), "{manifest}");
        let own = [("ServiceMonitor", "1"), ("PrometheusRule", "2")]
            .into_iter()
            .find(|own| manifest["kind"] == own.0);
        if let Some((kind, label)) = own {
            assert_eq!(manifest["metadata"]["labels"]["a"], label, "{kind}");
        }
        if manifest["kind"] == "Deployment" {
            assert!(selects(&manifest["spec"]["selector"]["matchLabels"], template), "{template}");
            assert_eq!(template["app.kubernetes.io/instance"], "1234");
            assert_eq!(template["a"], "pods");
            let is_hub = template["app.kubernetes.io/component"] == "hub";
            assert_eq!(template["b"], if is_hub { "hub" } else { "pods" });
            pods += 1;
        }
    }
    assert_eq!(pods, 2);
}

#[test]
fn a_packaged_chart_holds_the_files_that_its_links_lead_to_and_makes_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().to_str().unwrap();
    run(Command::new(tool("helm")).args(["package", CHART, "--destination", folder]));
    let package = fs::read_dir(folder).unwrap().next().unwrap().unwrap().path();
    let values = path_of("monitoring");
    let of_package = run(Command::new(tool("helm")).args(["template", "hub"]).arg(package).args([
        "--namespace",
        "fhir",
        "--kube-version",
        "1.37.0",
        "-f",
        &values,
    ]));
    let of_folder = run(template("1.37").args(["-f", &values]));
    assert!(of_package == of_folder, "the package makes something else");
}

#[test]
fn the_chart_is_for_the_programs_of_this_version() {
    let chart = yaml(&format!("{CHART}/Chart.yaml"));
    assert_eq!(chart["appVersion"], env!("CARGO_PKG_VERSION"));
}
