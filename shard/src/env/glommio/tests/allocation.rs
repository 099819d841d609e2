//! Space that is taken before anything is written there.

use super::*;
use crate::env::try_allocate;

#[test]
fn space_that_is_taken_reads_as_zeros_and_keeps_what_was_written() {
    let dir = directory();
    let root = dir.path().to_owned();
    on_core(|env, mut driver| async move {
        let work = async {
            let path = root.join("a");
            let file = env.open(&path, Open::CreateNew, Lane::Cold).await.unwrap();
            let (written, _) = write_all_at(&file, pattern(ALIGN, 1), 0).await;
            written.unwrap();
            assert!(try_allocate(&file, 5 * ALIGN as u64).await.unwrap());
            file.sync().await.unwrap();
            file.close().await.unwrap();
            let file = env.open(&path, Open::Write(Sync::PageCache), Lane::Hot).await.unwrap();
            let (written, _) = write_all_at(&file, pattern(ALIGN, 2), 2 * ALIGN as u64).await;
            written.unwrap();
            file.sync().await.unwrap();
            assert_eq!(file.len().await.unwrap(), 5 * ALIGN as u64);
            let read = read_exact_at(&file, 0, 5 * ALIGN).await.unwrap();
            let mut expected = vec![0; 5 * ALIGN];
            expected[..ALIGN].copy_from_slice(&pattern(ALIGN, 1));
            expected[2 * ALIGN..3 * ALIGN].copy_from_slice(&pattern(ALIGN, 2));
            assert_eq!(read.as_slice(), expected.as_slice());
            file.close().await.unwrap();
            // No more than a disk has.
            let file = env.open(&root.join("b"), Open::CreateNew, Lane::Cold).await.unwrap();
            let error = try_allocate(&file, 1 << 60).await.unwrap_err();
            assert!(error.raw_os_error().is_some(), "{error}");
            file.close().await.unwrap();
        };
        driver.run(work).await.unwrap();
    });
}
