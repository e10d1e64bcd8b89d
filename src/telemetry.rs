//! The log: structured lines on stderr, at a level that can be said in the incumbent's words.

use std::str::FromStr;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

/// How much is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// What someone must act on.
    Error,
    /// And one line per request.
    Info,
    /// And what led there.
    Debug,
    /// Everything.
    Trace,
}

/// How a line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// An object per line.
    Json,
    /// Text.
    Console,
}

impl FromStr for Level {
    type Err = String;

    /// `error`, `info`, `debug`, or zap's numbers, of which Capsule's chart passes 4 by default.
    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.parse::<u8>()) {
            ("error", _) => Ok(Self::Error),
            ("info", _) | (_, Ok(0..=4)) => Ok(Self::Info),
            ("debug", _) | (_, Ok(5..=9)) => Ok(Self::Debug),
            (_, Ok(10)) => Ok(Self::Trace),
            _ => Err(format!(
                "`{text}` is not error, info, debug or a number from 1 to 10"
            )),
        }
    }
}

/// Starts logging for the process. A second call changes nothing.
pub fn start(level: Level, format: Format) {
    let directives = match level {
        Level::Error => "error",
        // The libraries' info lines are about connections; ours are one per request.
        Level::Info => "warn,kube_tenant_proxy=info,access=info",
        Level::Debug => "info,kube_tenant_proxy=debug,access=info",
        Level::Trace => "debug,kube_tenant_proxy=trace,access=info",
    };
    let lines = fmt()
        .with_env_filter(EnvFilter::new(directives))
        .with_writer(std::io::stderr);
    let started = match format {
        Format::Json => lines.json().flatten_event(true).try_init(),
        Format::Console => lines.with_ansi(false).try_init(),
    };
    if started.is_err() {
        tracing::debug!("logging was started before");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_zaps() {
        for (text, level) in [
            ("4", Level::Info),
            ("info", Level::Info),
            ("5", Level::Debug),
            ("10", Level::Trace),
        ] {
            assert_eq!(text.parse(), Ok(level), "{text}");
        }
        assert!("11".parse::<Level>().is_err());
    }
}
