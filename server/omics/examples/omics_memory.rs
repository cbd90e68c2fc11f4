//! Serves the HealthOmics API over an in-memory vault on a loopback port, for the acceptance tests.
//!
//! `omics_memory PORT INSPECTOR [BUCKET/KEY=FILE…]`: makes the buckets, puts the files into them,
//! prints one line when it is ready, and serves until its standard input ends.

use std::{error::Error, io::Read, path::PathBuf, sync::Arc};

use readvault_ambient::System;
use readvault_inspect_protocol::{Inspector, InspectorSettings};
use readvault_omics::{Parts, router};
use readvault_ops::{
    FaultKind,
    authorize::{Ask, Authorizer},
    body::Body,
    bucket::{Buckets, create::NewBucket},
    core::{Core, Site},
    identity::{Identity, RootCredentials, SecretKey},
    import::ImportSources,
    inspection::InspectReadSets,
    jobs::Jobs,
    object::{Objects, Settings, put::PutObject},
    read_set_job::ExportReadSets,
    read_set_upload::discard::DiscardParts,
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let port: u16 = arguments.next().ok_or("a port is missing")?.parse()?;
    let inspector = PathBuf::from(arguments.next().ok_or("the inspector is missing")?);
    let site = Site { account: "123456789012".into(), region: "us-east-1".into() };
    let clock = Arc::new(System);
    let vault = readvault_store::testing::vault().await;
    let core = Core::new(vault, site.clone(), clock.clone(), clock);
    let identity = Identity::new(
        site,
        RootCredentials {
            access_key: "AKIDTEST".into(),
            secret: SecretKey::new("test-secret".into()),
        },
    );
    let authorizer = Authorizer::default();
    let jobs = Jobs::new(core.clone());
    let objects = Objects::new(Buckets::new(core.clone()), Settings::default());
    for argument in arguments {
        put(&objects, &identity, &authorizer, &argument).await?;
    }
    let inspector = Arc::new(Inspector::new(inspector, InspectorSettings::default()));
    let handlers: Vec<Arc<dyn readvault_ops::jobs::JobHandler>> = vec![
        Arc::new(InspectReadSets::new(core.clone(), inspector.clone())),
        Arc::new(ImportSources::new(
            identity.clone(),
            authorizer.clone(),
            objects.clone(),
            inspector,
        )),
        Arc::new(ExportReadSets::new(identity.clone(), authorizer.clone(), objects)),
        Arc::new(DiscardParts::new(core.clone())),
    ];
    let running = jobs.clone();
    tokio::spawn(async move { running.run(handlers, 4).await });
    let service = router(Parts::new(core, identity.clone(), authorizer, jobs));
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    println!("ready {}", identity.run_role_arn());
    tokio::select! {
        served = axum::serve(listener, service) => served?,
        _ = until_closed() => {}
    }
    Ok(())
}

async fn until_closed() {
    let closed = tokio::task::spawn_blocking(|| {
        let mut all = Vec::new();
        std::io::stdin().read_to_end(&mut all)
    });
    let _ = closed.await;
}

async fn put(
    objects: &Objects,
    identity: &Identity,
    authorizer: &Authorizer,
    argument: &str,
) -> Result<(), Box<dyn Error>> {
    let (place, file) = argument.split_once('=').ok_or("BUCKET/KEY=FILE")?;
    let (bucket, key) = place.split_once('/').ok_or("BUCKET/KEY=FILE")?;
    let caller = identity.assume(&identity.run_role_arn(), "seed")?;
    let permit = authorizer.authorize(&caller, &[Ask::new("s3:PutObject", "*")])?;
    let new = NewBucket { name: bucket.into(), ..NewBucket::default() };
    match objects.buckets().create(&permit, new).await {
        Err(fault) if fault.kind != FaultKind::BucketAlreadyOwnedByYou => return Err(fault.into()),
        Ok(()) | Err(_) => {}
    }
    let target = PutObject { bucket: bucket.into(), key: key.into(), ..PutObject::default() };
    objects.put(&permit, target, Body::from_bytes(std::fs::read(file)?.into())).await?;
    Ok(())
}
