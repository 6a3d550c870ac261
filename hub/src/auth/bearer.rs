//! The token of a request: `Authorization: Bearer` and nothing else (RFC 6750, 2.1). A token in a
//! query or a form is not looked at.

use actix_web::http::header::{AUTHORIZATION, HeaderMap};

use super::Refusal;

/// The token, not longer than `max_bytes`, of the one Authorization header.
pub fn token(headers: &HeaderMap, max_bytes: usize) -> Result<&str, Refusal> {
    let mut all = headers.get_all(AUTHORIZATION);
    let value = all.next().ok_or(Refusal::Missing)?;
    if all.next().is_some() {
        return Err(Refusal::Twice);
    }
    let value = value.to_str().map_err(|_| Refusal::Malformed)?;
    let (scheme, token) = value.split_once(' ').ok_or(Refusal::Malformed)?;
    let token = token.trim_start_matches(' ');
    if !scheme.eq_ignore_ascii_case("Bearer") || !is_token68(token) {
        return Err(Refusal::Malformed);
    }
    if token.len() > max_bytes {
        return Err(Refusal::TooLong);
    }
    Ok(token)
}

/// `token68` of RFC 9110: no quotes, no commas, and `=` only at the end.
fn is_token68(token: &str) -> bool {
    let body = token.trim_end_matches('=');
    !body.is_empty() && body.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use actix_web::http::header::HeaderValue;

    use super::*;

    fn read(values: &[&[u8]]) -> Result<String, Refusal> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_bytes(value).unwrap());
        }
        token(&headers, 10).map(str::to_owned)
    }

    #[test]
    fn a_bearer_token_is_read_whatever_the_case_of_the_scheme() {
        for header in ["Bearer a.b-c_~+/=", "bearer a.b-c_~+/=", "BEARER  a.b-c_~+/="] {
            assert_eq!(read(&[header.as_bytes()]), Ok("a.b-c_~+/=".to_owned()), "FC-SEC-01: {header}");
        }
    }

    #[test]
    fn whatever_else_is_refused() {
        assert_eq!(read(&[]), Err(Refusal::Missing), "FC-SEC-01");
        assert_eq!(read(&[b"Bearer a", b"Bearer a"]), Err(Refusal::Twice), "FC-SEC-01");
        assert_eq!(read(&[b"Bearer 12345678901"]), Err(Refusal::TooLong), "FC-SEC-01");
        for header in [
            "",
            "Bearer",
            "Bearer ",
            "Bearer =",
            "Bearera",
            "Basic YTpi",
            "a",
            "Bearer a b",
            "Bearer a,b",
            "Bearer \"a\"",
            "Bearer a=b",
            "Bearer a, Basic b",
            " Bearer a\t",
            "Bearer\ta",
        ] {
            assert_eq!(read(&[header.as_bytes()]), Err(Refusal::Malformed), "FC-SEC-01: {header:?}");
        }
        assert_eq!(read(&[b"Bearer \xe9"]), Err(Refusal::Malformed), "FC-SEC-01");
    }
}
