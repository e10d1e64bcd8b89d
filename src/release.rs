//! Which build this is: constants of the compiler, the same in `version`, in metrics and on the command line.

use std::fmt;

use crate::metrics::Sheet;

/// The version of package, chart and image.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The git commit it was built from, where whoever built it said so (`KTP_REVISION`, as the Dockerfile does).
pub fn revision() -> Option<&'static str> {
    option_env!("KTP_REVISION").filter(|revision| !["", "unknown"].contains(revision))
}

/// Cargo features that are on.
pub const FEATURES: &[&str] = if cfg!(feature = "demo") {
    &["demo"]
} else {
    &[]
};

/// What it runs on, as kubectl writes it: `linux/amd64`.
pub fn platform() -> String {
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    format!("{}/{arch}", std::env::consts::OS)
}

/// Writes it down.
///
/// # Errors
/// What the writer says.
pub fn families(sheet: &mut Sheet<'_>) -> fmt::Result {
    let labels = [
        ("version", VERSION),
        ("revision", revision().unwrap_or("unknown")),
    ];
    sheet.info("build", "Which build runs", labels)
}
