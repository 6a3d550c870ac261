//! The W3C trace context of a request (`traceparent` and `tracestate`, <https://www.w3.org/TR/trace-context/>): which
//! trace it is of, and which span of it comes before.
//!
//! What is not as the recommendation has it is no trace context: it is ignored, and never an error of the request. A
//! `tracestate` that is not, or that is longer than participants need pass on, is dropped alone.

use std::{fmt, num::NonZero, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize};

/// The header that names trace, span and flags.
pub const TRACEPARENT: &str = "traceparent";
/// The header with what the systems on the way have noted for themselves.
pub const TRACESTATE: &str = "tracestate";

/// Characters of `traceparent` in the version that is written here, 00.
const LENGTH: usize = 55;
/// Of the flags: it is recorded, and its trace id is random. The others mean nothing yet, and are not passed on.
const KNOWN_FLAGS: u8 = 0b11;
const SAMPLED: u8 = 0b01;
/// What `tracestate` may have at most.
const MAX_STATE_BYTES: usize = 512;
const MAX_STATE_MEMBERS: usize = 32;

/// A place in a trace.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Headers", into = "Headers")]
pub struct TraceContext {
    trace_id: NonZero<u128>,
    parent_id: NonZero<u64>,
    flags: u8,
    state: Option<Box<str>>,
}

/// As it stands in headers, and in an entry of the log.
#[derive(Serialize, Deserialize)]
struct Headers {
    traceparent: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tracestate: Option<String>,
}

/// It is no trace context.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is no traceparent")]
pub struct NotATraceContext;

impl TraceContext {
    /// A span of a trace, with what is known of it. `None` when an id is 0, which stands for none.
    pub fn new(trace_id: u128, parent_id: u64, flags: u8, state: &str) -> Option<Self> {
        Some(Self {
            trace_id: NonZero::new(trace_id)?,
            parent_id: NonZero::new(parent_id)?,
            flags: flags & KNOWN_FLAGS,
            state: read_state(state),
        })
    }

    /// What the headers of a request say: all values of each, in their order. Two `traceparent`s say nothing.
    pub fn from_headers<'h>(
        mut parents: impl Iterator<Item = &'h str>,
        states: impl Iterator<Item = &'h str>,
    ) -> Option<Self> {
        let (Some(parent), None) = (parents.next(), parents.next()) else { return None };
        let mut context: Self = parent.parse().ok()?;
        context.state = read_state(&states.collect::<Vec<_>>().join(","));
        Some(context)
    }

    /// The trace.
    pub fn trace_id(&self) -> u128 {
        self.trace_id.get()
    }

    /// The span that comes before: whoever goes on from here is its child.
    pub fn parent_id(&self) -> u64 {
        self.parent_id.get()
    }

    /// Flags that are known, as in the header.
    pub fn flags(&self) -> u8 {
        self.flags
    }

    /// Does who wrote it record its part of the trace?
    pub fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// The value of `traceparent`.
    pub fn traceparent(&self) -> String {
        format!("00-{:032x}-{:016x}-{:02x}", self.trace_id, self.parent_id, self.flags)
    }

    /// The value of `tracestate`, if there is any.
    pub fn tracestate(&self) -> Option<&str> {
        self.state.as_deref()
    }

    /// One that stands in what this program or another version of it has written; what cannot be read is none.
    pub fn read_if_any<'d, D: Deserializer<'d>>(from: D) -> Result<Option<Self>, D::Error> {
        Ok(serde_json::from_value(serde_json::Value::deserialize(from)?).ok())
    }
}

/// What systems have noted is theirs to show.
impl fmt::Debug for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.traceparent())
    }
}

impl FromStr for TraceContext {
    type Err = NotATraceContext;

    /// Reads `traceparent` alone. Of a version that is not known yet, what 00 has is read, and may be followed by more.
    fn from_str(text: &str) -> Result<Self, NotATraceContext> {
        let bytes = text.as_bytes();
        let (known, rest) = bytes.split_at_checked(LENGTH).ok_or(NotATraceContext)?;
        let part = |from: usize, digits: usize| {
            let is_hex = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
            let part = known.get(from..from + digits).filter(|part| part.iter().all(is_hex));
            let part = part.and_then(|part| std::str::from_utf8(part).ok());
            part.and_then(|part| u128::from_str_radix(part, 16).ok()).ok_or(NotATraceContext)
        };
        let (version, trace_id, parent_id, flags) = (part(0, 2)?, part(3, 32)?, part(36, 16)?, part(53, 2)?);
        let is_divided = [2, 35, 52].iter().all(|at| known[*at] == b'-');
        let is_of_its_length = match version {
            0 => rest.is_empty(),
            0xff => false,
            _ => rest.first().is_none_or(|byte| *byte == b'-'),
        };
        if !is_divided || !is_of_its_length {
            return Err(NotATraceContext);
        }
        // Each has no more digits than its type.
        let (parent_id, flags) = (parent_id as u64, flags as u8);
        Self::new(trace_id, parent_id, flags, "").ok_or(NotATraceContext)
    }
}

