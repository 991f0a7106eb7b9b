//! The environment that recipes may see.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fmt,
    path::{Path, PathBuf},
};

use super::WorkerError;
use crate::{Error, is_missing};

/// Variables that reach the worker when they are set.
const PASSED: &[&str] = &[
    // Where programs, temporary files and certificates are.
    "PATH",
    "TMPDIR",
    "TMP",
    "TEMP",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "CURL_CA_BUNDLE",
    "REQUESTS_CA_BUNDLE",
    "NIX_SSL_CERT_FILE",
    // How text looks.
    "LANG",
    "LANGUAGE",
    "TERM",
    "TZ",
    "NO_COLOR",
    // The way out.
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    // Tools.
    "CARGO_HOME",
    "RUSTUP_HOME",
    "RUSTUP_TOOLCHAIN",
    "RUST_BACKTRACE",
    "RATTLER_AUTH_FILE",
    "RATTLER_HOME",
    "CPU_COUNT",
    "SDKROOT",
    "DEVELOPER_DIR",
    "MACOSX_DEPLOYMENT_TARGET",
    // What Windows cannot start a program without.
    "SYSTEMROOT",
    "SYSTEMDRIVE",
    "WINDIR",
    "COMSPEC",
    "PATHEXT",
    "PROCESSOR_ARCHITECTURE",
    "PROGRAMFILES",
    "PROGRAMFILES(X86)",
    "PROGRAMDATA",
];
const PASSED_PREFIXES: &[&str] = &["LC_", "CONDA_OVERRIDE_"];

/// Variables of those who identify and pay: never passed, whatever `pass-env` says.
const FORBIDDEN_PREFIXES: &[&str] = &[
    "ACTIONS_",
    "AWS_",
    "AZURE_",
    "BUILDKITE_",
    "CI_",
    "CIRCLE_",
    "COSIGN_",
    "GCP_",
    "GH_",
    "GITHUB_",
    "GITLAB_",
    "GOOGLE_",
    "PREFIX_API_",
    "PREFIX_DEV_",
    "QUETZ_",
    "RUNNER_",
    "SIGSTORE_",
    "SYSTEM_",
];
const FORBIDDEN_WORDS: &[&str] = &[
    "APIKEY",
    "CREDENTIAL",
    "CREDENTIALS",
    "JWT",
    "KEY",
    "PASSWD",
    "PASSPHRASE",
    "PASSWORD",
    "SECRET",
    "SECRETS",
    "TOKEN",
    "TOKENS",
];

/// The variables a worker gets: an allow-list, and what the user names besides. HOME and rattler's cache are not among them: the
/// worker has its own.
#[derive(Clone)]
pub struct WorkerEnvironment {
    variables: BTreeMap<OsString, OsString>,
    cache: Option<PathBuf>,
}

impl WorkerEnvironment {
    /// Takes the allowed variables, and those named in `pass_env`, from the environment of this process.
    ///
    /// # Errors
    /// [`WorkerError::ForbiddenVariable`] when `pass_env` names one that may identify or pay.
    pub fn from_process(pass_env: &[String]) -> Result<Self, Error> {
        Self::from_variables(std::env::vars_os(), pass_env)
    }

