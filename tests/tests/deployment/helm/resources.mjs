// Checks manifests of operators' kinds against the schemas of their definitions, and their fields against the names that those
// know: a misspelled one would be dropped without a word.
//
// node resources.mjs FOLDER_OF_THE_PACKAGES; reads from standard input a JSON list of [where, manifest], and prints a line for
// each mistake, an unknown kind among them.
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";

const packages = process.argv[2];
// The package, and where in it.
const kinds = {
  "gateway.networking.k8s.io/v1/HTTPRoute": "gateway-api",
  "gateway.networking.k8s.io/v1/BackendTLSPolicy": "gateway-api",
  "cert-manager.io/v1/Certificate": "cert-manager",
  "monitoring.coreos.com/v1/ServiceMonitor": "prometheus-operator",
  "monitoring.coreos.com/v1/PrometheusRule": "prometheus-operator",
};
// Maps whose keys are data.
const free = new Set(["labels", "annotations", "matchLabels", "metadata"]);

const known = {};
function fields(name) {
  const folder = join(packages, name, "_schemas");
  const files = readdirSync(folder).map((file) => join(folder, file));
  for (const shared of ["LabelSelector", "LabelSelectorRequirement"]) {
    files.push(join(packages, `apimachinery/_schemas/IoK8sApimachineryPkgApisMetaV1${shared}.js`));
  }
  known[name] ??= new Set(
    files
      .filter((file) => file.endsWith(".js"))
      .flatMap((file) => [...readFileSync(file, "utf8").matchAll(/data\d*\.(\w+)/g)].map((found) => found[1])),
  );
  return known[name];
}

function unknown(value, names, path) {
  if (Array.isArray(value)) return value.flatMap((item, at) => unknown(item, names, `${path}.${at}`));
  if (value === null || typeof value !== "object") return [];
  return Object.entries(value).flatMap(([key, inner]) => {
    const here = `${path}.${key}`;
    if (!names.has(key)) return [here];
    return free.has(key) ? [] : unknown(inner, names, here);
  });
}

for (const [where, manifest] of JSON.parse(readFileSync(0, "utf8"))) {
  const name = `${where}: ${manifest.kind} ${manifest.metadata.name}`;
  const kind = `${manifest.apiVersion}/${manifest.kind}`;
  if (!kinds[kind]) {
    console.log(`${name}: nobody knows ${kind}`);
    continue;
  }
  const path = join(packages, kinds[kind], `${kind}.js`);
  const model = new (await import(path))[manifest.kind](manifest);
  try {
    model.validate();
  } catch (error) {
    console.log(`${name}: ${error.message}`);
  }
  for (const field of unknown(manifest.spec, fields(kinds[kind]), "spec")) {
    console.log(`${name}: ${field}: no such field`);
  }
}
