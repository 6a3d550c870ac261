//! `fhircast-hub reseal`: seals anew what Redis keeps, after another data key has become the first one (FC-SEC-03).

use std::{cell::Cell, collections::BTreeMap, io::Write, process::ExitCode};

use anyhow::Context;
use shared::{
    settings::Settings,
    store::{
        Retention,
        redis::{RedisStore, Walk},
    },
};

/// Only events in the logs use other keys: they go with their age.
const LOGS_REMAIN: u8 = 3;
/// How many keys of Redis are looked at between two lines that say so.
const SAY_EVERY: u64 = 10_000;

/// Seals anew, and says what uses which key. Success: nothing uses another key than the first one, and nobody has been
/// seen to seal with another.
pub async fn reseal(settings: &Settings) -> anyhow::Result<ExitCode> {
    anyhow::ensure!(settings.redis.url.is_some(), "redis.url is not set: there is nothing to seal anew");
    let keys = settings.sealing_keys()?;
    anyhow::ensure!(!keys.is_empty(), "data_keys: there are none to seal with");
    let store = RedisStore::connect(&settings.redis, keys, Retention::from(&settings.limits)).await?;
    let said = Cell::new(0);
    let walk = store.reseal(|walk| {
        if walk.keys / SAY_EVERY != said.replace(walk.keys / SAY_EVERY) {
            let _ = writeln!(
                std::io::stderr(),
                "{} keys looked at, {} values sealed anew",
                walk.keys,
                walk.resealed
            );
        }
    });
    let walk = walk.await.context("not all has been sealed anew; run it again")?;
    say(&mut std::io::stdout(), &walk, store.sealing(), settings.limits.log_secs)?;
    let (values, entries) = (walk.other_values(store.sealing()), walk.other_entries(store.sealing()));
    Ok(match (walk.is_quiet, values, entries) {
        (true, 0, 0) => ExitCode::SUCCESS,
        (true, 0, _) => ExitCode::from(LOGS_REMAIN),
        _ => ExitCode::FAILURE,
    })
}

fn say(out: &mut impl Write, walk: &Walk, key: Option<&str>, log_secs: u64) -> std::io::Result<()> {
    let name = |key: &Option<String>| key.clone().unwrap_or_else(|| "no key".to_owned());
    let count = |counts: &BTreeMap<Option<String>, u64>| {
        let each: Vec<String> = counts.iter().map(|(key, count)| format!("{}: {count}", name(key))).collect();
        if each.is_empty() { "none".to_owned() } else { each.join(", ") }
    };
    writeln!(out, "values by key: {}; {} of them sealed anew", count(&walk.values), walk.resealed)?;
    writeln!(out, "events in logs by key: {}", count(&walk.entries))?;
    for (problem, count) in &walk.unreadable {
        writeln!(out, "{count} cannot be read: {problem}")?;
    }
    match (walk.other_values(key), walk.other_entries(key)) {
        (0, _) if !walk.is_quiet => writeln!(
            out,
            "others seal with another key, as fast as this goes: restart what does, and run this again"
        ),
        (0, 0) => writeln!(out, "nothing uses another key: the others can be dropped"),
        (0, entries) => writeln!(
            out,
            "{entries} events in logs use other keys, which must stay until they are gone: run this again in {log_secs} s"
        ),
        (values, _) => writeln!(
            out,
            "{values} values use other keys, or cannot be read: restart what still seals with another key, and run this again"
        ),
    }
}
