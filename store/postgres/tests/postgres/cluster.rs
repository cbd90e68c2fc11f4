//! A database server for one test: its own directory, a unix socket in it, no port; ended by its process id.

use std::{
    fs,
    os::unix::{
        fs::{PermissionsExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use tokio_postgres::{Client, NoTls};

/// Debian's user for PostgreSQL, which refuses to run as root.
const USER: &str = "postgres";

/// A running server.
pub(crate) struct Cluster {
    home: tempfile::TempDir,
    bin: PathBuf,
    user: Option<(u32, u32)>,
    server: Option<Child>,
    databases: AtomicU32,
    /// Names the socket, too.
    port: u16,
}

impl Cluster {
    /// Makes and starts a server. `None`, with a loud message, where PostgreSQL is not installed.
    pub(crate) async fn start() -> Option<Self> {
        Self::start_with(&["fsync=off"]).await
    }

    /// The same with settings.
    pub(crate) async fn start_with(settings: &[&str]) -> Option<Self> {
        let Some(bin) = binaries() else {
            eprintln!(
                "SKIPPED: no PostgreSQL below /usr/lib/postgresql; scripts/setup installs it"
            );
            return None;
        };
        let home = tempfile::Builder::new().prefix("rv-pg-").tempdir_in("/tmp").unwrap();
        let user = is_root().then(|| user_of(USER).expect("Debian's package makes its user"));
        if let Some((uid, gid)) = user {
            chown(home.path(), Some(uid), Some(gid)).unwrap();
        }
        let mut cluster =
            Self { home, bin, user, server: None, databases: AtomicU32::new(0), port: 5432 };
        let made = cluster
            .command("initdb")
            .args(["-U", "readvault", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", "-D"])
            .arg(cluster.data())
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        cluster.run(settings);
        cluster.wait().await;
        Some(cluster)
    }

    /// Starts the server over the directory that is there, and waits until it answers.
    pub(crate) async fn restart(&mut self, settings: &[&str]) {
        self.run(settings);
        self.wait().await;
    }

    /// The same, listening on a port of 127.0.0.1, too.
    pub(crate) async fn restart_at(&mut self, port: u16, settings: &[&str]) {
        self.port = port;
        self.run(&[settings, &["listen_addresses=127.0.0.1"]].concat());
        self.wait().await;
    }

    /// Gives a file to the server's user alone.
    pub(crate) fn give(&self, path: &Path) {
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
        if let Some((uid, gid)) = self.user {
            chown(path, Some(uid), Some(gid)).unwrap();
        }
    }

    /// Ends the server at once, as a crash would.
    pub(crate) fn crash(&mut self) {
        self.end("QUIT");
    }

    /// The URL of a new, empty database.
    pub(crate) async fn database(&self) -> String {
        let name = format!("vault{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let admin = self.client("postgres").await.unwrap();
        admin.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
        format!("postgresql://readvault@/{name}?host={}", self.home.path().display())
    }

    /// A connection of the database's administrator.
    pub(crate) async fn client(&self, database: &str) -> Result<Client, tokio_postgres::Error> {
        let (home, port) = (self.home.path().display(), self.port);
        connect(&format!("host={home} port={port} user=readvault dbname={database}")).await
    }

    /// The directory with all that the server keeps.
    pub(crate) fn data(&self) -> PathBuf {
        self.home.path().join("data")
    }

    /// The directory of the socket and of files for the server.
    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    /// Runs `name`, one of PostgreSQL's programs, as its user.
    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(self.bin.join(name));
        command.current_dir(self.home.path()).stdin(Stdio::null());
        if let Some((uid, gid)) = self.user {
            command.uid(uid).gid(gid);
        }
        command
    }

    fn run(&mut self, settings: &[&str]) {
        let log = fs::File::options().create(true).append(true).open(self.home.path().join("log"));
        let mut command = self.command("postgres");
        command.arg("-D").arg(self.data()).arg("-k").arg(self.home.path());
        command.args(["-p", &self.port.to_string()]);
        command.args(["-c", "listen_addresses=", "-c", "shared_buffers=32MB"]);
        for setting in settings {
            command.args(["-c", setting]);
        }
        let log = log.unwrap();
        command.stdout(log.try_clone().unwrap()).stderr(log);
        self.server = Some(command.spawn().unwrap());
    }

    async fn wait(&self) {
        for _ in 0..600 {
            if self.client("postgres").await.is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let log = fs::read_to_string(self.home.path().join("log")).unwrap_or_default();
        panic!("the database did not start:\n{log}");
    }

    fn end(&mut self, signal: &str) {
        let Some(mut server) = self.server.take() else { return };
        let number = server.id().to_string();
        let _ = Command::new("kill").args([format!("-{signal}"), number]).status();
        let _ = server.wait();
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.end("INT");
    }
}

/// A connection driven by a task of its own.
pub(crate) async fn connect(config: &str) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(config, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

/// The programs of the newest version installed.
fn binaries() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?.flatten();
    let number = |path: &Path| path.file_name()?.to_str()?.parse::<u32>().ok();
    let newest = versions.map(|entry| entry.path()).max_by_key(|path| number(path))?;
    Some(newest.join("bin")).filter(|bin| bin.join("initdb").exists())
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    fs::metadata("/proc/self").is_ok_and(|meta| meta.uid() == 0)
}

fn user_of(name: &str) -> Option<(u32, u32)> {
    let users = fs::read_to_string("/etc/passwd").ok()?;
    let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
    let mut fields = line.split(':').skip(2).map(str::parse);
    Some((fields.next()?.ok()?, fields.next()?.ok()?))
}
