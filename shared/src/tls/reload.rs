//! Looking at the files again.

use std::{
    sync::{Arc, PoisonError, RwLock, Weak},
    time::Duration,
};

use openssl::ssl::SslContext;
use tokio::time::{MissedTickBehavior, interval};

use super::{
    Current, TlsError,
    files::{Files, Fingerprint, Loaded},
};
use crate::telemetry::metrics::{Label, METRICS};

/// Looks at the files of a listener for as long as it lives.
pub struct Reloader {
    files: Files,
    /// Where the listener takes what it works with.
    current: Weak<RwLock<SslContext>>,
    /// What it works with.
    serving: Fingerprint,
    /// What the last look found: the contents, or why there are none.
    seen: Result<Fingerprint, String>,
    /// The problem that was told last, and is still there.
    told: Option<String>,
}

impl Reloader {
    /// Reads the files for the first time.
    pub fn start(files: Files) -> Result<(Self, Current), TlsError> {
        let contents = files.read()?;
        let Loaded { context, expires } = files.load(&contents)?;
        METRICS.certificate_expires(files.listener, expires);
        let current = Arc::new(RwLock::new(context));
        let serving = contents.fingerprint();
        let weak = Arc::downgrade(&current);
        Ok((Self { files, current: weak, serving, seen: Ok(serving), told: None }, current))
    }

    /// Looks again and again. Files may be far away, so no thread that serves waits for them.
    pub async fn keep_looking(mut self, every: Duration) {
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.tick().await;
        loop {
            ticks.tick().await;
            let looked = tokio::task::spawn_blocking(move || self.look().then_some(self)).await;
            match looked {
                Ok(Some(reloader)) => self = reloader,
                Ok(None) | Err(_) => return,
            }
        }
    }

    /// One look. False when there is nobody left to look for.
    fn look(&mut self) -> bool {
        let Some(current) = self.current.upgrade() else { return false };
        let listener = self.files.listener.as_str();
        match self.changed() {
            Ok(Some(Loaded { context, expires })) => {
                *current.write().unwrap_or_else(PoisonError::into_inner) = context;
                METRICS.certificate_expires(self.files.listener, expires);
                tracing::info!(listener, expires, "the certificate has been renewed");
            }
            Ok(None) => {}
            Err(problem) => {
                METRICS.certificate_reload_failures(self.files.listener).inc();
                let problem = problem.to_string();
                if self.told.as_ref() != Some(&problem) {
                    tracing::error!(
                        listener,
                        problem,
                        "a certificate cannot be renewed; the one before it is still in use"
                    );
                    self.told = Some(problem);
                }
            }
        }
        true
    }

    /// What is new in the files, when it was the same at the last look.
    fn changed(&mut self) -> Result<Option<Loaded>, TlsError> {
        let contents = self.files.read();
        let found = match &contents {
            Ok(contents) => Ok(contents.fingerprint()),
            Err(problem) => Err(problem.to_string()),
        };
        let is_settled = self.seen == found;
        self.seen = found;
        if self.seen == Ok(self.serving) {
            if self.told.take().is_some() {
                tracing::info!(
                    listener = self.files.listener.as_str(),
                    "the certificate's files are as they were"
                );
            }
            return Ok(None);
        }
        if !is_settled {
            return Ok(None);
        }
        let contents = contents?;
        let loaded = self.files.load(&contents)?;
        self.serving = contents.fingerprint();
        self.told = None;
        Ok(Some(loaded))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::{fs, path::Path};

    use super::*;
    use crate::{settings::Tls, telemetry::metrics::Listener};

    /// A certificate in `cert`, and its key in `key`.
    fn put(cert: &Path, key: &Path) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        fs::write(cert, made.cert.pem()).unwrap();
        fs::write(key, made.signing_key.serialize_pem()).unwrap();
    }

    #[test]
    fn what_two_looks_in_a_row_have_found_is_taken_and_nothing_that_changes_between_them() {
        let folder = tempfile::tempdir().unwrap();
        let [cert, key, next_cert, next_key] =
            ["cert", "key", "next-cert", "next-key"].map(|name| folder.path().join(name));
        put(&cert, &key);
        put(&next_cert, &next_key);
        let settings = Tls { cert: Some(cert.clone()), key: Some(key.clone()), ..Tls::default() };
        let files = Files::of(Listener::Admin, &settings).unwrap();
        let (mut reloader, _current) = Reloader::start(files).unwrap();
        assert!(reloader.changed().unwrap().is_none(), "nothing is new");

        // The certificate comes before its key: no mistake yet.
        fs::copy(&next_cert, &cert).unwrap();
        assert!(reloader.changed().unwrap().is_none());
        fs::copy(&next_key, &key).unwrap();
        assert!(reloader.changed().unwrap().is_none(), "this was not there at the last look");
        assert!(reloader.changed().unwrap().is_some());
        assert!(reloader.changed().unwrap().is_none(), "it is in use");

        fs::copy(&next_cert, &key).unwrap();
        assert!(reloader.changed().unwrap().is_none());
        assert!(reloader.changed().is_err(), "twice the same, and not to be used");
        fs::copy(&next_key, &key).unwrap();
        assert!(reloader.changed().unwrap().is_none(), "as it was");
    }
}
