//! What one parser could read otherwise than another (FC-EVT-01): a member that stands twice, of which one takes the
//! first and another the last; half of a surrogate pair, which one replaces and another refuses; a nesting that one
//! follows and another does not. Whoever is shown the wrong patient does not know which parser was right. So none of it
//! is passed on, wherever in the message it stands.
//!
//! The text is looked at once, before any parser, without recursion. It need not be JSON: the parser says so.

use std::{borrow::Cow, collections::HashSet};

use super::Invalid;

/// The most members of one object.
const MAX_MEMBERS: usize = 5000;
/// So many are searched one after the other.
const FEW: usize = 16;

/// What is open at a place in the text.
enum Open<'a> {
    Array,
    Object {
        /// Where in the stack of names its own begin.
        names_from: usize,
        expects_name: bool,
        /// All names of an object that has many.
        many: Option<HashSet<Cow<'a, str>>>,
    },
}

/// Refuses what is ambiguous. `max_depth` is the number of brackets and braces that may be open at once.
pub fn check(text: &str, max_depth: usize) -> Result<(), Invalid> {
    let bytes = text.as_bytes();
    let mut open: Vec<Open<'_>> = Vec::new();
    let mut names: Vec<Cow<'_, str>> = Vec::new();
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => {
                let Some(end) = end_of_string(bytes, at) else { return Ok(()) };
                let literal = &text[at..end];
                if has_half_a_pair(literal) {
                    return Err(Invalid::Body("holds half of a surrogate pair".into()));
                }
                if let Some(Open::Object { names_from, expects_name: expects_name @ true, many }) =
                    open.last_mut()
                {
                    *expects_name = false;
                    let Some(name) = name(literal) else { return Ok(()) };
                    note(name, &mut names, *names_from, many)?;
                }
                at = end;
                continue;
            }
            b'{' => open.push(Open::Object { names_from: names.len(), expects_name: true, many: None }),
            b'[' => open.push(Open::Array),
            b'}' | b']' => {
                if let Some(Open::Object { names_from, .. }) = open.pop() {
                    names.truncate(names_from);
                }
            }
            b',' => {
                if let Some(Open::Object { expects_name, .. }) = open.last_mut() {
                    *expects_name = true;
                }
            }
            _ => {}
        }
        if open.len() > max_depth {
            return Err(Invalid::Body(format!("is nested deeper than {max_depth} levels")));
        }
        at += 1;
    }
    Ok(())
}

/// Notes one more name of the object whose names begin at `from`.
fn note<'a>(
    name: Cow<'a, str>,
    names: &mut Vec<Cow<'a, str>>,
    from: usize,
    many: &mut Option<HashSet<Cow<'a, str>>>,
) -> Result<(), Invalid> {
    let is_repeated = match many {
        Some(many) if many.len() >= MAX_MEMBERS => {
            return Err(Invalid::Body(format!("has an object of more than {MAX_MEMBERS} members")));
        }
        Some(many) => !many.insert(name.clone()),
        None => names[from..].contains(&name),
    };
    if is_repeated {
        let member = super::form::plain(&name).map(|name| format!("the member {name}"));
        return Err(Invalid::Repeated(member.unwrap_or_else(|| "a member".to_owned())));
    }
    if many.is_none() {
        names.push(name);
        if names.len() - from > FEW {
            *many = Some(names.drain(from..).collect());
        }
    }
    Ok(())
}

