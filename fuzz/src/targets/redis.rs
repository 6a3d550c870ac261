//! What Redis answers, and the seal on what it keeps. Who may write there must not break a hub, nor be believed where a
//! seal is asked for.

use std::{collections::HashMap, sync::LazyLock};

use redis::{FromRedisValue, Value, parse_redis_value, streams::StreamRangeReply};
use shared::{
    protocol::{Topic, TopicKey},
    session::Entry,
    settings::{DataKeys, HostPort},
    store::redis::edge::{
        NotOpened, Place, Primaries, Reply, SLOTS, Seal, Slot, key_id, log_entries, read_entry, read_slots,
    },
};

use super::text;
use crate::{
    Target,
    seeds::{event, resource, texts},
};

pub const SEALED: Target = Target {
    name: "sealed",
    check: check_sealed,
    seeds: sealed,
    words: &["k1", "k2", "{", "}", "\u{f8}", "\u{0}", "{\"v\":1}"],
};
pub const BELL: Target = Target {
    name: "bell",
    check: check_bell,
    seeds: bells,
    words: &[" ", "1-2@0000abcd", "1@2", "{\"v\":1,", "\"event\":", "\"subscription\":", "-", "@"],
};
pub const REPLY: Target = Target { name: "reply", check: check_reply, seeds: replies, words: REPLY_WORDS };

const REPLY_WORDS: &[&str] = &[
    "*2\r\n",
    "*0\r\n",
    "*-1\r\n",
    "$-1\r\n",
    "$0\r\n\r\n",
    ":0\r\n",
    ":16383\r\n",
    "$9\r\n.revision\r\n",
    "$5\r\n.head\r\n",
    "$4\r\nlast\r\n",
    "$3\r\n1@2\r\n",
    "$5\r\n1-2@3\r\n",
    "$1\r\ne\r\n",
    "+OK\r\n",
    "-ERR\r\n",
    "$4\r\nlost\r\n",
];

const A: &str = "k1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const B: &str = "k2:Hx4dHBsaGRgXFhUUExIREA8ODQwLCgkIBwYFBAMCAQA=";
/// What is sealed here with the first key, in the field `open:1` of the session of the topic `foo`; made elsewhere.
const KNOWN: &[u8] =
    b"\xf8\x02k1defghijklmno\xf4\x10\x86s\x8f\\\x8by\xe2\xaa}e/\xf7\xa41\x13\xfc\x85x\x8e\xbf\xad";
const KNOWN_TEXT: &str = "{\"v\":1}";

fn seal(keys: &[&str], is_required: bool) -> Seal {
    let keys = DataKeys::parse(keys.iter().copied()).unwrap_or_else(|problem| panic!("{problem}"));
    Seal::new(keys.required(is_required))
}

fn topic(name: &str) -> TopicKey {
    name.parse::<Topic>().map(|topic| topic.key()).unwrap_or_else(|problem| panic!("{problem}"))
}

struct Seals {
    first: Seal,
    both: Seal,
    second: Seal,
    required: Seal,
    none: Seal,
    topic: TopicKey,
}

static SEALS: LazyLock<Seals> = LazyLock::new(|| Seals {
    first: seal(&[A], false),
    both: seal(&[B, A], false),
    second: seal(&[B], false),
    required: seal(&[A], true),
    none: Seal::default(),
    topic: topic("foo"),
});

fn sealed() -> Vec<Vec<u8>> {
    let mut seeds = texts(["", "{\"v\":1}", "text", "\u{fffd}", "{\"id\":\"0097a8ef\"}"]);
    seeds.extend([KNOWN.to_vec(), KNOWN[..20].to_vec(), vec![0xF8], vec![0xF9, 1, 2], vec![0xF8, 255]]);
    seeds
}

