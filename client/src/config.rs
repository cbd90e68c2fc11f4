//! Where the vault is and who asks: environment first, then the AWS files, as every AWS client does.

use std::{collections::HashMap, fmt, path::PathBuf};

use crate::fault::{Exit, Fault, Result};

/// Credentials and endpoint. Never shown.
pub struct Config {
    /// Base URL of the vault, without a slash at its end.
    pub endpoint: String,
    /// Access key.
    pub access_key: String,
    /// Secret key.
    pub secret_key: String,
    /// Session token.
    pub session_token: Option<String>,
    /// Region to sign for.
    pub region: String,
    /// The store that commands use when none is named.
    pub store: Option<String>,
    /// Where unfinished uploads are remembered.
    pub state: PathBuf,
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

/// Looks a name up in the environment.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

impl Config {
    /// The configuration that `environment` and the files it points to say.
    ///
    /// # Errors
    /// `Denied` when no credentials or no endpoint is to be found, with the way to set them.
    pub fn load(environment: Environment<'_>) -> Result<Self> {
        let home = environment("HOME").map_or_else(|| PathBuf::from("."), PathBuf::from);
        let profile = environment("AWS_PROFILE").unwrap_or_else(|| "default".into());
        let file = |name: &str, default: &str| {
            let path = environment(name).map_or_else(|| home.join(default), PathBuf::from);
            std::fs::read_to_string(path).unwrap_or_default()
        };
        let mut settings =
            section(&file("AWS_SHARED_CREDENTIALS_FILE", ".aws/credentials"), &profile);
        let config = file("AWS_CONFIG_FILE", ".aws/config");
        settings.extend(section(&config, &format!("profile {profile}")));
        settings.extend(section(&config, &profile));
        let get = |names: &[&str], key: &str| {
            names.iter().find_map(|name| environment(name)).or_else(|| settings.get(key).cloned())
        };
        let endpoint = get(&["READVAULT_ENDPOINT_URL", "AWS_ENDPOINT_URL"], "endpoint_url");
        let access_key = get(&["AWS_ACCESS_KEY_ID"], "aws_access_key_id");
        let secret_key = get(&["AWS_SECRET_ACCESS_KEY"], "aws_secret_access_key");
        let (Some(endpoint), Some(access_key), Some(secret_key)) =
            (endpoint, access_key, secret_key)
        else {
            let what = "no vault is configured: endpoint, access key or secret key is missing";
            return Err(Fault::new(Exit::Denied, what).hint(
                ". DATA/dev.env (written by `readvaultd serve --dev`), or set \
                       AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
            ));
        };
        Ok(Self {
            endpoint: endpoint.trim_end_matches('/').into(),
            access_key,
            secret_key,
            session_token: get(&["AWS_SESSION_TOKEN"], "aws_session_token"),
            region: get(&["AWS_REGION", "AWS_DEFAULT_REGION"], "region")
                .unwrap_or_else(|| "us-east-1".into()),
            store: environment("READVAULT_STORE"),
            state: environment("XDG_STATE_HOME")
                .map_or_else(|| home.join(".local/state"), PathBuf::from)
                .join("readvault/uploads"),
        })
    }
}

/// The keys of one section of an AWS configuration file.
fn section(text: &str, name: &str) -> HashMap<String, String> {
    let mut inside = false;
    let mut found = HashMap::new();
    for line in text.lines() {
        let line = line.trim();
        if let Some(header) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            inside = header.trim() == name;
        } else if inside
            && !line.starts_with(['#', ';'])
            && let Some((key, value)) = line.split_once('=')
        {
            found.insert(key.trim().to_owned(), value.trim().to_owned());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_wins_over_the_files() {
        let dir = tempfile::tempdir().expect("a directory");
        let config = dir.path().join("config");
        std::fs::write(
            &config,
            "[default]\nregion = eu-north-1\nendpoint_url = http://file:1/\n\
             [profile other]\nregion = xx\n",
        )
        .expect("written");
        let environment = |name: &str| match name {
            "AWS_CONFIG_FILE" => Some(config.display().to_string()),
            "AWS_ACCESS_KEY_ID" => Some("A".into()),
            "AWS_SECRET_ACCESS_KEY" => Some("S".into()),
            _ => None,
        };
        let loaded = Config::load(&environment).expect("complete");
        assert_eq!(
            (loaded.endpoint.as_str(), loaded.region.as_str()),
            ("http://file:1", "eu-north-1")
        );
        assert!(!format!("{loaded:?}").contains('S'), "no secret is shown");
    }

    #[test]
    fn what_is_missing_is_said_with_the_way_to_set_it() {
        let fault = Config::load(&|_| None).expect_err("nothing is set");
        assert_eq!(fault.exit, Exit::Denied);
        assert!(fault.hint.expect("a hint").contains("dev.env"));
    }
}
