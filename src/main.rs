//! Arguments, crypto providers, runtime, exit code. No logic.

use std::process::ExitCode;

fn main() -> ExitCode {
    kube_tenant_proxy::install_crypto();
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(_no_threads) => return ExitCode::FAILURE,
    };
    runtime.block_on(kube_tenant_proxy::cli::run(std::env::args_os().collect()))
}
