//! The command line: `serve` and `demo`, with the flags of Capsule's proxy under their names. stdout is the result,
//! stderr the story; an error is one line of cause and, where there is one, a line of cure.

#[cfg(feature = "demo")]
mod demo;
mod gates;
mod serve;
mod signals;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;
use clap::Subcommand;

/// What the program is called with.
#[derive(Debug, Parser)]
#[command(name = "kube-tenant-proxy", version, about, long_about = None, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the proxy in front of a cluster's API server (what happens without a command, too)
    Serve(Box<serve::Arguments>),
    /// Try it without a cluster: an embedded API server, the proxy, and three people's kubeconfigs
    #[cfg(feature = "demo")]
    Demo(crate::demo::DemoArgs),
    /// Print the version
    Version,
}

/// Runs the program to its end.
pub async fn run(arguments: Vec<OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(with_default_command(arguments)) {
        Ok(arguments) => arguments,
        Err(error) => {
            let code = u8::try_from(error.exit_code()).unwrap_or(2);
            // Nothing is left to do if the terminal is gone.
            let _closed = error.print();
            return ExitCode::from(code);
        }
    };
    let done = match arguments.command {
        Command::Serve(arguments) => serve::run(*arguments).await,
        #[cfg(feature = "demo")]
        Command::Demo(arguments) => demo::run(arguments).await,
        Command::Version => say(&format!(
            "kube-tenant-proxy {}\n",
            env!("CARGO_PKG_VERSION")
        )),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

/// An argument list of the incumbent has no command: it begins with a flag, and means `serve`.
fn with_default_command(mut arguments: Vec<OsString>) -> Vec<OsString> {
    let first = arguments.get(1).and_then(|first| first.to_str());
    let for_us = ["-h", "--help", "-V", "--version"];
    if arguments.len() == 1
        || first.is_some_and(|first| first.starts_with('-') && !for_us.contains(&first))
    {
        arguments.insert(1, "serve".into());
    }
    arguments
}

/// Prints a result. A closed pipe is success.
pub(crate) fn say(text: &str) -> anyhow::Result<()> {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// The chain of causes, once, on one line.
fn complain(error: &anyhow::Error) {
    use std::io::Write;
    let chain: Vec<String> = error.chain().map(ToString::to_string).collect();
    // Nothing is left to do if stderr is gone.
    let _closed = writeln!(std::io::stderr(), "error: {}", chain.join(": "));
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_list_of_flags_means_serve() {
        let with = |arguments: &[&str]| {
            with_default_command(arguments.iter().map(OsString::from).collect())
        };
        assert_eq!(with(&["x"]), ["x", "serve"]);
        assert_eq!(
            with(&["x", "--listening-port=1"]),
            ["x", "serve", "--listening-port=1"]
        );
        assert_eq!(with(&["x", "--help"]), ["x", "--help"]);
        assert_eq!(with(&["x", "demo"]), ["x", "demo"]);
    }
}
