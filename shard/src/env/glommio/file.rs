//! Files: hot ones are descriptors whose operations ride on the core's ring, cold ones glommio's DmaFiles, which write by the
//! core's ring, too: glommio would write on the core's thread (see [`Ring::write`](crate::env::ring::Ring::write)). Those through
//! the page cache: see `cached`.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;

use glommio::io::DmaFile;

use super::cached::{CachedFile, Mapping};
use super::{GlommioEnv, io_error};
use crate::env::{File, IoBuf};
use crate::limits::{ALIGN, IO_BYTES_MAX};

/// An open file of [`GlommioEnv`].
#[derive(Debug)]
pub struct GlommioFile {
    env: GlommioEnv,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Hot(Rc<OwnedFd>),
    Cached(CachedFile),
    Cold(ColdFile),
}

/// One file by two descriptors.
#[derive(Debug)]
struct ColdFile {
    file: DmaFile,
    /// For writes. It outlives the other: closing the last one may wait for the file system.
    fd: Rc<OwnedFd>,
}

impl GlommioFile {
    pub(super) fn hot(env: GlommioEnv, file: OwnedFd) -> Self {
        Self { env, kind: Kind::Hot(Rc::new(file)) }
    }

    pub(super) fn cached(env: GlommioEnv, file: CachedFile) -> Self {
        Self { env, kind: Kind::Cached(file) }
    }

    /// Of the cold lane, with a second descriptor.
    ///
    /// # Errors
    /// No descriptor left; `file` is closed then.
    pub(super) async fn cold(env: GlommioEnv, file: DmaFile) -> io::Result<Self> {
        // SAFETY: `file` is open for as long as this borrows its descriptor.
        let fd = unsafe { BorrowedFd::borrow_raw(file.as_raw_fd()) }.try_clone_to_owned();
        match fd {
            Ok(fd) => Ok(Self { env, kind: Kind::Cold(ColdFile { file, fd: Rc::new(fd) }) }),
            Err(error) => {
                // The first failure is the one that counts.
                let _result = file.close().await;
                Err(error)
            }
        }
    }
}

impl File for GlommioFile {
    async fn read_at(&self, buf: IoBuf, offset: u64, len: usize) -> (io::Result<()>, IoBuf) {
        match &self.kind {
            Kind::Hot(file) | Kind::Cached(CachedFile { fd: file, .. }) => {
                check_request(offset, len);
                self.env.world.ring.read(file, buf, offset, len).await
            }
            Kind::Cold(ColdFile { file, .. }) => {
                check_request(offset, len);
                let _cold = self.env.world.cold();
                let mut buf = buf;
                buf.clear();
                match file.read_at_aligned(offset, len).await {
                    Ok(bytes) => {
                        buf.extend_from_slice(&bytes);
                        (Ok(()), buf)
                    }
                    Err(error) => (Err(io_error(error)), buf),
                }
            }
        }
    }

    async fn write_at(
        &self,
        buf: IoBuf,
        from: usize,
        len: usize,
        offset: u64,
    ) -> (io::Result<usize>, IoBuf) {
        match &self.kind {
            Kind::Hot(file) | Kind::Cold(ColdFile { fd: file, .. }) => {
                check_request(offset, len);
                assert_eq!(from % ALIGN, 0);
                self.env.world.ring.write(file, buf, from, len, offset).await
            }
            Kind::Cached(file) => file.write(&self.env, buf, from, len, offset).await,
        }
    }

    async fn allocate(&self, bytes: u64) -> io::Result<()> {
        assert_eq!(bytes % ALIGN as u64, 0);
        match &self.kind {
            Kind::Hot(_) | Kind::Cached(_) => Err(io::ErrorKind::Unsupported.into()),
            Kind::Cold(ColdFile { file, .. }) => {
                let _cold = self.env.world.cold();
                file.pre_allocate(bytes, false).await.map_err(io_error)
            }
        }
    }

    async fn sync(&self) -> io::Result<()> {
        match &self.kind {
            Kind::Hot(file) | Kind::Cached(CachedFile { fd: file, .. }) => {
                self.env.world.ring.fdatasync(file).await
            }
            Kind::Cold(ColdFile { file, .. }) => {
                let _cold = self.env.world.cold();
                file.fdatasync().await.map_err(io_error)
            }
        }
    }

    async fn sync_to(&self, upto: u64) -> io::Result<()> {
        match &self.kind {
            Kind::Cached(file) => self.env.world.ring.fdatasync_to(&file.fd, upto).await,
            Kind::Hot(_) | Kind::Cold(_) => self.sync().await,
        }
    }

    async fn len(&self) -> io::Result<u64> {
        match &self.kind {
            Kind::Hot(file) | Kind::Cached(CachedFile { fd: file, .. }) => {
                let file = file.as_fd().try_clone_to_owned()?;
                self.env
                    .blocking(move || std::fs::File::from(file).metadata().map(|meta| meta.len()))
                    .await
            }
            Kind::Cold(ColdFile { file, .. }) => {
                let _cold = self.env.world.cold();
                file.file_size().await.map_err(io_error)
            }
        }
    }

    async fn close(self) -> io::Result<()> {
        let env = &self.env;
        match self.kind {
            Kind::Hot(fd) => {
                env.close_descriptor(fd, None).await;
                Ok(())
            }
            Kind::Cached(file) => {
                let (fd, mapping) = file.into_parts().await;
                env.close_descriptor(fd, mapping).await;
                Ok(())
            }
            Kind::Cold(ColdFile { file, fd }) => {
                let result = {
                    let _cold = env.world.cold();
                    file.close().await.map_err(io_error)
                };
                env.close_descriptor(fd, None).await;
                result
            }
        }
    }
}

impl GlommioEnv {
    /// Closing the last descriptor of a removed file frees its blocks: not on the core's thread. An abandoned operation may
    /// still hold it; then the last of them closes it.
    async fn close_descriptor(&self, fd: Rc<OwnedFd>, mapping: Option<Arc<Mapping>>) {
        let fd = Rc::into_inner(fd);
        self.blocking(move || drop((fd, mapping))).await;
    }
}

fn check_request(offset: u64, len: usize) {
    assert!(len > 0);
    assert!(len <= IO_BYTES_MAX);
    assert_eq!(len % ALIGN, 0);
    assert_eq!(offset % ALIGN as u64, 0);
}
