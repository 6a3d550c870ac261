//! How records come to the writer: who wants to be recorded takes a slot first, and leaves the record there.

use std::{
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{self, Sender, SyncSender},
    },
    thread,
    time::{Duration, Instant},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use uuid::Uuid;

use super::{Record, writer::Writer};
use crate::{
    lock::lock,
    settings::{self, AuditFormat, AuditTarget},
    telemetry::{Readiness, metrics::METRICS},
};

/// The part of the readiness that tells of the audit trail, where it is required.
pub const READINESS: &str = "audit";

/// For which the end of the process waits until all is written: who hangs on a file for longer may do so for ever.
const FINISH_WITHIN: Duration = Duration::from_secs(5);

/// After which an outage is over.
const QUIET: Duration = Duration::from_secs(1);

/// Who writes the records.
#[derive(Debug, Clone)]
pub struct Source {
    /// The program.
    pub program: &'static str,
    /// The machine.
    pub host: String,
    /// The process, unlike all others ever.
    pub node: String,
}

impl Source {
    fn new(program: &'static str) -> Self {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let host = Some(host.trim()).filter(|host| !host.is_empty()).unwrap_or("unknown").to_owned();
        Self { program, host, node: Uuid::new_v4().to_string() }
    }

    pub(super) fn render(&self, format: AuditFormat, record: &Record) -> String {
        match format {
            AuditFormat::Json => super::json::render(record, self),
            AuditFormat::Fhir => super::fhir::render(record, self),
        }
    }
}

/// The audit trail of this process; clones are the same one.
#[derive(Clone)]
pub struct Audit {
    node: Arc<str>,
    trail: Option<Arc<Trail>>,
}

struct Trail {
    slots: Arc<Semaphore>,
    /// Those of the slots that strangers may take.
    of_strangers: Arc<Semaphore>,
    to_writer: Sender<ToWriter>,
    state: Arc<State>,
}

/// What the writer is told.
pub(super) enum ToWriter {
    /// Write this.
    Record(Box<Record>, Room),
    /// Write what waits, say so, and end.
    Finish(SyncSender<()>),
}

/// Whose request is to be recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asker {
    /// Who is known, or needs not be.
    Known,
    /// Who has not shown that it may ask at all. All strangers together have half of the slots: however many they send,
    /// there is room for the others.
    Stranger,
}

/// The place of one record among those that wait.
pub(super) struct Room {
    _slot: OwnedSemaphorePermit,
    _of_strangers: Option<OwnedSemaphorePermit>,
}

impl Trail {
    fn room(&self, asker: Asker) -> Option<Room> {
        let take = |slots: &Arc<Semaphore>| slots.clone().try_acquire_owned().ok();
        let of_strangers = match asker {
            Asker::Known => None,
            // That they have no room is their own doing, and no outage.
            Asker::Stranger => Some(take(&self.of_strangers)?),
        };
        let slot = take(&self.slots);
        if slot.is_none() {
            self.state.is_full();
        }
        Some(Room { _slot: slot?, _of_strangers: of_strangers })
    }
}

impl Audit {
    /// None.
    pub fn off() -> Self {
        Self { node: Uuid::new_v4().to_string().into(), trail: None }
    }

    /// Starts to write where the settings say. Where it is required, a part of `readiness` says whether it can.
    pub fn start(
        settings: &settings::Audit,
        program: &'static str,
        readiness: &Readiness,
    ) -> io::Result<Self> {
        if settings.to == AuditTarget::Off {
            return Ok(Self::off());
        }
        let source = Source::new(program);
        let node = source.node.as_str().into();
        let readiness = settings.required.then(|| readiness.clone());
        let state = Arc::new(State::new(readiness));
        let slots = Arc::new(Semaphore::new(settings.waiting_records));
        let of_strangers = Arc::new(Semaphore::new(settings.waiting_records.div_ceil(2)));
        let (to_writer, records) = mpsc::channel();
        let writer = Writer::new(settings, source, state.clone());
        thread::Builder::new().name("audit".to_owned()).spawn(move || writer.run(&records))?;
        Ok(Self { node, trail: Some(Arc::new(Trail { slots, of_strangers, to_writer, state })) })
    }

    /// What the records call this process.
    pub fn node(&self) -> &str {
        &self.node
    }