impl From<TraceContext> for Headers {
    fn from(context: TraceContext) -> Self {
        Self { traceparent: context.traceparent(), tracestate: context.state.map(String::from) }
    }
}

impl TryFrom<Headers> for TraceContext {
    type Error = NotATraceContext;

    fn try_from(headers: Headers) -> Result<Self, NotATraceContext> {
        let state = headers.tracestate.as_deref();
        Self::from_headers([headers.traceparent.as_str()].into_iter(), state.into_iter())
            .ok_or(NotATraceContext)
    }
}

/// The members of a `tracestate`, without blanks between them; `None` when there are none, or not as they must be.
fn read_state(text: &str) -> Option<Box<str>> {
    let mut keys: Vec<&str> = Vec::new();
    let mut state = String::new();
    for member in text.split(',').map(|member| member.trim_matches([' ', '\t'])) {
        if member.is_empty() {
            continue;
        }
        let (key, value) = member.split_once('=')?;
        if !is_key(key) || !is_value(value) || keys.contains(&key) || keys.len() == MAX_STATE_MEMBERS {
            return None;
        }
        keys.push(key);
        if !state.is_empty() {
            state.push(',');
        }
        state.push_str(member);
        if state.len() > MAX_STATE_BYTES {
            return None;
        }
    }
    (!state.is_empty()).then(|| state.into())
}

/// `vendor` or `tenant@vendor`.
fn is_key(key: &str) -> bool {
    let is_part = |part: &str, most: usize, may_begin_with_digit: bool| {
        let is_of_it = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'*' | b'/');
        let is_first = |byte: u8| byte.is_ascii_lowercase() || may_begin_with_digit && byte.is_ascii_digit();
        part.len() <= most && part.bytes().all(is_of_it) && part.bytes().next().is_some_and(is_first)
    };
    match key.split_once('@') {
        None => is_part(key, 256, true),
        Some((tenant, vendor)) => is_part(tenant, 241, true) && is_part(vendor, 14, false),
    }
}

