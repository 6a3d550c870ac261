//! `fhircast-hub status` and `raise-format`. The first: what Redis holds and who uses it, as a table or as JSON. It changes nothing, and needs no data
//! key: topics are told by their hashes, as log lines have them, and nothing of a patient is read.

use std::{
    fmt::{self, Write as _},
    io::Write,
    time::Duration,
};

use anyhow::Context;
use shared::{
    format::Format,
    settings::Settings,
    store::redis::{self, Overview, Program, Server, Session, Undelivered},
};

/// Lines of a list in the table; JSON has all.
const MOST_LINES: usize = 20;
/// Characters of a hash in the table.
const HASH: usize = 8;

/// Looks, and says what there is.
pub async fn status(settings: &Settings, is_json: bool) -> anyhow::Result<()> {
    let url = settings.redis.url.as_ref().context("redis.url is not set: there is nothing to look at")?;
    let overview = Overview::take(&settings.redis).await.with_context(|| url.to_string())?;
    let mut out = std::io::stdout();
    if is_json {
        serde_json::to_writer_pretty(&mut out, &overview)?;
        writeln!(out)?;
    } else {
        write!(out, "{}", table(&overview)?)?;
    }
    Ok(())
}

/// Has all programs write the newest format, and says so.
pub async fn raise_format(settings: &Settings) -> anyhow::Result<()> {
    let url = settings.redis.url.as_ref().context("redis.url is not set: there is no format to raise")?;
    let (before, now) = redis::raise_format(&settings.redis).await.with_context(|| url.to_string())?;
    let mut out = std::io::stdout();
    if before == now {
        writeln!(out, "all write format {now} already, the newest that this program knows")?;
    } else {
        writeln!(
            out,
            "all write format {now} from now on, in place of {before}; programs that do not know it say so"
        )?;
    }
    Ok(())
}

