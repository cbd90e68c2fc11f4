//! Serves the API over a vault in memory and drives it with the clients that people use.
//!
//! Needs `python3` with boto3, and `aws`. The scripts stand beside this file and run against any
//! endpoint that has the seeded alias bucket.

#[path = "clients/seed.rs"]
mod seed;

use std::{net::Ipv4Addr, sync::Arc};

use readvault_ambient::System;
use readvault_ops::{
    authorize::Authorizer,
    bucket::Buckets,
    core::{Core, Site},
    identity::{Identity, RootCredentials, SecretKey},
    multipart::Multiparts,
    object::{Objects, Settings},
};
use readvault_s3::{S3Parts, S3Vault, service};
use tokio::process::Command;

type Failure = Box<dyn std::error::Error>;

const ACCESS_KEY: &str = "AKIDREADVAULTTEST01";
const SECRET_KEY: &str = "test-secret";

/// Serves on a free port of this machine for as long as the runtime lives.
async fn serve() -> Result<String, Failure> {
    let site = Site { account: "123456789012".into(), region: "us-east-1".into() };
    let vault = readvault_store::testing::vault().await;
    let core = Core::new(vault, site.clone(), Arc::new(System), Arc::new(System));
    seed::seed(&core).await?;
    let buckets = Buckets::new(core);
    let objects = Objects::new(buckets.clone(), Settings::default());
    let multiparts = Multiparts::new(objects.clone());
    let root = RootCredentials {
        access_key: ACCESS_KEY.into(),
        secret: SecretKey::new(SECRET_KEY.into()),
    };
    let service = service(S3Parts {
        vault: S3Vault { buckets, objects, multiparts },
        identity: Identity::new(site, root),
        authorizer: Authorizer::default(),
        hosts: Vec::new(),
    });
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let endpoint = format!("http://{}", listener.local_addr()?);
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let service = service.clone();
            tokio::spawn(async move {
                let io = hyper_util::rt::TokioIo::new(socket);
                let http = hyper::server::conn::http1::Builder::new();
                // A client that goes away is a scenario of its own; the answer tells the rest.
                let _ = http.serve_connection(io, service).await;
            });
        }
    });
    Ok(endpoint)
}

async fn passes(program: &str, script: &str) -> Result<(), Failure> {
    let endpoint = serve().await?;
    let script = format!("{}/tests/{script}", env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(program)
        .arg(script)
        .arg(endpoint)
        .env("AWS_ACCESS_KEY_ID", ACCESS_KEY)
        .env("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(std::time::Duration::from_secs(120), output).await??;
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}\n{err}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn boto3_does_what_people_do() -> Result<(), Failure> {
    passes("python3", "boto3_client.py").await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_aws_command_line_does_what_people_do() -> Result<(), Failure> {
    passes("sh", "aws_cli.sh").await
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_and_damaged_requests_leave_nothing() -> Result<(), Failure> {
    passes("python3", "raw_requests.py").await
}
