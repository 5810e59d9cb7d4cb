//! The PostgreSQL programs found on this machine.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::{ClusterError, OLDEST_MAJOR};

/// One installed version: the directory that holds `postgres` and `initdb`.
#[derive(Debug)]
pub(super) struct Binaries {
    pub directory: PathBuf,
    pub major: u32,
}

/// The first fit one: of exactly the version that wrote the data where there is data, else not older than supported.
pub(super) fn find(written_by: Option<u32>, data: &Path) -> Result<Binaries, ClusterError> {
    let mut unfit = Vec::new();
    for directory in candidates() {
        let Some(major) = major_of(&directory) else { continue };
        match written_by {
            Some(written_by) if major == written_by => return Ok(Binaries { directory, major }),
            None if major >= OLDEST_MAJOR => return Ok(Binaries { directory, major }),
            _ => unfit.push(format!("{major} in {}", directory.display())),
        }
    }
    match written_by {
        Some(written_by) => Err(ClusterError::OtherVersion { data: data.to_owned(), written_by }),
        None if unfit.is_empty() => Err(ClusterError::NotFound),
        None => Err(ClusterError::TooOld { found: unfit.join(", ") }),
    }
}

/// Where PostgreSQL may lie: what the user has put first on his path, what `pg_config` says, the usual directories.
fn candidates() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let on_path = env::var_os("PATH").map(|path| env::split_paths(&path).collect::<Vec<_>>()).unwrap_or_default();
    // A link such as /usr/local/bin/postgres leads to the directory that also holds what PostgreSQL calls itself.
    found.extend(
        on_path
            .iter()
            .filter_map(|directory| directory.join("postgres").canonicalize().ok()?.parent().map(Path::to_owned)),
    );
    found.extend(bindir_of_pg_config());
    found.extend(newest_first("/usr/lib/postgresql", "", "bin"));
    found.extend(newest_first("/usr", "pgsql-", "bin"));
    found.extend(newest_first("/usr/libexec", "postgresql", ""));
    found.push(PathBuf::from("/usr/local/pgsql/bin"));

    let mut distinct: Vec<PathBuf> = Vec::new();
    for directory in found {
        if !distinct.contains(&directory) && directory.join("postgres").is_file() && directory.join("initdb").is_file()
        {
            distinct.push(directory);
        }
    }
    distinct
}

fn bindir_of_pg_config() -> Option<PathBuf> {
    let output = Command::new("pg_config").arg("--bindir").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(PathBuf::from(text.trim_end()))
}

/// The directories `root/<prefix><version>/<rest>`, the highest version first.
fn newest_first(root: &str, prefix: &str, rest: &str) -> Vec<PathBuf> {
    let mut versions: Vec<(u32, PathBuf)> = fs::read_dir(root)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let version = entry.file_name().to_str()?.strip_prefix(prefix)?.parse().ok()?;
            Some((version, entry.path().join(rest)))
        })
        .collect();
    versions.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
    versions.into_iter().map(|(_, directory)| directory).collect()
}

fn major_of(directory: &Path) -> Option<u32> {
    let output = Command::new(directory.join("postgres")).arg("--version").output().ok()?;
    major_in(&String::from_utf8(output.stdout).ok()?)
}

fn major_in(version: &str) -> Option<u32> {
    let (_, number) = version.split_once("(PostgreSQL) ")?;
    let digits = number.find(|c: char| !c.is_ascii_digit()).unwrap_or(number.len());
    number[..digits].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_major_version_is_read_from_what_postgres_says() {
        assert_eq!(major_in("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n"), Some(15));
        assert_eq!(major_in("postgres (PostgreSQL) 19beta1\n"), Some(19));
        assert_eq!(major_in("postgres: not found"), None);
    }
}
