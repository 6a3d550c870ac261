//! Reads the tree of settings from the file, the environment and the flags.
//!
//! Figment merges the three and remembers which gave each value; every setting is then read on its own, so that one
//! mistake hides no other.

use std::collections::BTreeMap;
use std::path::Path;

use figment::error::Kind;
use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};

use super::mistakes::{Mistake, Mistakes};
use super::tree::{Form, Leaf, Tree, Visitor, name_in};
use super::{Defaults, Flags, Settings, checks, environment};

impl Settings {
    /// The settings that `flags`, the environment `env` and the file named by the flags give, over `defaults`.
    pub fn load(
        defaults: Defaults,
        flags: &Flags,
        env: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, Mistakes> {
        load(defaults, flags, env, Vec::new())
    }

    /// As [`Settings::load`], with the environment of this process.
    pub fn load_here(defaults: Defaults, flags: &Flags) -> Result<Self, Mistakes> {
        let (env, mistakes) = environment::as_text(std::env::vars_os());
        load(defaults, flags, env, mistakes)
    }
}

fn load(
    defaults: Defaults,
    flags: &Flags,
    env: impl IntoIterator<Item = (String, String)>,
    mistakes: Vec<Mistake>,
) -> Result<Settings, Mistakes> {
    let mut settings = Settings::new(defaults);
    let mut names = Names::default();
    settings.visit("", &mut names);

    let mut sources = Sources { known: names.0, figment: Figment::new(), mistakes };
    if let Some(path) = &flags.config {
        sources.file(path);
    }
    sources.environment(env);
    sources.flags(flags);

    let mut reader = Reader { figment: sources.figment, mistakes: sources.mistakes };
    settings.visit("", &mut reader);
    if defaults == Defaults::Embedded {
        reader.refuse(
            "redis.url",
            "the embedded hub keeps its state in memory; leave this out, or start without --embedded",
        );
    }
    let mut mistakes = reader.mistakes;
    let contradictions = checks::contradictions(&settings, &mistakes);
    mistakes.extend(contradictions);
    if mistakes.is_empty() { Ok(settings) } else { Err(Mistakes(mistakes)) }
}

/// Learns which settings there are, and how each is written as text.
#[derive(Default)]
struct Names(BTreeMap<String, Form>);

impl Visitor for Names {
    fn leaf<T: Leaf>(&mut self, name: &str, _: &str, _: &mut T, _: impl Fn(&T) -> Result<(), String>) {
        self.0.insert(name.to_owned(), T::FORM);
    }
}

/// Collects what was given, each piece with its origin; the later wins.
struct Sources {
    known: BTreeMap<String, Form>,
    figment: Figment,
    mistakes: Vec<Mistake>,
}

impl Sources {
    fn file(&mut self, path: &Path) {
        let refused = |reason: String| Mistake::File { path: path.to_owned(), reason };
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(reason) => return self.mistakes.push(refused(reason.to_string())),
        };
        let table: toml::Table = match toml::from_str(&text) {
            Ok(table) => table,
            Err(error) => {
                let upto = error.span().and_then(|span| text.get(..span.start));
                let line = upto.map_or(1, |before| before.matches('\n').count() + 1);
                let reason = format!("line {line}: {}", error.message());
                return self.mistakes.push(refused(reason));
            }
        };
        let origin = format!("the file {}", path.display());
        self.unknown_keys(&table, "", &origin);
        match Value::serialize(&table).map(Value::into_dict) {
            Ok(Some(values)) => self.merge(origin, values),
            Ok(None) => {}
            Err(reason) => self.mistakes.push(refused(reason.kind.to_string())),
        }
    }

    fn unknown_keys(&mut self, table: &toml::Table, group: &str, origin: &str) {
        for (key, value) in table {
            // A quoted key with a dot in it is not the path that it looks like.
            let key = if key.contains('.') { format!("{key:?}") } else { key.clone() };
            let name = name_in(group, &key);
            match value {
                toml::Value::Table(inner) => self.unknown_keys(inner, &name, origin),
                _ if self.known.contains_key(&name) => {}
                _ => self.unknown(&name, &name, origin.to_owned(), str::to_owned),
            }
        }
    }

    fn environment(&mut self, env: impl IntoIterator<Item = (String, String)>) {
        for (variable, text) in env {
            let Some(name) = environment::setting(&variable) else {
                continue;
            };
            let origin = format!("the environment variable {variable}");
            if self.known.contains_key(&name) && environment::variable(&name) == variable {
                self.text(&name, &text, origin);
            } else if !environment::is_from_kubernetes(&variable, &text) {
                self.unknown(&variable, &name, "the environment".to_owned(), environment::variable);
            }
        }
    }

    fn flags(&mut self, flags: &Flags) {
        for set in &flags.set {
            let Some((name, text)) = set.split_once('=') else {
                let looks_like_a_name = |c: &char| c.is_ascii_alphanumeric() || "._".contains(*c);
                let name = set.chars().take_while(looks_like_a_name).collect();
                self.mistakes.push(Mistake::NoValue { name });
                continue;
            };
            if self.known.contains_key(name) {
                self.text(name, text, format!("the flag --set {name}"));
            } else {
                self.unknown(name, name, "the flag --set".to_owned(), str::to_owned);
            }
        }
        for (flag, name, text) in flags.named() {
            self.text(name, text, format!("the flag {flag}"));
        }
    }

