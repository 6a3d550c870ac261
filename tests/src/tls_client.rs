//! A TLS client that can be told how to shake hands, and says what came of it: `openssl s_client`.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use openssl::x509::X509;
use url::Url;

use crate::certs::Certificates;
use crate::wait::PATIENCE;

/// How to shake hands.
#[derive(Default)]
pub struct TlsClient<'a> {
    /// Whose client certificate is shown.
    pub shows: Option<&'a Certificates>,
    /// Arguments of `openssl s_client`, such as `-tls1_2` or `-noservername`.
    pub arguments: &'a [&'a str],
    /// Where the session is left, to be resumed, when there is one to resume.
    pub leaves: Option<PathBuf>,
    /// Where a session was left, which is to be resumed.
    pub resumes: Option<PathBuf>,
}

/// What came of it.
pub struct Handshaken {
    /// The certificate that the server showed, in DER.
    pub certificate: Vec<u8>,
    /// Whether a session was resumed.
    pub is_resumed: bool,
}

impl TlsClient<'_> {
    /// Connects to where `url` is, trusts `certificates` alone, and asks for the well-known document: a server that does
    /// not like the client's certificate may say so only when it is asked something. Any answer is a success.
    pub fn get(self, url: &str, certificates: &Certificates) -> Result<Handshaken> {
        let port = Url::parse(url)?.port().context("the URL has no port")?;
        // It would wait for an answer for as long as the connection lasts.
        let mut command = Command::new("timeout");
        command.arg(PATIENCE.as_secs().to_string());
        command.args(["openssl", "s_client", "-connect", &format!("127.0.0.1:{port}")]);
        if !self.arguments.contains(&"-noservername") {
            command.args(["-servername", "localhost"]);
        }
        command.args(["-verify_return_error", "-no-CApath", "-no-CAstore", "-CAfile"]).arg(certificates.ca());
        command.args(["-ign_eof", "-alpn", "http/1.1"]).args(self.arguments);
        if let Some(shown) = self.shows {
            command.arg("-cert").arg(shown.client_cert()).arg("-key").arg(shown.client_key());
        }
        if let Some(session) = self.leaves {
            command.arg("-sess_out").arg(session);
        }
        if let Some(session) = self.resumes {
            command.arg("-sess_in").arg(session);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut client = command.spawn().context("is coreutils' timeout installed?")?;
        let request = b"GET /.well-known/fhircast-configuration HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        if let Some(mut input) = client.stdin.take() {
            // Who has been sent away reads nothing more.
            let _ = std::io::Write::write_all(&mut input, request);
        }
        let output = client.wait_with_output()?;
        let said = String::from_utf8_lossy(&output.stdout);
        if !said.contains("HTTP/1.1 ") {
            bail!("no answer ({}): {}", output.status, String::from_utf8_lossy(&output.stderr));
        }
        let begin = said.find("-----BEGIN CERTIFICATE-----").context("the server shows no certificate")?;
        Ok(Handshaken {
            certificate: X509::from_pem(&said.as_bytes()[begin..])?.to_der()?,
            is_resumed: said.contains("Reused, "),
        })
    }
}
