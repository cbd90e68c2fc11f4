//! Where the database is, and how a connection to it is made and set.

use std::{fmt, net::IpAddr, sync::Arc, time::Duration};

use readvault_store::{Error, ErrorKind, Result};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use tokio::runtime::Handle;
use tokio_postgres::{
    Client, Config, NoTls, Socket,
    config::{Host, SslMode, TargetSessionAttrs},
    tls::MakeTlsConnect,
};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::fault::{Failure, failure};

/// Connections on which a catalog reads; further readers wait for one. Beside them are one that writes and,
/// while a checkpoint is made, one for that.
pub const READ_CONNECTIONS_MAX: usize = 8;

/// Oldest version of PostgreSQL that has every function used here.
const VERSION_MIN: i32 = 140_000;

/// Time that making a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Silence after which the network is asked whether the database is still there, and how often.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(10);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_RETRIES: u32 = 3;

/// Plans may not depend on what the database last counted in its tables: every access is by the index.
/// A statement that takes longer than half a minute is given up, and a server that hangs in the middle of a
/// transaction can't keep the next one out.
const SESSION: &str = "
    SET enable_seqscan = off; SET enable_bitmapscan = off;
    SET enable_hashjoin = off; SET enable_mergejoin = off;
    SET plan_cache_mode = force_generic_plan; SET jit = off;
    SET statement_timeout = '30s'; SET idle_in_transaction_session_timeout = '60s';
    SELECT set_config('synchronous_commit', 'on', false)
        WHERE current_setting('synchronous_commit') IN ('off', 'local');";

/// Where the database is and how it is reached. Holds the password; printed without it.
#[derive(Clone)]
pub struct Address {
    config: Config,
    tls: Option<MakeRustlsConnect>,
}

impl Address {
    /// Reads a connection URL (`postgresql://user@host:port/database`, or `?host=/directory` for a unix
    /// socket). With `authorities`, certificates in PEM, every connection is TLS to a host whose certificate
    /// they vouch for. Without them the database must be on this machine, unless the URL says
    /// `sslmode=disable`.
    ///
    /// # Errors
    /// `InvalidInput`, which says what is wrong and never quotes the URL.
    pub fn parse(url: &str, authorities: Option<&[u8]>) -> Result<Self> {
        let invalid = |what: &'static str| Error::new(ErrorKind::InvalidInput, what);
        let mut config: Config = url
            .parse()
            .map_err(|_| invalid("the catalog's URL is not one of a PostgreSQL database"))?;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err(invalid("the catalog's URL names no host"));
        }
        let tls = match authorities {
            Some(_) if config.get_ssl_mode() == SslMode::Disable => {
                return Err(invalid("sslmode=disable contradicts certificate authorities"));
            }
            Some(pem) => {
                config.ssl_mode(SslMode::Require);
                Some(MakeRustlsConnect::new(client_config(pem)?))
            }
            None if config.get_ssl_mode() == SslMode::Require => {
                return Err(invalid("sslmode=require needs certificate authorities"));
            }
            None if config.get_ssl_mode() != SslMode::Disable && !is_local(&config) => {
                return Err(invalid(
                    "the catalog's database is on another machine: name the authorities of its \
                     certificate, or say sslmode=disable in the URL and let names and the password's \
                     exchange cross the network in the clear",
                ));
            }
            None => None,
        };
        config
            .connect_timeout(CONNECT_TIMEOUT)
            .keepalives_idle(KEEPALIVE_IDLE)
            .keepalives_interval(KEEPALIVE_INTERVAL)
            .keepalives_retries(KEEPALIVE_RETRIES)
            .tcp_user_timeout(KEEPALIVE_IDLE + KEEPALIVE_INTERVAL * KEEPALIVE_RETRIES)
            .target_session_attrs(TargetSessionAttrs::ReadWrite)
            .application_name("readvaultd");
        Ok(Self { config, tls })
    }

    /// Whether connections are TLS.
    #[must_use]
    pub fn is_secure(&self) -> bool {
        self.tls.is_some()
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Address")
            .field("hosts", &self.config.get_hosts())
            .field("database", &self.config.get_dbname())
            .finish_non_exhaustive()
    }
}