    /// A value as text, in the form that the setting `name` has.
    fn text(&mut self, name: &str, text: &str, origin: String) {
        let value = match self.known.get(name) {
            Some(Form::List) => match list(text) {
                Ok(value) => value,
                Err(reason) => {
                    return self.mistakes.push(Mistake::Value { setting: name.to_owned(), reason, origin });
                }
            },
            Some(Form::Plain) => plain(text),
            Some(Form::Text) | None => text.into(),
        };
        if let Some(values) = figment::util::nest(name, value).into_dict() {
            self.merge(origin, values);
        }
    }

    fn merge(&mut self, origin: String, values: Dict) {
        let figment = std::mem::take(&mut self.figment);
        self.figment = figment.merge(Given { origin, values });
    }

    /// Notes that `given`, which would be the setting `name`, is none; `spelt` writes a setting's name as the origin does.
    fn unknown(&mut self, given: &str, name: &str, origin: String, spelt: fn(&str) -> String) {
        let closest = self
            .known
            .keys()
            .map(|known| (distance(known, name), known))
            .min()
            .filter(|(distance, _)| *distance <= (name.len() / 4).max(2))
            .map(|(_, known)| spelt(known));
        self.mistakes.push(Mistake::Unknown { name: given.to_owned(), origin, closest });
    }
}

/// A TOML array, or elements with commas between them.
fn list(text: &str) -> Result<Value, String> {
    let text = text.trim();
    if text.starts_with('[') {
        let array = toml::from_str::<toml::Table>(&format!("list = {text}"))
            .map_err(|error| error.message().to_owned())
            .and_then(|table| {
                let list = table.get("list").filter(|_| table.len() == 1);
                Value::serialize(list).map_err(|error| error.kind.to_string())
            });
        return array.map_err(|reason| {
            format!(
                "must be a TOML array ([\"a\", \"b\"]) or elements with commas between them (a,b): {reason}"
            )
        });
    }
    let elements = text.split(',').map(str::trim);
    Ok(elements.filter(|_| !text.is_empty()).collect::<Vec<_>>().into())
}

/// A number or a boolean where the text is one. (Figment's own parser would read a short fraction as an `f32`.)
fn plain(text: &str) -> Value {
    let text = text.trim();
    None.or_else(|| text.parse::<bool>().ok().map(Value::from))
        .or_else(|| text.parse::<u64>().ok().map(Value::from))
        .or_else(|| text.parse::<i64>().ok().map(Value::from))
        .or_else(|| text.parse::<f64>().ok().map(Value::from))
        .unwrap_or_else(|| text.into())
}

/// How many letters must be added, left out or changed to make `a` of `b` (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let changed = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

/// Values from one origin, for figment.
struct Given {
    origin: String,
    values: Dict,
}

impl Provider for Given {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.origin.clone())
    }

    fn data(&self) -> figment::Result<Map<Profile, Dict>> {
        Ok(Map::from([(Profile::Default, self.values.clone())]))
    }
}

/// Replaces defaults by what was given.
struct Reader {
    figment: Figment,
    mistakes: Vec<Mistake>,
}

impl Reader {
    /// Notes that `setting` must not have been given, if it was.
    fn refuse(&mut self, setting: &str, reason: &str) {
        if let Some(origin) = self.figment.find_metadata(setting) {
            self.mistakes.push(Mistake::Value {
                setting: setting.to_owned(),
                reason: reason.to_owned(),
                origin: origin.name.to_string(),
            });
        }
    }
}

impl Visitor for Reader {
    fn leaf<T: Leaf>(
        &mut self,
        name: &str,
        _: &str,
        value: &mut T,
        check: impl Fn(&T) -> Result<(), String>,
    ) {
        if !self.figment.contains(name) {
            return;
        }
        let read = self.figment.extract_inner::<T>(name).map_err(|error| why_not::<T>(&error.kind));
        match read.and_then(|read| check(&read).map(|()| read)) {
            Ok(read) => *value = read,
            Err(reason) => self.refuse(name, &reason),
        }
    }
}

fn why_not<T: Leaf>(kind: &Kind) -> String {
    match kind {
        Kind::UnknownVariant(found, [only]) => {
            format!("must be {only:?}, the only choice so far, not {found:?}")
        }
        Kind::UnknownVariant(found, choices) => {
            let choices: Vec<_> = choices.iter().map(|choice| format!("{choice:?}")).collect();
            format!("must be {}, not {found:?}", choices.join(" or "))
        }
        // Of what may be a secret the value is not repeated.
        Kind::InvalidType(..) | Kind::InvalidValue(..) if T::MAY_BE_SECRET => {
            format!("must be {}", T::EXPECTED)
        }
        Kind::InvalidType(found, _) | Kind::InvalidValue(found, _) => {
            format!("must be {}, not {found}", T::EXPECTED)
        }
        other => format!("must be {}: {other}", T::EXPECTED),
    }
}

#[cfg(test)]
#[path = "load_tests/mod.rs"]
mod tests;