fn is_value(value: &str) -> bool {
    let is_of_it = |byte: u8| matches!(byte, b' '..=b'~') && byte != b',' && byte != b'=';
    (1..=256).contains(&value.len()) && value.bytes().all(is_of_it) && !value.ends_with(' ')
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn read(parents: &[&str], states: &[&str]) -> Option<TraceContext> {
        TraceContext::from_headers(parents.iter().copied(), states.iter().copied())
    }

    fn state(states: &[&str]) -> Option<String> {
        read(&[PARENT], states).unwrap().tracestate().map(str::to_owned)
    }

    #[test]
    fn the_recommendations_own_example_is_read_and_written_again() {
        let context: TraceContext = PARENT.parse().unwrap();
        assert_eq!(context.trace_id(), 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736);
        assert_eq!(context.parent_id(), 0x00f0_67aa_0ba9_02b7);
        assert!(context.is_sampled());
        assert_eq!(context.traceparent(), PARENT);
    }

    #[test]
    fn what_is_not_as_it_must_be_is_none() {
        let with = |at: usize, byte: &str| format!("{}{byte}{}", &PARENT[..at], &PARENT[at + byte.len()..]);
        for wrong in [
            String::new(),
            PARENT[..54].to_owned(),
            format!("{PARENT}-"),
            format!("{PARENT} "),
            format!(" {PARENT}"),
            PARENT.to_uppercase(),
            with(0, "ff"),
            with(0, "+0"),
            with(2, "_"),
            with(35, "0"),
            with(52, "0"),
            with(3, "x"),
            with(3, &"0".repeat(32)),
            with(36, &"0".repeat(16)),
            with(53, "+1"),
            "é".repeat(28),
        ] {
            assert!(wrong.parse::<TraceContext>().is_err(), "{wrong:?}");
        }
        assert_eq!(read(&[], &["a=1"]), None);
        assert_eq!(read(&[PARENT, PARENT], &[]), None, "it may stand once");
    }

    #[test]
    fn of_a_later_version_is_read_what_is_known_of_it() {
        for later in ["01", "cc", "fe"] {
            for more in ["", "-", "-what-the-future-will-be-like"] {
                let context: TraceContext = format!("{later}{}{more}", &PARENT[2..]).parse().unwrap();
                assert_eq!(context.traceparent(), PARENT);
            }
            assert!(format!("{later}{}.x", &PARENT[2..]).parse::<TraceContext>().is_err());
        }
    }

    #[test]
    fn flags_that_mean_nothing_yet_are_not_passed_on() {
        let context: TraceContext = format!("{}fe", &PARENT[..53]).parse().unwrap();
        assert_eq!((context.is_sampled(), context.flags()), (false, 0b10));
    }

    #[test]
    fn a_tracestate_is_passed_on_without_blanks_from_however_many_headers() {
        assert_eq!(state(&["a=1, b=2 ,,\tc@d= 3"]).as_deref(), Some("a=1,b=2,c@d= 3"));
        assert_eq!(state(&["a=1", "b=2"]).as_deref(), Some("a=1,b=2"));
        assert_eq!(state(&["", " , "]), None);
    }

    #[test]
    fn a_tracestate_that_is_none_or_too_long_is_dropped_alone() {
        let members = |count: usize| (0..count).map(|n| format!("k{n}=v")).collect::<Vec<_>>().join(",");
        assert!(state(&[&members(32)]).is_some());
        assert_eq!(state(&[&members(33)]), None);
        assert!(state(&[&format!("a={},b={}", "x".repeat(254), "x".repeat(253))]).is_some());
        assert_eq!(state(&[&format!("a={},b={}", "x".repeat(254), "x".repeat(254))]), None);
        for wrong in
            ["a", "=1", "a=", "A=1", "_a=1", "a=1=2", "a=1,a=2", "a@=1", "@a=1", "a@b@c=1", "a=é", "a b=1"]
        {
            assert_eq!(state(&[wrong]), None, "{wrong}");
        }
        // The second level of the specification lets any key begin with a digit.
        for good in ["1a@b=1", "1a=1"] {
            assert_eq!(state(&[good]).as_deref(), Some(good));
        }
    }

    #[test]
    fn nothing_that_others_have_noted_is_shown() {
        let context = read(&[PARENT], &["vendor=of-a-patient"]).unwrap();
        assert!(!format!("{context:?}").contains("patient"));
    }

    proptest! {
        #[test]
        fn whatever_comes_is_read_as_it_is_written_or_not_at_all(parent in ".{0,70}", text in ".{0,600}") {
            if let Some(context) = read(&[&parent], &[&text]) {
                prop_assert_eq!(read(&[&context.traceparent()], &[context.tracestate().unwrap_or_default()]), Some(context));
            }
        }

        #[test]
        fn every_context_survives_headers_and_log(
            trace_id in 1u128.., parent_id in 1u64.., flags: u8,
            text in proptest::collection::vec("[a-z][a-z0-9_*/-]{0,9}=[!-+.-<>-~]{1,20}", 0..12),
        ) {
            let context = TraceContext::new(trace_id, parent_id, flags, &text.join(",")).unwrap();
            prop_assert_eq!(&read(&[&context.traceparent()], &[context.tracestate().unwrap_or_default()]).unwrap(), &context);
            let kept = serde_json::to_string(&context).unwrap();
            prop_assert_eq!(serde_json::from_str::<TraceContext>(&kept).unwrap(), context);
        }

        #[test]
        fn one_character_too_many_or_another_one_is_no_longer_the_same(at in 0usize..55, other in "[ -~]") {
            let changed = format!("{}{other}{}", &PARENT[..at], &PARENT[at + 1..]);
            let original: TraceContext = PARENT.parse().unwrap();
            if let Ok(context) = changed.parse::<TraceContext>() {
                let is_version_or_flags = !(2..53).contains(&at);
                prop_assert!(changed == PARENT || is_version_or_flags || context != original);
            }
            let longer = format!("{}{other}{}", &PARENT[..at], &PARENT[at..]);
            prop_assert!(longer.parse::<TraceContext>().is_err());
        }
    }
}
