use std::process::Command;

use super::*;
use readvault_store::ErrorKind;

/// An authority, a key and a certificate for `localhost`, and another authority.
const CERTIFICATES: &str = "set -e
    ec='-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2'
    for name in authority other; do
        openssl req -x509 $ec -keyout $name.key -out $name.pem -subj /CN=$name
    done
    openssl req ${ec% -days 2} -keyout server.key -out server.csr -subj /CN=localhost
    echo subjectAltName=DNS:localhost > names
    openssl x509 -req -in server.csr -CA authority.pem -CAkey authority.key -CAcreateserial \
        -days 2 -extfile names -out server.pem";

#[tokio::test]
async fn the_host_must_be_vouched_for_and_every_connection_is_tls() {
    let Some(mut cluster) = Cluster::start().await else { return };
    cluster.database().await;
    let made = Command::new("bash").args(["-c", CERTIFICATES]).current_dir(cluster.home()).output();
    let made = made.unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    for file in ["server.key", "server.pem"] {
        cluster.give(&cluster.home().join(file));
    }
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let files = ["ssl_cert_file=../server.pem", "ssl_key_file=../server.key"];
    cluster.crash();
    cluster.restart_at(port, &["fsync=off", "ssl=on", files[0], files[1]]).await;

    let url = format!("postgresql://readvault@localhost:{port}/vault0");
    let with = |authority: &str| {
        let pem = std::fs::read(cluster.home().join(authority)).unwrap();
        let address = Address::parse(&url, Some(&pem)).unwrap();
        assert!(address.is_secure());
        PostgresParams { address, ..params(&url, 1) }
    };
    let catalog = PostgresCatalog::open(with("authority.pem")).await.unwrap();
    put(&catalog, "a", "b").await;
    assert_eq!(rows(&catalog).await.unwrap().len(), 1);
    let admin = cluster.client("vault0").await.unwrap();
    let plain = "SELECT count(*) FILTER (WHERE NOT ssl), count(*) FILTER (WHERE ssl)
        FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE application_name = 'readvaultd'";
    let found = admin.query_one(plain, &[]).await.unwrap();
    assert_eq!(found.get::<_, i64>(0), 0);
    assert!(found.get::<_, i64>(1) > 1);
    let error = PostgresCatalog::open(with("other.pem")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}
