//! Small files: keys, certificates.

use std::{
    fs::File,
    io::{self, ErrorKind, Read},
    path::Path,
};

/// All that is in a file. One of more than `limit` bytes is an error that names the limit: its beginning alone would
/// say something else, and all of it may never end.
pub fn read_at_most(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(io::Error::new(ErrorKind::FileTooLarge, format!("it has more than {limit} bytes")));
    }
    Ok(bytes)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, "12345").unwrap();
        assert_eq!(read_at_most(&path, 5).unwrap(), b"12345");
        assert_eq!(read_at_most(&path, 4).unwrap_err().to_string(), "it has more than 4 bytes");
        assert_eq!(read_at_most(Path::new("/dev/zero"), 9).unwrap_err().kind(), ErrorKind::FileTooLarge);
        assert_eq!(read_at_most(&folder.path().join("none"), 9).unwrap_err().kind(), ErrorKind::NotFound);
    }
}
