//! TLS by rustls, when a certificate is given.

use std::sync::Arc;

use anyhow::{Context, Result};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tokio_rustls::TlsAcceptor;

use crate::settings::Serve;

/// The acceptor that the settings ask for; none without a certificate.
///
/// # Errors
/// When a file can't be read, holds no PEM, or key and certificate don't belong together.
pub(super) fn acceptor(settings: &Serve) -> Result<Option<TlsAcceptor>> {
    let (Some(chain), Some(key)) = (&settings.tls_cert, &settings.tls_key) else {
        return Ok(None);
    };
    let chain = CertificateDer::pem_file_iter(chain)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .with_context(|| format!("no certificate could be read from {}", chain.display()))?;
    let key = PrivateKeyDer::from_pem_file(key)
        .with_context(|| format!("no private key could be read from {}", key.display()))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .context("no TLS version can be used")?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .context("certificate and private key can't be used together")?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Some(TlsAcceptor::from(Arc::new(config))))
}
