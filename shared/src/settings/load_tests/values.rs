//! Values that are out of their range, or not of their kind.

use super::*;

#[test]
fn numbers_keep_to_their_range() {
    for file in [
        "threads = 257",
        "redis.partitions = 0",
        "redis.partitions = 70000",
        "ack_timeout_secs = 0",
        "drain_secs = 4294967296",
        "retry.claim_secs = 1",
        "retry.max_attempts = 0",
        "retry.jitter = 1.1",
        "retry.jitter = -0.1",
        "retry.jitter = nan",
        "retry.max_secs = inf",
        "retry.initial_secs = 0.0",
        "limits.deliveries = 0",
        "limits.deliveries_per_address = 0",
        "limits.json_depth = 1.5",
    ] {
        let (name, _) = file.split_once(" =").unwrap();
        assert_one_mistake(from_file(file), &[&format!("{name}: must be ")]);
    }
    from_file("drain_secs = 0\nretry.jitter = 0\nthreads = 256").unwrap();
}

#[test]
fn base_paths_are_apart_and_plain() {
    for paths in [
        "[]",
        "[\"\"]",
        "[\"/\"]",
        "[\"api\"]",
        "[\"/api/\"]",
        "[\"/a//b\"]",
        "[\"/a/../b\"]",
        "[\"/./a\"]",
        "[\"/a/{b}\"]",
        "[\"/a?b\"]",
        "[\"/a\", \"/a\"]",
        "[\"/a/b\", \"/a\"]",
    ] {
        assert_one_mistake(from_file(&format!("base_paths = {paths}")), &["base_paths: "]);
    }
    from_file("base_paths = [\"/api/hub\", \"/api/hub2\", \"/a.b/c-d_e~f\"]").unwrap();
}

#[test]
fn urls_are_of_their_kind() {
    for (name, url, part) in [
        ("public_url", "ftp://h", "http or https"),
        ("public_url", "hub.example.org", "a URL"),
        ("public_url", "https://h/?q", "query"),
        ("public_url", "https://h/#f", "fragment"),
        ("public_url", "https://me:secret@h/", "password"),
        ("redis.url", "http://h", "redis or rediss"),
        ("redis.url", "redis+sentinel://:secret@h", "service"),
        ("redis.url", "redis://", "host"),
        ("redis.url", "redis:h", "scheme"),
        ("redis.url", "redis://:secret@h:x", "port of h"),
    ] {
        let result = from_flags(&["--set", &format!("{name}={url}")]);
        assert_one_mistake(result, &[&format!("{name}: "), part]);
    }
    for url in ["rediss://u:p@h:6380/1", "redis+sentinel://a,b:1/s", "rediss+cluster://a,b"] {
        assert!(from_flags(&["--redis-url", url]).is_ok(), "{url}");
    }
}

#[test]
fn what_is_said_twice_about_redis_or_fits_no_redis_of_that_shape_is_refused() {
    for (url, more, named) in [
        ("redis://u@h", "username=u", "redis.url and redis.username: "),
        ("redis://:p@h", "password=p", "redis.url and redis.password: "),
        ("redis://h/1", "database=2", "redis.url and redis.database: "),
        ("redis+cluster://h", "database=1", "no database but 0"),
        ("redis://h", "sentinel_password=p", "no Sentinels"),
        ("redis://h", "ca_file=ca.pem", "rediss"),
        ("rediss://h", "cert=c.pem", "redis.cert and redis.key: "),
    ] {
        let result = from_flags(&["--redis-url", url, "--set", &format!("redis.{more}")]);
        assert_one_mistake(result, &[named]);
    }
    from_flags(&["--redis-url", "redis+sentinel://h/s", "--set", "redis.database=1"]).unwrap();
}

#[test]
fn no_mistake_shows_a_password() {
    for url in ["redis://:secret@h:x", "http://:secret@h", "redis://:secret@"] {
        let line = lines(from_flags(&["--redis-url", url])).join("\n");
        assert!(!line.contains("secret"), "{line}");
    }
    let line = lines(from_flags(&["--set", "redis.url:redis://:secret@h"])).join("\n");
    assert!(!line.contains("secret"), "{line}");
    for file in [
        "redis.password = 123456",
        "auth.client_secret = 123456",
        "redis.url = 123456",
        "data_keys = [123456]",
    ] {
        let line = lines(from_file(file)).join("\n");
        assert!(!line.contains("123456"), "{line}");
    }
}

#[test]
fn origins_are_exactly_what_a_browser_sends() {
    for (origin, part) in [
        ("*", "any page"),
        ("https://a.example/", "slash"),
        ("https://a.example/x", "https://a.example"),
        ("https://a.example:443", "\"https://a.example\""),
        ("https://A.example", "\"https://a.example\""),
        ("a.example", "scheme://host"),
        ("null", "scheme://host"),
        ("data:x", "scheme://host"),
    ] {
        let result = from_flags(&["--set", &format!("cors.allowed_origins={origin}")]);
        assert_one_mistake(result, &["cors.allowed_origins: ", part]);
    }
    from_file("cors.allowed_origins = [\"https://a.example\", \"http://localhost:3000\", \"capacitor://localhost\"]")
        .unwrap();
}
