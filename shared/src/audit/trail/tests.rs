//! A trail on a disk that is there, full, or away.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use super::*;
use crate::audit::Kind;

pub fn source() -> Source {
    Source { program: "fhircast-hub", host: "host-1".to_owned(), node: "node-1".to_owned() }
}

/// For a writer without a trail.
pub fn state() -> Arc<State> {
    Arc::new(State::new(None))
}

/// The only place there is.
pub fn room() -> Room {
    let slot = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
    Room { _slot: slot, _of_strangers: None }
}

fn start(to: &Path, required: bool, waiting_records: usize) -> (Audit, Readiness) {
    let settings = settings::Audit {
        to: AuditTarget::File(to.to_owned()),
        required,
        waiting_records,
        ..settings::Audit::default()
    };
    let readiness = Readiness::new([]);
    (Audit::start(&settings, "fhircast-hub", &readiness).unwrap(), readiness)
}

fn until(what: &str, is_so: impl Fn() -> bool) {
    let since = Instant::now();
    while !is_so() {
        assert!(since.elapsed() < Duration::from_secs(20), "not in time: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

fn lines(path: &Path) -> Vec<String> {
    fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
}

fn numbered(number: usize) -> Record {
    Record::new(Kind::Publish).because(format!("number {number}"))
}

#[test]
fn what_is_queued_is_written_in_order_by_the_end_and_the_file_is_nobody_elses() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit");
    let (audit, _) = start(&path, false, 10_000);
    (0..5000).for_each(|number| audit.note(numbered(number)));
    audit.finish();
    let lines = lines(&path);
    assert_eq!(lines.len(), 5000);
    let in_order = |(number, line): (usize, &String)| line.contains(&format!("\"number {number}\""));
    assert!(lines.iter().enumerate().all(in_order));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_file_that_is_moved_or_removed_is_begun_anew() {
    let folder = tempfile::tempdir().unwrap();
    let (path, moved) = (folder.path().join("audit"), folder.path().join("audit.1"));
    let (audit, _) = start(&path, true, 10);
    audit.note(numbered(1));
    until("the first record", || lines(&path).len() == 1);
    fs::rename(&path, &moved).unwrap();
    audit.note(numbered(2));
    until("the second record", || lines(&path).len() == 1);
    fs::remove_file(&path).unwrap();
    audit.note(numbered(3));
    audit.finish();
    assert!(lines(&moved)[0].contains("number 1") && lines(&moved).len() == 1);
    assert!(lines(&path)[0].contains("number 3") && lines(&path).len() == 1);
}

#[test]
fn what_is_required_and_cannot_be_written_admits_nobody_until_it_can() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("inner");
    fs::create_dir(&inner).unwrap();
    let path = inner.join("audit");
    let (audit, readiness) = start(&path, true, 10);
    until("it is ready", || readiness.is_ready());
    let admitted = audit.admit(Asker::Known).unwrap();
    fs::remove_dir_all(&inner).unwrap();
    admitted.record(numbered(1));
    until("it is not ready", || !readiness.is_ready());
    assert!(audit.admit(Asker::Known).is_none());
    audit.note(numbered(2));
    fs::create_dir(&inner).unwrap();
    until("it is ready again", || readiness.is_ready());
    audit.admit(Asker::Known).unwrap().record(numbered(3));
    audit.finish();
    let lines = lines(&path);
    assert_eq!(lines.len(), 3, "what waited is written: {lines:?}");
}

#[test]
fn a_disk_that_is_full_admits_nobody_and_a_queue_that_is_full_loses_records() {
    let (audit, readiness) = start(Path::new("/dev/full"), true, 2);
    until("it is ready", || readiness.is_ready());
    audit.admit(Asker::Known).unwrap().record(numbered(1));
    until("it is not ready", || !readiness.is_ready());
    assert!(audit.admit(Asker::Known).is_none());

    let before = METRICS.audit_lost.get();
    let (audit, readiness) = start(Path::new("/dev/full"), false, 2);
    (0..10).for_each(|number| audit.admit(Asker::Known).unwrap().record(numbered(number)));
    assert!(METRICS.audit_lost.get() - before >= 8, "all but the two that wait");
    assert!(readiness.is_ready(), "it is not required");
}

#[test]
fn strangers_have_half_of_the_slots_and_the_others_find_room_and_readiness() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit");
    let (audit, readiness) = start(&path, true, 4);
    until("it is ready", || readiness.is_ready());
    let strangers: Vec<_> = (0..10).filter_map(|_| audit.admit(Asker::Stranger)).collect();
    assert_eq!(strangers.len(), 2, "half of audit.waiting_records");
    assert!(readiness.is_ready(), "that strangers are many is no outage");
    let known: Vec<_> = (0..10).filter_map(|_| audit.admit(Asker::Known)).collect();
    assert_eq!(known.len(), 2, "what is left is for the others");
    assert!(!readiness.is_ready(), "as much waits as may");
    known.into_iter().chain(strangers).for_each(|slot| slot.record(numbered(1)));
    until("there is room again", || audit.admit(Asker::Stranger).is_some());
    audit.finish();
    assert_eq!(lines(&path).len(), 4);

    let before = METRICS.audit_lost.get();
    let (audit, _) = start(&folder.path().join("lost"), false, 2);
    let slots: Vec<_> = (0..3).filter_map(|_| audit.admit(Asker::Stranger)).collect();
    assert_eq!(slots.len(), 3, "where the trail is not required, everybody is served");
    slots.into_iter().for_each(|slot| slot.record(numbered(1)));
    assert!(METRICS.audit_lost.get() - before >= 2);
}

#[test]
fn what_waits_at_the_end_and_cannot_be_written_counts_as_lost() {
    let (audit, readiness) = start(Path::new("/dev/full"), true, 4);
    until("it is ready", || readiness.is_ready());
    (1..=3).for_each(|number| audit.note(numbered(number)));
    audit.finish();
    assert_eq!(audit.trail.unwrap().state.lost.load(Ordering::Relaxed), 3);
}

#[test]
fn a_ticket_is_written_under_no_other_name() {
    let ticket = "0f8fad5b-d9cb-469f-a165-70867728950e";
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit");
    let (audit, _) = start(&path, false, 10);
    let mut record = numbered(1);
    record.topic = Some(ticket.parse::<crate::protocol::Topic>().unwrap().key());
    record.set_event(ticket, &"Patient-open".parse().unwrap());
    audit.admit(Asker::Known).unwrap().record(record.clone());
    audit.note(record);
    audit.finish();
    let lines = lines(&path);
    assert!(lines.len() == 2 && lines.iter().all(|line| !line.contains(ticket)), "{lines:?}");
}

#[test]
fn without_a_trail_everybody_is_admitted() {
    let audit = Audit::off();
    audit.admit(Asker::Known).unwrap().record(numbered(1));
    audit.note(numbered(2));
    audit.finish();
}
