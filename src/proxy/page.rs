//! Page tokens of lists that are put together: where the next page begins, bound to whom, what and when, and opaque.
//!
//! Tokens of one process: another replica's is an expired page, as the API server's own are after a compaction.

use std::fmt;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::Serialize;

use crate::identity::IdentityKey;
use crate::k8s::list_options::ListOptions;
use crate::k8s::names::Namespace;
use crate::k8s::request::ResourceRequest;
use crate::policy::From;
use crate::tenancy::scope::Generation;

const KEY_ID: usize = 4;
const MAC: usize = 16;

/// Seals and opens page tokens.
pub struct Pages {
    id: [u8; KEY_ID],
    key: hmac::Key,
}

/// Where a page begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cursor {
    /// Under which scope the first page was made.
    pub(super) generation: Generation,
    /// The state all pages show; `None` behind an inconsistent token: what is there now.
    pub(super) version: Option<String>,
    /// The leg it begins in.
    pub(super) namespace: Namespace,
    /// The API server's own token within that leg; `None`: at its beginning.
    pub(super) native: Option<String>,
}

impl Cursor {
    /// Where the leg in `namespace` begins that is the first of this page.
    pub(super) fn from(&self, namespace: &Namespace) -> From {
        match (&self.native, &self.version) {
            (Some(native), _) if self.namespace == *namespace => From::Page(native.clone()),
            (_, Some(version)) => From::Exactly(version.clone()),
            (_, None) => From::Now,
        }
    }
}

/// Why a token leads nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadPage {
    /// It was not made by this process.
    Foreign,
    /// It was not made like this, or for somebody or something else.
    Forged,
}

/// As it stands in the token.
#[derive(Serialize, Deserialize)]
struct Payload<'a> {
    g: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    v: Option<String>,
    n: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    c: Option<String>,
}

/// Whose list of what a token belongs to.
pub(super) struct Binding(Vec<u8>);

impl Binding {
    /// A list by `who`. Everything counts that decides which objects it has.
    pub(super) fn of(who: &IdentityKey, list: &ResourceRequest, options: &ListOptions) -> Self {
        let what = format!(
            "{}\n{}\n{}\n{}",
            list.resource,
            list.version,
            options.label_selector.print(),
            options.field_selector.print()
        );
        Self([who.as_bytes(), what.as_bytes()].concat())
    }
}

impl Pages {
    /// With a key of its own. `None`: the system gives no randomness.
    pub fn new() -> Option<Self> {
        let mut random = [0; KEY_ID + 32];
        aws_lc_rs::rand::fill(&mut random).ok()?;
        let (id, key) = random.split_first_chunk()?;
        Some(Self {
            id: *id,
            key: hmac::Key::new(hmac::HMAC_SHA256, key),
        })
    }

    /// The token that leads to `cursor`.
    pub(super) fn seal(&self, cursor: &Cursor, binding: &Binding) -> String {
        let payload = Payload {
            g: cursor.generation.0,
            v: cursor.version.clone(),
            n: cursor.namespace.as_str(),
            c: cursor.native.clone(),
        };
        let payload = serde_json::to_vec(&payload).unwrap_or_default();
        let mac = hmac::sign(&self.key, &signed(&payload, binding));
        let mac = mac.as_ref().get(..MAC).unwrap_or_default();
        URL_SAFE_NO_PAD.encode([&self.id, mac, &payload].concat())
    }

    /// Where `token` leads.
    ///
    /// # Errors
    /// [`BadPage`].
    pub(super) fn open(&self, token: &str, binding: &Binding) -> Result<Cursor, BadPage> {
        let bytes = URL_SAFE_NO_PAD
            .decode(token)
            .map_err(|_not_base64| BadPage::Forged)?;
        let (id, rest) = bytes.split_first_chunk::<KEY_ID>().ok_or(BadPage::Forged)?;
        let (mac, payload) = rest.split_first_chunk::<MAC>().ok_or(BadPage::Forged)?;
        let read: Payload<'_> =
            serde_json::from_slice(payload).map_err(|_not_ours| BadPage::Forged)?;
        if *id != self.id {
            return Err(BadPage::Foreign);
        }
        let right = hmac::sign(&self.key, &signed(payload, binding));
        let right = right.as_ref().get(..MAC).unwrap_or_default();
        if aws_lc_rs::constant_time::verify_slices_are_equal(mac, right).is_err() {
            return Err(BadPage::Forged);
        }
        Ok(Cursor {
            generation: Generation(read.g),
            version: read.v,
            namespace: Namespace::parse(read.n).map_err(|_odd| BadPage::Forged)?,
            native: read.c,
        })
    }
}

fn signed(payload: &[u8], binding: &Binding) -> Vec<u8> {
    let length = (binding.0.len() as u64).to_be_bytes();
    [&length, binding.0.as_slice(), payload].concat()
}

impl fmt::Debug for Pages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pages")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cursor() -> Cursor {
        Cursor {
            generation: Generation(7),
            version: Some("1234".to_owned()),
            namespace: Namespace::parse("oil-dev").unwrap(),
            native: Some("bmF0aXZl".to_owned()),
        }
    }

    #[test]
    fn a_token_leads_back_for_its_owner_and_its_list_only() {
        let pages = Pages::new().unwrap();
        let (his, theirs) = (
            Binding(b"alice pods".to_vec()),
            Binding(b"bob pods".to_vec()),
        );
        let token = pages.seal(&cursor(), &his);
        assert_eq!(pages.open(&token, &his), Ok(cursor()));
        assert_eq!(pages.open(&token, &theirs), Err(BadPage::Forged));
        let another = Pages::new().unwrap();
        assert_eq!(another.open(&token, &his), Err(BadPage::Foreign));
        let start = Cursor {
            version: None,
            native: None,
            ..cursor()
        };
        assert_eq!(
            pages.open(&pages.seal(&start, &his), &his),
            Ok(start.clone())
        );
        // Within its namespace a page goes on by the native token, in others at the version of the first page.
        let (its, next) = (&cursor().namespace, Namespace::parse("oil-prod").unwrap());
        assert_eq!(cursor().from(its), From::Page("bmF0aXZl".to_owned()));
        assert_eq!(cursor().from(&next), From::Exactly("1234".to_owned()));
        assert_eq!(start.from(its), From::Now);
    }

    #[test]
    fn no_changed_byte_gets_through() {
        let pages = Pages::new().unwrap();
        let his = Binding(b"alice pods".to_vec());
        let token = URL_SAFE_NO_PAD.decode(pages.seal(&cursor(), &his)).unwrap();
        for at in 0..token.len() {
            let mut changed = token.clone();
            changed[at] ^= 1;
            let changed = URL_SAFE_NO_PAD.encode(changed);
            assert!(pages.open(&changed, &his).is_err(), "{at}");
        }
        for odd in [
            "",
            "!",
            "AAAA",
            "eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MSwic3RhcnQiOiJ4In0",
        ] {
            assert_eq!(pages.open(odd, &his), Err(BadPage::Forged), "{odd}");
        }
    }
}
