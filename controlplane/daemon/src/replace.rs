//! Replaces a file in one step: whoever reads it, also after a crash, sees the former text or the new one.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};

/// A new text that stands, durably, beside the file that it is to replace. It is removed when it is dropped before.
#[derive(Debug)]
pub struct Prepared {
    path: PathBuf,
    beside: PathBuf,
}

impl Prepared {
    /// Writes the new text of a file beside it. The file's permissions and owner are kept; a symbolic link is followed.
    ///
    /// # Errors
    /// What the system says.
    pub fn new(path: &Path, text: &str) -> io::Result<Self> {
        let path = std::fs::canonicalize(path)?;
        let mut name = OsString::from(".");
        name.push(path.file_name().unwrap_or_default());
        name.push(".new");
        let prepared = Self { beside: path.with_file_name(name), path };
        prepared.write(text)?;
        Ok(prepared)
    }

    /// Gives it the file's name, durably.
    ///
    /// # Errors
    /// What the system says.
    pub fn take_effect(self) -> io::Result<()> {
        std::fs::rename(&self.beside, &self.path)?;
        File::open(self.path.parent().unwrap_or(Path::new("/")))?.sync_all()
    }

    fn write(&self, text: &str) -> io::Result<()> {
        let former = std::fs::metadata(&self.path)?;
        // Of an attempt that was cut off.
        match std::fs::remove_file(&self.beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&self.beside)?;
        file.write_all(text.as_bytes())?;
        let own = file.metadata()?;
        if (own.uid(), own.gid()) != (former.uid(), former.gid()) {
            fchown(&file, Some(former.uid()), Some(former.gid()))?;
        }
        file.set_permissions(former.permissions())?;
        file.sync_all()
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        // Where it took effect there is nothing of this name any more.
        let _ = std::fs::remove_file(&self.beside);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_file_is_replaced_with_its_permissions_behind_its_link_and_in_spite_of_an_earlier_attempt() {
        let folder = std::env::temp_dir().join(format!("midspan-replace-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (file, link) = (folder.join("node.toml"), folder.join("link.toml"));
        std::fs::write(&file, "former").unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
        symlink("node.toml", &link).unwrap();
        std::fs::write(folder.join(".node.toml.new"), "cut o").unwrap();
        let text = || std::fs::read_to_string(&file).unwrap();
        drop(Prepared::new(&link, "given up").unwrap());
        assert_eq!(text(), "former");
        Prepared::new(&link, "new").unwrap().take_effect().unwrap();
        let read = text();
        let mode = std::fs::metadata(&file).unwrap().permissions().mode() & 0o777;
        let is_link = std::fs::symlink_metadata(&link).unwrap().is_symlink();
        let entries = std::fs::read_dir(&folder).unwrap().count();
        let missing = Prepared::new(&folder.join("none"), "new").map(drop).map_err(|error| error.kind());
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!((read.as_str(), mode, is_link, entries), ("new", 0o640, true, 2));
        assert_eq!(missing, Err(io::ErrorKind::NotFound));
    }
}