    /// A slot for the record of a request that is about to be served. `None` when the trail is required and cannot take
    /// it: then nothing may be done.
    pub fn admit(&self, asker: Asker) -> Option<Slot> {
        let Some(trail) = &self.trail else { return Some(Slot { trail: None, room: None }) };
        let room = trail.room(asker);
        let may_be_lost = trail.state.readiness.is_none();
        let is_taken = room.is_some() && trail.state.is_writable.load(Ordering::Relaxed);
        (is_taken || may_be_lost).then(|| Slot { trail: Some(trail.clone()), room })
    }

    /// Records what has happened, whether or not it can be written.
    pub fn note(&self, record: Record) {
        if let Some(trail) = &self.trail {
            let room = trail.room(Asker::Known);
            Slot { trail: Some(trail.clone()), room }.record(record);
        }
    }

    /// Writes what waits, for as long as that may take at the end of a process.
    pub fn finish(&self) {
        let Some(trail) = &self.trail else { return };
        let (done, is_done) = mpsc::sync_channel(1);
        let told = trail.to_writer.send(ToWriter::Finish(done));
        if told.is_err() || is_done.recv_timeout(FINISH_WITHIN).is_err() {
            tracing::error!("the audit trail could not be written to its end");
        }
    }
}

/// Room for one record.
pub struct Slot {
    trail: Option<Arc<Trail>>,
    room: Option<Room>,
}

impl Slot {
    /// Leaves the record there.
    pub fn record(self, record: Record) {
        let Some(trail) = self.trail else { return };
        let Some(room) = self.room else { return trail.state.lost(1) };
        let record = Box::new(record.without_ticket());
        if trail.to_writer.send(ToWriter::Record(record, room)).is_err() {
            trail.state.lost(1);
        }
    }
}

/// How the trail is, for the writer and for those who are recorded.
pub(super) struct State {
    is_writable: AtomicBool,
    /// The last moment of an outage that has been told of, and whose end has not.
    outage: Mutex<Option<Instant>>,
    lost: AtomicU64,
    /// Where the trail is required.
    readiness: Option<Readiness>,
}

impl State {
    fn new(readiness: Option<Readiness>) -> Self {
        let is_writable = AtomicBool::new(false);
        let state = Self { is_writable, outage: Mutex::new(None), lost: AtomicU64::new(0), readiness };
        state.say(false, "starting");
        state
    }

    pub(super) fn is_required(&self) -> bool {
        self.readiness.is_some()
    }

    /// All that was waiting is written, or nothing stands in the way of it. `false` while it was otherwise a moment ago.
    pub(super) fn is_well(&self) -> bool {
        let is_new = !self.is_writable.swap(true, Ordering::Relaxed);
        let mut outage = lock(&self.outage);
        if outage.is_some_and(|last| last.elapsed() < QUIET) {
            return false;
        }
        if outage.take().is_some() {
            let lost = self.lost.swap(0, Ordering::Relaxed);
            tracing::warn!(lost, "the audit trail is written again");
        } else if !is_new {
            return true;
        }
        self.say(true, "ok");
        true
    }

    /// It could not be written.
    pub(super) fn is_broken(&self, error: &io::Error) {
        self.is_writable.store(false, Ordering::Relaxed);
        if self.is_out("cannot be written") {
            let required = self.is_required();
            tracing::error!(%error, required, "the audit trail cannot be written (audit.to)");
        }
    }

    /// As much waits as may.
    fn is_full(&self) {
        if self.is_out("as many records wait as may") {
            let required = self.is_required();
            tracing::error!(
                required,
                "as many records wait for the audit trail as may (audit.waiting_records)"
            );
        }
    }

    /// So many records are lost.
    pub(super) fn lost(&self, records: u64) {
        METRICS.audit_lost.inc_by(records);
        self.lost.fetch_add(records, Ordering::Relaxed);
    }

    /// Is it the beginning of an outage?
    fn is_out(&self, text: &'static str) -> bool {
        let before = lock(&self.outage).replace(Instant::now());
        self.say(false, text);
        before.is_none()
    }

    fn say(&self, is_well: bool, text: &'static str) {
        if let Some(readiness) = &self.readiness {
            readiness.set(READINESS, is_well, text);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(super) mod tests;
