//! The Secret that the serving certificate comes from, and the one sentence that is said while a file of it is missing. It
//! reads no Secret: the kubelet brings the files.

use std::ffi::OsStr;
use std::fmt;
use std::path::Path;
use std::str::FromStr;

use crate::listen::TlsFiles;

/// Where a Secret is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretName {
    namespace: String,
    name: String,
}

impl FromStr for SecretName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('/') {
            Some((namespace, name)) if is_name(namespace) && is_name(name) => Ok(Self {
                namespace: namespace.to_owned(),
                name: name.to_owned(),
            }),
            Some(_) | None => Err(format!("`{text}` is not NAMESPACE/NAME")),
        }
    }
}

/// Whether Kubernetes would take it for a Secret's name, roughly: what is printed is pasted into a shell.
fn is_name(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
    text.bytes().all(is_allowed)
        && text
            .bytes()
            .next()
            .is_some_and(|first| first.is_ascii_alphanumeric())
}

/// The Secret and the keys that it must have, which are the names of the files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateSecret {
    secret: SecretName,
    certificate: String,
    key: String,
}

impl CertificateSecret {
    /// The one that brings these files.
    pub fn of(secret: SecretName, files: &TlsFiles) -> Self {
        let name = |path: &Path| {
            let name = path.file_name().map(OsStr::to_string_lossy);
            name.unwrap_or_default().into_owned()
        };
        Self {
            secret,
            certificate: name(&files.certificate),
            key: name(&files.key),
        }
    }
}

/// Which Secret must be there, and the command that makes it.
impl fmt::Display for CertificateSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            secret: SecretName { namespace, name },
            certificate,
            key,
        } = self;
        write!(
            f,
            "the Secret {name} in the namespace {namespace} must hold {certificate} and {key}; \
             unless cert-manager makes it, this does: kubectl -n {namespace} create secret "
        )?;
        // `create secret tls` knows no other keys.
        if (certificate.as_str(), key.as_str()) == ("tls.crt", "tls.key") {
            write!(f, "tls {name} --cert=tls.crt --key=tls.key")
        } else {
            write!(
                f,
                "generic {name} --from-file={certificate} --from-file={key}"
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(certificate: &str, key: &str) -> String {
        let files = TlsFiles {
            certificate: Path::new("/opt/capsule-proxy").join(certificate),
            key: Path::new("/opt/capsule-proxy").join(key),
        };
        let secret = "capsule-system/capsule-proxy".parse().unwrap();
        CertificateSecret::of(secret, &files).to_string()
    }

    #[test]
    fn a_missing_secret_is_named_with_the_command_that_makes_it() {
        assert_eq!(
            said("tls.crt", "tls.key"),
            "the Secret capsule-proxy in the namespace capsule-system must hold tls.crt and tls.key; unless cert-manager \
             makes it, this does: kubectl -n capsule-system create secret tls capsule-proxy --cert=tls.crt --key=tls.key"
        );
    }

    #[test]
    fn other_keys_need_another_command() {
        let said = said("cert.pem", "key.pem");
        assert!(
            said.ends_with(
                "create secret generic capsule-proxy --from-file=cert.pem --from-file=key.pem"
            ),
            "{said}"
        );
    }

    #[test]
    fn what_names_no_secret_is_refused() {
        for text in [
            "capsule-proxy",
            "/a",
            "a/",
            "a/b/c",
            "a/b;c",
            "-a/b",
            "$(X)/b",
        ] {
            assert!(text.parse::<SecretName>().is_err(), "{text}");
        }
    }
}