    /// Takes the allowed variables, and those named in `pass_env`, from `variables`.
    ///
    /// # Errors
    /// [`WorkerError::ForbiddenVariable`] when `pass_env` names one that may identify or pay.
    pub fn from_variables(
        variables: impl IntoIterator<Item = (OsString, OsString)>,
        pass_env: &[String],
    ) -> Result<Self, Error> {
        for name in pass_env {
            if let Some(reason) = forbidden(name) {
                return Err(WorkerError::ForbiddenVariable {
                    name: name.clone(),
                    reason,
                }
                .into());
            }
        }
        let mut home = None;
        let mut passed = BTreeMap::new();
        let mut own_cache = None;
        let mut caches = BTreeMap::new();
        let mut configs = BTreeMap::new();
        for (name, value) in variables {
            let text = name.to_string_lossy();
            match &*text {
                "HOME" | "USERPROFILE" => home = Some(PathBuf::from(&value)),
                "RATTLER_CACHE_DIR" => own_cache = Some(PathBuf::from(&value)),
                "XDG_CACHE_HOME" | "LOCALAPPDATA" => {
                    drop(caches.insert(text.into_owned(), PathBuf::from(&value)))
                }
                "XDG_CONFIG_HOME" | "APPDATA" => {
                    drop(configs.insert(text.into_owned(), PathBuf::from(&value)))
                }
                _ => {}
            }
            let is_named = pass_env.iter().any(|pass| OsStr::new(pass) == name);
            if allowed(&name) || (is_named && name != "RATTLER_CACHE_DIR") {
                passed.insert(name, value);
            }
        }
        // What is found through HOME must be found without it.
        let mut derive = |name: &str, path: Option<PathBuf>| {
            if let Some(path) = path {
                passed.entry(name.into()).or_insert(path.into());
            }
        };
        let below = |folder: &str| home.as_ref().map(|home| home.join(folder));
        derive("CARGO_HOME", below(".cargo"));
        derive("RUSTUP_HOME", below(".rustup"));
        derive(
            "RATTLER_AUTH_FILE",
            below(".rattler/credentials.json").filter(|file| !is_missing(file)),
        );
        let config = if cfg!(windows) {
            configs.remove("APPDATA")
        } else if cfg!(target_os = "macos") {
            below("Library/Application Support")
        } else {
            configs
                .remove("XDG_CONFIG_HOME")
                .or_else(|| below(".config"))
        };
        derive(
            "RATTLER_HOME",
            config
                .map(|config| config.join("rattler"))
                .filter(|folder| !is_missing(&folder.join("config.toml"))),
        );
        let cache = if cfg!(windows) {
            caches.remove("LOCALAPPDATA")
        } else if cfg!(target_os = "macos") {
            below("Library/Caches")
        } else {
            caches.remove("XDG_CACHE_HOME").or_else(|| below(".cache"))
        };
        let cache = own_cache.or(cache.map(|cache| cache.join("rattler").join("cache")));
        Ok(Self {
            variables: passed,
            cache,
        })
    }

    /// The cache of the user that every rattler-based tool shares.
    pub(super) fn cache(&self) -> Option<&Path> {
        self.cache.as_deref()
    }

    /// The variables.
    pub(super) fn variables(&self) -> impl Iterator<Item = (&OsString, &OsString)> {
        self.variables.iter()
    }
}

/// Names only: a value may be a proxy's password.
impl fmt::Debug for WorkerEnvironment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.variables.keys()).finish()
    }
}

fn allowed(name: &OsStr) -> bool {
    let Some(name) = name.to_str() else {
        return false;
    };
    let same = |other: &&str| {
        if cfg!(windows) {
            other.eq_ignore_ascii_case(name)
        } else {
            **other == *name
        }
    };
    PASSED.iter().any(same)
        || PASSED_PREFIXES
            .iter()
            .any(|prefix| name.starts_with(prefix))
}

/// Whether a variable, by its name, may be one of those who identify and pay: no process that we
/// start for other ends than theirs needs it.
#[must_use]
pub fn is_credential(name: &str) -> bool {
    let upper = name.to_ascii_uppercase();
    FORBIDDEN_PREFIXES
        .iter()
        .any(|prefix| upper.starts_with(prefix))
        || upper.split('_').any(|word| FORBIDDEN_WORDS.contains(&word))
}

