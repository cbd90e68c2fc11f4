//! Which bucket a `Host` header names: exactly configured names, else none (path style).
//!
//! A host that is merely unknown must never become a bucket, or a request meant for another API
//! would.

use s3s::{
    S3Result,
    host::{S3Host, VirtualHost},
};

/// The host names of the S3 endpoint; `BUCKET.NAME` names a bucket for each of them.
pub(crate) struct Hosts(pub(crate) Vec<String>);

impl S3Host for Hosts {
    fn parse_host_header<'a>(&'a self, host: &'a str) -> S3Result<VirtualHost<'a>> {
        let name = without_port(host);
        for domain in &self.0 {
            let bucket = name
                .len()
                .checked_sub(domain.len())
                .and_then(|at| name.get(..at).zip(name.get(at..)))
                .filter(|(_, end)| end.eq_ignore_ascii_case(domain))
                .and_then(|(start, _)| start.strip_suffix('.'))
                .filter(|bucket| !bucket.is_empty());
            if let Some(bucket) = bucket {
                return Ok(VirtualHost::new(domain.as_str()).with_bucket(bucket));
            }
        }
        Ok(VirtualHost::new(host))
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(host: &str) -> Option<String> {
        let hosts = Hosts(vec!["s3.rv.test".into(), "rv.test".into()]);
        hosts.parse_host_header(host).unwrap().bucket().map(str::to_owned)
    }

    #[test]
    fn only_configured_names_give_buckets() {
        assert_eq!(bucket("b.s3.rv.test").as_deref(), Some("b"));
        assert_eq!(bucket("a.b.S3.RV.test:9000").as_deref(), Some("a.b"));
        assert_eq!(bucket("b.rv.test").as_deref(), Some("b"));
        for host in [
            "s3.rv.test:80",
            "127.0.0.1:9000",
            "[::1]:9000",
            "evil.test",
            "xrv.test",
            ".rv.test",
            "",
        ] {
            assert!(bucket(host).is_none_or(|bucket| bucket == "s3"), "{host}");
        }
        assert_eq!(bucket("bs3.rv.test").as_deref(), Some("bs3"));
    }
}
