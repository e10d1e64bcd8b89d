//! Files that are read again when their content changes: serving certificate, own token, client CA, configuration.
//!
//! One path for all of them: poll by content, parse and check fully, then publish; what does not parse is counted and
//! named once, and the old value stays. Never inotify: Kubernetes swaps a symlink two levels up, and watches on the
//! file itself miss that (kubernetes #111947).

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::sync::watch;
use tracing::info;
use tracing::warn;

use crate::body::BoxError;
use crate::metrics::Sheet;

/// Time between two looks. The kubelet itself takes up to a minute to bring a changed Secret to the node.
pub const POLL_EVERY: Duration = Duration::from_secs(10);

/// Time between two reminders that a first value is waited for: seen by whoever looks at a log, and no flood.
const REMIND_EVERY: Duration = Duration::from_secs(60);

type Parse<T> = dyn Fn(&[Vec<u8>]) -> Result<T, BoxError> + Send + Sync;

/// A value made from the contents of some files, as of the last time they made sense together.
pub struct Reload<T> {
    what: &'static str,
    paths: Vec<PathBuf>,
    parse: Box<Parse<T>>,
    current: ArcSwapOption<T>,
    /// What the last look saw, so that a file is parsed, and complained about, once.
    seen: Mutex<Option<Seen>>,
    problem: watch::Sender<Option<Arc<str>>>,
    published: AtomicU64,
    refused: AtomicU64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    /// A digest, so that no second copy of a key or token stays in memory.
    Contents([u8; 32]),
    Unreadable(PathBuf, io::ErrorKind),
}

/// What a look at the files came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// The files hold what they held before, good or bad.
    Unchanged,
    /// They changed and a new value is in force.
    Published,
    /// They changed, or went, and cannot be used: the old value, if any, stays.
    Refused,
}

/// What came of all looks at some files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Looks {
    /// How often a new value came into force, the first time included.
    pub published: u64,
    /// How often changed files were refused.
    pub refused: u64,
    /// Whether the files as they are now cannot be used.
    pub failing: bool,
}

