//! The command line: `serve`, with the flags of Capsule's proxy under their names, and what people need around it. stdout is
//! the result, stderr the story; an error is one line of cause and, where there is one, a line of cure.

mod check;
#[cfg(feature = "demo")]
mod demo;
mod gates;
mod generated;
mod kubeconfig;
mod probe;
mod serve;
mod signals;
mod version;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::CommandFactory;
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
    /// Look for mistakes in a configuration file, or at what changes when moving from Capsule's proxy
    Check(check::Arguments),
    /// Write the kubeconfig that users need, anew or from one they have
    Kubeconfig(Box<kubeconfig::Arguments>),
    /// Ask whether a proxy answers and is ready
    Probe(probe::Arguments),
    /// Print the version
    Version(version::Arguments),
    /// Print the script that completes commands in a shell
    Completion(generated::Completion),
    /// Print a manual page, in roff
    Man(generated::Manual),
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
        Command::Serve(arguments) => serve::run(*arguments).await.map(|()| ExitCode::SUCCESS),
        #[cfg(feature = "demo")]
        Command::Demo(arguments) => demo::run(arguments).await.map(|()| ExitCode::SUCCESS),
        Command::Check(arguments) => check::run(&arguments).and_then(|found| {
            let code = ExitCode::from(u8::from(found.bad));
            say(found.text.as_bytes()).map(|()| code)
        }),
        Command::Kubeconfig(arguments) => printed(kubeconfig::run(*arguments)),
        Command::Probe(arguments) => printed(probe::run(arguments).await),
        Command::Version(arguments) => printed(version::print(&arguments)),
        Command::Completion(arguments) => {
            printed(Ok(generated::completion(Arguments::command(), &arguments)))
        }
        Command::Man(arguments) => printed(generated::manual(Arguments::command(), &arguments)),
    };
    match done {
        Ok(code) => code,
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

/// Success, once a result is printed.
fn printed(result: anyhow::Result<impl AsRef<[u8]>>) -> anyhow::Result<ExitCode> {
    say(result?.as_ref()).map(|()| ExitCode::SUCCESS)
}

/// Prints a result. A closed pipe is success.
fn say(text: &[u8]) -> anyhow::Result<()> {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    match out.write_all(text).and_then(|()| out.flush()) {
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

    #[test]
    fn the_definition_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_flag_of_serve_may_be_given_again() {
        let again = ["x", "serve", "--listening-port=1", "--listening-port=2"];
        assert!(Arguments::try_parse_from(again).is_ok());
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
