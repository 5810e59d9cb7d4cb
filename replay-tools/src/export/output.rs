//! Where an export goes: to standard output, or to a file that appears when it is complete.

use std::{
    fs::{File, Permissions},
    io::{self, BufWriter, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use tempfile::NamedTempFile;

use crate::ToolError;

pub(crate) enum Output {
    Standard(BufWriter<io::Stdout>),
    File { unfinished: BufWriter<NamedTempFile>, path: PathBuf },
}

impl Output {
    pub fn create(path: Option<&Path>) -> Result<Self, ToolError> {
        let Some(path) = path else { return Ok(Self::Standard(BufWriter::new(io::stdout()))) };
        // Beside the file itself, since only there it can be renamed. The umask decides who may read it.
        let unfinished = tempfile::Builder::new()
            .prefix(".daybook-export-")
            .permissions(Permissions::from_mode(0o666))
            .tempfile_in(directory(path))
            .map_err(|error| format!("cannot write to {}: {error}", directory(path).display()))?;
        Ok(Self::File { unfinished: BufWriter::new(unfinished), path: path.to_owned() })
    }

    pub fn writer(&mut self) -> &mut dyn Write {
        match self {
            Self::Standard(writer) => writer,
            Self::File { unfinished, .. } => unfinished,
        }
    }

    /// What was written is on the disk and has its name, or there is an error and no file.
    pub fn finish(self) -> Result<(), ToolError> {
        match self {
            Self::Standard(mut writer) => writer.flush()?,
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
