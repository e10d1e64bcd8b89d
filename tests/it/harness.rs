//! What the tests stand on: the two worlds, the proxy in front of them, clients, and waiting with a deadline.

pub mod audit;
pub mod bed;
pub mod chart;
pub mod clock;
pub mod http;
pub mod kubectl;
pub mod metrics;
pub mod people;
pub mod proxy;
pub mod relay;
pub mod websocket;
pub mod world;

use std::future::Future;
use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::time::Instant;

/// How long something that must happen may take on a busy machine: no measure of how fast it should.
pub const DEADLINE: Duration = Duration::from_secs(90);
/// How long a whole test may take.
pub const TEST: Duration = Duration::from_secs(420);

/// One for all tests: the worlds and the proxies in front of them outlive the test that started them.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    kube_tenant_proxy::install_crypto();
    if std::env::var_os("RUST_LOG").is_some() {
        tracing_subscriber::fmt()
            .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
            .with_writer(std::io::stderr)
            .init();
    }
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
});

/// Runs one test.
pub fn run(test: impl Future<Output = ()>) {
    run_for(TEST, test);
}

/// Runs one that may take so long.
pub fn run_for(longest: Duration, test: impl Future<Output = ()>) {
    RUNTIME.block_on(async {
        tokio::time::timeout(longest, test)
            .await
            .expect("the test took too long");
    });
}

/// Runs one on a world that is disturbed, once it is its turn.
pub fn run_disturbed<F: Future<Output = ()>>(
    longest: Duration,
    test: impl FnOnce(&'static world::World) -> F,
) {
    RUNTIME.block_on(async {
        let (world, _turn) = world::World::disturbed().await;
        tokio::time::timeout(longest, test(world))
            .await
            .expect("the test took too long");
    });
}

/// Makes `real::name` and `demo::name` of each `async fn name(world: &'static World)`.
macro_rules! in_both_worlds {
    ($($name:ident),+ $(,)?) => {
        mod real {
            $(#[test]
            fn $name() {
                $crate::harness::run(async { super::$name($crate::harness::world::World::real().await).await });
            })+
        }
        mod demo {
            $(#[test]
            fn $name() {
                $crate::harness::run(async { super::$name($crate::harness::world::World::demo().await).await });
            })+
        }
    };
}

/// Makes `real_only::name`, for what the embedded API server does not serve.
#[allow(unused_macros, reason = "not every file has such a test")]
macro_rules! in_the_real_world {
    ($($name:ident),+ $(,)?) => {
        mod real_only {
            $(#[test]
            fn $name() {
                $crate::harness::run(async { super::$name($crate::harness::world::World::real().await).await });
            })+
        }
    };
}

/// Makes `azure::name`, for what only a managed Azure cluster does.
macro_rules! in_the_azure_world {
    ($($name:ident),+ $(,)?) => {
        mod azure {
            $(#[test]
            fn $name() {
                $crate::harness::run(async { super::$name($crate::harness::world::World::azure().await).await });
            })+
        }
    };
}

/// Tries until `attempt` gives something, for at most [`DEADLINE`].
pub async fn eventually<T, F: Future<Output = Result<T, String>>>(attempt: impl FnMut() -> F) -> T {
    within(DEADLINE, attempt).await
}

/// Tries until `attempt` gives something, for at most `deadline`.
pub async fn within<T, F: Future<Output = Result<T, String>>>(
    deadline: Duration,
    mut attempt: impl FnMut() -> F,
) -> T {
    let until = Instant::now() + deadline;
    loop {
        match attempt().await {
            Ok(value) => return value,
            Err(why) => assert!(Instant::now() < until, "not within {deadline:?}: {why}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The path that one of the repository's tool scripts prints.
pub fn tool(script: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(script);
    output(&mut Command::new(path)).trim().to_owned()
}

/// What a command prints; it must succeed.
pub fn output(command: &mut Command) -> String {
    let done = command
        .output()
        .unwrap_or_else(|why| panic!("{command:?}: {why}"));
    let errors = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{command:?} failed: {errors}");
    String::from_utf8(done.stdout).unwrap()
}
