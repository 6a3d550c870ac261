//! Log lines on standard error, as text for people or as one JSON object a line, with times as RFC 3339 has them, and
//! with trace and span where one is current ([`super::traces::ids`]).
//!
//! What no line holds, whatever `log.level` says:
//!
//! - What the libraries say below `info`: they print requests, headers, URLs and frames there. Only this project's own
//!   crates follow `log.level` further down.
//! - What a panic says ([`hook_panics`]): it may quote what could not be dealt with. Its place is told.
//! - The end of a line but at its end: whatever a client, a callback or Redis has written, one event is one line, and
//!   control characters are escaped.

use std::io::{self, Write};
use std::{backtrace, panic, thread};

use tracing::level_filters::LevelFilter;
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::{FilterFn, ParseError};
use tracing_subscriber::fmt::{self, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry;
use tracing_subscriber::util::SubscriberInitExt;

use super::traces::ids::WithIds;
use crate::settings::{Log, LogFormat};

/// The crates whose events never hold a payload: this project's.
const OWN_CRATES: [&str; 5] = ["shared", "hub", "worker", "fhircast_hub", "fhircast_worker"];

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

/// Starts logging for the whole process, once, what the `log` crate's users and panics say included.
pub fn init(log: &Log) -> Result<(), LoggingError> {
    start(log)?;
    hook_panics();
    Ok(())
}

fn start(log: &Log) -> Result<(), LoggingError> {
    subscriber(log, io::stderr)?.try_init()?;
    Ok(())
}

/// A panic is told by its place and its thread, and not by its message.
fn hook_panics() {
    panic::set_hook(Box::new(|panic| {
        let place = panic.location().map_or_else(|| "unknown".to_owned(), ToString::to_string);
        let thread = thread::current();
        // Functions and places alone; there is one if RUST_BACKTRACE asks for it.
        let backtrace = backtrace::Backtrace::capture();
        let backtrace =
            (backtrace.status() == backtrace::BacktraceStatus::Captured).then(|| backtrace.to_string());
        tracing::error!(place, thread = thread.name(), backtrace, "a panic");
    }));
}

fn subscriber<W>(log: &Log, writer: W) -> Result<Box<dyn Subscriber + Send + Sync>, LoggingError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let may_be_shown =
        FilterFn::new(may_be_shown as fn(&Metadata<'_>) -> bool).with_max_level_hint(LevelFilter::TRACE);
    let filtered = registry().with(EnvFilter::builder().parse(&log.level)?).with(may_be_shown);
    let lines = fmt::layer();
    Ok(match log.format {
        // No colours: they are control characters as well, which only the formatter may write.
        LogFormat::Pretty => {
            let lines = lines.with_ansi(false).with_writer(OneLine(writer));
            Box::new(filtered.with(lines.map_event_format(WithIds)))
        }
        LogFormat::Json => {
            let lines = lines.json().flatten_event(true).with_writer(writer);
            Box::new(filtered.with(lines.map_event_format(WithIds)))
        }
    })
}

fn may_be_shown(metadata: &Metadata<'_>) -> bool {
    *metadata.level() <= Level::INFO
        || metadata.target().split("::").next().is_some_and(|name| OWN_CRATES.contains(&name))
}

/// Keeps each event on one line: it is written whole, and only its last byte ends a line.
struct OneLine<W>(W);

impl<'w, W: MakeWriter<'w>> MakeWriter<'w> for OneLine<W> {
    type Writer = OneLine<W::Writer>;

    fn make_writer(&'w self) -> Self::Writer {
        OneLine(self.0.make_writer())
    }
}

impl<W: Write> Write for OneLine<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = event.strip_suffix(b"\n").unwrap_or(event);
        if text.iter().any(u8::is_ascii_control) {
            let mut line = Vec::with_capacity(event.len() + 16);
            for byte in text {
                if byte.is_ascii_control() {
                    line.extend(byte.escape_ascii());
                } else {
                    line.push(*byte);
                }
            }
            line.extend_from_slice(&event[text.len()..]);
            self.0.write_all(&line)?;
        } else {
            self.0.write_all(event)?;
        }
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::{Arc, Mutex};

    use time::OffsetDateTime;
    use time::format_description::well_known::Rfc3339;

    use super::*;
    use crate::protocol::TraceContext;
    use crate::telemetry::traces::{Span, SpanKind};

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
        let subscriber = subscriber(&log, move || writer.clone()).unwrap();
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

    /// What is written of what `say` says.
    fn said(format: LogFormat, level: &str, say: impl FnOnce()) -> String {
        let log = Log { format, level: level.to_owned() };
        let written = Written::default();
        let writer = written.clone();
        let subscriber = subscriber(&log, move || writer.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, say);
        let bytes = written.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn lines_name_the_trace_that_is_current_and_no_other() {
        let trace =
            TraceContext::new(0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c, 0xb7ad_6b71_6920_3331, 1, "");
        let (trace_id, span_id) = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331");
        let say = || {
            Span::of(SpanKind::Server, "request", trace.as_ref())
                .within(|| tracing::info!(code = 7, "within"));
            tracing::info!("without");
        };
        let text = said(LogFormat::Json, "info", say);
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!((&lines[0]["trace_id"], &lines[0]["span_id"]), (&trace_id.into(), &span_id.into()));
        assert_eq!((&lines[0]["message"], &lines[0]["code"]), (&"within".into(), &7.into()));
        assert_eq!((lines[1].get("trace_id"), lines[1].get("span_id")), (None, None));
        let text = said(LogFormat::Pretty, "info", say);
        let lines: Vec<&str> = text.lines().collect();
        assert!(
            lines[0].ends_with(&format!("within code=7 trace_id={trace_id} span_id={span_id}")),
            "{text}"
        );
        assert!(lines[1].ends_with("without"), "{text}");
    }

    #[test]
    fn libraries_are_not_asked_for_more_than_info() {
        for level in ["trace", "actix_http=trace,h2=debug,info", "trace,awc::client=trace"] {
            let text = said(LogFormat::Pretty, level, || {
                tracing::trace!(target: "actix_http::h1::dispatcher", "payload");
                tracing::debug!(target: "h2::codec", "payload");
                tracing::trace!(target: "awc::client", "payload");
                tracing::debug!(target: "sharedness", "payload");
                tracing::info!(target: "actix_server::worker", "starting");
            });
            assert!(!text.contains("payload"), "{level}: {text}");
            assert!(text.contains("starting"), "{level}: {text}");
        }
        let text = said(LogFormat::Pretty, "trace", || tracing::trace!("our own"));
        assert!(text.contains("our own"), "{text}");
    }

    #[test]
    fn whatever_others_have_written_is_one_line() {
        let forged = "x\r\n2026-01-01T00:00:00Z ERROR hub: forged\n\u{1b}[31mred\u{7}\u{0}";
        for format in [LogFormat::Pretty, LogFormat::Json] {
            let text = said(format, "info", || {
                tracing::info!(field = forged, shown = %forged, debug = ?forged, "{forged}");
            });
            assert_eq!(text.lines().count(), 1, "{text}");
            assert!(!text.contains(['\u{1b}', '\r', '\u{7}', '\0']), "{text:?}");
        }
    }

    #[test]
    fn a_second_start_is_an_error() {
        let log = Log { level: "off".to_owned(), ..Log::default() };
        // Another test of this process may have been first.
        let _ = start(&log);
        assert!(matches!(start(&log), Err(LoggingError::Started(_))));
    }
}
