//! Opens the catalog where the settings say it is.

use std::{path::Path, sync::Arc};

use anyhow::{Context, Result, bail};
use readvault_ambient::System;
use readvault_store::catalog::{Catalog, row::RowSealer};
use readvault_store_postgres::{Address, PostgresCatalog, PostgresParams};
use readvault_store_rocks::RocksCatalog;

use super::{open::CATALOG, pieces::all_tables};
use crate::settings::Serve;

/// Says that the catalog of this data directory is in a database, so that no other one is made for it.
const ELSEWHERE: &str = "catalog.elsewhere";

/// An open catalog.
pub(super) struct Opened {
    pub(super) catalog: Arc<dyn Catalog>,
    /// The same, when it is in the data directory: it takes room there, and memory here.
    pub(super) embedded: Option<Arc<RocksCatalog>>,
}

/// Where a catalog is.
pub(super) enum Place {
    /// In the data directory.
    Embedded,
    /// In a PostgreSQL database.
    Database(Box<Address>),
}

/// What the settings say; reads the certificate authorities while paths can still be reached.
///
/// # Errors
/// When the URL or the authorities are of no use.
pub(super) fn place(settings: &Serve) -> Result<Place> {
    let Some(url) = &settings.catalog else { return Ok(Place::Embedded) };
    let address = address(url, settings.catalog_ca.as_deref())?;
    Ok(Place::Database(Box::new(address)))
}

/// The address that a URL and a file of certificate authorities give.
///
/// # Errors
/// As [`place`].
pub(crate) fn address(url: &str, authorities: Option<&Path>) -> Result<Address> {
    let pem = authorities.map(std::fs::read).transpose();
    let pem = pem.context("the certificate authorities of the catalog can't be read")?;
    Ok(Address::parse(url, pem.as_deref())?)
}

/// For commands that only know the embedded catalog.
///
/// # Errors
/// When the catalog of the vault in `data` is in a database.
pub(super) fn must_be_embedded(data: &Path) -> Result<()> {
    if data.join(ELSEWHERE).exists() {
        bail!(
            "the catalog of this vault is in a database, for which this command is not built: bring \
             it back from the database's own backup"
        );
    }
    Ok(())
}

/// Opens the catalog of the vault in `data`, or makes a new one.
///
/// # Errors
/// When the data directory's catalog is in the other place, or it can't be opened.
pub(super) async fn open(data: &Path, place: &Place, sealer: Arc<RowSealer>) -> Result<Opened> {
    let (tables, entropy) = (all_tables(), Arc::new(System));
    let (embedded, elsewhere) = (data.join(CATALOG), data.join(ELSEWHERE));
    match place {
        Place::Embedded if elsewhere.exists() => {
            bail!("the catalog of this vault is in a database: name it with --catalog")
        }
        Place::Embedded => {
            let catalog = RocksCatalog::open(&embedded, &tables, sealer, entropy);
            let catalog =
                catalog.context("the catalog can't be opened; see `readvaultd rebuild`")?;
            let catalog = Arc::new(catalog);
            Ok(Opened { catalog: catalog.clone(), embedded: Some(catalog) })
        }
        Place::Database(_) if embedded.exists() => {
            bail!("the catalog of this vault is in its data directory: leave out --catalog")
        }
        Place::Database(address) => {
            let address = (**address).clone();
            let params =
                PostgresParams { address, tables, sealer, entropy, clock: Arc::new(System) };
            let catalog = PostgresCatalog::open(params)
                .await
                .context("the catalog can't be opened in its database")?;
            std::fs::write(&elsewhere, b"").context("the data directory can't be written")?;
            Ok(Opened { catalog: Arc::new(catalog), embedded: None })
        }
    }
}
