//! TLS, with and without certificates of clients.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tempfile::TempDir;
use tollkeeper::config::Listen;
use tollkeeper::config::stream::StreamTls;

use crate::support::{Running, local, source, spooled, wait_for};

/// An authority, and certificates of it: `NAME.pem` and `NAME.key`.
struct Authority {
    folder: TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("a certificate");
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("ca.pem"), issuer.pem()).expect("a file");
        Self { folder, issuer }
    }

    fn issue(&self, name: &str) {
        let params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        fs::write(self.path(&format!("{name}.pem")), certificate.pem()).expect("a file");
        fs::write(self.path(&format!("{name}.key")), key.serialize_pem()).expect("a file");
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

type Client = StreamOwned<ClientConnection, TcpStream>;

fn connect(running: &Running, ca: &Path, identity: Option<(PathBuf, PathBuf)>) -> Client {
    let mut roots = RootCertStore::empty();
    let ca = CertificateDer::from_pem_file(ca).expect("a certificate");
    roots.add(ca).expect("a certificate");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots);
    let config = match identity {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = vec![CertificateDer::from_pem_file(certificate).expect("a certificate")];
            let key = PrivateKeyDer::from_pem_file(key).expect("a key");
            builder.with_client_auth_cert(chain, key).expect("a pair")
        }
    };
    let name = ServerName::try_from("localhost").expect("a name");
    let client = ClientConnection::new(Arc::new(config), name).expect("a client");
    let stream = TcpStream::connect(running.address(0)).expect("a connection");
    StreamOwned::new(client, stream)
}

#[test]
fn messages_come_encrypted() {
    let authority = Authority::new();
    authority.issue("server");
    let mut encrypted = source("web", Listen::Tls(local()));
    encrypted.tls = Some(StreamTls {
        certificate: authority.path("server.pem"),
        key: authority.path("server.key"),
        client_ca: None,
    });
    let running = Running::start(&[encrypted]);
    let mut client = connect(&running, &authority.path("ca.pem"), None);
    let large = format!("<134>{}", "z".repeat(200_000));
    for number in 0..100 {
        writeln!(client, "<134>line {number}").expect("it is sent");
        let counted = format!("<134>counted {number}");
        write!(client, "{} {counted}", counted.len()).expect("it is sent");
    }
    write!(client, "{} {large}", large.len()).expect("it is sent");
    client.conn.send_close_notify();
    client.flush().expect("it is sent");
    // Somebody who does not speak TLS.
    let mut plain = TcpStream::connect(running.address(0)).expect("a connection");
    plain.write_all(b"<134>in the clear\n").expect("it is sent");
    wait_for(|| running.listener(0).messages == 201 && running.listener(0).tls_failed == 1);
    drop(plain);
    // It closes in order, too.
    assert_eq!(client.read(&mut [0]).expect("an end in order"), 0);
    let spooled = spooled(&running.stop(), "web");
    assert_eq!(spooled.messages.len(), 201);
    assert_eq!(spooled.messages[200], large);
    assert_eq!(spooled.lost(), 0);
}

#[test]
fn a_connection_is_closed_in_order_when_we_stop() {
    let authority = Authority::new();
    authority.issue("server");
    let mut encrypted = source("web", Listen::Tls(local()));
    encrypted.tls = Some(StreamTls {
        certificate: authority.path("server.pem"),
        key: authority.path("server.key"),
        client_ca: None,
    });
    let running = Running::start(&[encrypted]);
    let mut client = connect(&running, &authority.path("ca.pem"), None);
    client.write_all(b"<134>before\n").expect("it is sent");
    wait_for(|| running.listener(0).messages == 1);
    client.write_all(b"<134>on its way\n").expect("it is sent");
    let spooled = spooled(&running.stop(), "web");
    assert_eq!(spooled.messages, ["<134>before", "<134>on its way"]);
    assert_eq!(client.read(&mut [0]).expect("an end in order"), 0);
}

#[test]
fn who_is_asked_for_a_certificate_has_one() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    authority.issue("server");
    authority.issue("client");
    stranger.issue("client");
    let mut encrypted = source("web", Listen::Tls(local()));
    encrypted.tls = Some(StreamTls {
        certificate: authority.path("server.pem"),
        key: authority.path("server.key"),
        client_ca: Some(authority.path("ca.pem")),
    });
    let running = Running::start(&[encrypted]);
    let identity = |of: &Authority| Some((of.path("client.pem"), of.path("client.key")));
    for (identity, text) in [
        (None, "<134>nobody\n"),
        (identity(&stranger), "<134>a stranger\n"),
        (identity(&authority), "<134>a client\n"),
    ] {
        let mut client = connect(&running, &authority.path("ca.pem"), identity);
        // In TLS 1.3 a client learns of its refusal only later.
        let _ = client.write_all(text.as_bytes());
        let _ = client.flush();
        client.conn.send_close_notify();
        let _ = client.flush();
        let _ = client.read(&mut [0]);
    }
    wait_for(|| running.listener(0).messages == 1 && running.listener(0).tls_failed == 2);
    let spooled = spooled(&running.stop(), "web");
    assert_eq!(spooled.messages, ["<134>a client"]);
}

#[test]
fn new_certificates_are_taken_up_by_a_reload() {
    let (old, new) = (Authority::new(), Authority::new());
    old.issue("server");
    new.issue("server");
    let mut encrypted = source("web", Listen::Tls(local()));
    encrypted.tls = Some(StreamTls {
        certificate: old.path("server.pem"),
        key: old.path("server.key"),
        client_ca: None,
    });
    let mut running = Running::start(&[encrypted.clone()]);
    let mut earlier = connect(&running, &old.path("ca.pem"), None);
    earlier.write_all(b"<134>old\n").expect("it is sent");
    wait_for(|| running.listener(0).messages == 1);
    for name in ["server.pem", "server.key"] {
        fs::copy(new.path(name), old.path(name)).expect("a file");
    }
    running
        .reception
        .reload(std::slice::from_ref(&encrypted))
        .expect("a reload");
    let mut later = connect(&running, &new.path("ca.pem"), None);
    later.write_all(b"<134>new\n").expect("it is sent");
    earlier.write_all(b"<134>old still\n").expect("it is sent");
    wait_for(|| running.listener(0).messages == 3);

    fs::write(old.path("server.key"), "nothing").expect("a file");
    let error = running.reception.reload(&[encrypted]).expect_err("no key");
    assert!(error.to_string().contains("server.key"), "{error}");
    later.write_all(b"<134>all goes on\n").expect("it is sent");
    wait_for(|| running.listener(0).messages == 4);
    running.stop();
}