/// The overview for people.
fn table(overview: &Overview) -> Result<String, fmt::Error> {
    let mut page = String::new();
    let Overview {
        problems,
        unanswered,
        servers,
        format,
        partitions,
        hubs,
        workers,
        census,
        sessions,
        undelivered,
    } = overview;
    section(
        &mut page,
        "Redis",
        &["SERVER", "VERSION", "PARTITIONS", "REPLICAS", "MEMORY", "PERSISTENCE"],
        servers,
        |server| {
            let Server {
                address,
                version,
                replicas,
                used_bytes,
                max_bytes,
                has_aof,
                persists,
                partitions,
                problem,
            } = server;
            if let Some(problem) = problem {
                return vec![
                    address.clone(),
                    "?".to_owned(),
                    partitions.to_string(),
                    format!("DOES NOT ANSWER: {problem}"),
                ];
            }
            let memory = match max_bytes {
                0 => mebibytes(*used_bytes),
                _ => format!("{} of {}", mebibytes(*used_bytes), mebibytes(*max_bytes)),
            };
            let file = if *has_aof { "append-only file" } else { "no append-only file" };
            let persistence = if *persists { file.to_owned() } else { format!("{file}, CANNOT BE WRITTEN") };
            vec![
                address.clone(),
                version.clone(),
                partitions.to_string(),
                replicas.to_string(),
                memory,
                persistence,
            ]
        },
    )?;
    for problem in problems {
        writeln!(page, "NOT KNOWN: {problem}")?;
    }
    if !unanswered.is_empty() {
        writeln!(
            page,
            "NOT KNOWN: what {} of {partitions} partitions hold, whose server does not answer",
            unanswered.len()
        )?;
    }
    let format = format.map_or_else(|| "not known".to_owned(), |format| format.to_string());
    writeln!(page, "Format: {format}, of which this program knows those up to {}\n", Format::NEWEST)?;
    let life = |program: &Program| if program.is_alive { "alive" } else { "DEAD" }.to_owned();
    section(&mut page, "Hubs", &["ID", "", "SOCKETS"], hubs, |hub| {
        vec![hub.id.clone(), life(hub), hub.sockets.to_string()]
    })?;
    section(&mut page, "Workers", &["ID", ""], workers, |worker| vec![worker.id.clone(), life(worker)])?;

    let title = format!("Partitions in use, of {partitions}");
    let oldest_first = sorted(census, |of| std::cmp::Reverse(of.oldest_due()));
    section(
        &mut page,
        &title,
        &["PARTITION", "SUBSCRIPTIONS", "DUE", "OLDEST DUE", "LATER"],
        &oldest_first,
        |of| {
            let oldest = if of.due_count == 0 { String::new() } else { seconds(of.oldest_due()) };
            vec![
                of.partition.to_string(),
                of.subscriptions.len().to_string(),
                of.due_count.to_string(),
                oldest,
                of.later.to_string(),
            ]
        },
    )?;
    let head = ["TOPIC", "PARTITION", "OPEN", "CONNECTED", "AWAY", "WEBHOOKS", "LOG", "LAST EVENT"];
    section(&mut page, "Sessions that somebody is subscribed to", &head, sessions, |session| {
        let Session {
            topic,
            partition,
            open_contexts,
            connected,
            away,
            webhooks,
            log_entries,
            last_entry_ms,
        } = session;
        let last = last_entry_ms.map(|age| format!("{} ago", seconds(Duration::from_millis(age))));
        let mut cells = vec![short(topic)];
        cells.extend(
            [usize::from(*partition), *open_contexts, *connected, *away, *webhooks].map(|n| n.to_string()),
        );
        cells.extend([log_entries.to_string(), last.unwrap_or_default()]);
        cells
    })?;
    let head = ["SUBSCRIPTION", "TOPIC", "", "OLDEST", "FAILED", "NEXT TRY"];
    section(&mut page, "Not delivered or not confirmed", &head, undelivered, |behind| {
        let Undelivered { subscription, topic, kind, oldest_ms, attempts, retry_in_ms } = behind;
        let retry = retry_in_ms.map(|left| format!("in {}", seconds(Duration::from_millis(left))));
        vec![
            short(subscription),
            short(topic),
            kind.as_str().to_owned(),
            seconds(Duration::from_millis(*oldest_ms)),
            attempts.to_string(),
            retry.unwrap_or_default(),
        ]
    })?;
    Ok(page)
}

/// A title with the number of lines, and the first of them in columns.
fn section<T>(
    page: &mut String,
    title: &str,
    head: &[&str],
    items: &[T],
    cells: impl Fn(&T) -> Vec<String>,
) -> fmt::Result {
    writeln!(page, "{title}: {}", items.len())?;
    if items.is_empty() {
        return writeln!(page);
    }
    let head = head.iter().map(|name| (*name).to_owned()).collect();
    let lines: Vec<Vec<String>> =
        std::iter::once(head).chain(items.iter().take(MOST_LINES).map(cells)).collect();
    let columns = lines.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column| {
        lines.iter().filter_map(|line| line.get(column)).map(|cell: &String| cell.chars().count()).max()
    };
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or_default()).collect();
    for line in &lines {
        let cells = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        writeln!(page, "  {}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
    }
    if items.len() > MOST_LINES {
        writeln!(page, "  … and {} more: --json has all", items.len() - MOST_LINES)?;
    }
    writeln!(page)
}

fn sorted<T: Clone, K: Ord>(items: &[T], key: impl Fn(&T) -> K) -> Vec<T> {
    let mut sorted = items.to_vec();
    sorted.sort_by_key(key);
    sorted
}

fn short(hash: &impl ToString) -> String {
    hash.to_string().chars().take(HASH).collect()
}

fn seconds(duration: Duration) -> String {
    match duration.as_secs() {
        0..60 => format!("{:.1} s", duration.as_secs_f64()),
        60..7200 => format!("{} min", duration.as_secs() / 60),
        secs => format!("{} h", secs / 3600),
    }
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / 1_048_576.0)
}
