//! The keys that seal what Redis keeps (FC-SEC-03): their form, as a list or in a file, and nothing that shows them.
//!
//! `Debug` and `Serialize` show the ids alone, and so does every error.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Settings;
use super::mistakes::Mistake;
use crate::files::read_at_most;

/// The most keys that there may be: rotation needs two.
const MAX_KEYS: usize = 16;
/// The most bytes of a file of keys.
const MAX_FILE_BYTES: u64 = 65_536;
/// Why what is not sealed cannot be refused.
pub(super) const NONE_SEALS: &str =
    "what is not sealed is to be refused, and no key seals: this program could not read what it writes";
/// What stands first when nothing is to be sealed any more, or not yet.
const UNSEALED: &str = "unsealed";

/// The name of a key, which stands beside what it seals: 1 to 16 of `a-z`, `0-9`, `_` and `-`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(String);

impl KeyId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for KeyId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte);
        if (1..=16).contains(&text.len()) && text.bytes().all(is_plain) {
            Ok(Self(text.to_owned()))
        } else {
            // What stands there may be the key itself.
            Err("an id must be 1 to 16 of a-z, 0-9, _ and -, and be followed by a colon".to_owned())
        }
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One key with its id.
#[derive(Clone, PartialEq, Eq)]
pub struct DataKey {
    id: KeyId,
    secret: [u8; 32],
}

impl DataKey {
    /// Its name.
    pub fn id(&self) -> &KeyId {
        &self.id
    }

    /// The key itself: for sealing and opening only.
    pub fn expose(&self) -> &[u8; 32] {
        &self.secret
    }
}

impl FromStr for DataKey {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (id, secret) = text.split_once(':').unwrap_or(("", text));
        let id: KeyId = id.parse()?;
        let secret = STANDARD.decode(secret).ok().and_then(|secret| secret.try_into().ok());
        let secret = secret.ok_or_else(|| format!("the key {id} must be base64 of 32 bytes"))?;
        Ok(Self { id, secret })
    }
}

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:***", self.id)
    }
}

/// All keys. The first one seals, unless `unsealed` stands before it; all open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DataKeys {
    keys: Vec<DataKey>,
    opens_only: bool,
    are_required: bool,
}

impl DataKeys {
    /// Reads the elements of a list, or the lines of a file.
    pub fn parse<'a>(elements: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let mut read = Self::default();
        for (at, element) in elements.into_iter().enumerate() {
            if element == UNSEALED {
                if at > 0 {
                    return Err(format!("{UNSEALED} must be the first element"));
                }
                read.opens_only = true;
                continue;
            }
            let key: DataKey = element.parse().map_err(|reason| format!("element {}: {reason}", at + 1))?;
            if read.keys.iter().any(|known| known.id == key.id) {
                return Err(format!("the id {} is there twice", key.id));
            }
            if read.keys.len() == MAX_KEYS {
                return Err(format!("there are more than {MAX_KEYS} keys"));
            }
            read.keys.push(key);
        }
        Ok(read)
    }

    /// Reads a file with one key on each line.
    pub fn read(path: &Path) -> Result<Self, String> {
        let bytes = read_at_most(path, MAX_FILE_BYTES).map_err(|error| error.to_string())?;
        // The error of UTF-8 itself would hold the bytes.
        let text = String::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())?;
        let lines = text.lines().map(str::trim);
        let read = Self::parse(lines.filter(|line| !line.is_empty() && !line.starts_with('#')))?;
        // A file that was emptied by mistake is not the wish to seal nothing.
        if read.is_empty() { Err("there is no key in it".to_owned()) } else { Ok(read) }
    }

    /// The key that seals; `None`: nothing is sealed.
    pub fn sealing(&self) -> Option<&DataKey> {
        self.keys.first().filter(|_| !self.opens_only)
    }

    /// The keys that open.
    pub fn opening(&self) -> &[DataKey] {
        &self.keys
    }

    /// The same keys; whether what is not sealed is refused (`data_keys_required`).
    pub fn required(self, are_required: bool) -> Self {
        Self { are_required, ..self }
    }

    /// Is what is not sealed refused?
    pub fn are_required(&self) -> bool {
        self.are_required
    }

    /// Is there none?
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty() && !self.opens_only
    }
}

