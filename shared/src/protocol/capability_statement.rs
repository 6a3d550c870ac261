//! The CapabilityStatement of the hub (FC-CNF-02; 2.7): where its FHIRcast is, for who looks there.

use serde_json::{Value, json};

/// The extension as 3.0.0, its ballot and 2.1.0-ballot name it: an app looks for the one that it knows.
const EXTENSIONS: [&str; 3] = [
    "http://fhircast.hl7.org/StructureDefinition/fhircast-configuration-extension",
    "http://hl7.org/fhir/uv/fhircast/StructureDefinition/fhircast-configuration-extension",
    "http://hl7.org/fhir/uv/fhircast/StructureDefinition/fhircast-configuration-extensions",
];

/// The resource, in R4. `hub_url` is the hub as its clients reach it, `date` an ISO 8601 date.
pub fn capability_statement(hub_url: &str, date: &str) -> Value {
    let extension = |url: &str| json!({"url": url, "extension": [{"url": "hub.url", "valueUrl": hub_url}]});
    json!({
        "resourceType": "CapabilityStatement",
        "extension": EXTENSIONS.map(extension),
        "status": "active",
        "date": date,
        "kind": "instance",
        "software": {"name": "fhircast-hub", "version": env!("CARGO_PKG_VERSION")},
        "implementation": {"description": "FHIRcast hub", "url": hub_url},
        "fhirVersion": "4.0.1",
        "format": ["json"],
        "rest": [{"mode": "server", "documentation": "A FHIRcast hub: it keeps apps in step and stores no resources."}],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_version_finds_its_extension_with_the_hubs_url() {
        let statement = capability_statement("https://hub.example/api/hub", "2026-01-01");
        assert_eq!(statement["resourceType"], "CapabilityStatement", "FC-CNF-02");
        assert_eq!(statement["extension"].as_array().map(Vec::len), Some(EXTENSIONS.len()), "FC-CNF-02");
        for (extension, url) in statement["extension"].as_array().into_iter().flatten().zip(EXTENSIONS) {
            assert_eq!(extension["url"], url, "FC-CNF-02");
            assert_eq!(extension["extension"][0]["url"], "hub.url", "FC-CNF-02");
            assert_eq!(extension["extension"][0]["valueUrl"], "https://hub.example/api/hub", "FC-CNF-02");
        }
    }
}