/// Of all bytes that are not text only what was sealed here opens, and only as it was.
fn check_sealed(bytes: &[u8]) {
    let Seals { first, both, second, required, none, topic } = &*SEALS;
    let place = Place::Session(*topic, "open:1");
    let is_known = bytes == KNOWN;
    let clear = std::str::from_utf8(bytes);
    for seal in [first, both, second, required, none] {
        let opened = seal.open(place, bytes.to_vec());
        match (&clear, is_known) {
            (Ok(_), _) if std::ptr::eq(seal, required) => {
                assert_eq!(opened, Err(NotOpened::Unsealed), "FC-SEC-03");
            }
            (Ok(clear), _) => assert_eq!(opened.as_deref(), Ok(*clear), "as before there was a key"),
            (Err(_), true) => {
                let has_key = !std::ptr::eq(seal, second) && !std::ptr::eq(seal, none);
                assert_eq!(opened.is_ok(), has_key, "FC-SEC-03");
                assert!(!has_key || opened.as_deref() == Ok(KNOWN_TEXT), "FC-SEC-03");
            }
            (Err(_), false) => assert!(opened.is_err(), "FC-SEC-03: {}", bytes.escape_ascii()),
        }
    }
    assert!(first.open(Place::Session(*topic, "open:2"), KNOWN.to_vec()).is_err(), "FC-SEC-03");
    if let Ok(Some(id)) = key_id(bytes) {
        assert_eq!(bytes.first(), Some(&0xF8));
        assert_eq!(id.as_bytes(), &bytes[2..2 + id.len()]);
    }

    let text = text(bytes);
    let kept = first.seal(place, &text).unwrap_or_else(|problem| panic!("{problem}"));
    assert_eq!(key_id(&kept), Ok(Some("k1")), "FC-SEC-03");
    for seal in [first, both, required] {
        assert_eq!(seal.open(place, kept.clone()).as_deref(), Ok(&*text), "FC-SEC-03");
    }
    assert!(
        second.open(place, kept.clone()).is_err() && none.open(place, kept.clone()).is_err(),
        "FC-SEC-03"
    );
    assert!(first.open(Place::Log(*topic), kept.clone()).is_err(), "FC-SEC-03: it is bound to its place");
    // Which byte is changed, and how, is the input's to say.
    let sum = bytes.iter().fold(7_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(usize::from(*byte)));
    let (at, flip) = (sum % kept.len(), 1 << (sum / 7 % 8));
    let mut changed = kept.clone();
    changed[at] ^= flip;
    assert!(first.open(place, changed).is_err(), "FC-SEC-03: byte {at}");
    assert!(first.open(place, kept[..at].to_vec()).is_err() || at == 0, "FC-SEC-03: cut at {at}");
}

fn bells() -> Vec<Vec<u8>> {
    let message = event("Patient-open", "", &resource("Patient", "1"));
    let id = "0097a8ef7b3de5d5425c12a4040163ea2fb1b952";
    texts([
        &format!(
            r#"10-2@0000abcd 9-1@0000abcd 7@0000abcd {{"v":1,"event":{{"id":"i","name":"Patient-open","message":{message}}}}}"#
        ),
        &format!(
            r#"10-2@0 9-1@0 7@0 {{"v":1,"subscription":{{"ended":{{"id":"{id}","reason":"lease expired"}}}}}}"#
        ),
        "10-2@0 9-1@0 7@0",
        "   ",
        "10-2@0 9-1@0 7@0 {}",
    ])
}

/// Position, the one before, revision and entry, with spaces between them.
fn check_bell(bytes: &[u8]) {
    let Seals { first, required, topic, .. } = &*SEALS;
    let channel = format!("fhircast:{{1}}:bell:{topic}");
    let rung = read_entry(&channel, bytes, first);
    let strict = read_entry(&channel, bytes, required);
    assert!(read_entry("elsewhere", bytes, first).is_err());
    let Ok(read) = rung else {
        assert!(strict.is_err(), "FC-SEC-03");
        return;
    };
    let is_event = read.entry.as_event().is_some();
    assert_eq!(strict.is_ok(), !is_event, "FC-SEC-03: an event is sealed, and nothing else is");
    let text = text(bytes);
    let parts: Vec<&str> = text.splitn(4, ' ').collect();
    assert_eq!(parts[0].parse(), Ok(read.position));
    assert_eq!(parts[1].parse(), Ok(read.previous));
    assert_eq!(parts[2].parse(), Ok(read.revision));
    let entry = Entry::from_json(parts[3]).unwrap_or_else(|problem| panic!("{problem}"));
    assert_eq!(entry.to_json(), read.entry.to_json(), "FC-TRN-05");
    let entry = first.seal(Place::Log(*topic), parts[3]).unwrap_or_else(|problem| panic!("{problem}"));
    let again =
        [format!("{} {} {} ", read.position, read.previous, read.revision).into_bytes(), entry].concat();
    for seal in [first, required] {
        let heard = read_entry(&channel, &again, seal).unwrap_or_else(|problem| panic!("{problem}"));
        assert_eq!(heard.entry.to_json(), read.entry.to_json(), "FC-SEC-03");
        assert_eq!((heard.position, heard.previous), (read.position, read.previous));
    }
}

fn bulk(text: &str) -> String {
    format!("${}\r\n{text}\r\n", text.len())
}

