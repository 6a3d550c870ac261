//! The well-known document of this hub (FC-CNF-01): what is said here is what the hub does.

use shared::protocol::configuration::{Capabilities, Configuration};

/// The document.
pub fn document() -> Configuration {
    Configuration {
        events_supported: vec![
            "Patient-open",
            "Patient-close",
            "Encounter-open",
            "Encounter-close",
            "ImagingStudy-open",
            "ImagingStudy-close",
            "DiagnosticReport-open",
            "DiagnosticReport-close",
            "DiagnosticReport-update",
            "DiagnosticReport-select",
            "*-open",
            "*-close",
            "*-update",
            "*-select",
            "home-open",
            "userLogout",
            "userHibernate",
            "syncerror",
            "heartbeat",
        ],
        websocket_support: true,
        webhook_support: true,
        fhircast_version: "2.1.0-ballot",
        get_current_support: true,
        capabilities: Capabilities {
            supports_get_current_context: true,
            supports_non_current_context_updates: true,
        },
        fhir_version: "R4",
    }
}
