//! `readvaultd doctor`: what this machine lacks, and what to do about it.

use std::{path::Path, process::Command};

use anyhow::{Result, bail};

use crate::{app::catalog, launcher};

/// One finding: what was looked at, and what is wrong with it, if anything.
type Finding = (&'static str, Result<String, String>);

/// Prints what was found, one line each, and ends with an error when something is missing.
///
/// # Errors
/// When anything that a vault needs is missing.
pub fn report(data: Option<&Path>, catalog: Option<(&str, Option<&Path>)>) -> Result<()> {
    let mut findings = vec![inspector(), swap()];
    if let Some(data) = data {
        findings.extend([writable(data), file_system(data), dev_key(data)]);
    }
    if let Some((url, authorities)) = catalog {
        findings.push(database(url, authorities));
    }
    let mut missing = 0;
    for (what, found) in findings {
        match found {
            Ok(detail) => println!("ok       {what}: {detail}"),
            Err(detail) => {
                missing += 1;
                println!("missing  {what}: {detail}");
            }
        }
    }
    let runs = match launcher::beside("readvault-exec") {
        Ok(path) => Command::new(path).arg("doctor").status().is_ok_and(|status| status.success()),
        Err(cause) => {
            println!("missing  runs: {cause}");
            false
        }
    };
    if missing > 0 || !runs {
        bail!("something is missing; storage without runs needs only what is above");
    }
    Ok(())
}

fn inspector() -> Finding {
    let found =
        launcher::beside("readvault-inspect").map_err(|cause| cause.to_string()).and_then(|path| {
            let tested = Command::new(path).arg("self-test").output();
            match tested {
                Ok(output) if output.status.success() => Ok("its sandbox holds".into()),
                Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
                Err(cause) => Err(cause.to_string()),
            }
        });
    ("inspector", found)
}

fn swap() -> Finding {
    let swaps = std::fs::read_to_string("/proc/swaps").unwrap_or_default();
    let found = if swaps.lines().count() > 1 {
        Err("swap is on: plaintext of running tasks may reach it; switch it off or encrypt it"
            .into())
    } else {
        Ok("off".into())
    };
    ("swap", found)
}

fn writable(data: &Path) -> Finding {
    let probe = data.join(".doctor");
    let found = std::fs::create_dir_all(data)
        .and_then(|()| std::fs::write(&probe, b"probe"))
        .and_then(|()| std::fs::remove_file(&probe))
        .map(|()| "writable".into())
        .map_err(|cause| cause.to_string());
    ("data directory", found)
}

fn file_system(data: &Path) -> Finding {
    use nix::sys::statfs::{BTRFS_SUPER_MAGIC, TMPFS_MAGIC, statfs};
    let found = match statfs(data) {
        Ok(stat) if stat.filesystem_type() == BTRFS_SUPER_MAGIC => {
            Err("btrfs copies on write: an erased shred slot may survive there".into())
        }
        Ok(stat) if stat.filesystem_type() == TMPFS_MAGIC => {
            Err("tmpfs: everything is lost at the next boot".into())
        }
        Ok(stat) => {
            let block = u64::try_from(stat.block_size()).unwrap_or(0);
            Ok(format!("{} MiB free", (stat.blocks_available() * block) >> 20))
        }
        Err(cause) => Err(cause.to_string()),
    };
    ("file system", found)
}

fn database(url: &str, authorities: Option<&Path>) -> Finding {
    let look = || -> Result<_> {
        let address = catalog::address(url, authorities)?;
        let secure = address.is_secure();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok((runtime.block_on(readvault_store_postgres::examine(address))?, secure))
    };
    let found = match look() {
        Ok((found, secure)) if found.faults.is_empty() => {
            let how = if secure { "by TLS" } else { "without TLS" };
            Ok(format!("PostgreSQL {}, reached {how}", found.version))
        }
        Ok((found, _)) => Err(found.faults.join("; ")),
        Err(cause) => Err(format!("{cause:#}")),
    };
    ("database of the catalog", found)
}

fn dev_key(data: &Path) -> Finding {
    let found = if data.join("dev.key").exists() {
        Err("this is a --dev vault: its key lies beside its data".into())
    } else {
        Ok("no key lies beside the data".into())
    };
    ("keys", found)
}