fn replies() -> Vec<Vec<u8>> {
    let pairs = |pairs: &[(&str, &str)]| {
        let all: String = pairs.iter().map(|(name, value)| bulk(name) + &bulk(value)).collect();
        format!("*{}\r\n{all}", 2 * pairs.len())
    };
    let session =
        pairs(&[(".revision", "7@0000abcd"), (".head", "10-2@0000abcd"), ("last", "x"), (".h", "y")]);
    let message = event("Patient-open", "", &resource("Patient", "1"));
    let entry = format!(r#"{{"v":1,"event":{{"id":"i","name":"Patient-open","message":{message}}}}}"#);
    let fields = pairs(&[("h", "0000abcd"), ("p", "9-1@0000abcd"), ("r", "7@0000abcd"), ("e", &entry)]);
    let log = format!("*1\r\n*2\r\n{}{fields}", bulk("10-2"));
    let run = |first: u16, last: u16, host: &str| {
        format!("*3\r\n:{first}\r\n:{last}\r\n*3\r\n{}:6379\r\n{}", bulk(host), bulk("id"))
    };
    texts([
        &format!("*3\r\n{session}:1\r\n{}", bulk("0000abcd")),
        &log,
        &format!("*3\r\n{}{}{}", run(0, 99, "a"), run(100, 16_383, "b"), run(50, 120, "")),
        &format!("*2\r\n{}{}", run(200, 299, "a"), run(400, 16_383, "b")),
        &format!("*4\r\n{}{}:0\r\n*0\r\n", bulk("10-2@0000abcd"), bulk("lost")),
        "*0\r\n",
        "$-1\r\n",
        "-READONLY x\r\n",
    ])
}

/// Bytes as Redis sends them.
fn check_reply(bytes: &[u8]) {
    let Ok(value) = parse_redis_value(bytes) else { return };
    check_session(&value);
    check_log(&value);
    check_page(&value);
    check_slots(&value);
}

fn check_session(value: &Value) {
    let Seals { first, required, topic, .. } = &*SEALS;
    let read = |seal| Reply::new(value.clone()).and_then(|mut reply| reply.snapshot(seal, *topic));
    let Ok(snapshot) = read(first) else {
        assert!(read(required).is_err(), "FC-SEC-03");
        return;
    };
    let hash = Vec::<Value>::from_redis_value(value.clone()).unwrap_or_default().into_iter().next();
    let hash: HashMap<String, Vec<u8>> =
        hash.and_then(|hash| FromRedisValue::from_redis_value(hash).ok()).unwrap_or_default();
    let own: HashMap<&String, &Vec<u8>> = hash.iter().filter(|(name, _)| !name.starts_with('.')).collect();
    assert_eq!(own.len(), snapshot.fields.len());
    for (name, value) in &snapshot.fields {
        assert!(!name.starts_with('.'));
        let kept = own.get(name).map(|kept| kept.as_slice());
        assert!(kept == Some(value.as_bytes()) || kept == Some(KNOWN), "FC-SEC-03: {name}");
    }
    assert_eq!(snapshot.revision.to_string().parse(), Ok(snapshot.revision));
    assert_eq!(snapshot.head.to_string().parse(), Ok(snapshot.head));
    let is_clear = own.values().any(|kept| kept.first() != Some(&0xF8));
    assert_eq!(read(required).is_err(), is_clear, "FC-SEC-03: what is not sealed is not served");
}

fn check_log(value: &Value) {
    let Seals { first, required, topic, .. } = &*SEALS;
    let ids = || StreamRangeReply::from_redis_value(value.clone()).map(|range| range.ids).unwrap_or_default();
    let count = ids().len();
    let Ok(entries) = log_entries(ids(), first, *topic) else { return };
    assert!(entries.len() <= count);
    for entry in &entries {
        assert_eq!(entry.position.to_string().parse(), Ok(entry.position));
        let stored = entry.entry.to_json();
        assert_eq!(Entry::from_json(&stored).map(|again| again.to_json()).ok(), Some(stored), "FC-TRN-05");
    }
    // No entry opens here that the seeds' key has sealed: whatever event there is, is in clear.
    let strict = log_entries(ids(), required, *topic).unwrap_or_default();
    assert!(strict.iter().all(|entry| entry.entry.as_event().is_none()), "FC-SEC-03");
}

/// The head of a page, its gap, and whether there is more.
fn check_page(value: &Value) {
    let Ok(mut reply) = Reply::new(value.clone()) else { return };
    let head = reply.parsed::<shared::store::Position>();
    let gap = reply.gap();
    if let (Ok(head), Ok(gap)) = (head, gap) {
        assert_eq!(head.to_string().parse(), Ok(head));
        let parts = Vec::<Value>::from_redis_value(value.clone()).unwrap_or_default();
        let said = parts.into_iter().nth(1).and_then(|said| String::from_redis_value(said).ok());
        assert_eq!(gap.is_some(), said.is_some_and(|said| !said.is_empty()));
    }
}

/// Whoever is said to have a slot has it in a run of the answer.
fn check_slots(value: &Value) {
    let asked = HostPort { host: "asked".to_owned(), port: 1 };
    let Ok(runs) = Vec::<Value>::from_redis_value(value.clone()) else { return };
    let Ok(primaries) = read_slots(&asked, runs.clone()) else { return };
    let plain: Vec<(u16, u16)> = runs
        .into_iter()
        .filter_map(|run| {
            let mut parts = Vec::<Value>::from_redis_value(run).ok()?.into_iter();
            let mut number = || u16::from_redis_value(parts.next()?).ok();
            Some((number()?, number()?))
        })
        .collect();
    let ends = plain
        .iter()
        .flat_map(|(first, last)| [first.saturating_sub(1), *first, *last, last.saturating_add(1)]);
    for slot in ends.chain([0, SLOTS - 1]).filter(|slot| *slot < SLOTS) {
        if let Some(server) = Primaries::of(&primaries, Slot(slot)) {
            assert!(primaries.servers().contains(server));
            assert!(plain.iter().any(|(first, last)| (*first..=*last).contains(&slot)), "nobody has {slot}");
        }
    }
}
