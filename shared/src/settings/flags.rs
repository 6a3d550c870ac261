//! The flags that both programs have.

use std::path::PathBuf;

/// Flags about settings, to be flattened into a program's own. Without `Debug`: a value may hold a password.
#[derive(clap::Args, Clone, Default)]
pub struct Flags {
    /// TOML file with settings
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Print the settings that result, with secrets hidden, and exit
    #[arg(long)]
    pub print_config: bool,

    /// Address and port that the hub serves
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<String>,

    /// Address and port that serve health and metrics
    #[arg(long, value_name = "ADDR")]
    pub admin_listen: Option<String>,

    /// URL of Redis; a password is better put into a file or a variable, where other users cannot see it
    #[arg(long, value_name = "URL")]
    pub redis_url: Option<String>,

    /// Any setting, by its name in the file (lease.max_secs=3600); may be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    pub set: Vec<String>,
}

impl Flags {
    /// The flags that stand for one setting each: flag, setting, value.
    pub(super) fn named(&self) -> impl Iterator<Item = (&'static str, &'static str, &str)> {
        [
            ("--listen", "listen", &self.listen),
            ("--admin-listen", "admin_listen", &self.admin_listen),
            ("--redis-url", "redis.url", &self.redis_url),
        ]
        .into_iter()
        .filter_map(|(flag, setting, value)| Some((flag, setting, value.as_deref()?)))
    }
}
