//! Where the audit trail goes.

use std::{fmt, path::PathBuf, str::FromStr};

use serde::{Deserialize, Serialize};

use super::{tree::settings, values::between};

settings! {
    /// The record of who did what.
    pub struct Audit {
        /// Where the audit trail goes: "off", "stdout", or the path of a file of this program's own, which may be
        /// moved away at any time: another is begun then.
        to: AuditTarget = AuditTarget::Off;
        /// Form of its lines: "json", or "fhir" for AuditEvents of FHIR R4.
        format: AuditFormat = AuditFormat::Json;
        /// Whether requests are refused (503) that it cannot take, and the program is not ready then; else they are
        /// served, and counted as lost to it.
        required: bool = false;
        /// Records that may wait to be written.
        waiting_records: usize = 10_000, between(1, 1_000_000);
    }
}

/// Where audit records go.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub enum AuditTarget {
    /// There are none.
    Off,
    /// To standard output; the log goes to standard error.
    Stdout,
    /// To the end of this file.
    File(PathBuf),
}

impl fmt::Display for AuditTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::Stdout => f.write_str("stdout"),
            Self::File(path) => write!(f, "{}", path.display()),
        }
    }
}

impl FromStr for AuditTarget {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self::Off),
            "stdout" => Ok(Self::Stdout),
            // A path without one is more likely a word that was meant to be one of the two.
            path if path.contains('/') => Ok(Self::File(path.into())),
            _ => Err(format!("must be off, stdout, or a path with a slash in it, not {text:?}")),
        }
    }
}

impl TryFrom<String> for AuditTarget {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<AuditTarget> for String {
    fn from(target: AuditTarget) -> Self {
        target.to_string()
    }
}

/// How audit records look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AuditFormat {
    /// One flat JSON object a line.
    Json,
    /// One AuditEvent of FHIR R4 a line.
    Fhir,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_survives_its_text_and_a_mere_word_is_no_path() {
        for (text, target) in [
            ("off", AuditTarget::Off),
            ("stdout", AuditTarget::Stdout),
            ("/var/log/audit.ndjson", AuditTarget::File("/var/log/audit.ndjson".into())),
            ("./audit", AuditTarget::File("./audit".into())),
        ] {
            assert_eq!(text.parse(), Ok(target.clone()));
            assert_eq!(target.to_string(), text);
        }
        for text in ["", "on", "std-out", "Off"] {
            assert!(text.parse::<AuditTarget>().is_err(), "{text}");
        }
    }
}
