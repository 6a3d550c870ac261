//! Asks a program's own listener for health and metrics how the program is: what `fhircast-hub health` and
//! `fhircast-worker health` do, for an orchestrator whose check is a command within the container.
//!
//! It is told where by the same settings as the program itself. It blocks, and ends within its time-out.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use openssl::error::ErrorStack;
use openssl::ssl::{HandshakeError, SslConnector, SslFiletype, SslMethod, SslVerifyMode, SslVersion};

use crate::settings::{ClientAuth, Flags, Settings, Tls};

/// More than any report holds.
const MAX_ANSWER_BYTES: u64 = 64 * 1024;

/// The arguments of the subcommand.
#[derive(clap::Args)]
pub struct Arguments {
    /// Where the settings come from.
    #[command(flatten)]
    pub flags: Flags,

    /// Ask whether it is ready for requests (/readyz), and not merely whether it lives (/healthz)
    #[arg(long)]
    ready: bool,

    /// Seconds within which it must answer
    #[arg(long, value_name = "SECS", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=3600))]
    timeout_secs: u64,
}

/// What the program said of itself.
#[derive(Debug)]
struct Answer {
    is_well: bool,
    report: String,
}

/// Why nothing is known.
#[derive(Debug, thiserror::Error)]
enum Unknown {
    #[error("admin_listen: port 0 is another one at each start: name the port")]
    NoPort,
    #[error(
        "admin_tls.client_auth: the listener wants a client's certificate, and this program has none to show but \
         admin_tls.cert, which admin_tls.client_ca_file does not vouch for as a client: set it to \"optional\", or use a \
         certificate that is for both ({0})"
    )]
    NotLetIn(String),
    #[error("admin_tls: {0}")]
    Certificate(#[source] ErrorStack),
    #[error("{0} does not answer: {1}")]
    Silent(SocketAddr, #[source] io::Error),
    #[error("{0} is no listener of this program: {1:?}")]
    Stranger(SocketAddr, String),
}

/// Asks, and prints what is answered: 0 when all is well, 1 when it is not or nobody answers, 2 when the settings do not
/// allow to ask.
pub fn run(arguments: &Arguments, settings: &Settings) -> ExitCode {
    let path = if arguments.ready { "/readyz" } else { "/healthz" };
    // Who reads it may have gone: what counts is the exit status.
    match ask(settings, path, Duration::from_secs(arguments.timeout_secs)) {
        Ok(answer) => {
            let _ = io::stdout().write_all(answer.report.as_bytes());
            if answer.is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(unknown) => {
            let _ = writeln!(io::stderr(), "{unknown}");
            match unknown {
                Unknown::NoPort | Unknown::NotLetIn(_) | Unknown::Certificate(_) => ExitCode::from(2),
                Unknown::Silent(..) | Unknown::Stranger(..) => ExitCode::FAILURE,
            }
        }
    }
}

fn ask(settings: &Settings, path: &str, timeout: Duration) -> Result<Answer, Unknown> {
    let address = reachable(settings.admin_listen);
    if address.port() == 0 {
        return Err(Unknown::NoPort);
    }
    let deadline = Instant::now() + timeout;
    let silent = |error| Unknown::Silent(address, error);
    let stream = TcpStream::connect_timeout(&address, timeout).map_err(silent)?;
    let stream = Timed { stream, deadline };
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    let answer = if settings.admin_tls.cert.is_some() {
        secured(stream, &settings.admin_tls, address, &request)?
    } else {
        exchange(stream, &request).map_err(silent)?
    };
    read(&answer)
        .ok_or_else(|| Unknown::Stranger(address, answer.lines().next().unwrap_or_default().to_owned()))
}

/// Who listens on all addresses is asked on this machine's own.
fn reachable(mut listen: SocketAddr) -> SocketAddr {
    match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => listen.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => listen.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    listen
}

/// The same within TLS.
///
/// The listener's certificate is not verified: it is for the names by which others reach it, of which the address here is
/// none; nothing is told to whoever listens, and who could listen in its place on this machine could answer as it likes in
/// any case. To a listener that wants a client's certificate it shows the program's own.
fn secured(stream: Timed, tls: &Tls, address: SocketAddr, request: &str) -> Result<String, Unknown> {
    let connector = connector(tls).map_err(Unknown::Certificate)?;
    let mut connection = connector.configure().map_err(Unknown::Certificate)?;
    connection.set_verify_hostname(false);
    connection.set_use_server_name_indication(false);
    let failed = |error: io::Error| {
        let refusal = error.get_ref().and_then(|error| error.downcast_ref::<openssl::ssl::Error>());
        match refusal.and_then(openssl::ssl::Error::ssl_error) {
            Some(alert) if tls.client_auth == ClientAuth::Required => Unknown::NotLetIn(alert.to_string()),
            _ => Unknown::Silent(address, error),
        }
    };
    let stream = connection.connect("", stream).map_err(|error| match error {
        HandshakeError::SetupFailure(error) => Unknown::Certificate(error),
        HandshakeError::Failure(stream) | HandshakeError::WouldBlock(stream) => {
            failed(io_error(stream.into_error()))
        }
    })?;
    exchange(stream, request).map_err(failed)
}

fn connector(tls: &Tls) -> Result<SslConnector, ErrorStack> {
    let mut builder = SslConnector::builder(SslMethod::tls_client())?;
    builder.set_verify(SslVerifyMode::NONE);
    if tls.client_auth == ClientAuth::Required
        && let (Some(cert), Some(key)) = (&tls.cert, &tls.key)
    {
        builder.set_certificate_chain_file(cert)?;
        builder.set_private_key_file(key, SslFiletype::PEM)?;
        // TLS 1.3 refuses a certificate after the handshake, and the request that is on its way then may cost the reason.
        builder.set_max_proto_version(Some(SslVersion::TLS1_2))?;
    }
    Ok(builder.build())
}

fn io_error(error: openssl::ssl::Error) -> io::Error {
    error.into_io_error().unwrap_or_else(io::Error::other)
}

/// Sends the request and reads to the end.
fn exchange(mut stream: impl Read + Write, request: &str) -> io::Result<String> {
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER_BYTES).read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// The status and the body of an answer; `None` when it is neither 200 nor 503.
fn read(answer: &str) -> Option<Answer> {
    let (head, report) = answer.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.1 ")?.get(..3)?;
    let is_well = match status {
        "200" => true,
        "503" => false,
        _ => return None,
    };
    Some(Answer { is_well, report: report.to_owned() })
}

/// A connection on which nothing is waited for beyond the deadline.
#[derive(Debug)]
struct Timed {
    stream: TcpStream,
    deadline: Instant,
}

impl Timed {
    fn left(&self) -> io::Result<Duration> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        // Zero would mean for ever.
        if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
    }
}

impl Read for Timed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(Some(self.left()?))?;
        self.stream.read(buffer).map_err(timed_out)
    }
}

