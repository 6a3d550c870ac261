//! The settings as a TOML file that explains itself, and that `--config` reads back.

use super::Settings;
use super::tree::{Leaf, Tree, Visitor};

impl Settings {
    /// Every setting as TOML, each after a comment that says what it is. Secrets are hidden, which is said where it is so.
    pub fn to_toml(&self) -> String {
        let mut printer = Printer::default();
        self.clone().visit("", &mut printer);
        printer.text
    }
}

#[derive(Default)]
struct Printer {
    text: String,
    group: String,
}

impl Printer {
    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }
}

impl Visitor for Printer {
    fn leaf<T: Leaf>(&mut self, name: &str, help: &str, value: &mut T, _: impl Fn(&T) -> Result<(), String>) {
        let (group, key) = name.rsplit_once('.').unwrap_or(("", name));
        if group != self.group {
            self.group = group.to_owned();
            self.line(&format!("\n[{group}]"));
        }
        self.line(&format!("# {help}"));
        if value.hides_a_secret() {
            self.line("# Part of it is hidden here: put it back before using this file.");
        }
        // TOML has no way to say that a value is absent.
        match toml::Value::try_from(&*value) {
            Ok(value) => self.line(&format!("{key} = {value}")),
            Err(_) => self.line(&format!("# {key} =")),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::fs;

    use super::*;
    use crate::settings::{Defaults, Flags};

    fn load(env: &[(&str, &str)]) -> Settings {
        let own = |(name, value): &(&str, &str)| (name.to_string(), value.to_string());
        Settings::load(Defaults::Standard, &Flags::default(), env.iter().map(own)).unwrap()
    }

    /// What `--config` makes of `text`.
    fn read_back(text: &str, unique: &str) -> Settings {
        let name = format!("fhircast-print-{}-{unique}.toml", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::write(&path, text).unwrap();
        let flags = Flags { config: Some(path.clone()), ..Flags::default() };
        let settings = Settings::load(Defaults::Standard, &flags, []);
        fs::remove_file(path).unwrap();
        settings.unwrap()
    }

    #[test]
    fn what_is_printed_is_read_back_as_the_same_settings() {
        let defaults = Settings::default();
        assert_eq!(read_back(&defaults.to_toml(), "defaults"), defaults);

        let settings = load(&[
            ("FHIRCAST_LISTEN", "0.0.0.0:443"),
            ("FHIRCAST_INSECURE", "true"),
            ("FHIRCAST_PUBLIC_URL", "https://hub.example.org"),
            ("FHIRCAST_BASE_PATHS", "/a,/b"),
            ("FHIRCAST_REDIS__URL", "redis://h:6379/2"),
            ("FHIRCAST_CALLBACKS__ALLOWED_NETWORKS", "10.0.0.0/8,fc00::/7"),
            ("FHIRCAST_CALLBACKS__CA_FILE", "/etc/a \"b\".pem"),
            ("FHIRCAST_AUTH__MODE", "jwt"),
            ("FHIRCAST_AUTH__ISSUER", "https://as.example"),
            ("FHIRCAST_AUTH__AUDIENCE", "a,b"),
            ("FHIRCAST_AUTH__JWKS", "https://as.example/jwks"),
            ("FHIRCAST_TLS__CERT", "c"),
            ("FHIRCAST_TLS__KEY", "k"),
            ("FHIRCAST_RETRY__JITTER", "0.3"),
            ("FHIRCAST_RETRY__MAX_SECS", "60"),
            ("FHIRCAST_LIMITS__LOG_ENTRIES", "7"),
            ("FHIRCAST_SYNCERROR__SEVERITY", "error"),
            ("FHIRCAST_CORS__ALLOWED_ORIGINS", "https://a.example"),
            ("FHIRCAST_LOG__FORMAT", "json"),
            ("FHIRCAST_LOG__LEVEL", "warn,shared=debug"),
        ]);
        assert_eq!(read_back(&settings.to_toml(), "everything"), settings);
    }

    struct Count(usize);

    impl Visitor for Count {
        fn leaf<T: Leaf>(&mut self, _: &str, _: &str, _: &mut T, _: impl Fn(&T) -> Result<(), String>) {
            self.0 += 1;
        }
    }

    #[test]
    fn every_setting_follows_a_line_that_says_what_it_is() {
        let text = Settings::default().to_toml();
        let mut previous = "";
        let mut settings = 0;
        for line in text.lines() {
            let is_absent = line.starts_with("# ") && line.ends_with(" =");
            if line.contains(" = ") || is_absent {
                assert!(previous.starts_with("# "), "{line} follows {previous:?}");
                settings += 1;
            }
            previous = line;
        }
        let mut declared = Count(0);
        Settings::default().visit("", &mut declared);
        assert_eq!(settings, declared.0, "{text}");
        assert!(text.contains(
            "\n[lease]\n# Seconds of a subscription that asks for no lease.\ndefault_secs = 7200\n"
        ));
    }

    #[test]
    fn a_password_is_hidden_wherever_settings_are_shown() {
        let settings = load(&[("FHIRCAST_REDIS__URL", "redis://me:hush@h:6379")]);
        let text = settings.to_toml();
        assert!(text.contains("\nurl = \"redis://me:***@h:6379\"\n"), "{text}");
        assert!(text.contains("# Part of it is hidden"), "{text}");
        let url = settings.redis.url.as_ref().unwrap();
        assert_eq!(url.password(), Some("hush"));
        for shown in [text, format!("{settings:?}"), url.to_string()] {
            assert!(!shown.contains("hush"), "{shown}");
            assert!(shown.contains("***"), "{shown}");
        }
        assert!(!Settings::default().to_toml().contains("is hidden here"));

        let settings = load(&[
            ("FHIRCAST_REDIS__URL", "redis+sentinel://h/s"),
            ("FHIRCAST_REDIS__PASSWORD", "hush"),
            ("FHIRCAST_REDIS__SENTINEL_PASSWORD", "hush"),
        ]);
        for shown in [settings.to_toml(), format!("{settings:?}")] {
            assert!(!shown.contains("hush") && shown.contains("***"), "{shown}");
        }
    }
}
