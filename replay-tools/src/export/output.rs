//! Where an export goes: to a file that appears when it is complete, and replaces the one before only then; or as it
//! comes to the standard output, a pipe or a device.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io::{self, BufWriter, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use tempfile::NamedTempFile;

use crate::ToolError;

pub(crate) enum Output {
    Standard(BufWriter<io::Stdout>),
    /// What is no file of its own, and must stay what it is.
    Passing(BufWriter<File>),
    File {
        unfinished: BufWriter<NamedTempFile>,
        path: PathBuf,
    },
}

impl Output {
    pub fn create(path: Option<&Path>) -> Result<Self, ToolError> {
        let Some(asked) = path else { return Ok(Self::Standard(BufWriter::new(io::stdout()))) };
        let unwritable = |error: io::Error| format!("cannot write to {}: {error}", asked.display());
        let there = match fs::metadata(asked) {
            Ok(metadata) => Some(metadata),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(unwritable(error).into()),
        };
        // Such as /dev/stdout: where it leads to a file, others may have written to that before, and go on after.
        let lent = asked.is_symlink() && (asked.starts_with("/dev") || asked.starts_with("/proc"));
        if let Some(metadata) = &there
            && (!metadata.is_file() || lent)
        {
            let opened = OpenOptions::new().write(true).append(metadata.is_file()).open(asked);
            return Ok(Self::Passing(BufWriter::new(opened.map_err(unwritable)?)));
        }
        // A link stays, and what it leads to is replaced.
        let path = if there.is_some() { fs::canonicalize(asked).map_err(unwritable)? } else { asked.into() };
        // The umask decides who may read a new file, and whoever could read the one before can read this one.
        let permissions = there.map_or(Permissions::from_mode(0o666), |metadata| metadata.permissions());
        // Beside the file itself, since only there it can be renamed.
        let unfinished = tempfile::Builder::new()
            .prefix(".daybook-export-")
            .permissions(permissions)
            .tempfile_in(directory(&path))
            .map_err(|error| format!("cannot write to {}: {error}", directory(&path).display()))?;
        Ok(Self::File { unfinished: BufWriter::with_capacity(1 << 18, unfinished), path })
    }

    pub fn writer(&mut self) -> &mut (dyn Write + Send) {
        match self {
            Self::Standard(writer) => writer,
            Self::Passing(writer) => writer,
            Self::File { unfinished, .. } => unfinished,
        }
    }

    /// What was written is on the disk and has its name, or there is an error and whatever was there before.
    pub fn finish(self) -> Result<(), ToolError> {
        match self {
            Self::Standard(mut writer) => writer.flush()?,
            Self::Passing(mut writer) => writer.flush()?,
            Self::File { unfinished, path } => {
                let complete = unfinished.into_inner().map_err(io::IntoInnerError::into_error)?;
                complete.as_file().sync_all()?;
                complete.persist(&path).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
                File::open(directory(&path))?.sync_all()?;
            }
        }
        Ok(())
    }
}

fn directory(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
