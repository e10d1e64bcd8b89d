//! The configuration file → each module's settings.
//!
//! Unknown fields are refused, and all mistakes are reported in one run. A file with a mistake configures nothing. Nothing
//! else is read here: no flag, no environment, no other file. What becomes of a values file that was written for Capsule's
//! proxy is beside it ([`incumbent`]): it configures nothing.

pub mod authentication;
pub mod incumbent;
pub mod mistake;
mod tree;
mod walk;

use crate::authn::settings::Settings;
pub use crate::config::mistake::Mistakes;
use crate::config::walk::Item;
use crate::config::walk::Section;

/// `apiVersion` and `kind` of our own file. Both may be left out.
pub const API_VERSION: &str = "kube-tenant-proxy.io/v1alpha1";
/// See [`API_VERSION`].
pub const KIND: &str = "ProxyConfiguration";

/// What a configuration file says.
#[derive(Clone, Debug, Default)]
pub struct File {
    /// Who may prove himself, and how.
    pub authentication: Settings,
}

impl File {
    /// What the file called `name` says, whose content is `text`.
    ///
    /// An API server's own `AuthenticationConfiguration` may be given as it is; its issuers are then known to both, so
    /// requests go upstream with the user's token.
    ///
    /// # Errors
    /// [`Mistakes`]: all of them.
    pub fn parse(name: &str, text: &str) -> Result<Self, Mistakes> {
        let mut mistakes = Mistakes::new(name, text);
        let file = match tree::read(text, &mut mistakes)
            .and_then(|root| Item::root(root).section(&mut mistakes))
        {
            Some(root) => Self::read(root, &mut mistakes),
            None => Self::default(),
        };
        mistakes.or(file)
    }

    fn read(mut root: Section, mistakes: &mut Mistakes) -> Self {
        let api_version = root.take("apiVersion").and_then(|item| item.text(mistakes));
        let kind = root.take("kind").and_then(|item| item.text(mistakes));
        let pasted = match kind.as_ref().map(|kind| kind.value.as_str()) {
            None | Some(KIND) => false,
            Some("AuthenticationConfiguration") => true,
            Some(_) => {
                if let Some(kind) = &kind {
                    kind.refuse(
                        mistakes,
                        format!(
                            "must be `{KIND}` or an API server's `AuthenticationConfiguration`"
                        ),
                    );
                }
                false
            }
        };
        if let Some(version) = api_version {
            let fits = if pasted {
                version.value.starts_with("apiserver.config.k8s.io/")
            } else {
                version.value == API_VERSION
            };
            if !fits {
                let expected = if pasted {
                    "apiserver.config.k8s.io/v1"
                } else {
                    API_VERSION
                };
                version.refuse(mistakes, format!("must be `{expected}` for this kind"));
            }
        }
        let authentication = if pasted {
            authentication::pasted(&mut root, mistakes)
        } else {
            match root
                .take("authentication")
                .and_then(|item| item.section(mistakes))
            {
                Some(section) => authentication::own(section, mistakes),
                None => Settings::default(),
            }
        };
        root.finish(mistakes);
        Self { authentication }
    }
}

#[cfg(test)]
mod tests;
