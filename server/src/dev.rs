//! `serve --dev`: root credentials and the file of settings that clients source.

use std::{
    fmt::Write as _, io::Write as _, net::SocketAddr, os::unix::fs::OpenOptionsExt, path::Path,
};

use anyhow::{Context, Result};
use readvault_ambient::{Entropy, random};
use readvault_ops::identity::{RootCredentials, SecretKey};

/// The file of settings below the data directory.
pub const ENV_FILE: &str = "dev.env";

/// What `dev.env` says.
#[derive(Debug)]
pub struct DevEnv<'a> {
    /// Credentials of root.
    pub root: &'a RootCredentials,
    /// Where the server listens.
    pub listen: SocketAddr,
    /// Whether it speaks TLS.
    pub secure: bool,
    /// The region.
    pub region: &'a str,
    /// The account.
    pub account: &'a str,
    /// ARN of the run role.
    pub run_role: &'a str,
}

/// The root credentials of this data directory: those given, else those of an earlier start, else new.
///
/// # Errors
/// When `dev.env` exists and can't be read.
pub fn root_credentials(
    given: (Option<String>, Option<String>),
    data: &Path,
    entropy: &dyn Entropy,
) -> Result<RootCredentials> {
    let earlier = match std::fs::read_to_string(data.join(ENV_FILE)) {
        Ok(text) => text,
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(cause) => return Err(cause).context("dev.env can't be read"),
    };
    let access_key = given
        .0
        .or_else(|| exported(&earlier, "AWS_ACCESS_KEY_ID"))
        .unwrap_or_else(|| format!("RVDEV{}", letters(&random::<15>(entropy))));
    let secret = given
        .1
        .or_else(|| exported(&earlier, "AWS_SECRET_ACCESS_KEY"))
        .unwrap_or_else(|| letters(&random::<40>(entropy)));
    Ok(RootCredentials { access_key, secret: SecretKey::new(secret) })
}

/// Writes `dev.env`, readable by its owner only.
///
/// # Errors
/// When the file can't be written.
pub fn write(data: &Path, env: &DevEnv<'_>) -> Result<()> {
    let path = data.join(ENV_FILE);
    let fresh = data.join("dev.env.new");
    let _ = std::fs::remove_file(&fresh);
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&fresh)
        .context("dev.env can't be written")?;
    file.write_all(text(env).as_bytes()).context("dev.env can't be written")?;
    file.sync_all().context("dev.env can't be written")?;
    std::fs::rename(&fresh, &path).context("dev.env can't be written")
}

fn text(env: &DevEnv<'_>) -> String {
    let scheme = if env.secure { "https" } else { "http" };
    let lines = [
        ("AWS_ACCESS_KEY_ID", env.root.access_key.clone()),
        ("AWS_SECRET_ACCESS_KEY", env.root.secret.expose().to_owned()),
        ("AWS_DEFAULT_REGION", env.region.to_owned()),
        ("AWS_REGION", env.region.to_owned()),
        ("AWS_ENDPOINT_URL", format!("{scheme}://{}", env.listen)),
        ("AWS_DISABLE_HOST_PREFIX_INJECTION", "true".to_owned()),
        ("READVAULT_ACCOUNT", env.account.to_owned()),
        ("READVAULT_RUN_ROLE", env.run_role.to_owned()),
        ("HTS_S3_HOST", env.listen.to_string()),
        ("HTS_S3_ADDRESS_STYLE", "path".to_owned()),
    ];
    let mut text = String::new();
    for (name, value) in lines {
        let _ = writeln!(text, "export {name}='{value}'");
    }
    text
}

/// The value that an earlier `dev.env` exports as `name`.
fn exported(text: &str, name: &str) -> Option<String> {
    let line = text.lines().find_map(|line| line.strip_prefix("export ")?.strip_prefix(name))?;
    Some(line.strip_prefix("='")?.strip_suffix('\'')?.to_owned())
}

/// Letters and digits that need no quoting anywhere; each byte gives one of 32.
fn letters(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHJKLMNPQRSTUVWXYZ23456789";
    bytes.iter().map(|byte| char::from(ALPHABET[usize::from(byte & 31)])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> RootCredentials {
        RootCredentials { access_key: "RVDEVAAAA".into(), secret: SecretKey::new("S3CRET".into()) }
    }

    #[test]
    fn a_second_start_keeps_the_credentials_of_the_first() {
        let dir = tempfile::tempdir().expect("a directory");
        let env = DevEnv {
            root: &root(),
            listen: "127.0.0.1:9000".parse().expect("an address"),
            secure: false,
            region: "us-east-1",
            account: "123456789012",
            run_role: "arn:aws:iam::123456789012:role/readvault-run",
        };
        write(dir.path(), &env).expect("written");
        let again = root_credentials((None, None), dir.path(), &readvault_ambient::System);
        let again = again.expect("read");
        assert_eq!(again.access_key, "RVDEVAAAA");
        assert_eq!(again.secret.expose(), "S3CRET");
    }

    #[test]
    fn new_credentials_differ_each_time() {
        let dir = tempfile::tempdir().expect("a directory");
        let make = || root_credentials((None, None), dir.path(), &readvault_ambient::System);
        let (one, two) = (make().expect("made"), make().expect("made"));
        assert_ne!(one.access_key, two.access_key);
        assert_ne!(one.secret, two.secret);
        assert_eq!(one.access_key.len(), 20);
        assert_eq!(one.secret.expose().len(), 40);
    }
}
