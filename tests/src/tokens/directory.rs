//! An authority that is a directory: a private key, the JWKS of it, and the names that go into tokens. For development.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::{AUDIENCE, Algorithm, Key, TokenBuilder};

const KEY: &str = "key.pem";
const JWKS: &str = "jwks.json";
const NAMES: &str = "authority.json";
const KID: &str = "development";
const ISSUER: &str = "https://fhircast-token.invalid";

/// The directory.
pub struct TokenDirectory {
    path: PathBuf,
    issuer: String,
    audience: String,
    key: Key,
}

impl TokenDirectory {
    /// Makes a new P-256 key in this directory, which may be there already; a key that is there is not written over.
    pub fn init(path: &Path, issuer: Option<&str>, audience: Option<&str>) -> Result<TokenDirectory> {
        fs::create_dir_all(path).with_context(|| format!("{}", path.display()))?;
        let path = path.canonicalize()?;
        let key = Key::generate(KID, Algorithm::Es256)?;
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        let file = path.join(KEY);
        let opened = options.open(&file).with_context(|| format!("{} cannot be made", file.display()));
        opened?.write_all(&key.to_pem()?)?;
        let (issuer, audience) = (issuer.unwrap_or(ISSUER), audience.unwrap_or(AUDIENCE));
        fs::write(path.join(JWKS), format!("{}\n", json!({"keys": [key.jwk()?]})))?;
        fs::write(path.join(NAMES), format!("{}\n", json!({"issuer": issuer, "audience": audience})))?;
        TokenDirectory::open(&path)
    }

    /// The authority that [`TokenDirectory::init`] has made.
    pub fn open(path: &Path) -> Result<TokenDirectory> {
        let path = path.canonicalize().with_context(|| format!("{}", path.display()))?;
        let read = |file: &str| {
            let file = path.join(file);
            fs::read(&file).with_context(|| format!("{}: make it with init", file.display()))
        };
        let key = Key::from_pem(KID, Algorithm::Es256, &read(KEY)?)?;
        let names: Value = serde_json::from_slice(&read(NAMES)?)?;
        let [Some(issuer), Some(audience)] = ["issuer", "audience"].map(|name| names[name].as_str()) else {
            bail!("{NAMES} must hold issuer and audience")
        };
        let (issuer, audience) = (issuer.to_owned(), audience.to_owned());
        Ok(TokenDirectory { path, issuer, audience, key })
    }

    /// The settings of a hub that takes its tokens.
    pub fn settings(&self) -> Vec<(&'static str, String)> {
        vec![
            ("auth.mode", "jwt".to_owned()),
            ("auth.issuer", self.issuer.clone()),
            ("auth.audience", self.audience.clone()),
            ("auth.jwks", self.path.join(JWKS).display().to_string()),
        ]
    }

    /// A token, to be changed and minted.
    pub fn token(&self) -> TokenBuilder {
        TokenBuilder::new(&self.issuer, &self.key).audience(self.audience.as_str())
    }
}