impl Serialize for DataKeys {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let first = self.opens_only.then(|| UNSEALED.to_owned());
        serializer.collect_seq(first.into_iter().chain(self.keys.iter().map(|key| format!("{key:?}"))))
    }
}

impl<'de> Deserialize<'de> for DataKeys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Elements;
        impl<'de> Visitor<'de> for Elements {
            type Value = DataKeys;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of keys")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<DataKeys, A::Error> {
                let mut elements: Vec<String> = Vec::new();
                while let Some(element) = seq.next_element()? {
                    elements.push(element);
                }
                DataKeys::parse(elements.iter().map(String::as_str)).map_err(A::Error::custom)
            }

            /// Without this the message would quote the text, which may be a key.
            fn visit_str<E: Error>(self, _: &str) -> Result<DataKeys, E> {
                Err(E::custom("it is text and no list"))
            }
        }
        deserializer.deserialize_seq(Elements)
    }
}

impl Settings {
    /// The keys of `data_keys`, or those in the file that `data_keys_file` names, required if `data_keys_required`
    /// says so.
    pub fn sealing_keys(&self) -> Result<DataKeys, Mistake> {
        let Some(path) = &self.data_keys_file else {
            return Ok(self.data_keys.clone().required(self.data_keys_required));
        };
        let read = DataKeys::read(path).and_then(|keys| match keys.sealing() {
            None if self.data_keys_required => Err(format!("{NONE_SEALS} (data_keys_required)")),
            _ => Ok(keys.required(self.data_keys_required)),
        });
        read.map_err(|reason| Mistake::Value {
            setting: "data_keys_file".to_owned(),
            reason,
            origin: format!("the file {}", path.display()),
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::settings::{Defaults, Flags};

    const A: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    const B: &str = "Hx4dHBsaGRgXFhUUExIREA8ODQwLCgkIBwYFBAMCAQA=";

    fn load(env: &[(&str, &str)]) -> Result<Settings, String> {
        let own = |(name, value): &(&str, &str)| (name.to_string(), value.to_string());
        let settings = Settings::load(Defaults::Standard, &Flags::default(), env.iter().map(own));
        settings.map_err(|mistakes| mistakes.to_string())
    }

    fn ids(keys: &DataKeys) -> Vec<&str> {
        keys.opening().iter().map(|key| key.id().as_str()).collect()
    }

    #[test]
    fn the_first_key_seals_and_all_open() {
        let keys = load(&[("FHIRCAST_DATA_KEYS", &format!("2026-11:{A},2026-10:{B}"))]).unwrap().data_keys;
        assert_eq!(ids(&keys), ["2026-11", "2026-10"]);
        assert_eq!(keys.sealing().unwrap().id().as_str(), "2026-11");
        assert_eq!(keys.sealing().unwrap().expose()[..3], [0, 1, 2]);
        let keys = DataKeys::parse(["unsealed", &format!("k:{A}")]).unwrap();
        assert_eq!((keys.sealing(), ids(&keys)), (None, vec!["k"]));
        assert!(DataKeys::default().is_empty() && DataKeys::default().sealing().is_none());
    }

    #[test]
    fn what_is_wrong_names_the_setting_and_shows_no_key() {
        let long = format!("{A}{B}");
        for (value, says) in [
            (A.to_owned(), "element 1: an id must be"),
            (format!("K:{A}"), "element 1: an id must be"),
            (format!(":{A}"), "an id must be"),
            (format!("0123456789abcdefg:{A}"), "an id must be"),
            (format!("a:{A},k:{}", &A[..40]), "element 2: the key k must be base64 of 32 bytes"),
            (format!("k:{long}"), "the key k must be base64 of 32 bytes"),
            ("k:***".to_owned(), "the key k must be base64 of 32 bytes"),
            (format!("k:{A},k:{B}"), "the id k is there twice"),
            (format!("k:{A},unsealed"), "unsealed must be the first element"),
            ((0..17).map(|n| format!("k{n}:{A}")).collect::<Vec<_>>().join(","), "more than 16 keys"),
            (format!("[[\"k:{A}\"]]"), "must be a list of keys"),
            (format!("[\"k:{A}\""), "must be a TOML array"),
        ] {
            let problem = load(&[("FHIRCAST_DATA_KEYS", &value)]).unwrap_err();
            assert!(problem.starts_with("data_keys: ") && problem.contains(says), "{problem}");
            assert!(!problem.contains(&A[..12]) && !problem.contains(&B[..12]), "FC-SEC-03: {problem}");
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hub.toml");
        std::fs::write(&path, format!("data_keys = \"k:{A}\"")).unwrap();
        let flags = Flags { config: Some(path), ..Flags::default() };
        let problem = Settings::load(Defaults::Standard, &flags, []).unwrap_err().to_string();
        assert!(problem.starts_with("data_keys: ") && !problem.contains(&A[..12]), "FC-SEC-03: {problem}");
    }

    #[test]
    fn what_is_not_sealed_can_be_refused_by_who_seals_alone() {
        let required = ("FHIRCAST_DATA_KEYS_REQUIRED", "true");
        let (good, none) = (format!("k:{A}"), format!("unsealed,k:{A}"));
        let keys = load(&[required, ("FHIRCAST_DATA_KEYS", &good)]).unwrap().sealing_keys().unwrap();
        assert!(keys.are_required(), "FC-SEC-03");
        assert!(!load(&[("FHIRCAST_DATA_KEYS", &good)]).unwrap().sealing_keys().unwrap().are_required());
        for env in [vec![required], vec![required, ("FHIRCAST_DATA_KEYS", &none)]] {
            let problem = load(&env).unwrap_err();
            assert!(problem.starts_with("data_keys and data_keys_required: what is not sealed"), "{problem}");
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        let settings = load(&[required, ("FHIRCAST_DATA_KEYS_FILE", path.to_str().unwrap())]).unwrap();
        std::fs::write(&path, good).unwrap();
        assert!(settings.sealing_keys().unwrap().are_required(), "FC-SEC-03");
        std::fs::write(&path, format!("unsealed\nk:{A}\n")).unwrap();
        let problem = settings.sealing_keys().unwrap_err().to_string();
        assert!(problem.starts_with("data_keys_file: what is not sealed is to be refused"), "{problem}");
    }

    #[test]
    fn keys_are_shown_nowhere() {
        let settings = load(&[("FHIRCAST_DATA_KEYS", &format!("k1:{A},k2:{B}"))]).unwrap();
        for shown in [settings.to_toml(), format!("{settings:?}")] {
            assert!(shown.contains("k1:***") && shown.contains("k2:***"), "{shown}");
            assert!(!shown.contains(&A[..12]) && !shown.contains(&B[..12]), "FC-SEC-03: {shown}");
        }
        assert!(settings.to_toml().contains("hidden here"));
    }

    #[test]
    fn a_file_has_one_key_a_line_and_stands_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        let file = path.to_str().unwrap();
        let settings = load(&[("FHIRCAST_DATA_KEYS_FILE", file)]).unwrap();
        let problem = settings.sealing_keys().unwrap_err().to_string();
        assert!(problem.starts_with("data_keys_file: "), "{problem}");

        std::fs::write(&path, format!("# of November\nk1:{A}\n\n  k2:{B}\n")).unwrap();
        assert_eq!(ids(&settings.sealing_keys().unwrap()), ["k1", "k2"]);
        for (text, says) in [("# nothing\n", "no key in it"), (&format!("k1:{A}\n{B}\n"), "element 2")] {
            std::fs::write(&path, text).unwrap();
            let problem = settings.sealing_keys().unwrap_err().to_string();
            assert!(problem.starts_with("data_keys_file: ") && problem.contains(says), "{problem}");
            assert!(!problem.contains(&B[..12]), "FC-SEC-03: {problem}");
        }
        let both = [("FHIRCAST_DATA_KEYS_FILE", file), ("FHIRCAST_DATA_KEYS", &format!("k:{A}"))];
        let problem = load(&both).unwrap_err();
        assert!(problem.starts_with("data_keys and data_keys_file: "), "{problem}");
    }
}
