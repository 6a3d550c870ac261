//! Log lines on standard error, as text for people or as one JSON object a line, with times as RFC 3339 has them.

use std::io::IsTerminal;

use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::fmt::{self, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry;
use tracing_subscriber::util::SubscriberInitExt;

use crate::settings::{Log, LogFormat};

/// Why logging could not start.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// The directive of `log.level` means nothing.
    #[error("log.level: {0}")]
    Level(#[from] ParseError),
    /// Something in this process logs already.
    #[error("logging was started before: {0}")]
    Started(#[from] tracing_subscriber::util::TryInitError),
}

/// Starts logging for the whole process, once, what the `log` crate's users say included.
pub fn init(log: &Log) -> Result<(), LoggingError> {
    let colours = std::io::stderr().is_terminal();
    subscriber(log, colours, std::io::stderr)?.try_init()?;
    Ok(())
}

fn subscriber<W>(
    log: &Log,
    colours: bool,
    writer: W,
) -> Result<Box<dyn Subscriber + Send + Sync>, LoggingError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let filtered = registry().with(EnvFilter::builder().parse(&log.level)?);
    let lines = fmt::layer().with_writer(writer);
    Ok(match log.format {
        LogFormat::Pretty => Box::new(filtered.with(lines.with_ansi(colours))),
        LogFormat::Json => Box::new(filtered.with(lines.json().flatten_event(true))),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use time::OffsetDateTime;
    use time::format_description::well_known::Rfc3339;

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// What is written of an `info` event with a field, and of a `debug` event.
    fn written(format: LogFormat, level: &str) -> String {
        let log = Log { format, level: level.to_owned() };
        let written = Written::default();
        let writer = written.clone();
        let subscriber = subscriber(&log, false, move || writer.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(code = 1001, "closed");
            tracing::debug!("details");
        });
        let bytes = written.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn json_lines_hold_the_fields_flat_and_an_rfc_3339_time() {
        let text = written(LogFormat::Json, "info");
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["message"], "closed");
        assert_eq!(line["code"], 1001);
        assert_eq!(line["level"], "INFO");
        let time = line["timestamp"].as_str().unwrap();
        OffsetDateTime::parse(time, &Rfc3339).unwrap();
    }

    #[test]
    fn pretty_lines_are_one_an_event() {
        let text = written(LogFormat::Pretty, "info");
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.contains("INFO") && text.contains("closed code=1001"), "{text}");
    }

    #[test]
    fn the_level_decides_what_is_written() {
        assert_eq!(written(LogFormat::Pretty, "warn"), "");
        let text = written(LogFormat::Pretty, &format!("warn,{}=debug", module_path!()));
        assert_eq!(text.lines().count(), 2, "{text}");
    }

    #[test]
    fn a_second_start_is_an_error() {
        let log = Log { level: "off".to_owned(), ..Log::default() };
        // Another test of this process may have been first.
        let _ = init(&log);
        assert!(matches!(init(&log), Err(LoggingError::Started(_))));
    }
}
