//! What an operator should know of the database before a vault relies on it.

use readvault_store::Result;
use tokio::runtime::Handle;

use crate::{
    connect::{Address, Connector},
    fault::{Failure, failure},
};

const SETTINGS: &str = "SELECT current_setting('server_version'), current_setting('fsync') = 'on',
    current_setting('full_page_writes') = 'on',
    current_setting('log_parameter_max_length_on_error') = '0',
    has_database_privilege(current_database(), 'CREATE')
        OR coalesce(has_schema_privilege(to_regnamespace('readvault'), 'CREATE'), false)";

/// What [`examine`] found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Findings {
    /// The database's version.
    pub version: String,
    /// What must be changed before a vault may rely on the database; empty when nothing must.
    pub faults: Vec<&'static str>,
}

/// Looks at the database at `address`; changes nothing.
///
/// # Errors
/// `Unavailable` when it can't be reached.
pub async fn examine(address: Address) -> Result<Findings> {
    let connector = Connector::new(address, Handle::current());
    let client = connector.connect().await.map_err(Failure::into_error)?;
    let row = client.query_one(SETTINGS, &[]).await;
    let row = row.map_err(|error| failure("examining the database")(error).into_error())?;
    let needed = [
        "fsync is off: a power cut loses acknowledged commits",
        "full_page_writes is off: a power cut can tear pages",
        "log_parameter_max_length_on_error is not 0: names of objects reach the database's log",
        "the role may not create the schema readvault",
    ];
    let holds = |index| row.get::<_, bool>(index + 1);
    let faults = needed.iter().enumerate().filter(|(index, _)| !holds(*index));
    Ok(Findings { version: row.get(0), faults: faults.map(|(_, fault)| *fault).collect() })
}
