//! What can be wrong with settings. No message repeats a value that may hold a secret.

use std::fmt;
use std::path::PathBuf;

/// One thing that is wrong; its message is one line that names the setting.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mistake {
    /// A setting's value cannot be used.
    #[error("{setting}: {reason} (from {origin})")]
    Value {
        /// The setting's name.
        setting: String,
        /// What is wrong with the value.
        reason: String,
        /// The file, variable or flag that gave it.
        origin: String,
    },
    /// A file, variable or flag names a setting that does not exist.
    #[error("{name}: there is no such setting{} (from {origin})", suggestion(.closest.as_deref()))]
    Unknown {
        /// The name as it was given.
        name: String,
        /// The file, variable or flag that named it.
        origin: String,
        /// What was probably meant.
        closest: Option<String>,
    },
    /// Settings that cannot be used together.
    #[error("{}: {reason}", .settings.join(" and "))]
    Contradiction {
        /// Their names.
        settings: &'static [&'static str],
        /// Why they do not fit, with their values.
        reason: String,
    },
    /// The settings file cannot be read.
    #[error("--config: {}: {reason}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A flag is not of the form NAME=VALUE.
    #[error("--set: {name:?} has no '=' and a value after it")]
    NoValue {
        /// As much of the flag as looks like a name.
        name: String,
    },
    /// A variable of the hub is not UTF-8.
    #[error("{name}: the variable is not UTF-8")]
    NotText {
        /// The variable's name.
        name: String,
    },
}

fn suggestion(closest: Option<&str>) -> String {
    closest.map_or_else(String::new, |name| format!(", did you mean {name}?"))
}

/// Everything that is wrong with the settings, at least one thing; one line each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistakes(pub Vec<Mistake>);

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, mistake) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str("\n")?;
            }
            // A parser's own message may be longer than a line.
            let line = mistake.to_string();
            f.write_str(&line.lines().collect::<Vec<_>>().join(" "))?;
        }
        Ok(())
    }
}

impl std::error::Error for Mistakes {}
