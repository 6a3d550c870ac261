//! The thread that writes records, as many at a time as wait.
//!
//! A file is looked for by its name before each write: one that was moved away (by logrotate, say) or removed is begun anew.
//! What could not be written is tried again, and a line whose beginning was written is ended first, if it is the same file
//! still. Where the trail is required, a file's bytes are on the disk before their slots are free again.

use std::{
    collections::VecDeque,
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Write},
    os::{
        fd::AsFd,
        unix::fs::{MetadataExt, OpenOptionsExt},
    },
    path::Path,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

use super::trail::{Room, Source, State, ToWriter};
use crate::{
    settings::{self, AuditFormat, AuditTarget},
    telemetry::metrics::METRICS,
};

/// How often it is tried again.
const TRY_AGAIN: Duration = Duration::from_millis(250);
/// Bytes of one write, roughly.
const BATCH_BYTES: usize = 64 * 1024;

pub(super) struct Writer {
    target: AuditTarget,
    format: AuditFormat,
    source: Source,
    state: Arc<State>,
    sink: Option<Sink>,
    /// Lines that are not written, and the slots that they take.
    waiting: VecDeque<(Vec<u8>, Room)>,
    /// Bytes of the first of them that are written.
    begun: usize,
    /// When it could not be written last.
    failed: Option<Instant>,
    /// Is there an outage, or was there one a moment ago?
    is_unsettled: bool,
}

struct Sink {
    file: File,
    /// Device and inode of the file that was opened by its name.
    place: Option<(u64, u64)>,
    /// Is it a file on a disk?
    is_regular: bool,
}

impl Writer {
    pub(super) fn new(settings: &settings::Audit, source: Source, state: Arc<State>) -> Self {
        Self {
            target: settings.to.clone(),
            format: settings.format,
            source,
            state,
            sink: None,
            waiting: VecDeque::new(),
            begun: 0,
            failed: None,
            is_unsettled: false,
        }
    }

    /// Writes until it is told to finish, or nobody is left who could tell it anything.
    pub(super) fn run(mut self, records: &Receiver<ToWriter>) {
        self.write();
        loop {
            // An outage is looked at again also while nothing happens.
            let received = if self.is_unsettled {
                records.recv_timeout(TRY_AGAIN)
            } else {
                records.recv().map_err(|_| RecvTimeoutError::Disconnected)
            };
            let mut next = Some(received);
            let mut finish = None;
            let mut bytes = 0;
            while let Some(received) = next.take() {
                match received {
                    Ok(ToWriter::Record(record, slot)) => {
                        let mut line = self.source.render(self.format, &record).into_bytes();
                        line.push(b'\n');
                        bytes += line.len();
                        self.waiting.push_back((line, slot));
                    }
                    Ok(ToWriter::Finish(done)) => finish = Some(done),
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => return,
                }
                if finish.is_none() && bytes < BATCH_BYTES {
                    next = records.try_recv().ok().map(Ok);
                }
            }
            if finish.is_some() || self.failed.is_none_or(|failed| failed.elapsed() >= TRY_AGAIN) {
                self.write();
            }
            if let Some(done) = finish {
                self.state.lost(self.waiting.len() as u64);
                if self.waiting.is_empty() {
                    let _ = done.send(());
                }
                return;
            }
        }
    }

    fn write(&mut self) {
        match self.try_write() {
            Ok(()) => {
                self.failed = None;
                self.is_unsettled = !self.state.is_well();
            }
            Err(error) => {
                self.failed = Some(Instant::now());
                self.is_unsettled = true;
                self.state.is_broken(&error);
            }
        }
    }

    fn try_write(&mut self) -> io::Result<()> {
        loop {
            self.open()?;
            let Some(sink) = &mut self.sink else { return Ok(()) };
            if self.waiting.is_empty() {
                return Ok(());
            }
            let mut batch = Vec::new();
            for (line, _) in &self.waiting {
                batch.extend_from_slice(line);
                if batch.len() >= BATCH_BYTES {
                    break;
                }
            }
            let (mut rest, mut problem) = (&batch[self.begun..], None);
            while !rest.is_empty() && problem.is_none() {
                match sink.file.write(rest) {
                    Ok(0) => problem = Some(ErrorKind::WriteZero.into()),
                    Ok(written) => rest = &rest[written..],
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) => problem = Some(error),
                }
            }
            let written = batch.len() - rest.len();
            let synced = if self.state.is_required() { sink.sync() } else { Ok(()) };
            self.advance(written);
            if let Some(problem) = problem {
                return Err(problem);
            }
            synced?;
        }
    }

    /// So many bytes from the beginning of what waits are written.
    fn advance(&mut self, mut written: usize) {
        while let Some((line, _)) = self.waiting.front().filter(|(line, _)| line.len() <= written) {
            written -= line.len();
            self.waiting.pop_front();
            METRICS.audit_records.inc();
        }
        self.begun = written;
    }

    /// Opens what is to be written to, if it is not what is open.
    fn open(&mut self) -> io::Result<()> {
        match &self.target {
            AuditTarget::Off => {}
            AuditTarget::Stdout if self.sink.is_some() => {}
            AuditTarget::Stdout => self.sink = Some(Sink::stdout()?),
            AuditTarget::File(path) => {
                let is_there = self.sink.as_ref().is_some_and(|sink| sink.is_at(path));
                if !is_there {
                    self.sink = None;
                    // Another file has no beginning of a line.
                    self.begun = 0;
                    self.sink = Some(Sink::file(path)?);
                }
            }
        }
        Ok(())
    }
}

impl Sink {
    fn file(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
        let about = file.metadata()?;
        Ok(Self { file, place: Some((about.dev(), about.ino())), is_regular: about.is_file() })
    }

    /// Without the buffer of `io::stdout`: what counts as written is written.
    fn stdout() -> io::Result<Self> {
        let file = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        let is_regular = file.metadata()?.is_file();
        Ok(Self { file, place: None, is_regular })
    }

    /// Is it what stands at this path?
    fn is_at(&self, path: &Path) -> bool {
        fs::metadata(path).is_ok_and(|about| Some((about.dev(), about.ino())) == self.place)
    }

    fn sync(&self) -> io::Result<()> {
        if self.is_regular { self.file.sync_data() } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::{
        super::trail::tests::{room, source, state},
        *,
    };

    #[test]
    fn a_line_is_gone_on_with_in_its_own_file_and_written_whole_to_another() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit");
        let settings = settings::Audit { to: AuditTarget::File(path.clone()), ..settings::Audit::default() };
        let mut writer = Writer::new(&settings, source(), state());
        writer.try_write().unwrap();
        let mut write_the_rest = |begun| {
            writer.waiting.push_back((b"whole\n".to_vec(), room()));
            writer.begun = begun;
            writer.try_write().unwrap();
            fs::read_to_string(&path).unwrap()
        };
        assert_eq!(write_the_rest(2), "ole\n", "its beginning is there");
        fs::remove_file(&path).unwrap();
        assert_eq!(write_the_rest(2), "whole\n");
    }
}
