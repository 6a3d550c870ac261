//! `application/x-www-form-urlencoded` bodies, read strictly (FC-TRN-02, FC-TRN-04).

use std::{borrow::Cow, str::FromStr};

use super::Invalid;

/// The most parameters in a form; keeps the search for repeats cheap.
const MAX_PARAMETERS: usize = 64;

/// The parameters of a subscription request. Unknown ones are kept, and ignored.
#[derive(Debug)]
pub struct Form<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Form<'a> {
    /// Reads a body. A parameter that stands twice is refused, known or not.
    pub fn read(body: &'a [u8]) -> Result<Self, Invalid> {
        if percent_encoding::percent_decode(body).decode_utf8().is_err() {
            return Err(Invalid::Body("is not valid UTF-8 once decoded".into()));
        }
        let mut parameters: Vec<(Cow<'a, str>, Cow<'a, str>)> = Vec::new();
        for (name, value) in form_urlencoded::parse(body) {
            if parameters.iter().any(|(earlier, _)| *earlier == name) {
                return Err(Invalid::Repeated(plain(&name).unwrap_or("a parameter").to_owned()));
            }
            if parameters.len() == MAX_PARAMETERS {
                return Err(Invalid::Body(format!("has more than {MAX_PARAMETERS} parameters")));
            }
            parameters.push((name, value));
        }
        Ok(Self(parameters))
    }

    /// The value of a parameter, if it is there and not empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find_map(|(key, value)| (key == name && !value.is_empty()).then_some(value.as_ref()))
    }

    /// The value of a parameter that must be there.
    pub fn required(&self, name: &'static str) -> Result<&str, Invalid> {
        self.get(name).ok_or(Invalid::missing(name))
    }

    /// A positive decimal integer, if the parameter is there at all (FC-SUB-05).
    pub fn positive<T: FromStr + PartialOrd + From<u8>>(
        &self,
        name: &'static str,
    ) -> Result<Option<T>, Invalid> {
        let Some((_, value)) = self.0.iter().find(|(key, _)| key == name) else { return Ok(None) };
        let problem = || Invalid::value(name, "must be a positive decimal integer");
        if value.is_empty() || !value.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(problem());
        }
        let number = value.parse::<T>().map_err(|_| problem())?;
        if number < T::from(1) { Err(problem()) } else { Ok(Some(number)) }
    }
}

/// The longest name that is said.
const MAX_NAME: usize = 40;

/// The name of a parameter or a member, if it can be nothing else: it is the caller's own text, and may be a topic, an
/// identifier or a patient that stands where a name should. Those have digits, dashes or spaces; names have none.
pub(super) fn plain(name: &str) -> Option<&str> {
    let is_plain = |c: char| c.is_ascii_alphabetic() || matches!(c, '.' | '_');
    (!name.is_empty() && name.len() <= MAX_NAME && name.chars().all(is_plain)).then_some(name)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn parameters_are_decoded_and_unknown_ones_ignored() {
        let form = Form::read(b"hub.topic=a%20b+c&whatever=1&empty=").unwrap();
        assert_eq!(form.get("hub.topic"), Some("a b c"), "FC-TRN-04");
        assert_eq!(form.required("hub.mode").unwrap_err().to_string(), "hub.mode is missing");
        assert!(form.required("empty").is_err());
    }

    #[test]
    fn a_repeated_parameter_is_refused_by_its_name() {
        let refused = Form::read(b"hub.topic=a&hub%2Etopic=b").unwrap_err();
        assert_eq!(refused.to_string(), "hub.topic appears more than once", "FC-TRN-04");
        for name in
            ["{John Smith}", "MRN12345", "123", "9b3c7a54-1f0e-4c9a-8a3e-0d6f5b0c1d2e", "", &"x".repeat(41)]
        {
            let refused = Form::read(format!("{name}=1&{name}=2").as_bytes()).unwrap_err().to_string();
            assert_eq!(refused, "a parameter appears more than once", "FC-TRN-03: {name}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_refused() {
        assert!(Form::read(b"hub.topic=%ff%fe").is_err());
        assert!(Form::read(b"hub.topic=\xff").is_err());
    }

    #[test]
    fn numbers_are_positive_decimal_integers() {
        let number = |body: &str| Form::read(body.as_bytes()).unwrap().positive::<u64>("n");
        assert_eq!(number("n=3600").unwrap(), Some(3600), "FC-SUB-05");
        assert_eq!(number("m=1").unwrap(), None, "FC-SUB-05");
        for body in ["n=0", "n=-1", "n=1.5", "n=+5", "n=", "n=1e3", "n=99999999999999999999999"] {
            assert_eq!(
                number(body).unwrap_err().to_string(),
                "n must be a positive decimal integer",
                "FC-SUB-05"
            );
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(body in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Form::read(&body);
        }
    }
}