/// The place after the string that begins at `start`.
fn end_of_string(bytes: &[u8], start: usize) -> Option<usize> {
    let mut at = start + 1;
    loop {
        match bytes.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// What a string says; `None` when it is no JSON.
fn name(literal: &str) -> Option<Cow<'_, str>> {
    if literal.contains('\\') {
        serde_json::from_str(literal).ok().map(Cow::Owned)
    } else {
        Some(Cow::Borrowed(&literal[1..literal.len() - 1]))
    }
}

fn has_half_a_pair(literal: &str) -> bool {
    let mut rest = literal;
    while let Some(at) = rest.find('\\') {
        let escape = &rest[at..];
        rest = match code_unit(escape) {
            Some(0xd800..=0xdbff) => match escape.get(6..) {
                Some(next) if matches!(code_unit(next), Some(0xdc00..=0xdfff)) => &next[6..],
                _ => return true,
            },
            Some(0xdc00..=0xdfff) => return true,
            Some(_) => &escape[6..],
            // A backslash and what it escapes, which may be a backslash.
            None => {
                let mut chars = escape.chars();
                chars.next();
                chars.next();
                chars.as_str()
            }
        };
    }
    false
}

/// The number in `\uXXXX`, if the text begins so.
fn code_unit(text: &str) -> Option<u32> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    if digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        u32::from_str_radix(digits, 16).ok()
    } else {
        None
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn problem(text: &str) -> String {
        check(text, 100).map_or_else(|invalid| invalid.to_string(), |()| "none".to_owned())
    }

    #[test]
    fn a_member_that_stands_twice_is_named_however_deep_and_however_it_is_written() {
        for (text, name) in [
            (r#"{"id":1,"id":2}"#, "id"),
            (r#"{"event":{"hub.topic":"a","hub.event":"b","hub.topic":"c"}}"#, "hub.topic"),
            (r#"{"a":[{"resource":{"identifier":[{"value":"1","value":"2"}]}}]}"#, "value"),
            (r#"{"a":1,"\u0061":2}"#, "a"),
            (r#"{"a":{"b":1},"c":[{"b":1}],"a":3}"#, "a"),
        ] {
            assert_eq!(
                problem(text),
                format!("the member {name} appears more than once"),
                "FC-EVT-01: {text}"
            );
        }
        let many: String = (0..100).map(|number| format!("\"m{number}\":1,")).collect();
        assert_eq!(problem(&format!("{{{many}\"m7\":2}}")), "a member appears more than once");
        for name in ["", "MRN-1", "12345", "9b3c7a54-1f0e-4c9a-8a3e-0d6f5b0c1d2e", "John Smith"] {
            let said = problem(&format!("{{\"{name}\":1,\"{name}\":2}}"));
            assert_eq!(said, "a member appears more than once", "FC-TRN-03: it may say something: {name}");
        }
        assert_eq!(problem(&format!("{{{many}\"x\":{{\"m7\":1}}}}")), "none");
        let most: String = (0..6000).map(|number| format!("\"m{number}\":1,")).collect();
        assert_eq!(
            problem(&format!("{{{most}\"x\":2}}")),
            "the body has an object of more than 5000 members"
        );
    }

    #[test]
    fn the_same_name_in_another_object_or_as_a_value_is_no_repeat() {
        for text in
            [r#"{"a":{"a":{"a":1}},"b":["a","a"],"c":"a"}"#, r#"[{"a":1},{"a":1}]"#, r#"{"a":",\"a\":"}"#]
        {
            assert_eq!(problem(text), "none", "{text}");
        }
    }

    #[test]
    fn half_of_a_pair_is_refused_wherever_it_stands() {
        for text in
            [r#"["\ud800"]"#, r#"["\udc00x"]"#, r#"{"\uD83D":1}"#, r#"["\ud83d\u0041"]"#, r#"["\\\ud83dx"]"#]
        {
            assert_eq!(problem(text), "the body holds half of a surrogate pair", "{text}");
        }
        for text in [r#"["\ud83d\ude00"]"#, r#"["\\ud800"]"#, r#"["\u0041\\"]"#, "[\"\u{1f600}\"]"] {
            assert_eq!(problem(text), "none", "{text}");
        }
    }

    #[test]
    fn depth_counts_brackets_outside_of_strings() {
        assert!(check(r#"{"a":["[[[[\"[["]}"#, 2).is_ok());
        assert!(check("[[[]]]", 2).is_err());
        assert!(check(&"[".repeat(100_000), 128).is_err());
    }

    /// JSON by its own parts, so that the expected answer is known.
    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<i32>().prop_map(Value::from),
            ".{0,6}".prop_map(Value::from)
        ];
        leaf.prop_recursive(4, 40, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(".{0,3}", inner, 0..25)
                    .prop_map(|members: BTreeMap<_, _>| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_says_everything_once_passes(json in any_json()) {
            prop_assert_eq!(problem(&json.to_string()), "none");
        }

        #[test]
        fn one_member_more_that_is_there_already_is_found(json in any_json(), which in any::<prop::sample::Index>()) {
            let text = json.to_string();
            let members: Vec<&String> = json.as_object().map(|members| members.keys().collect()).unwrap_or_default();
            prop_assume!(!members.is_empty());
            let name = Value::from(members[which.index(members.len())].as_str());
            let doubled = format!("{},{name}:0}}", &text[..text.len() - 1]);
            prop_assert!(problem(&doubled).ends_with("appears more than once"), "{}", doubled);
        }

        #[test]
        fn arbitrary_text_never_panics(text in "[\\[\\]{},:\"\\\\ud8c0-9a]{0,60}|.{0,60}") {
            let _ = check(&text, 16);
        }
    }
}