impl Write for Timed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(Some(self.left()?))?;
        self.stream.write(bytes).map_err(timed_out)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

/// The kernel's word for it is that the resource is temporarily unavailable.
fn timed_out(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::WouldBlock { io::ErrorKind::TimedOut.into() } else { error }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::net::TcpListener;

    use super::*;

    fn at(address: SocketAddr) -> Settings {
        Settings { admin_listen: address, ..Settings::default() }
    }

    /// Answers one request with this, and keeps the connection for as long as it is asked to.
    fn listener(answer: &'static str) -> (SocketAddr, TcpListener) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let accepting = listener.try_clone().unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = accepting.accept().unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
            if answer.is_empty() {
                // Until the other side has gone.
                let _ = io::copy(&mut stream, &mut io::sink());
            }
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            let _ = io::copy(&mut stream, &mut io::sink());
        });
        (listener.local_addr().unwrap(), listener)
    }

    #[test]
    fn all_addresses_are_asked_on_loopback_and_one_address_there() {
        for (listen, asked) in [
            ("0.0.0.0:9100", "127.0.0.1:9100"),
            ("[::]:9100", "[::1]:9100"),
            ("10.1.2.3:9100", "10.1.2.3:9100"),
            ("[fe80::1]:9100", "[fe80::1]:9100"),
        ] {
            assert_eq!(reachable(listen.parse().unwrap()), asked.parse().unwrap());
        }
    }

    #[test]
    fn what_is_answered_is_read() {
        let (address, _listener) = listener("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok\n");
        let answer = ask(&at(address), "/healthz", Duration::from_secs(20)).unwrap();
        assert!(answer.is_well && answer.report == "ok\n", "{answer:?}");
        let (address, _listener) = listener("HTTP/1.1 503 Service Unavailable\r\n\r\nstore: starting\n");
        let answer = ask(&at(address), "/readyz", Duration::from_secs(20)).unwrap();
        assert!(!answer.is_well && answer.report == "store: starting\n", "{answer:?}");
    }

    #[test]
    fn who_answers_something_else_is_a_stranger() {
        for other in ["HTTP/1.1 404 Not Found\r\n\r\n", "SSH-2.0-OpenSSH_9.2\r\n\r\n", "HTTP/1.1 2"] {
            let (address, _listener) = listener(other);
            let unknown = ask(&at(address), "/healthz", Duration::from_secs(20)).unwrap_err();
            assert!(matches!(unknown, Unknown::Stranger(..)), "{unknown}");
        }
    }

    #[test]
    fn who_does_not_answer_is_waited_for_no_longer_than_the_time_out() {
        let (address, _listener) = listener("");
        let unknown = ask(&at(address), "/healthz", Duration::from_millis(50)).unwrap_err();
        assert!(
            matches!(&unknown, Unknown::Silent(_, error) if error.kind() == io::ErrorKind::TimedOut),
            "{unknown}"
        );
    }

    #[test]
    fn a_port_that_nobody_knows_is_a_mistake_in_the_settings() {
        let unknown = ask(&at(([127, 0, 0, 1], 0).into()), "/healthz", Duration::from_secs(1)).unwrap_err();
        assert!(matches!(unknown, Unknown::NoPort));
    }
}
