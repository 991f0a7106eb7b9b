//! What the command line names: somebody else's files, of any size.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use crate::error::Error;

/// Reads a file as [`read_from`] does.
///
/// # Errors
/// It cannot be read.
pub(crate) fn read(path: &Path, limit: usize) -> Result<Vec<u8>, Error> {
    File::open(path)
        .and_then(|file| read_from(file, limit))
        .map_err(Error::output("read", path))
}

/// Reads to the end, but at most one byte more than `limit`: who parses the bytes finds them too long.
pub(crate) fn read_from(source: impl Read, limit: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    source.take(limit as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::io;

    #[test]
    fn what_has_no_end_is_not_read_to_its_end() {
        assert_eq!(super::read_from(io::repeat(0), 1000).unwrap().len(), 1001);
    }
}
