//! When an event counts as accepted.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Who must have an event before it is answered with 202.
///
/// - `primary`: the server that has the topic. What it has not handed on is lost if another takes over.
/// - `replicas=N`: N of its replicas as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub enum Durability {
    /// The primary alone.
    Primary,
    /// The primary and so many of its replicas, at least one.
    Replicas(u32),
}

/// More replicas than a primary sensibly has.
const MOST_REPLICAS: u32 = 16;

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Primary => f.write_str("primary"),
            Self::Replicas(replicas) => write!(f, "replicas={replicas}"),
        }
    }
}

impl FromStr for Durability {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "primary" {
            return Ok(Self::Primary);
        }
        let replicas = text.strip_prefix("replicas").map(|rest| rest.trim_start().strip_prefix('='));
        let replicas = replicas.flatten().and_then(|number| number.trim().parse().ok());
        match replicas {
            Some(replicas @ 1..=MOST_REPLICAS) => Ok(Self::Replicas(replicas)),
            _ => {
                Err(format!("must be primary, or replicas=N with N from 1 to {MOST_REPLICAS}, not {text:?}"))
            }
        }
    }
}

impl TryFrom<String> for Durability {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Durability> for String {
    fn from(durability: Durability) -> Self {
        durability.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_durability_survives_its_text() {
        for (text, durability) in [
            ("primary", Durability::Primary),
            ("replicas=1", Durability::Replicas(1)),
            ("replicas = 2", Durability::Replicas(2)),
        ] {
            assert_eq!(text.parse(), Ok(durability));
            assert_eq!(durability.to_string().parse(), Ok(durability));
        }
        for text in ["", "replicas", "replicas=", "replicas=0", "replicas=17", "replicas=x", "Primary", "1"] {
            assert!(text.parse::<Durability>().is_err(), "{text}");
        }
    }
}