fn forbidden(name: &str) -> Option<&'static str> {
    let upper = name.to_ascii_uppercase();
    if name.is_empty() || name.contains(['=', '\0']) {
        Some("that is no name of a variable")
    } else if ["HOME", "USERPROFILE"].contains(&upper.as_str()) {
        Some("the worker has a home of its own")
    } else if is_credential(name) {
        Some("identities and credentials never reach a recipe")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(
        variables: &[(&str, &str)],
        pass_env: &[&str],
    ) -> Result<BTreeMap<String, String>, Error> {
        let variables = variables
            .iter()
            .map(|(name, value)| (name.into(), value.into()));
        let pass_env: Vec<_> = pass_env.iter().map(ToString::to_string).collect();
        let text = |text: OsString| text.into_string().unwrap();
        Ok(WorkerEnvironment::from_variables(variables, &pass_env)?
            .variables
            .into_iter()
            .map(|(name, value)| (text(name), text(value)))
            .collect())
    }

    #[test]
    fn only_what_is_listed_gets_through() {
        let host = [
            ("PATH", "/bin"),
            ("LC_ALL", "C"),
            ("CONDA_OVERRIDE_GLIBC", "2.17"),
            ("MINE", "1"),
            ("OTHER", "2"),
            ("GITHUB_TOKEN", "s"),
            ("SIGSTORE_ID_TOKEN", "s"),
            ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "s"),
            ("PREFIX_API_KEY", "s"),
            ("AWS_SECRET_ACCESS_KEY", "s"),
            ("GITHUB_STEP_SUMMARY", "/summary"),
            ("GITHUB_ACTIONS", "true"),
            ("CI", "true"),
        ];
        let names: Vec<_> = environment(&host, &["MINE", "UNSET"])
            .unwrap()
            .into_keys()
            .collect();
        assert_eq!(names, ["CONDA_OVERRIDE_GLIBC", "LC_ALL", "MINE", "PATH"]);
    }

    #[test]
    fn a_variable_that_identifies_or_pays_cannot_be_passed() {
        for name in [
            "SIGSTORE_ID_TOKEN",
            "ACTIONS_ID_TOKEN_REQUEST_TOKEN",
            "ACTIONS_ID_TOKEN_REQUEST_URL",
            "GITHUB_TOKEN",
            "GITHUB_REF",
            "PREFIX_API_KEY",
            "AWS_SECRET_ACCESS_KEY",
            "AWS_PROFILE",
            "ANACONDA_API_TOKEN",
            "CLOUDSMITH_API_KEY",
            "my_token",
            "CI_JOB_JWT",
            "HOME",
            "",
            "A=B",
        ] {
            let error = environment(&[], &[name]).unwrap_err();
            assert_eq!(error.code(), "forbidden_variable", "{name}");
        }
        for name in ["MONKEY", "KEYBOARD_LAYOUT", "CMAKE_GENERATOR"] {
            assert!(environment(&[], &[name]).is_ok(), "{name}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn tools_are_found_without_a_home() {
        let derived = environment(&[("HOME", "/home/me")], &[]).unwrap();
        assert_eq!(derived["CARGO_HOME"], "/home/me/.cargo");
        assert_eq!(derived["RUSTUP_HOME"], "/home/me/.rustup");
        assert!(!derived.contains_key("HOME"));
        let set = environment(&[("HOME", "/home/me"), ("CARGO_HOME", "/cargo")], &[]).unwrap();
        assert_eq!(set["CARGO_HOME"], "/cargo");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_cache_of_the_user_is_known_and_not_passed() {
        let cache = |variables: &[(&str, &str)]| {
            let variables = variables
                .iter()
                .map(|(name, value)| (name.into(), value.into()));
            let pass_env = ["RATTLER_CACHE_DIR".to_owned()];
            let found = WorkerEnvironment::from_variables(variables, &pass_env).unwrap();
            let names: Vec<_> = found.variables().map(|(name, _)| name.clone()).collect();
            assert!(!names.contains(&"RATTLER_CACHE_DIR".into()), "{names:?}");
            found.cache().map(ToOwned::to_owned)
        };
        let home = ("HOME", "/home/me");
        assert_eq!(cache(&[home]), Some("/home/me/.cache/rattler/cache".into()));
        assert_eq!(
            cache(&[home, ("RATTLER_CACHE_DIR", "/mine")]),
            Some("/mine".into())
        );
        assert_eq!(cache(&[]), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_mirrors_of_the_user_are_found_without_a_home() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join(".config/rattler");
        let text = home.path().to_str().unwrap();
        assert!(
            !environment(&[("HOME", text)], &[])
                .unwrap()
                .contains_key("RATTLER_HOME")
        );
        fs_err::create_dir_all(&folder).unwrap();
        fs_err::write(folder.join("config.toml"), "").unwrap();
        let derived = environment(&[("HOME", text)], &[]).unwrap();
        assert_eq!(derived["RATTLER_HOME"], folder.to_str().unwrap());
        assert!(!derived.contains_key("XDG_CONFIG_HOME"));
    }

    #[test]
    fn values_are_not_shown() {
        let variables = [("https_proxy".into(), "http://me:hunter2@proxy".into())];
        let environment = WorkerEnvironment::from_variables(variables, &[]).unwrap();
        assert_eq!(format!("{environment:?}"), r#"{"https_proxy"}"#);
    }
}
