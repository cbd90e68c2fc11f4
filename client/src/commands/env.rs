//! `readvault env`: what other clients need to speak to this vault.

use crate::config::Config;

/// Prints settings for a shell, or for the AWS configuration file. No secret is printed that the caller
/// did not set already.
pub fn print(config: &Config, aws_config: bool) {
    let host = config.endpoint.split_once("://").map_or("", |(_, host)| host);
    if aws_config {
        println!("[default]");
        println!("region = {}", config.region);
        println!("endpoint_url = {}", config.endpoint);
        println!("disable_host_prefix_injection = true");
        println!("s3 =\n  addressing_style = path\n  signature_version = s3v4");
        eprintln!(
            "# botocore 1.38 or newer honours disable_host_prefix_injection; the JS SDK takes"
        );
        eprintln!(
            "# `disableHostPrefix: true`; the Rust SDK needs five host names beside the base:"
        );
        let name = host.split(':').next().unwrap_or_default();
        let prefixes = ["control-storage-", "storage-", "workflows-", "analytics-", "tags-"];
        let names: Vec<_> = prefixes.iter().map(|prefix| format!("{prefix}{name}")).collect();
        eprintln!("# {}", names.join(" "));
        return;
    }
    println!("export AWS_ENDPOINT_URL='{}'", config.endpoint);
    println!("export AWS_DEFAULT_REGION='{}'", config.region);
    println!("export AWS_DISABLE_HOST_PREFIX_INJECTION=true");
    println!("export HTS_S3_HOST='{host}'");
    println!("export HTS_S3_ADDRESS_STYLE=path");
    eprintln!("# samtools reads s3+http://BUCKET/KEY, or a presigned URL");
}