impl Looks {
    /// Writes down those at each of these files.
    ///
    /// # Errors
    /// What the writer says.
    pub fn families(all: &[(&'static str, Self)], sheet: &mut Sheet<'_>) -> fmt::Result {
        let counts = all.iter().flat_map(|(what, looks)| {
            let of_file = [("ok", looks.published), ("failed", looks.refused)];
            of_file.map(|(outcome, count)| ([("what", *what), ("outcome", outcome)], count))
        });
        sheet.counter(
            "reloads",
            "Times that files were read because they had changed, the first time included",
            counts,
        )?;
        let failing = all
            .iter()
            .map(|(what, looks)| ([("what", *what)], u64::from(looks.failing)));
        sheet.gauge(
            "reload_failing",
            "Whether the files as they are now cannot be used: what was read before stays in use",
            failing,
        )
    }
}

impl<T: Send + Sync> Reload<T> {
    /// Reads `paths` once, now. `what` names the value in logs. A first look that fails is no error here:
    /// [`Self::problem`] tells, and a later look may cure it.
    pub fn open(
        what: &'static str,
        paths: Vec<PathBuf>,
        parse: impl Fn(&[Vec<u8>]) -> Result<T, BoxError> + Send + Sync + 'static,
    ) -> Self {
        let reload = Self {
            what,
            paths,
            parse: Box::new(parse),
            current: ArcSwapOption::empty(),
            seen: Mutex::new(None),
            problem: watch::Sender::new(None),
            published: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        };
        reload.look();
        reload
    }

    /// The value in force; none if the files never made sense.
    pub fn current(&self) -> Option<Arc<T>> {
        self.current.load_full()
    }

    /// Waits for the first value. Cancel-safe.
    pub async fn available(&self) -> Arc<T> {
        let mut problem = self.problem.subscribe();
        loop {
            if let Some(value) = self.current() {
                return value;
            }
            if problem.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    /// Waits for the first value, and while it does has `remind` called, at once and every minute. Cancel-safe.
    pub async fn available_or(&self, remind: impl Fn()) -> Arc<T> {
        let mut reminders = tokio::time::interval(REMIND_EVERY);
        loop {
            tokio::select! {
                // A value that is there already needs no reminder.
                biased;
                value = self.available() => return value,
                _ = reminders.tick() => remind(),
            }
        }
    }

    /// Whether one of the files was not there at the last look.
    pub fn lacks_one(&self) -> bool {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        matches!(*seen, Some(Seen::Unreadable(_, io::ErrorKind::NotFound)))
    }

    /// What is wrong with the files as they are now, whether or not an older value is still in force.
    pub fn problem(&self) -> Option<Arc<str>> {
        self.problem.borrow().clone()
    }

    /// What came of the looks so far.
    pub fn looks(&self) -> Looks {
        Looks {
            published: self.published.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
            failing: self.problem.borrow().is_some(),
        }
    }

    /// Looks every [`POLL_EVERY`], until dropped.
    pub async fn run(&self) {
        let mut ticks = tokio::time::interval(POLL_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.look();
        }
    }

    /// Looks once. Reads small files on the calling thread: a few microseconds from the page cache or tmpfs.
    pub fn look(&self) -> Look {
        let (now, contents) = match self.read() {
            Ok(contents) => (Seen::Contents(digest(&contents)), Ok(contents)),
            Err((path, error)) => (
                Seen::Unreadable(path.clone(), error.kind()),
                Err((path, error)),
            ),
        };
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.as_ref() == Some(&now) {
            return Look::Unchanged;
        }
        *seen = Some(now);
        let parsed = match contents {
            Ok(contents) => {
                (self.parse)(&contents).map_err(|cause| self.complaint(&cause.to_string()))
            }
            Err((path, error)) => {
                Err(self.complaint(&format!("cannot read {}: {error}", path.display())))
            }
        };
        match parsed {
            Ok(value) => {
                self.current.store(Some(Arc::new(value)));
                self.published.fetch_add(1, Ordering::Relaxed);
                self.problem.send_replace(None);
                info!(what = self.what, "read from its files");
                Look::Published
            }
            Err(complaint) => {
                self.refused.fetch_add(1, Ordering::Relaxed);
                let kept = self.current.load().is_some();
                warn!(what = self.what, problem = %complaint, old_one_stays = kept, "cannot use the files");
                self.problem.send_replace(Some(complaint));
                Look::Refused
            }
        }
    }

    fn read(&self) -> Result<Vec<Vec<u8>>, (PathBuf, io::Error)> {
        self.paths
            .iter()
            .map(|path| std::fs::read(path).map_err(|error| (path.clone(), error)))
            .collect()
    }

    fn complaint(&self, why: &str) -> Arc<str> {
        format!("{}: {why}", self.what).into()
    }
}

/// SHA-256 over the contents, each with its length before it, so that no two lists of files run together.
fn digest(contents: &[Vec<u8>]) -> [u8; 32] {
    let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    for content in contents {
        context.update(&(content.len() as u64).to_be_bytes());
        context.update(content);
    }
    let mut digest = [0; 32];
    digest.copy_from_slice(context.finish().as_ref());
    digest
}

impl<T> fmt::Debug for Reload<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reload")
            .field("what", &self.what)
            .field("paths", &self.paths)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory as the kubelet lays it out: the files are links through `..data`, which is swapped.
    struct Mount(tempfile::TempDir);

    impl Mount {
        fn with(generation: &str, files: &[(&str, &str)]) -> Self {
            let mount = Self(tempfile::tempdir().unwrap());
            mount.swap(generation, files);
            for (name, _) in files {
                std::os::unix::fs::symlink(format!("..data/{name}"), mount.path(name)).unwrap();
            }
            mount
        }

        fn swap(&self, generation: &str, files: &[(&str, &str)]) {
            std::fs::create_dir(self.path(generation)).unwrap();
            for (name, content) in files {
                std::fs::write(self.path(generation).join(name), content).unwrap();
            }
            std::os::unix::fs::symlink(generation, self.path("..tmp")).unwrap();
            std::fs::rename(self.path("..tmp"), self.path("..data")).unwrap();
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        /// A pair of numbers of which the second must be the first doubled.
        fn pair(&self) -> Reload<u32> {
            Reload::open("pair", vec![self.path("a"), self.path("b")], |contents| {
                let [a, b] = contents else {
                    return Err("two files".into());
                };
                let a: u32 = std::str::from_utf8(a)?.parse()?;
                let b: u32 = std::str::from_utf8(b)?.parse()?;
                if b == 2 * a {
                    Ok(a)
                } else {
                    Err("they do not match".into())
                }
            })
        }
    }

    #[test]
    fn a_swapped_link_is_seen_and_an_unchanged_one_is_not_parsed_again() {
        let mount = Mount::with("..1", &[("a", "1"), ("b", "2")]);
        let pair = mount.pair();
        assert_eq!(pair.current().as_deref(), Some(&1));
        assert_eq!(pair.look(), Look::Unchanged);
        mount.swap("..2", &[("a", "2"), ("b", "4")]);
        assert_eq!(pair.look(), Look::Published);
        assert_eq!(pair.current().as_deref(), Some(&2));
        let looks = Looks {
            published: 2,
            refused: 0,
            failing: false,
        };
        assert_eq!(pair.looks(), looks);
    }

    #[test]
    fn what_does_not_fit_together_keeps_the_old_one_and_is_named_once() {
        let mount = Mount::with("..1", &[("a", "1"), ("b", "2")]);
        let pair = mount.pair();
        mount.swap("..2", &[("a", "2"), ("b", "2")]);
        assert_eq!(pair.look(), Look::Refused);
        assert_eq!(pair.look(), Look::Unchanged);
        assert_eq!(pair.current().as_deref(), Some(&1));
        assert_eq!(pair.problem().as_deref(), Some("pair: they do not match"));
        assert!(pair.looks().failing);
        mount.swap("..3", &[("a", "1"), ("b", "2")]);
        assert_eq!(pair.look(), Look::Published);
        assert_eq!(pair.problem(), None);
        let looks = Looks {
            published: 2,
            refused: 1,
            failing: false,
        };
        assert_eq!(pair.looks(), looks);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_missing_at_the_start_is_said_every_minute_until_it_is_there() {
        let mount = Mount::with("..1", &[("a", "1")]);
        let pair = mount.pair();
        assert!(pair.lacks_one());
        let said = AtomicU64::new(0);
        let remind = || {
            said.fetch_add(1, Ordering::Relaxed);
        };
        let waited = REMIND_EVERY * 2 + POLL_EVERY;
        let (value, ()) = tokio::join!(pair.available_or(remind), async {
            tokio::time::sleep(waited).await;
            std::fs::write(mount.path("b"), "2").unwrap();
            assert_eq!(pair.look(), Look::Published);
        });
        assert_eq!((*value, pair.lacks_one()), (1, false));
        pair.available_or(remind).await;
        assert_eq!(said.into_inner(), 3);
    }

    #[tokio::test]
    async fn files_that_are_missing_at_the_start_are_waited_for() {
        let mount = Mount::with("..1", &[("a", "1")]);
        let pair = mount.pair();
        assert!(pair.problem().unwrap().starts_with("pair: cannot read"));
        let (value, ()) = tokio::join!(pair.available(), async {
            std::fs::write(mount.path("b"), "2").unwrap();
            assert_eq!(pair.look(), Look::Published);
        });
        assert_eq!(*value, 1);
    }
}
