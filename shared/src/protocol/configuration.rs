//! The well-known document (FC-CNF-01).

use serde::Serialize;

use super::confirmation::to_json;

/// What the hub can do, as `.well-known/fhircast-configuration` says it (2.7).
///
/// Every member is set from what the running hub does; there is no default that could lie.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Configuration {
    /// Names and wildcards of the events that may be subscribed to.
    pub events_supported: Vec<&'static str>,
    /// The WebSocket channel.
    pub websocket_support: bool,
    /// The webhook channel.
    pub webhook_support: bool,
    /// The version of FHIRcast that is implemented in full.
    pub fhircast_version: &'static str,
    /// Get Current Context.
    pub get_current_support: bool,
    /// The same and more, in the form of 3.0.0.
    pub capabilities: Capabilities,
    /// The FHIR version of the resources in the specification's events; others pass through.
    pub fhir_version: &'static str,
}

/// The `capabilities` of 3.0.0.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Capabilities {
    /// Get Current Context.
    pub supports_get_current_context: bool,
    /// Updates to an open context that is not the current one.
    pub supports_non_current_context_updates: bool,
}

impl Configuration {
    /// The document.
    pub fn to_json(&self) -> String {
        to_json(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_has_the_names_of_the_specification() {
        let configuration = Configuration {
            events_supported: vec!["*-open"],
            websocket_support: true,
            webhook_support: false,
            fhircast_version: "2.1.0-ballot",
            get_current_support: true,
            capabilities: Capabilities {
                supports_get_current_context: true,
                supports_non_current_context_updates: false,
            },
            fhir_version: "R4",
        };
        assert_eq!(
            configuration.to_json(),
            r#"{"eventsSupported":["*-open"],"websocketSupport":true,"webhookSupport":false,"fhircastVersion":"2.1.0-ballot","getCurrentSupport":true,"capabilities":{"supportsGetCurrentContext":true,"supportsNonCurrentContextUpdates":false},"fhirVersion":"R4"}"#,
            "FC-CNF-01"
        );
    }
}
