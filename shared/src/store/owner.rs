//! Whose a subscription is.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::hashes::hash_of;

/// The owner of a subscription: issuer, subject and client of the token that it was made with, as
/// their SHA-256, cut to 128 bits. It tells owners apart and says of nobody who it is.
///
/// Only the hub makes one, of a token that it has verified; everybody else compares it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Owner([u8; 16]);

impl Owner {
    /// The owner who has this subject and this client at this issuer.
    pub fn of(issuer: &str, subject: Option<&str>, client: Option<&str>) -> Self {
        let hash = hash_of([Some(issuer), subject, client].map(|part| part.map(str::as_bytes)));
        let mut owner = [0; 16];
        owner.copy_from_slice(&hash[..16]);
        Self(owner)
    }
}

/// The text is not that of an owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an owner")]
pub struct NotAnOwner;

impl FromStr for Owner {
    type Err = NotAnOwner;

    fn from_str(text: &str) -> Result<Self, NotAnOwner> {
        let mut owner = [0; 16];
        hex::decode_to_slice(text, &mut owner).map_err(|_| NotAnOwner)?;
        Ok(Self(owner))
    }
}

impl TryFrom<String> for Owner {
    type Error = NotAnOwner;
    fn try_from(text: String) -> Result<Self, NotAnOwner> {
        text.parse()
    }
}

impl From<Owner> for String {
    fn from(owner: Owner) -> Self {
        owner.to_string()
    }
}

/// All 32 hexadecimal digits, as in the store.
impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// The first 8 digits: enough to follow an owner through the logs.
impl fmt::Debug for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0[..4]))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn owners_differ_in_any_part_and_parts_do_not_run_into_each_other() {
        let all = [
            Owner::of("https://as", Some("a"), Some("b")),
            Owner::of("https://as", Some("b"), Some("a")),
            Owner::of("https://as", Some("ab"), None),
            Owner::of("https://as", None, Some("ab")),
            Owner::of("https://as", Some("ab"), Some("")),
            Owner::of("https://as", Some(""), Some("ab")),
            Owner::of("https://asa", None, Some("b")),
            Owner::of("https://as", None, None),
        ];
        for (index, owner) in all.iter().enumerate() {
            assert_eq!(all.iter().position(|other| other == owner), Some(index), "FC-SEC-01");
        }
    }

    #[test]
    fn an_owner_survives_its_text_and_shows_nobody() {
        let owner = Owner::of("issuer", Some("subject"), Some("client"));
        assert_eq!(owner.to_string().parse::<Owner>().unwrap(), owner);
        assert_eq!(owner.to_string().len(), 32);
        assert!(owner.to_string().starts_with(&format!("{owner:?}")));
        assert!("12".parse::<Owner>().is_err());
    }
}
