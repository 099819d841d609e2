//! Waiting for a [`Bell`] on an executor that has no ring of its own.

use std::io;
use std::os::fd::AsFd;

use glommio::io::BufferedFile;

use super::driver::buffered;
use crate::env::ring::Bell;

/// The listening end of a bell, for one task.
#[derive(Debug)]
pub struct Doorbell {
    bell: Bell,
    file: BufferedFile,
}

impl Doorbell {
    /// To be used on the executor that runs this task.
    ///
    /// # Errors
    /// No file descriptor left.
    pub fn new(bell: Bell) -> io::Result<Self> {
        let file = buffered(bell.as_fd().try_clone_to_owned()?);
        Ok(Self { bell, file })
    }

    /// Returns after the bell was rung; look into the queues then.
    ///
    /// # Errors
    /// The executor cannot read the eventfd.
    pub async fn rung(&mut self) -> io::Result<()> {
        while !self.bell.take() {
            if self.bell.lie_down() {
                let read = self.file.read_at(0, 8).await;
                self.bell.get_up();
                read.map_err(super::io_error)?;
            }
        }
        Ok(())
    }
}
