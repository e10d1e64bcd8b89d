//! The API server as the proxy itself reaches it: address, CA and the proxy's own token, from a kubeconfig or from the
//! pod it runs in.

use std::path::Path;
use std::path::PathBuf;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use kube::config::KubeConfigOptions;
use kube::config::Kubeconfig;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use crate::upstream::OwnToken;
use crate::upstream::Target;

/// The API server, and who the proxy is there.
pub struct Cluster {
    /// For the proxy's own calls.
    pub config: kube::Config,
    /// For clients' requests.
    pub target: Target,
    /// The service account's token.
    pub own_token: OwnToken,
}

/// Why the API server cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// The file is missing or no kubeconfig.
    #[error("cannot read the kubeconfig {path}")]
    Kubeconfig {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        cause: kube::config::KubeconfigError,
    },
    /// Neither a kubeconfig nor a pod.
    #[error("not in a pod, and no kubeconfig is given: pass --kubeconfig FILE")]
    NotInCluster(#[source] kube::config::InClusterError),
    /// A client certificate would authenticate every user's request as the proxy, whatever token it carries.
    #[error(
        "the kubeconfig's user has a client certificate; the proxy needs a service account's token"
    )]
    ClientCertificate,
    /// Neither `token` nor `tokenFile`.
    #[error(
        "the kubeconfig's user has neither token nor tokenFile; the proxy needs a service account's token"
    )]
    NoToken,
    /// The token cannot stand in a header.
    #[error("the kubeconfig's token cannot be used")]
    Token(#[source] crate::upstream::NotAToken),
    /// The API server would not be verified.
    #[error(
        "the kubeconfig switches off the verification of the API server; give its certificate-authority instead"
    )]
    Insecure,
    /// No CA.
    #[error("the kubeconfig names no certificate-authority for the API server")]
    NoCa,
    /// The CA file cannot be read.
    #[error("cannot read the API server's CA {path}")]
    Ca {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
    /// Address or CA cannot be used.
    #[error("the API server's address or CA cannot be used")]
    Target(#[source] crate::upstream::BadTarget),
}

impl Cluster {
    /// What `kubeconfig` says, or what a pod is told if none is given.
    ///
    /// # Errors
    /// [`ClusterError`], each with its cure.
    pub async fn load(kubeconfig: Option<&Path>) -> Result<Self, ClusterError> {
        let config = match kubeconfig {
            None => kube::Config::incluster().map_err(ClusterError::NotInCluster)?,
            Some(path) => read_kubeconfig(path).await?,
        };
        Self::new(config)
    }

    /// The API server at `url`, verified against the PEM certificates of `ca`, with `token`.
    ///
    /// # Errors
    /// [`ClusterError`] if one of them cannot be used.
    pub fn of(url: &str, ca: &str, token: &str) -> Result<Self, ClusterError> {
        let url = url
            .parse()
            .map_err(|_not_a_url| ClusterError::Target(crate::upstream::BadTarget::Address))?;
        let mut config = kube::Config::new(url);
        let certificates: Result<Vec<_>, _> =
            CertificateDer::pem_slice_iter(ca.as_bytes()).collect();
        let certificates = certificates
            .map_err(|cause| ClusterError::Target(crate::upstream::BadTarget::NotPem(cause)))?;
        config.root_cert = Some(certificates.iter().map(|der| der.to_vec()).collect());
        config.auth_info.token = Some(token.to_owned().into());
        Self::new(config)
    }

    fn new(config: kube::Config) -> Result<Self, ClusterError> {
        let user = &config.auth_info;
        if user.client_certificate.is_some() || user.client_certificate_data.is_some() {
            return Err(ClusterError::ClientCertificate);
        }
        if config.accept_invalid_certs {
            return Err(ClusterError::Insecure);
        }
        let own_token = match (&user.token, &user.token_file) {
            (Some(token), _) => OwnToken::fixed(secrecy::ExposeSecret::expose_secret(token))
                .map_err(ClusterError::Token)?,
            (None, Some(path)) => OwnToken::from_file(path.into()),
            (None, None) => return Err(ClusterError::NoToken),
        };
        let target =
            Target::new(&config.cluster_url, &ca(&config)?).map_err(ClusterError::Target)?;
        Ok(Self {
            config,
            target,
            own_token,
        })
    }
}

async fn read_kubeconfig(path: &Path) -> Result<kube::Config, ClusterError> {
    let failed = |cause| ClusterError::Kubeconfig {
        path: path.to_owned(),
        cause,
    };
    let file = Kubeconfig::read_from(path).map_err(failed)?;
    kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
        .await
        .map_err(failed)
}

/// The API server's CA as PEM.
fn ca(config: &kube::Config) -> Result<Vec<u8>, ClusterError> {
    if let Some(path) = &config.root_cert_file {
        return std::fs::read(path).map_err(|cause| ClusterError::Ca {
            path: path.clone(),
            cause,
        });
    }
    let certificates = config.root_cert.as_ref().ok_or(ClusterError::NoCa)?;
    let pem = certificates.iter().map(|der| {
        let text = BASE64_STANDARD.encode(der);
        format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
    });
    Ok(pem.collect::<String>().into_bytes())
}
