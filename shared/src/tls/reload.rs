//! Looking at the files again.

use std::{
    sync::{Arc, PoisonError, RwLock, Weak},
    time::Duration,
};

use tokio::time::{MissedTickBehavior, interval};

use super::{
    TlsError,
    files::{Contents, Files, Fingerprint},
};
use crate::telemetry::metrics::{Label, METRICS};

/// What the files make, replaced as a whole when they are others. Clones share it; the files are looked at for as long
/// as there is one.
pub struct Followed<T>(Arc<RwLock<Arc<T>>>);

impl<T> Followed<T> {
    /// As it is now.
    pub fn now(&self) -> Arc<T> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl<T> Clone for Followed<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

/// What was made of files.
pub struct Loaded<T> {
    /// For who makes connections.
    pub made: T,
    /// When the certificate ends, in seconds since 1970; `None` when there is none.
    pub expires: Option<i64>,
}

/// Reads the files, and follows them from then on in a task, if there are any: so this is called where Tokio runs.
pub fn follow<T, F>(files: Files, every: Duration, make: F) -> Result<Followed<T>, TlsError>
where
    T: Send + Sync + 'static,
    F: Fn(&Contents<'_>) -> Result<Loaded<T>, TlsError> + Send + 'static,
{
    let is_alone = files.is_empty();
    let (reloader, current) = Reloader::start(files, make)?;
    if !is_alone {
        tokio::spawn(reloader.keep_looking(every));
    }
    Ok(current)
}

/// Looks at the files for as long as anybody works with them.
struct Reloader<T, F> {
    files: Files,
    make: F,
    /// Where what is made of them is taken from.
    current: Weak<RwLock<Arc<T>>>,
    /// What it is made of.
    serving: Fingerprint,
    /// What the last look found: the contents, or why there are none.
    seen: Result<Fingerprint, String>,
    /// The problem that was told last, and is still there.
    told: Option<String>,
}

impl<T, F> Reloader<T, F>
where
    T: Send + Sync + 'static,
    F: Fn(&Contents<'_>) -> Result<Loaded<T>, TlsError> + Send + 'static,
{
    /// The first look, and what was made of it.
    fn start(files: Files, make: F) -> Result<(Self, Followed<T>), TlsError> {
        let contents = files.read()?;
        let Loaded { made, expires } = make(&contents)?;
        METRICS.certificate_expires(files.of, expires);
        let (serving, current) = (contents.fingerprint(), Arc::new(RwLock::new(Arc::new(made))));
        let followed = Arc::downgrade(&current);
        Ok((
            Self { files, make, current: followed, serving, seen: Ok(serving), told: None },
            Followed(current),
        ))
    }

    /// Looks again and again. Files may be far away, so no thread that serves waits for them.
    async fn keep_looking(mut self, every: Duration) {
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
        let settings = self.files.of.as_str();
        match self.changed() {
            Ok(Some(Loaded { made, expires })) => {
                *current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(made);
                METRICS.certificate_expires(self.files.of, expires);
                tracing::info!(settings, expires, "certificates have been renewed");
            }
            Ok(None) => {}
            Err(problem) => {
                METRICS.certificate_reload_failures(self.files.of).inc();
                let problem = problem.to_string();
                if self.told.as_ref() != Some(&problem) {
                    tracing::error!(
                        settings,
                        problem,
                        "certificates cannot be renewed; those before them are still in use"
                    );
                    self.told = Some(problem);
                }
            }
        }
        true
    }

    /// What is new in the files, when it was the same at the last look.
    fn changed(&mut self) -> Result<Option<Loaded<T>>, TlsError> {
        let contents = self.files.read();
        let found = match &contents {
            Ok(contents) => Ok(contents.fingerprint()),
            Err(problem) => Err(problem.to_string()),
        };
        let is_settled = self.seen == found;
        self.seen = found;
        if self.seen == Ok(self.serving) {
            if self.told.take().is_some() {
                tracing::info!(settings = self.files.of.as_str(), "the certificates' files are as they were");
            }
            return Ok(None);
        }
        if !is_settled {
            return Ok(None);
        }
        let contents = contents?;
        let loaded = (self.make)(&contents)?;
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
    use crate::telemetry::metrics::Certificate;

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
        let files = Files::new(Certificate::Admin, Some(&cert), Some(&key), ("ca_file", None));
        let make = |contents: &Contents<'_>| {
            Ok(Loaded { made: (), expires: contents.identity()?.map(|identity| identity.expires) })
        };
        let (mut reloader, _current) = Reloader::start(files, make).unwrap();
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
