//! SyncErrors: one for each cause, to all others, and none without a cause.

use super::story::*;

#[test]
fn one_cause_has_one_sync_error() {
    let about =
        |id: &str| sync_error(id, "Acme", "r2", "Acme did not answer DiagnosticReport-update in time");
    Run::sound().with_everywhere("r2", &about("s1")).shows(&[]);
    let twice = Run::sound().with_everywhere("r2", &about("s1")).with_everywhere("r4", &about("s2"));
    let each = ["all", "reports", "called"].map(|who| (DoubleSyncError, who, "r2"));
    twice.shows(&each);
    let two_causes = Run::sound().with_everywhere("r2", &about("s1"));
    let other = sync_error("s2", "Acme", "r4", "Acme did not answer DiagnosticReport-update in time");
    two_causes.with_everywhere("r4", &other).shows(&[]);
}

#[test]
fn a_sync_error_has_a_cause() {
    let about = sync_error("s1", "Acme", "r2", "Acme did not answer DiagnosticReport-update in time");
    let mut run = Run::sound().with_everywhere("r2", &about);
    run.lines("lab").remove(0);
    run.shows(&["all", "reports", "called"].map(|who| (Unfounded, who, "s1")));
}

#[test]
fn a_sync_error_that_comes_twice_is_a_duplicate() {
    let about = sync_error("s1", "Acme", "r2", "Acme refused it with status 409");
    let run = Run::sound().with_everywhere("r2", &about).with("reports", "r4", &about);
    run.shows(&[(Duplicated, "reports", "s1")]);
    let own = sync_error("s2", "reports", "", "reports has missed events that are no longer kept");
    let run = Run::sound().rewinding().with("reports", "r4", &own).with("reports", "r4", &own);
    run.shows(&[(DoubleSyncError, "reports", "s2")]);
}

#[test]
fn a_sync_error_is_owed_to_all_but_the_one_that_it_is_about() {
    let about = |who: &str| sync_error("s1", who, "r2", "it refused an event with status 409");
    let run = Run::sound().with("all", "r2", &about("Acme")).with("called", "r2", &about("Acme"));
    run.shows(&[(Disagreed, "reports", "s1")]);
    let run = Run::sound().with("all", "r2", &about("reports")).with("called", "r2", &about("reports"));
    run.shows(&[]);
}
