//! The settings as a page for people, `docs/CONFIGURATION.md`: made of the same tree that is read and printed.

use std::fmt::Write;

use super::{
    Defaults, Flags, Settings,
    environment::variable,
    tree::{Leaf, Tree, Visitor},
};

/// Defaults that depend on the machine, in words.
const MADE_HERE: &[(&str, &str)] = &[("threads", "one for each core")];

const HEAD: &str = "# Configuration

Every setting of `fhircast-hub` and `fhircast-worker`. This page is made of the programs' own declarations (`make docs`), and
a test compares it with them. `fhircast-hub --print-config` prints the settings in force, as a file that `--config` reads.

Each setting comes from the last of these that names it: its default, the TOML file (`--config FILE`), the environment
(`FHIRCAST_LEASE__MAX_SECS` for `lease.max_secs`), the flags (`--set lease.max_secs=7200`; `--listen` and `--redis-url` have
flags of their own). All mistakes are reported at once, each with the setting's name and where its value came from; settings
that contradict each other are refused. Lists are TOML arrays, or their elements with commas between them. Units are in the
names: `_secs`, `_ms`, `_bytes`, `_per_sec`, `_per_min`; what has none is a count.

The embedded hub (`--embedded`) has other defaults where they are named.
";

impl Settings {
    /// The page, in Markdown.
    ///
    /// # Errors
    /// The defaults of the embedded hub contradict each other, which a test excludes.
    pub fn reference() -> Result<String, super::Mistakes> {
        let mut standard = Rows::default();
        Self::default().visit("", &mut standard);
        let mut embedded = Rows::default();
        Self::load(Defaults::Embedded, &Flags::default(), [])?.visit("", &mut embedded);
        let mut page = HEAD.to_owned();
        let mut last_group = None;
        for (row, other) in standard.0.iter().zip(&embedded.0) {
            let group = row.name.rsplit_once('.').map_or("", |(group, _)| group);
            if last_group != Some(group) {
                last_group = Some(group);
                // Writing to a string cannot fail.
                let _ = match group {
                    "" => write!(page, "\n## Without a group\n"),
                    group => write!(page, "\n## `[{group}]`\n"),
                };
                page.push_str("\n| setting | default | |\n|---|---|---|\n");
            }
            row.write(&mut page, other);
        }
        Ok(page)
    }
}

#[derive(Default)]
struct Rows(Vec<Row>);

struct Row {
    name: String,
    help: String,
    expected: &'static str,
    /// As TOML; `None` when it is absent.
    default: Option<String>,
}

impl Visitor for Rows {
    fn leaf<T: Leaf>(&mut self, name: &str, help: &str, value: &mut T, _: impl Fn(&T) -> Result<(), String>) {
        let default = toml::Value::try_from(&*value).ok().map(|value| value.to_string());
        let (name, help) = (name.to_owned(), help.to_owned());
        self.0.push(Row { name, help, expected: T::EXPECTED, default });
    }
}

impl Row {
    fn write(&self, page: &mut String, embedded: &Row) {
        let in_words = MADE_HERE.iter().find(|(name, _)| *name == self.name).map(|(_, words)| *words);
        let shown = |default: &Option<String>| match (in_words, default) {
            (Some(words), _) => words.to_owned(),
            (None, Some(value)) => format!("`{value}`"),
            (None, None) => "absent".to_owned(),
        };
        let mut default = shown(&self.default);
        if embedded.default != self.default {
            let _ = write!(default, "; embedded: {}", shown(&embedded.default));
        }
        let _ = writeln!(
            page,
            "| `{}`<br>`{}` | {} | {} ({}) |",
            self.name,
            variable(&self.name),
            default.replace('|', "\\|"),
            self.help.replace('|', "\\|"),
            self.expected,
        );
    }
}
