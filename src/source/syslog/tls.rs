//! Certificates of TLS listeners.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;

use super::ReceptionError;
use crate::config::stream::StreamTls;

/// Reads the files. A reload does it again, so that new certificates are taken up.
pub(super) fn acceptor(files: &StreamTls) -> Result<TlsAcceptor, ReceptionError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| refused("use", &files.certificate, &error))?;
    let builder = match &files.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for authority in certificates(path)? {
                roots
                    .add(authority)
                    .map_err(|error| refused("use", path, &error))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
            let verifier = verifier.build();
            builder
                .with_client_cert_verifier(verifier.map_err(|error| refused("use", path, &error))?)
        }
    };
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .map_err(|error| refused("read the key", &files.key, &error))?;
    let config = builder
        .with_single_cert(certificates(&files.certificate)?, key)
        .map_err(|error| refused("use the certificate", &files.certificate, &error))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, ReceptionError> {
    let certificates = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    let certificates: Vec<_> =
        certificates.map_err(|error| refused("read the certificates", path, &error))?;
    if certificates.is_empty() {
        return Err(refused("use", path, &"there is no certificate in it"));
    }
    Ok(certificates)
}

fn refused(doing: &str, path: &Path, error: &dyn std::fmt::Display) -> ReceptionError {
    let message = format!("cannot {doing} {}: {error}", path.display());
    let help = "it has to be PEM, and readable for the daemon's user; certificate and key belong \
                together";
    ReceptionError::new(message, help)
}
