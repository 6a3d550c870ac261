//! Which series a PromQL expression asks for. Whether it is well-formed at all, promtool says.

/// A metric in an expression, with what is asked of its labels.
#[derive(Debug, PartialEq)]
pub struct Selector {
    pub metric: String,
    pub matchers: Vec<Matcher>,
}

/// `label`, `=~`, `a|b`.
#[derive(Debug, PartialEq)]
pub struct Matcher {
    pub label: String,
    pub operator: String,
    pub value: String,
}

impl Matcher {
    /// The values that are named. `([.]0)?` at the end of one is what a Prometheus of version 3 adds to a bound.
    pub fn values(&self) -> Vec<&str> {
        if !self.operator.contains('~') {
            return vec![&self.value];
        }
        self.value.split('|').map(|value| value.trim_end_matches("([.]0)?")).collect()
    }
}

/// What an expression asks for.
#[derive(Debug, Default, PartialEq)]
pub struct Asked {
    pub selectors: Vec<Selector>,
    /// The labels after `by`, `on` and their like.
    pub grouped_by: Vec<String>,
}

const GROUPING: [&str; 6] = ["by", "without", "on", "ignoring", "group_left", "group_right"];
const OPERATORS: [&str; 5] = ["and", "or", "unless", "bool", "offset"];

/// Reads an expression. Selectors without a metric's name are not read.
pub fn asked(expression: &str) -> Asked {
    let without_comments: Vec<&str> =
        expression.lines().filter(|line| !line.trim_start().starts_with('#')).collect();
    let mut rest = Rest(&without_comments.join("\n"));
    let mut asked = Asked::default();
    while let Some(first) = rest.0.chars().next() {
        match first {
            '"' => drop(rest.text()),
            '[' => drop(rest.until(']')),
            '{' => panic!("a selector without a name in {expression}"),
            _ if first.is_ascii_digit() => drop(rest.word()),
            _ if is_of_a_word(first) => {
                let word = rest.word();
                rest.blank();
                if GROUPING.contains(&word) {
                    if rest.0.starts_with('(') {
                        let labels = rest.until(')').trim_start_matches('(').split(',').map(str::trim);
                        asked.grouped_by.extend(labels.filter(|label| !label.is_empty()).map(str::to_owned));
                    }
                } else if !OPERATORS.contains(&word) && !rest.is_call() {
                    let matchers = rest.matchers();
                    asked.selectors.push(Selector { metric: word.to_owned(), matchers });
                }
            }
            _ => rest.skip(first.len_utf8()),
        }
    }
    asked
}

fn is_of_a_word(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '_' | ':')
}

/// What of an expression is not read yet.
struct Rest<'e>(&'e str);

impl<'e> Rest<'e> {
    fn skip(&mut self, bytes: usize) {
        self.0 = &self.0[bytes..];
    }

    fn blank(&mut self) {
        self.0 = self.0.trim_start();
    }

    fn take(&mut self, bytes: usize) -> &'e str {
        let (taken, rest) = self.0.split_at(bytes);
        self.0 = rest;
        taken
    }

    fn word(&mut self) -> &'e str {
        self.take(self.0.find(|character| !is_of_a_word(character)).unwrap_or(self.0.len()))
    }

    /// What stands before `end`, which is skipped.
    fn until(&mut self, end: char) -> &'e str {
        let taken = self.take(self.0.find(end).unwrap());
        self.skip(end.len_utf8());
        taken
    }

    fn text(&mut self) -> &'e str {
        self.skip(1);
        self.until('"')
    }

    /// Is the word before this a function, or an aggregation?
    fn is_call(&self) -> bool {
        let next = Rest(self.0).word();
        self.0.starts_with('(') || matches!(next, "by" | "without")
    }

    fn matchers(&mut self) -> Vec<Matcher> {
        let mut matchers = Vec::new();
        if !self.0.starts_with('{') {
            return matchers;
        }
        loop {
            self.skip(1);
            self.blank();
            if self.0.starts_with('}') {
                self.skip(1);
                return matchers;
            }
            let label = self.word().to_owned();
            let operator = self.take(self.0.find('"').unwrap()).trim().to_owned();
            matchers.push(Matcher { label, operator, value: self.text().to_owned() });
            self.blank();
            if self.0.starts_with('}') {
                self.skip(1);
                return matchers;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metrics(expression: &str) -> Vec<String> {
        asked(expression).selectors.into_iter().map(|selector| selector.metric).collect()
    }

    #[test]
    fn metrics_are_told_from_functions_operators_and_labels() {
        let expression = r#"
            # sum(of_a_comment)
            1 - sum by (namespace, le) (rate(a_bucket{le=~"1([.]0)?", b!="c)"}[5m])) / on (x) group_left () sum(b:c:rate5m) > 2e3
              and topk(10, up) == 0 or absent(d{e="f"}) unless time() - (g > 60)"#;
        assert_eq!(metrics(expression), ["a_bucket", "b:c:rate5m", "up", "d", "g"]);
        assert_eq!(asked(expression).grouped_by, ["namespace", "le", "x"]);
    }

    #[test]
    fn matchers_are_read_with_their_values() {
        let asked = asked(r#"a{b=~"x|y([.]0)?", c!="z", } * d{}"#);
        let [first, second] = &asked.selectors[..] else { panic!("{asked:?}") };
        assert_eq!(first.matchers[0].values(), ["x", "y"]);
        assert_eq!((first.matchers[1].label.as_str(), first.matchers[1].operator.as_str()), ("c", "!="));
        assert_eq!(first.matchers[1].values(), ["z"]);
        assert!(second.matchers.is_empty());
    }
}
