//! What a thread does while it has to wait for bytes that are far away.
//!
//! Threads that answer requests must not all stand still because some of what they were asked for
//! is on its way over a network. Whoever runs such threads [installs](install) a [`Relief`] on each;
//! code deep below says [`wait`] around what may take long, and the relief sees to it that another
//! thread takes over meanwhile. Threads without one just wait.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::sync::Arc;

/// Told when a thread begins and ends to wait.
pub trait Relief: fmt::Debug {
    /// The calling thread is about to wait: another should do its work.
    fn leave(&self);

    /// The calling thread goes on.
    fn come_back(&self);
}

thread_local! {
    /// Set while the calling thread must not have anything fetched.
    static FORBIDDEN: Cell<bool> = const { Cell::new(false) };
    /// Times that the calling thread had something fetched.
    static FETCHES: Cell<u64> = const { Cell::new(0) };
    static RELIEF: RefCell<Option<Arc<dyn Relief>>> = const { RefCell::new(None) };
    /// Waits within a wait are part of it.
    static WAITING: Cell<bool> = const { Cell::new(false) };
}

/// Has `relief` told whenever the calling thread waits, from now on.
pub fn install(relief: Arc<dyn Relief>) {
    RELIEF.set(Some(relief));
}

/// Runs `work`, in which nothing may be fetched: guesses about what is near cost no network.
pub fn forbid<T>(work: impl FnOnce() -> T) -> T {
    let before = FORBIDDEN.replace(true);
    let result = work();
    FORBIDDEN.set(before);
    result
}

/// Says that the calling thread is about to have something fetched: `false` when it must not.
pub fn may_fetch() -> bool {
    let may = !FORBIDDEN.get();
    FETCHES.set(FETCHES.get() + u64::from(may));
    may
}

/// How often the calling thread has had something fetched so far.
pub fn fetches() -> u64 {
    FETCHES.get()
}

/// Runs `work`, which may take as long as a network does.
pub fn wait<T>(work: impl FnOnce() -> T) -> T {
    let relief = RELIEF.with_borrow(Clone::clone);
    match relief {
        Some(relief) if !WAITING.get() => {
            // Dropped on a panic as well: the thread counts as back.
            let _away = Away::leave(relief);
            work()
        }
        _ => work(),
    }
}

/// The time between leaving and coming back.
struct Away(Arc<dyn Relief>);

impl Away {
    fn leave(relief: Arc<dyn Relief>) -> Self {
        relief.leave();
        WAITING.set(true);
        Self(relief)
    }
}

impl Drop for Away {
    fn drop(&mut self) {
        WAITING.set(false);
        self.0.come_back();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicI32, Ordering};

    #[derive(Debug, Default)]
    struct Count {
        away: AtomicI32,
        left: AtomicI32,
    }

    impl Relief for Count {
        fn leave(&self) {
            self.away.fetch_add(1, Ordering::Relaxed);
            self.left.fetch_add(1, Ordering::Relaxed);
        }

        fn come_back(&self) {
            self.away.fetch_sub(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn guesses_fetch_nothing() {
        let before = fetches();
        assert!(!forbid(may_fetch));
        assert_eq!(fetches(), before);
        assert!(may_fetch());
        assert_eq!(fetches(), before + 1);
    }

    #[test]
    fn told_once_for_nested_waits_and_after_a_panic() {
        let count = Arc::new(Count::default());
        let told = Arc::clone(&count);
        std::thread::spawn(move || {
            assert_eq!(wait(|| 1), 1);
            install(Arc::clone(&told) as Arc<dyn Relief>);
            let away = wait(|| wait(|| told.away.load(Ordering::Relaxed)));
            assert_eq!(away, 1);
            let panicked = std::panic::catch_unwind(|| wait(|| panic!("on purpose")));
            assert!(panicked.is_err());
            assert_eq!(wait(|| 2), 2);
        })
        .join()
        .unwrap();
        assert_eq!(count.away.load(Ordering::Relaxed), 0);
        assert_eq!(count.left.load(Ordering::Relaxed), 3);
    }
}
