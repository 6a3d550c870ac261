//! The metrics as a page for people, `docs/METRICS.md`: made of what is registered.

use std::fmt::Write;
use std::sync::LazyLock;

use super::METRICS;
use super::families::{Family, families};

const HEAD: &str = "# Metrics

What `fhircast-hub` and `fhircast-worker` serve at `admin_listen`, `GET /metrics`, in Prometheus's text format. This page is
made of the programs' own declarations (`make docs`), and a test compares it with them. Both programs serve all of these; what
one of them does not do stays at 0. Beside them are those of the process, as every Prometheus client has them:
`process_cpu_seconds_total`, `process_resident_memory_bytes`, `process_virtual_memory_bytes`, `process_open_fds`,
`process_max_fds`, `process_threads`, `process_start_time_seconds`.

No label is chosen by a client, so the number of series is bounded. Where the values of a label are listed, all series are
there from the start, at 0, but for those of certificates that there are not.

";

/// The page, in Markdown.
pub fn reference() -> String {
    LazyLock::force(&METRICS);
    let mut page = HEAD.to_owned();
    page.push_str("| metric | type | |\n|---|---|---|\n");
    let families = families();
    for Family { name, kind, help, .. } in &families {
        // Writing to a string cannot fail.
        let _ = writeln!(page, "| `{name}` | {kind} | {help} |");
    }
    page.push_str("\n## Labels\n\n| metric | label | values |\n|---|---|---|\n");
    for family in &families {
        for label in &family.labels {
            let values = label.known.iter().map(|(value, help)| format!("`{value}`: {help}"));
            let values = if label.known.is_empty() {
                label.about.to_owned()
            } else {
                values.collect::<Vec<_>>().join("<br>")
            };
            let _ = writeln!(page, "| `{}` | `{}` | {values} |", family.name, label.name);
        }
    }
    page
}
