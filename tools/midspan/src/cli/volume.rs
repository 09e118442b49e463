//! `midspan volume create`: a preallocated file for a volume or a journal disk.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, Write};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};

use super::exit::{Exit, Failure, Outcome};
use super::size;

/// Bytes written at a time.
const CHUNK: usize = 1 << 20;
/// Volumes consist of whole blocks.
const BLOCK: u64 = 4096;

/// `midspan volume ...`
#[derive(Debug, Subcommand)]
pub enum VolumeCommand {
    /// Create a preallocated file that serves as a volume or as a journal disk
    ///
    /// Every block is written once, so that later durable writes change no metadata of the file system.
    #[command(after_help = "Example:\n  midspan volume create /srv/vault.img --size 1GiB")]
    Create(Create),
}

/// Arguments of `volume create`.
#[derive(Debug, Args)]
pub struct Create {
    /// The file
    pub path: PathBuf,
    /// Its size, for example 512MiB or 1GiB; a multiple of 4096 bytes
    #[arg(long, value_parser = size::parse)]
    pub size: u64,
    /// Overwrite an existing file with zeroes
    #[arg(long)]
    pub force: bool,
}

/// Runs the command.
///
/// # Errors
/// What the file system says, or that the file exists.
pub fn run(command: &VolumeCommand, out: &mut dyn Write) -> Outcome {
    let VolumeCommand::Create(arguments) = command;
    create(&arguments.path, arguments.size, arguments.force, true)?;
    writeln!(out, "created {} ({})", arguments.path.display(), size::show(arguments.size))?;
    Ok(Exit::Ok)
}

/// Creates the file and writes all of it.
///
/// # Errors
/// What the file system says, or that the file exists.
pub fn create(path: &Path, bytes: u64, force: bool, progress: bool) -> Result<(), Failure> {
    if bytes == 0 || !bytes.is_multiple_of(BLOCK) {
        let message =
            format!("{}: a size of {bytes} bytes is not a positive multiple of {BLOCK}", path.display());
        return Err(Failure::new(Exit::Usage, message));
    }
    let created = open(path, force)?;
    let outcome = fill(&created, bytes, progress && console_is_there());
    if let Err(error) = outcome {
        // A file that is half there would be taken for a volume.
        if !force {
            let _ = std::fs::remove_file(path);
        }
        return Err(Failure::io(path.display(), &error));
    }
    // The name itself must survive a crash, too.
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|f| f.sync_all()).map_err(|error| Failure::io(folder.display(), &error))
}

fn open(path: &Path, force: bool) -> Result<File, Failure> {
    let mut options = OpenOptions::new();
    options.write(true);
    if force {
        if let Ok(found) = std::fs::metadata(path)
            && (found.file_type().is_block_device() || !found.is_file())
        {
            return Err(Failure::new(Exit::Refused, format!("{} is not a regular file", path.display()))
                .hint("a block device needs no preparation: name it in the config as it is"));
        }
        options.create(true).truncate(true);
    } else {
        options.create_new(true);
    }
    options.open(path).map_err(|error| {
        if error.kind() == io::ErrorKind::AlreadyExists {
            Failure::new(Exit::Refused, format!("{} exists", path.display()))
                .hint("choose another name, or --force to overwrite it with zeroes")
        } else {
            Failure::io(path.display(), &error)
        }
    })
}

fn fill(mut file: &File, bytes: u64, progress: bool) -> io::Result<()> {
    let zeroes = vec![0u8; CHUNK];
    let bar = if progress { ProgressBar::new(bytes) } else { ProgressBar::hidden() };
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {bytes}/{total_bytes} {bytes_per_sec}") {
        bar.set_style(style);
    }
    file.rewind()?;
    let mut left = bytes;
    while left > 0 {
        let count = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
        file.write_all(zeroes.get(..count).unwrap_or_default())?;
        left -= count as u64;
        bar.set_position(bytes - left);
    }
    file.sync_all()?;
    bar.finish_and_clear();
    Ok(())
}

/// Whether somebody watches.
fn console_is_there() -> bool {
    io::IsTerminal::is_terminal(&io::stderr())
}