fn is_local(config: &Config) -> bool {
    let local = |host: &Host| match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => {
            name == "localhost" || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
        }
    };
    config.get_hosts().iter().all(local) && config.get_hostaddrs().iter().all(IpAddr::is_loopback)
}

fn client_config(pem: &[u8]) -> Result<ClientConfig> {
    let invalid = |what: &'static str| Error::new(ErrorKind::InvalidInput, what);
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate =
            certificate.map_err(|_| invalid("the catalog's certificate authorities: no PEM"))?;
        roots
            .add(certificate)
            .map_err(|_| invalid("the catalog's certificate authorities: no certificate"))?;
    }
    if roots.is_empty() {
        return Err(invalid("the catalog's certificate authorities are none"));
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|_| Error::new(ErrorKind::Internal, "no TLS version can be used"))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

/// Makes connections, each driven by a task of the runtime that the catalog was opened in, whichever
/// runtime asks for it.
#[derive(Clone, Debug)]
pub(crate) struct Connector {
    address: Address,
    runtime: Handle,
}

impl Connector {
    /// A connector whose connections live in `runtime`.
    pub(crate) fn new(address: Address, runtime: Handle) -> Self {
        Self { address, runtime }
    }

    /// The runtime that connections live in.
    pub(crate) fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// A new connection with its session set.
    pub(crate) async fn connect(&self) -> Result<Client, Failure> {
        let address = self.address.clone();
        let made = self.runtime.spawn(async move { connect(address).await }).await;
        made.unwrap_or_else(|cause| {
            let error = Error::new(ErrorKind::Unavailable, "connecting to the catalog's database");
            Err(Failure::Lost(error.because(cause)))
        })
    }
}

async fn connect(address: Address) -> Result<Client, Failure> {
    let client = match address.tls {
        Some(tls) => drive(&address.config, tls).await?,
        None => drive(&address.config, NoTls).await?,
    };
    let failed = failure("setting up a connection to the catalog's database");
    let version = client
        .query_one("SELECT current_setting('server_version_num')::int", &[])
        .await
        .map_err(&failed)?;
    if version.get::<_, i32>(0) < VERSION_MIN {
        return Err(Failure::Ended("the catalog's database is older than PostgreSQL 14"));
    }
    client.batch_execute(SESSION).await.map_err(&failed)?;
    Ok(client)
}

async fn drive<T>(config: &Config, tls: T) -> Result<Client, Failure>
where
    T: MakeTlsConnect<Socket>,
    T::Stream: Send + 'static,
{
    let connected = config.connect(tls).await;
    let (client, connection) =
        connected.map_err(failure("connecting to the catalog's database"))?;
    tokio::spawn(async move {
        if let Err(cause) = connection.await {
            tracing::debug!(%cause, "a connection to the catalog's database ended");
        }
    });
    Ok(client)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<Address> {
        Address::parse(url, None)
    }

    #[test]
    fn another_machine_is_reached_by_tls_or_by_an_explicit_word() {
        for good in [
            "postgresql:///vault?host=/run/postgresql",
            "postgresql://vault:word@localhost/vault",
            "postgresql://127.0.0.1:5433/vault",
            "host=/run/postgresql dbname=vault",
            "postgresql://db.example/vault?sslmode=disable",
        ] {
            assert!(!parse(good).unwrap().is_secure(), "{good}");
        }
        for bad in [
            "",
            "mysql://localhost/vault",
            "postgresql:///vault",
            "postgresql://db.example/vault",
            "postgresql://db.example/vault?sslmode=prefer",
            "postgresql://localhost,db.example/vault",
            "postgresql://localhost/vault?sslmode=require",
            "postgresql://localhost/vault?sslmode=verify-full",
        ] {
            assert_eq!(parse(bad).unwrap_err().kind(), ErrorKind::InvalidInput, "{bad}");
        }
        assert!(Address::parse("postgresql://db.example/vault", Some(b"no certificate")).is_err());
    }

    #[test]
    fn the_password_is_not_printed() {
        let address = parse("postgresql://vault:hidden-word@localhost/vault").unwrap();
        assert!(!format!("{address:?}").contains("hidden-word"));
        let error = parse("postgresql://vault:hidden-word@db.example/vault").unwrap_err();
        assert!(!format!("{error:?}").contains("hidden-word"));
    }
}
