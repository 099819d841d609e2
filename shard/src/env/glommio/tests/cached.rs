//! Files through the page cache: what is written is there, by whichever way it went.

use std::os::unix::fs::FileExt as _;

use super::super::cached::{
    COPY_BYTES_MAX, CachedFile, FRESH, LOOK_INTERVAL, Mapping, dirty_bytes,
};
use super::*;

const GRAIN: usize = 64;

/// A file of zeros, its space taken, and its bytes as they are to be.
struct Written {
    file: CachedFile,
    looked_at: std::fs::File,
    expected: Vec<u8>,
    end: usize,
}

impl Written {
    fn new(path: &Path, bytes: usize, mapped: bool) -> Self {
        std::fs::write(path, vec![0; bytes]).unwrap();
        let file = std::fs::File::options().read(true).write(true).open(path).unwrap();
        let mapping = Mapping::new(&file).unwrap().filter(|_| mapped);
        let looked_at = std::fs::File::open(path).unwrap();
        Self {
            file: CachedFile::new(file.into(), mapping),
            looked_at,
            expected: vec![0; bytes],
            end: 0,
        }
    }

    /// Writes `len` bytes behind what was written; says whether they were copied.
    async fn write(&mut self, env: &GlommioEnv, len: usize) -> bool {
        let buf = pattern(GRAIN + len, (self.end / GRAIN) as u8 | 1);
        self.expected[self.end..self.end + len].copy_from_slice(&buf[GRAIN..]);
        let ready_upto = self.file.ready_upto();
        let mut write = std::pin::pin!(self.file.write(env, buf, GRAIN, len, self.end as u64));
        // The ring answers later, a copy at once.
        let first_look = poll_fn(|context| Poll::Ready(write.as_mut().poll(context))).await;
        let (is_copied, (written, _)) = match first_look {
            Poll::Ready(done) => (true, done),
            Poll::Pending => (false, write.await),
        };
        assert_eq!(written.unwrap(), len);
        self.end += len;
        assert!(
            !is_copied || self.end as u64 <= ready_upto,
            "into pages that nobody has made writable"
        );
        is_copied
    }

    fn check(&self) {
        let mut found = vec![0; self.expected.len()];
        self.looked_at.read_exact_at(&mut found, 0).unwrap();
        assert!(found == self.expected);
    }

    async fn close(self, env: &GlommioEnv) {
        GlommioFile::cached(env.clone(), self.file).close().await.unwrap();
    }
}

fn is_mapped(path: &Path) -> bool {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    maps.contains(path.to_str().unwrap())
}

#[test]
fn small_writes_become_copies_and_all_of_them_arrive() {
    let dir = directory();
    let path = dir.path().canonicalize().unwrap().join("a");
    on_core(|env, mut driver| async move {
        let work = async {
            let mut written = Written::new(&path, 8 << 20, true);
            assert!(is_mapped(&path));
            assert!(!written.write(&env, GRAIN).await, "nothing is ready yet");
            let (mut copies, mut others) = (0, 0);
            for round in 0.. {
                let len = match round % 50 {
                    // Faster than any thread makes pages writable: nothing is awaited between two copies.
                    _ if (20..40).contains(&round) => 100 << 10,
                    // Too long to be copied between two passes.
                    49 => COPY_BYTES_MAX + GRAIN,
                    _ => GRAIN * (1 + round % 37),
                };
                if written.end + len > written.expected.len() {
                    break;
                }
                if written.write(&env, len).await {
                    assert!(len <= COPY_BYTES_MAX);
                    copies += 1;
                } else {
                    others += 1;
                }
                if round % 100 == 0 {
                    written.check();
                    let upto = crate::env::align_down(written.end as u64);
                    if upto > 0 {
                        env.ring().fdatasync_to(&written.file.fd, upto).await.unwrap();
                    }
                    env.sleep(Duration::from_millis(2)).await;
                }
            }
            // To the last byte of the file.
            written.write(&env, written.expected.len() - written.end).await;
            written.check();
            assert!(copies > others && others > 20, "{copies} copies, {others} by the ring");
            written.close(&env).await;
            assert!(!is_mapped(&path));
        };
        driver.run(work).await.unwrap();
    });
}

/// Writes until one is a copy.
async fn until_copied(env: &GlommioEnv, written: &mut Written) {
    for _ in 0..1000 {
        if written.write(env, GRAIN).await {
            return;
        }
        env.sleep(Duration::from_millis(1)).await;
    }
    panic!("no write was a copy");
}

/// Runs a test on a mapped file in `dir`, which must hold in the end what was written.
fn on_mapped(
    dir: &tempfile::TempDir,
    test: impl AsyncFnOnce(&GlommioEnv, &mut Written) + Send + 'static,
) {
    let path = dir.path().join("a");
    on_core(|env, mut driver| async move {
        let work = async {
            let mut written = Written::new(&path, 4 << 20, true);
            test(&env, &mut written).await;
            written.check();
            written.close(&env).await;
        };
        driver.run(work).await.unwrap();
    });
}

/// Pages that were made writable long ago may have been written back since: a store would ask the file system.
#[test]
fn pages_that_are_not_fresh_are_not_written_to() {
    on_mapped(&directory(), async |env, written| {
        until_copied(env, written).await;
        env.sleep(FRESH + Duration::from_millis(10)).await;
        assert!(!written.write(env, GRAIN).await);
        until_copied(env, written).await;
    });
}

/// The kernel may write pages back long before their time: when much is dirty, or at somebody's `sync`.
#[test]
fn pages_that_were_written_back_early_are_not_written_to() {
    on_mapped(&directory(), async |env, written| {
        if let Err(error) = dirty_bytes(&written.file.fd, 0, ALIGN as u64) {
            eprintln!("skipped: this kernel does not tell: {error}");
            return;
        }
        for _ in 0..3 {
            until_copied(env, written).await;
            assert!(written.write(env, GRAIN).await);
            written.looked_at.sync_all().unwrap();
            env.sleep(2 * LOOK_INTERVAL).await;
            assert!(!written.write(env, GRAIN).await, "into a page that was written back");
        }
        until_copied(env, written).await;
    });
}

/// A file system in memory does not note what is dirty.
#[test]
fn files_in_memory_are_copied_to() {
    let Ok(dir) = tempfile::tempdir_in("/dev/shm") else {
        eprintln!("skipped: no /dev/shm");
        return;
    };
    on_mapped(&dir, async |env, written| {
        until_copied(env, written).await;
        env.sleep(2 * LOOK_INTERVAL).await;
        assert!(written.write(env, GRAIN).await);
    });
}

#[test]
fn a_file_that_cannot_be_mapped_is_written_all_the_same() {
    let dir = directory();
    let path = dir.path().join("a");
    on_core(|env, mut driver| async move {
        let work = async {
            let mut written = Written::new(&path, 1 << 20, false);
            for _ in 0..100 {
                assert!(!written.write(&env, 3 * GRAIN).await);
            }
            written.check();
            env.ring().fdatasync_to(&written.file.fd, 4096).await.unwrap();
            written.close(&env).await;
            // Nothing to be mapped.
            std::fs::write(&path, b"").unwrap();
            let empty = std::fs::File::open(&path).unwrap();
            assert!(Mapping::new(&empty).unwrap().is_none());
        };
        driver.run(work).await.unwrap();
    });
}
